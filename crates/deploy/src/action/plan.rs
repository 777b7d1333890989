//! The plan of an action: immutable, made once from catalog, measurements and request.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_change::Direction;
use mainstay_core::{ChangeKind, Emergency, FabricName, HostName, Percent, ServiceName, Span};
use serde::{Deserialize, Serialize};

pub use crate::moves::{Process, Processes};
use crate::{
    deployment::Deployment,
    moves::PROCESSES_MAX,
    slots::{Slot, Slots},
};

/// How long an instance stays drained where nobody says otherwise.
pub const DRAINED_FOR: Span = Span::from_secs(3_600);
/// How long requests are refused where nobody says otherwise.
pub const SHED_FOR: Span = Span::from_secs(900);
/// Longest time that a drain or a shed may be asked for: nothing temporary outlives a day.
pub const HELD_FOR_MAX: Span = Span::from_secs(86_400);
/// Most instances of one batch: an entry names the process of each.
pub const BATCH_MAX: usize = PROCESSES_MAX;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Task {
    /// Each process is replaced by one of the same version, once it holds no request.
    Restart,
    /// Each process is killed at once, and replaced by one of the same version.
    Kill,
    /// Instances are started beside those that run, and others stopped for good, as the service declares.
    Scale {
        /// Version of the service's declaration that asks for it.
        declared: u64,
    },
    /// Instances get no requests for a while.
    Drain,
    /// A share of requests is refused for a while.
    Shed {
        /// In hundredths of a per cent.
        share: u32,
    },
}

impl Task {
    /// What the ledger calls it.
    pub fn kind(self) -> ChangeKind {
        match self {
            Self::Restart => ChangeKind::Restart,
            Self::Kill => ChangeKind::Kill,
            Self::Scale { .. } => ChangeKind::Scale,
            Self::Drain => ChangeKind::Drain,
            Self::Shed { .. } => ChangeKind::Shed,
        }
    }
    /// Whether it starts and stops processes, so that nothing else may move the service meanwhile.
    pub fn replaces(self) -> bool {
        match self {
            Self::Restart | Self::Kill | Self::Scale { .. } => true,
            Self::Drain | Self::Shed { .. } => false,
        }
    }
    /// Whether what it takes out comes back, so that another may stand in for it meanwhile.
    pub fn refills(self) -> bool {
        match self {
            Self::Restart | Self::Kill | Self::Drain => true,
            Self::Scale { .. } | Self::Shed { .. } => false,
        }
    }
}

/// What an action does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ActionPlan {
    /// The service.
    pub service: ServiceName,
    /// What is done.
    pub task: Task,
    /// Which way it leads; restoring where all it touches was measured dead, or where it protects.
    pub direction: Direction,
    /// Instances that run and that it touches; none where it sheds.
    pub targets: Slots,
    /// Instances that it starts where none is; their hosts are those of their fabric in `base`.
    #[serde(default, skip_serializing_if = "Slots::is_empty")]
    pub added: Slots,
    /// Fabrics it touches.
    pub fabrics: Vec<FabricName>,
    /// What ran when it was opened.
    pub base: Deployment,
    /// Whether a rollout was under way: processes are then replaced beside it.
    #[serde(default)]
    pub beside: bool,
    /// Largest share of a fabric's instances out at once.
    pub batch: Percent,
    /// How long a process may take from its order until it is verified.
    pub verify_within: Span,
    /// How long a drained instance may take to answer what it holds.
    pub drain_within: Span,
    /// How long a drain or a shed lasts.
    pub lasts: Span,
    /// The emergency it was opened under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency: Option<Emergency>,
}

impl ActionPlan {
    /// Hosts whose agents have to act, by fabric.
    pub(crate) fn hosts(&self) -> BTreeMap<FabricName, BTreeSet<HostName>> {
        let mut hosts: BTreeMap<FabricName, BTreeSet<HostName>> = BTreeMap::new();
        for slot in self.targets.iter().chain(self.added.iter()) {
            if let Some(host) = self.host_of(slot) {
                let of_fabric = hosts.entry(slot.fabric.clone()).or_default();
                of_fabric.insert(host.clone());
            }
        }
        hosts
    }
    /// The host that an instance of `slot` has, or would get.
    pub(crate) fn host_of(&self, slot: &Slot) -> Option<&HostName> {
        self.base.fabrics.get(&slot.fabric)?.host(slot.ordinal)
    }
    /// The number of the deployment it leads to.
    pub fn number(&self) -> u64 {
        self.base.number + 1
    }
    /// The incarnation of the processes it starts.
    pub fn incarnation(&self) -> u64 {
        self.number() * 2
    }
}
