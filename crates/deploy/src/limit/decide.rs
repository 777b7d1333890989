//! What follows from an input. Pure: no clock, no randomness, no I/O.

use mainstay_change::Refusal;
use mainstay_core::{Actor, Measured, Outcome, Span, Time, Verdict};

use super::{
    message::{Event, Input, Sample},
    plan::{ASK_WITHIN, BACK_WITHIN, SILENT_AFTER, TEST_WITHIN},
    state::{Phase, State},
};
use crate::{moves::Verb, rollout::FRESH};

/// Steps in a row that raise nothing after which more share is no more load; with the few requests of one hold a
/// step or two fall short by chance.
const FLAT_MAX: u32 = 3;
/// Longest reason, in characters.
const REASON_CHARS_MAX: usize = 512;

/// What follows from `input`.
pub(super) fn decide(state: &State, now: Time, input: Input) -> Result<Vec<Event>, Refusal> {
    let current = |generation: u64| generation == state.generation;
    Ok(match input {
        Input::Tick => tick(state, now),
        Input::Asked {
            generation,
            allowed,
            fit,
        } if current(generation) => asked(state, now, allowed, &fit),
        Input::Routed {
            generation,
            applied,
        } if current(generation) => routed(state, now, &applied),
        Input::Seen { generation, sample } if current(generation) => seen(state, now, &sample),
        Input::Asked { .. } | Input::Routed { .. } | Input::Seen { .. } => vec![],
        Input::Order {
            verb,
            actor,
            reason,
        } => order(state, now, verb, actor, &reason)?,
    })
}

fn returned(at: Time, because: impl Into<String>) -> Event {
    let because: String = because.into();
    Event::Returned {
        at,
        by: None,
        because: because.chars().take(REASON_CHARS_MAX).collect(),
    }
}

/// A verdict that says nothing permits nothing.
fn passes(verdict: &Verdict) -> bool {
    verdict.outcome() == Outcome::Pass && !verdict.findings.is_empty()
}

fn asked(state: &State, now: Time, allowed: Verdict, fit: &Measured<Verdict>) -> Vec<Event> {
    if state.phase != Phase::Asking {
        return vec![];
    }
    if !fit.is_fresh(now, FRESH) {
        return vec![];
    }
    if !passes(fit.value()) {
        return vec![returned(now, fit.value().sentence())];
    }
    if !passes(&allowed) {
        // What begins to be forbidden under way ends it; before, it waits.
        if !state.steps.is_empty() {
            return vec![returned(now, allowed.sentence())];
        }
        let told = state.waits.as_ref().map(Verdict::sentence);
        return if told == Some(allowed.sentence()) {
            vec![]
        } else {
            vec![Event::Waits {
                at: now,
                verdict: allowed,
            }]
        };
    }
    let step = state.steps.len();
    let Some(share) = state.plan.steps.get(step) else {
        return vec![returned(now, "the last step was held")];
    };
    vec![Event::Stepped {
        at: now,
        step,
        share: *share,
        verdict: fit.value().clone(),
    }]
}

fn routed(state: &State, now: Time, applied: &Measured<bool>) -> Vec<Event> {
    if !applied.value() || !applied.is_fresh(now, FRESH) {
        return vec![];
    }
    let source = applied.source().to_owned();
    match state.phase {
        Phase::Applying => vec![Event::Applied { at: now, source }],
        Phase::Returning => {
            let figure = state.best().map(|rps| Event::Measured {
                at: now,
                version: state.plan.version.clone(),
                rps,
            });
            let back = Event::Back { at: now, source };
            figure.into_iter().chain([back]).collect()
        }
        Phase::Asking | Phase::Holding | Phase::Ended(_) => vec![],
    }
}

fn seen(state: &State, now: Time, sample: &Measured<Sample>) -> Vec<Event> {
    if state.phase != Phase::Holding || !sample.is_fresh(now, FRESH) {
        return vec![];
    }
    let (value, source) = (sample.value().clone(), sample.source().to_owned());
    if let Some(disturbed) = &value.disturbed {
        return vec![returned(now, disturbed)];
    }
    if let Some(broken) = &value.broken {
        let share = state.share();
        let because = format!("its objective broke at {share} shares: {broken}");
        let broke = Event::Broke {
            at: now,
            sample: value,
            source,
        };
        return vec![broke, returned(now, because)];
    }
    if sample.observed_at() < state.held_at() {
        return vec![];
    }
    let best = state.best();
    let flat = match best {
        Some(best) if value.goodput_rps <= best => state.flat + 1,
        Some(_) | None => 0,
    };
    let last = state.steps.len() == state.plan.steps.len();
    let held = Event::Held {
        at: now,
        sample: value,
        source,
    };
    if last {
        return vec![held, returned(now, "the last step was held")];
    }
    if flat >= FLAT_MAX {
        let because = format!("{flat} steps in a row gave it no more load");
        return vec![held, returned(now, because)];
    }
    vec![held]
}

/// How long the present phase may last.
fn patience(state: &State) -> Option<Span> {
    match state.phase {
        Phase::Asking if state.steps.is_empty() => Some(ASK_WITHIN),
        Phase::Asking | Phase::Applying => Some(SILENT_AFTER),
        Phase::Holding => {
            let hold = state.held_at().since(state.since);
            Some(Span::from_millis(hold.millis() + SILENT_AFTER.millis()))
        }
        Phase::Returning => (!state.unseen).then_some(BACK_WITHIN),
        Phase::Ended(_) => None,
    }
}

/// When time alone makes it move.
pub(super) fn wake_at(state: &State) -> Option<Time> {
    let phase_ends = patience(state).map(|span| state.since + span);
    let whole = (!state.is_ending()).then(|| state.opened_at + TEST_WITHIN);
    phase_ends.into_iter().chain(whole).min()
}

fn tick(state: &State, now: Time) -> Vec<Event> {
    if wake_at(state).is_none_or(|at| now < at) {
        return vec![];
    }
    let waited = now.since(state.since);
    let overdue = patience(state).is_some_and(|span| waited >= span);
    match state.phase {
        Phase::Returning => vec![Event::Unseen { at: now }],
        Phase::Ended(_) => vec![],
        Phase::Asking | Phase::Applying | Phase::Holding if !overdue => {
            vec![returned(now, format!("its {TEST_WITHIN} were over"))]
        }
        Phase::Asking => {
            let why = state
                .waits
                .as_ref()
                .map_or_else(|| "no answer".to_owned(), Verdict::sentence);
            vec![returned(
                now,
                format!("it could not go on for {waited}: {why}"),
            )]
        }
        Phase::Applying | Phase::Holding => {
            let because = format!("nothing was heard of its router for {waited}");
            vec![returned(now, because)]
        }
    }
}

fn order(
    state: &State,
    at: Time,
    verb: Verb,
    by: Actor,
    reason: &str,
) -> Result<Vec<Event>, Refusal> {
    let refuse = |value: String, limit: &str, remedy: &str| Refusal {
        signal: "limit test".to_owned(),
        value,
        limit: limit.to_owned(),
        remedy: remedy.to_owned(),
    };
    if state.is_ending() {
        let remedy = "wait until it is over, or order it again";
        return Err(refuse(state.step_words(), "not ending yet", remedy));
    }
    match verb {
        Verb::Abort | Verb::Rollback => {
            let reason: String = reason.trim().chars().take(REASON_CHARS_MAX).collect();
            Ok(vec![Event::Returned {
                at,
                because: format!("aborted by {}: {reason}", by.id),
                by: Some(by),
            }])
        }
        Verb::Pause | Verb::Resume | Verb::Promote => Err(refuse(
            "under way".to_owned(),
            "a change that waits",
            "let it end, or abort it",
        )),
    }
}
