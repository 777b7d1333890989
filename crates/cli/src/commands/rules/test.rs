//! `rules test`: unit tests of rules, without a server.
//!
//! Guarantees: exit code 0 when all pass, 1 when one fails, 2 when a file cannot be read or is wrong.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use mainstay_rules::{Tested, UnitFile};
use regex::Regex;
use serde_json::{Value, json};

use crate::{alerting, args::Global, output, style};

pub(super) fn run(
    global: &Global,
    files: &[PathBuf],
    only: Option<&str>,
) -> anyhow::Result<ExitCode> {
    let only = only.map(|text| Regex::new(&format!("^(?:{text})$")));
    let only = only.transpose().context("--run is no regular expression")?;
    let mut all = Vec::new();
    for path in files {
        let tested = tested(path, only.as_ref())?;
        all.push((path.display().to_string(), tested));
    }
    if all.iter().all(|(_, tested)| tested.is_empty()) {
        bail!("no test was run: the files have none, or --run names none of them");
    }
    if !output::value(global.output, &json(&all))? {
        for (file, tested) in &all {
            show(file, tested)?;
        }
    }
    let is_well = all
        .iter()
        .all(|(_, tested)| tested.iter().all(|it| it.missed.is_empty()));
    Ok(ExitCode::from(u8::from(!is_well)))
}

fn tested(path: &Path, only: Option<&Regex>) -> anyhow::Result<Vec<Tested>> {
    let text = alerting::text(path)?;
    let file = UnitFile::parse(&text).map_err(|wrongs| alerting::wrong(path, &wrongs))?;
    let beside = path.parent().unwrap_or(Path::new(""));
    let patterns: Vec<PathBuf> = file.rule_files.iter().map(|it| beside.join(it)).collect();
    let named = alerting::read(&patterns).with_context(|| format!("{}", path.display()))?;
    Ok(file.run(&named, |name| only.is_none_or(|regex| regex.is_match(name))))
}

fn show(file: &str, tested: &[Tested]) -> anyhow::Result<()> {
    for test in tested {
        let outcome = if test.missed.is_empty() {
            "ok"
        } else {
            "FAILED"
        };
        let name = match test.name.as_str() {
            "" => format!("test at line {}", test.line),
            name => name.to_owned(),
        };
        let expectations = test.expectations;
        let line = format!("{file}: {name} ... {outcome} ({expectations} expectations)");
        output::print(&style::clean(&line))?;
        for missed in &test.missed {
            for line in format!("{file}:{missed}").lines() {
                output::print(&style::clean(line))?;
            }
        }
    }
    Ok(())
}

fn json(all: &[(String, Vec<Tested>)]) -> Value {
    let files = all.iter().map(|(file, tested)| {
        let tests: Vec<Value> = tested
            .iter()
            .map(|it| {
                let missed: Vec<Value> = it
                    .missed
                    .iter()
                    .map(|one| {
                        json!({
                            "line": one.line,
                            "what": one.what,
                            "wanted": one.wanted,
                            "found": one.found,
                        })
                    })
                    .collect();
                json!({
                    "name": it.name,
                    "line": it.line,
                    "expectations": it.expectations,
                    "missed": missed,
                })
            })
            .collect();
        json!({ "file": file, "tests": tests })
    });
    Value::from(files.collect::<Vec<Value>>())
}
