//! `POST /api/v1/read`: samples for another Prometheus, in one message or in frames. `GET /api/v1/export`: a file of them.
//!
//! Guarantees: an answer in frames is sent as it is read, at most [`FRAMES_WAITING_MAX`] of them ahead of the client;
//! one that takes nothing for [`TAKE_WITHIN`], or has gone, ends the reading. It counts as a query among those that
//! compute at once. An answer that breaks after its beginning ends without its last chunk, so that no client takes it
//! for whole.
//!
//! ```text
//! remote_read: [{url: http://127.0.0.1:7070/api/v1/read, read_recent: true}]     # in prometheus.yml
//! ```

use std::{io, sync::Arc, time::Duration};

use axum::{
    Extension,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures_util::stream;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, mpsc, oneshot},
    task::{JoinHandle, spawn_blocking},
    time::timeout,
};

use super::params::{Params, Wrong};
use crate::{App, Window, own::Own};

/// Frames, of 1 MiB at most, that wait for a client.
const FRAMES_WAITING_MAX: usize = 4;
/// How long a client may leave a frame untaken.
const TAKE_WITHIN: Duration = Duration::from_secs(30);

/// A request that was understood, to be answered.
pub trait Reading: Send {
    /// Whether the answer comes in frames.
    fn is_streamed(&self) -> bool;
    /// Gives the answer piece by piece; `take` says whether to go on. Says in a sentence why it did not end.
    fn read(&self, take: &mut dyn FnMut(Vec<u8>) -> bool) -> Result<(), String>;
}

/// What comes before the pieces: how they come, or why they do not.
type Head = Result<bool, (StatusCode, String)>;

/// `POST /api/v1/read`.
pub(crate) async fn remote_read(
    State(app): State<App>,
    Extension(own): Extension<Arc<Own>>,
    body: Bytes,
) -> Response {
    let Some(permit) = own.query_permit() else {
        return super::too_many(&own);
    };
    let (said, head) = oneshot::channel();
    let (pieces, taken) = mpsc::channel(FRAMES_WAITING_MAX);
    let begin = move || app.queries.remote_read(&body);
    let reading = spawn_blocking(move || read(begin, permit, (said, pieces)));
    let refused = |status: StatusCode, why: String| (status, why + "\n").into_response();
    match head.await {
        Ok(Ok(true)) => {
            let kind = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
            answer(kind, taken, reading)
        }
        Ok(Ok(false)) => {
            let mut response = answer("application/x-protobuf", taken, reading);
            let snappy = HeaderValue::from_static("snappy");
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_ENCODING, snappy);
            response
        }
        Ok(Err((status, why))) => refused(status, why),
        Err(_) => {
            tracing::error!("a remote read died");
            let what = "the reading died; the server's log says how";
            refused(StatusCode::INTERNAL_SERVER_ERROR, what.to_owned())
        }
    }
}

/// `GET /api/v1/export`: samples of a window, as a file.
pub(crate) async fn export(
    State(app): State<App>,
    Extension(own): Extension<Arc<Own>>,
    params: Params,
) -> Result<Response, Wrong> {
    match params.text("format") {
        "" | "parquet" => {}
        other => {
            let why = format!("{other:?} is no format of files; there is \"parquet\"");
            return Err(Wrong::parameter("format", why));
        }
    }
    let selectors = params.selectors()?.into_iter().map(str::to_owned);
    let selectors: Vec<String> = selectors.collect();
    if selectors.is_empty() {
        return Err(Wrong::new("no match[] parameter provided"));
    }
    let start = params.needed_time("start")?;
    let end = params.time("end", app.clock.now())?;
    if end < start {
        return Err(Wrong::parameter("end", "it is before the start"));
    }
    let Some(permit) = own.query_permit() else {
        return Ok(super::too_many(&own));
    };
    let (said, head) = oneshot::channel();
    let (pieces, taken) = mpsc::channel(FRAMES_WAITING_MAX);
    let begin = move || {
        let selectors: Vec<&str> = selectors.iter().map(String::as_str).collect();
        app.queries.export(&selectors, Window { start, end })
    };
    let reading = spawn_blocking(move || read(begin, permit, (said, pieces)));
    match head.await {
        Ok(Ok(_)) => Ok(answer("application/vnd.apache.parquet", taken, reading)),
        Ok(Err((_, why))) => Err(Wrong::new(why)),
        Err(_) => {
            tracing::error!("an export died");
            let what = "the export died; the server's log says how";
            Ok((StatusCode::INTERNAL_SERVER_ERROR, what).into_response())
        }
    }
}

/// A body of pieces that ends, or breaks, as the reading does.
fn answer(
    kind: &'static str,
    taken: mpsc::Receiver<io::Result<Vec<u8>>>,
    reading: JoinHandle<()>,
) -> Response {
    let pieces = stream::unfold(Some((taken, reading)), async |state| {
        let (mut taken, reading) = state?;
        if let Some(piece) = taken.recv().await {
            return Some((piece, Some((taken, reading))));
        }
        let died = reading.await.err()?;
        tracing::error!(error = %died, "a remote read died");
        Some((Err(io::Error::other("the reading died")), None))
    });
    ([(header::CONTENT_TYPE, kind)], Body::from_stream(pieces)).into_response()
}

/// Reads, on a thread that may block.
fn read(
    begin: impl FnOnce() -> Result<Box<dyn Reading>, String>,
    _permit: OwnedSemaphorePermit,
    (said, pieces): (oneshot::Sender<Head>, mpsc::Sender<io::Result<Vec<u8>>>),
) {
    let reading = match begin() {
        Ok(reading) => reading,
        Err(why) => {
            // Who asked has gone if nobody hears it.
            let _ = said.send(Err((StatusCode::BAD_REQUEST, why)));
            return;
        }
    };
    let waits = Handle::current();
    let give = |piece: io::Result<Vec<u8>>| {
        let given = waits.block_on(timeout(TAKE_WITHIN, pieces.send(piece)));
        given.is_ok_and(|sent| sent.is_ok())
    };
    if !reading.is_streamed() {
        let mut whole = Vec::new();
        let read = reading.read(&mut |piece| {
            whole.extend(piece);
            true
        });
        let head = match read {
            Ok(()) => Ok(false),
            Err(why) => Err((StatusCode::BAD_REQUEST, why)),
        };
        if said.send(head).is_ok() {
            give(Ok(whole));
        }
        return;
    }
    if said.send(Ok(true)).is_err() {
        return;
    }
    if let Err(why) = reading.read(&mut |piece| give(Ok(piece))) {
        tracing::warn!(why, "an answer of samples was cut off");
        give(Err(io::Error::other(why)));
    }
}
