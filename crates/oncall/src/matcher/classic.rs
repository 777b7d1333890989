//! The classic syntax: `name="value"`, where quotes may be left out and commas stand between.
//!
//! Guarantees: takes what it always took. Never takes a name beyond letters, digits, `_` and `:`.

use super::{Matcher, MatcherError, Operator};

/// Reads matchers with or without braces.
pub(super) fn parse(text: &str) -> Result<Vec<Matcher>, MatcherError> {
    let offset = text.len() - text.strip_prefix('{').map_or(text.len(), str::len);
    let inner = text.strip_prefix('{').unwrap_or(text);
    let inner = inner.strip_suffix('}').unwrap_or(inner);
    let mut matchers = Vec::new();
    for (from, part) in split(inner) {
        if part.trim().is_empty() {
            continue;
        }
        matchers.push(one(part).map_err(|what| MatcherError::Syntax {
            column: offset + from + 1,
            what,
        })?);
    }
    Ok(matchers)
}

/// At commas outside of quotes; each part with where it begins.
fn split(text: &str) -> Vec<(usize, &str)> {
    let (mut parts, mut from, mut in_quotes, mut escaped) = (Vec::new(), 0, false, false);
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => in_quotes = !in_quotes,
            ',' if !in_quotes => {
                parts.push((from, &text[from..at]));
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push((from, &text[from..]));
    parts
}

fn one(part: &str) -> Result<Matcher, String> {
    let part = part.trim();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let end = part.find(|c| !is_name(c)).unwrap_or(part.len());
    let (name, rest) = part.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(format!("bad matcher format: {part}"));
    }
    let rest = rest.trim_start();
    let signs = [
        ("=~", Operator::Matches),
        ("!~", Operator::NotMatches),
        ("!=", Operator::NotEqual),
        ("=", Operator::Equal),
    ];
    let found = signs
        .iter()
        .find_map(|(sign, operator)| Some((*operator, rest.strip_prefix(sign)?)));
    let (operator, raw) = found.ok_or_else(|| format!("bad matcher format: {part}"))?;
    let value = unquoted(raw.trim()).ok_or_else(|| {
        format!("matcher value contains unescaped double quote, or ends within one: {raw}")
    })?;
    Matcher::new(name, operator, value).map_err(|error| error.to_string())
}

fn unquoted(raw: &str) -> Option<String> {
    let inner = match raw.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"')?,
        None => raw,
    };
    let mut value = String::with_capacity(inner.len());
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => return None,
            '\\' => match letters.next() {
                Some('n') => value.push('\n'),
                Some(known @ ('"' | '\\')) => value.push(known),
                Some(other) => value.extend(['\\', other]),
                // It would have escaped the quote.
                None if raw.starts_with('"') => return None,
                None => value.push('\\'),
            },
            other => value.push(other),
        }
    }
    Some(value)
}
