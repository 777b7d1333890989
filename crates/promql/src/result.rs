//! What a query gives.

use crate::Labels;

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

/// One series of an instant vector.
#[derive(Clone, Debug, PartialEq)]
pub struct InstantSeries {
    /// Its labels.
    pub labels: Labels,
    /// Its value at the query's time.
    pub sample: Sample,
}

/// One series of a matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct RangeSeries {
    /// Its labels.
    pub labels: Labels,
    /// Its samples, ascending by time; never empty.
    pub samples: Vec<Sample>,
}
