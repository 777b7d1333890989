//! Wall time and spans, in whole milliseconds.
//!
//! Guarantees: a time is read from RFC 3339 text or from integer milliseconds, and always written as
//! the integer, so that what was hashed stays readable. Never guesses a zone: text without an offset
//! is refused. Example: `2026-11-05T18:00:00+01:00` is [`Time::from_millis`]`(1_793_898_000_000)`.

mod rfc3339;

use std::{borrow::Cow, fmt, ops, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};

/// A wall-clock instant: milliseconds since the Unix epoch, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
#[serde(transparent)]
pub struct Time(i64);

/// Why a text is not a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a time; write RFC 3339 with its offset, for example `2026-11-05T18:00:00Z`, or whole \
     milliseconds since 1970"
)]
pub struct TimeError(String);

impl Time {
    /// The instant `millis` milliseconds after the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }
    /// Milliseconds since the Unix epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }
    /// How long ago `earlier` was; zero when it lies ahead (a clock may step back).
    pub fn since(self, earlier: Time) -> Span {
        Span(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl FromStr for Time {
    type Err = TimeError;
    /// Reads RFC 3339; digits beyond the millisecond are cut off.
    fn from_str(text: &str) -> Result<Self, TimeError> {
        rfc3339::millis(text.as_bytes())
            .map(Self)
            .ok_or_else(|| TimeError(text.chars().take(40).collect()))
    }
}

/// As RFC 3339 in UTC, such as `2026-11-05T18:00:00.250Z`; milliseconds only where there are some.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&rfc3339::text(self.0))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl de::Visitor<'_> for Either {
            type Value = Time;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("RFC 3339 text or whole milliseconds since 1970")
            }
            fn visit_i64<E: de::Error>(self, millis: i64) -> Result<Time, E> {
                Ok(Time(millis))
            }
            fn visit_u64<E: de::Error>(self, millis: u64) -> Result<Time, E> {
                let unexpected = de::Unexpected::Unsigned(millis);
                i64::try_from(millis)
                    .map(Time)
                    .map_err(|_| E::invalid_value(unexpected, &self))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Time, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for Time {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("Time")
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "RFC 3339 with its offset, or milliseconds since 1970",
            "oneOf": [
                { "type": "string", "format": "date-time" },
                { "type": "integer", "format": "int64" },
            ],
        })
    }
}

impl ops::Add<Span> for Time {
    type Output = Time;
    fn add(self, span: Span) -> Time {
        Time(
            self.0
                .saturating_add(i64::try_from(span.0).unwrap_or(i64::MAX)),
        )
    }
}

impl ops::Sub<Span> for Time {
    type Output = Time;
    fn sub(self, span: Span) -> Time {
        Time(
            self.0
                .saturating_sub(i64::try_from(span.0).unwrap_or(i64::MAX)),
        )
    }
}

/// A length of time in milliseconds, written as Prometheus writes durations: `1m30s`, `250ms`.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Span(u64);

/// Why a text is not a span.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a duration; write for example `250ms`, `30s`, `1m30s` or `2h`")]
pub struct SpanError(String);

/// Unit letters and their length in milliseconds, longest first.
const UNITS: [(&str, u64); 7] = [
    ("y", 31_536_000_000),
    ("w", 604_800_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);
    /// A span of `millis` milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }
    /// A span of `secs` seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs * 1_000)
    }
    /// Whole milliseconds.
    pub const fn millis(self) -> u64 {
        self.0
    }
    /// Seconds with their fraction.
    pub fn secs_f64(self) -> f64 {
        self.0 as f64 / 1_000.0
    }
    /// The same length for the standard library.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl FromStr for Span {
    type Err = SpanError;
    fn from_str(text: &str) -> Result<Self, SpanError> {
        let wrong = || SpanError(text.chars().take(40).collect());
        let mut rest = text.trim();
        if rest == "0" {
            return Ok(Span::ZERO);
        }
        let mut total = 0_u64;
        let mut largest_allowed = u64::MAX;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at(digits);
            let letters = tail.bytes().take_while(u8::is_ascii_lowercase).count();
            let (unit, tail) = tail.split_at(letters);
            let number: u64 = number.parse().map_err(|_| wrong())?;
            let (_, length) = UNITS
                .iter()
                .find(|(name, _)| *name == unit)
                .ok_or_else(wrong)?;
            if *length >= largest_allowed {
                return Err(wrong());
            }
            largest_allowed = *length;
            total = number
                .checked_mul(*length)
                .and_then(|ms| total.checked_add(ms))
                .ok_or_else(wrong)?;
            rest = tail;
        }
        if text.trim().is_empty() {
            Err(wrong())
        } else {
            Ok(Span(total))
        }
    }
}

impl TryFrom<String> for Span {
    type Error = SpanError;
    fn try_from(text: String) -> Result<Self, SpanError> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> String {
        span.to_string()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        for (unit, length) in UNITS {
            if rest >= length {
                write!(f, "{}{unit}", rest / length)?;
                rest %= length;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_span_reads_back_what_it_writes(ms in 0_u64..10_000_000_000) {
            let span = Span::from_millis(ms);
            prop_assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,20}") {
            let _ = text.parse::<Span>();
        }
    }

    #[test]
    fn units_must_fall_and_be_known() {
        assert_eq!("1m30s".parse::<Span>().unwrap(), Span::from_secs(90));
        for wrong in ["", "10", "5x", "1s1m", "s", "1s 2", "99999999999999999999s"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
    }
}
