//! Warnings and infos: what a reader of an answer should know, with the place in the query it is about.
//!
//! Guarantees: texts are those of Prometheus, because people and tools search for them. Of equal texts one
//! stays; there are never more than [`MAX_NOTES`], and the last one says so if some were left out.

use crate::number::Short;
use crate::{Position, Span};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

/// Notes of one answer; a query over a million series needs no million warnings.
pub const MAX_NOTES: usize = 1_000;

/// How much a note matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The answer is probably not what was meant.
    Warning,
    /// The answer may surprise.
    Info,
}

/// A note with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// How much it matters.
    pub severity: Severity,
    /// What it says.
    pub text: String,
    /// Where, for people.
    pub position: Position,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text, self.position)
    }
}

/// The notes of an answer, warnings first.
pub type Notes = Vec<Note>;

/// What two histograms were doing when something was worth a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum During {
    Addition,
    Subtraction,
    Aggregation,
}

impl fmt::Display for During {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Addition => "addition",
            Self::Subtraction => "subtraction",
            Self::Aggregation => "aggregation",
        })
    }
}

/// What there is to say.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Remark<'a> {
    InvalidQuantile(f64),
    InvalidRatio {
        ratio: f64,
        used: f64,
    },
    BadBucketLabel {
        value: &'a str,
        metric: &'a str,
    },
    MixedFloatsHistograms(&'a str),
    MixedFloatsHistogramsAggregated,
    MixedClassicNative(&'a str),
    MixedSchemas(&'a str),
    NotCounter(&'a str),
    NotGauge(&'a str),
    IneffectiveSort,
    ResetCollision(During),
    StartOverlap(&'a str),
    PossibleNonCounter(&'a str),
    PossibleNonCounterType {
        metric: &'a str,
        kind: &'a str,
    },
    ForcedMonotonicity {
        metric: &'a str,
        largest: f64,
    },
    IncompatibleTypes {
        op: &'a str,
        left: &'a str,
        right: &'a str,
    },
    HistogramIgnored {
        aggregation: &'a str,
    },
    HistogramIgnoredInRange(&'a str),
    QuantileNan(&'a str),
    QuantileSkewed(&'a str),
    FractionWithoutNan(&'a str),
    MismatchedBounds(During),
}

impl Remark<'_> {
    fn severity(&self) -> Severity {
        match self {
            Self::InvalidQuantile(_)
            | Self::InvalidRatio { .. }
            | Self::BadBucketLabel { .. }
            | Self::MixedFloatsHistograms(_)
            | Self::MixedFloatsHistogramsAggregated
            | Self::MixedClassicNative(_)
            | Self::MixedSchemas(_)
            | Self::NotCounter(_)
            | Self::NotGauge(_)
            | Self::IneffectiveSort
            | Self::ResetCollision(_)
            | Self::StartOverlap(_) => Severity::Warning,
            Self::PossibleNonCounter(_)
            | Self::PossibleNonCounterType { .. }
            | Self::ForcedMonotonicity { .. }
            | Self::IncompatibleTypes { .. }
            | Self::HistogramIgnored { .. }
            | Self::HistogramIgnoredInRange(_)
            | Self::QuantileNan(_)
            | Self::QuantileSkewed(_)
            | Self::FractionWithoutNan(_)
            | Self::MismatchedBounds(_) => Severity::Info,
        }
    }
}

impl fmt::Display for Remark<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.severity() {
            Severity::Warning => "PromQL warning: ",
            Severity::Info => "PromQL info: ",
        })?;
        match *self {
            Self::InvalidQuantile(q) => {
                write!(
                    f,
                    "quantile value should be between 0 and 1, got {}",
                    Short(q)
                )
            }
            Self::InvalidRatio { ratio, used } => write!(
                f,
                "ratio value should be between -1 and 1, got {}, capping to {}",
                Short(ratio),
                Short(used)
            ),
            Self::BadBucketLabel { value, metric } => write!(
                f,
                "bucket label \"le\" is missing or has a malformed value of {value:?} for metric name {metric:?}"
            ),
            Self::MixedFloatsHistograms(metric) => write!(
                f,
                "encountered a mix of histograms and floats for metric name {metric:?}"
            ),
            Self::MixedFloatsHistogramsAggregated => {
                f.write_str("encountered a mix of histograms and floats for aggregation")
            }
            Self::MixedClassicNative(metric) => write!(
                f,
                "vector contains a mix of classic and native histograms for metric name {metric:?}"
            ),
            Self::MixedSchemas(metric) => write!(
                f,
                "vector contains a mix of histograms with exponential and custom buckets schemas for metric name {metric:?}"
            ),
            Self::NotCounter(metric) => {
                write!(
                    f,
                    "this native histogram metric is not a counter: {metric:?}"
                )
            }
            Self::NotGauge(metric) => {
                write!(f, "this native histogram metric is not a gauge: {metric:?}")
            }
            Self::IneffectiveSort => f.write_str(
                "sort is ineffective for range queries since results are always ordered by labels",
            ),
            Self::ResetCollision(during) => {
                write!(f, "conflicting counter resets during histogram {during}")
            }
            Self::StartOverlap(metric) => write!(
                f,
                "sample has start time that overlaps with previous sample timestamp for metric {metric:?}"
            ),
            Self::PossibleNonCounter(metric) => write!(
                f,
                "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {metric:?}"
            ),
            Self::PossibleNonCounterType { metric, kind } => write!(
                f,
                "metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\", got {kind:?}: {metric:?}"
            ),
            Self::ForcedMonotonicity { metric, largest } => write!(
                f,
                "input to histogram_quantile needed to be fixed for monotonicity (buckets fell by up to {}) for metric name {metric:?}",
                Short(largest)
            ),
            Self::IncompatibleTypes { op, left, right } => write!(
                f,
                "incompatible sample types encountered for binary operator {op:?}: {left} {op} {right}"
            ),
            Self::HistogramIgnored { aggregation } => {
                write!(f, "ignored histogram in {aggregation} aggregation")
            }
            Self::HistogramIgnoredInRange(metric) => write!(
                f,
                "ignored histograms in a range containing both floats and histograms for metric name {metric:?}"
            ),
            Self::QuantileNan(metric) => write!(
                f,
                "input to histogram_quantile has NaN observations, result is NaN for metric name {metric:?}"
            ),
            Self::QuantileSkewed(metric) => write!(
                f,
                "input to histogram_quantile has NaN observations, result is skewed higher for metric name {metric:?}"
            ),
            Self::FractionWithoutNan(metric) => write!(
                f,
                "input to histogram_fraction has NaN observations, which are excluded from all fractions for metric name {metric:?}"
            ),
            Self::MismatchedBounds(during) => {
                write!(
                    f,
                    "mismatched custom buckets were reconciled during {during}"
                )
            }
        }
    }
}

/// Where an evaluation writes its remarks.
#[derive(Debug, Default)]
pub(crate) struct Notebook {
    notes: RefCell<BTreeMap<(Severity, String), Span>>,
    left_out: RefCell<u64>,
}

impl Notebook {
    pub(crate) fn add(&self, remark: &Remark<'_>, span: Span) {
        let mut notes = self.notes.borrow_mut();
        let key = (remark.severity(), remark.to_string());
        if notes.len() >= MAX_NOTES && !notes.contains_key(&key) {
            *self.left_out.borrow_mut() += 1;
            return;
        }
        notes.insert(key, span);
    }

    /// What another evaluation of the same query wrote.
    pub(crate) fn absorb(&self, other: Self) {
        let mut notes = self.notes.borrow_mut();
        let mut left_out = self.left_out.borrow_mut();
        *left_out += other.left_out.into_inner();
        for (key, span) in other.notes.into_inner() {
            if notes.len() >= MAX_NOTES && !notes.contains_key(&key) {
                *left_out += 1;
            } else {
                notes.insert(key, span);
            }
        }
    }

    pub(crate) fn placed(self, text: &str) -> Notes {
        let notes = self.notes.into_inner().into_iter();
        let mut notes: Notes = notes
            .map(|((severity, note), span)| Note {
                severity,
                text: note,
                position: span.position(text),
            })
            .collect();
        let left_out = self.left_out.into_inner();
        if left_out > 0 {
            notes.push(Note {
                severity: Severity::Info,
                text: format!("{left_out} more notes were left out"),
                position: Span::default().position(text),
            });
        }
        notes
    }
}
