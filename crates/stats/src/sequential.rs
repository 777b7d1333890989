//! Inference that may be looked at whenever one likes, and stopped on what is seen.
//!
//! Guarantees: under the null the chance that a p-value from here *ever* falls to the level, or that an interval
//! *ever* misses the effect, is at most the level: exactly for counts and quantiles, asymptotically (in the
//! sample size at the first look) for means. Never needs the number of looks beforehand.
//!
//! | For | Use | Source |
//! |---|---|---|
//! | means, proportions, ratios, adjusted ones | [`AsymptoticSequence`] | Waudby-Smith et al., arXiv 2103.06476 |
//! | the same, with a known spread of effects | [`Msprt`] | Johari, Pekelis and Walsh, arXiv 1512.04922 |
//! | counts against fixed shares | [`CountProcess`] | Lindon and Malek, arXiv 2011.03567 |
//! | error counts, shares that move | [`crate::TwoArm`] | the same, point alternatives |
//! | quantiles and whole distributions | [`QuantileSequence`], [`distribution_gap`] | Howard and Ramdas; Lindon et al., arXiv 2205.14762 |
//!
//! ```
//! use mainstay_stats::{Ask, AsymptoticSequence, Contrast, Level, Scale, Validity};
//! let contrast = Contrast::new(0.03, 0.005, None, 40_000, Scale::Absolute)?;
//! let ask = Ask::two_sided(Level::new(0.05)?);
//! let always = AsymptoticSequence::default().estimate(&contrast, &ask)?;
//! assert_eq!(always.validity, Validity::Always);
//! // Looking at all times costs width.
//! assert!(always.interval.low < contrast.at_one_look(&ask).interval.low);
//! # Ok::<(), mainstay_stats::StatsError>(())
//! ```

mod band;
mod counts;
mod mixture;

pub use band::{DistributionGap, QuantileSequence, distribution_gap};
pub use counts::CountProcess;
pub use mixture::{AsymptoticSequence, Msprt, RunningP};
