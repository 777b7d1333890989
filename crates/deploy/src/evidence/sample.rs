//! One comparison of both versions, and how much of its sample were probes.
//!
//! Guarantees: users and probes are compared each for itself. Never counts a probe as a user.

use mainstay_stats::{Comparison, Judge, Judgement, Pair, STRATA, StatsError};

use super::arms::Kind;

/// Probes among the requests of a sample.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Probed {
    pub(super) canary: u64,
    pub(super) control: u64,
}

/// A comparison under way.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    comparison: Comparison,
    probed: Probed,
}

impl Sample {
    pub(super) fn new(judge: &Judge) -> Result<Self, StatsError> {
        Ok(Self {
            comparison: judge.start()?,
            probed: Probed::default(),
        })
    }

    /// Adds one tick, apart by [`Kind`].
    pub(super) fn observe(&mut self, strata: [Pair; STRATA]) -> Result<(), StatsError> {
        self.comparison.observe_strata(strata)?;
        let probes = strata[Kind::Probes as usize];
        self.probed.canary += probes.canary.total;
        self.probed.control += probes.control.total;
        Ok(())
    }

    pub(super) fn judge(&self, judge: &Judge) -> Judgement {
        judge.judge(&self.comparison)
    }

    pub(super) fn probed(&self) -> Probed {
        self.probed
    }
}
