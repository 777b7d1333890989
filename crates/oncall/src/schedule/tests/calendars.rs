//! Calendars: what is written is read back, and what cannot be read is refused with its line.

use super::*;
use crate::schedule::{
    civil::Zone,
    ical::{Calendar, Feed, feed},
};

fn berlin() -> Zone {
    Zone::named("Europe/Berlin").unwrap()
}

fn calendar(events: &str) -> String {
    format!("BEGIN:VCALENDAR\r\nVERSION:2.0\r\n{events}END:VCALENDAR\r\n")
}

fn event(lines: &[&str]) -> String {
    format!(
        "BEGIN:VEVENT\r\nUID:{}\r\n{}\r\nEND:VEVENT\r\n",
        lines.len(),
        lines.join("\r\n")
    )
}

fn turns(text: &str, from: &str, until: &str) -> Vec<String> {
    let calendar = Calendar::read(text, &berlin()).unwrap();
    let turns = calendar.between(at(from), at(until)).into_iter();
    turns
        .map(|it| format!("{} {} {}", it.person, it.from, it.until))
        .collect()
}

#[test]
fn what_is_written_is_read_back_as_the_same_shifts() {
    let schedule = layer(
        "Europe/Berlin",
        &["alice", "bob"],
        "2026-01-05",
        json!({"every": "1d", "hours": [{"from": "08:00", "until": "20:00"}]}),
    );
    let shifts = primary(&schedule, "2026-03-20T00:00:00Z", "2026-04-10T00:00:00Z");
    let about = Feed {
        name: "on call: feed".to_owned(),
        revision: 7,
        revised_at: at("2026-03-01T10:00:00Z"),
        of_one: false,
    };
    let name = name("feed");
    let text = feed(&about, shifts.iter().map(|it| (&name, it)));
    assert_eq!(
        turns(&text, "2026-03-20T00:00:00Z", "2026-04-10T00:00:00Z"),
        told(&shifts)
    );
    assert!(text.contains("SEQUENCE:7\r\n") && text.contains("DTSTAMP:20260301T100000Z\r\n"));
    let first = text.lines().find(|line| line.starts_with("UID:")).unwrap();
    // Another window, and another person: the event is the same one.
    let later = schedule.with([]).shifts_of(
        Role::Primary,
        at("2026-03-20T00:00:00Z"),
        at("2026-03-21T00:00:00Z"),
    );
    let text = feed(&about, later.iter().map(|it| (&name, it)));
    assert!(text.contains(first), "{first} {text}");
}

#[test]
fn a_week_of_a_calendar_follows_the_clock_of_its_zone_over_a_change() {
    let text = calendar(&event(&[
        "SUMMARY:alice",
        "DTSTART;TZID=Europe/Berlin:20260323T090000",
        "DTEND;TZID=Europe/Berlin:20260330T090000",
        "RRULE:FREQ=WEEKLY;INTERVAL=2;COUNT=2",
    ]));
    assert_eq!(
        turns(&text, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        [
            "alice 2026-03-23T08:00:00Z 2026-03-30T07:00:00Z",
            "alice 2026-04-06T07:00:00Z 2026-04-13T07:00:00Z",
        ]
    );
}

#[test]
fn days_exceptions_moved_and_cancelled_events_are_understood() {
    let text = calendar(
        &(event(&[
            "SUMMARY:alice",
            "DTSTART;VALUE=DATE:20260105",
            "RRULE:FREQ=WEEKLY;BYDAY=MO,WE;UNTIL=20260114",
            "EXDATE;VALUE=DATE:20260107",
        ]) + "BEGIN:VEVENT\r\nUID:4\r\nRECURRENCE-ID;VALUE=DATE:20260112\r\nSUMMARY:bob\r\nDTSTART;VALUE=DATE:20260113\r\nDTEND;VALUE=DATE:20260114\r\nEND:VEVENT\r\n"
            + &event(&[
                "SUMMARY:carol",
                "STATUS:CANCELLED",
                "DTSTART;VALUE=DATE:20260109",
            ])
            + &event(&[
                "SUMMARY:dave",
                "DTSTART:20260105T120000Z",
                "DURATION:PT2H",
                "BEGIN:VALARM",
                "TRIGGER:-PT5M",
                "END:VALARM",
            ])),
    );
    assert_eq!(
        turns(&text, "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"),
        [
            // Where two overlap, the one that begins later has its time.
            "alice 2026-01-04T23:00:00Z 2026-01-05T12:00:00Z",
            "dave 2026-01-05T12:00:00Z 2026-01-05T14:00:00Z",
            "alice 2026-01-05T14:00:00Z 2026-01-05T23:00:00Z",
            "bob 2026-01-12T23:00:00Z 2026-01-13T23:00:00Z",
            "alice 2026-01-13T23:00:00Z 2026-01-14T23:00:00Z",
        ]
    );
}

#[test]
fn a_calendar_fills_a_layer_within_its_hours_and_what_it_leaves_out_is_a_gap() {
    let text = calendar(&event(&[
        "SUMMARY:alice",
        "DTSTART;VALUE=DATE:20260105",
        "DTEND;VALUE=DATE:20260107",
    ]));
    let schedule = built(json!({"zone": "Europe/Berlin", "layers": [
        {"name": "ics", "calendar": text, "from": "2026-01-01", "hours": [{"from": "09:00", "until": "17:00"}]}]}));
    let shifts = primary(&schedule, "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z");
    assert_eq!(
        told(&shifts),
        [
            "alice 2026-01-05T08:00:00Z 2026-01-05T16:00:00Z",
            "alice 2026-01-06T08:00:00Z 2026-01-06T16:00:00Z"
        ]
    );
    assert_eq!(
        schedule
            .gaps(at("2026-01-05T08:00:00Z"), at("2026-01-06T16:00:00Z"))
            .len(),
        1
    );
}

#[test]
fn what_cannot_be_read_is_refused_with_the_line_and_a_remedy() {
    let start = "DTSTART;VALUE=DATE:20260105";
    let table: Vec<(String, usize, &str)> = vec![
        (String::new(), 1, "empty"),
        ("hello\n".to_owned(), 1, "no property"),
        ("BEGIN:VEVENT\nEND:VEVENT\n".to_owned(), 1, "VEVENT"),
        (
            "BEGIN:VCALENDAR\nBEGIN:VEVENT\n".to_owned(),
            2,
            "VEVENT does not end",
        ),
        (
            "BEGIN:VCALENDAR\nEND:VEVENT\n".to_owned(),
            2,
            "VCALENDAR was begun",
        ),
        ("SUMMARY:x\n".to_owned(), 1, "outside"),
        (calendar(&event(&["SUMMARY:alice"])), 6, "no DTSTART"),
        (calendar(&event(&[start])), 6, "names nobody"),
        (
            calendar(&event(&["SUMMARY:On call: Alice", start])),
            5,
            "no name of a responder",
        ),
        (
            calendar(&event(&["SUMMARY:alice", "DTSTART:20260105T090000Z"])),
            7,
            "how long it is",
        ),
        (
            calendar(&event(&[
                "SUMMARY:alice",
                "DTSTART:20260105T090000Z",
                "DTEND:20260105T090000Z",
            ])),
            7,
            "ends before",
        ),
        (
            calendar(&event(&["SUMMARY:alice", "DTSTART:20260132T090000Z"])),
            6,
            "no time",
        ),
        (
            calendar(&event(&["SUMMARY:alice", "DTSTART:20260105T250000Z"])),
            6,
            "no time",
        ),
        (
            calendar(&event(&[
                "SUMMARY:alice",
                "DTSTART;TZID=Central European Time:20260105T090000",
            ])),
            6,
            "no zone",
        ),
        (
            calendar(&event(&["SUMMARY:alice", start, "RRULE:FREQ=MONTHLY"])),
            7,
            "FREQ=MONTHLY",
        ),
        (
            calendar(&event(&[
                "SUMMARY:alice",
                start,
                "RRULE:FREQ=WEEKLY;BYDAY=1MO",
            ])),
            7,
            "BYDAY",
        ),
        (
            calendar(&event(&[
                "SUMMARY:alice",
                start,
                "RRULE:FREQ=WEEKLY;BYDAY=TU",
            ])),
            7,
            "BYDAY",
        ),
        (
            calendar(&event(&[
                "SUMMARY:alice",
                start,
                "RRULE:FREQ=DAILY;COUNT=1000000",
            ])),
            7,
            "COUNT",
        ),
        (
            calendar(&event(&[
                "SUMMARY:alice",
                start,
                "RRULE:FREQ=DAILY;INTERVAL=0",
            ])),
            7,
            "INTERVAL",
        ),
        (
            calendar(&event(&["SUMMARY:alice", start, "RDATE:20260109"])),
            7,
            "RDATE",
        ),
        (
            calendar(&event(&["SUMMARY:alice", start, "DURATION:soon"])),
            7,
            "length of time",
        ),
        (
            calendar(&event(&["SUMMARY:alice", start]).repeat(2_001)),
            12_005,
            "2000 events",
        ),
    ];
    for (text, line, says) in table {
        let error = Calendar::read(&text, &berlin()).unwrap_err();
        let told = error.to_string();
        assert!(
            told.contains(says) && !error.remedy.is_empty(),
            "{told}: {says}"
        );
        if line < 10_000 {
            assert_eq!(error.line, line, "{told}");
        }
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic_or_go_on_for_ever(lines in proptest::collection::vec("(BEGIN|END|SUMMARY|DTSTART|DTEND|RRULE|EXDATE|DURATION)[:;=]{1,2}[A-Z0-9=;,:-]{0,24}", 0..12)) {
        let text = calendar(&event(&lines.iter().map(String::as_str).collect::<Vec<_>>()));
        if let Ok(calendar) = Calendar::read(&text, &berlin()) {
            let _ = calendar.between(at("1990-01-01T00:00:00Z"), at("2100-01-01T00:00:00Z"));
        }
    }
}
