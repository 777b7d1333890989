//! What the ledger adds up to, as far as releases need it: catalog, deployments, rollouts, leases.
//!
//! Guarantees: the same entries in the same order give the same model, and an entry folded before changes
//! nothing. An entry that cannot be read is remembered as a flaw and changes nothing else. Keeps at most
//! [`ENDED_MAX`] rollouts that are over; the ledger has all.

use std::collections::BTreeMap;

use mainstay_change::{LEASE_EVENT, LeaseBook, Machine, lease_stream};
use mainstay_core::{
    Change, ChangeId, ChangeKind, ChangeState, Entry, FabricName, HostName, Kind, Name, Resource,
    ServiceName, Time, Verdict,
    catalog::{FabricSpec, FreezeSpec, HostSpec, RolloutPolicySpec, ServiceSpec, Spec},
    change::{MOVED, Moved, OPENED},
    guard::Guard,
    resource::{APPLIED, DELETED},
};

use crate::{
    deployment::{Deployment, SETTLED},
    desired::Desired,
    plan::RolloutPlan,
    rollout::{Event, KIND, Rollout, State},
    shadow,
    slots::Slots,
};

/// Most ended rollouts kept at hand.
pub const ENDED_MAX: usize = 500;
/// Most verdicts and batches of one rollout kept at hand.
const STEPS_MAX: usize = 1_000;
/// Kind of the entries that hold a rollout's events.
pub const EVENT: &str = "rollout.event";
/// Kind of the entry that opens a rollout in its service's stream: only one at a time.
pub const CLAIMED: &str = "deployment.claimed";

/// One batch, as it went.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Its number, from 1.
    pub number: u32,
    /// Its instances.
    pub slots: Slots,
    /// When it began.
    pub began_at: Time,
    /// When all its successors were verified.
    pub verified_at: Option<Time>,
    /// The arithmetic that allowed it.
    pub arithmetic: String,
    /// Whether it was on the way back.
    pub restoring: bool,
}

/// One rollout, as it went and stands.
#[derive(Debug, Clone)]
pub struct Track {
    /// As it was opened.
    pub change: Change,
    /// Where it stands.
    pub state: State,
    /// Where it stands, for everyone else.
    pub moved: Moved,
    /// Its batches.
    pub batches: Vec<Batch>,
    /// Verdicts worth an entry, oldest first.
    pub verdicts: Vec<Verdict>,
    /// When it ended.
    pub ended_at: Option<Time>,
}

/// What the ledger adds up to.
#[derive(Debug, Default)]
pub struct Model {
    seq: u64,
    /// Services, by name.
    pub services: BTreeMap<ServiceName, ServiceSpec>,
    /// Fabrics, by name.
    pub fabrics: BTreeMap<FabricName, FabricSpec>,
    /// Hosts, by name.
    pub hosts: BTreeMap<HostName, HostSpec>,
    /// Rollout policies, by name.
    pub policies: BTreeMap<Name, RolloutPolicySpec>,
    /// Guards, by name.
    pub guards: BTreeMap<Name, Guard>,
    /// Freezes, by name.
    pub freezes: BTreeMap<Name, FreezeSpec>,
    /// What services run.
    pub deployments: BTreeMap<ServiceName, Deployment>,
    /// Entries in the stream of each deployment.
    pub deployment_versions: BTreeMap<ServiceName, u64>,
    /// Rollouts under way, and the last that were.
    pub rollouts: BTreeMap<ChangeId, Track>,
    /// Leases on headroom.
    pub books: BTreeMap<(ServiceName, FabricName), LeaseBook>,
    /// What was noted of services that are only observed.
    pub shadows: BTreeMap<ServiceName, shadow::Memory>,
    /// Entries that could not be read.
    pub flaws: Vec<String>,
}

impl Model {
    /// The last entry folded.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Folds the next entry in.
    pub fn fold(&mut self, entry: &Entry) {
        if entry.seq <= self.seq {
            return;
        }
        self.seq = entry.seq;
        if let Err(error) = self.take(entry) {
            self.flaws.push(format!("entry {}: {error}", entry.seq));
        }
    }

    fn take(&mut self, entry: &Entry) -> Result<(), serde_json::Error> {
        match entry.kind.as_str() {
            APPLIED => self.applied(&serde_json::from_str(&entry.body)?)?,
            DELETED => self.deleted(&serde_json::from_str(&entry.body)?),
            OPENED => self.opened(serde_json::from_str(&entry.body)?)?,
            MOVED => self.moved(entry, serde_json::from_str(&entry.body)?),
            EVENT => self.happened(entry, &serde_json::from_str(&entry.body)?),
            SETTLED | CLAIMED => self.deployment(entry)?,
            LEASE_EVENT => self.leased(entry),
            _ => {}
        }
        Ok(())
    }

    fn applied(&mut self, resource: &Resource) -> Result<(), serde_json::Error> {
        let name = &resource.metadata.name;
        match Spec::decode(resource.kind, &resource.spec)? {
            Spec::Fabric(spec) => put(&mut self.fabrics, name, spec),
            Spec::Host(spec) => put(&mut self.hosts, name, spec),
            Spec::Service(spec) => put(&mut self.services, name, *spec),
            Spec::RolloutPolicy(spec) => {
                self.policies.insert(name.clone(), spec);
            }
            Spec::Guard(spec) => {
                let name = name.clone();
                self.guards.insert(name.clone(), Guard { name, spec });
            }
            Spec::Freeze(spec) => {
                self.freezes.insert(name.clone(), spec);
            }
        }
        Ok(())
    }

    fn deleted(&mut self, resource: &Resource) {
        let name = &resource.metadata.name;
        match resource.kind {
            Kind::Fabric => drop_named(&mut self.fabrics, name),
            Kind::Host => drop_named(&mut self.hosts, name),
            Kind::Service => drop_named(&mut self.services, name),
            Kind::RolloutPolicy => drop(self.policies.remove(name)),
            Kind::Guard => drop(self.guards.remove(name)),
            Kind::Freeze => drop(self.freezes.remove(name)),
        }
    }

    fn opened(&mut self, change: Change) -> Result<(), serde_json::Error> {
        if change.kind == ChangeKind::Observed && change.plan.kind == shadow::KIND {
            let note: shadow::Note = serde_json::from_str(&change.plan.body)?;
            self.shadows
                .entry(note.service)
                .or_default()
                .fold(&note.news);
        }
        if change.kind != ChangeKind::Rollout || change.plan.kind != KIND {
            return Ok(());
        }
        let plan: RolloutPlan = serde_json::from_str(&change.plan.body)?;
        let state = State::open(plan, change.opened_at);
        let track = Track {
            moved: Rollout::standing(&state),
            state,
            batches: Vec::new(),
            verdicts: Vec::new(),
            ended_at: None,
            change,
        };
        self.rollouts.insert(track.change.id.clone(), track);
        self.forget();
        Ok(())
    }

    /// Drops the oldest rollouts that are over, beyond what is kept.
    fn forget(&mut self) {
        let mut ended: Vec<(Time, ChangeId)> = self
            .rollouts
            .iter()
            .filter_map(|(id, track)| Some((track.ended_at?, id.clone())))
            .collect();
        let over = ended.len().saturating_sub(ENDED_MAX);
        ended.sort();
        for (_, id) in ended.into_iter().take(over) {
            self.rollouts.remove(&id);
        }
    }

    fn track(&mut self, entry: &Entry) -> Option<&mut Track> {
        let id = entry.stream.as_str().strip_prefix("change/")?;
        self.rollouts.get_mut(&ChangeId::new(id).ok()?)
    }

    fn moved(&mut self, entry: &Entry, moved: Moved) {
        let at = entry.at;
        if let Some(track) = self.track(entry) {
            if moved.state.is_final() {
                track.ended_at = Some(at);
            }
            track.moved = moved;
        }
    }

    fn happened(&mut self, entry: &Entry, event: &Event) {
        let Some(track) = self.track(entry) else {
            return;
        };
        let restoring = track.state.is_restoring();
        Rollout::evolve(&mut track.state, event);
        let standing = Rollout::standing(&track.state);
        if !track.moved.state.is_final() {
            track.moved = standing;
        }
        match event {
            Event::Began {
                at,
                batch,
                slots,
                findings,
                ..
            } if track.batches.len() < STEPS_MAX => {
                let words: Vec<String> = findings.iter().map(|it| it.value.clone()).collect();
                track.batches.push(Batch {
                    number: *batch,
                    slots: slots.clone(),
                    began_at: *at,
                    verified_at: None,
                    arithmetic: words.join("; "),
                    restoring,
                });
            }
            Event::Verified { at, .. } => {
                let done = !track.state.is_replacing();
                if let Some(batch) = track.batches.last_mut().filter(|_| done)
                    && batch.verified_at.is_none()
                {
                    batch.verified_at = Some(*at);
                }
            }
            Event::Admitted { verdict, .. }
            | Event::Judged { verdict, .. }
            | Event::Passed { verdict, .. }
            | Event::Failed { verdict, .. }
                if track.verdicts.len() < STEPS_MAX =>
            {
                track.verdicts.push(verdict.clone());
            }
            Event::Admitted { .. }
            | Event::Judged { .. }
            | Event::Passed { .. }
            | Event::Failed { .. }
            | Event::Began { .. }
            | Event::Surged { .. }
            | Event::Raised { .. }
            | Event::Held { .. }
            | Event::Drained { .. }
            | Event::Trimmed { .. }
            | Event::Paused { .. }
            | Event::Resumed { .. }
            | Event::Promoted { .. }
            | Event::Aborted { .. }
            | Event::Stuck { .. }
            | Event::Settled { .. } => {}
        }
    }

    fn deployment(&mut self, entry: &Entry) -> Result<(), serde_json::Error> {
        let Some(service) = entry
            .stream
            .as_str()
            .strip_prefix("deployment/")
            .and_then(|name| ServiceName::new(name).ok())
        else {
            return Ok(());
        };
        self.deployment_versions
            .insert(service.clone(), entry.version);
        if entry.kind == SETTLED {
            let deployment = serde_json::from_str(&entry.body)?;
            self.deployments.insert(service, deployment);
        }
        Ok(())
    }

    fn leased(&mut self, entry: &Entry) {
        let mut names = entry.stream.as_str().split('/').skip(1);
        let service = names.next().and_then(|name| ServiceName::new(name).ok());
        let fabric = names.next().and_then(|name| FabricName::new(name).ok());
        let (Some(service), Some(fabric)) = (service, fabric) else {
            return;
        };
        if entry.stream != lease_stream(&service, &fabric) {
            return;
        }
        let book = self
            .books
            .entry((service.clone(), fabric.clone()))
            .or_insert_with(|| LeaseBook::new(&service, &fabric));
        if let Err(error) = book.fold(entry) {
            self.flaws.push(error.to_string());
        }
    }

    /// The rollout under way on `service`, if one is.
    pub fn open(&self, service: &ServiceName) -> Option<&Track> {
        let mut open = self.rollouts.values();
        open.find(|track| track.ended_at.is_none() && track.state.plan().service == *service)
    }

    /// What each service should run now.
    pub fn desired(&self) -> BTreeMap<ServiceName, Desired> {
        let settled = self
            .deployments
            .iter()
            .map(|(service, deployment)| (service.clone(), Desired::from(deployment)));
        let mut desired: BTreeMap<ServiceName, Desired> = settled.collect();
        for track in self.rollouts.values() {
            // Not yet allowed to begin is not yet wanted; over is in the deployment.
            if track.ended_at.is_none() && track.state.has_begun() {
                let service = track.state.plan().service.clone();
                desired.insert(service, track.state.desired());
            }
        }
        desired
    }

    /// Whether a rollout of `service` was ever opened, as far as is kept at hand.
    pub fn was_released(&self, service: &ServiceName) -> bool {
        self.deployment_versions.contains_key(service)
    }

    /// Rollouts, newest first.
    pub fn newest_first(&self) -> Vec<&Track> {
        let mut all: Vec<&Track> = self.rollouts.values().collect();
        all.sort_by_key(|track| std::cmp::Reverse((track.change.opened_at, &track.change.id)));
        all
    }
}

impl Track {
    /// Where it stands, as a word.
    pub fn standing(&self) -> ChangeState {
        self.moved.state
    }
}

fn put<K: std::str::FromStr + Ord, V>(map: &mut BTreeMap<K, V>, name: &Name, spec: V) {
    if let Ok(key) = name.as_str().parse() {
        map.insert(key, spec);
    }
}

fn drop_named<K: std::str::FromStr + Ord, V>(map: &mut BTreeMap<K, V>, name: &Name) {
    if let Ok(key) = name.as_str().parse() {
        map.remove(&key);
    }
}
