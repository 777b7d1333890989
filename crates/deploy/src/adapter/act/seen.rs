//! What an action sees of its instances and its routers, and what it may take where load is not measured.
//!
//! Guarantees: a successor counts only where it started after the process that was there. Never takes more
//! than one instance at a time on nothing but an agent's word, unless they have no process.

use mainstay_change::{CAPACITY, Direction};
use mainstay_core::{ChangeId, FabricName, Finding, Measured, Outcome, ServiceName, Time, Verdict};
use mainstay_wire::agent::InstanceState;

use super::super::{dead, perform::short, verify::Eyes};
use crate::{
    action::{Input, Processes, State, Task},
    capacity::Grant,
    moves::{Expected, Mover, Sighting},
    site::Seen,
    slots::{Slot, Slots},
};

/// The instances to verify, each with what it should be seen as.
#[derive(Debug, Default)]
pub struct Arriving {
    /// Those.
    pub wanted: Vec<(Slots, Expected)>,
    /// Those that a rollout took away meanwhile: they need not come back.
    pub gone: Slots,
}

impl Eyes<'_> {
    /// What `state` waits for, as its service should run now.
    pub fn arriving(self, state: &State) -> Option<Arriving> {
        let desired = self.model.laid_out().remove(&state.plan().service)?;
        let mut arriving = Arriving::default();
        for slot in state.arriving().iter() {
            let Some(it) = desired.slots.get(slot) else {
                arriving.gone.insert(slot.clone());
                continue;
            };
            let expected = Expected {
                version: it.version.clone(),
                incarnation: it.incarnation,
            };
            let one = [slot.clone()].into_iter().collect();
            arriving.wanted.push((one, expected));
        }
        Some(arriving)
    }

    /// What an action in `state` is told of a sighting; what is `gone` needs not come back.
    pub fn told(self, state: &State, gone: &Slots, sighting: Sighting) -> Input {
        let verified = sighting.verified.map(|mut slots| {
            slots.extend(gone.iter().cloned());
            slots
        });
        Input::Seen {
            generation: state.generation(),
            killed: self.killed(state, verified.value()),
            verified,
            drained: sighting.drained,
            failing: sighting.failing,
        }
    }

    /// Of those that stop for good in `state`, the ones of which their agents lately said that nothing runs any more.
    fn stopped(self, state: &State) -> Measured<Slots> {
        let mut oldest = self.now;
        let mut gone = Slots::default();
        for slot in state.stopping().iter() {
            let host = state.plan().host_of(slot);
            let agent = host.and_then(|host| self.seen.hosts.get(host));
            let Some(agent) = agent.filter(|it| it.is_fresh(self.now)) else {
                continue;
            };
            let Ok(name) = slot.instance(&state.plan().service) else {
                continue;
            };
            let mut instances = agent.instances.iter();
            let found = instances.find(|it| it.instance == name);
            if found.is_none_or(|it| it.state == InstanceState::Gone) {
                oldest = oldest.min(agent.received_at);
                gone.insert(slot.clone());
            }
        }
        Measured::observe(gone, oldest, "agent")
    }

    /// What an action in `state` is told of those that stop for good; none while none is seen gone.
    pub fn told_stopped(self, state: &State) -> Option<Input> {
        let verified = self.stopped(state);
        (!verified.value().is_empty()).then(|| Input::Seen {
            generation: state.generation(),
            killed: self.killed(state, verified.value()),
            verified,
            drained: Slots::default(),
            failing: None,
        })
    }

    /// The answer to `batch` of an action in `state` that starts instances: `findings` alone hold it.
    pub fn started(self, state: &State, batch: u32, findings: Vec<Finding>) -> Input {
        let verdict = short(Verdict::new(format!("batch {batch}"), self.now, findings));
        let may = verdict.outcome() == Outcome::Pass;
        Input::Granted {
            batch,
            slots: if may {
                state.candidates()
            } else {
                Slots::default()
            },
            before: Processes::default(),
            room: false,
            verdict,
        }
    }

    /// Of `verified`, those whose process before had to be killed, as their agents say.
    fn killed(self, state: &State, verified: &Slots) -> Slots {
        let had = |slot: &&Slot| state.before().get(slot).is_some();
        verified
            .iter()
            .filter(had)
            .filter(|slot| {
                let name = slot.instance(&state.plan().service).ok();
                let found = name.and_then(|name| self.seen.instance(name.as_str()));
                found.is_some_and(|(_, report)| report.killed_last)
            })
            .cloned()
            .collect()
    }

    /// When the routers of `state`'s fabrics were heard to act on tables that shed what is wanted now; the
    /// stalest counts, and none where one of them does not.
    pub fn sheds(self, state: &State) -> Option<Time> {
        let plan = state.plan();
        let shed = self.model.laid_out().remove(&plan.service)?.shed;
        let mut oldest = self.now;
        for fabric in &plan.fabrics {
            let share = shed.get(fabric).copied().unwrap_or(0);
            oldest = oldest.min(self.sheds_in(&plan.service, fabric, share)?);
        }
        Some(oldest)
    }

    fn sheds_in(self, service: &ServiceName, fabric: &FabricName, share: u32) -> Option<Time> {
        let table = self.tables.get(fabric)?;
        let routes = table.services.iter().find(|it| it.service == *service)?;
        let router = self.seen.fabrics.get(fabric)?;
        let is_it = routes.shed == share && router.applied >= table.generation;
        (is_it && router.connected).then_some(router.received_at)
    }

    /// Where measurements of load are missing a restoring step takes the path that needs none: what has no
    /// process carries nothing; and one instance at a time may leave the routes beside others that run.
    pub fn carefully(
        self,
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
        let mover = self.model.mover(change)?;
        let candidates = state.candidates();
        let is_gone = |slot: &&Slot| {
            let wanted = mover.desired.slots.get(slot);
            wanted.is_some_and(|it| dead::is_gone(self.seen, &plan.service, slot, it, self.now))
        };
        let gone: Slots = candidates.of(fabric).filter(is_gone).cloned().collect();
        let (slots, why) = if !gone.is_empty() {
            let why = format!("{} have no process: taking them takes nothing", gone.len());
            (gone, why)
        } else if plan.task == Task::Drain {
            let others = others(self.seen, &mover, fabric, &candidates, self.now);
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
}

/// What was leased of several fabrics: what one may not do does not hold another.
#[derive(Debug, Default)]
pub struct Leased {
    taken: Slots,
    granted: Vec<Finding>,
    held: Vec<Finding>,
}

impl Leased {
    /// Adds what one fabric gave.
    pub fn add(&mut self, grant: Grant) {
        let to = if grant.slots.is_empty() {
            &mut self.held
        } else {
            &mut self.granted
        };
        to.push(grant.finding);
        self.taken.extend(grant.slots.iter().cloned());
    }

    /// Whether there is anything to say of `state` before its time: where one more may be added there is nothing
    /// to wait for.
    pub fn is_decided(&self, state: &State, room: bool) -> bool {
        !self.taken.is_empty() || room && !state.room().is_empty()
    }

    /// The answer to `batch`, where `admission` holds it or not.
    pub fn granted(
        self,
        eyes: Eyes<'_>,
        state: &State,
        batch: u32,
        admission: Vec<Finding>,
    ) -> Input {
        let room = admission.iter().all(|it| it.outcome == Outcome::Pass);
        let mut findings = admission;
        let empty = self.taken.is_empty();
        findings.extend(if empty { self.held } else { self.granted });
        if empty && findings.iter().all(|it| it.outcome == Outcome::Pass) {
            findings.push(one_more());
        }
        Input::Granted {
            batch,
            before: eyes.processes(&state.plan().service, &self.taken),
            slots: self.taken,
            room,
            verdict: short(Verdict::new(format!("batch {batch}"), eyes.now, findings)),
        }
    }
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
        let slots = mover.desired.slots.iter();
        slots.filter(|(slot, _)| slot.fabric == *fabric)
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
