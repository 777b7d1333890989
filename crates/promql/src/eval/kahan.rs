//! Sums that keep what rounding loses (Kahan's method in Neumaier's form), and a mean that does not overflow.

use std::cmp::Ordering;

/// A running compensated sum.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum {
    sum: f64,
    lost: f64,
}

impl Sum {
    pub(crate) fn add(&mut self, value: f64) {
        (self.sum, self.lost) = increased(self.sum, self.lost, value);
    }

    pub(crate) fn total(self) -> f64 {
        if self.sum.is_infinite() {
            self.sum
        } else {
            self.sum + self.lost
        }
    }

    fn scale(&mut self, factor: f64) {
        self.sum *= factor;
        self.lost *= factor;
    }
}

/// A sum and what rounding lost of it so far, after one more value.
pub(crate) fn increased(sum: f64, lost: f64, value: f64) -> (f64, f64) {
    let total = sum + value;
    let lost = if total.is_infinite() {
        0.0
    } else if sum.abs() >= value.abs() {
        lost + ((sum - total) + value)
    } else {
        lost + ((value - total) + sum)
    };
    (total, lost)
}

/// Sum of values.
pub(crate) fn sum(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut sum = Sum::default();
    let mut any = false;
    for value in values {
        any = true;
        sum.add(value);
    }
    any.then(|| sum.total())
}

/// Mean of values: a compensated sum divided at the end, unless the sum overflows; then incrementally.
pub(crate) fn mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut sum = Sum::default();
    let mut incremental = false;
    let mut count = 0.0;
    for value in values {
        count += 1.0;
        if !incremental {
            let mut next = sum;
            next.add(value);
            if count == 1.0 || next.sum.is_finite() || next.sum.is_nan() {
                sum = next;
                continue;
            }
            incremental = true;
            let before: f64 = count - 1.0;
            sum.sum /= before;
            sum.lost /= before;
        }
        sum.scale((count - 1.0) / count);
        sum.add(value / count);
    }
    if count == 0.0 {
        return None;
    }
    if incremental {
        return Some(sum.total());
    }
    if sum.sum.is_infinite() {
        return Some(sum.sum);
    }
    Some(sum.sum / count + sum.lost / count)
}

/// Population variance by Welford's recurrence, compensated.
pub(crate) fn variance(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (mut mean, mut squares) = (Sum::default(), Sum::default());
    let mut count = 0.0;
    for value in values {
        count += 1.0;
        let delta = value - (mean.sum + mean.lost);
        mean.add(delta / count);
        squares.add(delta * (value - (mean.sum + mean.lost)));
    }
    (count > 0.0).then(|| (squares.sum + squares.lost) / count)
}

/// The `q` quantile by linear interpolation between closest ranks; NaN sorts lowest. Brings the values in another order.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    let rank = match Rank::of(q, values.len()) {
        Ok(rank) => rank,
        Err(outside) => return outside,
    };
    if values.is_sorted() {
        return rank.of_sorted(values);
    }
    let (_, below, above) = values.select_nth_unstable_by(rank.at, |a, b| nan_first(*a, *b));
    let below = *below;
    let next = above
        .iter()
        .copied()
        .min_by(|a, b| nan_first(*a, *b))
        .unwrap_or(below);
    rank.between(below, next)
}

/// The same of values that stay where they are; those that ascend, as counters do, are not even copied.
pub(crate) fn quantile_of(q: f64, values: &[f64]) -> f64 {
    match Rank::of(q, values.len()) {
        Ok(rank) if values.is_sorted() => rank.of_sorted(values),
        Ok(_) => quantile(q, &mut values.to_vec()),
        Err(outside) => outside,
    }
}

/// Where a quantile lies among values.
struct Rank {
    /// The value at or below it.
    at: usize,
    /// How far it is from there to the next.
    weight: f64,
}

impl Rank {
    /// The quantile itself where it lies at no value.
    fn of(q: f64, len: usize) -> Result<Self, f64> {
        let last = match len.checked_sub(1) {
            Some(last) if !q.is_nan() => last,
            _ => return Err(f64::NAN),
        };
        if q < 0.0 {
            return Err(f64::NEG_INFINITY);
        }
        if q > 1.0 {
            return Err(f64::INFINITY);
        }
        let rank = q * last as f64;
        let lower = rank.floor();
        Ok(Self {
            at: lower as usize,
            weight: rank - lower,
        })
    }

    fn of_sorted(&self, values: &[f64]) -> f64 {
        let next = (self.at + 1).min(values.len() - 1);
        self.between(values[self.at], values[next])
    }

    fn between(&self, below: f64, above: f64) -> f64 {
        below * (1.0 - self.weight) + above * self.weight
    }
}

fn nan_first(a: f64, b: f64) -> Ordering {
    let by_nan = b.is_nan().cmp(&a.is_nan());
    by_nan.then(a.partial_cmp(&b).unwrap_or(Ordering::Equal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_value_between_large_ones_is_not_lost() {
        assert_eq!(sum([1e100, 1.0, -1e100]), Some(1.0));
        assert_eq!(sum([f64::INFINITY, 1.0]), Some(f64::INFINITY));
        assert_eq!(sum([]), None);
    }

    #[test]
    fn the_mean_of_huge_values_does_not_overflow() {
        assert_eq!(mean([f64::MAX, f64::MAX]), Some(f64::MAX));
        assert_eq!(mean([1.0, 2.0, 3.0]), Some(2.0));
    }

    #[test]
    fn equal_values_have_no_variance() {
        assert_eq!(variance([13.3, 13.3, 13.3]), Some(0.0));
        assert_eq!(variance([1.0, 3.0]), Some(1.0));
    }

    #[test]
    fn a_quantile_interpolates() {
        assert_eq!(quantile(0.5, &mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(quantile(2.0, &mut [1.0]), f64::INFINITY);
        assert!(quantile(0.5, &mut []).is_nan());
    }
}
