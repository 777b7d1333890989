//! `get instances` and `describe instance`: what runs, as it claims and as it is measured.
//!
//! Guarantees: a claim and a measurement stand in columns of their own. Never shows a value that is
//! absent as zero.

use anyhow::bail;
use mainstay_core::{Name, Time};
use serde_json::{Value, json};

use crate::{
    client::Client,
    output::{self, cell},
    ports,
    style::{self, Style},
};

const HEADER: [&str; 11] = [
    "NAME", "SERVICE", "FABRIC", "HOST", "VERSION", "STATE", "CLAIMED", "MEASURED", "VERDICT",
    "RPS", "AGE",
];

/// Those of these names, or all that run.
pub(crate) async fn fetch(client: &Client, names: &[Name]) -> anyhow::Result<Vec<Value>> {
    let mut list: Vec<Value> = client.get("/api/v1/views/instances").await?;
    if names.is_empty() {
        return Ok(list);
    }
    let name_of = |one: &Value| one.pointer("/metadata/name").cloned();
    for name in names {
        if !list.iter().any(|one| name_of(one) == Some(json!(name))) {
            bail!(
                "there is no instance `{name}`\n  remedy: list them with `mainstay get instances`"
            );
        }
    }
    list.retain(|one| names.iter().any(|name| name_of(one) == Some(json!(name))));
    Ok(list)
}

/// As `get` shows them.
pub(crate) fn table(list: &[Value]) -> anyhow::Result<()> {
    if list.is_empty() {
        eprintln!("no instances: no agent has reported one yet");
        return Ok(());
    }
    let (now, style) = (ports::now(), Style::of_stdout());
    let rows: Vec<Vec<String>> = list.iter().map(|one| row(one, now, style)).collect();
    output::table(&HEADER, &rows)
}

fn row(one: &Value, now: Time, style: Style) -> Vec<String> {
    let wanted = cell(one, "/spec/version");
    let version = match cell(one, "/status/version") {
        runs if runs == "-" || runs == wanted => wanted,
        runs => style.warn(&format!("{runs} (wants {wanted})")),
    };
    let word = |pointer: &str| style.word(&cell(one, pointer));
    vec![
        cell(one, "/metadata/name"),
        cell(one, "/spec/service"),
        cell(one, "/spec/fabric"),
        cell(one, "/spec/host"),
        version,
        word("/status/state"),
        word("/status/claimed"),
        word("/status/measured"),
        word("/status/verdict"),
        cell(one, "/status/goodputRps"),
        output::age(one, "/status/startedAt", now),
    ]
}

/// As `describe` shows one.
pub(crate) fn described(one: &Value) -> anyhow::Result<()> {
    lines(one, ports::now(), Style::of_stdout())
        .iter()
        .try_for_each(|line| output::print(line))
}

/// The verdict with its evidence first, then every other field.
fn lines(one: &Value, now: Time, style: Style) -> Vec<String> {
    let mut lines = vec![
        format!(
            "{}  {} {} in {} on {}",
            style.bold(&cell(one, "/metadata/name")),
            cell(one, "/spec/service"),
            cell(one, "/spec/version"),
            cell(one, "/spec/fabric"),
            cell(one, "/spec/host")
        ),
        format!("  verdict   {}", style.word(&cell(one, "/status/verdict"))),
        format!("  claimed   {}", style.word(&cell(one, "/status/claimed"))),
        format!("  measured  {}", style.word(&cell(one, "/status/measured"))),
        "  evidence".to_owned(),
    ];
    lines.extend(evidence(&one["status"]["evidence"]));
    lines.push("  status".to_owned());
    const TOLD: [&str; 4] = ["verdict", "claimed", "measured", "evidence"];
    let none = serde_json::Map::new();
    let fields = one["status"].as_object().unwrap_or(&none);
    for (field, value) in fields
        .iter()
        .filter(|(field, _)| !TOLD.contains(&field.as_str()))
    {
        let text = match field.as_str() {
            "startedAt" | "reportedAt" => {
                let ago = output::age(&one["status"], &format!("/{field}"), now);
                format!("{} ({ago} ago)", output::time(value))
            }
            _ => cell(value, ""),
        };
        lines.push(format!("    {field:<12}  {text}"));
    }
    lines
}

/// A text, a list of texts, or fields.
fn evidence(evidence: &Value) -> Vec<String> {
    match evidence {
        Value::Null => vec!["    none yet".to_owned()],
        Value::String(text) => vec![format!("    {}", style::clean(text))],
        Value::Array(list) => list.iter().flat_map(self::evidence).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(field, value)| format!("    {field}: {}", cell(value, "")))
            .collect(),
        other => vec![format!("    {other}")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn liar() -> Value {
        json!({
            "metadata": {"name": "feed-lax-1"},
            "spec": {"service": "feed", "fabric": "lax", "host": "h1", "version": "v2"},
            "status": {"state": "running", "claimed": "ok", "measured": "failing", "verdict": "lying",
                "evidence": ["health says ok", "goodput 0 of 40 rps for 12 s"], "version": "v1",
                "startedAt": 60_000, "goodputRps": 0.0, "pid": null},
        })
    }

    #[test]
    fn a_claim_and_a_measurement_stand_side_by_side() {
        let row = row(&liar(), Time::from_millis(240_000), Style::PLAIN);
        assert_eq!(
            row.join("|"),
            "feed-lax-1|feed|lax|h1|v1 (wants v2)|running|ok|failing|lying|0|3m"
        );
    }

    #[test]
    fn a_description_gives_the_evidence_before_the_rest() {
        let lines = lines(&liar(), Time::from_millis(240_000), Style::PLAIN).join("\n");
        assert!(
            lines.contains(
                "  evidence\n    health says ok\n    goodput 0 of 40 rps for 12 s\n  status\n"
            ),
            "{lines}"
        );
        assert!(lines.contains("pid           -"), "{lines}");
        assert!(lines.contains("1970-01-01T00:01:00Z (3m ago)"), "{lines}");
    }
}
