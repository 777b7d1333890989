//! Which samples can move the value of an expression when they arrive.
//!
//! Guarantees: a sample that an evaluation at the time of its arrival would look at is among them. Those that are
//! looked at only later (`offset`) or ever (`@`) are not.

use mainstay_promql::{
    Labels, Matcher, Query,
    ast::{Duration, Expr, ExprKind, Modifiers},
};

/// The selectors of an expression that look at samples of now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Watched(Vec<Vec<Matcher>>);

impl Watched {
    /// Those of a query.
    pub fn of(query: &Query) -> Self {
        let mut found = Vec::new();
        collect(query.expr(), &mut found);
        Self(found)
    }

    /// Whether nothing that arrives moves it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What each selects.
    pub fn selectors(&self) -> impl Iterator<Item = &[Matcher]> {
        self.0.iter().map(Vec::as_slice)
    }

    /// Whether one selects this series.
    pub fn selects(&self, labels: &Labels) -> bool {
        let value = |name: &str| labels.get(name).unwrap_or("");
        self.selectors()
            .any(|all| all.iter().all(|it| it.matches(value(&it.name))))
    }
}

fn collect(expr: &Expr, found: &mut Vec<Vec<Matcher>>) {
    match &expr.kind {
        ExprKind::Selector(selector) | ExprKind::Range { selector, .. } => {
            if looks_at_now(&selector.modifiers) && !found.contains(&selector.matchers) {
                found.push(selector.matchers.clone());
            }
        }
        ExprKind::Subquery { modifiers, .. } if !looks_at_now(modifiers) => {}
        _ => {
            for below in expr.children() {
                collect(below, found);
            }
        }
    }
}

/// A computed offset may be none.
fn looks_at_now(modifiers: &Modifiers) -> bool {
    let is_behind = matches!(modifiers.offset, Duration::Fixed(ms) if ms > 0);
    modifiers.at.is_none() && !is_behind
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(expr: &str) -> Watched {
        Watched::of(&Query::parse(expr).unwrap())
    }

    fn names(expr: &str) -> Vec<String> {
        let watched = watched(expr);
        let first = watched.selectors().map(|it| it[0].value.clone());
        first.collect()
    }

    #[test]
    fn what_looks_at_another_time_than_now_waits_for_no_arrival() {
        assert_eq!(names("topk(2, a) > 2 * (a offset 1h)"), ["a"]);
        assert_eq!(names("max_over_time(rate(b[5m])[1h:1m])"), ["b"]);
        assert_eq!(names("max_over_time(b[1h:1m] offset 1d)"), [""; 0]);
        assert_eq!(names("sum_over_time(c[5m] @ 1000) or c offset -5m"), ["c"]);
        assert!(watched("a @ 5 > 1").is_empty());
    }

    #[test]
    fn a_series_is_watched_if_one_selector_takes_it() {
        let watched = watched(r#"quantile(0.9, a{job=~"x|y", env!="test"}) > on () d"#);
        let series = |name, job| Labels::from_pairs([("__name__", name), ("job", job)]);
        assert!(watched.selects(&series("a", "x")));
        assert!(watched.selects(&series("d", "other")));
        assert!(!watched.selects(&series("a", "z")));
    }
}
