//! What a comparison says, before and after a method of inference: [`Contrast`] → [`Estimate`].
//!
//! Guarantees that an estimate carries what it takes to read it: effect, standard error, interval, p-value,
//! the method, and whether it holds at one look only or at all of them. Never gives an interval without spread:
//! a contrast of two constants is refused.
//!
//! ```
//! use mainstay_stats::{Ask, Contrast, Level, Scale, Validity};
//! let contrast = Contrast::new(0.02, 0.008, None, 20_000, Scale::Absolute)?;
//! let estimate = contrast.at_one_look(&Ask::two_sided(Level::new(0.05)?));
//! assert!(estimate.is_significant() && estimate.interval.low > 0.0);
//! assert_eq!(estimate.validity, Validity::OneLook);
//! # Ok::<(), mainstay_stats::StatsError>(())
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::counts::{StatsError, check_share};
use crate::tail::{normal, student};

/// The chance allowed for a false positive, strictly between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Level(f64);

impl Level {
    /// Refuses what does not lie strictly between 0 and 1.
    pub fn new(alpha: f64) -> Result<Self, StatsError> {
        check_share("level", alpha)?;
        Ok(Self(alpha))
    }

    /// The chance itself.
    pub fn alpha(self) -> f64 {
        self.0
    }

    /// The part of this chance that one of `parts` equal shares gets; of 0 parts, all of it.
    #[must_use]
    pub fn shared(self, parts: u32) -> Self {
        Self(self.0 / f64::from(parts.max(1)))
    }
}

impl TryFrom<f64> for Level {
    type Error = StatsError;

    fn try_from(alpha: f64) -> Result<Self, StatsError> {
        Self::new(alpha)
    }
}

impl From<Level> for f64 {
    fn from(level: Level) -> Self {
        level.0
    }
}

/// A p-value, kept as its natural logarithm so that none is ever rounded to 0. Serialised as that logarithm.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PValue {
    ln: f64,
}

impl PValue {
    /// No evidence at all.
    pub const ONE: Self = Self { ln: 0.0 };

    /// From a natural logarithm; above 0, or no number, is no evidence, and minus infinity the lowest double.
    pub fn from_ln(ln: f64) -> Self {
        if ln.is_nan() {
            return Self::ONE;
        }
        Self {
            ln: ln.clamp(f64::MIN, 0.0),
        }
    }

    /// From a probability; 0 is the least that can be told.
    pub fn from_value(p: f64) -> Self {
        Self::from_ln(p.ln())
    }

    /// The probability; 0 where a double cannot hold it.
    pub fn value(self) -> f64 {
        self.ln.exp()
    }

    /// Its natural logarithm, always finite.
    pub fn ln(self) -> f64 {
        self.ln
    }

    /// Whether it rejects at this level.
    pub fn is_below(self, level: Level) -> bool {
        self.ln <= level.alpha().ln()
    }
}

/// Such as `0.0312` or `1.6e-412`.
impl fmt::Display for PValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let p = self.value();
        if p >= 1e-4 {
            return write!(f, "{p:.4}");
        }
        let tens = self.ln / std::f64::consts::LN_10;
        let exponent = tens.floor();
        write!(f, "{:.1}e{exponent}", 10_f64.powf(tens - exponent))
    }
}

/// Which differences from the null count against it. "Greater" is: treatment greater than control.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Any difference.
    Both,
    /// Only a treatment above the null.
    Greater,
    /// Only a treatment below the null.
    Less,
}

/// In what the effect is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// Treatment minus control, in the metric's unit.
    Absolute,
    /// Treatment over control, minus 1.
    Relative,
}

/// Values between two bounds; a bound that is not asked for is infinite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
}

/// As it is written: JSON knows no infinity, so a bound that is not there is left out.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bounds {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    low: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    high: Option<f64>,
}

impl Serialize for Interval {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Bounds {
            low: self.low.is_finite().then_some(self.low),
            high: self.high.is_finite().then_some(self.high),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Bounds { low, high } = Bounds::deserialize(deserializer)?;
        Ok(Self {
            low: low.unwrap_or(f64::NEG_INFINITY),
            high: high.unwrap_or(f64::INFINITY),
        })
    }
}

impl Interval {
    /// Everything.
    pub const ALL: Self = Self {
        low: f64::NEG_INFINITY,
        high: f64::INFINITY,
    };

    /// Around `centre`: both bounds `half_width` away, or the one that `side` asks for.
    pub fn around(centre: f64, half_width: f64, side: Side) -> Self {
        Self {
            low: match side {
                Side::Both | Side::Greater => centre - half_width,
                Side::Less => f64::NEG_INFINITY,
            },
            high: match side {
                Side::Both | Side::Less => centre + half_width,
                Side::Greater => f64::INFINITY,
            },
        }
    }

    /// Whether `value` is inside or on a bound.
    pub fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }

    /// What both share; nothing where they do not meet.
    pub fn meet(&self, other: &Self) -> Option<Self> {
        let low = self.low.max(other.low);
        let high = self.high.min(other.high);
        (low <= high).then_some(Self { low, high })
    }
}

/// What is asked of a contrast.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// The chance allowed for a false positive.
    pub level: Level,
    /// Which differences count.
    pub side: Side,
    /// The effect that is tested against, usually 0; a margin for non-inferiority.
    pub null: f64,
}

impl Ask {
    /// Any difference from 0.
    pub fn two_sided(level: Level) -> Self {
        Self::one_sided(level, Side::Both)
    }

    /// A difference from 0 to one side.
    pub fn one_sided(level: Level, side: Side) -> Self {
        Self {
            level,
            side,
            null: 0.0,
        }
    }
}

/// When an estimate's error rates hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Validity {
    /// At one look that was planned before: not if the data decided when to look.
    OneLook,
    /// At every look, for as long as one likes.
    Always,
    /// As a posterior: given the prior, not as an error rate.
    Posterior,
}

/// How an interval came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Welch's t.
    Student,
    /// A normal approximation.
    Normal,
    /// Asymptotic confidence sequence.
    AsymptoticSequence,
    /// Mixture sequential probability ratio test.
    Msprt,
    /// Sequential bands of the distribution function.
    QuantileBand,
    /// E-process of counts.
    CountProcess,
    /// Posterior of a normal effect.
    Bayes,
}

/// A treatment against its control, before any method of inference.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contrast {
    /// Estimated effect.
    pub effect: f64,
    /// Its standard error, above 0.
    pub se: f64,
    /// Degrees of freedom of the standard error; nothing where it is taken as known.
    pub degrees: Option<f64>,
    /// Independent units in both arms.
    pub units: u64,
    /// What the effect is told in.
    pub scale: Scale,
}

impl Contrast {
    /// Refuses a standard error that is not above 0, and whatever is not finite.
    pub fn new(
        effect: f64,
        se: f64,
        degrees: Option<f64>,
        units: u64,
        scale: Scale,
    ) -> Result<Self, StatsError> {
        if !effect.is_finite() {
            return Err(StatsError::NotFinite { what: "effect" });
        }
        if !se.is_finite() {
            return Err(StatsError::NotFinite {
                what: "standard error",
            });
        }
        if se <= 0.0 {
            return Err(StatsError::NoSpread);
        }
        Ok(Self {
            effect,
            se,
            degrees: degrees.filter(|it| it.is_finite()),
            units,
            scale,
        })
    }

    /// The estimate for one planned look: Student's t where the contrast has degrees of freedom (Welch 1947),
    /// else normal.
    pub fn at_one_look(&self, ask: &Ask) -> Estimate {
        let statistic = (self.effect - ask.null) / self.se;
        let (tail, share) = match ask.side {
            Side::Both => (statistic.abs(), 0.5 * ask.level.alpha()),
            Side::Greater => (statistic, ask.level.alpha()),
            Side::Less => (-statistic, ask.level.alpha()),
        };
        let (ln_tail, critical, method) = match self.degrees {
            Some(degrees) => (
                student::survival(tail, degrees).ln(),
                student::upper_quantile(share, degrees),
                Method::Student,
            ),
            None => (
                normal::ln_survival(tail),
                normal::upper_quantile(share),
                Method::Normal,
            ),
        };
        let sides = if ask.side == Side::Both { 2_f64 } else { 1.0 };
        self.estimated(
            ask,
            critical * self.se,
            PValue::from_ln(ln_tail + sides.ln()),
            (method, Validity::OneLook),
        )
    }

    pub(crate) fn estimated(
        &self,
        ask: &Ask,
        half_width: f64,
        p: PValue,
        (method, validity): (Method, Validity),
    ) -> Estimate {
        Estimate {
            effect: self.effect,
            se: Some(self.se),
            interval: Interval::around(self.effect, half_width, ask.side),
            p,
            level: ask.level,
            scale: self.scale,
            method,
            validity,
        }
    }
}

/// An effect with its interval and p-value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// Estimated effect.
    pub effect: f64,
    /// Its standard error; nothing for bands of order statistics, which have none.
    pub se: Option<f64>,
    /// What the effect may be at the level.
    pub interval: Interval,
    /// Against the null that was asked about.
    pub p: PValue,
    /// The level that was asked for.
    pub level: Level,
    /// What the effect is told in.
    pub scale: Scale,
    /// How it came about.
    pub method: Method,
    /// When its error rates hold.
    pub validity: Validity,
}

impl Estimate {
    /// Whether the p-value rejects at the level. At which looks that may be said: [`Self::validity`].
    pub fn is_significant(&self) -> bool {
        self.p.is_below(self.level)
    }
}
