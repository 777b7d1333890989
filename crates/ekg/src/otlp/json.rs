//! Numbers and words of protobuf's JSON: a number may be a text, and has to be where JSON has no number for it.
//!
//! ```text
//! "asInt": "9007199254740993", "sum": "NaN", "aggregationTemporality": 2
//! ```

use std::{fmt, marker::PhantomData, str::FromStr};

use serde::{Deserialize, Deserializer, de};

use super::message::Temporality;

/// A double.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Double(pub(super) f64);
/// An unsigned whole number of 64 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Unsigned(pub(super) u64);
/// A whole number of 64 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Signed(pub(super) i64);

/// What a kind of number can be made of.
trait Number: Sized {
    const EXPECTED: &str;
    fn text(text: &str) -> Option<Self>;
    fn unsigned(number: u64) -> Option<Self>;
    fn signed(number: i64) -> Option<Self>;
    /// JSON writers may put a whole number as `5.0` or `5e0`.
    fn double(number: f64) -> Option<Self>;
}

impl Number for Double {
    const EXPECTED: &str = "a number, \"NaN\", \"Infinity\" or \"-Infinity\"";
    fn text(text: &str) -> Option<Self> {
        f64::from_str(text).ok().map(Self)
    }
    fn unsigned(number: u64) -> Option<Self> {
        Some(Self(number as f64))
    }
    fn signed(number: i64) -> Option<Self> {
        Some(Self(number as f64))
    }
    fn double(number: f64) -> Option<Self> {
        Some(Self(number))
    }
}

impl Number for Unsigned {
    const EXPECTED: &str = "a whole number from 0, as a number or a text";
    fn text(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }
    fn unsigned(number: u64) -> Option<Self> {
        Some(Self(number))
    }
    fn signed(number: i64) -> Option<Self> {
        u64::try_from(number).ok().map(Self)
    }
    fn double(number: f64) -> Option<Self> {
        let whole = number.fract() == 0.0 && (0.0..1.8e19).contains(&number);
        whole.then_some(Self(number as u64))
    }
}

impl Number for Signed {
    const EXPECTED: &str = "a whole number, as a number or a text";
    fn text(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }
    fn unsigned(number: u64) -> Option<Self> {
        i64::try_from(number).ok().map(Self)
    }
    fn signed(number: i64) -> Option<Self> {
        Some(Self(number))
    }
    fn double(number: f64) -> Option<Self> {
        let whole = number.fract() == 0.0 && (-9.2e18..9.2e18).contains(&number);
        whole.then_some(Self(number as i64))
    }
}

struct Visitor<N>(PhantomData<N>);

impl<N: Number> de::Visitor<'_> for Visitor<N> {
    type Value = N;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(N::EXPECTED)
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<N, E> {
        N::text(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
    fn visit_u64<E: de::Error>(self, number: u64) -> Result<N, E> {
        N::unsigned(number).ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(number), &self))
    }
    fn visit_i64<E: de::Error>(self, number: i64) -> Result<N, E> {
        N::signed(number).ok_or_else(|| E::invalid_value(de::Unexpected::Signed(number), &self))
    }
    fn visit_f64<E: de::Error>(self, number: f64) -> Result<N, E> {
        N::double(number).ok_or_else(|| E::invalid_value(de::Unexpected::Float(number), &self))
    }
}

macro_rules! deserialized {
    ($($number:ty),*) => {$(
        impl<'de> Deserialize<'de> for $number {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_any(Visitor(PhantomData))
            }
        }
    )*};
}
deserialized!(Double, Unsigned, Signed);

impl<'de> Deserialize<'de> for Temporality {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Said {
            Number(u64),
            Word(String),
        }
        Ok(match Said::deserialize(from)? {
            Said::Number(number) => Self::of(number),
            Said::Word(word) if word == "AGGREGATION_TEMPORALITY_DELTA" => Self::Delta,
            Said::Word(word) if word == "AGGREGATION_TEMPORALITY_CUMULATIVE" => Self::Cumulative,
            Said::Word(_) => Self::Unspecified,
        })
    }
}
