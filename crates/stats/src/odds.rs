//! A mixture of likelihood ratios over a fixed grid of odds ratios: the engine of the count tests.
//!
//! Guarantees a constant-size state whose value never exceeds a supermartingale starting at 1, as
//! long as each caller keeps its side of the contract of [`OddsMixture::update`]. Never looks back.

use serde::{Deserialize, Serialize};

/// Odds ratios the alternative may have. Neighbours differ by 13 to 200 %, so that the true ratio is
/// always near one of them; 16 of them cost at most ln 16 = 2.8 nats of evidence.
pub(crate) const RATIOS: [f64; 16] = [
    1.15, 1.3, 1.5, 1.75, 2.1, 2.6, 3.3, 4.3, 6.0, 8.5, 12.0, 18.0, 30.0, 50.0, 100.0, 300.0,
];

/// Whether the alternative has higher or lower odds than the null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Direction {
    Higher,
    Lower,
}

/// Log likelihood ratio of each grid point, and the highest log mixture so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct OddsMixture {
    direction: Direction,
    log_ratios: [f64; RATIOS.len()],
    highest_log_e: f64,
}

impl OddsMixture {
    pub(crate) fn new(direction: Direction) -> Self {
        Self {
            direction,
            log_ratios: [0.0; RATIOS.len()],
            highest_log_e: 0.0,
        }
    }

    /// Adds `hits` out of `trials`, each a hit with chance `share` at the edge of the null.
    ///
    /// For odds ratio `r` the log likelihood ratio grows by
    /// `hits·ln r − trials·ln(1 + (r − 1)·share)`. The caller sees to it that the exponential of this
    /// has expectation at most 1 under its null, given everything before, for each `r` on its side of 1.
    pub(crate) fn update(&mut self, hits: u64, trials: u64, share: f64) {
        if trials == 0 {
            return;
        }
        for (log_ratio, ratio) in self.log_ratios.iter_mut().zip(RATIOS) {
            let odds = match self.direction {
                Direction::Higher => ratio,
                Direction::Lower => ratio.recip(),
            };
            *log_ratio += hits as f64 * odds.ln() - trials as f64 * ((odds - 1.0) * share).ln_1p();
        }
        self.highest_log_e = self.highest_log_e.max(self.log_e());
    }

    /// Natural logarithm of the mean likelihood ratio over the grid.
    pub(crate) fn log_e(&self) -> f64 {
        log_sum_exp(&self.log_ratios) - (RATIOS.len() as f64).ln()
    }

    /// The highest [`Self::log_e`] after any update, at least 0.
    pub(crate) fn highest_log_e(&self) -> f64 {
        self.highest_log_e
    }
}

/// `ln Σ exp(xᵢ)` without overflow; the slice holds at least one finite number.
pub(crate) fn log_sum_exp(terms: &[f64]) -> f64 {
    let highest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = terms.iter().map(|term| (term - highest).exp()).sum();
    highest + sum.ln()
}
