//! The ways in: what others send is read whole, bounded in bytes, in time and in number, and handed on.
//!
//! Guarantees: at most [`AT_ONCE`] requests are in memory; [`WAITING_MAX`] more wait, unread, for up to [`WAIT`];
//! beyond, the sender hears 429 with `Retry-After` at once. Who sends too slowly gives its place up. Never looks
//! into what was sent: each protocol answers in its own shape.
//!
//! ```text
//! remote_write: [{url: http://127.0.0.1:7070/api/v1/write}]     # in prometheus.yml
//! OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=http://127.0.0.1:7070/api/v1/otlp/v1/metrics
//! OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317              # gRPC, or HTTP
//! ```

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    body::{Body, Bytes},
    extract::{FromRequest, Request, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use mainstay_core::ports::BoxFuture;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

use crate::{App, BODY_BYTES_MAX, metrics::grpc};

/// Requests in memory at once: each may be 16 MiB, unpack to 32 MiB and become samples of twice that.
const AT_ONCE: usize = 16;
/// Requests that wait for their turn, of which only the head was read.
const WAITING_MAX: usize = 256;
/// How long one waits before its sender is told to come back: less than senders wait for an answer.
const WAIT: Duration = Duration::from_secs(10);
/// How long a body may take to arrive.
const ARRIVE_WITHIN: Duration = Duration::from_secs(30);
/// When a sender shall try again, in seconds.
const RETRY_AFTER_SECS: u64 = 5;

/// Takes what others send. A request comes with its whole body; an answer is in the protocol's own shape.
pub trait Intake: Send + Sync {
    /// `POST /api/v1/write`: remote write 1.0 and 2.0.
    fn remote_write(
        &self,
        request: axum::http::Request<Bytes>,
    ) -> BoxFuture<'_, axum::http::Response<Bytes>>;
    /// `POST /api/v1/otlp/v1/metrics`: OTLP in protobuf or JSON.
    fn otlp(
        &self,
        request: axum::http::Request<Bytes>,
    ) -> BoxFuture<'_, axum::http::Response<Bytes>>;
    /// `MetricsService/Export` of OTLP over gRPC: `grpc-status` and `grpc-message` are among the answer's headers.
    fn otlp_call(
        &self,
        request: axum::http::Request<Bytes>,
    ) -> BoxFuture<'_, axum::http::Response<Bytes>>;
    /// What came in since the start: the way, what became of it, how much.
    fn received(&self) -> Vec<(&'static str, &'static str, u64)>;
}

/// Room for requests.
#[derive(Debug)]
pub(crate) struct Room {
    inside: Semaphore,
    waiting: Semaphore,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            inside: Semaphore::new(AT_ONCE),
            waiting: Semaphore::new(WAITING_MAX),
        }
    }
}

impl Room {
    /// A place, at once or after a wait; none if too many wait already or the wait was in vain.
    async fn place(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(place) = self.inside.try_acquire() {
            return Some(place);
        }
        let _waiting = self.waiting.try_acquire().ok()?;
        timeout(WAIT, self.inside.acquire()).await.ok()?.ok()
    }
}

/// `POST /api/v1/write`.
pub(crate) async fn remote_write(
    State(app): State<App>,
    Extension(room): Extension<Arc<Room>>,
    request: Request,
) -> Response {
    let taken = taken(&room, request, |request| app.intake.remote_write(request));
    taken
        .await
        .map_or_else(|refused| refused, |it| it.map(Body::from))
}

/// `POST /api/v1/otlp/v1/metrics`.
pub(crate) async fn otlp(
    State(app): State<App>,
    Extension(room): Extension<Arc<Room>>,
    request: Request,
) -> Response {
    let taken = taken(&room, request, |request| app.intake.otlp(request));
    taken
        .await
        .map_or_else(|refused| refused, |it| it.map(Body::from))
}

/// `POST /opentelemetry.proto.collector.metrics.v1.MetricsService/Export`, a call of gRPC.
pub(crate) async fn otlp_call(
    State(app): State<App>,
    Extension(room): Extension<Arc<Room>>,
    request: Request,
) -> Response {
    match taken(&room, request, |request| app.intake.otlp_call(request)).await {
        Ok(answer) => grpc::answered(answer),
        Err(refused) => grpc::refused(refused.status()),
    }
}

/// `POST /api/v1/import`.
pub(crate) async fn import(
    State(app): State<App>,
    Extension(room): Extension<Arc<Room>>,
    request: Request,
) -> Response {
    let taken = taken(&room, request, |request| app.upkeep.import(request));
    taken
        .await
        .map_or_else(|refused| refused, |it| it.map(Body::from))
}

/// What `take` answers, if there is a place and the body arrives.
async fn taken<'a>(
    room: &Room,
    request: Request,
    take: impl FnOnce(axum::http::Request<Bytes>) -> BoxFuture<'a, axum::http::Response<Bytes>>,
) -> Result<axum::http::Response<Bytes>, Response> {
    let Some(_place) = room.place().await else {
        return Err(busy());
    };
    Ok(take(whole(request, ARRIVE_WITHIN).await?).await)
}

/// The request with its whole body, if that arrives in time.
async fn whole(request: Request, within: Duration) -> Result<axum::http::Request<Bytes>, Response> {
    let headers = request.headers().clone();
    let arriving = timeout(within, Bytes::from_request(request, &()));
    let body = arriving.await.map_err(|_| {
        let what = format!("the body did not arrive within {} s", within.as_secs());
        (StatusCode::REQUEST_TIMEOUT, what).into_response()
    })?;
    let body = body.map_err(|refused| {
        let what = refused.body_text();
        let what = format!("{what}: a body may have {BODY_BYTES_MAX} bytes, send smaller batches");
        (refused.status(), what).into_response()
    })?;
    let mut whole = axum::http::Request::new(body);
    *whole.headers_mut() = headers;
    Ok(whole)
}

fn busy() -> Response {
    let what = format!("too many requests are being written: try again in {RETRY_AFTER_SECS} s");
    let mut response = (StatusCode::TOO_MANY_REQUESTS, what).into_response();
    let retry = HeaderValue::from(RETRY_AFTER_SECS);
    response.headers_mut().insert(header::RETRY_AFTER, retry);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_request_too_many_hears_when_to_come_back() {
        let room = Room {
            inside: Semaphore::new(1),
            waiting: Semaphore::new(0),
        };
        let place = room.place().await;
        assert!(place.is_some() && room.place().await.is_none());
        drop(place);
        assert!(room.place().await.is_some());
        let response = busy();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], "5");
    }

    #[tokio::test]
    async fn a_sender_that_is_too_slow_or_sends_too_much_gives_its_place_up() {
        let pending = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
        let silent = Request::new(Body::from_stream(pending));
        let refused = whole(silent, Duration::ZERO).await.unwrap_err();
        assert_eq!(refused.status(), StatusCode::REQUEST_TIMEOUT);
        // Without the layer of the routes, axum's own limit holds: 2 MB.
        let large = Request::new(Body::from(vec![0; 3 << 20]));
        let refused = whole(large, ARRIVE_WITHIN).await.unwrap_err();
        assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }
}
