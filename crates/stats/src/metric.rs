//! What an arm's state says of a metric: mean, proportion, ratio, adjusted by a covariate or not, quantile, rate.
//!
//! Guarantees one [`Summary`] an arm and one [`Contrast`] a pair, for every kind. Never mixes two kinds.
//!
//! ```
//! use mainstay_stats::{ArmState, Proportion, Scale};
//! let control = ArmState::Proportion(Proportion { units: 1_000, hits: 100 });
//! let treatment = ArmState::Proportion(Proportion { units: 1_000, hits: 130 });
//! let lift = control.against(&treatment, Scale::Relative)?;
//! assert!((lift.effect - 0.3).abs() < 1e-12);
//! # Ok::<(), mainstay_stats::StatsError>(())
//! ```

mod adjusted;
mod proportion;
mod quantile;
mod rate;
mod ratio;

pub use adjusted::{Adjusted, adjusted_mean, adjusted_ratio};
pub use proportion::{Proportion, pooled_test};
pub use quantile::{QuantileArm, QuantileReading, clustering_factor};
pub use rate::Rate;
pub use ratio::ratio;
use serde::{Deserialize, Serialize};

use crate::counts::{StatsError, check_enough};
use crate::estimate::{Contrast, Scale};
use crate::moments::Joint;
use crate::summary::Summary;

/// The mean of one value per unit (Welch 1947: variances of the arms may differ).
pub fn mean(units: &Joint<1>) -> Result<Summary, StatsError> {
    check_enough("units", units.units(), 2)?;
    let [[variance]] = units.covariances()?;
    Ok(Summary::plain(units.units(), units.mean(0), variance))
}

/// All that is kept of one arm for one metric: constant size, mergeable, serialisable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ArmState {
    /// Share of units with a hit: conversion, retention, funnel.
    Proportion(Proportion),
    /// Mean of one value per unit.
    Mean(Joint<1>),
    /// Mean of value 0, adjusted by covariate 1, known from before the exposure.
    AdjustedMean(Joint<2>),
    /// Sum of value 0 over sum of value 1: clicks per view, where the unit is the user.
    Ratio(Joint<2>),
    /// Ratio of values 0 and 1, adjusted by the ratio of values 2 and 3 from before the exposure.
    AdjustedRatio(Joint<4>),
    /// A quantile of all values.
    Quantile(QuantileArm),
    /// Events per exposure, such as unit-days.
    Rate(Rate),
}

impl ArmState {
    /// Adds all units of another part of the same arm.
    pub fn merge(&mut self, other: &Self) -> Result<(), StatsError> {
        match (self, other) {
            (Self::Proportion(here), Self::Proportion(there)) => here.merge(*there),
            (Self::Mean(here), Self::Mean(there)) => here.merge(there),
            (Self::AdjustedMean(here), Self::AdjustedMean(there))
            | (Self::Ratio(here), Self::Ratio(there)) => here.merge(there),
            (Self::AdjustedRatio(here), Self::AdjustedRatio(there)) => here.merge(there),
            (Self::Quantile(here), Self::Quantile(there)) => return here.merge(there),
            (Self::Rate(here), Self::Rate(there)) => here.merge(*there),
            (
                Self::Proportion(_)
                | Self::Mean(_)
                | Self::AdjustedMean(_)
                | Self::Ratio(_)
                | Self::AdjustedRatio(_)
                | Self::Quantile(_)
                | Self::Rate(_),
                _,
            ) => return Err(StatsError::Unlike { what: "kind" }),
        }
        Ok(())
    }

    /// Units of the arm.
    pub fn units(&self) -> u64 {
        match self {
            Self::Proportion(arm) => arm.units,
            Self::Mean(arm) => arm.units(),
            Self::AdjustedMean(arm) | Self::Ratio(arm) => arm.units(),
            Self::AdjustedRatio(arm) => arm.units(),
            Self::Quantile(arm) => arm.units(),
            Self::Rate(arm) => arm.units,
        }
    }

    /// `self` as control against a treatment.
    pub fn against(&self, treatment: &Self, scale: Scale) -> Result<Contrast, StatsError> {
        let (control, treatment) = self.summaries(treatment)?;
        control.against(&treatment, scale)
    }

    /// Control (`self`) and treatment, adjusted by the same factor where they are adjusted.
    pub fn summaries(&self, treatment: &Self) -> Result<(Summary, Summary), StatsError> {
        Ok(match (self, treatment) {
            (Self::Proportion(control), Self::Proportion(treatment)) => {
                (control.summary()?, treatment.summary()?)
            }
            (Self::Mean(control), Self::Mean(treatment)) => (mean(control)?, mean(treatment)?),
            (Self::Ratio(control), Self::Ratio(treatment)) => (ratio(control)?, ratio(treatment)?),
            (Self::AdjustedMean(control), Self::AdjustedMean(treatment)) => {
                let both = adjusted_mean(control, treatment)?;
                (both.control, both.treatment)
            }
            (Self::AdjustedRatio(control), Self::AdjustedRatio(treatment)) => {
                let both = adjusted_ratio(control, treatment)?;
                (both.control, both.treatment)
            }
            (Self::Quantile(control), Self::Quantile(treatment)) => {
                (control.summary()?, treatment.summary()?)
            }
            (Self::Rate(control), Self::Rate(treatment)) => {
                (control.summary()?, treatment.summary()?)
            }
            (
                Self::Proportion(_)
                | Self::Mean(_)
                | Self::AdjustedMean(_)
                | Self::Ratio(_)
                | Self::AdjustedRatio(_)
                | Self::Quantile(_)
                | Self::Rate(_),
                _,
            ) => return Err(StatsError::Unlike { what: "kind" }),
        })
    }
}
