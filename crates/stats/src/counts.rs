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
    /// A value that is infinite, or no number.
    NotFinite {
        /// Which value.
        what: &'static str,
    },
    /// A setting beyond its bounds.
    OutOfRange {
        /// Which setting.
        setting: &'static str,
        /// Its value.
        value: f64,
        /// What it may be, as a phrase.
        allowed: &'static str,
    },
    /// Not enough units, clusters, segments or looks to say anything.
    TooFew {
        /// Of what.
        what: &'static str,
        /// How many there are.
        have: u64,
        /// How many it takes.
        need: u64,
    },
    /// No two units differ, so nothing can be said of how sure an effect is.
    NoSpread,
    /// A relative effect of a control that is 0.
    NoBaseline,
    /// Two states that do not hold the same.
    Unlike {
        /// What both would have to share.
        what: &'static str,
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
            Self::NotFinite { what } => write!(f, "{what} is infinite or no number"),
            Self::OutOfRange {
                setting,
                value,
                allowed,
            } => write!(f, "{setting} is {value}, and must be {allowed}"),
            Self::TooFew { what, have, need } => {
                write!(f, "{have} {what}, and it takes at least {need}")
            }
            Self::NoSpread => write!(f, "all values are equal, so no error can be estimated"),
            Self::NoBaseline => write!(
                f,
                "the control is 0, so there is no relative effect; ask for the absolute one"
            ),
            Self::Unlike { what } => write!(f, "states with another {what} cannot be put together"),
        }
    }
}

impl std::error::Error for StatsError {}

/// Accepts a number above 0 that is finite.
pub(crate) fn check_positive(setting: &'static str, value: f64) -> Result<(), StatsError> {
    if value > 0.0 && value.is_finite() {
        Ok(())
    } else {
        Err(StatsError::OutOfRange {
            setting,
            value,
            allowed: "above 0 and finite",
        })
    }
}

/// Accepts a count of at least `need`.
pub(crate) fn check_enough(what: &'static str, have: u64, need: u64) -> Result<(), StatsError> {
    if have >= need {
        Ok(())
    } else {
        Err(StatsError::TooFew { what, have, need })
    }
}

/// Accepts a number strictly between 0 and 1; NaN is refused.
pub(crate) fn check_share(setting: &'static str, value: f64) -> Result<(), StatsError> {
    if value > 0.0 && value < 1.0 {
        Ok(())
    } else {
        Err(StatsError::OutsideUnitInterval { setting, value })
    }
}
