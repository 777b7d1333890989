//! Declared resources: `apply`, `diff`, `delete`, and how `get` and `describe` show them.

use std::process::ExitCode;

use mainstay_core::{Kind, Name, Resource, resource};
use mainstay_server::{ApplyRequest, ApplyResponse};
use serde_json::{Value, json};

use crate::{
    args::{Files, Format, Global, Pointed, Pointing},
    client::{Client, ClientError},
    output::{self, cell},
    yaml::{self, Written},
};

pub(crate) async fn apply(
    global: &Global,
    files: &Files,
    reason: String,
    dry_run: bool,
) -> anyhow::Result<()> {
    let (_, response) = sent(global, files, reason, dry_run).await?;
    if output::value(global.output, &json!(response))? {
        return Ok(());
    }
    let suffix = if dry_run { " (dry run)" } else { "" };
    for result in &response.results {
        output::print(&format!(
            "{}/{} {}{suffix}",
            result.kind.as_str().to_lowercase(),
            result.name,
            result.outcome
        ))?;
    }
    match &response.change {
        Some(change) => output::print(&format!("change {change}")),
        None => Ok(()),
    }
}

/// Has the server apply what is written in `files`; what it refuses is told with where it was written.
async fn sent(
    global: &Global,
    files: &Files,
    reason: String,
    dry_run: bool,
) -> anyhow::Result<(Vec<Resource>, ApplyResponse)> {
    let (resources, written): (Vec<Resource>, Vec<Written>) =
        yaml::read(&files.paths)?.into_iter().unzip();
    let request = ApplyRequest {
        resources,
        reason,
        dry_run,
    };
    let answer = Client::new(global)?.post("/api/v1/apply", &request).await;
    let resources = request.resources;
    let place = |resource: &str, field: &str| {
        let all = resources.iter().zip(&written);
        let its = all.filter(|(it, _)| format!("{}/{}", it.kind, it.metadata.name) == resource);
        let places: Vec<String> = its.map(|(_, written)| written.place(field)).collect();
        (!places.is_empty()).then(|| places.join(" and "))
    };
    match answer {
        Ok(response) => Ok((resources, response)),
        Err(error @ ClientError::Refused { .. }) => {
            let error = anyhow::Error::new(error.placed(place));
            Err(match (&resources[..], &written[..]) {
                // What it says of no field it says of the only resource there is.
                ([_], [only]) if !names_places(&error) => error.context(only.place("")),
                _ => error,
            })
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether what was refused is told place by place.
fn names_places(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ClientError::Refused { problem, .. }) if problem["errors"].is_array())
}

pub(crate) async fn diff(global: &Global, files: &Files) -> anyhow::Result<ExitCode> {
    let (resources, response) = sent(global, files, String::new(), true).await?;
    let mut differs = false;
    for (wanted, result) in resources.iter().zip(&response.results) {
        if result.outcome == "unchanged" {
            continue;
        }
        differs = true;
        output::print(&format!(
            "{}/{} would be {}",
            result.kind.as_str().to_lowercase(),
            result.name,
            result.outcome
        ))?;
        let before = result
            .before
            .as_ref()
            .map_or(Value::Null, |before| json!(before));
        let mut lines = Vec::new();
        compare("", &before, &json!(wanted), &mut lines);
        lines.iter().try_for_each(|line| output::print(line))?;
    }
    Ok(if differs {
        ExitCode::from(1)
    } else {
        ExitCode::SUCCESS
    })
}

/// One line for every leaf that differs.
fn compare(path: &str, before: &Value, after: &Value, lines: &mut Vec<String>) {
    match (before, after) {
        (before, after) if before == after => {}
        (Value::Object(old), Value::Object(new)) => {
            let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for key in keys {
                let side = |map: &serde_json::Map<String, Value>| {
                    map.get(key).cloned().unwrap_or(Value::Null)
                };
                compare(&format!("{path}.{key}"), &side(old), &side(new), lines);
            }
        }
        (before, after) => {
            if !before.is_null() {
                lines.push(format!("- {path}: {before}"));
            }
            if !after.is_null() {
                lines.push(format!("+ {path}: {after}"));
            }
        }
    }
}

/// Those of these names, or all of the kind.
pub(crate) async fn fetch(
    client: &Client,
    kind: Kind,
    names: &[Name],
) -> anyhow::Result<Vec<Value>> {
    let path = format!("/api/v1/resources/{}", kind.plural());
    if names.is_empty() {
        return Ok(client.get(&path).await?);
    }
    let mut list = Vec::with_capacity(names.len());
    for name in names {
        list.push(client.get(&format!("{path}/{name}")).await?);
    }
    Ok(list)
}

/// As `get` shows them.
pub(crate) fn table(kind: Kind, list: &[Value]) -> anyhow::Result<()> {
    if list.is_empty() {
        eprintln!("no {} declared", kind.plural());
        return Ok(());
    }
    let rows: Vec<Vec<String>> = list.iter().map(|resource| row(kind, resource)).collect();
    output::table(header(kind), &rows)
}

fn header(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Service => &[
            "NAME",
            "OWNER",
            "TIER",
            "INSTANCES",
            "CALLS",
            "APPLIED",
            "BY",
        ],
        Kind::Fabric => &["NAME", "LISTEN", "APPLIED", "BY"],
        Kind::Host => &["NAME", "FABRIC", "APPLIED", "BY"],
        Kind::RolloutPolicy => &["NAME", "STRATEGY", "APPLIED", "BY"],
        Kind::Guard => &["NAME", "EXPR", "OP", "LIMIT", "APPLIED", "BY"],
        Kind::Freeze => &["NAME", "REASON", "FROM", "UNTIL", "APPLIED", "BY"],
        Kind::Monitor => &["NAME", "EVERY", "EXPR", "OP", "LIMIT", "APPLIED", "BY"],
        Kind::EscalationPolicy => &["NAME", "STEPS", "FIRST", "ALERTS", "APPLIED", "BY"],
        Kind::Responder => &["NAME", "ZONE", "CONTACTS", "APPLIED", "BY"],
        Kind::Schedule => &["NAME", "ZONE", "LAYERS", "APPLIED", "BY"],
    }
}

/// The names of what a list holds.
fn named(list: &Value) -> String {
    let names = list.as_array().into_iter().flatten();
    let names: Vec<String> = names.map(|one| output::cell(one, "/name")).collect();
    names.join(",")
}

fn row(kind: Kind, resource: &Value) -> Vec<String> {
    let spec = &resource["spec"];
    let text = |field: &str| match &spec[field] {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut cells = vec![
        resource["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    ];
    match kind {
        Kind::Service => {
            let instances = spec["instances"]
                .as_object()
                .map_or(0, |map| map.values().filter_map(Value::as_u64).sum());
            let calls: Vec<&str> = spec["dependencies"]
                .as_array()
                .map(|edges| {
                    edges
                        .iter()
                        .filter_map(|edge| edge["service"].as_str())
                        .collect()
                })
                .unwrap_or_default();
            let calls = if calls.is_empty() {
                "-".to_owned()
            } else {
                calls.join(",")
            };
            cells.extend([text("owner"), text("tier"), instances.to_string(), calls]);
        }
        Kind::Fabric => cells.push(text("listen")),
        Kind::Host => cells.push(text("fabric")),
        Kind::RolloutPolicy => cells.push(text("strategy")),
        Kind::Guard => cells.extend([text("expr"), text("op"), text("limit")]),
        Kind::Freeze => cells.extend([
            text("reason"),
            output::time(&spec["from"]),
            output::time(&spec["until"]),
        ]),
        Kind::Monitor => cells.extend([
            output::cell(spec, "/every/kind"),
            text("expr"),
            text("op"),
            text("limit"),
        ]),
        Kind::EscalationPolicy => {
            let steps = spec["steps"].as_array().map_or(0, Vec::len);
            let (steps, first) = match steps {
                0 => ("usual".to_owned(), "primary".to_owned()),
                steps => (steps.to_string(), output::cell(spec, "/steps/0/who")),
            };
            let alerts = match &spec["alerts"] {
                Value::Null => "-".to_owned(),
                alerts => output::cell(alerts, "/matchers"),
            };
            cells.extend([steps, first, alerts]);
        }
        Kind::Responder => cells.extend([text("zone"), named(&spec["contacts"])]),
        Kind::Schedule => cells.extend([text("zone"), named(&spec["layers"])]),
    }
    cells.push(output::time(&resource["status"]["appliedAt"]));
    cells.push(
        resource["status"]["appliedBy"]["id"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    );
    cells
}

/// As `describe` shows one, with what is `blocked` of it.
pub(crate) fn described(
    kind: Kind,
    name: &Name,
    resource: &Value,
    blocked: &[Value],
) -> anyhow::Result<()> {
    output::value(Format::Yaml, &with_times(resource))?;
    for one in blocked {
        output::print(&format!(
            "# {}: {}\n#   to unblock: {}",
            cell(one, "/what"),
            cell(one, "/because"),
            cell(one, "/remedy")
        ))?;
    }
    output::print(&format!(
        "# history: mainstay ledger show --stream {}",
        resource::resource_stream(kind, name)
    ))
}

/// The same, with times as people write them.
fn with_times(value: &Value) -> Value {
    const TIMES: [&str; 3] = ["appliedAt", "from", "until"];
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| {
                let is_time = TIMES.contains(&name.as_str()) && value.is_i64();
                let value = if is_time {
                    Value::String(output::time(value))
                } else {
                    with_times(value)
                };
                (name.clone(), value)
            })
            .collect(),
        Value::Array(list) => list.iter().map(with_times).collect(),
        other => other.clone(),
    }
}

/// Deletes one after another, each a change of its own; what went before one that is refused stays deleted,
/// and is told.
pub(crate) async fn delete(
    global: &Global,
    what: &Pointing<Kind>,
    reason: &str,
) -> anyhow::Result<()> {
    let client = Client::new(global)?;
    let mut answers = Vec::new();
    let mut ended = Ok(());
    for Pointed { kind, names } in what.by_name()? {
        for name in names {
            let path = format!("/api/v1/resources/{}/{name}/delete", kind.plural());
            match client
                .post::<Value>(&path, &json!({ "reason": reason }))
                .await
            {
                Ok(answer) => answers.push((kind, name, answer)),
                Err(error) => {
                    ended = Err(error.into());
                    break;
                }
            }
        }
        if ended.is_err() {
            break;
        }
    }
    let told: Vec<&Value> = answers.iter().map(|(_, _, answer)| answer).collect();
    if !output::one_or_all(global.output, &told)? {
        for (kind, name, answer) in &answers {
            let change = answer["change"].as_str().unwrap_or_default();
            let kind = kind.as_str().to_lowercase();
            output::print(&format!("{kind}/{name} deleted\nchange {change}"))?;
        }
    }
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_names_each_leaf_that_differs_and_no_other() {
        let mut lines = Vec::new();
        let before = json!({"spec": {"tier": 1, "owner": "feed", "old": true}});
        let after = json!({"spec": {"tier": 2, "owner": "feed", "new": "x"}});
        compare("", &before, &after, &mut lines);
        assert_eq!(
            lines,
            [
                "+ .spec.new: \"x\"",
                "- .spec.old: true",
                "- .spec.tier: 1",
                "+ .spec.tier: 2"
            ]
        );
    }
}
