//! What follows from an input.

use mainstay_change::{
    Refusal,
    planted::{self, Bug},
};
use mainstay_core::{Name, Time};

use super::{
    evolve::evolve,
    message::{AlertBrief, Event, Input, Role, Which},
    page::{AT_P0, ATTEMPTS_MAX, PageStatus, key, pause},
    plan::cut,
    state::{Reach, State, Status},
};
use crate::escalation::Recipient;

/// Alerts that are listed; more are taken, and said once to be more.
const ALERTS_MAX: usize = 200;
/// Tasks of one incident.
const TASKS_MAX: usize = 100;
/// Notes of one incident.
const NOTES_MAX: u32 = 2_000;
/// Incidents that one is related to.
const RELATED_MAX: usize = 50;
/// People of one step.
const PEOPLE_MAX: usize = 64;
/// People in one entry.
const PEOPLE_AT_ONCE: usize = 12;
/// Channels of one person that are tried.
const CHANNELS_MAX: usize = 6;
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

fn is_being_sent(state: &State, key: &str, attempt: u32) -> bool {
    let page = state.pages.get(key);
    page.is_some_and(|it| it.status == PageStatus::Sending && it.attempt == attempt)
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

/// Until when a person has to answer one channel before the next is tried.
fn answer_due(state: &State, reach: &Reach) -> Option<Time> {
    if !state.awaits(reach) || reach.tried >= reach.channels.len() {
        return None;
    }
    let page = state.pages.get(&reach.key)?;
    match page.status {
        PageStatus::Accepted | PageStatus::Delivered => {
            Some(page.since + state.plan.policy.channel_wait)
        }
        PageStatus::Pending { .. }
        | PageStatus::Sending
        | PageStatus::Failed
        | PageStatus::Withdrawn => None,
    }
}

/// The page by the next channel of a person, if there is one.
fn next_channel(state: &State, reach: &Reach, now: Time) -> Option<Event> {
    let channel = reach.channels.get(reach.tried)?;
    Some(first_try(state, reach, channel, now))
}

fn first_try(state: &State, reach: &Reach, channel: &Name, now: Time) -> Event {
    Event::Paging {
        at: now,
        key: key(
            &state.plan.id,
            reach.cycle,
            reach.step,
            &reach.person,
            channel,
        ),
        cycle: reach.cycle,
        step: reach.step,
        person: reach.person.clone(),
        channel: channel.clone(),
        attempt: 1,
    }
}

/// A step begins: whoever is meant is told by the first channel.
fn found(
    state: &State,
    now: Time,
    (cycle, step): (u32, u32),
    people: Vec<Recipient>,
) -> Vec<Event> {
    let is_next = if step == AT_P0 {
        state.summons.as_ref().is_some_and(|it| it.number == cycle)
    } else {
        let next = state.escalation.as_ref();
        next.is_some_and(|it| (it.cycle, it.step) == (cycle, step))
    };
    if !is_next {
        return Vec::new();
    }
    let only = match step {
        AT_P0 => &[],
        _ => state
            .plan
            .policy
            .step(step)
            .map_or(&[] as &[Name], |it| it.channels.as_slice()),
    };
    let mut told: Vec<Recipient> = Vec::new();
    for it in people {
        let acknowledged = state.acknowledged_by.contains_key(it.person.as_str());
        let twice = told.iter().any(|known| known.person == it.person);
        let channels = channels(&it, only);
        let at_p0 = step == AT_P0;
        if (!acknowledged || at_p0) && !twice && !channels.is_empty() && told.len() < PEOPLE_MAX {
            told.push(Recipient { channels, ..it });
        }
    }
    let mut chunks = told.chunks(PEOPLE_AT_ONCE).map(<[Recipient]>::to_vec);
    let mut events = vec![Event::Began {
        at: now,
        cycle,
        step,
        people: chunks.next().unwrap_or_default(),
    }];
    events.extend(chunks.map(|people| Event::Also {
        cycle,
        step,
        people,
    }));
    let mut after = state.clone();
    for event in &events {
        evolve(&mut after, event);
    }
    let begun = after
        .reach
        .iter()
        .filter(|it| (it.cycle, it.step) == (cycle, step));
    events.extend(begun.filter_map(|it| next_channel(&after, it, now)));
    events
}

/// Those of a person's channels that a step uses, in its order; in theirs where it names none.
fn channels(it: &Recipient, only: &[Name]) -> Vec<Name> {
    let mut channels: Vec<Name> = Vec::new();
    let wanted = only.iter().filter(|name| it.channels.contains(name));
    let all: Box<dyn Iterator<Item = &Name>> = if only.is_empty() {
        Box::new(it.channels.iter())
    } else {
        Box::new(wanted)
    };
    for channel in all {
        if !channels.contains(channel) && channels.len() < CHANNELS_MAX {
            channels.push(channel.clone());
        }
    }
    // A person who has none of the step's channels is told by their own rather than not at all.
    if channels.is_empty() && !only.is_empty() {
        return self::channels(it, &[]);
    }
    channels
}

fn accepted(state: &State, now: Time, key: String, told: u32) -> Vec<Event> {
    let is_news = state.pages.get(&key).is_some_and(|page| match page.status {
        // One that was withdrawn meanwhile had gone out already: the record says so.
        PageStatus::Pending { .. } | PageStatus::Sending | PageStatus::Withdrawn => true,
        PageStatus::Accepted | PageStatus::Delivered | PageStatus::Failed => false,
    });
    let event = Event::Accepted { at: now, key, told };
    is_news.then_some(event).into_iter().collect()
}

/// A channel did not take a page: it is tried again, or the person's next channel is, or the next step begins.
fn failed(
    state: &State,
    now: Time,
    (key, attempt): (String, u32),
    (why, again): (&str, bool),
) -> Vec<Event> {
    if !is_being_sent(state, &key, attempt) {
        return Vec::new();
    }
    let why = cut(why, REASON_MAX);
    if again && attempt < ATTEMPTS_MAX {
        return vec![Event::Retrying {
            at: now,
            key,
            why,
            until: now + pause(attempt),
        }];
    }
    let event = Event::Failed {
        at: now,
        key: key.clone(),
        why,
    };
    let mut after = state.clone();
    evolve(&mut after, &event);
    let mut events = vec![event];
    if planted::is(Bug::NextChannelForgotten) {
        return events;
    }
    let Some(reach) = after.reach.iter().find(|it| it.key == key).cloned() else {
        return events;
    };
    if reach.step != AT_P0 && !after.awaits(&reach) {
        return events;
    }
    match next_channel(&after, &reach, now) {
        Some(next) => events.push(next),
        None if reach.step != AT_P0 && is_unreached(&after, &reach) => {
            events.push(Event::Unreached {
                at: now,
                cycle: reach.cycle,
                step: reach.step,
            });
        }
        None => {}
    }
    events
}

/// Whether nobody of a step has been told, nor will be.
fn is_unreached(state: &State, of: &Reach) -> bool {
    let pages = state
        .pages
        .values()
        .filter(|page| (page.cycle, page.step) == (of.cycle, of.step));
    let mut untold = pages.map(|page| page.status == PageStatus::Failed);
    let mut people = state
        .reach
        .iter()
        .filter(|it| (it.cycle, it.step) == (of.cycle, of.step));
    untold.all(|failed| failed) && people.all(|it| it.tried >= it.channels.len())
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
