//! The handle that everyone who asks holds.
//!
//! Guarantees: cheap to clone; an answer is Prometheus's JSON, errors included. Calls are synchronous and as
//! long as the query is heavy, at most [`QUERY_WITHIN`]: from an async context, ask on a blocking thread.

use std::{
    collections::BTreeSet,
    num::NonZero,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use mainstay_core::{Span, Time};
use mainstay_promql::{
    Answer, Ask, Engine, EngineOptions, Error, Pool, Query, QueryResult, Series, Storage as _,
    StorageError, Usage, When, ast::ExprKind, ast::Modifiers,
};
use mainstay_tsdb::{
    AppendError, Damage, Excess, Matcher, MatcherError, OverLimit, Quarantined, ReadError, Tsdb,
};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::{
    Past, Shown, WindowCount, adapter::feed::Feed, age::Age, answer, exemplars::Exemplars, plan,
    storage, storage::Reader, summaries::Way, tree::tree,
};

/// Samples that all queries may hold at one moment, together: 3.2 GB. It is four times what one may.
const HELD_TOGETHER_MAX: u64 = 200_000_000;

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum QueryError {
    /// The query is wrong, or too much.
    #[error(transparent)]
    Query(#[from] mainstay_promql::Error),
    /// Something else than `name{label="value"}`.
    #[error("1:1: `{0}` is not a selector without offset and @, such as `up{{job=\"shop\"}}`")]
    NotASelector(String),
    /// Nothing says which series.
    #[error("1:1: no selector given; name at least one, such as `up`")]
    NoSelector,
    /// A regular expression that cannot be used.
    #[error("1:1: {0}")]
    Matcher(#[from] MatcherError),
    /// Samples that cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Samples and targets refused since the start, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// Older than the newest of their series.
    pub out_of_order: u64,
    /// Another value at the time of the newest.
    pub duplicate_time: u64,
    /// One series too many.
    pub series_limit: u64,
    /// Too many or too long labels.
    pub label_limit: u64,
    /// Labels that cannot be joined with the target's.
    pub labels: u64,
    /// A time of their own that lies too far ahead.
    pub far_ahead: u64,
    /// Targets above the scraper's limit.
    pub targets: u64,
    /// Native histograms of targets whose job does not scrape them.
    pub native_histograms: u64,
    /// Of one of those who share the engine, which has too many series …
    pub tenant_series: u64,
    /// … sends too many samples …
    pub tenant_samples: u64,
    /// … or has too many labels.
    pub tenant_labels: u64,
    /// The first of these last three.
    pub over_limit: Option<OverLimit>,
    /// Histograms that make no sense.
    pub invalid_histograms: u64,
}

impl Refusals {
    /// Each with its reason, in a fixed order.
    pub fn by_reason(&self) -> [(&'static str, u64); 12] {
        [
            ("duplicate-time", self.duplicate_time),
            ("far-ahead", self.far_ahead),
            ("invalid-histogram", self.invalid_histograms),
            ("label-limit", self.label_limit),
            ("labels", self.labels),
            ("native-histograms", self.native_histograms),
            ("out-of-order", self.out_of_order),
            ("series-limit", self.series_limit),
            ("targets", self.targets),
            ("tenant-labels", self.tenant_labels),
            ("tenant-samples", self.tenant_samples),
            ("tenant-series", self.tenant_series),
        ]
    }

    /// All together.
    pub fn total(&self) -> u64 {
        self.by_reason().iter().map(|(_, count)| count).sum()
    }

    pub(crate) fn count(&mut self, error: &AppendError) {
        *match error {
            AppendError::OutOfOrder { .. } => &mut self.out_of_order,
            AppendError::DuplicateTime { .. } => &mut self.duplicate_time,
            AppendError::TooManySeries { .. } => &mut self.series_limit,
            AppendError::TooManyLabels { .. } | AppendError::LabelsTooLong { .. } => {
                &mut self.label_limit
            }
            AppendError::Tenant(over) => {
                if self.over_limit.is_none() {
                    self.over_limit = Some(over.clone());
                }
                match over.excess {
                    Excess::Series => &mut self.tenant_series,
                    Excess::Samples => &mut self.tenant_samples,
                    Excess::Labels => &mut self.tenant_labels,
                }
            }
            AppendError::Histogram { .. } => &mut self.invalid_histograms,
        } += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.out_of_order += other.out_of_order;
        self.duplicate_time += other.duplicate_time;
        self.series_limit += other.series_limit;
        self.label_limit += other.label_limit;
        self.labels += other.labels;
        self.far_ahead += other.far_ahead;
        self.targets += other.targets;
        self.native_histograms += other.native_histograms;
        self.tenant_series += other.tenant_series;
        self.tenant_samples += other.tenant_samples;
        self.tenant_labels += other.tenant_labels;
        if self.over_limit.is_none() {
            self.over_limit.clone_from(&other.over_limit);
        }
        self.invalid_histograms += other.invalid_histograms;
    }
}

/// On which terms a query is computed.
#[derive(Clone, Debug)]
pub struct Terms {
    /// How long it may compute, at most [`QUERY_WITHIN`].
    pub within: Span,
    /// Cancelled when nobody waits for the answer any more.
    pub gone: CancellationToken,
    /// Whether the answer says what it took.
    pub stats: Stats,
    /// Whether the answer has the plan, with what each node took.
    pub analyze: bool,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            within: QUERY_WITHIN,
            gone: CancellationToken::new(),
            stats: Stats::None,
            analyze: false,
        }
    }
}

/// How much an answer says of what it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stats {
    /// Nothing.
    #[default]
    None,
    /// Sums.
    Sums,
    /// Sums, and samples by step.
    All,
}

/// How long one query may compute unless who asks says less, as in Prometheus.
pub const QUERY_WITHIN: Span = Span::from_secs(120);

/// Monitoring's samples, shared.
#[derive(Clone, Debug)]
pub struct Ekg {
    pub(crate) tsdb: Tsdb,
    pub(crate) refusals: Arc<Mutex<Refusals>>,
    pub(crate) feed: Feed,
    pub(crate) exemplars: Exemplars,
    engine: Engine,
    pool: Arc<Pool>,
    past: Option<Arc<dyn Past>>,
    terms: Terms,
}

impl Ekg {
    /// A handle over the samples of a head; [`adapter::Writer`](crate::adapter::Writer) is what fills that.
    pub fn over(tsdb: Tsdb) -> Self {
        Self {
            tsdb,
            refusals: Arc::default(),
            feed: Feed::default(),
            exemplars: Exemplars::default(),
            engine: Engine::new(EngineOptions {
                threads: std::thread::available_parallelism().map_or(1, NonZero::get),
                ..EngineOptions::default()
            }),
            pool: Arc::new(Pool::new(HELD_TOGETHER_MAX)),
            past: None,
            terms: Terms::default(),
        }
    }

    /// The same samples, with what another store has of the time before them.
    #[must_use]
    pub fn after(self, past: Arc<dyn Past>) -> Self {
        Self {
            past: Some(past),
            ..self
        }
    }

    fn reader(&self) -> Reader<'_> {
        Reader::new(&self.tsdb).after(self.past.as_deref())
    }

    /// The same samples; a query that is asked here ends with an error after `within`, at most [`QUERY_WITHIN`].
    #[must_use]
    pub fn within(&self, within: Span) -> Self {
        self.on(Terms {
            within,
            ..self.terms.clone()
        })
    }

    /// The same samples, asked on these terms.
    #[must_use]
    pub fn on(&self, terms: Terms) -> Self {
        Self {
            terms: Terms {
                within: terms.within.min(QUERY_WITHIN),
                ..terms
            },
            ..self.clone()
        }
    }

    /// `/api/v1/query`.
    pub fn query(&self, expr: &str, at: Time) -> Shown {
        let when = When::Instant(at.millis());
        self.asked(expr, when, [at.millis()], |result| match result {
            QueryResult::String(text) => (answer::text(&text, at.millis()), None),
            other => answer::result(other),
        })
    }

    /// `/api/v1/query_range`: `start` to `end`, both included if the step reaches them.
    pub fn query_range(&self, expr: &str, start: Time, end: Time, step: Span) -> Shown {
        let when = When::Range {
            start_ms: start.millis(),
            end_ms: end.millis(),
            step_ms: i64::try_from(step.millis()).unwrap_or(i64::MAX),
        };
        let steps = usize::try_from(step.millis()).unwrap_or(usize::MAX).max(1);
        let times = (start.millis()..=end.millis()).step_by(steps);
        self.asked(expr, when, times, answer::result)
    }

    fn asked(
        &self,
        expr: &str,
        when: When,
        times_ms: impl IntoIterator<Item = i64>,
        shown: impl FnOnce(QueryResult) -> (Value, Option<Vec<String>>),
    ) -> Shown {
        let reader = self.reader();
        let mut blurred = Vec::new();
        let asked = Query::parse(expr).and_then(|query| {
            reader.summaries.go(Way::Detecting);
            let answer = self.answer(&query, when, &reader);
            if !reader.summaries.detected() {
                return answer;
            }
            let (query, functions) = query.over_summaries();
            blurred = functions;
            reader.summaries.go(Way::Asked);
            self.answer(&query, when, &reader)
        });
        match asked {
            Ok(answer) => {
                let (data, series) = shown(answer.result);
                let data = self.measured(data, &answer.usage, times_ms);
                let envelope = answer::noted(data, &answer.notes);
                let envelope = answer::informed(envelope, reader.summaries.infos(&blurred));
                Shown {
                    envelope: answer::without(envelope, &reader.damage()),
                    series,
                }
            }
            Err(error) => answer::failure(&error.into()).into(),
        }
    }

    /// What a query would take, without evaluating it: `{plan}` in Prometheus's envelope.
    pub fn plan(&self, expr: &str, when: When) -> Value {
        let began = Instant::now();
        let within = self.terms.within.duration();
        let interrupted = || self.terms.gone.is_cancelled() || began.elapsed() >= within;
        let ask = Ask {
            when,
            interrupted: &interrupted,
            timed: None,
            pool: Some(&self.pool),
        };
        let planned =
            Query::parse(expr).and_then(|query| self.engine.plan(&self.reader(), &query, &ask));
        match planned {
            Ok(planned) => {
                let options = self.engine.options();
                let told = plan::told(planned.nodes, planned.samples_peak, options, false);
                answer::success(serde_json::json!({ "plan": told }))
            }
            Err(error) => answer::failure(&error.into()),
        }
    }

    /// The data with what it took, where that is wanted.
    fn measured(
        &self,
        mut data: Value,
        usage: &Usage,
        times_ms: impl IntoIterator<Item = i64>,
    ) -> Value {
        if self.terms.stats != Stats::None {
            let by_step = (self.terms.stats == Stats::All).then_some(times_ms);
            data["stats"] = answer::stats(usage, by_step);
        }
        if self.terms.analyze {
            let (nodes, peak) = (usage.nodes.clone(), usage.samples_peak);
            data["plan"] = plan::told(nodes, peak, self.engine.options(), true);
        }
        data
    }

    fn answer(&self, query: &Query, when: When, reader: &Reader<'_>) -> Result<Answer, Error> {
        let (began, within) = (Instant::now(), self.terms.within.duration());
        let interrupted = || self.terms.gone.is_cancelled() || began.elapsed() >= within;
        let clock = || began.elapsed();
        let ask = Ask {
            when,
            interrupted: &interrupted,
            timed: if self.terms.analyze {
                Some(&clock)
            } else {
                None
            },
            pool: Some(&self.pool),
        };
        self.engine.ask(reader, query, &ask)
    }

    /// `/api/v1/format_query`: an expression as it is written best.
    pub fn format_query(&self, expr: &str) -> Value {
        match mainstay_promql::parse(expr) {
            Ok(parsed) => answer::success(mainstay_promql::pretty(&parsed).into()),
            Err(error) => answer::failure(&error.into()),
        }
    }

    /// `/api/v1/parse_query`: an expression as a tree.
    pub fn parse_query(&self, expr: &str) -> Value {
        match mainstay_promql::parse(expr) {
            Ok(parsed) => answer::success(tree(&parsed)),
            Err(error) => answer::failure(&error.into()),
        }
    }

    /// `/api/v1/series`: label sets with a sample in the window that satisfy any of the selectors.
    pub fn series(&self, selectors: &[&str], start: Time, end: Time) -> Value {
        if selectors.is_empty() {
            return answer::failure(&QueryError::NoSelector);
        }
        let mut damage = Damage::default();
        let found = self.matching(selectors, (start, end), &mut damage, |labels| {
            let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
            vec![labels.iter().map(pair).collect::<Vec<_>>()]
        });
        let object = |pairs: Vec<(String, String)>| -> Map<String, Value> {
            pairs.into_iter().map(|(n, v)| (n, v.into())).collect()
        };
        let found = found.map(|sets| sets.into_iter().map(object).collect());
        answered(found, &damage)
    }

    /// `/api/v1/labels`: names of labels; of all series if no selector is given.
    pub fn labels(&self, selectors: &[&str], start: Time, end: Time) -> Value {
        let mut damage = Damage::default();
        if selectors.is_empty() {
            let names = self.tsdb.label_names(&mut damage);
            return answered(names.map_err(QueryError::from), &damage);
        }
        let names = self.matching(selectors, (start, end), &mut damage, |labels| {
            labels.iter().map(|(name, _)| name.to_owned()).collect()
        });
        answered(names.map(|names| names.into_iter().collect()), &damage)
    }

    /// `/api/v1/label/<name>/values`; of all series if no selector is given.
    pub fn label_values(&self, name: &str, selectors: &[&str], start: Time, end: Time) -> Value {
        let mut damage = Damage::default();
        if selectors.is_empty() {
            let values = self.tsdb.label_values(name, &mut damage);
            return answered(values.map_err(QueryError::from), &damage);
        }
        let values = self.matching(selectors, (start, end), &mut damage, |labels| {
            labels.get(name).map(str::to_owned).into_iter().collect()
        });
        answered(values.map(|values| values.into_iter().collect()), &damage)
    }

    /// How much the selected counters grew in `(from, to]`, exactly.
    pub fn counts(&self, selector: &str, from: Time, to: Time) -> Result<WindowCount, QueryError> {
        Ok(self.dated_counts(selector, from, to)?.0)
    }

    /// How much of the samples is known to be damaged.
    pub fn quarantined(&self) -> Quarantined {
        self.tsdb.quarantined()
    }

    /// What was refused since the start.
    pub fn refusals(&self) -> Refusals {
        let refusals = self.refusals.lock();
        refusals.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The result, and the time it is as old as, if any sample contributed.
    pub(crate) fn instant(
        &self,
        expr: &str,
        at: Time,
    ) -> Result<(QueryResult, Option<Time>), QueryError> {
        let reader = Reader::dating(&self.tsdb).after(self.past.as_deref());
        let result = self.evaluated(expr, at, &reader)?;
        Ok((result, reader.as_of_ms().map(Time::from_millis)))
    }

    /// Samples of the series that satisfy all matchers, both ends included.
    pub(crate) fn select(
        &self,
        matchers: &[mainstay_promql::Matcher],
        start: Time,
        end: Time,
    ) -> Result<Vec<Series>, StorageError> {
        self.reader().select(matchers, start.millis(), end.millis())
    }

    /// The value of a query that is parsed already.
    pub(crate) fn ask(&self, query: &Query, at: Time) -> Result<QueryResult, Error> {
        let reader = self.reader();
        let answer = self.answer(query, When::Instant(at.millis()), &reader)?;
        Ok(answer.result)
    }

    fn evaluated(
        &self,
        expr: &str,
        at: Time,
        reader: &Reader<'_>,
    ) -> Result<QueryResult, QueryError> {
        let query = Query::parse(expr)?;
        let answer = self.answer(&query, When::Instant(at.millis()), reader)?;
        Ok(answer.result)
    }

    /// Like [`Ekg::counts`], with the time the counts are as old as.
    pub(crate) fn dated_counts(
        &self,
        selector: &str,
        from: Time,
        to: Time,
    ) -> Result<(WindowCount, Option<Time>), QueryError> {
        let matchers = matchers(selector)?;
        let (from_ms, to_ms) = (from.millis(), to.millis());
        // The age first, so that what comes in meanwhile does not make the counts look younger.
        let age = Age::of(&self.tsdb, &matchers, from_ms.saturating_add(1), to_ms)?;
        let counts = self.tsdb.counts(&matchers, from_ms, to_ms)?;
        Ok((counts.into(), age.ms().map(Time::from_millis)))
    }

    fn matching<T: Ord>(
        &self,
        selectors: &[&str],
        (start, end): (Time, Time),
        damage: &mut Damage,
        take: impl Fn(&mainstay_tsdb::Labels) -> Vec<T>,
    ) -> Result<BTreeSet<T>, QueryError> {
        let mut found = BTreeSet::new();
        for selector in selectors {
            let matchers = matchers(selector)?;
            let (start_ms, end_ms) = (start.millis(), end.millis());
            let series = self.tsdb.series(&matchers, start_ms, end_ms, damage)?;
            found.extend(series.iter().flat_map(&take));
        }
        Ok(found)
    }
}

fn answered<T: Into<Value>>(result: Result<Vec<T>, QueryError>, damage: &Damage) -> Value {
    match result {
        Ok(data) => answer::without(answer::success(data.into()), damage),
        Err(error) => answer::failure(&error),
    }
}

pub(crate) fn matchers(selector: &str) -> Result<Vec<Matcher>, QueryError> {
    match &mainstay_promql::parse(selector)?.kind {
        ExprKind::Selector(found) if found.modifiers == Modifiers::default() => {
            Ok(storage::translated(&found.matchers)?)
        }
        _ => Err(QueryError::NotASelector(
            selector.chars().take(80).collect(),
        )),
    }
}
