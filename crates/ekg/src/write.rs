//! Remote write, from a request to series: the protocols 1.0 and 2.0.
//!
//! Guarantees: names and values are borrowed from the message; a message is read to its end or refused with the
//! byte; what it unpacks to is bounded before anything is unpacked. Never decides whether a series is good:
//! it hands over what was sent, with the reason where a histogram is none.
//!
//! ```
//! use mainstay_ekg::write::Protocol;
//! let second = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
//! assert_eq!(Protocol::of(second, "snappy"), Ok(Protocol::V2));
//! assert!(Protocol::of("application/json", "snappy").is_err());
//! ```
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod histogram;
mod plain;
mod v1;
mod v2;

use std::{borrow::Cow, cell::RefCell};

pub(crate) use plain::Plain;

use mainstay_tsdb::Histogram;

use crate::{
    exemplars::SentExemplar,
    metadata::{Family, Kind},
    wire::{Field, Reader, WireError},
};
pub use histogram::SentHistogram;

/// Bytes of one message when unpacked; as much as Prometheus takes.
pub const MESSAGE_BYTES_MAX: usize = 32 << 20;
/// Samples of one message: far more than any sender puts into one, and 80 MB in memory.
pub const SAMPLES_MAX: usize = 2_000_000;
/// Labels of one series that are looked at; the engine's own limit is far lower.
const LABELS_MAX: usize = 1_024;

/// Which message a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `prometheus.WriteRequest`.
    V1,
    /// `io.prometheus.write.v2.Request`.
    V2,
}

/// A content type or encoding that is not spoken here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unspoken {
    /// Neither of the two messages.
    #[error(
        "the content type `{0}` is not spoken here; `application/x-protobuf` is, with \
         `proto=prometheus.WriteRequest` or `proto=io.prometheus.write.v2.Request`"
    )]
    Type(String),
    /// Packed otherwise.
    #[error("the content encoding `{0}` is not spoken here; `snappy` (its block format) is")]
    Encoding(String),
}

/// Characters of a header that an error repeats.
const SHOWN_CHARS: usize = 100;

/// The beginning of a header.
pub(crate) fn short(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}

impl Protocol {
    /// What the headers of a request say; without an encoding it is snappy, as there is no other.
    pub fn of(content_type: &str, content_encoding: &str) -> Result<Self, Unspoken> {
        let unspoken = || Unspoken::Type(short(content_type));
        let mut parts = content_type.split(';').map(str::trim);
        let media = parts.next().unwrap_or("");
        if !media.eq_ignore_ascii_case("application/x-protobuf") {
            return Err(unspoken());
        }
        let mut protocol = Self::V1;
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            if name.trim().eq_ignore_ascii_case("proto") {
                protocol = match value.trim().trim_matches('"') {
                    "prometheus.WriteRequest" => Self::V1,
                    "io.prometheus.write.v2.Request" => Self::V2,
                    _ => return Err(unspoken()),
                };
            }
        }
        if content_encoding.is_empty() || content_encoding.eq_ignore_ascii_case("snappy") {
            Ok(protocol)
        } else {
            Err(Unspoken::Encoding(short(content_encoding)))
        }
    }
}

/// Why a body has no message.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BodyError {
    /// More than is unpacked.
    #[error(
        "the message unpacks to {bytes} bytes, the limit is {MESSAGE_BYTES_MAX}: send smaller batches"
    )]
    TooLong {
        /// What it would unpack to.
        bytes: usize,
    },
    /// Not snappy.
    #[error("not snappy's block format: {0}")]
    Snappy(#[from] snap::Error),
    /// Not the message.
    #[error("not the message that was announced: {0}")]
    Message(#[from] WireError),
}

/// Bytes that a thread keeps to unpack the next message into: several times what a sender's batch has.
const KEPT_BYTES_MAX: usize = 1 << 20;

thread_local! {
    static UNPACKED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Unpacks the message in a body and lets `read` read it.
pub fn unpacked<T>(
    body: &[u8],
    read: impl FnOnce(&[u8]) -> Result<T, WireError>,
) -> Result<T, BodyError> {
    let bytes = snap::raw::decompress_len(body)?;
    if bytes > MESSAGE_BYTES_MAX {
        return Err(BodyError::TooLong { bytes });
    }
    // Taken out, so that one that is read within another does no harm.
    let mut message = UNPACKED.take();
    if message.len() < bytes {
        message.resize(bytes, 0);
    }
    let unpacked = snap::raw::Decoder::new().decompress(body, &mut message);
    let done = match unpacked {
        Ok(length) => read(message.get(..length).unwrap_or_default()).map_err(BodyError::from),
        Err(error) => Err(error.into()),
    };
    if message.len() <= KEPT_BYTES_MAX {
        UNPACKED.set(message);
    }
    done
}

/// A sample of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// The value, bit by bit as sent: a staleness marker stays one.
    pub value: f64,
    /// Milliseconds since the epoch.
    pub at_ms: i64,
    /// Since when its counter counts, where the sender says so.
    pub start_ms: Option<i64>,
}

/// What a message says of one series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series<'a> {
    /// Names and values in the sender's order, unchecked.
    pub labels: Vec<(&'a str, &'a str)>,
    /// Why the labels cannot be told, if they cannot.
    pub broken: Option<Broken>,
    /// Its samples.
    pub samples: Vec<Sample>,
    /// Its samples that are native histograms.
    pub histograms: Vec<SentHistogram>,
    /// Its exemplars.
    pub exemplars: Vec<SentExemplar>,
}

/// Why the labels of a series cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A name without a value.
    #[error("an odd number of label references")]
    Odd,
    /// A reference to nothing.
    #[error("label reference {reference} points beyond the {symbols} symbols")]
    Beyond {
        /// The reference.
        reference: u64,
        /// How many symbols there are.
        symbols: usize,
    },
}

impl Series<'_> {
    fn clear(&mut self) {
        self.labels.clear();
        self.broken = None;
        self.samples.clear();
        self.histograms.clear();
        self.exemplars.clear();
    }
}

/// Takes what a message says, in its order.
pub trait Sink {
    /// A series in its bytes, with up to `at_most` samples: how many it has, or nothing if it shall be read and handed
    /// over as any other.
    fn bytes(&mut self, series: &[u8], at_most: usize) -> Option<usize> {
        let _ = (series, at_most);
        None
    }
    /// A series.
    fn series(&mut self, series: &Series<'_>);
    /// What a metric is.
    fn metadata(&mut self, name: &str, family: Family<'_>);
}

/// Reads a whole message; what `sink` got before an error is to be thrown away.
pub fn decode(protocol: Protocol, message: &[u8], sink: &mut impl Sink) -> Result<(), WireError> {
    match protocol {
        Protocol::V1 => v1::decode(message, sink),
        Protocol::V2 => v2::decode(message, sink),
    }
}

/// A sample of either protocol: they differ only in that one knows no start.
fn sample(mut reader: Reader<'_>) -> Result<Sample, WireError> {
    let mut sample = Sample {
        value: 0.0,
        at_ms: 0,
        start_ms: None,
    };
    while let Some(field) = reader.field()? {
        match field.number {
            1 => sample.value = field.double()?,
            2 => sample.at_ms = field.signed()?,
            3 => sample.start_ms = Some(field.signed()?).filter(|start| *start != 0),
            _ => {}
        }
    }
    Ok(sample)
}

/// Counts the samples of a whole message.
#[derive(Default)]
struct Budget(usize);

impl Budget {
    fn left(&self) -> usize {
        SAMPLES_MAX.saturating_sub(self.0)
    }

    fn spend(&mut self, field: &Field<'_>) -> Result<(), WireError> {
        self.0 += 1;
        field.within(self.0, SAMPLES_MAX, "samples in one message")
    }

    /// A histogram counts as many samples as take its place in memory.
    fn spend_on(&mut self, sent: &SentHistogram, field: &Field<'_>) -> Result<(), WireError> {
        let bytes = |histogram: &Option<_>| histogram.as_ref().map_or(0, Histogram::bytes);
        self.0 += sent.histogram.as_ref().map_or(0, bytes) / size_of::<Sample>();
        self.spend(field)
    }
}

fn kind(number: u64) -> Kind {
    match number {
        1 => Kind::Counter,
        2 => Kind::Gauge,
        3 => Kind::Histogram,
        4 => Kind::GaugeHistogram,
        5 => Kind::Summary,
        6 => Kind::Info,
        7 => Kind::StateSet,
        _ => Kind::Unknown,
    }
}

fn family<'a>(number: u64, help: &'a str, unit: &'a str) -> Family<'a> {
    Family {
        kind: kind(number),
        help: Cow::Borrowed(help),
        unit: Cow::Borrowed(unit),
    }
}

#[cfg(test)]
mod tests;
