//! Alerts that fired when the server stopped.
//!
//! Guarantees: they fire on from the start, without waiting their `for` again and without being told as news; the
//! first evaluation that finds one gone tells its end, which a server that forgot it never could. One that had ended
//! before the stop is not found, nor one whose labels the rule cannot have given.

use std::{collections::BTreeMap, sync::Arc};

use mainstay_core::{Span, Time};
use mainstay_promql::{Error, Labels, METRIC_NAME, Query, QueryResult};

use super::{ALERTS, ALERTS_SINCE, RESTORED_FROM, RuleRun, Source};
use crate::{Alert, AlertState, Kind, alert::with};

/// The name of the label that says where an alert stands.
const STATE: &str = "alertstate";
/// How long after an alert's last sample the marker of its end is looked for: within the engine's look-back.
const MARKER_WITHIN: Span = Span::from_secs(240);

pub(super) fn firing(
    run: &mut RuleRun,
    interval: Span,
    now: Time,
    source: &Arc<dyn Source>,
) -> Result<(), Error> {
    let Kind::Alert { name, .. } = &run.rule.kind else {
        return Ok(());
    };
    let fires = format!("{ALERTS}{{alertname={name:?}, {STATE}=\"firing\"}}");
    let since = Query::parse(format!("{ALERTS_SINCE}{{alertname={name:?}}}"))?;
    let within = Query::parse(format!("{fires}[{RESTORED_FROM}]"))?;
    let QueryResult::Matrix(found) = source.instant(&within, now.millis())? else {
        return Ok(());
    };
    let fires = Query::parse(&fires)?;
    // The next evaluation would have written the marker of an end.
    let next = Span::from_millis(interval.millis().saturating_mul(3) / 2).min(MARKER_WITHIN);
    let mut asked = Asked::new(source);
    for series in found {
        let Some(last) = series.samples.last() else {
            continue;
        };
        let down_at = Time::from_millis(last.timestamp_ms);
        let looked_at = (down_at + next).min(now);
        let stood = asked
            .vector(&fires, looked_at)?
            .contains_key(&series.labels);
        let labels = with(&series.labels, [(METRIC_NAME, ""), (STATE, "")]);
        if !stood || !run.may_give(&labels) {
            continue;
        }
        let of_since = with(&labels, [(METRIC_NAME, ALERTS_SINCE)]);
        let active = asked.vector(&since, down_at)?.get(&of_since).copied();
        let active_at = active.map_or(down_at, |secs| Time::from_millis((secs * 1e3) as i64));
        run.alerts.restore(Alert {
            labels,
            annotations: BTreeMap::new(),
            value: 0.0,
            state: AlertState::Firing,
            active_at,
            fired_at: Some(down_at),
            resolved_at: None,
            kept_since: None,
            told_at: Some(down_at),
        });
    }
    Ok(())
}

impl RuleRun {
    /// Whether an alert of these labels can be this rule's: it has those that are no templates.
    fn may_give(&self, labels: &Labels) -> bool {
        let fixed = self.rule.labels.iter();
        fixed
            .filter(|(_, text)| !text.text().contains("{{"))
            .all(|(name, text)| labels.get(name).unwrap_or_default() == text.text())
    }
}

/// Vectors, each asked once for a time.
struct Asked<'a> {
    source: &'a Arc<dyn Source>,
    known: BTreeMap<(String, Time), BTreeMap<Labels, f64>>,
}

impl<'a> Asked<'a> {
    fn new(source: &'a Arc<dyn Source>) -> Self {
        Self {
            source,
            known: BTreeMap::new(),
        }
    }

    fn vector(&mut self, query: &Query, at: Time) -> Result<&BTreeMap<Labels, f64>, Error> {
        let key = (query.text().to_owned(), at);
        if !self.known.contains_key(&key) {
            let series = match self.source.instant(query, at.millis())? {
                QueryResult::Vector(series) => series,
                QueryResult::Scalar(_) | QueryResult::String(_) | QueryResult::Matrix(_) => {
                    Vec::new()
                }
            };
            let values = series.into_iter().map(|it| (it.labels, it.sample.value));
            self.known.insert(key.clone(), values.collect());
        }
        Ok(self.known.entry(key).or_default())
    }
}
