//! The newest sample of each series, for another server to scrape.
//!
//! Guarantees: a series of several selectors is told once, metrics in order, samples with their own times; what
//! has ended or has no sample in the last five minutes is left out, and so are native histograms. Names that need quotes get them.

use std::{collections::BTreeMap, fmt::Write as _};

use mainstay_core::Time;
use mainstay_promql::{
    ErrorKind, Labels, METRIC_NAME, Storage as _, StorageError,
    ast::{Expr, ExprKind, Modifiers},
};
use mainstay_tsdb::is_stale;
use serde_json::Value;

use crate::{
    Ekg, QueryError, answer,
    storage::Reader,
    text::{Quoted, Sample, is_plain},
};

/// How old the newest sample may be, as for a query.
const LOOKBACK_MS: i64 = 5 * 60 * 1_000;

impl Ekg {
    /// `/federate`, in the text format; an error is an answer as of a query.
    pub fn federate(&self, selectors: &[&str], at: Time) -> Result<String, Value> {
        self.newest(selectors, at)
            .map_err(|error| answer::failure(&error))
    }

    fn newest(&self, selectors: &[&str], at: Time) -> Result<String, QueryError> {
        if selectors.is_empty() {
            return Err(QueryError::NoSelector);
        }
        let reader = Reader::new(&self.tsdb);
        let (start, end) = (at.millis().saturating_sub(LOOKBACK_MS), at.millis());
        let mut newest: BTreeMap<String, BTreeMap<Labels, Sample<'static>>> = BTreeMap::new();
        for selector in selectors {
            let expr = mainstay_promql::parse(selector)?;
            let ExprKind::Selector(found) = &expr.kind else {
                return Err(QueryError::NotASelector((*selector).to_owned()));
            };
            if found.modifiers != Modifiers::default() {
                return Err(QueryError::NotASelector((*selector).to_owned()));
            }
            let series = reader.select(&found.matchers, start.saturating_add(1), end);
            for series in series.map_err(|error| failed(error, &expr, selector))? {
                // The text format has no native histograms: they are left out, as Prometheus leaves them out.
                let histograms = series.histograms.as_deref().map_or(&[][..], Vec::as_slice);
                if histograms.last().is_some_and(Option::is_some) {
                    continue;
                }
                let last = series.timestamps.last().zip(series.values.last());
                let Some((at_ms, value)) = last.filter(|(_, value)| !is_stale(**value)) else {
                    continue;
                };
                let pair =
                    |(name, value): (&str, &str)| (name.to_owned().into(), value.to_owned().into());
                let others = series
                    .labels
                    .iter()
                    .filter(|(name, _)| *name != METRIC_NAME);
                let name = series.labels.get(METRIC_NAME).unwrap_or("");
                let sample = Sample {
                    name: name.to_owned().into(),
                    labels: others.map(pair).collect(),
                    value: *value,
                    timestamp_ms: Some(*at_ms),
                    extra: None,
                };
                let metric = newest.entry(name.to_owned()).or_default();
                metric.insert(series.labels, sample);
            }
        }
        let mut text = String::new();
        for (name, metric) in newest {
            // Writing to a string does not fail.
            let _ = if is_plain(&name, true) {
                writeln!(text, "# TYPE {name} untyped")
            } else {
                writeln!(text, "# TYPE {} untyped", Quoted(&name))
            };
            for sample in metric.values() {
                let _ = writeln!(text, "{sample}");
            }
        }
        Ok(text)
    }
}

fn failed(error: StorageError, expr: &Expr, selector: &str) -> QueryError {
    QueryError::Query(mainstay_promql::Error {
        kind: ErrorKind::Storage(error),
        span: expr.span,
        position: expr.span.position(selector),
    })
}
