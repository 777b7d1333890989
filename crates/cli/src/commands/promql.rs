//! `promql`: test scripts, checks and formatting of expressions, without a server.
//!
//! Guarantees: exit code 0 when all is well, 1 when a script fails, an expression is wrong or is formatted
//! otherwise, 2 when a file cannot be read. What fails is named by file, line and both results.

use std::{path::Path, process::ExitCode};

use anyhow::Context as _;
use mainstay_promql::{ParserOptions, Query, pretty, script};

use crate::{
    args::{Expressions, PromqlCommand},
    output, style,
};

const WRONG: u8 = 1;

pub(crate) fn run(command: PromqlCommand) -> anyhow::Result<ExitCode> {
    match command {
        PromqlCommand::Test { files } => {
            let mut well = true;
            for file in &files {
                well &= test(file)?;
            }
            Ok(code(well))
        }
        PromqlCommand::Check {
            expressions,
            stable_only,
        } => check(&expressions, stable_only),
        PromqlCommand::Fmt { expressions, check } => fmt(&expressions, check),
    }
}

fn code(well: bool) -> ExitCode {
    if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(WRONG)
    }
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// Whether every evaluation of a script came out as wanted.
fn test(file: &Path) -> anyhow::Result<bool> {
    let name = file.display();
    let report = match script::run(&read(file)?) {
        Ok(report) => report,
        Err(error) => {
            output::print(&style::clean(&format!("{name}: {error}")))?;
            return Ok(false);
        }
    };
    for failure in &report.failures {
        let lines = failure.to_string();
        let mut lines = lines.lines();
        let first = lines.next().unwrap_or_default();
        output::print(&style::clean(&format!("{name}: {first}")))?;
        for line in lines {
            output::print(&style::clean(line))?;
        }
    }
    let evals = report.passed + report.failures.len();
    output::print(&format!("{name}: {} of {evals} evals pass", report.passed))?;
    Ok(report.failures.is_empty())
}

/// The expressions given, and where each is from.
fn expressions(given: &Expressions) -> anyhow::Result<Vec<(String, String)>> {
    let mut all: Vec<(String, String)> = given
        .expr
        .iter()
        .map(|expr| (String::new(), expr.clone()))
        .collect();
    for file in &given.file {
        all.push((format!("{}: ", file.display()), read(file)?));
    }
    Ok(all)
}

fn check(given: &Expressions, stable_only: bool) -> anyhow::Result<ExitCode> {
    let options = ParserOptions {
        experimental_functions: !stable_only,
    };
    let mut well = true;
    for (place, text) in expressions(given)? {
        let said = match Query::parse_with(text.as_str(), options) {
            Ok(query) => format!("{place}ok, {}", query.expr().value_type().name()),
            Err(error) => {
                well = false;
                format!("{place}{error}")
            }
        };
        output::print(&style::clean(&said))?;
    }
    Ok(code(well))
}

fn fmt(given: &Expressions, check: bool) -> anyhow::Result<ExitCode> {
    let mut well = true;
    for (place, text) in expressions(given)? {
        match Query::parse(text.as_str()) {
            Ok(query) if check => {
                if pretty(query.expr()) != text.trim_end() {
                    well = false;
                    output::print(&style::clean(&format!("{place}is formatted otherwise")))?;
                }
            }
            Ok(query) => {
                for line in pretty(query.expr()).lines() {
                    output::print(&style::clean(line))?;
                }
            }
            Err(error) => {
                well = false;
                eprintln!("{}", style::clean(&format!("{place}{error}")));
            }
        }
    }
    Ok(code(well))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(expr: &str) -> Expressions {
        Expressions {
            expr: vec![expr.into()],
            file: Vec::new(),
        }
    }

    #[test]
    fn the_exit_code_tells_whether_all_is_well() {
        assert_eq!(check(&given("sum(up)"), false).unwrap(), ExitCode::SUCCESS);
        assert_eq!(
            check(&given("sum(up"), false).unwrap(),
            ExitCode::from(WRONG)
        );
        assert_eq!(
            check(&given("info(up)"), true).unwrap(),
            ExitCode::from(WRONG)
        );
        assert_eq!(
            fmt(&given("sum( up )"), true).unwrap(),
            ExitCode::from(WRONG)
        );
        assert_eq!(fmt(&given("sum(up)"), true).unwrap(), ExitCode::SUCCESS);
    }

    #[test]
    fn a_script_passes_fails_or_cannot_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.test");
        let write = |text: &str| std::fs::write(&file, text).unwrap();
        write("load 1m\n  up 1\n\neval instant at 0 up\n  up 1\n");
        assert!(test(&file).unwrap());
        write("load 1m\n  up 1\n\neval instant at 0 up\n  up 2\n");
        assert!(!test(&file).unwrap());
        write("lode 1m\n");
        assert!(!test(&file).unwrap());
        assert!(test(&dir.path().join("none.test")).is_err());
    }
}
