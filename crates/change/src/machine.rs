//! What a change is walked by: a machine of four deterministic functions.
//!
//! A host commits the events that [`Machine::decide`] returns, folds them with [`Machine::evolve`], and
//! only then sends what [`Machine::due`] derives from the state. Recovery folds `evolve` alone, so an
//! implementation keeps nothing outside its state. None of the functions reads a clock, draws a random
//! number or does I/O; an input may arrive twice, and `now` may step back.

use mainstay_core::{Finding, Outcome, Time, change::Moved};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::guards::Direction;

/// Why an input was not accepted, and what would change that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{signal} is {value}, limit {limit}: {remedy}")]
pub struct Refusal {
    /// What was looked at.
    pub signal: String,
    /// What it is.
    pub value: String,
    /// What it would have to be.
    pub limit: String,
    /// What would change it.
    pub remedy: String,
}

impl From<Finding> for Refusal {
    fn from(finding: Finding) -> Self {
        Self {
            signal: finding.signal,
            value: finding.value,
            limit: finding.limit,
            remedy: finding.remedy,
        }
    }
}

impl Refusal {
    /// As a failed reason within a verdict.
    pub fn finding(&self) -> Finding {
        Finding {
            signal: self.signal.clone(),
            outcome: Outcome::Fail,
            value: self.value.clone(),
            limit: self.limit.clone(),
            remedy: self.remedy.clone(),
        }
    }
}

/// What makes an effect one effect: its receiver applies it once, and never after a newer generation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EffectId {
    /// What it acts on, such as an instance.
    pub target: String,
    /// Rises with every step that acts on the target again.
    pub generation: u64,
    /// What it does, such as `stop`.
    pub key: String,
}

/// Four deterministic functions over a state, and how the state begins and is told.
pub trait Machine: 'static {
    /// Kind of the plans it walks, such as `freeze`; its events are entries of kind `KIND.event`.
    const KIND: &'static str;
    /// Version of the schema of its plan and events.
    const SCHEMA: u16;
    /// What it walks.
    type Plan: DeserializeOwned;
    /// Where it stands; folded from events alone.
    type State: Clone + Send;
    /// What happened.
    type Event: Serialize + DeserializeOwned;
    /// What it is told.
    type Input: DeserializeOwned;
    /// What it wants done.
    type Effect: Serialize;

    /// The state before the first event.
    fn open(plan: Self::Plan, opened_at: Time) -> Result<Self::State, Refusal>;
    /// What follows from `input`: nothing, events, or a refusal.
    fn decide(
        state: &Self::State,
        now: Time,
        input: Self::Input,
    ) -> Result<Vec<Self::Event>, Refusal>;
    /// Folds an event in.
    fn evolve(state: &mut Self::State, event: &Self::Event);
    /// What should be under way now.
    fn due(state: &Self::State, now: Time) -> Vec<Self::Effect>;
    /// When to be told [`Machine::tick`], if nothing happens before.
    fn wake_at(state: &Self::State) -> Option<Time>;
    /// The input that says time has passed.
    fn tick() -> Self::Input;
    /// What makes `effect` one effect.
    fn effect_id(effect: &Self::Effect) -> EffectId;
    /// Which way it goes: what restores may be written when the ledger's disk is full.
    fn direction(_: &Self::State) -> Direction {
        Direction::Forward
    }
    /// Where the change stands, and why, for everyone else.
    fn standing(state: &Self::State) -> Moved;
}
