//! What a scrape of the router sees, in the Prometheus text format: each family with its HELP and
//! TYPE, its series together, in the order of their labels.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, atomic::Ordering},
};

use super::{
    POOL, Shared,
    series::{BUCKETS_US, Durations, Series},
    snapshot::{DEPARTED_FOR_MS, Snapshot},
    state::{BackendCell, Service, ServiceCell, lock},
};

type Of<T> = fn(&T) -> f64;

/// All cells of one instance and version; they share their counters.
struct Instance {
    labels: String,
    cells: Vec<Arc<BackendCell>>,
    in_table: bool,
}

impl Instance {
    fn series(&self) -> std::sync::MutexGuard<'_, Series> {
        lock(&self.cells[0].series)
    }
}

fn instances(snapshot: &Snapshot, now_ms: u64) -> Vec<Instance> {
    let mut found: BTreeMap<(&str, &str, &str), Instance> = BTreeMap::new();
    let current = snapshot.services.iter().flat_map(|s| {
        let name = s.routes.service.as_str();
        s.backends.iter().map(move |cell| (name, cell, true))
    });
    let departed = snapshot
        .departed
        .iter()
        .filter(|gone| gone.at_ms + DEPARTED_FOR_MS > now_ms)
        .map(|gone| (gone.service.as_str(), &gone.cell, false));
    for (service, cell, in_table) in current.chain(departed) {
        let (version, instance) = (cell.spec.version.as_str(), cell.spec.instance.as_str());
        let one = found
            .entry((service, version, instance))
            .or_insert_with(|| Instance {
                labels: format!(
                    "service=\"{service}\",version=\"{version}\",instance=\"{instance}\""
                ),
                cells: Vec::new(),
                in_table,
            });
        one.cells.push(Arc::clone(cell));
    }
    found.into_values().collect()
}

/// Escapes a label's value.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

fn family(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(
        out,
        "# HELP mainstay_router_{name} {help}\n# TYPE mainstay_router_{name} {kind}"
    );
}

pub(crate) fn text(shared: &Shared) -> String {
    let snapshot = shared.snapshot.load_full();
    let instances = instances(&snapshot, shared.now_ms());
    let mut out = String::new();
    of_router(&mut out, shared);
    of_services(&mut out, &snapshot, shared.now_ms());
    requests(&mut out, &instances);
    probes(&mut out, &instances);
    durations(&mut out, &instances);
    counters(&mut out, &instances);
    gauges(&mut out, &instances, shared.now_us());
    out
}

fn of_router(out: &mut String, shared: &Shared) {
    let pool = (POOL as usize).saturating_sub(shared.pool.available_permits());
    for (name, kind, help, value) in [
        (
            "users",
            "gauge",
            "Connections from users.",
            u64::from(shared.users.held()),
        ),
        (
            "accept_errors_total",
            "counter",
            "Connections that could not be accepted.",
            shared.accept_errors.load(Ordering::Relaxed),
        ),
        (
            "unrouted_total",
            "counter",
            "Requests whose path no service has.",
            shared.unrouted.load(Ordering::Relaxed),
        ),
        (
            "shared_pool_held",
            "gauge",
            "Places held of the pool that all services share while protections are off.",
            pool as u64,
        ),
    ] {
        family(out, name, kind, help);
        let _ = writeln!(out, "mainstay_router_{name} {value}");
    }
}

/// Services by name, with their place in the table if they have one.
type Owners<'a> = BTreeMap<&'a str, (&'a ServiceCell, Option<&'a Service>)>;

/// Services in the table, and those that left it lately.
fn owners(snapshot: &Snapshot, now_ms: u64) -> Owners<'_> {
    let departed = snapshot
        .departed
        .iter()
        .filter(|gone| gone.at_ms + DEPARTED_FOR_MS > now_ms)
        .map(|gone| (gone.service.as_str(), (&*gone.owner, None)));
    let current = snapshot
        .services
        .iter()
        .map(|s| (s.routes.service.as_str(), (&*s.cell, Some(s))));
    departed.chain(current).collect()
}

/// Name, kind, help and value of what is one number a service.
const OF_SERVICES: [(&str, &str, &str, Of<ServiceCell>); 8] = [
    (
        "offered_total",
        "counter",
        "First attempts of users, whatever became of them.",
        |c| c.offered.load(Ordering::Relaxed) as f64,
    ),
    (
        "retries_total",
        "counter",
        "Second attempts after a broken connection.",
        |c| c.retried.load(Ordering::Relaxed) as f64,
    ),
    (
        "unsent_probes_total",
        "counter",
        "Probes that were due and not sent, for want of a partner to compare with or of answers to those before.",
        |c| c.unprobed.load(Ordering::Relaxed) as f64,
    ),
    (
        "version_fallback_total",
        "counter",
        "Requests that met another version than theirs, which had no backend in rotation.",
        |c| c.fallback.load(Ordering::Relaxed) as f64,
    ),
    (
        "connections",
        "gauge",
        "Connections to the service's backends.",
        |c| f64::from(c.connections.held()),
    ),
    (
        "service_in_flight",
        "gauge",
        "Requests of the service under way.",
        |c| f64::from(c.in_flight.held()),
    ),
    (
        "queued",
        "gauge",
        "Requests that wait for the shared pool while protections are off.",
        |c| f64::from(c.queued.held()),
    ),
    (
        "mass_event",
        "gauge",
        "Whether so many backends turned bad at once that none is ejected.",
        |c| f64::from(u8::from(c.mass.load(Ordering::Relaxed))),
    ),
];

fn of_services(out: &mut String, snapshot: &Snapshot, now_ms: u64) {
    let owners = owners(snapshot, now_ms);
    for (name, kind, help, value) in OF_SERVICES {
        family(out, name, kind, help);
        for (service, (cell, _)) in &owners {
            let value = value(cell);
            let _ = writeln!(
                out,
                "mainstay_router_{name}{{service=\"{service}\"}} {value}"
            );
        }
    }
    let name = "rejects_total";
    family(
        out,
        name,
        "counter",
        "Requests refused by the router, by reason.",
    );
    for (service, (cell, _)) in &owners {
        for (reason, value) in lock(&cell.rejects).iter() {
            let _ = writeln!(
                out,
                "mainstay_router_{name}{{service=\"{service}\",reason=\"{reason}\"}} {value}"
            );
        }
    }
    of_clients(out, &owners);
    let name = "shed_ratio";
    family(out, name, "gauge", "Share of requests that is shed now.");
    for (service, value) in owners
        .iter()
        .filter_map(|(name, (_, s))| Some((name, (*s)?.shed())))
    {
        let value = f64::from(value) / 10_000.0;
        let _ = writeln!(
            out,
            "mainstay_router_{name}{{service=\"{service}\"}} {value}"
        );
    }
    let name = "held_ratio";
    let help =
        "Part of the service in the connections that the router holds; over 0.5 it may hoard.";
    family(out, name, "gauge", help);
    for (service, value) in owners
        .iter()
        .filter_map(|(name, (_, s))| Some((name, snapshot.share_held((*s)?))))
    {
        let _ = writeln!(
            out,
            "mainstay_router_{name}{{service=\"{service}\"}} {value}"
        );
    }
}

fn of_clients(out: &mut String, owners: &Owners<'_>) {
    let name = "client_requests_total";
    let help = "Attempts that ended, by version of the client and class of status.";
    family(out, name, "counter", help);
    for (service, (cell, _)) in owners {
        for (version, client, code, value) in lock(&cell.clients).counts() {
            let _ = writeln!(
                out,
                "mainstay_router_{name}{{service=\"{service}\",version=\"{version}\",client=\"{client}\",code=\"{code}\"}} {value}"
            );
        }
    }
}

fn requests(out: &mut String, instances: &[Instance]) {
    let name = "requests_total";
    let help =
        "Attempts that ended, by route and status (499: the user left, 502: broken, 504: late).";
    family(out, name, "counter", help);
    for instance in instances {
        for (route, codes) in &instance.series().routes {
            let route = quoted(route);
            for (code, value) in codes {
                let _ = writeln!(
                    out,
                    "mainstay_router_{name}{{{},route=\"{route}\",code=\"{code}\"}} {value}",
                    instance.labels
                );
            }
        }
    }
}

fn probes(out: &mut String, instances: &[Instance]) {
    let name = "probes_total";
    let help =
        "Probes of a rollout that ended, by route and whether the answer was the one expected.";
    family(out, name, "counter", help);
    for instance in instances {
        for (route, counts) in &instance.series().probes {
            let route = quoted(route);
            for (outcome, value) in ["good", "bad"].iter().zip(counts) {
                let _ = writeln!(
                    out,
                    "mainstay_router_{name}{{{},route=\"{route}\",outcome=\"{outcome}\"}} {value}",
                    instance.labels
                );
            }
        }
    }
}

fn durations(out: &mut String, instances: &[Instance]) {
    let name = "request_duration_seconds";
    let help = "Time from the choice of a backend to the end of its answer.";
    family(out, name, "histogram", help);
    for instance in instances {
        histogram(out, name, &instance.labels, &instance.series().took);
    }
    let name = "probe_duration_seconds";
    let help = "Time from connecting to the end of the answer to a probe.";
    family(out, name, "histogram", help);
    for instance in instances {
        let series = instance.series();
        if series.probes_took.count > 0 {
            histogram(out, name, &instance.labels, &series.probes_took);
        }
    }
}

fn histogram(out: &mut String, name: &str, labels: &str, took: &Durations) {
    let metric = format!("mainstay_router_{name}");
    let mut below = 0;
    for (most, bucket) in BUCKETS_US.iter().zip(&took.buckets) {
        below += bucket;
        let le = *most as f64 / 1_000_000.0;
        let _ = writeln!(out, "{metric}_bucket{{{labels},le=\"{le}\"}} {below}");
    }
    let (count, sum) = (took.count, took.sum_us as f64 / 1_000_000.0);
    let _ = writeln!(
        out,
        "{metric}_bucket{{{labels},le=\"+Inf\"}} {count}\n{metric}_count{{{labels}}} {count}\n{metric}_sum{{{labels}}} {sum}"
    );
}

fn counters(out: &mut String, instances: &[Instance]) {
    let name = "outcomes_total";
    let help =
        "Requests by what their callers got: good, bad (5xx or broken) or lost (never came back).";
    family(out, name, "counter", help);
    for instance in instances {
        let series = instance.series();
        let labels = &instance.labels;
        for (outcome, value) in [
            ("good", series.good),
            ("bad", series.bad),
            ("lost", series.lost),
        ] {
            let _ = writeln!(
                out,
                "mainstay_router_{name}{{{labels},outcome=\"{outcome}\"}} {value}"
            );
        }
    }
    let each: [(&str, &str, Of<Series>); 2] = [
        (
            "ejections_total",
            "Times that the instance was taken out of rotation.",
            |s| s.ejections as f64,
        ),
        (
            "health_flips_total",
            "Changes of mind about the instance's health within one incarnation.",
            |s| s.flips as f64,
        ),
    ];
    for (name, help, value) in each {
        family(out, name, "counter", help);
        for instance in instances {
            let value = value(&instance.series());
            let _ = writeln!(out, "mainstay_router_{name}{{{}}} {value}", instance.labels);
        }
    }
}

fn gauges(out: &mut String, instances: &[Instance], now_us: u64) {
    family(
        out,
        "in_flight",
        "gauge",
        "Requests under way at the instance.",
    );
    for instance in instances {
        let cells = instance.cells.iter();
        let held: u32 = cells.map(|c| c.in_flight.load(Ordering::Relaxed)).sum();
        let _ = writeln!(
            out,
            "mainstay_router_in_flight{{{}}} {held}",
            instance.labels
        );
    }
    let name = "oldest_in_flight_seconds";
    family(
        out,
        name,
        "gauge",
        "Age of the oldest request that is not answered yet.",
    );
    for instance in instances {
        let cells = instance.cells.iter();
        let oldest = cells.map(|c| lock(&c.tally).oldest_ms(now_us)).max();
        let oldest = oldest.unwrap_or(0) as f64 / 1_000.0;
        let _ = writeln!(
            out,
            "mainstay_router_{name}{{{}}} {oldest}",
            instance.labels
        );
    }
    let name = "in_rotation";
    family(
        out,
        name,
        "gauge",
        "Whether measurement and claim leave the instance in rotation.",
    );
    for instance in instances.iter().filter(|i| i.in_table) {
        let is_in = u8::from(!lock(&instance.cells[0].tally).health.is_out());
        let _ = writeln!(out, "mainstay_router_{name}{{{}}} {is_in}", instance.labels);
    }
}
