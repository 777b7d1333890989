//! Series as a script writes them: labels, then points such as `1 2+1x3 _x2 stale {{count:3}}x2`.

use super::MAX_REPEATS;
use super::histogram;
use crate::ast::ExprKind;
use crate::column::STALE_MARKER_BITS;
use crate::parser::parse_series;
use crate::{Histogram, Labels, parse};
use std::sync::Arc;

/// What a script says of one step.
#[derive(Clone, Debug)]
pub(super) enum Spot {
    Gap,
    Float(f64),
    Histogram {
        histogram: Arc<Histogram>,
        /// The reset hint was written down, and is to be compared.
        hint_given: bool,
    },
}

/// A line of a series.
pub(super) struct Line {
    pub(super) labels: Labels,
    /// The points are start times (`@st`), in seconds from each sample.
    pub(super) starts: bool,
    pub(super) spots: Vec<Spot>,
}

pub(super) fn read(text: &str) -> Result<Line, String> {
    let (labels, rest) = split_labels(text);
    let labels = self::labels(labels)?;
    let (starts, rest) = match rest.strip_prefix("@st") {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let mut spots = Vec::new();
    for word in words(rest) {
        expand(word, &mut spots)?;
        if spots.len() > MAX_REPEATS {
            return Err(format!("more than {MAX_REPEATS} points"));
        }
    }
    Ok(Line {
        labels,
        starts,
        spots,
    })
}

/// A number, or a duration in seconds.
pub(super) fn number(text: &str) -> Option<f64> {
    match parse(text).ok()?.kind {
        ExprKind::Number { value, .. } => Some(value),
        _ => None,
    }
}

/// Labels end with their brace, or without one at the first blank or `@`.
fn split_labels(text: &str) -> (&str, &str) {
    let name_end = text
        .find(|c: char| matches!(c, '{' | '@') || c.is_whitespace())
        .unwrap_or(text.len());
    let mut end = name_end;
    if text[name_end..].starts_with('{') {
        let mut quoted = None;
        let mut escaped = false;
        for (at, c) in text.char_indices().skip_while(|(at, _)| *at < name_end) {
            match quoted {
                Some(_) if escaped => escaped = false,
                Some(quote) if c == '\\' && quote != '`' => escaped = true,
                Some(quote) if c == quote => quoted = None,
                None if matches!(c, '"' | '\'' | '`') => quoted = Some(c),
                None if c == '}' => {
                    end = at + 1;
                    break;
                }
                _ => {}
            }
        }
    }
    (&text[..end], &text[end..])
}

pub(super) fn labels(text: &str) -> Result<Labels, String> {
    if text.is_empty() || text.replace(' ', "") == "{}" {
        return Ok(Labels::default());
    }
    let expr = parse_series(text).map_err(|error| format!("not a series: {error}"))?;
    match expr.kind {
        ExprKind::Selector(selector) => {
            let pairs = selector.matchers.into_iter();
            Ok(Labels::from_pairs(pairs.map(|m| (m.name, m.value))))
        }
        _ => Err(format!("not a series: {text}")),
    }
}

/// Words between blanks; blanks inside `{{…}}` do not count.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let (mut start, mut depth) = (None, 0_i32);
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if c.is_whitespace() && depth == 0 {
            if let Some(start) = start.take() {
                words.push(&text[start..at]);
            }
        } else if start.is_none() {
            start = Some(at);
        }
    }
    words.extend(start.map(|start| &text[start..]));
    words
}

/// `a`, `axn`, `a+bxn`, `a-bxn`, `_`, `_xn`, `stale`, and the same of histograms.
fn expand(word: &str, spots: &mut Vec<Spot>) -> Result<(), String> {
    if word == "stale" {
        spots.push(Spot::Float(f64::from_bits(STALE_MARKER_BITS)));
        return Ok(());
    }
    let (head, times) = repeats(word)?;
    if head == "_" {
        spots.extend(std::iter::repeat_n(Spot::Gap, times.unwrap_or(1)));
        return Ok(());
    }
    if head.starts_with("{{") {
        return expand_histogram(head, times.unwrap_or(0), spots);
    }
    let (first, step) = match number(head) {
        Some(first) => (first, 0.0),
        None => split_step(head).ok_or_else(|| format!("not a point: {word}"))?,
    };
    let mut value = first;
    for _ in 0..=times.unwrap_or(0) {
        spots.push(Spot::Float(value));
        value += step;
    }
    Ok(())
}

/// What stands before `xN`, and N. `0x59` is a zero and 59 more, not a hexadecimal number.
fn repeats(word: &str) -> Result<(&str, Option<usize>), String> {
    let Some((head, times)) = word.rsplit_once('x') else {
        return Ok((word, None));
    };
    match times.parse::<usize>() {
        Ok(times) if times <= MAX_REPEATS => Ok((head, Some(times))),
        Ok(_) => Err(format!("more than {MAX_REPEATS} points: {word}")),
        Err(_) => Ok((word, None)),
    }
}

fn split_step(head: &str) -> Option<(f64, f64)> {
    let mut signs = head.char_indices().skip(1);
    signs.find_map(|(at, c)| {
        if !matches!(c, '+' | '-') {
            return None;
        }
        Some((number(&head[..at])?, number(&head[at..])?))
    })
}

fn expand_histogram(head: &str, times: usize, spots: &mut Vec<Spot>) -> Result<(), String> {
    let end = head
        .find("}}")
        .ok_or_else(|| format!("an open histogram: {head}"))?
        + 2;
    let (first, rest) = head.split_at(end);
    let (mut histogram, hint_given) = histogram::read(first)?;
    let step = match rest.chars().next() {
        None => None,
        Some(sign @ ('+' | '-')) => Some((sign, histogram::read(&rest[1..])?.0)),
        Some(_) => return Err(format!("not a histogram: {head}")),
    };
    for at in 0..=times {
        if let Some((sign, step)) = step.as_ref().filter(|_| at > 0) {
            let next = if *sign == '+' {
                histogram.plus(step)
            } else {
                histogram.minus(step)
            };
            let next = next.map_err(|_| format!("schemas that do not go together: {head}"))?;
            histogram = next.histogram;
        }
        spots.push(Spot::Histogram {
            histogram: Arc::new(histogram.clone()),
            hint_given,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(text: &str) -> Vec<Option<f64>> {
        let float = |spot: &Spot| match spot {
            Spot::Float(value) => Some(*value),
            Spot::Gap | Spot::Histogram { .. } => None,
        };
        read(text).unwrap().spots.iter().map(float).collect()
    }

    #[test]
    fn points_expand_by_steps_and_repetitions() {
        assert_eq!(floats("a 1+2x2"), [Some(1.0), Some(3.0), Some(5.0)]);
        assert_eq!(floats("a 0x1 _x2"), [Some(0.0), Some(0.0), None, None]);
        assert_eq!(floats("a@st -30s-1mx1"), [Some(-30.0), Some(-90.0)]);
        assert!(read("a 1x9999999999").is_err());
        assert!(read("a {{count:1").is_err());
    }
}
