//! The Prometheus text format 0.0.4, scanned without copying.
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

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    fmt,
};

use line::Line;

/// What one body may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextLimits {
    /// Bytes of one line, help texts included.
    pub line_bytes: usize,
    /// Labels of one sample, its name not counted.
    pub labels: usize,
    /// Samples of one body.
    pub samples: usize,
}

impl Default for TextLimits {
    /// Far above what a process says of itself: 16 KiB a line, 62 labels, 50,000 samples.
    fn default() -> Self {
        Self {
            line_bytes: 16 * 1024,
            labels: 62,
            samples: 50_000,
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
    /// A label twice on one sample, or the reserved `__name__`.
    #[error("label `{0}` may not stand here again")]
    Label(String),
    /// A second TYPE of one metric.
    #[error("a second TYPE of `{0}`")]
    SecondType(String),
    /// An unknown type of metric.
    #[error("`{0}` is not a type: counter, gauge, histogram, summary and untyped are")]
    Type(String),
    /// More than a limit allows.
    #[error("more than {limit} {what}")]
    Limit {
        /// What is limited.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}

/// What a metric is declared to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the format's own word")]
pub enum MetricType {
    Counter,
    Gauge,
    Histogram,
    Summary,
    Untyped,
}

impl MetricType {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "counter" => Self::Counter,
            "gauge" => Self::Gauge,
            "histogram" => Self::Histogram,
            "summary" => Self::Summary,
            "untyped" => Self::Untyped,
            _ => return None,
        })
    }
}

/// One sample of a body.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'a> {
    /// The metric's name.
    pub name: &'a str,
    /// Labels as they stood, names unique.
    pub labels: Vec<(&'a str, Cow<'a, str>)>,
    /// The value.
    pub value: f64,
    /// Milliseconds since the epoch, where the body gives a time.
    pub timestamp_ms: Option<i64>,
}

impl fmt::Display for Sample<'_> {
    /// As the format writes it, without the line feed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        for (at, (name, value)) in self.labels.iter().enumerate() {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"");
            let value = value.replace('\n', "\\n");
            write!(f, "{}{name}=\"{value}\"", if at == 0 { '{' } else { ',' })?;
        }
        if !self.labels.is_empty() {
            f.write_str("}")?;
        }
        write!(f, " {}", Number(self.value))?;
        self.timestamp_ms.map_or(Ok(()), |t| write!(f, " {t}"))
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
    pub types: HashMap<&'a str, MetricType>,
    /// Help texts, escapes undone.
    pub help: BTreeMap<&'a str, Cow<'a, str>>,
}

impl Exposition<'_> {
    /// Whether a sample of this name only ever grows from zero by the body's own declaration: a counter, or
    /// the buckets and the count of a histogram or summary.
    pub fn counts_from_zero(&self, name: &str) -> bool {
        let declared = |name: &str| self.types.get(name).copied();
        if let Some(kind) = declared(name) {
            return kind == MetricType::Counter;
        }
        let bucket = name.strip_suffix("_bucket").and_then(declared);
        let count = name.strip_suffix("_count").and_then(declared);
        bucket == Some(MetricType::Histogram)
            || matches!(count, Some(MetricType::Histogram | MetricType::Summary))
    }
}

/// Reads a whole body, or says where it stops being the format.
pub fn scan<'a>(body: &'a [u8], limits: &TextLimits) -> Result<Exposition<'a>, TextError> {
    let text = match std::str::from_utf8(body) {
        Ok(text) => text,
        Err(error) => {
            let valid = String::from_utf8_lossy(body.get(..error.valid_up_to()).unwrap_or(&[]));
            let last = valid.rsplit('\n').next().unwrap_or("");
            return Err(TextError {
                line: valid.matches('\n').count() + 1,
                column: last.chars().count() + 1,
                kind: TextErrorKind::NotUtf8,
            });
        }
    };
    let mut seen = Exposition::default();
    let mut rest = text;
    let mut number = 0;
    while !rest.is_empty() {
        number += 1;
        let mut line = Line::new(number, rest.split('\n').next().unwrap_or(""));
        if line.len() > limits.line_bytes {
            return Err(line.over("bytes in a line", limits.line_bytes));
        }
        let Some(tail) = rest.get(line.len() + 1..) else {
            line.skip(line.len());
            return Err(line.wrong(TextErrorKind::Expected("a line feed at the end")));
        };
        rest = tail;
        line.blanks();
        if line.take('#') {
            comment(&mut line, &mut seen)?;
        } else if !line.at_end() {
            if seen.samples.len() >= limits.samples {
                return Err(line.over("samples", limits.samples));
            }
            seen.samples.push(line.sample(limits.labels)?);
        }
    }
    Ok(seen)
}

fn comment<'a>(line: &mut Line<'a>, seen: &mut Exposition<'a>) -> Result<(), TextError> {
    line.blanks();
    match line.word() {
        "HELP" => {
            line.blanks();
            let name = line.metric_name()?;
            line.blanks();
            let text = line.help()?;
            seen.help.insert(name, text);
        }
        "TYPE" => {
            line.blanks();
            let name = line.metric_name()?;
            if seen.types.contains_key(name) {
                return Err(line.wrong(TextErrorKind::SecondType(name.to_owned())));
            }
            line.blanks();
            let before = line.clone();
            let word = line.word();
            let kind = MetricType::parse(word)
                .ok_or_else(|| before.wrong(TextErrorKind::Type(line::short(word))))?;
            line.end()?;
            seen.types.insert(name, kind);
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests;
