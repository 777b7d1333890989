//! Reading summaries: what stands for old samples, beside younger ones as they came in.

use std::sync::Arc;

use super::{AGGREGATE, Aggregate, Resolution};
use crate::{
    Damage, Labels, MatchOp, Matcher, ReadError, SeriesSlice, Tsdb, is_stale,
    memtable::Columns,
    part::Part,
    view::{Gathered, slices},
};

/// A stretch of time of which some samples are summaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coarse {
    /// Its first sample's time.
    pub oldest_ms: i64,
    /// Its last sample's time.
    pub newest_ms: i64,
    /// How coarse they are.
    pub resolution: Resolution,
}

impl Tsdb {
    /// Where in a window samples are summaries, from the oldest on.
    pub fn coarse(&self, start_ms: i64, end_ms: i64) -> Vec<Coarse> {
        let view = self.view();
        let mut coarse: Vec<Coarse> = view
            .parts_within(start_ms, end_ms)
            .filter_map(|part| {
                Some(Coarse {
                    oldest_ms: part.meta().oldest_ms,
                    newest_ms: part.meta().newest_ms,
                    resolution: part.resolution()?,
                })
            })
            .collect();
        coarse.sort_by_key(|it| it.oldest_ms);
        coarse
    }

    /// Like [`Tsdb::select_around`], an aggregate of each window in place of its samples; a sample as it came in is a
    /// window of its own.
    pub fn select_aggregate(
        &self,
        aggregate: Aggregate,
        matchers: &[Matcher],
        (start_ms, end_ms): (i64, i64),
        damage: &mut Damage,
    ) -> Result<Vec<SeriesSlice>, ReadError> {
        let (view, mut tolerance) = (self.view(), self.tolerance(damage)?);
        let window = (start_ms, end_ms);
        let mut gathered = Gathered::default();
        let mut of_it = matchers.to_vec();
        // An equality needs no expression that could be wrong.
        of_it.extend(Matcher::new(AGGREGATE, MatchOp::Equal, aggregate.name()));
        for part in view.parts_within(start_ms, end_ms) {
            if part.resolution().is_some() {
                part.find(&of_it, window, &mut tolerance, &mut |labels, _, columns| {
                    gathered.add(&without_aggregate(&labels), None, columns);
                })?;
                // Nothing stands for histograms that were left out: those that are there stand for themselves.
                let plain = plain(part, matchers);
                part.find(&plain, window, &mut tolerance, &mut |labels, _, columns| {
                    let histograms = Columns {
                        histograms: columns.histograms,
                        ..Columns::default()
                    };
                    if !histograms.is_empty() {
                        gathered.add(&labels, None, each(aggregate, &histograms));
                    }
                })?;
            } else {
                part.find(
                    matchers,
                    window,
                    &mut tolerance,
                    &mut |labels, _, columns| {
                        gathered.add(&labels, None, each(aggregate, &columns));
                    },
                )?;
            }
        }
        let mut young = Gathered::default();
        view.gather(matchers, window, &mut young);
        for found in young.into_found() {
            gathered.add(&found.labels, None, each(aggregate, &found.columns));
        }
        let mut found: Vec<_> = gathered.into_found().collect();
        found.retain(|it| !it.columns.is_empty());
        found.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        Ok(slices(found))
    }
}

/// Each sample as a window.
fn each(aggregate: Aggregate, columns: &Columns) -> Columns {
    let mut windows = Columns::default();
    for (at_ms, value) in columns.times.iter().zip(&columns.values) {
        if !is_stale(*value) {
            windows.push(*at_ms, aggregate.of_one(*value));
        }
    }
    match aggregate {
        Aggregate::Count => {
            for sample in &columns.histograms.samples {
                windows.push(sample.at_ms, 1.0);
            }
            windows.order(0);
        }
        Aggregate::Sum => windows.histograms.clone_from(&columns.histograms),
        // As in PromQL, no histogram is smaller or larger than another.
        Aggregate::Min | Aggregate::Max => {}
    }
    windows
}

/// The series that an aggregate is of.
fn without_aggregate(labels: &Labels) -> Labels {
    let others = labels.iter().filter(|(name, _)| *name != AGGREGATE);
    // Labels that were a set are one with one less.
    Labels::from_pairs(others).unwrap_or_default()
}

/// What a selection of plain series asks of a part.
pub(crate) fn plain(part: &Arc<Part>, matchers: &[Matcher]) -> Vec<Matcher> {
    let mut plain = matchers.to_vec();
    if part.resolution().is_some() {
        plain.extend(Matcher::new(AGGREGATE, MatchOp::Equal, ""));
    }
    plain
}
