//! A small forward change: so many steps, each judged before and measured after.

use mainstay_change::{EffectId, Machine, Refusal};
use mainstay_core::{ChangeState, Span, Time, change::Moved};
use serde::{Deserialize, Serialize};

/// Oldest verdict that lets a step begin.
pub(crate) const VERDICT_WINDOW: Span = Span::from_secs(2);

pub(crate) struct Walk;

#[derive(Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) steps: u32,
}

#[derive(Clone)]
pub(crate) enum State {
    Judging { step: u32, steps: u32 },
    Acting { step: u32, steps: u32 },
    Done,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub(crate) enum Event {
    Began { step: u32 },
    Seen { step: u32 },
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub(crate) enum Input {
    Tick,
    Verdict { step: u32, pass: bool, at: Time },
    Seen { step: u32 },
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub(crate) enum Effect {
    Judge { step: u32 },
    Act { step: u32 },
}

impl Machine for Walk {
    const KIND: &'static str = "sim.walk";
    const SCHEMA: u16 = 1;
    type Plan = Plan;
    type State = State;
    type Event = Event;
    type Input = Input;
    type Effect = Effect;

    fn open(plan: Plan, _: Time) -> Result<State, Refusal> {
        let steps = plan.steps;
        Ok(State::Judging { step: 1, steps })
    }
    fn decide(state: &State, now: Time, input: Input) -> Result<Vec<Event>, Refusal> {
        Ok(match (state, input) {
            (State::Judging { step, .. }, Input::Verdict { step: of, pass, at }) => {
                let fresh = now.since(at) <= VERDICT_WINDOW && at.since(now) <= VERDICT_WINDOW;
                if of == *step && pass && fresh {
                    vec![Event::Began { step: of }]
                } else {
                    vec![]
                }
            }
            (State::Acting { step, .. }, Input::Seen { step: of }) if of == *step => {
                vec![Event::Seen { step: of }]
            }
            (State::Judging { .. } | State::Acting { .. } | State::Done, Input::Tick)
            | (State::Judging { .. } | State::Acting { .. } | State::Done, Input::Seen { .. })
            | (State::Acting { .. } | State::Done, Input::Verdict { .. }) => vec![],
        })
    }
    fn evolve(state: &mut State, event: &Event) {
        *state = match (&*state, event) {
            (State::Judging { steps, .. }, Event::Began { step }) => State::Acting {
                step: *step,
                steps: *steps,
            },
            (State::Acting { steps, .. }, Event::Seen { step }) if step < steps => State::Judging {
                step: step + 1,
                steps: *steps,
            },
            (State::Acting { .. }, Event::Seen { .. }) => State::Done,
            (State::Judging { .. } | State::Done, Event::Seen { .. })
            | (State::Acting { .. } | State::Done, Event::Began { .. }) => return,
        };
    }
    fn due(state: &State, _: Time) -> Vec<Effect> {
        match state {
            State::Judging { step, .. } => vec![Effect::Judge { step: *step }],
            State::Acting { step, .. } => vec![Effect::Act { step: *step }],
            State::Done => vec![],
        }
    }
    fn wake_at(_: &State) -> Option<Time> {
        None
    }
    fn tick() -> Input {
        Input::Tick
    }
    fn effect_id(effect: &Effect) -> EffectId {
        let (target, step, key) = match effect {
            Effect::Judge { step } => ("guard", step, "judge"),
            Effect::Act { step } => ("voyager", step, "replace"),
        };
        EffectId {
            target: target.to_owned(),
            generation: u64::from(*step),
            key: key.to_owned(),
        }
    }
    fn standing(state: &State) -> Moved {
        let (state, because) = match state {
            State::Judging { .. } | State::Acting { .. } => (ChangeState::Running, "under way"),
            State::Done => (ChangeState::Done, "every step was measured"),
        };
        Moved {
            state,
            because: because.to_owned(),
        }
    }
}
