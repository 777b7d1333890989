//! Statistics for canaries and experiments: tests, intervals and power that may be looked at every second.
//!
//! A canary is judged while its requests come in. A test made for one look at the end, looked at each
//! second, calls a good canary bad in far more than the promised share of cases. The tests here are
//! *e-processes*: wealth that starts at 1 and, while the null hypothesis holds, is not expected to grow.
//! Ville's inequality bounds the chance that it *ever* reaches `1/α` by `α`, so every look is free:
//!
//! ```text
//! P(there is a t with E_t ≥ 1/α) ≤ α        (Ville 1939; Ramdas et al., Statistical Science 2023)
//! ```
//!
//! | Question | Type | Null hypothesis | Source |
//! |---|---|---|---|
//! | Is the canary worse? | [`TwoArm`] | `p_canary ≤ p_control` in each tick | Lindon and Malek 2022 |
//! | Is it safe to promote? | [`NonInferiority`] | `p_canary − p_control ≥ margin` in each block | Turner, Ly and Grünwald 2024 |
//! | Is one arm over, or under, a limit? | [`LimitTest`] | `p ≤ limit`, or `p ≥ limit` | likelihood ratio mixture |
//!
//! [`Judge`] asks the first two and gives one [`Judgement`]; [`combine`] takes the gravest of several;
//! [`LimitJudge`] is for an arm without a control; [`sample_needed`], [`requests_to_detect`] and
//! [`smallest_detectable`] say beforehand what traffic can show.
//!
//! # Experiments
//! An arm's data are an [`ArmState`]: constant size, mergeable. Two of them make a [`Contrast`] (effect and standard
//! error), and a contrast becomes an [`Estimate`] by a method: [`Contrast::at_one_look`], or one of [`sequential`] that
//! holds at every look (both are an [`Inference`]), or a [`posterior`]. So any metric kind goes with any method.
//! `docs/statistics.md` tells which when.
//!
//! | Module | What it answers |
//! |---|---|
//! | [`metric`] | mean, share, ratio, adjusted by a covariate, quantile, rate: one arm's value and variance |
//! | [`sequential`] | intervals and p-values that hold at every look |
//! | [`bandit`] | traffic by chance to be best, and honest inference from it |
//! | [`spending`] | one level for all guardrails |
//! | [`tail`] | tails of distributions down to 1e-300 and below |
//!
//! [`sample_ratio`] and [`SampleRatio`]: did units fall to arms as meant? [`holm`], [`benjamini_hochberg`],
//! [`benjamini_yekutieli`], [`e_benjamini_hochberg`]: many tests at once. [`Plan`]: what traffic can show.
//! [`heterogeneity`] and [`interaction`]: where effects differ. [`clustered_mean`] and [`Switchback`]: other units than
//! users. [`holdout`]: what all changes together did.
//!
//! ```
//! use mainstay_stats::{ArmState, Ask, AsymptoticSequence, Level, Proportion, Scale};
//! let arm = |units, hits| ArmState::Proportion(Proportion { units, hits });
//! let lift = arm(20_000, 2_000).against(&arm(20_000, 2_300), Scale::Relative)?;
//! let ask = Ask::two_sided(Level::new(0.05)?);
//! assert!(lift.at_one_look(&ask).is_significant());
//! assert!(AsymptoticSequence::default().estimate(&lift, &ask)?.is_significant());
//! # Ok::<(), mainstay_stats::StatsError>(())
//! ```
//!
//! # What it guarantees
//! Pure and deterministic: the same counts give the same verdict. No clock, no input or output, no
//! randomness, constant memory. Impossible counts are refused with [`StatsError`], never repaired.
//!
//! # What it never does
//! It never takes silence for health: without traffic in both arms the verdict is
//! [`Judgement::Insufficient`]. It never blames the canary for a shock both arms feel. It cannot see
//! dependence: if one user's retries make ten bad requests, count sessions or instance-seconds, or
//! the levels do not hold. Within one tick, traffic shares and error rates must not both move: a tick of
//! 1 s keeps that harmless.
//!
//! Harm goes before safety: with much traffic a canary can be shown worse and yet within the margin,
//! and the verdict is then [`Judgement::Harmful`].
//!
//! ```
//! use mainstay_stats::{ArmCounts, Judge, Judgement};
//! let judge = Judge::default();
//! let mut comparison = judge.start()?;
//! for _ in 0..10 {
//!     comparison.observe(ArmCounts { total: 100, bad: 4 }, ArmCounts { total: 1_000, bad: 1 })?;
//! }
//! assert!(matches!(judge.judge(&comparison), Judgement::Harmful { .. }));
//! # Ok::<(), mainstay_stats::StatsError>(())
//! ```

pub mod bandit;
mod bayes;
mod clusters;
mod counts;
mod difference;
mod estimate;
mod holdout;
mod inference;
mod judge;
mod limit;
mod limit_judge;
pub mod metric;
mod moments;
mod multiplicity;
mod odds;
mod plan;
mod power;
mod segments;
pub mod sequential;
mod sketch;
pub mod spending;
mod srm;
mod summary;
pub mod tail;
mod two_arm;

pub use bandit::{Adaptive, Belief, chances_to_be_best, thompson_weights};
pub use bayes::{Posterior, Prior, posterior};
pub use clusters::{Period, Switchback, clustered_mean, design_effect};
pub use counts::{ArmCounts, Pair, StatsError};
pub use difference::{NonInferiority, STRATA};
pub use estimate::{
    Ask, Contrast, Estimate, Interval, Level, Method, PValue, Scale, Side, Validity,
};
pub use holdout::{Claimed, HoldoutReport, Trend, holdout};
pub use inference::Inference;
pub use judge::{Comparison, Evidence, Judge, Judgement, combine};
pub use limit::LimitTest;
pub use limit_judge::{LimitEvidence, LimitJudge, LimitJudgement, LimitWatch};
pub use metric::{
    Adjusted, ArmState, Proportion, QuantileArm, QuantileReading, Rate, adjusted_mean,
    adjusted_ratio, clustering_factor, mean, pooled_test, ratio,
};
pub use moments::Joint;
pub use multiplicity::{benjamini_hochberg, benjamini_yekutieli, e_benjamini_hochberg, holm};
pub use plan::{requests_to_detect, sample_needed, smallest_detectable};
pub use power::{Boundary, Plan, Progress, Traffic, adjusted_variance, planned_se, student_power};
pub use segments::{Heterogeneity, Interaction, SegmentEffect, heterogeneity, interaction};
pub use sequential::{
    AsymptoticSequence, CountProcess, DistributionGap, Msprt, QuantileSequence, RunningP,
    distribution_gap,
};
pub use sketch::{Bucket, DistinctSketch, QuantileSketch};
pub use spending::{Spending, SpendingFunction, first_alarms};
pub use srm::{SampleRatio, SampleRatioReport, sample_ratio};
pub use summary::{Base, Summary};
pub use two_arm::TwoArm;
