//! Aggregations over the series of a vector, step by step.
//!
//! Guarantees: series of numbers are walked column by column. Histograms take part in sums, averages and
//! counts; where only numbers make sense they are left out, and an info says so.

use super::rows::{Row, merge, without_empty};
use super::window::{greater, lesser};
use super::{Evaluator, kahan, row_of};
use crate::ast::{Aggregate, AggregateOp};
use crate::column::{Column, Point, Reading};
use crate::error::{Fault, Outcome};
use crate::histogram::Tally;
use crate::note::{During, Remark};
use crate::number::Plain;
use crate::storage::METRIC_NAME;
use crate::{Labels, Span};
use std::collections::HashMap;

pub(super) mod pick;

struct Members {
    labels: Labels,
    drop_name: bool,
    rows: Vec<usize>,
}

impl Evaluator<'_> {
    pub(super) fn aggregate(&self, aggregate: &Aggregate, span: Span) -> Outcome<Vec<Row>> {
        let param = aggregate.param.as_ref();
        let given = |what| match param {
            Some(param) => Ok(param),
            None => Fault::invalid(span, what),
        };
        match aggregate.op {
            AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk => {
                let limits = self.scalars(given("the number of series is missing")?)?;
                let rows = self.rows(&aggregate.expr)?;
                self.picked(aggregate, &rows, &limits, span)
            }
            AggregateOp::LimitRatio => {
                let param = given("the ratio is missing")?;
                let ratios = self.scalars(param)?;
                let rows = self.rows(&aggregate.expr)?;
                self.sampled(rows, &ratios, param.span)
            }
            AggregateOp::CountValues => {
                let label = self.text(given("the label is missing")?)?;
                if label.is_empty() {
                    return Fault::execution(span, "invalid label name \"\"");
                }
                let rows = self.rows(&aggregate.expr)?;
                merge(self.count_values(aggregate, &rows, &label), span)
            }
            AggregateOp::Quantile => {
                let param = given("the quantile is missing")?;
                let quantiles = self.scalars(param)?;
                let rows = self.rows(&aggregate.expr)?;
                self.note_quantiles(&quantiles, param.span);
                Ok(self.fold(aggregate, &rows, |i, values| {
                    Some(kahan::quantile(quantiles[i], values))
                }))
            }
            AggregateOp::Stddev => self.folded(aggregate, |v| kahan::variance(v).map(f64::sqrt)),
            AggregateOp::Stdvar => self.folded(aggregate, kahan::variance),
            AggregateOp::Sum
            | AggregateOp::Avg
            | AggregateOp::Min
            | AggregateOp::Max
            | AggregateOp::Count
            | AggregateOp::Group => {
                let rows = self.rows(&aggregate.expr)?;
                Ok(self.reduced(aggregate, &rows))
            }
        }
    }

    pub(super) fn note_quantiles(&self, quantiles: &[f64], span: Span) {
        for q in quantiles {
            if !(0.0..=1.0).contains(q) {
                self.note(&Remark::InvalidQuantile(*q), span);
            }
        }
    }

    fn folded(
        &self,
        aggregate: &Aggregate,
        f: impl Fn(Vec<f64>) -> Option<f64>,
    ) -> Outcome<Vec<Row>> {
        let rows = self.rows(&aggregate.expr)?;
        Ok(self.fold(aggregate, &rows, |_, values| f(values.clone())))
    }

    /// Gathers the numbers of each group and step.
    fn fold(
        &self,
        aggregate: &Aggregate,
        rows: &[Row],
        f: impl Fn(usize, &mut Vec<f64>) -> Option<f64>,
    ) -> Vec<Row> {
        self.note_ignored(aggregate, rows);
        let mut values = Vec::new();
        let groups = groups(aggregate, rows).into_iter();
        let results = groups.map(|group| {
            let mut row = row_of(group.labels, self.steps.count, |i| {
                values.clear();
                let members = group.rows.iter();
                values.extend(members.filter_map(|row| rows[*row].column.float(i)));
                if values.is_empty() {
                    return None;
                }
                f(i, &mut values).map(Reading::Float)
            });
            row.drop_name = group.drop_name;
            row
        });
        without_empty(results.collect())
    }

    fn note_ignored(&self, aggregate: &Aggregate, rows: &[Row]) {
        if rows.iter().any(|row| row.column.has_histograms()) {
            let remark = Remark::HistogramIgnored {
                aggregation: aggregate.op.name(),
            };
            self.note(&remark, aggregate.expr.span);
        }
    }

    fn reduced(&self, aggregate: &Aggregate, rows: &[Row]) -> Vec<Row> {
        let takes_histograms = !matches!(aggregate.op, AggregateOp::Min | AggregateOp::Max);
        if !takes_histograms {
            self.note_ignored(aggregate, rows);
        }
        let groups = groups(aggregate, rows).into_iter();
        let results = groups.map(|group| {
            let members: Vec<&Row> = group.rows.iter().map(|row| &rows[*row]).collect();
            let any = members.iter().any(|row| row.column.has_histograms());
            let column = if any && takes_histograms {
                self.reduced_samples(aggregate, &members)
            } else {
                reduced_floats(aggregate.op, &members, self.steps.count)
            };
            Row {
                labels: group.labels,
                drop_name: group.drop_name,
                column,
            }
        });
        without_empty(results.collect())
    }

    /// Where some members have histograms.
    fn reduced_samples(&self, aggregate: &Aggregate, members: &[&Row]) -> Column {
        let mut column = Column::gaps(self.steps.count);
        for i in 0..self.steps.count {
            let present = members.iter().filter(|row| row.column.is_some(i));
            let present: Vec<&Row> = present.copied().collect();
            let reading = match aggregate.op {
                _ if present.is_empty() => None,
                AggregateOp::Count => Some(Reading::Float(present.len() as f64)),
                AggregateOp::Group => Some(Reading::Float(1.0)),
                op => self.total(aggregate, op == AggregateOp::Avg, (&present, i)),
            };
            if let Some(reading) = reading {
                column.set(i, reading);
            }
        }
        column
    }

    /// The sum or mean of what is there at a step, all numbers or all histograms.
    fn total(
        &self,
        aggregate: &Aggregate,
        mean: bool,
        (present, i): (&[&Row], usize),
    ) -> Option<Reading> {
        let span = aggregate.expr.span;
        let floats: Vec<f64> = present
            .iter()
            .filter_map(|row| row.column.float(i))
            .collect();
        if !floats.is_empty() && floats.len() < present.len() {
            self.note(&Remark::MixedFloatsHistogramsAggregated, span);
            return None;
        }
        if !floats.is_empty() {
            let total = if mean {
                kahan::mean(floats)
            } else {
                kahan::sum(floats)
            };
            return total.map(Reading::Float);
        }
        let mut tally: Option<Tally> = None;
        for row in present {
            let Some(histogram) = row.column.histogram(i) else {
                continue;
            };
            let added = match &mut tally {
                None => {
                    tally = Some(Tally::new(histogram));
                    Ok(())
                }
                Some(tally) if mean => tally.average_in(histogram),
                Some(tally) => tally.add(histogram),
            };
            if added.is_err() {
                self.note(&Remark::MixedSchemas(row.labels.name()), span);
                return None;
            }
        }
        let tally = tally?;
        if tally.collided() {
            self.note(&Remark::ResetCollision(During::Aggregation), span);
        }
        if tally.reconciled() {
            self.note(&Remark::MismatchedBounds(During::Aggregation), span);
        }
        let total = if mean { tally.mean() } else { tally.sum() };
        Some(total.compact().into())
    }

    fn count_values(&self, aggregate: &Aggregate, rows: &[Row], label: &str) -> Vec<Row> {
        let mut results: Vec<Row> = Vec::new();
        let mut by_labels: HashMap<Labels, usize> = HashMap::new();
        for row in rows {
            for i in 0..self.steps.count {
                let text = match row.column.get(i) {
                    Point::Gap => continue,
                    Point::Float(value) => Plain(value).to_string(),
                    Point::Histogram(histogram) => histogram.to_string(),
                };
                let labelled = row.labels.with(label, &text);
                let grouped = |name: &str| name == label && !aggregate.without;
                let labels = labelled.filtered(|name| keeps(aggregate, name) || grouped(name));
                let at = *by_labels.entry(labels).or_insert_with_key(|labels| {
                    results.push(Row {
                        labels: labels.clone(),
                        drop_name: false,
                        column: Column::gaps(self.steps.count),
                    });
                    results.len() - 1
                });
                let count = results[at].column.float(i).unwrap_or(0.0);
                results[at].column.set_float(i, count + 1.0);
            }
        }
        results
    }
}

fn reduced_floats(op: AggregateOp, members: &[&Row], len: usize) -> Column {
    match op {
        AggregateOp::Sum => summed(members, len),
        AggregateOp::Avg => averaged(members, len),
        AggregateOp::Min => joined(members, len, |v| v, lesser),
        AggregateOp::Max => joined(members, len, |v| v, greater),
        AggregateOp::Count => joined(members, len, |_| 1.0, |a, b| a + b),
        _ => joined(members, len, |_| 1.0, |_, _| 1.0),
    }
}

/// Column by column: `start` makes a value of the first number, `join` takes in the others.
fn joined(
    members: &[&Row],
    len: usize,
    start: impl Fn(f64) -> f64,
    join: impl Fn(f64, f64) -> f64,
) -> Column {
    let mut result = Column::gaps(len);
    for row in members {
        for i in 0..len {
            let Some(value) = row.column.float(i) else {
                continue;
            };
            let joined = match result.float(i) {
                Some(so_far) => join(so_far, start(value)),
                None => start(value),
            };
            result.set_float(i, joined);
        }
    }
    result
}

fn summed(members: &[&Row], len: usize) -> Column {
    let mut sums = vec![kahan::Sum::default(); len];
    let mut seen = Column::gaps(len);
    for row in members {
        for (i, sum) in sums.iter_mut().enumerate() {
            if let Some(value) = row.column.float(i) {
                sum.add(value);
                seen.set_float(i, 0.0);
            }
        }
    }
    seen.filter_map_floats(|i, _| Some(sums[i].total()));
    seen
}

fn averaged(members: &[&Row], len: usize) -> Column {
    let mut result = Column::gaps(len);
    for i in 0..len {
        let values = members.iter().filter_map(|row| row.column.float(i));
        if let Some(mean) = kahan::mean(values) {
            result.set_float(i, mean);
        }
    }
    result
}

/// Whether a label stays in the result.
pub(crate) fn keeps(aggregate: &Aggregate, name: &str) -> bool {
    let listed = aggregate.labels.iter().any(|label| label == name);
    if aggregate.without {
        name != METRIC_NAME && !listed
    } else {
        listed
    }
}

fn groups(aggregate: &Aggregate, rows: &[Row]) -> Vec<Members> {
    let mut groups: Vec<Members> = Vec::new();
    let mut by_labels: HashMap<Labels, usize> = HashMap::new();
    for (at, row) in rows.iter().enumerate() {
        let labels = row.labels.filtered(|name| keeps(aggregate, name));
        let group = *by_labels.entry(labels).or_insert_with_key(|labels| {
            groups.push(Members {
                labels: labels.clone(),
                drop_name: false,
                rows: Vec::new(),
            });
            groups.len() - 1
        });
        groups[group].rows.push(at);
        groups[group].drop_name |= row.drop_name;
    }
    groups
}
