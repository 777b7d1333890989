//! Shares of units with a hit.

use serde::{Deserialize, Serialize};

use crate::counts::{StatsError, check_enough};
use crate::estimate::{PValue, Side};
use crate::summary::Summary;
use crate::tail::normal;

/// Units, and how many of them had a hit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proportion {
    /// All units.
    pub units: u64,
    /// Units with a hit; at most `units`.
    pub hits: u64,
}

impl Proportion {
    /// Adds all units of another part.
    pub fn merge(&mut self, other: Self) {
        self.units = self.units.saturating_add(other.units);
        self.hits = self.hits.saturating_add(other.hits);
    }

    /// Refuses more hits than units.
    pub fn check(self) -> Result<(), StatsError> {
        if self.hits > self.units {
            return Err(StatsError::BadExceedsTotal {
                total: self.units,
                bad: self.hits,
            });
        }
        Ok(())
    }

    /// Share of hits, variance `p(1 − p)`: unpooled, normal (Wald; Newcombe, Statistics in Medicine 17, 1998,
    /// method 1).
    pub fn summary(self) -> Result<Summary, StatsError> {
        self.check()?;
        check_enough("units", self.units, 2)?;
        let share = self.hits as f64 / self.units as f64;
        let misses = (self.units - self.hits) as f64 / self.units as f64;
        Ok(Summary::large_sample(self.units, share, share * misses))
    }
}

/// Pooled two-sample z test of equal shares, treatment against control: statistic and p-value.
///
/// `z = (p_T − p_C)/√(p(1 − p)(1/n_T + 1/n_C))` with the shared `p` of both arms (Fleiss, Levin and Paik, Statistical
/// Methods for Rates and Proportions, 2003, without continuity correction).
pub fn pooled_test(
    control: Proportion,
    treatment: Proportion,
    side: Side,
) -> Result<(f64, PValue), StatsError> {
    let (left, right) = (control.summary()?, treatment.summary()?);
    let mut both = control;
    both.merge(treatment);
    let pooled = both.summary()?;
    let units = (left.units as f64).recip() + (right.units as f64).recip();
    let se = (pooled.variance * units).sqrt();
    if se <= 0.0 {
        return Err(StatsError::NoSpread);
    }
    let z = (right.value - left.value) / se;
    let ln_p = match side {
        Side::Both => normal::ln_survival(z.abs()) + std::f64::consts::LN_2,
        Side::Greater => normal::ln_survival(z),
        Side::Less => normal::ln_survival(-z),
    };
    Ok((z, PValue::from_ln(ln_p)))
}
