//! The functions that Prometheus gives to templates.

use std::sync::Arc;

use gotmpl::{FuncMap, TemplateError, Value};
use jiff::{Timestamp, tz::TimeZone};
use mainstay_core::Span;
use mainstay_promql::{InstantSeries, Query, QueryResult};
use regex::Regex;

use super::{map, text, texts};
use crate::{External, Source};

type Outcome = Result<Value, TemplateError>;
type Function = fn(&[Value]) -> Outcome;
/// Whom `query` asks, for which time, and what is said of the server.
pub(crate) type Context = (Arc<dyn Source>, i64, External);

/// All of them; without a context those that need one fail, which serves to read a template.
pub(crate) fn functions(context: Option<Context>) -> FuncMap {
    let mut all = FuncMap::new();
    for (name, function) in PURE {
        all.insert((*name).to_owned(), Arc::new(*function));
    }
    let (source, at_ms, external) = match context {
        Some((source, at_ms, external)) => (Some(source), at_ms, external),
        None => (None, 0, External::default()),
    };
    let url = external.url;
    let path = url
        .split_once("://")
        .and_then(|(_, rest)| rest.split_once('/'))
        .map_or("/", |(_, path)| path)
        .to_owned();
    all.insert("externalURL".into(), Arc::new(move |_| Ok(text(&url))));
    all.insert("pathPrefix".into(), Arc::new(move |_| Ok(text(&path))));
    all.insert(
        "now".into(),
        Arc::new(move |_| Ok(Value::Float(at_ms as f64 / 1e3))),
    );
    all.insert(
        "query".into(),
        Arc::new(move |args| {
            let source = source.as_ref().ok_or_else(|| wrong("nobody to ask"))?;
            asked(source, string(args, 0)?, at_ms)
        }),
    );
    all
}

const PURE: &[(&str, Function)] = &[
    ("args", |args| {
        let names: Vec<String> = (0..args.len()).map(|at| format!("arg{at}")).collect();
        Ok(map(names
            .iter()
            .map(String::as_str)
            .zip(args.iter().cloned())))
    }),
    ("first", |args| match args.first() {
        Some(Value::List(list)) => list
            .first()
            .cloned()
            .ok_or_else(|| wrong("first() called on vector with no elements")),
        _ => Err(wrong("first needs the result of a query")),
    }),
    ("graphLink", |args| link(args, 0)),
    ("humanize", |args| Ok(text(&humanize(number(args, 0)?)))),
    ("humanize1024", |args| {
        Ok(text(&humanize1024(number(args, 0)?)))
    }),
    ("humanizeDuration", |args| {
        Ok(text(&humanize_duration(number(args, 0)?)))
    }),
    ("humanizePercentage", |args| {
        let share = number(args, 0)?;
        Ok(text(&format!("{}%", significant(share * 100.0))))
    }),
    ("humanizeTimestamp", |args| timestamp(number(args, 0)?)),
    ("label", |args| {
        let sample = args.get(1).and_then(|it| it.field("Labels"));
        let label = sample.and_then(|labels| labels.field(string(args, 0).ok()?));
        Ok(label.cloned().unwrap_or_else(|| text("")))
    }),
    ("match", |args| {
        Ok(Value::Bool(regex(args, 0)?.is_match(string(args, 1)?)))
    }),
    ("parseDuration", |args| {
        let span: Span = string(args, 0)?
            .parse()
            .map_err(|error| wrong(&format!("{error}")))?;
        Ok(Value::Float(span.secs_f64()))
    }),
    ("reReplaceAll", |args| {
        let replaced = regex(args, 0)?;
        Ok(text(
            &replaced.replace_all(string(args, 2)?, string(args, 1)?),
        ))
    }),
    ("safeHtml", |args| Ok(text(string(args, 0)?))),
    ("sortByLabel", |args| sort_by_label(args)),
    ("stripDomain", |args| {
        Ok(text(&strip_domain(string(args, 0)?)))
    }),
    ("stripPort", |args| {
        let host = string(args, 0)?;
        let at = host.rfind(':').filter(|_| !host.ends_with(']'));
        let bare = &host[..at.unwrap_or(host.len())];
        Ok(text(bare.trim_matches(['[', ']'])))
    }),
    ("strvalue", |args| {
        let labels = args.first().and_then(|it| it.field("Labels"));
        let value = labels.and_then(|it| it.field("__value__"));
        Ok(value.cloned().unwrap_or_else(|| text("")))
    }),
    ("tableLink", |args| link(args, 1)),
    ("title", |args| Ok(text(&title(string(args, 0)?)))),
    ("toLower", |args| Ok(text(&string(args, 0)?.to_lowercase()))),
    ("toTime", |args| timestamp(number(args, 0)?)),
    ("toUpper", |args| Ok(text(&string(args, 0)?.to_uppercase()))),
    ("urlQueryEscape", |args| {
        Ok(text(&gotmpl::url_encode(string(args, 0)?)))
    }),
    ("value", |args| {
        let value = args.first().and_then(|it| it.field("Value"));
        value.cloned().ok_or_else(|| wrong("value needs a sample"))
    }),
];

fn wrong(what: &str) -> TemplateError {
    TemplateError::Exec(what.to_owned())
}

fn string(args: &[Value], at: usize) -> Result<&str, TemplateError> {
    let missing = || wrong(&format!("argument {} has to be a text", at + 1));
    args.get(at).and_then(Value::as_str).ok_or_else(missing)
}

/// A number, or a text that is one, as Prometheus takes both.
fn number(args: &[Value], at: usize) -> Result<f64, TemplateError> {
    let found = match args.get(at) {
        Some(Value::Float(value)) => Some(*value),
        Some(Value::Int(value)) => Some(*value as f64),
        Some(Value::Uint(value)) => Some(*value as f64),
        Some(Value::String(text)) => text.parse().ok(),
        _ => None,
    };
    found.ok_or_else(|| wrong(&format!("argument {} has to be a number", at + 1)))
}

fn regex(args: &[Value], at: usize) -> Result<Regex, TemplateError> {
    Regex::new(string(args, at)?).map_err(|error| wrong(&error.to_string()))
}

fn asked(source: &Arc<dyn Source>, expr: &str, at_ms: i64) -> Outcome {
    let failed = |error: &dyn std::fmt::Display| wrong(&format!("query `{expr}`: {error}"));
    let query = Query::parse(expr).map_err(|error| failed(&error))?;
    let result = source
        .instant(&query, at_ms)
        .map_err(|error| failed(&error))?;
    let samples: Vec<Value> = match result {
        QueryResult::Vector(series) => series.iter().map(sample).collect(),
        QueryResult::Scalar(scalar) => vec![map([
            ("Labels", texts([])),
            ("Value", Value::Float(scalar.value)),
        ])],
        QueryResult::String(value) => vec![map([
            ("Labels", texts([("__value__", value.as_str())])),
            ("Value", Value::Float(0.0)),
        ])],
        QueryResult::Matrix(_) => return Err(failed(&"a range vector cannot be listed")),
    };
    Ok(Value::List(samples.into()))
}

fn sample(series: &InstantSeries) -> Value {
    map([
        ("Labels", texts(series.labels.iter())),
        ("Value", Value::Float(series.sample.value)),
    ])
}

fn sort_by_label(args: &[Value]) -> Outcome {
    let name = string(args, 0)?;
    let Some(Value::List(list)) = args.get(1) else {
        return Err(wrong("sortByLabel needs the result of a query"));
    };
    let mut sorted = list.to_vec();
    let key = |sample: &Value| {
        let label = sample.field("Labels").and_then(|it| it.field(name));
        label.and_then(Value::as_str).unwrap_or("").to_owned()
    };
    sorted.sort_by_key(key);
    Ok(Value::List(sorted.into()))
}

fn link(args: &[Value], tab: u8) -> Outcome {
    let expr = gotmpl::url_encode(string(args, 0)?).replace("%20", "+");
    Ok(text(&format!("/graph?g0.expr={expr}&g0.tab={tab}")))
}

fn strip_domain(host: &str) -> String {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (name, Some(port)),
        _ => (host, None),
    };
    let is_address = name.parse::<std::net::IpAddr>().is_ok() || name.contains(':');
    let short = match name.split_once('.') {
        Some((short, _)) if !is_address => short,
        _ => name,
    };
    port.map_or_else(|| short.to_owned(), |port| format!("{short}:{port}"))
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
fn significant(value: f64) -> String {
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

fn humanize(value: f64) -> String {
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

fn humanize1024(value: f64) -> String {
    let mut value = value;
    let mut unit = "";
    if value.is_finite() && value.abs() > 1.0 {
        for next in ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"] {
            if value.abs() < 1024.0 {
                break;
            }
            unit = next;
            value /= 1024.0;
        }
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

fn timestamp(seconds: f64) -> Outcome {
    let millis = seconds * 1e3;
    let in_range = millis.is_finite() && millis.abs() < 1e15;
    let at = in_range
        .then(|| Timestamp::from_millisecond(millis as i64).ok())
        .flatten()
        .ok_or_else(|| wrong(&format!("{seconds} is no time")))?;
    let civil = at.to_zoned(TimeZone::UTC).datetime();
    Ok(text(&format!(
        "{} {} +0000 UTC",
        civil.date(),
        civil.time()
    )))
}
