//! Opening an engine on a disk: what was acknowledged comes back.
//!
//! Guarantees: a sample that was acknowledged can be read once this returns; what cannot be read back is counted
//! and named. Memory is bounded by what a head may hold.

use std::sync::Arc;

use mainstay_wal::{Disk, Log, LogError, LogOptions, Replayed, Seen, replay};

use crate::{
    Head, HeadLimits,
    journal::{Journal, Kept},
    record::{Kind, read_changes, read_series},
};

/// How an engine is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// What the head may hold.
    pub limits: HeadLimits,
    /// How the log is kept.
    pub log: LogOptions,
}

/// Why an engine cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A thread cannot be started.
    #[error("a thread cannot be started: {0}")]
    Thread(#[source] std::io::Error),
}

/// What came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Samples.
    pub samples: u64,
    /// Series.
    pub series: usize,
    /// Samples that could not be read, or not be understood after a gap.
    pub lost: u64,
    /// How the log was read.
    pub log: Replayed,
}

/// Opens the engine in `disk`.
pub fn open(disk: Arc<dyn Disk>, options: Options) -> Result<(Head, Recovered), OpenError> {
    let mut head = Head::new(options.limits);
    let mut recovery = Recovery {
        head: &mut head,
        ids: Vec::new(),
        values: Vec::new(),
        after_gap: false,
        recovered: Recovered::default(),
    };
    let replayed = replay(&*disk, 0, &mut |seen| recovery.see(seen))?;
    let mut recovered = recovery.recovered;
    recovered.series = head.tsdb().series_count();
    let segment = replayed.next_segment;
    let log = Log::start(disk, options.log, segment, replayed.next_seq);
    let kept = Kept::new(options.limits.retention_ms, head.newest_ms(), segment);
    head.keep(Journal::start(log, kept).map_err(OpenError::Thread)?);
    recovered.log = replayed;
    Ok((head, recovered))
}

/// A log being read back into a head.
struct Recovery<'a> {
    head: &'a mut Head,
    /// The log's number of a series → the head's.
    ids: Vec<Option<u32>>,
    /// The last value of a series by the log's number.
    values: Vec<u64>,
    /// Something is missing: what values are coded by is not known.
    after_gap: bool,
    recovered: Recovered,
}

impl Recovery<'_> {
    fn see(&mut self, seen: Seen<'_>) {
        match seen {
            Seen::Gap(_) => self.after_gap = true,
            Seen::Frame { kind, payload } => {
                let understood = self.frame(kind, payload);
                if understood.is_none() {
                    self.recovered.lost += 1;
                    self.after_gap = true;
                }
            }
        }
    }

    fn frame(&mut self, kind: u8, payload: &[u8]) -> Option<()> {
        match Kind::of(kind)? {
            Kind::Generation => {
                self.head.recover_generation();
                self.ids.clear();
                self.begin_values();
            }
            Kind::Epoch => self.begin_values(),
            Kind::Series => read_series(payload, &mut |id, labels, born_ms| {
                let known = self.head.recover_series(&labels, born_ms);
                let at = id as usize;
                if at >= self.ids.len() {
                    self.ids.resize(at + 1, None);
                }
                self.ids[at] = known;
            })?,
            Kind::Samples if self.after_gap => self.lose(payload)?,
            Kind::Samples => self.samples(payload)?,
            Kind::Late => read_changes(
                payload,
                |_| 0,
                |change| {
                    let id = self.ids.get(change.id as usize).copied().flatten();
                    match id {
                        Some(id) => {
                            self.head.recover_late(id, change.at_ms, change.bits);
                            self.recovered.samples += 1;
                        }
                        None => self.recovered.lost += 1,
                    }
                },
            )?,
        }
        Some(())
    }

    fn begin_values(&mut self) {
        self.values.clear();
        self.after_gap = false;
    }

    fn samples(&mut self, payload: &[u8]) -> Option<()> {
        let values = std::cell::RefCell::new(&mut self.values);
        let (ids, head, recovered) = (&self.ids, &mut self.head, &mut self.recovered);
        read_changes(
            payload,
            |id| values.borrow().get(id as usize).copied().unwrap_or(0),
            |change| {
                let at = change.id as usize;
                let mut values = values.borrow_mut();
                if at >= values.len() && at < ids.len() {
                    values.resize(ids.len(), 0);
                }
                if let Some(value) = values.get_mut(at) {
                    *value = change.bits;
                }
                match ids.get(at).copied().flatten() {
                    Some(id) => {
                        let new = head.recover_sample(id, change.at_ms, change.bits);
                        recovered.samples += u64::from(new);
                    }
                    None => recovered.lost += 1,
                }
            },
        )
    }

    fn lose(&mut self, payload: &[u8]) -> Option<()> {
        let lost = &mut self.recovered.lost;
        read_changes(payload, |_| 0, |_| *lost += 1)
    }
}

#[cfg(test)]
mod tests;
