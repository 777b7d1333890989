//! The one timeline of an incident: everything that is in its stream, in words.

use mainstay_core::{Entry, Time};
use serde::Serialize;

use super::{EVENT, Event, NoteKind, Which, page::AT_P0};

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// Its place in the stream.
    pub version: u64,
    /// When.
    pub at: Time,
    /// Who; `mainstay` where time or a channel brought it.
    pub by: String,
    /// What kind of thing, such as `acknowledged`.
    pub kind: String,
    /// In words.
    pub text: String,
}

/// The lines of a stream, oldest first.
pub fn timeline(entries: &[Entry]) -> Vec<Line> {
    entries.iter().filter_map(line).collect()
}

fn line(entry: &Entry) -> Option<Line> {
    if entry.version == 1 {
        return Some(Line {
            version: 1,
            at: entry.at,
            by: entry.actor.id.clone(),
            kind: "opened".to_owned(),
            text: "opened".to_owned(),
        });
    }
    if entry.kind != EVENT {
        return None;
    }
    let event: Event = serde_json::from_str(&entry.body).ok()?;
    let kind = serde_json::to_value(&event).ok()?;
    let (by, text) = words(&event, &entry.actor.id);
    Some(Line {
        version: entry.version,
        at: entry.at,
        by,
        kind: kind.get("what")?.as_str()?.to_owned(),
        text,
    })
}

fn because(what: String, why: &str) -> String {
    if why.is_empty() {
        what
    } else {
        format!("{what}: {why}")
    }
}

fn step_name(step: u32) -> String {
    if step == AT_P0 {
        "those who are told of every P0".to_owned()
    } else {
        format!("step {}", step + 1)
    }
}

/// Who, and what.
fn words(event: &Event, writer: &str) -> (String, String) {
    let by = |who: &str| who.to_owned();
    let own = || writer.to_owned();
    match event {
        Event::Alerted { alert, .. } => {
            (own(), because(format!("{} fires", alert.name), &alert.text))
        }
        Event::Cleared { id, .. } => (own(), format!("alert {id} is over")),
        Event::Crowded { .. } => (own(), "more alerts belong to it than are listed".to_owned()),
        Event::Began { step, people, .. } | Event::Also { step, people, .. } => {
            let names: Vec<&str> = people.iter().map(|it| it.person.as_str()).collect();
            let who = if names.is_empty() {
                "nobody is meant now".to_owned()
            } else {
                names.join(", ")
            };
            (own(), format!("{}: {who}", step_name(*step)))
        }
        Event::Paging {
            person,
            channel,
            attempt,
            ..
        } => (own(), format!("tells {person} by {channel}, try {attempt}")),
        Event::Accepted { told, .. } if *told > 1 => (
            own(),
            format!("told, with {} others in one message", told - 1),
        ),
        Event::Accepted { .. } => (own(), "told".to_owned()),
        Event::Held { until, .. } => (
            own(),
            format!("too many at once: told with others at {until}"),
        ),
        Event::Retrying { why, until, .. } => {
            (own(), format!("not taken, tried again at {until}: {why}"))
        }
        Event::Failed { why, .. } => (own(), format!("not taken: {why}")),
        Event::Delivered { .. } => (own(), "seen to arrive".to_owned()),
        Event::Unreached { step, .. } => (
            own(),
            format!(
                "nobody of {} could be told: the next begins",
                step_name(*step)
            ),
        ),
        Event::Acknowledged { by: who, via, .. } => (by(who), format!("acknowledged by {via}")),
        Event::Escalated {
            by: who,
            because: why,
            ..
        } => (by(who), because("escalated".to_owned(), why)),
        Event::Breached {
            which,
            severity,
            within,
            ..
        } => {
            let what = match which {
                Which::Acknowledge => "acknowledged",
                Which::Resolve => "resolved",
            };
            (
                own(),
                format!("{severity} was not {what} within {within}: escalated"),
            )
        }
        Event::Severity {
            by: who,
            to,
            because: why,
            ..
        } => (by(who), because(format!("it is {to}"), why)),
        Event::Resolved {
            by: who,
            because: why,
            ..
        } => (by(who), because("resolved".to_owned(), why)),
        Event::Reopened {
            by: who,
            because: why,
            ..
        } => (by(who), because("opened again".to_owned(), why)),
        Event::Closed { .. } => (own(), "closed".to_owned()),
        Event::Role {
            role,
            person,
            by: who,
            note,
            ..
        } => (
            by(who),
            because(format!("{person} is {}", role.as_str()), note),
        ),
        Event::Task {
            id,
            text,
            assignee,
            by: who,
            ..
        } => {
            let whose = if assignee.is_empty() {
                String::new()
            } else {
                format!(" for {assignee}")
            };
            (by(who), format!("task {id}{whose}: {text}"))
        }
        Event::Finished { id, by: who, .. } => (by(who), format!("task {id} is done")),
        Event::Noted {
            by: who,
            kind,
            text,
            ..
        } => {
            let about = match kind {
                NoteKind::Message => "",
                NoteKind::Action => "did: ",
                NoteKind::Measurement => "measured: ",
                NoteKind::Change => "changed: ",
            };
            (by(who), format!("{about}{text}"))
        }
        Event::Related { to, by: who, .. } => (by(who), format!("has to do with {to}")),
        Event::Differs { missing, .. } => (own(), format!("the auditor misses: {missing}")),
    }
}
