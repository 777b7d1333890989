//! A live limit test: how much an instance carries is measured by giving it more of the real load, step by step.
//!
//! Guarantees: no step begins unless what was measured just before says that the rest of the fabric is fine; the
//! share goes back to a full one at the end, on a person's word, at every deadline and whenever a router falls
//! silent, and the test is over only when that was seen. Its figure is a lower bound: the most that was held
//! within the service's objective for a whole hold. Never touches another instance, and never stands in the way
//! of another change of its service: it ends as soon as one is opened. That a limit which breaks ends the share
//! at once is the router's doing, whatever becomes of this.
//!
//! ```text
//! asking ⇄ applying → holding → asking (the next step) … → returning → done, with a figure; else aborted
//! ```

mod decide;
pub mod message;
pub mod plan;
mod state;
#[cfg(test)]
mod tests;

use mainstay_change::{Direction, EffectId, Machine, Refusal};
use mainstay_core::{Time, change::Moved};

pub use message::{Effect, Event, Input, Sample};
pub use plan::LimitPlan;
pub use state::State;

use state::Phase;

/// Kind of the plan of a limit test, and target of its effects.
pub const KIND: &str = "limit-test";

/// The machine of one limit test.
#[derive(Debug)]
pub struct LimitTest;

impl Machine for LimitTest {
    const KIND: &'static str = KIND;
    const SCHEMA: u16 = 1;
    type Plan = LimitPlan;
    type State = State;
    type Event = Event;
    type Input = Input;
    type Effect = Effect;

    fn open(plan: LimitPlan, opened_at: Time) -> Result<State, Refusal> {
        if plan.steps.is_empty()
            || plan
                .steps
                .iter()
                .any(|share| share.is_nan() || *share < 1.0)
        {
            return Err(Refusal {
                signal: "steps".to_owned(),
                value: format!("{:?}", plan.steps),
                limit: "shares of at least 1.0".to_owned(),
                remedy: "leave them out".to_owned(),
            });
        }
        Ok(State::open(plan, opened_at))
    }

    fn decide(state: &State, now: Time, input: Input) -> Result<Vec<Event>, Refusal> {
        decide::decide(state, now, input)
    }

    fn evolve(state: &mut State, event: &Event) {
        state.evolve(event);
    }

    fn due(state: &State, _: Time) -> Vec<Effect> {
        let generation = state.generation;
        match state.phase {
            Phase::Asking => vec![Effect::Ask { generation }],
            Phase::Applying | Phase::Returning => vec![Effect::Confirm { generation }],
            Phase::Holding => vec![Effect::Watch {
                generation,
                until: state.held_at(),
            }],
            Phase::Ended(_) => vec![],
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
            Effect::Ask { generation } => (*generation, "ask"),
            Effect::Confirm { generation } => (*generation, "confirm"),
            Effect::Watch { generation, .. } => (*generation, "watch"),
        };
        EffectId {
            target: KIND.to_owned(),
            generation,
            key: key.to_owned(),
        }
    }

    fn direction(state: &State) -> Direction {
        state.direction()
    }

    fn standing(state: &State) -> Moved {
        state.standing()
    }
}
