//! What an instance answers to each request.
//!
//! Guarantees: each answer names its version in `x-service-version`; each service request is counted
//! once, whatever became of it (499: the client left first).
//! Never answers a request that a defect holds.
//! Example: `GET /feed/home` gives `{"service":"feed","version":"1.4.2",...}`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Environment;
use super::metrics::Metrics;
use super::upstream::{Answer, Call, Upstream};
use super::work::{Admission, Pool};
use crate::artifact::Spec;

/// Milliseconds left until nobody waits for the answer any more.
pub(crate) const DEADLINE_HEADER: &str = "x-mainstay-deadline-ms";
/// Who asks.
pub(crate) const USER_HEADER: &str = "x-user-id";
/// The version of the client that asks.
pub(crate) const CLIENT_HEADER: &str = "x-client-version";
/// The version that answered.
pub(crate) const VERSION_HEADER: &str = "x-service-version";
/// The versions that helped to answer, as `identity=2.0.1,ads=1.1.0`.
pub(crate) const DEPENDENCIES_HEADER: &str = "x-dependency-versions";

/// Deadlines beyond this are treated as this.
const DEADLINE_MS_MAX: u64 = 600_000;
/// Requests held for good; one more gets its connection closed instead, so that the process keeps
/// file descriptors for its health endpoint.
const HELD_MAX: u64 = 512;

/// The reason a connection is closed without an answer.
#[derive(Debug)]
pub(super) struct Dropped;

impl std::fmt::Display for Dropped {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("request dropped without an answer")
    }
}

impl std::error::Error for Dropped {}

/// What became of a service request.
enum Outcome {
    Answered(StatusCode, Vec<String>),
    Held,
}

/// One running instance.
#[derive(Debug)]
pub(super) struct Instance {
    spec: Spec,
    name: String,
    fabric: String,
    version: HeaderValue,
    pool: Pool,
    metrics: Metrics,
    upstream: Option<Upstream>,
    stop: CancellationToken,
}

impl Instance {
    pub(super) fn new(
        spec: Spec,
        environment: Environment,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let seed = environment.seed.unwrap_or(spec.seed);
        Ok(Self {
            version: HeaderValue::from_str(&spec.version)?,
            pool: Pool::new(&spec, seed, &environment.instance),
            metrics: Metrics::new(&spec),
            upstream: environment.router.map(Upstream::new),
            name: environment.instance,
            fabric: environment.fabric,
            spec,
            stop,
        })
    }

    pub(super) fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Whether a stop asked for now comes to nothing.
    pub(super) fn ignores_stop(&self) -> bool {
        self.pool.ignores_stop()
    }

    pub(super) fn refused_connection(&self) {
        self.metrics.refused_connection();
    }

    /// Takes the memory that the release's defect takes; returns when there is no more to take.
    pub(super) async fn leak(self: Arc<Self>) {
        self.pool.leak().await;
    }

    /// Answers one request.
    pub(super) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer_is_local: bool,
    ) -> Result<Response<Full<Bytes>>, Dropped> {
        let mut response = match request.uri().path() {
            "/healthz" => self.health(),
            "/metrics" => text(StatusCode::OK, self.metrics.render(&self.pool)),
            "/admin/stop" => self.stop_command(request.method(), peer_is_local),
            path => {
                let route = path
                    .strip_prefix('/')
                    .and_then(|rest| rest.split_once('/'))
                    .filter(|(service, _)| *service == self.spec.service)
                    .and_then(|(_, route)| self.spec.routes.iter().position(|name| name == route));
                if let Some(route) = route {
                    self.serve(route, request.headers()).await?
                } else {
                    self.metrics.unknown_route();
                    text(StatusCode::NOT_FOUND, "no such route\n".into())
                }
            }
        };
        response
            .headers_mut()
            .insert(VERSION_HEADER, self.version.clone());
        Ok(response)
    }

    fn health(&self) -> Response<Full<Bytes>> {
        if self.stop.is_cancelled() {
            text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n".into())
        } else if self.pool.says_healthy() {
            text(StatusCode::OK, "ok\n".into())
        } else {
            text(StatusCode::SERVICE_UNAVAILABLE, "overloaded\n".into())
        }
    }

    fn stop_command(&self, method: &Method, peer_is_local: bool) -> Response<Full<Bytes>> {
        if method != Method::POST {
            return text(StatusCode::METHOD_NOT_ALLOWED, "use POST\n".into());
        }
        if !peer_is_local {
            return text(StatusCode::FORBIDDEN, "loopback only\n".into());
        }
        if !self.pool.ignores_stop() {
            self.stop.cancel();
        }
        // The same words either way: the answer of a stop command proves nothing.
        let body = json!({"status": "stopped", "instance": self.name});
        document(StatusCode::OK, &body)
    }

    async fn serve(
        &self,
        route: usize,
        headers: &HeaderMap,
    ) -> Result<Response<Full<Bytes>>, Dropped> {
        let mut observation = self.metrics.begin(route);
        let budget = headers
            .get(DEADLINE_HEADER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.parse::<u64>().ok())
            .map(|ms| Duration::from_millis(ms.min(DEADLINE_MS_MAX)));
        let deadline = budget.map(|budget| Instant::now() + budget);
        let work = self.work(route, deadline, headers);
        let outcome = match deadline {
            Some(deadline) => match tokio::time::timeout_at(deadline, work).await {
                Ok(outcome) => outcome,
                Err(_) if self.pool.holds_late_requests() => Outcome::Held,
                Err(_) => Outcome::Answered(StatusCode::GATEWAY_TIMEOUT, Vec::new()),
            },
            None => work.await,
        };
        match outcome {
            Outcome::Answered(status, versions) => {
                observation.finish(status);
                Ok(self.document(route, status, &versions))
            }
            Outcome::Held => {
                let Some(_held) = self.metrics.hold(HELD_MAX) else {
                    return Err(Dropped);
                };
                std::future::pending().await
            }
        }
    }

    /// Waits for a worker, calls the dependencies, and works.
    async fn work(&self, route: usize, deadline: Option<Instant>, headers: &HeaderMap) -> Outcome {
        let user = headers.get(USER_HEADER);
        let client = headers.get(CLIENT_HEADER).and_then(|it| it.to_str().ok());
        let _worker = match self.pool.admit().await {
            Admission::Worker(permit) => permit,
            Admission::Refused => {
                return Outcome::Answered(StatusCode::SERVICE_UNAVAILABLE, Vec::new());
            }
            Admission::Held => return Outcome::Held,
        };
        let mut versions = Vec::new();
        if let Some(upstream) = &self.upstream {
            for dependency in &self.spec.dependencies {
                let call = Call {
                    dependency,
                    deadline,
                    user,
                };
                match upstream.call(call, &mut versions).await {
                    Answer::Good => {}
                    Answer::Failed => return Outcome::Answered(StatusCode::BAD_GATEWAY, versions),
                    Answer::Late => {
                        return Outcome::Answered(StatusCode::GATEWAY_TIMEOUT, versions);
                    }
                }
            }
        }
        tokio::time::sleep(self.pool.service_time()).await;
        if self.pool.fails(&self.spec.routes[route], client) {
            return Outcome::Answered(StatusCode::INTERNAL_SERVER_ERROR, versions);
        }
        Outcome::Answered(StatusCode::OK, versions)
    }

    fn document(
        &self,
        route: usize,
        status: StatusCode,
        versions: &[String],
    ) -> Response<Full<Bytes>> {
        let body = json!({
            "service": self.spec.service,
            "version": self.spec.version,
            "instance": self.name,
            "fabric": self.fabric,
            "route": self.spec.routes[route],
            "status": status.as_u16(),
        });
        let mut response = document(status, &body);
        if let Ok(value) = HeaderValue::from_str(&versions.join(","))
            && !versions.is_empty()
        {
            response.headers_mut().insert(DEPENDENCIES_HEADER, value);
        }
        response
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    respond(status, "text/plain; version=0.0.4; charset=utf-8", body)
}

fn document(status: StatusCode, body: &serde_json::Value) -> Response<Full<Bytes>> {
    respond(status, "application/json", format!("{body}\n"))
}

fn respond(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
