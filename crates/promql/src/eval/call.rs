//! Function calls.

use super::aggregate::pick::by_value;
use super::classic::{self, Measure};
use super::over::OverCall;
use super::rows::{Row, Value, merge, without_empty};
use super::{Evaluator, natural, relabel};
use crate::ast::{Edges, Expr, ExprKind, ValueType};
use crate::column::{Column, Reading};
use crate::error::{Fault, Outcome};
use crate::functions::{Function, Kind, Special};
use crate::histogram::NanEffect;
use crate::note::Remark;
use crate::number::OpenMetrics;
use crate::storage::TYPE_LABEL;
use crate::{Histogram, Span};

/// Ends of names that tell a counter.
const COUNTER_SUFFIXES: [&str; 4] = ["_total", "_sum", "_count", "_bucket"];

impl Evaluator<'_> {
    pub(super) fn call(&self, function: &Function, args: &[Expr], span: Span) -> Outcome<Value> {
        check_edges(function, args)?;
        let rows = match function.kind {
            Kind::Math(f) => self.mapped(arg(args, 0, span)?, |column| column.map_floats(f))?,
            Kind::Date(f) => self.dates(args.first(), f)?,
            Kind::OfHistogram(f) => {
                let counts_only = !matches!(function.name, "histogram_stddev" | "histogram_stdvar");
                let evaluator = Self {
                    counts_only,
                    ..*self
                };
                evaluator.of_each_histogram(arg(args, 0, span)?, f)?
            }
            Kind::Over(f) => {
                self.over_floats(over_call(args, false, span)?, |window, _, _| Ok(f(window)))?
            }
            Kind::OverWith(f) => {
                let beside = args.iter().filter(|a| a.value_type() != ValueType::Matrix);
                let beside = beside.map(|a| self.scalars(a));
                let beside = beside.collect::<Outcome<Vec<Vec<f64>>>>()?;
                let call = over_call(args, false, span)?;
                let is_quantile = function.name == "quantile_over_time";
                self.over_floats(call, |window, scope, i| {
                    let scalars: Vec<f64> = beside.iter().map(|values| values[i]).collect();
                    if is_quantile {
                        scope.note_quantiles(&scalars);
                    }
                    f(window, &scalars)
                })?
            }
            Kind::Samples(f) => self.over_samples(over_call(args, false, span)?, f)?,
            Kind::SamplesNamed(f) => self.over_samples(over_call(args, true, span)?, f)?,
            Kind::Constant(number) => return Ok(Value::Scalar(vec![number; self.steps.count])),
            Kind::Special(special) => return self.special(special, args, span),
        };
        if matches!(function.name, "rate" | "increase") {
            self.note_non_counters(&rows, arg(args, 0, span)?.span);
        }
        Ok(Value::Rows(rows))
    }

    fn note_non_counters(&self, rows: &[Row], span: Span) {
        for row in rows {
            let metric = row.labels.name();
            let any_float = (0..self.steps.count).any(|i| row.column.float(i).is_some());
            if metric.is_empty() || !any_float {
                continue;
            }
            if self.options.type_and_unit_labels {
                let kind = row.labels.get(TYPE_LABEL).unwrap_or("");
                if !matches!(kind, "counter" | "histogram") {
                    self.note(&Remark::PossibleNonCounterType { metric, kind }, span);
                }
            } else if !COUNTER_SUFFIXES.iter().any(|end| metric.ends_with(end)) {
                self.note(&Remark::PossibleNonCounter(metric), span);
            }
        }
    }

    pub(super) fn times(&self) -> Vec<f64> {
        let seconds = |i| self.steps.time(i) as f64 / 1000.0;
        (0..self.steps.count).map(seconds).collect()
    }

    /// Numbers changed by `f`, without histograms; the name goes.
    fn mapped(&self, vector: &Expr, f: impl Fn(&mut Column)) -> Outcome<Vec<Row>> {
        let mut rows = self.rows(vector)?;
        for row in &mut rows {
            row.drop_name = true;
            row.column = std::mem::take(&mut row.column).without_histograms();
            f(&mut row.column);
        }
        Ok(without_empty(rows))
    }

    fn dates(&self, vector: Option<&Expr>, f: fn(i64) -> f64) -> Outcome<Vec<Row>> {
        let field = |seconds: f64| {
            if seconds.is_finite() {
                f(seconds as i64)
            } else {
                f64::NAN
            }
        };
        if let Some(vector) = vector {
            return self.mapped(vector, |column| column.map_floats(field));
        }
        let fields = self.times().into_iter().map(field).collect();
        Ok(vec![Row::unnamed(fields)])
    }

    fn of_each_histogram(&self, vector: &Expr, f: fn(&Histogram) -> f64) -> Outcome<Vec<Row>> {
        let rows = self.rows(vector)?.into_iter();
        let results = rows.filter(|row| row.column.has_histograms()).map(|row| {
            let mut column = Column::gaps(self.steps.count);
            for i in 0..self.steps.count {
                if let Some(histogram) = row.column.histogram(i) {
                    column.set_float(i, f(histogram));
                }
            }
            Row {
                drop_name: true,
                column,
                ..row
            }
        });
        Ok(without_empty(results.collect()))
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
            Special::MaxOf => return self.of_two(args, span, at_least),
            Special::MinOf => return self.of_two(args, span, at_most),
            Special::Scalar => return self.scalar(arg(args, 0, span)?),
            Special::Vector => vec![Row::unnamed(self.scalars(arg(args, 0, span)?)?)],
            Special::Absent => {
                let vector = arg(args, 0, span)?;
                self.absent(vector, &self.rows(vector)?)
            }
            Special::AbsentOverTime => {
                let call = over_call(args, false, span)?;
                let rows = self.over_samples(call, super::over::present)?;
                self.absent(call.range, &rows)
            }
            Special::Clamp | Special::ClampMax | Special::ClampMin | Special::Round => {
                self.bounded(special, args, span)?
            }
            Special::HistogramFraction => self.histogram_fraction(args, span)?,
            Special::HistogramQuantile => {
                let [q, vector] = args else {
                    return Fault::invalid(span, "histogram_quantile needs two arguments");
                };
                let quantiles = self.scalars(q)?;
                let rows = self.rows(vector)?;
                self.note_quantiles(&quantiles, q.span);
                self.quantiles(&rows, &quantiles, vector.span)?
            }
            Special::HistogramQuantiles => self.histogram_quantiles(args, span)?,
            Special::Info => self.info(args, span)?,
            Special::LabelJoin => self.label_join(args, span)?,
            Special::LabelReplace => self.label_replace(args, span)?,
            Special::Sort => self.sorted(arg(args, 0, span)?, false, span)?,
            Special::SortDesc => self.sorted(arg(args, 0, span)?, true, span)?,
            Special::SortByLabel => self.sorted_by_labels(args, false, span)?,
            Special::SortByLabelDesc => self.sorted_by_labels(args, true, span)?,
            Special::StartTimestamp => self.start_timestamp(arg(args, 0, span)?)?,
            Special::Timestamp => self.timestamp(arg(args, 0, span)?)?,
        };
        Ok(Value::Rows(rows))
    }

    fn constant_ms(&self, ms: i64) -> Value {
        Value::Scalar(vec![ms as f64 / 1000.0; self.steps.count])
    }

    fn of_two(&self, args: &[Expr], span: Span, f: fn(f64, f64) -> f64) -> Outcome<Value> {
        let left = self.scalars(arg(args, 0, span)?)?.into_iter();
        let right = self.scalars(arg(args, 1, span)?)?;
        Ok(Value::Scalar(
            left.zip(right).map(|(a, b)| f(a, b)).collect(),
        ))
    }

    /// Numbers kept between others, or rounded to multiples of another.
    fn bounded(&self, special: Special, args: &[Expr], span: Span) -> Outcome<Vec<Row>> {
        let scalars = args.iter().skip(1).map(|a| self.scalars(a));
        let scalars = scalars.collect::<Outcome<Vec<Vec<f64>>>>()?;
        let at = |n: usize, i: usize, default: f64| scalars.get(n).map_or(default, |s| s[i]);
        self.mapped(arg(args, 0, span)?, |column| {
            column.filter_map_floats(|i, value| match special {
                Special::ClampMax => Some(at_most(value, at(0, i, f64::INFINITY))),
                Special::ClampMin => Some(at_least(value, at(0, i, f64::NEG_INFINITY))),
                Special::Round => {
                    // Dividing by the inverse keeps decimal fractions exact.
                    let inverse = 1.0 / at(0, i, 1.0);
                    Some((value * inverse + 0.5).floor() / inverse)
                }
                _ => {
                    let (low, high) = (at(0, i, f64::NEG_INFINITY), at(1, i, f64::INFINITY));
                    let empty = high < low;
                    (!empty).then(|| at_least(at_most(value, high), low))
                }
            });
        })
    }

    fn scalar(&self, vector: &Expr) -> Outcome<Value> {
        let rows = self.rows(vector)?;
        let only = |i: usize| {
            let mut present = rows.iter().filter_map(|row| row.column.float(i));
            match (present.next(), present.next()) {
                (Some(value), None) => value,
                _ => f64::NAN,
            }
        };
        Ok(Value::Scalar((0..self.steps.count).map(only).collect()))
    }

    fn absent(&self, expr: &Expr, rows: &[Row]) -> Vec<Row> {
        let row = super::row_of(relabel::absent_labels(expr), self.steps.count, |i| {
            let there = rows.iter().any(|row| row.column.is_some(i));
            (!there).then_some(Reading::Float(1.0))
        });
        without_empty(vec![row])
    }

    fn note_sort(&self, span: Span) {
        if self.query.count > 1 {
            self.note(&Remark::IneffectiveSort, span);
        }
    }

    /// Orders the only step of an instant query; a range query's result is ordered by labels anyway.
    fn sorted(&self, vector: &Expr, descending: bool, span: Span) -> Outcome<Vec<Row>> {
        self.note_sort(span);
        let mut rows = self.rows(vector)?;
        for row in &mut rows {
            row.column = std::mem::take(&mut row.column).without_histograms();
        }
        let mut rows = without_empty(rows);
        if self.steps.count == 1 {
            let value = |row: &Row| row.column.float(0).unwrap_or(f64::NAN);
            rows.sort_by(|a, b| by_value(value(a), value(b), descending));
        }
        Ok(rows)
    }

    fn sorted_by_labels(&self, args: &[Expr], descending: bool, span: Span) -> Outcome<Vec<Row>> {
        self.note_sort(span);
        let names = args.iter().skip(1).map(|a| self.text(a));
        let names = names.collect::<Outcome<Vec<String>>>()?;
        let mut rows = self.rows(arg(args, 0, span)?)?;
        rows.sort_by(|a, b| {
            let by_names = names.iter().map(|name| {
                let (a, b) = (a.labels.get(name), b.labels.get(name));
                natural::compare(a.unwrap_or(""), b.unwrap_or(""))
            });
            let order = by_names.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then);
            let order = order.then_with(|| a.labels.cmp(&b.labels));
            if descending { order.reverse() } else { order }
        });
        Ok(rows)
    }

    /// Of a selector the samples' own times, of anything else the step's.
    fn timestamp(&self, vector: &Expr) -> Outcome<Vec<Row>> {
        let mut rows = match &vector.unwrapped().kind {
            ExprKind::Selector(selector) if selector.edges == Edges::Plain => {
                self.instants_with(selector, vector.span, |series, at| {
                    Some(Reading::Float(series.timestamps[at] as f64 / 1000.0))
                })?
            }
            _ => {
                let times = self.times();
                let rows = self.rows(vector)?.into_iter();
                let timed = rows.map(|row| {
                    super::row_of(row.labels, self.steps.count, |i| {
                        row.column.is_some(i).then_some(Reading::Float(times[i]))
                    })
                });
                timed.collect()
            }
        };
        for row in &mut rows {
            row.drop_name = true;
        }
        Ok(rows)
    }

    /// Since when the samples of a selector count; of anything else nothing is known.
    fn start_timestamp(&self, vector: &Expr) -> Outcome<Vec<Row>> {
        let ExprKind::Selector(selector) = &vector.unwrapped().kind else {
            self.rows(vector)?;
            return Ok(Vec::new());
        };
        let mut rows = self.instants_with(selector, vector.span, |series, at| {
            let start_ms = series.start_timestamps.as_ref()?[at];
            Some(Reading::Float(start_ms as f64 / 1000.0))
        })?;
        for row in &mut rows {
            row.drop_name = true;
        }
        Ok(rows)
    }

    fn quantiles(&self, rows: &[Row], quantiles: &[f64], vector: Span) -> Outcome<Vec<Row>> {
        let measure = Measure {
            of_classic: &|i, buckets, metric| {
                let (value, fell) = classic::quantile(quantiles[i], buckets);
                if let Some(largest) = fell {
                    self.note(&Remark::ForcedMonotonicity { metric, largest }, vector);
                }
                value
            },
            of_native: &|i, histogram, metric| {
                let (value, effect) = histogram.quantile(quantiles[i]);
                match effect {
                    NanEffect::None => {}
                    NanEffect::Result => self.note(&Remark::QuantileNan(metric), vector),
                    NanEffect::Skew => self.note(&Remark::QuantileSkewed(metric), vector),
                }
                value
            },
            vector,
        };
        self.of_histograms(rows, &measure)
    }

    fn histogram_quantiles(&self, args: &[Expr], span: Span) -> Outcome<Vec<Row>> {
        let [vector, label, quantiles @ ..] = args else {
            return Fault::invalid(span, "histogram_quantiles needs at least three arguments");
        };
        let label = self.text(label)?;
        let rows = self.rows(vector)?;
        let mut results = Vec::new();
        for quantile in quantiles {
            let values = self.scalars(quantile)?;
            self.note_quantiles(&values, quantile.span);
            let found = self.quantiles(&rows, &values, vector.span)?;
            for row in found {
                // The label tells the step's own quantile, should it change from step to step.
                for i in (0..self.steps.count).filter(|i| row.column.is_some(*i)) {
                    let mut one = row.emptied(self.steps);
                    one.labels = row.labels.with(&label, &OpenMetrics(values[i]).to_string());
                    if let Some(value) = row.column.float(i) {
                        one.column.set_float(i, value);
                    }
                    results.push(one);
                }
            }
        }
        merge(results, span)
    }

    fn histogram_fraction(&self, args: &[Expr], span: Span) -> Outcome<Vec<Row>> {
        let [lower, upper, vector] = args else {
            return Fault::invalid(span, "histogram_fraction needs three arguments");
        };
        let (lower, upper) = (self.scalars(lower)?, self.scalars(upper)?);
        let rows = self.rows(vector)?;
        let measure = Measure {
            of_classic: &|i, buckets, _| classic::fraction(lower[i], upper[i], &buckets),
            of_native: &|i, histogram, metric| {
                if histogram.sum.is_nan() && histogram.count != 0.0 {
                    self.note(&Remark::FractionWithoutNan(metric), vector.span);
                }
                histogram.fraction(lower[i], upper[i])
            },
            vector: vector.span,
        };
        self.of_histograms(&rows, &measure)
    }
}

fn arg(args: &[Expr], at: usize, span: Span) -> Outcome<&Expr> {
    match args.get(at) {
        Some(arg) => Ok(arg),
        None => Fault::invalid(span, format!("argument {} is missing", at + 1)),
    }
}

fn over_call(args: &[Expr], keeps_name: bool, span: Span) -> Outcome<OverCall<'_>> {
    let noted = arg(args, 0, span)?.span;
    match args.iter().find(|a| a.value_type() == ValueType::Matrix) {
        Some(range) => Ok(OverCall {
            range,
            noted,
            keeps_name,
        }),
        None => Fault::invalid(span, "expected a range vector"),
    }
}

/// Only functions that look at both ends of a range know what to do with values at its edges.
fn check_edges(function: &Function, args: &[Expr]) -> Outcome<()> {
    const ANCHORED: [&str; 5] = ["changes", "delta", "increase", "rate", "resets"];
    const SMOOTHED: [&str; 3] = ["delta", "increase", "rate"];
    for arg in args {
        let ExprKind::Range { selector, .. } = &arg.unwrapped().kind else {
            continue;
        };
        let (word, allowed) = match selector.edges {
            Edges::Plain => continue,
            Edges::Anchored => ("anchored", &ANCHORED[..]),
            Edges::Smoothed => ("smoothed", &SMOOTHED[..]),
        };
        if !allowed.contains(&function.name) {
            let message = format!(
                "{word} modifier can only be used with: {} - not with {}",
                allowed.join(", "),
                function.name
            );
            return Fault::execution(arg.span, message);
        }
    }
    Ok(())
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
