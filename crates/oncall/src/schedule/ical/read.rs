//! A calendar as a source of turns.

use std::collections::BTreeMap;

use jiff::{
    SignedDuration, Timestamp,
    civil::{Date, DateTime},
};
use mainstay_core::Name;

use super::{
    IcalError,
    content::{Content, lines},
    recur::{Recurrence, moved},
};
use crate::schedule::civil::{ZONE_REMEDY, Zone};

/// Events of one calendar.
const EVENTS_MAX: usize = 2_000;
/// Turns that one question makes of a calendar; what is later is left out, and so a gap.
const TURNS_MAX: usize = 20_000;
/// The longest event, in hours: as long as the longest turn.
const HOURS_MAX: i64 = 366 * 24;
/// Exceptions of one event.
const EXCEPTIONS_MAX: usize = 2_000;
const TIME_REMEDY: &str =
    "write 20260105T090000Z, 20260105T090000 with TZID, or 20260105 with VALUE=DATE";

/// Somebody's turn, as a calendar says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Who.
    pub person: Name,
    /// From when.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

/// Events that say whose turn it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    events: Vec<Event>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Event {
    person: Name,
    start: When,
    end: When,
    again: Option<Recurrence>,
    exceptions: Vec<Timestamp>,
}

/// A time of the wall clock in a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct When {
    pub(super) civil: DateTime,
    zone: Zone,
}

impl When {
    pub(super) fn instant(&self) -> Timestamp {
        self.zone.instant_of_event(self.civil)
    }

    /// The same time, days later.
    pub(super) fn moved(&self, days: i64) -> Self {
        Self {
            civil: moved(self.civil, days),
            zone: self.zone.clone(),
        }
    }
}

impl Calendar {
    /// Reads `text`; times without a zone, and whole days, are those of `zone`.
    pub fn read(text: &str, zone: &Zone) -> Result<Self, IcalError> {
        let mut within: Vec<(String, usize)> = Vec::new();
        let mut event: Option<Vec<Content>> = None;
        let mut drafts = Vec::new();
        let all = lines(text)?;
        for content in &all {
            let value = content.value.trim().to_ascii_uppercase();
            let outside = within.is_empty();
            match content.name.as_str() {
                "BEGIN" => {
                    if outside && value != "VCALENDAR" {
                        return Err(content.wrong(
                            format!("it begins with {value}"),
                            "begin with BEGIN:VCALENDAR",
                        ));
                    }
                    if value == "VEVENT" {
                        event = Some(Vec::new());
                    }
                    within.push((value, content.line));
                }
                "END" => {
                    let begun = within.pop().map(|(name, _)| name);
                    if begun.as_deref() != Some(&value) {
                        let what = format!(
                            "{value} ends, and {} was begun",
                            begun.as_deref().unwrap_or("nothing")
                        );
                        return Err(content.wrong(what, "let every BEGIN have its END"));
                    }
                    if value == "VEVENT" {
                        drafts.push((content.line, event.take().unwrap_or_default()));
                    }
                }
                _ if outside => {
                    return Err(
                        content.wrong("it is outside of a calendar", "begin with BEGIN:VCALENDAR")
                    );
                }
                // What an alarm or a zone says is not the event's.
                _ if within.last().is_some_and(|(name, _)| name == "VEVENT") => {
                    if let Some(event) = &mut event {
                        event.push(content.clone());
                    }
                }
                _ => {}
            }
            if drafts.len() > EVENTS_MAX {
                return Err(content.wrong(
                    format!("more than {EVENTS_MAX} events"),
                    "leave the past out",
                ));
            }
        }
        if let Some((name, line)) = within.pop() {
            return Err(IcalError::new(
                line,
                format!("{name} does not end"),
                "let every BEGIN have its END",
            ));
        }
        if all.is_empty() {
            return Err(IcalError::new(
                1,
                "it is empty",
                "begin with BEGIN:VCALENDAR",
            ));
        }
        Self::of(drafts, zone)
    }

    fn of(drafts: Vec<(usize, Vec<Content>)>, zone: &Zone) -> Result<Self, IcalError> {
        let mut events: Vec<(Option<String>, Event)> = Vec::new();
        let mut replaced: BTreeMap<String, Vec<Timestamp>> = BTreeMap::new();
        for (line, properties) in drafts {
            let draft = Draft { line, properties };
            if let (Some(uid), Some(at)) = (draft.value("UID"), draft.when("RECURRENCE-ID", zone)?)
            {
                replaced.entry(uid).or_default().push(at.0.instant());
            }
            if draft
                .value("STATUS")
                .is_some_and(|it| it.eq_ignore_ascii_case("CANCELLED"))
            {
                continue;
            }
            events.push((draft.value("UID"), draft.event(zone)?));
        }
        for (uid, event) in &mut events {
            let uid = uid.as_ref().filter(|_| event.again.is_some());
            if let Some(instead) = uid.and_then(|uid| replaced.get(uid)) {
                event.exceptions.extend(instead);
            }
        }
        let events = events.into_iter().map(|(_, event)| event).collect();
        Ok(Self { events })
    }

    /// Whom it names.
    pub fn people(&self) -> impl Iterator<Item = &Name> {
        self.events.iter().map(|event| &event.person)
    }

    /// The turns that touch `from..until`, in order. Where events overlap, the one that begins later has its time, and
    /// of those that begin together the one that is written later.
    pub fn between(&self, from: Timestamp, until: Timestamp) -> Vec<Turn> {
        // Whoever began a turn before may be cut short within it.
        let earlier = from.saturating_sub(SignedDuration::from_hours(HOURS_MAX + 48));
        let earlier = earlier.unwrap_or(Timestamp::MIN);
        let mut all: Vec<Turn> = self
            .events
            .iter()
            .flat_map(|it| it.turns(earlier, until))
            .take(TURNS_MAX)
            .collect();
        all.sort_by_key(|turn| turn.from);
        let mut settled = settled(all);
        settled.retain(|turn| turn.from < until && turn.until > from);
        settled
    }
}

impl Event {
    fn turns(&self, from: Timestamp, until: Timestamp) -> impl Iterator<Item = Turn> + '_ {
        let date = |at: Timestamp| self.start.zone.civil(at).date();
        let again = self.again.as_ref();
        let moves = again.map(|it| it.moves(&self.start, date(from), date(until)));
        let once = again.is_none().then_some(0);
        let days = moves.into_iter().flatten().chain(once);
        days.map(|days| Turn {
            person: self.person.clone(),
            from: self.start.moved(days).instant(),
            until: self.end.moved(days).instant(),
        })
        .filter(|turn| turn.from < turn.until && !self.exceptions.contains(&turn.from))
    }
}

/// The same without overlaps; they come in the order in which they begin.
fn settled(turns: Vec<Turn>) -> Vec<Turn> {
    let mut settled: Vec<Turn> = Vec::with_capacity(turns.len());
    for turn in turns {
        let mut after = Vec::new();
        while let Some(before) = settled.pop_if(|it| it.until > turn.from) {
            if before.until > turn.until {
                let from = before.from.max(turn.until);
                after.push(Turn {
                    from,
                    ..before.clone()
                });
            }
            if before.from < turn.from {
                settled.push(Turn {
                    until: turn.from,
                    ..before
                });
                break;
            }
        }
        settled.push(turn);
        settled.extend(after.into_iter().rev());
    }
    settled
}

/// The properties of an event.
struct Draft {
    /// The line it ends on.
    line: usize,
    properties: Vec<Content>,
}

impl Draft {
    fn find(&self, name: &str) -> Option<&Content> {
        self.properties.iter().find(|it| it.name == name)
    }

    fn value(&self, name: &str) -> Option<String> {
        self.find(name).map(|it| it.value.trim().to_owned())
    }

    /// A time, and whether it is a whole day.
    fn when(&self, name: &str, zone: &Zone) -> Result<Option<(When, bool)>, IcalError> {
        self.find(name)
            .map(|it| when(it, it.value.trim(), zone))
            .transpose()
    }

    fn event(&self, zone: &Zone) -> Result<Event, IcalError> {
        if let Some(list) = self.find("RDATE") {
            return Err(list.wrong(
                "RDATE is not supported",
                "write an event for each of its times",
            ));
        }
        let person = self.person()?;
        let Some((start, is_day)) = self.when("DTSTART", zone)? else {
            let remedy = "give every event its DTSTART";
            return Err(IcalError::new(
                self.line,
                "the event that ends here has no DTSTART",
                remedy,
            ));
        };
        let end = match (self.when("DTEND", zone)?, self.find("DURATION")) {
            (Some((end, _)), _) => end,
            (None, Some(duration)) => lasting(&start, duration)?,
            (None, None) if is_day => start.moved(1),
            (None, None) => {
                let remedy = "give every event its DTEND or DURATION";
                return Err(IcalError::new(
                    self.line,
                    "the event that ends here does not say how long it is",
                    remedy,
                ));
            }
        };
        let hours = end.instant().duration_since(start.instant()).as_hours();
        if end.instant() <= start.instant() || hours > HOURS_MAX {
            let at = self.find("DTEND").map_or(self.line, |it| it.line);
            let remedy = "let it end after it begins, within a year";
            return Err(IcalError::new(
                at,
                "it ends before it begins, or a year later",
                remedy,
            ));
        }
        let rule = self.find("RRULE");
        let again = rule
            .map(|rule| Recurrence::read(rule, &start, zone))
            .transpose()?;
        let mut exceptions = Vec::new();
        for list in self.properties.iter().filter(|it| it.name == "EXDATE") {
            for text in list.value.split(',') {
                exceptions.push(when(list, text.trim(), &start.zone)?.0.instant());
            }
            if exceptions.len() > EXCEPTIONS_MAX {
                return Err(list.wrong(
                    format!("more than {EXCEPTIONS_MAX} exceptions"),
                    "divide the event",
                ));
            }
        }
        Ok(Event {
            person,
            start,
            end,
            again,
            exceptions,
        })
    }

    fn person(&self) -> Result<Name, IcalError> {
        let remedy = "let SUMMARY be the name of a responder, such as `alice`";
        let told = self
            .find("X-MAINSTAY-PERSON")
            .or_else(|| self.find("SUMMARY"));
        let Some(told) = told else {
            return Err(IcalError::new(
                self.line,
                "the event that ends here names nobody",
                remedy,
            ));
        };
        let text = told.text();
        Name::new(text.trim()).map_err(|_| {
            let shown: String = text
                .chars()
                .filter(|it| !it.is_control())
                .take(40)
                .collect();
            told.wrong(format!("`{shown}` is no name of a responder"), remedy)
        })
    }
}

/// The end of what lasts so long: days and weeks by the calendar, hours exactly.
fn lasting(start: &When, duration: &Content) -> Result<When, IcalError> {
    let text = duration.value.trim();
    let wrong = || {
        duration.wrong(
            format!("`{text}` is no length of time"),
            "write P1D, P1W or PT8H",
        )
    };
    let span: jiff::Span = text.parse().map_err(|_| wrong())?;
    let civil = start.civil.checked_add(span).map_err(|_| wrong())?;
    Ok(When {
        civil,
        zone: start.zone.clone(),
    })
}

/// The time that a property or a part of its list says.
fn when(content: &Content, text: &str, zone: &Zone) -> Result<(When, bool), IcalError> {
    let zone = match content.param("TZID") {
        Some(name) => Zone::named(name.trim_start_matches('/'))
            .map_err(|unknown| content.wrong(unknown.to_string(), ZONE_REMEDY))?,
        None => zone.clone(),
    };
    date_or_time(text, &zone).ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        content.wrong(format!("`{shown}` is no time"), TIME_REMEDY)
    })
}

/// A time, and whether it is a whole day.
pub(super) fn date_or_time(text: &str, zone: &Zone) -> Option<(When, bool)> {
    let digits = |from: usize, to: usize| {
        let part = text.get(from..to)?;
        let all_digits = part.bytes().all(|byte| byte.is_ascii_digit());
        all_digits.then(|| part.parse::<i16>().ok()).flatten()
    };
    let small = |from, to| digits(from, to).and_then(|it| i8::try_from(it).ok());
    let date = Date::new(digits(0, 4)?, small(4, 6)?, small(6, 8)?).ok()?;
    if text.len() == 8 {
        let civil = date.to_datetime(jiff::civil::Time::midnight());
        let zone = zone.clone();
        return Some((When { civil, zone }, true));
    }
    if text.get(8..9) != Some("T") {
        return None;
    }
    // A second that is leapt to is the one before it.
    let second = small(13, 15)?.min(59);
    let time = jiff::civil::Time::new(small(9, 11)?, small(11, 13)?, second, 0).ok()?;
    let civil = date.to_datetime(time);
    let zone = match text.get(15..) {
        Some("Z") => Zone::named("UTC").ok()?,
        Some("") => zone.clone(),
        _ => return None,
    };
    Some((When { civil, zone }, false))
}
