//! One layer: turns that people take, or a calendar, within some hours.

use jiff::{Timestamp, civil::DateTime};
use mainstay_core::{
    Name,
    oncall::{Hours, LayerSpec, Role},
};

use super::{
    civil::{Zone, hours_after, on},
    hours::{Stretch, common, stretches},
    ical::Calendar,
    shift::{Shift, Source},
};

/// Milliseconds of an hour.
const HOUR: u64 = 3_600_000;

#[derive(Debug, Clone)]
pub(crate) struct Layer {
    pub(crate) name: Name,
    pub(crate) role: Role,
    zone: Zone,
    turns: Turns,
    hours: Vec<Hours>,
    from: Timestamp,
    until: Timestamp,
}

#[derive(Debug, Clone)]
enum Turns {
    Rotation {
        people: Vec<Name>,
        /// The first hand-off, by the layer's clock.
        first: DateTime,
        /// Hours of a turn, by the calendar.
        every: i64,
    },
    Calendar(Calendar),
}

impl Layer {
    /// The layer of `spec`, whose clock is that of `zone`.
    pub(crate) fn new(spec: &LayerSpec, zone: Zone, calendar: Option<Calendar>) -> Self {
        let first = on(spec.from, spec.handoff.minutes());
        let end = spec.until.map(|day| on(day, spec.handoff.minutes()));
        let every = i64::try_from(spec.every.millis() / HOUR).unwrap_or(i64::MAX);
        let rotation = || Turns::Rotation {
            people: spec.people.clone(),
            first,
            every: every.max(1),
        };
        Self {
            name: spec.name.clone(),
            role: spec.role,
            from: zone.instant(first),
            until: end.map_or(Timestamp::MAX, |end| zone.instant(end)),
            turns: calendar.map_or_else(rotation, Turns::Calendar),
            hours: spec.hours.clone(),
            zone,
        }
    }

    /// The shifts that touch `from..until`, whole.
    pub(crate) fn shifts(&self, within: Stretch) -> Vec<Shift> {
        let turns = self.turns(within);
        let Some(span) = turns.first().zip(turns.last()) else {
            return Vec::new();
        };
        let hours = stretches(&self.zone, &self.hours, (span.0.from, span.1.until));
        let mut shifts = Vec::with_capacity(turns.len());
        // Turns lie in order: hours that end before one begins are of no later one.
        let mut begin = 0;
        for turn in turns {
            while hours.get(begin).is_some_and(|(_, end)| *end <= turn.from) {
                begin += 1;
            }
            let rest = hours.get(begin..).unwrap_or_default();
            let rest = rest.iter().take_while(|(from, _)| *from < turn.until);
            let rest: Vec<Stretch> = rest.copied().collect();
            let held = common(&[(turn.from, turn.until)], &rest).into_iter();
            shifts.extend(held.map(|(from, until)| turn.between(from, until)));
        }
        shifts.retain(|it| it.from < within.1 && it.until > within.0);
        shifts
    }

    /// The same, as if every hour were one of the layer's.
    fn turns(&self, (from, until): Stretch) -> Vec<Shift> {
        let (begin, end) = (from.max(self.from), until.min(self.until));
        if begin >= end {
            return Vec::new();
        }
        let shift = |person: &Name, from: Timestamp, until: Timestamp| Shift {
            role: self.role,
            person: person.clone(),
            from: from.max(self.from),
            until: until.min(self.until),
            by: Source::Layer(self.name.clone()),
            instead_of: None,
        };
        let turns: Vec<Shift> = match &self.turns {
            Turns::Calendar(calendar) => {
                let events = calendar.between(begin, end).into_iter();
                events
                    .map(|it| shift(&it.person, it.from, it.until))
                    .collect()
            }
            Turns::Rotation { people, .. } => {
                let mut turns = Vec::new();
                let mut at = self.turn_at(begin);
                let mut from = self.handoff(at);
                while from < end {
                    let until = self.handoff(at + 1);
                    let place = usize::try_from(at).unwrap_or(0) % people.len().max(1);
                    if let Some(person) = people.get(place).filter(|_| from < until) {
                        turns.push(shift(person, from, until));
                    }
                    (at, from) = (at + 1, until);
                }
                turns
            }
        };
        turns.into_iter().filter(|it| it.from < it.until).collect()
    }

    /// When turn `number` begins, from 0.
    fn handoff(&self, number: i64) -> Timestamp {
        match &self.turns {
            Turns::Calendar(_) => Timestamp::MAX,
            Turns::Rotation { first, every, .. } => self
                .zone
                .instant(hours_after(*first, number.saturating_mul(*every))),
        }
    }

    /// Whose turn it is at `at`, by number: the last that has begun.
    fn turn_at(&self, at: Timestamp) -> i64 {
        let Turns::Rotation { first, every, .. } = &self.turns else {
            return 0;
        };
        let since = self.zone.civil(at).duration_since(*first).as_hours();
        // The clock may show less than it has shown, or have skipped: a few turns either way.
        let mut number = since.div_euclid(*every).max(0);
        while number > 0 && self.handoff(number) > at {
            number -= 1;
        }
        while self.handoff(number + 1) <= at && self.handoff(number + 1) < Timestamp::MAX {
            number += 1;
        }
        number
    }
}
