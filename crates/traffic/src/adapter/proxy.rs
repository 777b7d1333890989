//! One request from a user to a backend and back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode, header, request, uri::PathAndQuery,
};
use http_body_util::{Either, Full};
use hyper::body::{Body as _, Incoming};
use mainstay_core::Span;
use tokio::time::Instant;

use super::{
    Shared,
    flight::{Asked, Flight, Place, Relay},
    head,
    snapshot::Snapshot,
    state::{BackendCell, Service, lock},
    upstream::{Unanswered, Upload, Upstream},
};
use crate::{DEADLINE_HEADER, Outcome, budget, unit_hash};

pub(crate) type Reply = Response<Either<Full<Bytes>, Relay>>;

pub(crate) fn refuse(status: StatusCode, detail: &str) -> Reply {
    let body = serde_json::json!({"title": status.canonical_reason(), "status": status.as_u16(), "detail": detail});
    let mut reply = Response::new(Either::Left(Full::from(body.to_string())));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    reply
}

fn unavailable(service: &Service, reason: &'static str, detail: &str) -> Reply {
    service.cell.reject(reason);
    refuse(StatusCode::SERVICE_UNAVAILABLE, detail)
}

/// Answers one request of the user at `peer`.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    peer: HeaderValue,
    request: Request<Incoming>,
) -> Reply {
    if let Some((status, detail)) = head::objection(&request) {
        let mut reply = refuse(status, detail);
        if request.version() <= http::Version::HTTP_11 {
            let close = HeaderValue::from_static("close");
            reply.headers_mut().insert(header::CONNECTION, close);
        }
        return reply;
    }
    let mut snapshot = shared.snapshot.load_full();
    let Some(mut index) = snapshot.find(request.uri().path()) else {
        shared.unrouted.fetch_add(1, Ordering::Relaxed);
        return refuse(StatusCode::NOT_FOUND, "no service has this path");
    };
    let service = &snapshot.services[index];
    service.cell.offered.fetch_add(1, Ordering::Relaxed);
    let mut began_us = shared.now_us();
    lock(&service.cell.retry).offered(began_us / 1_000_000);
    let random = shared.random();
    if (random >> 17) % 10_000 < u64::from(service.shed()) {
        return unavailable(service, "shed", "load is shed to save the rest");
    }
    let place;
    let mut allowed = None;
    if snapshot.protected {
        let sent = head::deadline(request.headers());
        let left = budget(service.routes.timeout, sent);
        if left == Span::ZERO {
            service.cell.reject("deadline");
            return refuse(StatusCode::GATEWAY_TIMEOUT, "the request has no time left");
        }
        allowed = Some(left);
        let limit = service.routes.bulkhead.in_flight;
        let Some(permit) = service.cell.in_flight.enter(limit) else {
            let detail = "the service holds all it may of the router";
            return unavailable(service, "bulkhead", detail);
        };
        place = Place::Bulkhead { _permit: permit };
    } else {
        let Some(entered) = queue(&shared, service).await else {
            return unavailable(service, "pool", "the router is stopping");
        };
        place = entered;
        began_us = shared.now_us();
        // What was in force when it began to wait may be long gone.
        snapshot = shared.snapshot.load_full();
        let Some(again) = snapshot.find(request.uri().path()) else {
            return refuse(StatusCode::NOT_FOUND, "no service has this path");
        };
        index = again;
    }
    let name = snapshot.services[index].routes.service.as_str();
    let unit = request.headers().get("x-user-id");
    let exchange = Exchange {
        hash: unit.map_or(random, |unit| unit_hash(name, unit.as_bytes())),
        snapshot,
        index,
        allowed,
        end: allowed.map(|left| shared.instant(began_us) + Duration::from_millis(left.millis())),
        began_us,
        shared,
    };
    exchange.run(request, &peer, place).await
}

/// Waits for a place in the pool that all services share, as long as the user does: one who leaves
/// ends this future.
async fn queue(shared: &Shared, service: &Service) -> Option<Place> {
    let pool = Arc::clone(&shared.pool);
    let place = if let Ok(place) = Arc::clone(&pool).try_acquire_owned() {
        place
    } else {
        let _queued = service.cell.queued.enter(u32::MAX);
        pool.acquire_owned().await.ok()?
    };
    Some(Place::Pool {
        _permit: service.cell.in_flight.enter(u32::MAX)?,
        _place: place,
    })
}

struct Exchange {
    shared: Arc<Shared>,
    snapshot: Arc<Snapshot>,
    index: usize,
    hash: u64,
    allowed: Option<Span>,
    end: Option<Instant>,
    /// When the attempt under way began.
    began_us: u64,
}

/// What is left of a request after an attempt.
struct Spare {
    parts: request::Parts,
    body: Upload,
}

enum Failure {
    /// Nothing was sent: the service holds all connections it may.
    Full,
    /// The connection failed.
    Broken,
    /// The deadline passed.
    Late,
}

impl Exchange {
    fn service(&self) -> &Service {
        &self.snapshot.services[self.index]
    }

    async fn run(mut self, request: Request<Incoming>, peer: &HeaderValue, place: Place) -> Reply {
        let (mut parts, body) = request.into_parts();
        head::outgoing(&mut parts, peer);
        let asked = Asked::of(self.service(), &parts);
        let empty = body.is_end_stream();
        let uploaded = (!empty).then(|| Arc::new(AtomicBool::new(false)));
        let repeatable = empty && matches!(parts.method, Method::GET | Method::HEAD);
        let body = match &uploaded {
            Some(uploaded) => Upload::Stream(body, Arc::clone(uploaded)),
            None => Upload::Empty,
        };
        let mut place = Some(place);
        let mut failed: Option<Arc<BackendCell>> = None;
        let mut spare = Some(Spare { parts, body });
        while let Some(Spare { parts, body }) = spare.take() {
            let random = self.shared.random();
            let chosen = self.service().choose(self.hash, random, failed.as_ref());
            let Some((cell, fell_back)) = chosen else {
                let (reason, detail) = self.service().nobody();
                return unavailable(self.service(), reason, detail);
            };
            if fell_back {
                self.service().cell.fallback.fetch_add(1, Ordering::Relaxed);
            }
            let cell = Arc::clone(cell);
            let mut flight = Flight::new(
                &self.shared,
                &cell,
                asked.clone(),
                place.take(),
                self.began_us,
            );
            if repeatable && failed.is_none() {
                let body = Upload::Empty;
                spare = Some(Spare {
                    parts: parts.clone(),
                    body,
                });
            }
            let failure = match self.attempt(&cell, parts, body).await {
                Ok((response, upstream)) => return relay(response, flight, upstream),
                Err(failure) => failure,
            };
            match failure {
                Failure::Full => {
                    flight.code = 503;
                    let detail = "the service holds all connections it may";
                    return unavailable(self.service(), "connections", detail);
                }
                Failure::Late => {
                    flight.code = 504;
                    flight.outcome = self.blame(uploaded.as_deref());
                    return refuse(StatusCode::GATEWAY_TIMEOUT, "the deadline passed");
                }
                Failure::Broken => {
                    flight.code = 502;
                    flight.outcome = Some(Outcome::Bad);
                }
            }
            place = flight.place.take();
            drop(flight);
            failed = Some(cell);
            if spare.is_some() && !self.may_retry(asked.path.as_ref()) {
                spare = None;
            }
        }
        refuse(StatusCode::BAD_GATEWAY, "the backend did not answer")
    }

    /// What a passed deadline says about the backend: nothing where a parent left it less than half of
    /// what the service promises, or where the user's own upload was not through.
    fn blame(&self, uploaded: Option<&AtomicBool>) -> Option<Outcome> {
        let fair = self.allowed.is_some_and(|a| {
            a.millis().saturating_mul(2) >= self.service().routes.timeout.millis()
        });
        let through = uploaded.is_none_or(|done| done.load(Ordering::Relaxed));
        (fair && through).then_some(Outcome::Lost)
    }

    /// Takes one retry of the budget, under the table that is now in force.
    fn may_retry(&mut self, path: Option<&PathAndQuery>) -> bool {
        let snapshot = self.shared.snapshot.load_full();
        let Some(index) = path.and_then(|path| snapshot.find(path.path())) else {
            return false;
        };
        (self.snapshot, self.index) = (snapshot, index);
        let cell = &self.service().cell;
        let now_us = self.shared.now_us();
        if !lock(&cell.retry).try_retry(now_us / 1_000_000) {
            cell.reject("retry-budget");
            return false;
        }
        cell.retried.fetch_add(1, Ordering::Relaxed);
        self.began_us = now_us;
        true
    }

    /// One attempt: on a kept connection if one still stands, else on a new one.
    async fn attempt(
        &self,
        cell: &BackendCell,
        mut parts: request::Parts,
        body: Upload,
    ) -> Result<(Response<Incoming>, Box<Upstream>), Failure> {
        if let Some(end) = self.end {
            let left = end.saturating_duration_since(self.shared.instant(self.began_us));
            // Rounded down: a child's budget is never more than its parent's.
            let left = left.as_millis() as u64;
            parts.headers.insert(DEADLINE_HEADER, left.into());
        }
        let mut request = Request::from_parts(parts, body);
        loop {
            let kept = cell.take_idle(self.began_us);
            let fresh = kept.is_none();
            let mut upstream = match kept {
                Some(upstream) => upstream,
                None => self.connect(cell).await?,
            };
            match upstream.exchange(request, self.end).await {
                Ok(response) => return Ok((response, upstream)),
                // A kept connection that was closed meanwhile: nothing of the request went out.
                Err(Unanswered::Unsent(unsent)) if !fresh => request = *unsent,
                Err(Unanswered::Late) => return Err(Failure::Late),
                Err(Unanswered::Unsent(_)) if self.is_late() => return Err(Failure::Late),
                Err(Unanswered::Unsent(_) | Unanswered::Broken) => return Err(Failure::Broken),
            }
        }
    }

    fn is_late(&self) -> bool {
        self.end.is_some_and(|end| Instant::now() >= end)
    }

    async fn connect(&self, cell: &BackendCell) -> Result<Box<Upstream>, Failure> {
        let service = self.service();
        let connections = &service.cell.connections;
        let limit = if self.snapshot.protected {
            service.routes.bulkhead.connections
        } else {
            u32::MAX
        };
        let permit = connections.enter(limit).or_else(|| {
            // An idle one to another backend makes room.
            service
                .backends
                .iter()
                .any(|b| b.close_one_idle())
                .then_some(())?;
            connections.enter(limit)
        });
        let permit = Some(permit.ok_or(Failure::Full)?);
        let connecting = Upstream::connect(&cell.spec.address, permit);
        let upstream = match self.end {
            Some(end) => tokio::time::timeout_at(end, connecting)
                .await
                .map_err(|_| Failure::Late)?,
            None => connecting.await,
        };
        upstream.ok_or(Failure::Broken)
    }
}

fn relay(mut response: Response<Incoming>, mut flight: Flight, upstream: Box<Upstream>) -> Reply {
    flight.answered(response.status(), response.headers());
    let headers = response.headers_mut();
    if headers.contains_key(header::TRANSFER_ENCODING) {
        // The framing that holds is the encoding; a length beside it would be passed on as true.
        headers.remove(header::CONTENT_LENGTH);
    }
    head::strip(headers);
    *response.version_mut() = http::Version::HTTP_11;
    let mut reply = response.map(|body| Relay::new(body, flight, upstream));
    if reply.body().is_whole() {
        // Nobody will ask for the body of an answer that has none.
        reply.body_mut().ended();
    }
    reply.map(Either::Right)
}
