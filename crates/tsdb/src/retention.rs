//! How long samples are kept.
//!
//! Guarantees: of several rules the first that names a series holds for it; what none names is kept for the default.
//! Samples go with the part that holds them, once all of it is too old: never earlier than said.

use std::collections::BTreeSet;

use crate::{Downsampling, Labels, Matcher};

/// A rule for some series.
#[derive(Clone, Debug)]
pub struct Retain {
    /// What they all satisfy.
    pub matchers: Vec<Matcher>,
    /// How long they are kept.
    pub for_ms: i64,
}

/// What is kept for another time than the rest, and as what.
#[derive(Clone, Debug, Default)]
pub struct Keeping {
    /// Series that are kept for another time; of several rules the first that names a series holds for it.
    pub retain: Vec<Retain>,
    /// What becomes of samples that are not kept as they came in any more.
    pub downsampling: Downsampling,
}

/// All rules.
#[derive(Clone, Debug)]
pub(crate) struct Retention {
    default_ms: i64,
    rules: Vec<Retain>,
}

impl Retention {
    pub(crate) fn new(default_ms: i64, rules: Vec<Retain>) -> Self {
        Self { default_ms, rules }
    }

    /// How long a series is kept.
    pub(crate) fn of(&self, labels: &Labels) -> i64 {
        let satisfied =
            |matcher: &Matcher| matcher.matches(labels.get(matcher.name()).unwrap_or(""));
        let mut rules = self.rules.iter();
        let first = rules.find(|rule| rule.matchers.iter().all(satisfied));
        first.map_or(self.default_ms, |rule| rule.for_ms)
    }

    /// How long anything is kept.
    pub(crate) fn longest_ms(&self) -> i64 {
        self.spans().last().copied().unwrap_or(self.default_ms)
    }

    /// The longest time for which nothing is kept in a part that ended at `newest_ms`, but for what is kept longer;
    /// `None` if all of it is still young enough.
    pub(crate) fn passed(&self, newest_ms: i64, now_ms: i64) -> Option<i64> {
        let is_past = |span: &i64| newest_ms < now_ms.saturating_sub(*span);
        self.spans().into_iter().rev().find(is_past)
    }

    fn spans(&self) -> BTreeSet<i64> {
        let rules = self.rules.iter().map(|rule| rule.for_ms);
        rules.chain([self.default_ms]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MatchOp;

    #[test]
    fn the_first_rule_that_names_a_series_holds_for_it() {
        let rule = |job: &str, for_ms| Retain {
            matchers: vec![Matcher::new("job", MatchOp::Regex, job).unwrap()],
            for_ms,
        };
        let retention = Retention::new(30, vec![rule("a", 5), rule("a|b", 90)]);
        let of = |job| retention.of(&Labels::from_pairs([("job", job)]).unwrap());
        assert_eq!((of("a"), of("b"), of("c")), (5, 90, 30));
        assert_eq!(retention.longest_ms(), 90);
        assert_eq!(retention.passed(100, 105), None);
        assert_eq!(retention.passed(100, 106), Some(5));
        assert_eq!(retention.passed(100, 150), Some(30));
    }
}
