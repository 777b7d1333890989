//! What a query reads and holds, counted while it is evaluated, and what all of them hold together.
//!
//! Guarantees: what is held never passes the limit unnoticed; a query that ended, however it did, holds nothing. Counts are those of Prometheus's query statistics:
//! a sample is read once for each step that looks at it.

use std::{
    cell::{Cell, RefCell},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{NodeUsage, eval::Steps};

/// What a query used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Samples that its steps looked at, those of subqueries included.
    pub samples_read: u64,
    /// The same by step, in order, without those of subqueries.
    pub read_by_step: Vec<u64>,
    /// The most samples that were held at one moment.
    pub samples_peak: u64,
    /// What each node took, where that was asked for.
    pub nodes: Vec<NodeUsage>,
}

/// What queries that compute at the same time hold together.
#[derive(Debug)]
pub struct Pool {
    held: AtomicU64,
    limit: u64,
}

impl Pool {
    /// One whose queries may hold so many samples together.
    pub const fn new(limit: u64) -> Self {
        Self {
            held: AtomicU64::new(0),
            limit,
        }
    }

    /// Samples held now.
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// How many may be.
    pub const fn limit(&self) -> u64 {
        self.limit
    }
}

/// Counts for one query.
#[derive(Debug)]
pub(crate) struct Meter<'a> {
    pool: Option<&'a Pool>,
    held: Cell<u64>,
    peak: Cell<u64>,
    read: Cell<u64>,
    by_step: RefCell<Vec<u64>>,
}

impl<'a> Meter<'a> {
    /// One whose samples count in a pool as well.
    pub(crate) fn within(pool: Option<&'a Pool>) -> Self {
        Self {
            pool,
            held: Cell::default(),
            peak: Cell::default(),
            read: Cell::default(),
            by_step: RefCell::default(),
        }
    }

    pub(crate) fn held(&self) -> u64 {
        self.held.get()
    }

    /// Back to what was held before.
    pub(crate) fn back_to(&self, held: u64) {
        if let Some(pool) = self.pool {
            // What is held shrinks here: a subexpression is done.
            let given_back = self.held.get().saturating_sub(held);
            pool.held.fetch_sub(given_back, Ordering::Relaxed);
        }
        self.held.set(held);
    }

    /// The pool, if it holds more than it may.
    pub(crate) fn crowded(&self) -> Option<&'a Pool> {
        self.pool.filter(|pool| pool.held() > pool.limit)
    }

    /// Holds so many more; gives how many that are now.
    pub(crate) fn hold(&self, samples: u64) -> u64 {
        let held = self.held.get().saturating_add(samples);
        if let Some(pool) = self.pool {
            let more = held - self.held.get();
            pool.held.fetch_add(more, Ordering::Relaxed);
        }
        self.held.set(held);
        self.peak.set(self.peak.get().max(held));
        held
    }

    /// `by_step[i]` samples were looked at in step `i` of `steps`, which may be those of a subquery.
    pub(crate) fn looked_at(&self, by_step: &[u64], steps: Steps, query: Steps) {
        let read: u64 = by_step.iter().sum();
        self.read.set(self.read.get().saturating_add(read));
        if steps.start_ms != query.start_ms || steps.step_ms != query.step_ms {
            return;
        }
        let mut all = self.by_step.borrow_mut();
        all.resize(query.count, 0);
        for (total, step) in all.iter_mut().zip(by_step) {
            *total += step;
        }
    }

    pub(crate) fn usage(&self) -> Usage {
        Usage {
            samples_read: self.read.get(),
            read_by_step: self.by_step.take(),
            samples_peak: self.peak.get(),
            nodes: Vec::new(),
        }
    }
}

impl Drop for Meter<'_> {
    fn drop(&mut self) {
        self.back_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_queries_hold_together_is_given_back_by_each_that_ends() {
        let pool = Pool::new(10);
        let (one, other) = (Meter::within(Some(&pool)), Meter::within(Some(&pool)));
        assert_eq!((one.hold(4), other.hold(6)), (4, 6));
        assert!(one.crowded().is_none(), "as many as may be");
        assert_eq!((one.hold(1), pool.held()), (5, 11));
        assert!(other.crowded().is_some(), "whoever asks next hears of it");
        one.back_to(2);
        assert_eq!(pool.held(), 8);
        drop(one);
        assert_eq!(pool.held(), 6);
        drop(other);
        assert_eq!(pool.held(), 0);
    }
}
