//! OTLP metrics, from a request to series, with the names and labels that Prometheus's receiver gives them.
//!
//! Guarantees: a message is read to its end or refused with its place; what it unpacks to, and what it becomes, is
//! bounded before any of it counts. Deltas become sums (see [`Deltas`]), exponential histograms native ones. What has
//! no place here is refused by name: deltas of what may sink, as a level is not known from its changes.
//!
//! ```
//! use mainstay_ekg::otlp::Encoding;
//! assert_eq!(Encoding::of("application/json; charset=utf-8", "gzip"), Ok((Encoding::Json, true)));
//! assert!(Encoding::of("text/plain", "").is_err());
//! ```

mod answer;
mod delta;
mod exponential;
mod grpc;
mod json;
mod message;
mod name;
mod origin;
mod protobuf;
mod translate;
mod value;

use std::borrow::Cow;

use serde::Deserialize;

use crate::{
    gzip::{self, GzipError},
    wire::WireError,
    write::{MESSAGE_BYTES_MAX, short},
};

pub(crate) use answer::{Status, partial};
pub(crate) use delta::Deltas;
pub(crate) use grpc::{FrameError, frame, percent_encoded, unframe};
pub(crate) use message::Request;
pub(crate) use translate::{Outcome, translate};

/// Messages within one message: far more than a sender's batch has, and a hundred megabytes in memory.
const OBJECTS_MAX: usize = 500_000;
/// Samples that one message may become.
const SAMPLES_MAX: usize = 500_000;
/// Bytes of labels of all these samples together.
const LABEL_BYTES_MAX: usize = 256 << 20;

/// Which labels series get beyond `job`, `instance` and their attributes, in the words of Prometheus's `otlp` section.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OtlpSettings {
    /// Attributes of the resource that every series gets.
    pub promote_resource_attributes: Vec<String>,
    /// Whether `target_info` says the attributes that `job` and `instance` are made of as well.
    pub keep_identifying_resource_attributes: bool,
    /// Whether series get `otel_scope_name`, `otel_scope_version`, `otel_scope_schema_url` and the scope's attributes.
    pub promote_scope_metadata: bool,
}

/// In what a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `application/x-protobuf`.
    Protobuf,
    /// `application/json`.
    Json,
}

/// A content type or encoding that is not spoken here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unspoken {
    /// Neither protobuf nor JSON.
    #[error(
        "the content type `{0}` is not spoken here; `application/x-protobuf` and `application/json` are"
    )]
    Type(String),
    /// Packed otherwise.
    #[error("the content encoding `{0}` is not spoken here; `gzip` is, and none")]
    Encoding(String),
}

impl Encoding {
    /// What the headers of a request say, and whether its body is packed.
    pub fn of(content_type: &str, content_encoding: &str) -> Result<(Self, bool), Unspoken> {
        let media = content_type.split(';').next().unwrap_or("").trim();
        let is = |known: Self| media.eq_ignore_ascii_case(known.media());
        let encoding = [Self::Protobuf, Self::Json].into_iter().find(|it| is(*it));
        let encoding = encoding.ok_or_else(|| Unspoken::Type(short(content_type)))?;
        match content_encoding.to_ascii_lowercase().as_str() {
            "" | "identity" => Ok((encoding, false)),
            "gzip" => Ok((encoding, true)),
            _ => Err(Unspoken::Encoding(short(content_encoding))),
        }
    }

    /// Its content type.
    pub(crate) fn media(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }
}

/// Why a body is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// More than is unpacked, or not gzip.
    #[error(transparent)]
    Gzip(#[from] GzipError),
    /// Not the message.
    #[error("not ExportMetricsServiceRequest: {0}")]
    Protobuf(#[from] WireError),
    /// Not the message.
    #[error("not ExportMetricsServiceRequest: {0}")]
    Json(#[from] serde_json::Error),
    /// It holds, or becomes, more than is taken at once.
    #[error("{count} {what} in one request, the limit is {limit}: send smaller batches")]
    TooMuch {
        /// How much.
        count: usize,
        /// Of what.
        what: &'static str,
        /// The most.
        limit: usize,
    },
}

/// The message of a body.
pub(crate) fn unpack(body: &[u8], packed: bool) -> Result<Cow<'_, [u8]>, BodyError> {
    Ok(if packed {
        gzip::unpack(body, MESSAGE_BYTES_MAX)?.into()
    } else {
        body.into()
    })
}

/// Reads a whole message.
pub(crate) fn decode(encoding: Encoding, message: &[u8]) -> Result<Request<'_>, BodyError> {
    let request = match encoding {
        Encoding::Protobuf => protobuf::decode(message)?,
        Encoding::Json => {
            // Each object has its brace: counted before any of them takes memory.
            let objects = message.split(|byte| *byte == b'{').count() - 1;
            within(objects, OBJECTS_MAX, "objects")?;
            serde_json::from_slice(message)?
        }
    };
    let (samples, label_bytes) = translate::weigh(&request);
    within(samples, SAMPLES_MAX, "samples")?;
    within(label_bytes, LABEL_BYTES_MAX, "bytes of labels")?;
    Ok(request)
}

fn within(count: usize, limit: usize, what: &'static str) -> Result<(), BodyError> {
    if count > limit {
        return Err(BodyError::TooMuch { count, what, limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
