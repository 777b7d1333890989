//! What an operator sees of the tasks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mainstay_core::Time;

/// How copies stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopySeen {
    /// Where they are.
    pub url: String,
    /// Parts in the listing that counts.
    pub parts: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their samples.
    pub samples: u64,
    /// Time of the newest sample in them.
    pub newest: Option<Time>,
    /// The number of that listing.
    pub listing: u64,
    /// When it was written.
    pub listed_at: Option<Time>,
    /// Parts that wait.
    pub waiting_parts: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// Since when something waits.
    pub waiting_since: Option<Time>,
    /// Parts that are damaged here and were not copied before.
    pub damaged: Vec<String>,
    /// Parts uploaded since the start.
    pub uploaded_parts: u64,
    /// Their bytes.
    pub uploaded_bytes: u64,
    /// Objects removed since the start.
    pub removed: u64,
    /// Attempts that failed since the start.
    pub failures: u64,
    /// Why nothing is copied at the moment.
    pub failing: Option<String>,
}

/// How days stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArchiveSeen {
    /// Where they are.
    pub url: String,
    /// Days that are there.
    pub days: u64,
    /// The newest of them.
    pub newest_day: Option<String>,
    /// Days that wait.
    pub waiting_days: u64,
    /// Since when.
    pub waiting_since: Option<Time>,
    /// Rows written since the start.
    pub rows: u64,
    /// Bytes written since the start.
    pub bytes: u64,
    /// Native histograms left out since the start.
    pub left_out: u64,
    /// Attempts that failed since the start.
    pub failures: u64,
    /// Why no day is written at the moment.
    pub failing: Option<String>,
}

/// What a task shows.
#[derive(Clone, Debug, Default)]
pub struct Shown<T>(Arc<Mutex<T>>);

impl<T: Clone> Shown<T> {
    pub(crate) fn new(seen: T) -> Self {
        Self(Arc::new(Mutex::new(seen)))
    }

    /// What it shows now.
    pub fn get(&self) -> T {
        self.lock().clone()
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut T)) {
        change(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
