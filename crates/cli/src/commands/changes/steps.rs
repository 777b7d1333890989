//! Every step of a change, with its verdicts and the measurements they stand on.
//!
//! Guarantees: every entry of the change's stream gives at least one line, in order; what this version does
//! not know is shown as the JSON it is. Never leaves a finding out. Example: an entry
//! `{"what":"batch-began","number":3}` is `Batch began  number 3`.

use mainstay_core::{Finding, Verdict, change};
use serde_json::{Map, Value, json};

use crate::{
    output,
    style::{self, Style},
};

/// Spaces before what belongs to an entry.
const INDENT: &str = "      ";

/// The lines of `mainstay why`.
pub(super) fn lines(change: &str, answer: &Value, style: Style) -> Vec<String> {
    let summary = &answer["summary"];
    let opened = &summary["change"];
    let because = match summary["because"].as_str() {
        None | Some("") => String::new(),
        Some(because) => format!(": {}", style::clean(because)),
    };
    let mut lines = vec![
        format!(
            "{change}: {} ({}{because})",
            style.bold(&output::cell(opened, "/title")),
            style.word(&output::cell(summary, "/state"))
        ),
        format!("  by {}", author(opened)),
    ];
    if let Some(policy) = opened.pointer("/emergency/policy").and_then(Value::as_str) {
        let reason = output::cell(opened, "/emergency/reason");
        let stated = stated(&opened["emergency"]);
        lines.push(style.warn(&format!(
            "  under emergency policy {policy}: {reason}{stated}"
        )));
    }
    let none = Vec::new();
    for entry in answer["entries"].as_array().unwrap_or(&none) {
        lines.extend(step(entry, style));
    }
    lines
}

/// What was stated in place of what is measured, if anything was.
fn stated(emergency: &Value) -> String {
    let said = |field: &str, of: &str| {
        let rps = emergency[field].as_f64()?;
        Some(format!("; states {rps} rps {of}"))
    };
    let demand = said("statedDemandRps", "of demand");
    let capacity = said("statedCapacityRps", "an instance");
    demand.into_iter().chain(capacity).collect()
}

fn author(opened: &Value) -> String {
    let verified = if opened["actor"]["verified"] == json!(true) {
        ""
    } else {
        ", unverified"
    };
    let reason = opened["reason"].as_str().unwrap_or_default();
    let reason = if reason.is_empty() {
        "no reason given".to_owned()
    } else {
        style::clean(reason)
    };
    format!("{}{verified}: {reason}", output::cell(opened, "/actor/id"))
}

fn step(entry: &Value, style: Style) -> Vec<String> {
    let text = entry["body"].as_str().unwrap_or_default();
    let kind = entry["kind"].as_str().unwrap_or_default();
    let (head, below) = match serde_json::from_str::<Value>(text) {
        Ok(body) => told(kind, &body, style),
        Err(_) => (format!("{kind}: {}", style::clean(text)), Vec::new()),
    };
    let stamp = format!("{}  #{}", output::time(&entry["at"]), entry["seq"]);
    let mut lines = vec![format!("  {}  {head}", style.dim(&stamp))];
    lines.extend(below.into_iter().map(|line| format!("{INDENT}{line}")));
    lines
}

/// An entry's own line, and those below it.
fn told(kind: &str, body: &Value, style: Style) -> (String, Vec<String>) {
    match kind {
        change::OPENED => (
            format!("Opened: {}", output::cell(body, "/title")),
            Vec::new(),
        ),
        change::MOVED => {
            let state = style.word(&output::cell(body, "/state"));
            let because = output::cell(body, "/because");
            (format!("Moved to {state}: {because}"), Vec::new())
        }
        change::VERDICT => match serde_json::from_value::<Verdict>(body.clone()) {
            Ok(verdict) => judged(&verdict, style),
            Err(_) => (format!("{kind}: {}", compact(body)), Vec::new()),
        },
        _ => match (body["what"].as_str(), body.as_object()) {
            (Some(what), Some(fields)) => event(what, fields, style),
            _ => (format!("{kind}: {}", compact(body)), Vec::new()),
        },
    }
}

fn judged(verdict: &Verdict, style: Style) -> (String, Vec<String>) {
    let below = verdict.findings.iter();
    (
        format!("Verdict on {}", output::verdict(verdict, style)),
        below.map(|one| output::finding(one, style)).collect(),
    )
}

/// `Batch began  number 3  fabric lax`, then its verdict and findings.
fn event(what: &str, fields: &Map<String, Value>, style: Style) -> (String, Vec<String>) {
    let (mut words, mut below) = (vec![title(what)], Vec::new());
    for (name, value) in fields.iter().filter(|(name, _)| *name != "what") {
        if let Ok(verdict) = serde_json::from_value::<Verdict>(value.clone()) {
            let (line, findings) = judged(&verdict, style);
            below.push(line);
            below.extend(findings.into_iter().map(|finding| format!("  {finding}")));
        } else if let Ok(finding) = serde_json::from_value::<Finding>(value.clone()) {
            below.push(output::finding(&finding, style));
        } else if let Some(list) = findings(value) {
            below.extend(list.iter().map(|finding| output::finding(finding, style)));
        } else if let Some(text) = scalar(name, value) {
            words.push(format!("{} {text}", style.dim(&spaced(name))));
        } else if !value.is_null() {
            below.push(format!("{}: {}", spaced(name), compact(value)));
        }
    }
    (words.join("  "), below)
}

/// A list that has findings and nothing else.
fn findings(value: &Value) -> Option<Vec<Finding>> {
    let list = value.as_array().filter(|list| !list.is_empty())?;
    let read = |one: &Value| serde_json::from_value(one.clone()).ok();
    list.iter().map(read).collect()
}

/// What fits into the line: a value, or a short list of texts.
fn scalar(name: &str, value: &Value) -> Option<String> {
    match value {
        Value::Number(_) if name == "at" || name.ends_with("At") || name.ends_with("_at") => {
            Some(output::time(value))
        }
        Value::String(text) => Some(style::clean(text)),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Array(list) if list.iter().all(Value::is_string) => {
            let texts: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
            Some(style::clean(&texts.join(",")))
        }
        _ => None,
    }
}

/// `batch-began` → `Batch began`.
fn title(what: &str) -> String {
    let text = style::clean(&what.replace(['-', '_'], " "));
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

/// `beganAt` and `began_at` → `began at`.
fn spaced(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        match letter {
            '_' | '-' => text.push(' '),
            upper if upper.is_ascii_uppercase() => {
                text.push(' ');
                text.push(upper.to_ascii_lowercase());
            }
            other => text.push(other),
        }
    }
    style::clean(&text)
}

fn compact(value: &Value) -> String {
    style::clean(&value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(seq: u64, kind: &str, body: &str) -> Value {
        json!({"seq": seq, "at": 1_000 * seq, "kind": kind, "body": body})
    }

    #[test]
    fn every_step_is_told_with_its_verdict_and_its_measurements() {
        let finding = json!({"signal": "error ratio", "outcome": "fail", "value": "2.1 % of 812 requests",
            "limit": "0.1 %", "remedy": "look at the canary's log"});
        let judged = json!({"what": "canary-judged", "weight": 100, "fabric": "lax",
            "verdict": {"step": "canary 1 %", "at": 3, "findings": [finding]}});
        let answer = json!({
            "summary": {"state": "rolled-back", "because": "errors", "change": {"title": "feed v1 → v2",
                "actor": {"id": "ana", "verified": false}, "reason": "",
                "emergency": {"policy": "blind", "reason": "no metrics", "statedDemandRps": 400.0}}},
            "entries": [
                entry(1, "change.opened", "{\"title\":\"feed v1 → v2\"}"),
                entry(2, "rollout.event",
                    "{\"what\":\"batch-began\",\"number\":1,\"instances\":[\"a\",\"b\"],\"beganAt\":2000,\"x\":null}"),
                entry(3, "rollout.event", &judged.to_string()),
                entry(4, "rollout.event", &json!({"what": "refused", "finding": finding}).to_string()),
                entry(5, "change.moved", "{\"state\":\"rolled-back\",\"because\":\"errors\"}"),
                entry(6, "rollout.event", "{\"odd\":[1]}"),
                entry(7, "rollout.event", "{\"what\":\"planned\",\"deep\":{\"a\":1}}"),
                entry(8, "other", "no json"),
            ],
        });
        let told =
            "fail  error ratio: 2.1 % of 812 requests (limit 0.1 %) → look at the canary's log";
        assert_eq!(
            lines("chg-a", &answer, Style::PLAIN),
            [
                "chg-a: feed v1 → v2 (rolled-back: errors)".to_owned(),
                "  by ana, unverified: no reason given".to_owned(),
                "  under emergency policy blind: no metrics; states 400 rps of demand".to_owned(),
                "  1970-01-01T00:00:01Z  #1  Opened: feed v1 → v2".to_owned(),
                "  1970-01-01T00:00:02Z  #2  Batch began  number 1  instances a,b  began at \
                 1970-01-01T00:00:02Z"
                    .to_owned(),
                "  1970-01-01T00:00:03Z  #3  Canary judged  weight 100  fabric lax".to_owned(),
                "      Verdict on canary 1 %: fail".to_owned(),
                format!("        {told}"),
                "  1970-01-01T00:00:04Z  #4  Refused".to_owned(),
                format!("      {told}"),
                "  1970-01-01T00:00:05Z  #5  Moved to rolled-back: errors".to_owned(),
                "  1970-01-01T00:00:06Z  #6  rollout.event: {\"odd\":[1]}".to_owned(),
                "  1970-01-01T00:00:07Z  #7  Planned".to_owned(),
                "      deep: {\"a\":1}".to_owned(),
                "  1970-01-01T00:00:08Z  #8  other: no json".to_owned(),
            ]
        );
    }
}
