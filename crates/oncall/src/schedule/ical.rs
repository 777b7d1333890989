//! iCalendar (RFC 5545), out and in.
//!
//! Guarantees: what is written has stable UIDs, one number of revision for all events of a calendar, which only grows,
//! and instants in UTC: a shift is two instants, which no reader's idea of a zone can move, and a viewer shows them by
//! its own clock. What is read is understood whole or refused with its line: never is an event left out that would
//! have put somebody on call. Sizes, events and recurrences are bounded.
//!
//! ```
//! use mainstay_oncall::schedule::{civil::Zone, ical::Calendar};
//! let text = "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:1\r\nSUMMARY:alice\r\nDTSTART;VALUE=DATE:20260105\r\n\
//!             RRULE:FREQ=WEEKLY;BYDAY=MO,TU\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
//! let calendar = Calendar::read(text, &Zone::named("UTC")?)?;
//! let all = calendar.between("2026-01-05T00:00:00Z".parse()?, "2026-01-12T00:00:00Z".parse()?);
//! assert_eq!(all.len(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod content;
mod read;
mod recur;
mod write;

pub use read::{Calendar, Turn};
pub use write::{Feed, feed};

/// Why a calendar is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the calendar: {what}")]
pub struct IcalError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
    /// What would mend it.
    pub remedy: &'static str,
}

impl IcalError {
    pub(crate) fn new(line: usize, what: impl Into<String>, remedy: &'static str) -> Self {
        let what = what.into();
        Self { line, what, remedy }
    }
}
