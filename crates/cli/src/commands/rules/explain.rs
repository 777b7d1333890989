//! `rules explain`: which rules move with their samples, which are evaluated at intervals and why.
//!
//! Guarantees: without a server; what it says of a rule is what a server does with it.

use std::path::{Path, PathBuf};

use mainstay_core::Span;
use mainstay_promql::EngineOptions;
use mainstay_rules::{
    Kind, Rule,
    stream::{Holding, Stream, Uncompiled},
};
use serde_json::{Value, json};

use crate::{alerting, args::Global, output};

pub(super) fn run(global: &Global, files: &[PathBuf]) -> anyhow::Result<()> {
    let mut all = Vec::new();
    for path in files {
        all.extend(explained(path)?);
    }
    if output::value(global.output, &Value::from(all.clone()))? {
        return Ok(());
    }
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    if rows.is_empty() {
        return output::print("no rules");
    }
    output::table(
        &["GROUP", "RULE", "TYPE", "MOVES", "HOLDS, OR WHY NOT"],
        &rows,
    )
}

fn explained(path: &Path) -> anyhow::Result<Vec<Value>> {
    let file = alerting::read_file(path)?;
    let rules = file.groups.iter().flat_map(|group| {
        let rules = group.rules.iter();
        rules.map(|rule| {
            let mut told = explained_rule(rule);
            told["file"] = path.display().to_string().into();
            told["group"] = group.name.as_str().into();
            told
        })
    });
    Ok(rules.collect())
}

fn explained_rule(rule: &Rule) -> Value {
    let lookback_ms = EngineOptions::default().lookback_ms;
    let text = rule.query.text();
    let mut told = json!({
        "rule": rule.name(),
        "type": match rule.kind {
            Kind::Alert { .. } => "alerting",
            Kind::Record(_) => "recording",
        },
        "line": rule.line,
        "query": text,
    });
    match Stream::compile(&rule.query, lookback_ms, 0) {
        Ok(stream) => {
            told["streamed"] = true.into();
            told["drifts"] = stream.drifts().into();
            told["holds"] = stream.holdings().map(|it| held(&it, text)).collect();
        }
        Err(error) => {
            told["streamed"] = false.into();
            told["why"] = why(&error, text);
        }
    }
    told
}

fn held(holding: &Holding<'_>, text: &str) -> Value {
    let reach_ms = u64::try_from(holding.reach_ms).unwrap_or_default();
    json!({
        "selector": text.get(holding.span.start..holding.span.end),
        "samples": if holding.whole_range { "range" } else { "newest" },
        "seconds": Span::from_millis(reach_ms).secs_f64(),
    })
}

fn why(error: &Uncompiled, text: &str) -> Value {
    json!({
        "reason": error.to_string(),
        "position": error.span.position(text).to_string(),
        "part": text.get(error.span.start..error.span.end),
    })
}

fn row(told: &Value) -> Vec<String> {
    let moves = match (told["streamed"].as_bool(), told["type"].as_str()) {
        (Some(true), Some("alerting")) => "with each sample",
        (Some(true), _) => "with each sample, written at intervals",
        (_, _) => "at intervals",
    };
    let holds = told["holds"].as_array().into_iter().flatten().map(|it| {
        let what = match it["samples"].as_str() {
            Some("range") => "the samples of",
            _ => "the newest of",
        };
        format!("{what} each {}", output::cell(it, "/selector"))
    });
    let mut says: Vec<String> = holds.collect();
    if told["drifts"] == true {
        says.push("anew each second".to_owned());
    }
    if told["why"].is_object() {
        let (at, reason) = (
            output::cell(told, "/why/position"),
            output::cell(told, "/why/reason"),
        );
        says.push(format!("{at}: {reason}"));
    }
    vec![
        output::cell(told, "/group"),
        output::cell(told, "/rule"),
        output::cell(told, "/type"),
        moves.to_owned(),
        says.join("; "),
    ]
}
