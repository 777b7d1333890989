//! Queries over a store that keeps old samples as summaries.
//!
//! Guarantees: the rewritten query asks of each selector, by a condition on [`SUMMARY_LABEL`], what its function needs:
//! so that counts, sums, averages, minima and maxima over time are those of all samples that there were. The condition
//! is an expression, so that no function takes it for a label. A query without selectors is as before.

use crate::{
    MatchOp, Matcher, Query,
    ast::{Binary, BinaryOp, Expr, ExprKind, Matching, Selector},
    functions,
};

/// The label in the condition. Its values: `last`, what an instant selector asks for; `count`, `sum`, `min` and `max`.
/// Without it the samples are asked for that were kept.
pub const SUMMARY_LABEL: &str = "__aggregate__";

/// Functions over ranges that are right on the samples that are kept: the last of each window, and those around resets.
const RIGHT_ON_KEPT: [&str; 7] = [
    "rate",
    "increase",
    "resets",
    "last_over_time",
    "present_over_time",
    "absent_over_time",
    "ts_of_last_over_time",
];

impl Query {
    /// What to ask of a store that keeps summaries, and the functions that see less there than there was.
    pub fn over_summaries(&self) -> (Self, Vec<&'static str>) {
        let mut blurred = Vec::new();
        let expr = rewritten(self.expr(), &mut blurred);
        blurred.sort_unstable();
        blurred.dedup();
        (self.with_expr(expr), blurred)
    }
}

fn rewritten(expr: &Expr, blurred: &mut Vec<&'static str>) -> Expr {
    let mut again = |expr: &Expr| rewritten(expr, blurred);
    let kind = match &expr.kind {
        ExprKind::Number { .. } | ExprKind::String(_) | ExprKind::Range { .. } => {
            return expr.clone();
        }
        ExprKind::Selector(selector) => ExprKind::Selector(asking(selector, "last")),
        ExprKind::Paren(inner) => ExprKind::Paren(Box::new(again(inner))),
        ExprKind::Negate(inner) => ExprKind::Negate(Box::new(again(inner))),
        ExprKind::Plus(inner) => ExprKind::Plus(Box::new(again(inner))),
        ExprKind::Subquery {
            expr: inner,
            range,
            step,
            modifiers,
        } => ExprKind::Subquery {
            expr: Box::new(again(inner)),
            range: range.clone(),
            step: step.clone(),
            modifiers: modifiers.clone(),
        },
        ExprKind::Binary(binary) => ExprKind::Binary(Box::new(Binary {
            left: again(&binary.left),
            right: again(&binary.right),
            ..(**binary).clone()
        })),
        ExprKind::Aggregate(aggregate) => {
            let mut aggregate = aggregate.clone();
            aggregate.expr = again(&aggregate.expr);
            aggregate.param = aggregate.param.as_ref().map(again);
            ExprKind::Aggregate(aggregate)
        }
        ExprKind::Call { function, args } => match args.first().map(Expr::unwrapped) {
            Some(range) if matches!(range.kind, ExprKind::Range { .. }) && args.len() == 1 => {
                return over_range(expr, function, range, blurred);
            }
            _ => {
                let ranged = |arg: &Expr| matches!(arg.unwrapped().kind, ExprKind::Range { .. });
                let args = args.iter().map(&mut again).collect::<Vec<_>>();
                if args.iter().any(ranged) {
                    blurred.push(function.name);
                }
                ExprKind::Call { function, args }
            }
        },
    };
    made(kind, expr)
}

/// A function of one range.
fn over_range(
    expr: &Expr,
    function: &'static functions::Function,
    range: &Expr,
    blurred: &mut Vec<&'static str>,
) -> Expr {
    let sum_of = |what: &str| {
        let sum = functions::find("sum_over_time").unwrap_or(function);
        call(sum, range, what, expr)
    };
    match function.name {
        "sum_over_time" => sum_of("sum"),
        "count_over_time" => sum_of("count"),
        "min_over_time" => call(function, range, "min", expr),
        "max_over_time" => call(function, range, "max", expr),
        "avg_over_time" => {
            let binary = ExprKind::Binary(Box::new(Binary {
                op: BinaryOp::Divide,
                left: sum_of("sum"),
                right: sum_of("count"),
                return_bool: false,
                matching: Matching::default(),
            }));
            made(ExprKind::Paren(Box::new(made(binary, expr))), expr)
        }
        name => {
            if !RIGHT_ON_KEPT.contains(&name) {
                blurred.push(name);
            }
            expr.clone()
        }
    }
}

fn call(function: &'static functions::Function, range: &Expr, what: &str, place: &Expr) -> Expr {
    let ExprKind::Range {
        selector,
        range: span,
    } = &range.kind
    else {
        return place.clone();
    };
    let range = ExprKind::Range {
        selector: asking(selector, what),
        range: span.clone(),
    };
    let args = vec![made(range, place)];
    made(ExprKind::Call { function, args }, place)
}

fn asking(selector: &Selector, what: &str) -> Selector {
    let mut selector = selector.clone();
    // A word is an expression that compiles.
    selector
        .matchers
        .extend(Matcher::new(SUMMARY_LABEL, MatchOp::Regex, what));
    selector
}

fn made(kind: ExprKind, place: &Expr) -> Expr {
    let mut made = Expr {
        kind,
        span: place.span,
        height: 1,
    };
    made.height += made
        .children()
        .iter()
        .map(|it| it.height)
        .max()
        .unwrap_or(0);
    made
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pretty;

    fn over(text: &str) -> (String, Vec<&'static str>) {
        let (query, blurred) = Query::parse(text).unwrap().over_summaries();
        (pretty(query.expr()), blurred)
    }

    #[test]
    fn each_function_asks_for_what_it_needs() {
        for (text, wanted) in [
            ("up", "up{__aggregate__=~\"last\"}"),
            ("rate(a_total[1h])", "rate(a_total[1h])"),
            (
                "count_over_time(a[1h])",
                "sum_over_time(a{__aggregate__=~\"count\"}[1h])",
            ),
            (
                "max_over_time(a[1h] offset 1d)",
                "max_over_time(a{__aggregate__=~\"max\"}[1h] offset 1d)",
            ),
            ("1 + 2", "1 + 2"),
        ] {
            assert_eq!(over(text), (wanted.to_owned(), vec![]), "{text}");
        }
        let (average, _) = over("avg by (job) (avg_over_time(a[1h]))");
        let average: String = average.split_whitespace().collect();
        let sum = "sum_over_time(a{__aggregate__=~\"sum\"}[1h])";
        let count = "sum_over_time(a{__aggregate__=~\"count\"}[1h])";
        assert_eq!(average, format!("avgby(job)(({sum}/{count}))"));
    }

    #[test]
    fn functions_that_see_less_are_named() {
        assert_eq!(over("deriv(a[1h]) + irate(b[5m])").1, ["deriv", "irate"]);
        assert_eq!(
            over("quantile_over_time(0.9, a[1h])").1,
            ["quantile_over_time"]
        );
        assert_eq!(over("max_over_time(up[1h:1m])").1, [""; 0]);
    }
}
