//! `top series`: where the series of the engine come from, and who is at a limit.
//!
//! Guarantees: counts what had a sample in the last five minutes, tenants what they hold in memory; a limit that is not
//! said is `-`. Never prints a part: everything is fetched first.

use serde_json::{Map, Value};

use crate::{
    args::{Global, TopBy},
    client::Client,
    output::{self, cell, figure},
};

/// A list that the server gives by itself: its name there, the heads of its columns, and what it is of.
const LISTS: [(TopBy, &str, [&str; 2]); 3] = [
    (
        TopBy::Metric,
        "seriesCountByMetricName",
        ["METRIC", "SERIES"],
    ),
    (
        TopBy::Pair,
        "seriesCountByLabelValuePair",
        ["LABEL=VALUE", "SERIES"],
    ),
    (
        TopBy::Label,
        "labelValueCountByLabelName",
        ["LABEL", "VALUES"],
    ),
];

pub(crate) async fn series(global: &Global, by: Option<TopBy>, limit: usize) -> anyhow::Result<()> {
    let client = Client::new(global)?;
    let wants = |of: TopBy| by.is_none_or(|by| by == of);
    let mut found = Map::new();
    if wants(TopBy::Tenant) {
        let path = format!("/api/v1/status/tenants?limit={limit}");
        let mut answer: Value = client.get(&path).await?;
        found.insert("tenants".to_owned(), answer["data"].take());
    }
    if LISTS.iter().any(|(list, ..)| wants(*list)) {
        let path = format!("/api/v1/status/tsdb?limit={limit}");
        let mut answer: Value = client.get(&path).await?;
        for (_, name, _) in LISTS.iter().filter(|(list, ..)| wants(*list)) {
            found.insert((*name).to_owned(), answer["data"][*name].take());
        }
    }
    let found = Value::Object(found);
    if output::value(global.output, &found)? {
        return Ok(());
    }
    for line in lines(&found) {
        output::print(&line)?;
    }
    Ok(())
}

fn all(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// As people read it: a table each, with a line between two.
fn lines(found: &Value) -> Vec<String> {
    let mut tables = Vec::new();
    if let Some(tenants) = found.get("tenants") {
        let rows: Vec<Vec<String>> = all(tenants).map(tenant).collect();
        tables.push(if rows.is_empty() {
            vec!["no tenants: `tenant_label` in [limits] of the server's configuration tells them apart".to_owned()]
        } else {
            let header = ["TENANT", "SERIES", "LIMIT", "SAMPLES/S", "LIMIT", "REFUSED"];
            output::lines(&header, &rows)
        });
    }
    for (_, name, header) in LISTS {
        if let Some(list) = found.get(name) {
            let row = |it: &Value| vec![cell(it, "/name"), cell(it, "/value")];
            let rows: Vec<Vec<String>> = all(list).map(row).collect();
            tables.push(output::lines(&header, &rows));
        }
    }
    tables.join(&String::new())
}

fn tenant(tenant: &Value) -> Vec<String> {
    let refused = tenant["refused"].as_object().into_iter().flatten();
    let refused: Vec<String> = refused
        .filter(|(_, count)| count.as_u64().unwrap_or_default() > 0)
        .map(|(limit, count)| format!("{count} by {limit}"))
        .collect();
    let rate = tenant["samplesPerSecond"].as_f64().unwrap_or_default();
    vec![
        cell(tenant, "/name"),
        cell(tenant, "/series"),
        cell(tenant, "/seriesLimit"),
        figure(rate),
        cell(tenant, "/samplesPerSecondLimit"),
        if refused.is_empty() {
            "-".to_owned()
        } else {
            refused.join(", ")
        },
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tenants_are_told_with_their_limits_and_what_was_refused() {
        let found = json!({
            "tenants": [{
                "name": "shop", "series": 7, "seriesLimit": 7, "samplesPerSecond": 2.5,
                "samplesPerSecondLimit": null, "labelsLimit": null, "samples": 99,
                "refused": {"labels": 0, "samples": 0, "series": 3},
            }],
            "seriesCountByMetricName": [{"name": "up", "value": 4}],
        });
        let lines = lines(&found);
        assert!(
            lines[1].starts_with("shop") && lines[1].ends_with("3 by series"),
            "{lines:?}"
        );
        assert_eq!(lines[2], "");
        assert!(lines[4].starts_with("up"), "{lines:?}");
        let none = super::lines(&json!({ "tenants": [] }));
        assert!(none[0].contains("tenant_label"), "{none:?}");
    }
}
