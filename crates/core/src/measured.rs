//! The difference between what was said and what was seen.

use serde::{Deserialize, Serialize};

use crate::{Span, Time};

/// What a component says of itself, or of an effect it had itself: worth showing, never acted upon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim<T> {
    /// What is claimed.
    pub value: T,
    /// When it was said.
    pub claimed_at: Time,
    /// Who says so.
    pub claimant: String,
}

/// What somebody other than the actor saw, when, and who that was. Only this advances a state.
///
/// Built by adapters alone (the tidy check holds that); everyone else can only pass it on or map it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured<T> {
    value: T,
    observed_at: Time,
    source: String,
}

impl<T> Measured<T> {
    /// An observation of `value` by `source`.
    pub fn observe(value: T, observed_at: Time, source: impl Into<String>) -> Self {
        Self {
            value,
            observed_at,
            source: source.into(),
        }
    }
    /// What was seen.
    pub fn value(&self) -> &T {
        &self.value
    }
    /// When it was seen.
    pub fn observed_at(&self) -> Time {
        self.observed_at
    }
    /// Who saw it.
    pub fn source(&self) -> &str {
        &self.source
    }
    /// Whether it was seen no longer than `max_age` before `now`. What carries a time ahead of `now`
    /// by more than `max_age` is not fresh either: one of the two clocks is wrong.
    pub fn is_fresh(&self, now: Time, max_age: Span) -> bool {
        now.since(self.observed_at) <= max_age && self.observed_at.since(now) <= max_age
    }
    /// The same observation, seen through `f`.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Measured<U> {
        Measured {
            value: f(self.value),
            observed_at: self.observed_at,
            source: self.source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_from_a_clock_far_ahead_is_not_fresh() {
        let seen = Measured::observe(1, Time::from_millis(60_000), "agent/h1");
        assert!(!seen.is_fresh(Time::from_millis(0), Span::from_secs(5)));
        assert!(seen.is_fresh(Time::from_millis(58_000), Span::from_secs(5)));
    }
}
