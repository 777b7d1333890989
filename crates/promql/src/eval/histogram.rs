//! Quantiles of classic histograms: cumulative buckets with upper bounds in the label `le`.
//!
//! Guarantees: buckets of one histogram are those whose other labels are equal. Linear interpolation inside
//! a bucket; small decreases are taken for rounding, larger ones are lifted to the bucket before.

use super::Row;
use crate::Labels;
use std::collections::HashMap;

/// Relative difference under which two cumulative counts are the same number.
const SAME_COUNT: f64 = 1e-12;

const BUCKET_LABEL: &str = "le";

/// Rows of one histogram, with their upper bounds.
type Buckets = Vec<(f64, usize)>;

pub(super) fn quantile(rows: &[Row], quantiles: &[f64]) -> Vec<Row> {
    let mut order: Vec<(Labels, Buckets)> = Vec::new();
    let mut by_labels: HashMap<Labels, usize> = HashMap::new();
    for (at, row) in rows.iter().enumerate() {
        let Some(bound) = row.labels.get(BUCKET_LABEL).and_then(bound) else {
            continue;
        };
        let labels = row.labels.filtered(|name| name != BUCKET_LABEL);
        let group = *by_labels.entry(labels).or_insert_with_key(|labels| {
            order.push((labels.clone(), Vec::new()));
            order.len() - 1
        });
        order[group].1.push((bound, at));
    }
    let mut results = Vec::with_capacity(order.len());
    for (labels, mut buckets) in order {
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let at_step = |(i, q): (usize, &f64)| {
            let there = buckets.iter();
            let counts: Vec<(f64, f64)> = there
                .filter_map(|(bound, row)| Some((*bound, rows[*row].values[i]?)))
                .collect();
            (!counts.is_empty()).then(|| bucket_quantile(*q, counts))
        };
        results.push(Row {
            labels,
            drop_name: true,
            values: quantiles.iter().enumerate().map(at_step).collect(),
        });
    }
    results
}

fn bound(text: &str) -> Option<f64> {
    match text {
        "+Inf" | "Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        _ => text.parse::<f64>().ok().filter(|b| !b.is_nan()),
    }
}

/// `buckets` are (upper bound, cumulative count), ascending by bound.
fn bucket_quantile(q: f64, mut buckets: Vec<(f64, f64)>) -> f64 {
    if q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    buckets.dedup_by(|later, earlier| {
        let same = later.0 == earlier.0;
        if same {
            earlier.1 += later.1;
        }
        same
    });
    let last = buckets.len().saturating_sub(1);
    if last == 0 || buckets[last].0 != f64::INFINITY {
        return f64::NAN;
    }
    make_monotonic(&mut buckets);
    let observations = buckets[last].1;
    if observations == 0.0 || observations.is_nan() {
        return f64::NAN;
    }
    let rank = q * observations;
    let at = buckets[..last].partition_point(|(_, count)| *count < rank);
    if at == last {
        return buckets[last - 1].0;
    }
    let (end, count) = buckets[at];
    if at == 0 {
        return if end <= 0.0 {
            end
        } else {
            end * (rank / count)
        };
    }
    let (start, before) = buckets[at - 1];
    start + (end - start) * ((rank - before) / (count - before))
}

fn make_monotonic(buckets: &mut [(f64, f64)]) {
    let mut previous = f64::NEG_INFINITY;
    for (_, count) in buckets {
        let near = (*count - previous).abs() < SAME_COUNT * (count.abs() + previous.abs());
        if *count < previous || (near && previous.is_finite()) {
            *count = previous;
        }
        previous = *count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_interpolates_inside_its_bucket() {
        let buckets = vec![(1.0, 2.0), (2.0, 6.0), (f64::INFINITY, 6.0)];
        assert_eq!(bucket_quantile(0.5, buckets.clone()), 1.25);
        assert_eq!(bucket_quantile(1.0, buckets.clone()), 2.0);
        assert_eq!(bucket_quantile(-0.1, buckets), f64::NEG_INFINITY);
    }

    #[test]
    fn without_an_infinite_bucket_there_is_no_quantile() {
        assert!(bucket_quantile(0.5, vec![(1.0, 2.0), (2.0, 3.0)]).is_nan());
    }
}
