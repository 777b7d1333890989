//! The Prometheus text formats 0.0.4 and 1.0.0, scanned without copying; OpenMetrics beside them.
//!
//! Guarantees: a body is accepted whole or refused with a line and a column; every growth is bounded by
//! [`TextLimits`]; a NaN is an ordinary one, never a staleness marker. It never guesses: a line that is not
//! exactly the format is refused, and so is a body that does not end in a line feed, because it may have
//! been cut inside a number.
//!
//! ```
//! use mainstay_ekg::text::{TextLimits, scan};
//! let body = "# TYPE hits_total counter\nhits_total{code=\"200\"} 7\n";
//! let seen = scan(body.as_bytes(), &TextLimits::default())?;
//! assert_eq!(seen.samples[0].value, 7.0);
//! assert_eq!(scan(b"hits 1x\n", &TextLimits::default()).unwrap_err().to_string(), "1:6: `1x` is not a number");
//! # Ok::<(), mainstay_ekg::text::TextError>(())
//! ```

mod line;
mod openmetrics;

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

use line::Line;
use mainstay_tsdb::{Histogram, HistogramFault};
pub use openmetrics::scan as scan_openmetrics;

use crate::{
    exemplars::SentExemplar,
    metadata::{Family, Kind},
};

/// What one body may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextLimits {
    /// Bytes of one line, help texts included.
    pub line_bytes: usize,
    /// Labels of one sample, its name not counted.
    pub labels: usize,
    /// Samples of one body.
    pub samples: usize,
    /// Native histograms of one body.
    pub natives: Natives,
}

impl Default for TextLimits {
    /// Far above what a process says of itself: 16 KiB a line, 62 labels, 50,000 samples.
    fn default() -> Self {
        Self {
            line_bytes: 16 * 1024,
            labels: 62,
            samples: 50_000,
            natives: Natives::PassedOver,
        }
    }
}

/// A refusal with its place; both count from one, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {kind}")]
pub struct TextError {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
    /// What is wrong there.
    pub kind: TextErrorKind,
}

/// Why a body is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextErrorKind {
    /// Bytes that are not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// Something else was due here.
    #[error("expected {0}")]
    Expected(&'static str),
    /// A backslash before a character that needs none.
    #[error("`\\{0}` is not an escape; `\\\\`, `\\\"` and `\\n` are")]
    Escape(char),
    /// Not a number.
    #[error("`{0}` is not a number")]
    Number(String),
    /// Not whole milliseconds.
    #[error("`{0}` is not a timestamp in milliseconds")]
    Timestamp(String),
    /// Not seconds.
    #[error("`{0}` is not a time in seconds")]
    Seconds(String),
    /// A label twice on one sample, or the reserved `__name__`.
    #[error("label `{0}` may not stand here again")]
    Label(String),
    /// A second TYPE of one metric.
    #[error("a second TYPE of `{0}`")]
    SecondType(String),
    /// An unknown type of metric.
    #[error("`{0}` is not a type: counter, gauge, histogram, summary and untyped are")]
    Type(String),
    /// An unknown type of metric in OpenMetrics.
    #[error(
        "`{0}` is not a type: counter, gauge, histogram, gaugehistogram, summary, info, stateset and unknown are"
    )]
    OpenType(String),
    /// More than a limit allows.
    #[error("more than {limit} {what}")]
    Limit {
        /// What is limited.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}

/// One sample of a body.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'a> {
    /// The metric's name.
    pub name: Cow<'a, str>,
    /// Labels as they stood, names unique.
    pub labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// The value.
    pub value: f64,
    /// Milliseconds since the epoch, where the body gives a time.
    pub timestamp_ms: Option<i64>,
    /// What few samples have.
    pub extra: Option<Box<Extra>>,
}

/// What few samples have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Extra {
    /// The native histogram that it is, instead of a number.
    pub histogram: Option<Arc<Histogram>>,
    /// Single observations behind it.
    pub exemplars: Vec<SentExemplar>,
}

impl Extra {
    /// Of a sample with these exemplars, if there are any.
    pub(crate) fn of(exemplars: Vec<SentExemplar>) -> Option<Box<Self>> {
        let extra = Self {
            histogram: None,
            exemplars,
        };
        (!extra.exemplars.is_empty()).then(|| Box::new(extra))
    }
}

/// What becomes of native histograms, which only the protobuf format has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Natives {
    /// They are counted, and their classic buckets are read.
    #[default]
    PassedOver,
    /// They are read, and their classic buckets are not.
    Read,
    /// They are read, and their classic buckets are too.
    ReadWithClassic,
}

impl fmt::Display for Sample<'_> {
    /// As the format writes it, without the line feed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = is_plain(&self.name, true);
        let mut sign = '{';
        if plain {
            f.write_str(&self.name)?;
        } else {
            write!(f, "{{{}", Quoted(&self.name))?;
            sign = ',';
        }
        for (name, value) in &self.labels {
            if is_plain(name, false) {
                write!(f, "{sign}{name}={}", Quoted(value))?;
            } else {
                write!(f, "{sign}{}={}", Quoted(name), Quoted(value))?;
            }
            sign = ',';
        }
        if sign == ',' {
            f.write_str("}")?;
        }
        write!(f, " {}", Number(self.value))?;
        self.timestamp_ms.map_or(Ok(()), |t| write!(f, " {t}"))
    }
}

/// Whether a name needs no quotes; only a metric's may hold colons.
pub(crate) fn is_plain(name: &str, colons: bool) -> bool {
    let letter = |b: u8| b.is_ascii_alphabetic() || b == b'_' || (colons && b == b':');
    let mut bytes = name.bytes();
    bytes.next().is_some_and(letter) && bytes.all(|b| letter(b) || b.is_ascii_digit())
}

/// A text in quotes.
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.replace('\\', "\\\\").replace('"', "\\\"");
        write!(f, "\"{}\"", text.replace('\n', "\\n"))
    }
}

/// A value as Prometheus writes it: `NaN`, `+Inf`, `-Inf`, else the shortest that reads back.
pub(crate) struct Number(pub(crate) f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_nan() {
            f.write_str("NaN")
        } else if self.0.is_infinite() {
            f.write_str(if self.0 > 0.0 { "+Inf" } else { "-Inf" })
        } else {
            write!(f, "{}", self.0)
        }
    }
}

/// What a body says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exposition<'a> {
    /// Samples in the body's order.
    pub samples: Vec<Sample<'a>>,
    /// Declared types.
    pub types: HashMap<Cow<'a, str>, Kind>,
    /// Help texts, escapes undone.
    pub help: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    /// Units, where the format has them.
    pub units: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    /// Native histograms that were counted and not read.
    pub native_histograms: u64,
    /// Native histograms that make no sense, and why the first does not.
    pub invalid_histograms: (u64, Option<HistogramFault>),
}

impl Exposition<'_> {
    /// Whether a sample of this name only ever grows from zero by the body's own declaration: a counter, or
    /// the buckets and the count of a histogram or summary.
    pub fn counts_from_zero(&self, name: &str) -> bool {
        let declared = |name: &str| self.types.get(name).copied();
        if let Some(kind) = declared(name) {
            return kind == Kind::Counter;
        }
        let stripped = |suffix| name.strip_suffix(suffix).and_then(declared);
        stripped("_bucket") == Some(Kind::Histogram)
            || stripped("_total") == Some(Kind::Counter)
            || matches!(stripped("_count"), Some(Kind::Histogram | Kind::Summary))
    }

    /// Each metric that is described, with its description; in no order.
    pub fn families(&self) -> impl Iterator<Item = (&str, Family<'_>)> {
        let only_helped = self
            .help
            .keys()
            .filter(|name| !self.types.contains_key(*name));
        self.types.keys().chain(only_helped).map(|name| {
            let family = Family {
                kind: self.types.get(name).copied().unwrap_or_default(),
                help: said(&self.help, name),
                unit: said(&self.units, name),
            };
            (name.as_ref(), family)
        })
    }
}

fn said<'t>(texts: &'t BTreeMap<Cow<'_, str>, Cow<'_, str>>, name: &str) -> Cow<'t, str> {
    Cow::Borrowed(texts.get(name).map_or("", AsRef::as_ref))
}

/// Reads a whole body, or says where it stops being the format.
pub fn scan<'a>(body: &'a [u8], limits: &TextLimits) -> Result<Exposition<'a>, TextError> {
    let text = utf8(body)?;
    let mut seen = Exposition::default();
    let mut lines = Lines::new(text, limits);
    while let Some(mut line) = lines.next_line()? {
        line.blanks();
        if line.take('#') {
            comment(&mut line, &mut seen)?;
        } else if !line.at_end() {
            limits.one_more(&seen, &line)?;
            seen.samples.push(line.sample(limits.labels)?);
        }
    }
    Ok(seen)
}

fn utf8(body: &[u8]) -> Result<&str, TextError> {
    std::str::from_utf8(body).map_err(|error| {
        let valid = String::from_utf8_lossy(body.get(..error.valid_up_to()).unwrap_or(&[]));
        let last = valid.rsplit('\n').next().unwrap_or("");
        TextError {
            line: valid.matches('\n').count() + 1,
            column: last.chars().count() + 1,
            kind: TextErrorKind::NotUtf8,
        }
    })
}

impl TextLimits {
    fn one_more(&self, seen: &Exposition<'_>, line: &Line<'_>) -> Result<(), TextError> {
        if seen.samples.len() >= self.samples {
            return Err(line.over("samples", self.samples));
        }
        Ok(())
    }
}

/// The lines of a body, each of which has to end in a line feed.
struct Lines<'a> {
    rest: &'a str,
    number: usize,
    line_bytes: usize,
}

impl<'a> Lines<'a> {
    fn new(body: &'a str, limits: &TextLimits) -> Self {
        Self {
            rest: body,
            number: 0,
            line_bytes: limits.line_bytes,
        }
    }

    fn next_line(&mut self) -> Result<Option<Line<'a>>, TextError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        let mut line = Line::new(self.number, self.rest.split('\n').next().unwrap_or(""));
        if line.len() > self.line_bytes {
            return Err(line.over("bytes in a line", self.line_bytes));
        }
        let Some(tail) = self.rest.get(line.len() + 1..) else {
            line.skip(line.len());
            return Err(line.wrong(TextErrorKind::Expected("a line feed at the end")));
        };
        self.rest = tail;
        Ok(Some(line))
    }
}

fn comment<'a>(line: &mut Line<'a>, seen: &mut Exposition<'a>) -> Result<(), TextError> {
    line.blanks();
    match line.word() {
        "HELP" => {
            line.blanks();
            let name = line.described_name()?;
            let text = line.help()?;
            seen.help.insert(name, text);
        }
        "TYPE" => {
            line.blanks();
            let name = line.described_name()?;
            if seen.types.contains_key(&name) {
                return Err(line.wrong(TextErrorKind::SecondType(name.into_owned())));
            }
            let before = line.clone();
            let word = line.word();
            let kind = match word {
                "counter" => Kind::Counter,
                "gauge" => Kind::Gauge,
                "histogram" => Kind::Histogram,
                "summary" => Kind::Summary,
                "untyped" => Kind::Unknown,
                _ => return Err(before.wrong(TextErrorKind::Type(line::short(word)))),
            };
            line.end()?;
            seen.types.insert(name, kind);
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests;
