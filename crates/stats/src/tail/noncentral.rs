//! The noncentral t distribution: the chance of a significant result if there is an effect.

use super::normal;

/// Points of the trapezoidal rule. The integrand is analytic and falls to nothing at both ends, where the rule
/// converges geometrically (Trefethen and Weideman, SIAM Review 56, 2014).
const POINTS: u32 = 800;

/// Where the logarithm of the integrand has fallen by this much it is left out.
const REACH: f64 = 42.0;

/// `P(T > t)` for `T = (Z + shift)/√(W/ν)`, `W` chi-square with `degrees` degrees of freedom.
///
/// With `s = √(W/ν) = exp(u)`: `P = ∫ Φ(shift − t·s) f(u) du`, `ln f(u) = const − (ν/2)(e^{2u} − 1 − 2u)`
/// (Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions 2, chapter 31).
pub fn student_survival(t: f64, degrees: f64, shift: f64) -> f64 {
    let half = 0.5 * degrees;
    // The exponent is about 2u² near 0, 2|u| far to the left, and more than 2u² to the right.
    let fall = REACH / half;
    let high = (0.5 * fall).sqrt();
    let low = -high - 0.5 * fall;
    let step = (high - low) / f64::from(POINTS);
    let (mut sum, mut weights) = (0.0, 0.0);
    for point in 0..=POINTS {
        let u = low + step * f64::from(point);
        let weight = (-half * ((2.0 * u).exp_m1() - 2.0 * u)).exp();
        weights += weight;
        sum += weight * normal::cumulative(shift - t * u.exp());
    }
    sum / weights
}
