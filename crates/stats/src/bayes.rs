//! The posterior of an effect under a normal prior that is stated with it.
//!
//! Guarantees that every posterior names its prior. Never promises error rates: a chance to win of 95 % at a look
//! chosen by the data is not a false-positive rate of 5 %.
//!
//! ```
//! use mainstay_stats::{Contrast, Level, Prior, Scale, posterior};
//! let contrast = Contrast::new(0.02, 0.01, None, 10_000, Scale::Relative)?;
//! let flat = posterior(&contrast, Prior::Flat, Level::new(0.05)?)?;
//! assert!((flat.chance_to_win - 0.977).abs() < 0.001);
//! let sceptical = Prior::Normal { mean: 0.0, sd: 0.01 };
//! assert!(posterior(&contrast, sceptical, Level::new(0.05)?)?.effect < 0.011);
//! # Ok::<(), mainstay_stats::StatsError>(())
//! ```
//!
//! # Formula
//! Normal prior, normal likelihood: precisions add (Gelman et al., Bayesian Data Analysis, 3rd ed., section 2.5).
//! Risk is the expected loss of the wrong choice, `E max(−δ, 0)` or `E max(δ, 0)` (Stucchio, "Bayesian A/B testing at
//! VWO", 2015).

use serde::{Deserialize, Serialize};

use crate::counts::{StatsError, check_positive};
use crate::estimate::{Contrast, Interval, Level, Scale};
use crate::tail::normal;

/// What is believed of the effect beforehand, in the contrast's scale.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Prior {
    /// Every effect is as likely as any other.
    Flat,
    /// A normal distribution of effects.
    Normal {
        /// Its mean.
        mean: f64,
        /// Its standard deviation, above 0.
        sd: f64,
    },
}

/// What is believed of the effect afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Posterior {
    /// Mean of the effect.
    pub effect: f64,
    /// Its standard deviation.
    pub sd: f64,
    /// Holds the effect with chance one minus the level, half of the rest on each side.
    pub interval: Interval,
    /// Chance that the treatment is above the control.
    pub chance_to_win: f64,
    /// Expected loss from shipping the treatment: `E max(−effect, 0)`.
    pub risk_of_treatment: f64,
    /// Expected loss from staying with the control: `E max(effect, 0)`.
    pub risk_of_control: f64,
    /// What was believed beforehand.
    pub prior: Prior,
    /// What the effect is told in.
    pub scale: Scale,
}

/// The posterior of a contrast's effect.
pub fn posterior(contrast: &Contrast, prior: Prior, level: Level) -> Result<Posterior, StatsError> {
    let precision = (contrast.se * contrast.se).recip();
    let (effect, sd) = match prior {
        Prior::Flat => (contrast.effect, contrast.se),
        Prior::Normal { mean, sd } => {
            check_positive("standard deviation of the prior", sd)?;
            if !mean.is_finite() {
                return Err(StatsError::NotFinite {
                    what: "mean of the prior",
                });
            }
            let own = (sd * sd).recip();
            let both = precision + own;
            (
                (contrast.effect * precision + mean * own) / both,
                both.recip().sqrt(),
            )
        }
    };
    let standard = effect / sd;
    let half = normal::upper_quantile(0.5 * level.alpha()) * sd;
    Ok(Posterior {
        effect,
        sd,
        interval: Interval {
            low: effect - half,
            high: effect + half,
        },
        chance_to_win: normal::cumulative(standard),
        risk_of_treatment: sd * normal::mean_excess(standard),
        risk_of_control: sd * normal::mean_excess(-standard),
        prior,
        scale: contrast.scale,
    })
}
