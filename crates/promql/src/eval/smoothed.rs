//! `selector smoothed`: at each step the value on the line between the samples around it.
//!
//! Guarantees: without a sample after the step the one before stands; without one before there is no value.
//! Numbers and histograms around the same step are a warning and no value.

use super::extended::Between;
use super::rows::{Row, without_empty};
use super::{Evaluator, Samples, row_of};
use crate::Span;
use crate::ast::Selector;
use crate::column::Reading;
use crate::error::Outcome;
use crate::histogram::ResetHint;
use crate::note::Remark;

impl Evaluator<'_> {
    pub(super) fn smoothed(&self, selector: &Selector, span: Span) -> Outcome<Vec<Row>> {
        let lookback_ms = self.options.lookback_ms;
        let shift = self.shift(&selector.modifiers)?;
        let found = self.select(selector, (lookback_ms, lookback_ms), span)?;
        let mut rows = Vec::with_capacity(found.len());
        for series in found {
            self.go_on(span)?;
            let labels = series.labels.clone();
            let samples = series.live();
            let metric = labels.name().to_owned();
            rows.push(row_of(labels, self.steps.count, |i| {
                let at_ms = self.shifted(shift, i);
                let times = &samples.timestamps;
                let first = times.partition_point(|t| *t <= at_ms - lookback_ms);
                let end = times.partition_point(|t| *t <= at_ms + lookback_ms);
                let next = times.partition_point(|t| *t < at_ms);
                let place = Place {
                    samples: &samples,
                    at_ms,
                    around: first..end,
                    next,
                };
                place.reading(&metric, &|remark| self.note(remark, span))
            }));
        }
        Ok(without_empty(rows))
    }
}

struct Place<'a> {
    samples: &'a Samples,
    at_ms: i64,
    /// Samples within the lookback on both sides.
    around: std::ops::Range<usize>,
    /// The first sample at or after the time.
    next: usize,
}

impl Place<'_> {
    fn reading(&self, metric: &str, note: &dyn Fn(&Remark<'_>)) -> Option<Reading> {
        let samples = self.samples;
        if let Some(histograms) = &samples.histograms {
            let around = &histograms[self.around.clone()];
            let count = around.iter().flatten().count();
            if count > 0 && count < around.len() {
                note(&Remark::MixedFloatsHistograms(metric));
                return None;
            }
        }
        let next = Some(self.next).filter(|at| self.around.contains(at));
        if let Some(next) = next
            && samples.timestamps[next] == self.at_ms
        {
            return Some(samples.reading(next));
        }
        let before = self
            .next
            .checked_sub(1)
            .filter(|at| self.around.contains(at))?;
        let Some(next) = next else {
            return Some(samples.reading(before));
        };
        let (from_ms, to_ms) = (samples.timestamps[before], samples.timestamps[next]);
        let fraction = (self.at_ms - from_ms) as f64 / (to_ms - from_ms) as f64;
        match (samples.reading(before), samples.reading(next)) {
            (Reading::Float(from), Reading::Float(to)) => {
                Some(Reading::Float(from + (to - from) * fraction))
            }
            (Reading::Histogram(from), Reading::Histogram(to)) => {
                let between = Between {
                    counter: to.hint != ResetHint::Gauge,
                    from: &from,
                    to: &to,
                    fraction,
                };
                between.histogram(note, metric).map(Reading::from)
            }
            (Reading::Float(_), Reading::Histogram(_))
            | (Reading::Histogram(_), Reading::Float(_)) => None,
        }
    }
}
