//! Events per exposure.

use serde::{Deserialize, Serialize};

use crate::counts::{StatsError, check_enough, check_positive};
use crate::summary::Summary;

/// Independent events over an exposure: errors per hour, calls per unit-day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Units that were exposed.
    pub units: u64,
    /// Events.
    pub events: u64,
    /// Sum of the units' exposures, such as unit-days.
    pub exposure: f64,
}

impl Rate {
    /// Adds all units of another part.
    pub fn merge(&mut self, other: Self) {
        self.units = self.units.saturating_add(other.units);
        self.events = self.events.saturating_add(other.events);
        self.exposure += other.exposure;
    }

    /// Events over exposure; variance of a Poisson count (Wald). Events of one unit that follow from each other are
    /// a [`crate::ArmState::Ratio`], whose variance knows of units.
    pub fn summary(self) -> Result<Summary, StatsError> {
        check_enough("units", self.units, 2)?;
        check_positive("exposure", self.exposure)?;
        let value = self.events as f64 / self.exposure;
        let variance = value / self.exposure * self.units as f64;
        Ok(Summary::large_sample(self.units, value, variance))
    }
}
