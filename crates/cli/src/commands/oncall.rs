//! `oncall`: who is on call, in one word where one schedule is named.
//!
//! Guarantees: exit code 0 only where somebody is on call in all that was asked for, and can be reached; 1 otherwise,
//! with the reason on standard error.

use std::process::ExitCode;

use jiff::{Timestamp, tz::TimeZone};
use serde_json::Value;

use crate::{
    args::{Global, Oncall},
    client::{Client, parameters},
    output::{self, cell},
    style,
};

/// Who is on call where nobody is.
const NOBODY: &str = "nobody";

pub(crate) async fn run(global: &Global, asked: &Oncall) -> anyhow::Result<ExitCode> {
    let at = asked.at.map(|at| at.to_string());
    let role = asked.role.as_deref();
    let role = role.or_else(|| asked.schedule.as_ref().map(|_| "primary"));
    let mut pairs = Vec::new();
    let schedule = asked.schedule.as_ref().map(AsRef::as_ref);
    let severity = asked.severity.as_ref().map(AsRef::as_ref);
    let all = [
        ("at", at.as_deref()),
        ("role", role),
        ("schedule", schedule),
        ("severity", severity),
    ];
    pairs.extend(
        all.into_iter()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    let path = format!("/api/v1/oncall{}", parameters(&pairs));
    let answer: Value = Client::new(global)?.get(&path).await?;
    let held: Vec<(&Value, &Value)> = each(&answer["schedules"])
        .flat_map(|schedule| each(&schedule["roles"]).map(move |role| (schedule, role)))
        .collect();
    let is_missed = |it: &Value| !it["trouble"].is_null();
    let is_one_asked = asked.schedule.is_some();
    let is_nobody = is_one_asked && !held.iter().any(|(_, it)| it["person"].is_string());
    let is_well = !is_nobody && !held.iter().any(|(_, it)| is_missed(it));
    let code = ExitCode::from(u8::from(!is_well));
    if output::value(global.output, &answer)? {
        return Ok(code);
    }
    for (schedule, it) in &held {
        if let Some(why) = trouble(&it["trouble"]) {
            eprintln!(
                "{} {}: {why}",
                cell(schedule, "/schedule"),
                cell(it, "/role")
            );
        }
    }
    match (&asked.schedule, &held[..]) {
        (Some(_), []) => output::print(NOBODY)?,
        (Some(_), [(_, only)]) => output::print(&who(only))?,
        _ => table(&held)?,
    }
    Ok(code)
}

fn table(held: &[(&Value, &Value)]) -> anyhow::Result<()> {
    if held.is_empty() {
        return output::print("no schedules: `mainstay explain schedule` says how to declare one");
    }
    let rows: Vec<Vec<String>> = held
        .iter()
        .map(|(schedule, it)| {
            let zone = zone(&schedule["zone"]);
            let reached: Vec<String> = each(&it["contacts"]).map(|it| cell(it, "/name")).collect();
            vec![
                cell(schedule, "/schedule"),
                cell(it, "/role"),
                who(it),
                local(&it["from"], &zone),
                local(&it["until"], &zone),
                by(&it["by"]),
                if reached.is_empty() {
                    "-".to_owned()
                } else {
                    reached.join(",")
                },
            ]
        })
        .collect();
    let header = [
        "SCHEDULE",
        "ROLE",
        "WHO",
        "SINCE",
        "UNTIL",
        "BY",
        "REACHED BY",
    ];
    output::table(&header, &rows)
}

fn who(held: &Value) -> String {
    held["person"]
        .as_str()
        .map_or_else(|| NOBODY.to_owned(), style::clean)
}

pub(super) fn each(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// `layer week`, `override 1`, or a change.
pub(super) fn by(source: &Value) -> String {
    if let Some(place) = source["override"].as_u64() {
        return format!("override {}", place + 1);
    }
    match (&source["layer"], &source["change"]) {
        (Value::String(layer), _) => format!("layer {}", style::clean(layer)),
        (_, Value::String(change)) => style::clean(change),
        _ => "-".to_owned(),
    }
}

/// Why nobody would answer.
pub(super) fn trouble(of: &Value) -> Option<String> {
    let person = || cell(of, "/person");
    match of["why"].as_str()? {
        "gap" => Some("nobody is on call".to_owned()),
        "unknown" => Some(format!("{} is no responder any more", person())),
        "no-contact" => Some(format!("{} has no contact", person())),
        other => Some(style::clean(other)),
    }
}

/// The zone of a schedule; UTC where this machine does not know it.
pub(super) fn zone(name: &Value) -> TimeZone {
    let name = name.as_str().unwrap_or("UTC");
    TimeZone::get(name).unwrap_or(TimeZone::UTC)
}

/// As a clock in `zone` shows it; `-` where there is no time.
pub(super) fn local(at: &Value, zone: &TimeZone) -> String {
    let at = at.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    at.map_or_else(
        || "-".to_owned(),
        |at| {
            at.to_zoned(zone.clone())
                .strftime("%a %Y-%m-%d %H:%M %:z")
                .to_string()
        },
    )
}
