//! Long-term holdout: what all shipped changes together did to those who got them.
//!
//! Guarantees that the cumulative effect is measured, not added up from what experiments claimed; the claims are shown
//! beside it. Never reads a trend out of fewer than three periods.
//!
//! ```
//! use mainstay_stats::{Ask, Contrast, Level, Scale, holdout};
//! let ask = Ask::two_sided(Level::new(0.05)?);
//! let at = |effect, se| Contrast::new(effect, se, None, 10_000, Scale::Relative);
//! let months = [at(0.06, 0.01)?, at(0.05, 0.01)?, at(0.04, 0.01)?];
//! let claims = [at(0.03, 0.005)?, at(0.04, 0.005)?];
//! let report = holdout(&at(0.05, 0.006)?, &months, &claims, &ask)?;
//! assert!((report.claimed.expect("there are claims").realised - 0.71).abs() < 0.01);
//! assert!(report.trend.expect("three months").slope < 0.0);
//! # Ok::<(), mainstay_stats::StatsError>(())
//! ```

use serde::{Deserialize, Serialize};

use crate::counts::StatsError;
use crate::estimate::{Ask, Contrast, Estimate, PValue};
use crate::tail::normal;

/// What a holdout shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldoutReport {
    /// Everybody else against the holdout, over the whole time.
    pub cumulative: Estimate,
    /// The same by period.
    pub periods: Vec<Estimate>,
    /// How the effect moves over the periods.
    pub trend: Option<Trend>,
    /// Against what the shipped experiments promised.
    pub claimed: Option<Claimed>,
}

/// Change of the effect per period: novelty wears off, or habits form.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trend {
    /// Change per period.
    pub slope: f64,
    /// Its standard error, if periods are independent.
    pub se: f64,
    /// Of no change.
    pub p: PValue,
}

/// Promised against measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claimed {
    /// Sum of the experiments' effects.
    pub sum: f64,
    /// Standard error of that sum.
    pub se: f64,
    /// Measured over promised; 1 if experiments held what they promised.
    pub realised: f64,
    /// Of "measured equals promised".
    pub p: PValue,
}

/// Puts the report together: the cumulative contrast over units' whole totals, contrasts by period of equal length in
/// order, and the contrasts of what was shipped, on one scale.
///
/// Trend: weighted least squares of the period effects on time (Draper and Smith, Applied Regression Analysis, 1998,
/// chapter 9), weights one over squared standard errors. Units are in every period, so that the trend's standard error is
/// too small where they keep their habits: a trend is a reason to look, not a result. Claims: effects of independent
/// experiments add up; winners are chosen for being large, so that less than all of it is the rule (Lee and Shen,
/// "Winner's Curse: Bias Estimation for Total Effects of Features in Online Controlled Experiments", KDD 2018).
pub fn holdout(
    cumulative: &Contrast,
    periods: &[Contrast],
    claims: &[Contrast],
    ask: &Ask,
) -> Result<HoldoutReport, StatsError> {
    if periods
        .iter()
        .chain(claims)
        .any(|it| it.scale != cumulative.scale)
    {
        return Err(StatsError::Unlike { what: "scale" });
    }
    Ok(HoldoutReport {
        cumulative: cumulative.at_one_look(ask),
        periods: periods.iter().map(|it| it.at_one_look(ask)).collect(),
        trend: trend(periods),
        claimed: claimed(cumulative, claims),
    })
}

fn trend(periods: &[Contrast]) -> Option<Trend> {
    if periods.len() < 3 {
        return None;
    }
    let points = || {
        periods
            .iter()
            .enumerate()
            .map(|(at, it)| (at as f64, it.effect, (it.se * it.se).recip()))
    };
    let whole: f64 = points().map(|(_, _, weight)| weight).sum();
    let centre = points().map(|(at, _, weight)| at * weight).sum::<f64>() / whole;
    let spread: f64 = points()
        .map(|(at, _, weight)| weight * (at - centre).powi(2))
        .sum();
    let slope = points()
        .map(|(at, effect, weight)| weight * (at - centre) * effect)
        .sum::<f64>()
        / spread;
    let se = spread.sqrt().recip();
    Some(Trend {
        slope,
        se,
        p: two_sided(slope / se),
    })
}

fn claimed(cumulative: &Contrast, claims: &[Contrast]) -> Option<Claimed> {
    let sum: f64 = claims.iter().map(|it| it.effect).sum();
    if claims.is_empty() || sum == 0.0 {
        return None;
    }
    let variance: f64 = claims.iter().map(|it| it.se * it.se).sum();
    let distance = cumulative.effect - sum;
    Some(Claimed {
        sum,
        se: variance.sqrt(),
        realised: cumulative.effect / sum,
        p: two_sided(distance / (cumulative.se * cumulative.se + variance).sqrt()),
    })
}

fn two_sided(statistic: f64) -> PValue {
    PValue::from_ln(normal::ln_survival(statistic.abs()) + std::f64::consts::LN_2)
}
