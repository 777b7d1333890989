//! Severity, deadlines, and the auditor.

use super::*;

fn breaches(drill: &Drill) -> Vec<(Which, Severity)> {
    let breaches = drill.events.iter().filter_map(|event| match event {
        Event::Breached {
            which, severity, ..
        } => Some((*which, *severity)),
        _ => None,
    });
    breaches.collect()
}

#[test]
fn p0_is_acknowledged_in_five_minutes_and_resolved_in_thirty_or_it_is_on_record_and_escalates() {
    let mut drill = Drill::new(
        Severity::P0,
        serde_json::json!({"steps": [
            {"who": ["person/alice"], "wait": "1h"},
            {"who": ["person/bob"], "wait": "1h"},
        ]}),
    );
    drill.until(299);
    assert!(breaches(&drill).is_empty());
    drill.until(300);
    assert_eq!(breaches(&drill), [(Which::Acknowledge, Severity::P0)]);
    assert_eq!(drill.sent(), ["alice/push", "alice/sms", "bob/push"]);
    drill.acknowledge("bob");
    drill.until(1_799);
    assert_eq!(breaches(&drill).len(), 1);
    drill.until(1_800);
    assert_eq!(breaches(&drill)[1], (Which::Resolve, Severity::P0));
    assert_eq!(drill.sent()[3..], ["bob/push"], "the last step, once more");
    assert_eq!(drill.state.breaches, 2);
    assert_eq!(drill.missing(), Vec::<String>::new());
}

#[test]
fn p1_has_fifteen_minutes_and_two_hours_and_p2_has_none_until_it_is_given_some() {
    let at = |severity, which| Drill::two_people(severity).state.deadline(which);
    assert_eq!(at(Severity::P1, Which::Acknowledge), Some(secs(900)));
    assert_eq!(at(Severity::P1, Which::Resolve), Some(secs(7_200)));
    assert_eq!(at(Severity::P2, Which::Acknowledge), None);
    let drill = Drill::new(
        Severity::P2,
        serde_json::json!({"deadlines": {"P2": {"acknowledge": "1h", "resolve": "8h"}}}),
    );
    assert_eq!(drill.state.deadline(Which::Acknowledge), Some(secs(3_600)));
}

#[test]
fn deadlines_count_anew_from_the_moment_that_it_is_declared_p0() {
    let mut drill = Drill::two_people(Severity::P3);
    drill.until(1_000);
    let severity = |to| Input::Severity {
        by: "alice".to_owned(),
        to,
        because: "nobody can log in".to_owned(),
    };
    drill.tell(severity(Severity::P0));
    assert!(drill.tell(severity(Severity::P0)).is_empty());
    assert_eq!(drill.state.deadline(Which::Acknowledge), Some(secs(1_300)));
    assert_eq!(drill.state.deadline(Which::Resolve), Some(secs(2_800)));
}

#[test]
fn those_who_are_told_of_every_p0_are_told_also_of_one_that_somebody_looks_after() {
    let mut drill = Drill::new(
        Severity::P2,
        serde_json::json!({"steps": [{"who": ["person/alice"]}], "atP0": ["team/web/manager"]}),
    );
    drill.until(10);
    drill.acknowledge("alice");
    assert_eq!(drill.sent(), ["alice/push"]);
    drill.tell(Input::Severity {
        by: "alice".to_owned(),
        to: Severity::P0,
        because: String::new(),
    });
    drill.until(1_000);
    assert_eq!(
        drill.sent(),
        ["alice/push", "manager/push"],
        "once, and by one channel"
    );
    let mut drill = Drill::new(
        Severity::P0,
        serde_json::json!({"steps": [{"who": ["person/alice"]}], "atP0": ["team/web/manager"]}),
    );
    drill.dead = vec!["push"];
    drill.until(0);
    drill.sent.sort();
    assert_eq!(drill.sent(), ["alice/sms", "manager/sms"]);
    assert_eq!(drill.missing(), Vec::<String>::new());
}

#[test]
fn the_auditor_misses_nothing_of_what_is_done_and_each_thing_that_is_not() {
    let quiet = Drill::two_people(Severity::P2);
    let mut late = quiet;
    late.now = secs(61);
    assert_eq!(late.missing(), ["step 1 has not begun"]);

    let mut unsent = Drill::two_people(Severity::P2);
    unsent.tell(Input::Found {
        cycle: 0,
        step: 0,
        people: vec![recipient("alice")],
    });
    unsent.now = secs(100);
    assert_eq!(unsent.missing(), ["how a page to alice ended is not known"]);

    let mut untold = Drill::two_people(Severity::P2);
    untold.until(0);
    untold
        .events
        .retain(|event| !matches!(event, Event::Paging { .. }));
    untold.now = secs(100);
    assert!(
        untold
            .missing()
            .contains(&"alice was not told by the next channel".to_owned())
    );

    let mut skipped = Drill::two_people(Severity::P2);
    skipped.until(300);
    let begun = |step: u32| move |event: &Event| matches!(event, Event::Began { step: of, .. } if *of == step);
    let first = skipped.events.iter().position(begun(0)).unwrap();
    skipped.events.remove(first);
    assert!(
        skipped
            .missing()
            .contains(&"step 1 was left out for step 2".to_owned())
    );

    let mut unbreached = Drill::two_people(Severity::P1);
    unbreached.until(1_000);
    unbreached
        .events
        .retain(|event| !matches!(event, Event::Breached { .. }));
    assert!(
        unbreached
            .missing()
            .contains(&"the deadline to acknowledge passed and nothing followed".to_owned())
    );

    let mut held = Drill::two_people(Severity::P2);
    held.tell(Input::Found {
        cycle: 0,
        step: 0,
        people: vec![recipient("alice")],
    });
    let key = held.state.pages.keys().next().unwrap().clone();
    held.tell(Input::Held {
        key,
        attempt: 1,
        until: secs(20),
    });
    held.now = secs(90);
    assert_eq!(held.missing(), ["a page to alice that waited was not sent"]);
}
