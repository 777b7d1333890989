//! The verdict on one arm without a control, against an absolute limit.
//!
//! Guarantees what [`LimitTest`] does, at `alpha_harm` for "above" and `alpha_safe` for "below". Never
//! tells a bad version from a bad dependency: only a control can.
//!
//! ```
//! use mainstay_stats::{ArmCounts, LimitJudge, LimitJudgement};
//! let judge = LimitJudge::default();
//! let mut watch = judge.start()?;
//! watch.observe(ArmCounts { total: 2_000, bad: 1 })?;
//! assert!(matches!(judge.judge(&watch), LimitJudgement::Below { .. }));
//! # Ok::<(), mainstay_stats::StatsError>(())
//! ```

use serde::{Deserialize, Serialize};

use crate::counts::{ArmCounts, StatsError, check_share};
use crate::limit::LimitTest;

/// The limit, and how sure a verdict has to be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitJudge {
    /// Chance allowed for calling an arm above the limit that never is.
    pub alpha_harm: f64,
    /// Chance allowed for calling an arm below the limit that never is.
    pub alpha_safe: f64,
    /// The bad share that is too much.
    pub limit: f64,
    /// Requests below which nothing is promoted.
    pub min_sample: u64,
}

impl Default for LimitJudge {
    fn default() -> Self {
        Self {
            alpha_harm: 0.001,
            alpha_safe: 0.05,
            limit: 0.01,
            min_sample: 100,
        }
    }
}

impl LimitJudge {
    /// A watch without evidence; refuses levels or limits not strictly between 0 and 1.
    pub fn start(&self) -> Result<LimitWatch, StatsError> {
        check_share("alpha_harm", self.alpha_harm)?;
        check_share("alpha_safe", self.alpha_safe)?;
        Ok(LimitWatch {
            above: LimitTest::above(self.limit)?,
            below: LimitTest::below(self.limit)?,
            arm: ArmCounts::default(),
        })
    }

    /// The verdict now. "Above" once shown stays shown; "below" follows the evidence of the moment.
    pub fn judge(&self, watch: &LimitWatch) -> LimitJudgement {
        let evidence = LimitEvidence {
            arm: watch.arm,
            rate: watch.arm.rate(),
            limit: self.limit,
            above_p_value: watch.above.p_value(),
            below_log_e: watch.below.log_e(),
        };
        let highest_log_e = watch.above.highest_log_e();
        if highest_log_e >= -self.alpha_harm.ln() {
            return LimitJudgement::Above {
                e_value: highest_log_e.exp().min(f64::MAX),
                evidence,
            };
        }
        let is_sampled = watch.arm.total >= self.min_sample;
        if is_sampled && watch.below.log_e() >= -self.alpha_safe.ln() {
            return LimitJudgement::Below { evidence };
        }
        LimitJudgement::Insufficient { evidence }
    }
}

/// The running evidence of one arm against one limit. Constant size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LimitWatch {
    above: LimitTest,
    below: LimitTest,
    arm: ArmCounts,
}

impl LimitWatch {
    /// Adds the counts of one tick, not running totals.
    pub fn observe(&mut self, arm: ArmCounts) -> Result<(), StatsError> {
        self.above.observe(arm)?;
        self.below.observe(arm)?;
        self.arm = self.arm.plus(arm);
        Ok(())
    }
}

/// The numbers behind a verdict against a limit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LimitEvidence {
    /// All counts.
    pub arm: ArmCounts,
    /// Bad share, if anything was served.
    pub rate: Option<f64>,
    /// The limit.
    pub limit: f64,
    /// Anytime-valid p-value of "the bad share is at most the limit".
    pub above_p_value: f64,
    /// Natural logarithm of the evidence, now, that the bad share is below the limit.
    pub below_log_e: f64,
}

/// A verdict against a limit, with the evidence to print beside it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum LimitJudgement {
    /// The bad share is below the limit.
    Below {
        /// All numbers.
        evidence: LimitEvidence,
    },
    /// The bad share is above the limit.
    Above {
        /// Highest evidence for it; at least `1/alpha_harm`.
        e_value: f64,
        /// All numbers.
        evidence: LimitEvidence,
    },
    /// Neither is shown.
    Insufficient {
        /// All numbers.
        evidence: LimitEvidence,
    },
}
