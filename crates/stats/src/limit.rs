//! One arm against an absolute limit, for when there is no control.
//!
//! Guarantees: if the bad share stays on the null's side of the limit, the chance that the e-value
//! *ever* reaches `1/α` is at most `α`. Never corrects for a shared shock: without a control an outage
//! of a dependency looks like harm, so prefer [`crate::TwoArm`] where a control exists.
//!
//! ```
//! use mainstay_stats::{ArmCounts, LimitTest};
//! let mut above = LimitTest::above(0.01)?;
//! above.observe(ArmCounts { total: 300, bad: 30 })?;
//! assert!(above.p_value() < 1e-6);
//! # Ok::<(), mainstay_stats::StatsError>(())
//! ```
//!
//! # Formula
//! With limit `L`, alternative `q` at odds ratio `r` to `L`, and `x` bad of `n`:
//! `(q/L)^x·((1−q)/(1−L))^(n−x) = r^x/(1 + (r−1)L)^n`. One request's factor has mean
//! `1 + (p−L)(q−L)/(L(1−L))`, at most 1 while `p` is on the null's side, even if `p` changes with
//! every request. Averaged over a grid of `r`; Ville's inequality does the rest (Ramdas et al.,
//! "Game-Theoretic Statistics and Safe Anytime-Valid Inference", Statistical Science 2023).

use serde::{Deserialize, Serialize};

use crate::counts::{ArmCounts, StatsError, check_share};
use crate::odds::{Direction, OddsMixture};

/// One-sided e-process for a bad share above, or below, a limit. Constant size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LimitTest {
    limit: f64,
    mixture: OddsMixture,
}

impl LimitTest {
    /// Tests the null "the bad share is at most `limit`"; rejecting it means the arm is too bad.
    pub fn above(limit: f64) -> Result<Self, StatsError> {
        Self::new(limit, Direction::Higher)
    }

    /// Tests the null "the bad share is at least `limit`"; rejecting it means the arm is good enough.
    pub fn below(limit: f64) -> Result<Self, StatsError> {
        Self::new(limit, Direction::Lower)
    }

    fn new(limit: f64, direction: Direction) -> Result<Self, StatsError> {
        check_share("limit", limit)?;
        Ok(Self {
            limit,
            mixture: OddsMixture::new(direction),
        })
    }

    /// Adds the counts of one tick, not running totals.
    pub fn observe(&mut self, arm: ArmCounts) -> Result<(), StatsError> {
        arm.check()?;
        self.mixture.update(arm.bad, arm.total, self.limit);
        Ok(())
    }

    /// Natural logarithm of the evidence against the null now; always finite.
    pub fn log_e(&self) -> f64 {
        self.mixture.log_e()
    }

    /// Evidence against the null now: 1 is none, `1/α` rejects at level `α`.
    pub fn e_value(&self) -> f64 {
        self.log_e().exp()
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
