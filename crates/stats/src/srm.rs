//! Sample-ratio mismatch: did units fall to arms as they were meant to?
//!
//! Guarantees that an arm that should get nobody counts as what it is: a mismatch if it got somebody, and no degree
//! of freedom if not. Never says which data to throw away: with a mismatch none of the experiment's effects can be
//! believed until the cause is known.
//!
//! ```
//! use mainstay_stats::{Level, SampleRatio, sample_ratio};
//! let report = sample_ratio(&[50_210, 49_790, 0], &[1.0, 1.0, 0.0])?;
//! assert_eq!(report.degrees, 1);
//! assert!(report.p.value() > 0.1);
//! let mut watched = SampleRatio::new(&[1.0, 1.0, 0.0])?;
//! watched.observe(&[5_000, 4_300, 0])?;
//! assert!(watched.is_mismatch(Level::new(0.001)?));
//! # Ok::<(), mainstay_stats::StatsError>(())
//! ```
//!
//! # Formula
//! One look: Pearson's chi-square (Philosophical Magazine 50, 1900); Fabijan et al., "Diagnosing Sample Ratio Mismatch in
//! Online Controlled Experiments" (KDD 2019). All looks: [`CountProcess`] (Lindon and Malek, arXiv 2011.03567).

use serde::{Deserialize, Serialize};

use crate::counts::{StatsError, check_enough};
use crate::estimate::{Level, PValue};
use crate::sequential::CountProcess;
use crate::tail::chi_square;

/// Units by arm against what was expected, for one look.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleRatioReport {
    /// Pearson's statistic over the arms with weight.
    pub statistic: f64,
    /// Arms with weight, less one.
    pub degrees: u32,
    /// Chance of this or more, if units fall as meant; the least that can be told if an arm without weight has
    /// units.
    pub p: PValue,
    /// Expected units of each arm.
    pub expected: Vec<f64>,
    /// Units in arms that should have none.
    pub stray: u64,
}

/// Compares units by arm with weights, which are in any unit; 0 for an arm that should get nobody.
pub fn sample_ratio(units: &[u64], weights: &[f64]) -> Result<SampleRatioReport, StatsError> {
    let live = live(weights)?;
    if units.len() != weights.len() {
        return Err(StatsError::Unlike {
            what: "number of arms",
        });
    }
    let (mut counted, mut stray) = (0_u64, 0_u64);
    for (count, weight) in units.iter().zip(weights) {
        if *weight > 0.0 {
            counted += count;
        } else {
            stray += count;
        }
    }
    let whole: f64 = weights.iter().sum();
    let expected: Vec<f64> = weights
        .iter()
        .map(|weight| weight / whole * counted as f64)
        .collect();
    let statistic: f64 = units
        .iter()
        .zip(&expected)
        .filter(|(_, expected)| **expected > 0.0)
        .map(|(count, expected)| (*count as f64 - expected).powi(2) / expected)
        .sum();
    let degrees = live - 1;
    let p = if stray > 0 {
        PValue::from_ln(f64::MIN)
    } else {
        chi_square::survival(statistic, f64::from(degrees))
    };
    Ok(SampleRatioReport {
        statistic,
        degrees,
        p,
        expected,
        stray,
    })
}

/// The number of arms with weight; refuses negative weights and fewer than two arms with one.
fn live(weights: &[f64]) -> Result<u32, StatsError> {
    for weight in weights {
        if weight.is_nan() || *weight < 0.0 || weight.is_infinite() {
            return Err(StatsError::OutOfRange {
                setting: "weight of an arm",
                value: *weight,
                allowed: "0 or more, and finite",
            });
        }
    }
    let live = weights.iter().filter(|weight| **weight > 0.0).count();
    check_enough("arms with a weight", live as u64, 2)?;
    Ok(live as u32)
}

/// The same, watched at all times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleRatio {
    process: CountProcess,
    has_weight: Vec<bool>,
    stray: u64,
}

impl SampleRatio {
    /// Weights in any unit; 0 for an arm that should get nobody.
    pub fn new(weights: &[f64]) -> Result<Self, StatsError> {
        let (process, has_weight) = (CountProcess::new(&positive(weights)?)?, has(weights));
        Ok(Self {
            process,
            has_weight,
            stray: 0,
        })
    }

    /// Adds the units that were first exposed since the last look, one count an arm.
    pub fn observe(&mut self, units: &[u64]) -> Result<(), StatsError> {
        if units.len() != self.has_weight.len() {
            return Err(StatsError::Unlike {
                what: "number of arms",
            });
        }
        let mut live = Vec::with_capacity(units.len());
        for (count, has_weight) in units.iter().zip(&self.has_weight) {
            if *has_weight {
                live.push(*count);
            } else {
                self.stray = self.stray.saturating_add(*count);
            }
        }
        self.process.observe(&live)
    }

    /// Weights from now on: a ramp. What was found so far is kept.
    pub fn reweigh(&mut self, weights: &[f64]) -> Result<(), StatsError> {
        self.process.reweigh(&positive(weights)?)?;
        self.has_weight = has(weights);
        Ok(())
    }

    /// Always-valid p-value; the least that can be told once an arm without weight got units.
    pub fn p(&self) -> PValue {
        if self.stray > 0 {
            PValue::from_ln(f64::MIN)
        } else {
            self.process.p()
        }
    }

    /// Whether units are known to fall otherwise than meant.
    pub fn is_mismatch(&self, level: Level) -> bool {
        self.p().is_below(level)
    }

    /// Units in arms that should have had none.
    pub fn stray(&self) -> u64 {
        self.stray
    }
}

fn positive(weights: &[f64]) -> Result<Vec<f64>, StatsError> {
    live(weights)?;
    Ok(weights.iter().copied().filter(|it| *it > 0.0).collect())
}

fn has(weights: &[f64]) -> Vec<bool> {
    weights.iter().map(|weight| *weight > 0.0).collect()
}
