//! Recurrence: days and weeks, which is what rotations are made of. The rest is refused with its line.

use jiff::{
    SignedDuration, Timestamp,
    civil::{Date, DateTime},
};

use super::{
    IcalError,
    content::Content,
    read::{When, date_or_time},
};
use crate::schedule::civil::Zone;

/// Largest COUNT: ten years of days.
const COUNT_MAX: u32 = 4_000;
/// Largest INTERVAL: a year of weeks.
const INTERVAL_MAX: i64 = 366;
const DAYS: [&str; 7] = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"];
const REMEDY: &str = "write FREQ=DAILY or FREQ=WEEKLY with INTERVAL, BYDAY, WKST and COUNT or UNTIL, or list the events";

/// On which days something happens again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recurrence {
    /// The first day of the first period.
    anchor: Date,
    /// Days of a period.
    period: i64,
    /// Days of a period on which it happens, from 0.
    days: Vec<i64>,
    until: Until,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    Never,
    Day(Date),
    Instant(Timestamp),
}

impl Recurrence {
    pub(super) fn read(rule: &Content, start: &When, zone: &Zone) -> Result<Self, IcalError> {
        let parts = Parts::read(rule, zone)?;
        let first = start.civil.date();
        let weekday = |date: Date| i64::from(date.weekday().to_monday_zero_offset());
        let mut found = match &*parts.freq {
            "DAILY" if parts.by_day.is_empty() => Self {
                anchor: first,
                period: parts.interval,
                days: vec![0],
                until: parts.until,
            },
            "WEEKLY" => {
                let back = (weekday(first) - parts.week_start).rem_euclid(7);
                let mut days: Vec<i64> = parts
                    .by_day
                    .iter()
                    .map(|day| (day - parts.week_start).rem_euclid(7))
                    .collect();
                if days.is_empty() {
                    days.push(back);
                }
                days.sort_unstable();
                days.dedup();
                if !days.contains(&back) {
                    let what = "BYDAY does not name the day of DTSTART, so that the first event is unclear";
                    return Err(rule.wrong(what, "let DTSTART be on one of these days"));
                }
                Self {
                    anchor: days_after(first, -back),
                    period: parts.interval * 7,
                    days,
                    until: parts.until,
                }
            }
            "DAILY" => return Err(rule.wrong("BYDAY of days is not supported", REMEDY)),
            other => return Err(rule.wrong(format!("FREQ={other} is not supported"), REMEDY)),
        };
        if let Some(count) = parts.count {
            let last = found
                .days_from(first, first)
                .nth(count.saturating_sub(1) as usize);
            found.until = Until::Day(last.unwrap_or(first));
        }
        Ok(found)
    }

    /// The days on which it happens, from `from` on, never before `first`; without end where it has none.
    fn days_from(&self, first: Date, from: Date) -> impl Iterator<Item = Date> + '_ {
        let since = days_between(self.anchor, from.max(first));
        let skipped = (since.div_euclid(self.period) - 1).max(0);
        let periods = (skipped..).map(move |number| number.saturating_mul(self.period));
        let days = periods.flat_map(|begin| self.days.iter().map(move |day| begin + day));
        // At the calendar's end days stay the same: whoever goes that far is to stop.
        let days = days.map(|day| days_after(self.anchor, day));
        days.take_while(|day| *day < Date::MAX)
            .filter(move |day| *day >= first && *day >= from)
    }

    /// The days after that of `start` by which the event is moved to be `from..until` or later, in order, up to `most`.
    pub(super) fn moves(
        &self,
        start: &When,
        from: Date,
        until: Date,
    ) -> impl Iterator<Item = i64> + '_ {
        let first = start.civil.date();
        let start = start.clone();
        self.days_from(first, from)
            .take_while(move |day| *day <= until)
            .map(move |day| days_between(first, day))
            .take_while(move |days| match self.until {
                Until::Never => true,
                Until::Day(last) => days_after(first, *days) <= last,
                Until::Instant(last) => start.moved(*days).instant() <= last,
            })
    }
}

/// The parts of a rule.
struct Parts {
    freq: String,
    interval: i64,
    by_day: Vec<i64>,
    week_start: i64,
    count: Option<u32>,
    until: Until,
}

impl Parts {
    fn read(rule: &Content, zone: &Zone) -> Result<Self, IcalError> {
        let mut parts = Self {
            freq: String::new(),
            interval: 1,
            by_day: Vec::new(),
            week_start: 0,
            count: None,
            until: Until::Never,
        };
        for part in rule.value.split(';').filter(|part| !part.is_empty()) {
            let (name, value) = part
                .split_once('=')
                .ok_or_else(|| rule.wrong(format!("`{part}` has no value"), REMEDY))?;
            let wrong = || rule.wrong(format!("{name} cannot be `{value}`"), REMEDY);
            match name.to_ascii_uppercase().as_str() {
                "FREQ" => parts.freq = value.to_ascii_uppercase(),
                "INTERVAL" => {
                    let given = value
                        .parse()
                        .ok()
                        .filter(|it| (1..=INTERVAL_MAX).contains(it));
                    parts.interval = given.ok_or_else(wrong)?;
                }
                "COUNT" => {
                    let given = value.parse().ok().filter(|it| (1..=COUNT_MAX).contains(it));
                    parts.count = Some(given.ok_or_else(wrong)?);
                }
                "BYDAY" => {
                    let days = value
                        .split(',')
                        .map(|day| day_number(day).ok_or_else(wrong));
                    parts.by_day = days.collect::<Result<_, _>>()?;
                }
                "WKST" => parts.week_start = day_number(value).ok_or_else(wrong)?,
                "UNTIL" => {
                    parts.until = match date_or_time(value, zone).ok_or_else(wrong)? {
                        (when, true) => Until::Day(when.civil.date()),
                        (when, false) => Until::Instant(when.instant()),
                    };
                }
                other => return Err(rule.wrong(format!("{other} is not supported"), REMEDY)),
            }
        }
        if parts.count.is_some() && parts.until != Until::Never {
            return Err(rule.wrong("COUNT and UNTIL are both given", "leave one of them out"));
        }
        Ok(parts)
    }
}

fn day_number(text: &str) -> Option<i64> {
    let place = DAYS
        .iter()
        .position(|day| day.eq_ignore_ascii_case(text.trim()))?;
    i64::try_from(place).ok()
}

pub(super) fn days_after(date: Date, days: i64) -> Date {
    date.saturating_add(SignedDuration::from_hours(days.saturating_mul(24)))
}

fn days_between(from: Date, until: Date) -> i64 {
    until.duration_since(from).as_hours() / 24
}

pub(super) fn moved(at: DateTime, days: i64) -> DateTime {
    at.saturating_add(SignedDuration::from_hours(days.saturating_mul(24)))
}
