//! The front door of evaluation: a query, a time or a range of times, limits.
//!
//! Guarantees: a query that would exceed a limit is an error, not a partial answer. Metric names are removed
//! at the very end (Prometheus' delayed name removal), so `label_replace` can still read them.
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

use crate::ast::{AggregateOp, Expr, ExprKind, ValueType};
use crate::error::{ErrorKind, Fault, Outcome};
use crate::eval::{Evaluator, Row, Steps, Value, settle};
use crate::functions::{Kind, Special};
use crate::{Error, InstantSeries, QueryResult, RangeSeries, Sample, Span, Storage, parse};
use std::cell::Cell;

/// About 32,000 years: far enough for sums with offsets and ranges not to overflow.
const MAX_TIME_MS: i64 = 1_000_000_000_000_000;

/// What a query may use, and its defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// How long a sample counts as current.
    pub lookback_ms: i64,
    /// Resolution of a subquery that names none.
    pub subquery_step_ms: i64,
    /// Samples one query may read or produce, over all its parts.
    pub max_samples: u64,
    /// Steps of a range query.
    pub max_steps: u64,
}

impl Default for EngineOptions {
    /// Prometheus' defaults.
    fn default() -> Self {
        Self {
            lookback_ms: 5 * 60 * 1000,
            subquery_step_ms: 60 * 1000,
            max_samples: 50_000_000,
            max_steps: 11_000,
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
        let text = text.into();
        let expr = parse(&text)?;
        Ok(Self { text, expr })
    }

    /// The text as given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The syntax tree.
    pub fn expr(&self) -> &Expr {
        &self.expr
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

    /// Evaluates at one time.
    pub fn instant(
        &self,
        storage: &dyn Storage,
        query: &Query,
        at_ms: i64,
    ) -> Result<QueryResult, Error> {
        let steps = Steps {
            start_ms: at_ms,
            step_ms: 0,
            count: 1,
        };
        self.instant_inner(storage, &query.expr, steps)
            .map_err(|fault| fault.placed(&query.text))
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
        self.range_inner(storage, &query.expr, (start_ms, end_ms, step_ms))
            .map_err(|fault| fault.placed(&query.text))
    }

    fn instant_inner(
        &self,
        storage: &dyn Storage,
        expr: &Expr,
        steps: Steps,
    ) -> Outcome<QueryResult> {
        in_time(expr, &[steps.start_ms])?;
        let used = Cell::new(0);
        let evaluator = Evaluator {
            storage,
            options: &self.options,
            steps,
            query: steps,
            query_end_ms: steps.start_ms,
            used: &used,
        };
        if expr.value_type() == ValueType::Matrix {
            return Ok(QueryResult::Matrix(evaluator.raw_matrix(expr)?));
        }
        let at = steps.start_ms;
        let sample = |value| Sample {
            timestamp_ms: at,
            value,
        };
        Ok(match evaluator.eval(expr)? {
            Value::Text(text) => QueryResult::String(text),
            Value::Scalar(values) => {
                QueryResult::Scalar(sample(values.first().copied().unwrap_or(f64::NAN)))
            }
            Value::Rows(rows) => {
                let rows = settle(rows, expr.span)?;
                let mut series: Vec<InstantSeries> = rows
                    .into_iter()
                    .filter_map(|row| {
                        let value = row.values.first().copied().flatten()?;
                        Some(InstantSeries {
                            labels: row.labels,
                            sample: sample(value),
                        })
                    })
                    .collect();
                if !orders_itself(expr) {
                    series.sort_by(|a, b| a.labels.cmp(&b.labels));
                }
                QueryResult::Vector(series)
            }
        })
    }

    fn range_inner(
        &self,
        storage: &dyn Storage,
        expr: &Expr,
        (start_ms, end_ms, step_ms): (i64, i64, i64),
    ) -> Outcome<QueryResult> {
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
        let count = (i128::from(end_ms) - i128::from(start_ms)) / i128::from(step_ms) + 1;
        if count > i128::from(self.options.max_steps) {
            let kind = ErrorKind::Limit {
                what: "steps",
                value: u64::try_from(count).unwrap_or(u64::MAX),
                limit: self.options.max_steps,
            };
            return Err(Fault::new(kind, Span::default()));
        }
        let steps = Steps {
            start_ms,
            step_ms,
            count: count as usize,
        };
        let used = Cell::new(0);
        let evaluator = Evaluator {
            storage,
            options: &self.options,
            steps,
            query: steps,
            query_end_ms: end_ms,
            used: &used,
        };
        let rows = match evaluator.eval(expr)? {
            Value::Rows(rows) => settle(rows, expr.span)?,
            Value::Scalar(values) => vec![Row::unnamed(values.into_iter().map(Some).collect())],
            Value::Text(_) => return Fault::invalid(expr.span, "a string has no range"),
        };
        let mut series: Vec<RangeSeries> = rows
            .into_iter()
            .map(|row| RangeSeries {
                samples: samples(&row.values, steps),
                labels: row.labels,
            })
            .filter(|series| !series.samples.is_empty())
            .collect();
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(QueryResult::Matrix(series))
    }
}

fn in_time(expr: &Expr, times_ms: &[i64]) -> Outcome<()> {
    let allowed = -MAX_TIME_MS..=MAX_TIME_MS;
    if times_ms.iter().all(|t| allowed.contains(t)) {
        return Ok(());
    }
    Fault::invalid(expr.span, "the query's time is out of range")
}

fn samples(values: &[Option<f64>], steps: Steps) -> Vec<Sample> {
    let at = |(i, value): (usize, &Option<f64>)| {
        Some(Sample {
            timestamp_ms: steps.time(i),
            value: (*value)?,
        })
    };
    values.iter().enumerate().filter_map(at).collect()
}

fn orders_itself(expr: &Expr) -> bool {
    match &expr.unwrapped().kind {
        ExprKind::Aggregate(aggregate) => {
            matches!(aggregate.op, AggregateOp::Topk | AggregateOp::Bottomk)
        }
        ExprKind::Call { function, .. } => matches!(
            function.kind,
            Kind::Special(Special::Sort | Special::SortDesc)
        ),
        _ => false,
    }
}
