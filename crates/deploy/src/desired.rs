//! What a service should run and how its requests should be spread, at one moment.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_core::{ChangeId, FabricName, HostName, Span, Version, catalog::Slo};

use crate::{deployment::Deployment, plan::ALL, rollout::Probed, slots::Slot};

/// One instance as it should run.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// On which host.
    pub host: HostName,
    /// What.
    pub version: Version,
    /// In which incarnation.
    pub incarnation: u64,
    /// Whether it gets no more requests.
    pub draining: bool,
    /// Share of requests among its like; 1.0 is a full share.
    pub share: f64,
    /// What it must keep to while it gets more than a full share.
    pub limit: Option<Slo>,
}

/// A rollout that sends probes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probing {
    /// Which.
    pub change: ChangeId,
    /// To whom.
    pub arms: Probed,
    /// The longest that one of its gates waits.
    pub at_most: Span,
}

/// What a service should run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Desired {
    /// Its instances.
    pub slots: BTreeMap<Slot, Wanted>,
    /// Share of requests of each version, in hundredths of a per cent, by fabric.
    pub weights: BTreeMap<FabricName, BTreeMap<Version, u32>>,
    /// Share of requests refused to save the rest, in hundredths of a per cent, by fabric.
    pub shed: BTreeMap<FabricName, u32>,
    /// Instances whose process of an older incarnation goes without grace.
    pub at_once: BTreeSet<Slot>,
    /// The rollout that sends probes, if one does.
    pub probing: Option<Probing>,
}

impl From<&Deployment> for Desired {
    fn from(deployment: &Deployment) -> Self {
        let slots = deployment
            .slots()
            .map(|it| {
                let wanted = Wanted {
                    host: it.host.clone(),
                    version: it.version.clone(),
                    incarnation: it.incarnation,
                    draining: false,
                    share: 1.0,
                    limit: None,
                };
                (it.slot, wanted)
            })
            .collect();
        let weight = BTreeMap::from([(deployment.version.clone(), ALL)]);
        let weights = deployment
            .fabrics
            .keys()
            .map(|fabric| (fabric.clone(), weight.clone()))
            .collect();
        Self {
            slots,
            weights,
            ..Self::default()
        }
    }
}
