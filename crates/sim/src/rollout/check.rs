//! What must hold whenever something is committed, ordered or done.
//!
//! Measurements are allowed to be as old as a rollout accepts them: what was true at any moment of the last
//! seconds may be acted upon, and only what was true at none of them breaks an invariant.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_change::Direction;
use mainstay_core::{Entry, FabricName, HostName, InstanceName, Version};
use mainstay_deploy::{
    Slots,
    model::EVENT,
    rollout::{Event, State},
};
use mainstay_wire::{Generation, router::ServiceRoutes};

use super::{
    RolloutWorld, Truth,
    site::{CARRIES, Happened, fraction},
};
use crate::report::{Fault, Invariant};

/// What is accepted as fresh, the time between reports, and the way of an answer.
const WINDOW_MS: i64 = 8_000;
/// As much more while the clock was set: what was stamped before looks younger than it is.
const SKEW_WINDOW_MS: i64 = 7_000;
/// After harm was seen the next forward step is never further away than a crash takes.
const HARM_WINDOW_MS: i64 = 20_000;

/// Instances of the old version get their fair share on the way back, so that they grow warm, even where one
/// of them is missing: so much more than its capacity the others may be sent.
const OVERLOAD_MAX: f64 = 1.25;

/// The world at one moment.
pub(crate) struct Snapshot {
    pub(crate) at: i64,
    up: BTreeMap<InstanceName, (Version, u64)>,
    serving: BTreeMap<FabricName, BTreeMap<InstanceName, HostName>>,
    demand: BTreeMap<FabricName, f64>,
    leased: BTreeMap<FabricName, f64>,
    all_well: bool,
}

/// What must remain.
#[derive(Clone, Copy, PartialEq)]
enum Keep {
    Demand,
    DemandAndMargin,
}

impl RolloutWorld {
    pub(crate) fn snapshot(&mut self) {
        let now = self.true_ms;
        let processes = self.site.hosts.values().flat_map(|host| &host.processes);
        let up = processes
            .filter_map(|(name, all)| {
                let process = all.iter().find(|it| it.is_up(now))?;
                Some((name.clone(), (process.version.clone(), process.incarnation)))
            })
            .collect();
        let fabrics: Vec<FabricName> = self.site.routers.keys().cloned().collect();
        let serving = fabrics
            .iter()
            .map(|it| (it.clone(), self.site.serving(it, now)))
            .collect();
        let leased = fabrics.iter().map(|fabric| {
            let book = self
                .model
                .books
                .get(&(self.service.clone(), fabric.clone()));
            let rps = book.map_or(0.0, |it| it.leased_rps(&self.change, Direction::Forward));
            (fabric.clone(), rps)
        });
        let well =
            |host: &super::site::SimHost| host.down_until <= now && host.failing_until <= now;
        let snapshot = Snapshot {
            at: now,
            up,
            serving,
            demand: self.demand.clone(),
            leased: leased.collect(),
            all_well: self.site.hosts.values().all(well),
        };
        self.snapshots.push_back(snapshot);
        while self
            .snapshots
            .front()
            .is_some_and(|it| it.at < now - HARM_WINDOW_MS)
        {
            self.snapshots.pop_front();
        }
    }

    fn window_ms(&self) -> i64 {
        if self.true_ms - self.skewed_at < 2 * SKEW_WINDOW_MS {
            WINDOW_MS + SKEW_WINDOW_MS
        } else {
            WINDOW_MS
        }
    }

    fn recent(&self) -> impl Iterator<Item = &Snapshot> {
        let from = self.true_ms - self.window_ms();
        self.snapshots.iter().filter(move |it| it.at >= from)
    }

    /// Folds entries into what the ledger says, and holds each against the world.
    pub(crate) fn fold(&mut self, entries: &[Entry]) {
        for entry in entries {
            self.note(&format!("{} {} {}", entry.stream, entry.kind, entry.body));
            let before = self
                .model
                .rollouts
                .get(&self.change)
                .map(|it| it.state.clone());
            self.model.fold(entry);
            let after = self
                .model
                .rollouts
                .get(&self.change)
                .map(|it| it.state.clone());
            for desired in self.model.desired().into_values() {
                for (slot, wanted) in desired.slots {
                    if let Ok(instance) = slot.instance(&self.service) {
                        self.entered
                            .insert((instance, wanted.version, wanted.incarnation));
                    }
                }
            }
            if let (Some(before), Some(after)) = (before, after)
                && entry.kind == EVENT
            {
                match serde_json::from_str(&entry.body) {
                    Ok(event) => self.happened(&event, &before, &after, entry),
                    Err(error) => self.violated(Invariant::Ledger, error.to_string()),
                }
            }
        }
        if let Some(flaw) = self.model.flaws.first().cloned() {
            self.violated(Invariant::Ledger, flaw);
        }
    }

    fn happened(&mut self, event: &Event, before: &State, after: &State, entry: &Entry) {
        match event {
            Event::Passed { .. } => self.check_passed(),
            Event::Began { slots, .. } => self.check_batch(slots, before),
            Event::Verified { slots, .. } => self.check_verified(slots, after),
            Event::Drained { overdue: false, .. } => self.check_drained(before, after),
            Event::Trimmed { at } => {
                let overdue = at.since(before.since()) >= before.plan().terms.drain_within;
                if !overdue {
                    self.check_drained(before, after);
                }
            }
            Event::Settled { .. } => self.check_settled(after),
            Event::Admitted { .. }
            | Event::Surged { .. }
            | Event::Judged { .. }
            | Event::Raised { .. }
            | Event::ProbesBegan { .. }
            | Event::Held { .. }
            | Event::Drained { .. }
            | Event::Failed { .. }
            | Event::Paused { .. }
            | Event::Resumed { .. }
            | Event::Promoted { .. }
            | Event::Aborted { .. }
            | Event::Stuck { .. } => {}
        }
        self.check_weights(after, entry);
    }

    fn check_passed(&mut self) {
        let window = self.window_ms();
        if self.pass_at.is_none_or(|at| at < self.true_ms - window) {
            let what = "a gate was passed on nothing that was measured lately".to_owned();
            self.violated(Invariant::Guard, what);
        }
        if self.harm_since.is_some_and(|at| at < self.true_ms - window) {
            self.violated(
                Invariant::Guard,
                "a gate was passed after harm was seen".to_owned(),
            );
        }
    }

    fn check_batch(&mut self, slots: &Slots, before: &State) {
        let restoring = before.is_restoring();
        for fabric in slots.fabrics() {
            let names: Vec<InstanceName> = slots
                .of(fabric)
                .filter_map(|slot| slot.instance(&self.service).ok())
                .collect();
            let book = self
                .model
                .books
                .get(&(self.service.clone(), fabric.clone()));
            if book.and_then(|it| it.lease(&self.change)).is_none() {
                let what = format!("{names:?} were taken out without a lease");
                self.violated(Invariant::Ledger, what);
            }
            // Blind, the way back takes one at a time; more only where measurement allowed it.
            let alone = names.len() <= 1 && self.blind_lately(fabric);
            if restoring && alone {
                continue;
            }
            self.check_floor(fabric, &names, before, Keep::DemandAndMargin);
        }
        let late = self
            .harm_since
            .is_some_and(|at| at < self.true_ms - HARM_WINDOW_MS);
        if !restoring && late {
            self.violated(
                Invariant::Guard,
                "a batch began long after harm was seen".to_owned(),
            );
        }
    }

    fn blind_lately(&self, fabric: &FabricName) -> bool {
        let from = self.true_ms - self.window_ms();
        let silent = self
            .site
            .routers
            .get(fabric)
            .is_some_and(|it| it.silent_until >= from);
        silent || self.blind_until >= from || self.led_lately(from)
    }

    fn check_floor(
        &mut self,
        fabric: &FabricName,
        out: &[InstanceName],
        before: &State,
        keep: Keep,
    ) {
        let mut domains: BTreeSet<HostName> = BTreeSet::new();
        for (slot, wanted) in before.desired().slots {
            if slot.fabric == *fabric && !wanted.draining {
                domains.insert(wanted.host);
            }
        }
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
            let leased = at.leased.get(fabric).copied().unwrap_or(0.0);
            let thin = domains.len() <= 1
                || domains
                    .iter()
                    .any(|host| !serving.values().any(|it| it == host));
            let margin = by_host.values().copied().fold(0.0, f64::max);
            let wanted = match keep {
                Keep::Demand => demand,
                Keep::DemandAndMargin if thin => demand + leased,
                Keep::DemandAndMargin => demand + leased + margin,
            };
            let remain = serving.keys().filter(|it| !out.contains(it)).count();
            if is >= was.min(wanted) || remain >= before.size_of(fabric) as usize {
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
    pub(crate) fn about_to_route(
        &mut self,
        fabric: &FabricName,
        generation: Generation,
        table: &ServiceRoutes,
    ) {
        if generation <= self.site.generation_of(fabric) {
            return;
        }
        let before = self.site.serving(fabric, self.true_ms);
        let after = self.site.up_in(Some(table), self.true_ms);
        let out: Vec<InstanceName> = before
            .into_keys()
            .filter(|it| !after.contains_key(it))
            .collect();
        let state = self
            .model
            .rollouts
            .get(&self.change)
            .map(|it| it.state.clone());
        let Some(state) = state else {
            return;
        };
        // What the rollout added it may take away at any time: the service never counted on it.
        let base = &state.plan().base;
        let names: BTreeSet<InstanceName> = base
            .slots()
            .filter_map(|it| it.slot.instance(&self.service).ok())
            .collect();
        let out: Vec<InstanceName> = out.into_iter().filter(|it| names.contains(it)).collect();
        if !out.is_empty() {
            self.check_floor(fabric, &out, &state, Keep::Demand);
        }
    }

    fn check_verified(&mut self, slots: &Slots, after: &State) {
        let desired = after.desired();
        let mut untrue = None;
        for slot in slots.iter() {
            let (Ok(name), Some(wanted)) = (slot.instance(&self.service), desired.slots.get(slot))
            else {
                continue;
            };
            let is = (wanted.version.clone(), wanted.incarnation);
            if !self.recent().any(|it| it.up.get(&name) == Some(&is)) {
                untrue = Some(format!(
                    "{name} was verified as {} and is not",
                    wanted.version
                ));
            }
        }
        if let Some(what) = untrue {
            self.violated(Invariant::Truth, what);
        }
    }

    /// What was draining before and is replaced or gone after holds no request.
    fn check_drained(&mut self, before: &State, after: &State) {
        let after = after.desired();
        for (slot, was) in before.desired().slots {
            let moved = after
                .slots
                .get(&slot)
                .is_none_or(|is| is.incarnation != was.incarnation);
            let Ok(name) = slot.instance(&self.service) else {
                continue;
            };
            if was.draining && moved && self.site.holds_requests(&name, self.true_ms) {
                let what = format!("{name} was said to be at rest and holds requests");
                self.violated(Invariant::Truth, what);
            }
        }
    }

    fn check_settled(&mut self, after: &State) {
        let number = self
            .model
            .deployments
            .get(&self.service)
            .map(|it| it.number);
        if number != Some(after.plan().number()) {
            self.violated(
                Invariant::Ledger,
                "it ended and what runs is not written".to_owned(),
            );
        }
        let wanted = after.desired().slots;
        for (slot, wanted) in wanted {
            let Ok(name) = slot.instance(&self.service) else {
                continue;
            };
            let is = (name.clone(), wanted.version, wanted.incarnation);
            if !self.started.contains(&is) {
                let what = format!("{name} is written down and never ran");
                self.violated(Invariant::Truth, what);
            }
        }
    }

    /// No version is sent more than its instances carry while all together could.
    fn check_weights(&mut self, after: &State, entry: &Entry) {
        let desired = after.desired();
        let mut wrong = None;
        for (fabric, weights) in &desired.weights {
            let blind = self.blind_lately(fabric);
            for (version, weight) in weights {
                let of_fabric = || {
                    let slots = desired.slots.iter();
                    slots.filter(|(slot, it)| slot.fabric == *fabric && !it.draining)
                };
                let of_version = of_fabric().filter(|it| it.1.version == *version).count();
                // A fair share is no more than others get; who is missing is no effect of ours.
                let others = of_fabric().filter(|(slot, it)| {
                    let name = slot.instance(&self.service);
                    let last = self.snapshots.back();
                    it.version != *version
                        && name.is_ok_and(|name| last.is_some_and(|at| at.up.contains_key(&name)))
                });
                let fair = of_version as f64 / (of_version + others.count()).max(1) as f64;
                let is_fair = fraction(*weight) <= fair + 0.001;
                let holds = blind
                    || is_fair
                    || self.recent().any(|at| {
                        let carries = |of: Option<&Version>| {
                            let slots = desired.slots.iter().filter(|(slot, wanted)| {
                                slot.fabric == *fabric
                                    && !wanted.draining
                                    && of.is_none_or(|of| wanted.version == *of)
                                    && slot.instance(&self.service).is_ok_and(|name| {
                                        let is = (wanted.version.clone(), wanted.incarnation);
                                        at.up.get(&name) == Some(&is)
                                    })
                            });
                            slots.count() as f64 * CARRIES
                        };
                        let demand = at.demand.get(fabric).copied().unwrap_or(0.0);
                        let sent = demand * fraction(*weight);
                        !at.all_well
                            || sent <= carries(Some(version)) * OVERLOAD_MAX
                            || demand > carries(None)
                    });
                if !holds {
                    wrong = Some(format!(
                        "{fabric}: {version} is sent {weight} after {}",
                        entry.body
                    ));
                }
            }
        }
        if let Some(what) = wrong {
            self.violated(Invariant::Floor, what);
        }
    }

    pub(crate) fn on_host(&mut self, happened: Happened) {
        match happened {
            Happened::Started(name, version, incarnation) => {
                self.note(&format!("start {name} {version} {incarnation}"));
                let is = (name.clone(), version, incarnation);
                if !self.entered.contains(&is) {
                    let what = format!("{name} was started without an entry");
                    self.violated(Invariant::Ledger, what);
                }
                self.started.insert(is);
            }
            Happened::Stopped(name, version, incarnation) => {
                self.note(&format!("stop {name} {version} {incarnation}"));
                let desired = self.model.desired();
                let slots = desired.values().flat_map(|it| &it.slots);
                let mut same = slots.filter(|(slot, wanted)| {
                    slot.instance(&self.service).as_ref() == Ok(&name)
                        && (&wanted.version, wanted.incarnation) == (&version, incarnation)
                });
                if same.next().is_some() {
                    let what = format!("{name} was stopped without an entry");
                    self.violated(Invariant::Ledger, what);
                }
            }
            Happened::Doubled(name) => {
                let what = format!("two processes are {name}");
                self.violated(Invariant::Fence, what);
            }
            Happened::Lied => self.bite(Fault::LyingAgent),
            Happened::RefusedToStop => self.bite(Fault::RefusesToStop),
            Happened::FailedToStart => self.bite(Fault::FailsToStart),
        }
    }

    pub(crate) fn judge_the_end(&mut self) {
        let mut chain = mainstay_core::ledger::ChainCheck::default();
        let broken = self
            .ledger
            .entries
            .iter()
            .find_map(|it| chain.step(it).err());
        if let Some(broken) = broken {
            self.violated(Invariant::Ledger, broken.to_string());
        }
        let track = self.model.rollouts.get(&self.change).cloned();
        let Some(track) = track else {
            return;
        };
        if track.ended_at.is_none() {
            let what = format!(
                "not ended: {} ({:?})",
                track.state.step_words(),
                track.moved
            );
            self.violated(Invariant::Live, what);
        }
        if self.truth == Truth::Good && self.clean && track.state.is_restoring() {
            self.violated(Invariant::Live, "a good version was turned back".to_owned());
        }
    }
}
