//! Sequential tests, intervals and power that may be looked at every second.
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

mod counts;
mod difference;
mod judge;
mod limit;
mod limit_judge;
mod odds;
mod plan;
mod two_arm;

pub use counts::{ArmCounts, Pair, StatsError};
pub use difference::{NonInferiority, STRATA};
pub use judge::{Comparison, Evidence, Judge, Judgement, combine};
pub use limit::LimitTest;
pub use limit_judge::{LimitEvidence, LimitJudge, LimitJudgement, LimitWatch};
pub use plan::{requests_to_detect, sample_needed, smallest_detectable};
pub use two_arm::TwoArm;
