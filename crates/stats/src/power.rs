//! What traffic can show: power, smallest detectable effect, units and days needed; before a start and under way.
//!
//! Guarantees that a plan and the analysis use the same boundary. For sequential analysis the power is that at the
//! last look: looks before it can only add to it. Never plans with a variance of 0.
//!
//! ```
//! use mainstay_stats::{Ask, Boundary, Level, Plan};
//! let ask = Ask::two_sided(Level::new(0.05)?);
//! let plan = Plan::new(Boundary::OneLook, ask, 0.8)?;
//! // Conversion of 10 %, even split, 1 point more to be seen:
//! let units = plan.units_for(0.01, &[1.0, 1.0], &[0.1 * 0.9, 0.11 * 0.89])?;
//! assert!((29_000.0..30_000.0).contains(&units));
//! # Ok::<(), mainstay_stats::StatsError>(())
//! ```
//!
//! # Formula
//! With `δ` the effect over its standard error and `c` the boundary, power is `P(Z > c − δ) + P(Z < −c − δ)`, or the same
//! with noncentral t (Cohen, Statistical Power Analysis, 1988, chapter 12). The standard error of `n` units is
//! `√(V/n)`, `V = v_C/w_C + v_T/w_T` with the arms' shares of units `w`; relative effects: variances by the delta method
//! ([`crate::Summary`]); adjusted metrics: times `1 − ρ²` ([`adjusted_variance`]).

use serde::{Deserialize, Serialize};

use crate::counts::{StatsError, check_positive, check_share};
use crate::estimate::{Ask, Contrast, Side};
use crate::sequential::AsymptoticSequence;
use crate::tail::{noncentral, normal, rising_root, student};

/// The most units a plan looks at; more than there are people.
const MOST_UNITS: f64 = 1e13;

/// Halvings when units are searched.
const HALVINGS: u32 = 200;

/// What the analysis compares the statistic with.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Boundary {
    /// One planned look.
    OneLook,
    /// An asymptotic confidence sequence.
    Always {
        /// How it is tuned.
        sequence: AsymptoticSequence,
    },
}

/// How the experiment will be analysed, and how sure one wants to be to see an effect that is there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    boundary: Boundary,
    ask: Ask,
    power: f64,
}

impl Plan {
    /// `power` is the chance to see the effect, such as 0.8.
    pub fn new(boundary: Boundary, ask: Ask, power: f64) -> Result<Self, StatsError> {
        check_share("power", power)?;
        if power <= ask.level.alpha() {
            return Err(StatsError::OutOfRange {
                setting: "power",
                value: power,
                allowed: "above the level",
            });
        }
        if let Boundary::Always { sequence } = boundary {
            sequence.rho_squared(&ask)?;
        }
        Ok(Self {
            boundary,
            ask,
            power,
        })
    }

    /// The statistic at which an effect counts as shown, at `units` in both arms.
    fn critical(&self, units: f64) -> Result<f64, StatsError> {
        match self.boundary {
            Boundary::OneLook => Ok(normal::upper_quantile(match self.ask.side {
                Side::Both => 0.5 * self.ask.level.alpha(),
                Side::Greater | Side::Less => self.ask.level.alpha(),
            })),
            Boundary::Always { sequence } => sequence.critical(units, &self.ask),
        }
    }

    /// The chance to see an `effect` whose estimate has standard error `se` at `units` in both arms.
    pub fn power_at(&self, effect: f64, se: f64, units: f64) -> Result<f64, StatsError> {
        check_positive("standard error", se)?;
        check_positive("units", units)?;
        let shift = (effect - self.ask.null) / se;
        Ok(chance(shift, self.critical(units)?, self.ask.side))
    }

    /// The smallest effect above the null that is seen with the plan's power. Where only lower effects count, the
    /// one below it.
    pub fn detectable(&self, se: f64, units: f64) -> Result<f64, StatsError> {
        check_positive("standard error", se)?;
        check_positive("units", units)?;
        let shift = self.detectable_shift(units)?;
        Ok(match self.ask.side {
            Side::Both | Side::Greater => self.ask.null + shift * se,
            Side::Less => self.ask.null - shift * se,
        })
    }

    fn detectable_shift(&self, units: f64) -> Result<f64, StatsError> {
        let critical = self.critical(units)?;
        // Seen on the far side alone it takes this; the near side only helps.
        let alone = critical + normal::quantile(self.power);
        if self.ask.side != Side::Both {
            return Ok(alone);
        }
        Ok(rising_root((0.0, alone.max(0.0)), alone, |shift| {
            let slope = normal::density(critical - shift) - normal::density(critical + shift);
            (chance(shift, critical, Side::Both) - self.power, slope)
        }))
    }

    /// Units in both arms together until `effect` is seen with the plan's power.
    ///
    /// `weights` are the arms' shares of units in any unit, control first, `variances` their variances per unit.
    pub fn units_for(
        &self,
        effect: f64,
        weights: &[f64; 2],
        variances: &[f64; 2],
    ) -> Result<f64, StatsError> {
        self.units_until(effect, spread(weights, variances)?)
    }

    /// Units until `effect` is seen, where the estimate's variance is `spread` over the units.
    fn units_until(&self, effect: f64, spread: f64) -> Result<f64, StatsError> {
        let distance = effect - self.ask.null;
        let is_seen_at_all = match self.ask.side {
            Side::Both => distance != 0.0,
            Side::Greater => distance > 0.0,
            Side::Less => distance < 0.0,
        };
        if !is_seen_at_all || !distance.is_finite() {
            return Err(StatsError::OutOfRange {
                setting: "effect",
                value: effect,
                allowed: "on the side of the null that counts",
            });
        }
        let is_enough = |units: f64| -> Result<bool, StatsError> {
            let detectable = self.detectable_shift(units)?;
            Ok(detectable * detectable * spread / units <= distance * distance)
        };
        if !is_enough(MOST_UNITS)? {
            return Err(StatsError::OutOfRange {
                setting: "effect",
                value: effect,
                allowed: "large enough to be seen within 1e13 units",
            });
        }
        let (mut low, mut high) = (0.0, MOST_UNITS.ln());
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(low, high);
            if is_enough(middle.exp())? {
                high = middle;
            } else {
                low = middle;
            }
        }
        Ok(high.exp())
    }

    /// Under way: what this contrast's arms can show now and with more units of the same kind.
    pub fn progress(&self, contrast: &Contrast, effect: f64) -> Result<Progress, StatsError> {
        let units = contrast.units as f64;
        let needed = self.units_until(effect, contrast.se * contrast.se * units)?;
        Ok(Progress {
            power: self.power_at(effect, contrast.se, units)?,
            detectable: self.detectable(contrast.se, units)?,
            units_needed: needed,
            units_missing: (needed - units).max(0.0),
        })
    }
}

/// How far an experiment under way has come.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Chance to see the effect with the units so far.
    pub power: f64,
    /// The smallest effect that is seen with the plan's power.
    pub detectable: f64,
    /// Units in both arms at which the effect is seen with that power.
    pub units_needed: f64,
    /// How many more that is.
    pub units_missing: f64,
}

/// Variance of a difference times the number of units in both arms.
fn spread(weights: &[f64; 2], variances: &[f64; 2]) -> Result<f64, StatsError> {
    let whole = weights[0] + weights[1];
    let mut spread = 0.0;
    for (weight, variance) in weights.iter().zip(variances) {
        check_positive("weight", *weight)?;
        check_positive("variance", *variance)?;
        spread += variance * whole / weight;
    }
    Ok(spread)
}

/// Standard error of a difference at `units` in both arms together; arguments as [`Plan::units_for`].
pub fn planned_se(units: f64, weights: &[f64; 2], variances: &[f64; 2]) -> Result<f64, StatsError> {
    check_positive("units", units)?;
    Ok((spread(weights, variances)? / units).sqrt())
}

/// Variance per unit after adjustment by a covariate of this correlation with the metric (CUPED: Deng et al., WSDM
/// 2013): `v(1 − ρ²)`.
pub fn adjusted_variance(variance: f64, correlation: f64) -> Result<f64, StatsError> {
    check_positive("variance", variance)?;
    if correlation.is_nan() || correlation.abs() >= 1.0 {
        return Err(StatsError::OutOfRange {
            setting: "correlation",
            value: correlation,
            allowed: "between -1 and 1",
        });
    }
    Ok(variance * (1.0 - correlation * correlation))
}

fn chance(shift: f64, critical: f64, side: Side) -> f64 {
    match side {
        Side::Both => normal::survival(critical - shift) + normal::survival(critical + shift),
        Side::Greater => normal::survival(critical - shift),
        Side::Less => normal::survival(critical + shift),
    }
}

/// Power of a t test with this many degrees of freedom, for an effect of `shift` standard errors: for small samples,
/// where the normal plan promises too much.
pub fn student_power(shift: f64, degrees: f64, ask: &Ask) -> Result<f64, StatsError> {
    check_positive("degrees of freedom", degrees)?;
    if !shift.is_finite() {
        return Err(StatsError::NotFinite { what: "effect" });
    }
    let alpha = ask.level.alpha();
    Ok(match ask.side {
        Side::Both => {
            let critical = student::upper_quantile(0.5 * alpha, degrees);
            noncentral::student_survival(critical, degrees, shift)
                + noncentral::student_survival(critical, degrees, -shift)
        }
        Side::Greater => {
            noncentral::student_survival(student::upper_quantile(alpha, degrees), degrees, shift)
        }
        Side::Less => {
            noncentral::student_survival(student::upper_quantile(alpha, degrees), degrees, -shift)
        }
    })
}

/// New units by day since an experiment's start. A site sees the same people again: days later in an experiment bring
/// fewer new ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traffic {
    /// Units first seen on day 1, 2, … of a past stretch of days, whole site.
    pub new_units: Vec<f64>,
}

/// Days beyond which no duration is told.
const MOST_DAYS: u32 = 3_650;

impl Traffic {
    /// Days until `units` have been seen, if `share` of all traffic takes part. Beyond the days that are known the mean
    /// of the last seven goes on; nothing where that takes more than ten years.
    pub fn days_until(&self, units: f64, share: f64) -> Result<Option<u32>, StatsError> {
        if !(share > 0.0 && share <= 1.0) {
            return Err(StatsError::OutOfRange {
                setting: "share of the traffic",
                value: share,
                allowed: "above 0 and at most 1",
            });
        }
        crate::counts::check_enough("days of traffic", self.new_units.len() as u64, 1)?;
        if self.new_units.iter().any(|it| !it.is_finite() || *it < 0.0) {
            return Err(StatsError::NotFinite {
                what: "new units of a day",
            });
        }
        let week = self.new_units.len().min(7);
        let tail = self.new_units.iter().rev().take(week).sum::<f64>() / week as f64;
        let mut seen = 0.0;
        let mut known = self.new_units.iter();
        for day in 1..=MOST_DAYS {
            seen += known.next().copied().unwrap_or(tail) * share;
            if seen >= units {
                return Ok(Some(day));
            }
        }
        Ok(None)
    }
}
