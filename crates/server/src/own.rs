//! What the server measures of itself, in Prometheus's text format.
//!
//! Guarantees: series are bounded by the routes and the status codes; counters only grow from the process's
//! start. Never reads the wall clock, and never blocks a request: numbers of the process are read on a thread
//! that may.
//!
//! ```text
//! curl http://127.0.0.1:7070/metrics
//! ```

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Extension,
    extract::{MatchedPath, Request, State},
    http::header,
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
};

use crate::{
    App,
    crowd::{REQUESTS_MAX, too_many_requests},
    metrics::{QUERIES_AT_ONCE, Tenant},
};

mod process;

/// Upper bounds of the query histogram, in seconds: from an answer out of memory to one that somebody waits
/// for.
const BOUNDS: [f64; 10] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0];
/// The route of what matched none: paths that clients made up must not become series.
const NO_ROUTE: &str = "none";
/// Tenants that are told: those with the most series.
const TENANTS_TOLD: usize = 1_000;

/// Counters of one server.
#[derive(Debug)]
pub(crate) struct Own {
    /// One permit a query that may still begin.
    queries: Arc<Semaphore>,
    /// One permit a request whose answer is still to come.
    waiting: Semaphore,
    requests: Mutex<BTreeMap<(String, u16), u64>>,
    query_seconds: Mutex<Histogram>,
    queries_refused: AtomicU64,
}

#[derive(Debug, Default)]
struct Histogram {
    buckets: [u64; BOUNDS.len()],
    count: u64,
    sum: f64,
}

impl Own {
    pub(crate) fn new() -> Self {
        Self {
            queries: Arc::new(Semaphore::new(QUERIES_AT_ONCE)),
            waiting: Semaphore::new(REQUESTS_MAX),
            requests: Mutex::default(),
            query_seconds: Mutex::default(),
            queries_refused: AtomicU64::new(0),
        }
    }

    /// A place among the queries that compute, if there is one.
    pub(crate) fn query_permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.queries).try_acquire_owned().ok()
    }

    /// A query was not begun because too many ran.
    pub(crate) fn refuse_query(&self) {
        self.queries_refused.fetch_add(1, Ordering::Relaxed);
    }

    /// A query computed for this long.
    pub(crate) fn query_took(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let mut histogram = self
            .query_seconds
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        histogram.count += 1;
        histogram.sum += seconds;
        for (bucket, bound) in histogram.buckets.iter_mut().zip(BOUNDS) {
            *bucket += u64::from(seconds <= bound);
        }
    }

    fn answered(&self, route: String, code: u16) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((route, code)).or_default() += 1;
    }

    fn write(&self, text: &mut Text) {
        text.begin(
            "mainstay_http_requests_total",
            "counter",
            "Requests answered.",
        );
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        for ((route, code), count) in &*requests {
            let code = code.to_string();
            text.sample("", &[("route", route), ("code", &code)], *count as f64);
        }
        drop(requests);
        text.begin(
            "mainstay_query_seconds",
            "histogram",
            "Time that queries computed.",
        );
        let histogram = self
            .query_seconds
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for (bound, count) in BOUNDS.iter().zip(histogram.buckets) {
            text.sample("_bucket", &[("le", &bound.to_string())], count as f64);
        }
        text.sample("_bucket", &[("le", "+Inf")], histogram.count as f64);
        text.sample("_sum", &[], histogram.sum);
        text.sample("_count", &[], histogram.count as f64);
        drop(histogram);
        let refused = self.queries_refused.load(Ordering::Relaxed);
        text.begin(
            "mainstay_queries_refused_total",
            "counter",
            "Queries not begun because too many ran.",
        );
        text.sample("", &[], refused as f64);
    }
}

/// Counts each answer by the route that gave it; gives none but a refusal to those that are too many.
pub(crate) async fn count(
    State(own): State<Arc<Own>>,
    route: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let route = route.map_or_else(|| NO_ROUTE.to_owned(), |path| path.as_str().to_owned());
    let response = match own.waiting.try_acquire() {
        Ok(_place) => next.run(request).await,
        Err(_) => too_many_requests().into_response(),
    };
    own.answered(route, response.status().as_u16());
    response
}

/// Something that is true of the server now, or was counted since its start.
#[derive(Debug, Clone, PartialEq)]
pub struct Gauge {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    labels: Vec<(&'static str, String)>,
    value: f64,
}

impl Gauge {
    /// One of a name, which stand together where they have several labels.
    pub fn new(
        name: &'static str,
        help: &'static str,
        labels: Vec<(&'static str, String)>,
        value: f64,
    ) -> Self {
        Self {
            name,
            kind: "gauge",
            help,
            labels,
            value,
        }
    }

    /// The same of what is only ever added to.
    pub fn counter(
        name: &'static str,
        help: &'static str,
        labels: Vec<(&'static str, String)>,
        count: u64,
    ) -> Self {
        Self {
            kind: "counter",
            ..Self::new(name, help, labels, count as f64)
        }
    }
}

/// Says what is true of the server now.
pub trait Gauges: Send + Sync {
    /// All of it; those of one name one after another.
    fn gauges(&self) -> Vec<Gauge>;
}

/// `GET /metrics`.
pub(crate) async fn metrics(
    State(app): State<App>,
    Extension(own): Extension<Arc<Own>>,
) -> Response {
    let mut text = Text::default();
    text.begin("mainstay_build_info", "gauge", "What is running; always 1.");
    text.sample("", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    let entries = *app.newest.borrow();
    text.begin("mainstay_ledger_entries", "gauge", "Entries in the ledger.");
    text.sample("", &[], entries as f64);
    let mut last = "";
    for gauge in app.gauges.gauges() {
        if last != gauge.name {
            text.begin(gauge.name, gauge.kind, gauge.help);
            last = gauge.name;
        }
        let labels = gauge.labels.iter();
        let labels: Vec<(&str, &str)> = labels.map(|(name, it)| (*name, it.as_str())).collect();
        text.sample("", &labels, gauge.value);
    }
    own.write(&mut text);
    text.begin(
        "mainstay_samples_refused_total",
        "counter",
        "Samples and targets that monitoring refused.",
    );
    for (reason, count) in app.queries.refused() {
        text.sample("", &[("reason", reason)], count as f64);
    }
    tenants(&mut text, &app.queries.tenants());
    text.begin(
        "mainstay_received_total",
        "counter",
        "What others sent, by what became of it.",
    );
    for (way, outcome, count) in app.intake.received() {
        text.sample("", &[("by", way), ("outcome", outcome)], count as f64);
    }
    for counted in app.rules.counted() {
        text.begin(counted.name, "counter", counted.help);
        text.sample("", &[], counted.count as f64);
    }
    match spawn_blocking(process::Process::read).await {
        Ok(Ok(process)) => process.write(&mut text),
        Ok(Err(error)) => tracing::warn!(%error, "/proc/self cannot be read"),
        Err(error) => tracing::error!(%error, "reading /proc/self died"),
    }
    let format = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    (format, text.body).into_response()
}

/// Those who share the engine, the largest of them.
fn tenants(text: &mut Text, tenants: &[Tenant]) {
    let told: Vec<&Tenant> = tenants.iter().take(TENANTS_TOLD).collect();
    if told.is_empty() {
        return;
    }
    text.begin(
        "mainstay_tenant_series",
        "gauge",
        "Series that a tenant has in memory.",
    );
    for it in &told {
        text.sample("", &[("tenant", &it.name)], it.series as f64);
    }
    text.begin(
        "mainstay_tenant_samples_total",
        "counter",
        "Samples taken from a tenant.",
    );
    for it in &told {
        text.sample("", &[("tenant", &it.name)], it.samples as f64);
    }
    text.begin(
        "mainstay_tenant_refused_total",
        "counter",
        "Samples refused because a tenant is at a limit.",
    );
    for it in &told {
        for (limit, count) in &it.refused {
            text.sample("", &[("tenant", &it.name), ("limit", limit)], *count as f64);
        }
    }
}

/// A body in the text format, metric by metric.
#[derive(Default)]
struct Text {
    body: String,
    name: &'static str,
}

impl Text {
    fn begin(&mut self, name: &'static str, kind: &str, help: &str) {
        self.name = name;
        // Writing to a string does not fail.
        let _ = writeln!(self.body, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: f64) {
        self.body.push_str(self.name);
        self.body.push_str(suffix);
        for (at, (name, value)) in labels.iter().enumerate() {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"");
            let value = value.replace('\n', "\\n");
            let before = if at == 0 { '{' } else { ',' };
            let _ = write!(self.body, "{before}{name}=\"{value}\"");
        }
        let after = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.body, "{after} {value}");
    }
}
