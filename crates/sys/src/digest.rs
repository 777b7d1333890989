//! The SHA-256 of a file's bytes, computed once for each version of the file.
//!
//! A digest is remembered under the file's device, inode, size and both of its change times; the
//! latter cannot be set back by a program. A file touched within the last seconds is digested anew
//! each time, since two writes within one tick of the file system's clock look alike. Never reads
//! what is not a regular file, so a pipe in an executable's place cannot block the agent.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{FileType, Mode, OFlags, Stat};
use sha2::{Digest, Sha256};

use crate::Error;

/// Far above the number of distinct executables on a host; one entry is about 100 bytes.
const REMEMBERED_MAX: usize = 1_024;
/// Larger is not an executable, and would take a core for half a minute.
const FILE_BYTES_MAX: u64 = 8 << 30;
/// Coarsest clock of a file system in use (two seconds on FAT and some network file systems).
const SETTLED_AFTER_S: i64 = 3;

/// Process-wide, since the files are: two agents in one process should not read a file twice.
static REMEMBERED: Mutex<BTreeMap<Version, String>> = Mutex::new(BTreeMap::new());

/// What differs between two contents of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Version {
    fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: (stat.st_mtime, stat.st_mtime_nsec as i64),
            changed: (stat.st_ctime, stat.st_ctime_nsec as i64),
        }
    }

    fn settled(&self, now_s: i64) -> bool {
        self.changed.0.max(self.modified.0) + SETTLED_AFTER_S <= now_s
    }
}

/// The SHA-256 of the file at `path`, as 64 lowercase hexadecimal digits.
///
/// Follows symbolic links. The digest is of one version of the file, or an error.
pub fn sha256_file(path: &Path) -> Result<String, Error> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|errno| Error::io("open a file to digest")(errno.into()))?;
    sha256_open(file, path)
}

/// As [`sha256_file`], for a file that is open already; `path` is for messages only.
pub(crate) fn sha256_open(file: OwnedFd, path: &Path) -> Result<String, Error> {
    let refused = |why| Error::NotDigestible {
        path: path.to_owned(),
        why,
    };
    let before = stat(&file)?;
    if FileType::from_raw_mode(before.st_mode) != FileType::RegularFile {
        return Err(refused("it is not a regular file"));
    }
    let version = Version::of(&before);
    if version.size > FILE_BYTES_MAX {
        return Err(refused("it is larger than 8 GiB"));
    }
    if let Some(known) = remembered().get(&version) {
        return Ok(known.clone());
    }
    let mut file = File::from(file);
    let digest = digest(&mut file)?;
    if Version::of(&stat(&file)?) != version {
        return Err(refused("it changed while it was read"));
    }
    if version.settled(now_s()) {
        let mut remembered = remembered();
        if remembered.len() >= REMEMBERED_MAX {
            // Any entry can be computed again; which one goes does not matter.
            remembered.pop_first();
        }
        remembered.insert(version, digest.clone());
    }
    Ok(digest)
}

fn digest(file: &mut File) -> Result<String, Error> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    let mut limited = file.take(FILE_BYTES_MAX);
    loop {
        let read = limited
            .read(&mut buffer)
            .map_err(Error::io("read a file to digest"))?;
        if read == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..read]);
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 0xf])
        .map(|nibble| char::from(DIGITS[usize::from(nibble)]))
        .collect()
}

fn stat(file: impl std::os::fd::AsFd) -> Result<Stat, Error> {
    rustix::fs::fstat(file).map_err(|errno| Error::io("stat a file to digest")(errno.into()))
}

fn remembered() -> std::sync::MutexGuard<'static, BTreeMap<Version, String>> {
    // Entries are inserted whole, so the map of a thread that died is as good as any.
    REMEMBERED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now_s() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_the_published_one_for_a_known_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        std::fs::write(&path, "abc").unwrap();
        // FIPS 180-2, appendix B.1.
        assert_eq!(
            sha256_file(&path).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn a_file_rewritten_within_one_tick_is_digested_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app");
        let mut digests = std::collections::BTreeSet::new();
        for round in 0..50 {
            std::fs::write(&path, format!("{round:08}")).unwrap();
            digests.insert(sha256_file(&path).unwrap());
        }
        assert_eq!(digests.len(), 50);
    }

    #[test]
    fn an_old_file_is_remembered_and_a_fresh_one_is_not() {
        let old = std::env::current_exe().unwrap();
        let version = |path: &Path| Version::of(&rustix::fs::stat(path).unwrap());
        let settled = version(&old).settled(now_s());
        sha256_file(&old).unwrap();
        assert_eq!(remembered().contains_key(&version(&old)), settled);

        let folder = tempfile::tempdir().unwrap();
        let fresh = folder.path().join("fresh");
        std::fs::write(&fresh, "x").unwrap();
        sha256_file(&fresh).unwrap();
        assert!(!remembered().contains_key(&version(&fresh)));
    }

    #[test]
    fn a_folder_is_refused_and_a_missing_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(
            sha256_file(folder.path()),
            Err(Error::NotDigestible { .. })
        ));
        assert!(matches!(
            sha256_file(&folder.path().join("missing")),
            Err(Error::Io { .. })
        ));
    }

    #[test]
    fn a_version_settles_only_after_the_coarsest_clock_has_moved_on() {
        let version = Version {
            device: 1,
            inode: 2,
            size: 3,
            modified: (100, 0),
            changed: (104, 0),
        };
        assert!(!version.settled(106));
        assert!(version.settled(107));
    }
}
