//! Loaded series, as the reference's store gives them out.
//!
//! Guarantees: what is known of resets is what that store knows: nothing of the first histogram of a chunk,
//! no reset inside one. A chunk ends where the counter was reset, the layout changed, or a gauge begins.

use super::points::{self, Line, Spot};
use crate::storage::METRIC_NAME;
use crate::{
    CUSTOM_SCHEMA, Histogram, Labels, Matcher, ResetHint, Series, Slot, Storage, StorageError,
};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Debug)]
struct Sample {
    value: f64,
    histogram: Option<Arc<Histogram>>,
    start_ms: i64,
}

/// A store in memory, for tests of queries and rules.
#[derive(Debug, Default)]
pub struct Memory {
    series: BTreeMap<Labels, BTreeMap<i64, Sample>>,
}

/// Times at equal distances, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// The first.
    pub start_ms: i64,
    /// How far apart.
    pub step_ms: i64,
}

impl Grid {
    fn at(self, index: usize) -> i64 {
        let offset = self.step_ms.saturating_mul(index as i64);
        self.start_ms.saturating_add(offset)
    }
}

impl Memory {
    /// Takes a series such as `up{job="a"}` with points such as `1 0x3 _ stale`, one at each time of `grid`.
    pub fn load_series(&mut self, grid: Grid, series: &str, points: &str) -> Result<(), String> {
        let line = points::read(&format!("{series} {points}"))?;
        self.load(grid, false, &[line])
    }

    /// Takes one sample; a later one of the same time stands.
    pub fn write(&mut self, labels: &Labels, at_ms: i64, value: f64) {
        self.put(labels, at_ms, value, None);
    }

    /// Takes one sample that is a histogram.
    pub fn write_histogram(&mut self, labels: &Labels, at_ms: i64, histogram: Arc<Histogram>) {
        self.put(labels, at_ms, f64::NAN, Some(histogram));
    }

    fn put(&mut self, labels: &Labels, at_ms: i64, value: f64, histogram: Option<Arc<Histogram>>) {
        let sample = Sample {
            value,
            histogram,
            start_ms: 0,
        };
        let samples = self.series.entry(labels.clone()).or_default();
        samples.insert(at_ms, sample);
    }

    pub(super) fn load(
        &mut self,
        grid: Grid,
        with_custom: bool,
        lines: &[Line],
    ) -> Result<(), String> {
        let mut starts: Option<&Line> = None;
        let mut classic = BTreeMap::new();
        for line in lines {
            if line.starts {
                starts = Some(line);
                continue;
            }
            if with_custom {
                gather(grid, line, &mut classic);
            }
            let starts = starts.take();
            if let Some(starts) = starts
                && (starts.labels != line.labels || starts.spots.len() != line.spots.len())
            {
                return Err("start times need the same series of equal length below them".into());
            }
            let samples = self.series.entry(line.labels.clone()).or_default();
            for (i, spot) in line.spots.iter().enumerate() {
                let at_ms = grid.at(i);
                let start_ms = match starts.and_then(|starts| starts.spots.get(i)) {
                    Some(Spot::Float(seconds)) => at_ms + (seconds * 1000.0).round() as i64,
                    Some(Spot::Gap | Spot::Histogram { .. }) | None => 0,
                };
                let (value, histogram) = match spot {
                    Spot::Gap => continue,
                    Spot::Float(value) => (*value, None),
                    Spot::Histogram { histogram, .. } => (f64::NAN, Some(Arc::clone(histogram))),
                };
                samples.insert(
                    at_ms,
                    Sample {
                        value,
                        histogram,
                        start_ms,
                    },
                );
            }
        }
        self.load_custom(classic);
        self.hint();
        Ok(())
    }

    fn load_custom(&mut self, classic: BTreeMap<Labels, BTreeMap<i64, Classic>>) {
        for (labels, times) in classic {
            let histograms = times
                .into_iter()
                .filter_map(|(at, one)| Some((at, one.custom()?)));
            let histograms: Vec<(i64, Histogram)> = histograms.collect();
            if histograms.is_empty() {
                continue;
            }
            let samples = self.series.entry(labels).or_default();
            for (at_ms, histogram) in histograms {
                let sample = Sample {
                    value: f64::NAN,
                    histogram: Some(Arc::new(histogram)),
                    start_ms: 0,
                };
                samples.insert(at_ms, sample);
            }
        }
    }

    /// What the reference's store knows of resets.
    fn hint(&mut self) {
        for samples in self.series.values_mut() {
            let mut previous: Option<Arc<Histogram>> = None;
            for sample in samples.values_mut() {
                let Some(histogram) = &sample.histogram else {
                    previous = None;
                    continue;
                };
                let given = Arc::clone(histogram);
                let hint = if given.hint == ResetHint::Gauge {
                    ResetHint::Gauge
                } else if previous.as_ref().is_some_and(|p| continues(p, &given)) {
                    ResetHint::NotReset
                } else {
                    ResetHint::Unknown
                };
                sample.histogram = Some(Arc::new(Histogram::clone(&given).with_hint(hint)));
                previous = Some(given);
            }
        }
    }
}

/// Whether a histogram goes into the same chunk as the one before.
fn continues(previous: &Histogram, histogram: &Histogram) -> bool {
    let told = histogram.hint == ResetHint::Reset || previous.hint == ResetHint::Gauge;
    let unknown = histogram.clone().with_hint(ResetHint::Unknown);
    !told
        && !previous.is_stale()
        && previous.schema == histogram.schema
        && previous.zero_threshold == histogram.zero_threshold
        && previous.bounds == histogram.bounds
        && !unknown.is_reset_after(previous)
}

/// A classic histogram at one time.
#[derive(Default)]
struct Classic {
    /// Cumulative counts by upper bound.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: Option<f64>,
}

impl Classic {
    fn custom(mut self) -> Option<Histogram> {
        if self.buckets.is_empty() {
            return None;
        }
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.buckets.dedup_by(|later, earlier| later.0 == earlier.0);
        let last = self.buckets.last().map_or(0.0, |(_, count)| *count);
        let count = self.count.unwrap_or(last);
        if self
            .buckets
            .last()
            .is_some_and(|(bound, _)| bound.is_finite())
        {
            self.buckets.push((f64::INFINITY, count));
        }
        let mut before = 0.0;
        let mut positive = Vec::with_capacity(self.buckets.len());
        for (index, (_, upto)) in (0..).zip(&self.buckets) {
            positive.push(Slot {
                index,
                count: upto - before,
            });
            before = *upto;
        }
        let bounds = self.buckets.iter().map(|(bound, _)| *bound);
        let histogram = Histogram {
            schema: CUSTOM_SCHEMA,
            count,
            sum: self.sum.unwrap_or(0.0),
            positive,
            bounds: bounds.filter(|bound| bound.is_finite()).collect(),
            ..Histogram::default()
        };
        Some(histogram.compact())
    }
}

/// Collects what a line says of a classic histogram.
fn gather(grid: Grid, line: &Line, classic: &mut BTreeMap<Labels, BTreeMap<i64, Classic>>) {
    let name = line.labels.name();
    let (base, bound) = if let Some(base) = name.strip_suffix("_bucket") {
        let bound = line.labels.get("le").and_then(|le| le.parse::<f64>().ok());
        let Some(bound) = bound else { return };
        (base, Some(bound))
    } else if let Some(base) = name.strip_suffix("_count").or(name.strip_suffix("_sum")) {
        (base, None)
    } else {
        return;
    };
    let others = line
        .labels
        .filtered(|label| label != "le" && label != METRIC_NAME);
    let times = classic.entry(others.with(METRIC_NAME, base)).or_default();
    for (i, spot) in line.spots.iter().enumerate() {
        let Spot::Float(value) = spot else { continue };
        let one = times.entry(grid.at(i)).or_default();
        match bound {
            Some(bound) => one.buckets.push((bound, *value)),
            None if name.ends_with("_count") => one.count = Some(*value),
            None => one.sum = Some(*value),
        }
    }
}

fn satisfies(labels: &Labels, matchers: &[Matcher]) -> bool {
    matchers
        .iter()
        .all(|m| m.matches(labels.get(&m.name).unwrap_or("")))
}

impl Storage for Memory {
    fn select(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Series>, StorageError> {
        if start_ms > end_ms {
            return Ok(Vec::new());
        }
        let found = self
            .series
            .iter()
            .filter(|(labels, _)| satisfies(labels, matchers));
        let series = found.filter_map(|(labels, samples)| {
            let range: Vec<(&i64, &Sample)> = samples.range(start_ms..=end_ms).collect();
            if range.is_empty() {
                return None;
            }
            let histograms: Vec<Option<Arc<Histogram>>> = range
                .iter()
                .map(|(_, sample)| sample.histogram.clone())
                .collect();
            let any = histograms.iter().any(Option::is_some);
            Some(Series {
                labels: labels.clone(),
                timestamps: Arc::new(range.iter().map(|(t, _)| **t).collect()),
                values: Arc::new(range.iter().map(|(_, sample)| sample.value).collect()),
                histograms: any.then(|| histograms.into()),
                start_timestamps: Some(Arc::new(range.iter().map(|(_, s)| s.start_ms).collect())),
            })
        });
        Ok(series.collect())
    }
}
