//! `rules explain`: which rules move with their samples, which are evaluated as a whole when samples arrive, or at
//! intervals, and why.
//!
//! Guarantees: without a server; what it says of a rule is what a server does with it.

use std::path::{Path, PathBuf};

use mainstay_core::Span;
use mainstay_promql::EngineOptions;
use mainstay_rules::{
    Kind, Rule, Way,
    stream::{Holding, Uncompiled},
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
    let lookback = Span::from_millis(u64::try_from(lookback_ms).unwrap_or_default());
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
    let way = Way::of(rule, lookback);
    told["streamed"] = matches!(way, Way::Streamed(_)).into();
    told["moves"] = match &way {
        Way::Streamed(_) => "with-each-sample",
        Way::Whole { .. } => "when-samples-arrive",
        Way::Ticked { .. } => "at-intervals",
    }
    .into();
    match way {
        Way::Streamed(stream) => {
            told["drifts"] = stream.drifts().into();
            told["holds"] = stream.holdings().map(|it| held(&it, text)).collect();
        }
        Way::Whole { why: error, .. } => told["why"] = why(&error, text),
        Way::Ticked { why: error, still } => {
            told["why"] = why(&error, text);
            told["still"] = still.to_string().into();
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
    let moves = match (told["moves"].as_str(), told["type"].as_str()) {
        (Some("with-each-sample"), Some("alerting")) => "with each sample",
        (Some("with-each-sample"), _) => "with each sample, written at intervals",
        (Some("when-samples-arrive"), _) => "as a whole, when samples arrive",
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
    if told["still"].is_string() {
        says.push(output::cell(told, "/still"));
    }
    vec![
        output::cell(told, "/group"),
        output::cell(told, "/rule"),
        output::cell(told, "/type"),
        moves.to_owned(),
        says.join("; "),
    ]
}
