//! Values as bytes: most are decimals of few digits, and then whole numbers.
//!
//! Guarantees: bit for bit: staleness markers, negative zero and NaNs of any payload come back as they were. Values
//! that are no decimals of the others' digits are kept apart with their place; where they are many, all are kept
//! as they are, or by `pco`, which is asked to give them back before it is believed.

use super::ints::{Effort, pack, put_ints, take_ints, unpack};
use crate::cursor::{Cursor, put_varint};

const DECIMAL: u8 = 0;
const SAME: u8 = 1;
const RAW: u8 = 2;
const PACKED: u8 = 3;

/// Above this a double no longer holds every integer.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;
/// What decimals are multiplied by to be whole.
const POWERS: [f64; 15] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14,
];
/// One value in so many may be no decimal.
const ODD_ONE_IN: usize = 8;

pub(super) fn put_values(out: &mut Vec<u8>, values: &[f64], effort: Effort) {
    let begin = out.len();
    let bits = || values.iter().map(|value| value.to_bits());
    match Decimals::of(values) {
        Some(decimals) => decimals.put(out, effort),
        None if bits().all(|it| Some(it) == bits().next()) => {
            out.push(SAME);
            bits()
                .take(1)
                .for_each(|it| out.extend_from_slice(&it.to_le_bytes()));
        }
        None => {
            out.push(RAW);
            bits().for_each(|it| out.extend_from_slice(&it.to_le_bytes()));
        }
    }
    let bytes = out.len() - begin;
    if effort == Effort::Thorough
        && bytes > values.len()
        && let Some(packed) = pack(values).filter(|it| it.len() + 1 < bytes)
    {
        let read = unpack::<f64>(&packed, values.len()).unwrap_or_default();
        if read.iter().map(|value| value.to_bits()).eq(bits()) {
            out.truncate(begin);
            out.push(PACKED);
            out.extend_from_slice(&packed);
        }
    }
}

/// Reads `count` values, which are all that `bytes` hold.
pub(super) fn take_values(bytes: &[u8], count: usize) -> Option<Vec<f64>> {
    let mut cursor = Cursor::new(bytes);
    match cursor.byte()? {
        DECIMAL => take_decimals(&mut cursor, count),
        SAME => Some(vec![take_bits(&mut cursor)?; count]),
        RAW => (0..count).map(|_| take_bits(&mut cursor)).collect(),
        PACKED => unpack(cursor.rest(), count),
        _ => None,
    }
}

fn take_bits(cursor: &mut Cursor<'_>) -> Option<f64> {
    let bytes = cursor.take(8)?.first_chunk::<8>()?;
    Some(f64::from_bits(u64::from_le_bytes(*bytes)))
}

/// Whole numbers that are the values when divided, but for odd ones.
struct Decimals {
    exponent: usize,
    ints: Vec<i64>,
    /// Where values stand that are none, and what they are.
    odd: Vec<(usize, u64)>,
}

impl Decimals {
    fn of(values: &[f64]) -> Option<Self> {
        let allowed = values.len() / ODD_ONE_IN;
        let (mut exponent, mut unlike) = (0, 0);
        for value in values {
            let fits = |power: &f64| whole(*value, *power).is_some();
            match POWERS.iter().skip(exponent).position(fits) {
                Some(more) => exponent += more,
                None if unlike == allowed => return None,
                None => unlike += 1,
            }
        }
        let power = POWERS.get(exponent)?;
        let (mut ints, mut odd) = (Vec::with_capacity(values.len()), Vec::new());
        let first = values.iter().find_map(|value| whole(*value, *power));
        let mut before = first.unwrap_or(0);
        for (at, value) in values.iter().enumerate() {
            match whole(*value, *power) {
                Some(int) => before = int,
                None => odd.push((at, value.to_bits())),
            }
            ints.push(before);
        }
        (odd.len() <= allowed).then_some(Self {
            exponent,
            ints,
            odd,
        })
    }

    fn put(&self, out: &mut Vec<u8>, effort: Effort) {
        out.extend_from_slice(&[DECIMAL, self.exponent as u8]);
        put_varint(out, self.odd.len() as u64);
        for (at, bits) in &self.odd {
            put_varint(out, *at as u64);
            out.extend_from_slice(&bits.to_le_bytes());
        }
        put_ints(out, &self.ints, effort);
    }
}

fn take_decimals(cursor: &mut Cursor<'_>, count: usize) -> Option<Vec<f64>> {
    let power = *POWERS.get(usize::from(cursor.byte()?))?;
    let mut odd = *cursor;
    let odds = cursor.count(count)?;
    for _ in 0..odds {
        cursor.varint()?;
        cursor.take(8)?;
    }
    let ints = take_ints(cursor, count)?;
    let mut values: Vec<f64> = ints.into_iter().map(|int| int as f64 / power).collect();
    odd.varint()?;
    for _ in 0..odds {
        let at = usize::try_from(odd.varint()?).ok()?;
        *values.get_mut(at)? = take_bits(&mut odd)?;
    }
    Some(values)
}

/// The whole number that divided by `power` gives exactly this value.
fn whole(value: f64, power: f64) -> Option<i64> {
    let scaled = value * power;
    if scaled.is_nan() || scaled.abs() > MAX_EXACT {
        return None;
    }
    let int = scaled.round() as i64;
    ((int as f64 / power).to_bits() == value.to_bits()).then_some(int)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::stale_marker;
    use proptest::prelude::*;

    fn bytes(values: &[f64], effort: Effort) -> usize {
        let mut bytes = Vec::new();
        put_values(&mut bytes, values, effort);
        let read = take_values(&bytes, values.len()).unwrap();
        let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&read), bits(values));
        bytes.len()
    }

    #[test]
    fn decimals_take_few_bytes_even_where_a_series_ended_in_between() {
        let mut values: Vec<f64> = (0..2_000).map(|at| f64::from(at * 3) / 100.0).collect();
        values[700] = stale_marker();
        values[701] = -0.0;
        assert!(bytes(&values, Effort::Quick) < 200);
        let noise = |at: i32| f64::from(at.wrapping_mul(1_103_515_245) >> 20) / 10.0;
        let gauge: Vec<f64> = (0..2_000).map(noise).collect();
        assert!(bytes(&gauge, Effort::Quick) < 2_000 * 12 / 8 + 100);
    }

    pub(in crate::part) fn any_value() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            (-1_000_i32..1_000).prop_map(f64::from),
            (-100_000_i32..100_000).prop_map(|n| f64::from(n) / 1000.0),
            prop::sample::select(vec![
                stale_marker(),
                -0.0,
                f64::MAX,
                f64::MIN_POSITIVE,
                f64::INFINITY,
                MAX_EXACT,
                -MAX_EXACT,
                1e300,
                1e-14,
                0.1 + 0.2,
            ]),
        ]
    }

    proptest! {
        #[test]
        fn any_values_come_back_bit_for_bit(
            values in prop::collection::vec(any_value(), 1..40), times in 1_usize..30,
        ) {
            let values = values.repeat(times);
            bytes(&values, Effort::Quick);
            bytes(&values, Effort::Thorough);
        }

        #[test]
        fn series_of_decimals_come_back_bit_for_bit(
            start in -1e6..1e6, steps in prop::collection::vec(-500_i32..900, 1..400),
            digits in 0_i32..10,
        ) {
            let mut sum: f64 = start;
            let power = 10_f64.powi(digits);
            let values: Vec<f64> = steps
                .iter()
                .map(|step| {
                    sum += f64::from(*step);
                    (sum * power).round() / power
                })
                .collect();
            bytes(&values, Effort::Quick);
            bytes(&values, Effort::Thorough);
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..80), count in 0_usize..200,
        ) {
            take_values(&bytes, count);
        }
    }
}
