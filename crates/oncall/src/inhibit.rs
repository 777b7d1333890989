//! Inhibition: alerts that make others not worth telling.
//!
//! Guarantees: an alert is inhibited only by one that fires now; one that matches both sides of a rule never inhibits
//! another such, itself included. Never reads a clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;

use crate::{
    alert::{Alert, Alerts},
    labels::{Fingerprint, Labels},
    matcher::Matchers,
};

/// What inhibits what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What inhibits.
    pub source: Matchers,
    /// What is inhibited.
    pub target: Matchers,
    /// Labels that both have to have with the same value; absent is empty.
    pub equal: Vec<String>,
}

impl Rule {
    fn common(&self, labels: &Labels) -> Vec<String> {
        let values = self.equal.iter().map(|name| labels.get(name).to_owned());
        values.collect()
    }
}

/// The rules, with the alerts that inhibit by each.
#[derive(Debug, Clone, Default)]
pub struct Inhibitor {
    rules: Arc<[Rule]>,
    /// For each rule, by the values that have to be equal.
    sources: Vec<BTreeMap<Vec<String>, BTreeSet<Fingerprint>>>,
}

impl Inhibitor {
    /// One for these rules; it knows of no alert yet.
    pub fn new(rules: Arc<[Rule]>) -> Self {
        Self {
            sources: vec![BTreeMap::new(); rules.len()],
            rules,
        }
    }

    /// Notes an alert that may inhibit others.
    pub fn note(&mut self, alert: &Alert) {
        for (rule, sources) in self.rules.iter().zip(&mut self.sources) {
            if rule.source.matches(&alert.labels) {
                let same = sources.entry(rule.common(&alert.labels)).or_default();
                same.insert(alert.fingerprint());
            }
        }
    }

    /// Forgets an alert.
    pub fn forget(&mut self, alert: &Alert) {
        for (rule, sources) in self.rules.iter().zip(&mut self.sources) {
            let common = rule.common(&alert.labels);
            if let Some(same) = sources.get_mut(&common) {
                same.remove(&alert.fingerprint());
                if same.is_empty() {
                    sources.remove(&common);
                }
            }
        }
    }

    /// Which alerts inhibit a label set now: one for each rule that does.
    pub fn inhibiting(&self, labels: &Labels, alerts: &Alerts, now: Timestamp) -> Vec<Fingerprint> {
        let mut inhibiting = Vec::new();
        for (rule, sources) in self.rules.iter().zip(&self.sources) {
            if !rule.target.matches(labels) {
                continue;
            }
            let both_sides = rule.source.matches(labels);
            let same = sources.get(&rule.common(labels)).into_iter().flatten();
            let mut firing = same
                .filter_map(|print| alerts.get(*print).map(|alert| (*print, alert)))
                .filter(|(_, alert)| !alert.is_resolved(now))
                .filter(|(_, alert)| !(both_sides && rule.target.matches(&alert.labels)));
            inhibiting.extend(firing.next().map(|(print, _)| print));
        }
        inhibiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::Posted;
    use mainstay_core::Span;

    fn labels(text: &str) -> Labels {
        let pairs = text.split(' ').filter_map(|pair| pair.split_once('='));
        pairs.collect()
    }

    #[test]
    fn an_alert_is_inhibited_by_one_that_fires_and_agrees() {
        let critical = (
            "severity=critical",
            "severity=warning",
            &["job", "zone"][..],
        );
        let both = (
            "severity=~\"critical|warning\"",
            "severity=~\"critical|warning\"",
            &["job"][..],
        );
        // (rule, source, asked about, second, inhibited)
        let cases = [
            (
                critical,
                "severity=critical job=a",
                "severity=warning job=a",
                5,
                true,
            ),
            (
                critical,
                "severity=critical job=a",
                "severity=warning job=b",
                5,
                false,
            ),
            (
                critical,
                "severity=critical job=a",
                "severity=critical job=a",
                5,
                false,
            ),
            // The zone is absent here and there.
            (
                critical,
                "severity=critical job=a zone=1",
                "severity=warning job=a",
                5,
                false,
            ),
            (
                critical,
                "severity=info job=a",
                "severity=warning job=a",
                5,
                false,
            ),
            // It is over.
            (
                critical,
                "severity=critical job=a",
                "severity=warning job=a",
                10,
                false,
            ),
            // On both sides of a rule, nobody inhibits anybody.
            (
                both,
                "severity=critical job=a",
                "severity=warning job=a",
                5,
                false,
            ),
            (
                both,
                "severity=critical job=a",
                "severity=critical job=a",
                5,
                false,
            ),
        ];
        for ((source, target, equal), told, asked, second, expected) in cases {
            let at = |second| Timestamp::from_second(second).unwrap();
            let rule = Rule {
                source: source.parse().unwrap(),
                target: target.parse().unwrap(),
                equal: equal.iter().map(|&it| it.to_owned()).collect(),
            };
            let posted = Posted {
                labels: labels(told),
                ends_at: Some(at(10)),
                starts_at: Some(at(1)),
                ..Posted::default()
            };
            let alert = posted.taken(at(1), Span::from_secs(1)).unwrap();
            let (mut inhibitor, mut alerts) = (Inhibitor::new([rule].into()), Alerts::default());
            inhibitor.note(alerts.put(alert.clone(), at(1)));
            let inhibiting = inhibitor.inhibiting(&labels(asked), &alerts, at(second));
            assert_eq!(
                !inhibiting.is_empty(),
                expected,
                "{told}; {asked} at {second}"
            );
            inhibitor.forget(&alert);
            assert!(
                inhibitor
                    .inhibiting(&labels(asked), &alerts, at(second))
                    .is_empty()
            );
        }
    }
}
