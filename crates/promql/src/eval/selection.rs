//! From stored series to the current sample at each step, and to samples under ranges.
//!
//! Guarantees: a staleness marker ends a series until its next sample; under a range it is left out. Columns
//! of a series without markers are shared with the store, not copied.

use super::rows::Row;
use super::{Evaluator, Samples};
use crate::ast::Selector;
use crate::column::{Column, Reading, is_stale};
use crate::error::Outcome;
use crate::{Series, Span};
use std::ops::Deref;
use std::sync::Arc;

/// A column that is shared with the store, or our own.
pub(super) enum Cells<T> {
    Shared(Arc<Vec<T>>),
    Owned(Vec<T>),
}

impl<T> Deref for Cells<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Shared(cells) => cells,
            Self::Owned(cells) => cells,
        }
    }
}

impl Series {
    pub(super) fn is_histogram_at(&self, at: usize) -> bool {
        self.histograms.as_ref().is_some_and(|h| h[at].is_some())
    }

    pub(super) fn is_stale_at(&self, at: usize) -> bool {
        match self.histograms.as_ref().and_then(|h| h[at].as_ref()) {
            Some(histogram) => histogram.is_stale(),
            None => is_stale(self.values[at]),
        }
    }

    fn reading_at(&self, at: usize) -> Reading {
        match self.histograms.as_ref().and_then(|h| h[at].as_ref()) {
            Some(histogram) => Reading::Histogram(Arc::clone(histogram)),
            None => Reading::Float(self.values[at]),
        }
    }

    /// Whether the columns are of equal length, as promised.
    fn is_even(&self) -> bool {
        let len = self.timestamps.len();
        self.values.len() == len
            && self.histograms.as_ref().is_none_or(|h| h.len() == len)
            && self
                .start_timestamps
                .as_ref()
                .is_none_or(|s| s.len() == len)
    }

    /// The samples of a range, without staleness markers.
    pub(super) fn live(self) -> Samples {
        let fits = self.is_even();
        let stale = (0..self.timestamps.len()).any(|at| fits && self.is_stale_at(at));
        if fits && !stale {
            return Samples {
                timestamps: Cells::Shared(self.timestamps),
                values: Cells::Shared(self.values),
                histograms: self.histograms.map(Cells::Shared),
                starts: self.start_timestamps.map(Cells::Shared),
            };
        }
        let len = if fits { self.timestamps.len() } else { 0 };
        let live: Vec<usize> = (0..len).filter(|at| !self.is_stale_at(*at)).collect();
        let pick = |at: &usize| self.timestamps[*at];
        Samples {
            timestamps: Cells::Owned(live.iter().map(pick).collect()),
            values: Cells::Owned(live.iter().map(|at| self.values[*at]).collect()),
            histograms: self
                .histograms
                .as_ref()
                .map(|h| Cells::Owned(live.iter().map(|at| h[*at].clone()).collect())),
            starts: self
                .start_timestamps
                .as_ref()
                .map(|s| Cells::Owned(live.iter().map(|at| s[*at]).collect())),
        }
    }
}

impl Evaluator<'_> {
    /// The current sample of each series at each step.
    pub(super) fn instants(&self, selector: &Selector, span: Span) -> Outcome<Vec<Row>> {
        self.instants_with(selector, span, |series, at| Some(series.reading_at(at)))
    }

    /// Like [`Evaluator::instants`], through `give(series, index of the sample)`.
    pub(super) fn instants_with(
        &self,
        selector: &Selector,
        span: Span,
        give: impl Fn(&Series, usize) -> Option<Reading>,
    ) -> Outcome<Vec<Row>> {
        let lookback_ms = self.options.lookback_ms;
        let shift = self.shift(&selector.modifiers)?;
        let found = self.select(selector, (lookback_ms, 0), span)?;
        self.charge(found.len() as u64 * self.steps.count as u64, span)?;
        let mut rows = Vec::with_capacity(found.len());
        let mut looked_at = vec![0; self.steps.count];
        for series in found {
            self.go_on(span)?;
            let mut column = Column::gaps(self.steps.count);
            let mut any = false;
            // Index after the current sample.
            let mut next = 0;
            for (i, looked_at) in looked_at.iter_mut().enumerate() {
                let at = self.shifted(shift, i);
                while series.timestamps.get(next).is_some_and(|t| *t <= at) {
                    next += 1;
                }
                let Some(current) = next.checked_sub(1).filter(|_| series.is_even()) else {
                    continue;
                };
                if series.timestamps[current] > at - lookback_ms
                    && !series.is_stale_at(current)
                    && let Some(reading) = give(&series, current)
                {
                    column.set(i, reading);
                    *looked_at += 1;
                    any = true;
                }
            }
            if any {
                rows.push(Row {
                    labels: series.labels,
                    drop_name: false,
                    column,
                });
            }
        }
        self.meter.looked_at(&looked_at, self.steps, self.query);
        Ok(rows)
    }
}
