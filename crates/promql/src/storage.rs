//! What the evaluator needs from a store of samples: one selection, in columns.
//!
//! Guarantees: a [`Matcher`]'s expression is anchored at both ends. The evaluator never writes.

use crate::Histogram;
use regex::{Regex, RegexBuilder};
use std::fmt;
use std::sync::Arc;

/// Compiled size of a regular expression.
const REGEX_SIZE_LIMIT_BYTES: usize = 4 << 20;

/// The label that carries a metric's name.
pub const METRIC_NAME: &str = "__name__";

/// The label that carries a metric's type, where a store keeps it there.
pub(crate) const TYPE_LABEL: &str = "__type__";

/// Labels that describe a metric.
const METADATA_LABELS: [&str; 3] = [METRIC_NAME, TYPE_LABEL, "__unit__"];

/// A store of samples.
pub trait Storage {
    /// Series that satisfy all matchers, with their samples in `start_ms..=end_ms` (times ascending,
    /// staleness markers included). Series without a sample there may be left out.
    fn select(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Series>, StorageError>;

    /// How much [`Storage::select`] would give, about; without reading it, where the store can.
    fn extent(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Extent, StorageError> {
        let found = self.select(matchers, start_ms, end_ms)?;
        Ok(Extent {
            series: found.len() as u64,
            samples: found.iter().map(|it| it.timestamps.len() as u64).sum(),
        })
    }
}

/// How much there is of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Series.
    pub series: u64,
    /// Samples of all of them.
    pub samples: u64,
}

/// Why a store could not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StorageError(pub String);

/// Samples of one series, as columns of equal length. They are vectors behind a pointer, not slices: what a store has
/// gathered is handed on without a copy.
#[derive(Clone, Debug)]
pub struct Series {
    /// The labels, `__name__` included.
    pub labels: Labels,
    /// Milliseconds since the epoch, strictly ascending.
    pub timestamps: Arc<Vec<i64>>,
    /// The values; of no meaning where a sample is a histogram.
    pub values: Arc<Vec<f64>>,
    /// The samples that are histograms; a series of numbers has no such column.
    pub histograms: Option<Arc<Vec<Option<Arc<Histogram>>>>>,
    /// Since when each sample counts, 0 where unknown; `None` if the store keeps no such times.
    pub start_timestamps: Option<Arc<Vec<i64>>>,
}

impl Series {
    /// A series of numbers.
    pub fn floats(labels: Labels, timestamps: Arc<Vec<i64>>, values: Arc<Vec<f64>>) -> Self {
        Self {
            labels,
            timestamps,
            values,
            histograms: None,
            start_timestamps: None,
        }
    }
}

/// Labels sorted by name, names unique, no empty value.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Arc<[(Arc<str>, Arc<str>)]>);

impl Labels {
    /// Sorts by name and drops empty values; of a repeated name the first value stays.
    pub fn from_pairs<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<Arc<str>>,
        V: Into<Arc<str>>,
    {
        let mut sorted: Vec<(Arc<str>, Arc<str>)> = pairs
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        sorted.dedup_by(|later, earlier| later.0 == earlier.0);
        sorted.retain(|(_, value)| !value.is_empty());
        Self(sorted.into())
    }

    /// The value of a label, if present.
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(n, _)| (**n).cmp(name)).ok()?;
        self.0.get(at).map(|(_, value)| &**value)
    }

    /// All labels, ascending by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Whether there is no label.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn filtered(&self, keep: impl Fn(&str) -> bool) -> Self {
        if self.0.iter().all(|(name, _)| keep(name)) {
            return self.clone();
        }
        let kept = self.0.iter().filter(|(name, _)| keep(name));
        Self(kept.cloned().collect())
    }

    /// Without the labels that describe the metric itself, which a computed value no longer is.
    pub(crate) fn without_name(&self) -> Self {
        self.filtered(|name| !METADATA_LABELS.contains(&name))
    }

    /// The metric's name, empty if there is none.
    pub(crate) fn name(&self) -> &str {
        self.get(METRIC_NAME).unwrap_or("")
    }

    /// The hash by which Prometheus draws its samples (xxHash64 over names and values, each ended by 0xff).
    pub(crate) fn sampling_hash(&self) -> u64 {
        let mut bytes = Vec::new();
        for text in self.iter().flat_map(|(name, value)| [name, value]) {
            bytes.extend_from_slice(text.as_bytes());
            bytes.push(0xff);
        }
        xxhash_rust::xxh64::xxh64(&bytes, 0)
    }

    /// Sets a label; an empty value removes it.
    pub(crate) fn with(&self, name: &str, value: &str) -> Self {
        let others = self.0.iter().filter(|(n, _)| &**n != name).cloned();
        Self::from_pairs(others.chain([(Arc::from(name), Arc::from(value))]))
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (at, (name, value)) in self.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{name}={value:?}")?;
        }
        f.write_str("}")
    }
}

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

/// One condition on one label.
#[derive(Clone, Debug)]
pub struct Matcher {
    /// The label.
    pub name: String,
    /// How to compare.
    pub op: MatchOp,
    /// The value, or the regular expression.
    pub value: String,
    regex: Option<Regex>,
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Matcher {
    /// Builds a matcher; refuses an expression that does not compile.
    pub fn new(
        name: impl Into<String>,
        op: MatchOp,
        value: impl Into<String>,
    ) -> Result<Self, regex::Error> {
        let value = value.into();
        let regex = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(anchored(&value)?),
        };
        Ok(Self {
            name: name.into(),
            op,
            value,
            regex,
        })
    }

    /// Whether a value satisfies it; pass `""` for an absent label.
    pub fn matches(&self, value: &str) -> bool {
        let by_regex = || self.regex.as_ref().is_some_and(|r| r.is_match(value));
        match self.op {
            MatchOp::Equal => value == self.value,
            MatchOp::NotEqual => value != self.value,
            MatchOp::Regex => by_regex(),
            MatchOp::NotRegex => !by_regex(),
        }
    }
}

/// Compiles alone first, so that a stray parenthesis cannot escape the anchors.
pub(crate) fn anchored(pattern: &str) -> Result<Regex, regex::Error> {
    let build = |p: &str| {
        RegexBuilder::new(p)
            .size_limit(REGEX_SIZE_LIMIT_BYTES)
            .build()
    };
    build(pattern)?;
    build(&format!("^(?s:{pattern})$"))
}
