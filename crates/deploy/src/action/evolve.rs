//! How an event changes where an action stands. Folding events is all there is to recovery.

use mainstay_core::{ChangeState, Time};

use super::{
    message::Event,
    plan::{Processes, Task},
    state::{At, Pause, Phase, Place, State},
};
use crate::slots::Slots;

/// Folds `event` in.
pub(super) fn evolve(state: &mut State, event: &Event) {
    match event {
        Event::Held { verdict, .. } => state.held = Some(verdict.clone()),
        Event::Surged { at, slots } => surged(state, slots, *at),
        Event::Began {
            at,
            batch,
            slots,
            before,
            ..
        } => began(state, *batch, slots, before, *at),
        Event::Drained { at, .. } => drained(state, *at),
        Event::Verified {
            at, slots, killed, ..
        } => {
            state.killed.extend(killed.iter().cloned());
            let stopping = state.stopping();
            for slot in slots.iter() {
                let is_gone = stopping.contains(slot);
                if let Some(place) = state.places.get_mut(slot) {
                    place.at = if is_gone { At::Gone } else { At::Serving };
                }
            }
            state.generation += 1;
            if state.arriving().is_empty() {
                next(state, *at);
            }
        }
        Event::Applied { at, .. } => {
            state.paused = None;
            enter(state, Phase::Holding, *at);
        }
        Event::Returned { at, because, .. } => put_back(state, because, *at),
        Event::Back { at, .. } => {
            let returning = state.which(|it| it.at == At::Returning);
            set(state, &returning, At::Standing);
            state.paused = None;
            enter(state, Phase::Settling, *at);
        }
        Event::Trimmed { at } => {
            state.places.retain(|_, place| place.at != At::Leaving);
            state.generation += 1;
            enter(state, Phase::Settling, *at);
        }
        Event::Paused { by, because, .. } => {
            state.paused = Some(Pause {
                because: because.clone(),
                by_person: by.is_some(),
            });
        }
        Event::Resumed { at, .. } => {
            state.paused = None;
            state.held = None;
            state.since = *at;
            state.generation += 1;
        }
        Event::Aborted { at, by, reason } => {
            state.aborted = Some(format!("aborted by {}: {reason}", by.id));
            aborted(state, *at);
        }
        Event::Settled { at } => {
            let end = match state.aborted {
                Some(_) => ChangeState::Aborted,
                None => ChangeState::Done,
            };
            state.paused = None;
            enter(state, Phase::Ended(end), *at);
        }
    }
}

fn enter(state: &mut State, phase: Phase, at: Time) {
    state.phase = phase;
    state.since = at;
}

fn set(state: &mut State, slots: &Slots, to: At) {
    for slot in slots.iter() {
        if let Some(place) = state.places.get_mut(slot) {
            place.at = to;
        }
    }
    state.generation += 1;
}

fn surged(state: &mut State, slots: &Slots, at: Time) {
    for slot in slots.iter() {
        if let Some(host) = state.plan.host_of(slot).cloned() {
            let place = Place {
                host,
                at: At::Starting,
                added: true,
            };
            state.places.insert(slot.clone(), place);
        }
    }
    state.generation += 1;
    enter(state, Phase::Placing, at);
}

fn began(state: &mut State, batch: u32, slots: &Slots, before: &Processes, at: Time) {
    state.batches = batch;
    state.held = None;
    state.paused = None;
    state.before.extend(before);
    match state.plan.task {
        Task::Kill => {
            set(state, slots, At::Starting);
            enter(state, Phase::Replacing(batch), at);
        }
        Task::Scale { .. } if state.starts_next() => {
            set(state, slots, At::Starting);
            enter(state, Phase::Replacing(batch), at);
        }
        Task::Restart | Task::Scale { .. } | Task::Drain | Task::Shed { .. } => {
            if state.plan.task == Task::Drain && state.lasts.is_none() {
                state.lasts = Some((at, at + state.plan.lasts));
            }
            set(state, slots, At::Draining);
            enter(state, Phase::Draining(batch), at);
        }
    }
}

fn drained(state: &mut State, at: Time) {
    let Phase::Draining(batch) = state.phase else {
        return;
    };
    if state.plan.task == Task::Drain {
        let phase = if state.candidates().is_empty() {
            Phase::Holding
        } else {
            Phase::Leasing(batch + 1)
        };
        enter(state, phase, at);
        return;
    }
    let resting = state.which(|it| it.at == At::Draining);
    let next = match state.plan.task {
        Task::Scale { .. } => At::Stopping,
        Task::Restart | Task::Kill | Task::Drain | Task::Shed { .. } => At::Starting,
    };
    set(state, &resting, next);
    enter(state, Phase::Replacing(batch), at);
}

/// After a batch: the next, or the end.
fn next(state: &mut State, at: Time) {
    state.paused = state.paused.take().filter(|it| it.by_person);
    state.held = None;
    if state.aborted.is_some() || state.candidates().is_empty() {
        finish(state, at);
    } else {
        let batch = state.batches + 1;
        enter(state, Phase::Leasing(batch), at);
    }
}

/// What was added leaves, or where nothing was what runs is written down. One never seen holds no request.
fn finish(state: &mut State, at: Time) {
    state.paused = None;
    state.held = None;
    let (places, planned) = (&mut state.places, &state.plan.added);
    places.retain(|slot, place| {
        let is_new = place.added || planned.contains(slot);
        !is_new || !matches!(place.at, At::Starting | At::Planned)
    });
    let added = state.which(|it| it.added);
    set(state, &added, At::Leaving);
    let phase = if added.is_empty() {
        Phase::Settling
    } else {
        Phase::Trimming
    };
    enter(state, phase, at);
}

fn put_back(state: &mut State, because: &str, at: Time) {
    state.returned = Some((at, because.to_owned()));
    state.held = None;
    state.paused = None;
    let drained = state.which(|it| it.at == At::Draining);
    set(state, &drained, At::Returning);
    let nothing = drained.is_empty() && state.plan.task == Task::Drain;
    let phase = if nothing {
        Phase::Settling
    } else {
        Phase::Returning
    };
    enter(state, phase, at);
}

/// What was only taken out of the routes serves again; what was ordered anew is waited for, unless that
/// was in vain already.
fn aborted(state: &mut State, at: Time) {
    let in_vain = state.paused.is_some();
    state.paused = None;
    if !state.plan.task.replaces() {
        let because = state.aborted.clone().unwrap_or_default();
        put_back(state, &because, at);
        return;
    }
    let drained = state.which(|it| it.at == At::Draining);
    set(state, &drained, At::Standing);
    if !state.is_replacing() || in_vain {
        finish(state, at);
    }
}
