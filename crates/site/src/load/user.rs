//! One user's request, and what that user saw.
//!
//! Guarantees: the deadline and the latency count from the planned instant; each visit ends in
//! exactly one result. Never retries a request that the site has seen.
//! Example: `site.visit(arrival, begin, at).await`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Uri};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Serialize;
use tokio::time::Instant;

use super::plan::{Arrival, RouteWeights};
use crate::loopback::Base;

/// Idle connections are closed before the site's own limit.
const IDLE: Duration = Duration::from_mins(1);
/// Versions looked at in one answer.
const VERSIONS_MAX: usize = 17;
/// An answer of the site is a small document; a user does not wait for more.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Why a user saw a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Failure {
    /// A status other than 2xx.
    Status,
    /// Refused, reset or cut off.
    Transport,
    /// No complete answer in time.
    Deadline,
    /// The generator had no room to send it: the run is void.
    NotSent,
}

/// What one user saw.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) route: usize,
    pub(super) user: u32,
    /// When the user was to arrive, after the begin of the run.
    pub(super) planned: Duration,
    /// When the visit ended, after the begin of the run.
    pub(super) ended: Duration,
    /// From the planned instant to the end.
    pub(super) latency: Duration,
    /// How late the generator itself was.
    pub(super) lag: Duration,
    pub(super) failure: Option<Failure>,
    /// The service asked and its dependencies, each with the version that answered.
    pub(super) versions: Vec<(String, String)>,
}

impl Seen {
    /// A visit that the generator could not send.
    pub(super) fn not_sent(arrival: &Arrival, at: Instant) -> Self {
        let lag = at.elapsed();
        Self {
            route: arrival.route,
            user: arrival.user,
            planned: arrival.after,
            ended: arrival.after + lag,
            latency: lag,
            lag,
            failure: Some(Failure::NotSent),
            versions: Vec::new(),
        }
    }
}

/// The site as users reach it.
#[derive(Debug)]
pub(super) struct Site {
    /// For each route, its address at each target.
    addresses: Vec<Vec<Uri>>,
    /// For each route, the service that answers it.
    services: Vec<String>,
    deadline: Duration,
    client: Client<HttpConnector, Empty<Bytes>>,
    turn: AtomicUsize,
}

impl Site {
    pub(super) fn new(
        targets: &[Base],
        routes: &RouteWeights,
        deadline: Duration,
    ) -> anyhow::Result<Self> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let mut addresses = Vec::new();
        for route in routes.names() {
            let at_each: anyhow::Result<Vec<Uri>> =
                targets.iter().map(|target| target.join(route)).collect();
            addresses.push(at_each?);
        }
        let service = |route: &str| route.split('/').nth(1).unwrap_or_default().to_owned();
        Ok(Self {
            addresses,
            services: routes.names().map(service).collect(),
            deadline,
            client: Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE)
                .build(connector),
            turn: AtomicUsize::new(0),
        })
    }

    /// Makes one request, planned for `at`.
    pub(super) async fn visit(&self, arrival: Arrival, begin: Instant, at: Instant) -> Seen {
        let lag = at.elapsed();
        let mut versions = Vec::new();
        let exchange = self.exchange(&arrival, self.deadline.saturating_sub(lag), &mut versions);
        let failure = match tokio::time::timeout_at(at + self.deadline, exchange).await {
            Ok(Ok(true)) => None,
            Ok(Ok(false)) => Some(Failure::Status),
            Ok(Err(_)) => Some(Failure::Transport),
            Err(_) => Some(Failure::Deadline),
        };
        Seen {
            route: arrival.route,
            user: arrival.user,
            planned: arrival.after,
            ended: begin.elapsed(),
            latency: at.elapsed(),
            lag,
            failure,
            versions,
        }
    }

    async fn exchange(
        &self,
        arrival: &Arrival,
        left: Duration,
        versions: &mut Vec<(String, String)>,
    ) -> anyhow::Result<bool> {
        let at_each = &self.addresses[arrival.route];
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % at_each.len();
        let request = Request::get(at_each[turn].clone())
            .header("x-mainstay-deadline-ms", left.as_millis() as u64)
            .header("x-user-id", format!("u{}", arrival.user))
            .header("x-client-version", client_of(arrival.user))
            .body(Empty::new())?;
        let response = self.client.request(request).await?;
        read_versions(response.headers(), &self.services[arrival.route], versions);
        let good = response.status().is_success();
        let mut body = response.into_body();
        let mut received = 0;
        while let Some(frame) = body.frame().await {
            received += frame?.data_ref().map_or(0, Bytes::len);
            anyhow::ensure!(received <= BODY_BYTES_MAX, "the answer is too long");
        }
        Ok(good)
    }
}

/// The version of the client that a user has: one in twenty has the oldest.
fn client_of(user: u32) -> &'static str {
    match user % 20 {
        0 => "7.9",
        1..=6 => "8.0",
        _ => "8.1",
    }
}

/// Who answered: the service asked, and those it names as its dependencies.
fn read_versions(headers: &HeaderMap, service: &str, versions: &mut Vec<(String, String)>) {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(version) = text("x-service-version") {
        versions.push((service.to_owned(), version.to_owned()));
    }
    let dependencies = text("x-dependency-versions").unwrap_or_default();
    for part in dependencies.split(',').take(VERSIONS_MAX - 1) {
        if let Some((service, version)) = part.split_once('=') {
            versions.push((service.trim().to_owned(), version.trim().to_owned()));
        }
    }
}
