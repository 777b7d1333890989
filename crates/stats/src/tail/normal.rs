//! The standard normal distribution.
//!
//! `P(Z > z) = erfc(z/√2)/2`; beyond 5 the logarithm uses Laplace's continued fraction of Mills' ratio
//! `R(z) = P(Z > z)/φ(z) = 1/(z + 1/(z + 2/(z + 3/(z + …))))` (Abramowitz and Stegun 26.2.14).

use std::f64::consts::{FRAC_1_SQRT_2, LN_2};

/// `ln √(2π)`.
pub(crate) const LN_SQRT_2_PI: f64 = 0.918_938_533_204_672_8;

/// From where on the continued fraction is used; with `LAPLACE_TERMS` it is exact to the last digits there.
const FAR: f64 = 5.0;
const LAPLACE_TERMS: u32 = 90;

/// Newton's steps from a start within 5e-4; each squares the error.
const STEPS: u32 = 5;

/// Density at `z`.
pub fn density(z: f64) -> f64 {
    (-0.5 * z * z - LN_SQRT_2_PI).exp()
}

/// `P(Z > z)`.
pub fn survival(z: f64) -> f64 {
    0.5 * libm::erfc(z * FRAC_1_SQRT_2)
}

/// `P(Z ≤ z)`.
pub fn cumulative(z: f64) -> f64 {
    survival(-z)
}

/// `ln P(Z > z)`, finite for every finite `z` up to 1e154.
pub fn ln_survival(z: f64) -> f64 {
    if z > FAR {
        -0.5 * z * z - LN_SQRT_2_PI + laplace(z).ln()
    } else if z < -1.0 {
        (-survival(-z)).ln_1p()
    } else {
        survival(z).ln()
    }
}

/// Mills' ratio `P(Z > z)/φ(z)`.
pub fn mills(z: f64) -> f64 {
    if z > FAR {
        laplace(z)
    } else {
        survival(z) / density(z)
    }
}

/// `φ(z) − z·P(Z > z)`, the mean of `max(Z − z, 0)`, without the cancellation of that difference.
pub(crate) fn mean_excess(z: f64) -> f64 {
    if z > FAR {
        // With R = 1/(z + K): 1 − z·R = K·R.
        let rest = laplace_rest(z);
        density(z) * rest / (z + rest)
    } else {
        density(z) - z * survival(z)
    }
}

fn laplace(z: f64) -> f64 {
    (z + laplace_rest(z)).recip()
}

/// `1/(z + 2/(z + 3/(z + …)))`.
fn laplace_rest(z: f64) -> f64 {
    let mut rest = 0.0;
    for term in (1..=LAPLACE_TERMS).rev() {
        rest = f64::from(term) / (z + rest);
    }
    rest
}

/// The `z` with `P(Z ≤ z) = p`; infinite at 0 and 1, NaN outside.
pub fn quantile(p: f64) -> f64 {
    if p == 0.5 {
        0.0
    } else if p < 0.5 {
        -upper_quantile_ln(p.ln())
    } else {
        upper_quantile_ln((1.0 - p).ln())
    }
}

/// The `z` with `P(Z > z) = q`.
pub fn upper_quantile(q: f64) -> f64 {
    -quantile(q)
}

/// The `z ≥ 0` with `ln P(Z > z) = ln_q`, for `ln_q ≤ ln ½`.
///
/// Start: Abramowitz and Stegun 26.2.23; then Newton's method on `ln P`, whose slope is `−1/R(z)`.
pub(crate) fn upper_quantile_ln(ln_q: f64) -> f64 {
    if ln_q == f64::NEG_INFINITY {
        return f64::INFINITY;
    }
    if ln_q > -LN_2 + 1e-15 || ln_q.is_nan() {
        return f64::NAN;
    }
    let root = (-2.0 * ln_q).sqrt();
    let above = 2.515_517 + root * (0.802_853 + root * 0.010_328);
    let below = 1.0 + root * (1.432_788 + root * (0.189_269 + root * 0.001_308));
    let mut z = root - above / below;
    for _ in 0..STEPS {
        z += (ln_survival(z) - ln_q) * mills(z);
    }
    z
}
