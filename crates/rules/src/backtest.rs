//! When an alerting rule would have fired, had it been there.
//!
//! Guarantees: the same life of an alert as live, at the rhythm of its group. What the expression gave at the
//! steps is taken as given: whoever asks reads it out of history.

use std::collections::BTreeMap;

use mainstay_core::{Span, Time};
use mainstay_promql::{Labels, RangeSeries};

use crate::{
    Alert, AlertState, Alerts, Kind, Rule,
    alert::{Holding, own_labels},
};

/// A time during which an alert would have fired.
#[derive(Debug, Clone, PartialEq)]
pub struct Firing {
    /// The alert's labels; those that are templates stand as their text.
    pub labels: Labels,
    /// Since when its expression held.
    pub active_at: Time,
    /// When it would have begun to fire.
    pub fired_at: Time,
    /// When it would have ended; none where it still fired at the end.
    pub resolved_at: Option<Time>,
    /// The value at which it began to fire.
    pub value: f64,
}

/// The steps of a history, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// The first.
    pub start: Time,
    /// The last is not after it.
    pub end: Time,
    /// How far apart.
    pub every: Span,
}

/// Walks `rule` over what its expression gave at `steps`; nothing for a recording rule.
pub fn backtest(rule: &Rule, history: &[RangeSeries], steps: Steps) -> Vec<Firing> {
    let Kind::Alert {
        name,
        hold,
        keep_firing,
        ..
    } = &rule.kind
    else {
        return Vec::new();
    };
    let texts: BTreeMap<&str, &str> = rule
        .labels
        .iter()
        .map(|(name, text)| (name.as_str(), text.text()))
        .collect();
    let labels: Vec<Labels> = history
        .iter()
        .map(|it| own_labels(&it.labels, name, texts.iter().map(|(n, v)| (*n, *v))))
        .collect();
    let mut next = vec![0; history.len()];
    let mut alerts = Alerts::default();
    let mut firing: BTreeMap<Labels, Firing> = BTreeMap::new();
    let mut ended = Vec::new();
    let mut now = steps.start;
    while now <= steps.end {
        let mut holding = Vec::new();
        for ((series, labels), at) in history.iter().zip(&labels).zip(&mut next) {
            let samples = &series.samples;
            while samples
                .get(*at)
                .is_some_and(|it| it.timestamp_ms < now.millis())
            {
                *at += 1;
            }
            if let Some(sample) = samples
                .get(*at)
                .filter(|it| it.timestamp_ms == now.millis())
            {
                holding.push(Holding {
                    labels: labels.clone(),
                    annotations: BTreeMap::new(),
                    value: sample.value,
                });
            }
        }
        alerts.observe(now, holding, *hold, *keep_firing);
        for (alert, is_news) in alerts.to_tell(now, Span::from_secs(3_600)) {
            if is_news {
                note(alert, &mut firing, &mut ended);
            }
        }
        now = now + steps.every.max(Span::from_millis(1));
    }
    ended.extend(firing.into_values());
    ended.sort_by_key(|it| it.fired_at);
    ended
}

fn note(alert: Alert, firing: &mut BTreeMap<Labels, Firing>, ended: &mut Vec<Firing>) {
    match alert.state {
        AlertState::Pending => {}
        AlertState::Firing => {
            let one = Firing {
                labels: alert.labels.clone(),
                active_at: alert.active_at,
                fired_at: alert.fired_at.unwrap_or(alert.active_at),
                resolved_at: None,
                value: alert.value,
            };
            firing.insert(alert.labels, one);
        }
        AlertState::Resolved => {
            if let Some(mut one) = firing.remove(&alert.labels) {
                one.resolved_at = alert.resolved_at;
                ended.push(one);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RuleFile;
    use mainstay_promql::Sample;

    #[test]
    fn history_shows_each_time_that_held_long_enough_and_no_other() {
        let text = "groups:\n- name: g\n  rules:\n  - {alert: Hot, expr: t > 9, for: 20s, labels: {s: page}}\n";
        let file = RuleFile::parse(text).unwrap();
        let at = |secs: i64| Time::from_millis(secs * 1_000);
        let held = [0, 10, 40, 50, 60, 70, 110, 120, 130];
        let samples = held.iter().map(|secs| Sample {
            timestamp_ms: secs * 1_000,
            value: *secs as f64,
        });
        let labels = Labels::from_pairs([("__name__", "t"), ("host", "a")]);
        let history = [RangeSeries::floats(labels, samples.collect())];
        let steps = Steps {
            start: at(0),
            end: at(130),
            every: Span::from_secs(10),
        };
        let found = backtest(&file.groups[0].rules[0], &history, steps);
        let times: Vec<_> = found
            .iter()
            .map(|it| (it.active_at, it.fired_at, it.resolved_at, it.value))
            .collect();
        let expected = [
            (at(40), at(60), Some(at(80)), 60.0),
            (at(110), at(130), None, 130.0),
        ];
        assert_eq!(times, expected);
        assert_eq!(
            found[0].labels.to_string(),
            r#"{alertname="Hot", host="a", s="page"}"#
        );
    }
}
