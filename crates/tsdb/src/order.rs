//! What somebody orders done with what is kept.
//!
//! Guarantees: an order is carried out by the thread that seals, in its turn: behind all that was appended before it,
//! ahead of all that comes after. It is answered once what it did is durable, or not at all where the engine is closed
//! before: then it may be given again.

use crate::{Labels, Matcher, ReadError};

/// An order.
#[derive(Debug)]
pub enum Order {
    /// Removes the samples in `start_ms..=end_ms` that are there now, of series that satisfy all matchers of any
    /// selector. Nothing reads them once it is answered; their bytes go when their parts are written anew.
    Delete {
        /// Each one selector.
        selectors: Vec<Vec<Matcher>>,
        /// From.
        start_ms: i64,
        /// To.
        end_ms: i64,
    },
    /// Writes anew, without them, all parts that still hold removed samples.
    Clean,
    /// Shares all parts as a snapshot.
    Snapshot {
        /// Its folder, in that of snapshots.
        name: String,
        /// Whether it holds what is only in memory too.
        with_head: bool,
    },
    /// Keeps samples from elsewhere, whatever their age; those that are there already are not written again.
    Backfill(Vec<Backfilled>),
}

/// Samples of one series from elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Backfilled {
    /// The series.
    pub labels: Labels,
    /// Milliseconds since the epoch, and values.
    pub samples: Vec<(i64, f64)>,
}

impl Order {
    /// Whether it is about what came in just now, too.
    pub(crate) fn concerns_head(&self) -> bool {
        match self {
            Self::Delete { .. } => true,
            Self::Clean | Self::Backfill(_) => false,
            Self::Snapshot { with_head, .. } => *with_head,
        }
    }
}

/// What an order did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Parts that it touched.
    pub parts: usize,
    /// Samples that it wrote.
    pub written: u64,
    /// Samples that were there already.
    pub known: u64,
    /// Samples that are older than anything of their series is kept.
    pub expired: u64,
    /// Samples of series that have too many or too long labels.
    pub refused: u64,
}

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// There is no disk.
    #[error("nothing is kept on disk here")]
    NoDisk,
    /// It would pass a limit.
    #[error("{0}")]
    Refused(String),
    /// Something that it needs is damaged.
    #[error(transparent)]
    Damaged(#[from] ReadError),
    /// The disk does not take what it writes.
    #[error("it cannot be carried out now: {0}; order it again then")]
    Disk(String),
    /// The engine was closed before.
    #[error("the engine was closed before the order was carried out: give it again")]
    Closed,
}

/// Who waits for an order.
pub type Obeyed = Box<dyn FnOnce(Result<Outcome, OrderError>) + Send>;

/// An order on its way.
pub(crate) struct Ordered {
    pub(crate) order: Order,
    /// When it was given, on the clock of those who append.
    pub(crate) now_ms: i64,
    pub(crate) tell: Obeyed,
}

impl std::fmt::Debug for Ordered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Ordered").field(&self.order).finish()
    }
}
