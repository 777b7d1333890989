//! Native histograms: one sample that holds many counts.
//!
//! Guarantees: what is kept is what was given, bit for bit, whole counts as whole numbers; nothing is kept that
//! [`Histogram::check`] refuses. A bucket with index `i` of an exponential histogram ends at 2^(i · 2^−schema),
//! inclusive; custom buckets end at their bounds, the last at infinity. It never computes with them.
//!
//! ```
//! use mainstay_tsdb::{BucketCounts, BucketSpan, Histogram, Tally};
//! let histogram = Histogram {
//!     positive: [BucketSpan { offset: -1, len: 2 }].into(),
//!     counts: BucketCounts::Whole(Tally { count: 3, positive: vec![1, 2], ..Tally::default() }),
//!     ..Histogram::default()
//! };
//! assert!(histogram.check().is_ok());
//! assert_eq!(histogram.buckets(), 2);
//! ```

mod chain;
mod code;
mod column;

use std::sync::Arc;

pub(crate) use chain::Chain;
pub(crate) use code::{
    hint_number, hint_of, put_histogram, put_layout, take_histogram, take_layout,
};
pub(crate) use column::HistogramColumn;

/// The schema of histograms with bounds of their own.
pub const CUSTOM_SCHEMA: i32 = -53;
/// Buckets of one histogram: the finest resolution over some thirty powers of two, on either side.
pub const MAX_BUCKETS: usize = 16_384;

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

/// Neighbouring buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BucketSpan {
    /// Of the first span the index of its first bucket; of others how many buckets are left out before it.
    pub offset: i32,
    /// How many buckets.
    pub len: u32,
}

/// Counts of one histogram: absolute, not differences of neighbours.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally<N> {
    /// Observations in all, those that are not numbers included.
    pub count: N,
    /// Observations in the zero bucket.
    pub zero: N,
    /// Those above it (or all custom ones), ascending, as many as the spans say.
    pub positive: Vec<N>,
    /// Those below it, by absolute value.
    pub negative: Vec<N>,
}

/// Counts as they were given.
#[derive(Clone, Debug)]
pub enum BucketCounts {
    /// Of observations.
    Whole(Tally<u64>),
    /// Of what was computed from histograms, such as rates.
    Real(Tally<f64>),
}

impl Default for BucketCounts {
    fn default() -> Self {
        Self::Whole(Tally::default())
    }
}

/// See the module. Compared by bits, since no NaN equals itself.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    /// −4 to 8 for exponential buckets (a power of two is divided into 2^schema), or [`CUSTOM_SCHEMA`].
    pub schema: i32,
    /// What is known of resets.
    pub hint: ResetHint,
    /// Since when it counts, in milliseconds; 0 where that is unknown.
    pub start_ms: i64,
    /// Half the width of the zero bucket.
    pub zero_threshold: f64,
    /// Sum of the observations.
    pub sum: f64,
    /// Which buckets above the zero bucket there are, or which custom ones.
    pub positive: Arc<[BucketSpan]>,
    /// Which below it.
    pub negative: Arc<[BucketSpan]>,
    /// Upper bounds of custom buckets, ascending, without infinity.
    pub bounds: Arc<[f64]>,
    /// The counts.
    pub counts: BucketCounts,
}

/// A sample that is a histogram.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramSample {
    /// Milliseconds since the epoch.
    pub at_ms: i64,
    /// The histogram.
    pub histogram: Arc<Histogram>,
}

/// Why a histogram is none.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum HistogramFault {
    /// Neither exponential nor custom.
    #[error("there is no schema {0}; send one from -4 to 8, or -53 for custom buckets")]
    Schema(i32),
    /// More than one may have.
    #[error("{buckets} buckets and spans in one histogram, the limit is {MAX_BUCKETS}")]
    TooManyBuckets {
        /// How many it has.
        buckets: usize,
    },
    /// A span other than the first begins before the one before it ends.
    #[error("a span of the {side} side has the negative offset {offset}")]
    SpanOffset {
        /// The side.
        side: &'static str,
        /// The offset.
        offset: i32,
    },
    /// A bucket's index is beyond all numbers.
    #[error("a span of the {0} side ends beyond the last bucket there is")]
    SpanEnd(&'static str),
    /// Spans and counts do not agree.
    #[error("the spans of the {side} side have {spans} buckets, but {counts} counts were sent")]
    SpansAndCounts {
        /// The side.
        side: &'static str,
        /// Buckets that the spans name.
        spans: u64,
        /// Counts.
        counts: usize,
    },
    /// A count below zero, or none at all.
    #[error("the count {0} of a bucket is negative or not a number")]
    Count(f64),
    /// The counts do not add up.
    #[error("{buckets} observations are in buckets, but the count is {count}")]
    Sum {
        /// Observations in buckets.
        buckets: u64,
        /// The count of all.
        count: u64,
    },
    /// The zero bucket is no interval.
    #[error("the zero threshold {0} is negative or not a number")]
    ZeroThreshold(f64),
    /// Bounds of custom buckets that do not ascend, or are not finite.
    #[error("custom bounds must ascend and be finite")]
    Bounds,
    /// More custom buckets than bounds make.
    #[error("a custom bucket has the index {index}, but there are only {bounds} bounds")]
    BeyondBounds {
        /// The bucket.
        index: i64,
        /// Bounds.
        bounds: usize,
    },
    /// Custom buckets have neither a zero bucket nor a negative side, exponential ones no bounds.
    #[error("{0}")]
    Mixed(&'static str),
}

impl Histogram {
    /// Buckets of both sides.
    pub fn buckets(&self) -> usize {
        match &self.counts {
            BucketCounts::Whole(tally) => tally.buckets(),
            BucketCounts::Real(tally) => tally.buckets(),
        }
    }

    /// Whether its buckets have bounds of their own.
    pub fn is_custom(&self) -> bool {
        self.schema == CUSTOM_SCHEMA
    }

    /// Bytes in memory, roughly.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + 8 * (self.buckets() + self.bounds.len() + self.positive.len() + self.negative.len())
    }

    /// Whether it makes sense; what does not is refused, as Prometheus does.
    pub fn check(&self) -> Result<(), HistogramFault> {
        let buckets = self.buckets().max(self.bounds.len());
        let buckets = buckets.max(self.positive.len() + self.negative.len());
        if buckets > MAX_BUCKETS {
            return Err(HistogramFault::TooManyBuckets { buckets });
        }
        if !self.is_custom() && !(-4..=8).contains(&self.schema) {
            return Err(HistogramFault::Schema(self.schema));
        }
        if self.zero_threshold.is_nan() || self.zero_threshold < 0.0 {
            return Err(HistogramFault::ZeroThreshold(self.zero_threshold));
        }
        let (positive, negative) = match &self.counts {
            BucketCounts::Whole(tally) => (tally.positive.len(), tally.negative.len()),
            BucketCounts::Real(tally) => (tally.positive.len(), tally.negative.len()),
        };
        let end = check_spans(&self.positive, positive, "positive")?;
        check_spans(&self.negative, negative, "negative")?;
        match &self.counts {
            BucketCounts::Whole(tally) => tally.check(self.sum.is_nan())?,
            BucketCounts::Real(tally) => tally.check()?,
        }
        if self.is_custom() {
            self.check_custom(end)
        } else if self.bounds.is_empty() {
            Ok(())
        } else {
            let what = "a histogram with an exponential schema must not have custom bounds";
            Err(HistogramFault::Mixed(what))
        }
    }

    fn check_custom(&self, end: i64) -> Result<(), HistogramFault> {
        let ascend = self.bounds.windows(2).all(|pair| pair[0] < pair[1]);
        if !ascend || !self.bounds.iter().all(|bound| bound.is_finite()) {
            return Err(HistogramFault::Bounds);
        }
        let bounds = self.bounds.len();
        let first = self.positive.first().map_or(0, |span| span.offset);
        if first < 0 || end > bounds as i64 + 1 {
            let index = if first < 0 { i64::from(first) } else { end - 1 };
            return Err(HistogramFault::BeyondBounds { index, bounds });
        }
        let zero = match &self.counts {
            BucketCounts::Whole(tally) => tally.zero != 0,
            BucketCounts::Real(tally) => tally.zero != 0.0,
        };
        if zero || self.zero_threshold != 0.0 {
            let what = "a histogram with custom buckets must not have a zero bucket";
            return Err(HistogramFault::Mixed(what));
        }
        if !self.negative.is_empty() {
            let what = "a histogram with custom buckets must not have negative ones";
            return Err(HistogramFault::Mixed(what));
        }
        Ok(())
    }

    /// Whether both have the same buckets.
    pub(crate) fn same_layout(&self, other: &Self) -> bool {
        self.schema == other.schema
            && self.zero_threshold.to_bits() == other.zero_threshold.to_bits()
            && self.positive == other.positive
            && self.negative == other.negative
            && same_bits(&self.bounds, &other.bounds)
            && matches!(self.counts, BucketCounts::Whole(_))
                == matches!(other.counts, BucketCounts::Whole(_))
    }

    /// Whether a counter that was `before` has begun anew, as far as its counts and its sender tell.
    pub(crate) fn is_less_than(&self, before: &Self) -> bool {
        let count = |it: &Self| match &it.counts {
            BucketCounts::Whole(tally) => tally.count as f64,
            BucketCounts::Real(tally) => tally.count,
        };
        match self.hint {
            ResetHint::Gauge => false,
            ResetHint::Reset => true,
            ResetHint::Unknown | ResetHint::NotReset => count(self) < count(before),
        }
    }

    /// Takes the layout of `other` where it is the same, so that it is in memory once.
    pub(crate) fn share_layout(&mut self, other: &Self) {
        if self.same_layout(other) {
            self.positive = Arc::clone(&other.positive);
            self.negative = Arc::clone(&other.negative);
            self.bounds = Arc::clone(&other.bounds);
        }
    }
}

impl PartialEq for Histogram {
    fn eq(&self, other: &Self) -> bool {
        self.same_layout(other)
            && (self.hint, self.start_ms) == (other.hint, other.start_ms)
            && self.sum.to_bits() == other.sum.to_bits()
            && match (&self.counts, &other.counts) {
                (BucketCounts::Whole(a), BucketCounts::Whole(b)) => a == b,
                (BucketCounts::Real(a), BucketCounts::Real(b)) => {
                    a.count.to_bits() == b.count.to_bits()
                        && a.zero.to_bits() == b.zero.to_bits()
                        && same_bits(&a.positive, &b.positive)
                        && same_bits(&a.negative, &b.negative)
                }
                (BucketCounts::Whole(_), BucketCounts::Real(_))
                | (BucketCounts::Real(_), BucketCounts::Whole(_)) => false,
            }
    }
}

fn same_bits(a: &[f64], b: &[f64]) -> bool {
    a.iter()
        .map(|it| it.to_bits())
        .eq(b.iter().map(|it| it.to_bits()))
}

impl<N> Tally<N> {
    fn buckets(&self) -> usize {
        self.positive.len() + self.negative.len()
    }
}

impl Tally<u64> {
    /// Observations that are not numbers are counted, but are in no bucket.
    fn check(&self, some_are_nan: bool) -> Result<(), HistogramFault> {
        let counts = self.positive.iter().chain(&self.negative);
        let buckets = counts.fold(self.zero, |sum, count| sum.saturating_add(*count));
        let count = self.count;
        if buckets == count || some_are_nan && buckets < count {
            return Ok(());
        }
        Err(HistogramFault::Sum { buckets, count })
    }
}

impl Tally<f64> {
    /// Computed counts need not add up to the last bit.
    fn check(&self) -> Result<(), HistogramFault> {
        let counts = self.positive.iter().chain(&self.negative);
        let mut counts = counts.chain([&self.count, &self.zero]);
        let odd = counts.find(|count| count.is_nan() || **count < 0.0);
        odd.map_or(Ok(()), |count| Err(HistogramFault::Count(*count)))
    }
}

/// The index after the last bucket.
fn check_spans(
    spans: &[BucketSpan],
    counts: usize,
    side: &'static str,
) -> Result<i64, HistogramFault> {
    let (mut end, mut buckets) = (0_i64, 0_u64);
    for (at, span) in spans.iter().enumerate() {
        if at > 0 && span.offset < 0 {
            let offset = span.offset;
            return Err(HistogramFault::SpanOffset { side, offset });
        }
        end += i64::from(span.offset) + i64::from(span.len);
        buckets += u64::from(span.len);
    }
    if buckets != counts as u64 {
        let spans = buckets;
        return Err(HistogramFault::SpansAndCounts {
            side,
            spans,
            counts,
        });
    }
    if end > i64::from(i32::MAX) {
        return Err(HistogramFault::SpanEnd(side));
    }
    Ok(end)
}

#[cfg(test)]
pub(crate) mod tests;
