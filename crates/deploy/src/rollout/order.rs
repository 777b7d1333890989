//! What people may tell a rollout, and when it is refused.

use mainstay_change::{Direction, Refusal};
use mainstay_core::{Actor, Time};

use super::{
    message::{Event, Ruling, Verb},
    state::{Phase, State},
};

/// Longest reason of a person, in bytes.
const REASON_BYTES_MAX: usize = 512;

fn refuse<T>(value: impl Into<String>, limit: &str, remedy: &str) -> Result<T, Refusal> {
    Err(Refusal {
        signal: "rollout".to_owned(),
        value: value.into(),
        limit: limit.to_owned(),
        remedy: remedy.to_owned(),
    })
}

/// Whether anything may be ordered where it stands.
fn held_against(state: &State, verb: Verb) -> Result<(), Refusal> {
    if let Phase::Ended(ended) = &state.phase {
        let value = format!("over: {ended:?}");
        return refuse(value, "under way", "start another rollout");
    }
    if state.direction == Direction::Restoring {
        return refuse(
            "on its way back".to_owned(),
            "on its way forward",
            "wait until it is back; restoring is not stopped",
        );
    }
    if state.phase == Phase::Settling {
        // The entry that says what runs may be written already: turning back now would contradict it.
        return refuse(
            "done but for its last entry".to_owned(),
            "under way",
            "start another rollout, to the version before",
        );
    }
    if matches!(verb, Verb::Abort | Verb::Rollback) && state.has_retired() {
        return refuse(
            "baked, and partly without its first set".to_owned(),
            "the first set whole",
            "start another rollout, to the version before",
        );
    }
    Ok(())
}

/// What follows from a person's word.
pub(super) fn order(
    state: &State,
    now: Time,
    verb: Verb,
    by: Actor,
    reason: &str,
) -> Result<Vec<Event>, Refusal> {
    let reason: String = reason.trim().chars().take(REASON_BYTES_MAX).collect();
    held_against(state, verb)?;
    let at = now;
    Ok(vec![match (verb, &state.paused) {
        (Verb::Pause, None) => Event::Paused {
            at,
            by: Some(by),
            because: reason,
            unrouted: false,
        },
        (Verb::Pause, Some(_)) => {
            return refuse("paused".to_owned(), "under way", "resume it, or abort it");
        }
        (Verb::Resume, Some(_)) => Event::Resumed { at, by, reason },
        (Verb::Resume, None) => {
            return refuse("under way".to_owned(), "paused", "nothing is to be resumed");
        }
        (Verb::Abort | Verb::Rollback, _) => Event::Aborted { at, by, reason },
        (Verb::Promote, _) => {
            if !matches!(state.phase, Phase::Judging(_)) {
                let remedy = match state.stops() {
                    Some(_) => "resume it: no evidence is missing",
                    None => "wait until it asks for evidence",
                };
                return refuse(state.phase_words(), "waiting at a gate", remedy);
            }
            if state.ruling == Ruling::SharedFailure {
                return refuse(
                    "both versions fail".to_owned(),
                    "evidence that does not come",
                    "mend what both depend on, then resume",
                );
            }
            if reason.is_empty() {
                return refuse(
                    "no reason".to_owned(),
                    "a reason that others can read",
                    "give one with --reason",
                );
            }
            Event::Promoted { at, by, reason }
        }
    }])
}
