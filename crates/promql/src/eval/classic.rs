//! Quantiles and fractions of histograms, classic (buckets with upper bounds in the label `le`) and native.
//!
//! Guarantees: classic buckets of one histogram are those whose other labels are equal. Linear interpolation
//! inside a bucket; small decreases are taken for rounding, larger ones are lifted to the bucket before, and
//! an info says so. Where a classic and a native histogram share name and labels, neither counts.

use super::rows::{Row, merge, without_empty};
use super::{Evaluator, row_of};
use crate::column::Reading;
use crate::error::Outcome;
use crate::note::Remark;
use crate::{Histogram, Labels, Span};
use std::collections::HashMap;

/// Relative difference under which two cumulative counts are the same number.
const SAME_COUNT: f64 = 1e-12;

pub(crate) const BUCKET_LABEL: &str = "le";

/// A cumulative bucket: upper bound, and observations up to it.
pub(crate) type Bucket = (f64, f64);

/// Classic buckets that belong together.
struct Classic {
    labels: Labels,
    /// Upper bounds and rows, ascending by bound.
    buckets: Vec<(f64, usize)>,
}

/// What is computed of a histogram at a step.
pub(super) struct Measure<'a> {
    pub(super) of_classic: &'a dyn Fn(usize, Vec<Bucket>, &str) -> f64,
    pub(super) of_native: &'a dyn Fn(usize, &Histogram, &str) -> f64,
    /// The vector's place.
    pub(super) vector: Span,
}

impl Evaluator<'_> {
    pub(super) fn of_histograms(&self, rows: &[Row], measure: &Measure<'_>) -> Outcome<Vec<Row>> {
        let classics = self.classics(rows, measure.vector);
        let mut by_labels: HashMap<&Labels, usize> = HashMap::new();
        for (at, classic) in classics.iter().enumerate() {
            by_labels.insert(&classic.labels, at);
        }
        let steps = self.steps.count;
        let has_buckets = |classic: &Classic, i: usize| {
            let mut buckets = classic.buckets.iter();
            buckets.any(|(_, row)| rows[*row].column.float(i).is_some())
        };
        let mut conflicts = vec![false; classics.len() * steps];
        let mut results = Vec::with_capacity(classics.len());
        for row in rows.iter().filter(|row| row.column.has_histograms()) {
            let classic = by_labels.get(&row.labels).copied();
            let name = row.labels.name();
            let mut result = row_of(row.labels.clone(), steps, |i| {
                let histogram = row.column.histogram(i)?;
                if let Some(at) = classic
                    && has_buckets(&classics[at], i)
                {
                    self.note(&Remark::MixedClassicNative(name), measure.vector);
                    conflicts[at * steps + i] = true;
                    return None;
                }
                Some(Reading::Float((measure.of_native)(i, histogram, name)))
            });
            result.drop_name = true;
            results.push(result);
        }
        for (at, classic) in classics.iter().enumerate() {
            let mut result = row_of(classic.labels.clone(), steps, |i| {
                if conflicts[at * steps + i] {
                    return None;
                }
                let buckets = classic.buckets.iter();
                let buckets: Vec<Bucket> = buckets
                    .filter_map(|(bound, row)| Some((*bound, rows[*row].column.float(i)?)))
                    .collect();
                let name = classic.labels.name();
                (!buckets.is_empty())
                    .then(|| Reading::Float((measure.of_classic)(i, coalesced(buckets), name)))
            });
            result.drop_name = true;
            results.push(result);
        }
        merge(without_empty(results), measure.vector)
    }

    fn classics(&self, rows: &[Row], vector: Span) -> Vec<Classic> {
        let mut classics: Vec<Classic> = Vec::new();
        let mut by_labels: HashMap<Labels, usize> = HashMap::new();
        for (at, row) in rows.iter().enumerate() {
            if !(0..self.steps.count).any(|i| row.column.float(i).is_some()) {
                continue;
            }
            let value = row.labels.get(BUCKET_LABEL).unwrap_or("");
            let Some(bound) = bound(value) else {
                let metric = row.labels.name();
                self.note(&Remark::BadBucketLabel { value, metric }, vector);
                continue;
            };
            let labels = row.labels.filtered(|name| name != BUCKET_LABEL);
            let group = *by_labels.entry(labels).or_insert_with_key(|labels| {
                classics.push(Classic {
                    labels: labels.clone(),
                    buckets: Vec::new(),
                });
                classics.len() - 1
            });
            classics[group].buckets.push((bound, at));
        }
        for classic in &mut classics {
            classic.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        classics
    }
}

pub(crate) fn bound(text: &str) -> Option<f64> {
    match text {
        "+Inf" | "Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        _ => text.parse::<f64>().ok().filter(|b| !b.is_nan()),
    }
}

/// Buckets of equal bounds become one.
pub(crate) fn coalesced(mut buckets: Vec<Bucket>) -> Vec<Bucket> {
    buckets.dedup_by(|later, earlier| {
        let same = later.0 == earlier.0;
        if same {
            earlier.1 += later.1;
        }
        same
    });
    buckets
}

/// The quantile, and by how much a bucket fell below the one before, if that was more than rounding.
pub(crate) fn quantile(q: f64, mut buckets: Vec<Bucket>) -> (f64, Option<f64>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    let last = buckets.len().saturating_sub(1);
    if buckets.is_empty() || buckets[last].0 != f64::INFINITY {
        return (f64::NAN, None);
    }
    let fell = make_monotonic(&mut buckets);
    let observations = buckets[last].1;
    if last == 0 || observations == 0.0 || observations.is_nan() {
        return (f64::NAN, fell);
    }
    let rank = q * observations;
    let at = buckets[..last].partition_point(|(_, count)| *count < rank);
    if at == last {
        return (buckets[last - 1].0, fell);
    }
    let (end, count) = buckets[at];
    if at == 0 {
        let value = if end <= 0.0 {
            end
        } else {
            end * (rank / count)
        };
        return (value, fell);
    }
    let (start, before) = buckets[at - 1];
    let share = (rank - before) / (count - before);
    (start + (end - start) * share, fell)
}

fn make_monotonic(buckets: &mut [Bucket]) -> Option<f64> {
    let mut previous = f64::NEG_INFINITY;
    let mut fell: Option<f64> = None;
    for (_, count) in buckets {
        let near = (*count - previous).abs() < SAME_COUNT * (count.abs() + previous.abs());
        if near && previous.is_finite() {
            *count = previous;
        } else if *count < previous {
            fell = Some(fell.unwrap_or(0.0).max(previous - *count));
            *count = previous;
        }
        previous = *count;
    }
    fell
}

/// The fraction of observations between two values.
pub(super) fn fraction(lower: f64, upper: f64, buckets: &[Bucket]) -> f64 {
    let Some((bound, count)) = buckets.last().copied() else {
        return f64::NAN;
    };
    if bound != f64::INFINITY || count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let rank_of = |value: f64| {
        let (mut start, mut rank) = (f64::NEG_INFINITY, 0.0);
        for (at, (end, upto)) in buckets.iter().copied().enumerate() {
            if at == 0 && end > 0.0 {
                start = 0.0;
            }
            if start >= value {
                return rank;
            }
            if end > value && start == f64::NEG_INFINITY {
                // A bucket of infinite width is not divided: all of it counts as below.
                return upto;
            }
            if end > value {
                return rank + (upto - rank) * ((value - start) / (end - start));
            }
            (start, rank) = (end, upto);
        }
        count
    };
    (rank_of(upper).min(count) - rank_of(lower).min(count)) / count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_interpolates_inside_its_bucket() {
        let buckets = vec![(1.0, 2.0), (2.0, 6.0), (f64::INFINITY, 6.0)];
        assert_eq!(quantile(0.5, buckets.clone()), (1.25, None));
        assert_eq!(quantile(1.0, buckets.clone()), (2.0, None));
        assert_eq!(quantile(-0.1, buckets), (f64::NEG_INFINITY, None));
    }

    #[test]
    fn without_an_infinite_bucket_there_is_no_quantile() {
        assert!(quantile(0.5, vec![(1.0, 2.0), (2.0, 3.0)]).0.is_nan());
    }

    #[test]
    fn a_bucket_that_fell_is_lifted_and_told() {
        let buckets = vec![(1.0, 4.0), (2.0, 3.0), (f64::INFINITY, 8.0)];
        assert_eq!(quantile(0.25, buckets), (0.5, Some(1.0)));
    }

    #[test]
    fn a_fraction_is_the_inverse_of_a_quantile() {
        let buckets = vec![(1.0, 2.0), (2.0, 6.0), (f64::INFINITY, 6.0)];
        assert_eq!(fraction(f64::NEG_INFINITY, 1.25, &buckets), 0.5);
    }
}
