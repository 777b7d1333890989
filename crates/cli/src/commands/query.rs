//! `query`: PromQL, printed as promtool does.
//!
//! Guarantees: an expression that is wrong is shown with a mark under the place, exit code 2. Never
//! rounds a value. Example: `up{instance="feed-lax-1"} => 1 @[1793898000]`.

mod plan;

use anyhow::{Context as _, anyhow, bail};
use mainstay_core::{Span, Time};
use serde_json::{Map, Value};

use crate::{
    args::Global,
    client::{Client, ClientError, parameters},
    output, ports, style,
};

/// What is asked.
pub(crate) struct Question {
    pub(crate) expr: String,
    pub(crate) time: Option<String>,
    pub(crate) range: Option<Span>,
    pub(crate) step: Span,
    /// `estimate` or `analyze`.
    pub(crate) plan: Option<String>,
}

pub(crate) async fn query(global: &Global, question: &Question) -> anyhow::Result<()> {
    let at = question
        .time
        .as_deref()
        .map_or_else(|| Ok(ports::now()), time)?;
    let plan = question.plan.iter().map(|plan| ("plan", plan.as_str()));
    let path = match question.range {
        None => {
            let at = seconds(at);
            let pairs = [("query", question.expr.as_str()), ("time", &at)];
            let pairs: Vec<_> = pairs.into_iter().chain(plan).collect();
            format!("/api/v1/query{}", parameters(&pairs))
        }
        Some(range) => {
            if question.step == Span::ZERO {
                bail!("a step of 0s never reaches the end: use for example --step 15s");
            }
            let (start, end) = (seconds(at - range), seconds(at));
            let step = seconds(Time::from_millis(0) + question.step);
            let pairs = [
                ("query", question.expr.as_str()),
                ("start", &start),
                ("end", &end),
                ("step", &step),
            ];
            let pairs: Vec<_> = pairs.into_iter().chain(plan).collect();
            format!("/api/v1/query_range{}", parameters(&pairs))
        }
    };
    let answer: Value = match Client::new(global)?.get(&path).await {
        Err(ClientError::Refused { problem, .. }) if problem["error"].is_string() => problem,
        other => other?,
    };
    if answer["status"] != "success" {
        let error = answer["error"].as_str().unwrap_or("no reason was given");
        return Err(anyhow!("{}", marked(&question.expr, error)));
    }
    for (key, word) in [("warnings", "warning"), ("infos", "info")] {
        for note in answer[key].as_array().unwrap_or(&Vec::new()) {
            eprintln!(
                "{word}: {}",
                style::clean(note.as_str().unwrap_or_default())
            );
        }
    }
    let data = &answer["data"];
    if output::value(global.output, data)? {
        return Ok(());
    }
    if data["result"].is_array() {
        lines(data)
            .iter()
            .try_for_each(|line| output::print(line))?;
    }
    plan::lines(&data["plan"])
        .iter()
        .try_for_each(|line| output::print(line))
}

/// RFC 3339, or seconds since 1970 as Prometheus writes them.
fn time(text: &str) -> anyhow::Result<Time> {
    if let Ok(seconds) = text.parse::<f64>()
        && seconds.is_finite()
    {
        return Ok(Time::from_millis((seconds * 1_000.0).round() as i64));
    }
    text.parse().with_context(|| {
        format!("--time takes RFC 3339 or seconds since 1970, and `{text}` is neither")
    })
}

/// Seconds with their fraction, exactly.
fn seconds(at: Time) -> String {
    let (whole, rest) = (at.millis().div_euclid(1_000), at.millis().rem_euclid(1_000));
    match rest {
        0 => whole.to_string(),
        // Below zero the whole seconds were rounded down, and the fraction would count upwards.
        _ if whole < 0 => format!("{:.3}", at.millis() as f64 / 1_000.0),
        rest => format!("{whole}.{rest:03}"),
    }
}

/// The error, and the line of the expression with a mark below the column it names.
fn marked(expr: &str, error: &str) -> String {
    let place = error.split_once(": ").and_then(|(place, _)| {
        let (line, column) = place.split_once(':')?;
        let line: usize = line.parse().ok()?;
        let column: usize = column.parse().ok()?;
        let text = expr.lines().nth(line.checked_sub(1)?)?;
        Some((text, column.checked_sub(1)?))
    });
    let error = style::clean(error);
    match place {
        Some((text, column)) => format!("{error}\n  {text}\n  {}^", " ".repeat(column)),
        None => error,
    }
}

fn lines(data: &Value) -> Vec<String> {
    let none = Vec::new();
    let result = data["result"].as_array().unwrap_or(&none);
    match data["resultType"].as_str() {
        Some("vector") => result
            .iter()
            .map(|one| format!("{} => {}", series(&one["metric"]), point(&one["value"])))
            .collect(),
        Some("matrix") => result
            .iter()
            .flat_map(|one| {
                let points = one["values"].as_array().unwrap_or(&none).iter().map(point);
                std::iter::once(format!("{} =>", series(&one["metric"])))
                    .chain(points)
                    .collect::<Vec<_>>()
            })
            .collect(),
        Some("scalar") => vec![format!("scalar: {}", point(&data["result"]))],
        Some("string") => vec![point(&data["result"])],
        _ => vec![data.to_string()],
    }
}

/// `up{instance="feed-lax-1"}`.
fn series(metric: &Value) -> String {
    let none = Map::new();
    let labels = metric.as_object().unwrap_or(&none);
    let name = labels.get("__name__").and_then(Value::as_str);
    let pairs: Vec<String> = labels
        .iter()
        .filter(|(label, _)| *label != "__name__")
        .map(|(label, value)| format!("{label}={value}"))
        .collect();
    style::clean(&format!(
        "{}{{{}}}",
        name.unwrap_or_default(),
        pairs.join(", ")
    ))
}

/// `1 @[1793898000.25]`.
fn point(point: &Value) -> String {
    let value = point[1].as_str().unwrap_or("-");
    format!("{} @[{}]", style::clean(value), point[0])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_vector_a_matrix_and_a_scalar_are_printed_as_promtool_does() {
        let metric = json!({"__name__": "up", "instance": "feed-1", "job": "feed"});
        let vector =
            json!({"resultType": "vector", "result": [{"metric": metric, "value": [1.5, "1"]}]});
        assert_eq!(
            lines(&vector),
            ["up{instance=\"feed-1\", job=\"feed\"} => 1 @[1.5]"]
        );
        let matrix = json!({"resultType": "matrix", "result": [
            {"metric": {"job": "feed"}, "values": [[1, "0"], [16, "+Inf"]]}]});
        assert_eq!(
            lines(&matrix),
            ["{job=\"feed\"} =>", "0 @[1]", "+Inf @[16]"]
        );
        let scalar = json!({"resultType": "scalar", "result": [2, "3"]});
        assert_eq!(lines(&scalar), ["scalar: 3 @[2]"]);
        assert!(lines(&json!({"resultType": "vector", "result": []})).is_empty());
    }

    #[test]
    fn a_wrong_expression_is_marked_where_it_is_wrong() {
        assert_eq!(
            marked("sum(up", "1:7: unexpected end of the query"),
            "1:7: unexpected end of the query\n  sum(up\n        ^"
        );
        assert_eq!(marked("up", "too many samples"), "too many samples");
        assert_eq!(marked("up", "9:1: off"), "9:1: off");
    }

    #[test]
    fn a_time_is_seconds_or_rfc_3339_and_is_sent_exactly() {
        assert_eq!(seconds(time("1793898000.25").unwrap()), "1793898000.250");
        assert_eq!(seconds(time("2026-11-05T17:00:00Z").unwrap()), "1793898000");
        assert_eq!(seconds(Time::from_millis(-1)), "-0.001");
        assert!(format!("{:#}", time("noon").unwrap_err()).contains("RFC 3339"));
    }
}
