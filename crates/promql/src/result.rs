//! What a query gives.

use crate::{Histogram, Labels, Notes, Usage};
use std::sync::Arc;

/// What a query gives, and what its reader should know.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The value.
    pub result: QueryResult,
    /// Warnings and infos.
    pub notes: Notes,
    /// What it took.
    pub usage: Usage,
}

/// The value of a query.
#[derive(Clone, Debug, PartialEq)]
pub enum QueryResult {
    /// One number.
    Scalar(Sample),
    /// A text.
    String(String),
    /// One sample a series: sorted by labels, unless the query itself orders (`sort`, `topk`).
    Vector(Vec<InstantSeries>),
    /// Samples of each series, sorted by labels.
    Matrix(Vec<RangeSeries>),
}

/// A value at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// The value.
    pub value: f64,
}

/// A histogram at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramSample {
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// The histogram.
    pub histogram: Arc<Histogram>,
}

/// One series of an instant vector.
#[derive(Clone, Debug, PartialEq)]
pub struct InstantSeries {
    /// Its labels.
    pub labels: Labels,
    /// Its value at the query's time; not a number where there is a histogram.
    pub sample: Sample,
    /// Its value, where that is a histogram.
    pub histogram: Option<Arc<Histogram>>,
}

impl InstantSeries {
    /// One whose value is a number.
    pub fn float(labels: Labels, sample: Sample) -> Self {
        Self {
            labels,
            sample,
            histogram: None,
        }
    }
}

/// One series of a matrix; it has a sample, and no time twice.
#[derive(Clone, Debug, PartialEq)]
pub struct RangeSeries {
    /// Its labels.
    pub labels: Labels,
    /// Its numbers, ascending by time.
    pub samples: Vec<Sample>,
    /// Its histograms, ascending by time.
    pub histograms: Vec<HistogramSample>,
}

impl RangeSeries {
    /// One whose values are numbers.
    pub fn floats(labels: Labels, samples: Vec<Sample>) -> Self {
        Self {
            labels,
            samples,
            histograms: Vec::new(),
        }
    }
}
