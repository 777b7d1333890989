//! What is ordered at three in the morning, and a changed count of instances: restart, drain, kill, shed, scale.
//! Measured, capacity-safe, in the ledger.
//!
//! Guarantees: takes no instance out that it was not granted; a restart or kill is done when every old process
//! was seen gone and a later one seen serving, and says which had to be killed; what is temporary is undone by
//! its deadline, whoever is away. A restart of what was measured dead is restoring: neither a freeze nor missing
//! evidence holds it, only capacity does. Never starts a version other than the one that was there.
//!
//! ```text
//! restart: leasing ⇄ (placing one more) → draining → replacing → leasing … → trimming → settling → done
//! kill:    the same without draining; its instances get no grace
//! scale:   (leasing → replacing, for what is added) → leasing → draining → replacing, until gone → … → settling → done
//! drain:   leasing → draining → holding → returning → settling → done
//! shed:    applying → holding → returning → settling → done
//! ```

mod decide;
mod evolve;
pub mod message;
pub mod plan;
mod state;
#[cfg(test)]
mod tests;

use mainstay_change::{Direction, EffectId, Machine, Refusal};
use mainstay_core::{ChangeState, Time, change::Moved};

pub use decide::GRANT_WITHIN;
pub use message::{Effect, Event, Input};
pub use plan::{ActionPlan, Process, Processes, Task};
pub use state::State;
pub(crate) use state::percent;

use state::Phase;

/// Kind of an action's plan, and target of its effects.
pub const KIND: &str = "action";

/// The machine of one action.
#[derive(Debug)]
pub struct Action;

impl Machine for Action {
    const KIND: &'static str = KIND;
    const SCHEMA: u16 = 1;
    type Plan = ActionPlan;
    type State = State;
    type Event = Event;
    type Input = Input;
    type Effect = Effect;

    fn open(plan: ActionPlan, opened_at: Time) -> Result<State, Refusal> {
        let empty = match plan.task {
            Task::Restart | Task::Kill | Task::Drain => plan.targets.is_empty(),
            Task::Scale { .. } => plan.targets.is_empty() && plan.added.is_empty(),
            Task::Shed { .. } => plan.fabrics.is_empty(),
        };
        if empty {
            return Err(Refusal {
                signal: "instances".to_owned(),
                value: "none".to_owned(),
                limit: "at least one that is deployed".to_owned(),
                remedy: "list them with `mainstay get instances`".to_owned(),
            });
        }
        Ok(State::open(plan, opened_at))
    }

    fn decide(state: &State, now: Time, input: Input) -> Result<Vec<Event>, Refusal> {
        decide::decide(state, now, input)
    }

    fn evolve(state: &mut State, event: &Event) {
        evolve::evolve(state, event);
    }

    fn due(state: &State, _: Time) -> Vec<Effect> {
        let generation = state.generation;
        match state.phase {
            Phase::Leasing(_) if state.is_halted() => vec![],
            Phase::Leasing(batch) => vec![Effect::Lease {
                batch,
                since: state.since,
            }],
            Phase::Applying => vec![Effect::Confirm { generation }],
            Phase::Returning if state.places.is_empty() => vec![Effect::Confirm { generation }],
            Phase::Placing
            | Phase::Draining(_)
            | Phase::Replacing(_)
            | Phase::Returning
            | Phase::Trimming => vec![Effect::Observe { generation }],
            Phase::Settling => vec![Effect::Settle {
                deployment: state.deployment(),
            }],
            Phase::Holding | Phase::Ended(_) => vec![],
        }
    }

    fn wake_at(state: &State) -> Option<Time> {
        decide::wake_at(state)
    }

    fn tick() -> Input {
        Input::Tick
    }

    fn effect_id(effect: &Effect) -> EffectId {
        let (generation, key) = match effect {
            // Asked anew after a pause.
            Effect::Lease { batch, since } => {
                (u64::from(*batch), format!("lease-{}", since.millis()))
            }
            Effect::Observe { generation } => (*generation, "observe".to_owned()),
            Effect::Confirm { generation } => (*generation, "confirm".to_owned()),
            Effect::Settle { deployment } => (
                deployment.as_ref().map_or(0, |it| it.number),
                "settle".to_owned(),
            ),
        };
        EffectId {
            target: KIND.to_owned(),
            generation,
            key,
        }
    }

    fn direction(state: &State) -> Direction {
        state.plan().direction
    }

    fn standing(state: &State) -> Moved {
        let (standing, because) = match (&state.phase, &state.paused) {
            (Phase::Ended(ended), _) => (*ended, state.summary()),
            (_, Some(pause)) => (ChangeState::Paused, pause.because.clone()),
            (_, None) => match &state.aborted {
                Some(aborted) => (ChangeState::RollingBack, aborted.clone()),
                None => (ChangeState::Running, state.step_words()),
            },
        };
        Moved {
            state: standing,
            because,
        }
    }
}
