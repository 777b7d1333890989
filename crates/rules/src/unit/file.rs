//! The file of a unit test, as promtool reads it.

use std::{collections::BTreeMap, fmt, sync::Arc};

use mainstay_core::{Span, Time};
use mainstay_promql::{
    Histogram, Labels, Query,
    script::{read_histogram, read_labels},
};
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::Annotations;
use crate::{
    External, FileError,
    alert::with,
    file::{Wrongs, unreadable},
};

/// How often rules are evaluated where a file does not say.
const INTERVAL: Span = Span::from_secs(60);

/// A file of unit tests.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitFile {
    /// Paths and patterns of the rule files that it tests, beside it where they are relative.
    pub rule_files: Vec<String>,
    pub(super) interval: Span,
    pub(super) is_fuzzy: bool,
    pub(super) order: Vec<String>,
    pub(super) cases: Vec<Case>,
}

/// One test.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) line: u64,
    pub(super) start: Time,
    pub(super) interval: Span,
    pub(super) series: Vec<Given>,
    pub(super) alerts: Vec<Alerting>,
    pub(super) queries: Vec<Asking>,
    pub(super) external: External,
}

/// A series as it is written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Given {
    pub(super) line: u64,
    pub(super) labels: String,
    pub(super) points: String,
}

/// Which alerts of a name should fire.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Alerting {
    pub(super) line: u64,
    pub(super) at: Span,
    pub(super) name: String,
    pub(super) wanted: Vec<WantedAlert>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WantedAlert {
    pub(super) labels: Labels,
    pub(super) annotations: Annotations,
}

/// What a query should give.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Asking {
    pub(super) line: u64,
    pub(super) at: Span,
    pub(super) query: Query,
    pub(super) wanted: Vec<(Labels, Wanted)>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Wanted {
    Float(f64),
    Histogram(Arc<Histogram>),
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Float(value) => write!(f, "{value}"),
            Self::Histogram(histogram) => write!(f, "{histogram}"),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    rule_files: Vec<String>,
    evaluation_interval: Option<Spanned<Span>>,
    #[serde(default)]
    fuzzy_compare: bool,
    #[serde(default)]
    group_eval_order: Vec<String>,
    #[serde(default)]
    tests: Vec<Spanned<RawCase>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCase {
    #[serde(default)]
    name: String,
    interval: Option<Spanned<Span>>,
    start_timestamp: Option<Spanned<Start>>,
    #[serde(default)]
    input_series: Vec<RawSeries>,
    #[serde(default)]
    alert_rule_test: Vec<RawAlerting>,
    #[serde(default)]
    promql_expr_test: Vec<RawAsking>,
    #[serde(default)]
    external_labels: BTreeMap<String, String>,
    #[serde(default)]
    external_url: String,
}

/// Seconds since the epoch, or RFC 3339.
#[derive(Deserialize)]
#[serde(untagged)]
enum Start {
    Seconds(f64),
    Written(Time),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSeries {
    series: Spanned<String>,
    values: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAlerting {
    eval_time: Span,
    alertname: Spanned<String>,
    #[serde(default)]
    exp_alerts: Vec<RawAlert>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAlert {
    #[serde(default)]
    exp_labels: BTreeMap<String, String>,
    #[serde(default)]
    exp_annotations: Annotations,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAsking {
    expr: Spanned<String>,
    eval_time: Span,
    #[serde(default)]
    exp_samples: Vec<RawSample>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSample {
    labels: Spanned<String>,
    #[serde(default)]
    value: f64,
    histogram: Option<Spanned<String>>,
}

impl UnitFile {
    /// Reads a file's text.
    pub fn parse(text: &str) -> Result<Self, Vec<FileError>> {
        let raw: RawFile = serde_saphyr::from_str(text).map_err(|error| unreadable(&error))?;
        let mut wrongs = Wrongs::default();
        let interval = step(raw.evaluation_interval, INTERVAL, &mut wrongs);
        let cases = raw.tests.into_iter();
        let cases = cases
            .map(|it| case(it, interval, &mut wrongs))
            .collect::<Vec<_>>();
        wrongs.or(Self {
            rule_files: raw.rule_files,
            interval,
            is_fuzzy: raw.fuzzy_compare,
            order: raw.group_eval_order,
            cases,
        })
    }
}

fn step(given: Option<Spanned<Span>>, default: Span, wrongs: &mut Wrongs) -> Span {
    let Some(given) = given else { return default };
    if given.value == Span::ZERO {
        wrongs.add(&given, "an interval of zero would never end");
        return default;
    }
    given.value
}

fn case(raw: Spanned<RawCase>, every: Span, wrongs: &mut Wrongs) -> Case {
    let line = raw.referenced.line();
    let raw = raw.value;
    let series = raw.input_series.into_iter().map(|it| Given {
        line: it.series.referenced.line(),
        labels: it.series.value,
        points: it.values,
    });
    let start = raw.start_timestamp.map(|it| match it.value {
        Start::Seconds(seconds) => Time::from_millis((seconds * 1e3).round() as i64),
        Start::Written(time) => time,
    });
    Case {
        name: raw.name,
        line,
        start: start.unwrap_or(Time::from_millis(0)),
        interval: step(raw.interval, every, wrongs),
        series: series.collect(),
        alerts: raw
            .alert_rule_test
            .into_iter()
            .map(|it| alerting(it, wrongs))
            .collect(),
        queries: raw
            .promql_expr_test
            .into_iter()
            .filter_map(|it| asking(it, wrongs))
            .collect(),
        external: External {
            labels: raw.external_labels,
            url: raw.external_url,
        },
    }
}

fn alerting(raw: RawAlerting, wrongs: &mut Wrongs) -> Alerting {
    if raw.alertname.value.is_empty() {
        wrongs.add(&raw.alertname, "say which alert: `alertname` is empty");
    }
    let name = raw.alertname.value;
    let wanted = raw.exp_alerts.into_iter().map(|it| WantedAlert {
        labels: with(
            &Labels::from_pairs(it.exp_labels),
            [("alertname", name.as_str())],
        ),
        annotations: it.exp_annotations,
    });
    Alerting {
        line: raw.alertname.referenced.line(),
        at: raw.eval_time,
        wanted: wanted.collect(),
        name,
    }
}

fn asking(raw: RawAsking, wrongs: &mut Wrongs) -> Option<Asking> {
    let mut wanted = Vec::new();
    for one in raw.exp_samples {
        let labels = read_labels(&one.labels.value)
            .map_err(|wrong| wrongs.add(&one.labels, wrong))
            .ok();
        let value = match one.histogram {
            None => Some(Wanted::Float(one.value)),
            Some(text) => read_histogram(&text.value)
                .map_err(|wrong| wrongs.add(&text, wrong))
                .ok()
                .map(|it| Wanted::Histogram(Arc::new(it))),
        };
        wanted.extend(labels.zip(value));
    }
    let query = Query::parse(raw.expr.value.clone());
    let query = query.map_err(|error| wrongs.add(&raw.expr, format!("expr: {error}")));
    Some(Asking {
        line: raw.expr.referenced.line(),
        at: raw.eval_time,
        query: query.ok()?,
        wanted,
    })
}
