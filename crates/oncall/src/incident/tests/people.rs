//! Who is told, and what they do.

use super::*;

#[test]
fn a_step_with_nobody_is_passed_at_once_and_a_policy_with_nobody_does_not_spin() {
    let mut drill = Drill::new(
        Severity::P2,
        serde_json::json!({"steps": [
            {"who": ["person/nobody"], "wait": "5m"},
            {"who": ["person/bob"], "wait": "5m"},
        ]}),
    );
    drill.until(0);
    assert_eq!(drill.sent(), ["bob/push"]);
    let mut drill = Drill::new(
        Severity::P2,
        serde_json::json!({"steps": [{"who": ["person/nobody"], "wait": "1s"}]}),
    );
    drill.until(120);
    let begun = drill
        .events
        .iter()
        .filter(|event| matches!(event, Event::Began { .. }))
        .count();
    assert_eq!(begun, 3, "once a minute");
    assert_eq!(drill.missing(), Vec::<String>::new());
}

#[test]
fn as_many_as_the_policy_wants_have_to_acknowledge_and_who_did_is_left_alone() {
    let mut drill = Drill::new(
        Severity::P2,
        serde_json::json!({
            "acknowledgeBy": 2,
            "steps": [{"who": ["person/alice", "person/bob"], "wait": "5m"}],
        }),
    );
    drill.until(10);
    // At the same time, so in no order.
    drill.sent.sort();
    assert_eq!(drill.sent(), ["alice/push", "bob/push"]);
    drill.acknowledge("alice");
    assert_eq!(drill.state.status(), Status::Triggered);
    assert!(drill.acknowledge("alice").is_empty(), "two are two people");
    drill.until(300);
    assert_eq!(drill.sent()[2..], ["bob/sms", "bob/push"]);
    drill.acknowledge("bob");
    assert_eq!(drill.state.status(), Status::Acknowledged);
    drill.until(10_000);
    assert_eq!(drill.sent.len(), 4);
    assert_eq!(drill.missing(), Vec::<String>::new());
}

#[test]
fn a_step_names_channels_and_whoever_has_none_of_them_is_told_by_their_own() {
    let of = |channels: &str| {
        let mut drill = Drill::new(
            Severity::P2,
            serde_json::json!({"steps": [{"who": ["person/alice"], "channels": [channels]}]}),
        );
        drill.until(0);
        drill.sent.remove(0)
    };
    assert_eq!(of("sms"), "alice/sms");
    assert_eq!(of("pigeon"), "alice/push");
}

#[test]
fn somebody_who_wants_the_next_step_gets_it_at_once_also_after_an_acknowledgement() {
    let mut drill = Drill::two_people(Severity::P2);
    let escalate = || Input::Escalate {
        by: "alice".to_owned(),
        because: "needs a second pair of eyes".to_owned(),
    };
    drill.until(10);
    drill.tell(escalate());
    drill.until(10);
    assert_eq!(drill.sent(), ["alice/push", "bob/push"]);
    let mut drill = Drill::two_people(Severity::P2);
    drill.until(10);
    drill.acknowledge("alice");
    drill.tell(escalate());
    drill.until(10);
    assert_eq!(drill.sent(), ["alice/push", "bob/push"]);
    drill.until(100);
    assert_eq!(
        drill.sent()[2..],
        ["bob/sms"],
        "and what alice was told goes no further"
    );
    drill.acknowledge("bob");
    drill.until(10_000);
    assert_eq!(drill.sent.len(), 3);
    assert_eq!(drill.missing(), Vec::<String>::new());
    drill.tell(Input::Resolve {
        by: "bob".to_owned(),
        because: String::new(),
    });
    assert!(Incident::decide(&drill.state, drill.now, escalate()).is_err());
}

#[test]
fn parts_are_handed_over_and_tasks_are_done_once() {
    let mut drill = Drill::two_people(Severity::P2);
    let role = |person: &str| Input::Role {
        role: Role::Scribe,
        person: person.to_owned(),
        by: "alice".to_owned(),
        note: "all is in the timeline".to_owned(),
    };
    assert_eq!(drill.tell(role("alice")).len(), 1);
    assert!(drill.tell(role("alice")).is_empty());
    drill.tell(role("bob"));
    assert_eq!(drill.state.roles[&Role::Scribe], "bob");
    drill.tell(Input::Task {
        text: "raise the limit".to_owned(),
        assignee: String::new(),
        by: "bob".to_owned(),
    });
    let finish = |id| Input::Finish {
        id,
        by: "bob".to_owned(),
    };
    assert_eq!(drill.tell(finish(1)).len(), 1);
    assert!(drill.tell(finish(1)).is_empty());
    assert!(Incident::decide(&drill.state, drill.now, finish(2)).is_err());
    let note = |text: &str| Input::Note {
        by: "bob".to_owned(),
        kind: NoteKind::Measurement,
        text: text.to_owned(),
    };
    assert_eq!(drill.tell(note("p99 is 3 s")).len(), 1);
    assert!(Incident::decide(&drill.state, drill.now, note(" ")).is_err());
    let relate = |to: &str| Input::Relate {
        to: to.parse().unwrap(),
        by: "bob".to_owned(),
    };
    assert_eq!(drill.tell(relate("inc-2")).len(), 1);
    assert!(drill.tell(relate("inc-2")).is_empty());
    assert!(Incident::decide(&drill.state, drill.now, relate("inc-1")).is_err());
}

#[test]
fn many_people_of_one_step_are_all_told_and_every_entry_stays_small() {
    let mut drill = Drill::two_people(Severity::P2);
    let people = (0..60).map(|n| recipient(&format!("person-with-a-long-name-{n}")));
    let events = drill.tell(Input::Found {
        cycle: 0,
        step: 0,
        people: people.collect(),
    });
    let told = events
        .iter()
        .filter(|event| matches!(event, Event::Paging { .. }))
        .count();
    assert_eq!(told, 60);
    for event in &events {
        assert!(serde_json::to_string(event).unwrap().len() <= 4_096);
    }
}
