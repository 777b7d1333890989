//! Times as Go has them: a value with methods, and layouts written as the time of an example.
//!
//! Guarantees: what Go's layouts name is written as Go writes it; letters that name nothing stand as they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use gotmpl::Value;
use jiff::{
    Timestamp, Zoned,
    tz::{Offset, TimeZone},
};
use mainstay_template::{Outcome, map, string, text, wrong};

/// The fields of a time; no label is named like these.
const INSTANT: &str = "\u{0}instant";
const ZONE: &str = "\u{0}zone";
/// How Go prints a time that nobody formats.
const PLAIN: &str = "2006-01-02 15:04:05.999999999 -0700 MST";
/// How the original writes the end of what is not over.
const NEVER: &str = "0001-01-01 00:00:00 +0000 UTC";

type Fields = BTreeMap<Arc<str>, Value>;

/// Parts of layouts, longest first where one begins another; what each is in strftime.
const PARTS: [(&str, &str); 30] = [
    ("January", "%B"),
    ("Jan", "%b"),
    ("Monday", "%A"),
    ("Mon", "%a"),
    ("MST", "%Z"),
    ("2006", "%Y"),
    ("-07:00", "%:z"),
    ("-0700", "%z"),
    ("Z07:00", "\u{1}"),
    (".000000000", ".%9f"),
    (".000000", ".%6f"),
    (".000", ".%3f"),
    (".999999999", "%.f"),
    (".999999", "%.f"),
    (".999", "%.f"),
    ("002", "%j"),
    ("01", "%m"),
    ("02", "%d"),
    ("03", "%I"),
    ("04", "%M"),
    ("05", "%S"),
    ("06", "%y"),
    ("15", "%H"),
    ("PM", "%p"),
    ("pm", "%P"),
    ("_2", "%e"),
    ("1", "%-m"),
    ("2", "%-d"),
    ("3", "%-I"),
    ("4", "%-M"),
];

/// A time; nothing for what is not over.
pub(super) fn time(at: Option<Timestamp>) -> Value {
    map([
        (
            INSTANT,
            text(&at.map_or(String::new(), |it| it.to_string())),
        ),
        (ZONE, text("UTC")),
    ])
}

pub(super) fn is_time(fields: &Fields) -> bool {
    fields.contains_key(INSTANT)
}

fn zoned(fields: &Fields) -> Option<Zoned> {
    let at: Timestamp = fields.get(INSTANT)?.as_str()?.parse().ok()?;
    let zone = fields.get(ZONE)?.as_str()?;
    Some(at.to_zoned(TimeZone::get(zone).unwrap_or(TimeZone::UTC)))
}

/// The instant of a value that is a time.
pub(super) fn instant(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Map(fields) => zoned(fields).map(|it| it.timestamp()),
        _ => None,
    }
}

/// The same time in another zone.
pub(super) fn in_zone(name: &str, value: &Value) -> Outcome {
    TimeZone::get(name).map_err(|_| wrong(&format!("unknown time zone {name}")))?;
    let Value::Map(fields) = value else {
        return Err(wrong("tz needs a time"));
    };
    let mut fields = Fields::clone(fields);
    fields.insert(ZONE.into(), text(name));
    Ok(Value::Map(Arc::new(fields)))
}

/// As Go prints it.
pub(super) fn printed(fields: &Fields) -> String {
    zoned(fields).map_or_else(|| NEVER.to_owned(), |it| written(&it, PLAIN))
}

/// By a layout.
pub(super) fn formatted(value: &Value, layout: &str) -> Outcome {
    match value {
        Value::Map(fields) if is_time(fields) => Ok(text(
            &zoned(fields).map_or_else(|| NEVER.to_owned(), |it| written(&it, layout)),
        )),
        _ => Err(wrong("this needs a time")),
    }
}

/// What a time can be asked for.
pub(super) fn method(
    fields: &Fields,
    name: &str,
    more: &[Value],
) -> Result<Option<Value>, gotmpl::TemplateError> {
    let Some(at) = zoned(fields) else {
        let is_zero = name == "IsZero";
        return Ok(is_zero
            .then_some(Value::Bool(true))
            .or_else(|| Some(text(NEVER))));
    };
    Ok(Some(match name {
        "Format" => text(&written(&at, string(more, 0)?)),
        "Unix" => Value::Int(at.timestamp().as_second()),
        "UnixMilli" => Value::Int(at.timestamp().as_millisecond()),
        "UTC" => return in_zone("UTC", &Value::Map(Arc::new(fields.clone()))).map(Some),
        "Year" => Value::Int(at.year().into()),
        "Month" => text(&at.strftime("%B").to_string()),
        "Day" => Value::Int(at.day().into()),
        "Hour" => Value::Int(at.hour().into()),
        "Minute" => Value::Int(at.minute().into()),
        "Second" => Value::Int(at.second().into()),
        "Weekday" => text(&at.strftime("%A").to_string()),
        "IsZero" => Value::Bool(false),
        "String" => text(&written(&at, PLAIN)),
        _ => return Ok(None),
    }))
}

fn written(at: &Zoned, layout: &str) -> String {
    let mut out = String::new();
    let mut rest = layout;
    while let Some(letter) = rest.chars().next() {
        let part = PARTS
            .iter()
            .find_map(|(go, strf)| Some((*strf, rest.strip_prefix(go)?)));
        // A 5 alone is a second; it stands apart because the table is full of it.
        let part = part.or_else(|| Some(("%-S", rest.strip_prefix('5')?)));
        match part {
            Some(("\u{1}", after)) => {
                let is_utc = at.offset() == Offset::UTC;
                out.push_str(if is_utc { "Z" } else { "" });
                if !is_utc {
                    out.push_str(&at.strftime("%:z").to_string());
                }
                rest = after;
            }
            Some((strf, after)) => {
                out.push_str(&at.strftime(strf).to_string());
                rest = after;
            }
            None => {
                out.push(letter);
                rest = &rest[letter.len_utf8()..];
            }
        }
    }
    out
}
