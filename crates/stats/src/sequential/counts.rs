//! E-processes for counts that fall to arms in fixed shares.

use serde::{Deserialize, Serialize};

use crate::counts::{StatsError, check_positive, check_share};
use crate::estimate::{Interval, Level, PValue};
use crate::odds::log_sum_exp;
use crate::tail::beta::ln_beta;
use crate::tail::gamma::stirling_rest;

/// What the prior around the expected shares weighs, in counts. Three spreads, so that a gross mismatch is found
/// in few counts and a small one in many; together they cost at most ln 3 = 1.1 nats.
const CONCENTRATIONS: [f64; 3] = [10.0, 300.0, 10_000.0];

/// Arms of one process at most.
const MOST_ARMS: usize = 1_000;

/// Halvings when a bound is searched.
const HALVINGS: u32 = 200;

/// Tests "each count falls to arm `i` with chance `wᵢ`", at all times. State: one count an arm.
///
/// Lindon and Malek, "Anytime-Valid Inference for Multinomial Count Data" (NeurIPS 2022, arXiv 2011.03567), here
/// averaged over three concentrations of the Dirichlet prior:
///
/// ```text
/// E = Γ(A)/Γ(A + n) · Π Γ(αᵢ + xᵢ)/Γ(αᵢ) · Π wᵢ^(−xᵢ)        αᵢ = A·wᵢ
/// ```
///
/// By the same paper the counts may be those of Poisson processes whose rates move together in time,
/// with `wᵢ` the arms' shares of the exposure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CountProcess {
    shares: Vec<f64>,
    counts: Vec<u64>,
    /// Evidence of phases with other shares.
    earlier_log_e: f64,
    highest_log_e: f64,
}

impl CountProcess {
    /// Weights are positive, in any unit.
    pub fn new(weights: &[f64]) -> Result<Self, StatsError> {
        Ok(Self {
            shares: shares(weights)?,
            counts: vec![0; weights.len()],
            earlier_log_e: 0.0,
            highest_log_e: 0.0,
        })
    }

    /// Adds the counts since the last look, one an arm.
    pub fn observe(&mut self, counts: &[u64]) -> Result<(), StatsError> {
        if counts.len() != self.counts.len() {
            return Err(StatsError::Unlike {
                what: "number of arms",
            });
        }
        for (all, more) in self.counts.iter_mut().zip(counts) {
            *all = all.saturating_add(*more);
        }
        self.highest_log_e = self.highest_log_e.max(self.log_e());
        Ok(())
    }

    /// Counts from now on are expected in other shares; the evidence so far is kept. A factor that starts at 1 after
    /// the past is fixed leaves the product an e-process.
    pub fn reweigh(&mut self, weights: &[f64]) -> Result<(), StatsError> {
        let shares = shares(weights)?;
        self.earlier_log_e = self.log_e();
        self.counts = vec![0; shares.len()];
        self.shares = shares;
        Ok(())
    }

    /// Natural logarithm of the evidence against the shares, now.
    pub fn log_e(&self) -> f64 {
        let logs = CONCENTRATIONS.map(|it| log_e(&self.shares, &self.counts, it));
        self.earlier_log_e + log_sum_exp(&logs) - (CONCENTRATIONS.len() as f64).ln()
    }

    /// Natural logarithm of the evidence of the counts since the last [`Self::reweigh`], with one concentration.
    pub fn log_e_at(&self, concentration: f64) -> f64 {
        log_e(&self.shares, &self.counts, concentration)
    }

    /// Always-valid p-value: one over the highest evidence at any look.
    pub fn p(&self) -> PValue {
        PValue::from_ln(-self.highest_log_e)
    }

    /// Counts since the last [`Self::reweigh`].
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Confidence sequence for the rate of arm 1 over that of arm 0, of counts that came in these exposures; 0 to
    /// infinity without counts.
    ///
    /// All ratios `ρ` that the e-process of two arms, at share `s·ρ/(s·ρ + 1 − s)` of arm 1, does not reject
    /// (the same paper's confidence sequence), with a Beta prior of `concentration` counts around equal rates.
    pub fn rate_ratio(
        counts: [u64; 2],
        exposures: [f64; 2],
        concentration: f64,
        level: Level,
    ) -> Result<Interval, StatsError> {
        check_positive("exposure of the control", exposures[0])?;
        check_positive("exposure of the treatment", exposures[1])?;
        check_positive("concentration", concentration)?;
        let share = exposures[1] / (exposures[0] + exposures[1]);
        check_share("share of the exposure", share)?;
        let (prior_one, prior_zero) = (concentration * share, concentration * (1.0 - share));
        let (ones, zeros) = (counts[1] as f64, counts[0] as f64);
        let mixed = ln_beta(prior_one + ones, prior_zero + zeros) - ln_beta(prior_one, prior_zero);
        let needed = -level.alpha().ln();
        // In log odds of arm 1 the evidence is convex, with its lowest point at the counts' odds.
        let is_kept = |odds: f64| {
            let (ln_one, ln_zero) = (-(-odds).exp().ln_1p(), -odds.exp().ln_1p());
            let against = |count: f64, ln: f64| if count > 0.0 { count * ln } else { 0.0 };
            mixed - against(ones, ln_one) - against(zeros, ln_zero) < needed
        };
        const FAR: f64 = 700.0;
        let middle = (ones.max(1e-9) / zeros.max(1e-9)).ln().clamp(-FAR, FAR);
        let bound = |mut outside: f64| {
            if is_kept(outside) {
                return outside.signum() * f64::INFINITY;
            }
            let mut inside = middle;
            for _ in 0..HALVINGS {
                let next = f64::midpoint(inside, outside);
                if is_kept(next) {
                    inside = next;
                } else {
                    outside = next;
                }
            }
            outside
        };
        let base = (share / (1.0 - share)).ln();
        Ok(Interval {
            low: (bound(-FAR) - base).exp(),
            high: (bound(FAR) - base).exp(),
        })
    }
}

fn shares(weights: &[f64]) -> Result<Vec<f64>, StatsError> {
    crate::counts::check_enough("arms", weights.len() as u64, 2)?;
    if weights.len() > MOST_ARMS {
        return Err(StatsError::OutOfRange {
            setting: "number of arms",
            value: weights.len() as f64,
            allowed: "at most 1,000",
        });
    }
    for weight in weights {
        check_positive("weight", *weight)?;
    }
    let sum: f64 = weights.iter().sum();
    Ok(weights.iter().map(|weight| weight / sum).collect())
}

/// The formula with every large term cancelled by hand, so that a billion counts lose nothing: with `yᵢ = αᵢ + xᵢ` and
/// `Y = A + n`, Stirling's formula turns it into a divergence of `y/Y` from `w` plus logarithms.
fn log_e(shares: &[f64], counts: &[u64], concentration: f64) -> f64 {
    let all: f64 = counts.iter().map(|it| *it as f64).sum();
    let whole = concentration + all;
    let mut sum = stirling_rest(concentration) - stirling_rest(whole);
    for (share, count) in shares.iter().zip(counts) {
        let prior = concentration * share;
        let own = prior + *count as f64;
        let expected = whole * share;
        // e·((1 + d)·ln(1 + d) − d) with d = (y − e)/e, and y − e = x − n·w.
        let excess = (*count as f64 - all * share) / expected;
        let divergence = if excess <= -1.0 {
            1.0
        } else {
            // (1 + d)·ln(1 + d) − d = d²  + (1 + d)·(ln(1 + d) − d)
            excess * excess + (1.0 + excess) * crate::tail::ln_1p_minus(excess)
        };
        sum += expected * divergence - 0.5 * (own / prior).ln() + stirling_rest(own)
            - stirling_rest(prior);
    }
    sum + 0.5 * (whole / concentration).ln()
}
