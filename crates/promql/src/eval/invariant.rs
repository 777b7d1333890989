//! Which expressions have the same value at every step.

use crate::ast::{Expr, ExprKind};

/// Functions whose value depends on the step's own time, or on when what they are given was taken.
const DEPEND_ON_TIME: [&str; 11] = [
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "days_in_month",
    "hour",
    "minute",
    "month",
    "predict_linear",
    "time",
    "timestamp",
    "year",
];

/// Whether a node selects, and everything it selects is pinned by `@`.
pub(super) fn is_step_invariant(expr: &Expr) -> bool {
    selects(expr) && is_pinned(expr)
}

fn selects(expr: &Expr) -> bool {
    let is_selector = matches!(expr.kind, ExprKind::Selector(_) | ExprKind::Range { .. });
    is_selector || expr.children().into_iter().any(selects)
}

fn is_pinned(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Selector(selector) | ExprKind::Range { selector, .. } => {
            selector.modifiers.at.is_some()
        }
        // Its own steps follow the clock, whatever is pinned inside.
        ExprKind::Subquery { modifiers, .. } => modifiers.at.is_some(),
        ExprKind::Call { function, args } => {
            !DEPEND_ON_TIME.contains(&function.name) && args.iter().all(is_pinned)
        }
        ExprKind::Number { .. }
        | ExprKind::String(_)
        | ExprKind::Paren(_)
        | ExprKind::Plus(_)
        | ExprKind::Negate(_)
        | ExprKind::Binary(_)
        | ExprKind::Aggregate(_) => expr.children().into_iter().all(is_pinned),
    }
}
