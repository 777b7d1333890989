//! Designs in which not the unit but a group of units, or a stretch of time, gets an arm.
//!
//! Guarantees that the number of independent observations is that of clusters or periods, never that of the units in
//! them. Never estimates a variance from one cluster.
//!
//! ```
//! use mainstay_stats::{Joint, Scale, clustered_mean};
//! let (mut control, mut treatment) = (Joint::<2>::default(), Joint::<2>::default());
//! for city in 0..10 {
//!     let extra = f64::from(city % 3);
//!     control.push([100.0 + extra, 50.0])?; // sum of values, and number of units
//!     treatment.push([110.0 + extra, 50.0])?;
//! }
//! let lift = clustered_mean(&control)?.against(&clustered_mean(&treatment)?, Scale::Relative)?;
//! assert_eq!(lift.units, 20);
//! # Ok::<(), mainstay_stats::StatsError>(())
//! ```

use serde::{Deserialize, Serialize};

use crate::counts::{StatsError, check_enough, check_positive};
use crate::estimate::{Contrast, Scale};
use crate::metric::ratio;
use crate::moments::Joint;
use crate::summary::Summary;

/// Mean over units of an arm whose clusters were assigned as a whole: value 0 of each cluster is its sum, value 1 its
/// number of units.
///
/// Liang and Zeger (Biometrika 73, 1986), for a mean: `Σ_g (s_g − μ·n_g)²/N²`, with the factor `G/(G − 1)` of each arm
/// for few clusters; degrees of freedom are Welch's over clusters.
pub fn clustered_mean(clusters: &Joint<2>) -> Result<Summary, StatsError> {
    check_enough("clusters", clusters.units(), 2)?;
    ratio(clusters)
}

/// How many times more units a clustered design needs than one of independent units.
///
/// Kish, Survey Sampling (1965), for clusters of unequal size: `1 + (m(1 + cv²) − 1)·ICC` with mean size `m`
/// and its coefficient of variation `cv`.
pub fn design_effect(mean_size: f64, size_variation: f64, icc: f64) -> Result<f64, StatsError> {
    check_positive("mean size of a cluster", mean_size)?;
    if !(0.0..=1.0).contains(&icc) || size_variation.is_nan() || size_variation < 0.0 {
        return Err(StatsError::OutOfRange {
            setting: "correlation within clusters",
            value: icc,
            allowed: "between 0 and 1, with a coefficient of variation of 0 or more",
        });
    }
    Ok(1.0 + (mean_size * (1.0 + size_variation * size_variation) - 1.0) * icc)
}

/// One period of a switchback: everybody gets the same arm, and the next period it may be the other one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Period {
    /// Whether the treatment was on.
    pub is_treated: bool,
    /// Sum of all values in the period.
    pub total: f64,
    /// Number of values; 0 if nothing happened.
    pub count: f64,
}

/// How periods of a switchback hang together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switchback {
    /// Periods after each switch that are left out, because the other arm is still felt in them.
    pub carryover: u32,
    /// Periods over which noise is believed to be correlated.
    pub correlated: u32,
}

/// Periods of one report; a year of half hours is 17,520.
const MOST_PERIODS: usize = 100_000;

impl Switchback {
    /// Effect of the treatment on the mean value, in absolute terms.
    ///
    /// Difference of two ratios over periods; each period's score is `(total − μ·count)/N` of its arm. Their long-run
    /// variance is that of Newey and West (Econometrica 55, 1987), with Bartlett weights `1 − l/(L + 1)` over
    /// `correlated` lags. What carryover does and why to leave it out: Bojinov, Simchi-Levi and Zhao, "Design and Analysis of
    /// Switchback Experiments" (Management Science 69, 2023). Degrees of freedom: kept periods less two.
    pub fn effect(&self, periods: &[Period]) -> Result<Contrast, StatsError> {
        if periods.len() > MOST_PERIODS {
            return Err(StatsError::OutOfRange {
                setting: "number of periods",
                value: periods.len() as f64,
                allowed: "at most 100,000",
            });
        }
        if periods
            .iter()
            .any(|it| !it.total.is_finite() || !it.count.is_finite() || it.count < 0.0)
        {
            return Err(StatsError::NotFinite {
                what: "total or count of a period",
            });
        }
        let kept = self.kept(periods);
        let of = |is_treated: bool| {
            periods
                .iter()
                .zip(&kept)
                .filter(move |(period, kept)| **kept && period.is_treated == is_treated)
                .map(|(period, _)| period)
        };
        let arm = |is_treated: bool| -> Result<(f64, f64), StatsError> {
            check_enough("periods of an arm", of(is_treated).count() as u64, 2)?;
            let count: f64 = of(is_treated).map(|it| it.count).sum();
            check_positive("values of an arm", count)?;
            Ok((
                of(is_treated).map(|it| it.total).sum::<f64>() / count,
                count,
            ))
        };
        let (control, treatment) = (arm(false)?, arm(true)?);
        let scores: Vec<f64> = periods
            .iter()
            .zip(&kept)
            .map(|(period, kept)| {
                let ((mean, count), sign) = if period.is_treated {
                    (treatment, 1.0)
                } else {
                    (control, -1.0)
                };
                if *kept {
                    sign * (period.total - mean * period.count) / count
                } else {
                    0.0
                }
            })
            .collect();
        let lags = (self.correlated as usize).min(scores.len() - 1);
        let mut variance: f64 = scores.iter().map(|it| it * it).sum();
        for lag in 1..=lags {
            let weight = 1.0 - lag as f64 / (lags as f64 + 1.0);
            let shared: f64 = scores
                .iter()
                .zip(scores.iter().skip(lag))
                .map(|(now, later)| now * later)
                .sum();
            variance += 2.0 * weight * shared;
        }
        let kept = kept.iter().filter(|kept| **kept).count() as u64;
        Contrast::new(
            treatment.0 - control.0,
            variance.max(0.0).sqrt(),
            Some(kept as f64 - 2.0),
            kept,
            Scale::Absolute,
        )
    }

    /// Which periods count: values in them, and no switch too short before.
    fn kept(self, periods: &[Period]) -> Vec<bool> {
        let mut since_switch = u32::MAX;
        let mut before = None;
        periods
            .iter()
            .map(|period| {
                if before.is_some_and(|before| before != period.is_treated) {
                    since_switch = 0;
                }
                before = Some(period.is_treated);
                let is_kept = since_switch >= self.carryover && period.count > 0.0;
                since_switch = since_switch.saturating_add(1);
                is_kept
            })
            .collect()
    }
}
