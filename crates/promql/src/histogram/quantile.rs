//! Quantiles and fractions of a native histogram.
//!
//! Guarantees: inside an exponential bucket interpolation is exponential (as if the bucket were split ever
//! finer), inside the zero bucket and custom buckets linear. Observations that are not numbers count in
//! `count` but in no bucket; they sort above all others.

use super::{Bucket, Histogram, Sign};

/// What a reader should know of a quantile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NanEffect {
    None,
    /// The quantile lies among observations that are not numbers.
    Result,
    /// They push it upwards.
    Skew,
}

impl Histogram {
    /// A zero bucket has only one side if all other buckets are on that side.
    pub(super) fn one_sided(&self, mut bucket: Bucket) -> Bucket {
        if bucket.sign == Sign::Zero {
            match (self.negative.is_empty(), self.positive.is_empty()) {
                (true, false) => bucket.lower = 0.0,
                (false, true) => bucket.upper = 0.0,
                _ => {}
            }
        }
        bucket
    }

    pub(crate) fn quantile(&self, q: f64) -> (f64, NanEffect) {
        if q < 0.0 {
            return (f64::NEG_INFINITY, NanEffect::None);
        }
        if q > 1.0 {
            return (f64::INFINITY, NanEffect::None);
        }
        if self.count == 0.0 || q.is_nan() {
            return (f64::NAN, NanEffect::None);
        }
        // From the nearer end, unless observations that are no numbers sit at the upper one.
        let forward = self.sum.is_nan() || q < 0.5;
        let rank = if forward { q } else { 1.0 - q } * self.count;
        let found = if forward {
            find_rank(self.buckets(), rank)
        } else {
            find_rank(self.buckets().rev(), rank)
        };
        let Some((bucket, count)) = found else {
            return (f64::NAN, NanEffect::Result);
        };
        let bucket = self.one_sided(bucket);
        let count = count.min(self.count);
        if count < rank {
            if self.sum.is_nan() {
                return (f64::NAN, NanEffect::Result);
            }
            return (
                if forward { bucket.upper } else { bucket.lower },
                NanEffect::None,
            );
        }
        let effect = if self.sum.is_nan() {
            NanEffect::Skew
        } else {
            NanEffect::None
        };
        let inside = if forward {
            rank - (count - bucket.count)
        } else {
            count - rank
        };
        (self.interpolated(bucket, inside / bucket.count), effect)
    }

    /// The value below which `fraction` of a bucket's observations lie.
    fn interpolated(&self, mut bucket: Bucket, fraction: f64) -> f64 {
        if self.is_custom() {
            if bucket.lower == f64::NEG_INFINITY {
                if bucket.upper <= 0.0 {
                    return bucket.upper;
                }
                bucket.lower = 0.0;
            } else if bucket.upper == f64::INFINITY {
                return bucket.lower;
            }
        }
        if self.is_custom() || bucket.sign == Sign::Zero {
            return bucket.lower + (bucket.upper - bucket.lower) * fraction;
        }
        let (lower, upper) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
        if bucket.sign == Sign::Positive {
            (lower + (upper - lower) * fraction).exp2()
        } else {
            -(upper + (lower - upper) * (1.0 - fraction)).exp2()
        }
    }

    /// The fraction of observations between two values.
    pub(crate) fn fraction(&self, lower: f64, upper: f64) -> f64 {
        if self.count == 0.0 || lower.is_nan() || upper.is_nan() {
            return f64::NAN;
        }
        if lower >= upper {
            return 0.0;
        }
        // Observations that are no numbers lie between no values.
        let numbers = if self.sum.is_nan() {
            self.buckets().map(|bucket| bucket.count).sum()
        } else {
            self.count
        };
        let rank_of = |value| {
            self.rank_of(value)
                .map_or(numbers, |rank: f64| rank.min(numbers))
        };
        (rank_of(upper) - rank_of(lower)) / self.count
    }

    /// How many observations lie below a value; nothing if all do.
    fn rank_of(&self, value: f64) -> Option<f64> {
        let mut rank = 0.0;
        for bucket in self.buckets() {
            let mut bucket = self.one_sided(bucket);
            if self.is_custom() && bucket.lower == f64::NEG_INFINITY && bucket.upper > 0.0 {
                bucket.lower = 0.0;
            }
            if bucket.lower >= value {
                return Some(rank);
            }
            if bucket.upper > value && bucket.lower == f64::NEG_INFINITY {
                // A bucket of infinite width is not divided: all of it counts as below.
                return Some(rank + bucket.count);
            }
            if bucket.upper > value {
                return Some(rank + bucket.count * self.fraction_below(bucket, value));
            }
            rank += bucket.count;
        }
        None
    }

    /// Which fraction of a bucket lies below a value inside it.
    pub(super) fn fraction_below(&self, bucket: Bucket, value: f64) -> f64 {
        if self.is_custom() || bucket.sign == Sign::Zero {
            return (value - bucket.lower) / (bucket.upper - bucket.lower);
        }
        let (lower, upper) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
        let value = value.abs().log2();
        if bucket.sign == Sign::Positive {
            (value - lower) / (upper - lower)
        } else {
            1.0 - (value - upper) / (lower - upper)
        }
    }
}

/// The populated bucket in which the rank is reached, or the last, and the count up to its end.
fn find_rank(buckets: impl Iterator<Item = Bucket>, rank: f64) -> Option<(Bucket, f64)> {
    let (mut count, mut last) = (0.0, None);
    for bucket in buckets.filter(|bucket| bucket.count != 0.0) {
        count += bucket.count;
        last = Some((bucket, count));
        if count >= rank {
            break;
        }
    }
    last
}
