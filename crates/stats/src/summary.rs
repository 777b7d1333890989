//! One arm's estimate of a metric, and the contrast of two of them: the delta method.
//!
//! Guarantees that every metric kind ends in the same [`Summary`], so that each method of inference works for each
//! kind. Never divides by a control that is 0.
//!
//! ```
//! use mainstay_stats::{Scale, Summary};
//! let control = Summary::plain(10_000, 2.0, 4.0);
//! let treatment = Summary::plain(10_000, 2.1, 4.0);
//! let lift = control.against(&treatment, Scale::Relative)?;
//! assert!((lift.effect - 0.05).abs() < 1e-12);
//! # Ok::<(), mainstay_stats::StatsError>(())
//! ```
//!
//! # Formula
//! Absolute: `T − C`, variance `v_T/n_T + v_C/n_C`, degrees of freedom by Welch (Biometrika 34, 1947) and Satterthwaite.
//! Relative: `Δ = (T − C)/B` with `B` the control's unadjusted mean; by the delta method (Deng, Knoblich and Lu,
//! "Applying the Delta Method in Metric Analytics", KDD 2018, on percent change, with the covariance of `C` and `B` kept)
//!
//! ```text
//! Var Δ = [ v_T/n_T + (v_C + 2Δ·cov(C, B) + Δ²·v_B)/n_C ] / B²
//! ```
//!
//! which without adjustment (`C = B`) is the familiar `v_T/(n_T C²) + v_C T²/(n_C C⁴)`.

use serde::{Deserialize, Serialize};

use crate::counts::{StatsError, check_enough};
use crate::estimate::{Contrast, Scale};

/// What a relative effect is relative to: the metric without adjustment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// Unadjusted value of the metric.
    pub value: f64,
    /// Its variance per unit.
    pub variance: f64,
    /// Covariance per unit with the adjusted value.
    pub covariance: f64,
}

/// One arm's estimate of one metric.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Independent units.
    pub units: u64,
    /// Estimated value, adjusted where the metric is.
    pub value: f64,
    /// Variance per unit: that of the value is this over `units`.
    pub variance: f64,
    /// Whether the variance is itself estimated from these units, so that Student's t applies.
    pub is_estimated: bool,
    /// The unadjusted metric.
    pub base: Base,
}

impl Summary {
    /// Without adjustment, variance estimated from the units.
    pub fn plain(units: u64, value: f64, variance: f64) -> Self {
        Self {
            units,
            value,
            variance,
            is_estimated: true,
            base: Base {
                value,
                variance,
                covariance: variance,
            },
        }
    }

    /// Without adjustment, for large samples: the normal distribution instead of Student's.
    pub fn large_sample(units: u64, value: f64, variance: f64) -> Self {
        Self {
            is_estimated: false,
            ..Self::plain(units, value, variance)
        }
    }

    /// Standard error of the value.
    pub fn se(&self) -> f64 {
        (self.variance / self.units as f64).sqrt()
    }

    /// `self` as control against a treatment.
    pub fn against(&self, treatment: &Self, scale: Scale) -> Result<Contrast, StatsError> {
        check_enough("units in the control", self.units, 2)?;
        check_enough("units in the treatment", treatment.units, 2)?;
        let (own, others) = (self.units as f64, treatment.units as f64);
        let difference = treatment.value - self.value;
        let (effect, variance) = match scale {
            Scale::Absolute => (
                difference,
                treatment.variance / others + self.variance / own,
            ),
            Scale::Relative => {
                let base = self.base.value;
                if base == 0.0 {
                    return Err(StatsError::NoBaseline);
                }
                let lift = difference / base;
                let control = self.variance
                    + 2.0 * lift * self.base.covariance
                    + lift * lift * self.base.variance;
                let spread = treatment.variance / others + control / own;
                (lift, spread / base / base)
            }
        };
        let degrees = (self.is_estimated && treatment.is_estimated).then(|| {
            let parts = [
                (self.variance / own, own),
                (treatment.variance / others, others),
            ];
            satterthwaite(&parts)
        });
        Contrast::new(
            effect,
            variance.sqrt(),
            degrees,
            self.units + treatment.units,
            scale,
        )
    }
}

/// Degrees of freedom of a sum of independent variances of means, each with its number of units (Satterthwaite,
/// Biometrics Bulletin 2, 1946).
pub(crate) fn satterthwaite(parts: &[(f64, f64)]) -> f64 {
    let sum: f64 = parts.iter().map(|(variance, _)| variance).sum();
    let below: f64 = parts
        .iter()
        .map(|(variance, units)| (variance / sum).powi(2) / (units - 1.0))
        .sum();
    below.recip()
}
