//! Exponential histograms as native ones.
//!
//! Guarantees: no observation is lost: a scale that is finer than the store's is reduced; one that is coarser than any is
//! refused. Where deltas are added up, the sum has the coarser of both resolutions; where the zero bucket's width
//! changes, the sum begins again, which PromQL sees as a counter's restart.
//!
//! A bucket of index `i` begins there where in the store a bucket of index `i + 1` begins.

use std::{collections::BTreeMap, sync::Arc};

use mainstay_tsdb::{BucketCounts, BucketSpan, Histogram, HistogramFault, Tally};

#[cfg(test)]
use super::json::Double;
use super::{
    json::Unsigned,
    message::{Buckets, ExponentialPoint},
};
use crate::native;

/// The zero bucket's half width where a point says none, as Prometheus takes it.
const ZERO_THRESHOLD: f64 = 1e-128;
/// The coarsest and the finest scale that is stored.
const SCALES: std::ops::RangeInclusive<i32> = -4..=8;
/// The finest scale that there is.
const FINEST: i32 = 20;

/// Why a point is no histogram.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(super) enum ExponentialFault {
    #[error("its scale is {0}; send one from -4 to 20")]
    Scale(i32),
    #[error(transparent)]
    Histogram(#[from] HistogramFault),
}

/// The histogram that a point says, whether it is a delta or not.
pub(super) fn native(point: &ExponentialPoint<'_>) -> Result<Histogram, ExponentialFault> {
    if !(*SCALES.start()..=FINEST).contains(&point.scale) {
        return Err(ExponentialFault::Scale(point.scale));
    }
    let side = |buckets: &Buckets| {
        let indices = i64::from(buckets.offset) + 1..;
        let counts = indices.zip(&buckets.bucket_counts);
        // One beyond all numbers is refused below: its spans do not end before the last bucket there is.
        let slot = |(index, count): (i64, &Unsigned)| {
            let index = i32::try_from(index).unwrap_or(i32::MAX);
            (count.0 > 0).then_some((index, count.0))
        };
        native::spans_of(&counts.filter_map(slot).collect::<Vec<(i32, u64)>>())
    };
    let ((positive, above), (negative, below)) = (side(&point.positive), side(&point.negative));
    let threshold = point.zero_threshold.0;
    let is_wide = threshold > 0.0;
    let mut histogram = Histogram {
        schema: point.scale.min(*SCALES.end()),
        zero_threshold: if is_wide { threshold } else { ZERO_THRESHOLD },
        sum: point.sum.map_or(0.0, |sum| sum.0),
        positive,
        negative,
        counts: BucketCounts::Whole(Tally {
            count: point.count.0,
            zero: point.zero_count.0,
            positive: above,
            negative: below,
        }),
        ..Histogram::default()
    };
    histogram.check()?;
    let finer = point.scale - histogram.schema;
    if finer > 0 {
        histogram.schema = point.scale;
        native::reduce(&mut histogram, finer as u32);
    }
    Ok(histogram)
}

/// Adds a delta to a sum. False where they cannot be added, as their zero buckets are not of one width or counts overflow:
/// the sum is then the delta alone.
pub(super) fn add(sum: &mut Histogram, delta: &Histogram) -> bool {
    if sum.zero_threshold.to_bits() != delta.zero_threshold.to_bits() {
        sum.clone_from(delta);
        return false;
    }
    let mut delta = delta.clone();
    let coarser = sum.schema.min(delta.schema);
    for histogram in [&mut *sum, &mut delta] {
        let by = (histogram.schema - coarser) as u32;
        native::reduce(histogram, by);
    }
    let (BucketCounts::Whole(a), BucketCounts::Whole(b)) = (&sum.counts, &delta.counts) else {
        *sum = delta;
        return false;
    };
    let added = || {
        let positive = side((&sum.positive, &a.positive), (&delta.positive, &b.positive))?;
        let negative = side((&sum.negative, &a.negative), (&delta.negative, &b.negative))?;
        Some(Histogram {
            sum: sum.sum + delta.sum,
            positive: positive.0,
            negative: negative.0,
            counts: BucketCounts::Whole(Tally {
                count: a.count.checked_add(b.count)?,
                zero: a.zero.checked_add(b.zero)?,
                positive: positive.1,
                negative: negative.1,
            }),
            ..sum.clone()
        })
    };
    let added = added().filter(|it| it.check().is_ok());
    let is_added = added.is_some();
    *sum = added.unwrap_or(delta);
    is_added
}

type Side<'s> = (&'s Arc<[BucketSpan]>, &'s Vec<u64>);

fn side(a: Side<'_>, b: Side<'_>) -> Option<(Arc<[BucketSpan]>, Vec<u64>)> {
    let mut slots: BTreeMap<i32, u64> = BTreeMap::new();
    for (spans, counts) in [a, b] {
        for (index, count) in native::indices(spans).zip(counts) {
            let slot = slots.entry(index).or_default();
            *slot = slot.checked_add(*count)?;
        }
    }
    Some(native::spans_of(&slots.into_iter().collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(scale: i32, offset: i32, counts: &[u64]) -> ExponentialPoint<'static> {
        ExponentialPoint {
            count: Unsigned(counts.iter().sum::<u64>() + 2),
            zero_count: Unsigned(2),
            scale,
            positive: Buckets {
                offset,
                bucket_counts: counts.iter().map(|count| Unsigned(*count)).collect(),
            },
            ..ExponentialPoint::default()
        }
    }

    fn counts(histogram: &Histogram) -> (i32, Vec<(i32, u64)>) {
        let BucketCounts::Whole(tally) = &histogram.counts else {
            panic!("whole counts");
        };
        let slots = native::indices(&histogram.positive).zip(tally.positive.iter().copied());
        (histogram.schema, slots.collect())
    }

    #[test]
    fn a_bucket_ends_where_it_ended_and_empty_ones_are_left_out() {
        // Bucket 0 of scale 0 holds (1, 2], which here has the index 1.
        let histogram = native(&point(0, 0, &[3, 0, 0, 0, 4])).unwrap();
        assert_eq!(counts(&histogram), (0, vec![(1, 3), (5, 4)]));
        assert_eq!(histogram.zero_threshold, ZERO_THRESHOLD);
    }

    #[test]
    fn a_scale_that_is_too_fine_is_reduced_and_one_that_is_too_coarse_refused() {
        // At scale 10 the buckets 0 to 3 are the bucket 0 at scale 8.
        let histogram = native(&point(10, 0, &[1, 2, 3, 4, 5])).unwrap();
        assert_eq!(counts(&histogram), (8, vec![(1, 10), (2, 5)]));
        let refused = native(&point(-5, 0, &[1])).unwrap_err();
        assert_eq!(refused, ExponentialFault::Scale(-5));
        assert!(native(&point(0, i32::MAX, &[1, 2, 3])).is_err());
    }

    #[test]
    fn deltas_of_two_resolutions_add_up_to_the_coarser() {
        let mut sum = native(&point(1, 0, &[1, 2])).unwrap();
        assert!(add(&mut sum, &native(&point(0, 0, &[10])).unwrap()));
        assert_eq!(counts(&sum), (0, vec![(1, 13)]));
        assert_eq!(sum.check(), Ok(()));
        let mut wide = point(0, 0, &[1]);
        wide.zero_threshold = Double(0.5);
        assert!(!add(&mut sum, &native(&wide).unwrap()), "begins again");
        assert_eq!(counts(&sum), (0, vec![(1, 1)]));
    }
}
