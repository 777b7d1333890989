//! Opening an engine on a disk: what was acknowledged comes back.
//!
//! Guarantees: a sample that was acknowledged can be read once this returns; what cannot be read back is counted
//! and named. Of parts only what says where everything is gets read, and of the newest how its series ended; the log is
//! replayed from where no part holds it. Memory is bounded by what a head may hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mainstay_wal::{Disk, Log, LogError, LogOptions, Replayed, Seen, replay};

use crate::{
    Damage, Head, HeadLimits, Keeping, ReadError, Tiers,
    damage::Tolerance,
    journal::{Handed, Journal},
    parts::Parts,
    record::{Kind, read_changes, read_histograms, read_series},
    retention::Retention,
    seal::{Job, Sealer, Task, Work},
    view::View,
};

/// How an engine is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// What the head may hold.
    pub limits: HeadLimits,
    /// How the log is kept.
    pub log: LogOptions,
    /// Parts go when all their samples are so much older than the clock of those who append.
    pub retention_ms: i64,
    /// How far parts are merged.
    pub tiers: Tiers,
}

impl Default for Options {
    /// 30 days.
    fn default() -> Self {
        Self {
            limits: HeadLimits::default(),
            log: LogOptions::default(),
            retention_ms: 30 * 24 * 60 * 60 * 1_000,
            tiers: Tiers::default(),
        }
    }
}

/// Why an engine cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The folder, or the manifest in it, cannot be read.
    #[error("the list of parts cannot be read: {0}")]
    Parts(#[source] std::io::Error),
    /// A thread cannot be started.
    #[error("a thread cannot be started: {0}")]
    Thread(#[source] std::io::Error),
}

/// What came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Samples of the log.
    pub samples: u64,
    /// Series that may go on.
    pub series: usize,
    /// Parts.
    pub parts: usize,
    /// Samples in them.
    pub sealed: u64,
    /// Parts that are not served, and why.
    pub damaged: Vec<ReadError>,
    /// Samples that could not be read, or not be understood after a gap.
    pub lost: u64,
    /// How the log was read.
    pub log: Replayed,
}

/// What a start would give back of the log in `disk`; nothing is started, and nothing sealed.
pub fn examine_log(disk: &dyn Disk, options: Options) -> Result<Recovered, OpenError> {
    let parts = Parts::load(disk).map_err(OpenError::Parts)?;
    let mut head = Head::new(options.limits);
    let (mut recovered, replayed) = recover(disk, &mut head, &parts, options)?;
    recovered.log = replayed;
    Ok(recovered)
}

/// Gives back what is in the log.
fn recover(
    disk: &dyn Disk,
    head: &mut Head,
    parts: &Parts,
    options: Options,
) -> Result<(Recovered, Replayed), OpenError> {
    let mut recovery = Recovery {
        head,
        ids: Vec::new(),
        values: Vec::new(),
        after_gap: false,
        recovered: Recovered::default(),
    };
    recovery.ends(parts, options.limits.generation_ms);
    let replayed = replay(disk, parts.manifest.log_from, &mut |seen| {
        recovery.see(seen);
    })?;
    Ok((recovery.recovered, replayed))
}

/// Opens the engine in `disk`.
pub fn open(disk: Arc<dyn Disk>, options: Options) -> Result<(Head, Recovered), OpenError> {
    open_keeping(disk, options, Keeping::default())
}

/// Opens the engine in `disk`; beside what [`Options::retention_ms`] says, samples are kept as `keeping` does.
pub fn open_keeping(
    disk: Arc<dyn Disk>,
    options: Options,
    keeping: Keeping,
) -> Result<(Head, Recovered), OpenError> {
    let parts = Parts::load(&*disk).map_err(OpenError::Parts)?;
    for error in &parts.damaged {
        tracing::error!(%error, "a part is not served; everything else is");
    }
    let mut head = Head::new(options.limits);
    let (mut recovered, replayed) = recover(&*disk, &mut head, &parts, options)?;
    // Whatever was in the log is sealed: so the log of this process needs nothing that was before it.
    head.cut(i64::MIN);
    let tsdb = head.tsdb();
    recovered.series = tsdb.series_count();
    recovered.parts = parts.live.len();
    recovered.sealed = parts.live.iter().map(|part| part.meta().samples).sum();
    tsdb.set_unserved(&parts.damaged);
    recovered.damaged.extend(parts.damaged);
    let generations = tsdb.view().frozen.clone();
    let listed = Arc::new(parts.manifest.clone());
    tsdb.publish(|view| View {
        active: Arc::clone(&view.active),
        frozen: view.frozen.clone(),
        parts: parts.live.clone(),
        listed: Arc::clone(&listed),
    });
    let segment = replayed.next_segment;
    let work = Work {
        disk: Arc::clone(&disk),
        tsdb,
        tiers: options.tiers,
        retention: Retention::new(options.retention_ms, keeping.retain),
        downsampling: keeping.downsampling,
        expired: BTreeMap::new(),
        settling: false,
        manifest: parts.manifest,
        parts: parts.live,
        doomed: Vec::new(),
        damaged: BTreeSet::new(),
    };
    let first = (!generations.is_empty()).then_some(Job {
        generations,
        log_from: segment,
        now_ms: i64::MIN,
    });
    let sealer = Sealer::start(work, first).map_err(OpenError::Thread)?;
    let log = Log::start(disk, options.log, segment, replayed.next_seq);
    let queue = sealer.queue();
    let hand_on = move |handed: Handed| match handed {
        Handed::Ended(ended, log_from) => queue.push(Task::Seal(Job {
            generations: vec![ended.generation],
            log_from,
            now_ms: ended.now_ms,
        })),
        Handed::Order(ordered) => queue.push(Task::Order(ordered)),
    };
    let journal = Journal::start(log, Box::new(hand_on)).map_err(OpenError::Thread)?;
    head.keep(journal, sealer);
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
    /// How series ended that may go on: those of the newest part's last generation.
    fn ends(&mut self, parts: &Parts, generation_ms: i64) {
        let Some(newest) = parts.live.last().filter(|it| it.resolution().is_none()) else {
            return;
        };
        let since_ms = newest.meta().newest_ms.saturating_sub(generation_ms);
        let mut damage = Damage::default();
        let noting = &mut Tolerance::Noting(&mut damage);
        let read = newest.ends(&[], i64::MAX, noting, &mut |labels, born_ms, last| {
            if last.at_ms >= since_ms {
                self.head.recover_end(&labels, born_ms, last);
            }
        });
        let damage = damage.into_errors().chain(read.err());
        for error in damage {
            tracing::error!(%error, "how some series ended is not known: older samples may be taken again");
            self.recovered.damaged.push(error);
        }
    }

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
            Kind::Histograms => read_histograms(payload, &mut |id, late, sample| {
                let id = self.ids.get(id as usize).copied().flatten();
                match id.filter(|_| !self.after_gap) {
                    Some(id) => {
                        self.head.recover_histogram(id, late, sample);
                        self.recovered.samples += 1;
                    }
                    None => self.recovered.lost += 1,
                }
            })?,
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
