//! The functions that every text has.

use gotmpl::{TemplateError, Value};
use regex::Regex;

use crate::text;

/// What a function gives.
pub type Outcome = Result<Value, TemplateError>;
/// A function of its arguments alone.
pub type Function = fn(&[Value]) -> Outcome;

/// Those of rules and of notifications.
pub const SHARED: &[(&str, Function)] = &[
    ("humanizeDuration", |args| {
        Ok(text(&humanize_duration(number(args, 0)?)))
    }),
    ("match", |args| {
        Ok(Value::Bool(regex(args, 0)?.is_match(string(args, 1)?)))
    }),
    ("reReplaceAll", |args| {
        let replaced = regex(args, 0)?;
        Ok(text(
            &replaced.replace_all(string(args, 2)?, string(args, 1)?),
        ))
    }),
    ("safeHtml", |args| Ok(text(string(args, 0)?))),
    ("title", |args| Ok(text(&title(string(args, 0)?)))),
    ("toLower", |args| Ok(text(&string(args, 0)?.to_lowercase()))),
    ("toUpper", |args| Ok(text(&string(args, 0)?.to_uppercase()))),
];

/// Why a function gives nothing.
pub fn wrong(what: &str) -> TemplateError {
    TemplateError::Exec(what.to_owned())
}

/// The text at a place.
pub fn string(args: &[Value], at: usize) -> Result<&str, TemplateError> {
    let missing = || wrong(&format!("argument {} has to be a text", at + 1));
    args.get(at).and_then(Value::as_str).ok_or_else(missing)
}

/// A number, or a text that is one, as Prometheus takes both.
pub fn number(args: &[Value], at: usize) -> Result<f64, TemplateError> {
    let found = match args.get(at) {
        Some(Value::Float(value)) => Some(*value),
        Some(Value::Int(value)) => Some(*value as f64),
        Some(Value::Uint(value)) => Some(*value as f64),
        Some(Value::String(text)) => text.parse().ok(),
        _ => None,
    };
    found.ok_or_else(|| wrong(&format!("argument {} has to be a number", at + 1)))
}

/// The expression at a place.
pub fn regex(args: &[Value], at: usize) -> Result<Regex, TemplateError> {
    Regex::new(string(args, at)?).map_err(|error| wrong(&error.to_string()))
}

fn title(words: &str) -> String {
    let mut last = ' ';
    let mut titled = String::with_capacity(words.len());
    for letter in words.chars() {
        if last.is_alphanumeric() {
            titled.push(letter);
        } else {
            titled.extend(letter.to_uppercase());
        }
        last = letter;
    }
    titled
}

/// Four significant digits, as C's `%.4g`.
pub fn significant(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if !value.is_finite() {
        return go_float(value);
    }
    let scientific = format!("{value:.3e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trimmed = |text: &str| {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    if (-4..4).contains(&exponent) {
        let places = usize::try_from(3 - exponent).unwrap_or(0);
        return trimmed(&format!("{value:.places$}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trimmed(digits), exponent.abs())
}

fn go_float(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value > 0.0 {
        "+Inf".to_owned()
    } else {
        "-Inf".to_owned()
    }
}

/// With four significant digits and a unit of thousands.
pub fn humanize(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return significant(value);
    }
    let (units, step, grows) = if value.abs() >= 1.0 {
        (["k", "M", "G", "T", "P", "E", "Z", "Y"], 1e3, true)
    } else {
        (["m", "u", "n", "p", "f", "a", "z", "y"], 1e3, false)
    };
    let mut value = value;
    let mut unit = "";
    for next in units {
        if (grows && value.abs() < step) || (!grows && value.abs() >= 1.0) {
            break;
        }
        unit = next;
        value = if grows { value / step } else { value * step };
    }
    format!("{}{unit}", significant(value))
}

fn humanize_duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return go_float(seconds);
    }
    if seconds == 0.0 {
        return "0s".to_owned();
    }
    if seconds.abs() < 1.0 {
        return format!("{}s", humanize(seconds));
    }
    let sign = if seconds < 0.0 { "-" } else { "" };
    let whole = seconds.abs();
    let total = whole as u64;
    let (days, hours) = (total / 86_400, total / 3_600 % 24);
    let (minutes, rest) = (total / 60 % 60, total % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{sign}{}s", significant(whole)),
        (0, 0, _) => format!("{sign}{minutes}m {rest}s"),
        (0, ..) => format!("{sign}{hours}h {minutes}m {rest}s"),
        _ => format!("{sign}{days}d {hours}h {minutes}m {rest}s"),
    }
}
