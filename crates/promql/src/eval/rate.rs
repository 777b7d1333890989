//! `rate` and its kin.
//!
//! Guarantees: Prometheus' extrapolation: towards both ends of the range by the gap that is there, but no
//! further than half an average interval if the gap is above 1.1 of it, and a counter never below zero. Where
//! the first sample tells since when it counts, and that is inside the range, nothing is extrapolated there:
//! it counted from zero then.

use super::extended;
use super::over::Scope;
use super::window::{Mix, Window};
use crate::Histogram;
use crate::ast::Edges;
use crate::column::Reading;
use crate::histogram::{Incompatible, ResetHint};
use crate::note::{During, Remark};
use std::sync::Arc;

/// Gap, in average intervals, above which the series is taken to begin or end inside the range.
const EXTRAPOLATION_THRESHOLD: f64 = 1.1;

/// Which member of the family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flavour {
    /// A fall is a reset.
    pub(super) counter: bool,
    pub(super) per_second: bool,
}

const RATE: Flavour = Flavour {
    counter: true,
    per_second: true,
};
const INCREASE: Flavour = Flavour {
    counter: true,
    per_second: false,
};
const DELTA: Flavour = Flavour {
    counter: false,
    per_second: false,
};

pub(crate) fn rate(w: &Window<'_>, scope: &Scope<'_>) -> Option<Reading> {
    over_edges(w, scope, RATE)
}

pub(crate) fn increase(w: &Window<'_>, scope: &Scope<'_>) -> Option<Reading> {
    over_edges(w, scope, INCREASE)
}

pub(crate) fn delta(w: &Window<'_>, scope: &Scope<'_>) -> Option<Reading> {
    over_edges(w, scope, DELTA)
}

fn over_edges(w: &Window<'_>, scope: &Scope<'_>, flavour: Flavour) -> Option<Reading> {
    match (w.mix(), scope.edges) {
        (Mix::Both, _) => {
            scope.note(&Remark::MixedFloatsHistograms(scope.metric()));
            None
        }
        (Mix::Floats, Edges::Plain) => extrapolated_floats(w, scope, flavour).map(Reading::Float),
        (Mix::Histograms(histograms), Edges::Plain) => {
            extrapolated_histograms(w, &histograms, scope, flavour).map(Reading::from)
        }
        (Mix::Floats, edges) => {
            extended::floats(w, edges == Edges::Smoothed, flavour).map(Reading::Float)
        }
        (Mix::Histograms(histograms), _) => {
            extended::histograms(w, &histograms, scope, flavour).map(Reading::from)
        }
    }
}

fn extrapolated_floats(w: &Window<'_>, scope: &Scope<'_>, flavour: Flavour) -> Option<f64> {
    let (first, last) = (*w.values.first()?, *w.values.last()?);
    let mut grown = last - first;
    if flavour.counter {
        if w.starts.is_none() {
            for pair in w.values.windows(2) {
                if pair[1] < pair[0] {
                    grown += pair[0];
                }
            }
        } else {
            note_overlap(w, scope);
            for at in 1..w.len() {
                if w.values[at] < w.values[at - 1] || is_born_anew(w, at) {
                    grown += w.values[at - 1];
                }
            }
        }
    }
    let reach = Reach::of(w, flavour, |sampled| {
        (grown > 0.0 && first >= 0.0).then(|| sampled * (first / grown))
    })?;
    if reach.from_zero {
        grown += first;
    }
    Some(grown * reach.factor)
}

fn extrapolated_histograms(
    w: &Window<'_>,
    histograms: &[&Arc<Histogram>],
    scope: &Scope<'_>,
    flavour: Flavour,
) -> Option<Histogram> {
    let first = histograms.first()?;
    let grown = match histograms {
        [_] => None,
        _ => Some(growth(w, histograms, scope, flavour.counter)?),
    };
    let reach = Reach::of(w, flavour, |sampled| {
        let grown = grown.as_ref()?.count;
        (grown > 0.0 && first.count >= 0.0).then(|| sampled * (first.count / grown))
    })?;
    let grown = match grown {
        Some(grown) if reach.from_zero => added(grown, first, scope)?,
        Some(grown) => grown,
        None => Histogram::clone(first),
    };
    Some(grown.scaled(reach.factor))
}

/// How far beyond its samples a range is taken to reach.
struct Reach {
    factor: f64,
    /// The first sample counted from zero inside the range.
    from_zero: bool,
}

impl Reach {
    /// `to_zero(sampled)` says how long before the first sample a counter would have been zero.
    fn of(w: &Window<'_>, flavour: Flavour, to_zero: impl Fn(f64) -> Option<f64>) -> Option<Self> {
        let (first_ms, last_ms) = (*w.timestamps.first()?, *w.timestamps.last()?);
        let range_s = (w.end_ms - w.start_ms) as f64 / 1000.0;
        let mut to_start = (first_ms - w.start_ms) as f64 / 1000.0;
        let mut to_end = (w.end_ms - last_ms) as f64 / 1000.0;
        let mut sampled = (last_ms - first_ms) as f64 / 1000.0;
        let intervals = w.len() - 1;
        let interval = if intervals > 0 {
            sampled / intervals as f64
        } else {
            0.0
        };
        let threshold = interval * EXTRAPOLATION_THRESHOLD;
        let born_ms = w.start_time(0);
        let from_zero =
            flavour.counter && born_ms != 0 && born_ms > w.start_ms && born_ms < first_ms;
        if from_zero {
            to_start = 0.0;
            sampled = (last_ms - born_ms) as f64 / 1000.0;
        } else if intervals == 0 {
            return None;
        } else {
            if to_start >= threshold {
                to_start = interval / 2.0;
            }
            if flavour.counter
                && let Some(zero) = to_zero(sampled)
                && zero < to_start
            {
                to_start = zero;
            }
        }
        if to_end >= threshold {
            to_end = interval / 2.0;
        }
        let mut factor = if sampled == 0.0 {
            1.0
        } else {
            (sampled + to_start + to_end) / sampled
        };
        if flavour.per_second {
            factor /= range_s;
        }
        Some(Self { factor, from_zero })
    }
}

/// Whether a sample tells that it counts anew since the one before.
///
/// A start at the very time of the sample before is a delta, unless that sample did not know its own start.
pub(super) fn is_born_anew(w: &Window<'_>, at: usize) -> bool {
    let (start, time) = (w.start_time(at), w.timestamps[at]);
    let (start_before, time_before) = (w.start_time(at - 1), w.timestamps[at - 1]);
    if start == 0 || start >= time || start < time_before {
        return false;
    }
    start > time_before
        || (start_before <= time_before && start_before != 0 && start_before != time_before)
}

fn note_overlap(w: &Window<'_>, scope: &Scope<'_>) {
    let Some(starts) = w.starts else { return };
    let overlaps = (1..w.len()).any(|at| {
        starts[at] != 0 && starts[at] < w.timestamps[at - 1] && starts[at] != starts[at - 1]
    });
    if overlaps {
        scope.note(&Remark::StartOverlap(scope.metric()));
    }
}

/// From the first histogram to the last, resets counted in.
fn growth(
    w: &Window<'_>,
    histograms: &[&Arc<Histogram>],
    scope: &Scope<'_>,
    counter: bool,
) -> Option<Histogram> {
    let (first, last) = (*histograms.first()?, *histograms.last()?);
    let second = histograms.get(1)?;
    // A first sample before a reset is not looked at: its layout does not matter.
    let nothing = Histogram {
        schema: second.schema,
        bounds: Arc::clone(&second.bounds),
        ..Histogram::default()
    };
    let reset_first = counter && (is_born_anew(w, 1) || second.is_reset_after(first));
    let mut previous: &Histogram = if reset_first { &nothing } else { first };
    if counter {
        note_gauges(histograms, scope);
    } else if first.hint != ResetHint::Gauge || last.hint != ResetHint::Gauge {
        scope.note(&Remark::NotGauge(scope.metric()));
    }
    let custom = previous.is_custom();
    let between = if counter {
        &histograms[1..histograms.len() - 1]
    } else {
        &[]
    };
    if last.is_custom() != custom || between.iter().any(|h| h.is_custom() != custom) {
        scope.note(&Remark::MixedSchemas(scope.metric()));
        return None;
    }
    let schemas = between.iter().map(|h| h.schema);
    let schema = schemas.fold(last.schema.min(previous.schema), i32::min);
    let mut grown = subtracted(Histogram::clone(last).in_schema(schema), previous, scope)?;
    if counter {
        note_overlap(w, scope);
        for (at, current) in histograms.iter().enumerate().skip(1) {
            if is_born_anew(w, at) || current.is_reset_after(previous) {
                grown = added(grown, previous, scope)?;
            }
            previous = current;
        }
    }
    Some(grown.with_hint(ResetHint::Gauge).compact())
}

pub(super) fn note_gauges(histograms: &[&Arc<Histogram>], scope: &Scope<'_>) {
    if histograms.iter().any(|h| h.hint == ResetHint::Gauge) {
        scope.note(&Remark::NotCounter(scope.metric()));
    }
}

pub(super) fn added(a: Histogram, b: &Histogram, scope: &Scope<'_>) -> Option<Histogram> {
    combined(a.plus(b), During::Addition, scope)
}

pub(super) fn subtracted(a: Histogram, b: &Histogram, scope: &Scope<'_>) -> Option<Histogram> {
    combined(a.minus(b), During::Subtraction, scope)
}

fn combined(
    result: Result<crate::histogram::Added, Incompatible>,
    during: During,
    scope: &Scope<'_>,
) -> Option<Histogram> {
    let Ok(added) = result else {
        scope.note(&Remark::MixedSchemas(scope.metric()));
        return None;
    };
    if added.reconciled {
        scope.note(&Remark::MismatchedBounds(during));
    }
    Some(added.histogram)
}

pub(crate) fn irate(w: &Window<'_>, scope: &Scope<'_>) -> Option<Reading> {
    newest_two(w, scope, RATE)
}

pub(crate) fn idelta(w: &Window<'_>, scope: &Scope<'_>) -> Option<Reading> {
    newest_two(w, scope, DELTA)
}

fn newest_two(w: &Window<'_>, scope: &Scope<'_>, flavour: Flavour) -> Option<Reading> {
    let at = w.len().checked_sub(1).filter(|at| *at > 0)?;
    let seconds = (w.timestamps[at] - w.timestamps[at - 1]) as f64 / 1000.0;
    match (w.histogram(at - 1), w.histogram(at)) {
        (None, None) => {
            let (before, now) = (w.values[at - 1], w.values[at]);
            let reset = flavour.counter && (now < before || is_born_anew(w, at));
            let grown = if reset { now } else { now - before };
            Some(Reading::Float(if flavour.per_second {
                grown / seconds
            } else {
                grown
            }))
        }
        (Some(before), Some(now)) => {
            let is_gauge = |h: &Histogram| h.hint == ResetHint::Gauge;
            if flavour.counter && (is_gauge(before) || is_gauge(now)) {
                scope.note(&Remark::NotCounter(scope.metric()));
            }
            let gauges = is_gauge(before) && is_gauge(now);
            if !flavour.counter && !gauges {
                scope.note(&Remark::NotGauge(scope.metric()));
            }
            let reset = flavour.counter && (is_born_anew(w, at) || now.is_reset_after(before));
            let now = Histogram::clone(now);
            let grown = if reset {
                now
            } else {
                subtracted(now, before, scope)?
            };
            let grown = grown.with_hint(ResetHint::Gauge).compact();
            let grown = if flavour.per_second {
                grown.divided(seconds)
            } else {
                grown
            };
            Some(grown.into())
        }
        (Some(_), None) | (None, Some(_)) => {
            scope.note(&Remark::MixedFloatsHistograms(scope.metric()));
            None
        }
    }
}

#[cfg(test)]
mod tests;
