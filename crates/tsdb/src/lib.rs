//! The metric engine: an in-memory head with columnar selection.
//!
//! Guarantees: a series is identified by its full, canonical label set (a hash only finds it, equality
//! decides); timestamps inside a series strictly ascend; every growth is bounded by [`HeadLimits`] and a
//! refused write is a typed error. It never interpolates, never reorders and never drops a write silently.
//!
//! Appending needs `&mut Head`, reading needs `&Head`: the caller chooses the lock or the owning thread.
//!
//! ```
//! use mainstay_tsdb::{Head, HeadLimits, Labels, MatchOp, Matcher};
//! let mut head = Head::new(HeadLimits::default());
//! let up = Labels::from_pairs([("__name__", "up"), ("job", "shop")])?;
//! head.append(&up, 1_000, 1.0)?;
//! let found = head.select(&[Matcher::new("job", MatchOp::Equal, "shop")?], 0, 2_000);
//! assert_eq!(&*found[0].timestamps, &[1_000]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod counts;
mod head;
mod index;
mod labels;
mod matcher;

pub use counts::{Base, CountFault, Counts, Newest, SeriesCount};
pub use head::{AppendError, Head, HeadLimits, SeriesSlice, Truncated};
pub use index::SeriesId;
pub use labels::{LabelError, Labels, METRIC_NAME};
pub use matcher::{MatchOp, Matcher, MatcherError};

/// Bits of the NaN that marks "this series ended here"; every other NaN is an ordinary value.
pub const STALE_MARKER_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The staleness marker as a float.
pub const fn stale_marker() -> f64 {
    f64::from_bits(STALE_MARKER_BITS)
}

/// Whether `value` is the staleness marker (compared by bits, since no NaN equals another).
pub const fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_MARKER_BITS
}
