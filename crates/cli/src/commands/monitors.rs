//! `monitors`: an expectation a line, as a test runner prints tests.
//!
//! Guarantees: exit code 0 only where every monitor that was asked for is green; 1 where one is red, 2 where one could
//! not be evaluated or there is none of that name. Each red entity is told with its value and the limit, or that it
//! has no data and since when.

use std::process::ExitCode;

use anyhow::bail;
use mainstay_core::{Name, Span, Time};
use serde_json::{Value, json};

use crate::{
    args::Global,
    client::Client,
    output::{self, cell},
    ports,
    style::{self, Style},
};

/// Names of what nobody watches that are printed, of each kind.
const UNWATCHED_MAX: usize = 5;

pub(crate) async fn run(global: &Global, names: &[Name]) -> anyhow::Result<ExitCode> {
    let mut report: Value = Client::new(global)?.get("/api/v1/monitors").await?;
    keep(&mut report, names)?;
    if !output::value(global.output, &report)? {
        let printed = Printed {
            style: Style::of_stdout(),
            now: ports::now(),
        };
        for line in printed.lines(&report) {
            output::print(&line)?;
        }
    }
    Ok(ExitCode::from(code(&report)))
}

/// Leaves the monitors of these names, all where there is none, and counts them anew.
fn keep(report: &mut Value, names: &[Name]) -> anyhow::Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let kept: Vec<Value> = all(&report["monitors"])
        .filter(|it| names.iter().any(|name| it["name"] == name.as_str()))
        .cloned()
        .collect();
    for name in names {
        if !kept.iter().any(|it| it["name"] == name.as_str()) {
            bail!("there is no monitor `{name}`: `mainstay get monitors` lists them");
        }
    }
    let count = |verdict| kept.iter().filter(|it| it["verdict"] == verdict).count();
    report["summary"] = json!({
        "monitors": kept.len(),
        "pass": count("pass"),
        "fail": count("fail"),
        "noData": count("no-data"),
        "error": count("error"),
    });
    report["monitors"] = kept.into();
    Ok(())
}

fn code(report: &Value) -> u8 {
    let count = |of: &str| report["summary"][of].as_u64().unwrap_or_default();
    match (count("error"), count("fail") + count("noData")) {
        (0, 0) => 0,
        (0, _) => 1,
        _ => 2,
    }
}

fn all(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// As people read it.
struct Printed {
    style: Style,
    now: Time,
}

impl Printed {
    fn lines(&self, report: &Value) -> Vec<String> {
        let width = all(&report["monitors"]).map(|it| style::width(&cell(it, "/name")));
        let width = width.max().unwrap_or_default();
        let monitors = all(&report["monitors"]).flat_map(|it| self.monitor(it, width));
        let mut lines: Vec<String> = monitors.collect();
        if lines.is_empty() {
            lines
                .push("no monitors: `mainstay explain monitor` says how to declare one".to_owned());
        }
        lines.push(String::new());
        lines.push(self.summary(&report["summary"]));
        lines.extend(self.coverage(&report["coverage"]));
        lines
    }

    fn monitor(&self, monitor: &Value, width: usize) -> Vec<String> {
        let word = match monitor["verdict"].as_str() {
            Some("fail") => "FAIL",
            Some("no-data") => "no data",
            Some(other) => other,
            None => "error",
        };
        let name = cell(monitor, "/name");
        let room = " ".repeat(width.saturating_sub(style::width(&name)));
        let head = format!(
            "{}{}  {name}{room}  {}",
            self.style.word(word),
            " ".repeat("no data".len().saturating_sub(word.len())),
            counted(monitor)
        );
        let limit = format!(
            "{} {}",
            cell(monitor, "/op"),
            valued(&monitor["limit"], &monitor["unit"])
        );
        let mut lines = vec![head];
        let mut under = |text: String| lines.push(format!("         {text}"));
        if monitor["error"].is_string() {
            under(cell(monitor, "/error"));
        }
        let red = || all(&monitor["red"]);
        let widest = red().map(|it| style::width(&cell(it, "/name")));
        let widest = widest.max().unwrap_or_default();
        for one in red() {
            let name = cell(one, "/name");
            let room = " ".repeat(widest.saturating_sub(style::width(&name)));
            under(format!("{name}{room}  {}", self.red(one, monitor, &limit)));
        }
        let count = |of: &str| monitor["entities"][of].as_u64().unwrap_or_default();
        let more = (count("fail") + count("noData")).saturating_sub(red().count() as u64);
        if more > 0 {
            under(format!("and {more} more"));
        }
        for said in noise(monitor) {
            under(self.style.warn(&said));
        }
        if red().next().is_some() && monitor["remedy"] != "" {
            under(format!("→ {}", cell(monitor, "/remedy")));
        }
        lines
    }

    /// `26h (limit < 24h), for 2h`.
    fn red(&self, one: &Value, monitor: &Value, limit: &str) -> String {
        let since = output::age(one, "/since", self.now);
        if one["value"].is_null() {
            let seen = match (one["declared"].as_bool(), one["seenAt"].is_null()) {
                (Some(false), _) => "it is not in the catalog".to_owned(),
                (_, true) => format!("not seen in the {since} it is watched"),
                (_, false) => format!("last seen {} ago", output::age(one, "/seenAt", self.now)),
            };
            return format!("{} (limit {limit}): {seen}", self.style.warn("no data"));
        }
        let value = self.style.bad(&valued(&one["value"], &monitor["unit"]));
        format!("{value} (limit {limit}), for {since}")
    }

    fn summary(&self, summary: &Value) -> String {
        let count = |of: &str| summary[of].as_u64().unwrap_or_default();
        let parts = [
            ("pass", "pass"),
            ("fail", "FAIL"),
            ("noData", "no data"),
            ("error", "error"),
        ];
        let parts: Vec<String> = parts
            .into_iter()
            .filter(|(of, _)| count(of) > 0)
            .map(|(of, word)| format!("{} {}", count(of), self.style.word(word)))
            .collect();
        let all = counts(count("monitors"), "monitor");
        match &parts[..] {
            [] => all,
            _ => format!("{all}: {}", parts.join(", ")),
        }
    }

    /// How much of what there is somebody watches, and the first of what nobody does.
    fn coverage(&self, coverage: &Value) -> Vec<String> {
        let count = |of: &Value, what: &str| of[what].as_u64().unwrap_or_default();
        let kinds: Vec<&Value> = all(coverage).filter(|it| count(it, "of") > 0).collect();
        if kinds.is_empty() {
            return Vec::new();
        }
        let parts: Vec<String> = kinds
            .iter()
            .map(|it| {
                let of = counts(count(it, "of"), &cell(it, "/kind"));
                format!("{} of {of}", count(it, "watched"))
            })
            .collect();
        let mut lines = vec![format!("watched: {}", parts.join(", "))];
        for kind in kinds {
            let nobody = count(kind, "of").saturating_sub(count(kind, "watched"));
            if nobody == 0 {
                continue;
            }
            let names = all(&kind["unwatched"]).take(UNWATCHED_MAX);
            let mut names: Vec<String> = names.map(|it| cell(it, "")).collect();
            let more = nobody.saturating_sub(names.len() as u64);
            if more > 0 {
                names.push(format!("and {more} more"));
            }
            let line = format!("not watched: {} {}", cell(kind, "/kind"), names.join(", "));
            lines.push(self.style.dim(&line));
        }
        lines
    }
}

/// `5 services, 1 violates, 1 without data`.
fn counted(monitor: &Value) -> String {
    let count = |of: &str| monitor["entities"][of].as_u64().unwrap_or_default();
    if monitor["verdict"] == "error" {
        return "could not be evaluated".to_owned();
    }
    let mut parts = vec![counts(count("watched"), &cell(monitor, "/kind"))];
    if count("watched") == 0 {
        parts.push("so there is nothing to judge".to_owned());
    }
    match count("fail") {
        0 => {}
        1 => parts.push("1 violates".to_owned()),
        several => parts.push(format!("{several} violate")),
    }
    if count("noData") > 0 {
        parts.push(format!("{} without data", count("noData")));
    }
    match monitor["strangers"].as_u64().unwrap_or_default() {
        0 => {}
        1 => parts.push("1 series names none of them".to_owned()),
        several => parts.push(format!("{several} series name none of them")),
    }
    parts.join(", ")
}

/// What makes people stop to look at a monitor.
fn noise(monitor: &Value) -> Vec<String> {
    let mut said = Vec::new();
    let flapping = all(&monitor["flapping"]).map(|it| {
        let (name, turns) = (cell(it, "/name"), cell(it, "/turns"));
        format!("{name} turned red or green {turns} times")
    });
    let flapping: Vec<String> = flapping.collect();
    if !flapping.is_empty() {
        said.push(format!(
            "flapping: in the last hour {}",
            flapping.join(", ")
        ));
    }
    if monitor["noisy"] == true {
        said.push(format!(
            "noisy: {} of {} are red for more than a day; mend them, or correct the monitor",
            cell(monitor, "/redLong"),
            cell(monitor, "/entities/watched")
        ));
    }
    said
}

fn counts(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// A value in its unit.
fn valued(value: &Value, unit: &Value) -> String {
    let Some(number) = value.as_f64() else {
        return cell(value, "");
    };
    match unit.as_str() {
        Some("seconds") if number >= 1.0 => output::short(Span::from_millis((number * 1e3) as u64)),
        Some("seconds") => format!("{}s", output::figure(number)),
        Some("ratio") => format!("{} %", output::figure(number * 100.0)),
        _ => output::figure(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Value {
        json!({
            "at": 200_000_000,
            "summary": {"monitors": 2, "pass": 1, "fail": 1, "noData": 0, "error": 0},
            "coverage": [
                {"kind": "service", "watched": 3, "of": 4, "unwatched": ["mail"]},
                {"kind": "host", "watched": 0, "of": 0, "unwatched": []},
            ],
            "monitors": [
                {"name": "backup", "verdict": "fail", "error": null, "kind": "service", "op": "<", "limit": 86_400.0,
                 "unit": "seconds", "remedy": "run one", "strangers": 1,
                 "entities": {"watched": 4, "pass": 1, "fail": 1, "noData": 2},
                 "red": [
                    {"name": "audit", "verdict": "no-data", "value": null, "since": 0, "seenAt": null, "declared": true},
                    {"name": "orders", "verdict": "fail", "value": 180_000.0, "since": 199_000_000, "declared": true},
                 ],
                 "flapping": [{"name": "orders", "turns": 6}], "redLong": 2, "noisy": true},
                {"name": "up", "verdict": "pass", "error": null, "kind": "service", "op": ">=", "limit": 1.0,
                 "unit": null, "remedy": "", "strangers": 0,
                 "entities": {"watched": 3, "pass": 3, "fail": 0, "noData": 0},
                 "red": [], "flapping": [], "redLong": 0, "noisy": false},
            ],
        })
    }

    #[test]
    fn what_is_red_is_told_with_value_limit_and_remedy_and_noise_is_called_so() {
        let printed = Printed {
            style: Style::PLAIN,
            now: Time::from_millis(200_000_000),
        };
        let expected = [
            "FAIL     backup  4 services, 1 violates, 2 without data, 1 series names none of them",
            "         audit   no data (limit < 24h): not seen in the 2d it is watched",
            "         orders  2d (limit < 24h), for 16m",
            "         and 1 more",
            "         flapping: in the last hour orders turned red or green 6 times",
            "         noisy: 2 of 4 are red for more than a day; mend them, or correct the monitor",
            "         → run one",
            "pass     up      3 services",
            "",
            "2 monitors: 1 pass, 1 FAIL",
            "watched: 3 of 4 services",
            "not watched: service mail",
        ];
        assert_eq!(printed.lines(&report()), expected);
    }

    #[test]
    fn the_exit_code_is_of_the_monitors_that_were_asked_for() {
        let name = |text| Name::new(text).unwrap();
        for (names, expected) in [
            (vec![], 1),
            (vec![name("up")], 0),
            (vec![name("backup")], 1),
        ] {
            let mut report = report();
            keep(&mut report, &names).unwrap();
            assert_eq!(code(&report), expected, "{names:?}");
        }
        let error = keep(&mut report(), &[name("disk")]).unwrap_err();
        assert!(error.to_string().contains("no monitor `disk`"), "{error}");
        assert_eq!(code(&json!({"summary": {"error": 1, "fail": 1}})), 2);
    }

    #[test]
    fn a_value_is_shown_in_its_unit() {
        for (value, unit, expected) in [
            (json!(93_600.0), json!("seconds"), "26h"),
            (json!(0.25), json!("seconds"), "0.25s"),
            (json!(0.031), json!("ratio"), "3.1 %"),
            (json!(3.0), Value::Null, "3"),
            (json!("NaN"), json!("seconds"), "NaN"),
        ] {
            assert_eq!(valued(&value, &unit), expected);
        }
    }
}
