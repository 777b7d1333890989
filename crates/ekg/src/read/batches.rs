//! A selection in the order of its labels, so many series at a time.
//!
//! Guarantees: what is in memory at once is about [`BATCH_SAMPLES`](super::BATCH_SAMPLES) samples, or one series.
//! Each batch is consistent in itself; a series that comes while others are read may be missing.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_tsdb::{Damage, Labels, MatchOp, Matcher, ReadError, SeriesSlice, Tsdb};

use super::{BATCH_SAMPLES, Query};

/// Series of the first batch, of which nothing is known yet.
const FIRST: usize = 16;
/// Series of any batch.
const SERIES_MAX: usize = 2_000;
/// Values of a label by which a batch is found again; with more the label does not help.
const VALUES_MAX: usize = SERIES_MAX;

/// The batches of one query.
pub(super) struct Batches<'a> {
    tsdb: &'a Tsdb,
    query: &'a Query,
    /// What is still to be read, the last first.
    left: Vec<Labels>,
    next: usize,
}

impl<'a> Batches<'a> {
    pub(super) fn new(tsdb: &'a Tsdb, query: &'a Query) -> Result<Self, ReadError> {
        // What cannot be read ends the reading once its samples are wanted.
        let mut damage = Damage::default();
        let (start_ms, end_ms) = (query.start_ms, query.end_ms);
        let mut left = tsdb.series(&query.matchers, start_ms, end_ms, &mut damage)?;
        left.sort_unstable_by(|a, b| b.cmp(a));
        Ok(Self {
            tsdb,
            query,
            left,
            next: FIRST,
        })
    }

    /// The next series in order; nothing after the last.
    pub(super) fn next(&mut self) -> Result<Option<Vec<SeriesSlice>>, ReadError> {
        if self.left.is_empty() {
            return Ok(None);
        }
        let rest = self.left.len().saturating_sub(self.next);
        let batch: BTreeSet<Labels> = self.left.drain(rest..).collect();
        let Query {
            start_ms, end_ms, ..
        } = *self.query;
        if self.query.labels_only {
            let empty = |labels| SeriesSlice {
                labels,
                timestamps: std::sync::Arc::default(),
                values: std::sync::Arc::default(),
                histograms: Vec::new(),
            };
            return Ok(Some(batch.into_iter().map(empty).collect()));
        }
        let mut matchers = self.query.matchers.clone();
        matchers.extend(narrowed(&batch));
        let mut found = self.tsdb.select(&matchers, start_ms, end_ms)?;
        found.retain(|it| batch.contains(&it.labels));
        let samples: usize = found.iter().map(super::answer::weight).sum();
        let one = samples.div_ceil(found.len().max(1)).max(1);
        self.next = (BATCH_SAMPLES / one).clamp(1, SERIES_MAX);
        Ok(Some(found))
    }
}

/// Matchers that take all of a batch and little else.
pub(crate) fn narrowed(batch: &BTreeSet<Labels>) -> Vec<Matcher> {
    let mut values: BTreeMap<&str, (usize, BTreeSet<&str>)> = BTreeMap::new();
    for (name, value) in batch.iter().flat_map(Labels::iter) {
        let (count, all) = values.entry(name).or_default();
        *count += 1;
        all.insert(value);
    }
    let everywhere = values.into_iter().filter(|(_, (count, all))| {
        // A label that some lack has no list of values that takes them all.
        *count == batch.len() && all.len() <= VALUES_MAX
    });
    let matcher = |(name, (_, all)): (&str, (usize, BTreeSet<&str>))| {
        let all: Vec<String> = all.into_iter().map(regex::escape).collect();
        // An expression that is too large is left out: it would only have made the reading shorter.
        Matcher::new(name, MatchOp::Regex, all.join("|")).ok()
    };
    everywhere.filter_map(matcher).collect()
}
