//! Exact counts over a window, with how much of the window was seen.
//!
//! Guarantees: a total is the sum of differences of samples that exist, resets included; what was not seen
//! is in [`Coverage`], never extrapolated.

use mainstay_core::Time;
use mainstay_tsdb::{Base, CountFault, Counts, SeriesCount};

/// How far a count can be trusted to be whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// Series that satisfy the selector.
    pub matched: usize,
    /// Those with a sample in the window.
    pub counted: usize,
    /// Those counted from a known beginning: a sample before the window, or their birth at zero.
    pub whole: usize,
    /// The oldest contributing sample.
    pub oldest: Option<Time>,
    /// The newest contributing sample.
    pub newest: Option<Time>,
}

impl Coverage {
    /// Whether there was something to count and every counted series has a known beginning.
    pub fn is_whole(&self) -> bool {
        self.counted > 0 && self.whole == self.counted
    }
}

/// The growth of the selected counters in a window.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowCount {
    /// The exact increase of all series, or the first reason why there is none.
    pub total: Result<u64, CountFault>,
    /// Resets seen in all series.
    pub resets: u64,
    /// How much was seen.
    pub coverage: Coverage,
    /// Each series, sorted by labels.
    pub series: Vec<SeriesCount>,
}

impl From<Counts> for WindowCount {
    fn from(counts: Counts) -> Self {
        let known = |s: &&SeriesCount| s.base != Base::FirstInWindow;
        Self {
            total: counts.total(),
            resets: counts.series.iter().map(|s| u64::from(s.resets)).sum(),
            coverage: Coverage {
                matched: counts.matched,
                counted: counts.series.len(),
                whole: counts.series.iter().filter(known).count(),
                oldest: counts.oldest_ms.map(Time::from_millis),
                newest: counts.newest_ms.map(Time::from_millis),
            },
            series: counts.series,
        }
    }
}
