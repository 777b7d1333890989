//! What an instance tells Prometheus about itself.
//!
//! Guarantees: one series a known route and code; a request begun is counted when it ends, with code
//! 499 when the client left before an answer. Never takes a label from a request.
//! Example: `http_requests_total{route="/feed/home",code="200"} 12`.
//! Format: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use http::StatusCode;

use super::work::Pool;
use crate::artifact::Spec;

/// Upper bounds of the histogram's buckets, in seconds.
const BUCKETS_S: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8,
];
/// The code of a request whose client left first.
const CLIENT_LEFT: u16 = 499;
const PAGE_BYTES: u64 = 4096;

#[derive(Debug, Clone, Default)]
struct Durations {
    /// Requests in each bucket alone; made cumulative when rendered.
    buckets: [u64; BUCKETS_S.len()],
    count: u64,
    sum_s: f64,
}

#[derive(Debug)]
struct Counts {
    requests: BTreeMap<(String, u16), u64>,
    durations: Vec<Durations>,
    in_flight: u64,
    held: u64,
    refused_connections: u64,
}

/// All counters of an instance.
#[derive(Debug)]
pub(super) struct Metrics {
    service: String,
    version: String,
    routes: Vec<String>,
    start_s: f64,
    counts: Mutex<Counts>,
}

/// A request that has begun.
#[derive(Debug)]
pub(super) struct Observation<'a> {
    metrics: &'a Metrics,
    route: usize,
    begun: Instant,
    code: u16,
}

impl Observation<'_> {
    /// Notes the answer that the client gets.
    pub(super) fn finish(&mut self, status: StatusCode) {
        self.code = status.as_u16();
    }
}

impl Drop for Observation<'_> {
    fn drop(&mut self) {
        let elapsed_s = self.begun.elapsed().as_secs_f64();
        let mut counts = self.metrics.lock();
        counts.in_flight -= 1;
        let label = self.metrics.routes[self.route].clone();
        *counts.requests.entry((label, self.code)).or_default() += 1;
        let durations = &mut counts.durations[self.route];
        durations.count += 1;
        durations.sum_s += elapsed_s;
        if let Some(index) = BUCKETS_S.iter().position(|bound| elapsed_s <= *bound) {
            durations.buckets[index] += 1;
        }
    }
}

/// A request that will not be answered, until its client leaves.
#[derive(Debug)]
pub(super) struct Held<'a>(&'a Metrics);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.lock().held -= 1;
    }
}

impl Metrics {
    pub(super) fn new(spec: &Spec) -> Self {
        let route = |name: &String| format!("/{}/{name}", spec.service);
        Self {
            service: spec.service.clone(),
            version: spec.version.clone(),
            routes: spec.routes.iter().map(route).collect(),
            start_s: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0.0, |since| since.as_secs_f64()),
            counts: Mutex::new(Counts {
                requests: BTreeMap::new(),
                durations: vec![Durations::default(); spec.routes.len()],
                in_flight: 0,
                held: 0,
                refused_connections: 0,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a request on a route of the spec.
    pub(super) fn begin(&self, route: usize) -> Observation<'_> {
        self.lock().in_flight += 1;
        Observation {
            metrics: self,
            route,
            begun: Instant::now(),
            code: CLIENT_LEFT,
        }
    }

    /// Keeps a request for good, unless `most` are kept already.
    pub(super) fn hold(&self, most: u64) -> Option<Held<'_>> {
        let mut counts = self.lock();
        if counts.held >= most {
            return None;
        }
        counts.held += 1;
        Some(Held(self))
    }

    /// Counts a request for a route that this service does not have.
    pub(super) fn unknown_route(&self) {
        let key = ("other".to_owned(), StatusCode::NOT_FOUND.as_u16());
        *self.lock().requests.entry(key).or_default() += 1;
    }

    /// Counts a connection that could not be taken.
    pub(super) fn refused_connection(&self) {
        self.lock().refused_connections += 1;
    }

    /// All metrics in Prometheus' text format.
    pub(super) fn render(&self, pool: &Pool) -> String {
        let mut text = String::with_capacity(4096);
        // Writing into a String cannot fail.
        let _infallible = self.write(&mut text, pool);
        text
    }

    fn write(&self, text: &mut String, pool: &Pool) -> std::fmt::Result {
        let counts = self.lock();
        writeln!(text, "# TYPE http_requests_total counter")?;
        for ((route, code), count) in &counts.requests {
            writeln!(
                text,
                "http_requests_total{{route=\"{route}\",code=\"{code}\"}} {count}"
            )?;
        }
        writeln!(text, "# TYPE http_request_duration_seconds histogram")?;
        for (route, durations) in self.routes.iter().zip(&counts.durations) {
            let name = "http_request_duration_seconds";
            let mut cumulative = 0;
            for (bound, count) in BUCKETS_S.iter().zip(&durations.buckets) {
                cumulative += count;
                writeln!(
                    text,
                    "{name}_bucket{{route=\"{route}\",le=\"{bound}\"}} {cumulative}"
                )?;
            }
            let Durations { count, sum_s, .. } = durations;
            writeln!(
                text,
                "{name}_bucket{{route=\"{route}\",le=\"+Inf\"}} {count}"
            )?;
            writeln!(text, "{name}_sum{{route=\"{route}\"}} {sum_s}")?;
            writeln!(text, "{name}_count{{route=\"{route}\"}} {count}")?;
        }
        let mut gauge = |name: &str, value: f64| {
            writeln!(text, "# TYPE {name} gauge")?;
            writeln!(text, "{name} {value}")
        };
        gauge("http_in_flight", counts.in_flight as f64)?;
        gauge("site_queue_length", pool.waiting() as f64)?;
        gauge("site_idle_workers", pool.idle_workers() as f64)?;
        gauge("process_start_time_seconds", self.start_s)?;
        if let Some(bytes) = resident_bytes() {
            gauge("process_resident_memory_bytes", bytes as f64)?;
        }
        writeln!(text, "# TYPE site_connections_refused_total counter")?;
        writeln!(
            text,
            "site_connections_refused_total {}",
            counts.refused_connections
        )?;
        writeln!(text, "# TYPE site_build_info gauge")?;
        writeln!(
            text,
            "site_build_info{{service=\"{}\",version=\"{}\"}} 1",
            self.service, self.version
        )
    }
}

/// Memory that this process really occupies, or nothing where the kernel does not tell.
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * PAGE_BYTES)
}
