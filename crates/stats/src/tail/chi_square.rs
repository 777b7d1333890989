//! The chi-square distribution: `P(X > x) = Q(k/2, x/2)`.

use super::gamma::ln_upper_regularized;
use crate::estimate::PValue;

/// `P(X > x)` with `degrees` degrees of freedom; 1 for `x ≤ 0`.
pub fn survival(x: f64, degrees: f64) -> PValue {
    PValue::from_ln(ln_upper_regularized(0.5 * degrees, 0.5 * x))
}
