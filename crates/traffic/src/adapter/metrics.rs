//! What a scrape of the router sees, in the Prometheus text format. Names and versions need no
//! quoting; of a route the characters that do are replaced.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use super::{
    Shared,
    state::{BUCKETS_MS, BackendCell, Service, lock},
};

pub(crate) fn text(shared: &Shared) -> String {
    let snapshot = shared.snapshot.load();
    let now = shared.now_ms();
    let mut out = String::new();
    for service in &snapshot.services {
        of_service(&mut out, service);
        for cell in &service.backends {
            of_backend(&mut out, service.routes.service.as_str(), cell, now);
        }
    }
    out
}

fn of_service(out: &mut String, service: &Service) {
    let (name, cell) = (&service.routes.service, &service.cell);
    for (metric, value) in [
        ("offered_total", cell.offered.load(Ordering::Relaxed)),
        ("retries_total", cell.retried.load(Ordering::Relaxed)),
        (
            "version_fallback_total",
            cell.fallback.load(Ordering::Relaxed),
        ),
        ("connections", u64::from(cell.connections.held())),
    ] {
        let _ = writeln!(
            out,
            "mainstay_router_{metric}{{service=\"{name}\"}} {value}"
        );
    }
    for (reason, value) in lock(&cell.rejects).iter() {
        let _ = writeln!(
            out,
            "mainstay_router_rejects_total{{service=\"{name}\",reason=\"{reason}\"}} {value}"
        );
    }
}

fn of_backend(out: &mut String, name: &str, cell: &BackendCell, now: u64) {
    let labels = format!(
        "service=\"{name}\",version=\"{}\",instance=\"{}\"",
        cell.spec.version, cell.spec.instance
    );
    for ((route, code), value) in lock(&cell.series.codes).iter() {
        let route = route.replace(['"', '\\', '\n'], "_");
        let _ = writeln!(
            out,
            "mainstay_router_requests_total{{{labels},route=\"{route}\",code=\"{code}\"}} {value}"
        );
    }
    let (mut below, metric) = (0, "mainstay_router_request_duration_seconds");
    for (le, bucket) in BUCKETS_MS.iter().zip(&cell.series.buckets) {
        below += bucket.load(Ordering::Relaxed);
        let le = *le as f64 / 1_000.0;
        let _ = writeln!(out, "{metric}_bucket{{{labels},le=\"{le}\"}} {below}");
    }
    let count = cell.series.count.load(Ordering::Relaxed).max(below);
    let sum = cell.series.sum_ms.load(Ordering::Relaxed) as f64 / 1_000.0;
    let _ = writeln!(
        out,
        "{metric}_bucket{{{labels},le=\"+Inf\"}} {count}\n{metric}_count{{{labels}}} {count}\n{metric}_sum{{{labels}}} {sum}"
    );
    let (held, oldest) = (
        cell.in_flight.load(Ordering::Relaxed),
        cell.oldest_ms(now) as f64 / 1_000.0,
    );
    let _ = writeln!(
        out,
        "mainstay_router_in_flight{{{labels}}} {held}\nmainstay_router_oldest_in_flight_seconds{{{labels}}} {oldest}"
    );
}
