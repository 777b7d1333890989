//! Aggregations that pick series instead of making new ones: `topk`, `bottomk`, `limitk`, `limit_ratio`.

use super::{Members, groups};
use crate::Span;
use crate::ast::{Aggregate, AggregateOp};
use crate::column::Point;
use crate::error::{Fault, Outcome};
use crate::eval::Evaluator;
use crate::eval::rows::{Row, without_empty};
use crate::note::Remark;
use std::cmp::Ordering;

/// Numbers of series beyond which Prometheus refuses, because they are none of its integers.
const LARGEST_INTEGER: f64 = 9_223_372_036_854_774_784.0;

impl Evaluator<'_> {
    /// At a single step in the order of picking.
    pub(super) fn picked(
        &self,
        aggregate: &Aggregate,
        rows: &[Row],
        limits: &[f64],
        span: Span,
    ) -> Outcome<Vec<Row>> {
        if limits.iter().all(|k| *k < 1.0) {
            return Ok(Vec::new());
        }
        if limits.iter().any(|k| k.is_nan()) {
            return Fault::execution(span, "Parameter value is NaN");
        }
        if let Some(k) = limits.iter().find(|k| k.abs() >= LARGEST_INTEGER) {
            let message = format!("Scalar value {k} is beyond the 64-bit integers");
            return Fault::execution(span, message);
        }
        let op = aggregate.op;
        if op != AggregateOp::Limitk && rows.iter().any(|row| row.column.has_histograms()) {
            let aggregation = op.name();
            self.note(&Remark::HistogramIgnored { aggregation }, span);
        }
        let mut results = Vec::new();
        for group in groups(aggregate, rows) {
            results.append(&mut self.picked_of(op, rows, &group, limits));
        }
        Ok(results)
    }

    fn picked_of(
        &self,
        op: AggregateOp,
        rows: &[Row],
        group: &Members,
        limits: &[f64],
    ) -> Vec<Row> {
        let mut kept: Vec<Option<Row>> = vec![None; group.rows.len()];
        let mut order: Vec<usize> = Vec::new();
        for (i, k) in limits.iter().enumerate() {
            let k = k.clamp(0.0, group.rows.len() as f64) as usize;
            let column = |at: &usize| &rows[group.rows[*at]].column;
            let members = 0..group.rows.len();
            let picked: Vec<usize> = if op == AggregateOp::Limitk {
                members.filter(|at| column(at).is_some(i)).take(k).collect()
            } else {
                let numbers = members.filter_map(|at| Some((at, column(&at).float(i)?)));
                let mut numbers: Vec<(usize, f64)> = numbers.collect();
                let largest = op == AggregateOp::Topk;
                numbers.sort_by(|a, b| by_value(a.1, b.1, largest));
                numbers.into_iter().take(k).map(|(at, _)| at).collect()
            };
            for at in picked {
                let source = &rows[group.rows[at]];
                let row = kept[at].get_or_insert_with(|| {
                    order.push(at);
                    source.emptied(self.steps)
                });
                if let Some(reading) = source.column.get(i).reading() {
                    row.column.set(i, reading);
                }
            }
        }
        order.into_iter().filter_map(|at| kept[at].take()).collect()
    }

    /// The series whose hash falls under the ratio; a negative ratio picks those that its complement leaves.
    pub(super) fn sampled(
        &self,
        mut rows: Vec<Row>,
        ratios: &[f64],
        span: Span,
    ) -> Outcome<Vec<Row>> {
        if ratios.iter().all(|ratio| *ratio == 0.0) {
            return Ok(Vec::new());
        }
        if ratios.iter().any(|ratio| ratio.is_nan()) {
            return Fault::execution(span, "Ratio value is NaN");
        }
        for ratio in ratios.iter().copied().filter(|ratio| ratio.abs() > 1.0) {
            let used = ratio.signum();
            self.note(&Remark::InvalidRatio { ratio, used }, span);
        }
        for row in &mut rows {
            let place = row.labels.sampling_hash() as f64 / u64::MAX as f64;
            for (i, ratio) in ratios.iter().enumerate() {
                let ratio = ratio.clamp(-1.0, 1.0);
                let taken = if ratio >= 0.0 {
                    place < ratio
                } else {
                    place >= 1.0 + ratio
                };
                if (!taken || ratio == 0.0) && !matches!(row.column.get(i), Point::Gap) {
                    row.column.clear(i);
                }
            }
        }
        Ok(without_empty(rows))
    }
}

/// NaN comes last either way.
pub(in crate::eval) fn by_value(a: f64, b: f64, descending: bool) -> Ordering {
    let order = a.partial_cmp(&b).unwrap_or(Ordering::Equal);
    a.is_nan()
        .cmp(&b.is_nan())
        .then(if descending { order.reverse() } else { order })
}
