//! How a call of gRPC ends over HTTP: with its status behind the message, or alone where there is none.
//!
//! Guarantees: a client of gRPC hears a status of gRPC, whatever ended its call.

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use http_body_util::{BodyExt as _, Full};

use crate::problem::Problem;

/// Where the outcome of a call is.
const STATUS: &str = "grpc-status";
/// Why it failed.
const MESSAGE: &str = "grpc-message";
/// What is wrong with the message.
const INVALID_ARGUMENT: u16 = 3;
/// It took too long.
const DEADLINE_EXCEEDED: u16 = 4;
/// It is more than is taken.
const RESOURCE_EXHAUSTED: u16 = 8;
/// A service, or a method, that is not here.
const UNIMPLEMENTED: u16 = 12;
/// To be tried again.
const UNAVAILABLE: u16 = 14;
/// A text in an answer that is not ours to shorten is cut here.
const MESSAGE_BYTES_MAX: usize = 4_096;

/// Whoever knocks at a port of OTLP and wants something that is not behind it.
pub(crate) async fn not_here(request: Request) -> Response {
    let content = request.headers().get(header::CONTENT_TYPE);
    let is_call = content.is_some_and(|it| it.as_bytes().starts_with(b"application/grpc"));
    let path = request.uri().path();
    if is_call {
        let why = format!("no method `{path}` here: metrics are taken, by MetricsService/Export");
        return alone(UNIMPLEMENTED, &why);
    }
    let what = format!("nothing is at `{path}` of this port");
    let remedy = "send metrics to `/v1/metrics`; the API is on the server's own port";
    Problem::new(StatusCode::NOT_FOUND, "not-found", what, remedy).into_response()
}

/// The answer to a call that was refused before it was looked at: too many at once, or a message that did not come.
pub(crate) fn refused(status: StatusCode) -> Response {
    let (code, why) = match status {
        StatusCode::TOO_MANY_REQUESTS => (
            UNAVAILABLE,
            "too many requests are being written: try again in some seconds",
        ),
        StatusCode::PAYLOAD_TOO_LARGE => (
            RESOURCE_EXHAUSTED,
            "the message is too large: send smaller batches",
        ),
        StatusCode::REQUEST_TIMEOUT => (DEADLINE_EXCEEDED, "the message did not arrive in time"),
        _ => (INVALID_ARGUMENT, "the message did not arrive whole"),
    };
    alone(code, why)
}

/// A status without a message before it.
fn alone(code: u16, why: &str) -> Response {
    let mut response = Body::empty().into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    headers.insert(STATUS, HeaderValue::from(code));
    let printable = why.bytes().filter(|it| (b' '..=b'~').contains(it));
    let printable: Vec<u8> = printable.take(MESSAGE_BYTES_MAX).collect();
    if let Ok(why) = HeaderValue::from_bytes(&printable) {
        headers.insert(MESSAGE, why);
    }
    response
}

/// The answer of a call: a message is followed by the status.
pub(crate) fn answered(mut answer: axum::http::Response<Bytes>) -> Response {
    if answer.body().is_empty() {
        return answer.map(Body::from);
    }
    let mut behind = HeaderMap::new();
    for name in [STATUS, MESSAGE] {
        if let Some(value) = answer.headers_mut().remove(name) {
            behind.insert(name, value);
        }
    }
    answer.map(|message| Body::new(Full::new(message).with_trailers(async { Some(Ok(behind)) })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(message: &'static [u8]) -> axum::http::Response<Bytes> {
        let mut answer = axum::http::Response::new(Bytes::from_static(message));
        let headers = answer.headers_mut();
        headers.insert(STATUS, HeaderValue::from_static("0"));
        headers.insert("kept", HeaderValue::from_static("here"));
        answer
    }

    #[tokio::test]
    async fn the_status_follows_a_message_and_stands_alone_without_one() {
        let followed = answered(call(b"message"));
        assert!(!followed.headers().contains_key(STATUS));
        assert!(followed.headers().contains_key("kept"));
        let body = followed.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()[STATUS], "0");
        assert_eq!(body.to_bytes(), "message");
        assert_eq!(answered(call(b"")).headers()[STATUS], "0");
    }

    #[tokio::test]
    async fn whoever_calls_hears_of_a_refusal_what_to_do_with_it() {
        for (refusal, code) in [
            (StatusCode::TOO_MANY_REQUESTS, "14"),
            (StatusCode::PAYLOAD_TOO_LARGE, "8"),
            (StatusCode::REQUEST_TIMEOUT, "4"),
            (StatusCode::BAD_REQUEST, "3"),
        ] {
            let told = refused(refusal);
            assert_eq!(
                (told.status(), &told.headers()[STATUS]),
                (StatusCode::OK, &HeaderValue::from_static(code))
            );
        }
        let request =
            Request::post("/some.Service/Method").header("content-type", "application/grpc+proto");
        let told = not_here(request.body(Body::empty()).unwrap()).await;
        assert_eq!(told.headers()[STATUS], "12");
        let request = Request::post("/v1/traces").body(Body::empty()).unwrap();
        assert_eq!(not_here(request).await.status(), StatusCode::NOT_FOUND);
    }
}
