//! Student's t distribution, any positive number of degrees of freedom.
//!
//! `P(|T| > t) = I_x(ν/2, ½)` with `x = ν/(ν + t²)` (Abramowitz and Stegun 26.7.1).

use std::f64::consts::LN_2;

use super::{
    beta::ln_regularized, gamma::stirling_rest, ln_1p_minus, normal, normal::LN_SQRT_2_PI,
    rising_root,
};
use crate::estimate::PValue;

/// `P(|T| > |t|)`.
pub fn two_sided(t: f64, degrees: f64) -> PValue {
    PValue::from_ln(ln_two_sided(t, degrees))
}

/// `P(T > t)`.
pub fn survival(t: f64, degrees: f64) -> PValue {
    PValue::from_ln(ln_survival(t, degrees))
}

fn ln_two_sided(t: f64, degrees: f64) -> f64 {
    let square = t * t;
    if square.is_infinite() {
        return f64::NEG_INFINITY;
    }
    let whole = degrees + square;
    ln_regularized(0.5 * degrees, 0.5, (degrees / whole, square / whole))
}

fn ln_survival(t: f64, degrees: f64) -> f64 {
    let half = ln_two_sided(t, degrees) - LN_2;
    if t >= 0.0 {
        half
    } else {
        (-half.exp()).ln_1p()
    }
}

/// `ln` of the density at `t`.
fn ln_density(t: f64, degrees: f64) -> f64 {
    // ln Γ((ν+1)/2) − ln Γ(ν/2) − ½ ln(ν/2), by Stirling's formula at both.
    let (half, more) = (0.5 * degrees, 0.5 * degrees + 0.5);
    let gammas = half * (ln_1p_minus(0.5 / half)) + stirling_rest(more) - stirling_rest(half);
    gammas - LN_SQRT_2_PI - (half + 0.5) * (t * t / degrees).ln_1p()
}

/// The `t` with `P(T > t) = q`; infinite at 0 and 1, NaN outside.
pub fn upper_quantile(q: f64, degrees: f64) -> f64 {
    if q > 0.5 {
        return -upper_quantile(1.0 - q, degrees);
    }
    if q == 0.5 {
        return 0.0;
    }
    if q == 0.0 {
        return f64::INFINITY;
    }
    if q.is_nan() || q < 0.0 || degrees.is_nan() || degrees <= 0.0 {
        return f64::NAN;
    }
    let ln_q = q.ln();
    // Student's tails are the heavier ones, so the normal quantile is a lower bound.
    let low = normal::upper_quantile(q) * (1.0 - 1e-9);
    let mut high = low.max(0.5);
    while ln_survival(high, degrees) > ln_q && high < f64::MAX / 4.0 {
        high *= 2.0;
    }
    rising_root((low, high), low, |t| {
        let ln_tail = ln_survival(t, degrees);
        let slope = (ln_density(t, degrees) - ln_tail).exp();
        (ln_q - ln_tail, slope)
    })
}
