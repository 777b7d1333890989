//! Function calls.

use super::aggregate::by_value;
use super::window::Window;
use super::{Evaluator, Row, Value, histogram, map, relabel};
use crate::Span;
use crate::ast::{Expr, ExprKind, ValueType};
use crate::error::{Fault, Outcome};
use crate::functions::{Function, Kind, Special};

impl Evaluator<'_> {
    pub(super) fn call(&self, function: &Function, args: &[Expr], span: Span) -> Outcome<Value> {
        let rows = match function.kind {
            Kind::Math(f) => map(self.rows(arg(args, 0, span)?)?, f),
            Kind::Date(f) => {
                let rows = match args.first() {
                    Some(vector) => self.rows(vector)?,
                    None => vec![Self::row_of(self.times())],
                };
                map(rows, |seconds| {
                    if seconds.is_finite() {
                        f(seconds as i64)
                    } else {
                        f64::NAN
                    }
                })
            }
            Kind::Over(f) => self.over(arg(args, 0, span)?, true, span, |w, _| Ok(f(w)))?,
            Kind::OverNamed(f) => self.over(arg(args, 0, span)?, false, span, |w, _| Ok(f(w)))?,
            Kind::OverWith(f) => {
                let is_range = |a: &&Expr| a.value_type() == ValueType::Matrix;
                let Some(range) = args.iter().find(is_range) else {
                    return Fault::invalid(span, "expected a range vector");
                };
                let beside = args.iter().filter(|a| !is_range(a));
                let beside = beside
                    .map(|a| self.scalars(a))
                    .collect::<Outcome<Vec<Vec<f64>>>>()?;
                self.over(range, true, span, |w, i| {
                    let scalars: Vec<f64> = beside.iter().map(|values| values[i]).collect();
                    f(w, &scalars)
                })?
            }
            Kind::Constant(number) => return Ok(Value::Scalar(vec![number; self.steps.count])),
            Kind::Special(special) => return self.special(special, args, span),
        };
        Ok(Value::Rows(rows))
    }

    fn times(&self) -> Vec<f64> {
        let seconds = |i| self.steps.time(i) as f64 / 1000.0;
        (0..self.steps.count).map(seconds).collect()
    }

    fn row_of(values: Vec<f64>) -> Row {
        Row::unnamed(values.into_iter().map(Some).collect())
    }

    /// Applies `f(window, step)` to each range that has a sample.
    fn over(
        &self,
        range: &Expr,
        drops_name: bool,
        span: Span,
        f: impl Fn(&Window<'_>, usize) -> Result<Option<f64>, String>,
    ) -> Outcome<Vec<Row>> {
        let ranges = self.ranges(range)?;
        self.charge(ranges.rows.len() as u64 * self.steps.count as u64, span)?;
        let mut rows = Vec::with_capacity(ranges.rows.len());
        for source in ranges.rows {
            let mut values = vec![None; self.steps.count];
            let (mut from, mut to) = (0, 0);
            for (i, slot) in values.iter_mut().enumerate() {
                let end_ms = self.shifted(ranges.modifiers, i);
                let start_ms = end_ms - ranges.range_ms;
                let times = &source.timestamps;
                while times.get(to).is_some_and(|t| *t <= end_ms) {
                    to += 1;
                }
                while from < to && times[from] <= start_ms {
                    from += 1;
                }
                if from == to {
                    continue;
                }
                let window = Window {
                    timestamps: &times[from..to],
                    values: &source.values[from..to],
                    start_ms,
                    end_ms,
                    eval_ms: self.steps.time(i),
                };
                *slot = match f(&window, i) {
                    Ok(value) => value,
                    Err(message) => return Fault::execution(span, message),
                };
            }
            let row = Row {
                labels: source.labels,
                drop_name: source.drop_name || drops_name,
                values,
            };
            if !row.is_empty() {
                rows.push(row);
            }
        }
        Ok(rows)
    }

    fn special(&self, special: Special, args: &[Expr], span: Span) -> Outcome<Value> {
        let rows = match special {
            Special::Time => return Ok(Value::Scalar(self.times())),
            Special::Start => return Ok(self.constant_ms(self.query.start_ms)),
            Special::End => return Ok(self.constant_ms(self.query_end_ms)),
            Special::Step => return Ok(self.constant_ms(self.query.step_ms)),
            Special::Range => {
                return Ok(self.constant_ms(self.query_end_ms - self.query.start_ms));
            }
            Special::Scalar => return self.scalar(arg(args, 0, span)?),
            Special::Vector => vec![Self::row_of(self.scalars(arg(args, 0, span)?)?)],
            Special::Absent => {
                let vector = arg(args, 0, span)?;
                self.absent(vector, &self.rows(vector)?)
            }
            Special::AbsentOverTime => {
                let range = arg(args, 0, span)?;
                let rows = self.over(range, true, span, |_, _| Ok(Some(1.0)))?;
                self.absent(range, &rows)
            }
            Special::Clamp => {
                let low = self.scalars(arg(args, 1, span)?)?;
                let high = self.scalars(arg(args, 2, span)?)?;
                self.each(arg(args, 0, span)?, |i, v| {
                    (low[i] <= high[i] || low[i].is_nan() || high[i].is_nan())
                        .then(|| at_least(at_most(v, high[i]), low[i]))
                })?
            }
            Special::ClampMax => {
                let high = self.scalars(arg(args, 1, span)?)?;
                self.each(arg(args, 0, span)?, |i, v| Some(at_most(v, high[i])))?
            }
            Special::ClampMin => {
                let low = self.scalars(arg(args, 1, span)?)?;
                self.each(arg(args, 0, span)?, |i, v| Some(at_least(v, low[i])))?
            }
            Special::Round => {
                let nearest = match args.get(1) {
                    Some(nearest) => self.scalars(nearest)?,
                    None => vec![1.0; self.steps.count],
                };
                // Dividing by the inverse keeps decimal fractions exact.
                self.each(arg(args, 0, span)?, |i, v| {
                    let inverse = 1.0 / nearest[i];
                    Some((v * inverse + 0.5).floor() / inverse)
                })?
            }
            Special::HistogramQuantile => {
                let quantiles = self.scalars(arg(args, 0, span)?)?;
                histogram::quantile(&self.rows(arg(args, 1, span)?)?, &quantiles)
            }
            Special::LabelJoin => self.label_join(args, span)?,
            Special::LabelReplace => self.label_replace(args, span)?,
            Special::Sort => self.sorted(arg(args, 0, span)?, false)?,
            Special::SortDesc => self.sorted(arg(args, 0, span)?, true)?,
            Special::Timestamp => self.timestamp(arg(args, 0, span)?)?,
        };
        Ok(Value::Rows(rows))
    }

    fn constant_ms(&self, ms: i64) -> Value {
        Value::Scalar(vec![ms as f64 / 1000.0; self.steps.count])
    }

    /// Applies `f(step, value)`; the name goes.
    fn each(&self, vector: &Expr, f: impl Fn(usize, f64) -> Option<f64>) -> Outcome<Vec<Row>> {
        let mut rows = self.rows(vector)?;
        for row in &mut rows {
            row.drop_name = true;
            for (i, value) in row.values.iter_mut().enumerate() {
                *value = value.and_then(|v| f(i, v));
            }
        }
        rows.retain(|row| !row.is_empty());
        Ok(rows)
    }

    fn scalar(&self, vector: &Expr) -> Outcome<Value> {
        let rows = self.rows(vector)?;
        let only = |i: usize| {
            let mut present = rows.iter().filter_map(|row| row.values[i]);
            match (present.next(), present.next()) {
                (Some(value), None) => value,
                _ => f64::NAN,
            }
        };
        Ok(Value::Scalar((0..self.steps.count).map(only).collect()))
    }

    fn absent(&self, expr: &Expr, rows: &[Row]) -> Vec<Row> {
        let missing = |i: usize| {
            let there = rows.iter().any(|row| row.values[i].is_some());
            (!there).then_some(1.0)
        };
        let row = Row {
            labels: relabel::absent_labels(expr),
            drop_name: false,
            values: (0..self.steps.count).map(missing).collect(),
        };
        if row.is_empty() {
            return Vec::new();
        }
        vec![row]
    }

    /// Orders the only step of an instant query; a range query's result is ordered by labels anyway.
    fn sorted(&self, vector: &Expr, descending: bool) -> Outcome<Vec<Row>> {
        let mut rows = self.rows(vector)?;
        if self.steps.count == 1 {
            let value = |row: &Row| row.values[0].unwrap_or(f64::NAN);
            rows.sort_by(|a, b| by_value(value(a), value(b), descending));
        }
        Ok(rows)
    }

    /// Of a selector the samples' own times, of anything else the step's.
    fn timestamp(&self, vector: &Expr) -> Outcome<Vec<Row>> {
        if let ExprKind::Selector(selector) = &vector.unwrapped().kind {
            let rows = self.instants(selector, vector.span, |t, _| t as f64 / 1000.0)?;
            return Ok(map(rows, |v| v));
        }
        let times = self.times();
        self.each(vector, |i, _| Some(times[i]))
    }
}

fn arg(args: &[Expr], at: usize, span: Span) -> Outcome<&Expr> {
    match args.get(at) {
        Some(arg) => Ok(arg),
        None => Fault::invalid(span, format!("argument {} is missing", at + 1)),
    }
}

/// The greater, NaN if either is.
fn at_least(value: f64, low: f64) -> f64 {
    if value.is_nan() || low.is_nan() {
        return f64::NAN;
    }
    value.max(low)
}

/// The lesser, NaN if either is.
fn at_most(value: f64, high: f64) -> f64 {
    if value.is_nan() || high.is_nan() {
        return f64::NAN;
    }
    value.min(high)
}
