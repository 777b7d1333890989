//! What a head may hold, and why a sample was refused.

use crate::{HistogramFault, Labels, OverLimit};

/// What a head may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Series at once; one more is refused.
    pub max_series: usize,
    /// Labels of one series, the name included.
    pub max_labels: usize,
    /// Bytes of all label names and values of one series.
    pub max_label_bytes: usize,
    /// Age after which a head without a disk may drop samples.
    pub retention_ms: i64,
    /// How much older than the newest of its series a sample may be.
    pub late_ms: i64,
    /// A generation that has lasted so long is followed by the next …
    pub generation_ms: i64,
    /// … and so is one with so many samples; a histogram counts as many as take its place in memory.
    pub generation_samples: usize,
    /// With more samples than these in generations that ended and are not sealed yet, because the disk fails or is
    /// slow, nothing more is promised to be kept: see [`Head::ready`](crate::Head::ready).
    pub frozen_samples: usize,
}

impl Default for HeadLimits {
    /// Two million series; two hours without a disk; nothing late; a generation of five minutes or 16 million
    /// samples, of which four (1 GiB) may wait.
    fn default() -> Self {
        Self {
            max_series: 2_000_000,
            max_labels: 64,
            max_label_bytes: 8 * 1024,
            retention_ms: 2 * 60 * 60 * 1000,
            late_ms: 0,
            generation_ms: 5 * 60 * 1000,
            generation_samples: 16_000_000,
            frozen_samples: 64_000_000,
        }
    }
}

/// Why a sample was refused; the head is unchanged.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AppendError {
    /// Too much older than the newest sample of its series.
    #[error("out of order: {labels} has a sample at {newest_ms} ms, this one is at {at_ms} ms")]
    OutOfOrder {
        /// The series.
        labels: Labels,
        /// Time of the newest accepted sample.
        newest_ms: i64,
        /// Time of the refused sample.
        at_ms: i64,
    },
    /// Same time as the newest sample, another value.
    #[error("{labels} already has another value at {at_ms} ms")]
    DuplicateTime {
        /// The series.
        labels: Labels,
        /// The time of both.
        at_ms: i64,
    },
    /// The sample would create one series too many.
    #[error("the head holds its limit of {limit} series")]
    TooManySeries {
        /// The limit.
        limit: usize,
    },
    /// Too many labels on one series.
    #[error("{count} labels on one series, the limit is {limit}")]
    TooManyLabels {
        /// How many it has.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// Label names and values too long together.
    #[error("labels of one series take {bytes} bytes, the limit is {limit}")]
    LabelsTooLong {
        /// How many bytes they take.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// One of those who share is at its limit.
    #[error(transparent)]
    Tenant(#[from] OverLimit),
    /// A histogram that makes no sense.
    #[error("{labels}: {fault}")]
    Histogram {
        /// The series.
        labels: Labels,
        /// Why.
        fault: HistogramFault,
    },
}
