//! An alert as others tell it, and how what is told twice becomes one.
//!
//! Guarantees: alerts with the same labels are the same alert while their times overlap; the newer telling wins, but
//! never the later beginning. Never reads a clock: who asks says the time.

use std::{cmp::Ordering, collections::BTreeMap};

use jiff::Timestamp;
use mainstay_core::Span;
use serde::{Deserialize, Serialize};

use crate::{
    labels::{Fingerprint, Labels},
    moment,
};

/// What somebody says is wrong, or was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// What it is known by.
    pub labels: Labels,
    /// What is said of it.
    pub annotations: Labels,
    /// Since when.
    pub starts_at: Timestamp,
    /// Until when; over from then on.
    pub ends_at: Timestamp,
    /// Where it came from.
    pub generator_url: String,
    /// When it was last heard of.
    pub updated_at: Timestamp,
    /// Whether the end is our own guess, because nobody said one.
    pub timeout: bool,
}

/// An alert as it is posted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Posted {
    /// What it is known by.
    pub labels: Labels,
    /// What is said of it.
    pub annotations: Labels,
    /// Since when, if that is said.
    pub starts_at: Option<Timestamp>,
    /// Until when, if that is said.
    pub ends_at: Option<Timestamp>,
    /// Where it came from.
    pub generator_url: String,
}

/// Why an alert is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AlertError {
    /// It is known by nothing.
    #[error("at least one label pair required")]
    NoLabels,
    /// It ended before it began.
    #[error("start time must be before end time")]
    EndsBeforeStart,
    /// A label without a name.
    #[error("a label has an empty name")]
    EmptyName,
}

impl Posted {
    /// The alert, as of `now`; one without an end is over after `resolve_timeout` unless it is told again.
    pub fn taken(self, now: Timestamp, resolve_timeout: Span) -> Result<Alert, AlertError> {
        let labels = self.labels.without_empty();
        if labels.is_empty() {
            return Err(AlertError::NoLabels);
        }
        if [&labels, &self.annotations]
            .iter()
            .any(|it| it.find("").is_some())
        {
            return Err(AlertError::EmptyName);
        }
        let starts_at = self.starts_at.or(self.ends_at).unwrap_or(now);
        let ends_at = self
            .ends_at
            .unwrap_or_else(|| moment::after(now, resolve_timeout));
        if ends_at < starts_at {
            return Err(AlertError::EndsBeforeStart);
        }
        Ok(Alert {
            labels,
            annotations: self.annotations,
            starts_at,
            ends_at,
            generator_url: self.generator_url,
            updated_at: now,
            timeout: self.ends_at.is_none(),
        })
    }
}

impl Alert {
    /// What it is known by.
    pub fn fingerprint(&self) -> Fingerprint {
        self.labels.fingerprint()
    }

    /// Whether it is over.
    pub fn is_resolved(&self, now: Timestamp) -> bool {
        self.ends_at <= now
    }

    /// One alert of two tellings of it; their times overlap.
    fn merged(self, newer: Self, now: Timestamp) -> Self {
        if newer.updated_at < self.updated_at {
            return newer.merged(self, now);
        }
        let mut one = newer;
        one.starts_at = one.starts_at.min(self.starts_at);
        let keeps_its_end = if one.is_resolved(now) {
            self.is_resolved(now)
        } else {
            !self.timeout
        };
        if keeps_its_end && self.ends_at > one.ends_at {
            one.ends_at = self.ends_at;
        }
        one
    }

    /// The order within a notification: by job, by instance, then by all labels.
    pub fn order(&self, other: &Self) -> Ordering {
        for name in ["job", "instance"] {
            let order = match (self.labels.find(name), other.labels.find(name)) {
                (Some(a), Some(b)) => a.cmp(b),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => Ordering::Equal,
            };
            if order.is_ne() {
                return order;
            }
        }
        self.labels.before(&other.labels)
    }
}

/// All alerts that are known.
#[derive(Debug, Clone, Default)]
pub struct Alerts(BTreeMap<Fingerprint, Alert>);

impl Alerts {
    /// Takes what is told; gives the alert as it now is.
    pub fn put(&mut self, told: Alert, now: Timestamp) -> &Alert {
        let print = told.fingerprint();
        let one = match self.0.remove(&print) {
            Some(known) if overlap(&known, &told) => known.merged(told, now),
            Some(_) | None => told,
        };
        self.0.entry(print).or_insert(one)
    }

    /// Takes one as it was kept.
    pub fn restore(&mut self, kept: Alert) {
        self.0.insert(kept.fingerprint(), kept);
    }

    /// Those that fired when they were last heard of and would be over by `now` last until `until`.
    pub fn extend_unheard(&mut self, now: Timestamp, until: Timestamp) {
        for alert in self.0.values_mut() {
            if alert.ends_at > alert.updated_at && alert.is_resolved(now) {
                alert.ends_at = until;
                alert.timeout = true;
            }
        }
    }

    /// Forgets those that are over; gives them.
    pub fn forget_resolved(&mut self, now: Timestamp) -> Vec<Alert> {
        let over: Vec<Fingerprint> = self
            .0
            .iter()
            .filter_map(|(print, alert)| alert.is_resolved(now).then_some(*print))
            .collect();
        over.iter()
            .filter_map(|print| self.0.remove(print))
            .collect()
    }

    /// One of them.
    pub fn get(&self, print: Fingerprint) -> Option<&Alert> {
        self.0.get(&print)
    }

    /// By fingerprint.
    pub fn iter(&self) -> impl Iterator<Item = (Fingerprint, &Alert)> {
        self.0.iter().map(|(print, alert)| (*print, alert))
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn overlap(known: &Alert, told: &Alert) -> bool {
    let inside = |at: Timestamp| at > known.starts_at && at < known.ends_at;
    inside(told.ends_at) || inside(told.starts_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn told(updated: i64, starts: i64, ends: Option<i64>) -> Alert {
        let posted = Posted {
            labels: Labels::from_iter([("alertname", "Down")]),
            starts_at: Some(at(starts)),
            ends_at: ends.map(at),
            ..Posted::default()
        };
        posted.taken(at(updated), Span::from_secs(300)).unwrap()
    }

    #[test]
    fn two_tellings_of_one_alert_are_merged_as_the_original_merges_them() {
        // (first, second, when, beginning, end)
        let cases = [
            // Told again, with a later beginning: the earlier one stays.
            (told(10, 5, None), told(20, 8, None), 20, 5, 320),
            // Told as over.
            (told(10, 5, None), told(20, 5, Some(20)), 20, 5, 20),
            // The first said an end that is later, and meant it.
            (told(10, 5, Some(900)), told(20, 6, None), 20, 5, 900),
            // Both over: the later end wins.
            (told(10, 5, Some(19)), told(12, 6, Some(18)), 20, 5, 19),
            // It ended, and began anew: another alert.
            (told(10, 5, Some(20)), told(30, 25, None), 30, 25, 330),
        ];
        for (first, second, now, starts, ends) in cases {
            let mut alerts = Alerts::default();
            alerts.put(first.clone(), at(now));
            let one = alerts.put(second, at(now));
            assert_eq!(
                (one.starts_at, one.ends_at),
                (at(starts), at(ends)),
                "{first:?}"
            );
        }
    }

    #[test]
    fn an_alert_without_labels_or_with_its_end_before_its_start_is_refused() {
        let posted = Posted::default();
        let refused = posted.taken(at(0), Span::from_secs(1));
        assert_eq!(refused, Err(AlertError::NoLabels));
        let posted = Posted {
            labels: Labels::from_iter([("a", "b"), ("none", "")]),
            starts_at: Some(at(5)),
            ends_at: Some(at(4)),
            ..Posted::default()
        };
        let refused = posted.clone().taken(at(0), Span::from_secs(1));
        assert_eq!(refused, Err(AlertError::EndsBeforeStart));
        let only_an_end = Posted {
            starts_at: None,
            ..posted
        };
        let taken = only_an_end.taken(at(9), Span::from_secs(1)).unwrap();
        assert_eq!((taken.starts_at, taken.labels.len()), (at(4), 1));
    }

    #[test]
    fn alerts_are_ordered_by_job_and_instance_first() {
        let of = |pairs: &[(&str, &str)]| Alert {
            labels: pairs.iter().copied().collect::<Labels>(),
            ..told(0, 0, None)
        };
        let sorted = [
            of(&[("job", "a"), ("instance", "2"), ("z", "1")]),
            of(&[("job", "b"), ("instance", "1")]),
            of(&[("job", "b")]),
            of(&[("instance", "0")]),
            of(&[("a", "0")]),
        ];
        for pair in sorted.windows(2) {
            assert!(pair[0].order(&pair[1]).is_lt(), "{pair:?}");
        }
    }

    #[test]
    fn what_is_over_is_forgotten_when_asked_and_not_before() {
        let mut alerts = Alerts::default();
        alerts.put(told(10, 5, None), at(10));
        assert!(alerts.forget_resolved(at(309)).is_empty());
        assert_eq!(alerts.forget_resolved(at(310)).len(), 1);
        assert!(alerts.is_empty());
    }
}
