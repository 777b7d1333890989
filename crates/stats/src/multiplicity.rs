//! Many tests at once: what may still be called significant.
//!
//! Guarantees, of all tests passed in together: Holm's the chance of *any* false positive, Benjamini's the expected
//! share of false ones among the positives. Never reorders: result `i` belongs to input `i`.
//!
//! ```
//! use mainstay_stats::{Level, PValue, benjamini_hochberg, holm};
//! let p = [0.01, 0.04, 0.03].map(PValue::from_value);
//! let level = Level::new(0.05)?;
//! assert!(holm(&p)[0].is_below(level) && !holm(&p)[1].is_below(level));
//! assert!(benjamini_hochberg(&p).iter().all(|it| it.is_below(level)));
//! # Ok::<(), mainstay_stats::StatsError>(())
//! ```

use crate::estimate::{Level, PValue};

/// Holm's adjusted p-values, whatever the dependence (Holm, Scandinavian Journal of Statistics 6, 1979):
/// `max_{j ≤ i} min(1, (m − j + 1)·p_(j))`.
pub fn holm(p: &[PValue]) -> Vec<PValue> {
    let count = p.len();
    adjusted(p, |sorted| {
        let mut highest = f64::NEG_INFINITY;
        for (rank, ln_p) in sorted.iter_mut().enumerate() {
            highest = highest.max(*ln_p + ((count - rank) as f64).ln());
            *ln_p = highest;
        }
    })
}

/// Benjamini and Hochberg's adjusted p-values, for tests that are independent or positively dependent (JRSS B 57, 1995):
/// `min_{j ≥ i} m·p_(j)/j`.
pub fn benjamini_hochberg(p: &[PValue]) -> Vec<PValue> {
    step_up(p, 0.0)
}

/// Benjamini and Yekutieli's adjusted p-values, whatever the dependence (Annals of Statistics 29, 2001, theorem 1.3):
/// those of Benjamini and Hochberg times `Σ 1/i`.
pub fn benjamini_yekutieli(p: &[PValue]) -> Vec<PValue> {
    let harmonic: f64 = (1..=p.len()).map(|it| (it as f64).recip()).sum();
    step_up(p, harmonic.ln())
}

fn step_up(p: &[PValue], ln_factor: f64) -> Vec<PValue> {
    let count = p.len() as f64;
    adjusted(p, |sorted| {
        let mut lowest = f64::INFINITY;
        for (rank, ln_p) in sorted.iter_mut().enumerate().rev() {
            lowest = lowest.min(*ln_p + (count / (rank as f64 + 1.0)).ln() + ln_factor);
            *ln_p = lowest;
        }
    })
}

fn adjusted(p: &[PValue], adjust: impl Fn(&mut [f64])) -> Vec<PValue> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|left, right| p[*left].ln().total_cmp(&p[*right].ln()));
    let mut sorted: Vec<f64> = order.iter().map(|at| p[*at].ln()).collect();
    adjust(&mut sorted);
    let mut all = vec![PValue::ONE; p.len()];
    for (at, ln_p) in order.into_iter().zip(sorted) {
        all[at] = PValue::from_ln(ln_p);
    }
    all
}

/// e-BH: which hypotheses are rejected at a false-discovery rate of the level, from e-values' logarithms, whatever the
/// dependence and whenever each process is looked at (Wang and Ramdas, JRSS B 84, 2022, definition 1): the `k` largest,
/// for the largest `k` with `e_(k) ≥ m/(k·α)`.
pub fn e_benjamini_hochberg(ln_e: &[f64], level: Level) -> Vec<bool> {
    let mut sorted = ln_e.to_vec();
    sorted.sort_by(|left, right| right.total_cmp(left));
    let count = ln_e.len() as f64;
    let needed = |rank: usize| (count / (rank as f64 + 1.0) / level.alpha()).ln();
    let threshold = sorted
        .iter()
        .enumerate()
        .rev()
        .find(|(rank, ln_e)| **ln_e >= needed(*rank))
        .map(|(_, ln_e)| *ln_e);
    ln_e.iter()
        .map(|it| threshold.is_some_and(|threshold| *it >= threshold))
        .collect()
}
