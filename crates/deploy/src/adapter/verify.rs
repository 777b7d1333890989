//! What is seen of the instances that a rollout moves.
//!
//! An instance is as wanted when its agent sees one process of the wanted incarnation that listens on its port
//! and runs the artifact's bytes, younger than the one before, and the fabric's router gets answers from it
//! that carry the wanted version. It is at rest when the table that drains it is in force and its router
//! counts no request under way.

use std::collections::BTreeMap;

use mainstay_core::{FabricName, Measured, ServiceName, Time};
use mainstay_wire::{
    agent::{InstanceReport, InstanceState, ProcessFacts},
    router::RouteTable,
};

use super::{Engine, lock};
use crate::{
    model::Model,
    moves::{Expected, Process, Processes, Sought},
    site::Seen,
    slots::{Slot, Slots},
};

/// Exits without an order from which an instance is failing.
const EXITS_FAILING: u32 = 3;

/// What was seen of a set of instances.
#[derive(Debug, Clone, Default)]
pub struct Looked {
    /// Instances seen as they are wanted.
    pub verified: Slots,
    /// Instances that hold no request any more.
    pub drained: Slots,
    /// Instances that cannot come up, and why.
    pub failing: Option<(Slots, String)>,
    /// When the stalest of the reports it rests on was received.
    at: Option<Time>,
}

/// All that can be looked at, at one moment. The simulator looks through the same eyes.
#[derive(Debug, Clone, Copy)]
pub struct Eyes<'a> {
    /// What the ledger adds up to.
    pub model: &'a Model,
    /// What was reported.
    pub seen: &'a Seen,
    /// The tables that routers were sent last.
    pub tables: &'a BTreeMap<FabricName, RouteTable>,
    /// The moment.
    pub now: Time,
}

impl Engine {
    /// Looks; the model is locked before the orders, here as everywhere.
    pub(super) fn with_eyes<T>(&self, look: impl FnOnce(Eyes<'_>) -> T) -> T {
        let seen = self.0.ports.site.seen();
        let now = self.now();
        let model = self.model();
        let ordered = lock(&self.0.ordered);
        look(Eyes {
            model: &model,
            seen: &seen,
            tables: &ordered.fabrics,
            now,
        })
    }
}

impl Eyes<'_> {
    /// What is seen of instances on the move.
    pub fn look(self, sought: Sought<'_>) -> Looked {
        let Sought {
            service,
            wanted,
            before,
            draining,
        } = sought;
        let mut looked = Looked::default();
        let mut failing = Slots::default();
        let mut because = None;
        for (slots, expected) in wanted {
            for slot in slots.iter() {
                match self.one(service, slot, expected, before.get(slot)) {
                    One::AsWanted(at) => {
                        looked.verified.insert(slot.clone());
                        looked.at = Some(looked.at.map_or(at, |before| before.min(at)));
                    }
                    One::Failing(why) => {
                        failing.insert(slot.clone());
                        because.get_or_insert(format!("{}-{}: {why}", slot.fabric, slot.ordinal));
                    }
                    One::NotYet => {}
                }
            }
        }
        looked.failing = because.map(|because| (failing, because));
        for slot in draining.iter() {
            if self.at_rest(service, slot) {
                looked.drained.insert(slot.clone());
            }
        }
        looked
    }

    fn one(
        self,
        service: &ServiceName,
        slot: &Slot,
        expected: &Expected,
        before: Option<Process>,
    ) -> One {
        let (seen, now) = (self.seen, self.now);
        let Ok(name) = slot.instance(service) else {
            return One::Failing("its name is too long".to_owned());
        };
        let Some((host, report)) = seen.instance(name.as_str()) else {
            return One::NotYet;
        };
        if !host.is_fresh(now) {
            return One::NotYet;
        }
        let expected = &Expected {
            incarnation: expected.incarnation + self.model.beside(service, slot),
            version: expected.version.clone(),
        };
        let is_it =
            report.incarnation == expected.incarnation && report.version == expected.version;
        if !is_it {
            return One::NotYet;
        }
        match &report.state {
            InstanceState::Failed { because } => return One::Failing(because.clone()),
            InstanceState::Waiting { because } if report.unordered_exits >= EXITS_FAILING => {
                return One::Failing(because.clone());
            }
            InstanceState::Waiting { .. }
            | InstanceState::Starting
            | InstanceState::Stopping
            | InstanceState::Gone => return One::NotYet,
            InstanceState::Running => {}
        }
        // An agent that calls the old process by the new name is not believed.
        let is_later = |process: &ProcessFacts| Process::of(process).is_later_than(before);
        if !is_identified(report) || !report.process.as_ref().is_some_and(is_later) {
            return One::NotYet;
        }
        let routed = self
            .model
            .fabrics
            .get(&slot.fabric)
            .is_some_and(|it| it.listen.is_some());
        if !routed {
            return One::AsWanted(host.received_at);
        }
        match router_sees(seen, service, slot, name.as_str(), expected, now) {
            Some(at) => One::AsWanted(at.min(host.received_at)),
            None => One::NotYet,
        }
    }

    /// The processes of `slots` as their agents saw them last.
    pub fn processes(self, service: &ServiceName, slots: &Slots) -> Processes {
        let mut all = Processes::default();
        for slot in slots.iter() {
            let name = slot.instance(service).ok();
            let found = name.and_then(|name| self.seen.instance(name.as_str()));
            if let Some(process) = found.and_then(|(_, report)| report.process.as_ref()) {
                all.insert(slot, Process::of(process));
            }
        }
        all
    }

    fn at_rest(self, service: &ServiceName, slot: &Slot) -> bool {
        let Ok(name) = slot.instance(service) else {
            return true;
        };
        let Some(table) = self.tables.get(&slot.fabric) else {
            return false;
        };
        let listed = table
            .services
            .iter()
            .find(|it| it.service == *service)
            .and_then(|it| it.backends.iter().find(|it| it.instance == name));
        if listed.is_some_and(|backend| !backend.draining) {
            return false;
        }
        let Some(fabric) = fresh(self.seen, &slot.fabric, self.now) else {
            return false;
        };
        let in_flight = self
            .seen
            .backend(&slot.fabric, service, name.as_str())
            .map_or(0, |backend| backend.in_flight);
        fabric.applied >= table.generation && in_flight == 0
    }
}

enum One {
    AsWanted(Time),
    Failing(String),
    NotYet,
}

/// Whether the kernel says that this process runs the artifact and owns the port it was given.
fn is_identified(report: &InstanceReport) -> bool {
    let Some(process) = &report.process else {
        return false;
    };
    report.artifact_sha256.as_ref() == Some(&process.exe_sha256)
        && process.listening_port.is_some()
        && process.listening_port == report.port
}

fn fresh<'a>(
    seen: &'a Seen,
    fabric: &FabricName,
    now: Time,
) -> Option<&'a crate::site::SeenFabric> {
    seen.fabrics.get(fabric).filter(|it| it.is_fresh(now))
}

fn router_sees(
    seen: &Seen,
    service: &ServiceName,
    slot: &Slot,
    name: &str,
    expected: &Expected,
    now: Time,
) -> Option<Time> {
    let fabric = fresh(seen, &slot.fabric, now)?;
    let backend = seen.backend(&slot.fabric, service, name)?;
    let is_it = backend.incarnation == expected.incarnation
        && backend.seen_version.as_ref() == Some(&expected.version);
    is_it.then_some(fabric.received_at)
}

impl Looked {
    /// What was verified, as a measurement.
    pub fn measured(&self, now: Time) -> Measured<Slots> {
        let at = self.at.unwrap_or(now);
        Measured::observe(self.verified.clone(), at, "agent and router")
    }
}
