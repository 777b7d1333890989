//! Evaluation: each node of the tree becomes its values over all steps at once.
//!
//! Guarantees: a row has exactly one slot a step; the samples read and produced stay under the query's limit.

use crate::ast::{At, Expr, ExprKind, Modifiers, Selector};
use crate::error::{ErrorKind, Fault, Outcome};
use crate::{EngineOptions, Labels, RangeSeries, Sample, Series, Span, Storage};
use std::cell::Cell;
use std::collections::HashMap;

mod aggregate;
mod binary;
mod call;
pub(crate) mod civil;
mod histogram;
pub(crate) mod kahan;
mod relabel;
pub(crate) mod window;

/// Bits of the NaN that ends a series.
const STALE_MARKER_BITS: u64 = 0x7ff0_0000_0000_0002;

fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_MARKER_BITS
}

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

/// One series over all steps.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) labels: Labels,
    /// The name goes when the query ends.
    pub(crate) drop_name: bool,
    pub(crate) values: Vec<Option<f64>>,
}

impl Row {
    pub(crate) fn unnamed(values: Vec<Option<f64>>) -> Self {
        Self {
            labels: Labels::default(),
            drop_name: false,
            values,
        }
    }

    fn is_empty(&self) -> bool {
        self.values.iter().all(Option::is_none)
    }
}

/// The value of a node over all steps.
pub(crate) enum Value {
    Scalar(Vec<f64>),
    Text(String),
    Rows(Vec<Row>),
}

/// Samples of one series under a range.
struct RangeRow {
    labels: Labels,
    drop_name: bool,
    timestamps: Vec<i64>,
    values: Vec<f64>,
}

/// A range vector, before it is cut into windows.
struct Ranges {
    rows: Vec<RangeRow>,
    range_ms: i64,
    modifiers: Modifiers,
}

pub(crate) struct Evaluator<'a> {
    pub(crate) storage: &'a dyn Storage,
    pub(crate) options: &'a EngineOptions,
    pub(crate) steps: Steps,
    /// The steps of the whole query, for `start()` and its kin; differs inside a subquery.
    pub(crate) query: Steps,
    pub(crate) query_end_ms: i64,
    pub(crate) used: &'a Cell<u64>,
}

impl Evaluator<'_> {
    pub(crate) fn eval(&self, expr: &Expr) -> Outcome<Value> {
        let value = match &expr.kind {
            ExprKind::Number(number) => Value::Scalar(vec![*number; self.steps.count]),
            ExprKind::String(text) => Value::Text(text.clone()),
            ExprKind::Paren(inner) => self.eval(inner)?,
            ExprKind::Selector(selector) => {
                Value::Rows(self.instants(selector, expr.span, |_, value| value)?)
            }
            ExprKind::Negate(inner) => match self.eval(inner)? {
                Value::Scalar(values) => Value::Scalar(values.into_iter().map(|v| -v).collect()),
                Value::Rows(rows) => Value::Rows(map(rows, |v| -v)),
                Value::Text(_) => return Fault::invalid(expr.span, "a string has no sign"),
            },
            ExprKind::Binary(binary) => self.binary(binary, expr.span)?,
            ExprKind::Aggregate(aggregate) => Value::Rows(self.aggregate(aggregate, expr.span)?),
            ExprKind::Call { function, args } => self.call(function, args, expr.span)?,
            ExprKind::Range { .. } | ExprKind::Subquery { .. } => {
                return Fault::invalid(expr.span, "a range vector cannot stand here");
            }
        };
        if let Value::Rows(rows) = &value {
            self.charge(rows.len() as u64 * self.steps.count as u64, expr.span)?;
        }
        Ok(value)
    }

    fn rows(&self, expr: &Expr) -> Outcome<Vec<Row>> {
        match self.eval(expr)? {
            Value::Rows(rows) => Ok(rows),
            _ => Fault::invalid(expr.span, "expected an instant vector"),
        }
    }

    fn scalars(&self, expr: &Expr) -> Outcome<Vec<f64>> {
        match self.eval(expr)? {
            Value::Scalar(values) => Ok(values),
            _ => Fault::invalid(expr.span, "expected a scalar"),
        }
    }

    fn text(&self, expr: &Expr) -> Outcome<String> {
        match self.eval(expr)? {
            Value::Text(text) => Ok(text),
            _ => Fault::invalid(expr.span, "expected a string"),
        }
    }

    fn charge(&self, samples: u64, span: Span) -> Outcome<()> {
        let used = self.used.get().saturating_add(samples);
        self.used.set(used);
        if used > self.options.max_samples {
            let kind = ErrorKind::Limit {
                what: "samples",
                value: used,
                limit: self.options.max_samples,
            };
            return Err(Fault::new(kind, span));
        }
        Ok(())
    }

    /// The time a selector looks at in step `i`.
    fn shifted(&self, modifiers: Modifiers, i: usize) -> i64 {
        let base = match modifiers.at {
            None => self.steps.time(i),
            Some(At::Time(at_ms)) => at_ms,
            Some(At::Start) => self.query.start_ms,
            Some(At::End) => self.query_end_ms,
        };
        base - modifiers.offset_ms
    }

    /// Samples needed to look back `range_ms` (open end) at every step.
    fn select(&self, selector: &Selector, range_ms: i64, span: Span) -> Outcome<Vec<Series>> {
        let first = self.shifted(selector.modifiers, 0) - range_ms + 1;
        let last = self.shifted(selector.modifiers, self.steps.count.saturating_sub(1));
        let mut found = self
            .storage
            .select(&selector.matchers, first, last)
            .map_err(|error| Fault::new(ErrorKind::Storage(error), span))?;
        let samples: usize = found.iter().map(|s| s.timestamps.len()).sum();
        self.charge(samples as u64, span)?;
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(found)
    }

    /// The current sample of each series at each step, through `give(time, value)`.
    fn instants(
        &self,
        selector: &Selector,
        span: Span,
        give: impl Fn(i64, f64) -> f64,
    ) -> Outcome<Vec<Row>> {
        let lookback_ms = self.options.lookback_ms;
        let found = self.select(selector, lookback_ms, span)?;
        self.charge(found.len() as u64 * self.steps.count as u64, span)?;
        let mut rows = Vec::with_capacity(found.len());
        for series in found {
            let samples = series.timestamps.iter().zip(series.values.iter());
            let mut coming = samples.peekable();
            let mut current = None;
            let at_step = |i| {
                let at = self.shifted(selector.modifiers, i);
                while let Some((t, value)) = coming.next_if(|(t, _)| **t <= at) {
                    current = Some((*t, *value));
                }
                let (t, value) = current?;
                (t > at - lookback_ms && !is_stale(value)).then(|| give(t, value))
            };
            let row = Row {
                labels: series.labels,
                drop_name: false,
                values: (0..self.steps.count).map(at_step).collect(),
            };
            if !row.is_empty() {
                rows.push(row);
            }
        }
        Ok(rows)
    }

    fn ranges(&self, expr: &Expr) -> Outcome<Ranges> {
        match &expr.kind {
            ExprKind::Paren(inner) => self.ranges(inner),
            ExprKind::Range { selector, range_ms } => {
                let found = self.select(selector, *range_ms, expr.span)?;
                let rows = found.into_iter().map(|series| {
                    let samples = series.timestamps.iter().zip(series.values.iter());
                    let live = samples.filter(|(_, value)| !is_stale(**value));
                    let (timestamps, values) = live.map(|(t, value)| (*t, *value)).unzip();
                    RangeRow {
                        labels: series.labels,
                        drop_name: false,
                        timestamps,
                        values,
                    }
                });
                Ok(Ranges {
                    rows: rows.collect(),
                    range_ms: *range_ms,
                    modifiers: selector.modifiers,
                })
            }
            ExprKind::Subquery {
                expr: inner,
                range_ms,
                step_ms,
                modifiers,
            } => {
                let step_ms = step_ms.unwrap_or(self.options.subquery_step_ms).max(1);
                Ok(Ranges {
                    rows: self.subquery(inner, *range_ms, step_ms, *modifiers)?,
                    range_ms: *range_ms,
                    modifiers: *modifiers,
                })
            }
            _ => Fault::invalid(expr.span, "expected a range vector"),
        }
    }

    /// Evaluates at multiples of the step, so that neighbouring queries see the same times.
    fn subquery(
        &self,
        inner: &Expr,
        range_ms: i64,
        step_ms: i64,
        modifiers: Modifiers,
    ) -> Outcome<Vec<RangeRow>> {
        let before = self.shifted(modifiers, 0) - range_ms;
        let last = self.shifted(modifiers, self.steps.count.saturating_sub(1));
        let start_ms = (before.div_euclid(step_ms) + 1) * step_ms;
        if start_ms > last {
            return Ok(Vec::new());
        }
        let count = (last - start_ms) / step_ms + 1;
        self.charge(count as u64, inner.span)?;
        let steps = Steps {
            start_ms,
            step_ms,
            count: count as usize,
        };
        let evaluator = Evaluator { steps, ..*self };
        let rows = evaluator.rows(inner)?;
        let range_row = |row: Row| {
            let present = row.values.iter().enumerate();
            let (timestamps, values) = present
                .filter_map(|(i, value)| Some((steps.time(i), (*value)?)))
                .unzip();
            RangeRow {
                labels: row.labels,
                drop_name: row.drop_name,
                timestamps,
                values,
            }
        };
        Ok(rows.into_iter().map(range_row).collect())
    }

    /// The samples of a range vector at the first step, as they are.
    pub(crate) fn raw_matrix(&self, expr: &Expr) -> Outcome<Vec<RangeSeries>> {
        let ranges = self.ranges(expr)?;
        let end = self.shifted(ranges.modifiers, 0);
        let start = end - ranges.range_ms;
        let mut series: Vec<RangeSeries> = Vec::new();
        for row in ranges.rows {
            let samples = row.timestamps.iter().zip(&row.values);
            let samples: Vec<Sample> = samples
                .filter(|(t, _)| (start + 1..=end).contains(*t))
                .map(|(t, value)| Sample {
                    timestamp_ms: *t,
                    value: *value,
                })
                .collect();
            let labels = if row.drop_name {
                row.labels.without_name()
            } else {
                row.labels
            };
            if !samples.is_empty() {
                series.push(RangeSeries { labels, samples });
            }
        }
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        if series
            .windows(2)
            .any(|pair| pair[0].labels == pair[1].labels)
        {
            return Fault::execution(expr.span, SAME_LABELS);
        }
        Ok(series)
    }
}

const SAME_LABELS: &str = "vector cannot contain metrics with the same labelset";

/// Applies `f` to each value; the name goes.
fn map(rows: Vec<Row>, f: impl Fn(f64) -> f64) -> Vec<Row> {
    let apply = |mut row: Row| {
        row.drop_name = true;
        for value in row.values.iter_mut().flatten() {
            *value = f(*value);
        }
        row
    };
    rows.into_iter().map(apply).collect()
}

/// Joins rows of equal labels; two values at one step are an error.
fn merge(rows: Vec<Row>, span: Span) -> Outcome<Vec<Row>> {
    let mut merged: Vec<Row> = Vec::with_capacity(rows.len());
    let mut by_labels: HashMap<(Labels, bool), usize> = HashMap::new();
    for row in rows {
        let key = (row.labels.clone(), row.drop_name);
        let Some(at) = by_labels.get(&key) else {
            by_labels.insert(key, merged.len());
            merged.push(row);
            continue;
        };
        for (old, new) in merged[*at].values.iter_mut().zip(row.values) {
            if old.is_some() && new.is_some() {
                return Fault::execution(span, SAME_LABELS);
            }
            *old = old.or(new);
        }
    }
    Ok(merged)
}

/// Removes the names that are to go, and joins what becomes equal.
pub(crate) fn settle(mut rows: Vec<Row>, span: Span) -> Outcome<Vec<Row>> {
    for row in &mut rows {
        if std::mem::take(&mut row.drop_name) {
            row.labels = row.labels.without_name();
        }
    }
    merge(rows, span)
}
