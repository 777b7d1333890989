//! The head: the one place where samples come in.
//!
//! Guarantees: per series timestamps ascend, but for late ones within [`HeadLimits::late_ms`]; a refused sample
//! changes nothing; what was appended can be read at once and is acknowledged once it is durable. One thread owns
//! it, which waits neither for readers nor for the disk: while that fails, samples are taken and read as ever, and
//! nobody is told that they are kept. It never reads a clock and never exceeds its limits.
//!
//! ```
//! use mainstay_tsdb::{AppendError, Head, HeadLimits, Labels};
//! let mut head = Head::new(HeadLimits::default());
//! let up = Labels::from_pairs([("__name__", "up")])?;
//! head.append(&up, 2_000, 1.0)?;
//! assert!(matches!(head.append(&up, 1_000, 1.0), Err(AppendError::OutOfOrder { .. })));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::sync::Arc;

use mainstay_wal::Group;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    Acknowledge, AppendError, HeadLimits, Labels, NotDurable, Tsdb,
    clock::Clock,
    journal::{Ended, Journal},
    keys::Key,
    labels::Pairs,
    memtable::Memtable,
    record::{Change, Kind, Recorder},
    roster::{Beside, Roster, State},
    seal::Sealer,
    series::Entry,
    tenants::{Gate, TenantId, TenantLimits, Tenants},
    view::View,
};

/// Bytes of records after which values begin at zero again: what one damaged frame can spoil at most.
const EPOCH_BYTES: usize = 32 << 20;
/// A table of series is left behind when it has more than twice as many as were written to, and so many more.
const SPARE_SERIES: usize = 1_024;

/// So many times [`HeadLimits::frozen_samples`] in memory, and generations that end are dropped: a disk that fails for
/// days must not take the process, and its alerts, with it.
const FROZEN_TIMES_MAX: usize = 2;

/// Samples that nobody waits for are made durable after so long at most, as long as others come, else by
/// [`Head::flush`] …
const COMMIT_EVERY_MS: i64 = 250;
/// … and when they take so many bytes.
const COMMIT_BYTES: usize = 1 << 20;

/// Which series of a head it is, as long as its [numbering](Head::numbering) lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesNumber(u32);

impl SeriesNumber {
    /// A place in a table over all series.
    pub fn place(self) -> usize {
        self.0 as usize
    }
}

/// See the module.
#[derive(Debug)]
pub struct Head {
    limits: HeadLimits,
    tsdb: Tsdb,
    active: Arc<Memtable>,
    roster: Roster,
    /// The series before the table was last left behind, to carry over what is remembered.
    before: Option<Roster>,
    generation: u32,
    numbering: u32,
    /// Series written to in this generation.
    entered: usize,
    /// Counts how often the log was begun anew.
    defining: u32,
    /// When the generation began, on the clock of those who append.
    began_ms: Option<i64>,
    clock: Clock,
    epoch: u32,
    /// Bytes logged in this epoch.
    epoch_bytes: usize,
    recorder: Recorder,
    group: Group,
    journal: Option<Journal>,
    /// Ends after the journal, which hands generations on to it.
    sealer: Option<Sealer>,
    /// Nothing is logged at the moment, because the disk fails.
    unlogged: bool,
    /// When samples were last handed over to the disk, on the clock of those who append.
    committed_ms: i64,
    /// What those may who share the head.
    gate: Option<Gate>,
}

impl Head {
    /// An empty head that keeps nothing on disk and drops what is older than [`HeadLimits::retention_ms`].
    pub fn new(limits: HeadLimits) -> Self {
        let roster = Roster::new(limits.max_series);
        let active = Arc::new(Memtable::new(Arc::clone(roster.table()), limits.max_series));
        let view = View {
            active: Arc::clone(&active),
            frozen: Vec::new(),
            parts: Vec::new(),
            listed: Arc::default(),
        };
        Self {
            limits,
            tsdb: Tsdb::over(view),
            active,
            roster,
            before: None,
            generation: 1,
            numbering: 0,
            entered: 0,
            defining: 0,
            began_ms: None,
            clock: Clock::default(),
            epoch: 1,
            epoch_bytes: 0,
            recorder: Recorder::default(),
            group: Group::default(),
            journal: None,
            sealer: None,
            unlogged: false,
            committed_ms: i64::MIN,
            gate: None,
        }
    }

    /// From now on those who share the head may have so much each; how they stand.
    pub fn limit_tenants(&mut self, limits: TenantLimits) -> Tenants {
        let mut gate = Gate::new(limits);
        for id in 0..self.roster.table().len() {
            if let Some((state, table)) = self.roster.remembered(id)
                && let Some(entry) = table.get(id)
            {
                state.tenant = gate.owner(entry.labels.key());
                gate.entered(state.tenant);
            }
        }
        let tenants = gate.tenants();
        self.gate = Some(gate);
        tenants
    }

    /// The samples, to read.
    pub fn tsdb(&self) -> Tsdb {
        self.tsdb.clone()
    }

    /// Whether what is appended from now on will be durable once it is acknowledged. While it will not, samples can
    /// be appended all the same: they are there until the process ends.
    pub fn ready(&mut self) -> Result<(), NotDurable> {
        let Some(journal) = &self.journal else {
            return Ok(());
        };
        let checked = journal.check();
        match (&checked, self.unlogged) {
            (Ok(()), true) => {
                self.unlogged = false;
                self.begin_log();
            }
            (Err(_), false) => {
                self.hand_over(None);
                self.unlogged = true;
            }
            (Ok(()), false) | (Err(_), true) => {}
        }
        checked.and_then(|()| self.room())
    }

    /// Whether there is room in memory for what the disk does not take.
    fn room(&self) -> Result<(), NotDurable> {
        let Some(sealer) = &self.sealer else {
            return Ok(());
        };
        let (waiting, limit) = (
            self.tsdb.view().frozen_samples(),
            self.limits.frozen_samples,
        );
        if waiting <= limit {
            return Ok(());
        }
        let why = sealer.failing().unwrap_or_else(|| {
            "the disk is slower than what comes in: send it again later".to_owned()
        });
        Err(NotDurable(format!(
            "{waiting} samples wait in memory to be sealed, the limit is {limit}: {why}"
        )))
    }

    /// Whether nothing will be durable any more, because a thread that writes has died.
    pub fn is_broken(&self) -> bool {
        self.journal.as_ref().is_some_and(Journal::is_dead)
            || self.sealer.as_ref().is_some_and(Sealer::is_dead)
    }

    /// Makes all that was appended durable and tells `acknowledge`; a head without a disk tells it at once.
    pub fn commit(&mut self, acknowledge: Acknowledge) {
        self.hand_over(Some(acknowledge));
    }

    /// Makes durable what was appended and nobody waits for, if it has waited long enough at `now_ms`.
    pub fn commit_at_leisure(&mut self, now_ms: i64) {
        let due = now_ms.saturating_sub(self.committed_ms) >= COMMIT_EVERY_MS;
        if due || self.recorder.bytes() >= COMMIT_BYTES {
            self.committed_ms = now_ms;
            self.hand_over(None);
        }
    }

    /// Makes all that was appended durable, which nobody waits for: for whoever sees that nothing more comes.
    pub fn flush(&mut self) {
        self.hand_over(None);
    }

    fn hand_over(&mut self, acknowledge: Option<Acknowledge>) {
        self.record();
        match &self.journal {
            None => acknowledge.into_iter().for_each(|tell| tell(Ok(()))),
            Some(journal) if self.unlogged => {
                if let Some(tell) = acknowledge {
                    let why = NotDurable("samples are not logged at the moment".to_owned());
                    tell(Err(journal.check().err().unwrap_or(why)));
                }
            }
            Some(journal) => {
                let group = std::mem::take(&mut self.group);
                if !group.is_empty() || acknowledge.is_some() {
                    journal.commit(group, acknowledge);
                }
            }
        }
    }

    /// Ends the generation if it has lasted long enough at `now_ms`, or has enough samples; drops what is old.
    pub fn tend(&mut self, now_ms: i64) {
        if let Some(gate) = &mut self.gate {
            gate.tick(now_ms);
        }
        let now_ms = self.clock.believed(now_ms);
        // A clock that went back must not make the generation last longer.
        let began_ms = self.began_ms.map_or(now_ms, |began| began.min(now_ms));
        self.began_ms = Some(began_ms);
        let due = now_ms.saturating_sub(began_ms) >= self.limits.generation_ms;
        let full = self.active.weight() >= self.limits.generation_samples;
        if !(due || full) {
            return;
        }
        if self.journal.is_none() {
            self.forget(now_ms.saturating_sub(self.limits.retention_ms));
        }
        self.cut(now_ms);
        self.began_ms = Some(now_ms);
    }

    /// Drops generations without a disk that ended before `oldest_ms`.
    fn forget(&self, oldest_ms: i64) {
        let young = |it: &&Arc<Memtable>| it.newest_ms() >= oldest_ms;
        self.tsdb.publish(|view| View {
            active: Arc::clone(&view.active),
            frozen: view.frozen.iter().filter(young).cloned().collect(),
            parts: view.parts.clone(),
            listed: Arc::clone(&view.listed),
        });
    }

    /// Adds a sample. Repeating one exactly (same time, same bits) that is the newest of its series, or not sealed yet,
    /// is accepted and changes nothing, so a repeated batch is harmless.
    pub fn append(&mut self, labels: &Labels, at_ms: i64, value: f64) -> Result<(), AppendError> {
        self.append_as(labels, (at_ms, value), None)
    }

    /// Like [`Head::append`], for a counter known to have been zero just before this sample (its process
    /// started after the previous scrape). If this call creates the series, [`Tsdb::counts`] counts its
    /// first value in full; on an existing series it changes nothing.
    pub fn append_born_from_zero(
        &mut self,
        labels: &Labels,
        at_ms: i64,
        value: f64,
    ) -> Result<(), AppendError> {
        self.append_as(labels, (at_ms, value), Some(at_ms))
    }

    fn append_as(
        &mut self,
        labels: &Labels,
        (at_ms, value): (i64, f64),
        born_ms: Option<i64>,
    ) -> Result<(), AppendError> {
        let id = self.series(labels, born_ms)?;
        self.put_within(id, at_ms, value.to_bits())
    }

    /// Adds a sample of a series if whoever it belongs to may have more.
    fn put_within(&mut self, id: u32, at_ms: i64, bits: u64) -> Result<(), AppendError> {
        let Some(gate) = &mut self.gate else {
            return self.put(id, at_ms, bits).map(|_| ());
        };
        let tenant = self
            .roster
            .state(id)
            .map_or(TenantId::NOBODY, |it| it.tenant);
        gate.has_room(tenant)?;
        let is_new = self.put(id, at_ms, bits)?;
        if is_new && let Some(gate) = &mut self.gate {
            gate.spend(tenant);
        }
        Ok(())
    }

    /// Adds a sample of the series that `key` names, which mostly is the one that came after `last` before: it is then
    /// found without a hash. `born` as in [`Head::append_born_from_zero`]. Says which series it is, for
    /// [`Head::append_next`] and as the `last` of what follows; any other number costs time, and nothing else.
    pub fn append_keyed(
        &mut self,
        key: Key<'_>,
        last: Option<SeriesNumber>,
        (at_ms, value): (i64, f64),
        born: bool,
    ) -> Result<SeriesNumber, AppendError> {
        let last = last.map(|last| last.0);
        let expected = last.and_then(|last| self.roster.find_after(last, key.text()));
        let id = if let Some(id) = expected {
            id
        } else {
            let hash = xxh3_64(key.text().as_bytes());
            let found = self.roster.find(hash, key.text());
            let born_ms = born.then_some(at_ms);
            let id = found.map_or_else(|| self.create(hash, key.text(), born_ms), Ok)?;
            if let Some(last) = last {
                self.roster.follow(last, id);
            }
            id
        };
        self.put_within(id, at_ms, value.to_bits())?;
        Ok(SeriesNumber(id))
    }

    /// Adds one more sample of a series that was named since the head was last [tended](Head::tend).
    pub fn append_next(
        &mut self,
        SeriesNumber(id): SeriesNumber,
        (at_ms, value): (i64, f64),
    ) -> Result<(), AppendError> {
        self.put_within(id, at_ms, value.to_bits())
    }

    /// The labels of a series that was named since the head was last tended.
    pub fn labels(&self, SeriesNumber(id): SeriesNumber) -> Option<&Labels> {
        self.roster.table().get(id).map(|entry| &entry.labels)
    }

    /// Counts how often numbers of series have come to mean something else.
    pub fn numbering(&self) -> u32 {
        self.numbering
    }

    /// The number of a series, which is made if there is none.
    fn series(&mut self, labels: &Labels, born_ms: Option<i64>) -> Result<u32, AppendError> {
        let (hash, key) = (labels.hash64(), labels.key());
        let found = self.roster.find(hash, key);
        found.map_or_else(|| self.create(hash, key, born_ms), Ok)
    }

    fn create(&mut self, hash: u64, key: &str, born_ms: Option<i64>) -> Result<u32, AppendError> {
        let carried = self.before.as_ref().and_then(|before| {
            let id = before.find(hash, key)?;
            let beside = before.beside.get(&id);
            Some((before.table().get(id)?, before.state(id)?, beside))
        });
        let tenant = self.gate.as_mut().map(|it| it.owner(key));
        let tenant = tenant.unwrap_or(TenantId::NOBODY);
        let mut carried_beside = None;
        let (entry, state) = if let Some((entry, state, beside)) = carried {
            carried_beside = beside.map(|it| it.newest.clone());
            let state = State {
                newest_ms: state.newest_ms,
                newest_bits: state.newest_bits,
                samples: state.samples,
                tenant,
                ..State::new()
            };
            let (labels, born_ms) = (entry.labels.clone(), entry.born_ms);
            (Entry { labels, born_ms }, state)
        } else {
            self.check_labels(key)?;
            if let Some(gate) = &self.gate {
                gate.admits(tenant, key)?;
            }
            let labels = Labels::from_known_key(key);
            let state = State {
                tenant,
                ..State::new()
            };
            (Entry { labels, born_ms }, state)
        };
        let limit = self.limits.max_series;
        let id = self.roster.insert(hash, entry, state);
        let id = id.ok_or(AppendError::TooManySeries { limit })?;
        if let Some(newest) = carried_beside {
            self.roster.beside.insert(id, Beside::carried(newest));
        }
        if let Some(gate) = &self.gate {
            gate.entered(tenant);
        }
        Ok(id)
    }

    fn check_labels(&self, key: &str) -> Result<(), AppendError> {
        let (mut count, mut bytes) = (0, 0);
        for (name, value) in Pairs::of(key) {
            count += 1;
            bytes += name.len() + value.len();
        }
        if count > self.limits.max_labels {
            let limit = self.limits.max_labels;
            return Err(AppendError::TooManyLabels { count, limit });
        }
        if bytes > self.limits.max_label_bytes {
            let limit = self.limits.max_label_bytes;
            return Err(AppendError::LabelsTooLong { bytes, limit });
        }
        Ok(())
    }

    /// Adds a sample of a series; whether it was new.
    fn put(&mut self, id: u32, at_ms: i64, bits: u64) -> Result<bool, AppendError> {
        let Some(state) = self.roster.state(id) else {
            unreachable!("the roster remembers every series that it gave a number");
        };
        let newest_ms = state.newest_ms;
        let histogram = || self.roster.beside.get(&id);
        if at_ms == newest_ms
            && bits == state.newest_bits
            && histogram().is_none_or(|it| it.newest.at_ms != at_ms)
        {
            return Ok(false);
        }
        let late = at_ms <= newest_ms;
        let is_taken = late && self.active.has_histogram(id, at_ms);
        if late && self.holds(id, at_ms, bits) {
            return Ok(false);
        }
        let Some((state, table)) = self.roster.remembered(id) else {
            unreachable!("the roster remembers every series that it gave a number");
        };
        if late {
            let labels = || {
                table
                    .get(id)
                    .map(|it| it.labels.clone())
                    .unwrap_or_default()
            };
            if at_ms == newest_ms || is_taken {
                let labels = labels();
                return Err(AppendError::DuplicateTime { labels, at_ms });
            }
            if newest_ms.saturating_sub(at_ms) > self.limits.late_ms {
                let labels = labels();
                return Err(AppendError::OutOfOrder {
                    labels,
                    newest_ms,
                    at_ms,
                });
            }
        }
        if state.generation != self.generation {
            state.generation = self.generation;
            state.page = None;
            self.entered += 1;
        }
        let before = if late || state.epoch != self.epoch {
            0
        } else {
            state.newest_bits
        };
        if self.journal.is_some() && !self.unlogged {
            if state.defined != self.defining {
                state.defined = self.defining;
                if let Some(entry) = table.get(id) {
                    let Entry { labels, born_ms } = entry;
                    self.recorder.series(id, labels, *born_ms, &mut self.group);
                }
            }
            let change = Change {
                id,
                at_ms,
                before,
                bits,
            };
            if late {
                self.recorder.late(change);
            } else {
                self.recorder.sample(change);
            }
        }
        if late {
            self.active.push_late(id, at_ms, bits);
            return Ok(true);
        }
        state.epoch = self.epoch;
        if state.page.is_none() {
            let expected = state.samples as usize + 1;
            state.page = self.active.first_page(id, expected);
            state.samples = 0;
        }
        if let Some(next) = state.page.as_ref().and_then(|page| page.push(at_ms, bits)) {
            state.page = Some(next);
        }
        state.samples += 1;
        (state.newest_ms, state.newest_bits) = (at_ms, bits);
        self.active.count(at_ms);
        Ok(true)
    }

    /// Whether memory holds exactly this sample: then its delivery is one that was repeated.
    fn holds(&self, id: u32, at_ms: i64, bits: u64) -> bool {
        let view = self.tsdb.view();
        let mut generations = view.generations().into_iter().rev();
        generations
            .any(|it| Arc::ptr_eq(it.table(), self.roster.table()) && it.has(id, at_ms, bits))
    }

    /// Makes records of what was appended.
    fn record(&mut self) {
        self.epoch_bytes += self.recorder.flush(&mut self.group);
        if self.epoch_bytes >= EPOCH_BYTES {
            self.group.push(Kind::Epoch as u8, &[]);
            self.epoch += 1;
            self.epoch_bytes = 0;
        }
    }

    /// Ends the generation, if it has samples: readers find it among the frozen, samples go to a new one from now on.
    pub(crate) fn cut(&mut self, now_ms: i64) {
        if self.active.samples() == 0 {
            return;
        }
        let ended = Arc::clone(&self.active);
        let sparse = self.roster.len() > 2 * self.entered + SPARE_SERIES;
        if sparse && let Some(gate) = &self.gate {
            gate.begin();
        }
        let retired = if sparse {
            self.numbering += 1;
            let roster = Roster::new(self.limits.max_series);
            let left = std::mem::replace(&mut self.roster, roster);
            self.before.replace(left)
        } else {
            self.before.take()
        };
        let table = Arc::clone(self.roster.table());
        self.active = Arc::new(Memtable::new(table, self.limits.max_series));
        self.generation += 1;
        self.entered = 0;
        let kept = (!self.is_crowded(&ended)).then_some(&ended);
        self.tsdb.publish(|view| View {
            active: Arc::clone(&self.active),
            frozen: view.frozen.iter().chain(kept).cloned().collect(),
            parts: view.parts.clone(),
            listed: Arc::clone(&view.listed),
        });
        self.hand_over(None);
        if kept.is_none() {
            let samples = ended.samples();
            tracing::error!(samples, "dropped: the disk takes none, and memory no more");
        } else if let Some(journal) = &self.journal {
            journal.cut(Ended {
                generation: ended,
                now_ms,
                retired,
            });
        }
        if !self.unlogged {
            self.begin_log();
        }
    }

    /// Whether there is no room in memory for a generation that ended, beside those that the disk does not take.
    fn is_crowded(&self, ended: &Memtable) -> bool {
        let limit = self.limits.frozen_samples.saturating_mul(FROZEN_TIMES_MAX);
        let waiting = self.tsdb.view().frozen_samples() + ended.samples();
        self.journal.is_some() && waiting > limit
    }

    /// Goes on where a log ended: whatever is appended from now on is kept.
    pub(crate) fn keep(&mut self, journal: Journal, sealer: Sealer) {
        self.journal = Some(journal);
        self.sealer = Some(sealer);
        self.begin_log();
    }

    /// Numbers of series and values mean nothing to the log from here on.
    fn begin_log(&mut self) {
        if self.journal.is_some() {
            self.defining += 1;
            self.epoch += 1;
            self.epoch_bytes = 0;
            self.group.push(Kind::Generation as u8, &[]);
        }
    }
}

mod orders;

/// Hands over what nobody waited for: a process that ends well loses nothing.
impl Drop for Head {
    fn drop(&mut self) {
        self.hand_over(None);
    }
}

mod histograms;
mod recover;

#[cfg(test)]
mod tests;
