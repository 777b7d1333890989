//! Range vectors: selected samples, and subqueries.
//!
//! Guarantees: a subquery is evaluated at multiples of its step, so that neighbouring queries see the same
//! times. What it gives knows nothing of resets, because samples may be missing between its steps.

use super::rows::{Row, SAME_LABELS};
use super::selection::Cells;
use super::{Evaluator, Samples, Shift, Steps, extended};
use crate::ast::{Edges, Expr, ExprKind, Modifiers};
use crate::column::{Column, Point, Reading};
use crate::error::{ErrorKind, Fault, Outcome};
use crate::histogram::ResetHint;
use crate::result::{HistogramSample, RangeSeries, Sample};
use crate::{Histogram, Labels};
use std::sync::Arc;

/// Samples of one series under a range.
pub(super) struct RangeRow {
    pub(super) labels: Labels,
    pub(super) drop_name: bool,
    pub(super) samples: Samples,
}

/// A range vector, before it is cut into windows.
pub(super) struct Ranges {
    pub(super) rows: Vec<RangeRow>,
    pub(super) range_ms: i64,
    pub(super) shift: Shift,
    pub(super) edges: Edges,
}

impl Ranges {
    /// How far before and after the range there are samples too.
    pub(super) fn margins_ms(&self, lookback_ms: i64) -> (i64, i64) {
        margins_ms(self.edges, lookback_ms)
    }
}

fn margins_ms(edges: Edges, lookback_ms: i64) -> (i64, i64) {
    match edges {
        Edges::Plain => (0, 0),
        Edges::Anchored => (lookback_ms, 0),
        Edges::Smoothed => (lookback_ms, lookback_ms),
    }
}

impl Evaluator<'_> {
    pub(super) fn ranges(&self, expr: &Expr) -> Outcome<Ranges> {
        let Some(trace) = self.trace else {
            return self.ranges_of(expr);
        };
        let open = trace.begin(expr, self.steps.count);
        let ranges = self.ranges_of(expr);
        trace.end(&open, ranges.as_ref().map_or(0, |it| it.rows.len()));
        ranges
    }

    fn ranges_of(&self, expr: &Expr) -> Outcome<Ranges> {
        match &expr.kind {
            ExprKind::Paren(inner) => self.ranges(inner),
            ExprKind::Range { selector, range } => {
                let range_ms = self.range_ms(range)?;
                let (before_ms, after_ms) = margins_ms(selector.edges, self.options.lookback_ms);
                let extent = (range_ms + before_ms, after_ms);
                let found = self.select(selector, extent, expr.span)?;
                let rows = found.into_iter().map(|series| RangeRow {
                    labels: series.labels.clone(),
                    drop_name: false,
                    samples: series.live(),
                });
                Ok(Ranges {
                    rows: rows.collect(),
                    range_ms,
                    shift: self.shift(&selector.modifiers)?,
                    edges: selector.edges,
                })
            }
            ExprKind::Subquery {
                expr: inner,
                range,
                step,
                modifiers,
            } => {
                let step_ms = match step {
                    Some(step) => self.range_ms(step)?,
                    None => self.options.subquery_step_ms,
                };
                let range_ms = self.range_ms(range)?;
                Ok(Ranges {
                    rows: self.subquery(inner, range_ms, step_ms.max(1), modifiers)?,
                    range_ms,
                    shift: self.shift(modifiers)?,
                    edges: Edges::Plain,
                })
            }
            _ => Fault::invalid(expr.span, "expected a range vector"),
        }
    }

    fn subquery(
        &self,
        inner: &Expr,
        range_ms: i64,
        step_ms: i64,
        modifiers: &Modifiers,
    ) -> Outcome<Vec<RangeRow>> {
        let shift = self.shift(modifiers)?;
        let before = self.shifted(shift, 0) - range_ms;
        let last = self.shifted(shift, self.steps.count.saturating_sub(1));
        let start_ms = (before.div_euclid(step_ms) + 1) * step_ms;
        if start_ms > last {
            return Ok(Vec::new());
        }
        let count = (last - start_ms) / step_ms + 1;
        if count as u64 > self.options.max_samples {
            let kind = ErrorKind::Limit {
                what: "steps of a subquery",
                value: count as u64,
                limit: self.options.max_samples,
            };
            return Err(Fault::new(kind, inner.span));
        }
        let steps = Steps {
            start_ms,
            step_ms,
            count: count as usize,
        };
        let rows = self.inside_subquery(steps).rows(inner)?;
        Ok(rows.into_iter().map(|row| range_row(row, steps)).collect())
    }

    fn inside_subquery(&self, steps: Steps) -> Self {
        Self {
            steps,
            counts_only: false,
            ..*self
        }
    }

    /// The samples of a range vector at the first step, as they are.
    pub(crate) fn raw_matrix(&self, expr: &Expr) -> Outcome<Vec<RangeSeries>> {
        let ranges = self.ranges(expr)?;
        let end = self.shifted(ranges.shift, 0);
        let start = end - ranges.range_ms;
        let mut series: Vec<RangeSeries> = Vec::new();
        for row in &ranges.rows {
            let mut one = match ranges.edges {
                Edges::Plain => cut(&row.samples, start, end),
                Edges::Anchored => framed(&row.samples, (start, end), false),
                Edges::Smoothed => framed(&row.samples, (start, end), true),
            };
            one.labels = if row.drop_name {
                row.labels.without_name()
            } else {
                row.labels.clone()
            };
            if !(one.samples.is_empty() && one.histograms.is_empty()) {
                series.push(one);
            }
        }
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        if series
            .windows(2)
            .any(|pair| pair[0].labels == pair[1].labels)
        {
            return Fault::execution(expr.span, SAME_LABELS);
        }
        Ok(series)
    }
}

fn cut(samples: &Samples, start: i64, end: i64) -> RangeSeries {
    let mut series = RangeSeries::floats(Labels::default(), Vec::new());
    for (at, timestamp_ms) in samples.timestamps.iter().copied().enumerate() {
        if timestamp_ms <= start || timestamp_ms > end {
            continue;
        }
        match samples.histograms.as_ref().and_then(|h| h[at].as_ref()) {
            Some(histogram) => series.histograms.push(HistogramSample {
                timestamp_ms,
                histogram: Arc::clone(histogram),
            }),
            None => series.samples.push(Sample {
                timestamp_ms,
                value: samples.values[at],
            }),
        }
    }
    series
}

/// With a value at both edges instead of the samples around them; numbers only.
fn framed(samples: &Samples, (start_ms, end_ms): (i64, i64), smoothed: bool) -> RangeSeries {
    let mut series = RangeSeries::floats(Labels::default(), Vec::new());
    let window = super::window::Window {
        timestamps: &samples.timestamps,
        values: &samples.values,
        histograms: None,
        starts: None,
        start_ms,
        end_ms,
        eval_ms: end_ms,
    };
    let numbers = samples.histograms.is_none();
    let Some(frame) = extended::framed(&window, smoothed, false).filter(|_| numbers) else {
        return series;
    };
    let sample = |timestamp_ms, value| Sample {
        timestamp_ms,
        value,
    };
    series.samples.push(sample(start_ms, frame.left));
    let inside = frame
        .inside
        .map(|at| sample(window.timestamps[at], window.values[at]));
    series.samples.extend(inside);
    series.samples.push(sample(end_ms, frame.right));
    series
}

/// What a subquery's steps give, as samples.
fn range_row(row: Row, steps: Steps) -> RangeRow {
    let present: Vec<usize> = (0..steps.count)
        .filter(|at| row.column.is_some(*at))
        .collect();
    let timestamps = present.iter().map(|at| steps.time(*at)).collect();
    let values = present
        .iter()
        .map(|at| row.column.float(*at).unwrap_or(f64::NAN));
    let values = values.collect();
    let histograms = row.column.has_histograms().then(|| {
        let cell = |at: &usize| row.column.histogram(*at).map(without_hint);
        Cells::Owned(present.iter().map(cell).collect())
    });
    RangeRow {
        labels: row.labels,
        drop_name: row.drop_name,
        samples: Samples {
            timestamps: Cells::Owned(timestamps),
            values: Cells::Owned(values),
            histograms,
            starts: None,
        },
    }
}

fn without_hint(histogram: &Arc<Histogram>) -> Arc<Histogram> {
    match histogram.hint {
        ResetHint::Unknown | ResetHint::Gauge => Arc::clone(histogram),
        ResetHint::Reset | ResetHint::NotReset => {
            Arc::new(Histogram::clone(histogram).with_hint(ResetHint::Unknown))
        }
    }
}

impl Column {
    /// As samples of a series, at the times of the steps.
    pub(crate) fn range_series(&self, labels: Labels, steps: Steps) -> RangeSeries {
        let mut series = RangeSeries::floats(labels, Vec::new());
        for at in 0..self.len() {
            let timestamp_ms = steps.time(at);
            match self.get(at) {
                Point::Gap => {}
                Point::Float(value) => series.samples.push(Sample {
                    timestamp_ms,
                    value,
                }),
                Point::Histogram(histogram) => series.histograms.push(HistogramSample {
                    timestamp_ms,
                    histogram: Arc::clone(histogram),
                }),
            }
        }
        series
    }
}

impl Samples {
    /// The sample with this index.
    pub(super) fn reading(&self, at: usize) -> Reading {
        match self.histograms.as_ref().and_then(|h| h[at].as_ref()) {
            Some(histogram) => Reading::Histogram(Arc::clone(histogram)),
            None => Reading::Float(self.values[at]),
        }
    }
}
