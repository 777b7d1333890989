//! The rollout: a version walked over a service, each step judged before and measured after.
//!
//! Guarantees: goes forward on a fresh *pass* alone, or on a person's word where evidence does not come;
//! turns back on any failed guard until the bake ends; on the way back neither missing evidence nor a
//! pause holds it, and routes move before processes. Every wait ends. Never takes an instance out of
//! service that it was not granted, and never counts one that was not seen as wanted.
//!
//! ```text
//! admitting → placing (canary, control) → judging 1 % → 5 % → 25 % → leasing ⇄ draining → replacing → judging
//!     → baking → trimming → settling → done
//! any of these, on harm: → leasing → draining → replacing (old version) … → trimming → settling → rolled back
//! ```

mod decide;
mod evolve;
pub mod message;
mod order;
mod share;
mod state;
#[cfg(test)]
mod tests;

use mainstay_change::{Direction, EffectId, Machine, Refusal};
use mainstay_core::{ChangeState, Time, change::Moved};

pub use decide::{DWELL, FRESH};
pub use message::{Effect, Event, Expected, Gate, Input, Ruling, Verb};
pub use state::{Probed, Progress, Role, State};

use crate::{
    plan::RolloutPlan,
    slots::{Slot, Slots},
};
use state::Phase;

/// Kind of a rollout's plan.
pub const KIND: &str = "rollout";

/// The machine of one rollout.
#[derive(Debug)]
pub struct Rollout;

impl Machine for Rollout {
    const KIND: &'static str = KIND;
    const SCHEMA: u16 = 1;
    type Plan = RolloutPlan;
    type State = State;
    type Event = Event;
    type Input = Input;
    type Effect = Effect;

    fn open(plan: RolloutPlan, opened_at: Time) -> Result<State, Refusal> {
        if plan.base.slots().next().is_none() {
            return Err(Refusal {
                signal: "instances".to_owned(),
                value: "0".to_owned(),
                limit: "at least one, on a host".to_owned(),
                remedy: "declare instances, and hosts in their fabrics".to_owned(),
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
        let mut due = Vec::new();
        let halted = state.is_halted();
        match &state.phase {
            Phase::Admitting if !halted => due.push(Effect::Admit),
            Phase::Leasing(batch) if !halted && state.stops().is_none() => {
                due.push(Effect::Lease {
                    batch: *batch,
                    direction: state.direction,
                    candidates: evolve::candidates(state),
                });
            }
            Phase::Settling => due.push(Effect::Settle {
                deployment: state.deployment(),
            }),
            Phase::Admitting
            | Phase::Leasing(_)
            | Phase::Placing
            | Phase::Judging(_)
            | Phase::Draining(..)
            | Phase::Replacing(..)
            | Phase::Trimming
            | Phase::Ended(_) => {}
        }
        if state.is_exposed() {
            due.push(Effect::Judge {
                since: state.since,
                gate: match &state.phase {
                    Phase::Judging(gate) => *gate,
                    _ => Gate::Batch {
                        batch: state.batches,
                    },
                },
                control: state.control(),
                probes: state.probing,
            });
        }
        if !halted {
            due.extend(observed(state));
        }
        due
    }

    fn wake_at(state: &State) -> Option<Time> {
        let waits_for_a_person = state.paused.is_some() || state.stuck.is_some();
        if waits_for_a_person {
            None
        } else {
            decide::deadline(state)
        }
    }

    fn tick() -> Input {
        Input::Tick
    }

    fn effect_id(effect: &Effect) -> EffectId {
        let (generation, key) = match effect {
            Effect::Admit => (0, "admit"),
            Effect::Observe { generation, .. } => (*generation, "observe"),
            Effect::Judge { since, .. } => (u64::try_from(since.millis()).unwrap_or(0), "judge"),
            Effect::Lease { batch, .. } => (u64::from(*batch), "lease"),
            Effect::Settle { deployment } => (deployment.number, "settle"),
        };
        EffectId {
            target: "rollout".to_owned(),
            generation,
            key: key.to_owned(),
        }
    }

    fn direction(state: &State) -> Direction {
        state.direction
    }

    fn standing(state: &State) -> Moved {
        let (standing, because) = match (&state.phase, &state.paused, &state.stuck) {
            (Phase::Ended(ended), ..) => {
                let because = state.failure.clone().unwrap_or_else(|| {
                    format!("every instance runs {}, as measured", state.plan.to)
                });
                (*ended, because)
            }
            (_, _, Some(stuck)) => (
                ChangeState::Paused,
                format!("on its way back, stuck: {stuck}"),
            ),
            (_, Some(pause), None) => (ChangeState::Paused, pause.because.clone()),
            (_, None, None) => match &state.failure {
                Some(failure) => (ChangeState::RollingBack, failure.clone()),
                None => (ChangeState::Running, state.phase_words()),
            },
        };
        Moved {
            state: standing,
            because,
        }
    }
}

fn observed(state: &State) -> Option<Effect> {
    let is_control = |slot: &Slot| state.slots.get(slot).map(|it| it.role) == Some(Role::Control);
    let awaited = state.awaited();
    let (control, starting): (Vec<&Slot>, Vec<&Slot>) =
        awaited.iter().partition(|slot| is_control(slot));
    let control: Slots = control.into_iter().cloned().collect();
    let starting: Slots = starting.into_iter().cloned().collect();
    let draining = state.resting();
    let wanted = starting
        .iter()
        .next()
        .and_then(|slot| state.slots.get(slot))
        .map_or_else(
            || Expected {
                version: state.plan.to.clone(),
                incarnation: state.plan.forward_incarnation(),
            },
            |slot| Expected {
                version: slot.version.clone(),
                incarnation: slot.incarnation,
            },
        );
    let idle = starting.is_empty() && control.is_empty() && draining.is_empty();
    (!idle).then_some(Effect::Observe {
        generation: state.generation,
        starting,
        expected: wanted,
        control,
        draining,
    })
}
