//! What must hold whenever something is committed, ordered or done, whatever moves the service.
//!
//! Measurements are allowed to be as old as machines accept them: what was true at any moment of the last
//! seconds may be acted upon, and only what was true at none of them breaks an invariant.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_change::LeaseBook;
use mainstay_core::{ChangeId, Entry, FabricName, HostName, InstanceName, Version};
use mainstay_deploy::{
    Slot, Slots, Wanted,
    action::{self, Task},
    model::{ACTION_EVENT, EVENT, LIMIT_EVENT, Track},
};
use mainstay_wire::router::RouteTable;

use super::{
    Production,
    site::{CARRIES, Happened, Process},
};
use crate::{
    driver::Sim,
    report::{Fault, Invariant},
};

/// What is accepted as fresh, the time between reports, and the way of an answer.
const WINDOW_MS: i64 = 8_000;
/// As much more while the clock was set: what was stamped before looks younger than it is.
const SKEW_WINDOW_MS: i64 = 7_000;
/// After harm was seen the next forward step is never further away than a crash takes.
pub(super) const HARM_WINDOW_MS: i64 = 20_000;

/// The world at one moment.
pub(super) struct Snapshot {
    pub(super) at: i64,
    pub(super) up: BTreeMap<InstanceName, (Version, u64)>,
    /// Instances that have any process.
    pub(super) alive: BTreeSet<InstanceName>,
    serving: BTreeMap<FabricName, BTreeMap<InstanceName, HostName>>,
    pub(super) demand: BTreeMap<FabricName, f64>,
    books: BTreeMap<FabricName, LeaseBook>,
    pub(super) all_well: bool,
    /// Whether anything was measured.
    pub(super) sighted: bool,
    /// Whether guards failed.
    pub(super) guarded: bool,
    /// Changes under way.
    pub(super) open: usize,
    /// What routers' tables say, by fabric: the share of requests that is refused.
    pub(super) shed: BTreeMap<FabricName, u32>,
    /// Instances that they give another share than a full one.
    pub(super) shares: BTreeMap<InstanceName, f64>,
}

/// What must remain.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Keep {
    Demand,
    DemandAndMargin,
}

fn processes_of(scene: &Production) -> impl Iterator<Item = (&InstanceName, &Vec<Process>)> {
    scene.site.hosts.values().flat_map(|host| &host.processes)
}

impl Sim<Production> {
    pub(super) fn snapshot(&mut self) {
        let now = self.true_ms;
        let scene = &self.scene;
        let up = processes_of(scene).filter_map(|(name, all)| {
            let process = all.iter().find(|it| it.is_up(now))?;
            Some((name.clone(), (process.version.clone(), process.incarnation)))
        });
        let routers = scene.site.routers.keys();
        let books = scene.model.books.iter();
        let well = |host: &super::site::SimHost| host.hears(now) && host.failing_until <= now;
        let tables = || scene.site.tables();
        let open = |it: &&ChangeId| scene.stands(it).is_some_and(|it| !it.ended);
        let alive = processes_of(scene).filter(|(_, all)| !all.is_empty());
        let snapshot = Snapshot {
            at: now,
            up: up.collect(),
            alive: alive.map(|(name, _)| name.clone()).collect(),
            serving: routers
                .map(|it| (it.clone(), scene.site.serving(it, now)))
                .collect(),
            demand: scene.demand.clone(),
            books: books
                .map(|((_, fabric), book)| (fabric.clone(), book.clone()))
                .collect(),
            all_well: scene.site.hosts.values().all(well),
            sighted: scene.blind_until <= now,
            guarded: scene.shared_until > now,
            open: scene.plot.opened.iter().filter(open).count(),
            shed: tables()
                .map(|(fabric, it)| (fabric.clone(), it.shed))
                .collect(),
            shares: tables()
                .flat_map(|(_, it)| &it.backends)
                .filter(|it| it.share.total_cmp(&1.0).is_ne())
                .map(|it| (it.instance.clone(), it.share))
                .collect(),
        };
        self.scene.snapshots.push_back(snapshot);
        let oldest = now - HARM_WINDOW_MS;
        while self
            .scene
            .snapshots
            .front()
            .is_some_and(|it| it.at < oldest)
        {
            self.scene.snapshots.pop_front();
        }
    }

    pub(super) fn window_ms(&self) -> i64 {
        if self.true_ms - self.skewed_at < 2 * SKEW_WINDOW_MS {
            WINDOW_MS + SKEW_WINDOW_MS
        } else {
            WINDOW_MS
        }
    }

    pub(super) fn recent(&self) -> impl Iterator<Item = &Snapshot> + Clone {
        let from = self.true_ms - self.window_ms();
        self.scene.snapshots.iter().filter(move |it| it.at >= from)
    }

    pub(super) fn names<'a>(&self, slots: impl IntoIterator<Item = &'a Slot>) -> Vec<InstanceName> {
        let named = slots.into_iter();
        named
            .filter_map(|slot| slot.instance(&self.scene.service).ok())
            .collect()
    }

    /// Folds entries into what the ledger says, and holds each against the world.
    pub(super) fn fold(&mut self, entries: &[Entry]) {
        for entry in entries {
            self.note(&format!("{} {} {}", entry.stream, entry.kind, entry.body));
            if let Err(error) = self.fold_one(entry) {
                self.violated(Invariant::Ledger, error.to_string());
            }
        }
        if let Some(flaw) = self.scene.model.flaws.first().cloned() {
            self.violated(Invariant::Ledger, flaw);
        }
    }

    fn fold_one(&mut self, entry: &Entry) -> Result<(), serde_json::Error> {
        let id = entry.stream.as_str().strip_prefix("change/");
        let change = id.and_then(|id| ChangeId::new(id).ok());
        let scene = &mut self.scene;
        let before = change.as_ref().map(|id| {
            let rollout = scene.model.rollouts.get(id).map(|it| it.state.clone());
            let action = scene.model.actions.get(id).map(|it| it.state.clone());
            (rollout, action)
        });
        scene.model.fold(entry);
        let desired = scene
            .model
            .desired()
            .remove(&scene.service)
            .unwrap_or_default();
        for (slot, wanted) in &desired.slots {
            if let Ok(instance) = slot.instance(&scene.service) {
                let is = (instance, wanted.version.clone(), wanted.incarnation);
                scene.entered.insert(is);
            }
        }
        scene.was = std::mem::replace(&mut scene.desired, desired);
        let (Some(change), Some((rollout, action))) = (change, before) else {
            return Ok(());
        };
        match (entry.kind.as_str(), rollout, action) {
            (EVENT, Some(before), _) => {
                self.rolled(&change, &serde_json::from_str(&entry.body)?, &before, entry);
            }
            (ACTION_EVENT, _, Some(before)) => {
                self.acted(&change, &serde_json::from_str(&entry.body)?, &before);
            }
            (LIMIT_EVENT, _, _) => self.tested(&change, &serde_json::from_str(&entry.body)?),
            _ => {}
        }
        Ok(())
    }

    /// A batch goes out: with a lease, and so that the rest carries demand and a margin.
    pub(super) fn check_batch(&mut self, change: &ChangeId, slots: &Slots, restoring: bool) {
        for fabric in slots.fabrics() {
            let names = self.names(slots.of(fabric));
            let blind = restoring && self.blind_lately(fabric);
            let key = (self.scene.service.clone(), fabric.clone());
            let is_held = |book: &LeaseBook| book.lease(change).is_some();
            // A restoring change may have taken it over since.
            let was_held = |at: &Snapshot| at.books.get(fabric).is_some_and(is_held);
            let held = self.scene.model.books.get(&key).is_some_and(is_held);
            if !blind && !held && !self.recent().any(was_held) {
                let what = format!("{names:?} were taken out without a lease");
                self.violated(Invariant::Ledger, what);
            }
            // Blind, the way back takes one at a time; more only where measurement allowed it.
            if !blind || names.len() > 1 {
                self.check_floor(fabric, &names, Some(change), Keep::DemandAndMargin);
            }
        }
    }

    pub(super) fn blind_lately(&self, fabric: &FabricName) -> bool {
        let from = self.true_ms - self.window_ms();
        let router = self.scene.site.routers.get(fabric);
        let silent = router.is_some_and(|it| it.silent_until >= from || it.gone_until >= from);
        silent || self.scene.blind_until >= from || self.led_at >= from
    }

    /// What `out` leaves of the capacity that was, at the best of the last moments; leases of others than
    /// `change` count as spent.
    pub(super) fn check_floor(
        &mut self,
        fabric: &FabricName,
        out: &[InstanceName],
        change: Option<&ChangeId>,
        keep: Keep,
    ) {
        let slots = self.scene.was.slots.iter();
        let domains: BTreeSet<&HostName> = slots
            .filter(|(slot, wanted)| slot.fabric == *fabric && !wanted.draining)
            .map(|(_, wanted)| &wanted.host)
            .collect();
        let size = self.scene.sizes.get(fabric).copied().unwrap_or(0);
        let out: BTreeSet<&InstanceName> = out.iter().collect();
        let mut worst: Option<String> = None;
        for at in self.recent() {
            let Some(serving) = at.serving.get(fabric) else {
                continue;
            };
            let mut by_host: BTreeMap<&HostName, f64> = BTreeMap::new();
            for (instance, host) in serving {
                let counts = if out.contains(instance) { 0.0 } else { CARRIES };
                *by_host.entry(host).or_default() += counts;
            }
            let was = serving.len() as f64 * CARRIES;
            let is: f64 = by_host.values().sum();
            let demand = at.demand.get(fabric).copied().unwrap_or(0.0);
            // Summed here and not asked of the book, whose own sum is among what is checked.
            let others = at.books.get(fabric).into_iter().flat_map(LeaseBook::leases);
            let leased: f64 = others
                .filter(|(id, _)| change.is_some_and(|me| me != *id))
                .map(|(_, lease)| lease.rps)
                .sum();
            let misses = |host: &&HostName| !serving.values().any(|it| it == *host);
            let thin = domains.len() <= 1 || domains.iter().any(misses);
            let margin = by_host.values().copied().fold(0.0, f64::max);
            let wanted = match keep {
                Keep::Demand => demand,
                Keep::DemandAndMargin if thin => demand + leased,
                Keep::DemandAndMargin => demand + leased + margin,
            };
            let remain = serving.keys().filter(|it| !out.contains(it)).count();
            if is >= was.min(wanted) || remain >= size {
                return;
            }
            worst = Some(format!(
                "{fabric}: {out:?} out leave {is:.0} of {was:.0} rps for {wanted:.0}"
            ));
        }
        if let Some(what) = worst {
            self.violated(Invariant::Floor, what);
        }
    }

    /// A table is about to arrive at a router: what it takes out of rotation must not be needed.
    pub(super) fn about_to_route(&mut self, fabric: &FabricName, table: &RouteTable) {
        let scene = &self.scene;
        let newer = table.generation > scene.site.generation_of(fabric);
        if !newer || scene.plot.opened.is_empty() {
            return;
        }
        let before = scene.site.serving(fabric, self.true_ms);
        let after = scene.site.up_in(table.services.first(), self.true_ms);
        // What a change added it may take away at any time: the service never counted on it.
        let size = scene.sizes.get(fabric).copied().unwrap_or(0) as u32;
        let base = (1..=size).map(|n| Slot::new(fabric.clone(), n));
        let base: Vec<Slot> = base.collect();
        let mut out = self.names(&base);
        out.retain(|it| before.contains_key(it) && !after.contains_key(it));
        // One that a restoring change drained blind: nobody knew then, and the router hears of it when it can.
        let drains_blind = |track: &Track<action::State>| {
            let plan = track.state.plan();
            track.ended_at.is_none() && plan.task == Task::Drain
        };
        // Before a first release there was no capacity: it goes back by the routes, all of it.
        let unreleases = |track: &Track| {
            let first = track.state.plan().from.is_none();
            track.ended_at.is_none() && first && track.state.is_restoring()
        };
        if scene.model.rollouts.values().any(unreleases) {
            return;
        }
        let mut actions = scene.model.actions.values();
        let blind = out.len() == 1 && actions.any(drains_blind) && self.blind_lately(fabric);
        if !out.is_empty() && !blind {
            self.check_floor(fabric, &out, None, Keep::Demand);
        }
    }

    /// What was verified runs, at some of the last moments, as it is wanted; what was replaced `beside` a rollout,
    /// as that wanted it then.
    pub(super) fn check_verified(&mut self, slots: &Slots, beside: bool) {
        let scene = &self.scene;
        let untrue = slots.iter().find_map(|slot| {
            let wanted = scene.desired.slots.get(slot)?;
            let name = slot.instance(&scene.service).ok()?;
            let is = (wanted.version.clone(), wanted.incarnation);
            let since = scene.model.beside(&scene.service, slot);
            let ran = |at: &Snapshot| {
                let up = at.up.get(&name);
                up == Some(&is) || beside && up.is_some_and(|up| up.1 >= since)
            };
            let version = &wanted.version;
            let what = || format!("{name} was verified as {version} and is not");
            (!self.recent().any(ran)).then(what)
        });
        if let Some(what) = untrue {
            self.violated(Invariant::Truth, what);
        }
    }

    /// What was draining before and is replaced or gone after holds no request.
    pub(super) fn check_drained(&mut self) {
        let scene = &self.scene;
        let moved = |slot: &Slot, was: &Wanted| {
            let is = scene.desired.slots.get(slot);
            was.draining && is.is_none_or(|is| is.incarnation != was.incarnation)
        };
        let mut gone = scene
            .was
            .slots
            .iter()
            .filter(|(slot, was)| moved(slot, was));
        let busy = gone.find_map(|(slot, _)| {
            let name = slot.instance(&scene.service).ok()?;
            scene
                .site
                .holds_requests(&name, self.true_ms)
                .then_some(name)
        });
        if let Some(name) = busy {
            let what = format!("{name} was said to be at rest and holds requests");
            self.violated(Invariant::Truth, what);
        }
    }

    /// It ended with the deployment `number`, and all of it ran once.
    pub(super) fn check_settled(&mut self, number: u64) {
        let scene = &self.scene;
        let written = scene.model.deployments.get(&scene.service);
        let unwritten = written.map(|it| it.number) != Some(number);
        let mut slots = scene.desired.slots.iter();
        let never = slots.find_map(|(slot, wanted)| {
            let name = slot.instance(&scene.service).ok()?;
            let is = (name.clone(), wanted.version.clone(), wanted.incarnation);
            (!scene.started.contains(&is) && !scene.is_killed_beside(slot)).then_some(name)
        });
        if unwritten {
            let what = "it ended and what runs is not written".to_owned();
            self.violated(Invariant::Ledger, what);
        }
        if let Some(name) = never {
            let what = format!("{name} is written down and never ran");
            self.violated(Invariant::Truth, what);
        }
    }

    pub(super) fn on_host(&mut self, happened: Happened) {
        match happened {
            Happened::Started(name, version, incarnation) => {
                self.note(&format!("start {name} {version} {incarnation}"));
                let is = (name, version, incarnation);
                if !self.scene.entered.contains(&is) {
                    let what = format!("{} was started without an entry", is.0);
                    self.violated(Invariant::Ledger, what);
                }
                self.scene.started.insert(is);
            }
            Happened::Stopped(name, version, incarnation) => {
                self.note(&format!("stop {name} {version} {incarnation}"));
                let mut slots = self.scene.desired.slots.iter();
                let still = slots.any(|(slot, wanted)| {
                    slot.instance(&self.scene.service).as_ref() == Ok(&name)
                        && (&wanted.version, wanted.incarnation) == (&version, incarnation)
                });
                if still {
                    let what = format!("{name} was stopped without an entry");
                    self.violated(Invariant::Ledger, what);
                }
            }
            Happened::Doubled(name) => {
                self.violated(Invariant::Fence, format!("two processes are {name}"));
            }
            Happened::Lied => self.bite(Fault::LyingAgent),
            Happened::RefusedToStop => self.bite(Fault::RefusesToStop),
            Happened::FailedToStart => self.bite(Fault::FailsToStart),
            Happened::LimitBroke(name) => {
                self.note(&format!("the limit of {name} broke"));
                self.bite(Fault::LimitBreaks);
            }
        }
    }
}
