//! The life of an alert: pending while its expression holds, firing once it held long enough, resolved after.
//!
//! Guarantees: what holds for an alert depends only on the times it is told; an alert that fired is kept for
//! [`RESOLVED_KEPT`] after its end, so that whoever missed its end hears of it. Never makes two alerts of one
//! label set.

use std::collections::BTreeMap;

use mainstay_core::{Span, Time};
use mainstay_promql::{Labels, METRIC_NAME};

/// How long an alert that ended is still told.
pub const RESOLVED_KEPT: Span = Span::from_secs(15 * 60);

/// Where an alert stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertState {
    /// It holds no more.
    Resolved,
    /// It holds, not yet long enough.
    Pending,
    /// It fires.
    Firing,
}

impl AlertState {
    /// As Prometheus writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Resolved => "inactive",
            Self::Pending => "pending",
            Self::Firing => "firing",
        }
    }
}

/// One alert.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    /// Its labels, `alertname` included.
    pub labels: Labels,
    /// What it says to people.
    pub annotations: BTreeMap<String, String>,
    /// The last value of its expression.
    pub value: f64,
    /// Where it stands.
    pub state: AlertState,
    /// Since when its expression holds.
    pub active_at: Time,
    /// When it began to fire.
    pub fired_at: Option<Time>,
    /// When it ended.
    pub resolved_at: Option<Time>,
    /// Since when it fires on although its expression holds no more.
    pub kept_since: Option<Time>,
    /// When others were told last.
    pub told_at: Option<Time>,
}

impl Alert {
    /// What only waits is told to nobody; an end is told at once, and what fires again and again.
    fn is_due(&self, now: Time, resend: Span) -> bool {
        let Some(told_at) = self.told_at else {
            return self.state != AlertState::Pending;
        };
        match self.state {
            AlertState::Pending => false,
            AlertState::Resolved if self.resolved_at > Some(told_at) => true,
            AlertState::Resolved | AlertState::Firing => now.since(told_at) >= resend,
        }
    }
}

/// What an evaluation found to hold.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Holding {
    pub(crate) labels: Labels,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// The labels of an alert: those of its series but the name, its rule's in their place, and its own name.
pub(crate) fn own_labels<'a>(
    series: &'a Labels,
    name: &'a str,
    rule: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Labels {
    let own = [(METRIC_NAME, ""), ("alertname", name)];
    with(series, rule.into_iter().chain(own))
}

/// `labels` with others set; an empty one is removed.
pub(crate) fn with<'a>(
    labels: &'a Labels,
    own: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Labels {
    let mut all: BTreeMap<&str, &str> = labels.iter().collect();
    all.extend(own);
    Labels::from_pairs(all)
}

/// All alerts of one rule.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Alerts(BTreeMap<Labels, Alert>);

impl Alerts {
    /// Those that are pending or fire.
    pub fn active(&self) -> impl Iterator<Item = &Alert> {
        self.all().filter(|it| it.state != AlertState::Resolved)
    }

    /// Those that ended of late too.
    pub fn all(&self) -> impl Iterator<Item = &Alert> {
        self.0.values()
    }

    /// When the next of them fires or ends if nothing else happens.
    pub(crate) fn wake_at(&self, hold: Span, keep: Span) -> Option<Time> {
        let times = self.all().filter_map(|it| match it.state {
            AlertState::Pending => Some(it.active_at + hold),
            AlertState::Firing => it.kept_since.map(|since| since + keep),
            AlertState::Resolved => None,
        });
        times.min()
    }

    /// What was known of an alert before the server started; one that lives already stands.
    pub fn restore(&mut self, alert: Alert) {
        self.0.entry(alert.labels.clone()).or_insert(alert);
    }

    /// Those that others should hear of now, each at least every `resend`, and whether it is news that they
    /// fire or ended; they count as told.
    pub fn to_tell(&mut self, now: Time, resend: Span) -> Vec<(Alert, bool)> {
        let due = self.0.values_mut().filter(|it| it.is_due(now, resend));
        due.map(|alert| {
            let is_news = alert
                .told_at
                .is_none_or(|told| alert.resolved_at > Some(told));
            alert.told_at = Some(now);
            (alert.clone(), is_news)
        })
        .collect()
    }

    /// Takes what holds at `now`; of what held before and is not named, the end.
    pub(crate) fn observe(&mut self, now: Time, holding: Vec<Holding>, hold: Span, keep: Span) {
        let mut held = BTreeMap::new();
        for one in holding {
            held.insert(one.labels.clone(), one);
        }
        self.0
            .retain(|labels, alert| held.contains_key(labels) || !is_forgotten(alert, now));
        for alert in self.0.values_mut() {
            match held.remove(&alert.labels) {
                Some(one) => hold_on(alert, one, now),
                None => let_go(alert, now, keep),
            }
        }
        for (labels, one) in held {
            let alert = Alert {
                labels: one.labels,
                annotations: one.annotations,
                value: one.value,
                state: AlertState::Pending,
                active_at: now,
                fired_at: None,
                resolved_at: None,
                kept_since: None,
                told_at: None,
            };
            self.0.insert(labels, alert);
        }
        for alert in self.0.values_mut() {
            let waited = now.since(alert.active_at) >= hold;
            if alert.state == AlertState::Pending && waited {
                alert.state = AlertState::Firing;
                alert.fired_at = Some(now);
            }
        }
        // What only waited and ceased to hold was never told to anybody.
        self.0
            .retain(|_, alert| alert.state != AlertState::Resolved || alert.fired_at.is_some());
    }
}

fn is_forgotten(alert: &Alert, now: Time) -> bool {
    alert
        .resolved_at
        .is_some_and(|at| now.since(at) > RESOLVED_KEPT)
}

fn hold_on(alert: &mut Alert, holding: Holding, now: Time) {
    if alert.state == AlertState::Resolved {
        alert.state = AlertState::Pending;
        alert.active_at = now;
        alert.fired_at = None;
        alert.resolved_at = None;
        alert.told_at = None;
    }
    alert.kept_since = None;
    alert.value = holding.value;
    alert.annotations = holding.annotations;
}

fn let_go(alert: &mut Alert, now: Time, keep: Span) {
    if alert.state == AlertState::Firing && keep > Span::ZERO {
        let since = *alert.kept_since.get_or_insert(now);
        if now.since(since) < keep {
            return;
        }
    }
    if alert.state != AlertState::Resolved {
        alert.state = AlertState::Resolved;
        alert.resolved_at = Some(now);
        alert.kept_since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Time {
        Time::from_millis(secs * 1_000)
    }

    fn holding(instance: &str) -> Holding {
        Holding {
            labels: Labels::from_pairs([("instance", instance)]),
            annotations: BTreeMap::new(),
            value: 1.0,
        }
    }

    fn states(alerts: &Alerts) -> Vec<AlertState> {
        alerts.all().map(|it| it.state).collect()
    }

    #[test]
    fn an_alert_waits_fires_ends_and_is_forgotten_a_while_after() {
        let (mut alerts, hold) = (Alerts::default(), Span::from_secs(60));
        for (second, expected) in [
            (0, AlertState::Pending),
            (59, AlertState::Pending),
            (60, AlertState::Firing),
        ] {
            alerts.observe(at(second), vec![holding("a")], hold, Span::ZERO);
            assert_eq!(states(&alerts), [expected], "at {second}");
        }
        alerts.observe(at(70), vec![], hold, Span::ZERO);
        assert_eq!(states(&alerts), [AlertState::Resolved]);
        assert_eq!(alerts.active().count(), 0);
        alerts.observe(at(70 + 15 * 60), vec![], hold, Span::ZERO);
        assert_eq!(states(&alerts), [AlertState::Resolved]);
        alerts.observe(at(71 + 15 * 60), vec![], hold, Span::ZERO);
        assert_eq!(states(&alerts), []);
    }

    #[test]
    fn one_that_only_waited_leaves_no_trace_and_starts_anew() {
        let (mut alerts, hold) = (Alerts::default(), Span::from_secs(60));
        alerts.observe(at(0), vec![holding("a")], hold, Span::ZERO);
        alerts.observe(at(30), vec![], hold, Span::ZERO);
        assert_eq!(states(&alerts), []);
        alerts.observe(at(60), vec![holding("a")], hold, Span::ZERO);
        assert_eq!(states(&alerts), [AlertState::Pending]);
    }

    #[test]
    fn one_that_is_kept_firing_ends_only_after_a_quiet_while() {
        let (mut alerts, keep) = (Alerts::default(), Span::from_secs(30));
        let mut tell = |second, held: bool| {
            let found = if held { vec![holding("a")] } else { vec![] };
            alerts.observe(at(second), found, Span::ZERO, keep);
            states(&alerts)[0]
        };
        assert_eq!(tell(0, true), AlertState::Firing);
        assert_eq!(tell(10, false), AlertState::Firing);
        assert_eq!(tell(20, true), AlertState::Firing);
        assert_eq!(tell(30, false), AlertState::Firing);
        assert_eq!(tell(59, false), AlertState::Firing);
        assert_eq!(tell(60, false), AlertState::Resolved);
    }

    #[test]
    fn what_fires_is_told_again_and_again_and_an_end_at_once() {
        let mut alerts = Alerts::default();
        let resend = Span::from_secs(60);
        let mut told = Vec::new();
        for second in [0, 30, 60, 70, 80, 140] {
            let found = if second < 70 {
                vec![holding("a")]
            } else {
                vec![]
            };
            alerts.observe(at(second), found, Span::ZERO, Span::ZERO);
            told.extend(
                alerts
                    .to_tell(at(second), resend)
                    .iter()
                    .map(|(it, is_news)| (second, it.state, *is_news)),
            );
        }
        let (fires, ended) = (AlertState::Firing, AlertState::Resolved);
        let expected = [
            (0, fires, true),
            (60, fires, false),
            (70, ended, true),
            (140, ended, false),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn one_that_ended_and_holds_again_is_a_new_alert() {
        let mut alerts = Alerts::default();
        for (second, held) in [(0, true), (10, false), (20, true)] {
            let found = if held { vec![holding("a")] } else { vec![] };
            alerts.observe(at(second), found, Span::ZERO, Span::ZERO);
        }
        let alert = alerts.active().next().unwrap();
        assert_eq!((alert.active_at, alert.resolved_at), (at(20), None));
    }
}
