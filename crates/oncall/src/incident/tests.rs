//! The machine, by itself.

use mainstay_core::{
    Name, Span,
    escalation::{EscalationPolicySpec, Target},
};

use super::*;
use crate::escalation::{Policy, Recipient};
use mainstay_core::escalation::Severity;

mod deadlines;
mod people;

/// An incident, with whoever answers for people and channels.
struct Drill {
    state: State,
    now: Time,
    events: Vec<Event>,
    /// Channels that do not work.
    dead: Vec<&'static str>,
    /// What went out: person and channel.
    sent: Vec<String>,
}

fn secs(secs: i64) -> Time {
    Time::from_millis(secs * 1_000)
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn recipient(person: &str) -> Recipient {
    Recipient {
        person: name(person),
        zone: "Europe/Berlin".to_owned(),
        channels: vec![name("push"), name("sms")],
    }
}

impl Drill {
    fn new(severity: Severity, spec: serde_json::Value) -> Self {
        let spec: EscalationPolicySpec = serde_json::from_value(spec).unwrap();
        let policy = Policy::snapshot(&name("web"), &spec);
        let plan = Plan::new("inc-1".parse().unwrap(), "slow", severity, policy);
        Self {
            state: Incident::open(plan, secs(0)).unwrap(),
            now: secs(0),
            events: Vec::new(),
            dead: Vec::new(),
            sent: Vec::new(),
        }
    }

    fn two_people(severity: Severity) -> Self {
        let steps = serde_json::json!([
            {"who": ["person/alice"], "wait": "5m"},
            {"who": ["person/bob"], "wait": "10m"},
        ]);
        Self::new(severity, serde_json::json!({ "steps": steps }))
    }

    fn tell(&mut self, input: Input) -> Vec<Event> {
        let events = Incident::decide(&self.state, self.now, input).unwrap();
        for event in &events {
            Incident::evolve(&mut self.state, event);
        }
        self.events.extend(events.iter().cloned());
        events
    }

    /// Whoever has a target, at any time.
    fn who(target: &Target) -> Vec<Recipient> {
        match target {
            Target::Person(person) if person.as_str() == "nobody" => Vec::new(),
            Target::Person(person) => vec![recipient(person.as_str())],
            Target::Schedule { role, .. } => vec![recipient(role.as_str())],
            Target::Team { role, .. } => {
                vec![recipient(role.as_ref().map_or("all", Name::as_str))]
            }
        }
    }

    /// Does what is due until nothing is.
    fn settle(&mut self) {
        for _ in 0..200 {
            if Incident::wake_at(&self.state).is_some_and(|at| self.now >= at) {
                self.tell(Input::Tick);
            }
            let due = Incident::due(&self.state, self.now);
            if due.is_empty() {
                return;
            }
            for effect in due {
                self.perform(effect);
            }
        }
        panic!("it does not come to rest: {:#?}", self.events);
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Find { cycle, step, who } => {
                let people = who.iter().flat_map(Self::who).collect();
                self.tell(Input::Found {
                    cycle,
                    step,
                    people,
                });
            }
            Effect::Send(ask) if self.dead.contains(&ask.channel.as_str()) => {
                self.tell(Input::Failed {
                    key: ask.key,
                    attempt: ask.attempt,
                    why: "no answer".to_owned(),
                    again: false,
                });
            }
            Effect::Send(ask) => {
                self.sent.push(format!("{}/{}", ask.person, ask.channel));
                self.tell(Input::Accepted {
                    key: ask.key,
                    told: 1,
                });
            }
        }
    }

    /// Goes on, stopping whenever it wants to be woken.
    fn until(&mut self, at: i64) {
        loop {
            self.settle();
            let wake = Incident::wake_at(&self.state).filter(|wake| *wake <= secs(at));
            match wake {
                Some(wake) if wake > self.now => self.now = wake,
                Some(_) | None => break,
            }
        }
        self.now = secs(at);
        self.settle();
    }

    fn acknowledge(&mut self, by: &str) -> Vec<Event> {
        self.tell(Input::Acknowledge {
            by: by.to_owned(),
            via: "cli".to_owned(),
        })
    }

    fn missing(&self) -> Vec<String> {
        let slack = Span::from_secs(60);
        let missing = audit::audit(&self.state.plan, secs(0), &self.events, self.now, slack);
        missing.into_iter().map(|it| it.what).collect()
    }

    fn sent(&self) -> Vec<&str> {
        self.sent.iter().map(String::as_str).collect()
    }
}

#[test]
fn the_first_is_told_at_once_the_second_after_the_wait_and_then_all_over() {
    let mut drill = Drill::two_people(Severity::P2);
    drill.until(0);
    assert_eq!(drill.sent(), ["alice/push"]);
    drill.until(299);
    assert_eq!(drill.sent(), ["alice/push", "alice/sms"], "after a minute");
    drill.until(300);
    assert_eq!(drill.sent()[2..], ["bob/push"]);
    drill.until(899);
    assert_eq!(drill.sent()[3..], ["bob/sms"]);
    drill.until(900);
    assert_eq!(drill.sent()[4..], ["alice/push"], "anew");
    assert_eq!(drill.missing(), Vec::<String>::new());
    let keys: std::collections::BTreeSet<&String> = drill
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Paging { key, .. } => Some(key),
            _ => None,
        })
        .collect();
    assert_eq!(keys.len(), 5, "each page has a key of its own");
}

#[test]
fn after_an_acknowledgement_nobody_is_told_and_its_author_commands() {
    let mut drill = Drill::two_people(Severity::P2);
    drill.until(30);
    drill.acknowledge("alice");
    let sent = drill.sent.len();
    drill.until(100_000);
    assert_eq!(drill.sent.len(), sent);
    assert_eq!(drill.state.status(), Status::Acknowledged);
    assert_eq!(drill.state.roles.get(&Role::Commander).unwrap(), "alice");
    assert_eq!(drill.missing(), Vec::<String>::new());
    assert!(drill.acknowledge("alice").is_empty(), "twice is once");
}

#[test]
fn a_channel_that_fails_is_followed_by_the_next_and_a_person_who_cannot_be_told_by_the_next_step() {
    let mut drill = Drill::two_people(Severity::P2);
    drill.dead = vec!["push"];
    drill.until(0);
    assert_eq!(drill.sent(), ["alice/sms"]);
    let mut drill = Drill::two_people(Severity::P2);
    drill.dead = vec!["push", "sms"];
    drill.until(0);
    let unreached = drill
        .events
        .iter()
        .filter(|event| matches!(event, Event::Unreached { .. }))
        .count();
    assert_eq!(unreached, 2, "{:#?}", drill.events);
    drill.dead = Vec::new();
    drill.until(599);
    assert!(
        drill.sent.is_empty(),
        "all failed: anew after the last step's wait"
    );
    drill.until(600);
    assert_eq!(drill.sent(), ["alice/push"]);
}

#[test]
fn what_a_channel_cannot_take_now_is_tried_again_and_then_the_next_channel_is() {
    let mut drill = Drill::two_people(Severity::P2);
    let fail = |drill: &mut Drill, attempt: u32| {
        let due = Incident::due(&drill.state, drill.now);
        let Some(Effect::Send(ask)) = due.first().cloned() else {
            panic!("{due:?}");
        };
        assert_eq!(ask.attempt, attempt);
        drill.tell(Input::Failed {
            key: ask.key,
            attempt,
            why: "503".to_owned(),
            again: true,
        })
    };
    drill.tell(Input::Found {
        cycle: 0,
        step: 0,
        people: vec![recipient("alice")],
    });
    fail(&mut drill, 1);
    assert!(Incident::due(&drill.state, drill.now).is_empty());
    drill.now = secs(5);
    drill.tell(Input::Tick);
    fail(&mut drill, 2);
    drill.now = secs(25);
    drill.tell(Input::Tick);
    let events = fail(&mut drill, 3);
    assert!(
        matches!(&events[..], [Event::Failed { .. }, Event::Paging { channel, attempt: 1, .. }] if channel.as_str() == "sms"),
        "{events:#?}"
    );
}

#[test]
fn an_answer_that_comes_twice_or_too_late_changes_nothing() {
    let mut drill = Drill::two_people(Severity::P2);
    let found = || Input::Found {
        cycle: 0,
        step: 0,
        people: vec![recipient("alice")],
    };
    drill.tell(found());
    assert!(drill.tell(found()).is_empty());
    let key = drill.state.pages.keys().next().unwrap().clone();
    let failed = |attempt| Input::Failed {
        key: key.clone(),
        attempt,
        why: String::new(),
        again: true,
    };
    assert!(drill.tell(failed(2)).is_empty(), "another try");
    let accepted = Input::Accepted {
        key: key.clone(),
        told: 1,
    };
    assert_eq!(drill.tell(accepted.clone()).len(), 1);
    assert!(drill.tell(accepted).is_empty());
    assert!(drill.tell(failed(1)).is_empty());
    let delivered = Input::Delivered { key };
    assert_eq!(drill.tell(delivered.clone()).len(), 1);
    assert!(drill.tell(delivered).is_empty());
}

#[test]
fn a_page_that_went_out_beside_the_acknowledgement_is_on_record_and_is_followed_by_none() {
    let mut drill = Drill::two_people(Severity::P2);
    drill.tell(Input::Found {
        cycle: 0,
        step: 0,
        people: vec![recipient("alice")],
    });
    let key = drill.state.pages.keys().next().unwrap().clone();
    drill.acknowledge("bob");
    assert_eq!(drill.state.pages[&key].status, PageStatus::Withdrawn);
    assert!(Incident::due(&drill.state, secs(10_000)).is_empty());
    drill.tell(Input::Accepted {
        key: key.clone(),
        told: 1,
    });
    assert_eq!(drill.state.pages[&key].status, PageStatus::Accepted);
    drill.until(10_000);
    assert!(drill.sent.is_empty());
}

#[test]
fn a_page_that_is_held_waits_for_its_time_and_an_acknowledgement_before_it_saves_it() {
    let held = |drill: &mut Drill| {
        drill.tell(Input::Found {
            cycle: 0,
            step: 0,
            people: vec![recipient("alice")],
        });
        let key = drill.state.pages.keys().next().unwrap().clone();
        drill.tell(Input::Held {
            key: key.clone(),
            attempt: 1,
            until: secs(40),
        });
        key
    };
    let mut drill = Drill::two_people(Severity::P2);
    held(&mut drill);
    assert!(Incident::due(&drill.state, secs(39)).is_empty());
    assert_eq!(Incident::wake_at(&drill.state), Some(secs(40)));
    drill.now = secs(40);
    drill.tell(Input::Tick);
    let due = Incident::due(&drill.state, secs(40));
    assert!(
        matches!(&due[..], [Effect::Send(ask)] if ask.held && ask.attempt == 1),
        "{due:?}"
    );
    let mut drill = Drill::two_people(Severity::P2);
    let key = held(&mut drill);
    drill.acknowledge("alice");
    drill.until(1_000);
    assert_eq!(drill.state.pages[&key].status, PageStatus::Withdrawn);
    assert!(drill.sent.is_empty());
}

#[test]
fn what_is_resolved_tells_nobody_until_it_is_opened_again_and_is_closed_in_the_end() {
    let mut drill = Drill::two_people(Severity::P2);
    drill.until(10);
    let by = || "alice".to_owned();
    let because = || "restarted".to_owned();
    drill.tell(Input::Resolve {
        by: by(),
        because: because(),
    });
    drill.until(3_600);
    assert_eq!(drill.sent(), ["alice/push"]);
    drill.tell(Input::Reopen {
        by: by(),
        because: because(),
    });
    drill.until(3_600);
    assert_eq!(drill.sent(), ["alice/push", "alice/push"]);
    drill.tell(Input::Resolve {
        by: by(),
        because: because(),
    });
    drill.until(3_600 + 7 * 86_400);
    assert_eq!(drill.state.status(), Status::Closed);
    assert_eq!(Incident::standing(&drill.state).state, ChangeState::Done);
    assert_eq!(Incident::wake_at(&drill.state), None);
    let refused = Incident::decide(
        &drill.state,
        drill.now,
        Input::Acknowledge {
            by: by(),
            via: "cli".to_owned(),
        },
    );
    assert!(refused.is_err());
    assert!(drill.tell(Input::Tick).is_empty());
}

#[test]
fn an_alert_joins_once_the_end_of_all_resolves_and_another_opens_again() {
    let mut drill = Drill::two_people(Severity::P2);
    let alert = |id: &str, fires| Input::Alert {
        alert: AlertBrief {
            id: id.to_owned(),
            name: "Slow".to_owned(),
            text: String::new(),
        },
        fires,
    };
    assert_eq!(drill.tell(alert("a", true)).len(), 1);
    assert!(
        drill.tell(alert("a", true)).is_empty(),
        "told again each minute"
    );
    drill.tell(alert("b", true));
    assert_eq!(drill.tell(alert("a", false)).len(), 1);
    assert!(drill.tell(alert("x", false)).is_empty(), "never seen");
    let events = drill.tell(alert("b", false));
    assert!(
        matches!(events[..], [Event::Cleared { .. }, Event::Resolved { .. }]),
        "{events:?}"
    );
    let events = drill.tell(alert("a", true));
    assert!(
        matches!(events[..], [Event::Alerted { .. }, Event::Reopened { .. }]),
        "{events:?}"
    );
}

#[test]
fn more_alerts_than_are_listed_are_said_once_and_never_resolve_by_themselves() {
    let mut drill = Drill::two_people(Severity::P2);
    let alert = |id: u32, fires| Input::Alert {
        alert: AlertBrief {
            id: id.to_string(),
            name: "Slow".to_owned(),
            text: String::new(),
        },
        fires,
    };
    for id in 0..300 {
        drill.tell(alert(id, true));
    }
    assert_eq!(drill.state.alerts.len(), 200);
    for id in 0..300 {
        drill.tell(alert(id, false));
    }
    assert_eq!(drill.state.status(), Status::Triggered);
}

#[test]
fn a_state_folded_again_from_what_was_written_is_the_same() {
    let mut drill = Drill::two_people(Severity::P0);
    drill.dead = vec!["push"];
    drill.until(2_000);
    drill.acknowledge("bob");
    drill.until(5_000);
    let mut again = Incident::open(drill.state.plan.clone(), secs(0)).unwrap();
    for event in &drill.events {
        let text = serde_json::to_string(event).unwrap();
        assert!(text.len() <= 4_096, "{text}");
        Incident::evolve(&mut again, &serde_json::from_str(&text).unwrap());
    }
    assert_eq!(format!("{again:?}"), format!("{:?}", drill.state));
}
