//! What one scrape writes: a target's memory, and the samples that follow from an answer or a silence.
//!
//! Guarantees: a series of the last answer that is not in this one gets a staleness marker at this one's
//! time; after a failed scrape, and after one over a limit, all do. A counter new to a target that answered a
//! moment ago was zero then: that is what a declared counter means, and the first increase of a rare error is
//! counted because of it. Labels are joined and relabeled when a series is first seen, not at every scrape.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use mainstay_core::{Span, Time};
use mainstay_tsdb::{Histogram, Labels, METRIC_NAME, stale_marker};

use super::NewSample;
use crate::{
    Refusals,
    exemplars::SentExemplar,
    native,
    relabel::{self, Rule},
    text::{Exposition, Sample},
};

/// How recent the previous answer must be for a new counter to be known as born since.
const BIRTH_WITHIN: Span = Span::from_secs(60);
/// The schema with the widest buckets.
const COARSEST_SCHEMA: i32 = -4;
/// How far ahead of the scrape a sample's own time may lie.
const AHEAD_MS: i64 = 10 * 60 * 1_000;

/// What becomes of a target's samples.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleRules {
    /// Whether a sample's own label stands where the target has one of the same name.
    pub honor_labels: bool,
    /// Whether a sample's own time stands.
    pub honor_timestamps: bool,
    /// What one scrape may hold.
    pub limits: SampleLimits,
    /// Whether classic histograms become native ones with custom buckets.
    pub custom_buckets: bool,
    /// Whether their classic series are kept beside them.
    pub keep_classic: bool,
    /// `metric_relabel_configs`.
    pub relabel: Arc<[Rule]>,
}

impl Default for SampleRules {
    /// The target's labels stand, and the samples' times; nothing is relabeled, nothing limited.
    fn default() -> Self {
        Self {
            honor_labels: false,
            honor_timestamps: true,
            limits: SampleLimits::default(),
            custom_buckets: false,
            keep_classic: false,
            relabel: Arc::default(),
        }
    }
}

/// What one scrape may hold after relabeling; over one of them, the whole scrape counts as failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SampleLimits {
    /// `sample_limit`
    pub samples: Option<usize>,
    /// `label_limit`, the name included.
    pub labels: Option<usize>,
    /// `label_name_length_limit`
    pub name_bytes: Option<usize>,
    /// `label_value_length_limit`
    pub value_bytes: Option<usize>,
    /// `native_histogram_bucket_limit`
    pub buckets: Option<usize>,
    /// The finest schema of native histograms, from `native_histogram_min_bucket_factor`.
    pub finest_schema: Option<i32>,
}

/// A scrape over a limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OverLimit {
    #[error("{found} samples after relabeling, the sample_limit is {limit}")]
    Samples { found: usize, limit: usize },
    #[error(
        "a native histogram has {found} buckets however wide they are made, the native_histogram_bucket_limit is {limit}"
    )]
    Buckets { found: usize, limit: usize },
    #[error("{labels} has {found} labels, the label_limit is {limit}")]
    Labels {
        labels: Labels,
        found: usize,
        limit: usize,
    },
    #[error(
        "the name of label {name} of {labels} is over the label_name_length_limit of {limit} bytes"
    )]
    Name {
        labels: Labels,
        name: String,
        limit: usize,
    },
    #[error(
        "the value of label {name} of {labels} is over the label_value_length_limit of {limit} bytes"
    )]
    Value {
        labels: Labels,
        name: String,
        limit: usize,
    },
}

impl SampleLimits {
    /// A histogram as it may be written: with wider buckets where there are too many, or where they are too fine.
    fn fit(&self, histogram: &Arc<Histogram>) -> Result<Arc<Histogram>, OverLimit> {
        let many = |it: &Histogram| self.buckets.is_some_and(|limit| it.buckets() > limit);
        let fine = |it: &Histogram| self.finest_schema.is_some_and(|finest| it.schema > finest);
        let can_reduce = |it: &Histogram| !it.is_custom() && it.schema > COARSEST_SCHEMA;
        let mut fitted = Arc::clone(histogram);
        while (many(&fitted) || fine(&fitted)) && can_reduce(&fitted) {
            native::reduce(Arc::make_mut(&mut fitted), 1);
        }
        match self.buckets.filter(|_| many(&fitted)) {
            Some(limit) => Err(OverLimit::Buckets {
                found: fitted.buckets(),
                limit,
            }),
            None => Ok(fitted),
        }
    }

    fn check(&self, labels: &Labels) -> Result<(), OverLimit> {
        let over = |found: usize, limit: Option<usize>| limit.filter(|limit| found > *limit);
        let whose = || labels.clone();
        if let Some(limit) = over(labels.len(), self.labels) {
            return Err(OverLimit::Labels {
                labels: whose(),
                found: labels.len(),
                limit,
            });
        }
        for (name, value) in labels {
            if let Some(limit) = over(name.len(), self.name_bytes) {
                return Err(OverLimit::Name {
                    labels: whose(),
                    name: name.to_owned(),
                    limit,
                });
            }
            if let Some(limit) = over(value.len(), self.value_bytes) {
                return Err(OverLimit::Value {
                    labels: whose(),
                    name: name.to_owned(),
                    limit,
                });
            }
        }
        Ok(())
    }
}

/// What a sample is written as.
enum Fate {
    Series(Labels),
    /// A rule dropped it.
    Dropped,
    /// Its labels cannot be joined with the target's.
    Refused,
}

/// A sample of the last answer: what stood there, and what it was written as.
struct Known {
    name: Box<str>,
    said: Box<[(Box<str>, Box<str>)]>,
    fate: Fate,
    /// Whether it holds until the next scrape.
    live: bool,
}

impl Known {
    fn new(sample: &Sample<'_>, fate: Fate) -> Self {
        let said = sample.labels.iter();
        Self {
            name: Box::from(&*sample.name),
            said: said
                .map(|(n, v)| (Box::from(&**n), Box::from(&**v)))
                .collect(),
            fate,
            live: false,
        }
    }

    fn is(&self, sample: &Sample<'_>) -> bool {
        *self.name == *sample.name
            && self.said.len() == sample.labels.len()
            && self
                .said
                .iter()
                .zip(&sample.labels)
                .all(|((name, value), (n, v))| **name == **n && **value == **v)
    }

    fn labels(&self) -> Option<&Labels> {
        match &self.fate {
            Fate::Series(labels) => Some(labels),
            Fate::Dropped | Fate::Refused => None,
        }
    }

    fn lived(self) -> Option<Labels> {
        match self.fate {
            Fate::Series(labels) if self.live => Some(labels),
            Fate::Series(_) | Fate::Dropped | Fate::Refused => None,
        }
    }
}

/// What is known of a target between scrapes.
pub(super) struct Memory {
    labels: Labels,
    rules: SampleRules,
    /// The last answer, in its order: a process mostly says the same series again, in the same order.
    known: Vec<Known>,
    answered: Option<Time>,
    described: Option<Time>,
    last_ms: i64,
}

/// What a scrape comes to.
pub(super) struct Written {
    pub(super) samples: Vec<NewSample>,
    /// Exemplars of which series, and when its sample is.
    pub(super) exemplars: Vec<(Labels, SentExemplar, i64)>,
    /// Why it counts as failed though it was answered.
    pub(super) over: Option<OverLimit>,
}

/// What was gathered from one answer.
#[derive(Default)]
struct Gathered {
    batch: Vec<NewSample>,
    exemplars: Vec<(Labels, SentExemplar, i64)>,
    /// Series that lived before and may not any more.
    gone: BTreeSet<Labels>,
    /// Series that were not seen at this place before.
    new: BTreeSet<Labels>,
    lived: BTreeSet<Labels>,
    kept: usize,
    over: Option<OverLimit>,
}

impl Memory {
    pub(super) fn new(labels: Labels, rules: SampleRules) -> Self {
        Self {
            labels,
            rules,
            known: Vec::new(),
            answered: None,
            described: None,
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
    ) -> Written {
        let at_ms = at.millis();
        self.last_ms = self.last_ms.max(at_ms);
        let mut found = self.gather(at, seen, refused);
        if found.over.is_some() {
            found.batch.clear();
            found.exemplars.clear();
            found.gone.append(&mut found.lived);
            // What is first seen is checked against the limits: all of it shall be again.
            self.known.clear();
        }
        let added = found.new.difference(&found.gone).count();
        if !found.gone.is_empty() {
            let live: HashSet<&Labels> = self.live().collect();
            found.gone.retain(|labels| !live.contains(labels));
        }
        let mut batch = found.batch;
        batch.extend(found.gone.iter().map(|gone| stale(gone, at_ms)));
        let scraped = seen.map_or(0, |seen| seen.samples.len());
        let good = seen.is_some() && found.over.is_none();
        let up = if good { 1.0 } else { 0.0 };
        let numbers = [scraped, found.kept, added].map(|count| count as f64);
        let [scraped, kept, added] = numbers;
        batch.extend(self.about(at_ms, [up, seconds, scraped, kept, added]));
        if good {
            self.answered = Some(at);
        }
        Written {
            samples: batch,
            exemplars: found.exemplars,
            over: found.over,
        }
    }

    fn gather(
        &mut self,
        at: Time,
        seen: Option<&Exposition<'_>>,
        refused: &mut Refusals,
    ) -> Gathered {
        let at_ms = at.millis();
        let answered = self.answered.filter(|t| at.since(*t) <= BIRTH_WITHIN);
        let mut before = std::mem::take(&mut self.known).into_iter();
        let mut found = Gathered::default();
        let limited = self.rules.limits != SampleLimits::default();
        for sample in seen.into_iter().flat_map(|seen| &seen.samples) {
            let own = sample.timestamp_ms.filter(|_| self.rules.honor_timestamps);
            let own_ms = own.unwrap_or(at_ms);
            let mut known = match before.next() {
                Some(known) if known.is(sample) => known,
                other => {
                    found.gone.extend(other.and_then(Known::lived));
                    let known = Known::new(sample, self.fate(sample));
                    if let Some(labels) = known.labels() {
                        let over = self.rules.limits.check(labels).err();
                        found.over = found.over.take().or(over);
                        found.new.insert(labels.clone());
                    }
                    known
                }
            };
            let was_live = std::mem::take(&mut known.live);
            let Known { fate, live, .. } = &mut known;
            match fate {
                Fate::Dropped => {}
                Fate::Refused => refused.labels += 1,
                Fate::Series(_) if own_ms > at_ms.saturating_add(AHEAD_MS) => {
                    refused.far_ahead += 1;
                }
                Fate::Series(labels) => {
                    let mut histogram = None;
                    if let Some(extra) = &sample.extra {
                        let fitted = extra.histogram.as_ref().map(|it| self.rules.limits.fit(it));
                        match fitted.transpose() {
                            Ok(fitted) => histogram = fitted,
                            Err(over) => found.over = found.over.take().or(Some(over)),
                        }
                        let exemplars = extra.exemplars.iter().cloned();
                        let exemplars = exemplars.map(|it| (labels.clone(), it, own_ms));
                        found.exemplars.extend(exemplars);
                    }
                    // Who gives times of their own says themselves how long a sample holds.
                    *live = own.is_none();
                    found.kept += 1;
                    let counter = seen.is_some_and(|seen| seen.counts_from_zero(&sample.name));
                    found.batch.push(NewSample {
                        labels: labels.clone(),
                        at_ms: own_ms,
                        value: sample.value,
                        born_from_zero: counter && answered.is_some(),
                        histogram,
                    });
                }
            }
            if was_live && !known.live {
                found.gone.extend(known.labels().cloned());
            }
            if was_live && limited {
                found.lived.extend(known.labels().cloned());
            }
            self.known.push(known);
        }
        found.gone.extend(before.filter_map(Known::lived));
        if let Some(limit) = self
            .rules
            .limits
            .samples
            .filter(|limit| found.kept > *limit)
        {
            found.over = Some(OverLimit::Samples {
                found: found.kept,
                limit,
            });
        }
        found
    }

    /// Whether the descriptions of its metrics shall be read again.
    pub(super) fn described(&mut self, at: Time, every: Span) -> bool {
        let due = self.described.is_none_or(|last| at.since(last) >= every);
        if due {
            self.described = Some(at);
        }
        due
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
        batch.extend(self.about(at_ms, [stale_marker(); 5]));
        batch
    }

    fn live(&self) -> impl Iterator<Item = &Labels> {
        let live = self.known.iter().filter(|known| known.live);
        live.filter_map(Known::labels)
    }

    /// The series every target has.
    fn about(&self, at_ms: i64, values: [f64; 5]) -> Vec<NewSample> {
        let names = [
            "up",
            "scrape_duration_seconds",
            "scrape_samples_scraped",
            "scrape_samples_post_metric_relabeling",
            "scrape_series_added",
        ];
        let named = |name| self.labels.iter().chain([(METRIC_NAME, name)]);
        let sample = |(name, value)| {
            Some(NewSample {
                labels: Labels::from_pairs(named(name)).ok()?,
                at_ms,
                value,
                born_from_zero: false,
                histogram: None,
            })
        };
        names.into_iter().zip(values).filter_map(sample).collect()
    }

    fn fate(&self, sample: &Sample<'_>) -> Fate {
        let pairs = self.joined(sample);
        let labels = if self.rules.relabel.is_empty() {
            Labels::from_pairs(pairs)
        } else {
            // A name that stands twice must not be hidden by a map.
            let whole = Labels::from_pairs(pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())));
            if whole.is_err() {
                return Fate::Refused;
            }
            let full = pairs.into_iter().filter(|(_, value)| !value.is_empty());
            match relabel::apply(&self.rules.relabel, full.collect()) {
                Some(set) if !set.is_empty() => Labels::from_pairs(set),
                _ => return Fate::Dropped,
            }
        };
        match labels {
            Ok(labels) if labels.metric_name().is_some() => Fate::Series(labels),
            _ => Fate::Refused,
        }
    }

    /// A sample's labels with the target's. Where both name one, the target's stands and the sample's is
    /// kept under `exported_`; with `honor_labels` the sample's stands.
    fn joined(&self, sample: &Sample<'_>) -> Vec<(String, String)> {
        let honor = self.rules.honor_labels;
        let said = |name: &str| sample.labels.iter().any(|(known, _)| *known == name);
        let mut pairs: Vec<(String, String)> = vec![(METRIC_NAME.into(), sample.name.to_string())];
        for (name, value) in &sample.labels {
            let mut name = name.to_string();
            while !honor && self.labels.get(&name).is_some() {
                name.insert_str(0, "exported_");
                while said(&name) {
                    name.insert_str(0, "exported_");
                }
            }
            pairs.push((name, value.to_string()));
        }
        for (name, value) in &self.labels {
            if !(honor && said(name)) {
                pairs.push((name.to_owned(), value.to_owned()));
            }
        }
        pairs
    }
}

fn stale(labels: &Labels, at_ms: i64) -> NewSample {
    NewSample {
        labels: labels.clone(),
        at_ms,
        value: stale_marker(),
        born_from_zero: false,
        histogram: None,
    }
}

#[cfg(test)]
mod tests;
