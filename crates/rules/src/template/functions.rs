//! The functions that Prometheus gives to templates.

use std::sync::Arc;

use gotmpl::{FuncMap, Value};
use jiff::{Timestamp, tz::TimeZone};
use mainstay_core::Span;
use mainstay_promql::{InstantSeries, Query, QueryResult};
use mainstay_template::{
    Function, Outcome, SHARED, humanize, map, number, significant, string, text, texts, wrong,
};

use crate::{External, Source};

/// Whom `query` asks, for which time, and what is said of the server.
pub(crate) type Context = (Arc<dyn Source>, i64, External);

/// All of them; without a context those that need one fail, which serves to read a template.
pub(crate) fn functions(context: Option<Context>) -> FuncMap {
    let mut all = FuncMap::new();
    for (name, function) in SHARED.iter().chain(PURE) {
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
    ("parseDuration", |args| {
        let span: Span = string(args, 0)?
            .parse()
            .map_err(|error| wrong(&format!("{error}")))?;
        Ok(Value::Float(span.secs_f64()))
    }),
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
    ("toTime", |args| timestamp(number(args, 0)?)),
    ("urlQueryEscape", |args| {
        Ok(text(&gotmpl::url_encode(string(args, 0)?)))
    }),
    ("value", |args| {
        let value = args.first().and_then(|it| it.field("Value"));
        value.cloned().ok_or_else(|| wrong("value needs a sample"))
    }),
];

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
