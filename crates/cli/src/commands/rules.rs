//! `rules check`, `rules list`, `rules explain`, `rules test`, `rules backtest` and `alerts`.

mod backtest;
mod explain;
mod test;

use std::process::ExitCode;

use mainstay_core::Time;
use serde_json::Value;

use crate::{
    alerting,
    args::{Global, RulesCommand},
    client::Client,
    output, ports, style,
};

pub(crate) async fn run(global: &Global, command: RulesCommand) -> anyhow::Result<ExitCode> {
    match command {
        RulesCommand::List => list(global).await?,
        RulesCommand::Test { files, run } => return test::run(global, &files, run.as_deref()),
        RulesCommand::Explain { files } => explain::run(global, &files)?,
        RulesCommand::Backtest(asked) => backtest::run(global, &asked).await?,
        RulesCommand::Check { files } => {
            let mut all_hold = true;
            for path in files {
                match alerting::read_file(&path) {
                    Ok(file) => {
                        let rules: usize = file.groups.iter().map(|it| it.rules.len()).sum();
                        output::print(&format!("{}: ok, {rules} rules", path.display()))?;
                    }
                    Err(wrong) => {
                        all_hold = false;
                        eprintln!("{wrong:#}");
                    }
                }
            }
            if !all_hold {
                return Ok(ExitCode::from(1));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(global: &Global) -> anyhow::Result<()> {
    let answer: Value = Client::new(global)?.get("/api/v1/rules").await?;
    let data = &answer["data"];
    if output::value(global.output, data)? {
        return Ok(());
    }
    let empty = Vec::new();
    let mut rows = Vec::new();
    for group in data["groups"].as_array().unwrap_or(&empty) {
        for rule in group["rules"].as_array().unwrap_or(&empty) {
            rows.push(vec![
                output::cell(group, "/name"),
                output::cell(rule, "/name"),
                output::cell(rule, "/type"),
                rule["state"]
                    .as_str()
                    .unwrap_or_else(|| rule["health"].as_str().unwrap_or_default())
                    .to_owned(),
                age(rule, "/lastEvaluation"),
                output::cell(rule, "/lastError"),
            ]);
        }
    }
    if rows.is_empty() {
        return output::print("no rules: name files in [rules] of the server's configuration");
    }
    output::table(
        &["GROUP", "RULE", "TYPE", "STATE", "EVALUATED", "ERROR"],
        &rows,
    )
}

pub(crate) async fn alerts(global: &Global) -> anyhow::Result<()> {
    let answer: Value = Client::new(global)?.get("/api/v1/alerts").await?;
    let data = &answer["data"];
    if output::value(global.output, data)? {
        return Ok(());
    }
    let empty = Vec::new();
    let row = |alert: &Value| {
        let labels = alert["labels"].as_object().into_iter().flatten();
        let others = labels.filter(|(name, _)| *name != "alertname");
        let others: Vec<String> = others
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let said = ["summary", "description", "message"];
        let said = said
            .iter()
            .find_map(|it| alert["annotations"][*it].as_str());
        vec![
            output::cell(alert, "/labels/alertname"),
            output::cell(alert, "/state"),
            age(alert, "/activeAt"),
            output::cell(alert, "/value"),
            style::clean(&others.join(" ")),
            style::clean(said.unwrap_or_default()),
        ]
    };
    let alerts = data["alerts"].as_array().unwrap_or(&empty);
    let rows: Vec<Vec<String>> = alerts.iter().map(row).collect();
    if rows.is_empty() {
        return output::print("no alert waits or fires");
    }
    output::table(
        &["ALERT", "STATE", "SINCE", "VALUE", "LABELS", "SAYS"],
        &rows,
    )
}

/// How long ago; never where it did not happen.
fn age(of: &Value, pointer: &str) -> String {
    let at = of.pointer(pointer).and_then(Value::as_str);
    let at = at.and_then(|it| it.parse::<Time>().ok());
    match at.filter(|at| at.millis() > 0) {
        Some(at) => output::short(ports::now().since(at)),
        None => "never".to_owned(),
    }
}
