//! The functions that the original gives to texts of notifications.

use std::{collections::BTreeMap, sync::Arc};

use gotmpl::{FuncMap, Value};
use jiff::Timestamp;
use mainstay_template::{Function, Outcome, SHARED, string, text, wrong};

use super::{
    goes, methods,
    rewrite::{ESCAPE, FIELD, PRINT},
};

/// All of them, as of `now`.
pub(super) fn functions(now: Timestamp) -> FuncMap {
    let mut all = FuncMap::new();
    for (name, function) in SHARED.iter().chain(OWN) {
        all.insert((*name).to_owned(), Arc::new(*function));
    }
    all.insert(
        "since".into(),
        Arc::new(move |args: &[Value]| {
            let at = args.first().and_then(goes::instant);
            let at = at.ok_or_else(|| wrong("since needs a time"))?;
            Ok(Value::Float(now.duration_since(at).as_secs_f64()))
        }),
    );
    all
}

const OWN: &[(&str, Function)] = &[
    (FIELD, methods::field),
    (PRINT, |args| Ok(text(&printed(args)))),
    (ESCAPE, |args| {
        Ok(text(&gotmpl::html_escape(&printed(args))))
    }),
    ("append", |args| {
        let mut list = list(args, 0)?;
        list.extend(args.iter().skip(1).cloned());
        Ok(Value::List(list.into()))
    }),
    ("date", |args| match args.get(1) {
        Some(at) => goes::formatted(at, string(args, 0)?),
        None => Err(wrong("date needs a layout and a time")),
    }),
    ("dict", dict),
    ("join", |args| {
        let texts: Vec<String> = list(args, 1)?.iter().map(ToString::to_string).collect();
        Ok(text(&texts.join(string(args, 0)?)))
    }),
    ("list", |args| Ok(Value::List(args.to_vec().into()))),
    ("safeUrl", |args| Ok(text(string(args, 0)?))),
    ("stringSlice", |args| Ok(Value::List(args.to_vec().into()))),
    ("toJson", |args| {
        let value = args.first().ok_or_else(|| wrong("toJson needs a value"))?;
        Ok(text(&json(value).to_string()))
    }),
    ("trimSpace", |args| Ok(text(string(args, 0)?.trim()))),
    ("tz", |args| match args.get(1) {
        Some(at) => goes::in_zone(string(args, 0)?, at),
        None => Err(wrong("tz needs a zone and a time")),
    }),
    ("urlUnescape", |args| Ok(text(&unescaped(string(args, 0)?)))),
];

fn list(args: &[Value], at: usize) -> Result<Vec<Value>, gotmpl::TemplateError> {
    match args.get(at) {
        Some(Value::List(list)) => Ok(list.to_vec()),
        Some(Value::Nil) => Ok(Vec::new()),
        _ => Err(wrong(&format!("argument {} has to be a list", at + 1))),
    }
}

fn dict(args: &[Value]) -> Outcome {
    if args.len() % 2 == 1 {
        return Err(wrong("dict needs names and values in turn"));
    }
    let mut fields: BTreeMap<Arc<str>, Value> = BTreeMap::new();
    for (at, value) in args.iter().enumerate().skip(1).step_by(2) {
        fields.insert(string(args, at - 1)?.into(), value.clone());
    }
    Ok(Value::Map(Arc::new(fields)))
}

/// As Go prints: a time with its zone, nothing for what is not there.
fn printed(args: &[Value]) -> String {
    match args.first() {
        None | Some(Value::Nil) => String::new(),
        Some(Value::Map(fields)) if goes::is_time(fields) => goes::printed(fields),
        Some(value) => value.to_string(),
    }
}

fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Bool(it) => (*it).into(),
        Value::Int(it) => (*it).into(),
        Value::Uint(it) => (*it).into(),
        Value::Float(it) => (*it).into(),
        Value::String(it) => (&**it).into(),
        Value::List(list) => list.iter().map(json).collect(),
        Value::Map(fields) if goes::is_time(fields) => goes::printed(fields).into(),
        Value::Map(fields) => {
            let fields = fields.iter().map(|(name, it)| (name.to_string(), json(it)));
            serde_json::Value::Object(fields.collect())
        }
        _ => serde_json::Value::Null,
    }
}

fn unescaped(url: &str) -> String {
    let mut bytes = Vec::with_capacity(url.len());
    let mut rest = url.bytes();
    while let Some(byte) = rest.next() {
        let hex = rest.clone().take(2).map(char::from).collect::<String>();
        match (byte, u8::from_str_radix(&hex, 16)) {
            (b'%', Ok(code)) if hex.len() == 2 => {
                bytes.push(code);
                rest.nth(1);
            }
            (b'+', _) => bytes.push(b' '),
            (byte, _) => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
