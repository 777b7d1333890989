//! What actions ask for, done.
//!
//! As with rollouts each effect is a long question, and asking twice does nothing twice. Which instances are
//! meant is read from the committed state of the generation that asks.

pub mod seen;

use mainstay_change::Direction;
use mainstay_core::{ChangeId, Finding, Measured, Outcome, ServiceName};
use tokio::time::Instant;

use super::{
    Engine,
    perform::{LOOK_EVERY, OPEN_FOR},
};
use crate::{
    action::{Effect, Input, State},
    moves::Sought,
};
use seen::{Arriving, Leased};

/// How often a lease is asked for again.
const ASK_EVERY: std::time::Duration = std::time::Duration::from_millis(500);

impl Engine {
    /// Does what the action `change` asks for by `effect`; answers with inputs, as JSON.
    pub async fn perform_action(&self, change: ChangeId, effect: String) -> Vec<String> {
        let input = match serde_json::from_str(&effect) {
            Ok(effect) => self.answer_action(&change, effect).await,
            Err(error) => {
                tracing::error!(%change, %error, "an effect cannot be read");
                None
            }
        };
        let text = input.map(|input| serde_json::to_string(&input)).transpose();
        text.inspect_err(|error| tracing::error!(%change, %error, "an input cannot be written"))
            .ok()
            .flatten()
            .into_iter()
            .collect()
    }

    async fn answer_action(&self, change: &ChangeId, effect: Effect) -> Option<Input> {
        let service = self.service_of(change).await?;
        match effect {
            Effect::Lease { batch, .. } => self.lease_action(change, &service, batch).await,
            Effect::Observe { generation } => {
                self.observe_action(change, &service, generation).await
            }
            Effect::Confirm { generation } => self.confirm_routes(change, generation).await,
            Effect::Settle { deployment } => match deployment {
                Some(deployment) => self
                    .settle(change, &service, &deployment)
                    .await
                    .map(|_| Input::Settled),
                None => self.let_go(change, &service).await,
            },
        }
    }

    /// The committed state, once the read model is as far as `is`.
    async fn state_once(&self, change: &ChangeId, is: impl Fn(&State) -> bool) -> Option<State> {
        let mut folded = self.0.folded.subscribe();
        let deadline = Instant::now() + OPEN_FOR;
        loop {
            if let Some(track) = self.model().actions.get(change)
                && is(&track.state)
            {
                return Some(track.state.clone());
            }
            tokio::time::timeout_at(deadline, folded.changed())
                .await
                .ok()?
                .ok()?;
        }
    }

    /// As many as may be out at once, once freezes, guards and those who have to act allow it.
    async fn lease_action(
        &self,
        change: &ChangeId,
        service: &ServiceName,
        batch: u32,
    ) -> Option<Input> {
        let deadline = Instant::now() + OPEN_FOR;
        let state = self.state_once(change, |it| it.asks_for(batch)).await?;
        let direction = state.plan().direction;
        let candidates = state.candidates();
        if state.starts_next() {
            return self.start_action(change, service, &state, batch).await;
        }
        loop {
            let admission = match direction {
                Direction::Forward => self.admission_findings(change, service).await?,
                Direction::Restoring => self.waived(change, service, Vec::new()),
            };
            let room = admission.iter().all(|it| it.outcome == Outcome::Pass);
            let mut leased = Leased::default();
            for fabric in candidates.fabrics().into_iter().filter(|_| room) {
                let grant = self
                    .lease_in(change, service, fabric, direction, &candidates)
                    .await?;
                leased.add(self.with_eyes(|it| it.carefully(change, &state, fabric, grant))?);
            }
            if leased.is_decided(&state, room) || Instant::now() + ASK_EVERY >= deadline {
                return Some(self.with_eyes(|it| leased.granted(it, &state, batch, admission)));
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// More of what runs takes nothing from anyone, so that neither capacity nor a guard holds it: where
    /// guards fail, more may be what helps. A freeze does, and hosts that are not there.
    async fn start_action(
        &self,
        change: &ChangeId,
        service: &ServiceName,
        state: &State,
        batch: u32,
    ) -> Option<Input> {
        let deadline = Instant::now() + OPEN_FOR;
        loop {
            let now = self.now();
            let mut findings = vec![self.freeze_finding(change, service, now)?];
            findings.extend(self.presence(change, now)?);
            let may = findings.iter().all(|it| it.outcome == Outcome::Pass);
            if may || Instant::now() + ASK_EVERY >= deadline {
                return Some(self.with_eyes(|it| it.started(state, batch, findings)));
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// What holds a forward step besides capacity; a declared emergency may waive missing evidence.
    async fn admission_findings(
        &self,
        change: &ChangeId,
        service: &ServiceName,
    ) -> Option<Vec<Finding>> {
        let now = self.now();
        let mut findings = vec![self.freeze_finding(change, service, now)?];
        findings.extend(self.presence(change, now)?);
        findings.extend(self.guard_findings(service, now).await);
        Some(self.waived(change, service, findings))
    }

    async fn observe_action(
        &self,
        change: &ChangeId,
        service: &ServiceName,
        generation: u64,
    ) -> Option<Input> {
        let state = self
            .state_once(change, |it| it.generation() >= generation)
            .await
            .filter(|it| it.generation() == generation)?;
        if !state.stopping().is_empty() {
            return self.observe_stopping(change, &state).await;
        }
        let Arriving { wanted, gone } = self.with_eyes(|it| it.arriving(&state))?;
        let current = |model: &crate::Model| {
            let track = model.actions.get(change);
            track.is_some_and(|it| it.state.generation() <= generation)
        };
        let resting = state.resting();
        let sought = Sought {
            service,
            wanted: &wanted,
            before: state.replaced(),
            draining: &resting,
        };
        let sighting = self.observe(sought, current).await?;
        Some(self.with_eyes(|it| it.told(&state, &gone, sighting)))
    }

    /// Which of those that stop for good their agents see gone.
    async fn observe_stopping(&self, change: &ChangeId, state: &State) -> Option<Input> {
        let deadline = Instant::now() + OPEN_FOR;
        loop {
            let told = self.with_eyes(|it| it.told_stopped(state));
            if told.is_some() || Instant::now() >= deadline {
                return told;
            }
            if self.model().actions.get(change)?.state.generation() > state.generation() {
                return None;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Whether the routers of its fabrics act on a table that says what is wanted now.
    async fn confirm_routes(&self, change: &ChangeId, generation: u64) -> Option<Input> {
        let state = self
            .state_once(change, |it| it.generation() >= generation)
            .await
            .filter(|it| it.generation() == generation)?;
        let deadline = Instant::now() + OPEN_FOR;
        loop {
            let at = self.with_eyes(|it| it.sheds(&state));
            if at.is_some() || Instant::now() >= deadline {
                let oldest = at.unwrap_or_else(|| self.now());
                return Some(Input::Routed {
                    generation,
                    applied: Measured::observe(at.is_some(), oldest, "routers"),
                });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Lets go of every lease, where no process was replaced.
    pub(super) async fn let_go(&self, change: &ChangeId, service: &ServiceName) -> Option<Input> {
        let (expected, entries): (Vec<_>, Vec<_>) =
            self.releases(change, service).into_iter().unzip();
        if !entries.is_empty() {
            let written = self
                .append_led(Direction::Restoring, expected, entries)
                .await;
            if let Err(error) = written {
                tracing::warn!(%change, %error, "leases were not released; it is tried again");
                return None;
            }
        }
        Some(Input::Settled)
    }
}
