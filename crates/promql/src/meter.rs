//! What a query reads and holds, counted while it is evaluated.
//!
//! Guarantees: what is held never passes the limit unnoticed. Counts are those of Prometheus's query statistics:
//! a sample is read once for each step that looks at it.

use std::cell::{Cell, RefCell};

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

/// Counts for one query.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    held: Cell<u64>,
    peak: Cell<u64>,
    read: Cell<u64>,
    by_step: RefCell<Vec<u64>>,
}

impl Meter {
    pub(crate) fn held(&self) -> u64 {
        self.held.get()
    }

    /// Back to what was held before.
    pub(crate) fn back_to(&self, held: u64) {
        self.held.set(held);
    }

    /// Holds so many more; gives how many that are now.
    pub(crate) fn hold(&self, samples: u64) -> u64 {
        let held = self.held.get().saturating_add(samples);
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

    pub(crate) fn usage(self) -> Usage {
        Usage {
            samples_read: self.read.get(),
            read_by_step: self.by_step.into_inner(),
            samples_peak: self.peak.get(),
            nodes: Vec::new(),
        }
    }
}
