//! What a time of the wall clock means.
//!
//! Guarantees: a civil time stands for the first instant at which the clock of its zone shows that time or a later
//! one. So no hand-off is lost where clocks are put forward (it is the moment of the change) and none happens twice
//! where they are put back (it is the first of both); and of two civil times the later never comes first. Never
//! guesses a zone.
//!
//! ```
//! use mainstay_oncall::schedule::civil::Zone;
//! let berlin = Zone::named("Europe/Berlin")?;
//! let skipped = berlin.instant(jiff::civil::date(2026, 3, 29).at(2, 30, 0, 0));
//! assert_eq!(skipped, "2026-03-29T01:00:00Z".parse()?); // 03:00 in Berlin
//! let twice = berlin.instant(jiff::civil::date(2026, 10, 25).at(2, 30, 0, 0));
//! assert_eq!(twice, "2026-10-25T00:30:00Z".parse()?); // the first 02:30
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use jiff::{
    SignedDuration, Timestamp,
    civil::DateTime,
    tz::{AmbiguousOffset, Offset, TimeZone},
};
use mainstay_core::oncall::Day;

/// A zone of the IANA database, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    name: String,
    rules: TimeZone,
}

/// A text that names no zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no zone `{0}`")]
pub struct UnknownZone(String);

/// What mends an unknown zone.
pub const ZONE_REMEDY: &str = "write a name of the IANA database, such as `Europe/Berlin` or `UTC`";

impl Zone {
    /// The zone that is called `name`.
    pub fn named(name: &str) -> Result<Self, UnknownZone> {
        let unknown = || UnknownZone(name.chars().take(64).collect());
        let rules = TimeZone::get(name).map_err(|_| unknown())?;
        Ok(Self {
            name: name.to_owned(),
            rules,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its clock shows.
    pub fn civil(&self, at: Timestamp) -> DateTime {
        self.rules.to_datetime(at)
    }

    /// The first instant at which its clock shows `at` or a later time.
    pub fn instant(&self, at: DateTime) -> Timestamp {
        match self.rules.to_ambiguous_timestamp(at).offset() {
            AmbiguousOffset::Unambiguous { offset } => exact(offset, at),
            AmbiguousOffset::Fold { before, .. } => exact(before, at),
            AmbiguousOffset::Gap { before, after } => {
                // By the old offset the change lies behind it, by the new one ahead.
                let (behind, ahead) = (exact(before, at), exact(after, at));
                let changes = self.rules.preceding(next_second(behind));
                let mut changes = changes.map(|change| change.timestamp());
                changes
                    .find(|change| *change <= behind)
                    .filter(|change| *change > ahead)
                    .unwrap_or(behind)
            }
        }
    }

    /// The instant of a time that RFC 5545 writes: one that is skipped is read by the offset before the change.
    pub fn instant_of_event(&self, at: DateTime) -> Timestamp {
        let ambiguous = self.rules.to_ambiguous_timestamp(at);
        ambiguous.compatible().unwrap_or_else(|_| self.instant(at))
    }
}

fn exact(offset: Offset, at: DateTime) -> Timestamp {
    let beyond = || match at.year() {
        ..=0 => Timestamp::MIN,
        _ => Timestamp::MAX,
    };
    offset.to_timestamp(at).unwrap_or_else(|_| beyond())
}

fn next_second(at: Timestamp) -> Timestamp {
    at.saturating_add(SignedDuration::from_secs(1))
        .unwrap_or(Timestamp::MAX)
}

/// `hours` of the calendar after `at`; at the calendar's end it stays there.
pub(crate) fn hours_after(at: DateTime, hours: i64) -> DateTime {
    at.saturating_add(SignedDuration::from_secs(hours.saturating_mul(3_600)))
}

/// `minutes` after the beginning of `day`.
pub(crate) fn on(day: Day, minutes: u16) -> DateTime {
    let (year, month, day) = day.parts();
    // A `Day` is one of the calendar.
    let date =
        jiff::civil::Date::new(year, month as i8, day as i8).unwrap_or(jiff::civil::Date::MIN);
    date.to_datetime(jiff::civil::Time::midnight())
        .saturating_add(SignedDuration::from_mins(i64::from(minutes)))
}
