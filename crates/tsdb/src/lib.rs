//! The metric engine: a head that takes samples, numbers and native histograms, a log that keeps them until they are sealed into parts, columnar
//! selection over all of it.
//!
//! Guarantees: a series is identified by its full, canonical label set (a hash only finds it, equality
//! decides); a sample is acknowledged once it is synced to disk, and readable before; every growth is bounded by
//! [`HeadLimits`] and a refused write is a typed error. It never interpolates and never drops a write silently.
//!
//! One thread owns the [`Head`] and appends; any number read through a [`Tsdb`], and neither waits for the other. Two
//! more write: the journal's makes what comes in durable, the sealer's writes generations that ended as parts, merges
//! these and drops what is older than [`Options::retention_ms`].
//!
//! ```
//! use mainstay_tsdb::{Head, HeadLimits, Labels, MatchOp, Matcher};
//! let mut head = Head::new(HeadLimits::default());
//! let up = Labels::from_pairs([("__name__", "up"), ("job", "shop")])?;
//! head.append(&up, 1_000, 1.0)?;
//! let tsdb = head.tsdb();
//! let found = tsdb.select(&[Matcher::new("job", MatchOp::Equal, "shop")?], 0, 2_000)?;
//! assert_eq!(&*found[0].timestamps, &[1_000]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod clock;
mod counts;
mod cursor;
mod damage;
mod downsample;
mod examine;
mod grave;
mod head;
mod histogram;
mod idset;
mod index;
mod journal;
mod keys;
mod labels;
mod limits;
mod manifest;
mod matcher;
mod memtable;
mod merge;
mod newest;
mod open;
mod order;
mod page;
mod part;
mod parts;
mod record;
mod retention;
mod roster;
mod seal;
mod sealed;
mod segments;
mod series;
mod snapshot;
mod tenants;
mod view;
mod walk;

pub use counts::{Base, CountFault, Counts, SeriesCount};
pub use damage::{Damage, Quarantined};
pub use downsample::{Aggregate, Coarse, Downsampling, Resolution};
pub use examine::examine_part;
pub use head::{Head, SeriesNumber};
pub use histogram::{
    BucketCounts, BucketSpan, CUSTOM_SCHEMA, Histogram, HistogramFault, HistogramSample,
    MAX_BUCKETS, ResetHint, Tally,
};
pub(crate) use idset::IdSet;
pub use journal::{Acknowledge, NotDurable};
pub use keys::{CheckedKeys, Key, LabelKeys};
pub use labels::{LabelError, Labels, MAX_LABEL_PART_BYTES, METRIC_NAME, Pairs};
pub use limits::{AppendError, HeadLimits};
pub use matcher::{MatchOp, Matcher, MatcherError};
pub use merge::Tiers;
pub use newest::Newest;
pub use open::{OpenError, Options, Recovered, examine_log, open, open_keeping};
pub use order::{Backfilled, Obeyed, Order, OrderError, Outcome};
pub use retention::{Keeping, Retain};
pub use sealed::{Sealed, SealedPart};
pub use snapshot::{RestoreError, Restored, SNAPSHOTS, assemble, restore};
pub use tenants::{Excess, OverLimit, TENANTS_MAX, TenantLimit, TenantLimits, TenantUse, Tenants};
pub use view::{ReadError, SeriesSlice, Tsdb};

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
