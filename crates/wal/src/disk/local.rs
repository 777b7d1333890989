//! A folder of the operating system.
//!
//! Guarantees: it never takes the last [`SPARE_BYTES`] of a file system, so that whoever else lives there, such as the
//! ledger, outlives a flood of samples.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use super::{Disk, DiskFile, DiskRead};

/// Room that is left to others.
pub const SPARE_BYTES: u64 = 128 << 20;

/// Real files, synced with fsync, of one process at a time: whoever holds the folder keeps others out.
#[derive(Debug)]
pub struct LocalDisk {
    folder: PathBuf,
    handle: File,
    spare_bytes: u64,
}

impl LocalDisk {
    /// The folder at `path`, made if there is none; its own name is durable then, too.
    pub fn open(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        let handle = File::open(path)?;
        handle.try_lock().map_err(|error| match error {
            TryLockError::Error(error) => error,
            TryLockError::WouldBlock => {
                let what = "another process uses this folder; end it, or name another folder";
                io::Error::new(io::ErrorKind::ResourceBusy, what)
            }
        })?;
        // Parents that were just made are as new as the folder: the nearest is what holds its name.
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            File::open(parent)?.sync_all()?;
        }
        Ok(Self {
            folder: path.to_owned(),
            handle,
            spare_bytes: SPARE_BYTES,
        })
    }

    /// The same, which leaves so much room to others.
    #[must_use]
    pub fn sparing(self, spare_bytes: u64) -> Self {
        Self {
            spare_bytes,
            ..self
        }
    }
}

impl Disk for LocalDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(self.folder.join(name))?;
        let spare_bytes = self.spare_bytes;
        Ok(Box::new(LocalFile { file, spare_bytes }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskRead>> {
        Ok(Box::new(LocalRead(File::open(self.folder.join(name))?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.folder.join(from), self.folder.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.folder.join(name))
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    fn share(&self, folder: &str, names: &[&str], own: (&str, &[u8])) -> io::Result<()> {
        let target = self.folder.join(folder);
        if target.try_exists()? {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let parent = target.parent().unwrap_or(&self.folder);
        std::fs::create_dir_all(parent)?;
        let draft = target.with_extension("new");
        match std::fs::remove_dir_all(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        std::fs::create_dir(&draft)?;
        for name in names {
            link(&self.folder.join(name), &draft.join(name))?;
        }
        let mut file = File::create_new(draft.join(own.0))?;
        file.write_all(own.1)?;
        file.sync_all()?;
        File::open(&draft)?.sync_all()?;
        std::fs::rename(&draft, &target)?;
        File::open(parent)?.sync_all()?;
        self.sync_folder()
    }
}

/// One file under two names; a copy where the file system has no such thing.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    if std::fs::hard_link(from, to).is_err() {
        std::fs::copy(from, to)?;
        File::open(to)?.sync_all()?;
    }
    Ok(())
}

#[derive(Debug)]
struct LocalFile {
    file: File,
    spare_bytes: u64,
}

impl LocalFile {
    fn room_for(&self, bytes: usize) -> io::Result<()> {
        let disk = rustix::fs::fstatvfs(&self.file)?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free.saturating_sub(bytes as u64) < self.spare_bytes {
            let spare = self.spare_bytes >> 20;
            let what = format!("the disk is full but for {spare} MiB, which are kept for others");
            return Err(io::Error::new(io::ErrorKind::StorageFull, what));
        }
        Ok(())
    }
}

impl DiskFile for LocalFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.room_for(bytes.len())?;
        self.file.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        // The length is data as far as a reader is concerned, and fdatasync covers it.
        self.file.sync_data()
    }
}

#[derive(Debug)]
struct LocalRead(File);

impl DiskRead for LocalRead {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(into, offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_may_need_is_left_to_them() {
        let dir = tempfile::tempdir().unwrap();
        let disk = LocalDisk::open(dir.path()).unwrap().sparing(0);
        let mut file = disk.create("a").unwrap();
        file.append(b"kept").unwrap();
        let disk = disk.sparing(u64::MAX);
        let mut file = disk.create("b").unwrap();
        let refused = file.append(b"too much").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        assert_eq!(disk.open("b").unwrap().len().unwrap(), 0);
    }
}
