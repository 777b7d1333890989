//! Where buckets begin and end.

use super::Histogram;

/// Exponent from which powers of two are beyond the floats.
const OVERFLOW_EXPONENT: i32 = 1024;

impl Histogram {
    /// Lower (exclusive) and upper (inclusive) border of a positive bucket.
    pub(super) fn borders(&self, index: i32) -> (f64, f64) {
        if self.is_custom() {
            return (self.custom_bound(index - 1), self.custom_bound(index));
        }
        (
            exponential_bound(index.saturating_sub(1), self.schema),
            exponential_bound(index, self.schema),
        )
    }

    fn custom_bound(&self, index: i32) -> f64 {
        match usize::try_from(index) {
            Err(_) => f64::NEG_INFINITY,
            Ok(index) => self.bounds.get(index).copied().unwrap_or(f64::INFINITY),
        }
    }
}

/// Upper border of an exponential bucket: 2^(index · 2^−schema). The last finite one is the largest float.
pub(super) fn exponential_bound(index: i32, schema: i32) -> f64 {
    let (whole, fraction) = if schema <= 0 {
        let shifted = i64::from(index) << schema.unsigned_abs().min(31);
        (shifted.clamp(-2_000, 2_000) as i32, 0.0)
    } else {
        let per_power = 1_i32 << schema.min(30);
        let fraction = f64::from(index.rem_euclid(per_power)) / f64::from(per_power);
        (index.div_euclid(per_power), fraction)
    };
    if whole == OVERFLOW_EXPONENT && fraction == 0.0 {
        return f64::MAX;
    }
    // In two factors, so that the smallest floats are reached without underflow on the way.
    let half = whole / 2;
    fraction.exp2() * f64::from(half).exp2() * f64::from(whole - half).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_two_are_bounds_of_every_schema() {
        assert_eq!(exponential_bound(1, 0), 2.0);
        assert_eq!(exponential_bound(-1, 0), 0.5);
        assert_eq!(exponential_bound(4, 2), 2.0);
        assert_eq!(exponential_bound(1, -2), 16.0);
        assert_eq!(exponential_bound(256, 8), 2.0);
        assert!((exponential_bound(1, 1) - 2.0_f64.sqrt()).abs() < 1e-15);
    }

    #[test]
    fn the_ends_of_the_floats_are_bounds_too() {
        assert_eq!(exponential_bound(1024, 0), f64::MAX);
        assert_eq!(exponential_bound(1025, 0), f64::INFINITY);
        assert_eq!(exponential_bound(-1074, 0), f64::from_bits(1));
        assert_eq!(exponential_bound(i32::MAX, -4), f64::INFINITY);
        assert_eq!(exponential_bound(i32::MIN, 8), 0.0);
    }
}
