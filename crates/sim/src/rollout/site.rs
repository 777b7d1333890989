//! Hosts, processes, routers and users as they really are, and what agents and routers report of them.

use std::collections::BTreeMap;

use mainstay_core::{FabricName, HostName, InstanceName, ServiceName, Time, Version};
use mainstay_deploy::{compose::Orders, plan::ALL, site::Seen};
use mainstay_wire::{Generation, agent::DesiredInstance, router::ServiceRoutes};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Requests per second that a warm instance carries.
pub(crate) const CARRIES: f64 = 100.0;
/// Share of its capacity that an instance has before it was ever asked.
const COLD: f64 = 0.4;
/// How long it is asked until it is warm.
const WARM_AFTER_MS: i64 = 3_000;
/// How long the last request that was sent to an instance stays under way.
const IN_FLIGHT_MS: i64 = 800;
/// Between two tries to start what does not start.
const RETRY_MS: i64 = 1_000;
/// How long a process takes to stop, and one that refuses until it is killed.
const STOP_MS: i64 = 300;
const STUBBORN_MS: i64 = 5_000;

#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) version: Version,
    pub(crate) incarnation: u64,
    pub(super) port: u16,
    pub(crate) up_at: i64,
    pub(super) stop_at: Option<i64>,
    pub(super) asked_since: Option<i64>,
    pub(super) asked_last: i64,
    pub(super) good_rps: f64,
    pub(super) bad_rps: f64,
}

impl Process {
    pub(crate) fn is_up(&self, now: i64) -> bool {
        self.up_at <= now
    }
    pub(crate) fn in_flight(&self, now: i64) -> bool {
        self.asked_last + IN_FLIGHT_MS > now
    }
    fn carries(&self, now: i64) -> f64 {
        let asked = self.asked_since.map_or(0, |since| now - since);
        let warmth = (asked as f64 / WARM_AFTER_MS as f64).min(1.0);
        CARRIES * (COLD + (1.0 - COLD) * warmth)
    }
}

#[derive(Debug)]
pub(crate) struct SimHost {
    pub(super) order: Generation,
    pub(super) wanted: Vec<DesiredInstance>,
    /// More than one in a place is a bug.
    pub(crate) processes: BTreeMap<InstanceName, Vec<Process>>,
    pub(super) exits: BTreeMap<InstanceName, (u64, u32)>,
    pub(super) retry_at: BTreeMap<InstanceName, i64>,
    pub(super) next_report: i64,
    pub(crate) down_until: i64,
    pub(crate) silent_until: i64,
    pub(crate) lies_until: i64,
    pub(crate) failing_until: i64,
    pub(crate) stubborn_until: i64,
}

#[derive(Debug, Default)]
pub(crate) struct SimRouter {
    pub(super) order: Generation,
    pub(super) table: Option<ServiceRoutes>,
    pub(super) next_report: i64,
    pub(crate) silent_until: i64,
}

/// What happened on a host.
pub(crate) enum Happened {
    Started(InstanceName, Version, u64),
    Stopped(InstanceName, Version, u64),
    /// Two processes in one place.
    Doubled(InstanceName),
    Lied,
    RefusedToStop,
    FailedToStart,
}

/// What `version` does to `share` of its requests.
pub(crate) struct Users<'a> {
    pub(crate) demand: &'a BTreeMap<FabricName, f64>,
    pub(crate) errors: &'a dyn Fn(&Version) -> f64,
    pub(crate) start_ms: i64,
}

pub(crate) struct Site {
    pub(crate) service: ServiceName,
    pub(crate) hosts: BTreeMap<HostName, SimHost>,
    pub(crate) routers: BTreeMap<FabricName, SimRouter>,
    /// What the server was told last.
    pub(crate) seen: Seen,
    /// Counts reports.
    pub(crate) reports: u64,
    pub(super) host_heard: BTreeMap<HostName, i64>,
    pub(super) router_heard: BTreeMap<FabricName, i64>,
    /// Requests answered by each version.
    pub(crate) answered: BTreeMap<Version, f64>,
    pub(super) next_port: u16,
}

impl Site {
    pub(crate) fn new(service: ServiceName, hosts: &BTreeMap<HostName, FabricName>) -> Self {
        let routers = hosts.values().map(|it| (it.clone(), SimRouter::default()));
        Self {
            service,
            routers: routers.collect(),
            hosts: hosts
                .keys()
                .map(|name| {
                    let host = SimHost {
                        order: Generation::default(),
                        wanted: Vec::new(),
                        processes: BTreeMap::new(),
                        exits: BTreeMap::new(),
                        retry_at: BTreeMap::new(),
                        next_report: 0,
                        down_until: 0,
                        silent_until: 0,
                        lies_until: 0,
                        failing_until: 0,
                        stubborn_until: 0,
                    };
                    (name.clone(), host)
                })
                .collect(),
            seen: Seen::default(),
            reports: 0,
            host_heard: BTreeMap::new(),
            router_heard: BTreeMap::new(),
            answered: BTreeMap::new(),
            next_port: 1,
        }
    }

    /// Everything runs as `orders` say, and is warm.
    pub(crate) fn settle(&mut self, orders: &Orders, now: i64) {
        for (name, wanted) in &orders.hosts {
            let Some(host) = self.hosts.get_mut(name) else {
                continue;
            };
            host.wanted.clone_from(wanted);
            for one in wanted {
                let process = process(one, self.next_port, now);
                self.next_port += 1;
                host.processes.insert(one.instance.clone(), vec![process]);
            }
        }
    }

    /// An order arrives; answers whether it was taken, and whether it is older than one taken before.
    pub(crate) fn order_host(
        &mut self,
        name: &HostName,
        generation: Generation,
        wanted: &[DesiredInstance],
        fenced: bool,
    ) -> (bool, bool) {
        let Some(host) = self.hosts.get_mut(name) else {
            return (false, false);
        };
        let older = generation < host.order;
        if generation > host.order || !fenced {
            host.order = generation;
            host.wanted = wanted.to_vec();
            return (true, older);
        }
        (false, older)
    }

    pub(crate) fn order_router(
        &mut self,
        name: &FabricName,
        generation: Generation,
        table: &ServiceRoutes,
        fenced: bool,
    ) -> (bool, bool) {
        let Some(router) = self.routers.get_mut(name) else {
            return (false, false);
        };
        let older = generation < router.order;
        if generation > router.order || !fenced {
            router.order = generation;
            router.table = Some(table.clone());
            return (true, older);
        }
        (false, older)
    }

    /// An agent is started anew: it finds its processes again, or if it forgets, starts them beside.
    pub(crate) fn restart_agent(
        &mut self,
        name: &HostName,
        forgets: bool,
        now: i64,
    ) -> Vec<Happened> {
        let mut happened = Vec::new();
        let Some(host) = self.hosts.get_mut(name).filter(|it| it.down_until <= now) else {
            return happened;
        };
        for one in host.wanted.clone() {
            let running = host.processes.get_mut(&one.instance);
            if let Some(running) = running.filter(|it| forgets && !it.is_empty()) {
                running.push(process(&one, self.next_port, now));
                self.next_port += 1;
                happened.push(Happened::Doubled(one.instance.clone()));
            }
        }
        happened
    }

    /// Lets `tick_ms` pass.
    pub(crate) fn step(
        &mut self,
        now: i64,
        at: Time,
        tick_ms: i64,
        users: &Users<'_>,
    ) -> Vec<Happened> {
        let mut happened = Vec::new();
        for host in self.hosts.values_mut() {
            if host.down_until > now {
                host.processes.clear();
                continue;
            }
            supervise(
                host,
                now,
                users.start_ms,
                &mut self.next_port,
                &mut happened,
            );
        }
        self.serve(now, tick_ms, users);
        self.report(now, at, &mut happened);
        happened
    }

    fn serve(&mut self, now: i64, tick_ms: i64, users: &Users<'_>) {
        for (fabric, router) in &self.routers {
            let Some(table) = &router.table else {
                continue;
            };
            let demand = users.demand.get(fabric).copied().unwrap_or(0.0);
            let mut live: BTreeMap<&Version, Vec<(&InstanceName, u16)>> = BTreeMap::new();
            for backend in table.backends.iter().filter(|it| !it.draining) {
                let port = port_of(&backend.address);
                let listens = self.hosts.values().any(|host| {
                    let processes = host.processes.get(&backend.instance);
                    let mut processes = processes.into_iter().flatten();
                    processes.any(|it| it.port == port && it.is_up(now))
                });
                if listens {
                    let of = live.entry(&backend.version).or_default();
                    of.push((&backend.instance, port));
                }
            }
            let routed: u32 = table
                .weights
                .iter()
                .filter(|it| live.contains_key(it.0))
                .map(|it| it.1)
                .sum();
            for (version, backends) in &live {
                let weight = table.weights.get(*version).copied().unwrap_or(0);
                let share = f64::from(weight) / f64::from(routed.max(1));
                let offered = demand * share / backends.len() as f64;
                for (instance, port) in backends {
                    for host in self.hosts.values_mut() {
                        let processes = host.processes.get_mut(*instance);
                        let mut found = processes.into_iter().flatten();
                        if let Some(it) = found.find(|it| it.port == *port) {
                            let good =
                                offered.min(it.carries(now)) * (1.0 - (users.errors)(&it.version));
                            (it.good_rps, it.bad_rps) = (good, offered - good);
                            if offered > 0.0 {
                                it.asked_since.get_or_insert(now);
                                it.asked_last = now;
                                let seconds = tick_ms as f64 / 1_000.0;
                                *self.answered.entry(it.version.clone()).or_default() +=
                                    offered * seconds;
                            }
                        }
                    }
                }
            }
        }
        for process in self
            .hosts
            .values_mut()
            .flat_map(|it| it.processes.values_mut())
            .flatten()
        {
            if process.asked_last < now {
                (process.good_rps, process.bad_rps) = (0.0, 0.0);
            }
        }
    }

    /// Everybody reconnects to a new leader, each after a while.
    pub(crate) fn reconnect(&mut self, now: i64, rng: &mut ChaCha8Rng) {
        for host in self.hosts.values_mut() {
            host.next_report = now + rng.random_range(200..2_000);
        }
        for router in self.routers.values_mut() {
            router.next_report = now + rng.random_range(200..2_000);
        }
    }

    /// What was reported since `from`.
    pub(crate) fn seen_since(&self, from: i64) -> Seen {
        let mut seen = self.seen.clone();
        let heard = |at: Option<&i64>| at.is_some_and(|at| *at >= from);
        seen.hosts
            .retain(|name, _| heard(self.host_heard.get(name)));
        seen.fabrics
            .retain(|name, _| heard(self.router_heard.get(name)));
        seen
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
            let port = port_of(&backend.address);
            for (name, host) in &self.hosts {
                let processes = host.processes.get(&backend.instance);
                if processes
                    .into_iter()
                    .flatten()
                    .any(|it| it.port == port && it.is_up(now))
                {
                    up.insert(backend.instance.clone(), name.clone());
                }
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

    /// Whether `instance` may still hold requests.
    pub(crate) fn holds_requests(&self, instance: &InstanceName, now: i64) -> bool {
        let of_host = |host: &SimHost| {
            let processes = host.processes.get(instance);
            processes.into_iter().flatten().any(|it| it.in_flight(now))
        };
        self.hosts.values().any(of_host)
    }
}

pub(super) fn port_of(address: &str) -> u16 {
    let port = address
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse().ok());
    port.unwrap_or(0)
}

fn process(wanted: &DesiredInstance, port: u16, up_at: i64) -> Process {
    Process {
        version: wanted.version.clone(),
        incarnation: wanted.incarnation,
        port,
        up_at,
        stop_at: None,
        asked_since: None,
        asked_last: i64::MIN / 2,
        good_rps: 0.0,
        bad_rps: 0.0,
    }
}

/// What an agent does: stops what is not wanted, starts what is, one process in a place.
fn supervise(
    host: &mut SimHost,
    now: i64,
    start_ms: i64,
    next_port: &mut u16,
    happened: &mut Vec<Happened>,
) {
    let stubborn = host.stubborn_until > now;
    for (instance, processes) in &mut host.processes {
        let wanted = host.wanted.iter().find(|it| it.instance == *instance);
        for process in processes.iter_mut().filter(|it| it.stop_at.is_none()) {
            if wanted.is_none_or(|it| it.incarnation != process.incarnation) {
                process.stop_at = Some(now + if stubborn { STUBBORN_MS } else { STOP_MS });
                let (version, incarnation) = (process.version.clone(), process.incarnation);
                happened.push(Happened::Stopped(instance.clone(), version, incarnation));
                if stubborn {
                    happened.push(Happened::RefusedToStop);
                }
            }
        }
        processes.retain(|it| it.stop_at.is_none_or(|at| at > now));
    }
    host.processes.retain(|_, processes| !processes.is_empty());
    for one in &host.wanted {
        let waits = host.retry_at.get(&one.instance).is_some_and(|at| *at > now);
        if waits || host.processes.contains_key(&one.instance) {
            continue;
        }
        host.retry_at.insert(one.instance.clone(), now + RETRY_MS);
        if host.failing_until > now {
            let exits = host.exits.entry(one.instance.clone()).or_default();
            let before = if exits.0 == one.incarnation {
                exits.1
            } else {
                0
            };
            *exits = (one.incarnation, before + 1);
            happened.push(Happened::FailedToStart);
            continue;
        }
        let started = process(one, *next_port, now + start_ms);
        *next_port = next_port.wrapping_add(1).max(1);
        host.processes.insert(one.instance.clone(), vec![started]);
        happened.push(Happened::Started(
            one.instance.clone(),
            one.version.clone(),
            one.incarnation,
        ));
    }
}

/// All of a service's requests, in hundredths of a per cent.
pub(crate) fn fraction(weight: u32) -> f64 {
    f64::from(weight) / f64::from(ALL)
}
