//! Tail probabilities and quantiles that keep their relative precision down to 1e-300 and beyond.
//!
//! Guarantees about 1e-12 relative for probabilities a double can hold, and the natural logarithm of those
//! it cannot. Never computes a small tail as one minus a large one. Inputs that are NaN give NaN.
//!
//! ```
//! use mainstay_stats::tail::{normal, student};
//! assert!((normal::survival(37.0) / 5.725_571_222_5e-300 - 1.0).abs() < 1e-9);
//! assert!(normal::ln_survival(100.0) < -5_000.0);
//! assert!(student::two_sided(40.0, 1e6).value() < 1e-300);
//! ```

pub mod beta;
pub mod chi_square;
pub mod gamma;
pub mod noncentral;
pub mod normal;
pub mod student;

/// Steps after which a series or continued fraction is taken as it is: 1e6 of both parameters need 3,000.
const MOST_STEPS: u32 = 200_000;

/// Relative change below which a series or continued fraction has converged.
const PRECISE: f64 = 1e-16;

/// What a denominator of a continued fraction is at least (Lentz's method).
const TINY: f64 = 1e-300;

/// `ln(1 + x) − x`, precise for small `x` too.
///
/// With `r = x/(2 + x)`: `2r³(1/3 + r²/5 + r⁴/7 + …) − r·x`.
pub(crate) fn ln_1p_minus(x: f64) -> f64 {
    if !(-0.5..=1.0).contains(&x) {
        return x.ln_1p() - x;
    }
    let ratio = x / (2.0 + x);
    let square = ratio * ratio;
    let (mut sum, mut power, mut odd) = (0.0, 1.0, 3.0);
    while power > PRECISE * 0.1 {
        sum += power / odd;
        power *= square;
        odd += 2.0;
    }
    2.0 * ratio * square * sum - ratio * x
}

/// `ln(1 − exp(x))` for `x < 0`, precise at both ends.
pub(crate) fn ln_1m_exp(x: f64) -> f64 {
    if x > -std::f64::consts::LN_2 {
        (-x.exp_m1()).ln()
    } else {
        (-x.exp()).ln_1p()
    }
}

/// `b₀ + a₁/(b₁ + a₂/(b₂ + …))` by Lentz's method as modified by Thompson and Barnett (Journal of Computational Physics 64,
/// 1986); `term(m)` gives `(a_m, b_m)`.
pub(crate) fn continued_fraction(first: f64, term: impl Fn(f64) -> (f64, f64)) -> f64 {
    let at_least = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut value = at_least(first);
    let (mut numerator, mut denominator) = (value, 0.0);
    for step in 1..=MOST_STEPS {
        let (above, below) = term(f64::from(step));
        denominator = at_least(below + above * denominator).recip();
        numerator = at_least(below + above / numerator);
        let change = numerator * denominator;
        value *= change;
        if (change - 1.0).abs() <= PRECISE {
            break;
        }
    }
    value
}

/// A root of a rising function between two bounds, by Newton's steps where they stay inside and halving where not.
///
/// `at(x)` gives value and slope. Stops when a step no longer moves `x`.
pub(crate) fn rising_root(
    (mut low, mut high): (f64, f64),
    start: f64,
    at: impl Fn(f64) -> (f64, f64),
) -> f64 {
    /// Halvings that narrow any pair of doubles to neighbours, with room for Newton's steps.
    const MOST: u32 = 400;
    let mut x = start.clamp(low, high);
    for _ in 0..MOST {
        let (value, slope) = at(x);
        if value == 0.0 {
            break;
        }
        if value < 0.0 {
            low = x;
        } else {
            high = x;
        }
        let newton = x - value / slope;
        let next = if newton > low && newton < high {
            newton
        } else {
            f64::midpoint(low, high)
        };
        let is_still = (next - x).abs() <= 2.0 * f64::EPSILON * x.abs();
        x = next;
        if is_still {
            break;
        }
    }
    x
}
