//! Whether what came out is what was wanted.
//!
//! Guarantees: numbers are equal up to a millionth of their size; not-a-number equals itself, and the
//! staleness marker only itself. Histograms are compared without empty buckets, and by what they know of
//! resets only where that is written down.

use super::command::{Eval, Expected, NoteRule, Text};
use super::points::Spot;
use crate::column::is_stale;
use crate::number::Short;
use crate::result::{HistogramSample, Sample};
use crate::{Answer, Error, Histogram, Labels, Note, QueryResult, RangeSeries, Severity};
use std::fmt::Write as _;
use std::sync::Arc;

/// Relative difference below which two numbers are the same.
const EPSILON: f64 = 1e-6;

pub(super) fn almost(a: f64, b: f64) -> bool {
    if is_stale(a) || is_stale(b) {
        return is_stale(a) && is_stale(b);
    }
    if a == b || (a.is_nan() && b.is_nan()) {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < EPSILON * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < EPSILON
}

/// Whether two histograms are the same, whatever they know of resets and of empty buckets.
pub fn is_alike(wanted: &Histogram, found: &Histogram) -> bool {
    alike(wanted, found, false)
}

fn alike(wanted: &Histogram, found: &Histogram, hint_given: bool) -> bool {
    let (wanted, found) = (wanted.clone().compact(), found.clone().compact());
    let same_slots = |a: &[crate::Slot], b: &[crate::Slot]| {
        let pairs = a.iter().zip(b);
        a.len() == b.len()
            && pairs
                .into_iter()
                .all(|(a, b)| a.index == b.index && almost(a.count, b.count))
    };
    let bounds = wanted.bounds.iter().zip(found.bounds.iter());
    wanted.schema == found.schema
        && (!hint_given || wanted.hint == found.hint)
        && almost(wanted.count, found.count)
        && almost(wanted.sum, found.sum)
        && almost(wanted.zero_count, found.zero_count)
        && almost(wanted.zero_threshold, found.zero_threshold)
        && wanted.bounds.len() == found.bounds.len()
        && bounds.into_iter().all(|(a, b)| almost(*a, *b))
        && same_slots(&wanted.positive, &found.positive)
        && same_slots(&wanted.negative, &found.negative)
}

/// A point that was found.
#[derive(Clone, Copy)]
enum Found<'a> {
    Float(f64),
    Histogram(&'a Histogram),
}

fn fits(wanted: &Spot, found: Option<Found<'_>>) -> bool {
    match (wanted, found) {
        (Spot::Gap, None) => true,
        (Spot::Float(wanted), Some(Found::Float(found))) => almost(*wanted, found),
        (
            Spot::Histogram {
                histogram,
                hint_given,
            },
            Some(Found::Histogram(found)),
        ) => alike(histogram, found, *hint_given),
        _ => false,
    }
}

/// What was wanted and what was found, where they differ.
pub(super) type Difference = (String, String);

pub(super) fn value(eval: &Eval, result: &QueryResult) -> Result<(), Difference> {
    let same = match (&eval.expected, result) {
        (Expected::Scalar(wanted), QueryResult::Scalar(found)) => almost(*wanted, found.value),
        (Expected::Text(wanted), QueryResult::String(found)) => wanted == found,
        (Expected::Vector(wanted), QueryResult::Vector(found)) => {
            let found = found.iter().map(|series| {
                let point = match &series.histogram {
                    Some(histogram) => Found::Histogram(histogram),
                    None => Found::Float(series.sample.value),
                };
                (&series.labels, point)
            });
            same_vector(wanted, found.collect(), eval.ordered)
        }
        (
            Expected::Matrix {
                start_ms,
                step_ms,
                series,
            },
            QueryResult::Matrix(found),
        ) => same_matrix((*start_ms, *step_ms), series, found),
        _ => false,
    };
    if same {
        return Ok(());
    }
    Err((shown_expected(&eval.expected), shown_result(result)))
}

fn same_vector(
    wanted: &[(Labels, Spot)],
    mut found: Vec<(&Labels, Found<'_>)>,
    ordered: bool,
) -> bool {
    let wanted = wanted.iter().filter(|(_, spot)| !matches!(spot, Spot::Gap));
    let mut wanted: Vec<&(Labels, Spot)> = wanted.collect();
    if !ordered {
        wanted.sort_by(|a, b| a.0.cmp(&b.0));
        found.sort_by(|a, b| a.0.cmp(b.0));
    }
    let mut pairs = wanted.iter().zip(&found);
    wanted.len() == found.len()
        && pairs.all(|((labels, spot), (own, point))| labels == *own && fits(spot, Some(*point)))
}

fn same_matrix(
    (start_ms, step_ms): (i64, i64),
    wanted: &[(Labels, Vec<Spot>)],
    found: &[RangeSeries],
) -> bool {
    let is_gap = |spot: &Spot| matches!(spot, Spot::Gap);
    let wanted = wanted.iter().filter(|(_, spots)| !spots.iter().all(is_gap));
    let mut wanted: Vec<&(Labels, Vec<Spot>)> = wanted.collect();
    wanted.sort_by(|a, b| a.0.cmp(&b.0));
    let sorted = found.is_sorted_by(|a, b| a.labels < b.labels);
    let mut pairs = wanted.iter().zip(found);
    sorted
        && wanted.len() == found.len()
        && pairs.all(|((labels, spots), series)| {
            let points = series.samples.len() + series.histograms.len();
            let wanted_points = spots.iter().filter(|spot| !is_gap(spot)).count();
            let mut spots = spots.iter().enumerate();
            *labels == series.labels
                && points == wanted_points
                && spots
                    .all(|(i, spot)| fits(spot, point_at(series, start_ms + step_ms * i as i64)))
        })
}

fn point_at(series: &RangeSeries, at_ms: i64) -> Option<Found<'_>> {
    let sample = series.samples.iter().find(|s| s.timestamp_ms == at_ms);
    let histogram = series.histograms.iter().find(|h| h.timestamp_ms == at_ms);
    let histogram = histogram.map(|h| Found::Histogram(&h.histogram));
    sample.map(|s| Found::Float(s.value)).or(histogram)
}

/// An error, where one was wanted.
pub(super) fn failure(texts: &[Text], error: &Error) -> Result<(), Difference> {
    let message = error.kind.to_string();
    if texts.iter().all(|text| text.fits(&message)) {
        return Ok(());
    }
    Err((shown_failure(texts), error.to_string()))
}

/// Warnings and infos, where something was said of them.
pub(super) fn notes(eval: &Eval, answer: &Answer) -> Result<(), Difference> {
    note_rule(&eval.warnings, Severity::Warning, &answer.notes)?;
    note_rule(&eval.infos, Severity::Info, &answer.notes)
}

fn note_rule(rule: &NoteRule, severity: Severity, notes: &[Note]) -> Result<(), Difference> {
    let kind = match severity {
        Severity::Warning => "warnings",
        Severity::Info => "infos",
    };
    let notes = notes.iter().filter(|note| note.severity == severity);
    let notes: Vec<String> = notes.map(ToString::to_string).collect();
    let told = rule.wanted.is_empty() || {
        let each_wanted = rule
            .wanted
            .iter()
            .all(|text| notes.iter().any(|note| text.fits(note)));
        let each_found = notes
            .iter()
            .all(|note| rule.wanted.iter().any(|text| text.fits(note)));
        each_wanted && each_found
    };
    let silent = notes.is_empty() || !rule.none;
    if told && silent {
        return Ok(());
    }
    let wanted = if rule.none {
        format!("no {kind}")
    } else {
        format!(
            "{kind}: {}",
            rule.wanted
                .iter()
                .map(shown_text)
                .collect::<Vec<_>>()
                .join("; ")
        )
    };
    Err((wanted, format!("{kind}: {}", notes.join("; "))))
}

fn shown_text(text: &Text) -> String {
    match text {
        Text::Any => "any".into(),
        Text::Exactly(text) => text.clone(),
        Text::Like(regex) => format!("like {regex}"),
    }
}

pub(super) fn shown_failure(texts: &[Text]) -> String {
    let texts: Vec<String> = texts.iter().map(shown_text).collect();
    format!("an error ({})", texts.join("; "))
}

pub(super) fn shown_expected(expected: &Expected) -> String {
    match expected {
        Expected::Fail(texts) => shown_failure(texts),
        Expected::Scalar(value) => Short(*value).to_string(),
        Expected::Text(text) => format!("{text:?}"),
        Expected::Vector(series) => {
            let lines = series
                .iter()
                .map(|(labels, spot)| format!("\n{labels} {}", shown_spot(spot)));
            lines.collect()
        }
        Expected::Matrix { series, .. } => {
            let lines = series.iter().map(|(labels, spots)| {
                let spots: Vec<String> = spots.iter().map(shown_spot).collect();
                format!("\n{labels} {}", spots.join(" "))
            });
            lines.collect()
        }
    }
}

fn shown_spot(spot: &Spot) -> String {
    match spot {
        Spot::Gap => "_".into(),
        Spot::Float(value) if is_stale(*value) => "stale".into(),
        Spot::Float(value) => Short(*value).to_string(),
        Spot::Histogram { histogram, .. } => shown_histogram(histogram),
    }
}

fn shown_histogram(histogram: &Histogram) -> String {
    let mut text = format!("{histogram}");
    // Writing to a text cannot fail.
    let _ = write!(text, "[schema {}, {:?}", histogram.schema, histogram.hint);
    if histogram.zero_threshold != 0.0 {
        let _ = write!(text, ", zero ±{}", Short(histogram.zero_threshold));
    }
    if !histogram.bounds.is_empty() {
        let _ = write!(text, ", bounds {:?}", histogram.bounds);
    }
    text.push(']');
    text
}

fn shown_result(result: &QueryResult) -> String {
    let point = |sample: &Sample| Short(sample.value).to_string();
    let histogram = |h: &Arc<Histogram>| shown_histogram(h);
    let timed = |h: &HistogramSample| format!("{}@{}", histogram(&h.histogram), h.timestamp_ms);
    match result {
        QueryResult::Scalar(sample) => point(sample),
        QueryResult::String(text) => format!("{text:?}"),
        QueryResult::Vector(series) => {
            let lines = series.iter().map(|one| {
                let shown = one
                    .histogram
                    .as_ref()
                    .map_or_else(|| point(&one.sample), histogram);
                format!("\n{} {shown}", one.labels)
            });
            lines.collect()
        }
        QueryResult::Matrix(series) => {
            let lines = series.iter().map(|one| {
                let floats = one
                    .samples
                    .iter()
                    .map(|s| format!("{}@{}", point(s), s.timestamp_ms));
                let points: Vec<String> = floats.chain(one.histograms.iter().map(timed)).collect();
                format!("\n{} {}", one.labels, points.join(" "))
            });
            lines.collect()
        }
    }
}
