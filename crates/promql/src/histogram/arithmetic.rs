//! Sums and differences of two histograms.
//!
//! Guarantees: both are read in their common layout first; empty buckets stay until `compact`. What is known
//! of resets follows: equal knowledge stays, a gauge makes a gauge, and a reset beside a sample without one
//! is a collision after which nothing is known.

use super::{Histogram, Incompatible, ResetHint, Slot};

/// A sum or a difference, and what a reader should know of it.
pub(crate) struct Added {
    pub(crate) histogram: Histogram,
    /// One side began anew, the other did not.
    pub(crate) collision: bool,
    /// Custom bounds differed, and those in common were used.
    pub(crate) reconciled: bool,
}

impl Histogram {
    pub(crate) fn plus(self, other: &Self) -> Result<Added, Incompatible> {
        self.combined(other, |mine, theirs| mine + theirs)
    }

    pub(crate) fn minus(self, other: &Self) -> Result<Added, Incompatible> {
        self.combined(other, |mine, theirs| mine - theirs)
    }

    fn combined(
        mut self,
        other: &Self,
        f: impl Fn(f64, f64) -> f64,
    ) -> Result<Added, Incompatible> {
        let aligned = self.align(other)?;
        let collision;
        (self.hint, collision) = self.hint.met_with(other.hint);
        self.zero_count = f(self.zero_count, aligned.zero_count);
        self.count = f(self.count, other.count);
        self.sum = f(self.sum, other.sum);
        self.positive = zipped(&self.positive, &aligned.positive, &f);
        self.negative = zipped(&self.negative, &aligned.negative, &f);
        Ok(Added {
            histogram: self,
            collision,
            reconciled: aligned.reconciled,
        })
    }
}

impl ResetHint {
    /// What is known of a combination, and whether the two collide.
    pub(super) fn met_with(self, other: Self) -> (Self, bool) {
        match (self, other) {
            (Self::Gauge, _) | (_, Self::Gauge) => (Self::Gauge, false),
            (Self::Unknown, _) | (_, Self::Unknown) => (Self::Unknown, false),
            (Self::Reset, Self::Reset) | (Self::NotReset, Self::NotReset) => (self, false),
            (Self::Reset, Self::NotReset) | (Self::NotReset, Self::Reset) => (Self::Unknown, true),
        }
    }
}

/// Walks two sides together; a slot that one lacks counts zero there.
pub(super) fn zipped(mine: &[Slot], theirs: &[Slot], f: impl Fn(f64, f64) -> f64) -> Vec<Slot> {
    let mut result = Vec::with_capacity(mine.len().max(theirs.len()));
    let (mut mine, mut theirs) = (mine.iter().peekable(), theirs.iter().peekable());
    loop {
        let index = match (mine.peek(), theirs.peek()) {
            (None, None) => return result,
            (Some(a), None) => a.index,
            (None, Some(b)) => b.index,
            (Some(a), Some(b)) => a.index.min(b.index),
        };
        let a = mine.next_if(|slot| slot.index == index);
        let b = theirs.next_if(|slot| slot.index == index);
        let count = |slot: Option<&Slot>| slot.map_or(0.0, |slot| slot.count);
        let count = f(count(a), count(b));
        result.push(Slot { index, count });
    }
}
