//! What actions ask for, done.
//!
//! As with rollouts each effect is a long question, and asking twice does nothing twice. Which instances are
//! meant is read from the committed state of the generation that asks.

pub mod seen;

use mainstay_change::Direction;
use mainstay_core::{ChangeId, Finding, Measured, Outcome, ServiceName, Verdict};
use tokio::time::Instant;

use super::{
    Engine,
    perform::{LOOK_EVERY, OPEN_FOR, short},
};
use crate::{
    action::{Effect, Input, Processes, State},
    slots::Slots,
};
use seen::{Arriving, one_more};

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
            return self.start_action(change, service, batch, &candidates).await;
        }
        loop {
            let mut findings = match direction {
                Direction::Forward => self.admission_findings(change, service).await?,
                Direction::Restoring => self.waived(change, service, Vec::new()),
            };
            let room = findings.iter().all(|it| it.outcome == Outcome::Pass);
            let mut taken = Slots::default();
            let (mut granted, mut held) = (Vec::new(), Vec::new());
            for fabric in candidates.fabrics().into_iter().filter(|_| room) {
                let grant = self
                    .lease_in(change, service, fabric, direction, &candidates)
                    .await?;
                let grant = self.with_eyes(|it| it.carefully(change, &state, fabric, grant))?;
                let to = if grant.slots.is_empty() {
                    &mut held
                } else {
                    &mut granted
                };
                to.push(grant.finding);
                taken.extend(grant.slots.iter().cloned());
            }
            // What another fabric may not do does not hold this one.
            findings.extend(if taken.is_empty() { held } else { granted });
            if taken.is_empty() && findings.iter().all(|it| it.outcome == Outcome::Pass) {
                findings.push(one_more());
            }
            // Where one more may be added there is nothing to wait for.
            let decided = !taken.is_empty() || room && !state.room().is_empty();
            if decided || Instant::now() + ASK_EVERY >= deadline {
                let step = format!("batch {batch}");
                return Some(Input::Granted {
                    batch,
                    before: self.with_eyes(|it| it.processes(service, &taken)),
                    slots: taken,
                    room,
                    verdict: short(Verdict::new(step, self.now(), findings)),
                });
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
        batch: u32,
        slots: &Slots,
    ) -> Option<Input> {
        let deadline = Instant::now() + OPEN_FOR;
        loop {
            let now = self.now();
            let mut findings = vec![self.freeze_finding(change, service, now)?];
            findings.extend(self.presence(change, now)?);
            let verdict = short(Verdict::new(format!("batch {batch}"), now, findings));
            let may = verdict.outcome() == Outcome::Pass;
            if may || Instant::now() + ASK_EVERY >= deadline {
                return Some(Input::Granted {
                    batch,
                    slots: if may { slots.clone() } else { Slots::default() },
                    before: Processes::default(),
                    room: false,
                    verdict,
                });
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
        let sighting = self.observe(service, &wanted, &resting, current).await?;
        let (verified, killed) = self.with_eyes(|it| {
            let later = |slots: Slots| {
                it.later(&state, &slots)
                    .iter()
                    .chain(gone.iter())
                    .cloned()
                    .collect()
            };
            let verified: Measured<Slots> = sighting.verified.map(later);
            let killed = it.killed(&state, verified.value());
            (verified, killed)
        });
        Some(Input::Seen {
            generation,
            verified,
            killed,
            drained: sighting.drained,
            failing: sighting.failing,
        })
    }

    /// Which of those that stop for good their agents see gone.
    async fn observe_stopping(&self, change: &ChangeId, state: &State) -> Option<Input> {
        let deadline = Instant::now() + OPEN_FOR;
        let generation = state.generation();
        loop {
            let (verified, killed) = self.with_eyes(|it| {
                let verified = it.stopped(state);
                let killed = it.killed(state, verified.value());
                (verified, killed)
            });
            if !verified.value().is_empty() || Instant::now() >= deadline {
                return Some(Input::Seen {
                    generation,
                    verified,
                    killed,
                    drained: Slots::default(),
                    failing: None,
                });
            }
            if self.model().actions.get(change)?.state.generation() > generation {
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
