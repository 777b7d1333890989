//! Answers in the shapes of Prometheus's HTTP API.
//!
//! Guarantees: times are seconds, values are texts, as there; an error's text begins with its line and
//! column in the query.

use std::fmt::Write as _;

use mainstay_promql::{
    ErrorKind, Histogram, Labels, Note, QueryResult, RangeSeries, Sample, Severity, Usage,
};
use mainstay_tsdb::Damage;
use serde_json::{Map, Value, json};

use crate::{QueryError, text::Number};

/// Bytes that a point takes, about.
const POINT_BYTES: usize = 32;
/// Notes of each kind in one answer, as Prometheus has it.
const NOTES_MAX: usize = 10;

pub(crate) fn success(data: Value) -> Value {
    json!({ "status": "success", "data": data })
}

/// A success with what a reader should know of it, warnings apart from infos, as there.
pub(crate) fn noted(data: Value, notes: &[Note]) -> Value {
    let mut answer = success(data);
    for (key, severity) in [("warnings", Severity::Warning), ("infos", Severity::Info)] {
        let mut told = notes.iter().filter(|note| note.severity == severity);
        let mut texts: Vec<String> = told.by_ref().take(NOTES_MAX).map(Note::to_string).collect();
        let left_out = told.count();
        if left_out > 0 {
            texts.push(format!("{left_out} more {key} were left out"));
        }
        if !texts.is_empty() {
            answer[key] = texts.into();
        }
    }
    answer
}

/// An answer that had to do without some samples says so, before anything else it warns of.
pub(crate) fn without(mut answer: Value, damage: &Damage) -> Value {
    if !damage.is_none() {
        let known = answer["warnings"].take();
        let known = known.as_array().cloned().unwrap_or_default();
        let damage = damage.warnings().into_iter().map(Value::from);
        answer["warnings"] = damage.chain(known).collect();
    }
    answer
}

/// An answer of which a reader should know something more.
pub(crate) fn informed(mut answer: Value, infos: Vec<String>) -> Value {
    if !infos.is_empty() {
        let known = answer["infos"].take();
        let known = known.as_array().cloned().unwrap_or_default();
        let infos = infos.into_iter().map(Value::from);
        answer["infos"] = infos.chain(known).collect();
    }
    answer
}

/// What a query took, as Prometheus tells it; samples by step where `times_ms` are given.
pub(crate) fn stats(usage: &Usage, times_ms: Option<impl IntoIterator<Item = i64>>) -> Value {
    let mut samples = json!({
        "totalQueryableSamples": usage.samples_read,
        "peakSamples": usage.samples_peak,
    });
    if let Some(times_ms) = times_ms {
        let counts = usage.read_by_step.iter().chain(std::iter::repeat(&0));
        let steps = times_ms.into_iter().zip(counts);
        let steps = steps.map(|(at, count)| json!([seconds(at), count]));
        samples["totalQueryableSamplesPerStep"] = steps.collect();
    }
    json!({ "samples": samples })
}

/// What was asked cannot be answered, and why.
pub(crate) fn refused(why: &str) -> Value {
    json!({ "status": "error", "errorType": "bad_data", "error": why })
}

pub(crate) fn failure(error: &QueryError) -> Value {
    let kind = match error {
        QueryError::Query(error) => match error.kind {
            ErrorKind::Syntax { .. } | ErrorKind::Invalid(_) | ErrorKind::Unsupported(_) => {
                "bad_data"
            }
            ErrorKind::Execution(_) | ErrorKind::Limit { .. } => "execution",
            ErrorKind::Interrupted => "timeout",
            ErrorKind::Crowded { .. } => "overloaded",
            ErrorKind::Storage(_) => "internal",
        },
        QueryError::Read(_) => "internal",
        QueryError::NotASelector(_) | QueryError::NoSelector | QueryError::Matcher(_) => "bad_data",
    };
    json!({ "status": "error", "errorType": kind, "error": error.to_string() })
}

/// The data of an answer, and the series of a matrix as texts, which stand in no tree.
pub(crate) fn result(result: QueryResult) -> (Value, Option<Vec<String>>) {
    let (kind, result) = match result {
        QueryResult::Scalar(sample) => ("scalar", point(sample)),
        QueryResult::String(_) => ("string", Value::Null),
        QueryResult::Vector(series) => (
            "vector",
            series
                .into_iter()
                .map(|s| match &s.histogram {
                    None => json!({ "metric": metric(&s.labels), "value": point(s.sample) }),
                    Some(h) => json!({
                        "metric": metric(&s.labels),
                        "histogram": [seconds(s.sample.timestamp_ms), histogram(h)],
                    }),
                })
                .collect(),
        ),
        QueryResult::Matrix(series) => {
            let data = json!({ "resultType": "matrix", "result": [] });
            let series = series.iter().map(written).collect();
            return (data, Some(series));
        }
    };
    (json!({ "resultType": kind, "result": result }), None)
}

/// A series of a matrix as JSON text: an answer may have millions of points, each of which would be four allocations
/// in a tree.
fn written(series: &RangeSeries) -> String {
    let mut text = String::with_capacity(POINT_BYTES * series.samples.len() + 256);
    text.push_str("{\"metric\":");
    text.push_str(&Value::from(metric(&series.labels)).to_string());
    let mut before = ",\"values\":[";
    for sample in &series.samples {
        text.push_str(before);
        before = ",";
        write_point(sample, &mut text);
    }
    if !series.samples.is_empty() {
        text.push(']');
    }
    if !series.histograms.is_empty() {
        let points = series.histograms.iter();
        let points = points.map(|h| json!([seconds(h.timestamp_ms), histogram(&h.histogram)]));
        text.push_str(",\"histograms\":");
        text.push_str(&points.collect::<Value>().to_string());
    }
    text.push('}');
    text
}

fn write_point(sample: &Sample, text: &mut String) {
    let (at_ms, value) = (sample.timestamp_ms, Number(sample.value));
    // Writing to a string does not fail.
    let _ = if at_ms % 1_000 == 0 {
        write!(text, "[{},\"{value}\"]", at_ms / 1_000)
    } else {
        write!(text, "[{},\"{value}\"]", at_ms as f64 / 1_000.0)
    };
}

/// A text at a time, which the engine gives without one.
pub(crate) fn text(text: &str, at_ms: i64) -> Value {
    json!({ "resultType": "string", "result": [seconds(at_ms), text] })
}

/// The labels of a series.
pub(crate) fn metric(labels: &Labels) -> Map<String, Value> {
    let pair = |(name, value): (&str, &str)| (name.to_owned(), Value::from(value));
    labels.iter().map(pair).collect()
}

fn point(sample: Sample) -> Value {
    json!([
        seconds(sample.timestamp_ms),
        Number(sample.value).to_string()
    ])
}

/// A native histogram; each bucket tells which of its borders belong to it.
fn histogram(histogram: &Histogram) -> Value {
    let text = |value: f64| Number(value).to_string();
    let buckets: Vec<Value> = histogram
        .populated()
        .map(|b| json!([b.inclusion, text(b.lower), text(b.upper), text(b.count)]))
        .collect();
    let mut shown = json!({ "count": text(histogram.count), "sum": text(histogram.sum) });
    if !buckets.is_empty() {
        shown["buckets"] = buckets.into();
    }
    shown
}

pub(crate) fn seconds(ms: i64) -> Value {
    if ms % 1_000 == 0 {
        Value::from(ms / 1_000)
    } else {
        Value::from(ms as f64 / 1_000.0)
    }
}
