//! Functions of one range of samples.
//!
//! Guarantees: a window is never empty, holds no staleness marker, and is open at its old end. Rates follow
//! Prometheus' extrapolation: towards both ends of the range by the gap that is there, but no further than
//! half an average interval if the gap is above 1.1 of it, and a counter never below zero.

#![expect(
    clippy::unnecessary_wraps,
    reason = "the table of functions needs one signature"
)]

use super::kahan;

/// Gap, in average intervals, above which the series is taken to begin or end inside the range.
const EXTRAPOLATION_THRESHOLD: f64 = 1.1;

/// Samples of one series in `(start_ms, end_ms]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window<'a> {
    pub(crate) timestamps: &'a [i64],
    pub(crate) values: &'a [f64],
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    /// The step's own time, before `offset` and `@`.
    pub(crate) eval_ms: i64,
}

impl Window<'_> {
    fn iter(&self) -> impl DoubleEndedIterator<Item = (i64, f64)> {
        let times = self.timestamps.iter().copied();
        times.zip(self.values.iter().copied())
    }

    fn first(&self) -> Option<(i64, f64)> {
        Some((*self.timestamps.first()?, *self.values.first()?))
    }

    fn last(&self) -> Option<(i64, f64)> {
        Some((*self.timestamps.last()?, *self.values.last()?))
    }
}

pub(crate) fn rate(w: &Window<'_>) -> Option<f64> {
    let range_s = (w.end_ms - w.start_ms) as f64 / 1000.0;
    extrapolated(w, true, range_s)
}

pub(crate) fn increase(w: &Window<'_>) -> Option<f64> {
    extrapolated(w, true, 1.0)
}

pub(crate) fn delta(w: &Window<'_>) -> Option<f64> {
    extrapolated(w, false, 1.0)
}

fn extrapolated(w: &Window<'_>, counter: bool, divisor: f64) -> Option<f64> {
    if w.values.len() < 2 {
        return None;
    }
    let ((first_ms, first), (last_ms, last)) = (w.first()?, w.last()?);
    let mut grown = last - first;
    if counter {
        for pair in w.values.windows(2) {
            if pair[1] < pair[0] {
                grown += pair[0];
            }
        }
    }
    let mut to_start = (first_ms - w.start_ms) as f64 / 1000.0;
    let mut to_end = (w.end_ms - last_ms) as f64 / 1000.0;
    let sampled = (last_ms - first_ms) as f64 / 1000.0;
    let interval = sampled / (w.values.len() - 1) as f64;
    let threshold = interval * EXTRAPOLATION_THRESHOLD;
    if to_start >= threshold {
        to_start = interval / 2.0;
    }
    if counter && grown > 0.0 && first >= 0.0 {
        to_start = to_start.min(sampled * (first / grown));
    }
    if to_end >= threshold {
        to_end = interval / 2.0;
    }
    let factor = (sampled + to_start + to_end) / sampled / divisor;
    Some(grown * factor)
}

pub(crate) fn irate(w: &Window<'_>) -> Option<f64> {
    let mut newest = w.iter().rev();
    let ((last_ms, last), (previous_ms, previous)) = (newest.next()?, newest.next()?);
    let grown = if last < previous {
        last
    } else {
        last - previous
    };
    Some(grown / ((last_ms - previous_ms) as f64 / 1000.0))
}

pub(crate) fn idelta(w: &Window<'_>) -> Option<f64> {
    let mut newest = w.iter().rev();
    let ((_, last), (_, previous)) = (newest.next()?, newest.next()?);
    Some(last - previous)
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

pub(crate) fn resets(w: &Window<'_>) -> Option<f64> {
    Some(w.values.windows(2).filter(|p| p[1] < p[0]).count() as f64)
}

pub(crate) fn changes(w: &Window<'_>) -> Option<f64> {
    let differ = |p: &&[f64]| p[0] != p[1] && !(p[0].is_nan() && p[1].is_nan());
    Some(w.values.windows(2).filter(differ).count() as f64)
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

pub(crate) fn count(w: &Window<'_>) -> Option<f64> {
    Some(w.values.len() as f64)
}

pub(crate) fn first(w: &Window<'_>) -> Option<f64> {
    w.values.first().copied()
}

pub(crate) fn last(w: &Window<'_>) -> Option<f64> {
    w.values.last().copied()
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
    Ok(Some(kahan::quantile(*q, &mut w.values.to_vec())))
}

pub(crate) fn ts_of_first(w: &Window<'_>) -> Option<f64> {
    w.first().map(|(t, _)| t as f64 / 1000.0)
}

pub(crate) fn ts_of_last(w: &Window<'_>) -> Option<f64> {
    w.last().map(|(t, _)| t as f64 / 1000.0)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn window<'a>(timestamps: &'a [i64], values: &'a [f64], start: i64, end: i64) -> Window<'a> {
        Window {
            timestamps,
            values,
            start_ms: start,
            end_ms: end,
            eval_ms: end,
        }
    }

    #[test]
    fn a_counter_is_not_extrapolated_below_zero() {
        let w = window(&[10_000, 20_000], &[1.0, 11.0], 0, 20_000);
        // One second before the first sample it would have been zero.
        assert_eq!(increase(&w), Some(11.0));
        assert_eq!(delta(&w), Some(20.0));
    }

    #[test]
    fn a_wide_gap_is_extrapolated_by_half_an_interval() {
        let w = window(&[50_000, 60_000], &[100.0, 110.0], 0, 60_000);
        assert_eq!(increase(&w), Some(15.0));
    }

    #[test]
    fn a_reset_counts_from_zero() {
        let w = window(&[0, 10_000, 20_000], &[5.0, 2.0, 4.0], -1, 20_000);
        assert_eq!(resets(&w), Some(1.0));
        assert!((increase(&w).unwrap() - 4.0).abs() < 0.001);
    }
}
