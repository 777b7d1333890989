//! Counts of one arm, and the one error of this crate.
//!
//! Guarantees that counts which cannot be true (more bad than total) are refused before they reach a
//! test. Never clamps or repairs a count.
//!
//! ```
//! use mainstay_stats::ArmCounts;
//! assert_eq!(ArmCounts { total: 200, bad: 3 }.rate(), Some(0.015));
//! assert!(ArmCounts { total: 1, bad: 2 }.check().is_err());
//! ```

use serde::{Deserialize, Serialize};

/// How many requests one arm served, and how many of those were bad.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArmCounts {
    /// All requests, good and bad.
    pub total: u64,
    /// Requests that failed; at most `total`.
    pub bad: u64,
}

impl ArmCounts {
    /// Bad share, or nothing when the arm served no request.
    pub fn rate(self) -> Option<f64> {
        (self.total > 0).then(|| self.bad as f64 / self.total as f64)
    }

    /// Requests that did not fail; 0 if the counts are impossible.
    pub fn good(self) -> u64 {
        self.total.saturating_sub(self.bad)
    }

    /// Refuses counts with more bad requests than requests.
    pub fn check(self) -> Result<(), StatsError> {
        if self.bad > self.total {
            return Err(StatsError::BadExceedsTotal {
                total: self.total,
                bad: self.bad,
            });
        }
        Ok(())
    }

    /// The sum, stopping at `u64::MAX`.
    #[must_use]
    pub fn plus(self, more: Self) -> Self {
        Self {
            total: self.total.saturating_add(more.total),
            bad: self.bad.saturating_add(more.bad),
        }
    }
}

/// What both arms served in the same stretch of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// The new version.
    pub canary: ArmCounts,
    /// The old version.
    pub control: ArmCounts,
}

impl Pair {
    /// The sums.
    #[must_use]
    pub fn plus(self, more: Self) -> Self {
        Self {
            canary: self.canary.plus(more.canary),
            control: self.control.plus(more.control),
        }
    }

    /// Refuses counts with more bad requests than requests.
    pub fn check(self) -> Result<(), StatsError> {
        self.canary.check()?;
        self.control.check()
    }
}

/// Why a test refused its input. A refused input leaves the test unchanged.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum StatsError {
    /// An arm reported more bad requests than requests.
    BadExceedsTotal {
        /// Requests reported.
        total: u64,
        /// Bad requests reported.
        bad: u64,
    },
    /// A setting that must lie strictly between 0 and 1 does not.
    OutsideUnitInterval {
        /// Which setting.
        setting: &'static str,
        /// Its value.
        value: f64,
    },
}

impl std::fmt::Display for StatsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BadExceedsTotal { total, bad } => {
                write!(f, "{bad} bad requests out of only {total}")
            }
            Self::OutsideUnitInterval { setting, value } => {
                write!(
                    f,
                    "{setting} is {value}, and must lie strictly between 0 and 1"
                )
            }
        }
    }
}

impl std::error::Error for StatsError {}

/// Accepts a number strictly between 0 and 1; NaN is refused.
pub(crate) fn check_share(setting: &'static str, value: f64) -> Result<(), StatsError> {
    if value > 0.0 && value < 1.0 {
        Ok(())
    } else {
        Err(StatsError::OutsideUnitInterval { setting, value })
    }
}
