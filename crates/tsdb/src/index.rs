//! Which series have which labels.
//!
//! Guarantees: postings ascend without repeats; a selection by exact values, alternatives or a prefix looks at
//! those values only, in either polarity. It never holds samples.

use std::collections::BTreeMap;
use std::convert::Infallible;

use crate::{IdSet, Matcher, matcher::Wanted};

/// Label → value → series, in memory.
#[derive(Debug, Default)]
pub(crate) struct Index {
    postings: BTreeMap<Box<str>, BTreeMap<Box<str>, Vec<u32>>>,
    len: u32,
}

/// Postings, wherever they are kept.
pub(crate) trait Postings {
    /// Why they could not be read.
    type Error;

    /// How many series there are.
    fn universe(&self) -> u32;

    /// Adds to `into` the series whose label `name` has a value that is wanted.
    fn collect(&self, name: &str, wanted: &Wanted<'_>, into: &mut IdSet)
    -> Result<(), Self::Error>;
}

/// The series that satisfy all matchers.
pub(crate) fn matching<P: Postings>(postings: &P, matchers: &[Matcher]) -> Result<IdSet, P::Error> {
    let universe = postings.universe();
    let mut found: Option<IdSet> = None;
    // Those that name what must be there come first: they leave little to the others.
    let (without, with): (Vec<_>, Vec<_>) = matchers.iter().partition(|m| m.matches(""));
    for matcher in with {
        let mut ids = IdSet::empty(universe);
        postings.collect(matcher.name(), &matcher.wanted(), &mut ids)?;
        match &mut found {
            None => found = Some(ids),
            Some(found) => found.keep(&ids),
        }
        if found.as_ref().is_some_and(IdSet::is_empty) {
            break;
        }
    }
    let mut found = found.unwrap_or_else(|| IdSet::full(universe));
    for matcher in without {
        if found.is_empty() {
            break;
        }
        let mut ids = IdSet::empty(universe);
        postings.collect(matcher.name(), &matcher.unwanted(), &mut ids)?;
        found.remove(&ids);
    }
    Ok(found)
}

impl Index {
    /// Adds the next series.
    pub(crate) fn push<'a>(&mut self, labels: impl Iterator<Item = (&'a str, &'a str)>) {
        let id = self.len;
        self.len += 1;
        for (name, value) in labels {
            if !self.postings.contains_key(name) {
                self.postings.insert(name.into(), BTreeMap::new());
            }
            let Some(values) = self.postings.get_mut(name) else {
                continue;
            };
            match values.get_mut(value) {
                Some(ids) => ids.push(id),
                None => {
                    values.insert(value.into(), vec![id]);
                }
            }
        }
    }

    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// Values seen for a label, ascending.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        let values = self.postings.get(name).into_iter();
        values.flat_map(|values| values.keys().map(|value| &**value))
    }

    /// Label names seen, ascending.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.postings.keys().map(|name| &**name)
    }
}

impl Postings for Index {
    type Error = Infallible;

    fn universe(&self) -> u32 {
        self.len
    }

    fn collect(&self, name: &str, wanted: &Wanted<'_>, into: &mut IdSet) -> Result<(), Infallible> {
        let Some(values) = self.postings.get(name) else {
            return Ok(());
        };
        let mut add = |ids: &[u32]| ids.iter().for_each(|id| into.insert(*id));
        if let Some(exact) = wanted.exact() {
            exact
                .filter_map(|value| values.get(value))
                .for_each(|ids| add(ids));
            return Ok(());
        }
        let prefix = wanted.prefix();
        let from = (
            std::ops::Bound::Included(prefix),
            std::ops::Bound::Unbounded,
        );
        let within = values.range::<str, _>(from);
        for (value, ids) in within.take_while(|(value, _)| value.starts_with(prefix)) {
            if wanted.has(value) {
                add(ids);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MatchOp;
    use proptest::prelude::*;

    fn index(series: &[&[(&str, &str)]]) -> Index {
        let mut index = Index::default();
        for labels in series {
            index.push(labels.iter().copied());
        }
        index
    }

    #[test]
    fn an_absent_label_matches_as_an_empty_value() {
        let index = index(&[&[("job", "a"), ("zone", "x")], &[("job", "a")]]);
        let job = || Matcher::new("job", MatchOp::Equal, "a").unwrap();
        let found = |op, value| {
            let zone = Matcher::new("zone", op, value).unwrap();
            let Ok(found) = matching(&index, &[job(), zone]);
            found.iter().collect::<Vec<_>>()
        };
        assert_eq!(found(MatchOp::Equal, ""), [1]);
        assert_eq!(found(MatchOp::NotEqual, "x"), [1]);
        assert_eq!(found(MatchOp::Regex, "x|"), [0, 1]);
        assert_eq!(found(MatchOp::NotRegex, ".*"), []);
        assert_eq!(found(MatchOp::NotEqual, ""), [0]);
    }

    proptest! {
        #[test]
        fn postings_find_what_matching_each_series_finds(
            values in prop::collection::vec("[ab]{0,3}", 1..20),
            pattern in prop::sample::select(vec![
                "", "a", "ab", "a|b", "a|", "a.", "a.*", ".*", ".+", "b?", "(a|b)b", "a[ab]", "[^a]",
                "a+", "(?i)AB", "a$|b", "^a", "a{2}", "ab.*|aa.*",
            ]),
            op in prop::sample::select(vec![
                MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex,
            ]),
        ) {
            let mut index = Index::default();
            for value in &values {
                index.push([("x", value.as_str())].into_iter().filter(|(_, v)| !v.is_empty()));
            }
            let matcher = Matcher::new("x", op, pattern).unwrap();
            let Ok(found) = matching(&index, std::slice::from_ref(&matcher));
            let wanted = (0..).zip(&values).filter(|(_, value)| matcher.matches(value));
            prop_assert!(found.iter().eq(wanted.map(|(id, _)| id)));
        }
    }
}
