//! Days of samples: which are to be written, and under which name.
//!
//! Guarantees: a day, by UTC, is due once it has been over for long enough, something of it is kept here as it came in,
//! and nothing that holds some of it waits to be merged. All of it is pure.

use std::collections::{BTreeMap, BTreeSet};

/// Milliseconds of a day.
pub const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// Days looked back: what says that it is older has a wrong clock.
pub const DAYS_MAX: i64 = 4_000;
/// The file of a day.
const FILE: &str = "samples.parquet";

/// A day, counted from 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(pub i64);

impl Day {
    /// The day of a time.
    pub fn of(at_ms: i64) -> Self {
        Self(at_ms.div_euclid(DAY_MS))
    }

    /// Its first and its last millisecond.
    pub fn window_ms(self) -> (i64, i64) {
        let first = self.0.saturating_mul(DAY_MS);
        (first, first.saturating_add(DAY_MS - 1))
    }

    /// `YYYY-MM-DD`.
    pub fn date(self) -> String {
        let time = mainstay_core::Time::from_millis(self.window_ms().0).to_string();
        time.split('T').next().unwrap_or_default().to_owned()
    }

    /// The object of its samples.
    pub fn object(self) -> String {
        format!("day={}/{FILE}", self.date())
    }

    /// The day in the name of such an object.
    pub fn in_object(name: &str) -> Option<Self> {
        let (date, file) = name.rsplit_once("day=")?.1.split_once('/')?;
        let time: mainstay_core::Time = format!("{date}T00:00:00Z").parse().ok()?;
        (file == FILE).then(|| Self::of(time.millis()))
    }
}

/// What a part holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Times of its oldest and newest sample.
    pub span_ms: (i64, i64),
    /// Whether it is not merged soon.
    pub rests: bool,
}

/// Days that are to be written, the oldest first: of `parts`, which hold samples as they came in, without those that are
/// `done`.
pub fn due(parts: &[Held], done: &BTreeSet<Day>, after_ms: i64, now_ms: i64) -> Vec<Day> {
    let last = Day::of(now_ms.saturating_sub(after_ms).saturating_sub(DAY_MS)).0;
    let mut rests: BTreeMap<Day, bool> = BTreeMap::new();
    for part in parts {
        let from = Day::of(part.span_ms.0).0.max(last - DAYS_MAX);
        for day in from..=Day::of(part.span_ms.1).0.min(last) {
            *rests.entry(Day(day)).or_insert(true) &= part.rests;
        }
    }
    rests.retain(|day, rests| *rests && !done.contains(day));
    rests.into_keys().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_a_name_that_reads_back() {
        let day = Day::of(1_700_000_000_000);
        assert_eq!(day.object(), "day=2023-11-14/samples.parquet");
        assert_eq!(Day::in_object(&format!("a/b/{}", day.object())), Some(day));
        assert_eq!(Day::in_object("day=2023-11-14/other.parquet"), None);
        assert_eq!(Day::in_object("day=soon/samples.parquet"), None);
        assert_eq!(Day::of(-1).window_ms(), (-DAY_MS, -1));
    }

    #[test]
    fn a_day_is_due_once_it_was_over_for_long_enough_and_its_parts_rest() {
        let held = |from: i64, to: i64, rests| Held {
            span_ms: (from * DAY_MS, to * DAY_MS + 5),
            rests,
        };
        let due = |parts: &[Held], done: &[Day], now_ms| {
            due(parts, &done.iter().copied().collect(), 1_000, now_ms)
        };
        let parts = [held(10, 11, true), held(12, 12, true)];
        assert_eq!(due(&parts, &[], 12 * DAY_MS + 999), [Day(10)]);
        assert_eq!(due(&parts, &[], 12 * DAY_MS + 1_000), [Day(10), Day(11)]);
        assert_eq!(due(&parts, &[Day(10)], 20 * DAY_MS), [Day(11), Day(12)]);
        let busy = [held(10, 11, true), held(11, 12, false)];
        assert_eq!(due(&busy, &[], 20 * DAY_MS), [Day(10)]);
        let wrong = [held(-900_000, 11, true)];
        assert!(due(&wrong, &[], 20 * DAY_MS).len() <= 4_001);
    }
}
