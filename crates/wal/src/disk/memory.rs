//! A disk in memory that fails when it is told to: for tests, and for heads that keep nothing.
//!
//! Guarantees: a crash leaves what was synced, and of what was not any beginning that the test chooses. As on
//! Linux, a sync that failed drops what it should have written: a later sync that succeeds does not bring it
//! back.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Disk, DiskFile, DiskRead};

#[derive(Debug, Default)]
struct Inode {
    data: Vec<u8>,
    /// How much of the beginning survives a crash.
    synced: usize,
    /// A sync failed: what was not synced then never will be.
    lost: bool,
}

type Shared<T> = Arc<Mutex<T>>;

#[derive(Debug, Default)]
struct Faults {
    syncs_to_fail: usize,
    /// Bytes that still fit.
    room: Option<usize>,
    /// Operations until the power fails.
    power: Option<usize>,
}

impl Faults {
    /// Counts an operation that changes something.
    fn spend(&mut self) -> io::Result<()> {
        match &mut self.power {
            Some(0) => Err(io::Error::other("planted: the power is gone")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

#[derive(Debug, Default)]
struct Folder {
    names: BTreeMap<String, Shared<Inode>>,
    durable: BTreeMap<String, Shared<Inode>>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct MemoryDisk {
    folder: Mutex<Folder>,
    faults: Shared<Faults>,
}

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryDisk {
    /// The machine dies and comes back: unsynced names are undone, and of each file's unsynced bytes stays as
    /// much of their beginning as `kept` says, given how many there are.
    pub fn crash(&self, mut kept: impl FnMut(usize) -> usize) {
        held(&self.faults).power = None;
        let mut folder = held(&self.folder);
        folder.names = folder.durable.clone();
        for inode in folder.names.values() {
            let mut inode = held(inode);
            let unsynced = inode.data.len() - inode.synced;
            let stays = inode.synced + kept(unsynced).min(unsynced);
            inode.data.truncate(stays);
            inode.synced = stays;
            inode.lost = false;
        }
    }

    /// The next `count` syncs of files fail, each dropping what it should have written.
    pub fn fail_syncs(&self, count: usize) {
        held(&self.faults).syncs_to_fail = count;
    }

    /// Only so many bytes still fit; `None` is as many as one likes.
    pub fn limit_room(&self, bytes: Option<usize>) {
        held(&self.faults).room = bytes;
    }

    /// After so many more operations the power fails: until the crash that follows nothing changes any more.
    pub fn lose_power_after(&self, operations: usize) {
        held(&self.faults).power = Some(operations);
    }

    /// Changes one byte of a file, as a bad disk does; once more changes it back.
    pub fn damage(&self, name: &str, offset: usize) {
        if let Some(inode) = held(&self.folder).names.get(name)
            && let Some(byte) = held(inode).data.get_mut(offset)
        {
            *byte ^= 0xff;
        }
    }

    fn inode(&self, name: &str) -> io::Result<Shared<Inode>> {
        let folder = held(&self.folder);
        let inode = folder.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::clone(inode))
    }
}

impl Disk for MemoryDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(held(&self.folder).names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        held(&self.faults).spend()?;
        let mut folder = held(&self.folder);
        if folder.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = Shared::<Inode>::default();
        folder.names.insert(name.to_owned(), Arc::clone(&inode));
        Ok(Box::new(MemoryFile {
            inode,
            faults: Arc::clone(&self.faults),
        }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskRead>> {
        Ok(Box::new(MemoryRead(self.inode(name)?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        held(&self.faults).spend()?;
        let mut folder = held(&self.folder);
        let inode = folder.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        folder.names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        held(&self.faults).spend()?;
        let removed = held(&self.folder).names.remove(name);
        removed.map(|_| ()).ok_or(io::ErrorKind::NotFound.into())
    }

    fn sync_folder(&self) -> io::Result<()> {
        held(&self.faults).spend()?;
        let mut folder = held(&self.folder);
        folder.durable = folder.names.clone();
        Ok(())
    }
}

#[derive(Debug)]
struct MemoryFile {
    inode: Shared<Inode>,
    faults: Shared<Faults>,
}

impl DiskFile for MemoryFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut faults = held(&self.faults);
        faults.spend()?;
        let fits = faults.room.unwrap_or(usize::MAX).min(bytes.len());
        if let Some(room) = &mut faults.room {
            *room -= fits;
        }
        held(&self.inode).data.extend_from_slice(&bytes[..fits]);
        if fits < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut faults = held(&self.faults);
        faults.spend()?;
        let mut inode = held(&self.inode);
        if faults.syncs_to_fail > 0 {
            faults.syncs_to_fail -= 1;
            inode.lost = true;
            return Err(io::Error::other("planted: the sync failed"));
        }
        if !inode.lost {
            inode.synced = inode.data.len();
        }
        Ok(())
    }
}

#[derive(Debug)]
struct MemoryRead(Shared<Inode>);

impl DiskRead for MemoryRead {
    fn len(&self) -> io::Result<u64> {
        Ok(held(&self.0).data.len() as u64)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let inode = held(&self.0);
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let found = inode
            .data
            .get(from..)
            .and_then(|rest| rest.get(..into.len()));
        into.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}
