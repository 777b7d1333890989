//! Groups of requests judged each for itself, so that one broken group is not averaged away.
//!
//! Guarantees: at most [`COHORTS_MAX`], and of each kind its own part of them, so that a service of many routes
//! does not leave its client versions unjudged. Never promotes: a cohort can only stop a version.

use std::collections::BTreeMap;

use mainstay_stats::{Judge, Judgement, Pair, STRATA, StatsError};

use super::{
    arms::{Arm, Kind},
    sample::{Probed, Sample},
};

/// Most cohorts judged; those that appear later are not, and their requests still count in the whole.
pub const COHORTS_MAX: usize = 64;
/// Labels by which cohorts are told apart in requests, and how many of each are judged.
pub(super) const OF_REQUESTS: [(&str, usize); 2] = [("fabric", 8), ("route", 32)];
/// The label that holds the client's version, and how many are judged: all that one router tells apart.
pub(super) const OF_CLIENTS: (&str, usize) = ("client", 24);
const _: () = assert!(OF_REQUESTS[0].1 + OF_REQUESTS[1].1 + OF_CLIENTS.1 == COHORTS_MAX);

/// What one cohort is called: a label and its value.
pub(super) type Name = (&'static str, String);

/// The cohorts of one tick.
#[derive(Debug, Default)]
pub(super) struct Ticked(BTreeMap<Name, [Pair; STRATA]>);

impl Ticked {
    pub(super) fn add(&mut self, name: Name, kind: Kind, arm: Arm, total: u64, bad: u64) {
        let strata = self.0.entry(name).or_default();
        arm.add(&mut strata[kind as usize], total, bad);
    }
}

/// All cohorts so far.
#[derive(Debug, Clone)]
pub(super) struct Cohorts {
    judge: Judge,
    known: BTreeMap<Name, Sample>,
}

impl Cohorts {
    /// None yet; `all` of the chance of false harm is divided among them.
    pub(super) fn new(all: Judge) -> Self {
        Self {
            judge: all.for_each_of(COHORTS_MAX as u32),
            known: BTreeMap::new(),
        }
    }

    pub(super) fn observe(&mut self, tick: Ticked) -> Result<(), StatsError> {
        for (name, strata) in tick.0 {
            if !self.known.contains_key(&name) {
                if !self.has_room(name.0) {
                    continue;
                }
                self.known.insert(name.clone(), Sample::new(&self.judge)?);
            }
            if let Some(sample) = self.known.get_mut(&name) {
                sample.observe(strata)?;
            }
        }
        Ok(())
    }

    fn has_room(&self, kind: &str) -> bool {
        let mut limits = OF_REQUESTS.iter().chain([&OF_CLIENTS]);
        let most = limits.find(|(name, _)| *name == kind).map_or(0, |it| it.1);
        self.known.keys().filter(|(name, _)| *name == kind).count() < most
    }

    /// The first that the new version harms.
    pub(super) fn broken(&self) -> Option<(&Name, Judgement, Probed)> {
        let known = self.known.iter();
        let mut judged = known.map(|(name, it)| (name, it.judge(&self.judge), it.probed()));
        judged.find(|(_, judgement, _)| matches!(judgement, Judgement::Harmful { .. }))
    }
}
