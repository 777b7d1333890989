//! The end of a log that grows.

use std::{io, sync::Arc};

use crate::{Disk, DiskFile, Group, segment};

/// How often a group is tried, each time on a new file, before the caller hears of it.
const ATTEMPTS: usize = 2;

/// What is acknowledged of a new segment.
const EMPTY_BYTES: u64 = 0;

/// How a log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// A segment with so many bytes is followed by a new one.
    pub segment_bytes: u64,
}

impl Default for LogOptions {
    /// 128 MiB: few files, and little to read twice.
    fn default() -> Self {
        Self {
            segment_bytes: 128 << 20,
        }
    }
}

/// Why a log cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Nothing that was staged may be acknowledged; it stays staged.
    #[error(
        "what was written is not durable ({0}); make room or repair the disk: it is tried again"
    )]
    NotDurable(#[source] io::Error),
    /// The folder, or a segment in it, cannot be read.
    #[error("the log cannot be read: {0}")]
    Read(#[source] io::Error),
    /// Segments that are not needed any more stay.
    #[error("old segments cannot be removed: {0}")]
    Remove(#[source] io::Error),
}

#[derive(Debug)]
struct Open {
    id: u64,
    file: Box<dyn DiskFile>,
    bytes: u64,
    /// Whether the folder is known to name it durably.
    named: bool,
}

/// See the crate.
#[derive(Debug)]
pub struct Log {
    disk: Arc<dyn Disk>,
    options: LogOptions,
    open: Option<Open>,
    next_segment: u64,
    next_seq: u64,
    /// Frames that are staged and not durable.
    unfinished: Vec<u8>,
    /// How many frames those are.
    unfinished_frames: u64,
}

impl Log {
    /// A log that goes on with frame `next_seq` in a new segment, which is `next_segment` or the first after it
    /// that does not exist; [`replay`](crate::replay) says which they are.
    pub fn start(
        disk: Arc<dyn Disk>,
        options: LogOptions,
        next_segment: u64,
        next_seq: u64,
    ) -> Self {
        Self {
            disk,
            options,
            open: None,
            next_segment,
            next_seq,
            unfinished: Vec::new(),
            unfinished_frames: 0,
        }
    }

    /// Adds a group that the next commit makes durable, after all groups before it.
    pub fn stage(&mut self, group: &Group) {
        let first = self.next_seq + self.unfinished_frames;
        group.frame(first, &mut self.unfinished);
        self.unfinished_frames += group.len() as u64;
    }

    /// Stages a group and commits it.
    pub fn commit(&mut self, group: &Group) -> Result<(), LogError> {
        self.stage(group);
        self.commit_staged()
    }

    /// Makes all that was staged durable. After an error it stays staged: try again, and stage nothing twice.
    pub fn commit_staged(&mut self) -> Result<(), LogError> {
        if self.unfinished_frames == 0 {
            return Ok(());
        }
        let mut attempt = 1;
        while let Err(error) = self.write() {
            // After a failed sync the kernel may call the same pages clean: only a new file can be believed.
            self.abandon();
            if attempt == ATTEMPTS {
                return Err(LogError::NotDurable(error));
            }
            attempt += 1;
        }
        self.next_seq += self.unfinished_frames;
        self.unfinished.clear();
        self.unfinished_frames = 0;
        if self
            .open
            .as_ref()
            .is_some_and(|it| it.bytes >= self.options.segment_bytes)
        {
            self.open = None;
        }
        Ok(())
    }

    /// Frames committed from now on go to a new segment, whose id this is.
    pub fn rotate(&mut self) -> u64 {
        self.open = None;
        self.next_segment
    }

    /// Never touches the open segment again. One in which nothing was acknowledged is removed, so that a disk
    /// that stays full does not fill with names too; if that fails, a replay passes over it.
    fn abandon(&mut self) {
        if let Some(open) = self.open.take().filter(|it| it.bytes == EMPTY_BYTES) {
            drop(open.file);
            let _ = self.disk.remove(&segment::name(open.id));
            let _ = self.disk.sync_folder();
        }
    }

    fn write(&mut self) -> io::Result<()> {
        if self.open.is_none() {
            self.open = Some(self.create()?);
        }
        let Some(open) = &mut self.open else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if open.bytes == EMPTY_BYTES {
            open.file.append(&segment::header(self.next_seq))?;
        }
        open.file.append(&self.unfinished)?;
        open.file.sync()?;
        if !open.named {
            self.disk.sync_folder()?;
            open.named = true;
        }
        open.bytes += self.unfinished.len() as u64;
        Ok(())
    }

    fn create(&mut self) -> io::Result<Open> {
        loop {
            let id = self.next_segment;
            self.next_segment += 1;
            match self.disk.create(&segment::name(id)) {
                Ok(file) => {
                    return Ok(Open {
                        id,
                        file,
                        bytes: EMPTY_BYTES,
                        named: false,
                    });
                }
                // Left by a process that died before the folder was synced.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Removes segments before `id`: nobody needs what is in them.
pub fn remove_segments_before(disk: &dyn Disk, id: u64) -> Result<(), LogError> {
    let remove = || {
        let mut removed = false;
        for name in disk.list()? {
            if segment::id(&name).is_some_and(|found| found < id) {
                disk.remove(&name)?;
                removed = true;
            }
        }
        if removed { disk.sync_folder() } else { Ok(()) }
    };
    remove().map_err(LogError::Remove)
}

#[cfg(test)]
mod tests;
