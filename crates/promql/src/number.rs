//! Numbers as texts, in the forms that Prometheus's users know.
//!
//! Guarantees: the shortest digits that read back as the same number. Infinity has a sign, as in `+Inf`.

use std::fmt;

/// Exponents that are written out.
const PLAIN_EXPONENTS: std::ops::Range<i32> = -4..6;

/// A number in its short form: `0.5`, `1e+06`, `+Inf`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Short(pub(crate) f64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        general(self.0, f)
    }
}

/// A number as OpenMetrics writes label values: `0.5`, `1.0`, `1e+06`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenMetrics(pub(crate) f64);

impl fmt::Display for OpenMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = Short(self.0).to_string();
        f.write_str(&text)?;
        let whole = text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        f.write_str(if whole { ".0" } else { "" })
    }
}

/// A number without exponent, as in a query: `1000000`, `+Inf`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain(pub(crate) f64);

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match special(self.0) {
            Some(text) => f.write_str(text),
            None => write!(f, "{}", self.0),
        }
    }
}

fn special(value: f64) -> Option<&'static str> {
    if value.is_nan() {
        return Some("NaN");
    }
    value
        .is_infinite()
        .then_some(if value > 0.0 { "+Inf" } else { "-Inf" })
}

fn general(value: f64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if let Some(text) = special(value) {
        return f.write_str(text);
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if PLAIN_EXPONENTS.contains(&exponent) {
        return write!(f, "{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    write!(f, "{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exponent_appears_beyond_six_digits_and_below_four_zeros() {
        for (value, wanted) in [
            (0.5, "0.5"),
            (123_456.0, "123456"),
            (1e6, "1e+06"),
            (1.5e-5, "1.5e-05"),
            (f64::INFINITY, "+Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(Short(value).to_string(), wanted);
        }
    }

    #[test]
    fn a_whole_number_has_a_fraction_in_open_metrics() {
        assert_eq!(OpenMetrics(1.0).to_string(), "1.0");
        assert_eq!(OpenMetrics(0.25).to_string(), "0.25");
        assert_eq!(OpenMetrics(1e6).to_string(), "1e+06");
    }
}
