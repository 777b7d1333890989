//! Rule files, as Prometheus reads them.
//!
//! Guarantees: a file is taken whole or refused with everything that is wrong with it, each with its line.
//! Unknown fields are wrong: a misspelt `for` must not make an alert fire at once.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_core::Span;
use mainstay_promql::Query;
use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::template::Template;

/// Most groups in one file.
const GROUPS_MAX: usize = 10_000;
/// Most rules in one group.
const RULES_MAX: usize = 10_000;

/// One thing that is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct FileError {
    /// Counted from 1.
    pub line: u64,
    /// Counted from 1.
    pub column: u64,
    /// What, and what would mend it.
    pub message: String,
}

/// A file of rules.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleFile {
    /// Its groups, in order.
    pub groups: Vec<Group>,
}

/// Rules that are evaluated together, one after another.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Unique within its file.
    pub name: String,
    /// How often; the server's interval where unset.
    pub interval: Option<Span>,
    /// How far behind the clock it looks; the server's where unset.
    pub query_offset: Option<Span>,
    /// Most series a recording rule may give, or alerts an alerting rule may have; 0 is no limit.
    pub limit: usize,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
}

/// What a rule makes of its expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Series of this name.
    Record(String),
    /// Alerts.
    Alert {
        /// The name.
        name: String,
        /// How long the expression holds before an alert fires.
        hold: Span,
        /// How long an alert fires on after the expression ceased to hold.
        keep_firing: Span,
        /// What it says to people.
        annotations: BTreeMap<String, Template>,
    },
}

/// One rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// What it makes.
    pub kind: Kind,
    /// Its expression.
    pub query: Query,
    /// Labels it adds; those of its group included. A recording rule's are texts, not templates.
    pub labels: BTreeMap<String, Template>,
    /// Where it stands in its file.
    pub line: u64,
}

impl Rule {
    /// The metric it records, or the name of its alerts.
    pub fn name(&self) -> &str {
        match &self.kind {
            Kind::Record(name) | Kind::Alert { name, .. } => name,
        }
    }
}

type Texts = BTreeMap<String, Spanned<String>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    groups: Vec<RawGroup>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGroup {
    name: Spanned<String>,
    interval: Option<Span>,
    query_offset: Option<Span>,
    #[serde(default)]
    limit: usize,
    #[serde(default)]
    labels: Texts,
    #[serde(default)]
    rules: Vec<RawRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    record: Option<Spanned<String>>,
    alert: Option<Spanned<String>>,
    expr: Spanned<String>,
    r#for: Option<Span>,
    keep_firing_for: Option<Span>,
    #[serde(default)]
    labels: Texts,
    #[serde(default)]
    annotations: Texts,
}

/// What was found wrong so far.
#[derive(Default)]
pub(crate) struct Wrongs(Vec<FileError>);

impl Wrongs {
    /// What was read, unless something is wrong with it.
    pub(crate) fn or<T>(self, read: T) -> Result<T, Vec<FileError>> {
        if self.0.is_empty() {
            Ok(read)
        } else {
            Err(self.0)
        }
    }

    pub(crate) fn add<T>(&mut self, at: &Spanned<T>, message: impl Into<String>) {
        self.0.push(FileError {
            line: at.referenced.line(),
            column: at.referenced.column(),
            message: message.into(),
        });
    }
}

/// A file that is no YAML, or not of the fields that it should have.
pub(crate) fn unreadable(error: &serde_saphyr::Error) -> Vec<FileError> {
    let place = error.location();
    vec![FileError {
        line: place.map_or(1, |it| it.line()),
        column: place.map_or(1, |it| it.column()),
        message: error.without_snippet().to_string(),
    }]
}

impl RuleFile {
    /// Reads a file's text.
    pub fn parse(text: &str) -> Result<Self, Vec<FileError>> {
        let raw: RawFile = serde_saphyr::from_str(text).map_err(|error| unreadable(&error))?;
        let mut wrongs = Wrongs::default();
        let mut names = BTreeSet::new();
        let mut groups = Vec::new();
        for group in raw.groups {
            if group.name.value.is_empty() {
                wrongs.add(&group.name, "a group needs a name");
            }
            if !names.insert(group.name.value.clone()) {
                let what = format!("a second group named `{}`: rename one", group.name.value);
                wrongs.add(&group.name, what);
            }
            if names.len() > GROUPS_MAX || group.rules.len() > RULES_MAX {
                let what = format!("at most {GROUPS_MAX} groups of {RULES_MAX} rules each");
                wrongs.add(&group.name, what);
                break;
            }
            groups.push(checked_group(group, &mut wrongs));
        }
        wrongs.or(Self { groups })
    }
}

fn checked_group(raw: RawGroup, wrongs: &mut Wrongs) -> Group {
    check_labels(&raw.labels, wrongs);
    if raw.interval == Some(Span::ZERO) {
        wrongs.add(
            &raw.name,
            "an interval of zero: leave it out for the server's",
        );
    }
    let mut seen = BTreeSet::new();
    let mut rules = Vec::new();
    for rule in raw.rules {
        let place = rule.expr.clone();
        let Some(rule) = checked_rule(rule, &raw.labels, wrongs) else {
            continue;
        };
        let is_alert = matches!(rule.kind, Kind::Alert { .. });
        let sources: Vec<String> = rule
            .labels
            .values()
            .map(|it| it.text().to_owned())
            .collect();
        let names: Vec<String> = rule.labels.keys().cloned().collect();
        let same = (
            is_alert,
            rule.name().to_owned(),
            rule.query.text().to_owned(),
            names,
            sources,
        );
        if !seen.insert(same) {
            let what = format!(
                "`{}` stands twice in its group with the same labels",
                rule.name()
            );
            wrongs.add(&place, what);
        }
        rules.push(rule);
    }
    Group {
        name: raw.name.value,
        interval: raw.interval,
        query_offset: raw.query_offset,
        limit: raw.limit,
        rules,
    }
}

fn checked_rule(raw: RawRule, shared: &Texts, wrongs: &mut Wrongs) -> Option<Rule> {
    check_labels(&raw.labels, wrongs);
    let line = raw.expr.referenced.line();
    let is_alert = raw.alert.is_some();
    let mut labels = BTreeMap::new();
    // The rule's own win over its group's.
    for (name, value) in shared.iter().chain(&raw.labels) {
        let template = if is_alert {
            template(value, wrongs)
        } else {
            Some(Template::plain(&value.value))
        };
        template.map(|it| labels.insert(name.clone(), it));
    }
    let query = query(&raw.expr, wrongs);
    let kind = match (&raw.record, &raw.alert) {
        (Some(name), None) => {
            check_record(name, &raw, wrongs);
            Kind::Record(name.value.clone())
        }
        (None, Some(name)) => {
            if name.value.is_empty() {
                wrongs.add(name, "an alert needs a name");
            }
            let annotations = raw.annotations.iter();
            Kind::Alert {
                name: name.value.clone(),
                hold: raw.r#for.unwrap_or(Span::ZERO),
                keep_firing: raw.keep_firing_for.unwrap_or(Span::ZERO),
                annotations: annotations
                    .filter_map(|(name, text)| Some((name.clone(), template(text, wrongs)?)))
                    .collect(),
            }
        }
        (Some(_), Some(name)) => {
            wrongs.add(name, "a rule has either `record` or `alert`, not both");
            return None;
        }
        (None, None) => {
            wrongs.add(&raw.expr, "a rule needs `record` or `alert`");
            return None;
        }
    };
    Some(Rule {
        kind,
        query: query?,
        labels,
        line,
    })
}

fn check_record(name: &Spanned<String>, raw: &RawRule, wrongs: &mut Wrongs) {
    if name.value.is_empty() {
        wrongs.add(name, "a recording rule needs a metric name");
    }
    let only_alerts = [
        ("for", raw.r#for.is_some()),
        ("keep_firing_for", raw.keep_firing_for.is_some()),
        ("annotations", !raw.annotations.is_empty()),
    ];
    for (field, _) in only_alerts.iter().filter(|(_, is_set)| *is_set) {
        wrongs.add(
            name,
            format!("`{field}` is for alerts; a recording rule has none"),
        );
    }
}

fn check_labels(labels: &Texts, wrongs: &mut Wrongs) {
    for (name, value) in labels {
        if name.is_empty() || name == mainstay_promql::METRIC_NAME {
            wrongs.add(value, format!("`{name}` is no name for a label"));
        }
    }
}

fn query(expr: &Spanned<String>, wrongs: &mut Wrongs) -> Option<Query> {
    match Query::parse(expr.value.clone()) {
        Ok(query) => Some(query),
        Err(error) => {
            wrongs.add(expr, format!("expr: {error}"));
            None
        }
    }
}

fn template(text: &Spanned<String>, wrongs: &mut Wrongs) -> Option<Template> {
    match Template::parse(&text.value) {
        Ok(template) => Some(template),
        Err(error) => {
            wrongs.add(text, error.to_string());
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<(u64, String)> {
        let errors = RuleFile::parse(text).unwrap_err();
        errors.into_iter().map(|it| (it.line, it.message)).collect()
    }

    #[test]
    fn a_whole_file_is_read_with_its_groups_labels_under_those_of_the_rule() {
        let file = RuleFile::parse(
            "groups:
- name: shop
  interval: 15s
  limit: 3
  labels: {team: a, tier: one}
  rules:
  - record: job:up:sum
    expr: sum by (job) (up)
  - alert: Down
    expr: up == 0
    for: 5m
    keep_firing_for: 10m
    labels: {tier: '{{ $labels.job }}'}
    annotations: {summary: '{{ $labels.instance }} is down'}
",
        )
        .unwrap();
        let group = &file.groups[0];
        assert_eq!(
            (group.interval, group.limit),
            (Some(Span::from_secs(15)), 3)
        );
        let [record, alert] = &group.rules[..] else {
            panic!("{group:?}");
        };
        assert_eq!(record.kind, Kind::Record("job:up:sum".to_owned()));
        assert_eq!(record.labels["tier"].text(), "one");
        assert_eq!(alert.labels["tier"].text(), "{{ $labels.job }}");
        assert_eq!(alert.labels["team"].text(), "a");
        let Kind::Alert {
            hold, keep_firing, ..
        } = &alert.kind
        else {
            panic!("{alert:?}");
        };
        assert_eq!((hold.millis(), keep_firing.millis()), (300_000, 600_000));
    }

    #[test]
    fn everything_wrong_is_said_at_once_each_with_its_line() {
        let found = errors(
            "groups:
- name: a
  rules:
  - alert: X
    expr: up ==
  - record: r
    expr: up
    for: 1m
  - alert: Y
    expr: up
    annotations: {s: '{{ nonsense }}'}
  - expr: up
- name: a
",
        );
        let lines: Vec<u64> = found.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [5, 6, 11, 12, 13], "{found:#?}");
    }

    #[test]
    fn a_misspelt_field_is_an_error_and_not_an_alert_that_fires_at_once() {
        let found =
            errors("groups:\n- name: a\n  rules:\n  - alert: X\n    expr: up\n    fro: 5m\n");
        assert!(found[0].1.contains("fro"), "{found:?}");
        assert_eq!(found[0].0, 6);
    }

    #[test]
    fn the_same_rule_twice_in_a_group_is_an_error() {
        let found = errors(
            "groups:\n- name: a\n  rules:\n  - record: x\n    expr: up\n  - record: x\n    expr: up\n",
        );
        assert!(found[0].1.contains("twice"), "{found:?}");
    }
}
