//! What every change that moves instances shares: the words of people to it, what it expects to see, what was
//! seen, and what is known of it where leases are taken.
//!
//! Guarantees: a rollout and a restart are held by the same arithmetic and verified by the same eyes. Never
//! decides anything: the machines do.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_core::{FabricName, HostName, Measured, Percent, ServiceName, Time, Version};
use mainstay_wire::agent::ProcessFacts;
use serde::{Deserialize, Serialize};

use crate::{
    desired::Desired,
    slots::{Slot, Slots},
};

/// Most processes that one entry names: it stays within its size.
pub const PROCESSES_MAX: usize = 48;

/// What a person or a schedule tells a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Go no further.
    Pause,
    /// Go on.
    Resume,
    /// Go back, and end.
    Abort,
    /// Go back, and end; the same as abort, by the name that people use once batches have begun.
    Rollback,
    /// Pass the gate it waits at, on a person's word where evidence does not come.
    Promote,
}

/// One instance as it should be seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// What it should run.
    pub version: Version,
    /// In which incarnation.
    pub incarnation: u64,
}

/// What is looked for of instances on the move.
#[derive(Debug, Clone, Copy)]
pub struct Sought<'a> {
    /// Their service.
    pub service: &'a ServiceName,
    /// Those to verify, and as what.
    pub wanted: &'a [(Slots, Expected)],
    /// The processes that were there: only later ones count.
    pub before: &'a Processes,
    /// Those that should come to rest.
    pub draining: &'a Slots,
}

/// What was seen of instances on the move.
#[derive(Debug, Clone, PartialEq)]
pub struct Sighting {
    /// Instances seen as they are wanted.
    pub verified: Measured<Slots>,
    /// Instances that hold no request any more.
    pub drained: Slots,
    /// Instances that cannot come up, and why.
    pub failing: Option<(Slots, String)>,
}

/// A process, as its agent saw it: two of one instance are told apart by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process(
    /// Its id.
    pub u32,
    /// When it started.
    pub Time,
);

impl Process {
    /// As an agent reports it.
    pub fn of(facts: &ProcessFacts) -> Self {
        Self(facts.pid, facts.started_at)
    }
    /// Whether it is another process than the one `before`, and started after it; where none was there any is.
    pub fn is_later_than(self, before: Option<Process>) -> bool {
        before.is_none_or(|before| self.1 > before.1)
    }
}

/// The processes of instances; small in JSON, because an entry holds one for each of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Rows", into = "Rows")]
pub struct Processes(BTreeMap<FabricName, BTreeMap<u32, Process>>);

/// Ordinal, id, start. A number cannot be the key of a map within a tagged event.
type Rows = BTreeMap<FabricName, Vec<(u32, u32, Time)>>;

impl From<Rows> for Processes {
    fn from(rows: Rows) -> Self {
        let of_fabric = |rows: Vec<(u32, u32, Time)>| {
            let rows = rows.into_iter();
            rows.map(|(ordinal, pid, at)| (ordinal, Process(pid, at)))
                .collect()
        };
        let all = rows.into_iter();
        Self(
            all.map(|(fabric, rows)| (fabric, of_fabric(rows)))
                .collect(),
        )
    }
}

impl From<Processes> for Rows {
    fn from(processes: Processes) -> Self {
        let rows = |of_fabric: BTreeMap<u32, Process>| {
            let all = of_fabric.into_iter();
            all.map(|(ordinal, Process(pid, at))| (ordinal, pid, at))
                .collect()
        };
        let all = processes.0.into_iter();
        all.map(|(fabric, of_fabric)| (fabric, rows(of_fabric)))
            .collect()
    }
}

impl Processes {
    /// None at all.
    pub const NONE: Processes = Processes(BTreeMap::new());

    /// That of `slot`.
    pub fn get(&self, slot: &Slot) -> Option<Process> {
        self.0.get(&slot.fabric)?.get(&slot.ordinal).copied()
    }
    /// Adds one.
    pub fn insert(&mut self, slot: &Slot, process: Process) {
        let of_fabric = self.0.entry(slot.fabric.clone()).or_default();
        of_fabric.insert(slot.ordinal, process);
    }
    /// Adds all of `more`.
    pub fn extend(&mut self, more: &Processes) {
        for (fabric, processes) in &more.0 {
            let of_fabric = self.0.entry(fabric.clone()).or_default();
            of_fabric.extend(processes);
        }
    }
    /// All of them, in parts of which each fits an entry.
    pub fn parts(&self) -> Vec<Processes> {
        let one = |fabric: &FabricName, (ordinal, process): (&u32, &Process)| {
            (Slot::new(fabric.clone(), *ordinal), *process)
        };
        let fabrics = self.0.iter();
        let all: Vec<(Slot, Process)> = fabrics
            .flat_map(|(fabric, of_fabric)| of_fabric.iter().map(move |it| one(fabric, it)))
            .collect();
        let parts = all.chunks(PROCESSES_MAX);
        parts
            .map(|part| {
                let mut some = Processes::default();
                for (slot, it) in part {
                    some.insert(slot, *it);
                }
                some
            })
            .collect()
    }
}

/// A change that moves instances, as far as leases and admission ask.
#[derive(Debug, Clone)]
pub struct Mover<'a> {
    /// The service it moves.
    pub service: &'a ServiceName,
    /// What the service should run now, this change included.
    pub desired: Desired,
    /// Instances there were in each fabric.
    pub sizes: BTreeMap<FabricName, usize>,
    /// Versions whose capacity counts.
    pub versions: Vec<Version>,
    /// Largest share of a fabric's instances out at once.
    pub batch: Percent,
    /// Whether what it takes out comes back, so that another may stand in for it meanwhile.
    pub refills: bool,
    /// Hosts whose agents have to act, by fabric.
    pub hosts: BTreeMap<FabricName, BTreeSet<HostName>>,
}

/// Ordinals of `fabric` that none of `taken` has, from the lowest.
pub(crate) fn free<'a>(
    taken: impl IntoIterator<Item = &'a Slot>,
    fabric: &FabricName,
) -> impl Iterator<Item = Slot> {
    let taken: BTreeSet<u32> = taken
        .into_iter()
        .filter(|slot| slot.fabric == *fabric)
        .map(|slot| slot.ordinal)
        .collect();
    let fabric = fabric.clone();
    (1..)
        .filter(move |n| !taken.contains(n))
        .map(move |n| Slot::new(fabric.clone(), n))
}
