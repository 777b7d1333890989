//! Native histograms: exponential buckets of nine resolutions, or buckets with bounds of their own.
//!
//! Guarantees: slots of one side ascend by index, none repeats. Counts are floats, because rates and averages
//! of histograms are histograms too. A bucket with index `i` of an exponential histogram ends at
//! 2^(i · 2^−schema), inclusive, and begins where bucket `i − 1` ends; custom buckets count from 0 and end
//! at their bounds, the last at infinity.
//!
//! ```
//! use mainstay_promql::{Histogram, Slot};
//! let mut histogram = Histogram { count: 3.0, sum: 4.5, ..Histogram::default() };
//! histogram.positive = vec![Slot { index: 0, count: 1.0 }, Slot { index: 1, count: 2.0 }];
//! assert_eq!(histogram.to_string(), "{count:3, sum:4.5, (0.5,1]:1, (1,2]:2}");
//! ```

use crate::column::is_stale;
use crate::number::Short;
use std::fmt;
use std::sync::Arc;

mod arithmetic;
mod bounds;
mod layout;
mod quantile;
mod reset;
mod tally;
mod trim;

pub(crate) use arithmetic::Added;
pub(crate) use quantile::NanEffect;
pub(crate) use tally::Tally;
pub(crate) use trim::Trim;

/// The schema of histograms with custom bounds.
pub const CUSTOM_SCHEMA: i32 = -53;

/// What is known of resets before this sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResetHint {
    /// Nothing.
    #[default]
    Unknown,
    /// The counter began anew.
    Reset,
    /// It did not.
    NotReset,
    /// Not a counter.
    Gauge,
}

/// The count of one bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slot {
    /// Which bucket.
    pub index: i32,
    /// Observations in it.
    pub count: f64,
}

/// A native histogram.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// −4 to 8 for exponential buckets (a power of two is divided into 2^schema), [`CUSTOM_SCHEMA`] for bounds.
    pub schema: i32,
    /// What is known of resets.
    pub hint: ResetHint,
    /// Half the width of the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// Observations in all, those that are not numbers included.
    pub count: f64,
    /// Sum of the observations; the staleness marker ends a series.
    pub sum: f64,
    /// Buckets above the zero bucket, or all custom buckets.
    pub positive: Vec<Slot>,
    /// Buckets below the zero bucket, by absolute value.
    pub negative: Vec<Slot>,
    /// Upper bounds of custom buckets, ascending, without infinity.
    pub bounds: Arc<[f64]>,
}

/// A bucket as Prometheus's HTTP API shows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PopulatedBucket {
    /// Which borders belong to it: 0 the upper, 1 the lower, 3 both.
    pub inclusion: u8,
    /// Lower border.
    pub lower: f64,
    /// Upper border.
    pub upper: f64,
    /// Observations.
    pub count: f64,
}

/// Two histograms that no common layout can hold: one has exponential buckets, the other custom ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Incompatible;

/// A bucket with its borders.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bucket {
    pub(crate) lower: f64,
    pub(crate) upper: f64,
    pub(crate) count: f64,
    sign: Sign,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Negative,
    Zero,
    Positive,
}

impl Histogram {
    /// Whether the buckets have bounds of their own.
    pub fn is_custom(&self) -> bool {
        self.schema == CUSTOM_SCHEMA
    }

    /// Whether it is a staleness marker.
    pub fn is_stale(&self) -> bool {
        is_stale(self.sum)
    }

    /// Buckets from the lowest to the highest, empty ones of the layout included.
    pub(crate) fn buckets(&self) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        let negative = self
            .negative
            .iter()
            .rev()
            .map(|slot| self.below_zero(*slot));
        let zero = (self.zero_count > 0.0).then(|| self.zero_bucket());
        let positive = self.positive.iter().map(|slot| self.above_zero(*slot));
        negative.chain(zero).chain(positive)
    }

    /// Buckets that hold observations, from the lowest to the highest.
    pub fn populated(&self) -> impl Iterator<Item = PopulatedBucket> + '_ {
        let populated = self.buckets().filter(|bucket| bucket.count != 0.0);
        populated.map(|bucket| PopulatedBucket {
            inclusion: match bucket.sign {
                Sign::Positive => 0,
                Sign::Negative => 1,
                Sign::Zero => 3,
            },
            lower: bucket.lower,
            upper: bucket.upper,
            count: bucket.count,
        })
    }

    fn zero_bucket(&self) -> Bucket {
        Bucket {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            count: self.zero_count,
            sign: Sign::Zero,
        }
    }

    fn above_zero(&self, slot: Slot) -> Bucket {
        let (mut lower, upper) = self.borders(slot.index);
        if lower > 0.0 && lower < self.zero_threshold {
            lower = self.zero_threshold;
        }
        Bucket {
            lower,
            upper,
            count: slot.count,
            sign: Sign::Positive,
        }
    }

    fn below_zero(&self, slot: Slot) -> Bucket {
        let mirrored = self.above_zero(slot);
        Bucket {
            lower: -mirrored.upper,
            upper: -mirrored.lower,
            count: slot.count,
            sign: Sign::Negative,
        }
    }

    /// Removes empty buckets.
    pub(crate) fn compact(mut self) -> Self {
        self.positive.retain(|slot| slot.count != 0.0);
        self.negative.retain(|slot| slot.count != 0.0);
        self
    }

    pub(crate) fn with_hint(mut self, hint: ResetHint) -> Self {
        self.hint = hint;
        self
    }

    fn counts_mut(&mut self) -> impl Iterator<Item = &mut f64> {
        let sides = self.positive.iter_mut().chain(self.negative.iter_mut());
        let totals = [&mut self.zero_count, &mut self.count, &mut self.sum];
        totals.into_iter().chain(sides.map(|slot| &mut slot.count))
    }

    /// Every count and the sum times `factor`; less than zero makes a gauge of it.
    pub(crate) fn scaled(mut self, factor: f64) -> Self {
        for count in self.counts_mut() {
            *count *= factor;
        }
        if factor < 0.0 {
            self.hint = ResetHint::Gauge;
        }
        self
    }

    /// Every count and the sum divided; dividing by zero leaves no bucket.
    pub(crate) fn divided(mut self, divisor: f64) -> Self {
        for count in self.counts_mut() {
            *count /= divisor;
        }
        if divisor == 0.0 {
            self.positive.clear();
            self.negative.clear();
        }
        if divisor < 0.0 {
            self.hint = ResetHint::Gauge;
        }
        self
    }

    /// Estimated variance of the observations, each taken to be in the middle of its bucket.
    pub(crate) fn variance(&self) -> f64 {
        let mean = self.sum / self.count;
        let squares = self
            .buckets()
            .filter(|bucket| bucket.count != 0.0)
            .map(|bucket| {
                let middle = if self.is_custom() {
                    f64::midpoint(bucket.upper, bucket.lower)
                } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
                    0.0
                } else {
                    (bucket.upper * bucket.lower).sqrt() * bucket.upper.signum()
                };
                bucket.count * (middle - mean) * (middle - mean)
            });
        crate::eval::kahan::sum(squares).unwrap_or(0.0) / self.count
    }

    /// Equal in everything but what is known of resets; the staleness marker equals itself.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        let same =
            |a: f64, b: f64| a == b || a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
        self.schema == other.schema
            && same(self.count, other.count)
            && same(self.sum, other.sum)
            && self.zero_threshold == other.zero_threshold
            && same(self.zero_count, other.zero_count)
            && self.positive == other.positive
            && self.negative == other.negative
            && self.bounds == other.bounds
    }
}

impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", Short(self.count), Short(self.sum))?;
        for bucket in self.buckets().filter(|bucket| bucket.count != 0.0) {
            write!(f, ", {bucket}")?;
        }
        f.write_str("}")
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = match self.sign {
            Sign::Negative => ('[', ')'),
            Sign::Zero => ('[', ']'),
            Sign::Positive => ('(', ']'),
        };
        let (lower, upper) = (Short(self.lower), Short(self.upper));
        write!(f, "{open}{lower},{upper}{close}:{}", Short(self.count))
    }
}

#[cfg(test)]
mod tests;
