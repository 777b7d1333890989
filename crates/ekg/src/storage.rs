//! The head as the query engine sees it.
//!
//! Guarantees: the lock is held for one selection, not for a whole query, so a heavy query cannot hold up the
//! writer; each selection is consistent in itself. It remembers how old the samples are that it gave out.

use std::{
    cell::Cell,
    sync::{PoisonError, RwLock},
};

use mainstay_promql as promql;
use mainstay_tsdb::{Head, MatchOp, Matcher, MatcherError, is_stale};

/// Reads a shared head for one query.
pub(crate) struct Reader<'a> {
    head: &'a RwLock<Head>,
    /// Oldest of the newest samples of the series that still run.
    running_ms: Cell<Option<i64>>,
    /// The same of the series that ended.
    ended_ms: Cell<Option<i64>>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(head: &'a RwLock<Head>) -> Self {
        Self {
            head,
            running_ms: Cell::new(None),
            ended_ms: Cell::new(None),
        }
    }

    /// How old the answer is: the newest sample of its stalest series. Series that were seen to end are
    /// complete, not stale, and count only if there is no other; `None` if no sample was read at all.
    pub(crate) fn as_of_ms(&self) -> Option<i64> {
        self.running_ms.get().or(self.ended_ms.get())
    }

    fn remember(&self, timestamps: &[i64], values: &[f64]) {
        let newest = || timestamps.iter().zip(values).rev();
        let Some((at_ms, _)) = newest().find(|(_, value)| !is_stale(**value)) else {
            return;
        };
        let ended = newest().next().is_some_and(|(_, value)| is_stale(*value));
        let oldest = if ended {
            &self.ended_ms
        } else {
            &self.running_ms
        };
        oldest.set(Some(oldest.get().map_or(*at_ms, |ms| ms.min(*at_ms))));
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
        let found = head.select(&matchers, start_ms, end_ms);
        drop(head);
        let series = found.into_iter().map(|slice| {
            self.remember(&slice.timestamps, &slice.values);
            promql::Series {
                labels: promql::Labels::from_pairs(slice.labels.iter()),
                timestamps: slice.timestamps,
                values: slice.values,
            }
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
