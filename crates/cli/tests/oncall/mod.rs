//! Who is on call, asked of the real binary: over a change of clocks, with who stands in, and with wrong input.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{Server, stderr};

/// Far above what any condition takes, so that a failure is told and not waited for.
const LIMIT: Duration = Duration::from_mins(1);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(200);

const PEOPLE: &str = "\
apiVersion: mainstay/v1
kind: Responder
metadata: {name: alice}
spec:
  name: Alice
  zone: Europe/Berlin
  contacts:
    - {name: mail, kind: email, to: alice@example.com}
    - {name: mobile, kind: phone, to: '+4930123456'}
  rules:
    - {severities: [p0], contacts: [mobile]}
---
apiVersion: mainstay/v1
kind: Responder
metadata: {name: bob}
spec: {contacts: [{name: mail, kind: email, to: bob@example.com}]}
";

const SCHEDULE: &str = "\
---
apiVersion: mainstay/v1
kind: Schedule
metadata: {name: feed}
spec:
  zone: Europe/Berlin
  layers:
    - {name: week, people: [alice, bob], from: 2026-01-05}
    - {name: second, role: secondary, people: [bob, alice], from: 2026-01-05}
";

fn started(dir: &TempDir) -> Server {
    let server = Server::start(dir.path());
    let applied = server.apply(&format!("{PEOPLE}{SCHEDULE}"));
    assert!(applied.status.success(), "{}", stderr(&applied));
    server
}

fn said(server: &Server, args: &[&str]) -> String {
    let output = server.run(args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn refused(server: &Server, args: &[&str]) -> String {
    let output = server.run(args);
    assert_eq!(
        output.status.code(),
        Some(2),
        "{args:?}: {}",
        stderr(&output)
    );
    stderr(&output)
}

#[test]
fn who_is_on_call_is_one_word_and_the_right_one_on_both_sides_of_a_change_of_clocks() {
    let dir = TempDir::new().unwrap();
    let server = started(&dir);
    // Mondays at 09:00 in Berlin: 08:00 UTC until clocks are put forward on 29 March, 07:00 after.
    for (at, primary) in [
        ("2026-03-23T07:59:59Z", "alice"),
        ("2026-03-23T08:00:00Z", "bob"),
        ("2026-03-30T06:59:59Z", "bob"),
        ("2026-03-30T07:00:00Z", "alice"),
    ] {
        assert_eq!(
            said(&server, &["oncall", "feed", "--at", at]),
            primary,
            "{at}"
        );
    }
    let second = [
        "oncall",
        "feed",
        "--role",
        "secondary",
        "--at",
        "2026-03-30T07:00:00Z",
    ];
    assert_eq!(said(&server, &second), "bob");
    let all = server.json(&["oncall", "--at", "2026-03-30T07:00:00Z", "--severity", "p0"]);
    let first = &all["schedules"][0]["roles"][0];
    assert_eq!(
        (&first["person"], &first["name"]),
        (&"alice".into(), &"Alice".into())
    );
    assert_eq!(first["contacts"][0]["name"], "mobile");
    assert_eq!(first["until"], "2026-04-06T07:00:00Z");
    // Before the first turn there is nobody, and that is a failure.
    let before = server.run(&["oncall", "feed", "--at", "2026-01-05T07:59:59Z"]);
    assert_eq!(before.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&before.stdout).trim(), "nobody");
    assert!(
        stderr(&before).contains("nobody is on call"),
        "{}",
        stderr(&before)
    );
}

#[test]
fn whoever_stands_in_is_on_call_until_it_is_withdrawn_and_the_ledger_says_who_ordered_it() {
    let dir = TempDir::new().unwrap();
    let server = started(&dir);
    let now = said(&server, &["oncall", "feed"]);
    let other = if now == "alice" { "bob" } else { "alice" };
    let taken = server.json(&[
        "schedule",
        "take",
        "feed",
        "--person",
        other,
        "--reason",
        "on a train",
    ]);
    assert_eq!(said(&server, &["oncall", "feed"]), other);
    let change = taken["change"].as_str().unwrap();
    let changes = server.json(&["changes", "--kind", "oncall"]);
    assert_eq!(changes[0]["change"]["id"], change);
    assert_eq!(changes[0]["change"]["reason"], "on a train");
    assert_eq!(changes[0]["state"], "done");
    said(&server, &["schedule", "withdraw", "feed", change]);
    assert_eq!(said(&server, &["oncall", "feed"]), now);
    let opened = changes[0]["change"]["openedAt"].as_i64().unwrap();
    let then = jiff::Timestamp::from_millisecond(opened)
        .unwrap()
        .to_string();
    let was = said(&server, &["oncall", "feed", "--at", &then]);
    assert_eq!(was, other, "who was on call stays so");
    // Far ahead, where nobody's clock is.
    let day = |day: u8| format!("2100-01-{day:02}T12:00:00Z");
    let who = |at: &str| said(&server, &["oncall", "feed", "--at", at]);
    let before = who(&day(12));
    let swap = [
        "schedule",
        "swap",
        "feed",
        "--person",
        "alice",
        "--with",
        "bob",
        "--from",
        &day(11),
        "--until",
        &day(13),
    ];
    said(&server, &swap);
    assert_ne!(who(&day(12)), before);
    assert_eq!(who(&day(14)), before);
    said(&server, &swap);
    assert_eq!(who(&day(12)), before, "swapping twice is not swapping");
    let verified = server.run(&["ledger", "verify"]);
    assert!(verified.status.success(), "{}", stderr(&verified));
}

#[test]
fn a_calendar_that_was_printed_is_imported_as_overrides_and_a_wrong_one_is_told_by_its_line() {
    let dir = TempDir::new().unwrap();
    let server = started(&dir);
    let printed = said(
        &server,
        &["schedule", "ical", "feed", "--role", "secondary"],
    );
    assert!(printed.starts_with("BEGIN:VCALENDAR"), "{printed}");
    let file = dir.path().join("feed.ics");
    std::fs::write(&file, printed).unwrap();
    let file = file.to_str().unwrap();
    said(&server, &["schedule", "import", "feed", file]);
    assert_eq!(
        said(&server, &["oncall", "feed"]),
        said(&server, &["oncall", "feed", "--role", "secondary"])
    );
    let alice = said(&server, &["schedule", "ical", "--person", "alice"]);
    assert!(alice.contains("SUMMARY:on call: feed (primary)"), "{alice}");
    std::fs::write(file, "BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:alice\nDTSTART:tomorrow\nEND:VEVENT\nEND:VCALENDAR\n").unwrap();
    let wrong = refused(&server, &["schedule", "import", "feed", file]);
    assert!(
        wrong.contains("line 4 of the calendar: `tomorrow` is no time")
            && wrong.contains("remedy:"),
        "{wrong}"
    );
}

#[test]
fn what_could_reach_nobody_is_refused_with_its_line_and_a_remedy() {
    let dir = TempDir::new().unwrap();
    let server = started(&dir);
    let responder = |name: &str, spec: &str| {
        format!(
            "apiVersion: mainstay/v1\nkind: Responder\nmetadata: {{name: {name}}}\nspec: {spec}\n"
        )
    };
    let schedule = |spec: &str| {
        format!(
            "apiVersion: mainstay/v1\nkind: Schedule\nmetadata: {{name: other}}\nspec:\n{spec}\n"
        )
    };
    for (yaml, says) in [
        (
            responder("carol", "{}"),
            ["input.yaml:4", "spec.contacts: nobody could reach them"],
        ),
        (
            responder(
                "carol",
                "{zone: Mars/Olympus, contacts: [{name: a, kind: phone, to: '1'}]}",
            ),
            ["input.yaml:4:14", "there is no zone `Mars/Olympus`"],
        ),
        (
            schedule(
                "  zone: UTC\n  layers:\n    - {name: a, from: 2026-01-05, people: [alice, dave]}",
            ),
            ["input.yaml:7:51", "there is no responder `dave`"],
        ),
        (
            schedule("  zone: UTC\n  layers:\n    - {name: a, from: 2026-02-30, people: [alice]}"),
            ["input.yaml:7:23", "is no day of the calendar"],
        ),
        (
            schedule(
                "  zone: UTC\n  layers:\n    - {name: a, from: 2026-01-05, people: [alice], handoff: 9am}",
            ),
            ["input.yaml:7:", "is no time of the day"],
        ),
        (
            schedule("  zone: UTC\n  layers: []"),
            ["input.yaml:6:11", "nobody would ever be on call"],
        ),
    ] {
        let output = server.apply(&yaml);
        assert_eq!(output.status.code(), Some(2), "{yaml}");
        let told = stderr(&output);
        assert!(
            says.iter().all(|it| told.contains(it)) && told.contains("remedy:"),
            "{yaml}: {told}"
        );
    }
    let deleted = refused(&server, &["delete", "responder", "alice"]);
    assert!(deleted.contains("spec.layers[0].people[0]"), "{deleted}");
}

#[test]
fn an_order_that_cannot_hold_is_refused_and_says_what_would() {
    let dir = TempDir::new().unwrap();
    let server = started(&dir);
    let order = |rest: &[&str]| refused(&server, &[&["schedule"], rest].concat());
    let until = ["--until", "2100-01-01T00:00:00Z"];
    for (args, says) in [
        (
            vec!["override", "feed", "--person", "carol", until[0], until[1]],
            "there is no responder `carol`",
        ),
        (
            vec!["override", "none", "--person", "bob", until[0], until[1]],
            "there is no schedule `none`",
        ),
        (
            vec!["override", "feed", "--person", "bob", until[0], until[1]],
            "longer than a year",
        ),
        (
            vec![
                "override",
                "feed",
                "--person",
                "bob",
                "--from",
                "2026-01-01T00:00:00Z",
                until[0],
                until[1],
            ],
            "is over",
        ),
        (
            vec![
                "swap", "feed", "--person", "bob", "--with", "bob", until[0], until[1],
            ],
            "swap with themselves",
        ),
        (
            vec!["take", "feed", "--role", "manager", "--person", "bob"],
            "no shift to take",
        ),
        (vec!["take", "feed"], "is no responder"),
        (vec!["withdraw", "feed", "chg-none"], "nobody stands in by"),
        (
            vec![
                "show",
                "feed",
                "--from",
                "2026-01-01T00:00:00Z",
                "--to",
                "2036-01-01T00:00:00Z",
            ],
            "days at once",
        ),
    ] {
        let told = order(&args);
        assert!(
            told.contains(says) && told.contains("remedy:"),
            "{args:?}: {told}"
        );
    }
    let gaps = server.run(&[
        "schedule",
        "gaps",
        "--from",
        "2026-01-01T00:00:00Z",
        "--to",
        "2026-01-10T00:00:00Z",
        "-o",
        "json",
    ]);
    assert_eq!(gaps.status.code(), Some(1));
    let gaps: Value = serde_json::from_slice(&gaps.stdout).unwrap();
    assert_eq!(gaps["troubles"].as_array().unwrap().len(), 2);
    assert_eq!(gaps["troubles"][0]["until"], "2026-01-05T08:00:00Z");
}

fn metrics(server: &Server) -> String {
    let address = server.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_gap_of_the_next_seven_days_is_in_the_servers_own_metrics_and_gone_once_somebody_stands_in() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path());
    let over = SCHEDULE.replace("from: 2026-01-05}", "from: 2026-01-05, until: 2026-01-12}");
    let applied = server.apply(&format!("{PEOPLE}{over}"));
    assert!(applied.status.success(), "{}", stderr(&applied));
    let until = |line: &str| {
        let since = Instant::now();
        while !metrics(&server).lines().any(|it| it == line) {
            assert!(
                since.elapsed() < LIMIT,
                "never `{line}`: {}",
                metrics(&server)
            );
            thread::sleep(LOOK);
        }
    };
    until("mainstay_oncall_gap_seconds{schedule=\"feed\",role=\"primary\"} 604800");
    until("mainstay_oncall_gap_in_seconds{schedule=\"feed\",role=\"primary\"} 0");
    let next_month = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(30 * 24);
    let until_then = next_month.to_string();
    said(
        &server,
        &[
            "schedule",
            "override",
            "feed",
            "--person",
            "bob",
            "--until",
            &until_then,
        ],
    );
    until("mainstay_oncall_gap_seconds{schedule=\"feed\",role=\"primary\"} 0");
    until("mainstay_oncall_gap_seconds{schedule=\"feed\",role=\"secondary\"} 604800");
}
