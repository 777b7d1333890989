//! `anchored` and `smoothed` rates: from edge to edge of the range, without extrapolation.
//!
//! Guarantees: an anchored edge takes the last sample at or before it; a smoothed edge takes the value on the
//! line between the samples around it. A counter that was reset between them is taken to rise from zero.

use super::over::Scope;
use super::rate::{self, Flavour};
use super::window::Window;
use crate::Histogram;
use crate::ast::Edges;
use crate::histogram::ResetHint;
use crate::note::{During, Remark};
use std::sync::Arc;

/// Indexes of the samples that stand for the edges.
struct Span {
    first: usize,
    last: usize,
}

fn span(w: &Window<'_>, smoothed: bool) -> Option<Span> {
    let newest = w.len().checked_sub(1)?;
    let times = &w.timestamps[..newest];
    let first = times
        .partition_point(|t| *t <= w.start_ms)
        .saturating_sub(1);
    let last = if smoothed {
        times.partition_point(|t| *t < w.end_ms)
    } else {
        newest
    };
    let outside = w.timestamps[last] <= w.start_ms || (smoothed && w.timestamps[first] > w.end_ms);
    (!outside).then_some(Span { first, last })
}

/// Values at both edges, and the samples strictly inside.
pub(super) struct Framed<'a> {
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) inside: std::ops::Range<usize>,
    values: &'a [f64],
}

pub(super) fn framed<'a>(w: &Window<'a>, smoothed: bool, counter: bool) -> Option<Framed<'a>> {
    let Span { mut first, last } = span(w, smoothed)?;
    let line = |a: usize, at_ms: i64| {
        let (from, to) = (w.values[a], w.values[a + 1]);
        let from = if counter && to < from { 0.0 } else { from };
        from + (to - from) * fraction(w, a, at_ms)
    };
    let left = if smoothed && w.timestamps[first] < w.start_ms {
        line(first, w.start_ms)
    } else {
        w.values[first]
    };
    let right = if smoothed && last > 0 && w.timestamps[last] > w.end_ms {
        line(last - 1, w.end_ms)
    } else {
        w.values[last]
    };
    let mut end = last + 1;
    if w.timestamps[first] <= w.start_ms {
        first += 1;
    }
    if w.timestamps[last] >= w.end_ms {
        end -= 1;
    }
    Some(Framed {
        left,
        right,
        inside: first..end.max(first),
        values: w.values,
    })
}

/// How far between a sample and the next a time lies.
fn fraction(w: &Window<'_>, at: usize, at_ms: i64) -> f64 {
    (at_ms - w.timestamps[at]) as f64 / (w.timestamps[at + 1] - w.timestamps[at]) as f64
}

pub(super) fn floats(w: &Window<'_>, smoothed: bool, flavour: Flavour) -> Option<f64> {
    let framed = framed(w, smoothed, flavour.counter)?;
    let mut grown = framed.right - framed.left;
    if flavour.counter {
        let mut before = framed.left;
        for value in framed.values[framed.inside].iter().chain([&framed.right]) {
            if *value < before {
                grown += before;
            }
            before = *value;
        }
    }
    Some(if flavour.per_second {
        grown / range_s(w)
    } else {
        grown
    })
}

fn range_s(w: &Window<'_>) -> f64 {
    (w.end_ms - w.start_ms) as f64 / 1000.0
}

pub(super) fn histograms(
    w: &Window<'_>,
    histograms: &[&Arc<Histogram>],
    scope: &Scope<'_>,
    flavour: Flavour,
) -> Option<Histogram> {
    let smoothed = scope.edges == Edges::Smoothed;
    let span = span(w, smoothed)?;
    let inside = &histograms[span.first..=span.last];
    let custom = inside.first()?.is_custom();
    if inside.iter().any(|h| h.is_custom() != custom) {
        scope.note(&Remark::MixedSchemas(scope.metric()));
        return None;
    }
    if flavour.counter {
        rate::note_gauges(inside, scope);
    }
    let line = |a: usize, at_ms: i64| {
        let between = Between {
            from: histograms[a],
            to: histograms[a + 1],
            fraction: fraction(w, a, at_ms),
            counter: flavour.counter,
        };
        between.histogram(&|remark| scope.note(remark), scope.metric())
    };
    let left = if smoothed && w.timestamps[span.first] < w.start_ms {
        line(span.first, w.start_ms)?
    } else {
        Histogram::clone(histograms[span.first])
    };
    let right = if smoothed && span.last > 0 && w.timestamps[span.last] > w.end_ms {
        line(span.last - 1, w.end_ms)?
    } else {
        Histogram::clone(histograms[span.last])
    };
    let is_gauge = |h: &Histogram| h.hint == ResetHint::Gauge;
    let gauges = is_gauge(&left) && is_gauge(&right);
    if !flavour.counter && !gauges {
        scope.note(&Remark::NotGauge(scope.metric()));
    }
    let mut grown = rate::subtracted(right.clone(), &left, scope)?;
    if flavour.counter {
        let crossed = smoothed && w.timestamps[span.first] < w.start_ms;
        for lost in resets(histograms, &span, (&left, &right), crossed) {
            grown = rate::added(grown, lost, scope)?;
        }
    }
    if flavour.per_second {
        grown = grown.divided(range_s(w));
    }
    Some(grown.with_hint(ResetHint::Gauge).compact())
}

/// The histograms from which the counter fell. `crossed`: the left edge lies between two samples, and if the
/// counter was reset there, that is already in its value.
fn resets<'a>(
    histograms: &[&'a Arc<Histogram>],
    span: &Span,
    (left, right): (&'a Histogram, &Histogram),
    crossed: bool,
) -> Vec<&'a Histogram> {
    let mut from = span.first + 1;
    let mut before = left;
    if crossed
        && let Some(next) = histograms.get(from)
        && next.is_reset_after(histograms[span.first])
    {
        before = next;
        from += 1;
    }
    let mut lost = Vec::new();
    if from > span.last {
        return lost;
    }
    for histogram in &histograms[from..span.last] {
        if histogram.is_reset_after(before) {
            lost.push(before);
        }
        before = histogram;
    }
    if right.is_reset_after(before) {
        lost.push(before);
    }
    lost
}

/// Two neighbouring histograms and a place between them.
pub(super) struct Between<'a> {
    pub(super) from: &'a Histogram,
    pub(super) to: &'a Histogram,
    pub(super) fraction: f64,
    pub(super) counter: bool,
}

impl Between<'_> {
    /// The histogram there, on straight lines.
    pub(super) fn histogram(&self, note: &dyn Fn(&Remark<'_>), metric: &str) -> Option<Histogram> {
        if self.fraction == 0.0 {
            return Some(self.from.clone());
        }
        if self.fraction == 1.0 {
            return Some(self.to.clone());
        }
        if self.from.is_custom() != self.to.is_custom() {
            note(&Remark::MixedSchemas(metric));
            return None;
        }
        if self.counter && self.to.is_reset_after(self.from) {
            return Some(self.to.clone().scaled(self.fraction));
        }
        let result = self.to.clone().minus(self.from).and_then(|difference| {
            let part = difference.histogram.scaled(self.fraction);
            let sum = part.plus(self.from)?;
            Ok((difference.reconciled, sum))
        });
        let Ok((subtracted, sum)) = result else {
            note(&Remark::MixedSchemas(metric));
            return None;
        };
        if subtracted {
            note(&Remark::MismatchedBounds(During::Subtraction));
        }
        if sum.reconciled {
            note(&Remark::MismatchedBounds(During::Addition));
        }
        Some(sum.histogram)
    }
}
