//! What one scrape writes: a target's memory, and the samples that follow from an answer or a silence.
//!
//! Guarantees: a series of the last answer that is not in this one gets a staleness marker at this one's
//! time; after a failed scrape all do. A counter new to a target that answered a moment ago was zero then:
//! that is what a declared counter means, and the first increase of a rare error is counted because of it.

use std::collections::HashSet;

use mainstay_core::{Span, Time};
use mainstay_tsdb::{Labels, METRIC_NAME, stale_marker};

use super::NewSample;
use crate::{
    Refusals,
    text::{Exposition, Sample},
};

/// How recent the previous answer must be for a new counter to be known as born since.
const BIRTH_WITHIN: Span = Span::from_secs(60);
/// How far ahead of the scrape a sample's own time may lie.
const AHEAD_MS: i64 = 10 * 60 * 1_000;

/// What is known of a target between scrapes.
pub(super) struct Memory {
    labels: Labels,
    honor_labels: bool,
    live: HashSet<Labels>,
    answered: Option<Time>,
    last_ms: i64,
}

impl Memory {
    pub(super) fn new(labels: Labels, honor_labels: bool) -> Self {
        Self {
            labels,
            honor_labels,
            live: HashSet::new(),
            answered: None,
            last_ms: i64::MIN,
        }
    }

    /// Samples of a scrape begun `at` that took `seconds`; `None` is one that failed.
    pub(super) fn scraped(
        &mut self,
        at: Time,
        seconds: f64,
        seen: Option<&Exposition<'_>>,
        refused: &mut Refusals,
    ) -> Vec<NewSample> {
        let at_ms = at.millis();
        self.last_ms = self.last_ms.max(at_ms);
        let answered = self.answered.filter(|t| at.since(*t) <= BIRTH_WITHIN);
        let mut live = HashSet::new();
        let mut batch = Vec::new();
        for sample in seen.into_iter().flat_map(|seen| &seen.samples) {
            let own_ms = sample.timestamp_ms.unwrap_or(at_ms);
            let Some(labels) = self.joined(sample) else {
                refused.labels += 1;
                continue;
            };
            if own_ms > at_ms.saturating_add(AHEAD_MS) {
                refused.far_ahead += 1;
                continue;
            }
            // Who gives times of their own says themselves how long a sample holds.
            if sample.timestamp_ms.is_none() {
                live.insert(labels.clone());
            }
            let counter = seen.is_some_and(|seen| seen.counts_from_zero(sample.name));
            batch.push(NewSample {
                labels,
                at_ms: own_ms,
                value: sample.value,
                born_from_zero: counter && answered.is_some(),
            });
        }
        batch.extend(self.live.difference(&live).map(|gone| stale(gone, at_ms)));
        self.live = live;
        let scraped = seen.map_or(0, |seen| seen.samples.len());
        let up = if seen.is_some() { 1.0 } else { 0.0 };
        batch.extend(self.about(at_ms, [up, seconds, scraped as f64]));
        if seen.is_some() {
            self.answered = Some(at);
        }
        batch
    }

    /// Something of the last batch was refused: a series may be missing that the target did report.
    pub(super) fn forget_answer(&mut self) {
        self.answered = None;
    }

    /// Markers for everything, because the target is no longer one.
    pub(super) fn gone(&mut self, at: Time) -> Vec<NewSample> {
        if self.last_ms == i64::MIN {
            return Vec::new();
        }
        let at_ms = at.millis().max(self.last_ms.saturating_add(1));
        let mut batch: Vec<NewSample> = self.live.drain().map(|l| stale(&l, at_ms)).collect();
        batch.extend(self.about(at_ms, [stale_marker(); 3]));
        batch
    }

    /// The three series every target has.
    fn about(&self, at_ms: i64, values: [f64; 3]) -> Vec<NewSample> {
        let names = ["up", "scrape_duration_seconds", "scrape_samples_scraped"];
        let named = |name| self.labels.iter().chain([(METRIC_NAME, name)]);
        let sample = |(name, value)| {
            Some(NewSample {
                labels: Labels::from_pairs(named(name)).ok()?,
                at_ms,
                value,
                born_from_zero: false,
            })
        };
        names.into_iter().zip(values).filter_map(sample).collect()
    }

    /// A sample's labels with the target's. Where both name one, the target's stands and the sample's is
    /// kept under `exported_`; with `honor_labels` the sample's stands.
    fn joined(&self, sample: &Sample<'_>) -> Option<Labels> {
        let said = |name: &str| sample.labels.iter().any(|(known, _)| *known == name);
        let mut pairs: Vec<(String, String)> = vec![(METRIC_NAME.into(), sample.name.into())];
        for (name, value) in &sample.labels {
            let mut name = (*name).to_owned();
            while !self.honor_labels && self.labels.get(&name).is_some() {
                name.insert_str(0, "exported_");
                while said(&name) {
                    name.insert_str(0, "exported_");
                }
            }
            pairs.push((name, value.to_string()));
        }
        for (name, value) in self.labels.iter() {
            if !(self.honor_labels && said(name)) {
                pairs.push((name.to_owned(), value.to_owned()));
            }
        }
        Labels::from_pairs(pairs).ok()
    }
}

fn stale(labels: &Labels, at_ms: i64) -> NewSample {
    NewSample {
        labels: labels.clone(),
        at_ms,
        value: stale_marker(),
        born_from_zero: false,
    }
}

#[cfg(test)]
mod tests;
