//! A query pinned to a time: `@` on every selector and subquery that has none.
//!
//! Guarantees: what it gives is the same at every evaluation time. Selectors inside a subquery stay as they
//! are: the subquery's own steps are pinned already.

use crate::ast::{At, Duration, Expr, ExprKind, Modifiers};

/// Functions whose value depends on when they are evaluated, or on the time of what they are given.
const UNSAFE: [&str; 15] = [
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "days_in_month",
    "end",
    "hour",
    "minute",
    "month",
    "predict_linear",
    "range",
    "start",
    "step",
    "time",
    "timestamp",
    "year",
];

/// The query pinned to `at_ms`, where that leaves its meaning as it is.
pub(super) fn pinned(expr: &Expr, at_ms: i64) -> Option<Expr> {
    if calls_any(expr, &UNSAFE) {
        return None;
    }
    let mut expr = expr.clone();
    pin(&mut expr, at_ms);
    Some(expr)
}

/// Whether a function of these is called somewhere.
pub(super) fn calls_any(expr: &Expr, names: &[&str]) -> bool {
    if let ExprKind::Call { function, .. } = &expr.kind
        && names.contains(&function.name)
    {
        return true;
    }
    expr.children()
        .into_iter()
        .any(|child| calls_any(child, names))
}

/// Whether a duration depends on the query's step or range.
pub(super) fn has_duration_of_query(expr: &Expr) -> bool {
    let own = match &expr.kind {
        ExprKind::Selector(selector) => selector.modifiers.offset.follows_query(),
        ExprKind::Range { selector, range } => {
            selector.modifiers.offset.follows_query() || range.follows_query()
        }
        ExprKind::Subquery {
            range,
            step,
            modifiers,
            ..
        } => {
            let step = step.as_ref().is_some_and(Duration::follows_query);
            step || range.follows_query() || modifiers.offset.follows_query()
        }
        _ => false,
    };
    own || expr.children().into_iter().any(has_duration_of_query)
}

fn pin(expr: &mut Expr, at_ms: i64) {
    let pin_modifiers = |modifiers: &mut Modifiers| {
        modifiers.at.get_or_insert(At::Time(at_ms));
    };
    match &mut expr.kind {
        ExprKind::Number { .. } | ExprKind::String(_) => {}
        ExprKind::Selector(selector) | ExprKind::Range { selector, .. } => {
            pin_modifiers(&mut selector.modifiers);
        }
        ExprKind::Subquery { modifiers, .. } => pin_modifiers(modifiers),
        ExprKind::Paren(inner) | ExprKind::Negate(inner) | ExprKind::Plus(inner) => {
            pin(inner, at_ms);
        }
        ExprKind::Binary(binary) => {
            pin(&mut binary.left, at_ms);
            pin(&mut binary.right, at_ms);
        }
        ExprKind::Aggregate(aggregate) => {
            pin(&mut aggregate.expr, at_ms);
            if let Some(param) = &mut aggregate.param {
                pin(param, at_ms);
            }
        }
        ExprKind::Call { function, args } => {
            // The labels that `info` takes are selected as of its vector's time.
            let own = if function.name == "info" {
                1
            } else {
                args.len()
            };
            for arg in args.iter_mut().take(own) {
                pin(arg, at_ms);
            }
        }
    }
}
