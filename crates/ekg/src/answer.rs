//! Answers in the shapes of Prometheus's HTTP API.
//!
//! Guarantees: times are seconds, values are texts, as there; an error's text begins with its line and
//! column in the query.

use mainstay_promql::{ErrorKind, Labels, QueryResult, Sample};
use serde_json::{Map, Value, json};

use crate::{QueryError, text::Number};

pub(crate) fn success(data: Value) -> Value {
    json!({ "status": "success", "data": data })
}

pub(crate) fn failure(error: &QueryError) -> Value {
    let kind = match error {
        QueryError::Query(error) => match error.kind {
            ErrorKind::Syntax { .. } | ErrorKind::Invalid(_) | ErrorKind::Unsupported(_) => {
                "bad_data"
            }
            ErrorKind::Execution(_) | ErrorKind::Limit { .. } => "execution",
            ErrorKind::Storage(_) => "internal",
        },
        QueryError::NotASelector(_) | QueryError::NoSelector | QueryError::Matcher(_) => "bad_data",
    };
    json!({ "status": "error", "errorType": kind, "error": error.to_string() })
}

pub(crate) fn result(result: QueryResult) -> Value {
    let (kind, result) = match result {
        QueryResult::Scalar(sample) => ("scalar", point(sample)),
        QueryResult::String(_) => ("string", Value::Null),
        QueryResult::Vector(series) => (
            "vector",
            series
                .into_iter()
                .map(|s| json!({ "metric": metric(&s.labels), "value": point(s.sample) }))
                .collect(),
        ),
        QueryResult::Matrix(series) => (
            "matrix",
            series
                .into_iter()
                .map(|s| {
                    let values: Value = s.samples.into_iter().map(point).collect();
                    json!({ "metric": metric(&s.labels), "values": values })
                })
                .collect(),
        ),
    };
    json!({ "resultType": kind, "result": result })
}

/// A text at a time, which the engine gives without one.
pub(crate) fn text(text: &str, at_ms: i64) -> Value {
    json!({ "resultType": "string", "result": [seconds(at_ms), text] })
}

fn metric(labels: &Labels) -> Map<String, Value> {
    let pair = |(name, value): (&str, &str)| (name.to_owned(), Value::from(value));
    labels.iter().map(pair).collect()
}

fn point(sample: Sample) -> Value {
    json!([
        seconds(sample.timestamp_ms),
        Number(sample.value).to_string()
    ])
}

fn seconds(ms: i64) -> Value {
    if ms % 1_000 == 0 {
        Value::from(ms / 1_000)
    } else {
        Value::from(ms as f64 / 1_000.0)
    }
}
