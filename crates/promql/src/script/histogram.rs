//! `{{schema:1 count:3 sum:4 buckets:[1 2]}}`.

use super::points::number;
use crate::{CUSTOM_SCHEMA, Histogram, ResetHint, Slot};

/// The histogram, and whether its reset hint was written down.
pub(super) fn read(text: &str) -> Result<(Histogram, bool), String> {
    let body = text
        .strip_prefix("{{")
        .and_then(|rest| rest.strip_suffix("}}"));
    let mut rest = body
        .ok_or_else(|| format!("not a histogram: {text}"))?
        .trim();
    let mut histogram = Histogram::default();
    let (mut offset, mut n_offset) = (0, 0);
    let mut hint_given = false;
    let mut positive = Vec::new();
    let mut negative = Vec::new();
    while !rest.is_empty() {
        let (key, value, after) = field(rest)?;
        rest = after.trim_start();
        let one = || number(value).ok_or_else(|| format!("{key} needs a number, not {value}"));
        match key {
            "schema" => histogram.schema = one()? as i32,
            "sum" => histogram.sum = one()?,
            "count" => histogram.count = one()?,
            "z_bucket" => histogram.zero_count = one()?,
            "z_bucket_w" => histogram.zero_threshold = one()?,
            "offset" => offset = one()? as i32,
            "n_offset" => n_offset = one()? as i32,
            "buckets" => positive = numbers(value)?,
            "n_buckets" => negative = numbers(value)?,
            "custom_values" => histogram.bounds = numbers(value)?.into(),
            "counter_reset_hint" => {
                hint_given = true;
                histogram.hint = hint(value)?;
            }
            _ => return Err(format!("{key} is no part of a histogram")),
        }
    }
    let known = (-4..=8).contains(&histogram.schema) || histogram.schema == CUSTOM_SCHEMA;
    if !known {
        return Err(format!("there is no schema {}", histogram.schema));
    }
    histogram.positive = slots(offset, &positive);
    histogram.negative = slots(n_offset, &negative);
    Ok((histogram, hint_given))
}

/// Key, value and what follows.
fn field(text: &str) -> Result<(&str, &str, &str), String> {
    let (key, rest) = text
        .split_once(':')
        .ok_or_else(|| format!("not a field: {text}"))?;
    let end = if rest.starts_with('[') {
        rest.find(']')
            .ok_or_else(|| format!("an open list: {rest}"))?
            + 1
    } else {
        rest.find(char::is_whitespace).unwrap_or(rest.len())
    };
    let (value, after) = rest.split_at(end);
    Ok((key.trim(), value, after))
}

fn numbers(list: &str) -> Result<Vec<f64>, String> {
    let inside = list.trim_start_matches('[').trim_end_matches(']');
    let one = |word: &str| number(word).ok_or_else(|| format!("not a number: {word}"));
    inside.split_whitespace().map(one).collect()
}

fn hint(word: &str) -> Result<ResetHint, String> {
    Ok(match word {
        "unknown" => ResetHint::Unknown,
        "reset" => ResetHint::Reset,
        "not_reset" => ResetHint::NotReset,
        "gauge" => ResetHint::Gauge,
        _ => return Err(format!("there is no reset hint {word}")),
    })
}

fn slots(first: i32, counts: &[f64]) -> Vec<Slot> {
    let slot = |(index, count): (i32, &f64)| Slot {
        index,
        count: *count,
    };
    (first..).zip(counts).map(slot).collect()
}
