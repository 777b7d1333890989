//! What a request delivers: the samples that can be written, and why the others can not.
//!
//! Guarantees: everything that was sent is either a sample to write or counted with its reason; the first few
//! refusals are told word by word. Never drops a good sample for a bad one beside it.

use std::{collections::BTreeMap, sync::Arc};

use mainstay_core::{Span, Time};
use mainstay_tsdb::{Labels, METRIC_NAME};

use crate::{
    Refusals,
    adapter::NewSample,
    exemplars::SentExemplar,
    metadata::{Family, Metadata},
    parcel::Packing,
    write::{Plain, Sample, SentHistogram, Series, Sink},
};

/// How far ahead of the clock a sample may lie, as in Prometheus.
const AHEAD: Span = Span::from_secs(10 * 60);
/// How soon after its start a counter's first sample must come to be known as counted from zero.
const BIRTH_WITHIN: Span = Span::from_secs(60);
/// Refusals that are told word by word.
const TOLD_MAX: usize = 5;

/// Why parts of a delivery were refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refused {
    by_reason: BTreeMap<&'static str, u64>,
    told: Vec<String>,
}

impl Refused {
    /// `count` parts for `reason`; `told` is asked if there is still room for words.
    pub(crate) fn add(&mut self, reason: &'static str, count: u64, told: impl FnOnce() -> String) {
        if count == 0 {
            return;
        }
        *self.by_reason.entry(reason).or_default() += count;
        if self.told.len() < TOLD_MAX {
            self.told.push(told());
        }
    }

    /// What the engine refused.
    pub(crate) fn add_all(&mut self, refusals: &Refusals) {
        for (reason, count) in refusals.by_reason().into_iter().filter(|(_, n)| *n > 0) {
            *self.by_reason.entry(reason).or_default() += count;
        }
        if let Some(over) = &refusals.over_limit
            && self.told.len() < TOLD_MAX
        {
            self.told.push(over.to_string());
        }
    }

    /// Whether some of it is more than the share of one of those who share the engine.
    pub(crate) fn is_over_limit(&self) -> bool {
        self.by_reason.keys().any(|it| it.starts_with("tenant-"))
    }

    /// Each reason with how many parts it met.
    pub(crate) fn by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.by_reason
            .iter()
            .map(|(reason, count)| (*reason, *count))
    }

    /// How many parts were refused.
    pub(crate) fn total(&self) -> u64 {
        self.by_reason.values().sum()
    }

    /// For who sent it: all reasons with their counts, then the first refusals.
    pub(crate) fn text(&self) -> String {
        let reasons: Vec<String> = self
            .by_reason()
            .map(|(reason, count)| format!("{count} {reason}"))
            .collect();
        let mut text = reasons.join(", ");
        for told in &self.told {
            text.push_str("; ");
            text.push_str(told);
        }
        text
    }
}

/// Gathers one delivery.
#[derive(Debug)]
pub(crate) struct Delivery {
    now: Time,
    metadata: Metadata,
    /// What can be written.
    pub(crate) samples: Packing,
    /// Histograms that can, and the markers that end them.
    pub(crate) histograms: Vec<NewSample>,
    /// What can not.
    pub(crate) refused: Refused,
    /// Exemplars that were sent, of which series, and when its sample is.
    pub(crate) exemplars: Vec<(Labels, SentExemplar, i64)>,
}

impl Delivery {
    /// An empty one, received at `now`; what it says of metrics goes to `metadata`.
    pub(crate) fn new(now: Time, metadata: Metadata) -> Self {
        Self {
            now,
            metadata,
            samples: Packing::default(),
            histograms: Vec::new(),
            refused: Refused::default(),
            exemplars: Vec::new(),
        }
    }

    /// When it was received.
    pub(crate) fn now(&self) -> Time {
        self.now
    }

    /// Whether a time may be written.
    pub(crate) fn in_time(&self, at_ms: i64) -> bool {
        at_ms <= self.newest_ms()
    }

    fn newest_ms(&self) -> i64 {
        (self.now + AHEAD).millis()
    }

    fn is_far_ahead(&mut self, labels: &Labels, at_ms: i64) -> bool {
        let ahead = !self.in_time(at_ms);
        if ahead {
            self.refused.add("far-ahead", 1, || {
                format!("{labels}: {at_ms} ms is more than ten minutes ahead")
            });
        }
        ahead
    }

    fn histogram(&mut self, labels: &Labels, sent: &SentHistogram) {
        if self.is_far_ahead(labels, sent.at_ms) {
            return;
        }
        match &sent.histogram {
            Ok(histogram) => self.histograms.push(NewSample {
                labels: labels.clone(),
                at_ms: sent.at_ms,
                value: sent.marker().unwrap_or(f64::NAN),
                born_from_zero: false,
                histogram: histogram.clone().map(Arc::new),
            }),
            Err(fault) => self
                .refused
                .add("invalid-histogram", 1, || format!("{labels}: {fault}")),
        }
    }

    fn refuse_series(&mut self, reason: &'static str, series: &Series<'_>, why: &str) {
        let parts = (series.samples.len() + series.histograms.len()) as u64;
        self.refused.add(reason, parts.max(1), || {
            format!("{}: {why}", shown(&series.labels))
        });
    }
}

impl Sink for Delivery {
    fn bytes(&mut self, series: &[u8], at_most: usize) -> Option<usize> {
        let newest_ms = self.newest_ms();
        self.samples
            .add_plain(Plain::new(series), newest_ms, at_most)
    }

    fn series(&mut self, series: &Series<'_>) {
        if let Some(broken) = series.broken {
            return self.refuse_series("labels", series, &broken.to_string());
        }
        if series.samples.is_empty() && series.histograms.is_empty() && series.exemplars.is_empty()
        {
            return;
        }
        let labels = match Labels::from_pairs(series.labels.iter().copied()) {
            Ok(labels) => labels,
            Err(error) => return self.refuse_series("labels", series, &error.to_string()),
        };
        if labels.metric_name().is_none() {
            return self.refuse_series("labels", series, "no metric name");
        }
        let newest_ms = self.newest_ms();
        let in_time = |sample: &&Sample| sample.at_ms <= newest_ms;
        let mut good = series.samples.iter().filter(in_time).peekable();
        let born = good.peek().is_some_and(|first| {
            let young = |age: i64| (0..=BIRTH_WITHIN.millis() as i64).contains(&age);
            first
                .start_ms
                .is_some_and(|start| young(first.at_ms.saturating_sub(start)))
        });
        let points = good.map(|sample| (sample.at_ms, sample.value));
        if !self.samples.add(&labels, points, born) {
            return self.refuse_series("labels", series, "no metric name");
        }
        for early in series.samples.iter().filter(|it| !in_time(it)) {
            self.refused.add("far-ahead", 1, || {
                let at = early.at_ms;
                format!("{labels}: {at} ms is more than ten minutes ahead")
            });
        }
        for sent in &series.histograms {
            self.histogram(&labels, sent);
        }
        let sample_ms = series.samples.last().map(|it| it.at_ms);
        let sample_ms = sample_ms.or_else(|| series.histograms.last().map(|it| it.at_ms));
        for exemplar in &series.exemplars {
            let sample_ms = sample_ms.unwrap_or_else(|| self.now.millis());
            self.exemplars
                .push((labels.clone(), exemplar.clone(), sample_ms));
        }
    }

    fn metadata(&mut self, name: &str, family: Family<'_>) {
        if !name.is_empty() {
            // That there is no room for it is counted there.
            let _ = self.metadata.learn(name, &family, self.now);
        }
    }
}

/// Labels of a series that may not be one, for a message.
fn shown(labels: &[(&str, &str)]) -> String {
    /// Labels and characters that a message repeats.
    const SHOWN: (usize, usize) = (8, 60);
    let short = |text: &str| text.chars().take(SHOWN.1).collect::<String>();
    let name = labels.iter().find(|(name, _)| *name == METRIC_NAME);
    let name = name.map_or(String::new(), |(_, name)| short(name));
    let others = labels.iter().filter(|(name, _)| *name != METRIC_NAME);
    let others: Vec<String> = others
        .take(SHOWN.0)
        .map(|(name, value)| format!("{}={:?}", short(name), short(value)))
        .collect();
    format!("{name}{{{}}}", others.join(","))
}
