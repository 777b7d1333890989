//! One request from a user to a backend and back.

use std::{
    future::Future as _,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, Method, Request, Response, StatusCode, header};
use http_body_util::{Either, Empty, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper_util::rt::TokioIo;
use mainstay_core::{Span, Version};
use tokio::time::{Instant, Sleep};

use super::{
    Shared,
    state::{BUCKETS_MS, BackendCell, Service, Upstream, UpstreamBody, lock},
};
use crate::{DEADLINE_HEADER, Outcome, Permit, budget, unit_hash};

pub(crate) type ReplyBody = Either<Full<Bytes>, Relay>;
type Reply = Response<ReplyBody>;

/// Requests under way over all services while the protections are off.
const UNPROTECTED_MAX: u32 = 256;
const ROUTES_MAX: usize = 100;
const HOP_BY_HOP: [&str; 7] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn refuse(status: StatusCode, detail: &str) -> Reply {
    let body = serde_json::json!({"title": status.canonical_reason(), "status": status.as_u16(), "detail": detail});
    let mut reply = Response::new(Either::Left(Full::from(body.to_string())));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/problem+json"),
    );
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
    }
    reply
}

/// Accounts for one request under way; what is dropped without an outcome was left by its user.
pub(crate) struct Flight {
    shared: Arc<Shared>,
    cell: Arc<BackendCell>,
    sequence: u64,
    started_ms: u64,
    outcome: Option<Outcome>,
    code: u16,
    route: String,
    permit: Option<Permit>,
}

impl Drop for Flight {
    fn drop(&mut self) {
        let now = self.shared.now_ms();
        lock(&self.cell.under_way).remove(&self.sequence);
        self.cell.in_flight.fetch_sub(1, Ordering::Relaxed);
        if let Some(outcome) = self.outcome {
            lock(&self.cell.health).outcome(now, outcome);
        }
        let took = now.saturating_sub(self.started_ms);
        let series = &self.cell.series;
        series.count.fetch_add(1, Ordering::Relaxed);
        series.sum_ms.fetch_add(took, Ordering::Relaxed);
        if let Some(i) = BUCKETS_MS.iter().position(|le| took <= *le) {
            series.buckets[i].fetch_add(1, Ordering::Relaxed);
        }
        let mut codes = lock(&series.codes);
        let mut key = (std::mem::take(&mut self.route), self.code);
        if codes.len() >= ROUTES_MAX && !codes.contains_key(&key) {
            "other".clone_into(&mut key.0);
        }
        *codes.entry(key).or_default() += 1;
    }
}

/// A backend's body on its way to the user.
pub(crate) struct Relay {
    body: Incoming,
    flight: Option<Flight>,
    upstream: Option<Upstream>,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Relay {
    fn done(&mut self, outcome: Option<Outcome>) {
        if let Some(mut flight) = self.flight.take() {
            if let Some(outcome) = outcome {
                flight.outcome = Some(outcome);
            }
            if outcome.is_none()
                && let Some(upstream) = self.upstream.take()
            {
                lock(&flight.cell.idle).push(upstream);
            }
        }
    }
}

impl Body for Relay {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                // The server asks no further once the announced length is reached.
                if self.body.is_end_stream() {
                    self.done(None);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.done(Some(Outcome::Bad));
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                self.done(None);
                Poll::Ready(None)
            }
            Poll::Pending => {
                let late = self
                    .deadline
                    .as_mut()
                    .is_some_and(|d| d.as_mut().poll(cx).is_ready());
                if !late {
                    return Poll::Pending;
                }
                self.done(Some(Outcome::Lost));
                Poll::Ready(Some(Err("the deadline passed within the body".into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.flight.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

/// Answers one request.
pub(crate) async fn serve(shared: Arc<Shared>, mut request: Request<Incoming>) -> Reply {
    if request.method() == Method::CONNECT || request.headers().contains_key(header::UPGRADE) {
        return refuse(
            StatusCode::NOT_IMPLEMENTED,
            "CONNECT and upgrades are not supported",
        );
    }
    let snapshot = shared.snapshot.load_full();
    let Some(service) = snapshot.service(request.uri().path()) else {
        return refuse(StatusCode::NOT_FOUND, "no service has this path");
    };
    service.cell.offered.fetch_add(1, Ordering::Relaxed);
    let random = shared.random();
    lock(&service.cell.retry).offered(shared.now_ms() / 1_000);
    let shed = service
        .routes
        .shed
        .max(service.cell.shed.load(Ordering::Relaxed));
    if (random >> 17) % 10_000 < u64::from(shed) {
        service.cell.reject("shed");
        return refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            "load is shed to save the rest",
        );
    }
    let entered = if snapshot.protected {
        service
            .cell
            .in_flight
            .enter(service.routes.bulkhead.in_flight)
    } else {
        shared.unprotected.enter(UNPROTECTED_MAX)
    };
    let Some(permit) = entered else {
        service.cell.reject("bulkhead");
        return refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            "the service holds all it may of the router",
        );
    };
    let hash = request.headers().get("x-user-id").map_or(random, |unit| {
        unit_hash(service.routes.service.as_str(), unit.as_bytes())
    });
    let sent = request
        .headers()
        .get(DEADLINE_HEADER)
        .and_then(|v| v.to_str().ok());
    let allowed = snapshot
        .protected
        .then(|| budget(service.routes.timeout, sent));
    strip(request.headers_mut());
    let exchange = Exchange {
        shared: &shared,
        service,
        hash,
        protected: snapshot.protected,
        allowed,
    };
    exchange.run(request, permit).await
}

fn strip(headers: &mut http::HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

struct Exchange<'a> {
    shared: &'a Arc<Shared>,
    service: &'a Service,
    hash: u64,
    protected: bool,
    allowed: Option<Span>,
}

enum Failure {
    /// Nothing was sent.
    Full,
    /// The connection failed.
    Broken,
}

impl Exchange<'_> {
    async fn run(&self, request: Request<Incoming>, permit: Permit) -> Reply {
        let started = Instant::now();
        let end = self
            .allowed
            .map(|a| started + Duration::from_millis(a.millis()));
        let path = request
            .uri()
            .path_and_query()
            .map_or("/", |p| p.as_str())
            .to_owned();
        let route = path
            .split('?')
            .next()
            .unwrap_or("/")
            .splitn(4, '/')
            .take(3)
            .collect::<Vec<_>>()
            .join("/");
        let (mut parts, body) = request.into_parts();
        if let Some(authority) = parts.uri.authority()
            && !parts.headers.contains_key(header::HOST)
            && let Ok(host) = authority.as_str().parse()
        {
            parts.headers.insert(header::HOST, host);
        }
        let Ok(uri) = path.parse() else {
            return refuse(StatusCode::BAD_REQUEST, "the path cannot be passed on");
        };
        parts.uri = uri;
        parts.version = http::Version::HTTP_11;
        let empty = body.is_end_stream();
        let repeatable = empty && matches!(parts.method, Method::GET | Method::HEAD);
        let mut body: Option<UpstreamBody> = Some(if empty {
            Either::Right(Empty::new())
        } else {
            Either::Left(body)
        });
        let mut permit = Some(permit);
        let mut retried = false;
        loop {
            let Some((cell, fell_back)) = self.service.choose(self.hash, self.shared.random())
            else {
                self.service.cell.reject("no-backend");
                return refuse(StatusCode::SERVICE_UNAVAILABLE, "no backend is in rotation");
            };
            if fell_back {
                self.service.cell.fallback.fetch_add(1, Ordering::Relaxed);
            }
            let mut flight = self.fly(&cell, route.clone(), permit.take());
            let mut head = parts.clone();
            if let Some(end) = end {
                let left = end.saturating_duration_since(Instant::now()).as_millis() as u64;
                head.headers.insert(DEADLINE_HEADER, left.into());
            }
            let outgoing =
                Request::from_parts(head, body.take().unwrap_or(Either::Right(Empty::new())));
            let answer = match end {
                Some(end) => tokio::time::timeout_at(end, self.send(&cell, outgoing)).await,
                None => Ok(self.send(&cell, outgoing).await),
            };
            let failure = match answer {
                Ok(Ok((response, upstream))) => {
                    return relay(response, flight, upstream.filter(|_| empty), end);
                }
                Ok(Err(failure)) => failure,
                Err(_) => {
                    // A parent's short budget says nothing about the backend.
                    flight.outcome = (self.allowed == Some(self.service.routes.timeout))
                        .then_some(Outcome::Lost);
                    flight.code = 504;
                    return refuse(StatusCode::GATEWAY_TIMEOUT, "the deadline passed");
                }
            };
            if matches!(failure, Failure::Full) {
                self.service.cell.reject("connections");
                flight.code = 503;
                return refuse(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "the service holds all connections it may",
                );
            }
            flight.code = 502;
            flight.outcome = Some(Outcome::Bad);
            permit = flight.permit.take();
            drop(flight);
            if !repeatable
                || retried
                || !lock(&self.service.cell.retry).try_retry(self.shared.now_ms() / 1_000)
            {
                return refuse(StatusCode::BAD_GATEWAY, "the backend did not answer");
            }
            self.service.cell.retried.fetch_add(1, Ordering::Relaxed);
            retried = true;
        }
    }

    fn fly(&self, cell: &Arc<BackendCell>, route: String, permit: Option<Permit>) -> Flight {
        let (sequence, started_ms) = (
            self.shared.sequence.fetch_add(1, Ordering::Relaxed),
            self.shared.now_ms(),
        );
        lock(&cell.under_way).insert(sequence, started_ms);
        cell.in_flight.fetch_add(1, Ordering::Relaxed);
        Flight {
            shared: Arc::clone(self.shared),
            cell: Arc::clone(cell),
            sequence,
            started_ms,
            outcome: None,
            code: 499,
            route,
            permit,
        }
    }

    async fn send(
        &self,
        cell: &BackendCell,
        mut request: Request<UpstreamBody>,
    ) -> Result<(Response<Incoming>, Option<Upstream>), Failure> {
        loop {
            let kept = lock(&cell.idle).pop();
            let fresh = kept.is_none();
            let mut upstream = match kept {
                Some(upstream) => upstream,
                None => self.connect(cell).await?,
            };
            if upstream.sender.ready().await.is_err() {
                if fresh {
                    return Err(Failure::Broken);
                }
                continue;
            }
            match upstream.sender.try_send_request(request).await {
                Ok(response) => return Ok((response, Some(upstream))),
                Err(mut error) => match error.take_message() {
                    // A kept connection that was closed meanwhile: nothing of the request went out.
                    Some(message) if !fresh => request = message,
                    _ => return Err(Failure::Broken),
                },
            }
        }
    }

    async fn connect(&self, cell: &BackendCell) -> Result<Upstream, Failure> {
        let connections = &self.service.cell.connections;
        let limit = if self.protected {
            self.service.routes.bulkhead.connections
        } else {
            u32::MAX
        };
        let permit = connections.enter(limit).or_else(|| {
            // Idle ones to other backends make room.
            self.service
                .backends
                .iter()
                .find_map(|other| lock(&other.idle).pop())?;
            connections.enter(limit)
        });
        let permit = permit.ok_or(Failure::Full)?;
        let stream = tokio::net::TcpStream::connect(&cell.spec.address)
            .await
            .map_err(|_| Failure::Broken)?;
        let _ = stream.set_nodelay(true);
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|_| Failure::Broken)?;
        self.shared
            .tasks
            .spawn(async move { drop(connection.await) });
        Ok(Upstream {
            sender,
            _permit: Some(permit),
        })
    }
}

fn relay(
    mut response: Response<Incoming>,
    mut flight: Flight,
    upstream: Option<Upstream>,
    end: Option<Instant>,
) -> Reply {
    flight.code = response.status().as_u16();
    flight.outcome = Some(if response.status().is_server_error() {
        Outcome::Bad
    } else {
        Outcome::Good
    });
    if let Some(version) = response
        .headers()
        .get("x-service-version")
        .and_then(|v| Version::new(v.to_str().ok()?).ok())
    {
        *lock(&flight.cell.seen_version) = Some(version);
    }
    strip(response.headers_mut());
    let deadline = end.map(|end| Box::pin(tokio::time::sleep_until(end)));
    response.map(|body| {
        Either::Right(Relay {
            body,
            flight: Some(flight),
            upstream,
            deadline,
        })
    })
}
