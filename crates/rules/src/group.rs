//! Evaluation of a group: its rules one after another, so that each sees what those before it recorded.
//!
//! Guarantees: a series that a rule gave before and gives no more is ended with a marker; a rule that fails
//! leaves its alerts and its series as they were, and says why. Writes nothing itself.

mod recall;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mainstay_core::{Span, Time};
use mainstay_promql::{Error, Histogram, InstantSeries, Labels, METRIC_NAME, Query, QueryResult};

use crate::{
    Alert, AlertState, Alerts, External, Group, Kind, Rule, TemplateError,
    alert::{Holding, own_labels, with},
    guarded::guarded,
    template::{Filling, Template},
};

/// Name of the series that say which alerts are pending or fire.
const ALERTS: &str = "ALERTS";
/// Name of the series that say since when they hold, in seconds since the epoch.
const ALERTS_SINCE: &str = "ALERTS_FOR_STATE";
/// How far back alerts from before a start are looked for.
const RESTORED_FROM: Span = Span::from_secs(3_600);
/// An alert that waited when the server stopped waits at least so long again: its end may have been missed.
const RESTORED_WAITS: Span = Span::from_secs(600);

/// Answers queries.
pub trait Source: Send + Sync {
    /// The value of `query` at a time, in milliseconds since the epoch.
    fn instant(&self, query: &Query, at_ms: i64) -> Result<QueryResult, Error>;
}

/// A sample to write.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The series.
    pub labels: Labels,
    /// Milliseconds since the epoch.
    pub at_ms: i64,
    /// The value; none says that the series ended. Of no meaning where there is a histogram.
    pub value: Option<f64>,
    /// The value where that is a histogram.
    pub histogram: Option<Arc<Histogram>>,
}

/// Why a rule gave nothing.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RuleError {
    /// The query failed.
    #[error(transparent)]
    Query(#[from] Error),
    /// A text could not be filled in.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The evaluation panicked; other rules go on.
    #[error("its evaluation died: {0}; that is a defect of this program: report it with the rule")]
    Died(String),
    /// Neither a vector nor a scalar.
    #[error("the expression gives no vector and no scalar")]
    NotAVector,
    /// Two series of one label set.
    #[error("two results have the labels {0} once the rule's are applied")]
    Duplicate(Labels),
    /// More than the group allows.
    #[error("{found} results, the group's limit is {limit}")]
    TooMany {
        /// How many there are.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
}

/// What one evaluation of a rule gave.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evaluation {
    /// To be written, markers of ends included.
    pub samples: Vec<Sample>,
    /// Why the rule gave nothing, if so.
    pub error: Option<RuleError>,
}

/// A rule and what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleRun {
    /// The rule.
    pub rule: Rule,
    /// Its alerts; none for a recording rule.
    pub alerts: Alerts,
    /// When it was evaluated last.
    pub evaluated_at: Option<Time>,
    /// Why the last evaluation gave nothing, if so.
    pub error: Option<RuleError>,
    /// The series that it gave last.
    series: BTreeSet<Labels>,
}

/// A group and what is known of its rules.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupRun {
    /// The file it stands in.
    pub file: String,
    /// Its name.
    pub name: String,
    /// How often it is evaluated.
    pub interval: Span,
    /// How far behind the clock it looks.
    pub query_offset: Span,
    /// Most results of one rule; 0 is no limit.
    pub limit: usize,
    /// Its rules.
    pub rules: Vec<RuleRun>,
}

impl GroupRun {
    /// A group that was never evaluated; `interval` and `query_offset` are those of the server.
    pub fn new(file: &str, group: Group, interval: Span, query_offset: Span) -> Self {
        let rules = group.rules.into_iter().map(|rule| RuleRun {
            rule,
            alerts: Alerts::default(),
            evaluated_at: None,
            error: None,
            series: BTreeSet::new(),
        });
        Self {
            file: file.to_owned(),
            name: group.name,
            interval: group.interval.unwrap_or(interval),
            query_offset: group.query_offset.unwrap_or(query_offset),
            limit: group.limit,
            rules: rules.collect(),
        }
    }

    /// Takes over what is known of the rules that `before` had too.
    pub fn inherit(&mut self, before: &GroupRun) {
        for run in &mut self.rules {
            let same = before.rules.iter().find(|it| it.rule == run.rule);
            if let Some(same) = same {
                run.clone_from(same);
            }
        }
    }

    /// Evaluates the rule at place `rule` of the group.
    pub fn evaluate(
        &mut self,
        rule: usize,
        now: Time,
        external: &External,
        source: &Arc<dyn Source>,
    ) -> Evaluation {
        let (limit, offset) = (self.limit, self.query_offset);
        let Some(run) = self.rules.get_mut(rule) else {
            return Evaluation::default();
        };
        let context = Context {
            now,
            at_ms: (now - offset).millis(),
            limit,
            external,
            source,
        };
        let found = run.asked(&context);
        run.evaluated(found, &context)
    }

    /// Ends every series of the rules that `after`, the same group as it is from now on, does not have.
    pub fn end(&self, after: Option<&GroupRun>, now: Time) -> Vec<Sample> {
        let is_gone = |run: &&RuleRun| {
            let others = after.iter().flat_map(|it| &it.rules);
            !others.into_iter().any(|it| it.rule == run.rule)
        };
        let series = self.rules.iter().filter(is_gone).flat_map(|it| &it.series);
        series
            .map(|labels| Sample {
                labels: labels.clone(),
                at_ms: (now - self.query_offset).millis(),
                value: None,
                histogram: None,
            })
            .collect()
    }

    /// Finds again the alerts that fired when the server stopped, and since when those hold that waited.
    pub fn restore(&mut self, now: Time, source: &Arc<dyn Source>) -> Result<(), Error> {
        let twins = twins(&self.rules);
        for (at, run) in self.rules.iter_mut().enumerate() {
            if !twins.contains(&at) {
                recall::firing(run, self.interval, now, source)?;
            }
            run.restore(now, source)?;
        }
        Ok(())
    }
}

/// Places of rules whose alerts cannot be told from those of another one: same name, same labels.
fn twins(rules: &[RuleRun]) -> BTreeSet<usize> {
    let is_twin = |at: usize| {
        let own = &rules[at].rule;
        let others = rules.iter().enumerate().filter(|(other, _)| *other != at);
        others
            .map(|(_, run)| &run.rule)
            .any(|it| it.name() == own.name() && it.labels == own.labels)
    };
    (0..rules.len()).filter(|at| is_twin(*at)).collect()
}

/// What an evaluation knows beside the rule.
pub(crate) struct Context<'a> {
    pub(crate) now: Time,
    /// The time of the samples: behind the clock by the group's offset.
    pub(crate) at_ms: i64,
    pub(crate) limit: usize,
    pub(crate) external: &'a External,
    pub(crate) source: &'a Arc<dyn Source>,
}

impl Context<'_> {
    fn within_limit(&self, found: usize) -> Result<(), RuleError> {
        let limit = self.limit;
        if limit > 0 && found > limit {
            return Err(RuleError::TooMany { found, limit });
        }
        Ok(())
    }
}

impl RuleRun {
    /// What its expression gives.
    pub(crate) fn asked(&self, context: &Context<'_>) -> Result<Vec<InstantSeries>, RuleError> {
        let asked = guarded(|| context.source.instant(&self.rule.query, context.at_ms));
        match asked.map_err(RuleError::Died)?? {
            QueryResult::Vector(series) => Ok(series),
            QueryResult::Scalar(sample) => {
                Ok(vec![InstantSeries::float(Labels::default(), sample)])
            }
            QueryResult::String(_) | QueryResult::Matrix(_) => Err(RuleError::NotAVector),
        }
    }

    /// Takes what its expression gave: the alerts, and what is to be written.
    pub(crate) fn evaluated(
        &mut self,
        found: Result<Vec<InstantSeries>, RuleError>,
        context: &Context<'_>,
    ) -> Evaluation {
        self.evaluated_at = Some(context.now);
        let outcome = found.and_then(|found| self.results(found, context));
        self.error = outcome.as_ref().err().cloned();
        match outcome {
            Ok(samples) => Evaluation {
                samples: self.with_ends(samples, context.at_ms),
                error: None,
            },
            Err(error) => Evaluation {
                samples: Vec::new(),
                error: Some(error),
            },
        }
    }

    fn results(
        &mut self,
        found: Vec<InstantSeries>,
        context: &Context<'_>,
    ) -> Result<Vec<Sample>, RuleError> {
        if let Kind::Record(name) = &self.rule.kind {
            return self.recorded(name, found, context);
        }
        self.observed(found, context)?;
        Ok(self.told(context.at_ms))
    }

    /// Moves the alerts on by what the expression gave; writes nothing. A recording rule has none.
    pub(crate) fn observed(
        &mut self,
        found: Vec<InstantSeries>,
        context: &Context<'_>,
    ) -> Result<(), RuleError> {
        let Kind::Alert {
            name,
            hold,
            keep_firing,
            annotations,
        } = &self.rule.kind
        else {
            return Ok(());
        };
        let holding = found
            .into_iter()
            .map(|one| self.holding(name, annotations, one, context))
            .collect::<Result<Vec<_>, _>>()?;
        unique(holding.iter().map(|it| &it.labels))?;
        context.within_limit(holding.len())?;
        self.alerts
            .observe(context.now, holding, *hold, *keep_firing);
        Ok(())
    }

    fn recorded(
        &self,
        name: &str,
        found: Vec<InstantSeries>,
        context: &Context<'_>,
    ) -> Result<Vec<Sample>, RuleError> {
        context.within_limit(found.len())?;
        let own = |one: &InstantSeries| {
            let texts = self.rule.labels.iter();
            let own = texts.map(|(name, text)| (name.as_str(), text.text()));
            let own = [(METRIC_NAME, name)].into_iter().chain(own);
            with(&one.labels, own)
        };
        let samples: Vec<Sample> = found
            .iter()
            .map(|one| Sample {
                labels: own(one),
                at_ms: context.at_ms,
                value: Some(one.sample.value),
                histogram: one.histogram.clone(),
            })
            .collect();
        unique(samples.iter().map(|it| &it.labels))?;
        Ok(samples)
    }

    fn holding(
        &self,
        name: &str,
        annotations: &BTreeMap<String, Template>,
        one: InstantSeries,
        context: &Context<'_>,
    ) -> Result<Holding, TemplateError> {
        let filling = Filling {
            labels: &one.labels,
            value: one.sample.value,
            at_ms: context.at_ms,
            external: context.external,
            source: context.source,
        };
        let filled = |texts: &BTreeMap<String, Template>| {
            let filled = texts
                .iter()
                .map(|(name, text)| Ok((name.clone(), text.fill(&filling)?)));
            filled.collect::<Result<BTreeMap<String, String>, TemplateError>>()
        };
        let (labels, annotations) = (filled(&self.rule.labels)?, filled(annotations)?);
        let own = labels.iter().map(|(name, it)| (name.as_str(), it.as_str()));
        Ok(Holding {
            labels: own_labels(&one.labels, name, own),
            annotations,
            value: one.sample.value,
        })
    }

    /// The alerts as series.
    fn told(&self, at_ms: i64) -> Vec<Sample> {
        let mut samples = Vec::new();
        for alert in self.alerts.active() {
            let state = [(METRIC_NAME, ALERTS), ("alertstate", alert.state.as_str())];
            let series = [
                (with(&alert.labels, state), 1.0),
                (
                    with(&alert.labels, [(METRIC_NAME, ALERTS_SINCE)]),
                    (alert.active_at.millis() as f64 / 1e3).trunc(),
                ),
            ];
            samples.extend(series.into_iter().map(|(labels, value)| Sample {
                labels,
                at_ms,
                value: Some(value),
                histogram: None,
            }));
        }
        samples
    }

    /// Adds the ends of the series that were given last time and are not now.
    fn with_ends(&mut self, mut samples: Vec<Sample>, at_ms: i64) -> Vec<Sample> {
        let now: BTreeSet<Labels> = samples.iter().map(|it| it.labels.clone()).collect();
        let gone = std::mem::take(&mut self.series);
        let gone = gone.into_iter().filter(|labels| !now.contains(labels));
        samples.extend(gone.map(|labels| Sample {
            labels,
            at_ms,
            value: None,
            histogram: None,
        }));
        self.series = now;
        samples
    }

    fn restore(&mut self, now: Time, source: &Arc<dyn Source>) -> Result<(), Error> {
        let Kind::Alert { name, hold, .. } = &self.rule.kind else {
            return Ok(());
        };
        // One that waits less than that fires soon enough by itself.
        if *hold < RESTORED_WAITS {
            return Ok(());
        }
        let query = format!("{ALERTS_SINCE}{{alertname={name:?}}}[{RESTORED_FROM}]");
        let QueryResult::Matrix(found) = source.instant(&Query::parse(query)?, now.millis())?
        else {
            return Ok(());
        };
        for series in found {
            let Some(last) = series.samples.last() else {
                continue;
            };
            let since = Time::from_millis((last.value * 1e3) as i64);
            let down_at = Time::from_millis(last.timestamp_ms);
            self.alerts.restore(Alert {
                labels: with(&series.labels, [(METRIC_NAME, "")]),
                annotations: BTreeMap::new(),
                value: 0.0,
                state: AlertState::Pending,
                active_at: resumed(since, down_at, now, *hold),
                fired_at: None,
                resolved_at: None,
                kept_since: None,
                told_at: None,
            });
        }
        Ok(())
    }
}

/// Since when an alert counts as holding that held since `since` when the server stopped at `down_at`.
fn resumed(since: Time, down_at: Time, now: Time, hold: Span) -> Time {
    let waited = down_at.since(since);
    if waited >= hold {
        return since;
    }
    let left = hold.millis() - waited.millis();
    if left < RESTORED_WAITS.millis() {
        return now + RESTORED_WAITS - hold;
    }
    since + now.since(down_at)
}

fn unique<'a>(labels: impl Iterator<Item = &'a Labels>) -> Result<(), RuleError> {
    let mut seen = BTreeSet::new();
    for one in labels {
        if !seen.insert(one) {
            return Err(RuleError::Duplicate(one.clone()));
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
