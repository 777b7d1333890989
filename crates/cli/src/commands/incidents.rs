//! `page`, `ack`, `escalate`, `resolve`, `incident`.

use mainstay_core::ChangeId;
use serde_json::{Value, json};

use crate::{
    args::{Global, IncidentCommand, Page, Why},
    client::{Client, parameters},
    output::{self, cell},
    style::{self, Style},
};

/// Lines of a timeline that a person sees; JSON has all.
const LINES_MAX: usize = 100;

pub(crate) async fn page(global: &Global, page: &Page) -> anyhow::Result<()> {
    let body = json!({
        "title": page.title,
        "policy": page.policy,
        "severity": page.severity,
        "reason": page.reason,
    });
    let answer: Value = Client::new(global)?
        .post("/api/v1/incidents", &body)
        .await?;
    said(global, &answer)
}

/// Acknowledges.
pub(crate) async fn ack(global: &Global, incident: &ChangeId) -> anyhow::Result<()> {
    act(global, incident, "acknowledge", &json!({"via": "cli"})).await
}

/// Escalates, resolves, opens again.
pub(crate) async fn with_reason(global: &Global, verb: &str, why: &Why) -> anyhow::Result<()> {
    act(global, &why.incident, verb, &json!({"reason": why.reason})).await
}

pub(crate) async fn run(global: &Global, command: IncidentCommand) -> anyhow::Result<()> {
    match command {
        IncidentCommand::List {
            status,
            severity,
            limit,
        } => {
            let severity = severity.map(|it| it.to_string());
            let limit = limit.to_string();
            let mut pairs = vec![("limit", limit.as_str())];
            for (name, value) in [("status", &status), ("severity", &severity)] {
                pairs.extend(value.as_deref().map(|value| (name, value)));
            }
            list(global, &pairs).await
        }
        IncidentCommand::Show { incident } => show(global, &incident).await,
        IncidentCommand::Severity {
            incident,
            severity,
            reason,
        } => {
            let body = json!({"severity": severity, "reason": reason});
            act(global, &incident, "severity", &body).await
        }
        IncidentCommand::Role {
            incident,
            role,
            person,
            note,
        } => {
            let body = json!({"role": role, "person": person, "note": note});
            act(global, &incident, "role", &body).await
        }
        IncidentCommand::Task {
            incident,
            done: Some(task),
            ..
        } => act(global, &incident, "finish", &json!({"task": task})).await,
        IncidentCommand::Task {
            incident,
            text,
            assignee,
            done: None,
        } => {
            let body = json!({"text": text.unwrap_or_default(), "assignee": assignee});
            act(global, &incident, "task", &body).await
        }
        IncidentCommand::Note {
            incident,
            text,
            kind,
        } => {
            act(
                global,
                &incident,
                "note",
                &json!({"text": text, "kind": kind}),
            )
            .await
        }
        IncidentCommand::Relate { incident, other } => {
            act(global, &incident, "relate", &json!({"incident": other})).await
        }
        IncidentCommand::Reopen(why) => with_reason(global, "reopen", &why).await,
    }
}

async fn act(global: &Global, incident: &ChangeId, verb: &str, body: &Value) -> anyhow::Result<()> {
    let path = format!("/api/v1/incidents/{incident}/{verb}");
    let answer: Value = Client::new(global)?.post(&path, body).await?;
    said(global, &answer)
}

/// One incident in a line: what is wrong, and where it stands.
fn said(global: &Global, answer: &Value) -> anyhow::Result<()> {
    if output::value(global.output, answer)? {
        return Ok(());
    }
    let style = Style::of_stdout();
    output::print(&format!(
        "{}  {}  {}  {}",
        cell(answer, "/id"),
        cell(answer, "/severity"),
        style.word(&cell(answer, "/status")),
        cell(answer, "/title")
    ))
}

async fn list(global: &Global, pairs: &[(&str, &str)]) -> anyhow::Result<()> {
    let path = format!("/api/v1/incidents{}", parameters(pairs));
    let list: Vec<Value> = Client::new(global)?.get(&path).await?;
    if output::value(global.output, &json!(list))? {
        return Ok(());
    }
    if list.is_empty() {
        eprintln!("no incidents");
        return Ok(());
    }
    let style = Style::of_stdout();
    let rows: Vec<Vec<String>> = list
        .iter()
        .map(|row| {
            vec![
                cell(row, "/id"),
                cell(row, "/severity"),
                style.word(&cell(row, "/status")),
                output::time(&row["openedAt"]),
                names(&row["acknowledgedBy"]),
                cell(row, "/breaches"),
                cell(row, "/firing"),
                cell(row, "/title"),
            ]
        })
        .collect();
    output::table(
        &[
            "INCIDENT",
            "SEVERITY",
            "STATUS",
            "OPENED",
            "ACKNOWLEDGED BY",
            "BREACHES",
            "FIRING",
            "TITLE",
        ],
        &rows,
    )
}

fn names(list: &Value) -> String {
    let names: Vec<String> = list
        .as_array()
        .map(|all| {
            all.iter()
                .filter_map(Value::as_str)
                .map(style::clean)
                .collect()
        })
        .unwrap_or_default();
    if names.is_empty() {
        "-".to_owned()
    } else {
        names.join(",")
    }
}

async fn show(global: &Global, incident: &ChangeId) -> anyhow::Result<()> {
    let path = format!("/api/v1/incidents/{incident}");
    let shown: Value = Client::new(global)?.get(&path).await?;
    if output::value(global.output, &shown)? {
        return Ok(());
    }
    said(global, &shown)?;
    let print = |name: &str, text: String| output::print(&format!("{name:<14}{text}"));
    print("policy", cell(&shown, "/policy"))?;
    print("acknowledged", names(&shown["acknowledgedBy"]))?;
    for (name, at) in [
        ("ack due", "/deadlines/acknowledge"),
        ("resolve due", "/deadlines/resolve"),
    ] {
        let due = shown.pointer(at).unwrap_or(&Value::Null);
        let text = match (&due["breached"], &due["left"]) {
            (Value::Bool(true), _) => "passed".to_owned(),
            (_, Value::String(left)) => {
                format!("{} ({left} left)", output::time(&due["due"]))
            }
            _ => "-".to_owned(),
        };
        print(name, text)?;
    }
    if shown["next"].is_object() {
        let text = format!(
            "step {} at {}: {}",
            cell(&shown, "/next/step"),
            output::time(&shown["next"]["at"]),
            names(&shown["next"]["who"])
        );
        print("next", text)?;
    }
    for (role, person) in shown["roles"].as_object().into_iter().flatten() {
        print(role, style::clean(person.as_str().unwrap_or_default()))?;
    }
    for task in shown["tasks"].as_array().into_iter().flatten() {
        let done = if task["done"].is_null() { " " } else { "x" };
        let text = format!(
            "[{done}] {} {} ({})",
            cell(task, "/id"),
            cell(task, "/text"),
            cell(task, "/assignee")
        );
        print("task", text)?;
    }
    for other in shown["related"].as_array().into_iter().flatten() {
        print("related", style::clean(other.as_str().unwrap_or_default()))?;
    }
    let lines = shown["timeline"].as_array().map_or(&[][..], Vec::as_slice);
    let hidden = lines.len().saturating_sub(LINES_MAX);
    if hidden > 0 {
        output::print(&format!("({hidden} earlier lines: --output json)"))?;
    }
    for line in lines.iter().skip(hidden) {
        output::print(&format!(
            "{}  {:<12} {}",
            output::time(&line["at"]),
            cell(line, "/by"),
            cell(line, "/text")
        ))?;
    }
    Ok(())
}
