//! `changes`, `why`, `change record`.

mod steps;

use mainstay_core::{ChangeId, ServiceName};
use serde_json::{Value, json};

use crate::{
    args::Global,
    client::{Client, parameters},
    output::{self, cell},
    style::Style,
};

pub(crate) struct Filter {
    pub(crate) kind: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) service: Option<ServiceName>,
    pub(crate) limit: usize,
}

pub(crate) async fn list(global: &Global, filter: &Filter) -> anyhow::Result<()> {
    let service = filter.service.as_ref().map(ToString::to_string);
    let limit = filter.limit.to_string();
    let mut pairs = vec![("limit", limit.as_str())];
    for (name, value) in [
        ("kind", &filter.kind),
        ("state", &filter.state),
        ("service", &service),
    ] {
        pairs.extend(value.as_deref().map(|value| (name, value)));
    }
    let path = format!("/api/v1/changes{}", parameters(&pairs));
    let list: Vec<Value> = Client::new(global)?.get(&path).await?;
    if output::value(global.output, &json!(list))? {
        return Ok(());
    }
    let style = Style::of_stdout();
    let rows: Vec<Vec<String>> = list
        .iter()
        .map(|row| {
            vec![
                cell(row, "/change/id"),
                output::time(&row["change"]["openedAt"]),
                cell(row, "/change/kind"),
                style.word(&cell(row, "/state")),
                cell(row, "/change/actor/id"),
                cell(row, "/change/title"),
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
    steps::lines(change.as_str(), &answer, Style::of_stdout())
        .iter()
        .try_for_each(|line| output::print(line))
}

fn plain(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
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
