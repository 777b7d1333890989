//! Takes what others send: remote write and OTLP, in requests and answers of HTTP, and calls of gRPC.
//!
//! Guarantees: a request is read whole before any of it is written; 2xx is answered only when every sample that
//! it counts as written is durable, and it counts what was refused and says why, in remote write with 400, in OTLP as
//! a partial success. While samples cannot be kept the answer is 503, with when to come again. Unpacking and decoding happen on a
//! thread that may block. Never reads from a connection: whoever does has bounded the body.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use mainstay_core::{Time, ports::Clock};
use tokio::task::spawn_blocking;

use super::{
    Remotes, WriteError, Writer,
    received::{Received, Way},
};
use crate::{
    delivery::{Delivery, Refused},
    gzip::GzipError,
    metadata::Metadata,
    otlp::{self, Encoding, FrameError, OtlpSettings, Outcome, Status},
    parcel::Parcel,
    write::{BodyError, Protocol, decode, unpacked},
};

/// Histograms written at once, so that nobody else waits for the whole of a large request.
const BATCH_HISTOGRAMS: usize = 1_000;
/// When a sender shall try again whose samples cannot be kept at the moment, in seconds.
const NOT_DURABLE_RETRY_SECS: u64 = 1;
/// When one that has sent more than its share.
const OVER_LIMIT_RETRY_SECS: u64 = 15;

/// Writes what is sent.
#[derive(Clone)]
pub struct Intake {
    writer: Writer,
    clock: Arc<dyn Clock>,
    metadata: Metadata,
    received: Received,
    settings: Arc<OtlpSettings>,
    /// Locked only on threads that may block.
    deltas: Arc<Mutex<otlp::Deltas>>,
    /// Who is sent what comes in.
    remotes: Remotes,
}

impl Intake {
    /// One that writes through `writer`, and keeps in `metadata` what is said of metrics.
    pub fn new(
        writer: Writer,
        clock: Arc<dyn Clock>,
        metadata: Metadata,
        settings: OtlpSettings,
    ) -> Self {
        Self {
            writer,
            clock,
            metadata,
            received: Received::default(),
            settings: Arc::new(settings),
            deltas: Arc::default(),
            remotes: Remotes::default(),
        }
    }

    /// The same, whose answers promise that `remotes` are sent what came in.
    #[must_use]
    pub fn sent_on(self, remotes: Remotes) -> Self {
        Self { remotes, ..self }
    }

    /// What came in so far.
    pub fn received(&self) -> &Received {
        &self.received
    }

    /// `POST /api/v1/write`: remote write 1.0 and 2.0.
    pub async fn remote_write(&self, request: Request<Bytes>) -> Response<Bytes> {
        let (parts, body) = request.into_parts();
        let content = text(&parts.headers, header::CONTENT_TYPE);
        let encoding = text(&parts.headers, header::CONTENT_ENCODING);
        let protocol = match Protocol::of(content, encoding) {
            Ok(protocol) => protocol,
            Err(error) => return plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, &error.to_string()),
        };
        let now = self.clock.now();
        let delivery = Delivery::new(now, self.metadata.clone());
        let delivery = match spawn_blocking(move || read(protocol, &body, delivery)).await {
            Ok(Ok(delivery)) => delivery,
            Ok(Err(error)) => return plain(refusal(&error), &error.to_string()),
            Err(error) => {
                return plain(StatusCode::INTERNAL_SERVER_ERROR, log_death(&error));
            }
        };
        let way = match protocol {
            Protocol::V1 => Way::RemoteWrite1,
            Protocol::V2 => Way::RemoteWrite2,
        };
        match self.write(way, now, delivery).await {
            Ok((written, refused)) => answer(written, &refused),
            Err(why) => later(
                plain(StatusCode::SERVICE_UNAVAILABLE, &why.to_string()),
                NOT_DURABLE_RETRY_SECS,
            ),
        }
    }

    /// `POST /api/v1/otlp/v1/metrics`: OTLP in protobuf or JSON.
    pub async fn otlp(&self, request: Request<Bytes>) -> Response<Bytes> {
        let (parts, body) = request.into_parts();
        let content = text(&parts.headers, header::CONTENT_TYPE);
        let encoding = text(&parts.headers, header::CONTENT_ENCODING);
        let (encoding, packed) = match Encoding::of(content, encoding) {
            Ok(spoken) => spoken,
            Err(error) => return plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, &error.to_string()),
        };
        match self.export(encoding, packed, body).await {
            Ok(answer) => typed(StatusCode::OK, encoding.media(), answer),
            Err((code, why)) => {
                let body = code.body(encoding, &why);
                let response = typed(otlp_refusal(code), encoding.media(), body);
                match code {
                    Status::Unavailable => later(response, NOT_DURABLE_RETRY_SECS),
                    Status::OverLimit => later(response, OVER_LIMIT_RETRY_SECS),
                    _ => response,
                }
            }
        }
    }

    /// `MetricsService/Export` of OTLP over gRPC. How the call ended is in the answer's headers, as if it had no
    /// message; whoever sends one moves them behind it.
    pub async fn otlp_call(&self, request: Request<Bytes>) -> Response<Bytes> {
        let (parts, body) = request.into_parts();
        let encoding = text(&parts.headers, HeaderName::from_static("grpc-encoding"));
        let framed = otlp::unframe(&body, encoding);
        let framed = framed.map(|(message, packed)| (body.slice_ref(message), packed));
        let exported = match framed {
            Ok((message, packed)) => self.export(Encoding::Protobuf, packed, message).await,
            Err(error @ FrameError::Unsaid) => Err((Status::Unimplemented, error.to_string())),
            Err(error) => Err((Status::InvalidArgument, error.to_string())),
        };
        let (body, code, why) = match exported {
            Ok(answer) => (otlp::frame(&answer), 0, String::new()),
            Err((code, why)) => (Vec::new(), code.number(), why),
        };
        let mut response = typed(StatusCode::OK, "application/grpc", body);
        let headers = response.headers_mut();
        headers.insert("grpc-status", HeaderValue::from(code));
        if let Ok(why) = HeaderValue::try_from(otlp::percent_encoded(&why)) {
            headers.insert("grpc-message", why);
        }
        response
    }

    /// Writes a message of OTLP; the answer, or how and why it failed.
    async fn export(
        &self,
        encoding: Encoding,
        packed: bool,
        body: Bytes,
    ) -> Result<Vec<u8>, (Status, String)> {
        let now = self.clock.now();
        let delivery = Delivery::new(now, self.metadata.clone());
        let (settings, deltas) = (Arc::clone(&self.settings), Arc::clone(&self.deltas));
        let translated = spawn_blocking(move || {
            let message = otlp::unpack(&body, packed)?;
            let request = otlp::decode(encoding, &message)?;
            let mut deltas = deltas.lock().unwrap_or_else(PoisonError::into_inner);
            let mut delivery = delivery;
            let outcome = otlp::translate(&request, &settings, &mut deltas, &mut delivery);
            Ok((delivery, outcome))
        });
        let translated = translated
            .await
            .map_err(|error| (Status::Internal, log_death(&error).to_owned()))?;
        let (delivery, outcome) =
            translated.map_err(|error| (otlp_status(&error), error.to_string()))?;
        let before = delivery.refused.total();
        let written = self.write(Way::Otlp, now, delivery).await;
        let (_, refused) = written.map_err(|why| (Status::Unavailable, why.to_string()))?;
        if refused.is_over_limit() {
            return Err((Status::OverLimit, refused.text()));
        }
        let rejected = rejected(outcome, refused.total() - before);
        Ok(otlp::partial(encoding, rejected, &refused.text()))
    }

    /// Writes a delivery; what was written, and what was refused of it.
    async fn write(
        &self,
        way: Way,
        now: Time,
        delivery: Delivery,
    ) -> Result<(Written, Refused), WriteError> {
        let Delivery {
            samples,
            histograms,
            mut refused,
            exemplars,
            ..
        } = delivery;
        let mut written = Written {
            histograms: histograms.len() as u64,
            ..Written::default()
        };
        let parcels = samples.finish();
        let oldest_ms = parcels.iter().filter_map(Parcel::oldest_ms).min();
        // All are on their way before the first is waited for: they become durable together.
        let mut pending = Vec::new();
        for parcel in parcels {
            written.samples += parcel.samples() as u64;
            pending.push(self.writer.append_durably(now, parcel).await?);
        }
        let mut rest = histograms.into_iter();
        let mut pending_histograms = Vec::new();
        loop {
            let batch: Vec<_> = rest.by_ref().take(BATCH_HISTOGRAMS).collect();
            if batch.is_empty() {
                break;
            }
            let sent = self.writer.append_histograms_durably(now, batch).await?;
            pending_histograms.push(sent);
        }
        for batch in pending {
            let more = batch.written().await?;
            written.samples = written.samples.saturating_sub(more.total());
            refused.add_all(&more);
        }
        for batch in pending_histograms {
            let more = batch.written().await?;
            written.histograms = written.histograms.saturating_sub(more.total());
            refused.add_all(&more);
        }
        if let Some(oldest_ms) = oldest_ms {
            let covered = self.remotes.cover(oldest_ms).await;
            covered.map_err(|error| WriteError::NotSentOn(error.to_string()))?;
        }
        let all = written.samples + written.histograms;
        self.received.count(way, all, &refused);
        let mut lost = Refused::default();
        for (series, exemplar, sample_ms) in &exemplars {
            match self.writer.exemplars().add(series, exemplar, *sample_ms) {
                Ok(true) => written.exemplars += 1,
                Ok(false) => {}
                Err(_) => lost.add("exemplars", 1, String::new),
            }
        }
        self.received.count(way, 0, &lost);
        Ok((written, refused))
    }
}

/// What was written of a delivery.
#[derive(Clone, Copy, Debug, Default)]
struct Written {
    samples: u64,
    histograms: u64,
    exemplars: u64,
}

fn read(protocol: Protocol, body: &[u8], mut delivery: Delivery) -> Result<Delivery, BodyError> {
    unpacked(body, |message| decode(protocol, message, &mut delivery))?;
    Ok(delivery)
}

pub(super) fn refusal(error: &BodyError) -> StatusCode {
    match error {
        BodyError::TooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        BodyError::Snappy(_) | BodyError::Message(_) => StatusCode::BAD_REQUEST,
    }
}

fn otlp_status(error: &otlp::BodyError) -> Status {
    use otlp::BodyError::{Gzip, Json, Protobuf, TooMuch};
    match error {
        Gzip(GzipError::TooLong { .. }) | TooMuch { .. } => Status::ResourceExhausted,
        Gzip(GzipError::Broken(_)) | Json(_) | Protobuf(_) => Status::InvalidArgument,
    }
}

fn otlp_refusal(code: Status) -> StatusCode {
    match code {
        Status::InvalidArgument => StatusCode::BAD_REQUEST,
        Status::ResourceExhausted => StatusCode::PAYLOAD_TOO_LARGE,
        Status::OverLimit => StatusCode::TOO_MANY_REQUESTS,
        Status::Unimplemented => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Status::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        Status::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// How many points were refused: the engine counts samples, of which a histogram has many.
fn rejected(outcome: Outcome, samples: u64) -> u64 {
    outcome.points.min(outcome.rejected + samples)
}

/// Says what was written, in the headers of remote write 2.0, which do no harm to a sender of 1.0. An exemplar that is
/// refused is told by its header only, as Prometheus does: no sender is stopped for it.
fn answer(written: Written, refused: &Refused) -> Response<Bytes> {
    let text = || {
        let (count, refused) = (written.samples + written.histograms, refused.text());
        format!("{count} samples are written, others are refused: {refused}")
    };
    let mut response = if refused.total() == 0 {
        plain(StatusCode::NO_CONTENT, "")
    } else if refused.is_over_limit() {
        // What is written already does no harm when it comes again.
        later(
            plain(StatusCode::TOO_MANY_REQUESTS, &text()),
            OVER_LIMIT_RETRY_SECS,
        )
    } else {
        plain(StatusCode::BAD_REQUEST, &text())
    };
    for (of, count) in [
        ("samples", written.samples),
        ("histograms", written.histograms),
        ("exemplars", written.exemplars),
    ] {
        let name = format!("x-prometheus-remote-write-{of}-written");
        if let Ok(name) = HeaderName::try_from(name) {
            response
                .headers_mut()
                .insert(name, HeaderValue::from(count));
        }
    }
    response
}

pub(super) fn text(headers: &HeaderMap, name: HeaderName) -> &str {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or("")
}

fn plain(status: StatusCode, text: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::copy_from_slice(text.as_bytes()));
    *response.status_mut() = status;
    if !text.is_empty() {
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, plain);
    }
    response
}

pub(super) fn typed(status: StatusCode, media: &'static str, body: Vec<u8>) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let media = HeaderValue::from_static(media);
    response.headers_mut().insert(header::CONTENT_TYPE, media);
    response
}

/// What the sender is told.
fn log_death(error: &tokio::task::JoinError) -> &'static str {
    tracing::error!(%error, "reading what was sent died");
    "reading the request died; the server's log says how"
}

/// Not everything is durable: a sender tries again, and what is there already does no harm.
fn later(mut response: Response<Bytes>, secs: u64) -> Response<Bytes> {
    let when = HeaderValue::from(secs);
    response.headers_mut().insert(header::RETRY_AFTER, when);
    response
}
