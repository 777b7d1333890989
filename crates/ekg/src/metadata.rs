//! What metrics are: kind, help and unit, as those who report them say.
//!
//! Guarantees: bounded by [`METRICS_MAX`] names and [`VARIANTS_MAX`] descriptions of one; a description that
//! nobody repeated for [`KEPT`] makes room for a new one, otherwise the new one is counted as refused. Names and
//! variants come out in order. Never waits for anything but its own lock.
//!
//! ```
//! use mainstay_core::Time;
//! use mainstay_ekg::metadata::{Family, Kind, Metadata};
//! let metadata = Metadata::default();
//! let family = Family { kind: Kind::Counter, help: "Requests.".into(), unit: "".into() };
//! metadata.learn("hits_total", &family, Time::from_millis(5));
//! let listed = metadata.listed(None, None, None);
//! assert_eq!(listed["hits_total"][0]["type"], "counter");
//! ```

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use mainstay_core::{Span, Time};
use serde_json::{Map, Value, json};

/// Names with a description: more than any site has metrics.
pub const METRICS_MAX: usize = 50_000;
/// Descriptions of one name: versions of a program that disagree.
pub const VARIANTS_MAX: usize = 8;
/// Bytes of one help text that are kept.
const HELP_BYTES_MAX: usize = 1_024;
/// How long a description stays after it was last heard.
const KEPT: Span = Span::from_secs(60 * 60);

/// What a metric is declared to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is the formats' own word")]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
    GaugeHistogram,
    Summary,
    Info,
    StateSet,
    #[default]
    Unknown,
}

impl Kind {
    /// As Prometheus names it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
            Self::Unknown => "unknown",
        }
    }

    /// The metric to which a series of this kind and name belongs.
    pub fn of_series(self, name: &str) -> &str {
        let suffixes: &[&str] = match self {
            Self::Histogram | Self::GaugeHistogram => &["_bucket", "_count", "_sum"],
            Self::Summary => &["_count", "_sum"],
            Self::Counter | Self::Gauge | Self::Info | Self::StateSet | Self::Unknown => &[],
        };
        let stripped = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix));
        stripped.unwrap_or(name)
    }
}

/// A description of a metric.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Family<'a> {
    /// What it is.
    pub kind: Kind,
    /// What it means.
    pub help: Cow<'a, str>,
    /// In what it is measured.
    pub unit: Cow<'a, str>,
}

impl Family<'_> {
    fn kept(&self) -> Family<'static> {
        Family {
            kind: self.kind,
            help: Cow::Owned(beginning(&self.help).to_owned()),
            unit: Cow::Owned(beginning(&self.unit).to_owned()),
        }
    }

    /// In the shape of Prometheus's API.
    pub(crate) fn told(&self) -> Value {
        json!({ "type": self.kind.word(), "help": self.help, "unit": self.unit })
    }

    fn is(&self, other: &Family<'_>) -> bool {
        self.kind == other.kind
            && self.help == beginning(&other.help)
            && self.unit == beginning(&other.unit)
    }
}

fn beginning(text: &str) -> &str {
    text.get(..text.floor_char_boundary(HELP_BYTES_MAX))
        .unwrap_or(text)
}

/// A metric with one description, shared by all that say the same.
#[derive(Debug, PartialEq, Eq)]
pub struct Described {
    /// The metric.
    pub name: Box<str>,
    /// What it is.
    pub family: Family<'static>,
}

#[derive(Debug)]
struct Variant {
    described: Arc<Described>,
    heard: Time,
}

#[derive(Debug, Default)]
struct Book {
    metrics: BTreeMap<Box<str>, Vec<Variant>>,
    refused: u64,
}

/// Descriptions of metrics, shared.
#[derive(Clone, Debug, Default)]
pub struct Metadata(Arc<Mutex<Book>>);

impl Metadata {
    /// Somebody described `name` at `now`; none where there is no room for that.
    pub fn learn(&self, name: &str, family: &Family<'_>, now: Time) -> Option<Arc<Described>> {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !book.metrics.contains_key(name) && !book.has_room(now) {
            book.refused += 1;
            return None;
        }
        let variants = match book.metrics.get_mut(name) {
            Some(variants) => variants,
            None => book.metrics.entry(name.into()).or_default(),
        };
        let mut known = variants.iter_mut();
        if let Some(known) = known.find(|known| known.described.family.is(family)) {
            known.heard = known.heard.max(now);
            return Some(Arc::clone(&known.described));
        }
        variants.retain(|known| now.since(known.heard) <= KEPT);
        if variants.len() >= VARIANTS_MAX {
            book.refused += 1;
            return None;
        }
        let described = Arc::new(Described {
            name: name.into(),
            family: family.kept(),
        });
        variants.push(Variant {
            described: Arc::clone(&described),
            heard: now,
        });
        variants.sort_by(|a, b| a.described.family.cmp(&b.described.family));
        Some(described)
    }

    /// Descriptions in the shape of `/api/v1/metadata`: of one metric or of all, at most `limit` names and
    /// `per_metric` descriptions of each.
    pub fn listed(
        &self,
        metric: Option<&str>,
        limit: Option<usize>,
        per_metric: Option<usize>,
    ) -> Value {
        let book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let listed = |variants: &Vec<Variant>| -> Value {
            let variants = variants.iter().take(per_metric.unwrap_or(usize::MAX));
            variants.map(|it| it.described.family.told()).collect()
        };
        let named = book
            .metrics
            .iter()
            .filter(|(name, _)| metric.is_none_or(|wanted| wanted == &***name))
            .take(limit.unwrap_or(usize::MAX));
        let named = named.map(|(name, variants)| (name.to_string(), listed(variants)));
        Value::Object(named.collect::<Map<String, Value>>())
    }

    /// What is said of the metric to which a series of this name belongs.
    pub(crate) fn of_series(&self, name: &str) -> Option<Arc<Described>> {
        let book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = |metric: &str| {
            let newest = book.metrics.get(metric)?.iter().max_by_key(|it| it.heard)?;
            Some(Arc::clone(&newest.described))
        };
        let suffixes = ["_bucket", "_count", "_sum"].into_iter();
        let metrics = suffixes.filter_map(|suffix| name.strip_suffix(suffix));
        newest(name).or_else(|| {
            let mut described = metrics.filter_map(newest);
            described.find(|it| it.family.kind.of_series(name) == &*it.name)
        })
    }

    /// All descriptions, in order.
    pub(crate) fn all(&self) -> Vec<Arc<Described>> {
        let book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let variants = book.metrics.values().flatten();
        variants.map(|it| Arc::clone(&it.described)).collect()
    }

    /// What `name` was last said to be.
    pub fn kind(&self, name: &str) -> Option<Kind> {
        let book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = book.metrics.get(name)?.iter().max_by_key(|it| it.heard)?;
        Some(newest.described.family.kind)
    }

    /// Descriptions refused since the start.
    pub fn refused(&self) -> u64 {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .refused
    }
}

impl Book {
    /// Whether one more name may come, after those that nobody repeats have gone.
    fn has_room(&mut self, now: Time) -> bool {
        if self.metrics.len() < METRICS_MAX {
            return true;
        }
        self.metrics.retain(|_, variants| {
            variants.retain(|known| now.since(known.heard) <= KEPT);
            !variants.is_empty()
        });
        self.metrics.len() < METRICS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family(help: &str) -> Family<'_> {
        Family {
            kind: Kind::Gauge,
            help: help.into(),
            unit: "".into(),
        }
    }

    #[test]
    fn one_that_nobody_repeats_makes_room_and_one_too_many_is_counted() {
        let metadata = Metadata::default();
        for at in 0..VARIANTS_MAX {
            metadata.learn("a", &family(&at.to_string()), Time::from_millis(0));
        }
        let fresh = Time::from_millis(60_000);
        metadata.learn("a", &family("x"), fresh);
        assert_eq!(metadata.refused(), 1);
        metadata.learn("a", &family("3"), fresh);
        metadata.learn(
            "a",
            &family("x"),
            Time::from_millis(60_001 + 60 * 60 * 1_000 - 60_000),
        );
        let helps = metadata.listed(Some("a"), None, None);
        let helps: Vec<&Value> = helps["a"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| &it["help"])
            .collect();
        assert_eq!(helps, ["3", "x"]);
    }

    #[test]
    fn a_name_too_many_is_refused_until_others_are_no_longer_said() {
        let metadata = Metadata::default();
        for at in 0..METRICS_MAX {
            metadata.learn(&at.to_string(), &family(""), Time::from_millis(0));
        }
        metadata.learn("more", &family(""), Time::from_millis(1));
        assert_eq!((metadata.refused(), metadata.kind("more")), (1, None));
        metadata.learn("more", &family(""), Time::from_millis(2 * 60 * 60 * 1_000));
        assert_eq!(metadata.kind("more"), Some(Kind::Gauge));
    }

    #[test]
    fn a_long_help_is_cut_at_a_character_and_still_recognised() {
        let metadata = Metadata::default();
        let long = "ä".repeat(HELP_BYTES_MAX);
        for _ in 0..2 {
            metadata.learn("a", &family(&long), Time::from_millis(0));
        }
        assert_eq!(
            metadata.listed(None, None, None)["a"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
    }
}
