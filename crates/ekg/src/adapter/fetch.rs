//! One request to one target.
//!
//! Guarantees: bounded in time and in bytes; redirects are not followed, compression is not asked for and
//! not accepted.

use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper_util::client::legacy::{Client, connect::HttpConnector};

pub(super) type HttpClient = Client<HttpConnector, Empty<Bytes>>;

/// Why a scrape gave nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScrapeError {
    /// No whole answer in time.
    #[error("no whole answer within {within_ms} ms")]
    Deadline {
        /// The deadline.
        within_ms: u64,
    },
    /// The request could not be built.
    #[error("not a request: {0}")]
    Request(#[from] http::Error),
    /// Nobody answered.
    #[error("no connection: {0}")]
    Connect(#[from] hyper_util::client::legacy::Error),
    /// An answer other than 200.
    #[error("answered {0}, not 200")]
    Status(u16),
    /// A content encoding nobody asked for.
    #[error("answered in an encoding that was not asked for")]
    Encoding,
    /// The body is too long.
    #[error("the body is over the limit of {limit} bytes")]
    TooLong {
        /// The limit.
        limit: usize,
    },
    /// The body broke off.
    #[error("the body broke off: {0}")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
}

pub(super) async fn fetch(
    client: &HttpClient,
    url: &Uri,
    body_bytes: usize,
) -> Result<Bytes, ScrapeError> {
    let request = Request::get(url)
        .header(header::ACCEPT, "text/plain;version=0.0.4")
        .header(header::ACCEPT_ENCODING, "identity")
        .body(Empty::new())?;
    let response = client.request(request).await?;
    if response.status() != http::StatusCode::OK {
        return Err(ScrapeError::Status(response.status().as_u16()));
    }
    let encoding = response.headers().get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| encoding != "identity") {
        return Err(ScrapeError::Encoding);
    }
    let body = Limited::new(response.into_body(), body_bytes).collect();
    let body = body.await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            ScrapeError::TooLong { limit: body_bytes }
        } else {
            ScrapeError::Body(error)
        }
    })?;
    Ok(body.to_bytes())
}
