//! The gamma function's logarithm, its Stirling remainder, and the regularised incomplete gamma function.

use super::{MOST_STEPS, PRECISE, continued_fraction, ln_1p_minus, normal::LN_SQRT_2_PI};

/// From here on Stirling's series with seven terms is exact to the last digit.
const STIRLING_FROM: f64 = 12.0;

/// `ln Γ(x)` for `x > 0`.
pub fn ln_gamma(x: f64) -> f64 {
    libm::lgamma(x)
}

/// `ln Γ(x) − ((x − ½) ln x − x + ln √(2π))`: what Stirling's formula leaves (DLMF 5.11.1).
pub(crate) fn stirling_rest(x: f64) -> f64 {
    if x < STIRLING_FROM {
        return ln_gamma(x) - ((x - 0.5) * x.ln() - x + LN_SQRT_2_PI);
    }
    const TERMS: [f64; 7] = [
        1.0 / 12.0,
        -1.0 / 360.0,
        1.0 / 1_260.0,
        -1.0 / 1_680.0,
        1.0 / 1_188.0,
        -691.0 / 360_360.0,
        1.0 / 156.0,
    ];
    let inverse = x.recip();
    let square = inverse * inverse;
    inverse
        * TERMS
            .iter()
            .rev()
            .fold(0.0, |sum, term| sum * square + term)
}

/// `ln Q(shape, x)`, the logarithm of the upper regularised incomplete gamma function (DLMF 8.2.4).
///
/// Legendre's continued fraction (8.9.2) above the mean, one minus the series (8.11.4) below.
pub fn ln_upper_regularized(shape: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    // ln of x^a·e^(−x)/Γ(a), with the large terms cancelled by hand.
    let excess = (x - shape) / shape;
    let ln_front =
        shape * ln_1p_minus(excess) + 0.5 * shape.ln() - LN_SQRT_2_PI - stirling_rest(shape);
    if x < shape + 1.0 {
        let (mut sum, mut term) = (shape.recip(), shape.recip());
        for step in 1..=MOST_STEPS {
            term *= x / (shape + f64::from(step));
            sum += term;
            if term < sum * PRECISE {
                break;
            }
        }
        return (-(ln_front.exp() * sum)).ln_1p();
    }
    let fraction = continued_fraction(x + 1.0 - shape, |step| {
        (-step * (step - shape), x + 1.0 - shape + 2.0 * step)
    });
    ln_front - fraction.ln()
}
