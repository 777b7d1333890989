//! What actions ask for, done.
//!
//! As with rollouts each effect is a long question, and asking twice does nothing twice. Which instances are
//! meant is read from the committed state of the generation that asks.

use mainstay_change::{CAPACITY, Direction};
use mainstay_core::{
    ChangeId, FabricName, Finding, HostName, Measured, Outcome, ServiceName, Time, Verdict,
};
use mainstay_wire::agent::InstanceState;
use tokio::time::Instant;

use super::{
    Engine, dead, lock,
    perform::{LOOK_EVERY, OPEN_FOR, short},
};
use crate::{
    action::{Effect, Input, Process, Processes, State, Task},
    capacity::Grant,
    moves::{Expected, Mover},
    site::Seen,
    slots::{Slot, Slots},
};

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
            Effect::Confirm { generation } => {
                self.confirm_routes(change, &service, generation).await
            }
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
                let grant = self.carefully(change, &state, fabric, grant)?;
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
                    before: processes(&self.0.ports.site.seen(), service, &taken),
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

    /// Where measurements of load are missing a restoring step takes the path that needs none: what has no
    /// process carries nothing; and one instance at a time may leave the routes beside others that run.
    fn carefully(
        &self,
        change: &ChangeId,
        state: &State,
        fabric: &FabricName,
        grant: Grant,
    ) -> Option<Grant> {
        let plan = state.plan();
        let blind = grant.finding.outcome == Outcome::InsufficientEvidence;
        let restoring = plan.direction == Direction::Restoring;
        if !grant.slots.is_empty() || !blind || !restoring {
            return Some(grant);
        }
        let now = self.now();
        let seen = self.0.ports.site.seen();
        let model = self.model();
        let mover = model.mover(change)?;
        let candidates = state.candidates();
        let gone: Slots = candidates
            .of(fabric)
            .filter(|slot| {
                let wanted = mover.desired.slots.get(slot);
                wanted.is_some_and(|it| dead::is_gone(&seen, &plan.service, slot, it, now))
            })
            .cloned()
            .collect();
        let (slots, why) = if !gone.is_empty() {
            let why = format!("{} have no process: taking them takes nothing", gone.len());
            (gone, why)
        } else if plan.task == Task::Drain {
            let others = others(&seen, &mover, fabric, &candidates, now);
            let one: Slots = candidates.of(fabric).take(1).cloned().collect();
            let enough = others > 0;
            let why = format!("one at a time, {others} others run as their agents see");
            (if enough { one } else { Slots::default() }, why)
        } else {
            return Some(grant);
        };
        Some(Grant {
            finding: Finding {
                signal: CAPACITY.to_owned(),
                outcome: Outcome::InsufficientEvidence,
                value: format!("{}; {why}", grant.finding.value),
                ..grant.finding
            },
            slots,
            ..grant
        })
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
            return self.observe_stopping(change, service, &state).await;
        }
        let arriving = state.arriving();
        let desired = self.model().laid_out().remove(service)?;
        let mut wanted = Vec::new();
        // What a rollout took away meanwhile needs not come back.
        let mut gone = Slots::default();
        for slot in arriving.iter() {
            let Some(it) = desired.slots.get(slot) else {
                gone.insert(slot.clone());
                continue;
            };
            let expected = Expected {
                version: it.version.clone(),
                incarnation: it.incarnation,
            };
            wanted.push(([slot.clone()].into_iter().collect(), expected));
        }
        let current = |model: &crate::Model| {
            let track = model.actions.get(change);
            track.is_some_and(|it| it.state.generation() <= generation)
        };
        let resting = state.resting();
        let sighting = self.observe(service, &wanted, &resting, current).await?;
        let seen = self.0.ports.site.seen();
        let now_run = processes(&seen, service, &arriving);
        let verified = sighting.verified.map(|slots| {
            let later = slots.iter().filter(|slot| {
                let (before, now) = (state.before().get(slot), now_run.get(slot));
                !state.is_replacing() || is_later(before, now)
            });
            later.chain(gone.iter()).cloned().collect::<Slots>()
        });
        Some(Input::Seen {
            generation,
            killed: killed(&seen, service, &state, verified.value()),
            verified,
            drained: sighting.drained,
            failing: sighting.failing,
        })
    }

    /// Which of those that stop for good their agents see gone.
    async fn observe_stopping(
        &self,
        change: &ChangeId,
        service: &ServiceName,
        state: &State,
    ) -> Option<Input> {
        let deadline = Instant::now() + OPEN_FOR;
        let (generation, stopping) = (state.generation(), state.stopping());
        loop {
            let (now, seen) = (self.now(), self.0.ports.site.seen());
            let mut oldest = now;
            let mut gone = Slots::default();
            for slot in stopping.iter() {
                let host = state.plan().host_of(slot);
                let at = host.and_then(|host| stopped_at(&seen, service, slot, host, now));
                if let Some(at) = at {
                    oldest = oldest.min(at);
                    gone.insert(slot.clone());
                }
            }
            if !gone.is_empty() || Instant::now() >= deadline {
                return Some(Input::Seen {
                    generation,
                    killed: killed(&seen, service, state, &gone),
                    verified: Measured::observe(gone, oldest, "agent"),
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
    async fn confirm_routes(
        &self,
        change: &ChangeId,
        service: &ServiceName,
        generation: u64,
    ) -> Option<Input> {
        let state = self
            .state_once(change, |it| it.generation() >= generation)
            .await
            .filter(|it| it.generation() == generation)?;
        let deadline = Instant::now() + OPEN_FOR;
        loop {
            let shed = self.model().laid_out().remove(service)?.shed;
            let seen = self.0.ports.site.seen();
            let now = self.now();
            let mut oldest = now;
            let applied = state.plan().fabrics.iter().all(|fabric| {
                let wanted = shed.get(fabric).copied().unwrap_or(0);
                let at = self.applied(&seen, service, fabric, wanted);
                oldest = oldest.min(at.unwrap_or(now));
                at.is_some()
            });
            if applied || Instant::now() >= deadline {
                return Some(Input::Routed {
                    generation,
                    applied: Measured::observe(applied, oldest, "routers"),
                });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// When the router of `fabric` was heard to act on a table that sheds `share` of `service`.
    fn applied(
        &self,
        seen: &Seen,
        service: &ServiceName,
        fabric: &FabricName,
        share: u32,
    ) -> Option<Time> {
        let ordered = lock(&self.0.ordered);
        let table = ordered.fabrics.get(fabric)?;
        let routes = table.services.iter().find(|it| it.service == *service)?;
        let router = seen.fabrics.get(fabric)?;
        let is_it = routes.shed == share && router.applied >= table.generation;
        (is_it && router.connected).then_some(router.received_at)
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

/// When the agent of `host` said that nothing runs in `slot` any more, if it lately did.
fn stopped_at(
    seen: &Seen,
    service: &ServiceName,
    slot: &Slot,
    host: &HostName,
    now: Time,
) -> Option<Time> {
    let agent = seen.hosts.get(host).filter(|it| it.is_fresh(now))?;
    let name = slot.instance(service).ok()?;
    let mut instances = agent.instances.iter();
    let found = instances.find(|it| it.instance == name);
    let is_gone = found.is_none_or(|it| it.state == InstanceState::Gone);
    is_gone.then_some(agent.received_at)
}

/// Why nothing is taken although it could be: few instances are replaced by adding one first.
fn one_more() -> Finding {
    Finding {
        signal: "surplus".to_owned(),
        outcome: Outcome::InsufficientEvidence,
        value: "none: so few instances are replaced beside one more".to_owned(),
        limit: "one more than usual, seen serving".to_owned(),
        remedy: "none needed: it is added by itself".to_owned(),
    }
}

/// Instances of `fabric` that are not `leaving` and that their agents see running; none where one is out already.
fn others(
    seen: &Seen,
    mover: &Mover<'_>,
    fabric: &FabricName,
    leaving: &Slots,
    now: Time,
) -> usize {
    let of_fabric = || {
        mover
            .desired
            .slots
            .iter()
            .filter(|(slot, _)| slot.fabric == *fabric)
    };
    if of_fabric().any(|(_, wanted)| wanted.draining) {
        return 0;
    }
    let running = of_fabric().filter(|(slot, _)| {
        let name = slot.instance(mover.service).ok();
        let found = name.and_then(|name| {
            let (host, report) = seen.instance(name.as_str())?;
            let fresh = host.is_fresh(now);
            Some(fresh && report.state == InstanceState::Running)
        });
        !leaving.contains(slot) && found == Some(true)
    });
    running.count()
}

/// The processes of `slots` as their agents saw them last.
fn processes(seen: &Seen, service: &ServiceName, slots: &Slots) -> Processes {
    let mut all = Processes::default();
    for slot in slots.iter() {
        let name = slot.instance(service).ok();
        let found = name.as_ref().and_then(|name| seen.instance(name.as_str()));
        if let Some(process) = found.and_then(|(_, report)| report.process.as_ref()) {
            all.insert(slot, Process(process.pid, process.started_at));
        }
    }
    all
}

/// Whether `now` is another process than `before`, and started after it.
fn is_later(before: Option<Process>, now: Option<Process>) -> bool {
    match (before, now) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(Process(_, before)), Some(Process(_, now))) => now > before,
    }
}

/// Of `verified`, those whose process before had to be killed, as their agents say.
fn killed(seen: &Seen, service: &ServiceName, state: &State, verified: &Slots) -> Slots {
    let had = |slot: &&Slot| state.before().get(slot).is_some();
    verified
        .iter()
        .filter(had)
        .filter(|slot| {
            let name = slot.instance(service).ok();
            let found = name.as_ref().and_then(|name| seen.instance(name.as_str()));
            found.is_some_and(|(_, report)| report.killed_last)
        })
        .cloned()
        .collect()
}
