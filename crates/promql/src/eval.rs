//! Evaluation: each node of the tree becomes its values over all steps at once.
//!
//! Guarantees: a row has exactly one slot a step. The samples held at any moment stay under the query's
//! limit, counted as they are made; whoever asked is asked back, at least once a series, whether to go on.

use crate::ast::{At, Duration, Edges, Expr, ExprKind, Modifiers, QueryTimes, Selector};
use crate::column::{Column, Reading};
use crate::error::{ErrorKind, Fault, Outcome};
use crate::meter::Meter;
use crate::note::{Notebook, Remark};
use crate::trace::{Selection, Trace};
use crate::{EngineOptions, Histogram, Labels, Series, Span, Storage};
use std::sync::Arc;

pub(crate) mod aggregate;
pub(crate) mod binary;
mod call;
pub(crate) mod civil;
pub(crate) mod classic;
mod counts;
mod extended;
mod info;
mod invariant;
pub(crate) mod kahan;
pub(crate) mod matching;
mod natural;
pub(crate) mod over;
mod range;
pub(crate) mod rate;
pub(crate) mod relabel;
mod rows;
mod selection;
mod smoothed;
mod walk;
pub(crate) mod window;

pub(crate) use rows::{Row, Value, settle};

/// Histograms count in the sample limit as one sample and one more for so many buckets.
const BUCKETS_PER_SAMPLE: usize = 4;

/// Evaluation times: evenly spaced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steps {
    pub(crate) start_ms: i64,
    pub(crate) step_ms: i64,
    pub(crate) count: usize,
}

impl Steps {
    pub(crate) fn time(self, i: usize) -> i64 {
        self.start_ms + self.step_ms * i as i64
    }
}

/// `offset` and `@` with their durations computed.
#[derive(Clone, Copy, Debug, Default)]
struct Shift {
    offset_ms: i64,
    at: Option<At>,
}

/// Asked whether the query should stop.
pub(crate) type Interrupt<'a> = &'a dyn Fn() -> bool;

#[derive(Clone, Copy)]
pub(crate) struct Evaluator<'a> {
    pub(crate) storage: &'a dyn Storage,
    pub(crate) options: &'a EngineOptions,
    pub(crate) steps: Steps,
    /// The steps of the whole query, for `start()` and its kin; differs inside a subquery.
    pub(crate) query: Steps,
    pub(crate) query_end_ms: i64,
    pub(crate) meter: &'a Meter<'a>,
    pub(crate) notes: &'a Notebook,
    pub(crate) trace: Option<&'a Trace<'a>>,
    pub(crate) interrupt: Interrupt<'a>,
    /// Only the counts and sums of histograms are asked for.
    pub(crate) counts_only: bool,
}

impl Evaluator<'_> {
    /// What the children held is given back; what the node gives is charged.
    pub(crate) fn eval(&self, expr: &Expr) -> Outcome<Value> {
        let counts_only = self.counts_only && counts::passes_counts(expr);
        let evaluator = Self {
            counts_only,
            ..*self
        };
        let Some(trace) = self.trace else {
            return evaluator.eval_counted(expr);
        };
        let open = trace.begin(expr, self.steps.count);
        let value = evaluator.eval_counted(expr);
        let series = match &value {
            Ok(Value::Rows(rows)) => rows.len(),
            Ok(Value::Scalar(_) | Value::Text(_)) | Err(_) => 0,
        };
        trace.end(&open, series);
        value
    }

    fn eval_counted(&self, expr: &Expr) -> Outcome<Value> {
        let before = self.meter.held();
        let mut value = if self.steps.count > 1 && invariant::is_step_invariant(expr) {
            self.eval_once(expr)?
        } else {
            self.eval_node(expr)?
        };
        if !self.options.delayed_name_removal
            && let Value::Rows(rows) = value
        {
            value = Value::Rows(settle(rows, expr.span)?);
        }
        self.meter.back_to(before);
        let size = match &value {
            Value::Rows(rows) => rows.len() as u64 * self.steps.count as u64,
            Value::Scalar(values) => values.len() as u64,
            Value::Text(_) => 1,
        };
        self.charge(size, expr.span)?;
        Ok(value)
    }

    /// What is the same at every step is computed at one.
    fn eval_once(&self, expr: &Expr) -> Outcome<Value> {
        let steps = Steps {
            count: 1,
            ..self.steps
        };
        let len = self.steps.count;
        Ok(match (Self { steps, ..*self }).eval_node(expr)? {
            Value::Scalar(values) => Value::Scalar(values.repeat(len)),
            Value::Text(text) => Value::Text(text),
            Value::Rows(mut rows) => {
                self.charge(rows.len() as u64 * len as u64, expr.span)?;
                for row in &mut rows {
                    row.column = row.column.repeated(len);
                }
                Value::Rows(rows)
            }
        })
    }

    fn eval_node(&self, expr: &Expr) -> Outcome<Value> {
        Ok(match &expr.kind {
            ExprKind::Number { value, .. } => Value::Scalar(vec![*value; self.steps.count]),
            ExprKind::String(text) => Value::Text(text.clone()),
            ExprKind::Paren(inner) | ExprKind::Plus(inner) => self.eval(inner)?,
            ExprKind::Selector(selector) if selector.edges == Edges::Smoothed => {
                Value::Rows(self.smoothed(selector, expr.span)?)
            }
            ExprKind::Selector(selector) => Value::Rows(self.instants(selector, expr.span)?),
            ExprKind::Negate(inner) => match self.eval(inner)? {
                Value::Scalar(values) => Value::Scalar(values.into_iter().map(|v| -v).collect()),
                Value::Rows(rows) => Value::Rows(negated(rows)),
                Value::Text(_) => return Fault::invalid(expr.span, "a string has no sign"),
            },
            ExprKind::Binary(binary) => self.binary(binary, expr.span)?,
            ExprKind::Aggregate(aggregate) => Value::Rows(self.aggregate(aggregate, expr.span)?),
            ExprKind::Call { function, args } => self.call(function, args, expr.span)?,
            ExprKind::Range { .. } | ExprKind::Subquery { .. } => {
                return Fault::invalid(expr.span, "a range vector cannot stand here");
            }
        })
    }

    fn rows(&self, expr: &Expr) -> Outcome<Vec<Row>> {
        match self.eval(expr)? {
            Value::Rows(rows) => Ok(rows),
            Value::Scalar(_) | Value::Text(_) => {
                Fault::invalid(expr.span, "expected an instant vector")
            }
        }
    }

    fn scalars(&self, expr: &Expr) -> Outcome<Vec<f64>> {
        match self.eval(expr)? {
            Value::Scalar(values) => Ok(values),
            Value::Rows(_) | Value::Text(_) => Fault::invalid(expr.span, "expected a scalar"),
        }
    }

    fn text(&self, expr: &Expr) -> Outcome<String> {
        match self.eval(expr)? {
            Value::Text(text) => Ok(text),
            Value::Rows(_) | Value::Scalar(_) => Fault::invalid(expr.span, "expected a string"),
        }
    }

    fn note(&self, remark: &Remark<'_>, span: Span) {
        self.notes.add(remark, span);
    }

    fn charge(&self, samples: u64, span: Span) -> Outcome<()> {
        let used = self.meter.hold(samples);
        if used > self.options.max_samples {
            let kind = ErrorKind::Limit {
                what: "samples",
                value: used,
                limit: self.options.max_samples,
            };
            return Err(Fault::new(kind, span));
        }
        if let Some(pool) = self.meter.crowded() {
            let kind = ErrorKind::Crowded {
                held: pool.held(),
                limit: pool.limit(),
            };
            return Err(Fault::new(kind, span));
        }
        self.go_on(span)
    }

    /// Stops where whoever asked no longer waits.
    fn go_on(&self, span: Span) -> Outcome<()> {
        if (self.interrupt)() {
            return Err(Fault::new(ErrorKind::Interrupted, span));
        }
        Ok(())
    }

    fn query_times(&self) -> QueryTimes {
        QueryTimes {
            step_s: self.query.step_ms as f64 / 1_000.0,
            range_s: (self.query_end_ms - self.query.start_ms) as f64 / 1_000.0,
        }
    }

    fn range_ms(&self, range: &Duration) -> Outcome<i64> {
        range.positive_ms(self.query_times())
    }

    fn shift(&self, modifiers: &Modifiers) -> Outcome<Shift> {
        Ok(Shift {
            offset_ms: modifiers.offset.ms(self.query_times())?,
            at: modifiers.at,
        })
    }

    /// The time that is looked at instead of `at_ms`.
    fn shifted_time(&self, shift: Shift, at_ms: i64) -> i64 {
        let base = match shift.at {
            None => at_ms,
            Some(At::Time(fixed_ms)) => fixed_ms,
            Some(At::Start) => self.query.start_ms,
            Some(At::End) => self.query_end_ms,
        };
        base - shift.offset_ms
    }

    /// The time a selector looks at in step `i`.
    fn shifted(&self, shift: Shift, i: usize) -> i64 {
        self.shifted_time(shift, self.steps.time(i))
    }

    /// Samples from `before_ms` (open end) before the first step to `after_ms` after the last.
    fn select(
        &self,
        selector: &Selector,
        (before_ms, after_ms): (i64, i64),
        span: Span,
    ) -> Outcome<Vec<Series>> {
        let shift = self.shift(&selector.modifiers)?;
        let first = self.shifted(shift, 0) - before_ms + 1;
        let last = self.shifted(shift, self.steps.count.saturating_sub(1)) + after_ms;
        let mut found = self
            .storage
            .select(&selector.matchers, first, last)
            .map_err(|error| Fault::new(ErrorKind::Storage(error), span))?;
        let samples: usize = found.iter().map(size_of_series).sum();
        if let Some(trace) = self.trace {
            trace.select(Selection {
                start_ms: first,
                end_ms: last,
                series: found.len() as u64,
                samples: samples as u64,
            });
        }
        self.charge(samples as u64, span)?;
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        if self.counts_only {
            counts::reduce(&mut found);
        }
        Ok(found)
    }
}

fn size_of_series(series: &Series) -> usize {
    let histograms = series.histograms.iter().flat_map(|h| h.iter()).flatten();
    let extra = histograms.map(|h| (h.positive.len() + h.negative.len()) / BUCKETS_PER_SAMPLE);
    series.timestamps.len() + extra.sum::<usize>()
}

/// With the sign turned; the name goes.
fn negated(mut rows: Vec<Row>) -> Vec<Row> {
    for row in &mut rows {
        row.drop_name = true;
        row.column.map_floats(|value| -value);
        row.column.map_histograms(|h| h.clone().scaled(-1.0));
    }
    rows
}

/// A row of one label set from what each step gives.
fn row_of(labels: Labels, len: usize, mut give: impl FnMut(usize) -> Option<Reading>) -> Row {
    let mut column = Column::gaps(len);
    for at in 0..len {
        if let Some(reading) = give(at) {
            column.set(at, reading);
        }
    }
    Row {
        labels,
        drop_name: false,
        column,
    }
}

/// Samples of one series in the order of time, without staleness markers.
struct Samples {
    timestamps: selection::Cells<i64>,
    values: selection::Cells<f64>,
    histograms: Option<selection::Cells<Option<Arc<Histogram>>>>,
    starts: Option<selection::Cells<i64>>,
}
