//! What a rule holds of the series that it selects: the newest sample of each, or those of a range.
//!
//! Guarantees: holds no sample that no later time can see; one that comes late stands where its time puts it,
//! and one from ahead of the clock is not seen before its time. A second sample of one time is left out, as
//! the store leaves it out.

use std::collections::BTreeMap;

use mainstay_promql::{
    Labels, Matcher, Span,
    pieces::{OverRange, Taken, is_stale},
};

/// What is made of a series' samples.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Reads {
    /// The newest value.
    Newest,
    /// The newest sample's time, in seconds.
    NewestTime,
    /// A function of those in the range.
    Over(OverRange),
}

/// One selector and the series that it selects.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    pub(super) matchers: Vec<Matcher>,
    /// Where it stands in the expression.
    pub(super) span: Span,
    pub(super) reads: Reads,
    /// How far back it looks, open at that end.
    pub(super) reach_ms: i64,
    series: Vec<Held>,
    /// Series that are held already and were not asked for yet.
    kept: BTreeMap<Labels, u32>,
}

/// Samples of one series, those before `from` forgotten.
#[derive(Debug, Clone, Default)]
struct Held {
    labels: Labels,
    timestamps: Vec<i64>,
    values: Vec<f64>,
    from: usize,
    /// When the wheel looks at this series.
    armed_ms: Option<i64>,
}

impl Leaf {
    pub(super) fn new((matchers, span): (Vec<Matcher>, Span), reads: Reads, reach_ms: i64) -> Self {
        Self {
            matchers,
            span,
            reads,
            reach_ms,
            series: Vec::new(),
            kept: BTreeMap::new(),
        }
    }

    pub(super) fn selects(&self, labels: &Labels) -> bool {
        let value = |name: &str| labels.get(name).unwrap_or("");
        self.matchers.iter().all(|it| it.matches(value(&it.name)))
    }

    /// What it gives is another quantity than what it selects.
    pub(super) fn drops_name(&self) -> bool {
        match &self.reads {
            Reads::Newest => false,
            Reads::NewestTime => true,
            Reads::Over(over) => !over.keeps_name(),
        }
    }

    /// The number of a series that is to be found again when it is opened.
    pub(super) fn keep(&mut self, labels: &Labels) -> u32 {
        let row = self.open(labels);
        self.kept.insert(labels.clone(), row);
        row
    }

    /// The number of a series.
    pub(super) fn open(&mut self, labels: &Labels) -> u32 {
        if let Some(row) = self.kept.remove(labels) {
            return row;
        }
        self.series.push(Held {
            labels: labels.clone(),
            ..Held::default()
        });
        (self.series.len() - 1) as u32
    }

    pub(super) fn labels(&self, row: u32) -> &Labels {
        &self.series[row as usize].labels
    }

    /// Takes a sample; whether it was new.
    pub(super) fn take(&mut self, row: u32, at_ms: i64, value: f64) -> bool {
        // Under a range a marker counts for nothing.
        if is_stale(value) && matches!(self.reads, Reads::Over(_)) {
            return false;
        }
        self.series[row as usize].insert(at_ms, value)
    }

    /// Forgets what can no longer be seen at `now_ms`; how many samples those were.
    pub(super) fn forget(&mut self, row: u32, now_ms: i64) -> usize {
        let oldest_ms = now_ms - self.reach_ms;
        let held = &mut self.series[row as usize];
        let mut seen_from = held.timestamps.partition_point(|at| *at <= oldest_ms);
        if !matches!(self.reads, Reads::Over(_)) {
            let seen = held.timestamps.partition_point(|at| *at <= now_ms);
            seen_from = seen_from.max(seen.saturating_sub(1));
        }
        held.forget(seen_from)
    }

    /// The value at `now_ms`.
    pub(super) fn value(&self, row: u32, now_ms: i64) -> Option<f64> {
        let held = &self.series[row as usize];
        let oldest_ms = now_ms - self.reach_ms;
        let from = held.timestamps.partition_point(|at| *at <= oldest_ms);
        let from = from.max(held.from);
        let to = held.timestamps.partition_point(|at| *at <= now_ms);
        if from >= to {
            return None;
        }
        let (timestamps, values) = (&held.timestamps[from..to], &held.values[from..to]);
        let newest = values.last().copied().filter(|it| !is_stale(*it))?;
        match &self.reads {
            Reads::Newest => Some(newest),
            Reads::NewestTime => timestamps.last().map(|at| *at as f64 / 1e3),
            Reads::Over(over) => over.value(&Taken {
                timestamps,
                values,
                start_ms: oldest_ms,
                end_ms: now_ms,
            }),
        }
    }

    /// When the wheel should look at the series next, unless it will by then anyway.
    pub(super) fn arm(&mut self, row: u32, now_ms: i64) -> Option<i64> {
        let reach_ms = self.reach_ms;
        let newest_only = !matches!(self.reads, Reads::Over(_));
        let held = &mut self.series[row as usize];
        let due_ms = held.next_change(now_ms, reach_ms, newest_only)?;
        if held.armed_ms.is_some_and(|armed| armed <= due_ms) {
            return None;
        }
        held.armed_ms = Some(due_ms);
        Some(due_ms)
    }

    /// The wheel came round to it.
    pub(super) fn disarm(&mut self, row: u32) {
        self.series[row as usize].armed_ms = None;
    }

    /// How many series there are, and how many of them have a sample.
    pub(super) fn counts(&self) -> (usize, usize) {
        let live = self.series.iter().filter(|it| it.len() > 0).count();
        (self.series.len(), live)
    }

    /// Every series that has a sample, with its samples.
    pub(super) fn samples(&self) -> impl Iterator<Item = (&Labels, &[i64], &[f64])> {
        let live = self.series.iter().filter(|it| it.len() > 0);
        live.map(|it| (&it.labels, &it.timestamps[it.from..], &it.values[it.from..]))
    }
}

impl Held {
    fn len(&self) -> usize {
        self.timestamps.len() - self.from
    }

    fn insert(&mut self, at_ms: i64, value: f64) -> bool {
        if self.timestamps.last().is_none_or(|last| *last < at_ms) {
            self.timestamps.push(at_ms);
            self.values.push(value);
            return true;
        }
        let at = self.timestamps.partition_point(|it| *it < at_ms);
        if at < self.from || self.timestamps.get(at) == Some(&at_ms) {
            return false;
        }
        self.timestamps.insert(at, at_ms);
        self.values.insert(at, value);
        true
    }

    fn forget(&mut self, seen_from: usize) -> usize {
        let before = self.from;
        self.from = self.from.max(seen_from);
        let gone = self.from - before;
        // Moving the rest is paid for by as many that are gone.
        if self.from > self.timestamps.len() / 2 {
            self.timestamps.drain(..self.from);
            self.values.drain(..self.from);
            self.from = 0;
        }
        gone
    }

    /// When the value changes by itself: a sample's time comes, or the oldest leaves the range.
    fn next_change(&self, now_ms: i64, reach_ms: i64, newest_only: bool) -> Option<i64> {
        let seen = self.timestamps.partition_point(|at| *at <= now_ms);
        let ahead = self.timestamps.get(seen.max(self.from)).copied();
        let oldest = if newest_only {
            seen.checked_sub(1).filter(|at| *at >= self.from)
        } else {
            (self.from < seen).then_some(self.from)
        };
        let leaves = oldest.map(|at| self.timestamps[at].saturating_add(reach_ms));
        match (ahead, leaves) {
            (Some(ahead), Some(leaves)) => Some(ahead.min(leaves)),
            (ahead, leaves) => ahead.or(leaves),
        }
    }
}
