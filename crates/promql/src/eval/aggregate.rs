//! Aggregations over the series of a vector, step by step.

use super::window::{greater, lesser};
use super::{Evaluator, Row, kahan, merge};
use crate::ast::{Aggregate, AggregateOp};
use crate::error::{Fault, Outcome};
use crate::storage::METRIC_NAME;
use crate::{Labels, Span};
use std::cmp::Ordering;
use std::collections::HashMap;

struct Members {
    labels: Labels,
    drop_name: bool,
    rows: Vec<usize>,
}

impl Evaluator<'_> {
    pub(super) fn aggregate(&self, aggregate: &Aggregate, span: Span) -> Outcome<Vec<Row>> {
        let rows = self.rows(&aggregate.expr)?;
        let groups = groups(aggregate, &rows);
        let param = |what| match &aggregate.param {
            Some(param) => Ok(param),
            None => Fault::invalid(span, what),
        };
        match aggregate.op {
            AggregateOp::Topk | AggregateOp::Bottomk => {
                let limits = self.scalars(param("topk and bottomk need a number")?)?;
                if limits.iter().any(|k| k.is_nan()) {
                    return Fault::execution(span, "the number of series is NaN");
                }
                let largest = aggregate.op == AggregateOp::Topk;
                Ok(self.extremes(&rows, &groups, &limits, largest))
            }
            AggregateOp::CountValues => {
                let label = self.text(param("count_values needs a label")?)?;
                if label.is_empty() {
                    return Fault::execution(span, "count_values needs a label name");
                }
                merge(self.count_values(&rows, &groups, &label), span)
            }
            AggregateOp::Quantile => {
                let q = self.scalars(param("quantile needs a number")?)?;
                Ok(self.fold(&rows, groups, |i, values| {
                    Some(kahan::quantile(q[i], values))
                }))
            }
            op => Ok(self.fold(&rows, groups, |_, values| reduce(op, values))),
        }
    }

    fn fold(
        &self,
        rows: &[Row],
        groups: Vec<Members>,
        f: impl Fn(usize, &mut [f64]) -> Option<f64>,
    ) -> Vec<Row> {
        let mut values = Vec::new();
        let mut results = Vec::with_capacity(groups.len());
        for group in groups {
            let mut at_step = |i: usize| {
                values.clear();
                values.extend(group.rows.iter().filter_map(|row| rows[*row].values[i]));
                if values.is_empty() {
                    None
                } else {
                    f(i, &mut values)
                }
            };
            results.push(Row {
                labels: group.labels,
                drop_name: group.drop_name,
                values: (0..self.steps.count).map(&mut at_step).collect(),
            });
        }
        results.retain(|row| !row.is_empty());
        results
    }

    /// The `k` largest or smallest of each group and step; at a single step in that order.
    fn extremes(
        &self,
        rows: &[Row],
        groups: &[Members],
        limits: &[f64],
        largest: bool,
    ) -> Vec<Row> {
        let mut results = Vec::new();
        for group in groups {
            let mut kept: Vec<Option<Row>> = vec![None; group.rows.len()];
            let mut order: Vec<usize> = Vec::new();
            for (i, k) in limits.iter().enumerate() {
                let k = k.clamp(0.0, group.rows.len() as f64) as usize;
                let mut present: Vec<(usize, f64)> = (0..group.rows.len())
                    .filter_map(|at| Some((at, rows[group.rows[at]].values[i]?)))
                    .collect();
                present.sort_by(|a, b| by_value(a.1, b.1, largest));
                for (at, value) in present.into_iter().take(k) {
                    let row = kept[at].get_or_insert_with(|| {
                        order.push(at);
                        let source = &rows[group.rows[at]];
                        Row {
                            labels: source.labels.clone(),
                            drop_name: source.drop_name,
                            values: vec![None; self.steps.count],
                        }
                    });
                    row.values[i] = Some(value);
                }
            }
            results.extend(order.into_iter().filter_map(|at| kept[at].take()));
        }
        results
    }

    fn count_values(&self, rows: &[Row], groups: &[Members], label: &str) -> Vec<Row> {
        let mut results: Vec<Row> = Vec::new();
        for group in groups {
            let mut by_value: HashMap<String, usize> = HashMap::new();
            for row in &group.rows {
                for (i, value) in rows[*row].values.iter().enumerate() {
                    let Some(value) = value else { continue };
                    let at = *by_value.entry(written(*value)).or_insert_with_key(|text| {
                        results.push(Row {
                            labels: group.labels.with(label, text),
                            drop_name: group.drop_name,
                            values: vec![None; self.steps.count],
                        });
                        results.len() - 1
                    });
                    *results[at].values[i].get_or_insert(0.0) += 1.0;
                }
            }
        }
        results
    }
}

/// NaN comes last either way.
pub(super) fn by_value(a: f64, b: f64, descending: bool) -> Ordering {
    let order = a.partial_cmp(&b).unwrap_or(Ordering::Equal);
    a.is_nan()
        .cmp(&b.is_nan())
        .then(if descending { order.reverse() } else { order })
}

fn written(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.into();
    }
    format!("{value}")
}

fn reduce(op: AggregateOp, values: &[f64]) -> Option<f64> {
    let all = || values.iter().copied();
    match op {
        AggregateOp::Sum => kahan::sum(all()),
        AggregateOp::Avg => kahan::mean(all()),
        AggregateOp::Min => all().reduce(lesser),
        AggregateOp::Max => all().reduce(greater),
        AggregateOp::Count => Some(values.len() as f64),
        AggregateOp::Group => Some(1.0),
        AggregateOp::Stdvar => kahan::variance(all()),
        AggregateOp::Stddev => kahan::variance(all()).map(f64::sqrt),
        // These have an argument and their own code above.
        AggregateOp::Topk
        | AggregateOp::Bottomk
        | AggregateOp::Quantile
        | AggregateOp::CountValues => None,
    }
}

fn groups(aggregate: &Aggregate, rows: &[Row]) -> Vec<Members> {
    let listed = |name: &str| aggregate.labels.iter().any(|l| l == name);
    let mut groups: Vec<Members> = Vec::new();
    let mut by_labels: HashMap<Labels, usize> = HashMap::new();
    for (at, row) in rows.iter().enumerate() {
        let labels = if aggregate.without {
            row.labels
                .filtered(|name| name != METRIC_NAME && !listed(name))
        } else {
            row.labels.filtered(listed)
        };
        let named = labels.get(METRIC_NAME).is_some();
        let group = *by_labels.entry(labels).or_insert_with_key(|labels| {
            groups.push(Members {
                labels: labels.clone(),
                drop_name: false,
                rows: Vec::new(),
            });
            groups.len() - 1
        });
        groups[group].rows.push(at);
        groups[group].drop_name |= named && row.drop_name;
    }
    groups
}
