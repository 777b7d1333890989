//! Incidents: from an alert, or a person, to somebody who acts, to an end.
//!
//! Guarantees: what was opened is told to people, step after step, until as many as the policy wants acknowledge; a
//! page that was begun and whose end is not known is sent again under the same key; a channel that fails, or that
//! nobody answers, is followed by the person's next. Deadlines that pass are written down and escalate. After an
//! acknowledgement nobody is told any more, but of P0 those who are told of every P0. **Never** reads a clock and
//! never sends anything itself.
//!
//! An incident is hosted as every change is: its stream is `change/inc-…`, and its plan, of kind `incident`, holds a
//! snapshot of the policy. Whoever acts on it writes events of the same machine into the stream.
//!
//! ```
//! use mainstay_change::Machine as _;
//! use mainstay_core::{Name, Time, escalation::{EscalationPolicySpec, Severity}};
//! use mainstay_oncall::{escalation::Policy, incident::{Effect, Incident, Plan}};
//! let policy = Policy::snapshot(&Name::new("web")?, &EscalationPolicySpec::default());
//! let plan = Plan::new("inc-1".parse()?, "the shop is slow", Severity::P1, policy);
//! let state = Incident::open(plan, Time::from_millis(0))?;
//! let due = Incident::due(&state, Time::from_millis(0));
//! assert!(matches!(&due[0], Effect::Find { step: 0, .. }), "who is primary now?");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod audit;
mod decide;
mod evolve;
mod message;
mod page;
mod plan;
mod state;
mod stream;
mod timeline;
mod view;

use mainstay_change::{EffectId, Machine, Refusal};
use mainstay_core::{ChangeState, Time, change::Moved};

pub use message::{AlertBrief, Effect, Event, Input, NoteKind, Role, Which};
pub use page::{AT_P0, Ask, Page, PageStatus, key};
pub(crate) use plan::cut;
pub use plan::{Plan, TITLE_MAX};
pub use state::{State, Status, Task};
pub use stream::{Folded, StreamError, entries_of, fold};
pub use timeline::{Line, timeline};
pub use view::{summary, view};

/// Kind of the plans.
pub const KIND: &str = "incident";
/// Kind of the entries that hold events.
pub const EVENT: &str = "incident.event";

/// The machine.
#[derive(Debug)]
pub struct Incident;

impl Machine for Incident {
    const KIND: &'static str = KIND;
    const SCHEMA: u16 = 1;
    type Plan = Plan;
    type State = State;
    type Event = Event;
    type Input = Input;
    type Effect = Effect;

    fn open(plan: Plan, opened_at: Time) -> Result<State, Refusal> {
        if plan.policy.steps.is_empty() {
            return Err(Refusal {
                signal: "policy.steps".to_owned(),
                value: "none".to_owned(),
                limit: "at least one".to_owned(),
                remedy: "open it under a policy that tells somebody".to_owned(),
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

    fn due(state: &State, now: Time) -> Vec<Effect> {
        let mut due = Vec::new();
        if let Some(next) = &state.escalation
            && now >= next.at
            && let Some(step) = state.plan.policy.step(next.step)
        {
            due.push(Effect::Find {
                cycle: next.cycle,
                step: next.step,
                who: step.who.clone(),
            });
        }
        if let Some(summons) = &state.summons
            && now >= summons.at
        {
            due.push(Effect::Find {
                cycle: summons.number,
                step: AT_P0,
                who: state.plan.policy.at_p0.clone(),
            });
        }
        due.extend(state.sending().map(Effect::Send));
        due
    }

    fn wake_at(state: &State) -> Option<Time> {
        decide::wake_at(state)
    }

    fn tick() -> Input {
        Input::Tick
    }

    fn effect_id(effect: &Effect) -> EffectId {
        let (generation, key) = match effect {
            Effect::Find { cycle, step, .. } => (
                (u64::from(*cycle) << 32) | u64::from(*step),
                "find".to_owned(),
            ),
            Effect::Send(ask) => (u64::from(ask.attempt), ask.key.clone()),
        };
        EffectId {
            target: KIND.to_owned(),
            generation,
            key,
        }
    }

    fn standing(state: &State) -> Moved {
        let is_over = state.status() == Status::Closed;
        Moved {
            state: if is_over {
                ChangeState::Done
            } else {
                ChangeState::Running
            },
            because: state.because(),
        }
    }
}

#[cfg(test)]
mod tests;
