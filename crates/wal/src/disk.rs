//! What the log needs of a disk: one folder of files that only grow.
//!
//! Guarantees asked of every implementation: bytes are durable after [`DiskFile::sync`] returned well, names
//! (created, renamed, removed) after [`Disk::sync_folder`]. Nothing else is promised about a crash.

mod local;
mod memory;

use std::{fmt, io};

pub use local::{LocalDisk, SPARE_BYTES};
pub use memory::MemoryDisk;

/// A folder of files.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Names in the folder, ascending.
    fn list(&self) -> io::Result<Vec<String>>;
    /// A new, empty file to write; one that exists already is an error.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;
    /// A file to read.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskRead>>;
    /// Gives a file another name, replacing whatever had it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes names durable.
    fn sync_folder(&self) -> io::Result<()>;
    /// Makes a folder inside this one, as a whole and durable, with the files `names`, which never change, and one more
    /// of its own: its name and bytes.
    fn share(&self, folder: &str, names: &[&str], own: (&str, &[u8])) -> io::Result<()> {
        let _ = (folder, names, own);
        let what = "this disk has no folders";
        Err(io::Error::new(io::ErrorKind::Unsupported, what))
    }
}

/// A file that grows.
pub trait DiskFile: Send + fmt::Debug {
    /// Adds bytes at the end: all of them, or an error and any part of them.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes what was added durable. After an error nothing may be concluded about any of it.
    fn sync(&mut self) -> io::Result<()>;
}

/// A file to read, from several threads if need be.
pub trait DiskRead: Send + Sync + fmt::Debug {
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether there is nothing in it.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Fills `into` from `offset` on; an end before that is an error.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;
}

/// Reads a whole file of at most `limit` bytes.
impl dyn Disk + '_ {
    /// All bytes of a file; one longer than `limit` is an error.
    pub fn read(&self, name: &str, limit: u64) -> io::Result<Vec<u8>> {
        let file = self.open(name)?;
        let len = file.len()?;
        if len > limit {
            let what = format!("{name} has {len} bytes, more than the {limit} that it may have");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        let mut bytes = vec![0; len as usize];
        file.read_at(0, &mut bytes)?;
        Ok(bytes)
    }

    /// Replaces a file as a whole: whenever the process dies, the old content or the new one is there.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let draft = format!("{name}.new");
        match self.remove(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = self.create(&draft)?;
        file.append(bytes)?;
        file.sync()?;
        self.rename(&draft, name)?;
        self.sync_folder()
    }
}

/// The name of the file with a number; of one suffix they sort as their numbers do.
pub fn numbered_name(number: u64, suffix: &str) -> String {
    format!("{number:016x}{suffix}")
}

/// The number in the name of a file with this suffix.
pub fn number_in_name(name: &str, suffix: &str) -> Option<u64> {
    let digits = name.strip_suffix(suffix)?;
    (digits.len() == 16)
        .then(|| u64::from_str_radix(digits, 16).ok())
        .flatten()
}
