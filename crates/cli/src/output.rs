//! Tables for people, JSON and YAML for programs.
//!
//! Guarantees: every cell that came from a server has lost its control characters; columns are as wide
//! as what is seen. Never prints half a table as JSON. Example: `cell(&json!({"a": null}), "/a")` is `-`.

use std::io::Write as _;

use anyhow::Context;
use mainstay_core::{Finding, Span, Time, Verdict};
use serde_json::Value;

use crate::{
    args::Format,
    style::{self, Style},
};

/// Prints `rows` under `header`, columns as wide as their widest cell.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> anyhow::Result<()> {
    lines(header, rows).iter().try_for_each(|line| print(line))
}

/// The lines of a table.
pub(crate) fn lines(header: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| style::width(cell));
        cells.chain([header[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| {
                let room = width.saturating_sub(style::width(cell));
                format!("{cell}{}", " ".repeat(room))
            })
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    let body = rows
        .iter()
        .map(|row| line(row.iter().map(String::as_str).collect()));
    std::iter::once(line(header.to_vec())).chain(body).collect()
}

/// Prints one line; a reader that went away ends the program quietly.
pub(crate) fn print(line: &str) -> anyhow::Result<()> {
    match writeln!(std::io::stdout().lock(), "{line}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        written => written.context("cannot write to standard output"),
    }
}

/// Prints a value as JSON or YAML; `false` when a table is wanted instead.
pub(crate) fn value(format: Format, value: &Value) -> anyhow::Result<bool> {
    match format {
        Format::Table => return Ok(false),
        Format::Json => print(&serde_json::to_string_pretty(value)?)?,
        Format::Yaml => print(
            serde_saphyr::to_string(value)
                .context("cannot write as YAML")?
                .trim_end(),
        )?,
    }
    Ok(true)
}

/// Prints the only value as itself and several as a list; `false` when a table is wanted instead.
pub(crate) fn one_or_all(format: Format, values: &[&Value]) -> anyhow::Result<bool> {
    match values {
        [] => Ok(format != Format::Table),
        [only] => value(format, only),
        several => value(format, &serde_json::json!(several)),
    }
}

/// What `pointer` leads to, in a cell: `-` where there is nothing.
pub(crate) fn cell(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer).unwrap_or(&Value::Null) {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => style::clean(text),
        Value::Number(number) => figure(number.as_f64().unwrap_or(f64::NAN)),
        other => other.to_string(),
    }
}

/// Most digits behind the point of a small number.
const DECIMALS_MAX: f64 = 9.0;

/// A number as people read it: whole where it is large, three digits that count where it is small.
pub(crate) fn figure(number: f64) -> String {
    let text = match number.abs() {
        size if size >= 100.0 || size.fract() == 0.0 => format!("{number:.0}"),
        size if size >= 1.0 => format!("{number:.1}"),
        size => {
            let decimals = (2.0 - size.log10().floor()).clamp(0.0, DECIMALS_MAX);
            format!("{number:.*}", decimals as usize)
        }
    };
    match text.split_once('.') {
        Some(_) => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        None => text,
    }
}

/// A wall-clock time as people write it, to the second; `-` where there is none.
pub(crate) fn time(value: &Value) -> String {
    match serde_json::from_value::<Time>(value.clone()) {
        Ok(at) => to_second(at).to_string(),
        Err(_) => "-".to_owned(),
    }
}

/// How long ago `pointer` was, in the coarsest unit that says enough: `45s`, `12m`, `3h`, `9d`.
pub(crate) fn age(value: &Value, pointer: &str, now: Time) -> String {
    let at = value
        .pointer(pointer)
        .and_then(|at| serde_json::from_value::<Time>(at.clone()).ok());
    at.map_or_else(|| "-".to_owned(), |at| short(now.since(at)))
}

/// A span in the coarsest unit that says enough.
pub(crate) fn short(span: Span) -> String {
    let seconds = span.millis() / 1_000;
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// `at` without its milliseconds.
pub(crate) fn to_second(at: Time) -> Time {
    Time::from_millis(at.millis().div_euclid(1_000) * 1_000)
}

/// `fail  error ratio: 2 % (limit 0.1 %) → look at the log`.
pub(crate) fn finding(finding: &Finding, style: Style) -> String {
    let outcome = style.word(&word(&finding.outcome));
    let clean = style::clean;
    let limit = match finding.limit.as_str() {
        "" => String::new(),
        limit => format!(" (limit {})", clean(limit)),
    };
    let remedy = match finding.remedy.as_str() {
        "" => String::new(),
        remedy => format!(" → {}", clean(remedy)),
    };
    format!(
        "{outcome}  {}: {}{limit}{remedy}",
        clean(&finding.signal),
        clean(&finding.value)
    )
}

/// `batch 3: fail`, and the time it was reached at.
pub(crate) fn verdict(verdict: &Verdict, style: Style) -> String {
    format!(
        "{}: {}",
        style::clean(&verdict.step),
        style.word(&word(&verdict.outcome()))
    )
}

/// A unit variant as JSON writes it.
pub(crate) fn word(value: &impl serde::Serialize) -> String {
    let text = serde_json::to_value(value).ok();
    text.and_then(|text| text.as_str().map(str::to_owned))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_number_keeps_the_digits_that_matter() {
        let cases = [
            (0.0, "0"),
            (0.000_2, "0.0002"),
            (0.021, "0.021"),
            (1.0, "1"),
            (3.46, "3.5"),
            (f64::NAN, "NaN"),
            (199.6, "200"),
            (120.0, "120"),
        ];
        for (number, text) in cases {
            assert_eq!(figure(number), text);
        }
    }

    #[test]
    fn what_is_absent_is_a_dash_and_an_age_has_one_unit() {
        let row = json!({"a": null, "b": "x\u{1b}y", "at": 1_000});
        assert_eq!(
            (cell(&row, "/a"), cell(&row, "/c/d")),
            ("-".into(), "-".into())
        );
        assert_eq!(cell(&row, "/b"), "x y");
        assert_eq!(age(&row, "/at", Time::from_millis(181_000)), "3m");
        assert_eq!(age(&row, "/a", Time::from_millis(0)), "-");
        assert_eq!(time(&row["at"]), "1970-01-01T00:00:01Z");
    }
}
