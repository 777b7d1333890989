//! The verdict on a canary beside its control.
//!
//! Guarantees one of four verdicts, each with the numbers it rests on. A verdict of harm is wrong with
//! chance at most `alpha_harm`, a promotion of a canary that is worse by `margin` or more with at most
//! `alpha_safe`, over the whole comparison and however often it is judged. Never calls no evidence
//! good, and never calls a failure of both arms harm by the canary.
//!
//! ```
//! use mainstay_stats::{ArmCounts, Judge, Judgement};
//! let judge = Judge::default();
//! let mut comparison = judge.start()?;
//! assert!(matches!(judge.judge(&comparison), Judgement::Insufficient { .. }));
//! for _ in 0..60 {
//!     comparison.observe(ArmCounts { total: 100, bad: 0 }, ArmCounts { total: 1_000, bad: 1 })?;
//! }
//! assert!(matches!(judge.judge(&comparison), Judgement::NonInferior { .. }));
//! # Ok::<(), mainstay_stats::StatsError>(())
//! ```

use serde::{Deserialize, Serialize};

use crate::counts::{ArmCounts, Pair, StatsError, check_share};
use crate::difference::{NonInferiority, STRATA};
use crate::plan::requests_for_deficit;
use crate::two_arm::TwoArm;

/// Weight recent counts keep after one more tick: a memory of about five ticks.
const RECENT_MEMORY: f64 = 0.8;

/// Recent control requests below which its share says nothing about a shared dependency.
const RECENT_SAMPLE: f64 = 20.0;

/// What counts as harm, as safe, and as neither.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Judge {
    /// Chance allowed for calling a canary harmful that is not.
    pub alpha_harm: f64,
    /// Chance allowed for promoting a canary whose bad share is `margin` or more above the control's.
    pub alpha_safe: f64,
    /// Absolute rise of the bad share that is tolerated, such as 0.01 for one request in a hundred.
    pub margin: f64,
    /// Canary requests below which nothing is promoted.
    pub min_sample: u64,
    /// Recent bad share of the control above which both arms are held to be failing.
    pub both_failing_above: f64,
}

impl Default for Judge {
    fn default() -> Self {
        Self {
            alpha_harm: 0.001,
            alpha_safe: 0.05,
            margin: 0.01,
            min_sample: 100,
            both_failing_above: 0.2,
        }
    }
}

impl Judge {
    /// Refuses levels, margins and limits that are not strictly between 0 and 1.
    pub fn check(&self) -> Result<(), StatsError> {
        check_share("alpha_harm", self.alpha_harm)?;
        check_share("alpha_safe", self.alpha_safe)?;
        check_share("margin", self.margin)?;
        check_share("both_failing_above", self.both_failing_above)
    }

    /// The judge for each of `comparisons` metrics or cohorts judged together: `alpha_harm` is divided
    /// among them (e-Bonferroni). `alpha_safe` is not, as [`combine`] promotes only if all pass.
    #[must_use]
    pub fn for_each_of(self, comparisons: u32) -> Self {
        Self {
            alpha_harm: self.alpha_harm / f64::from(comparisons.max(1)),
            ..self
        }
    }

    /// A comparison without evidence, at this judge's margin.
    pub fn start(&self) -> Result<Comparison, StatsError> {
        self.check()?;
        Ok(Comparison {
            harm: TwoArm::new(),
            safety: NonInferiority::new(self.margin)?,
            canary: ArmCounts::default(),
            control: ArmCounts::default(),
            recent_bad: 0.0,
            recent_total: 0.0,
        })
    }

    /// The verdict now. Harm once shown stays shown; all else follows the evidence of the moment.
    pub fn judge(&self, comparison: &Comparison) -> Judgement {
        let evidence = comparison.evidence(self.alpha_safe);
        let highest_log_e = comparison.harm.highest_log_e();
        if highest_log_e >= -self.alpha_harm.ln() {
            return Judgement::Harmful {
                e_value: highest_log_e.exp().min(f64::MAX),
                evidence,
            };
        }
        if let Some(rate) = comparison.recent_control_rate()
            && rate > self.both_failing_above
        {
            return Judgement::BothFailing { rate, evidence };
        }
        let is_sampled = comparison.canary.total >= self.min_sample;
        if is_sampled && evidence.upper_bound <= comparison.safety.margin() {
            return Judgement::NonInferior {
                upper_bound: evidence.upper_bound,
                evidence,
            };
        }
        Judgement::Insufficient {
            needed_requests: self.needed_requests(comparison),
            evidence,
        }
    }

    fn needed_requests(&self, comparison: &Comparison) -> Option<u64> {
        let Comparison {
            canary, control, ..
        } = comparison;
        let baseline = control.rate().unwrap_or(0.0);
        let ratio = match (canary.total, control.total) {
            (0, _) | (_, 0) => 1.0,
            (canary, control) => control as f64 / canary as f64,
        };
        let deficit = -self.alpha_safe.ln() - comparison.safety.log_e();
        let for_evidence =
            requests_for_deficit(baseline, comparison.safety.margin(), ratio, deficit)?;
        let for_sample = self.min_sample.saturating_sub(canary.total);
        Some(for_evidence.max(for_sample).max(1))
    }
}

/// The running evidence of one metric in one cohort. Constant size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    harm: TwoArm,
    safety: NonInferiority,
    canary: ArmCounts,
    control: ArmCounts,
    recent_bad: f64,
    recent_total: f64,
}

impl Comparison {
    /// Adds the counts of one tick, not running totals.
    pub fn observe(&mut self, canary: ArmCounts, control: ArmCounts) -> Result<(), StatsError> {
        self.observe_strata([Pair { canary, control }, Pair::default()])
    }

    /// Adds the counts of one tick, apart by kind of request. Each kind of the canary is compared with the same
    /// kind of the control, and the evidence is one: a canary that gets mostly probes is not taken for better,
    /// or worse, than a control that gets mostly users.
    pub fn observe_strata(&mut self, strata: [Pair; STRATA]) -> Result<(), StatsError> {
        self.safety.observe_strata(strata)?;
        let mut all = Pair::default();
        for pair in strata {
            self.harm.observe(pair.canary, pair.control)?;
            all = all.plus(pair);
        }
        self.canary = self.canary.plus(all.canary);
        self.control = self.control.plus(all.control);
        self.recent_bad = self.recent_bad * RECENT_MEMORY + all.control.bad as f64;
        self.recent_total = self.recent_total * RECENT_MEMORY + all.control.total as f64;
        Ok(())
    }

    /// The harm test.
    pub fn harm(&self) -> &TwoArm {
        &self.harm
    }

    /// The non-inferiority test.
    pub fn safety(&self) -> &NonInferiority {
        &self.safety
    }

    fn recent_control_rate(&self) -> Option<f64> {
        (self.recent_total >= RECENT_SAMPLE).then(|| self.recent_bad / self.recent_total)
    }

    fn evidence(&self, alpha_safe: f64) -> Evidence {
        let (canary_rate, control_rate) = (self.canary.rate(), self.control.rate());
        Evidence {
            canary: self.canary,
            control: self.control,
            canary_rate,
            control_rate,
            difference: canary_rate
                .zip(control_rate)
                .map(|(canary, control)| canary - control),
            upper_bound: self.safety.upper_bound(alpha_safe),
            margin: self.safety.margin(),
            harm_log_e: self.harm.log_e(),
            harm_p_value: self.harm.p_value(),
            safety_log_e: self.safety.log_e(),
        }
    }
}

/// The numbers behind a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// All counts of the canary.
    pub canary: ArmCounts,
    /// All counts of the control.
    pub control: ArmCounts,
    /// Bad share of the canary, if it served anything.
    pub canary_rate: Option<f64>,
    /// Bad share of the control, if it served anything.
    pub control_rate: Option<f64>,
    /// Canary's bad share minus the control's.
    pub difference: Option<f64>,
    /// Anytime-valid upper bound for the difference, at `1 − alpha_safe`; 1 if nothing is known.
    pub upper_bound: f64,
    /// Difference the canary had to stay below.
    pub margin: f64,
    /// Natural logarithm of the evidence for harm now.
    pub harm_log_e: f64,
    /// Anytime-valid p-value of "the canary is no worse".
    pub harm_p_value: f64,
    /// Natural logarithm of the evidence for safety now.
    pub safety_log_e: f64,
}

/// A verdict, with the evidence to print beside it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Judgement {
    /// The canary is within the margin: it may be promoted.
    NonInferior {
        /// Upper bound for the difference of the bad shares.
        upper_bound: f64,
        /// All numbers.
        evidence: Evidence,
    },
    /// The canary fails more often than the control: roll it back.
    Harmful {
        /// Highest evidence for harm; at least `1/alpha_harm`.
        e_value: f64,
        /// All numbers.
        evidence: Evidence,
    },
    /// The control fails too: look for a shared cause before blaming, or promoting, the canary.
    BothFailing {
        /// Recent bad share of the control.
        rate: f64,
        /// All numbers.
        evidence: Evidence,
    },
    /// Neither harm nor safety is shown.
    Insufficient {
        /// About how many more canary requests show safety if the canary is as good as the control;
        /// nothing if no number would, because the control fails every request.
        needed_requests: Option<u64>,
        /// All numbers.
        evidence: Evidence,
    },
}

impl Judgement {
    /// The numbers behind the verdict.
    pub fn evidence(&self) -> &Evidence {
        match self {
            Self::NonInferior { evidence, .. }
            | Self::Harmful { evidence, .. }
            | Self::BothFailing { evidence, .. }
            | Self::Insufficient { evidence, .. } => evidence,
        }
    }

    /// Order of gravity among verdicts, then among equal verdicts.
    fn gravity(&self) -> (u8, f64) {
        match self {
            Self::NonInferior { upper_bound, .. } => (0, *upper_bound),
            Self::Insufficient {
                needed_requests, ..
            } => (1, needed_requests.map_or(f64::MAX, |needed| needed as f64)),
            Self::BothFailing { rate, .. } => (2, *rate),
            Self::Harmful { e_value, .. } => (3, *e_value),
        }
    }
}

/// The gravest of several verdicts: harmful, both failing, insufficient, and non-inferior only if all
/// are. Nothing for no verdicts: what was not measured is not promoted.
///
/// Judge each with [`Judge::for_each_of`], or the chance of false harm adds up.
pub fn combine(judgements: &[Judgement]) -> Option<&Judgement> {
    judgements.iter().max_by(|left, right| {
        let (left, right) = (left.gravity(), right.gravity());
        left.0.cmp(&right.0).then(left.1.total_cmp(&right.1))
    })
}
