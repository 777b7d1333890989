//! `changes`, `why`, `change record`.

use mainstay_core::{ChangeId, ServiceName};
use serde_json::{Value, json};

use crate::{args::Global, client::Client, output};

pub(crate) struct Filter {
    pub(crate) kind: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) service: Option<ServiceName>,
    pub(crate) limit: usize,
}

pub(crate) async fn list(global: &Global, filter: &Filter) -> anyhow::Result<()> {
    let mut path = format!("/api/v1/changes?limit={}", filter.limit);
    let service = filter.service.as_ref().map(ToString::to_string);
    for (name, value) in [
        ("kind", &filter.kind),
        ("state", &filter.state),
        ("service", &service),
    ] {
        if let Some(value) = value {
            let plain: String = value
                .chars()
                .filter(|c| c.is_ascii_alphanumeric() || "-._".contains(*c))
                .collect();
            path.extend(["&", name, "=", &plain]);
        }
    }
    let list: Vec<Value> = Client::new(global)?.get(&path).await?;
    if output::value(global.output, &json!(list))? {
        return Ok(());
    }
    let text = |row: &Value, path: &str| {
        row.pointer(path)
            .and_then(Value::as_str)
            .unwrap_or("-")
            .to_owned()
    };
    let rows: Vec<Vec<String>> = list
        .iter()
        .map(|row| {
            vec![
                text(row, "/change/id"),
                output::time(&row["change"]["openedAt"]),
                text(row, "/change/kind"),
                text(row, "/state"),
                text(row, "/change/actor/id"),
                text(row, "/change/title"),
            ]
        })
        .collect();
    output::table(
        &["CHANGE", "OPENED", "KIND", "STATE", "ACTOR", "TITLE"],
        &rows,
    )
}

pub(crate) async fn why(global: &Global, change: &ChangeId) -> anyhow::Result<()> {
    let answer: Value = Client::new(global)?
        .get(&format!("/api/v1/changes/{change}"))
        .await?;
    if output::value(global.output, &answer)? {
        return Ok(());
    }
    let summary = &answer["summary"];
    let opened = &summary["change"];
    output::print(&format!(
        "{change}: {} ({})",
        plain(&opened["title"]),
        plain(&summary["state"])
    ))?;
    let verified = if opened["actor"]["verified"] == json!(true) {
        ""
    } else {
        ", unverified"
    };
    output::print(&format!(
        "  by {}{verified}: {}",
        plain(&opened["actor"]["id"]),
        reason(&opened["reason"])
    ))?;
    for entry in answer["entries"].as_array().unwrap_or(&Vec::new()) {
        let body: Value =
            serde_json::from_str(entry["body"].as_str().unwrap_or("null")).unwrap_or_default();
        let line = match entry["kind"].as_str().unwrap_or_default() {
            "change.opened" => format!("opened: {}", plain(&body["title"])),
            "change.moved" => format!("{}: {}", plain(&body["state"]), plain(&body["because"])),
            kind => format!("{kind}: {body}"),
        };
        output::print(&format!(
            "  {}  #{}  {line}",
            output::time(&entry["at"]),
            entry["seq"]
        ))?;
    }
    Ok(())
}

fn plain(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

fn reason(value: &Value) -> &str {
    value
        .as_str()
        .filter(|reason| !reason.is_empty())
        .unwrap_or("no reason given")
}

pub(crate) async fn record(
    client: &Client,
    title: String,
    reason: String,
    services: Vec<ServiceName>,
) -> anyhow::Result<()> {
    let body = json!({ "title": title, "reason": reason, "services": services });
    let response: Value = client.post("/api/v1/changes/record", &body).await?;
    output::print(&format!("change {}", plain(&response["change"])))
}
