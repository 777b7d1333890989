//! Routers and users as they really are: what each instance is asked for, and what it answers.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_core::{FabricName, HostName, InstanceName, Version};
use mainstay_deploy::plan::ALL;
use mainstay_wire::{
    Generation,
    router::{Backend, RouteTable, ServiceRoutes},
};

use super::site::{Happened, Process, RECENT_STEPS, Site};

/// Share of bad answers that breaks the objective.
const OBJECTIVE: f64 = 0.01;
/// Steps that a router may take to end a share that breaks the objective.
const BREAKS_WITHIN: u32 = 1;

#[derive(Debug, Default)]
pub(crate) struct SimRouter {
    pub(super) order: Generation,
    pub(super) table: Option<ServiceRoutes>,
    pub(super) next_report: i64,
    pub(crate) silent_until: i64,
    /// Cut off until then: it goes on with the table it has.
    pub(crate) gone_until: i64,
    /// Instances that more than a full share breaks, and for how many steps it has.
    overloaded: BTreeMap<InstanceName, u32>,
    /// Instances whose limit broke: they get a full share until an order says something else.
    pub(super) broken: BTreeSet<InstanceName>,
}

impl SimRouter {
    /// What it gives `backend` now.
    pub(super) fn share_of(&self, backend: &Backend) -> f64 {
        if self.broken.contains(&backend.instance) {
            backend.share.min(1.0)
        } else {
            backend.share
        }
    }

    fn takes(&mut self, table: &ServiceRoutes) {
        let before = self.table.iter().flat_map(|it| &it.backends);
        let is_same = |one: &Backend| {
            let same = |it: &Backend| {
                it.instance == one.instance && it.share.total_cmp(&one.share).is_eq()
            };
            before.clone().any(same)
        };
        let changed = table.backends.iter().filter(|one| !is_same(one));
        let changed: Vec<InstanceName> = changed.map(|it| it.instance.clone()).collect();
        self.broken.retain(|it| !changed.contains(it));
        self.table = Some(table.clone());
    }
}

/// What `version` does to `share` of its requests.
pub(crate) struct Users<'a> {
    pub(crate) demand: &'a BTreeMap<FabricName, f64>,
    pub(crate) errors: &'a dyn Fn(&Version) -> f64,
    pub(crate) start_ms: i64,
}

impl Site {
    pub(crate) fn order_router(
        &mut self,
        name: &FabricName,
        table: &RouteTable,
        fenced: bool,
    ) -> (bool, bool) {
        let generation = table.generation;
        let Some(router) = self.routers.get_mut(name) else {
            return (false, false);
        };
        let older = generation < router.order;
        if generation > router.order || !fenced {
            router.order = generation;
            if let Some(routes) = table.services.first() {
                router.takes(routes);
            }
            return (true, older);
        }
        (false, older)
    }

    pub(super) fn serve(
        &mut self,
        now: i64,
        tick_ms: i64,
        users: &Users<'_>,
        happened: &mut Vec<Happened>,
    ) {
        let mut routers = std::mem::take(&mut self.routers);
        for (fabric, router) in &mut routers {
            let Some(table) = &router.table else {
                continue;
            };
            let taken = 1.0 - fraction(table.shed);
            let demand = users.demand.get(fabric).copied().unwrap_or(0.0) * taken;
            let (mut over, mut broke, mut answered) = (Vec::new(), Vec::new(), Vec::new());
            for (backend, offered) in self.spread(router, table, demand, now) {
                let port = port_of(&backend.address);
                let mut processes = self.processes_mut(&backend.instance).into_iter().flatten();
                let Some(it) = processes.find(|it| it.port == port) else {
                    continue;
                };
                let good = offered.min(it.carries(now)) * (1.0 - (users.errors)(&it.version));
                (it.good_rps, it.bad_rps) = (good, offered - good);
                if offered > 0.0 {
                    it.asked_since.get_or_insert(now);
                    it.asked_last = now;
                    let seconds = tick_ms as f64 / 1_000.0;
                    answered.push((it.version.clone(), offered * seconds));
                }
                if router.share_of(backend) > 1.0 && it.bad_rps > OBJECTIVE * offered {
                    over.push(backend.instance.clone());
                    if backend.limit.is_some() {
                        broke.push(backend.instance.clone());
                    }
                }
            }
            for (version, count) in answered {
                *self.answered.entry(version).or_default() += count;
            }
            let counted = |it: InstanceName| {
                let before = router.overloaded.get(&it).copied().unwrap_or(0);
                (it, before + 1)
            };
            router.overloaded = over.into_iter().map(counted).collect();
            for instance in broke {
                router.broken.insert(instance.clone());
                happened.push(Happened::LimitBroke(instance));
            }
        }
        self.routers = routers;
        let processes = self
            .hosts
            .values_mut()
            .flat_map(|it| it.processes.values_mut());
        for process in processes.flatten() {
            if process.asked_last < now {
                (process.good_rps, process.bad_rps) = (0.0, 0.0);
            }
            process.recent.push_back(process.good_rps);
            if process.recent.len() > RECENT_STEPS {
                process.recent.pop_front();
            }
        }
    }

    /// The tables in force.
    pub(crate) fn tables(&self) -> impl Iterator<Item = (&FabricName, &ServiceRoutes)> {
        let routers = self.routers.iter();
        routers.filter_map(|(fabric, router)| Some((fabric, router.table.as_ref()?)))
    }

    /// An instance that more than a full share has broken for longer than a router takes to end it.
    pub(crate) fn overloaded(&self) -> Option<InstanceName> {
        let mut all = self.routers.values().flat_map(|it| &it.overloaded);
        let found = all.find(|(_, steps)| **steps > BREAKS_WITHIN)?;
        Some(found.0.clone())
    }

    /// Whether the router of `fabric` said anything since `from`.
    pub(crate) fn heard_since(&self, fabric: &FabricName, from: i64) -> bool {
        self.router_heard.get(fabric).is_some_and(|at| *at >= from)
    }

    /// Instances that get requests and are up, with the host they run on.
    pub(crate) fn serving(
        &self,
        fabric: &FabricName,
        now: i64,
    ) -> BTreeMap<InstanceName, HostName> {
        let table = self.routers.get(fabric).and_then(|it| it.table.as_ref());
        self.up_in(table, now)
    }

    /// Instances of `table` that get requests and are up, with the host they run on.
    pub(crate) fn up_in(
        &self,
        table: Option<&ServiceRoutes>,
        now: i64,
    ) -> BTreeMap<InstanceName, HostName> {
        let mut up = BTreeMap::new();
        for backend in table
            .iter()
            .flat_map(|it| it.backends.iter().map(move |backend| (it, backend)))
            .filter(|(table, it)| !it.draining && table.weights.contains_key(&it.version))
            .map(|(_, backend)| backend)
        {
            if let Some((host, process)) = self.behind(backend)
                && process.answers(now)
            {
                up.insert(backend.instance.clone(), host.clone());
            }
        }
        up
    }

    pub(crate) fn generation_of(&self, fabric: &FabricName) -> Generation {
        self.routers
            .get(fabric)
            .map(|it| it.order)
            .unwrap_or_default()
    }

    /// The process that listens where `backend` is sent, and its host.
    pub(super) fn behind(&self, backend: &Backend) -> Option<(&HostName, &Process)> {
        let port = port_of(&backend.address);
        let (name, host) = self.home(&backend.instance)?;
        let mut processes = host.processes.get(&backend.instance)?.iter();
        Some((name, processes.find(|it| it.port == port)?))
    }

    /// What each backend that listens is offered of `demand`, by the weights of versions and the shares within.
    fn spread<'a>(
        &self,
        router: &SimRouter,
        table: &'a ServiceRoutes,
        demand: f64,
        now: i64,
    ) -> Vec<(&'a Backend, f64)> {
        let mut live: BTreeMap<&Version, Vec<(&Backend, f64)>> = BTreeMap::new();
        for backend in table.backends.iter().filter(|it| !it.draining) {
            if self.behind(backend).is_some_and(|it| it.1.answers(now)) {
                let of = live.entry(&backend.version).or_default();
                of.push((backend, router.share_of(backend)));
            }
        }
        let weight = |version: &Version| table.weights.get(version).copied().unwrap_or(0);
        let routed: u32 = live.keys().map(|version| weight(version)).sum();
        let mut offered = Vec::new();
        for (version, backends) in live {
            let share = f64::from(weight(version)) / f64::from(routed.max(1));
            let all: f64 = backends.iter().map(|it| it.1).sum();
            let each = backends.into_iter();
            offered.extend(each.map(|(backend, of)| (backend, demand * share * of / all)));
        }
        offered
    }
}

fn port_of(address: &str) -> u16 {
    let port = address
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse().ok());
    port.unwrap_or(0)
}

/// All of a service's requests, in hundredths of a per cent.
pub(crate) fn fraction(weight: u32) -> f64 {
    f64::from(weight) / f64::from(ALL)
}
