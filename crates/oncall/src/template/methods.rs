//! What the original's types can be asked for: labels, alerts, times.
//!
//! Guarantees: a label that is not there is an empty text; anything else that is not there is an error with its name.

use std::{collections::BTreeMap, sync::Arc};

use gotmpl::Value;
use mainstay_template::{Outcome, map, string, text, wrong};

use super::goes;

type Fields = BTreeMap<Arc<str>, Value>;

/// `_field VALUE NAME ARGUMENTS…`.
pub(super) fn field(args: &[Value]) -> Outcome {
    let of = args.first().ok_or_else(|| wrong("nothing is asked"))?;
    let name = string(args, 1)?;
    let more = args.get(2..).unwrap_or_default();
    let found = match of {
        Value::Map(fields) if goes::is_time(fields) => goes::method(fields, name, more)?,
        Value::Map(fields) if is_labels(fields) => Some(label(fields, name, more)),
        Value::Map(fields) => fields.get(name).cloned(),
        Value::List(list) => of_list(list, name),
        Value::Nil => Some(Value::Nil),
        _ => None,
    };
    found.ok_or_else(|| wrong(&format!("can't evaluate field {name}")))
}

/// Labels and annotations are texts by name; so is a pair, which has only these two.
fn is_labels(fields: &Fields) -> bool {
    let is_pair = fields.len() == 2 && fields.contains_key("Name") && fields.contains_key("Value");
    !is_pair && fields.values().all(|it| matches!(it, Value::String(_)))
}

fn label(labels: &Fields, name: &str, more: &[Value]) -> Value {
    let sorted = sorted(labels);
    match name {
        "SortedPairs" => Value::List(
            sorted
                .into_iter()
                .map(|(name, value)| pair(&name, value))
                .collect(),
        ),
        "Names" => Value::List(sorted.iter().map(|(name, _)| text(name)).collect()),
        "Values" => Value::List(sorted.into_iter().map(|(_, value)| value).collect()),
        "Remove" => {
            let removed: Vec<&str> = match more.first() {
                Some(Value::List(list)) => list.iter().filter_map(Value::as_str).collect(),
                _ => Vec::new(),
            };
            let kept = labels
                .iter()
                .filter(|(name, _)| !removed.contains(&&***name));
            Value::Map(Arc::new(
                kept.map(|(name, it)| (name.clone(), it.clone())).collect(),
            ))
        }
        "String" => text(&joined(&sorted)),
        name => labels.get(name).cloned().unwrap_or_else(|| text("")),
    }
}

/// The alert's name first, then by name.
fn sorted(labels: &Fields) -> Vec<(Arc<str>, Value)> {
    let mut all: Vec<_> = labels
        .iter()
        .map(|(name, it)| (name.clone(), it.clone()))
        .collect();
    all.sort_by_key(|(name, _)| &**name != "alertname");
    all
}

fn pair(name: &str, value: Value) -> Value {
    map([("Name", text(name)), ("Value", value)])
}

fn joined(pairs: &[(Arc<str>, Value)]) -> String {
    let pairs = pairs.iter().map(|(name, value)| format!("{name}={value}"));
    pairs.collect::<Vec<_>>().join(", ")
}

/// Alerts that fire or are over; names or values of pairs.
fn of_list(list: &[Value], name: &str) -> Option<Value> {
    let status = |wanted: &str| {
        let is = |it: &&Value| it.field("Status").and_then(Value::as_str) == Some(wanted);
        Value::List(list.iter().filter(is).cloned().collect())
    };
    let of_pairs = |part: &str| {
        let all = list
            .iter()
            .map(|it| it.field(part).cloned().unwrap_or(Value::Nil));
        Value::List(all.collect())
    };
    match name {
        "Firing" => Some(status("firing")),
        "Resolved" => Some(status("resolved")),
        "Names" => Some(of_pairs("Name")),
        "Values" => Some(of_pairs("Value")),
        _ => None,
    }
}
