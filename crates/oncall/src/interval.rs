//! Time intervals: when a route speaks, and when it is silent.
//!
//! Guarantees: hours and days are those of the interval's own zone, also where clocks are put forward or back; without
//! a zone they are UTC. Minutes count from 00:00 to 24:00 of the wall clock, and the end is not part of it. Never
//! reads a clock.
//!
//! ```
//! use mainstay_oncall::interval::Interval;
//! let nights: Interval = serde_saphyr::from_str("times: [{start_time: '00:00', end_time: '06:00'}]")?;
//! assert!(nights.contains("2026-11-05T05:59:59Z".parse().unwrap()));
//! assert!(!nights.contains("2026-11-05T06:00:00Z".parse().unwrap()));
//! # Ok::<(), serde_saphyr::Error>(())
//! ```

use jiff::{Timestamp, Zoned, tz::TimeZone};
use serde::Deserialize;

const WEEKDAYS: [&str; 7] = [
    "sunday",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
];
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// Both ends belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    from: i64,
    to: i64,
}

impl Range {
    fn has(self, it: i64) -> bool {
        (self.from..=self.to).contains(&it)
    }
}

/// All that is said has to hold; of each list, any entry.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Raw")]
pub struct Interval {
    /// Minutes of the day, the end not among them.
    minutes: Vec<Range>,
    weekdays: Vec<Range>,
    days: Vec<Range>,
    months: Vec<Range>,
    years: Vec<Range>,
    zone: TimeZone,
}

/// As it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    times: Vec<RawTimes>,
    weekdays: Vec<String>,
    days_of_month: Vec<Text>,
    months: Vec<Text>,
    years: Vec<Text>,
    location: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTimes {
    start_time: String,
    end_time: String,
}

/// A number may be written without quotes.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Text {
    Number(i64),
    Text(String),
}

impl Text {
    fn into_string(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

/// Why a text is no interval.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IntervalError {
    /// A time of day.
    #[error("`{0}` is no time of day; write it as 09:00, up to 24:00")]
    Time(String),
    /// One that ends before it begins.
    #[error(
        "start time {0} is not before end time {1}; write two entries for a time over midnight"
    )]
    Backwards(String, String),
    /// A range.
    #[error("`{text}` is no range of {what}; write for example {example}")]
    Range {
        /// As given.
        text: String,
        /// Of what.
        what: &'static str,
        /// A right one.
        example: &'static str,
    },
    /// A zone.
    #[error("unknown time zone `{0}`; write an IANA name, such as Europe/Berlin, `UTC` or `Local`")]
    Zone(String),
}

impl TryFrom<Raw> for Interval {
    type Error = IntervalError;

    fn try_from(raw: Raw) -> Result<Self, IntervalError> {
        let texts = |list: Vec<Text>| list.into_iter().map(Text::into_string);
        let minutes = raw.times.into_iter().map(RawTimes::range);
        let weekdays = raw.weekdays.into_iter().map(|text| {
            let wrong = refusal(&text, "weekdays", "'monday:friday'");
            range(&text, |part| named(&WEEKDAYS, part, 0))
                .filter(|it| it.from <= it.to)
                .ok_or(wrong)
        });
        let days = texts(raw.days_of_month).map(|text| {
            let wrong = refusal(
                &text,
                "days of a month",
                "'1:5', or '-3:-1' for the last three",
            );
            let is_day = |it: &i64| (1..=31).contains(&it.abs());
            range(&text, |part| part.parse().ok().filter(is_day))
                .filter(|it| it.from.signum() != it.to.signum() || it.from <= it.to)
                .filter(|it| !(it.from > 0 && it.to < 0 && it.from > 31 + it.to + 1))
                .filter(|it| it.from > 0 || it.to < 0)
                .ok_or(wrong)
        });
        let months = texts(raw.months).map(|text| {
            let wrong = refusal(&text, "months", "'january:march' or '1:3'");
            let is_month = |it: &i64| (1..=12).contains(it);
            let month = |part: &str| named(&MONTHS, part, 1).or_else(|| part.parse().ok());
            range(&text, |part| month(part).filter(is_month))
                .filter(|it| it.from <= it.to)
                .ok_or(wrong)
        });
        let years = texts(raw.years).map(|text| {
            let wrong = refusal(&text, "years", "'2026:2028'");
            range(&text, |part| part.parse().ok())
                .filter(|it| it.from <= it.to)
                .ok_or(wrong)
        });
        Ok(Self {
            minutes: minutes.collect::<Result<_, _>>()?,
            weekdays: weekdays.collect::<Result<_, _>>()?,
            days: days.collect::<Result<_, _>>()?,
            months: months.collect::<Result<_, _>>()?,
            years: years.collect::<Result<_, _>>()?,
            zone: zone(raw.location)?,
        })
    }
}

fn refusal(text: &str, what: &'static str, example: &'static str) -> IntervalError {
    IntervalError::Range {
        text: text.to_owned(),
        what,
        example,
    }
}

fn zone(name: Option<String>) -> Result<TimeZone, IntervalError> {
    match name.as_deref() {
        None | Some("" | "UTC") => Ok(TimeZone::UTC),
        Some("Local") => Ok(TimeZone::system()),
        Some(name) => TimeZone::get(name).map_err(|_| IntervalError::Zone(name.to_owned())),
    }
}

impl RawTimes {
    fn range(self) -> Result<Range, IntervalError> {
        let from = minute(&self.start_time)?;
        let to = minute(&self.end_time)?;
        if from >= to {
            return Err(IntervalError::Backwards(self.start_time, self.end_time));
        }
        Ok(Range { from, to: to - 1 })
    }
}

fn minute(text: &str) -> Result<i64, IntervalError> {
    let parsed = text.split_once(':').and_then(|(hour, minute)| {
        let digits = |it: &str| it.len() == 2 && it.bytes().all(|b| b.is_ascii_digit());
        let whole = digits(hour) && digits(minute);
        let (hour, minute): (i64, i64) = (hour.parse().ok()?, minute.parse().ok()?);
        let is_time = whole && minute < 60 && (hour < 24 || (hour, minute) == (24, 0));
        is_time.then_some(hour * 60 + minute)
    });
    parsed.ok_or_else(|| IntervalError::Time(text.to_owned()))
}

fn named(names: &[&str], part: &str, first: i64) -> Option<i64> {
    let lower = part.to_ascii_lowercase();
    let at = names.iter().position(|name| *name == lower)?;
    Some(first + at as i64)
}

fn range(text: &str, one: impl Fn(&str) -> Option<i64>) -> Option<Range> {
    let (from, to) = text.split_once(':').unwrap_or((text, text));
    Some(Range {
        from: one(from.trim())?,
        to: one(to.trim())?,
    })
}

impl Interval {
    /// Whether an instant is in it.
    pub fn contains(&self, at: Timestamp) -> bool {
        let local = at.to_zoned(self.zone.clone());
        let any = |ranges: &[Range], it: i64| ranges.is_empty() || ranges.iter().any(|r| r.has(it));
        let weekday = i64::from(local.weekday().to_sunday_zero_offset());
        any(
            &self.minutes,
            i64::from(local.hour()) * 60 + i64::from(local.minute()),
        ) && any(&self.weekdays, weekday)
            && any(&self.months, i64::from(local.month()))
            && any(&self.years, i64::from(local.year()))
            && self.has_day(&local)
    }

    /// Days below zero count from the month's end; what lies beyond it is not there.
    fn has_day(&self, local: &Zoned) -> bool {
        let last = i64::from(local.days_in_month());
        let from_start = |day: i64| if day < 0 { last + day + 1 } else { day };
        let day = i64::from(local.day());
        self.days.is_empty()
            || self.days.iter().any(|range| {
                let (from, to) = (from_start(range.from), from_start(range.to));
                from <= last && (from.max(1)..=to.min(last)).contains(&day)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(yaml: &str) -> Interval {
        serde_saphyr::from_str(yaml).unwrap()
    }

    #[test]
    fn an_instant_is_in_an_interval_if_all_that_is_said_holds() {
        let office =
            "{times: [{start_time: '09:00', end_time: '17:00'}], weekdays: ['monday:friday']}";
        let cases = [
            ("{}", "2026-11-05T12:00:00Z", true),
            (office, "2026-11-05T09:00:00Z", true),
            (office, "2026-11-05T08:59:59Z", false),
            (office, "2026-11-05T16:59:59Z", true),
            (office, "2026-11-05T17:00:00Z", false),
            (office, "2026-11-07T12:00:00Z", false),
            (
                "{weekdays: [saturday, Sunday]}",
                "2026-11-08T12:00:00Z",
                true,
            ),
            (
                "{times: [{start_time: '00:00', end_time: '24:00'}]}",
                "2026-11-08T23:59:59Z",
                true,
            ),
            (
                "{days_of_month: ['1:5', '-3:-1']}",
                "2026-02-26T00:00:00Z",
                true,
            ),
            (
                "{days_of_month: ['1:5', '-3:-1']}",
                "2026-02-25T00:00:00Z",
                false,
            ),
            ("{days_of_month: ['30:31']}", "2026-02-28T00:00:00Z", false),
            ("{days_of_month: ['28:31']}", "2026-02-28T00:00:00Z", true),
            ("{days_of_month: ['-31:-1']}", "2026-02-01T00:00:00Z", true),
            ("{days_of_month: [5]}", "2026-02-05T00:00:00Z", true),
            (
                "{months: ['january:march', 'november']}",
                "2026-11-05T12:00:00Z",
                true,
            ),
            ("{months: ['1:3']}", "2026-11-05T12:00:00Z", false),
            (
                "{months: [11], years: ['2026:2027']}",
                "2026-11-05T12:00:00Z",
                true,
            ),
            ("{years: ['2020']}", "2026-11-05T12:00:00Z", false),
        ];
        for (yaml, at, expected) in cases {
            let is_in = interval(yaml).contains(at.parse().unwrap());
            assert_eq!(is_in, expected, "{yaml} at {at}");
        }
    }

    #[test]
    fn the_wall_clock_of_the_zone_counts_where_clocks_are_put_forward_and_back() {
        let berlin = "{times: [{start_time: '02:00', end_time: '03:00'}], location: Europe/Berlin}";
        let nine = "{times: [{start_time: '09:00', end_time: '10:00'}], location: Europe/Berlin}";
        let cases = [
            // 2026-03-29: at 02:00 it is 03:00; the hour between does not exist.
            (berlin, "2026-03-29T00:59:59Z", false),
            (berlin, "2026-03-29T01:00:00Z", false),
            (berlin, "2026-03-28T01:00:00Z", true),
            (nine, "2026-03-28T08:00:00Z", true),
            (nine, "2026-03-29T08:00:00Z", false),
            (nine, "2026-03-29T07:00:00Z", true),
            // 2026-10-25: 02:00 to 03:00 is there twice.
            (berlin, "2026-10-25T00:30:00Z", true),
            (berlin, "2026-10-25T01:30:00Z", true),
            (berlin, "2026-10-25T02:00:00Z", false),
            // The day is that of the zone.
            (
                "{weekdays: [monday], location: Asia/Tokyo}",
                "2026-11-08T15:00:00Z",
                true,
            ),
            (
                "{weekdays: [monday], location: America/Los_Angeles}",
                "2026-11-09T07:59:59Z",
                false,
            ),
        ];
        for (yaml, at, expected) in cases {
            let is_in = interval(yaml).contains(at.parse().unwrap());
            assert_eq!(is_in, expected, "{yaml} at {at}");
        }
    }

    #[test]
    fn what_is_no_interval_is_refused_with_a_right_one() {
        let cases = [
            (
                "{times: [{start_time: '9:00', end_time: '17:00'}]}",
                "09:00",
            ),
            (
                "{times: [{start_time: '22:00', end_time: '06:00'}]}",
                "two entries",
            ),
            ("{weekdays: ['friday:monday']}", "monday:friday"),
            ("{days_of_month: ['0']}", "-3:-1"),
            ("{days_of_month: ['-1:1']}", "-3:-1"),
            ("{months: ['13']}", "january:march"),
            ("{location: Mars/Olympus}", "Europe/Berlin"),
            ("{hours: [1]}", "hours"),
        ];
        for (yaml, expected) in cases {
            let error = serde_saphyr::from_str::<Interval>(yaml).unwrap_err();
            assert!(error.to_string().contains(expected), "{yaml}: {error}");
        }
    }
}
