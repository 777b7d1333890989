//! A request of the router's own to one instance, and its answer: a health check, or a probe of a rollout.
//!
//! Guarantees: it says whose it is, and how long it may take; no more than [`ANSWER_BYTES_MAX`] of an answer are
//! read. Never counts as a user's request.

use std::{future::poll_fn, pin::Pin, task::Poll};

use http::{Method, Request, request, response};
use hyper::body::Body as _;
use mainstay_core::probe::{PROBE_HEADER, ProbeMethod, ProbeSpec};
use tokio::time::Instant;

use super::upstream::{Unanswered, Upload, Upstream};

/// Bytes of an answer that are read; the connection of one that says more is not used again.
const ANSWER_BYTES_MAX: usize = 64 * 1_024;

/// How much of an answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    Whole,
    /// More than is read.
    Enough,
    /// The connection broke within it.
    Part,
}

/// What each of the router's own requests to `address` says.
pub(crate) fn request(method: Method, path: &str, address: &str, end: Instant) -> request::Builder {
    let left = end.saturating_duration_since(Instant::now()).as_millis() as u64;
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", address)
        .header("user-agent", "mainstay-router")
        .header(crate::DEADLINE_HEADER, left)
}

/// A probe, tagged with what it is sent for; `None` where it cannot be a request.
pub(crate) fn probe(
    probe: &ProbeSpec,
    tag: &str,
    address: &str,
    end: Instant,
) -> Option<Request<Upload>> {
    let method = match probe.method {
        ProbeMethod::Get => Method::GET,
        ProbeMethod::Head => Method::HEAD,
    };
    let mut builder = request(method, &probe.path, address, end).header(PROBE_HEADER, tag);
    for (name, value) in &probe.headers {
        builder = builder.header(name, value);
    }
    builder.body(Upload::Empty).ok()
}

/// Asks on `upstream`, and reads the answer until `end`.
pub(crate) async fn ask(
    upstream: &mut Upstream,
    request: Request<Upload>,
    end: Instant,
) -> Result<(response::Parts, Came), Unanswered> {
    let response = upstream.exchange(request, Some(end)).await?;
    let (parts, mut body) = response.into_parts();
    let mut taken = 0;
    let came = poll_fn(|cx| {
        loop {
            upstream.drive(cx);
            match Pin::new(&mut body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    taken += frame.data_ref().map_or(0, bytes::Bytes::len);
                    if taken > ANSWER_BYTES_MAX {
                        return Poll::Ready(Came::Enough);
                    }
                }
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Came::Part),
                Poll::Ready(None) => return Poll::Ready(Came::Whole),
                Poll::Pending if upstream.is_late(cx) => return Poll::Ready(Came::Part),
                Poll::Pending => return Poll::Pending,
            }
        }
    });
    Ok((parts, came.await))
}
