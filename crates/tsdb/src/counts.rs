//! Exact counting: how much integer counters grew in `(from, to]`.
//!
//! Guarantees: only differences of samples that exist are added, in integers; a value below the one before it
//! is a reset and counts in full. It never extrapolates to the window's edges and never guesses: a series
//! that is not an integer counter is reported with its fault instead of a number.
//!
//! ```
//! use mainstay_tsdb::{Head, HeadLimits, Labels};
//! let mut head = Head::new(HeadLimits::default());
//! let errors = Labels::from_pairs([("__name__", "errors_total")])?;
//! for (t, v) in [(10, 7.0), (20, 9.0), (30, 1.0), (40, 4.0)] {
//!     head.append(&errors, t, v)?;
//! }
//! let counts = head.counts(&[], 15, 40);
//! assert_eq!(counts.series[0].delta, Ok(2 + 1 + 3));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::head::Series;
use crate::{Head, Labels, Matcher, is_stale};

/// Above this a double no longer holds every integer.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// Why a series cannot be counted exactly.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum CountFault {
    /// A value that is negative, fractional, not finite or above 2^53.
    #[error("value {value} at {at_ms} ms is not an exact non-negative integer")]
    NotAnInteger {
        /// The value.
        value: f64,
        /// When it was seen.
        at_ms: i64,
    },
    /// The sum does not fit 64 bits.
    #[error("the sum of increases overflows")]
    Overflow,
}

/// What the first increase of a series was measured from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// The last sample at or before the window's start.
    Before,
    /// Zero: the series is known to have been born inside the window.
    BornFromZero,
    /// Its own first sample inside the window, whose value is not counted: what came before is unknown.
    FirstInWindow,
}

/// The growth of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesCount {
    /// The series.
    pub labels: Labels,
    /// The exact increase, or why there is none.
    pub delta: Result<u64, CountFault>,
    /// What the increase was measured from.
    pub base: Base,
    /// Resets seen.
    pub resets: u32,
    /// Time of the oldest contributing sample, the base included.
    pub oldest_ms: i64,
    /// Time of the newest contributing sample.
    pub newest_ms: i64,
}

/// The newest that is known of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Newest<'a> {
    /// The series.
    pub labels: &'a Labels,
    /// Time of its newest sample, staleness markers aside.
    pub at_ms: i64,
    /// The value of that sample.
    pub value: f64,
    /// Whether a staleness marker follows.
    pub ended: bool,
}

/// The growth of a selection, and how much of it was seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// Series with a sample inside the window, sorted by labels.
    pub series: Vec<SeriesCount>,
    /// Series that satisfied the matchers, with or without a sample in the window.
    pub matched: usize,
    /// Time of the oldest contributing sample of all.
    pub oldest_ms: Option<i64>,
    /// Time of the newest contributing sample of all.
    pub newest_ms: Option<i64>,
}

impl Counts {
    /// Brings the series in the order of their labels.
    pub fn sort(&mut self) {
        let labels = |a: &SeriesCount, b: &SeriesCount| a.labels.cmp(&b.labels);
        self.series.sort_unstable_by(labels);
    }

    /// The increase of all series together; the first fault wins.
    pub fn total(&self) -> Result<u64, CountFault> {
        self.series.iter().try_fold(0_u64, |sum, series| {
            sum.checked_add(series.delta?).ok_or(CountFault::Overflow)
        })
    }
}

impl Head {
    /// Exact growth of the matching counters in `(from_ms, to_ms]`; see the module. Staleness markers are
    /// skipped: they say that a series ended, not what it counted.
    pub fn counts(&self, matchers: &[Matcher], from_ms: i64, to_ms: i64) -> Counts {
        let mut counts = self.counts_unsorted(matchers, from_ms, to_ms);
        counts.sort();
        counts
    }

    /// Like [`Head::counts`], in no order that means anything: for who holds a lock meanwhile and sorts after.
    pub fn counts_unsorted(&self, matchers: &[Matcher], from_ms: i64, to_ms: i64) -> Counts {
        let mut counts = Counts::default();
        for series in self.matching(matchers) {
            counts.matched += 1;
            counts.series.extend(count(series, from_ms, to_ms));
        }
        counts.oldest_ms = counts.series.iter().map(|s| s.oldest_ms).min();
        counts.newest_ms = counts.series.iter().map(|s| s.newest_ms).max();
        counts
    }

    /// The newest sample at or before `at_ms` of each matching series that has one, in no order that means
    /// anything.
    pub fn newest(&self, matchers: &[Matcher], at_ms: i64) -> impl Iterator<Item = Newest<'_>> {
        self.matching(matchers).filter_map(move |series| {
            let mut back = series.samples_back(at_ms).peekable();
            let ended = back.peek().is_some_and(|(_, value)| is_stale(*value));
            let (at_ms, value) = back.find(|(_, value)| !is_stale(*value))?;
            Some(Newest {
                labels: &series.labels,
                at_ms,
                value,
                ended,
            })
        })
    }
}

fn count(series: &Series, from_ms: i64, to_ms: i64) -> Option<SeriesCount> {
    let real = |(_, value): &(i64, f64)| !is_stale(*value);
    let after_ms = from_ms.checked_add(1)?;
    let window: Vec<(i64, f64)> = series.samples(after_ms, to_ms).filter(real).collect();
    let (first_ms, first) = *window.first()?;
    let (newest_ms, _) = *window.last()?;
    // Whoever asks each second pays for the window and one step back, not for all that is retained.
    let base = series.samples_back(from_ms).find(real);
    let (kind, start, oldest_ms) = match base {
        Some((t, value)) => (Base::Before, (t, value), t),
        None if series.born_from_zero => (Base::BornFromZero, (first_ms, 0.0), first_ms),
        None => (Base::FirstInWindow, (first_ms, first), first_ms),
    };
    let (delta, resets) = increase(start, &window);
    Some(SeriesCount {
        labels: series.labels.clone(),
        delta,
        base: kind,
        resets,
        oldest_ms,
        newest_ms,
    })
}

fn increase(start: (i64, f64), window: &[(i64, f64)]) -> (Result<u64, CountFault>, u32) {
    let mut resets = 0;
    let mut add = || {
        let mut previous = exact(start)?;
        let mut sum = 0_u64;
        for sample in window {
            let value = exact(*sample)?;
            let grown = if value < previous {
                resets += 1;
                value
            } else {
                value - previous
            };
            sum = sum.checked_add(grown).ok_or(CountFault::Overflow)?;
            previous = value;
        }
        Ok(sum)
    };
    (add(), resets)
}

fn exact((at_ms, value): (i64, f64)) -> Result<u64, CountFault> {
    if (0.0..=MAX_EXACT).contains(&value) && value.fract() == 0.0 {
        Ok(value as u64)
    } else {
        Err(CountFault::NotAnInteger { value, at_ms })
    }
}

#[cfg(test)]
mod tests;
