//! The samples as the query engine sees them.
//!
//! Guarantees: a query, however heavy, never holds up the writer; each selection is consistent in itself. Where
//! asked, it remembers how old what it gave out is, and says older rather than younger; such a reading, on which
//! something may be decided, fails where samples are damaged. Any other goes on without them and remembers what it
//! did without.

use std::cell::{Cell, RefCell};

use mainstay_promql as promql;
use mainstay_tsdb::{Damage, MatchOp, Matcher, MatcherError, ReadError, Tsdb};

use crate::{
    age::Age,
    past::{Past, joined},
    summaries::{Summaries, Unread},
};

/// Reads for one query.
pub(crate) struct Reader<'a> {
    tsdb: &'a Tsdb,
    /// Who has what was before.
    past: Option<&'a dyn Past>,
    /// How old what was read is, if somebody wants to know.
    age: Option<Cell<Age>>,
    damage: RefCell<Damage>,
    pub(crate) summaries: Summaries,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(tsdb: &'a Tsdb) -> Self {
        Self {
            tsdb,
            past: None,
            age: None,
            damage: RefCell::default(),
            summaries: Summaries::default(),
        }
    }

    /// The same, with what another store has of the time before.
    pub(crate) fn after(self, past: Option<&'a dyn Past>) -> Self {
        Self { past, ..self }
    }

    /// One that remembers how old the samples are.
    pub(crate) fn dating(tsdb: &'a Tsdb) -> Self {
        Self {
            tsdb,
            past: None,
            age: Some(Cell::default()),
            damage: RefCell::default(),
            summaries: Summaries::default(),
        }
    }

    /// What was read around.
    pub(crate) fn damage(&self) -> Damage {
        self.damage.borrow().clone()
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
        if let Some(past) = self.past {
            let here = |start_ms, end_ms| self.here(matchers, start_ms, end_ms);
            return joined(past, matchers, (start_ms, end_ms), here);
        }
        self.here(matchers, start_ms, end_ms)
    }
}

impl Reader<'_> {
    /// What is kept here.
    fn here(
        &self,
        matchers: &[promql::Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<promql::Series>, promql::StorageError> {
        let wrong = |error: MatcherError| promql::StorageError(error.to_string());
        let matchers = translated(matchers).map_err(wrong)?;
        let failed = |error: ReadError| promql::StorageError(error.to_string());
        if let Some(age) = &self.age {
            // Before the samples are read, so that what comes in meanwhile does not make them look younger.
            let read = Age::of(self.tsdb, &matchers, start_ms, end_ms).map_err(failed)?;
            age.set(age.get().and(read));
        }
        let found = if self.age.is_some() {
            self.tsdb.select(&matchers, start_ms, end_ms)
        } else {
            let damage = &mut self.damage.borrow_mut();
            let window = (start_ms, end_ms);
            let found = self.summaries.select(self.tsdb, &matchers, window, damage);
            found.or_else(|unread| match unread {
                Unread::Read(error) => Err(error),
                // Whatever it leads to is not looked at: the query is asked again.
                Unread::Summaries => Ok(Vec::new()),
            })
        };
        let found = found.map_err(failed)?;
        let series = found.into_iter().map(|slice| {
            let labels = promql::Labels::from_pairs(slice.labels.iter());
            promql::Series::floats(labels, slice.timestamps, slice.values)
        });
        Ok(series.collect())
    }
}

/// The engine's matchers as the store's.
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
