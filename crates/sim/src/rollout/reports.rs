//! What agents and routers say of the simulated site, truly or not.

use std::collections::BTreeMap;

use mainstay_core::{Span, Time};
use mainstay_deploy::site::{SeenFabric, SeenHost};
use mainstay_wire::{
    agent::{DesiredInstance, InstanceReport, InstanceState, ProcessFacts},
    router::{Backend, BackendReport, ClaimedHealth, HealthVerdict, MeasuredHealth},
};

use super::site::{Happened, Process, SimHost, Site, port_of};

/// Between two reports of an agent or a router.
const REPORT_MS: i64 = 1_000;

impl Site {
    pub(super) fn report(&mut self, now: i64, at: Time, happened: &mut Vec<Happened>) {
        for (name, host) in &mut self.hosts {
            let seen = self.seen.hosts.entry(name.clone()).or_default();
            if host.down_until > now {
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
                    .collect(),
            };
            self.reports += 1;
        }
        for (name, router) in &mut self.routers {
            if router.silent_until > now || router.next_report > now {
                continue;
            }
            router.next_report = now + REPORT_MS;
            self.router_heard.insert(name.clone(), now);
            let backends = router.table.iter().flat_map(|it| &it.backends);
            let reports = backends.map(|backend| {
                let port = port_of(&backend.address);
                let hosts = self.hosts.values();
                let process = hosts
                    .filter_map(|host| host.processes.get(&backend.instance))
                    .flatten()
                    .find(|it| it.port == port && it.is_up(now));
                seen_by_callers(backend, process, now)
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
    }
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
        killed_last: false,
    }
}

fn seen_by_callers(backend: &Backend, process: Option<&Process>, now: i64) -> BackendReport {
    let in_flight = process.is_some_and(|it| it.in_flight(now));
    BackendReport {
        instance: backend.instance.clone(),
        incarnation: backend.incarnation,
        seen_version: process.map(|it| it.version.clone()),
        claimed: ClaimedHealth::Unknown,
        measured: MeasuredHealth::Unknown,
        verdict: HealthVerdict::Unknown,
        evidence: String::new(),
        in_rotation: process.is_some() && !backend.draining,
        in_flight: u32::from(in_flight),
        oldest_in_flight: Span::from_millis(0),
        goodput_rps: process.map_or(0.0, |it| it.good_rps),
        bad_rps: process.map_or(0.0, |it| it.bad_rps),
        recent_rps: process.map_or(0.0, |it| it.good_rps),
        p99_ms: None,
        limit_broken: false,
    }
}
