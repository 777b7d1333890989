//! The regularised incomplete beta function, in logarithms.

use super::{
    continued_fraction, gamma::stirling_rest, ln_1m_exp, ln_1p_minus, normal::LN_SQRT_2_PI,
};

/// `ln I_x(a, b)`, given `x` and `y = 1 − x` apart so that neither loses digits.
///
/// DLMF 8.17; the continued fraction is that of Didonato and Morris (ACM TOMS 18, 1992), which keeps its
/// precision when one parameter is huge and `x` near 1. The front factor has its large terms cancelled by hand.
pub fn ln_regularized(a: f64, b: f64, (x, y): (f64, f64)) -> f64 {
    if x <= 0.0 {
        return f64::NEG_INFINITY;
    }
    if y <= 0.0 {
        return 0.0;
    }
    if (a + b + 2.0) * x >= a + 1.0 {
        return ln_1m_exp(below_mean(b, a, y, x).min(0.0));
    }
    below_mean(a, b, x, y).min(0.0)
}

fn below_mean(a: f64, b: f64, x: f64, y: f64) -> f64 {
    let gap = a * y - b * x;
    let fraction = continued_fraction(a * (gap + 1.0) / (a + 1.0), |step| {
        let odd = a + 2.0 * step - 1.0;
        let above =
            step * (a + step - 1.0) / odd * ((a + b + step - 1.0) / odd) * (b - step) * x * x;
        let below = step
            + step * (b - step) * x / odd
            + (a + step) * (gap + 1.0 + step * (2.0 - x)) / (a + 2.0 * step + 1.0);
        (above, below)
    });
    ln_power_terms(a, b, (x, y)) - fraction.ln()
}

/// `ln(x^a·y^b/B(a, b))`.
pub(crate) fn ln_power_terms(a: f64, b: f64, (x, y): (f64, f64)) -> f64 {
    // own·(ln(at/mean) − (at/mean − 1)): the second terms of both cancel.
    let part = |own: f64, at: f64, excess: f64| {
        if excess < -0.5 {
            own * ((at * ((a + b) / own)).ln() - excess)
        } else {
            own * ln_1p_minus(excess)
        }
    };
    let shift = x * b - y * a;
    part(a, x, shift / a) + part(b, y, -shift / b) + 0.5 * (a * (b / (a + b))).ln()
        - LN_SQRT_2_PI
        - (stirling_rest(a) + stirling_rest(b) - stirling_rest(a + b))
}

/// `ln B(a, b)`.
pub fn ln_beta(a: f64, b: f64) -> f64 {
    let sum = a + b;
    (a - 0.5) * (a / sum).ln() + b * (b / sum).ln() - 0.5 * b.ln()
        + LN_SQRT_2_PI
        + stirling_rest(a)
        + stirling_rest(b)
        - stirling_rest(sum)
}

/// `P(X > x)` in logarithms, for `X` with the beta distribution.
pub fn ln_survival(x: f64, a: f64, b: f64) -> f64 {
    ln_regularized(b, a, (1.0 - x, x))
}
