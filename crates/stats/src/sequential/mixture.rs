//! Normal mixtures: asymptotic confidence sequences, and the mixture SPRT.
//!
//! Both average the likelihood ratio of an effect over a normal prior around the null. With `z = (effect − null)/se`
//! and `r` the prior's variance over the squared standard error:
//!
//! ```text
//! both sides:  e = exp(x²/2)/√(1 + r)               x² = z²·r/(1 + r)
//! one side:    e = 2(exp(x²/2) − 1)/√(1 + r)        for z on that side
//! ```
//!
//! the one-sided form being a lower bound of the half-normal mixture `2Φ(x)·exp(x²/2)/√(1 + r)`. Interval and p-value
//! are two readings of the same `e`.

use serde::{Deserialize, Serialize};

use crate::counts::{StatsError, check_positive};
use crate::estimate::{Ask, Contrast, Estimate, Method, PValue, Side, Validity};
use crate::tail::ln_1m_exp;

/// Asymptotic confidence sequence for a mean, or anything with a central limit theorem.
///
/// Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic confidence
/// sequences" (Annals of Statistics 2024, arXiv 2103.06476v7): two-sided eq. 9, p-value eq. 155, one-sided eq. 134,
/// `ρ` by eq. 161. `r = n·ρ²` with `n` the units of both arms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "TightestAt", into = "TightestAt")]
pub struct AsymptoticSequence {
    tightest_at: f64,
}

/// Tightest at 5,000 units in both arms.
impl Default for AsymptoticSequence {
    fn default() -> Self {
        Self {
            tightest_at: 5_000.0,
        }
    }
}

/// As it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TightestAt {
    tightest_at: f64,
}

impl TryFrom<TightestAt> for AsymptoticSequence {
    type Error = StatsError;

    fn try_from(written: TightestAt) -> Result<Self, StatsError> {
        Self::new(written.tightest_at)
    }
}

impl From<AsymptoticSequence> for TightestAt {
    fn from(sequence: AsymptoticSequence) -> Self {
        Self {
            tightest_at: sequence.tightest_at,
        }
    }
}

impl AsymptoticSequence {
    /// Intervals are narrowest, compared to one look, when both arms together have `tightest_at` units.
    pub fn new(tightest_at: f64) -> Result<Self, StatsError> {
        check_positive("units at which the sequence is tightest", tightest_at)?;
        Ok(Self { tightest_at })
    }

    /// `ρ²` of eq. 161; of twice the level where only one side counts.
    pub fn rho_squared(&self, ask: &Ask) -> Result<f64, StatsError> {
        let alpha = ask.level.alpha();
        let alpha = match ask.side {
            Side::Both => alpha,
            Side::Greater | Side::Less => 2.0 * alpha,
        };
        if alpha >= 1.0 {
            return Err(StatsError::OutOfRange {
                setting: "level of a one-sided sequence",
                value: ask.level.alpha(),
                allowed: "below 0.5",
            });
        }
        let twice = -2.0 * alpha.ln();
        Ok((twice + twice.ln_1p()) / self.tightest_at)
    }

    /// The contrast's estimate, valid at every look.
    pub fn estimate(&self, contrast: &Contrast, ask: &Ask) -> Result<Estimate, StatsError> {
        let ratio = contrast.units as f64 * self.rho_squared(ask)?;
        Ok(mixed(contrast, ask, ratio, Method::AsymptoticSequence))
    }

    /// Half the width of the interval over the standard error, at `units` in both arms.
    pub fn critical(&self, units: f64, ask: &Ask) -> Result<f64, StatsError> {
        Ok(critical(units * self.rho_squared(ask)?, ask))
    }
}

/// Mixture sequential probability ratio test: the prior's spread is that of true effects.
///
/// Johari, Koomen, Pekelis and Walsh, "Always Valid Inference: Continuous Monitoring of A/B Tests" (Operations Research
/// 70, 2022, arXiv 1512.04922), the normal mixture: `r = τ²/se²`. Equal to [`AsymptoticSequence`] where the standard error
/// falls as `1/√n` and `τ = ρ·σ`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Spread", into = "Spread")]
pub struct Msprt {
    tau: f64,
}

/// As it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Spread {
    tau: f64,
}

impl TryFrom<Spread> for Msprt {
    type Error = StatsError;

    fn try_from(written: Spread) -> Result<Self, StatsError> {
        Self::new(written.tau)
    }
}

impl From<Msprt> for Spread {
    fn from(msprt: Msprt) -> Self {
        Self { tau: msprt.tau }
    }
}

impl Msprt {
    /// `tau` is the standard deviation of true effects, in the contrast's scale.
    pub fn new(tau: f64) -> Result<Self, StatsError> {
        check_positive("spread of effects", tau)?;
        Ok(Self { tau })
    }

    /// The contrast's estimate, valid at every look.
    pub fn estimate(&self, contrast: &Contrast, ask: &Ask) -> Estimate {
        let ratio = (self.tau / contrast.se).powi(2);
        mixed(contrast, ask, ratio, Method::Msprt)
    }
}

fn mixed(contrast: &Contrast, ask: &Ask, ratio: f64, method: Method) -> Estimate {
    let statistic = (contrast.effect - ask.null) / contrast.se;
    contrast.estimated(
        ask,
        critical(ratio, ask) * contrast.se,
        PValue::from_ln(-ln_e(statistic, ratio, ask.side)),
        (method, Validity::Always),
    )
}

fn ln_e(statistic: f64, ratio: f64, side: Side) -> f64 {
    let toward = match side {
        Side::Both => statistic.abs(),
        Side::Greater => statistic,
        Side::Less => -statistic,
    };
    if side != Side::Both && toward <= 0.0 {
        return f64::NEG_INFINITY;
    }
    let exponent = 0.5 * toward * toward * (ratio / (1.0 + ratio));
    let shrink = 0.5 * ratio.ln_1p();
    match side {
        Side::Both => exponent - shrink,
        // ln(2(e^y − 1)) = ln 2 + y + ln(1 − e^−y)
        Side::Greater | Side::Less => {
            std::f64::consts::LN_2 + exponent + ln_1m_exp(-exponent) - shrink
        }
    }
}

/// The `z` at which `e` reaches one over the level.
fn critical(ratio: f64, ask: &Ask) -> f64 {
    let alpha = ask.level.alpha();
    let root = (1.0 + ratio).sqrt();
    let needed = match ask.side {
        Side::Both => (root / alpha).ln(),
        Side::Greater | Side::Less => (root / (2.0 * alpha)).ln_1p(),
    };
    (2.0 * needed * (1.0 + ratio) / ratio).sqrt()
}

/// The lowest p-value of all looks so far, which is still a p-value: that of the moment may rise again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunningP(PValue);

impl Default for RunningP {
    fn default() -> Self {
        Self(PValue::ONE)
    }
}

impl RunningP {
    /// Takes one more look into account; only always-valid estimates are, others leave it as it is.
    pub fn observe(&mut self, estimate: &Estimate) -> PValue {
        if estimate.validity == Validity::Always && estimate.p < self.0 {
            self.0 = estimate.p;
        }
        self.0
    }

    /// The lowest so far.
    pub fn p(self) -> PValue {
        self.0
    }
}
