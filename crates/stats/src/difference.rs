//! Non-inferiority: is the canary's bad share less than the control's plus a margin?
//!
//! Guarantees: if in every block of traffic the canary's mean bad share exceeds the control's by at
//! least the margin, the chance that the e-value *ever* reaches `1/α` is at most `α`. The rates of both
//! arms may change at any time. Never promotes for lack of evidence: no traffic leaves the e-value at 1.
//!
//! ```
//! use mainstay_stats::{ArmCounts, NonInferiority};
//! let mut safe = NonInferiority::new(0.01)?;
//! for _ in 0..10 {
//!     safe.observe(ArmCounts { total: 50, bad: 0 }, ArmCounts { total: 500, bad: 1 })?;
//! }
//! assert!(safe.upper_bound(0.05) <= 0.01);
//! # Ok::<(), mainstay_stats::StatsError>(())
//! ```
//!
//! # Formula
//! A block is a tick, or several until both arms have served a request, of one kind of requests. With `n_c`, `n_b` requests,
//! margin `δ`, a stake `λ ≥ 0` and a centre `a`, both fixed from earlier blocks and the block's sizes:
//!
//! ```text
//! E = Π_canary (1 − λ/n_c·(y − a − δ)) · Π_control (1 + λ/n_b·(y − a))
//! ```
//!
//! As `1 + z ≤ exp z`, its mean is at most `exp(−λ(p_c − p_b − δ))`, at most 1 under the null, whatever
//! `p_b` is and even if rates differ within the block. The best `λ` and `a` against the alternative
//! "both arms fail at rate q" follow from projecting `q` on the null in Kullback-Leibler divergence
//! weighted by `n_c`, `n_b`: Turner, Ly and Grünwald, "Generic E-variables for exact sequential
//! k-sample tests that allow for optional stopping" (JSPI 2024, arXiv 2106.02693); Turner and Grünwald,
//! "Exact anytime-valid confidence intervals for contingency tables and beyond" (SPL 2023, arXiv
//! 2203.09785). Error in that projection costs power, never validity.
//!
//! The wealth is spread over five stakes (three sizes at a `q` learned from past blocks, two at fixed
//! `q`) and cash. After each block a small part of it returns to the first spread (fixed share, Herbster
//! and Warmuth, Machine Learning 32, 1998), which bounds what one shock can destroy. A portfolio chosen
//! before the block keeps the mean at most 1.

use serde::{Deserialize, Serialize};

use crate::counts::{ArmCounts, Pair, StatsError, check_share};
use crate::odds::log_sum_exp;

/// What one stake of the portfolio assumes: share of the wealth at the start, fraction of the best
/// stake, and bad share of both arms (`None`: learned from past blocks). A fraction of 0 is cash.
const PORTFOLIO: [(f64, f64, Option<f64>); STAKES] = [
    (0.40, 1.0, None),
    (0.15, 0.5, None),
    (0.10, 0.2, None),
    (0.20, 1.0, Some(0.001)),
    (0.05, 1.0, Some(0.1)),
    (0.10, 0.0, Some(0.0)),
];
const STAKES: usize = 6;

/// Part of the wealth returned to the first spread after each block: an hour of 1 s blocks costs
/// 1.8 nats at most, and one shock at most ln(1/(0.0005·0.1)) = 9.9 nats.
const FIXED_SHARE: f64 = 0.0005;

/// Weight that a block keeps in the learned rate after one more block: a memory of about 20 blocks.
const MEMORY: f64 = 0.95;

/// The learned rate starts at 0.5 bad of 100 requests, and never reaches 0.
const PRIOR: (f64, f64) = (0.5, 100.0);

/// Margins whose evidence is kept for [`NonInferiority::upper_bound`], as multiples of the asked one.
const MULTIPLES: [f64; 9] = [0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0];

/// Kinds of requests that are told apart, such as those of users and probes.
pub const STRATA: usize = 2;

/// Halvings in the projection: leaves 6e-8 of the interval.
const HALVINGS: u32 = 24;

/// Anytime-valid test and upper bound for the difference of two bad shares. Constant size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NonInferiority {
    margin: f64,
    wagers: Vec<Wager>,
    /// What waits in each stratum until both arms have served.
    pending: [Pair; STRATA],
    recent_bad: f64,
    recent_total: f64,
}

impl NonInferiority {
    /// Tests the null "canary minus control is at least `margin`" (a share, such as 0.01), and keeps
    /// evidence at a few multiples of it for the upper bound.
    pub fn new(margin: f64) -> Result<Self, StatsError> {
        Self::with_margins(margin, &MULTIPLES)
    }

    /// As [`Self::new`] without the other margins: a ninth of the work, a bound of `margin` or 1.
    pub fn single(margin: f64) -> Result<Self, StatsError> {
        Self::with_margins(margin, &[1.0])
    }

    fn with_margins(margin: f64, multiples: &[f64]) -> Result<Self, StatsError> {
        check_share("margin", margin)?;
        let wagers = multiples
            .iter()
            .map(|multiple| Wager::new(margin * multiple))
            .filter(|wager| wager.margin < 1.0)
            .collect();
        Ok(Self {
            margin,
            wagers,
            pending: [Pair::default(); STRATA],
            recent_bad: 0.0,
            recent_total: 0.0,
        })
    }

    /// Adds the counts of one tick, not running totals.
    pub fn observe(&mut self, canary: ArmCounts, control: ArmCounts) -> Result<(), StatsError> {
        self.observe_strata([Pair { canary, control }, Pair::default()])
    }

    /// Adds the counts of one tick, apart by kind of request: each stratum makes blocks of its own, so that
    /// arms which serve the kinds in other proportions are never compared across them.
    pub fn observe_strata(&mut self, strata: [Pair; STRATA]) -> Result<(), StatsError> {
        for pair in strata {
            pair.check()?;
        }
        for (index, pair) in strata.into_iter().enumerate() {
            let pending = self.pending[index].plus(pair);
            let is_whole = pending.canary.total > 0 && pending.control.total > 0;
            self.pending[index] = if is_whole { Pair::default() } else { pending };
            if is_whole {
                self.play(pending);
            }
        }
        Ok(())
    }

    fn play(&mut self, Pair { canary, control }: Pair) {
        let block = Block {
            canary,
            control,
            learned_rate: (self.recent_bad + PRIOR.0) / (self.recent_total + PRIOR.1),
        };
        for wager in &mut self.wagers {
            wager.play(&block);
        }
        let served = block.canary.plus(block.control);
        self.recent_bad = self.recent_bad * MEMORY + served.bad as f64;
        self.recent_total = self.recent_total * MEMORY + served.total as f64;
    }

    /// The margin under test.
    pub fn margin(&self) -> f64 {
        self.margin
    }

    /// Natural logarithm of the evidence, now, that the difference is below the margin.
    pub fn log_e(&self) -> f64 {
        self.wagers
            .iter()
            .find(|wager| wager.margin == self.margin)
            .map_or(0.0, |wager| wager.log_e)
    }

    /// Evidence, now, that the difference is below the margin; `1/α` shows it at level `α`.
    pub fn e_value(&self) -> f64 {
        self.log_e().exp()
    }

    /// Upper bound for canary minus control, right at all times together with chance `1 − alpha`:
    /// the lowest kept margin that, like all larger ones, is rejected now; 1 when none is.
    pub fn upper_bound(&self, alpha: f64) -> f64 {
        let needed = -alpha.ln();
        self.wagers
            .iter()
            .rev()
            .take_while(|wager| wager.log_e >= needed)
            .last()
            .map_or(1.0, |wager| wager.margin)
    }
}

/// Counts judged together, and the rate learned before them.
struct Block {
    canary: ArmCounts,
    control: ArmCounts,
    learned_rate: f64,
}

/// Wealth at one margin: its logarithm, and how it is spread over [`PORTFOLIO`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Wager {
    margin: f64,
    log_e: f64,
    spread: [f64; STAKES],
}

impl Wager {
    fn new(margin: f64) -> Self {
        Self {
            margin,
            log_e: 0.0,
            spread: PORTFOLIO.map(|(share, _, _)| share),
        }
    }

    fn play(&mut self, block: &Block) {
        let learned = Stake::against(self.margin, block.learned_rate, block);
        let mut logs = [0.0; STAKES];
        for (index, (_, fraction, rate)) in PORTFOLIO.into_iter().enumerate() {
            let log_factor = match rate {
                None => learned.log_factor(fraction, block),
                Some(rate) if fraction > 0.0 => {
                    Stake::against(self.margin, rate, block).log_factor(fraction, block)
                }
                Some(_) => 0.0,
            };
            logs[index] = self.spread[index].ln() + log_factor;
        }
        let log_growth = log_sum_exp(&logs);
        self.log_e += log_growth;
        for (index, (start, _, _)) in PORTFOLIO.into_iter().enumerate() {
            let share = (logs[index] - log_growth).exp();
            self.spread[index] = (1.0 - FIXED_SHARE) * share + FIXED_SHARE * start;
        }
    }
}

/// One bet on a block: centres of both arms, and the stake per request of each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stake {
    canary_centre: f64,
    control_centre: f64,
    per_canary: f64,
    per_control: f64,
}

impl Stake {
    const NONE: Self = Self {
        canary_centre: 0.0,
        control_centre: 0.0,
        per_canary: 0.0,
        per_control: 0.0,
    };

    fn against(margin: f64, rate: f64, block: &Block) -> Self {
        Self::best(
            margin,
            rate,
            block.control.total as f64 / block.canary.total as f64,
        )
    }

    /// The best stake against "both arms fail at `rate`", with `ratio` control requests a canary one.
    pub(crate) fn best(margin: f64, rate: f64, ratio: f64) -> Self {
        // The projection's control rate lies where the slopes of both divergences cancel.
        let (mut low, mut high) = ((rate - margin).max(0.0), rate.min(1.0 - margin));
        if low >= high || ratio <= 0.0 {
            return Self::NONE;
        }
        for _ in 0..HALVINGS {
            let control = f64::midpoint(low, high);
            let canary = control + margin;
            let canary_slope = (canary - rate) / (canary * (1.0 - canary));
            let control_slope = (rate - control) / (control * (1.0 - control));
            if canary_slope < ratio * control_slope {
                low = control;
            } else {
                high = control;
            }
        }
        let control_centre = f64::midpoint(low, high);
        let canary_centre = control_centre + margin;
        if canary_centre >= 1.0 {
            return Self::NONE;
        }
        let per_canary = (canary_centre - rate) / (canary_centre * (1.0 - canary_centre));
        // No factor may reach 0: the control's smallest is 1 − stake·centre. The canary's smallest is
        // rate/centre, positive as it stands.
        let per_canary = per_canary.min(0.999 * ratio / control_centre).max(0.0);
        Self {
            canary_centre,
            control_centre,
            per_canary,
            per_control: per_canary / ratio,
        }
    }

    /// Log factors of a bad and a good canary request, then of a bad and a good control request, with
    /// `fraction` of the stake.
    pub(crate) fn logs(self, fraction: f64) -> [f64; 4] {
        let (canary, control) = (fraction * self.per_canary, fraction * self.per_control);
        [
            (-canary * (1.0 - self.canary_centre)).ln_1p(),
            (canary * self.canary_centre).ln_1p(),
            (control * (1.0 - self.control_centre)).ln_1p(),
            (-control * self.control_centre).ln_1p(),
        ]
    }

    fn log_factor(self, fraction: f64, block: &Block) -> f64 {
        let [canary_bad, canary_good, control_bad, control_good] = self.logs(fraction);
        block.canary.bad as f64 * canary_bad
            + block.canary.good() as f64 * canary_good
            + block.control.bad as f64 * control_bad
            + block.control.good() as f64 * control_good
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_stops_at_the_first_larger_margin_that_is_not_rejected() {
        let mut safety = NonInferiority::new(0.01).unwrap();
        let strong = |margin: f64| (margin - 0.02).abs() > 1e-12;
        for wager in &mut safety.wagers {
            wager.log_e = if strong(wager.margin) { 5.0 } else { 0.0 };
        }
        assert_eq!(safety.upper_bound(0.05), 0.03);
        for wager in &mut safety.wagers {
            wager.log_e = 5.0;
        }
        assert_eq!(safety.upper_bound(0.05), 0.0025);
        assert_eq!(safety.upper_bound(0.001), 1.0);
    }

    #[test]
    fn the_stake_sits_where_the_slopes_of_both_divergences_cancel() {
        for (margin, rate, ratio) in [(0.01, 0.001, 10.0), (0.05, 0.2, 1.0), (0.3, 0.9, 0.1)] {
            let stake = Stake::best(margin, rate, ratio);
            let slope = |centre: f64| (centre - rate) / (centre * (1.0 - centre));
            let (canary, control) = (slope(stake.canary_centre), slope(stake.control_centre));
            assert!((stake.canary_centre - stake.control_centre - margin).abs() < 1e-12);
            assert!(
                (canary + ratio * control).abs() < 1e-3 * canary,
                "{stake:?}"
            );
        }
    }
}
