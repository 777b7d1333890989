//! Ratios of two sums over units, such as clicks per view where the unit is the user.

use crate::counts::StatsError;
use crate::moments::Joint;
use crate::summary::Summary;

/// Sum of value 0 over sum of value 1.
///
/// `R = x̄/ȳ`, variance per unit `(σ_x² − 2Rσ_xy + R²σ_y²)/ȳ²` (Deng, Knoblich and Lu, KDD 2018, on ratios).
pub fn ratio(units: &Joint<2>) -> Result<Summary, StatsError> {
    let [[above, mixed], [_, below]] = units.covariances()?;
    let divisor = units.mean(1);
    if divisor == 0.0 {
        return Err(StatsError::NoBaseline);
    }
    let value = units.mean(0) / divisor;
    let variance = (above - 2.0 * value * mixed + value * value * below) / divisor / divisor;
    Ok(Summary::plain(units.units(), value, variance.max(0.0)))
}
