//! How much traffic a verdict takes, for the plan printed before a canary starts.
//!
//! Guarantees estimates from the same stakes and likelihood ratios the tests use, at 80 % power. They
//! are approximations (normal for the spread of the evidence), never part of a verdict.
//!
//! ```
//! use mainstay_stats::{sample_needed, smallest_detectable};
//! // 0.1 % of requests fail; canary gets a tenth of the control's traffic.
//! let requests = sample_needed(0.001, 0.01, 0.05, 10.0).expect("a margin that can be shown");
//! assert!((300..1_000).contains(&requests));
//! let rate = smallest_detectable(6_000, 0.001, 0.001, 10.0).expect("enough traffic");
//! assert!((0.002..0.01).contains(&rate));
//! ```
//!
//! # Formula
//! If one canary request (with its share of control requests) adds evidence of mean `g` and variance
//! `v`, then `n` of them reach `c` with chance `Φ(z)` where `n·g − z·√(n·v) = c`, that is
//! `√n = (z√v + √(z²v + 4gc)) / 2g`.

use statrs::distribution::{ContinuousCDF, Normal};

use crate::difference::Stake;
use crate::odds::RATIOS;

/// Chance with which the planned traffic suffices.
const POWER: f64 = 0.8;

/// Evidence the portfolio of the non-inferiority test gives up: its main stake starts at 40 % of the
/// wealth, and the rest is the wait until the rate is learned.
const PORTFOLIO_COST: f64 = 1.2;

/// Evidence the grid of odds ratios gives up: between two and three of 16 points share the win.
const GRID_COST: f64 = 1.9;

/// The learned rate seldom falls below this while a test is young.
const LOWEST_LEARNED: f64 = 0.0005;

/// Halvings when searching the smallest detectable rate.
const HALVINGS: u32 = 50;

/// Canary requests after which a canary as good as the control is shown to be within `margin`, at level
/// `alpha`, in four of five runs.
///
/// `baseline` is the bad share of both arms, `control_ratio` the number of control requests for each
/// canary request. Nothing if an input is out of range; a `baseline` of 1 is, as no traffic would suffice.
pub fn sample_needed(baseline: f64, margin: f64, alpha: f64, control_ratio: f64) -> Option<u64> {
    if !is_share(alpha) {
        return None;
    }
    let spread = safe_growth(baseline, margin, control_ratio)?;
    requests_until(PORTFOLIO_COST - alpha.ln(), spread)
}

/// Canary requests that would raise the evidence for non-inferiority by `deficit` nats.
pub(crate) fn requests_for_deficit(
    baseline: f64,
    margin: f64,
    control_ratio: f64,
    deficit: f64,
) -> Option<u64> {
    let spread = safe_growth(baseline, margin, control_ratio)?;
    requests_until(deficit.max(0.0), spread)
}

/// The lowest bad share of a canary that `requests` canary requests reveal as harm, at level `alpha`,
/// in four of five runs. Nothing if even a canary that fails every request might stay hidden.
pub fn smallest_detectable(
    requests: u64,
    baseline: f64,
    alpha: f64,
    control_ratio: f64,
) -> Option<f64> {
    let is_found = |rate: f64| {
        requests_to_detect(baseline, rate, alpha, control_ratio)
            .is_some_and(|needed| needed <= requests)
    };
    if !is_found(1.0) {
        return None;
    }
    let (mut hidden, mut found) = (baseline, 1.0);
    for _ in 0..HALVINGS {
        let rate = f64::midpoint(hidden, found);
        if is_found(rate) {
            found = rate;
        } else {
            hidden = rate;
        }
    }
    Some(found)
}

/// Canary requests after which a canary that fails at `canary_rate` is called harmful, at level
/// `alpha`, in four of five runs. Nothing if `canary_rate` is not above `baseline`.
pub fn requests_to_detect(
    baseline: f64,
    canary_rate: f64,
    alpha: f64,
    control_ratio: f64,
) -> Option<u64> {
    let is_sound = (0.0..1.0).contains(&baseline)
        && canary_rate > baseline
        && canary_rate <= 1.0
        && is_share(alpha)
        && is_ratio(control_ratio);
    if !is_sound {
        return None;
    }
    let highest = RATIOS.into_iter().fold(1.0, f64::max);
    let ratio = (canary_rate / baseline).min(highest);
    let per_bad = ((ratio - 1.0) / (1.0 + control_ratio)).ln_1p();
    let (canary, control) = (ratio.ln() - per_bad, -per_bad);
    let control_bad = control_ratio * baseline;
    requests_until(
        GRID_COST - alpha.ln(),
        Growth {
            mean: canary_rate * canary + control_bad * control,
            variance: canary_rate * canary * canary + control_bad * control * control,
        },
    )
}

/// Mean and variance of the evidence one canary request adds.
#[derive(Clone, Copy)]
struct Growth {
    mean: f64,
    variance: f64,
}

fn safe_growth(baseline: f64, margin: f64, control_ratio: f64) -> Option<Growth> {
    let is_sound = (0.0..1.0).contains(&baseline) && is_share(margin) && is_ratio(control_ratio);
    if !is_sound {
        return None;
    }
    let stake = Stake::best(margin, baseline.max(LOWEST_LEARNED), control_ratio);
    let [canary_bad, canary_good, control_bad, control_good] = stake.logs(1.0);
    let mean_of = |bad: f64, good: f64| baseline * bad + (1.0 - baseline) * good;
    let variance_of = |bad: f64, good: f64| baseline * (1.0 - baseline) * (bad - good).powi(2);
    Some(Growth {
        mean: mean_of(canary_bad, canary_good) + control_ratio * mean_of(control_bad, control_good),
        variance: variance_of(canary_bad, canary_good)
            + control_ratio * variance_of(control_bad, control_good),
    })
}

fn requests_until(evidence: f64, growth: Growth) -> Option<u64> {
    // Written so that NaN is refused too.
    if !(growth.mean > 0.0 && growth.variance >= 0.0) {
        return None;
    }
    let spread = Normal::standard().inverse_cdf(POWER) * growth.variance.sqrt();
    let root =
        (spread + (spread * spread + 4.0 * growth.mean * evidence).sqrt()) / (2.0 * growth.mean);
    Some((root * root).ceil() as u64)
}

fn is_share(value: f64) -> bool {
    value > 0.0 && value < 1.0
}

fn is_ratio(value: f64) -> bool {
    value > 0.0 && value.is_finite()
}
