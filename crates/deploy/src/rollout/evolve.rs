//! How an event changes where a rollout stands. Folding events is all there is to recovery.

use std::collections::BTreeMap;

use mainstay_change::Direction;
use mainstay_core::{FabricName, Time, Verdict, catalog::Strategy};

use super::{
    decide::ended,
    message::{Event, Gate, Ruling},
    state::{At, Pause, Phase, Role, SlotState, State},
};
use crate::{plan::ALL, slots::Slots};

/// What a second set gets while it bakes. A tenth stays with the first as the control: beside a hundredth, a set
/// that fails one request in ten looks for half a minute like a failure of both.
const GREEN_WEIGHT: u32 = ALL - ALL / 10;

/// Folds `event` in.
pub(super) fn evolve(state: &mut State, event: &Event) {
    match event {
        Event::Admitted { at, .. } => enter(state, Phase::Placing, *at),
        Event::Surged { at, slots, role } => surged(state, slots, *role, *at),
        Event::Verified { at, slots, .. } => verified(state, slots, *at),
        Event::Judged {
            ruling, verdict, ..
        } => note(state, *ruling, verdict),
        Event::Passed { at, gate, verdict } => {
            note(state, Ruling::Pass, verdict);
            passed(state, *gate, *at);
        }
        Event::Raised { weight, .. } => state.weight = *weight,
        Event::ProbesBegan { .. } => state.probing = true,
        Event::Held { left, findings, .. } => {
            keep_left(state, left);
            let words: Vec<String> = findings.iter().map(|it| it.value.clone()).collect();
            state.held = Some(words.join("; "));
        }
        Event::Began {
            at,
            batch,
            slots,
            left,
            ..
        } => {
            state.batches = *batch;
            keep_left(state, left);
            state.held = None;
            state.stuck = None;
            if state.retires() {
                set(state, slots, At::Leaving);
                enter(state, Phase::Trimming, *at);
            } else {
                set(state, slots, At::Draining);
                enter(state, Phase::Draining(*batch, slots.clone()), *at);
            }
        }
        Event::Replaces { before, .. } => state.before.extend(before),
        Event::Drained { at, .. } => drained(state, *at),
        Event::Trimmed { at } => {
            state.slots.retain(|_, slot| slot.at != At::Leaving);
            state.generation += 1;
            finish(state, *at);
        }
        Event::Failed { at, verdict } => {
            note(state, Ruling::Harm, verdict);
            state.failure = Some(verdict.sentence());
            turn_back(state, *at);
        }
        Event::Aborted { at, by, reason } => {
            state.failure = Some(format!("aborted by {}: {reason}", by.id));
            turn_back(state, *at);
        }
        Event::Paused {
            by,
            because,
            unrouted,
            ..
        } => {
            state.paused = Some(Pause {
                because: because.clone(),
                unrouted: *unrouted,
                by_person: by.is_some(),
            });
        }
        Event::Resumed { at, .. } => {
            let stopped = state.paused.as_ref().is_some_and(|it| !it.by_person);
            state.widened |= stopped && state.stops().is_some();
            state.paused = None;
            state.held = None;
            state.ruling = Ruling::Insufficient;
            state.since = *at;
            state.generation += 1;
        }
        Event::Promoted { at, .. } => {
            state.paused = None;
            if let Phase::Judging(gate) = state.phase {
                passed(state, gate, *at);
            }
        }
        Event::Stuck { because, .. } => state.stuck = Some(because.clone()),
        Event::Settled { at } => {
            let end = ended(state);
            enter(state, Phase::Ended(end), *at);
        }
    }
}

fn enter(state: &mut State, phase: Phase, at: Time) {
    state.phase = phase;
    state.since = at;
}

fn note(state: &mut State, ruling: Ruling, verdict: &Verdict) {
    state.ruling = ruling;
    state.verdict = Some(verdict.clone());
}

/// On the way forward the share that must stay is that of the old version: nothing to go back by.
fn keep_left(state: &mut State, left: &BTreeMap<FabricName, u32>) {
    if state.direction == Direction::Restoring {
        state.left.clone_from(left);
    }
}

fn set(state: &mut State, slots: &Slots, at: At) {
    for slot in slots.iter() {
        if let Some(it) = state.slots.get_mut(slot) {
            it.at = at;
        }
    }
    state.generation += 1;
}

fn surged(state: &mut State, slots: &Slots, role: Role, at: Time) {
    let (forward, back) = (
        state.plan.forward_incarnation(),
        state.plan.restored_incarnation(),
    );
    for slot in slots.iter() {
        let placed = state.plan.base.fabrics.get(&slot.fabric);
        let Some(host) = placed.and_then(|placed| placed.host(slot.ordinal)).cloned() else {
            continue;
        };
        let from = state
            .plan
            .from
            .as_ref()
            .filter(|_| role == Role::Control || state.direction == Direction::Restoring);
        let added = SlotState {
            host,
            version: from.unwrap_or(&state.plan.to).clone(),
            incarnation: match state.direction {
                Direction::Forward => forward,
                Direction::Restoring => back,
            },
            role,
            at: At::Starting,
        };
        state.slots.insert(slot.clone(), added);
    }
    state.generation += 1;
    enter(state, Phase::Placing, at);
}

fn verified(state: &mut State, slots: &Slots, at: Time) {
    set(state, slots, At::Serving);
    if !state.awaited().is_empty() {
        return;
    }
    state.stuck = None;
    match (&state.phase, state.direction) {
        (Phase::Placing, Direction::Forward) if state.is_first() => finish(state, at),
        (Phase::Placing, Direction::Forward) if state.batches == 0 && state.step.is_none() => {
            first_gate(state, at);
        }
        (Phase::Placing, Direction::Forward)
            if state
                .step
                .is_some_and(|step| state.for_step(step).is_empty()) =>
        {
            // The room that was made is all that the canary's step takes: nothing is left to lease for it.
            let batch = state.batches;
            state.held = None;
            passed(state, Gate::Batch { batch }, at);
        }
        (Phase::Placing, _) => {
            let batch = state.batches + 1;
            state.held = None;
            enter(state, Phase::Leasing(batch), at);
        }
        (Phase::Replacing(batch, _), Direction::Forward) => {
            let gate = match state.step {
                Some(step) if state.for_step(step).is_empty() => climb(state, step),
                Some(_) | None => Gate::Batch { batch: *batch },
            };
            enter(state, Phase::Judging(gate), at);
        }
        (Phase::Replacing(..), Direction::Restoring) => go_back(state, at),
        (
            Phase::Admitting
            | Phase::Judging(_)
            | Phase::Leasing(_)
            | Phase::Draining(..)
            | Phase::Trimming
            | Phase::Settling
            | Phase::Ended(_),
            _,
        ) => {}
    }
}

/// Gives the canary the share of `step`.
fn climb(state: &mut State, step: u32) -> Gate {
    let weight = state.plan.terms.canary_steps.get(step as usize).copied();
    state.weight = state.weight.max(weight.unwrap_or(0));
    state.step = Some(step);
    Gate::Canary { step }
}

fn first_gate(state: &mut State, at: Time) {
    if state.plan.terms.canary_steps.is_empty() {
        next_batch(state, at);
        return;
    }
    let gate = climb(state, 0);
    enter(state, Phase::Judging(gate), at);
}

fn passed(state: &mut State, gate: Gate, at: Time) {
    match (gate, state.step) {
        (Gate::Bake, _) => finish(state, at),
        (Gate::Canary { step }, Some(_)) => {
            let next = step + 1;
            let steps = u32::try_from(state.plan.terms.canary_steps.len()).unwrap_or(u32::MAX);
            if next >= steps {
                state.step = None;
                next_batch(state, at);
            } else if state.plan.terms.strategy == Strategy::BlueGreen
                || state.for_step(next).is_empty()
            {
                let gate = climb(state, next);
                enter(state, Phase::Judging(gate), at);
            } else {
                state.step = Some(next);
                let batch = state.batches + 1;
                enter(state, Phase::Leasing(batch), at);
            }
        }
        (Gate::Batch { .. }, Some(step)) if !state.for_step(step).is_empty() => {
            let batch = state.batches + 1;
            enter(state, Phase::Leasing(batch), at);
        }
        (Gate::Batch { .. }, Some(step)) => {
            let gate = climb(state, step);
            enter(state, Phase::Judging(gate), at);
        }
        (Gate::Canary { .. } | Gate::Batch { .. }, None) => next_batch(state, at),
    }
}

fn next_batch(state: &mut State, at: Time) {
    let blue_green = state.plan.terms.strategy == Strategy::BlueGreen;
    if blue_green {
        state.weight = GREEN_WEIGHT;
    }
    let phase = if blue_green || state.to_move().is_empty() {
        Phase::Judging(Gate::Bake)
    } else {
        Phase::Leasing(state.batches + 1)
    };
    enter(state, phase, at);
}

fn drained(state: &mut State, at: Time) {
    let Phase::Draining(batch, slots) = state.phase.clone() else {
        return;
    };
    let (version, incarnation) = match (state.direction, &state.plan.from) {
        (Direction::Restoring, Some(from)) => (from.clone(), state.plan.restored_incarnation()),
        (Direction::Forward, _) | (Direction::Restoring, None) => {
            (state.plan.to.clone(), state.plan.forward_incarnation())
        }
    };
    for slot in slots.iter() {
        if let Some(it) = state.slots.get_mut(slot) {
            it.version = version.clone();
            it.incarnation = incarnation;
            it.at = At::Starting;
        }
    }
    state.generation += 1;
    enter(state, Phase::Replacing(batch, slots), at);
}

/// Surplus leaves, or where there is none what runs is written down.
fn finish(state: &mut State, at: Time) {
    let surplus = state.surplus();
    let is_second_set = state.plan.terms.strategy == Strategy::BlueGreen && !state.is_first();
    if surplus.is_empty() {
        enter(state, Phase::Settling, at);
    } else if is_second_set && state.direction == Direction::Forward {
        // The first set goes as capacity allows: the second may have lost hosts since it was verified.
        enter(state, Phase::Leasing(state.batches + 1), at);
    } else {
        trim(state, &surplus, at);
    }
}

/// One that was never seen holds no request: it goes at once.
fn trim(state: &mut State, slots: &Slots, at: Time) {
    state
        .slots
        .retain(|slot, it| it.at != At::Starting || !slots.contains(slot));
    set(state, slots, At::Leaving);
    let leaving = state.slots.values().any(|slot| slot.at == At::Leaving);
    let phase = if leaving {
        Phase::Trimming
    } else {
        Phase::Settling
    };
    enter(state, phase, at);
}

fn turn_back(state: &mut State, at: Time) {
    let had: BTreeMap<FabricName, u32> = state
        .fabrics()
        .map(|fabric| (fabric.clone(), state.to_new(fabric)))
        .collect();
    state.had = had;
    if matches!(state.phase, Phase::Leasing(_) | Phase::Placing) {
        // An answer that is under way to this batch must not count as one to the way back.
        state.batches += 1;
    }
    // What was added and never seen holds no request, and nobody waits for it.
    state
        .slots
        .retain(|_, it| it.role == Role::Base || it.at != At::Starting);
    state.direction = Direction::Restoring;
    state.paused = None;
    state.held = None;
    let to = state.plan.to.clone();
    for slot in state.slots.values_mut() {
        // What was only taken out of the routes serves again.
        if slot.version != to && matches!(slot.at, At::Draining | At::Leaving) {
            slot.at = At::Serving;
        }
    }
    state.generation += 1;
    go_back(state, at);
}

fn go_back(state: &mut State, at: Time) {
    if state.is_first() || state.to_move().is_empty() {
        finish(state, at);
    } else {
        let batch = state.batches + 1;
        enter(state, Phase::Leasing(batch), at);
    }
}

/// Instances that the next batch may be taken from.
pub(super) fn candidates(state: &State) -> Slots {
    match state.direction {
        Direction::Forward => state.within_share(state.next()),
        Direction::Restoring => state.next(),
    }
}
