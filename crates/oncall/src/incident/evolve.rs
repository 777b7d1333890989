//! What an event changes.

use std::collections::BTreeSet;

use mainstay_change::planted::{self, Bug};
use mainstay_core::{Span, Time, escalation::Severity};

use super::{
    message::Event,
    page::{AT_P0, Page, PageStatus},
    state::{Next, Reach, State, Task},
};
use crate::escalation::Recipient;

/// Shortest time before the steps begin anew where nobody was told in any of them.
const NOBODY_PAUSE: Span = Span::from_secs(60);

pub(super) fn evolve(state: &mut State, event: &Event) {
    if let Some(at) = time(event) {
        state.updated_at = at;
    }
    match event {
        Event::Alerted { alert, .. } => {
            state.alerts.insert(alert.id.clone(), (alert.clone(), true));
            if planted::is(Bug::AlertsPutOff)
                && let (Some(at), Some(next)) = (time(event), &mut state.escalation)
            {
                next.at = next.at.max(at + Span::from_secs(300));
            }
        }
        Event::Cleared { id, .. } => {
            if let Some((_, fires)) = state.alerts.get_mut(id) {
                *fires = false;
            }
        }
        Event::Crowded { .. } => state.is_crowded = true,
        Event::Began {
            at,
            cycle,
            step,
            people,
        } => {
            if *step == AT_P0 {
                state.summons = None;
            } else {
                began(state, *at, (*cycle, *step), people);
            }
            reach(state, (*cycle, *step), people);
        }
        Event::Also {
            cycle,
            step,
            people,
        } => reach(state, (*cycle, *step), people),
        Event::Paging { .. } => paging(state, event),
        Event::Accepted { at, key, .. } => put(state, key, *at, PageStatus::Accepted, ""),
        Event::Held { at, key, until } => {
            let until = *until;
            put(
                state,
                key,
                *at,
                PageStatus::Pending { until, held: true },
                "",
            );
        }
        Event::Retrying {
            at,
            key,
            why,
            until,
        } => {
            let until = *until;
            put(
                state,
                key,
                *at,
                PageStatus::Pending { until, held: false },
                why,
            );
        }
        Event::Failed { at, key, why } => put(state, key, *at, PageStatus::Failed, why),
        Event::Delivered { at, key } => put(state, key, *at, PageStatus::Delivered, ""),
        Event::Unreached { at, cycle, step } => {
            if let Some(next) = &mut state.escalation
                && (next.cycle, next.step) == (*cycle, step.saturating_add(1))
            {
                next.at = next.at.min(*at);
            }
        }
        Event::Acknowledged { at, by, .. } => {
            state.acknowledged_by.insert(by.clone(), *at);
            let enough =
                state.acknowledged_by.len() as u64 >= u64::from(state.plan.policy.acknowledge_by);
            if enough && !planted::is(Bug::AcknowledgementIgnored) {
                state.acknowledged_at.get_or_insert(*at);
                state.escalation = None;
                state.reach.retain(|it| it.step == AT_P0);
                withdraw(state, *at, |page| page.step != AT_P0);
            } else if !enough {
                withdraw(state, *at, |page| {
                    page.step != AT_P0 && page.person.as_str() == by
                });
            }
        }
        Event::Escalated { at, .. } => escalate(state, *at),
        Event::Breached { at, which, .. } => {
            state.breached.insert(*which);
            state.breaches += 1;
            escalate(state, *at);
        }
        Event::Severity { at, to, .. } => severity(state, *at, *to),
        Event::Resolved { at, .. } => {
            state.resolved_at = Some(*at);
            state.escalation = None;
            state.summons = None;
            state.reach.clear();
            withdraw(state, *at, |_| true);
        }
        Event::Reopened { at, .. } => {
            state.resolved_at = None;
            state.acknowledged_at = None;
            state.since = *at;
            state.breached = BTreeSet::new();
            state.last_step = None;
            demand(state, 0, *at);
            if state.severity == Severity::P0 {
                state.summon(*at);
            }
        }
        Event::Closed { at } => state.closed_at = Some(*at),
        Event::Role { role, person, .. } => {
            state.roles.insert(*role, person.clone());
        }
        Event::Task {
            at,
            id,
            text,
            assignee,
            ..
        } => state.tasks.push(Task {
            id: *id,
            text: text.clone(),
            assignee: assignee.clone(),
            added: *at,
            done: None,
        }),
        Event::Finished { at, id, .. } => {
            for task in state.tasks.iter_mut().filter(|it| it.id == *id) {
                task.done.get_or_insert(*at);
            }
        }
        Event::Noted { .. } => state.notes += 1,
        Event::Related { to, .. } => {
            if !state.related.contains(to) {
                state.related.push(to.clone());
            }
        }
        Event::Differs { .. } => {}
    }
}

/// When an event happened.
pub(super) fn time(event: &Event) -> Option<Time> {
    match event {
        Event::Alerted { at, .. }
        | Event::Cleared { at, .. }
        | Event::Crowded { at }
        | Event::Began { at, .. }
        | Event::Paging { at, .. }
        | Event::Accepted { at, .. }
        | Event::Held { at, .. }
        | Event::Retrying { at, .. }
        | Event::Failed { at, .. }
        | Event::Delivered { at, .. }
        | Event::Unreached { at, .. }
        | Event::Acknowledged { at, .. }
        | Event::Escalated { at, .. }
        | Event::Breached { at, .. }
        | Event::Severity { at, .. }
        | Event::Resolved { at, .. }
        | Event::Reopened { at, .. }
        | Event::Closed { at }
        | Event::Role { at, .. }
        | Event::Task { at, .. }
        | Event::Finished { at, .. }
        | Event::Noted { at, .. }
        | Event::Related { at, .. }
        | Event::Differs { at, .. } => Some(*at),
        Event::Also { .. } => None,
    }
}

/// The step after the one that began, and when.
fn began(state: &mut State, at: Time, (cycle, step): (u32, u32), people: &[Recipient]) {
    let policy = &state.plan.policy;
    let wait = policy.step(step).map_or(NOBODY_PAUSE, |it| it.wait);
    let is_last = step >= policy.last();
    let reached_before = state.escalation.as_ref().is_some_and(|it| it.reached);
    let reached = reached_before || !people.is_empty();
    state.last_step = Some(step);
    state.escalation = Some(if is_last {
        state.cycle = cycle + 1;
        Next {
            cycle: cycle + 1,
            step: 0,
            // Where there is nobody at all, the steps do not chase each other.
            at: at
                + if reached {
                    wait
                } else {
                    wait.max(NOBODY_PAUSE)
                },
            reached: false,
        }
    } else {
        let skipped = u32::from(planted::is(Bug::StepSkipped));
        Next {
            cycle,
            step: step + 1 + skipped,
            at: if people.is_empty() { at } else { at + wait },
            reached,
        }
    });
    forget(state, cycle);
}

/// Keeps pages of this demand and the one before; the ledger has all.
fn forget(state: &mut State, cycle: u32) {
    let keeps = |of: u32, step: u32| step == AT_P0 || of + 1 >= cycle;
    state.pages.retain(|_, page| keeps(page.cycle, page.step));
    state.reach.retain(|it| keeps(it.cycle, it.step));
}

fn reach(state: &mut State, (cycle, step): (u32, u32), people: &[Recipient]) {
    for it in people {
        state.reach.push(Reach {
            cycle,
            step,
            person: it.person.clone(),
            channels: it.channels.clone(),
            tried: 0,
            key: String::new(),
        });
    }
}

fn paging(state: &mut State, event: &Event) {
    let Event::Paging {
        at,
        key,
        cycle,
        step,
        person,
        channel,
        attempt,
    } = event
    else {
        return;
    };
    let of = |it: &&mut Reach| it.cycle == *cycle && it.step == *step && it.person == *person;
    if let Some(reach) = state.reach.iter_mut().find(of)
        && let Some(place) = reach.channels.iter().position(|it| it == channel)
    {
        reach.tried = reach.tried.max(place + 1);
        reach.key.clone_from(key);
    }
    let before = state.pages.get(key);
    let page = Page {
        cycle: *cycle,
        step: *step,
        person: person.clone(),
        channel: channel.clone(),
        attempt: *attempt,
        status: PageStatus::Sending,
        since: *at,
        was_held: before.is_some_and(|it| {
            it.was_held || matches!(it.status, PageStatus::Pending { held: true, .. })
        }),
        why: before.map(|it| it.why.clone()).unwrap_or_default(),
    };
    state.pages.insert(key.clone(), page);
}

fn put(state: &mut State, key: &str, at: Time, status: PageStatus, why: &str) {
    if let Some(page) = state.pages.get_mut(key) {
        // What arrived does not arrive less because its acceptance is heard of later.
        if page.status != PageStatus::Delivered {
            page.status = status;
            page.since = at;
        }
        if !why.is_empty() {
            why.clone_into(&mut page.why);
        }
    }
}

/// Pages that have not gone out are not needed any more.
fn withdraw(state: &mut State, at: Time, which: impl Fn(&Page) -> bool) {
    for page in state.pages.values_mut().filter(|it| which(it)) {
        if matches!(
            page.status,
            PageStatus::Pending { .. } | PageStatus::Sending
        ) {
            page.status = PageStatus::Withdrawn;
            page.since = at;
        }
    }
}

/// The next step begins now; where somebody looks after it, others are demanded from the step after the last.
fn escalate(state: &mut State, at: Time) {
    if let Some(next) = &mut state.escalation {
        next.at = next.at.min(at);
        return;
    }
    let next = state.last_step.map_or(0, |step| step + 1);
    let step = next.min(state.plan.policy.last());
    demand(state, step, at);
}

/// From now on somebody has to acknowledge again.
fn demand(state: &mut State, step: u32, at: Time) {
    state.cycle += 1;
    state.demand += 1;
    state.acknowledged_by.clear();
    state.escalation = Some(Next {
        cycle: state.cycle,
        step,
        at,
        reached: false,
    });
}

/// Deadlines count anew from the moment that it is worse or less bad.
fn severity(state: &mut State, at: Time, to: Severity) {
    let is_worse = to < state.severity;
    state.severity = to;
    state.since = at;
    state.breached.clear();
    if is_worse && to == Severity::P0 {
        state.summon(at);
    }
}
