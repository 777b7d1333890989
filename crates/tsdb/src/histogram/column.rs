//! The histograms of one series, beside its numbers.
//!
//! Guarantees: times ascend strictly; none of them is a time of a number of the same series once
//! [`Columns::extend`](crate::memtable::Columns::extend) or its like has put them together.

use std::sync::Arc;

use super::{Histogram, HistogramSample};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct HistogramColumn {
    pub(crate) samples: Vec<HistogramSample>,
}

impl HistogramColumn {
    pub(crate) fn push(&mut self, at_ms: i64, histogram: Arc<Histogram>) {
        self.samples.push(HistogramSample { at_ms, histogram });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.samples.len()
    }

    pub(crate) fn clear(&mut self) {
        self.samples.clear();
    }

    pub(crate) fn last(&self) -> Option<&HistogramSample> {
        self.samples.last()
    }

    pub(crate) fn first_ms(&self) -> Option<i64> {
        self.samples.first().map(|it| it.at_ms)
    }

    /// Whether there is one at this time; times must ascend.
    pub(crate) fn has(&self, at_ms: i64) -> bool {
        self.samples
            .binary_search_by_key(&at_ms, |it| it.at_ms)
            .is_ok()
    }

    /// Brings all in the order of time; of equal times the first stays.
    pub(crate) fn order(&mut self) {
        let ascend = self
            .samples
            .windows(2)
            .all(|pair| pair[0].at_ms < pair[1].at_ms);
        if !ascend {
            self.samples.sort_by_key(|it| it.at_ms);
            self.samples.dedup_by_key(|it| it.at_ms);
        }
    }
}
