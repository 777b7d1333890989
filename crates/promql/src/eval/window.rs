//! Ranges of samples, and the functions that need only their numbers.
//!
//! Guarantees: a window is never empty, holds no staleness marker, and is open at its old end.

#![expect(
    clippy::unnecessary_wraps,
    reason = "the table of functions needs one signature"
)]

use super::kahan;
use crate::Histogram;
use crate::column::Reading;
use std::sync::Arc;

/// Samples of one series in `(start_ms, end_ms]`; with `anchored` and `smoothed` also some around.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window<'a> {
    pub(crate) timestamps: &'a [i64],
    /// Of no meaning where there is a histogram.
    pub(crate) values: &'a [f64],
    /// Beside `values`, where the series has histograms.
    pub(crate) histograms: Option<&'a [Option<Arc<Histogram>>]>,
    /// Since when each sample counts, 0 where unknown.
    pub(crate) starts: Option<&'a [i64]>,
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    /// The step's own time, before `offset` and `@`.
    pub(crate) eval_ms: i64,
}

impl<'a> Window<'a> {
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (i64, f64)> {
        let times = self.timestamps.iter().copied();
        times.zip(self.values.iter().copied())
    }

    fn first(&self) -> Option<(i64, f64)> {
        Some((*self.timestamps.first()?, *self.values.first()?))
    }

    pub(super) fn len(&self) -> usize {
        self.timestamps.len()
    }

    pub(super) fn histogram(&self, at: usize) -> Option<&'a Arc<Histogram>> {
        self.histograms?.get(at)?.as_ref()
    }

    pub(super) fn start_time(&self, at: usize) -> i64 {
        self.starts.map_or(0, |starts| starts[at])
    }

    pub(super) fn reading(&self, at: usize) -> Reading {
        match self.histogram(at) {
            Some(histogram) => Reading::Histogram(Arc::clone(histogram)),
            None => Reading::Float(self.values[at]),
        }
    }

    /// What kinds of samples there are.
    pub(super) fn mix(&self) -> Mix<'a> {
        let Some(column) = self.histograms else {
            return Mix::Floats;
        };
        let histograms: Vec<&Arc<Histogram>> = column.iter().flatten().collect();
        if histograms.is_empty() {
            Mix::Floats
        } else if histograms.len() == column.len() {
            Mix::Histograms(histograms)
        } else {
            Mix::Both
        }
    }

    /// From the sample with this index on.
    pub(super) fn from(&self, at: usize) -> Self {
        Self {
            timestamps: &self.timestamps[at..],
            values: &self.values[at..],
            histograms: self.histograms.map(|h| &h[at..]),
            starts: self.starts.map(|s| &s[at..]),
            ..*self
        }
    }
}

/// Kinds of samples in a window.
pub(super) enum Mix<'a> {
    Floats,
    Histograms(Vec<&'a Arc<Histogram>>),
    Both,
}

pub(crate) fn deriv(w: &Window<'_>) -> Option<f64> {
    let (first_ms, _) = w.first()?;
    (w.values.len() >= 2).then(|| regression(w, first_ms).0)
}

pub(crate) fn predict_linear(w: &Window<'_>, args: &[f64]) -> Result<Option<f64>, String> {
    let [ahead_s] = args else {
        return Err("predict_linear needs one scalar".into());
    };
    if w.values.len() < 2 {
        return Ok(None);
    }
    let (slope, intercept) = regression(w, w.eval_ms);
    Ok(Some(slope * ahead_s + intercept))
}

/// Least squares: slope per second, and the value at `origin_ms`.
fn regression(w: &Window<'_>, origin_ms: i64) -> (f64, f64) {
    let first = w.values.first().copied().unwrap_or(f64::NAN);
    if w.values.iter().all(|v| *v == first) {
        if first.is_infinite() {
            return (f64::NAN, f64::NAN);
        }
        return (0.0, first);
    }
    let (mut x_sum, mut y_sum) = (kahan::Sum::default(), kahan::Sum::default());
    let (mut xy_sum, mut xx_sum) = (kahan::Sum::default(), kahan::Sum::default());
    for (t, y) in w.iter() {
        let x = (t - origin_ms) as f64 / 1000.0;
        x_sum.add(x);
        y_sum.add(y);
        xy_sum.add(x * y);
        xx_sum.add(x * x);
    }
    let n = w.values.len() as f64;
    let (x, y) = (x_sum.total(), y_sum.total());
    let covariance = xy_sum.total() - x * y / n;
    let variance = xx_sum.total() - x * x / n;
    let slope = covariance / variance;
    (slope, y / n - slope * x / n)
}

pub(crate) fn sum(w: &Window<'_>) -> Option<f64> {
    kahan::sum(w.values.iter().copied())
}

pub(crate) fn avg(w: &Window<'_>) -> Option<f64> {
    kahan::mean(w.values.iter().copied())
}

pub(crate) fn min(w: &Window<'_>) -> Option<f64> {
    w.values.iter().copied().reduce(lesser)
}

pub(crate) fn max(w: &Window<'_>) -> Option<f64> {
    w.values.iter().copied().reduce(greater)
}

/// The lesser of two, a NaN only if both are.
pub(crate) fn lesser(a: f64, b: f64) -> f64 {
    if b < a || a.is_nan() { b } else { a }
}

/// The greater of two, a NaN only if both are.
pub(crate) fn greater(a: f64, b: f64) -> f64 {
    if b > a || a.is_nan() { b } else { a }
}

pub(crate) fn stdvar(w: &Window<'_>) -> Option<f64> {
    kahan::variance(w.values.iter().copied())
}

pub(crate) fn stddev(w: &Window<'_>) -> Option<f64> {
    stdvar(w).map(f64::sqrt)
}

/// Median of the absolute distances from the median.
pub(crate) fn mad(w: &Window<'_>) -> Option<f64> {
    if w.values.iter().any(|v| v.is_nan()) {
        return Some(f64::NAN);
    }
    let mut values = w.values.to_vec();
    let median = kahan::quantile(0.5, &mut values);
    let mut distances: Vec<f64> = w.values.iter().map(|v| (v - median).abs()).collect();
    Some(kahan::quantile(0.5, &mut distances))
}

pub(crate) fn quantile(w: &Window<'_>, args: &[f64]) -> Result<Option<f64>, String> {
    let [q] = args else {
        return Err("quantile_over_time needs one scalar".into());
    };
    Ok(Some(kahan::quantile_of(*q, w.values)))
}

pub(crate) fn ts_of_min(w: &Window<'_>) -> Option<f64> {
    ts_of_extreme(w, |value, so_far| value <= so_far)
}

pub(crate) fn ts_of_max(w: &Window<'_>) -> Option<f64> {
    ts_of_extreme(w, |value, so_far| value >= so_far)
}

/// Time of the last sample that is at least as extreme as all before it.
fn ts_of_extreme(w: &Window<'_>, beats: impl Fn(f64, f64) -> bool) -> Option<f64> {
    let (mut best_ms, mut best) = w.first()?;
    for (t, value) in w.iter() {
        if beats(value, best) || best.is_nan() {
            (best_ms, best) = (t, value);
        }
    }
    Some(best_ms as f64 / 1000.0)
}

/// Holt's linear method: `args` are the smoothing factors of level and trend, both inside (0, 1).
pub(crate) fn smoothing(w: &Window<'_>, args: &[f64]) -> Result<Option<f64>, String> {
    let [level, trend] = args else {
        return Err("double_exponential_smoothing needs two scalars".into());
    };
    for (what, factor) in [("smoothing", level), ("trend", trend)] {
        if !(*factor > 0.0 && *factor < 1.0) {
            return Err(format!(
                "the {what} factor must be between 0 and 1, not {factor}"
            ));
        }
    }
    let [first, second, ..] = w.values else {
        return Ok(None);
    };
    let (mut before, mut now, mut slope) = (0.0, *first, second - first);
    for (at, value) in w.values.iter().enumerate().skip(1) {
        if at > 1 {
            slope = trend * (now - before) + (1.0 - trend) * slope;
        }
        let next = level * value + (1.0 - level) * (now + slope);
        (before, now) = (now, next);
    }
    Ok(Some(now))
}
