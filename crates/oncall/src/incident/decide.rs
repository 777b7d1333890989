//! What follows from an input.

mod paging;

use mainstay_change::Refusal;
use mainstay_core::Time;

use super::{
    evolve::evolve,
    message::{AlertBrief, Event, Input, Role, Which},
    page::PageStatus,
    plan::cut,
    state::{State, Status},
};
use paging::{accepted, answer_due, failed, found, is_being_sent, next_channel};

/// Alerts that are listed; more are taken, and said once to be more.
const ALERTS_MAX: usize = 200;
/// Tasks of one incident.
const TASKS_MAX: usize = 100;
/// Notes of one incident.
const NOTES_MAX: u32 = 2_000;
/// Incidents that one is related to.
const RELATED_MAX: usize = 50;
/// Bytes of a reason, of what a channel answered, of what an alert says.
const REASON_MAX: usize = 400;
/// Bytes of a note.
const TEXT_MAX: usize = 2_000;
/// Bytes of a name.
const NAME_MAX: usize = 128;

type Decided = Result<Vec<Event>, Refusal>;

pub(super) fn decide(state: &State, now: Time, input: Input) -> Decided {
    if state.status() == Status::Closed {
        return match input {
            // What comes late of what it wanted done changes nothing any more.
            Input::Tick
            | Input::Found { .. }
            | Input::Accepted { .. }
            | Input::Held { .. }
            | Input::Failed { .. }
            | Input::Delivered { .. }
            | Input::Differs { .. } => Ok(Vec::new()),
            Input::Alert { .. }
            | Input::Acknowledge { .. }
            | Input::Escalate { .. }
            | Input::Resolve { .. }
            | Input::Reopen { .. }
            | Input::Severity { .. }
            | Input::Role { .. }
            | Input::Task { .. }
            | Input::Finish { .. }
            | Input::Note { .. }
            | Input::Relate { .. } => Err(refusal(
                "incident",
                "closed",
                "one that is not closed",
                "open another with `mainstay page`, and relate it to this one",
            )),
        };
    }
    match input {
        Input::Tick => Ok(tick(state, now)),
        Input::Found {
            cycle,
            step,
            people,
        } => Ok(found(state, now, (cycle, step), people)),
        Input::Accepted { key, told } => Ok(accepted(state, now, key, told)),
        Input::Held {
            key,
            attempt,
            until,
        } => {
            let is_sent = is_being_sent(state, &key, attempt);
            let held = Event::Held {
                at: now,
                key,
                until,
            };
            Ok(is_sent.then_some(held).into_iter().collect())
        }
        Input::Failed {
            key,
            attempt,
            why,
            again,
        } => Ok(failed(state, now, (key, attempt), (&why, again))),
        Input::Delivered { key } => {
            let known = state.pages.get(&key);
            let is_news = known.is_some_and(|page| page.status != PageStatus::Delivered);
            let event = Event::Delivered { at: now, key };
            Ok(is_news.then_some(event).into_iter().collect())
        }
        Input::Alert { alert, fires } => Ok(alerted(state, now, alert, fires)),
        Input::Acknowledge { by, via } => acknowledge(state, now, by, via),
        Input::Escalate { by, because } => {
            only_open(state)?;
            let (by, because) = (name("by", by)?, cut(&because, REASON_MAX));
            let at = now;
            Ok(vec![Event::Escalated { at, by, because }])
        }
        Input::Resolve { by, because } => {
            if !state.is_open() {
                return Ok(Vec::new());
            }
            let (by, because) = (name("by", by)?, cut(&because, REASON_MAX));
            let at = now;
            Ok(vec![Event::Resolved { at, by, because }])
        }
        Input::Reopen { by, because } => {
            if state.is_open() {
                return Ok(Vec::new());
            }
            let (by, because) = (name("by", by)?, cut(&because, REASON_MAX));
            let at = now;
            Ok(vec![Event::Reopened { at, by, because }])
        }
        Input::Severity { by, to, because } => {
            only_open(state)?;
            if state.severity == to {
                return Ok(Vec::new());
            }
            let (by, because) = (name("by", by)?, cut(&because, REASON_MAX));
            Ok(vec![Event::Severity {
                at: now,
                by,
                to,
                because,
            }])
        }
        Input::Role {
            role,
            person,
            by,
            note,
        } => {
            let (person, by) = (name("person", person)?, name("by", by)?);
            if state.roles.get(&role) == Some(&person) {
                return Ok(Vec::new());
            }
            Ok(vec![Event::Role {
                at: now,
                role,
                person,
                by,
                note: cut(&note, TEXT_MAX),
            }])
        }
        Input::Task { text, assignee, by } => task(state, now, text, (assignee, by)),
        Input::Finish { id, by } => finish(state, now, id, by),
        Input::Note { by, kind, text } => {
            if state.notes >= NOTES_MAX {
                let limit = NOTES_MAX.to_string();
                let remedy = "go on in another incident, and relate it to this one";
                return Err(refusal("notes", &state.notes.to_string(), &limit, remedy));
            }
            Ok(vec![Event::Noted {
                at: now,
                by: name("by", by)?,
                kind,
                text: text_of("text", text)?,
            }])
        }
        Input::Relate { to, by } => relate(state, now, to, by),
        Input::Differs { missing } => Ok(vec![Event::Differs {
            at: now,
            missing: cut(&missing, REASON_MAX),
        }]),
    }
}

fn refusal(signal: &str, value: &str, limit: &str, remedy: &str) -> Refusal {
    Refusal {
        signal: signal.to_owned(),
        value: value.to_owned(),
        limit: limit.to_owned(),
        remedy: remedy.to_owned(),
    }
}

fn only_open(state: &State) -> Result<(), Refusal> {
    if state.is_open() {
        return Ok(());
    }
    let remedy = "reopen it first, with `mainstay incident reopen`";
    Err(refusal("incident", "resolved", "an open one", remedy))
}

fn name(field: &str, text: String) -> Result<String, Refusal> {
    let trimmed = text.trim();
    if trimmed.is_empty() || trimmed.len() > NAME_MAX || trimmed.chars().any(char::is_control) {
        let value = cut(trimmed, 40);
        let limit = format!("a name of 1 to {NAME_MAX} bytes");
        return Err(refusal(field, &value, &limit, "say who it is"));
    }
    Ok(trimmed.to_owned())
}

fn text_of(field: &str, text: String) -> Result<String, Refusal> {
    let trimmed = text.trim();
    if trimmed.is_empty() || trimmed.len() > TEXT_MAX {
        let value = format!("{} bytes", trimmed.len());
        let limit = format!("1 to {TEXT_MAX} bytes");
        let remedy = "write something, in several notes if it is long";
        return Err(refusal(field, &value, &limit, remedy));
    }
    Ok(trimmed.to_owned())
}

/// Time has passed: what that brings, each judged after the one before.
fn tick(state: &State, now: Time) -> Vec<Event> {
    let mut after = state.clone();
    let mut events = Vec::new();
    let push = |after: &mut State, event: Event, events: &mut Vec<Event>| {
        evolve(after, &event);
        events.push(event);
    };
    if let Some(at) = closes_at(&after)
        && now >= at
    {
        return vec![Event::Closed { at: now }];
    }
    for which in [Which::Acknowledge, Which::Resolve] {
        let Some(deadline) = after.deadline(which).filter(|at| now >= *at) else {
            continue;
        };
        let event = Event::Breached {
            at: now,
            which,
            severity: after.severity,
            since: after.since,
            within: deadline.since(after.since),
        };
        push(&mut after, event, &mut events);
    }
    for (key, page) in &state.pages {
        if let PageStatus::Pending { until, held } = page.status
            && now >= until
        {
            let event = Event::Paging {
                at: now,
                key: key.clone(),
                cycle: page.cycle,
                step: page.step,
                person: page.person.clone(),
                channel: page.channel.clone(),
                attempt: page.attempt + u32::from(!held),
            };
            push(&mut after, event, &mut events);
        }
    }
    for reach in &state.reach {
        if answer_due(state, reach).is_some_and(|at| now >= at)
            && let Some(event) = next_channel(&after, reach, now)
        {
            push(&mut after, event, &mut events);
        }
    }
    events
}

/// When to be told that time has passed.
pub(super) fn wake_at(state: &State) -> Option<Time> {
    let begins = state.escalation.as_ref().map(|it| it.at);
    let summons = state.summons.as_ref().map(|it| it.at);
    let pending = state.pages.values().filter_map(|page| match page.status {
        PageStatus::Pending { until, .. } => Some(until),
        PageStatus::Sending
        | PageStatus::Accepted
        | PageStatus::Delivered
        | PageStatus::Failed
        | PageStatus::Withdrawn => None,
    });
    let answers = state.reach.iter().filter_map(|it| answer_due(state, it));
    let deadlines = [Which::Acknowledge, Which::Resolve].map(|which| state.deadline(which));
    begins
        .into_iter()
        .chain(summons)
        .chain(pending)
        .chain(answers)
        .chain(deadlines.into_iter().flatten())
        .chain(closes_at(state))
        .min()
}

fn closes_at(state: &State) -> Option<Time> {
    if state.closed_at.is_some() {
        return None;
    }
    Some(state.resolved_at? + state.plan.policy.closes_after)
}

fn alerted(state: &State, now: Time, alert: AlertBrief, fires: bool) -> Vec<Event> {
    let known = state.alerts.get(&alert.id).map(|(_, fires)| *fires);
    let mut events = Vec::new();
    match (known, fires) {
        (Some(true), true) | (Some(false) | None, false) => return events,
        (None, true) if state.alerts.len() >= ALERTS_MAX => {
            if !state.is_crowded {
                events.push(Event::Crowded { at: now });
            }
        }
        (Some(false) | None, true) => {
            let alert = AlertBrief {
                id: cut(&alert.id, NAME_MAX),
                name: cut(&alert.name, NAME_MAX),
                text: cut(&alert.text, REASON_MAX),
            };
            events.push(Event::Alerted { at: now, alert });
        }
        (Some(true), false) => events.push(Event::Cleared {
            at: now,
            id: alert.id,
        }),
    }
    let mut after = state.clone();
    for event in &events {
        evolve(&mut after, event);
    }
    let by = "mainstay".to_owned();
    if fires && !state.is_open() {
        events.push(Event::Reopened {
            at: now,
            by,
            because: "an alert of it fires".to_owned(),
        });
    } else if !fires
        && state.is_open()
        && state.plan.policy.resolve_when_clear
        && !after.has_firing()
    {
        events.push(Event::Resolved {
            at: now,
            by,
            because: "all its alerts are over".to_owned(),
        });
    }
    events
}

fn acknowledge(state: &State, now: Time, by: String, via: String) -> Decided {
    only_open(state)?;
    let by = name("by", by)?;
    if state.acknowledged_by.contains_key(&by) {
        return Ok(Vec::new());
    }
    let mut events = vec![Event::Acknowledged {
        at: now,
        by: by.clone(),
        via: cut(&via, NAME_MAX),
    }];
    if !state.roles.contains_key(&Role::Commander) {
        events.push(Event::Role {
            at: now,
            role: Role::Commander,
            person: by,
            by: "mainstay".to_owned(),
            note: "the first to acknowledge".to_owned(),
        });
    }
    Ok(events)
}

fn task(state: &State, now: Time, text: String, (assignee, by): (String, String)) -> Decided {
    if state.tasks.len() >= TASKS_MAX {
        let (value, limit) = (state.tasks.len().to_string(), TASKS_MAX.to_string());
        let remedy = "keep them in the tracker that you use for work";
        return Err(refusal("tasks", &value, &limit, remedy));
    }
    let assignee = match assignee.trim() {
        "" => String::new(),
        _ => name("assignee", assignee)?,
    };
    let id = state.tasks.last().map_or(0, |it| it.id) + 1;
    Ok(vec![Event::Task {
        at: now,
        id,
        text: text_of("text", text)?,
        assignee,
        by: name("by", by)?,
    }])
}

fn finish(state: &State, now: Time, id: u32, by: String) -> Decided {
    match state.tasks.iter().find(|it| it.id == id) {
        Some(task) if task.done.is_some() => Ok(Vec::new()),
        Some(_) => Ok(vec![Event::Finished {
            at: now,
            id,
            by: name("by", by)?,
        }]),
        None => Err(refusal(
            "task",
            &id.to_string(),
            "one that there is",
            "list them with `mainstay incident show`",
        )),
    }
}

fn relate(state: &State, now: Time, to: mainstay_core::ChangeId, by: String) -> Decided {
    if state.related.contains(&to) {
        return Ok(Vec::new());
    }
    if to == state.plan.id {
        let remedy = "name another one";
        return Err(refusal("related", to.as_str(), "another incident", remedy));
    }
    if state.related.len() >= RELATED_MAX {
        let (value, limit) = (state.related.len().to_string(), RELATED_MAX.to_string());
        let remedy = "relate the others to one of those";
        return Err(refusal("related", &value, &limit, remedy));
    }
    Ok(vec![Event::Related {
        at: now,
        to,
        by: name("by", by)?,
    }])
}
