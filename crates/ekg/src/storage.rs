//! The head as the query engine sees it.
//!
//! Guarantees: the lock is held for one selection, not for a whole query, so a heavy query cannot hold up the
//! writer; each selection is consistent in itself. Where asked, it remembers how old what it gave out is.

use std::{
    cell::Cell,
    sync::{PoisonError, RwLock},
};

use mainstay_promql as promql;
use mainstay_tsdb::{Head, MatchOp, Matcher, MatcherError};

use crate::age::Age;

/// Reads a shared head for one query.
pub(crate) struct Reader<'a> {
    head: &'a RwLock<Head>,
    /// How old what was read is, if somebody wants to know.
    age: Option<Cell<Age>>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(head: &'a RwLock<Head>) -> Self {
        Self { head, age: None }
    }

    /// One that remembers how old the samples are.
    pub(crate) fn dating(head: &'a RwLock<Head>) -> Self {
        Self {
            head,
            age: Some(Cell::default()),
        }
    }

    /// How old the answer is; `None` if no sample was read at all.
    pub(crate) fn as_of_ms(&self) -> Option<i64> {
        self.age.as_ref()?.get().ms()
    }
}

impl promql::Storage for Reader<'_> {
    fn select(
        &self,
        matchers: &[promql::Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<promql::Series>, promql::StorageError> {
        let wrong = |error: MatcherError| promql::StorageError(error.to_string());
        let matchers = translated(matchers).map_err(wrong)?;
        let head = self.head.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = head.select_unsorted(&matchers, start_ms, end_ms);
        if let Some(age) = &self.age {
            let read = Age::of(&head, &matchers, start_ms, end_ms);
            age.set(age.get().and(read));
        }
        drop(head);
        found.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        let series = found.into_iter().map(|slice| {
            let labels = promql::Labels::from_pairs(slice.labels.iter());
            promql::Series::floats(labels, slice.timestamps, slice.values)
        });
        Ok(series.collect())
    }
}

/// The engine's matchers as the head's.
pub(crate) fn translated(matchers: &[promql::Matcher]) -> Result<Vec<Matcher>, MatcherError> {
    let one = |m: &promql::Matcher| {
        let op = match m.op {
            promql::MatchOp::Equal => MatchOp::Equal,
            promql::MatchOp::NotEqual => MatchOp::NotEqual,
            promql::MatchOp::Regex => MatchOp::Regex,
            promql::MatchOp::NotRegex => MatchOp::NotRegex,
        };
        Matcher::new(m.name.as_str(), op, m.value.as_str())
    };
    matchers.iter().map(one).collect()
}
