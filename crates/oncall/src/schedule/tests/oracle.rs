//! Who is on call, reckoned in another way: from the latest time that a zone's clock has ever shown.
//!
//! A hand-off at a civil time happens at the first instant at which the clock shows that time or a later one. So at
//! any instant those hand-offs have happened whose time is not after the latest that the clock has shown up to then,
//! and who is on call is a function of that one time: no instant of a hand-off has to be found.

use jiff::{SignedDuration, civil::DateTime, tz::TimeZone};
use mainstay_core::oncall::{Hours, LayerSpec, Weekday};

use super::*;
use crate::schedule::civil::on;

/// The longest that a clock was ever put back.
const PUT_BACK_MAX: SignedDuration = SignedDuration::from_hours(25);

/// The latest time that the clock has shown up to `at`, by the second.
pub(super) fn shown(zone: &TimeZone, at: Timestamp) -> DateTime {
    let now = zone.to_datetime(at);
    let changes = zone
        .preceding(at + SignedDuration::from_secs(1))
        .map(|it| it.timestamp());
    let near = changes.take_while(|change| at.duration_since(*change) <= PUT_BACK_MAX);
    let before = near.map(|change| zone.to_datetime(change - SignedDuration::from_secs(1)));
    before.fold(now, DateTime::max)
}

fn is_in(hours: &[Hours], shown: DateTime) -> bool {
    let holds = |it: &Hours| {
        (0..=3).any(|back| {
            let date = shown.date() - SignedDuration::from_hours(24 * back);
            let day = Weekday::ALL[date.weekday().to_monday_zero_offset() as usize];
            let (from, until) = (i64::from(it.from.minutes()), i64::from(it.until.minutes()));
            let until = if until <= from {
                until + 24 * 60
            } else {
                until
            };
            let since = shown.duration_since(date.at(0, 0, 0, 0));
            let is_day = it.days.is_empty() || it.days.contains(&day);
            is_day
                && since >= SignedDuration::from_mins(from)
                && since < SignedDuration::from_mins(until)
        })
    };
    hours.is_empty() || hours.iter().any(holds)
}

/// Whose turn it is by a layer, if it holds.
pub(super) fn turn<'a>(layer: &'a LayerSpec, zone: &TimeZone, at: Timestamp) -> Option<&'a Name> {
    let shown = shown(zone, at);
    let first = on(layer.from, layer.handoff.minutes());
    let is_over = layer
        .until
        .is_some_and(|day| shown >= on(day, layer.handoff.minutes()));
    if shown < first || is_over || !is_in(&layer.hours, shown) {
        return None;
    }
    let every = i64::try_from(layer.every.millis() / 1_000).unwrap();
    let number = shown.duration_since(first).as_secs().div_euclid(every);
    layer
        .people
        .get(usize::try_from(number).unwrap() % layer.people.len())
}
