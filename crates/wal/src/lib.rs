//! A write-ahead log: frames, committed in groups, that survive whatever was promised to survive.
//!
//! Guarantees: [`Log::commit`] returns after the group and the folder that names its file are synced, and not
//! before; a file whose sync failed once is never written or synced again, its group goes to a new one; groups
//! become durable in the order of their commits. [`replay`] gives back every frame that was committed, each
//! once, in order, with bounded memory; what it cannot give back it reports: a torn end is cut, a gap is named.
//! It never reads a clock, never waits and never decides what a frame means.
//!
//! ```
//! use mainstay_wal::{Group, Log, LogOptions, MemoryDisk, Seen, replay};
//! use std::sync::Arc;
//! let disk = Arc::new(MemoryDisk::default());
//! let mut log = Log::start(disk.clone(), LogOptions::default(), 1, 0);
//! let mut group = Group::default();
//! group.push(7, b"kept");
//! log.commit(&group)?;
//! disk.crash(|_| 0);
//! let mut found = Vec::new();
//! let replayed = replay(&*disk, 0, &mut |seen| match seen {
//!     Seen::Frame { kind, payload } => found.push((kind, payload.to_vec())),
//!     Seen::Gap(_) => {}
//! })?;
//! assert_eq!(found, [(7, b"kept".to_vec())]);
//! assert_eq!(replayed.next_seq, 1);
//! # Ok::<(), mainstay_wal::LogError>(())
//! ```

mod disk;
mod frame;
mod log;
mod replay;
mod segment;

pub use disk::{
    Disk, DiskFile, DiskRead, LocalDisk, MemoryDisk, SPARE_BYTES, number_in_name, numbered_name,
};
pub use frame::{Group, MAX_PAYLOAD_BYTES};
pub use log::{Log, LogError, LogOptions, remove_segments_before};
pub use replay::{Cut, Gap, Replayed, Seen, replay};
