//! What one scrape writes: a target's memory, and the samples that follow from an answer or a silence.
//!
//! Guarantees: a series of the last answer that is not in this one gets a staleness marker at this one's
//! time; after a failed scrape all do. A counter new to a target that answered a moment ago was zero then:
//! that is what a declared counter means, and the first increase of a rare error is counted because of it.

use std::collections::{BTreeSet, HashSet};

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

/// A sample of the last answer: what stood there, and what it was written as.
struct Known {
    name: Box<str>,
    said: Box<[(Box<str>, Box<str>)]>,
    /// None if they could not be joined with the target's.
    labels: Option<Labels>,
    /// Whether it holds until the next scrape.
    live: bool,
}

impl Known {
    fn new(sample: &Sample<'_>, labels: Option<Labels>) -> Self {
        let pair = |(name, value): &(&str, _)| (Box::from(*name), Box::from(AsRef::as_ref(value)));
        Self {
            name: sample.name.into(),
            said: sample.labels.iter().map(pair).collect(),
            labels,
            live: false,
        }
    }

    fn is(&self, sample: &Sample<'_>) -> bool {
        let same = |((name, value), (n, v)): (&(Box<str>, Box<str>), &(&str, _))| {
            **name == **n && **value == *AsRef::<str>::as_ref(v)
        };
        *self.name == *sample.name
            && self.said.len() == sample.labels.len()
            && self.said.iter().zip(&sample.labels).all(same)
    }
}

/// What is known of a target between scrapes.
pub(super) struct Memory {
    labels: Labels,
    honor_labels: bool,
    /// The last answer, in its order: a process mostly says the same series again, in the same order.
    known: Vec<Known>,
    answered: Option<Time>,
    last_ms: i64,
}

impl Memory {
    pub(super) fn new(labels: Labels, honor_labels: bool) -> Self {
        Self {
            labels,
            honor_labels,
            known: Vec::new(),
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
        let mut before = std::mem::take(&mut self.known).into_iter();
        let mut gone: BTreeSet<Labels> = BTreeSet::new();
        let mut batch = Vec::new();
        for sample in seen.into_iter().flat_map(|seen| &seen.samples) {
            let own_ms = sample.timestamp_ms.unwrap_or(at_ms);
            let mut known = match before.next() {
                Some(known) if known.is(sample) => known,
                other => {
                    gone.extend(other.and_then(lived));
                    Known::new(sample, self.joined(sample))
                }
            };
            let was_live = known.live;
            known.live = false;
            if known.labels.is_none() {
                refused.labels += 1;
            } else if own_ms > at_ms.saturating_add(AHEAD_MS) {
                refused.far_ahead += 1;
            } else if let Some(labels) = &known.labels {
                // Who gives times of their own says themselves how long a sample holds.
                known.live = sample.timestamp_ms.is_none();
                let counter = seen.is_some_and(|seen| seen.counts_from_zero(sample.name));
                batch.push(NewSample {
                    labels: labels.clone(),
                    at_ms: own_ms,
                    value: sample.value,
                    born_from_zero: counter && answered.is_some(),
                });
            }
            if was_live && !known.live {
                gone.extend(known.labels.clone());
            }
            self.known.push(known);
        }
        gone.extend(before.filter_map(lived));
        if !gone.is_empty() {
            let live: HashSet<&Labels> = self.live().collect();
            gone.retain(|labels| !live.contains(labels));
        }
        batch.extend(gone.iter().map(|gone| stale(gone, at_ms)));
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
        let live: BTreeSet<&Labels> = self.live().collect();
        let mut batch: Vec<NewSample> = live.into_iter().map(|l| stale(l, at_ms)).collect();
        self.known.clear();
        batch.extend(self.about(at_ms, [stale_marker(); 3]));
        batch
    }

    fn live(&self) -> impl Iterator<Item = &Labels> {
        let live = self.known.iter().filter(|known| known.live);
        live.filter_map(|known| known.labels.as_ref())
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

fn lived(known: Known) -> Option<Labels> {
    known.labels.filter(|_| known.live)
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
