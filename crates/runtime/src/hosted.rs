//! Machines without their types: a change names the kind of its plan, and the codec registered for
//! that kind opens it.

use std::collections::BTreeMap;

use mainstay_change::{Direction, EffectId, Machine, Refusal};
use mainstay_core::{
    Time,
    change::{Moved, Plan},
};

/// Why a stored plan, event or input cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Nobody registered this kind, or not this version of it.
    #[error("no machine for plan `{kind}` version {schema}")]
    UnknownPlan {
        /// Kind of the plan.
        kind: String,
        /// Its version.
        schema: u16,
    },
    /// Bytes that do not decode.
    #[error("{what} does not decode: {why}")]
    Undecodable {
        /// What.
        what: &'static str,
        /// Why.
        why: String,
    },
    /// The machine refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

pub(crate) fn undecodable(what: &'static str) -> impl Fn(serde_json::Error) -> HostError {
    move |error| HostError::Undecodable {
        what,
        why: error.to_string(),
    }
}

/// Events that a machine decided on, as stored, and where the change stands after them.
pub(crate) struct Decided {
    pub(crate) bodies: Vec<String>,
    pub(crate) after: Moved,
    pub(crate) direction: Direction,
}

pub(crate) trait Hosted: Send {
    fn decide(&self, now: Time, input: Option<&str>) -> Result<Decided, HostError>;
    fn evolve(&mut self, body: &str) -> Result<(), HostError>;
    fn due(&self, now: Time) -> Result<Vec<(EffectId, String)>, HostError>;
    fn wake_at(&self) -> Option<Time>;
    fn standing(&self) -> Moved;
}

struct Host<M: Machine>(M::State);

impl<M: Machine> Hosted for Host<M> {
    /// `None` is a tick.
    fn decide(&self, now: Time, input: Option<&str>) -> Result<Decided, HostError> {
        let input = match input {
            None => M::tick(),
            Some(text) => serde_json::from_str(text).map_err(undecodable("input"))?,
        };
        let events = M::decide(&self.0, now, input)?;
        let mut after = self.0.clone();
        let mut bodies = Vec::with_capacity(events.len());
        for event in &events {
            M::evolve(&mut after, event);
            bodies.push(serde_json::to_string(event).map_err(undecodable("event"))?);
        }
        Ok(Decided {
            bodies,
            after: M::standing(&after),
            direction: M::direction(&after),
        })
    }
    fn evolve(&mut self, body: &str) -> Result<(), HostError> {
        let event = serde_json::from_str(body).map_err(undecodable("event"))?;
        M::evolve(&mut self.0, &event);
        Ok(())
    }
    fn due(&self, now: Time) -> Result<Vec<(EffectId, String)>, HostError> {
        M::due(&self.0, now)
            .iter()
            .map(|effect| {
                let body = serde_json::to_string(effect).map_err(undecodable("effect"))?;
                Ok((M::effect_id(effect), body))
            })
            .collect()
    }
    fn wake_at(&self) -> Option<Time> {
        M::wake_at(&self.0)
    }
    fn standing(&self) -> Moved {
        M::standing(&self.0)
    }
}

type OpenFn = fn(&Plan, Time) -> Result<Box<dyn Hosted>, HostError>;

/// The machines a runtime can host, by kind of plan.
#[derive(Default)]
pub struct Codecs(BTreeMap<(&'static str, u16), OpenFn>);

impl Codecs {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }
    /// Adds a machine.
    #[must_use]
    pub fn with<M: Machine>(mut self) -> Self {
        self.0.insert((M::KIND, M::SCHEMA), |plan, at| {
            let plan = serde_json::from_str(&plan.body).map_err(undecodable("plan"))?;
            Ok(Box::new(Host::<M>(M::open(plan, at)?)))
        });
        self
    }
    pub(crate) fn open(&self, plan: &Plan, at: Time) -> Result<Box<dyn Hosted>, HostError> {
        let open = self
            .0
            .get(&(plan.kind.as_str(), plan.schema))
            .ok_or_else(|| HostError::UnknownPlan {
                kind: plan.kind.clone(),
                schema: plan.schema,
            })?;
        open(plan, at)
    }
}
