//! Remote read: what another Prometheus asks for, and what it is answered.
//!
//! Guarantees: matchers, window and hints are taken as Prometheus takes them; series come in the order of their
//! labels, each once. An answer in frames ([`Request::is_streamed`]) holds at most [`BATCH_SAMPLES`] samples at once
//! and [`FRAME_BYTES`] of each frame, however much is read; one in a whole message at most [`SAMPLES_MAX`] samples.
//! Never evaluates anything: the hint of a function is one to read less, not to compute.
//!
//! ```
//! use mainstay_ekg::read::Request;
//! // No query at all, in snappy's block format.
//! let request = Request::decode(&[0])?;
//! assert!(!request.is_streamed());
//! # Ok::<(), mainstay_ekg::read::RequestError>(())
//! ```
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod answer;
mod batches;
pub(crate) mod xor;

pub(crate) use batches::narrowed;

use mainstay_tsdb::{MatchOp, Matcher, MatcherError, ReadError};

use crate::{
    wire::{Field, Reader, WireError},
    write::{BodyError, unpacked},
};

/// Samples of an answer in one message, which is packed as a whole: some 150 MB.
pub const SAMPLES_MAX: usize = 10_000_000;
/// Samples that are read at once for an answer in frames: 32 MB.
pub const BATCH_SAMPLES: usize = 2_000_000;
/// Bytes of one frame, as in Prometheus.
pub const FRAME_BYTES: usize = 1 << 20;
/// Queries of one request; Prometheus sends one.
const QUERIES_MAX: usize = 64;
/// Matchers of one query.
const MATCHERS_MAX: usize = 256;

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    queries: Vec<Query>,
    streamed: bool,
}

/// One selection.
#[derive(Clone, Debug, Default)]
struct Query {
    matchers: Vec<Matcher>,
    start_ms: i64,
    end_ms: i64,
    /// Only which series there are is asked for.
    labels_only: bool,
}

/// Why a request is none.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RequestError {
    /// Not the message.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// A regular expression that cannot be used.
    #[error(transparent)]
    Matcher(#[from] MatcherError),
    /// Answers that are not known here.
    #[error(
        "none of the accepted types of answers is known here: SAMPLES (0) and STREAMED_XOR_CHUNKS (1) are"
    )]
    Types,
}

/// Why an answer ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// Samples that cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// More than one message may have.
    #[error(
        "more than {SAMPLES_MAX} samples: ask for less, or accept STREAMED_XOR_CHUNKS, which has no such limit"
    )]
    TooMuch,
    /// It took too long, or nobody takes the answer any more.
    #[error("the answer was not taken in time")]
    Interrupted,
}

impl From<WireError> for RequestError {
    fn from(error: WireError) -> Self {
        Self::Body(BodyError::Message(error))
    }
}

impl Request {
    /// Reads a body, which is packed with snappy.
    pub fn decode(body: &[u8]) -> Result<Self, RequestError> {
        unpacked(body, |message| Ok(Self::read(message)))?
    }

    fn read(message: &[u8]) -> Result<Self, RequestError> {
        let mut reader = Reader::new(message);
        let (mut queries, mut types) = (Vec::new(), Vec::new());
        while let Some(field) = reader.field()? {
            match field.number {
                1 => {
                    field.within(queries.len() + 1, QUERIES_MAX, "queries")?;
                    queries.push(query(field.message()?)?);
                }
                2 => field.each_unsigned(|kind| {
                    types.push(kind);
                    Ok(())
                })?,
                _ => {}
            }
        }
        // The first that is known; without any it is the older one.
        let known = types.iter().find(|kind| **kind <= 1);
        match known {
            None if !types.is_empty() => Err(RequestError::Types),
            kind => Ok(Self {
                queries,
                streamed: kind == Some(&1),
            }),
        }
    }

    /// Whether the answer comes in frames of chunks, not in one message of samples.
    pub fn is_streamed(&self) -> bool {
        self.streamed
    }
}

fn query(mut reader: Reader<'_>) -> Result<Query, RequestError> {
    let mut query = Query::default();
    let mut hints = Hints::default();
    while let Some(field) = reader.field()? {
        match field.number {
            1 => query.start_ms = field.signed()?,
            2 => query.end_ms = field.signed()?,
            3 => {
                field.within(query.matchers.len() + 1, MATCHERS_MAX, "matchers")?;
                query.matchers.push(matcher(&field)?);
            }
            4 => hints = self::hints(field.message()?)?,
            _ => {}
        }
    }
    query.labels_only = hints.series;
    if let Some((start_ms, end_ms)) = hints.window() {
        query.start_ms = query.start_ms.max(start_ms);
        query.end_ms = query.end_ms.min(end_ms);
    }
    Ok(query)
}

fn matcher(field: &Field<'_>) -> Result<Matcher, RequestError> {
    let mut reader = field.message()?;
    let (mut kind, mut name, mut value) = (0, "", "");
    while let Some(field) = reader.field()? {
        match field.number {
            1 => kind = field.unsigned()?,
            2 => name = field.text()?,
            3 => value = field.text()?,
            _ => {}
        }
    }
    let op = match kind {
        0 => MatchOp::Equal,
        1 => MatchOp::NotEqual,
        2 => MatchOp::Regex,
        _ => MatchOp::NotRegex,
    };
    Ok(Matcher::new(name, op, value)?)
}

/// What the query is for; it is still right to answer more.
#[derive(Default)]
struct Hints {
    /// The function is `series`, which needs no samples.
    series: bool,
    start_ms: i64,
    end_ms: i64,
}

impl Hints {
    /// The times that are needed, where they are said.
    fn window(&self) -> Option<(i64, i64)> {
        let said = self.start_ms != 0 || self.end_ms != 0;
        said.then_some((self.start_ms, self.end_ms))
    }
}

fn hints(mut reader: Reader<'_>) -> Result<Hints, WireError> {
    let mut hints = Hints::default();
    while let Some(field) = reader.field()? {
        match field.number {
            2 => hints.series = field.text()? == "series",
            3 => hints.start_ms = field.signed()?,
            4 => hints.end_ms = field.signed()?,
            _ => {}
        }
    }
    Ok(hints)
}

#[cfg(test)]
mod tests;
