//! One request under way, and the answer's body on its way to the user.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Method, header, request, uri::PathAndQuery};
use hyper::body::{Body, Frame, Incoming};

use super::{
    Shared,
    series::path_of,
    state::{BackendCell, Service, ServiceCell, lock},
    upstream::{Upstream, quiet},
};
use crate::{Outcome, Permit, clients::client_of};

/// The place that a request holds in the router, given back when it ended.
pub(crate) enum Place {
    /// In the bulkhead of its service.
    Bulkhead { _permit: Permit },
    /// In the pool that all services share while the protections are off.
    Pool {
        _permit: Permit,
        _place: tokio::sync::OwnedSemaphorePermit,
    },
}

/// Accounts for one request under way; what is dropped without an outcome was left by its user.
pub(crate) struct Flight {
    shared: Arc<Shared>,
    pub(crate) cell: Arc<BackendCell>,
    sequence: u64,
    started_us: u64,
    /// When the last of its answer was read, if that is known already.
    ended_us: Option<u64>,
    answered: bool,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) code: u16,
    asked: Asked,
    pub(crate) place: Option<Place>,
}

/// Who asked what, as far as it is counted.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) owner: Arc<ServiceCell>,
    pub(crate) path: Option<PathAndQuery>,
    /// Whether anybody may ask it again.
    is_get: bool,
    /// The header in which the client says its version.
    pub(crate) client: Option<HeaderValue>,
}

impl Asked {
    /// What the head of a request to a service says.
    pub(crate) fn of(service: &Service, parts: &request::Parts) -> Self {
        let named = parts.headers.get(&service.routes.client_version_header);
        let client = named.or_else(|| parts.headers.get(header::USER_AGENT));
        Self {
            owner: Arc::clone(&service.cell),
            path: parts.uri.path_and_query().cloned(),
            is_get: parts.method == Method::GET,
            client: client.cloned(),
        }
    }
}

impl Flight {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        cell: &Arc<BackendCell>,
        asked: Asked,
        place: Option<Place>,
        started_us: u64,
    ) -> Self {
        let sequence = shared.sequence.fetch_add(1, Ordering::Relaxed);
        lock(&cell.tally).under_way.insert(sequence, started_us);
        cell.in_flight.fetch_add(1, Ordering::Relaxed);
        Self {
            shared: Arc::clone(shared),
            cell: Arc::clone(cell),
            sequence,
            started_us,
            ended_us: None,
            answered: false,
            outcome: None,
            code: 499,
            asked,
            place,
        }
    }

    /// The head of the answer came. From here on the age of the request says as much about the user,
    /// who may read slowly, as about the backend.
    pub(crate) fn answered(&mut self, status: http::StatusCode, headers: &http::HeaderMap) {
        let mut tally = lock(&self.cell.tally);
        tally.under_way.remove(&self.sequence);
        tally.user_saw(headers);
        drop(tally);
        self.answered = true;
        self.code = status.as_u16();
        self.outcome = Some(if status.is_server_error() {
            Outcome::Bad
        } else {
            Outcome::Good
        });
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let now = self.ended_us.unwrap_or_else(|| self.shared.now_us());
        self.cell.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.outcome.is_some() || !self.answered {
            let mut tally = lock(&self.cell.tally);
            if !self.answered {
                tally.under_way.remove(&self.sequence);
            }
            if let Some(outcome) = self.outcome {
                tally.health.outcome(now / 1_000, outcome);
                let took = now.saturating_sub(self.started_us);
                tally.ended(now, took, outcome);
            }
        }
        let took = now.saturating_sub(self.started_us);
        let path = path_of(self.asked.path.as_ref());
        lock(&self.cell.series).ended(path, self.code, took, self.outcome);
        if self.outcome == Some(Outcome::Good) && self.code < 400 && self.asked.is_get {
            self.asked.owner.answered_well(path, now / 1_000_000);
        }
        let client = client_of(self.asked.client.as_ref().map(HeaderValue::as_bytes));
        let version = &self.cell.spec.version;
        lock(&self.asked.owner.clients).ended(version, client, self.code, now / 1_000);
    }
}

/// A backend's body on its way to the user, frame by frame.
pub(crate) struct Relay {
    body: Incoming,
    flight: Option<Flight>,
    upstream: Option<Box<Upstream>>,
}

impl Relay {
    pub(crate) fn new(body: Incoming, flight: Flight, upstream: Box<Upstream>) -> Self {
        Self {
            body,
            flight: Some(flight),
            upstream: Some(upstream),
        }
    }

    /// All of it was read: the request ended, and its connection can serve another.
    pub(crate) fn ended(&mut self) {
        let Some(mut flight) = self.flight.take() else {
            return;
        };
        let now_us = flight.shared.now_us();
        flight.ended_us = Some(now_us);
        if let Some(mut upstream) = self.upstream.take()
            && upstream.rests()
        {
            flight.cell.keep(upstream, now_us);
        }
    }

    /// Frames come from the connection, and so does what wakes the task: see
    /// [`Upstream::drive_quietly`].
    fn next_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self { body, upstream, .. } = self;
        let mut frame = Pin::new(&mut *body).poll_frame(&mut quiet());
        if frame.is_pending()
            && let Some(upstream) = upstream
        {
            upstream.drive_quietly();
            frame = Pin::new(&mut *body).poll_frame(&mut quiet());
            if frame.is_pending() {
                upstream.drive(cx);
                frame = Pin::new(&mut *body).poll_frame(&mut quiet());
            }
        }
        frame
    }

    fn failed(&mut self, outcome: Outcome) {
        if let Some(mut flight) = self.flight.take() {
            flight.outcome = Some(outcome);
        }
        self.upstream = None;
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.body.is_end_stream()
    }
}

impl Body for Relay {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.next_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                // The server asks no further once the announced length is reached.
                if self.body.is_end_stream() {
                    self.ended();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.failed(Outcome::Bad);
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                self.ended();
                Poll::Ready(None)
            }
            Poll::Pending => {
                let late = self.upstream.as_mut().is_some_and(|u| u.is_late(cx));
                if !late {
                    return Poll::Pending;
                }
                self.failed(Outcome::Lost);
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
