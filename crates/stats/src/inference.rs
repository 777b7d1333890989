//! The method of inference as a choice that can be written into an analysis plan.
//!
//! Guarantees that every method answers with the same [`Estimate`], which says when it holds. Never changes the method
//! because of the data.
//!
//! ```
//! use mainstay_stats::{Ask, AsymptoticSequence, Contrast, Inference, Level, Scale, Validity};
//! let contrast = Contrast::new(0.02, 0.004, Some(900.0), 1_000, Scale::Relative)?;
//! let ask = Ask::two_sided(Level::new(0.05)?);
//! let planned = Inference::OneLook.estimate(&contrast, &ask)?;
//! let sequence = AsymptoticSequence::new(1_000.0)?;
//! let always = Inference::Asymptotic { sequence }.estimate(&contrast, &ask)?;
//! assert_eq!((planned.validity, always.validity), (Validity::OneLook, Validity::Always));
//! # Ok::<(), mainstay_stats::StatsError>(())
//! ```

use serde::{Deserialize, Serialize};

use crate::counts::StatsError;
use crate::estimate::{Ask, Contrast, Estimate};
use crate::sequential::{AsymptoticSequence, Msprt};

/// How a contrast becomes an estimate. Quantiles, which have bands of their own, and counts are not among these: see
/// [`crate::QuantileSequence`] and [`crate::CountProcess`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case", deny_unknown_fields)]
pub enum Inference {
    /// One planned look.
    OneLook,
    /// Every look, by an asymptotic confidence sequence.
    Asymptotic {
        /// How it is tuned.
        sequence: AsymptoticSequence,
    },
    /// Every look, by a mixture test.
    Msprt {
        /// How it is tuned.
        test: Msprt,
    },
}

impl Inference {
    /// The contrast's estimate.
    pub fn estimate(&self, contrast: &Contrast, ask: &Ask) -> Result<Estimate, StatsError> {
        match self {
            Self::OneLook => Ok(contrast.at_one_look(ask)),
            Self::Asymptotic { sequence } => sequence.estimate(contrast, ask),
            Self::Msprt { test } => Ok(test.estimate(contrast, ask)),
        }
    }
}
