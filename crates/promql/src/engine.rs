//! The front door of evaluation: a query, a time or a range of times, limits.
//!
//! Guarantees: a query that would exceed a limit is an error, not a partial answer, and so is one that was
//! interrupted.
//!
//! ```
//! use mainstay_promql::{Engine, EngineOptions, Matcher, Query, QueryResult, Series, Storage, StorageError};
//! struct Nothing;
//! impl Storage for Nothing {
//!     fn select(&self, _: &[Matcher], _: i64, _: i64) -> Result<Vec<Series>, StorageError> {
//!         Ok(Vec::new())
//!     }
//! }
//! let engine = Engine::new(EngineOptions::default());
//! let result = engine.instant(&Nothing, &Query::parse("1 + 2")?, 0)?;
//! assert!(matches!(result, QueryResult::Scalar(s) if s.value == 3.0));
//! # Ok::<(), mainstay_promql::Error>(())
//! ```

use crate::ast::{AggregateOp, Expr, ExprKind, Selector, ValueType};
use crate::column::Point;
use crate::error::{ErrorKind, Fault, Outcome};
use crate::eval::{Evaluator, Row, Steps, Value, settle};
use crate::functions::{Kind, Special};
use crate::meter::{Meter, Pool};
use crate::note::Notebook;
use crate::trace::Trace;
use crate::{
    Answer, Error, InstantSeries, ParserOptions, QueryResult, Sample, Span, Storage, parse_with,
};
use std::{sync::Arc, time::Duration};

/// About 32,000 years: far enough for sums with offsets and ranges not to overflow.
const MAX_TIME_MS: i64 = 1_000_000_000_000_000;

/// Series times steps from which several threads are worth their start: some milliseconds of work.
const PARALLEL_FROM: u64 = 50_000;
/// Threads of one query: what is left of more is not worth their start.
const THREADS_MAX: usize = 16;

/// What a query may use, and how it is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// How long a sample counts as current.
    pub lookback_ms: i64,
    /// Resolution of a subquery that names none.
    pub subquery_step_ms: i64,
    /// Samples one query may hold at any moment.
    pub max_samples: u64,
    /// Steps of a range query.
    pub max_steps: u64,
    /// Metric names are removed when the query ends, so that `label_replace` can still read them; otherwise
    /// as soon as a value is computed.
    pub delayed_name_removal: bool,
    /// The store keeps a metric's type in the label `__type__`, so that infos can tell a counter by it.
    pub type_and_unit_labels: bool,
    /// Threads that compute one query where that is worth it.
    pub threads: usize,
    /// Series times steps from which it is.
    pub parallel_from: u64,
}

impl EngineOptions {
    /// Threads that walk so many series.
    pub(crate) fn threads_for(&self, series: usize, steps: usize) -> usize {
        let work = (series as u64).saturating_mul(steps as u64);
        if work < self.parallel_from {
            return 1;
        }
        self.threads.clamp(1, THREADS_MAX)
    }
}

impl Default for EngineOptions {
    /// Prometheus' defaults, but for delayed name removal, which it has behind a switch.
    fn default() -> Self {
        Self {
            lookback_ms: 5 * 60 * 1000,
            subquery_step_ms: 60 * 1000,
            max_samples: 50_000_000,
            max_steps: 11_000,
            delayed_name_removal: true,
            type_and_unit_labels: false,
            threads: 1,
            parallel_from: PARALLEL_FROM,
        }
    }
}

/// When to evaluate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At one time, in milliseconds.
    Instant(i64),
    /// From a time to another, both included if the step reaches them.
    Range {
        /// First step.
        start_ms: i64,
        /// No step is later.
        end_ms: i64,
        /// Distance of steps.
        step_ms: i64,
    },
}

/// A question to the engine.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    /// When to evaluate.
    pub when: When,
    /// Asked often whether to stop: a timeout is over, or nobody waits any more.
    pub interrupted: &'a dyn Fn() -> bool,
    /// A clock, where it is asked what each node took.
    pub timed: Option<&'a dyn Fn() -> Duration>,
    /// What it counts in beside others, if it does.
    pub pool: Option<&'a Pool>,
}

impl Ask<'_> {
    /// One that runs to its end.
    pub fn uninterrupted(when: When) -> Self {
        Self {
            when,
            interrupted: &|| false,
            timed: None,
            pool: None,
        }
    }
}

/// A parsed query and its text.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    text: String,
    expr: Expr,
}

impl Query {
    /// Parses a query.
    pub fn parse(text: impl Into<String>) -> Result<Self, Error> {
        Self::parse_with(text, ParserOptions::default())
    }

    /// Like [`Query::parse`], with less or more of the language.
    pub fn parse_with(text: impl Into<String>, options: ParserOptions) -> Result<Self, Error> {
        let text = text.into();
        let expr = parse_with(&text, options)?;
        Ok(Self { text, expr })
    }

    /// Another tree for the same text.
    pub(crate) fn with_expr(&self, expr: Expr) -> Self {
        Self {
            text: self.text.clone(),
            expr,
        }
    }

    /// The text as given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The syntax tree.
    pub fn expr(&self) -> &Expr {
        &self.expr
    }

    /// All selectors in it, those of ranges included.
    pub fn selectors(&self) -> Vec<&Selector> {
        fn gather<'e>(expr: &'e Expr, into: &mut Vec<&'e Selector>) {
            if let ExprKind::Selector(selector) | ExprKind::Range { selector, .. } = &expr.kind {
                into.push(selector);
            }
            for child in expr.children() {
                gather(child, into);
            }
        }
        let mut selectors = Vec::new();
        gather(&self.expr, &mut selectors);
        selectors
    }
}

/// Evaluates queries; holds no state between them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Engine {
    options: EngineOptions,
}

impl Engine {
    /// An engine with these options.
    pub fn new(options: EngineOptions) -> Self {
        Self { options }
    }

    pub(crate) fn threads_for(&self, series: usize, steps: usize) -> usize {
        self.options.threads_for(series, steps)
    }

    /// What it may use.
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// Evaluates at one time.
    pub fn instant(
        &self,
        storage: &dyn Storage,
        query: &Query,
        at_ms: i64,
    ) -> Result<QueryResult, Error> {
        let ask = Ask::uninterrupted(When::Instant(at_ms));
        Ok(self.ask(storage, query, &ask)?.result)
    }

    /// Evaluates from `start_ms` to `end_ms`, both included if the step reaches them.
    pub fn range(
        &self,
        storage: &dyn Storage,
        query: &Query,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
    ) -> Result<QueryResult, Error> {
        let when = When::Range {
            start_ms,
            end_ms,
            step_ms,
        };
        Ok(self.ask(storage, query, &Ask::uninterrupted(when))?.result)
    }

    /// Evaluates, and tells what a reader should know of the answer.
    pub fn ask(
        &self,
        storage: &dyn Storage,
        query: &Query,
        ask: &Ask<'_>,
    ) -> Result<Answer, Error> {
        let notes = Notebook::default();
        let meter = Meter::within(ask.pool);
        let trace = ask.timed.map(Trace::new);
        let result = self
            .steps(&query.expr, ask.when)
            .and_then(|(steps, end_ms)| {
                let evaluator = Evaluator {
                    storage,
                    options: &self.options,
                    steps,
                    query: steps,
                    query_end_ms: end_ms,
                    meter: &meter,
                    notes: &notes,
                    trace: trace.as_ref(),
                    interrupt: ask.interrupted,
                    counts_only: false,
                };
                match ask.when {
                    When::Instant(_) => instant(&evaluator, &query.expr),
                    When::Range { .. } => range(&evaluator, &query.expr),
                }
            });
        let mut usage = meter.usage();
        usage.nodes = trace.map(Trace::nodes).unwrap_or_default();
        match result {
            Ok(result) => Ok(Answer {
                result,
                notes: notes.placed(&query.text),
                usage,
            }),
            Err(fault) => Err(fault.placed(&query.text)),
        }
    }

    /// The steps, and the end that was asked for.
    fn steps(&self, expr: &Expr, when: When) -> Outcome<(Steps, i64)> {
        let (start_ms, end_ms, step_ms) = match when {
            When::Instant(at_ms) => {
                in_time(expr, &[at_ms])?;
                let steps = Steps {
                    start_ms: at_ms,
                    step_ms: 0,
                    count: 1,
                };
                return Ok((steps, at_ms));
            }
            When::Range {
                start_ms,
                end_ms,
                step_ms,
            } => (start_ms, end_ms, step_ms),
        };
        if !matches!(expr.value_type(), ValueType::Scalar | ValueType::Vector) {
            let found = expr.value_type().name();
            let message =
                format!("a range query needs a scalar or an instant vector, not a {found}");
            return Fault::invalid(expr.span, message);
        }
        in_time(expr, &[start_ms, end_ms, step_ms])?;
        if step_ms <= 0 || end_ms < start_ms {
            let message = "the step must be positive and the end not before the start";
            return Fault::invalid(Span::default(), message);
        }
        let count = (end_ms - start_ms) as u64 / step_ms as u64 + 1;
        if count > self.options.max_steps {
            let kind = ErrorKind::Limit {
                what: "steps",
                value: count,
                limit: self.options.max_steps,
            };
            return Err(Fault::new(kind, Span::default()));
        }
        let steps = Steps {
            start_ms,
            step_ms,
            count: count as usize,
        };
        Ok((steps, end_ms))
    }
}

fn instant(evaluator: &Evaluator<'_>, expr: &Expr) -> Outcome<QueryResult> {
    if expr.value_type() == ValueType::Matrix {
        return Ok(QueryResult::Matrix(evaluator.raw_matrix(expr)?));
    }
    let sample = |value| Sample {
        timestamp_ms: evaluator.steps.start_ms,
        value,
    };
    Ok(match evaluator.eval(expr)? {
        Value::Text(text) => QueryResult::String(text),
        Value::Scalar(values) => {
            QueryResult::Scalar(sample(values.first().copied().unwrap_or(f64::NAN)))
        }
        Value::Rows(rows) => {
            let rows = settle(rows, expr.span)?.into_iter();
            let mut series: Vec<InstantSeries> = rows
                .filter_map(|row| match row.column.get(0) {
                    Point::Gap => None,
                    Point::Float(value) => Some(InstantSeries::float(row.labels, sample(value))),
                    Point::Histogram(histogram) => Some(InstantSeries {
                        histogram: Some(Arc::clone(histogram)),
                        sample: sample(f64::NAN),
                        labels: row.labels,
                    }),
                })
                .collect();
            if !orders_itself(expr) {
                series.sort_by(|a, b| a.labels.cmp(&b.labels));
            }
            QueryResult::Vector(series)
        }
    })
}

fn range(evaluator: &Evaluator<'_>, expr: &Expr) -> Outcome<QueryResult> {
    let rows = match evaluator.eval(expr)? {
        Value::Rows(rows) => settle(rows, expr.span)?,
        Value::Scalar(values) => vec![Row::unnamed(values)],
        Value::Text(_) => return Fault::invalid(expr.span, "a string has no range"),
    };
    let rows = rows.into_iter().filter(|row| !row.column.is_empty());
    let mut series: Vec<_> = rows
        .map(|row| row.column.range_series(row.labels, evaluator.steps))
        .collect();
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(QueryResult::Matrix(series))
}

fn in_time(expr: &Expr, times_ms: &[i64]) -> Outcome<()> {
    let allowed = -MAX_TIME_MS..=MAX_TIME_MS;
    if times_ms.iter().all(|t| allowed.contains(t)) {
        return Ok(());
    }
    Fault::invalid(expr.span, "the query's time is out of range")
}

fn orders_itself(expr: &Expr) -> bool {
    match &expr.unwrapped().kind {
        ExprKind::Aggregate(aggregate) => {
            matches!(aggregate.op, AggregateOp::Topk | AggregateOp::Bottomk)
        }
        ExprKind::Call { function, .. } => matches!(
            function.kind,
            Kind::Special(
                Special::Sort | Special::SortDesc | Special::SortByLabel | Special::SortByLabelDesc
            )
        ),
        _ => false,
    }
}
