//! Hosts and processes as they really are.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use mainstay_core::{
    FabricName, HostName, InstanceName, ServiceName, Span, Time, Version, catalog::HostSpec,
};
use mainstay_deploy::{Wanted, compose::Orders, site::Seen};
use mainstay_wire::{Generation, agent::DesiredInstance};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::users::{SimRouter, Users};

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
/// How long a process takes to be gone that is killed.
const KILLED_MS: i64 = 100;
/// Steps over which a router says what was answered lately: five seconds.
pub(super) const RECENT_STEPS: usize = 25;

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
    /// What it answered well in the last steps.
    pub(super) recent: VecDeque<f64>,
    /// Holds its port and answers nobody.
    pub(crate) hung: bool,
}

impl Process {
    pub(crate) fn is_up(&self, now: i64) -> bool {
        self.up_at <= now
    }
    /// Whether it is what is wanted, and goes on.
    pub(crate) fn is_wanted(&self, wanted: &Wanted, now: i64) -> bool {
        let same = self.version == wanted.version && self.incarnation == wanted.incarnation;
        same && self.is_up(now) && self.stop_at.is_none()
    }
    /// Whether requests sent to it are answered.
    pub(crate) fn answers(&self, now: i64) -> bool {
        self.is_up(now) && !self.hung
    }
    pub(crate) fn in_flight(&self, now: i64) -> bool {
        self.asked_last + IN_FLIGHT_MS > now
    }
    /// Good answers per second over the last five.
    pub(super) fn recent_rps(&self) -> f64 {
        self.recent.iter().sum::<f64>() / RECENT_STEPS as f64
    }
    pub(super) fn carries(&self, now: i64) -> f64 {
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
    /// Instances whose last process had to be killed.
    pub(super) killed: BTreeSet<InstanceName>,
    pub(super) next_report: i64,
    pub(crate) down_until: i64,
    pub(crate) silent_until: i64,
    pub(crate) lies_until: i64,
    pub(crate) failing_until: i64,
    pub(crate) stubborn_until: i64,
    /// Its agent is gone until then; what it started goes on.
    pub(crate) gone_until: i64,
}

impl SimHost {
    /// Whether orders reach it.
    pub(super) fn hears(&self, now: i64) -> bool {
        self.down_until <= now && self.gone_until <= now
    }
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
    /// A router ended a share, because its limit broke.
    LimitBroke(InstanceName),
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
    /// Where instances run.
    homes: BTreeMap<InstanceName, HostName>,
    /// Requests answered by each version.
    pub(crate) answered: BTreeMap<Version, f64>,
    pub(super) next_port: u16,
}

impl Site {
    pub(crate) fn new(service: ServiceName, hosts: &BTreeMap<HostName, HostSpec>) -> Self {
        let routers = hosts
            .values()
            .map(|it| (it.fabric.clone(), SimRouter::default()));
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
                        gone_until: 0,
                        killed: BTreeSet::new(),
                    };
                    (name.clone(), host)
                })
                .collect(),
            seen: Seen::default(),
            reports: 0,
            host_heard: BTreeMap::new(),
            router_heard: BTreeMap::new(),
            homes: BTreeMap::new(),
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
                self.homes.insert(one.instance.clone(), name.clone());
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
            for one in wanted {
                self.homes.insert(one.instance.clone(), name.clone());
            }
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
            if host.gone_until > now {
                let all = host.processes.values_mut();
                all.for_each(|of| of.retain(|it| it.stop_at.is_none_or(|at| at > now)));
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
        self.serve(now, tick_ms, users, &mut happened);
        self.report(now, at, &mut happened);
        happened
    }

    /// Requests that the new version answered.
    pub(crate) fn answered_by_new(&self) -> f64 {
        let mut of = self.answered.iter();
        of.find(|(version, _)| version.as_str() == "v2")
            .map_or(0.0, |(_, count)| *count)
    }

    /// The host that `instance` runs on.
    pub(super) fn home(&self, instance: &InstanceName) -> Option<(&HostName, &SimHost)> {
        self.hosts.get_key_value(self.homes.get(instance)?)
    }

    pub(super) fn processes_mut(&mut self, instance: &InstanceName) -> Option<&mut Vec<Process>> {
        let host = self.hosts.get_mut(self.homes.get(instance)?)?;
        host.processes.get_mut(instance)
    }

    /// Whether the last process of `instance` that was stopped had to be killed.
    pub(crate) fn was_killed(&self, instance: &InstanceName) -> bool {
        self.home(instance)
            .is_some_and(|it| it.1.killed.contains(instance))
    }

    /// The process of `instance` that answers or would, if one does.
    pub(crate) fn process(&self, instance: &InstanceName) -> Option<&Process> {
        self.home(instance)?.1.processes.get(instance)?.first()
    }

    /// The process of `instance` answers nobody any more.
    pub(crate) fn hang(&mut self, instance: &InstanceName) {
        for process in self.processes_mut(instance).into_iter().flatten() {
            process.hung = true;
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

    /// Whether `instance` may still hold requests.
    pub(crate) fn holds_requests(&self, instance: &InstanceName, now: i64) -> bool {
        let processes = self
            .home(instance)
            .and_then(|it| it.1.processes.get(instance));
        processes.into_iter().flatten().any(|it| it.in_flight(now))
    }
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
        recent: VecDeque::new(),
        hung: false,
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
                let at_once = wanted.is_some_and(|it| it.stop_grace == Span::ZERO);
                let stubborn = stubborn && !at_once;
                let takes = match (at_once, stubborn) {
                    (true, _) => KILLED_MS,
                    (false, true) => STUBBORN_MS,
                    (false, false) => STOP_MS,
                };
                process.stop_at = Some(now + takes);
                if at_once || stubborn {
                    host.killed.insert(instance.clone());
                } else {
                    host.killed.remove(instance);
                }
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
