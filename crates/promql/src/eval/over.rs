//! Functions over ranges: the walk of windows along each series, and functions that take any sample.
//!
//! Guarantees: both ends of the window only move forward, so a series is walked once whatever the overlap.
//! Functions that only know numbers see only numbers; a range that has both is worth an info.

#![expect(
    clippy::unnecessary_wraps,
    reason = "the table of functions needs one signature"
)]

use super::rows::{Row, without_empty};
use super::walk::Walk;
use super::window::{Mix, Window};
use super::{Evaluator, Samples};
use crate::ast::{Edges, Expr};
use crate::column::Reading;
use crate::error::Outcome;
use crate::histogram::{Incompatible, Tally};
use crate::note::{During, Notebook, Remark};
use crate::{Histogram, Labels, Span};
use std::sync::Arc;

/// What a function over ranges knows beside the window.
pub(crate) struct Scope<'a> {
    notes: &'a Notebook,
    span: Span,
    labels: &'a Labels,
    pub(super) edges: Edges,
}

impl<'a> Scope<'a> {
    pub(crate) fn new(notes: &'a Notebook, span: Span, labels: &'a Labels, edges: Edges) -> Self {
        Self {
            notes,
            span,
            labels,
            edges,
        }
    }
}

impl Scope<'_> {
    pub(super) fn note(&self, remark: &Remark<'_>) {
        self.notes.add(remark, self.span);
    }

    /// Those that are no quantiles.
    pub(super) fn note_quantiles(&self, quantiles: &[f64]) {
        for q in quantiles.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
            self.note(&Remark::InvalidQuantile(*q));
        }
    }

    pub(super) fn metric(&self) -> &str {
        self.labels.name()
    }
}

/// A function of a window.
pub(crate) type OverSamples = fn(&Window<'_>, &Scope<'_>) -> Option<Reading>;

/// A call of a function over ranges.
#[derive(Clone, Copy)]
pub(super) struct OverCall<'a> {
    pub(super) range: &'a Expr,
    /// The place that notes are about.
    pub(super) noted: Span,
    pub(super) keeps_name: bool,
}

impl Evaluator<'_> {
    /// Applies `f(window, scope)` to each range that has a sample.
    pub(super) fn over_samples(&self, call: OverCall<'_>, f: OverSamples) -> Outcome<Vec<Row>> {
        self.over(call, |window, scope, _| Ok(f(window, scope)))
    }

    /// Applies `f(window, scope, step)` to the numbers of each range.
    pub(super) fn over_floats(
        &self,
        call: OverCall<'_>,
        f: impl Fn(&Window<'_>, &Scope<'_>, usize) -> Result<Option<f64>, String> + Sync,
    ) -> Outcome<Vec<Row>> {
        self.over(call, |window, scope, i| {
            let result = match window.mix() {
                Mix::Floats => f(window, scope, i)?,
                Mix::Histograms(_) => None,
                Mix::Both => {
                    scope.note(&Remark::HistogramIgnoredInRange(scope.metric()));
                    with_numbers_only(window, |window| f(window, scope, i))?
                }
            };
            Ok(result.map(Reading::Float))
        })
    }

    fn over(
        &self,
        call: OverCall<'_>,
        f: impl Fn(&Window<'_>, &Scope<'_>, usize) -> Result<Option<Reading>, String> + Sync,
    ) -> Outcome<Vec<Row>> {
        let span = call.range.span;
        let ranges = self.ranges(call.range)?;
        self.charge(ranges.rows.len() as u64 * self.steps.count as u64, span)?;
        let walk = Walk::new(self, &ranges, (call.noted, call.keeps_name));
        Ok(without_empty(self.walk(&walk, span, &f)?))
    }
}

impl Samples {
    pub(super) fn window(
        &self,
        at: std::ops::Range<usize>,
        (start_ms, end_ms): (i64, i64),
        eval_ms: i64,
    ) -> Window<'_> {
        Window {
            timestamps: &self.timestamps[at.clone()],
            values: &self.values[at.clone()],
            histograms: self.histograms.as_ref().map(|h| &h[at.clone()]),
            starts: self.starts.as_ref().map(|s| &s[at.clone()]),
            start_ms,
            end_ms,
            eval_ms,
        }
    }
}

fn with_numbers_only<T>(window: &Window<'_>, f: impl FnOnce(&Window<'_>) -> T) -> T {
    let is_number = |at: &usize| window.histogram(*at).is_none();
    let numbers: Vec<usize> = (0..window.len()).filter(is_number).collect();
    let timestamps: Vec<i64> = numbers.iter().map(|at| window.timestamps[*at]).collect();
    let values: Vec<f64> = numbers.iter().map(|at| window.values[*at]).collect();
    f(&Window {
        timestamps: &timestamps,
        values: &values,
        histograms: None,
        starts: None,
        ..*window
    })
}

pub(crate) fn sum(w: &Window<'_>, scope: &Scope<'_>) -> Option<Reading> {
    match w.mix() {
        Mix::Floats => super::window::sum(w).map(Reading::Float),
        Mix::Histograms(histograms) => tallied(&histograms, scope, Tally::add, Tally::sum),
        Mix::Both => mixed(scope),
    }
}

pub(crate) fn avg(w: &Window<'_>, scope: &Scope<'_>) -> Option<Reading> {
    match w.mix() {
        Mix::Floats => super::window::avg(w).map(Reading::Float),
        Mix::Histograms(histograms) => tallied(&histograms, scope, Tally::average_in, Tally::mean),
        Mix::Both => mixed(scope),
    }
}

fn mixed(scope: &Scope<'_>) -> Option<Reading> {
    scope.note(&Remark::MixedFloatsHistograms(scope.metric()));
    None
}

fn tallied(
    histograms: &[&Arc<Histogram>],
    scope: &Scope<'_>,
    add: impl Fn(&mut Tally, &Histogram) -> Result<(), Incompatible>,
    total: impl Fn(Tally) -> Histogram,
) -> Option<Reading> {
    let (first, others) = histograms.split_first()?;
    let mut tally = Tally::new(first);
    for other in others {
        if add(&mut tally, other).is_err() {
            scope.note(&Remark::MixedSchemas(scope.metric()));
            return None;
        }
    }
    if tally.collided() {
        scope.note(&Remark::ResetCollision(During::Aggregation));
    }
    if tally.reconciled() {
        scope.note(&Remark::MismatchedBounds(During::Aggregation));
    }
    Some(total(tally).into())
}

pub(crate) fn count(w: &Window<'_>, _: &Scope<'_>) -> Option<Reading> {
    Some(Reading::Float(w.len() as f64))
}

pub(crate) fn present(_: &Window<'_>, _: &Scope<'_>) -> Option<Reading> {
    Some(Reading::Float(1.0))
}

pub(crate) fn first(w: &Window<'_>, _: &Scope<'_>) -> Option<Reading> {
    (w.len() > 0).then(|| w.reading(0))
}

pub(crate) fn last(w: &Window<'_>, _: &Scope<'_>) -> Option<Reading> {
    Some(w.reading(w.len().checked_sub(1)?))
}

pub(crate) fn ts_of_first(w: &Window<'_>, _: &Scope<'_>) -> Option<Reading> {
    w.timestamps
        .first()
        .map(|t| Reading::Float(*t as f64 / 1000.0))
}

pub(crate) fn ts_of_last(w: &Window<'_>, _: &Scope<'_>) -> Option<Reading> {
    w.timestamps
        .last()
        .map(|t| Reading::Float(*t as f64 / 1000.0))
}

pub(crate) fn resets(w: &Window<'_>, scope: &Scope<'_>) -> Option<Reading> {
    counted(w, scope, |w, at| {
        match (w.histogram(at - 1), w.histogram(at)) {
            (None, None) => w.values[at] < w.values[at - 1] || super::rate::is_born_anew(w, at),
            (Some(before), Some(now)) => {
                super::rate::is_born_anew(w, at) || now.is_reset_after(before)
            }
            (Some(_), None) | (None, Some(_)) => true,
        }
    })
}

pub(crate) fn changes(w: &Window<'_>, scope: &Scope<'_>) -> Option<Reading> {
    counted(w, scope, |w, at| {
        match (w.histogram(at - 1), w.histogram(at)) {
            (None, None) => {
                let (before, now) = (w.values[at - 1], w.values[at]);
                before != now && !(before.is_nan() && now.is_nan())
            }
            (Some(before), Some(now)) => !now.same_as(before),
            (Some(_), None) | (None, Some(_)) => true,
        }
    })
}

/// How many samples `differ(window, index)` from the one before; `anchored` looks at one before the range.
fn counted(
    w: &Window<'_>,
    scope: &Scope<'_>,
    differ: impl Fn(&Window<'_>, usize) -> bool,
) -> Option<Reading> {
    let w = if scope.edges == Edges::Anchored {
        let inside = w.timestamps.partition_point(|t| *t <= w.start_ms);
        if inside == w.len() {
            return None;
        }
        &w.from(inside.saturating_sub(1))
    } else {
        w
    };
    let count = (1..w.len()).filter(|at| differ(w, *at)).count();
    Some(Reading::Float(count as f64))
}
