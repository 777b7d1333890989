//! Hours of some days, as instants.

use jiff::{SignedDuration, Timestamp, civil};
use mainstay_core::oncall::{Hours, Weekday};

use super::civil::Zone;

/// A stretch of time: its end does not belong to it.
pub(crate) type Stretch = (Timestamp, Timestamp);

/// The stretches of `hours` that touch `from..until`, whole, in order, none touching the next. All of time where there
/// are no hours.
pub(crate) fn stretches(zone: &Zone, hours: &[Hours], (from, until): Stretch) -> Vec<Stretch> {
    if hours.is_empty() {
        return vec![(Timestamp::MIN, Timestamp::MAX)];
    }
    // Hours over midnight began the day before; a zone that skipped a day shows a date of two days before.
    let mut date = zone
        .civil(from)
        .date()
        .saturating_sub(SignedDuration::from_hours(72));
    let last = zone.civil(until).date();
    let mut found: Vec<Stretch> = Vec::new();
    loop {
        let of_day = hours.iter().filter(|it| begins_on(it, date));
        found.extend(of_day.map(|it| on(zone, it, date)));
        match date.tomorrow() {
            Ok(next) if date <= last => date = next,
            _ => break,
        }
    }
    found.retain(|(begin, end)| begin < end);
    joined(found)
        .into_iter()
        .filter(|(begin, end)| *begin < until && *end > from)
        .collect()
}

fn begins_on(hours: &Hours, date: civil::Date) -> bool {
    let place = date.weekday().to_monday_zero_offset();
    let day = usize::try_from(place).ok();
    let day = day.and_then(|place| Weekday::ALL.get(place));
    hours.days.is_empty() || day.is_some_and(|day| hours.days.contains(day))
}

fn on(zone: &Zone, hours: &Hours, date: civil::Date) -> Stretch {
    let midnight = date.to_datetime(civil::Time::midnight());
    let at =
        |minutes: i64| zone.instant(midnight.saturating_add(SignedDuration::from_mins(minutes)));
    let (from, until) = (
        i64::from(hours.from.minutes()),
        i64::from(hours.until.minutes()),
    );
    let until = if until <= from {
        until + 24 * 60
    } else {
        until
    };
    (at(from), at(until))
}

/// The same without overlaps, in order.
fn joined(mut all: Vec<Stretch>) -> Vec<Stretch> {
    all.sort_unstable();
    let mut joined: Vec<Stretch> = Vec::with_capacity(all.len());
    for (from, until) in all {
        match joined.last_mut() {
            Some((_, end)) if from <= *end => *end = until.max(*end),
            _ => joined.push((from, until)),
        }
    }
    joined
}

/// What both have; both are in order and without overlaps.
pub(crate) fn common(one: &[Stretch], other: &[Stretch]) -> Vec<Stretch> {
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    let mut found = Vec::new();
    while let (Some((a_from, a_until)), Some((b_from, b_until))) = (one.peek(), other.peek()) {
        let (from, until) = (a_from.max(b_from), a_until.min(b_until));
        if from < until {
            found.push((*from, *until));
        }
        if a_until < b_until {
            one.next();
        } else {
            other.next();
        }
    }
    found
}
