//! Groups of rules and their alerts in the shapes of Prometheus's HTTP API.

use std::time::Duration;

use mainstay_core::{Span, Time};
use mainstay_rules::{Alert, AlertState, GroupRun, Kind, RuleRun};
use mainstay_tsdb::Matcher;
use serde_json::{Map, Value, json};

use crate::{QueryError, answer, handle::matchers};

/// Which rules are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleFilter {
    /// `alert` or `record`; both where unset.
    pub kind: Option<RuleKind>,
    /// Only these rules, by name; all where empty.
    pub rules: Vec<String>,
    /// Only these groups; all where empty.
    pub groups: Vec<String>,
    /// Only groups of these files; all where empty.
    pub files: Vec<String>,
    /// Leave the alerts out.
    pub without_alerts: bool,
    /// Only rules whose own labels one of these selectors takes; all where empty.
    pub selectors: Vec<String>,
}

/// What a rule makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleKind {
    /// Alerts.
    Alert,
    /// Series.
    Record,
}

/// A group as it was after its last evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupSeen {
    /// The group.
    pub run: GroupRun,
    /// When its last evaluation began.
    pub evaluated_at: Option<Time>,
    /// How long each rule took in it.
    pub took: Vec<Duration>,
}

/// `/api/v1/rules`.
pub(crate) fn groups(seen: &[GroupSeen], filter: &RuleFilter) -> Result<Value, QueryError> {
    let takes = filter.selectors.iter().map(|it| matchers(it));
    let takes: Vec<Vec<Matcher>> = takes.collect::<Result<_, _>>()?;
    let wants =
        |names: &[String], name: &str| names.is_empty() || names.iter().any(|it| it == name);
    let groups: Vec<Value> = seen
        .iter()
        .filter(|it| wants(&filter.groups, &it.run.name) && wants(&filter.files, &it.run.file))
        .map(|it| group(it, (filter, &takes), &wants))
        .filter(|group| group["rules"].as_array().is_some_and(|it| !it.is_empty()))
        .collect();
    Ok(json!({ "groups": groups }))
}

/// `/api/v1/alerts`.
pub(crate) fn alerts(seen: &[GroupSeen]) -> Value {
    let runs = seen.iter().flat_map(|it| &it.run.rules);
    let alerts: Vec<Value> = runs.flat_map(|it| it.alerts.active()).map(alert).collect();
    json!({ "alerts": alerts })
}

/// Whether one of the selectors takes the labels that a rule sets; templates stand as they are written.
fn taken(run: &RuleRun, takes: &[Vec<Matcher>]) -> bool {
    let label = |name: &str| {
        let labels = &run.rule.labels;
        let found = labels.iter().find(|(label, _)| label.as_str() == name);
        found.map_or("", |(_, text)| text.text())
    };
    let holds = |all: &Vec<Matcher>| all.iter().all(|it| it.matches(label(it.name())));
    takes.is_empty() || takes.iter().any(holds)
}

fn group(
    seen: &GroupSeen,
    (filter, takes): (&RuleFilter, &[Vec<Matcher>]),
    wants: &dyn Fn(&[String], &str) -> bool,
) -> Value {
    let run = &seen.run;
    let rules: Vec<Value> = run
        .rules
        .iter()
        .zip(
            seen.took
                .iter()
                .copied()
                .chain(std::iter::repeat(Duration::ZERO)),
        )
        .filter(|(it, _)| wants(&filter.rules, it.rule.name()))
        .filter(|(it, _)| filter.kind.is_none_or(|kind| kind == kind_of(it)))
        .filter(|(it, _)| taken(it, takes))
        .map(|(it, took)| rule(it, took, filter))
        .collect();
    json!({
        "name": run.name,
        "file": run.file,
        "interval": run.interval.secs_f64(),
        "limit": run.limit,
        "rules": rules,
        "evaluationTime": seen.took.iter().sum::<Duration>().as_secs_f64(),
        "lastEvaluation": time(seen.evaluated_at),
    })
}

fn kind_of(run: &RuleRun) -> RuleKind {
    match run.rule.kind {
        Kind::Alert { .. } => RuleKind::Alert,
        Kind::Record(_) => RuleKind::Record,
    }
}

fn rule(run: &RuleRun, took: Duration, filter: &RuleFilter) -> Value {
    let labels = run.rule.labels.iter();
    let labels: Map<String, Value> = labels
        .map(|(name, text)| (name.clone(), text.text().into()))
        .collect();
    let health = match (&run.error, run.evaluated_at) {
        (Some(_), _) => "err",
        (None, Some(_)) => "ok",
        (None, None) => "unknown",
    };
    let mut rule = json!({
        "name": run.rule.name(),
        "query": run.rule.query.text(),
        "labels": labels,
        "health": health,
        "evaluationTime": took.as_secs_f64(),
        "lastEvaluation": time(run.evaluated_at),
    });
    if let Some(error) = &run.error {
        rule["lastError"] = error.to_string().into();
    }
    match &run.rule.kind {
        Kind::Record(_) => rule["type"] = "recording".into(),
        Kind::Alert {
            hold,
            keep_firing,
            annotations,
            ..
        } => {
            let alerts = run.alerts.active().filter(|_| !filter.without_alerts);
            let state = run.alerts.active().map(|it| it.state).max();
            let texts = annotations.iter();
            let texts: Map<String, Value> = texts
                .map(|(name, text)| (name.clone(), text.text().into()))
                .collect();
            rule["type"] = "alerting".into();
            rule["duration"] = seconds(*hold);
            rule["keepFiringFor"] = seconds(*keep_firing);
            rule["annotations"] = texts.into();
            rule["state"] = state.unwrap_or(AlertState::Resolved).as_str().into();
            rule["alerts"] = alerts.map(alert).collect();
        }
    }
    rule
}

/// One alert, as `/api/v1/alerts` tells it.
pub(crate) fn alert(alert: &Alert) -> Value {
    let mut told = json!({
        "labels": answer::metric(&alert.labels),
        "annotations": alert.annotations,
        "state": alert.state.as_str(),
        "activeAt": alert.active_at.to_string(),
        "value": exponent(alert.value),
    });
    if let Some(since) = alert.kept_since {
        told["keepFiringSince"] = since.to_string().into();
    }
    told
}

fn seconds(span: Span) -> Value {
    span.secs_f64().into()
}

/// Go's zero time is what Prometheus gives where nothing happened yet.
fn time(at: Option<Time>) -> String {
    at.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |at| at.to_string())
}

/// As Go's `%e` with the fewest digits: `1e+00`.
fn exponent(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let power: i32 = exponent.parse().unwrap_or(0);
    let sign = if power < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", power.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_prometheus_writes_those_of_alerts() {
        for (value, expected) in [
            (1.0, "1e+00"),
            (0.0, "0e+00"),
            (1234.5, "1.2345e+03"),
            (-0.25, "-2.5e-01"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(exponent(value), expected);
        }
    }
}
