//! What follows from an input. Pure: no clock, no randomness, no I/O.

use mainstay_change::{
    Direction, Refusal,
    planted::{self, Bug},
};
use mainstay_core::{Actor, Measured, Outcome, Span, Time, Verdict};

use super::{
    message::{Event, Input},
    plan::{Processes, Task},
    state::{Phase, State},
};
use crate::{moves::Verb, rollout::FRESH, slots::Slots};

/// How long it asks for room before a person is called: somebody waits for it at a terminal.
pub const GRANT_WITHIN: Span = Span::from_secs(120);
/// Longest reason, in characters.
const REASON_CHARS_MAX: usize = 512;

/// What follows from `input`.
pub(super) fn decide(state: &State, now: Time, input: Input) -> Result<Vec<Event>, Refusal> {
    match input {
        Input::Tick => Ok(tick(state, now)),
        Input::Granted {
            batch,
            slots,
            before,
            room,
            verdict,
        } => Ok(if state.asks_for(batch) && !state.is_halted() {
            granted(state, now, &slots, before, room, verdict)
        } else {
            vec![]
        }),
        Input::Seen {
            generation,
            verified,
            killed,
            drained,
            failing,
        } => Ok(if generation == state.generation {
            seen(state, now, &verified, &killed, &drained, failing)
        } else {
            vec![]
        }),
        Input::Routed {
            generation,
            applied,
        } => Ok(if generation == state.generation {
            routed(state, now, &applied)
        } else {
            vec![]
        }),
        Input::Settled => Ok(if state.phase == Phase::Settling {
            vec![Event::Settled { at: now }]
        } else {
            vec![]
        }),
        Input::Order {
            verb,
            actor,
            reason,
        } => order(state, now, verb, actor, &reason),
    }
}

fn granted(
    state: &State,
    now: Time,
    slots: &Slots,
    before: Processes,
    room: bool,
    verdict: Verdict,
) -> Vec<Event> {
    let batch = state.batches + 1;
    let candidates = state.candidates();
    let slots: Slots = slots
        .iter()
        .filter(|slot| candidates.contains(slot))
        .cloned()
        .collect();
    // A lease that was taken is not enough: forward needs a verdict that passes.
    let permitted = state.plan.direction == Direction::Restoring
        || verdict.outcome() == Outcome::Pass && !verdict.findings.is_empty();
    if !slots.is_empty() && permitted {
        return vec![Event::Began {
            at: now,
            batch,
            slots,
            before,
            verdict,
        }];
    }
    let mut events = Vec::new();
    if is_news(state.held.as_ref(), &verdict) {
        events.push(Event::Held {
            at: now,
            batch,
            verdict,
        });
    }
    let added = state.room();
    if room && !added.is_empty() {
        events.push(Event::Surged {
            at: now,
            slots: added,
        });
    }
    events
}

/// Whether a verdict says something else than the one before.
fn is_news(before: Option<&Verdict>, verdict: &Verdict) -> bool {
    let worst = |verdict: &Verdict| -> Vec<(String, Outcome)> {
        let bad = verdict.findings.iter();
        bad.filter(|it| it.outcome != Outcome::Pass)
            .map(|it| (it.signal.clone(), it.outcome))
            .collect()
    };
    before.is_none_or(|before| worst(before) != worst(verdict))
}

fn seen(
    state: &State,
    now: Time,
    verified: &Measured<Slots>,
    killed: &Slots,
    drained: &Slots,
    failing: Option<(Slots, String)>,
) -> Vec<Event> {
    let fresh = verified.is_fresh(now, FRESH);
    match state.phase {
        Phase::Placing | Phase::Replacing(_) => {
            let starting = state.arriving();
            let both = |slots: &Slots| -> Slots {
                let found = slots.iter().filter(|it| starting.contains(it));
                found.cloned().collect()
            };
            let new = both(verified.value());
            if fresh && !new.is_empty() {
                return vec![Event::Verified {
                    at: now,
                    killed: killed
                        .iter()
                        .filter(|it| new.contains(it))
                        .cloned()
                        .collect(),
                    slots: new,
                    source: verified.source().to_owned(),
                }];
            }
            match failing {
                Some((slots, because)) if state.paused.is_none() => vec![pause(
                    now,
                    format!("{} cannot start: {because}", slots.len()),
                )],
                Some(_) | None => vec![],
            }
        }
        Phase::Draining(_) if drained.covers(&state.resting()) => vec![Event::Drained {
            at: now,
            overdue: false,
        }],
        Phase::Returning if fresh && verified.value().covers(&state.arriving()) => {
            vec![Event::Back {
                at: now,
                source: verified.source().to_owned(),
            }]
        }
        Phase::Trimming if drained.covers(&state.resting()) => vec![Event::Trimmed { at: now }],
        Phase::Draining(_)
        | Phase::Returning
        | Phase::Trimming
        | Phase::Leasing(_)
        | Phase::Applying
        | Phase::Holding
        | Phase::Settling
        | Phase::Ended(_) => vec![],
    }
}

fn routed(state: &State, now: Time, applied: &Measured<bool>) -> Vec<Event> {
    let is_applied = *applied.value() || planted::is(Bug::TablesBelieved);
    if !is_applied || !applied.is_fresh(now, FRESH) {
        return vec![];
    }
    let source = applied.source().to_owned();
    match state.phase {
        Phase::Applying => vec![Event::Applied { at: now, source }],
        Phase::Returning if state.places.is_empty() => vec![Event::Back { at: now, source }],
        Phase::Returning
        | Phase::Leasing(_)
        | Phase::Placing
        | Phase::Draining(_)
        | Phase::Replacing(_)
        | Phase::Holding
        | Phase::Trimming
        | Phase::Settling
        | Phase::Ended(_) => vec![],
    }
}

fn pause(at: Time, because: String) -> Event {
    Event::Paused {
        at,
        by: None,
        because: because.chars().take(REASON_CHARS_MAX).collect(),
    }
}

/// When the wait of the present phase ends, if it does.
fn phase_ends(state: &State) -> Option<Time> {
    let plan = &state.plan;
    let wait = match state.phase {
        Phase::Leasing(_) => GRANT_WITHIN,
        Phase::Placing | Phase::Replacing(_) | Phase::Applying | Phase::Returning => {
            plan.verify_within
        }
        Phase::Draining(_) | Phase::Trimming => plan.drain_within,
        Phase::Holding | Phase::Settling | Phase::Ended(_) => return None,
    };
    // A pause is said once; coming to rest is never waited for longer.
    let asks_once = !matches!(state.phase, Phase::Draining(_) | Phase::Trimming);
    (!asks_once || state.paused.is_none()).then_some(state.since + wait)
}

/// When time alone makes it move: what is temporary is undone in its time, whatever else it waits for.
pub(super) fn wake_at(state: &State) -> Option<Time> {
    phase_ends(state).into_iter().chain(state.until()).min()
}

fn tick(state: &State, now: Time) -> Vec<Event> {
    if let Some(until) = state.until()
        && now >= until
        && !planted::is(Bug::TemporaryStays)
    {
        return vec![Event::Returned {
            at: now,
            by: None,
            because: format!("its {} were over", state.plan.lasts),
        }];
    }
    if phase_ends(state).is_none_or(|at| now < at) {
        return vec![];
    }
    let waited = now.since(state.since);
    vec![match state.phase {
        Phase::Leasing(batch) => {
            let what = state
                .held
                .as_ref()
                .map_or_else(|| "no answer".to_owned(), Verdict::sentence);
            pause(
                now,
                format!("batch {batch} may not begin after {waited}: {what}"),
            )
        }
        Phase::Placing | Phase::Replacing(_) => {
            let missing = state.arriving().len();
            pause(
                now,
                format!("{missing} not verified within {waited}; nothing was seen that says why"),
            )
        }
        Phase::Applying | Phase::Returning => pause(
            now,
            format!("a router was not seen to act on it within {waited}"),
        ),
        Phase::Draining(_) => Event::Drained {
            at: now,
            overdue: true,
        },
        Phase::Trimming => Event::Trimmed { at: now },
        Phase::Holding | Phase::Settling | Phase::Ended(_) => return vec![],
    }]
}

fn refuse(value: impl Into<String>, limit: &str, remedy: &str) -> Refusal {
    Refusal {
        signal: "action".to_owned(),
        value: value.into(),
        limit: limit.to_owned(),
        remedy: remedy.to_owned(),
    }
}

fn order(
    state: &State,
    at: Time,
    verb: Verb,
    by: Actor,
    reason: &str,
) -> Result<Vec<Event>, Refusal> {
    let reason: String = reason.trim().chars().take(REASON_CHARS_MAX).collect();
    match state.phase {
        Phase::Ended(ended) => {
            let value = format!("over: {ended:?}");
            return Err(refuse(value, "under way", "order it again"));
        }
        Phase::Returning | Phase::Trimming | Phase::Settling => {
            let value = state.step_words();
            return Err(refuse(value, "not ending yet", "wait until it is over"));
        }
        Phase::Leasing(_)
        | Phase::Placing
        | Phase::Draining(_)
        | Phase::Replacing(_)
        | Phase::Applying
        | Phase::Holding => {}
    }
    let restoring = state.plan.direction == Direction::Restoring;
    Ok(vec![match (verb, &state.paused) {
        (Verb::Pause, _) if restoring => {
            let remedy = "let it end, or abort it";
            return Err(refuse("restoring", "a way forward", remedy));
        }
        (Verb::Pause, None) => Event::Paused {
            at,
            by: Some(by),
            because: reason,
        },
        (Verb::Pause, Some(_)) => {
            return Err(refuse("paused", "under way", "resume it, or abort it"));
        }
        (Verb::Resume, Some(_)) => Event::Resumed { at, by, reason },
        (Verb::Resume, None) => match state.plan.task {
            Task::Drain | Task::Shed { .. } => Event::Returned {
                at,
                because: format!("resumed by {}: {reason}", by.id),
                by: Some(by),
            },
            Task::Restart | Task::Kill | Task::Scale { .. } => {
                return Err(refuse("under way", "paused", "nothing is to be resumed"));
            }
        },
        (Verb::Abort | Verb::Rollback, _) if state.aborted.is_some() => {
            let remedy = "wait until what was ordered anew is seen";
            return Err(refuse("aborted", "under way", remedy));
        }
        (Verb::Abort | Verb::Rollback, _) => Event::Aborted { at, by, reason },
        (Verb::Promote, _) => {
            let remedy = "it waits for capacity or for processes, which no word replaces";
            return Err(refuse("no gate", "waiting for evidence", remedy));
        }
    }])
}
