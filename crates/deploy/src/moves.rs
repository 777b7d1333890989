//! What every change that moves instances shares: the words of people to it, what it expects to see, what was
//! seen, and what is known of it where leases are taken.
//!
//! Guarantees: a rollout and a restart are held by the same arithmetic and verified by the same eyes. Never
//! decides anything: the machines do.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_core::{FabricName, HostName, Measured, Percent, ServiceName, Version};
use serde::{Deserialize, Serialize};

use crate::{
    desired::Desired,
    slots::{Slot, Slots},
};

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
