//! Copies of everything that is sealed, and engines made of them.
//!
//! Guarantees: a snapshot is there as a whole or not at all, and durable before it is told; it shares the files of
//! parts, which never change, so it takes no room until they are merged or dropped. A restore reads and checks every
//! byte, writes into a folder that holds nothing, and ends with the manifest: a folder without one was not restored.
//! Deletions hold in both.

use std::io;

use mainstay_wal::Disk;

use crate::{
    ReadError,
    manifest::{Found, Manifest},
    part::{self, Part},
};

/// The folder of snapshots, beside the parts.
pub const SNAPSHOTS: &str = "snapshots";
/// Bytes copied at once.
const COPIED_BYTES: usize = 1 << 20;

/// What was restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Parts.
    pub parts: usize,
    /// Their samples.
    pub samples: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There are files already.
    #[error("the folder to restore into holds `{0}` already: name one that holds nothing")]
    NotEmpty(String),
    /// It is no snapshot.
    #[error("there is no snapshot: its manifest is {0}")]
    NoSnapshot(&'static str),
    /// A file of the snapshot is not what was written.
    #[error(transparent)]
    Damaged(#[from] ReadError),
    /// A disk fails.
    #[error(transparent)]
    Disk(#[from] io::Error),
}

impl Manifest {
    /// Shares `parts`, which are those that can be read, as the snapshot `name`.
    pub(crate) fn share(&self, disk: &dyn Disk, name: &str, parts: &[u64]) -> io::Result<()> {
        let gone: Vec<u64> = self
            .parts
            .iter()
            .filter(|id| !parts.contains(id))
            .copied()
            .collect();
        let mut shared = self.clone();
        shared.replace(&gone, None);
        let names: Vec<String> = parts.iter().map(|id| part::name(*id)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (file, text) = shared.file();
        disk.share(
            &format!("{SNAPSHOTS}/{name}"),
            &names,
            (file, text.as_bytes()),
        )
    }
}

/// Makes of the snapshot in `from` an engine in `to`, which must hold nothing.
pub fn restore(from: &dyn Disk, to: &dyn Disk) -> Result<Restored, RestoreError> {
    if let Some(name) = to.list()?.into_iter().next() {
        return Err(RestoreError::NotEmpty(name));
    }
    let manifest = match Manifest::read(from)? {
        Found::Whole(manifest) => manifest,
        Found::Damaged => return Err(RestoreError::NoSnapshot("damaged")),
        Found::Nothing => return Err(RestoreError::NoSnapshot("not there")),
    };
    let mut restored = Restored::default();
    for id in &manifest.parts {
        let part = Part::open(from, *id)?;
        part.check()?;
        copy(from, to, part.name())?;
        let copy = Part::open(to, *id)?;
        copy.check()?;
        restored.parts += 1;
        restored.samples += part.meta().samples;
        restored.bytes += part.bytes();
    }
    to.sync_folder()?;
    manifest.write(to)?;
    Ok(restored)
}

/// Makes an engine of the parts that lie in `disk` and of `manifest`, the text of [`crate::Sealed::manifest_of`]: reads and
/// checks every byte, and ends with the manifest. Parts that are not there, or damaged, are left out; why is told with the
/// name of each.
pub fn assemble(
    disk: &dyn Disk,
    manifest: &str,
) -> Result<(Restored, Vec<(String, ReadError)>), RestoreError> {
    let mut manifest = Manifest::parse(manifest).ok_or(RestoreError::NoSnapshot("damaged"))?;
    let (mut restored, mut without, mut gone) = (Restored::default(), Vec::new(), Vec::new());
    for id in &manifest.parts {
        let opened = Part::open(disk, *id);
        match opened.and_then(|part| part.check().map(|()| part)) {
            Ok(part) => {
                restored.parts += 1;
                restored.samples += part.meta().samples;
                restored.bytes += part.bytes();
            }
            Err(error) => {
                without.push((part::name(*id), error));
                gone.push(*id);
            }
        }
    }
    manifest.replace(&gone, None);
    disk.sync_folder()?;
    manifest.write(disk)?;
    Ok((restored, without))
}

fn copy(from: &dyn Disk, to: &dyn Disk, name: &str) -> io::Result<()> {
    let source = from.open(name)?;
    let mut target = to.create(name)?;
    let (len, mut at) = (source.len()?, 0);
    let mut bytes = vec![0; COPIED_BYTES];
    while at < len {
        let count = usize::try_from(len - at)
            .unwrap_or(COPIED_BYTES)
            .min(COPIED_BYTES);
        let piece = &mut bytes[..count];
        source.read_at(at, piece)?;
        target.append(piece)?;
        at += count as u64;
    }
    target.sync()
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc, sync::mpsc};

    use mainstay_wal::LocalDisk;

    use super::*;
    use crate::{Head, Labels, MatchOp, Matcher, Options, Order, OrderError, Outcome, open};

    fn obeyed(head: &mut Head, order: Order) -> Result<Outcome, OrderError> {
        let (tell, told) = mpsc::channel();
        head.order(
            order,
            0,
            Box::new(move |outcome| tell.send(outcome).unwrap()),
        );
        told.recv().unwrap()
    }

    fn engine(path: &Path) -> Head {
        let disk = LocalDisk::open(path).unwrap().sparing(0);
        open(Arc::new(disk), Options::default()).unwrap().0
    }

    fn values(head: &Head) -> Vec<f64> {
        let found = head.tsdb().select(&[], i64::MIN, i64::MAX).unwrap();
        found.iter().flat_map(|it| it.values.to_vec()).collect()
    }

    #[test]
    fn a_snapshot_holds_what_was_there_and_becomes_an_engine_again() {
        let dir = tempfile::tempdir().unwrap();
        let (live, copy) = (dir.path().join("live"), dir.path().join("copy"));
        let mut head = engine(&live);
        let series = |at: &str| Labels::from_pairs([("at", at)]).unwrap();
        head.append(&series("a"), 1, 1.0).unwrap();
        head.append(&series("b"), 1, 2.0).unwrap();
        let delete = Order::Delete {
            selectors: vec![vec![Matcher::new("at", MatchOp::Equal, "a").unwrap()]],
            start_ms: 0,
            end_ms: 9,
        };
        obeyed(&mut head, delete).unwrap();
        head.append(&series("b"), 2, 3.0).unwrap();
        let name = "one".to_owned();
        let snapshot = Order::Snapshot {
            name: name.clone(),
            with_head: true,
        };
        assert_eq!(obeyed(&mut head, snapshot).unwrap().parts, 2);
        head.append(&series("b"), 3, 4.0).unwrap();
        drop(head);
        std::fs::remove_file(live.join("manifest")).unwrap();
        let from = LocalDisk::open(&live.join(SNAPSHOTS).join(&name)).unwrap();
        let to = LocalDisk::open(&copy).unwrap().sparing(0);
        assert_eq!(restore(&from, &to).unwrap().parts, 2);
        let again = restore(&from, &to).unwrap_err();
        assert!(matches!(again, RestoreError::NotEmpty(_)), "{again}");
        drop(to);
        assert_eq!(values(&engine(&copy)), [2.0, 3.0]);
    }

    #[test]
    fn a_damaged_snapshot_is_not_restored() {
        let dir = tempfile::tempdir().unwrap();
        let mut head = engine(dir.path());
        head.append(&Labels::from_pairs([("at", "a")]).unwrap(), 1, 1.0)
            .unwrap();
        let snapshot = Order::Snapshot {
            name: "one".to_owned(),
            with_head: true,
        };
        obeyed(&mut head, snapshot).unwrap();
        let folder = dir.path().join(SNAPSHOTS).join("one");
        let part = folder.join(part::name(0));
        let mut bytes = std::fs::read(&part).unwrap();
        bytes[12] ^= 1;
        std::fs::remove_file(&part).unwrap();
        std::fs::write(&part, bytes).unwrap();
        let from = LocalDisk::open(&folder).unwrap();
        let to = mainstay_wal::MemoryDisk::default();
        let refused = restore(&from, &to).unwrap_err();
        assert!(matches!(refused, RestoreError::Damaged(_)), "{refused}");
        assert!(!to.list().unwrap().contains(&"manifest".to_owned()));
    }
}
