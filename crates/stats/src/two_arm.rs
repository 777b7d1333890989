//! Harm: is the canary's error rate higher than the control's?
//!
//! Guarantees: if in every tick the canary's bad share is no higher than the control's, the chance
//! that [`TwoArm::e_value`] *ever* reaches `1/α` is at most `α`, however often it is looked at,
//! whatever the shared error rate does from tick to tick and however traffic is split in each.
//! Never calls a canary harmful because both arms fail alike.
//!
//! ```
//! use mainstay_stats::{ArmCounts, TwoArm};
//! let mut harm = TwoArm::new();
//! for _ in 0..5 {
//!     harm.observe(ArmCounts { total: 100, bad: 5 }, ArmCounts { total: 1_000, bad: 1 })?;
//! }
//! assert!(harm.p_value() < 0.001);
//! # Ok::<(), mainstay_stats::StatsError>(())
//! ```
//!
//! # Formula
//! Given the `m` bad requests of a tick, those of the canary, `x`, are hypergeometric if both arms
//! share one rate: `m` drawn from `n_c + n_b`. With `s = n_c/(n_c + n_b)` the tick's factor for a rate
//! ratio `r > 1` is `r^x / (1 + (r − 1)s)^m`, the likelihood ratio of Lindon and Malek, "Anytime-Valid
//! Inference for Multinomial Count Data" (NeurIPS 2022, arXiv 2011.03567) with a point alternative.
//! It is convex in `x`, so its hypergeometric mean is at most its binomial mean (Hoeffding,
//! JASA 58:13-30, 1963, theorem 4), which is 1; and it grows with `x`, so a canary with lower odds only
//! lowers the mean. Products over ticks, averaged over a fixed grid of `r`, stay a non-negative
//! supermartingale, and Ville's inequality bounds its maximum. A grid of points instead of a Beta prior
//! keeps this exact when `s` changes each tick.

use serde::{Deserialize, Serialize};

use crate::counts::{ArmCounts, StatsError};
use crate::odds::{Direction, OddsMixture};

/// One-sided e-process for "the canary fails more often than the control". Constant size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TwoArm {
    mixture: OddsMixture,
}

impl Default for TwoArm {
    fn default() -> Self {
        Self::new()
    }
}

impl TwoArm {
    /// No evidence yet: e-value 1.
    pub fn new() -> Self {
        Self {
            mixture: OddsMixture::new(Direction::Higher),
        }
    }

    /// Adds the counts of one tick, not running totals. A tick where one arm is idle changes nothing.
    pub fn observe(&mut self, canary: ArmCounts, control: ArmCounts) -> Result<(), StatsError> {
        canary.check()?;
        control.check()?;
        if canary.total == 0 || control.total == 0 {
            return Ok(());
        }
        let share = canary.total as f64 / (canary.total as f64 + control.total as f64);
        let bad = canary.bad.saturating_add(control.bad);
        self.mixture.update(canary.bad, bad, share);
        Ok(())
    }

    /// Evidence for harm now: 1 is none, `1/α` rejects at level `α`. May overflow to infinity.
    pub fn e_value(&self) -> f64 {
        self.log_e().exp()
    }

    /// Natural logarithm of [`Self::e_value`]; always finite.
    pub fn log_e(&self) -> f64 {
        self.mixture.log_e()
    }

    /// The highest [`Self::log_e`] so far, at least 0.
    pub fn highest_log_e(&self) -> f64 {
        self.mixture.highest_log_e()
    }

    /// Anytime-valid p-value: one over the highest e-value so far. Never rises.
    pub fn p_value(&self) -> f64 {
        (-self.highest_log_e()).exp()
    }
}
