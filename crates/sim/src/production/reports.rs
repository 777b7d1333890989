//! What agents and routers say of the simulated site, truly or not.

use std::collections::BTreeMap;

use mainstay_core::{InstanceName, ServiceName, Span, Time};
use mainstay_deploy::site::{SeenFabric, SeenHost};
use mainstay_wire::{
    agent::{DesiredInstance, InstanceReport, InstanceState, ProcessFacts},
    router::{Backend, BackendReport, ClaimedHealth, HealthVerdict, MeasuredHealth},
};

use super::{
    site::{Happened, Process, SimHost, Site},
    users::SimRouter,
};

/// Between two reports of an agent or a router.
const REPORT_MS: i64 = 1_000;

impl Site {
    pub(super) fn report(&mut self, now: i64, at: Time, happened: &mut Vec<Happened>) {
        let service = &self.service;
        for (name, host) in &mut self.hosts {
            let seen = self.seen.hosts.entry(name.clone()).or_default();
            if !host.hears(now) {
                seen.connected = false;
                continue;
            }
            if host.silent_until > now || host.next_report > now {
                continue;
            }
            host.next_report = now + REPORT_MS;
            self.host_heard.insert(name.clone(), now);
            let lies = host.lies_until > now;
            *seen = SeenHost {
                connected: true,
                received_at: at,
                generation: host.order,
                instances: host
                    .wanted
                    .iter()
                    .map(|it| report(host, it, now, lies, happened))
                    .chain(leftovers(host, service))
                    .collect(),
                found: Vec::new(),
            };
            self.reports += 1;
        }
        let mut routers = std::mem::take(&mut self.routers);
        for (name, router) in &mut routers {
            if router.gone_until > now {
                self.seen.fabrics.entry(name.clone()).or_default().connected = false;
                continue;
            }
            if router.silent_until > now || router.next_report > now {
                continue;
            }
            router.next_report = now + REPORT_MS;
            self.router_heard.insert(name.clone(), now);
            let backends = router.table.iter().flat_map(|it| &it.backends);
            let reports = backends.map(|backend| {
                let process = self.behind(backend).map(|(_, process)| process);
                let process = process.filter(|it| it.is_up(now));
                seen_by_callers(router, backend, process, now)
            });
            let backends = BTreeMap::from([(self.service.clone(), reports.collect())]);
            let fabric = SeenFabric {
                connected: true,
                received_at: at,
                applied: router.order,
                backends,
                hoarder: None,
            };
            self.seen.fabrics.insert(name.clone(), fabric);
            self.reports += 1;
        }
        self.routers = routers;
    }
}

/// What an agent says of processes that nobody wants any more: they are there until they are seen gone.
fn leftovers(host: &SimHost, service: &ServiceName) -> Vec<InstanceReport> {
    let unwanted = host.processes.iter().filter(|(name, processes)| {
        let wanted = host.wanted.iter().any(|it| it.instance == **name);
        !wanted && !processes.is_empty()
    });
    let report = |(name, processes): (&InstanceName, &Vec<Process>)| {
        let process = processes.first()?;
        Some(InstanceReport {
            instance: name.clone(),
            service: service.clone(),
            artifact_sha256: Some(format!("sha-{}", process.version)),
            version: process.version.clone(),
            incarnation: process.incarnation,
            state: InstanceState::Stopping,
            port: Some(process.port),
            process: None,
            unordered_exits: 0,
            killed_last: false,
        })
    };
    unwanted.filter_map(report).collect()
}

/// What an agent says of one instance; one that lies says that all is as wanted.
fn report(
    host: &SimHost,
    wanted: &DesiredInstance,
    now: i64,
    lies: bool,
    happened: &mut Vec<Happened>,
) -> InstanceReport {
    let process = host
        .processes
        .get(&wanted.instance)
        .and_then(|it| it.first());
    let exits = host
        .exits
        .get(&wanted.instance)
        .filter(|it| it.0 == wanted.incarnation);
    let exits = exits.map_or(0, |it| it.1);
    let state = match process {
        None if exits > 0 => InstanceState::Waiting {
            because: "it exits at once".to_owned(),
        },
        None => InstanceState::Waiting {
            because: "not started yet".to_owned(),
        },
        Some(it) if it.stop_at.is_some() => InstanceState::Stopping,
        Some(it) if it.is_up(now) => InstanceState::Running,
        Some(_) => InstanceState::Starting,
    };
    let is_wanted = process.is_some_and(|it| it.incarnation == wanted.incarnation);
    let lies = lies && !(is_wanted && state == InstanceState::Running);
    if lies {
        happened.push(Happened::Lied);
    }
    let (version, incarnation) = match process {
        Some(it) if !lies => (it.version.clone(), it.incarnation),
        Some(_) | None => (wanted.version.clone(), wanted.incarnation),
    };
    InstanceReport {
        instance: wanted.instance.clone(),
        service: wanted.service.clone(),
        artifact_sha256: Some(format!("sha-{version}")),
        version,
        incarnation,
        state: if lies { InstanceState::Running } else { state },
        port: process.map(|it| it.port),
        process: process.map(|it| ProcessFacts {
            boot_id: "boot".to_owned(),
            pid: u32::from(it.port),
            start_ticks: it.up_at.unsigned_abs(),
            started_at: Time::from_millis(it.up_at),
            exe_sha256: format!("sha-{}", it.version),
            listening_port: it.is_up(now).then_some(it.port),
            rss_bytes: 0,
            open_files: 0,
        }),
        unordered_exits: exits,
        killed_last: host.killed.contains(&wanted.instance),
    }
}

fn seen_by_callers(
    router: &SimRouter,
    backend: &Backend,
    process: Option<&Process>,
    now: i64,
) -> BackendReport {
    let answers = process.is_some_and(|it| it.answers(now));
    let of = |rps: fn(&Process) -> f64| process.map_or(0.0, rps);
    BackendReport {
        instance: backend.instance.clone(),
        incarnation: backend.incarnation,
        seen_version: process.filter(|_| answers).map(|it| it.version.clone()),
        claimed: ClaimedHealth::Unknown,
        measured: MeasuredHealth::Unknown,
        verdict: match process {
            Some(it) if it.hung => HealthVerdict::Lying,
            Some(_) | None => HealthVerdict::Unknown,
        },
        evidence: String::new(),
        in_rotation: answers && !backend.draining,
        in_flight: u32::from(process.is_some_and(|it| it.in_flight(now))),
        oldest_in_flight: Span::from_millis(0),
        goodput_rps: of(|it| it.good_rps),
        bad_rps: of(|it| it.bad_rps),
        recent_rps: of(Process::recent_rps),
        p99_ms: None,
        limit_broken: router.broken.contains(&backend.instance),
    }
}
