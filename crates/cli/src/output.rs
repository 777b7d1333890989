//! Tables for people, JSON and YAML for programs.

use std::io::Write as _;

use anyhow::Context;
use serde_json::Value;

use crate::args::Format;

/// Prints `rows` under `header`, columns as wide as their widest cell.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> anyhow::Result<()> {
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count());
        cells.chain([header[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    print(&line(header.to_vec()))?;
    rows.iter()
        .try_for_each(|row| print(&line(row.iter().map(String::as_str).collect())))
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

/// A wall-clock time in milliseconds, as people write it.
pub(crate) fn time(value: &Value) -> String {
    let millis = value.as_i64().unwrap_or_default();
    jiff::Timestamp::from_millisecond(millis)
        .map_or_else(|_| millis.to_string(), |at| format!("{at:.0}"))
}
