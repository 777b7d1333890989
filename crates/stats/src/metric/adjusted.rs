//! CUPED: less variance by what was known of the units before they were exposed.
//!
//! Deng, Xu, Kohavi and Walker, "Improving the Sensitivity of Online Controlled Experiments by Utilizing
//! Pre-Experiment Data" (WSDM 2013), control variates: `Y' = Y − θX`, `θ = cov(Y, X)/var(X)`. Both arms have to use the same
//! `θ`, and `X` must not be touched by the treatment.

use serde::{Deserialize, Serialize};

use crate::counts::StatsError;
use crate::moments::Joint;
use crate::summary::{Base, Summary};

/// Both arms, adjusted by one factor.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adjusted {
    /// The control.
    pub control: Summary,
    /// The treatment.
    pub treatment: Summary,
    /// The factor `θ`.
    pub factor: f64,
}

impl Adjusted {
    /// Share of the variance of the difference that the covariate took away, the `ρ²` of that paper.
    pub fn variance_removed(&self) -> f64 {
        let of = |arm: &Summary, variance: f64| variance / arm.units as f64;
        let (left, right) = (&self.control, &self.treatment);
        let after = of(left, left.variance) + of(right, right.variance);
        let before = of(left, left.base.variance) + of(right, right.base.variance);
        if before > 0.0 {
            1.0 - after / before
        } else {
            0.0
        }
    }
}

/// Mean of value 0, adjusted by covariate 1. `θ` comes from the units of both arms together.
pub fn adjusted_mean(control: &Joint<2>, treatment: &Joint<2>) -> Result<Adjusted, StatsError> {
    let mut both = *control;
    both.merge(treatment);
    let [[_, mixed], [_, before]] = both.covariances()?;
    let factor = if before > 0.0 { mixed / before } else { 0.0 };
    let adjust = |arm: &Joint<2>| -> Result<Summary, StatsError> {
        let [[own, mixed], [_, before]] = arm.covariances()?;
        let variance = own + factor * factor * before - 2.0 * factor * mixed;
        Ok(Summary {
            units: arm.units(),
            value: arm.mean(0) - factor * arm.mean(1),
            variance: variance.max(0.0),
            is_estimated: true,
            base: Base {
                value: arm.mean(0),
                variance: own,
                covariance: own - factor * mixed,
            },
        })
    };
    Ok(Adjusted {
        control: adjust(control)?,
        treatment: adjust(treatment)?,
        factor,
    })
}

/// What the delta method makes of two ratios of the same units.
struct Linear {
    after: f64,
    before: f64,
    variance_after: f64,
    variance_before: f64,
    covariance: f64,
}

/// Ratio of values 0 and 1, adjusted by the ratio of values 2 and 3.
///
/// Each ratio is linear in the units' values to first order, with gradient `(1/ȳ, −R/ȳ)`; variance and covariance of
/// both follow from the four values' covariance matrix. `θ` is the one that makes the difference's variance least:
/// `Σ cov/n over Σ var/n` over both arms (the same paper, with that gradient).
pub fn adjusted_ratio(control: &Joint<4>, treatment: &Joint<4>) -> Result<Adjusted, StatsError> {
    let (left, right) = (linear(control)?, linear(treatment)?);
    let (own, others) = (control.units() as f64, treatment.units() as f64);
    let spread = left.variance_before / own + right.variance_before / others;
    let shared = left.covariance / own + right.covariance / others;
    let factor = if spread > 0.0 { shared / spread } else { 0.0 };
    let adjust = |units: u64, arm: &Linear| {
        let variance = arm.variance_after + factor * factor * arm.variance_before
            - 2.0 * factor * arm.covariance;
        Summary {
            units,
            value: arm.after - factor * arm.before,
            variance: variance.max(0.0),
            is_estimated: true,
            base: Base {
                value: arm.after,
                variance: arm.variance_after,
                covariance: arm.variance_after - factor * arm.covariance,
            },
        }
    };
    Ok(Adjusted {
        control: adjust(control.units(), &left),
        treatment: adjust(treatment.units(), &right),
        factor,
    })
}

fn linear(arm: &Joint<4>) -> Result<Linear, StatsError> {
    let matrix = arm.covariances()?;
    let (divisor_after, divisor_before) = (arm.mean(1), arm.mean(3));
    if divisor_after == 0.0 || divisor_before == 0.0 {
        return Err(StatsError::NoBaseline);
    }
    let (after, before) = (arm.mean(0) / divisor_after, arm.mean(2) / divisor_before);
    let after_slope = [1.0 / divisor_after, -after / divisor_after];
    let before_slope = [1.0 / divisor_before, -before / divisor_before];
    let product = |left: (usize, [f64; 2]), right: (usize, [f64; 2])| -> f64 {
        let mut sum = 0.0;
        for (row, slope) in (left.0..).zip(left.1) {
            for (column, other) in (right.0..).zip(right.1) {
                sum += slope * matrix[row][column] * other;
            }
        }
        sum
    };
    Ok(Linear {
        after,
        before,
        variance_after: product((0, after_slope), (0, after_slope)).max(0.0),
        variance_before: product((2, before_slope), (2, before_slope)).max(0.0),
        covariance: product((0, after_slope), (2, before_slope)),
    })
}
