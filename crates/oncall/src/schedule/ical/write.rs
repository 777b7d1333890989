//! Shifts as a calendar.

use std::fmt::Write as _;

use jiff::Timestamp;
use mainstay_core::Name;

use crate::schedule::Shift;

/// Longest line, in bytes, without its end.
const LINE_BYTES_MAX: usize = 75;

/// What a calendar says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feed {
    /// What it is called.
    pub name: String,
    /// Grows with everything that may have moved a shift.
    pub revision: u64,
    /// When it last grew.
    pub revised_at: Timestamp,
    /// Whether all shifts are of one person, who need not be told their own name.
    pub of_one: bool,
}

/// The calendar of these shifts, each with its schedule. The UID of an event is made of schedule, role and beginning:
/// whoever has the shift, and however long it is, it is the same event in a later revision.
pub fn feed<'a>(feed: &Feed, shifts: impl IntoIterator<Item = (&'a Name, &'a Shift)>) -> String {
    let mut text = Text::default();
    text.line("BEGIN:VCALENDAR");
    text.line("VERSION:2.0");
    text.line("PRODID:-//Mainstay//Schedules//EN");
    text.line("CALSCALE:GREGORIAN");
    text.line("METHOD:PUBLISH");
    text.text("NAME", &feed.name);
    text.text("X-WR-CALNAME", &feed.name);
    text.line("REFRESH-INTERVAL;VALUE=DURATION:PT15M");
    text.line("X-PUBLISHED-TTL:PT15M");
    let stamp = utc(feed.revised_at);
    for (schedule, shift) in shifts {
        let (from, until) = (utc(shift.from), utc(shift.until));
        let Shift { role, person, .. } = shift;
        text.line("BEGIN:VEVENT");
        text.line(&format!("UID:{from}-{role}-{schedule}@mainstay"));
        text.line(&format!("DTSTAMP:{stamp}"));
        text.line(&format!("LAST-MODIFIED:{stamp}"));
        text.line(&format!("SEQUENCE:{}", feed.revision));
        text.line(&format!("DTSTART:{from}"));
        text.line(&format!("DTEND:{until}"));
        let summary = if feed.of_one {
            format!("on call: {schedule} ({role})")
        } else {
            format!("{person} ({schedule} {role})")
        };
        text.text("SUMMARY", &summary);
        if let Some(other) = &shift.instead_of {
            text.text("DESCRIPTION", &format!("swapped with {other}"));
        }
        text.text("CATEGORIES", role.as_str());
        text.line(&format!("X-MAINSTAY-PERSON:{person}"));
        text.line("TRANSP:TRANSPARENT");
        text.line("END:VEVENT");
    }
    text.line("END:VCALENDAR");
    text.0
}

fn utc(at: Timestamp) -> String {
    at.strftime("%Y%m%dT%H%M%SZ").to_string()
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn text(&mut self, name: &str, value: &str) {
        let mut line = format!("{name}:");
        for it in value.chars() {
            match it {
                '\\' | ';' | ',' => line.extend(['\\', it]),
                '\n' => line.push_str("\\n"),
                it if it.is_control() => {}
                it => line.push(it),
            }
        }
        self.line(&line);
    }

    /// Folded, between characters and never within one.
    fn line(&mut self, line: &str) {
        let mut room = LINE_BYTES_MAX;
        for it in line.chars() {
            if it.len_utf8() > room {
                self.0.push_str("\r\n ");
                room = LINE_BYTES_MAX - 1;
            }
            room -= it.len_utf8();
            self.0.push(it);
        }
        // Writing to a `String` cannot fail.
        let _ = write!(self.0, "\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_folded_between_characters_and_what_means_something_is_escaped() {
        let mut text = Text::default();
        text.text("X", &format!("a,b;c\\d\n{}", "é".repeat(60)));
        let unfolded = text.0.replace("\r\n ", "");
        assert!(unfolded.starts_with("X:a\\,b\\;c\\\\d\\né"), "{unfolded}");
        assert!(
            text.0
                .split("\r\n")
                .all(|line| line.len() <= LINE_BYTES_MAX)
        );
        assert!(text.0.contains("\r\n é"));
    }
}
