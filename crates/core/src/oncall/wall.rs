//! Days of the calendar and times of the day, as they are written.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::Time;

/// A time of the day: minutes since its beginning, up to 24:00.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WallTime(u16);

/// A day of the Gregorian calendar.
#[expect(
    clippy::struct_field_names,
    reason = "the third part of a date is called so"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Day {
    year: i16,
    month: u8,
    day: u8,
}

/// Why a text is neither.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WallTimeError {
    /// No time of the day.
    #[error("`{0}` is no time of the day; write it as `09:00`, from `00:00` to `24:00`")]
    Time(String),
    /// No day.
    #[error("`{0}` is no day of the calendar; write it as `2026-01-05`")]
    Day(String),
}

/// Minutes of a day.
const DAY_MINUTES: u16 = 24 * 60;

impl WallTime {
    /// 24:00.
    pub const END_OF_DAY: WallTime = WallTime(DAY_MINUTES);
    /// 09:00.
    pub const NINE: WallTime = WallTime(9 * 60);

    /// Minutes since the beginning of the day, up to 1,440.
    pub fn minutes(self) -> u16 {
        self.0
    }
}

impl FromStr for WallTime {
    type Err = WallTimeError;
    fn from_str(text: &str) -> Result<Self, WallTimeError> {
        let two = |text: &str| {
            let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse::<u16>().ok()).flatten()
        };
        let parts = text.split_once(':');
        let parts = parts.and_then(|(hour, minute)| Some((two(hour)?, two(minute)?)));
        parts
            .filter(|(_, minute)| *minute < 60)
            .map(|(hour, minute)| hour * 60 + minute)
            .filter(|minutes| *minutes <= DAY_MINUTES)
            .map(Self)
            .ok_or_else(|| WallTimeError::Time(text.chars().take(40).collect()))
    }
}

impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl Day {
    /// Year, month and day, each from 1.
    pub fn parts(self) -> (i16, u8, u8) {
        (self.year, self.month, self.day)
    }
}

impl FromStr for Day {
    type Err = WallTimeError;
    fn from_str(text: &str) -> Result<Self, WallTimeError> {
        // The calendar's rules are those of times.
        let is_day = text.len() == 10 && format!("{text}T00:00:00Z").parse::<Time>().is_ok();
        let part = |from, to| {
            text.get(from..to)
                .and_then(|it: &str| it.parse::<i16>().ok())
        };
        let parts = (part(0, 4), part(5, 7), part(8, 10));
        match parts {
            (Some(year), Some(month), Some(day)) if is_day => Ok(Self {
                year,
                month: month as u8,
                day: day as u8,
            }),
            _ => Err(WallTimeError::Day(text.chars().take(40).collect())),
        }
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

macro_rules! as_text {
    ($type:ident, $name:literal, $about:literal) => {
        impl TryFrom<String> for $type {
            type Error = WallTimeError;
            fn try_from(text: String) -> Result<Self, WallTimeError> {
                text.parse()
            }
        }
        impl From<$type> for String {
            fn from(it: $type) -> String {
                it.to_string()
            }
        }
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                Cow::Borrowed($name)
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "description": $about, "type": "string" })
            }
        }
    };
}

as_text!(
    WallTime,
    "WallTime",
    "a time of the day, `00:00` to `24:00`"
);
as_text!(Day, "Day", "a day of the calendar, such as `2026-01-05`");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_clock_and_a_calendar_show_is_read_back_and_nothing_else_is() {
        for text in ["00:00", "09:30", "24:00"] {
            assert_eq!(text.parse::<WallTime>().unwrap().to_string(), text);
        }
        for text in ["24:01", "9:30", "09:60", "+9:00", "", "0900", "é9:00"] {
            assert!(text.parse::<WallTime>().is_err(), "{text}");
        }
        assert_eq!(
            "2024-02-29".parse::<Day>().unwrap().to_string(),
            "2024-02-29"
        );
        for text in [
            "2026-02-29",
            "2026-2-1",
            "2026-13-01",
            "",
            "tomorrow",
            "2026-01-05T",
        ] {
            assert!(text.parse::<Day>().is_err(), "{text}");
        }
    }
}
