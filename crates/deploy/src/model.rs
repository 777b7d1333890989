//! What the ledger adds up to, as far as releases need it: catalog, deployments, rollouts, leases.
//!
//! Guarantees: the same entries in the same order give the same model, and an entry folded before changes
//! nothing. An entry that cannot be read is remembered as a flaw and changes nothing else. Keeps at most
//! [`ENDED_MAX`] rollouts that are over; the ledger has all.

mod track;

use std::collections::BTreeMap;

use mainstay_change::{LEASE_EVENT, LeaseBook, Machine, lease_stream};
use mainstay_core::{
    Actor, Change, ChangeId, ChangeKind, Entry, Expected, FabricName, HostName, Kind, Name,
    Resource, ServiceName, Time, Version,
    catalog::{FabricSpec, FreezeSpec, HostSpec, Manage, RolloutPolicySpec, ServiceSpec, Spec},
    change::{MOVED, Moved, OPENED},
    guard::Guard,
    resource::{APPLIED, DELETED},
};

use crate::{
    action::{self, Action, ActionPlan},
    deployment::{Deployment, SETTLED},
    desired::{Desired, Probing},
    limit::{self, LimitPlan, LimitTest},
    moves::Mover,
    plan::RolloutPlan,
    refused::{self, Reasons},
    rollout::{Event, KIND, Rollout, State},
    shadow,
    slots::Slot,
};
use mainstay_wire::agent::Sought;

pub use track::{Batch, Track};
use track::{forget, newest_first};

/// Most ended rollouts, and actions, kept at hand.
pub const ENDED_MAX: usize = 500;
/// Most verdicts and batches of one rollout kept at hand.
const STEPS_MAX: usize = 1_000;
/// Kind of the entries that hold a rollout's events.
pub const EVENT: &str = "rollout.event";
/// Kind of the entries that hold an action's events.
pub const ACTION_EVENT: &str = "action.event";
/// Kind of the entries that hold a limit test's events.
pub const LIMIT_EVENT: &str = "limit-test.event";
/// Kind of the entry that opens a rollout in its service's stream: only one at a time.
pub const CLAIMED: &str = "deployment.claimed";
/// What a kill beside a rollout adds to its instance's incarnation: both count on, and never meet.
const BESIDE: u64 = 1 << 32;

/// What a limit test found.
#[derive(Debug, Clone, PartialEq)]
pub struct Tested {
    /// Requests per second that one instance carries, at least.
    pub rps: f64,
    /// When it was found.
    pub at: Time,
    /// The test.
    pub change: ChangeId,
}

/// What limit tests found of each service and version: the latest, unless it only met less load than one before.
pub type AllTested = BTreeMap<(ServiceName, Version), Tested>;

/// A resource as it was declared last.
#[derive(Debug, Clone, PartialEq)]
pub struct Declaration {
    /// Counts declarations of it.
    pub version: u64,
    /// Whose it is.
    pub by: Actor,
}

/// What the ledger adds up to.
#[derive(Debug, Default)]
pub struct Model {
    seq: u64,
    /// Services, by name.
    pub services: BTreeMap<ServiceName, ServiceSpec>,
    /// Which declaration of each service stands, and whose it is.
    pub declared: BTreeMap<ServiceName, Declaration>,
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
    /// Actions under way, and the last that were.
    pub actions: BTreeMap<ChangeId, Track<action::State>>,
    /// Limit tests under way, and the last that were.
    pub limits: BTreeMap<ChangeId, Track<limit::State>>,
    /// What limit tests found.
    pub tested: AllTested,
    /// How often an instance's process was replaced beside a rollout.
    beside: BTreeMap<(ServiceName, Slot), u64>,
    /// Leases on headroom.
    pub books: BTreeMap<(ServiceName, FabricName), LeaseBook>,
    /// What was noted of services that are only observed.
    pub shadows: BTreeMap<ServiceName, shadow::Memory>,
    /// First releases that could not be planned.
    pub refused: Reasons,
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
            APPLIED => self.applied(entry, &serde_json::from_str(&entry.body)?)?,
            DELETED => self.deleted(&serde_json::from_str(&entry.body)?),
            OPENED => self.opened(serde_json::from_str(&entry.body)?)?,
            MOVED => self.moved(entry, serde_json::from_str(&entry.body)?),
            EVENT => self.happened(entry, &serde_json::from_str(&entry.body)?),
            ACTION_EVENT => self.acted(entry, &serde_json::from_str(&entry.body)?),
            LIMIT_EVENT => self.tested(entry, &serde_json::from_str(&entry.body)?),
            SETTLED | CLAIMED => self.deployment(entry)?,
            LEASE_EVENT => self.leased(entry),
            _ => {}
        }
        if let Some(id) = change_of(entry) {
            let rollout = self.rollouts.get_mut(&id).map(|it| &mut it.version);
            let action = self.actions.get_mut(&id).map(|it| &mut it.version);
            let limit = self.limits.get_mut(&id).map(|it| &mut it.version);
            if let Some(version) = rollout.or(action).or(limit) {
                *version = entry.version;
            }
        }
        Ok(())
    }

    fn applied(&mut self, entry: &Entry, resource: &Resource) -> Result<(), serde_json::Error> {
        let name = &resource.metadata.name;
        match Spec::decode(resource.kind, &resource.spec)? {
            Spec::Fabric(spec) => put(&mut self.fabrics, name, spec),
            Spec::Host(spec) => put(&mut self.hosts, name, spec),
            Spec::Service(spec) => {
                let declaration = Declaration {
                    version: entry.version,
                    by: entry.actor.clone(),
                };
                put(&mut self.declared, name, declaration);
                put(&mut self.services, name, *spec);
            }
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
            // Nothing that runs depends on these.
            Spec::Monitor(_)
            | Spec::Responder(_)
            | Spec::Schedule(_)
            | Spec::EscalationPolicy(_) => {}
        }
        Ok(())
    }

    fn deleted(&mut self, resource: &Resource) {
        let name = &resource.metadata.name;
        match resource.kind {
            Kind::Fabric => drop_named(&mut self.fabrics, name),
            Kind::Host => drop_named(&mut self.hosts, name),
            Kind::Service => {
                drop_named(&mut self.declared, name);
                drop_named(&mut self.services, name);
            }
            Kind::RolloutPolicy => drop(self.policies.remove(name)),
            Kind::Guard => drop(self.guards.remove(name)),
            Kind::Freeze => drop(self.freezes.remove(name)),
            Kind::Monitor | Kind::Responder | Kind::Schedule | Kind::EscalationPolicy => {}
        }
    }

    fn opened(&mut self, change: Change) -> Result<(), serde_json::Error> {
        if change.plan.kind == action::KIND {
            let plan: ActionPlan = serde_json::from_str(&change.plan.body)?;
            if let Ok(state) = Action::open(plan, change.opened_at) {
                let moved = Action::standing(&state);
                let track = Track::new(change, state, moved);
                self.actions.insert(track.change.id.clone(), track);
                forget(&mut self.actions);
            }
            return Ok(());
        }
        if change.plan.kind == refused::KIND {
            self.refused.fold(serde_json::from_str(&change.plan.body)?);
            return Ok(());
        }
        if change.kind == ChangeKind::Observed && change.plan.kind == shadow::KIND {
            let note: shadow::Note = serde_json::from_str(&change.plan.body)?;
            self.shadows
                .entry(note.service)
                .or_default()
                .fold(&note.news);
        }
        if change.plan.kind == limit::KIND {
            let plan: LimitPlan = serde_json::from_str(&change.plan.body)?;
            if let Ok(state) = LimitTest::open(plan, change.opened_at) {
                let moved = LimitTest::standing(&state);
                let track = Track::new(change, state, moved);
                self.limits.insert(track.change.id.clone(), track);
                forget(&mut self.limits);
            }
            return Ok(());
        }
        if change.kind != ChangeKind::Rollout || change.plan.kind != KIND {
            return Ok(());
        }
        let plan: RolloutPlan = serde_json::from_str(&change.plan.body)?;
        let state = State::open(plan, change.opened_at);
        let moved = Rollout::standing(&state);
        let track = Track::new(change, state, moved);
        self.rollouts.insert(track.change.id.clone(), track);
        forget(&mut self.rollouts);
        Ok(())
    }

    fn moved(&mut self, entry: &Entry, moved: Moved) {
        let Some(id) = change_of(entry) else {
            return;
        };
        if let Some(track) = self.rollouts.get_mut(&id) {
            track.moves(entry.at, moved);
        } else if let Some(track) = self.actions.get_mut(&id) {
            track.moves(entry.at, moved);
        } else if let Some(track) = self.limits.get_mut(&id) {
            track.moves(entry.at, moved);
        }
    }

    fn acted(&mut self, entry: &Entry, event: &action::Event) {
        let track = change_of(entry).and_then(|id| self.actions.get_mut(&id));
        let Some(track) = track else {
            return;
        };
        Action::evolve(&mut track.state, event);
        if !track.moved.state.is_final() {
            track.moved = Action::standing(&track.state);
        }
        track.notes(event);
        let plan = track.state.plan();
        if let action::Event::Began { slots, .. } = event
            && plan.beside
            && plan.task.replaces()
        {
            for slot in slots.iter() {
                let key = (plan.service.clone(), slot.clone());
                *self.beside.entry(key).or_default() += 1;
            }
        }
    }

    fn tested(&mut self, entry: &Entry, event: &limit::Event) {
        let Some(id) = change_of(entry) else {
            return;
        };
        let Some(track) = self.limits.get_mut(&id) else {
            return;
        };
        LimitTest::evolve(&mut track.state, event);
        if !track.moved.state.is_final() {
            track.moved = LimitTest::standing(&track.state);
        }
        match event {
            limit::Event::Measured { at, version, rps } => {
                let key = (track.state.plan().service.clone(), version.clone());
                let found = Tested {
                    rps: *rps,
                    at: *at,
                    change: id,
                };
                // Less that was held without breaking says that there was less load, not that it carries less.
                let before = self.tested.get(&key).filter(|it| it.rps > *rps);
                if before.is_none() || track.state.broke() {
                    self.tested.insert(key, found);
                }
            }
            limit::Event::Stepped { verdict, .. } | limit::Event::Waits { verdict, .. }
                if track.verdicts.len() < STEPS_MAX =>
            {
                track.verdicts.push(verdict.clone());
            }
            limit::Event::Stepped { .. }
            | limit::Event::Waits { .. }
            | limit::Event::Applied { .. }
            | limit::Event::Held { .. }
            | limit::Event::Broke { .. }
            | limit::Event::Returned { .. }
            | limit::Event::Unseen { .. }
            | limit::Event::Back { .. } => {}
        }
    }

    /// The limit test under way on `service`, if one is.
    pub fn testing(&self, service: &ServiceName) -> Option<&Track<limit::State>> {
        let mut open = self.limits.values().filter(|it| it.ended_at.is_none());
        open.find(|it| it.state.plan().service == *service)
    }

    fn happened(&mut self, entry: &Entry, event: &Event) {
        let track = change_of(entry).and_then(|id| self.rollouts.get_mut(&id));
        let Some(track) = track else {
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
            | Event::ProbesBegan { .. }
            | Event::Held { .. }
            | Event::Replaces { .. }
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

    /// The restart or kill under way on `service`, if one is.
    pub fn replacing(&self, service: &ServiceName) -> Option<&Track<action::State>> {
        let mut open = self.actions.values().filter(|it| it.ended_at.is_none());
        open.find(|it| {
            let plan = it.state.plan();
            plan.service == *service && plan.task.replaces()
        })
    }

    /// What `service` runs now, if anything: its deployment, or what the rollout it is `beside` wants.
    pub fn running(&self, service: &ServiceName, beside: bool) -> Option<Deployment> {
        if !beside {
            let settled = self.deployments.get(service)?;
            return settled.slots().next().is_some().then(|| settled.clone());
        }
        let plan = self.open(service)?.state.plan();
        let desired = self.laid_out().remove(service)?;
        let fabrics = plan.base.fabrics.iter();
        let hosts = fabrics.map(|(fabric, placed)| (fabric.clone(), placed.hosts.clone()));
        let slots = desired.slots.into_iter();
        let instances = slots.map(|(slot, wanted)| (slot, wanted.version, wanted.incarnation));
        let (number, version) = (plan.base.number, plan.to.clone());
        Some(Deployment::of(number, version, hosts.collect(), instances))
    }

    /// What each service should run now.
    pub fn desired(&self) -> BTreeMap<ServiceName, Desired> {
        let mut desired = self.laid_out();
        for (service, desired) in &mut desired {
            self.count_beside(service, desired);
        }
        for track in self.limits.values().filter(|it| it.ended_at.is_none()) {
            if let Some(desired) = desired.get_mut(&track.state.plan().service) {
                track.state.lay_over(desired);
            }
        }
        desired
    }

    /// What each service should run now, but for processes replaced beside a rollout.
    pub fn laid_out(&self) -> BTreeMap<ServiceName, Desired> {
        let settled = self
            .deployments
            .iter()
            .map(|(service, deployment)| (service.clone(), Desired::from(deployment)));
        let mut desired: BTreeMap<ServiceName, Desired> = settled.collect();
        for track in self.rollouts.values() {
            // Not yet allowed to begin is not yet wanted; over is in the deployment.
            if track.ended_at.is_none() && track.state.has_begun() {
                let service = track.state.plan().service.clone();
                let mut wanted = track.state.desired();
                wanted.probing = track.state.probed().map(|arms| Probing {
                    change: track.change.id.clone(),
                    arms,
                    at_most: track.state.plan().terms.longest_gate(),
                });
                desired.insert(service, wanted);
            }
        }
        let open = || self.actions.values().filter(|it| it.ended_at.is_none());
        // New processes first: a drain is about the one that was there.
        for replaces in [true, false] {
            for track in open() {
                let plan = track.state.plan();
                if plan.task.replaces() == replaces
                    && let Some(desired) = desired.get_mut(&plan.service)
                {
                    track.state.lay_over(desired);
                }
            }
        }
        desired
    }

    fn count_beside(&self, service: &ServiceName, desired: &mut Desired) {
        for (slot, wanted) in &mut desired.slots {
            wanted.incarnation += self.beside(service, slot);
        }
    }

    /// What an instance's incarnation has gained by being replaced beside rollouts.
    pub fn beside(&self, service: &ServiceName, slot: &Slot) -> u64 {
        let count = self.beside.get(&(service.clone(), slot.clone()));
        count.map_or(0, |count| count * BESIDE)
    }

    /// The service that a change at hand is about.
    pub fn service_of(&self, change: &ChangeId) -> Option<&ServiceName> {
        let rollout = self.rollouts.get(change).map(|it| &it.state.plan().service);
        let action = || Some(&self.actions.get(change)?.state.plan().service);
        let limit = || Some(&self.limits.get(change)?.state.plan().service);
        rollout.or_else(action).or_else(limit)
    }

    /// A change at hand as it was opened.
    pub fn change(&self, change: &ChangeId) -> Option<&Change> {
        let rollout = self.rollouts.get(change).map(|it| &it.change);
        let action = || Some(&self.actions.get(change)?.change);
        let limit = || Some(&self.limits.get(change)?.change);
        rollout.or_else(action).or_else(limit)
    }

    /// What must still stand where something is written for `change`; none once that is over.
    pub fn still_open(&self, change: &ChangeId) -> Option<Expected> {
        let rollout = self.rollouts.get(change).and_then(Track::open);
        let action = || self.actions.get(change)?.open();
        let limit = || self.limits.get(change)?.open();
        rollout.or_else(action).or_else(limit)
    }

    /// What leases and admission ask of an open change that moves instances.
    pub fn mover(&self, change: &ChangeId) -> Option<Mover<'_>> {
        let mut mover = if let Some(track) = self.rollouts.get(change) {
            let plan = track.state.plan();
            let fabrics = plan.base.fabrics.iter();
            Mover {
                service: &plan.service,
                desired: track.state.desired(),
                sizes: plan
                    .base
                    .fabrics
                    .keys()
                    .map(|fabric| (fabric.clone(), track.state.size_of(fabric) as usize))
                    .collect(),
                versions: plan.from.iter().cloned().chain([plan.to.clone()]).collect(),
                batch: plan.terms.batch,
                refills: true,
                hosts: fabrics
                    .map(|(fabric, placed)| {
                        (fabric.clone(), placed.hosts.iter().cloned().collect())
                    })
                    .collect(),
            }
        } else {
            let track = self.actions.get(change)?;
            let plan = track.state.plan();
            let desired = self.laid_out().remove(&plan.service)?;
            let mut versions: Vec<_> = desired
                .slots
                .values()
                .map(|it| it.version.clone())
                .collect();
            versions.sort();
            versions.dedup();
            Mover {
                service: &plan.service,
                desired,
                sizes: track.state.sizes(),
                versions,
                batch: plan.batch,
                refills: plan.task.refills(),
                hosts: plan.hosts(),
            }
        };
        self.count_beside(mover.service, &mut mover.desired);
        Some(mover)
    }

    /// What each host's agent looks for: processes of services that are only observed.
    pub fn sought(&self) -> BTreeMap<HostName, Vec<Sought>> {
        let mut sought: BTreeMap<HostName, Vec<Sought>> = BTreeMap::new();
        let observed = self.services.iter();
        let observed = observed.filter(|(_, spec)| spec.manage == Manage::Observe);
        for (service, spec) in observed {
            for process in spec.observe.iter().flat_map(|it| &it.processes) {
                let named = |host: &&HostName| process.host.as_ref().is_none_or(|it| it == *host);
                for host in self.hosts.keys().filter(named) {
                    sought.entry(host.clone()).or_default().push(Sought {
                        service: service.clone(),
                        executable: process.executable.clone(),
                        port: process.port,
                    });
                }
            }
        }
        sought
    }

    /// Whether a rollout of `service` was ever opened, as far as is kept at hand.
    pub fn was_released(&self, service: &ServiceName) -> bool {
        self.deployment_versions.contains_key(service)
    }

    /// Rollouts, newest first.
    pub fn newest_first(&self) -> Vec<&Track> {
        newest_first(&self.rollouts)
    }

    /// Actions, newest first.
    pub fn newest_actions(&self) -> Vec<&Track<action::State>> {
        newest_first(&self.actions)
    }

    /// Limit tests, newest first.
    pub fn newest_limits(&self) -> Vec<&Track<limit::State>> {
        newest_first(&self.limits)
    }
}

/// The change whose stream an entry is of.
fn change_of(entry: &Entry) -> Option<ChangeId> {
    let id = entry.stream.as_str().strip_prefix("change/")?;
    ChangeId::new(id).ok()
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
