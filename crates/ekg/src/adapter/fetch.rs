//! One request to one target.
//!
//! Guarantees: bounded in time and in bytes, packed and unpacked; redirects are followed only where that is asked
//! for, at most [`REDIRECTS_MAX`] of them, and never with the credentials to another host or out of TLS. Formats are offered as
//! Prometheus offers them.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::{Client, connect::HttpConnector};

use super::credentials::{Credentials, CredentialsError};
use crate::{
    gzip::{self, GzipError},
    protobuf,
    text::{self, Exposition, TextError, TextLimits},
    wire::WireError,
};

pub(super) type HttpClient = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;
/// One whose requests have bodies.
pub(super) type SendClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Redirects of one request that are followed.
const REDIRECTS_MAX: usize = 10;

/// How targets are asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Asking {
    /// Formats, the most wanted first.
    pub formats: Vec<Format>,
    /// Whether a packed answer is taken.
    pub gzip: bool,
    /// Whether redirects are followed.
    pub redirects: bool,
    /// Who asks.
    pub credentials: Option<Credentials>,
}

impl Default for Asking {
    /// The text formats, packed if the target likes, without redirects and credentials.
    fn default() -> Self {
        Self {
            formats: vec![
                Format::OpenMetrics1,
                Format::OpenMetrics0,
                Format::Text1,
                Format::Text0,
            ],
            gzip: true,
            redirects: false,
            credentials: None,
        }
    }
}

/// A format of `scrape_protocols`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
pub enum Format {
    /// The protobuf exposition format.
    #[serde(rename = "PrometheusProto")]
    Protobuf,
    /// OpenMetrics 1.0.
    #[serde(rename = "OpenMetricsText1.0.0")]
    OpenMetrics1,
    /// OpenMetrics before it was 1.0.
    #[serde(rename = "OpenMetricsText0.0.1")]
    OpenMetrics0,
    /// The text format with names of any characters.
    #[serde(rename = "PrometheusText1.0.0")]
    Text1,
    /// The text format.
    #[serde(rename = "PrometheusText0.0.4")]
    Text0,
}

impl Format {
    fn media_type(self) -> &'static str {
        match self {
            Self::Protobuf => {
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
            }
            Self::OpenMetrics1 => "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8",
            Self::OpenMetrics0 => "application/openmetrics-text;version=0.0.1",
            Self::Text1 => "text/plain;version=1.0.0;escaping=allow-utf-8",
            Self::Text0 => "text/plain;version=0.0.4",
        }
    }
}

impl Asking {
    /// The value of `Accept`: each format with its weight, and anything as the last resort.
    fn accept(&self) -> String {
        let count = self.formats.len();
        let weighted = self.formats.iter().enumerate();
        let mut accept: Vec<String> = weighted
            .map(|(at, format)| format!("{};q=0.{}", format.media_type(), (count - at + 1).min(9)))
            .collect();
        accept.push("*/*;q=0.1".to_owned());
        accept.join(",")
    }

    /// What a request for metrics says beside who asks.
    pub(super) fn headers(&self, deadline: Duration) -> Result<HeaderMap, http::Error> {
        let deadline = deadline.as_secs_f64().to_string();
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_str(&self.accept())?);
        let scrape_timeout = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");
        headers.insert(scrape_timeout, HeaderValue::from_str(&deadline)?);
        Ok(headers)
    }
}

/// Why a scrape gave nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScrapeError {
    /// No whole answer in time.
    #[error("no whole answer within {within_ms} ms")]
    Deadline {
        /// The deadline.
        within_ms: u64,
    },
    /// Nothing to say who asks with.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The request could not be built.
    #[error("not a request: {0}")]
    Request(#[from] http::Error),
    /// Nobody answered.
    #[error("no connection: {0}")]
    Connect(#[from] hyper_util::client::legacy::Error),
    /// An answer other than 200.
    #[error("answered {0}, not 200")]
    Status(u16),
    /// A redirect to nowhere, to too many places, or to another scheme.
    #[error("redirected to `{0}`, which is not followed")]
    Redirect(String),
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

/// A body and the format it is in.
pub(super) struct Answer {
    pub(super) body: Bytes,
    pub(super) content_type: String,
}

/// Why a body says nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("not the text format: {0}")]
    Text(#[source] TextError),
    #[error("not OpenMetrics: {0}")]
    OpenMetrics(#[source] TextError),
    #[error("not the protobuf format: {0}")]
    Protobuf(#[source] WireError),
}

impl Answer {
    /// Reads the body in the format that its content type names; the text format where it names none.
    pub(super) fn read(&self, limits: &TextLimits) -> Result<Exposition<'_>, BodyError> {
        let media = self.content_type.split(';').next().unwrap_or("").trim();
        if media.eq_ignore_ascii_case("application/openmetrics-text") {
            text::scan_openmetrics(&self.body, limits).map_err(BodyError::OpenMetrics)
        } else if media.eq_ignore_ascii_case(protobuf::MEDIA_TYPE) {
            protobuf::scan(&self.body, limits).map_err(BodyError::Protobuf)
        } else {
            text::scan(&self.body, limits).map_err(BodyError::Text)
        }
    }
}

/// What is asked, and how much of an answer is taken.
pub(super) struct Ask<'a> {
    pub(super) url: &'a Uri,
    pub(super) headers: HeaderMap,
    pub(super) credentials: Option<&'a Credentials>,
    pub(super) gzip: bool,
    pub(super) redirects: bool,
    pub(super) body_bytes: usize,
}

impl Ask<'_> {
    pub(super) async fn fetch(&self, client: &HttpClient) -> Result<Answer, ScrapeError> {
        let mut url = self.url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let request = self.request(&url).await?;
            let response = client.request(request).await?;
            match response.status() {
                StatusCode::OK => return self.taken(response).await,
                status if self.redirects && status.is_redirection() => {
                    url = redirected(&url, response.headers())?;
                }
                status => return Err(ScrapeError::Status(status.as_u16())),
            }
        }
        Err(ScrapeError::Redirect(url.to_string()))
    }

    async fn request(&self, url: &Uri) -> Result<Request<Empty<Bytes>>, ScrapeError> {
        let encoding = if self.gzip { "gzip" } else { "identity" };
        let agent = concat!("Mainstay/", env!("CARGO_PKG_VERSION"));
        let mut request = Request::get(url)
            .header(header::ACCEPT_ENCODING, encoding)
            .header(header::USER_AGENT, agent)
            .body(Empty::new())?;
        request.headers_mut().extend(self.headers.clone());
        let is_asked_for =
            url.authority() == self.url.authority() && url.scheme() == self.url.scheme();
        if let Some(credentials) = self.credentials.filter(|_| is_asked_for) {
            let value = credentials.header().await?;
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        Ok(request)
    }

    async fn taken(&self, response: Response<Incoming>) -> Result<Answer, ScrapeError> {
        let value = |name| {
            let value = response
                .headers()
                .get(name)
                .and_then(|it: &HeaderValue| it.to_str().ok());
            value.unwrap_or("").to_owned()
        };
        let content_type = value(header::CONTENT_TYPE);
        let packed = match value(header::CONTENT_ENCODING).as_str() {
            "" | "identity" => false,
            "gzip" if self.gzip => true,
            _ => return Err(ScrapeError::Encoding),
        };
        let limit = self.body_bytes;
        let body = Limited::new(response.into_body(), limit).collect();
        let body = body.await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                ScrapeError::TooLong { limit }
            } else {
                ScrapeError::Body(error)
            }
        })?;
        let body = body.to_bytes();
        Ok(Answer {
            body: if packed {
                unpacked(&body, limit)?
            } else {
                body
            },
            content_type,
        })
    }
}

/// Unpacks up to the limit; one byte more is too much.
fn unpacked(body: &[u8], limit: usize) -> Result<Bytes, ScrapeError> {
    match gzip::unpack(body, limit) {
        Ok(plain) => Ok(plain.into()),
        Err(GzipError::TooLong { limit }) => Err(ScrapeError::TooLong { limit }),
        Err(GzipError::Broken(error)) => Err(ScrapeError::Body(error.into())),
    }
}

fn redirected(from: &Uri, headers: &HeaderMap) -> Result<Uri, ScrapeError> {
    let location = headers
        .get(header::LOCATION)
        .and_then(|value| value.to_str().ok());
    let location = location.unwrap_or("");
    let wrong = || ScrapeError::Redirect(location.chars().take(200).collect());
    let to: Uri = location.parse().map_err(|_| wrong())?;
    let mut parts = to.into_parts();
    if parts.authority.is_none() {
        parts.scheme = from.scheme().cloned();
        parts.authority = from.authority().cloned();
    }
    let to = Uri::from_parts(parts).map_err(|_| wrong())?;
    if !matches!(to.scheme_str(), Some("http" | "https")) || !to.path().starts_with('/') {
        return Err(wrong());
    }
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_offered_in_order_and_anything_last() {
        assert_eq!(
            Asking::default().accept(),
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
             application/openmetrics-text;version=0.0.1;q=0.4,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
        );
    }

    #[test]
    fn a_redirect_stays_on_the_web() {
        let from: Uri = "http://a:1/metrics".parse().unwrap();
        let to = |location: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::LOCATION, location.parse().unwrap());
            redirected(&from, &headers).map(|uri| uri.to_string()).ok()
        };
        assert_eq!(to("/other"), Some("http://a:1/other".to_owned()));
        for other in ["http://b/x", "https://b/x"] {
            assert_eq!(to(other), Some(other.to_owned()));
        }
        for wrong in ["", "file:///etc/passwd", "relative"] {
            assert_eq!(to(wrong), None, "{wrong}");
        }
    }
}
