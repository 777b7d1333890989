//! One chance of a false alarm for all guardrails of an experiment together.
//!
//! Guarantees that the levels handed out never add up to more than the whole, also when guardrails are added while the
//! experiment runs. Never takes back a level that was given: a guardrail's boundary does not move under it.
//!
//! ```
//! use mainstay_stats::{Level, Spending, first_alarms};
//! let mut spending = Spending::new(Level::new(0.01)?);
//! let (latency, errors) = (spending.take(), spending.take());
//! assert!(latency.alpha() > errors.alpha());
//! assert!(latency.alpha() + errors.alpha() < 0.01);
//! // Of two guardrails known beforehand, the first is breached:
//! assert_eq!(first_alarms(&[5.4, 0.1], Level::new(0.01)?), [true, false]);
//! # Ok::<(), mainstay_stats::StatsError>(())
//! ```

use serde::{Deserialize, Serialize};

use crate::counts::{StatsError, check_enough, check_positive};
use crate::estimate::Level;
use crate::odds::log_sum_exp;

/// Shares of a level by weight, for guardrails that are all known beforehand (Bonferroni, weighted: Holm 1979).
pub fn shares(level: Level, weights: &[f64]) -> Result<Vec<Level>, StatsError> {
    check_enough("guardrails", weights.len() as u64, 1)?;
    for weight in weights {
        check_positive("weight of a guardrail", *weight)?;
    }
    let whole: f64 = weights.iter().sum();
    weights
        .iter()
        .map(|weight| Level::new(level.alpha() * (weight / whole)))
        .collect()
}

/// Levels for guardrails that come one by one, without end: the `j`-th gets `6α/(π²j²)`, whose sum is `α` (alpha-spending of
/// Foster and Stine, JRSS B 70, 2008, without what they earn back).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spending {
    level: Level,
    given: u32,
}

impl Spending {
    /// Nothing is spent yet.
    pub fn new(level: Level) -> Self {
        Self { level, given: 0 }
    }

    /// The next guardrail's level.
    pub fn take(&mut self) -> Level {
        self.given = self.given.saturating_add(1);
        let rank = f64::from(self.given);
        let share = 6.0 / (std::f64::consts::PI * rank).powi(2);
        // A share of a level is a level: it is above 0 for each of 2^32 guardrails.
        Level::new(self.level.alpha() * share).unwrap_or(self.level)
    }

    /// What is left for all guardrails to come.
    pub fn left(&self) -> f64 {
        let spent: f64 = (1..=self.given)
            .map(|rank| 6.0 / (std::f64::consts::PI * f64::from(rank)).powi(2))
            .sum();
        self.level.alpha() * (1.0 - spent)
    }
}

/// Which of several guardrails are breached, from the logarithms of their e-values, so that the chance of *any* false
/// alarm at *any* time is at most the level; more alarms than by [`shares`], whatever the dependence.
///
/// Closed testing with means of e-values (Vovk and Wang, "E-values: Calibration, combination and applications", Annals of
/// Statistics 49, 2021, algorithm 1): a guardrail counts as breached if the mean of its e-value with each number of the
/// lowest others is at least `1/α`.
pub fn first_alarms(ln_e: &[f64], level: Level) -> Vec<bool> {
    let needed = -level.alpha().ln();
    let mut sorted = ln_e.to_vec();
    sorted.sort_by(f64::total_cmp);
    // ln of the sum of the k lowest.
    let mut sums = Vec::with_capacity(sorted.len());
    let mut sum = f64::NEG_INFINITY;
    for it in &sorted {
        sum = if sum == f64::NEG_INFINITY {
            *it
        } else {
            log_sum_exp(&[sum, *it])
        };
        sums.push(sum);
    }
    ln_e.iter()
        .map(|own| {
            let lower = sorted.partition_point(|it| it < own);
            // With no others, and with the k lowest others, all of which are lower or it would not be the worst case.
            *own >= needed
                && sums.iter().take(lower).enumerate().all(|(at, sum)| {
                    let mean = log_sum_exp(&[*own, *sum]) - (at as f64 + 2.0).ln();
                    mean >= needed
                })
        })
        .collect()
}

/// What may be spent by the time a share `information` of an experiment is done, for looks at times planned beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpendingFunction {
    /// Little early, nearly all at the end: `2 − 2Φ(z_{α/2}/√t)` (Lan and DeMets, Biometrika 70, 1983, `α₁*`).
    OBrienFleming,
    /// Evenly: `α·ln(1 + (e − 1)·t)` (the same, `α₂*`).
    Pocock,
}

impl SpendingFunction {
    /// The level spent at a share of the information between 0 and 1.
    pub fn spent(self, level: Level, information: f64) -> Result<f64, StatsError> {
        if !(information > 0.0 && information <= 1.0) {
            return Err(StatsError::OutOfRange {
                setting: "share of the information",
                value: information,
                allowed: "above 0 and at most 1",
            });
        }
        let alpha = level.alpha();
        Ok(match self {
            Self::OBrienFleming => {
                let edge = crate::tail::normal::upper_quantile(0.5 * alpha) / information.sqrt();
                2.0 * crate::tail::normal::survival(edge)
            }
            Self::Pocock => alpha * ((std::f64::consts::E - 1.0) * information).ln_1p(),
        })
    }
}
