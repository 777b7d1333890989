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
//! let counts = head.tsdb().counts(&[], 15, 40)?;
//! assert_eq!(counts.series[0].delta, Ok(2 + 1 + 3));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeMap;

use crate::{Labels, Matcher, ReadError, Tsdb, damage::Tolerance, is_stale, view::Found};

/// Above this a double no longer holds every integer.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// How far before a window the sample is looked for that an increase is measured from: first so far …
const NEAR_MS: i64 = 5 * 60 * 1_000;
/// … and where that finds none, so far. What was silent for longer is counted from its first sample inside, and
/// says so.
const FAR_MS: i64 = 2 * 60 * 60 * 1_000;

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

/// The growth of a selection, and how much of it was seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// Series with a sample inside the window, sorted by labels.
    pub series: Vec<SeriesCount>,
    /// Series that satisfied the matchers and had a sample in the window or shortly before it.
    pub matched: usize,
    /// Time of the oldest contributing sample of all.
    pub oldest_ms: Option<i64>,
    /// Time of the newest contributing sample of all.
    pub newest_ms: Option<i64>,
}

impl Counts {
    /// The increase of all series together; the first fault wins.
    pub fn total(&self) -> Result<u64, CountFault> {
        self.series.iter().try_fold(0_u64, |sum, series| {
            sum.checked_add(series.delta?).ok_or(CountFault::Overflow)
        })
    }
}

impl Tsdb {
    /// Exact growth of the matching counters in `(from_ms, to_ms]`; see the module. Staleness markers are
    /// skipped: they say that a series ended, not what it counted.
    pub fn counts(
        &self,
        matchers: &[Matcher],
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Counts, ReadError> {
        let window = (from_ms.saturating_sub(NEAR_MS), to_ms);
        let mut found = self.find(matchers, window, &mut Tolerance::Strict)?;
        // Histograms are no counters of this kind.
        found.retain(|it| !it.columns.times.is_empty());
        let mut counts = Counts {
            matched: found.len(),
            ..Counts::default()
        };
        let windows: Vec<Window> = found
            .into_iter()
            .filter_map(|found| Window::of(found, from_ms, to_ms))
            .collect();
        let far = if windows.iter().any(Window::lacks_base) {
            self.bases(matchers, from_ms)?
        } else {
            BTreeMap::new()
        };
        for window in &windows {
            let base = window.base.or_else(|| far.get(&window.labels).copied());
            counts.series.push(window.count(base));
        }
        counts
            .series
            .sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        counts.oldest_ms = counts.series.iter().map(|s| s.oldest_ms).min();
        counts.newest_ms = counts.series.iter().map(|s| s.newest_ms).max();
        Ok(counts)
    }

    /// The last sample of each series at or before `from_ms`, far back.
    fn bases(
        &self,
        matchers: &[Matcher],
        from_ms: i64,
    ) -> Result<BTreeMap<Labels, (i64, f64)>, ReadError> {
        let window = (from_ms.saturating_sub(FAR_MS), from_ms);
        let found = self.find(matchers, window, &mut Tolerance::Strict)?;
        let base = |found: Found| last_real(&found).map(|base| (found.labels, base));
        Ok(found.into_iter().filter_map(base).collect())
    }
}

fn last_real(found: &Found) -> Option<(i64, f64)> {
    let samples = found.columns.times.iter().zip(&found.columns.values);
    let mut back = samples.rev().filter(|(_, value)| !is_stale(**value));
    back.next().map(|(at_ms, value)| (*at_ms, *value))
}

/// A series with at least one sample to count.
struct Window {
    labels: Labels,
    /// Its first sample ever was read, and the counter is known to have been zero just before.
    born_inside: bool,
    base: Option<(i64, f64)>,
    samples: Vec<(i64, f64)>,
    from_ms: i64,
}

impl Window {
    fn of(found: Found, from_ms: i64, to_ms: i64) -> Option<Self> {
        // Whose first sample is gone may have been reset in between.
        let first_ms = found.columns.times.first().copied();
        let born_inside = found.born_ms.is_some() && found.born_ms == first_ms;
        let all = found.columns.times.iter().zip(&found.columns.values);
        let real = all
            .map(|(at_ms, value)| (*at_ms, *value))
            .filter(|(_, value)| !is_stale(*value));
        let (before, inside): (Vec<_>, Vec<_>) = real
            .filter(|(at_ms, _)| *at_ms <= to_ms)
            .partition(|(at_ms, _)| *at_ms <= from_ms);
        (!inside.is_empty()).then_some(Self {
            labels: found.labels,
            born_inside,
            base: before.last().copied(),
            samples: inside,
            from_ms,
        })
    }

    fn lacks_base(&self) -> bool {
        self.base.is_none() && !self.born_inside
    }

    fn count(&self, base: Option<(i64, f64)>) -> SeriesCount {
        let (first, last) = match *self.samples {
            [first, .., last] => (first, last),
            [one] => (one, one),
            [] => ((self.from_ms, 0.0), (self.from_ms, 0.0)),
        };
        let (kind, start, oldest_ms) = match base {
            Some((at_ms, value)) => (Base::Before, (at_ms, value), at_ms),
            None if self.born_inside => (Base::BornFromZero, (first.0, 0.0), first.0),
            None => (Base::FirstInWindow, first, first.0),
        };
        let (delta, resets) = increase(start, &self.samples);
        SeriesCount {
            labels: self.labels.clone(),
            delta,
            base: kind,
            resets,
            oldest_ms,
            newest_ms: last.0,
        }
    }
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
