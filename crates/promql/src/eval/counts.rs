//! Histograms of which only the count and the sum are asked for (`histogram_count`, `histogram_sum`,
//! `histogram_avg`).
//!
//! Guarantees: buckets are read once, to find resets, and are gone before any arithmetic; what is known of
//! resets stands in each sample instead. Only where nothing on the way needs buckets.

use crate::ast::{AggregateOp, BinaryOp, Expr, ExprKind};
use crate::{Histogram, ResetHint, Series};
use std::sync::Arc;

/// Functions that give the count and the sum of histograms by those of histograms alone.
const PASSING: [&str; 9] = [
    "avg_over_time",
    "delta",
    "first_over_time",
    "idelta",
    "increase",
    "irate",
    "last_over_time",
    "rate",
    "sum_over_time",
];

/// Whether a node's counts and sums follow from those of its children.
pub(super) fn passes_counts(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Selector(_)
        | ExprKind::Range { .. }
        | ExprKind::Paren(_)
        | ExprKind::Plus(_)
        | ExprKind::Negate(_) => true,
        ExprKind::Aggregate(aggregate) => {
            matches!(aggregate.op, AggregateOp::Sum | AggregateOp::Avg)
        }
        ExprKind::Binary(binary) => matches!(
            binary.op,
            BinaryOp::Add | BinaryOp::Subtract | BinaryOp::Multiply | BinaryOp::Divide
        ),
        ExprKind::Call { function, .. } => PASSING.contains(&function.name),
        ExprKind::Number { .. } | ExprKind::String(_) | ExprKind::Subquery { .. } => false,
    }
}

/// Leaves counts, sums, and what the buckets tell of resets.
pub(super) fn reduce(found: &mut [Series]) {
    for series in found {
        let Some(column) = &series.histograms else {
            continue;
        };
        let mut previous: Option<&Histogram> = None;
        let mut reduced: Vec<Option<Arc<Histogram>>> = Vec::with_capacity(column.len());
        for cell in column.iter() {
            let histogram = cell.as_deref();
            reduced.push(histogram.map(|h| Arc::new(without_buckets(h, previous))));
            previous = histogram;
        }
        series.histograms = Some(reduced.into());
    }
}

fn without_buckets(histogram: &Histogram, previous: Option<&Histogram>) -> Histogram {
    let hint = match (histogram.hint, previous) {
        (ResetHint::Unknown, Some(previous)) if histogram.is_reset_after(previous) => {
            ResetHint::Reset
        }
        (ResetHint::Unknown, Some(_)) => ResetHint::NotReset,
        (hint, _) => hint,
    };
    Histogram {
        schema: histogram.schema,
        hint,
        count: histogram.count,
        sum: histogram.sum,
        ..Histogram::default()
    }
}
