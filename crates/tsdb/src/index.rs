//! The index of the head: label set → series id, and label → value → sorted series ids.
//!
//! Guarantees: every posting list ascends without repeats; a lookup compares labels, so a hash collision
//! cannot merge two series. It never holds samples.

use crate::{Labels, Matcher};
use std::collections::{BTreeMap, HashMap};

/// A series inside one head. An id is reused after its series was dropped by retention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId(pub(crate) u32);

#[derive(Debug, Default)]
pub(crate) struct Index {
    by_hash: HashMap<u64, Vec<(Labels, SeriesId)>>,
    postings: BTreeMap<Box<str>, BTreeMap<Box<str>, Vec<SeriesId>>>,
    all: Vec<SeriesId>,
}

impl Index {
    pub(crate) fn find(&self, hash: u64, labels: &Labels) -> Option<SeriesId> {
        let bucket = self.by_hash.get(&hash)?;
        bucket.iter().find(|(l, _)| l == labels).map(|(_, id)| *id)
    }

    pub(crate) fn insert(&mut self, hash: u64, labels: &Labels, id: SeriesId) {
        let bucket = self.by_hash.entry(hash).or_default();
        bucket.push((labels.clone(), id));
        insert_sorted(&mut self.all, id);
        for (name, value) in labels.iter() {
            let values = self.postings.entry(name.into()).or_default();
            insert_sorted(values.entry(value.into()).or_default(), id);
        }
    }

    pub(crate) fn remove(&mut self, hash: u64, labels: &Labels, id: SeriesId) {
        if let Some(bucket) = self.by_hash.get_mut(&hash) {
            bucket.retain(|(_, other)| *other != id);
            if bucket.is_empty() {
                self.by_hash.remove(&hash);
            }
        }
        remove_sorted(&mut self.all, id);
        for (name, value) in labels.iter() {
            let Some(values) = self.postings.get_mut(name) else {
                continue;
            };
            if let Some(ids) = values.get_mut(value) {
                remove_sorted(ids, id);
                if ids.is_empty() {
                    values.remove(value);
                }
            }
            if values.is_empty() {
                self.postings.remove(name);
            }
        }
    }

    /// Ids of the series that satisfy all matchers, ascending.
    pub(crate) fn matching(&self, matchers: &[Matcher]) -> Vec<SeriesId> {
        let mut found: Option<Vec<SeriesId>> = None;
        for matcher in matchers.iter().filter(|m| !m.matches("")) {
            let ids = self.with_value(matcher.name(), |value| matcher.matches(value));
            found = Some(match found {
                None => ids,
                Some(so_far) => intersect(&so_far, &ids),
            });
        }
        let mut found = found.unwrap_or_else(|| self.all.clone());
        for matcher in matchers.iter().filter(|m| m.matches("")) {
            let refused = self.with_value(matcher.name(), |value| !matcher.matches(value));
            found.retain(|id| refused.binary_search(id).is_err());
        }
        found
    }

    /// Values seen for a label, ascending.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.postings
            .get(name)
            .into_iter()
            .flat_map(|values| values.keys().map(|v| &**v))
    }

    /// Label names seen, ascending.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.postings.keys().map(|name| &**name)
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    fn with_value(&self, name: &str, wanted: impl Fn(&str) -> bool) -> Vec<SeriesId> {
        let mut ids = Vec::new();
        let Some(values) = self.postings.get(name) else {
            return ids;
        };
        for (value, posting) in values {
            if wanted(value) {
                ids.extend_from_slice(posting);
            }
        }
        ids.sort_unstable();
        ids
    }
}

fn insert_sorted(ids: &mut Vec<SeriesId>, id: SeriesId) {
    if let Err(at) = ids.binary_search(&id) {
        ids.insert(at, id);
    }
}

fn remove_sorted(ids: &mut Vec<SeriesId>, id: SeriesId) {
    if let Ok(at) = ids.binary_search(&id) {
        ids.remove(at);
    }
}

fn intersect(a: &[SeriesId], b: &[SeriesId]) -> Vec<SeriesId> {
    let (small, large) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    small
        .iter()
        .copied()
        .filter(|id| large.binary_search(id).is_ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MatchOp;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied()).unwrap()
    }

    #[test]
    fn two_label_sets_with_one_hash_stay_two_series() {
        let mut index = Index::default();
        let (a, b) = (labels(&[("x", "1")]), labels(&[("x", "2")]));
        index.insert(7, &a, SeriesId(0));
        index.insert(7, &b, SeriesId(1));
        assert_eq!(index.find(7, &a), Some(SeriesId(0)));
        assert_eq!(index.find(7, &b), Some(SeriesId(1)));
        index.remove(7, &a, SeriesId(0));
        assert_eq!(index.find(7, &a), None);
        assert_eq!(index.find(7, &b), Some(SeriesId(1)));
    }

    #[test]
    fn an_absent_label_matches_as_an_empty_value() {
        let mut index = Index::default();
        index.insert(1, &labels(&[("job", "a"), ("zone", "x")]), SeriesId(0));
        index.insert(2, &labels(&[("job", "a")]), SeriesId(1));
        let job = || Matcher::new("job", MatchOp::Equal, "a").unwrap();
        let found = |op, value| {
            let zone = Matcher::new("zone", op, value).unwrap();
            index.matching(&[job(), zone])
        };
        assert_eq!(found(MatchOp::Equal, ""), [SeriesId(1)]);
        assert_eq!(found(MatchOp::NotEqual, "x"), [SeriesId(1)]);
        assert_eq!(found(MatchOp::Regex, "x|"), [SeriesId(0), SeriesId(1)]);
        assert_eq!(found(MatchOp::NotRegex, ".*"), []);
        assert_eq!(found(MatchOp::NotEqual, ""), [SeriesId(0)]);
    }
}
