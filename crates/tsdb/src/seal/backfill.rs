//! Samples from elsewhere become parts, whatever their age.
//!
//! Guarantees: a sample that is there already, by series and time, is not written again, so that the same batch twice
//! is one; of two in a batch the first counts. What would be dropped at once for its age is not written. Parts of such
//! samples stand before all others and are merged among themselves, day by day, so that the order in which the head's
//! generations came in is not disturbed.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
};

use super::{Shared, Work};
use crate::{
    Backfilled, Labels, MatchOp, Matcher, OrderError, Outcome, ReadError,
    memtable::Columns,
    merge::MergeError,
    part::{IMPORTED, Part, Tier},
    view::Gathered,
};

/// So many parts of one day, and they are merged though more may come.
const MANY_PARTS: usize = 8;

type Series = BTreeMap<Labels, Columns>;

impl Work {
    pub(super) fn backfill(
        &mut self,
        batch: Vec<Backfilled>,
        now_ms: i64,
        shared: &Shared,
    ) -> Result<Outcome, OrderError> {
        let mut outcome = Outcome::default();
        for (_, series) in self.by_day(batch, now_ms, &mut outcome) {
            let series = self.without_known(series, &mut outcome);
            if series.is_empty() {
                continue;
            }
            let write = || self.write_backfill(&series);
            let part = shared.insist("a part", write).ok_or(OrderError::Closed)?;
            outcome.written += part.meta().samples;
            outcome.parts += 1;
            self.manifest.parts.insert(0, part.id());
            self.parts.insert(0, Arc::new(part));
            self.list(&[], shared).ok_or(OrderError::Closed)?;
        }
        self.settling = false;
        Ok(outcome)
    }

    /// What is young enough, by the day, in order.
    fn by_day(
        &self,
        batch: Vec<Backfilled>,
        now_ms: i64,
        outcome: &mut Outcome,
    ) -> BTreeMap<i64, Series> {
        let mut days: BTreeMap<i64, Series> = BTreeMap::new();
        for one in batch {
            // What is only kept as a summary becomes one at once.
            let keeps_ms = self.retention.of(&one.labels);
            let keeps_ms = keeps_ms.max(self.downsampling.longest_ms());
            let oldest_ms = now_ms.saturating_sub(keeps_ms);
            for (at_ms, value) in one.samples {
                if at_ms < oldest_ms {
                    outcome.expired += 1;
                    continue;
                }
                let day = at_ms.div_euclid(self.tiers.day_ms.max(1));
                let series = days.entry(day).or_default();
                series
                    .entry(one.labels.clone())
                    .or_default()
                    .push(at_ms, value);
            }
        }
        for columns in days.values_mut().flat_map(BTreeMap::values_mut) {
            let before = columns.times.len();
            columns.order(0);
            outcome.known += (before - columns.times.len()) as u64;
        }
        days
    }

    /// What of these samples is not there yet.
    fn without_known(&self, mut series: Series, outcome: &mut Outcome) -> Series {
        let ends = |it: &Columns| Some((*it.times.first()?, *it.times.last()?));
        let ends = series.values().filter_map(ends);
        let window = ends.fold((i64::MAX, i64::MIN), |(a, b), (c, d)| (a.min(c), b.max(d)));
        let mut known = Known::default();
        let near = self
            .parts
            .iter()
            .filter(|it| it.overlaps(window.0, window.1));
        for part in near {
            if let Err(error) = known.add(part, &series) {
                // What is there twice is read once.
                tracing::warn!(%error, "what a damaged part holds may be imported again");
            }
        }
        let view = self.tsdb.view();
        if view
            .generations()
            .iter()
            .any(|it| it.overlaps(window.0, window.1))
        {
            for labels in series.keys() {
                let mut found = Gathered::default();
                view.gather(&exactly(labels), window, &mut found);
                let same = found.into_found().find(|it| it.labels == *labels);
                let columns = same.map(|it| it.columns).unwrap_or_default();
                let times = known.times.entry(labels.clone()).or_default();
                times.extend(columns.all_times());
            }
        }
        for (labels, columns) in &mut series {
            let before = columns.times.len();
            known.take_from(labels, columns);
            outcome.known += (before - columns.times.len()) as u64;
        }
        series.retain(|_, columns| !columns.is_empty());
        series
    }

    fn write_backfill(&mut self, series: &Series) -> io::Result<Part> {
        let newest = series.values().filter_map(|it| it.times.last());
        let base_ms = newest.max().copied().unwrap_or(0);
        let written = self.write_part((Tier::Hour, IMPORTED, base_ms), |_, writer| {
            for (labels, columns) in series {
                writer.push(labels, None, columns)?;
            }
            Ok(())
        });
        written.map_err(io::Error::other)
    }

    /// Merges imported parts of one day: many of them, or all once nothing more was imported for a while; `Some(false)`
    /// if something else is more urgent, `None` if the queue was closed before.
    pub(super) fn merge_imported(&mut self, shared: &Shared) -> Option<bool> {
        while let Some(inputs) = self.imported_of_a_day() {
            let merged = self.merge(&inputs, Tier::Day, shared);
            match merged {
                Ok(part) => self.replace(inputs, part, shared)?,
                Err(MergeError::Interrupted) if shared.is_closed() => return None,
                Err(MergeError::Interrupted) => return Some(false),
                Err(MergeError::Read(error @ ReadError::Damaged { .. })) => {
                    self.leave_unmerged(&inputs, &error);
                }
                Err(error @ (MergeError::Read(ReadError::Disk { .. }) | MergeError::Write(_))) => {
                    tracing::warn!(%error, "imported parts stay unmerged; it is tried again");
                    break;
                }
            }
        }
        Some(true)
    }

    fn imported_of_a_day(&self) -> Option<Vec<Arc<Part>>> {
        let mut days: BTreeMap<i64, Vec<Arc<Part>>> = BTreeMap::new();
        for part in &self.parts {
            let raw = part.meta().generations == IMPORTED && part.resolution().is_none();
            if raw && !self.damaged.contains(&part.id()) {
                let day = part.meta().newest_ms.div_euclid(self.tiers.day_ms.max(1));
                days.entry(day).or_default().push(Arc::clone(part));
            }
        }
        let unfinished = |parts: &Vec<Arc<Part>>| {
            parts.len() > 1 || parts.iter().any(|part| part.meta().tier != Tier::Day)
        };
        let wanted = |parts: &Vec<Arc<Part>>| {
            parts.len() >= MANY_PARTS || self.settling && unfinished(parts)
        };
        days.into_values().find(wanted)
    }
}

/// What is there of some series.
#[derive(Default)]
struct Known {
    times: BTreeMap<Labels, BTreeSet<i64>>,
    /// Windows that have summaries, by their length and number.
    windows: BTreeMap<Labels, BTreeSet<(i64, i64)>>,
}

impl Known {
    fn add(&mut self, part: &Arc<Part>, series: &Series) -> Result<(), ReadError> {
        let mut contents = part.contents();
        while let Some(labels) = contents.labels()? {
            if !series.contains_key(&labels) {
                continue;
            }
            let columns = contents.samples()?.1;
            let times = columns.all_times();
            match part.resolution() {
                None => self.times.entry(labels).or_default().extend(times),
                Some(resolution) => {
                    let length = resolution.ms();
                    let windows = times.map(|at_ms| (length, at_ms.div_euclid(length)));
                    self.windows.entry(labels).or_default().extend(windows);
                }
            }
        }
        Ok(())
    }

    fn take_from(&self, labels: &Labels, columns: &mut Columns) {
        if let Some(times) = self.times.get(labels) {
            columns.keep(|at_ms| !times.contains(&at_ms));
        }
        if let Some(windows) = self.windows.get(labels) {
            let lengths: BTreeSet<i64> = windows.iter().map(|(length, _)| *length).collect();
            columns.keep(|at_ms| {
                let is_there =
                    |length: &i64| windows.contains(&(*length, at_ms.div_euclid(*length)));
                !lengths.iter().any(is_there)
            });
        }
    }
}

fn exactly(labels: &Labels) -> Vec<Matcher> {
    let one = |(name, value): (&str, &str)| Matcher::new(name, MatchOp::Equal, value).ok();
    labels.iter().filter_map(one).collect()
}
