//! How an entity stood before one monitor: since when, and how often it turned red or green.

use std::collections::VecDeque;

use mainstay_core::{Span, Time};

use super::{Finding, Verdict};

/// Turns between green and red are counted over so long.
pub const FLAPPING_WITHIN: Span = Span::from_secs(3_600);
/// From so many turns on in [`FLAPPING_WITHIN`] an entity flaps: twice red and twice back.
pub const FLAPS_MIN: usize = 4;
/// An entity that is red for so long is one that nobody mends.
pub const RED_LONG: Span = Span::from_secs(24 * 3_600);
/// Turns remembered; more are as bad.
const TURNS_MAX: usize = 64;

/// An entity before one monitor.
#[derive(Debug, Clone, PartialEq)]
pub struct Track {
    /// What was found last.
    pub finding: Finding,
    /// Since when the verdict is what it is.
    pub since: Time,
    /// Since when it is red, whichever of both.
    pub red_since: Option<Time>,
    /// When it had a value last.
    pub seen_at: Option<Time>,
    turns: VecDeque<Time>,
}

impl Track {
    /// An entity that is looked at for the first time.
    pub(super) fn new(finding: Finding, now: Time) -> Self {
        let verdict = finding.verdict;
        Self {
            finding,
            since: now,
            red_since: verdict.is_red().then_some(now),
            seen_at: (verdict != Verdict::NoData).then_some(now),
            turns: VecDeque::new(),
        }
    }

    /// Takes what is found now.
    pub(super) fn observe(&mut self, finding: Finding, now: Time) {
        let (before, verdict) = (self.finding.verdict, finding.verdict);
        if verdict != before {
            self.since = now;
        }
        // Who is red in another way has turned nowhere.
        if verdict.is_red() != before.is_red() {
            if self.turns.len() == TURNS_MAX {
                self.turns.pop_front();
            }
            self.turns.push_back(now);
        }
        if verdict != Verdict::NoData {
            self.seen_at = Some(now);
        }
        self.red_since = verdict.is_red().then(|| self.red_since.unwrap_or(now));
        self.finding = finding;
    }

    /// How often it turned red or green in the last [`FLAPPING_WITHIN`].
    pub fn turns(&self, now: Time) -> usize {
        let recent = self.turns.iter();
        recent
            .filter(|at| now.since(**at) < FLAPPING_WITHIN)
            .count()
    }

    /// Whether it turns too often to be believed.
    pub fn flaps(&self, now: Time) -> bool {
        self.turns(now) >= FLAPS_MIN
    }

    /// Whether it is red for [`RED_LONG`].
    pub fn is_red_long(&self, now: Time) -> bool {
        self.red_since
            .is_some_and(|since| now.since(since) >= RED_LONG)
    }
}
