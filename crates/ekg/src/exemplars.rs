//! Exemplars: single observations behind a series, such as the trace that took so long.
//!
//! Guarantees: of all series together the newest [`EXEMPLARS_MAX`] are kept, in memory only; of one series they ascend by
//! time, then by value, and one that is sent again is taken once, as in Prometheus. Never keeps one whose labels are
//! longer than [`LABEL_CHARS_MAX`] characters.
//!
//! ```
//! use mainstay_ekg::exemplars::{Exemplars, SentExemplar};
//! use mainstay_tsdb::Labels;
//! let exemplars = Exemplars::default();
//! let series = Labels::from_pairs([("__name__", "seconds_bucket"), ("le", "1")])?;
//! let slow = SentExemplar::new([("trace_id", "7f")], 0.9, Some(1_000));
//! assert_eq!(exemplars.add(&series, &slow, 0), Ok(true));
//! assert_eq!(exemplars.add(&series, &slow, 0), Ok(false), "sent again");
//! # Ok::<(), mainstay_tsdb::LabelError>(())
//! ```

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mainstay_core::Time;
use mainstay_promql::Query;
use mainstay_tsdb::{Labels, Matcher};
use serde_json::{Value, json};

use crate::{Ekg, QueryError, answer, storage, text::Number};

/// Exemplars of all series together, as many as Prometheus keeps by default.
pub const EXEMPLARS_MAX: usize = 100_000;
/// Characters of names and values of one exemplar's labels together, as OpenMetrics has it.
pub const LABEL_CHARS_MAX: usize = 128;

/// An exemplar as it is sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SentExemplar {
    labels: Vec<(String, String)>,
    /// What was observed.
    pub value: f64,
    /// When, in milliseconds since the epoch; where that is not said, with its sample.
    pub at_ms: Option<i64>,
    /// Whether its labels cannot be told.
    pub(crate) broken: bool,
    chars: usize,
}

impl SentExemplar {
    /// One with these labels.
    pub fn new<'l>(
        labels: impl IntoIterator<Item = (&'l str, &'l str)>,
        value: f64,
        at_ms: Option<i64>,
    ) -> Self {
        let mut exemplar = Self {
            value,
            at_ms,
            ..Self::default()
        };
        for (name, value) in labels {
            exemplar.push(name, value);
        }
        exemplar
    }

    /// Adds a label if it does not make the labels too long.
    pub(crate) fn push_if_it_fits(&mut self, name: &str, value: &str) {
        let chars = name.chars().count() + value.chars().count();
        if self.chars + chars <= LABEL_CHARS_MAX {
            self.push(name, value);
        }
    }

    /// Adds a label; what is too long is counted and not held.
    pub(crate) fn push(&mut self, name: &str, value: &str) {
        self.chars += name.chars().count() + value.chars().count();
        if self.chars <= LABEL_CHARS_MAX {
            self.labels.push((name.to_owned(), value.to_owned()));
        }
    }
}

/// Why an exemplar was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExemplarFault {
    /// Its labels are too long.
    #[error("the labels of an exemplar have {0} characters, the limit is {LABEL_CHARS_MAX}")]
    TooLong(usize),
    /// Its labels are none.
    #[error("the labels of an exemplar are no labels")]
    Labels,
    /// Older than the newest of its series.
    #[error("an exemplar at {at_ms} ms is older than the newest of its series")]
    OutOfOrder {
        /// When it was observed.
        at_ms: i64,
    },
}

#[derive(Clone, Debug, PartialEq)]
struct Exemplar {
    at_ms: i64,
    value: f64,
    labels: Labels,
}

#[derive(Debug)]
struct Ring {
    limit: usize,
    series: HashMap<Labels, VecDeque<Exemplar>>,
    /// The series of each exemplar, in the order in which they came.
    order: VecDeque<Labels>,
}

impl Ring {
    fn add(&mut self, series: &Labels, exemplar: Exemplar) -> Result<bool, ExemplarFault> {
        let newest = self.series.get(series).and_then(VecDeque::back);
        if let Some(newest) = newest {
            let place = |it: &Exemplar| (it.at_ms, it.value);
            let same_bits = newest.value.to_bits() == exemplar.value.to_bits();
            if newest.at_ms == exemplar.at_ms && same_bits && newest.labels == exemplar.labels {
                return Ok(false);
            }
            if place(&exemplar) < place(newest) {
                let at_ms = exemplar.at_ms;
                return Err(ExemplarFault::OutOfOrder { at_ms });
            }
        }
        if self.order.len() >= self.limit {
            self.forget_oldest();
        }
        self.order.push_back(series.clone());
        let held = self.series.entry(series.clone()).or_default();
        held.push_back(exemplar);
        Ok(true)
    }

    fn forget_oldest(&mut self) {
        let Some(series) = self.order.pop_front() else {
            return;
        };
        if let Some(held) = self.series.get_mut(&series) {
            held.pop_front();
            if held.is_empty() {
                self.series.remove(&series);
            }
        }
    }
}

/// See the module; shared.
#[derive(Clone, Debug)]
pub struct Exemplars(Arc<Mutex<Ring>>);

impl Default for Exemplars {
    fn default() -> Self {
        Self::with_limit(EXEMPLARS_MAX)
    }
}

impl Exemplars {
    /// A store that keeps at most `limit`.
    pub fn with_limit(limit: usize) -> Self {
        Self(Arc::new(Mutex::new(Ring {
            limit,
            series: HashMap::new(),
            order: VecDeque::new(),
        })))
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an exemplar of a series; `sample_ms` is the time of one that does not say its own. False if it is there
    /// already.
    pub fn add(
        &self,
        series: &Labels,
        sent: &SentExemplar,
        sample_ms: i64,
    ) -> Result<bool, ExemplarFault> {
        if sent.chars > LABEL_CHARS_MAX {
            return Err(ExemplarFault::TooLong(sent.chars));
        }
        let labels = sent.labels.iter().map(|(name, value)| (name, value));
        let labels = Labels::from_pairs(labels).ok().filter(|_| !sent.broken);
        let exemplar = Exemplar {
            at_ms: sent.at_ms.unwrap_or(sample_ms),
            value: sent.value,
            labels: labels.ok_or(ExemplarFault::Labels)?,
        };
        self.ring().add(series, exemplar)
    }

    /// How many are held.
    pub fn len(&self) -> usize {
        self.ring().order.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Exemplars in `start_ms..=end_ms` of the series that satisfy all matchers of any selector, by series.
    fn select(
        &self,
        selectors: &[Vec<Matcher>],
        (start_ms, end_ms): (i64, i64),
    ) -> BTreeMap<Labels, Vec<Exemplar>> {
        let ring = self.ring();
        let satisfies = |labels: &Labels, matchers: &Vec<Matcher>| {
            let value = |matcher: &Matcher| labels.get(matcher.name()).unwrap_or("").to_owned();
            matchers.iter().all(|it| it.matches(&value(it)))
        };
        let wanted = ring
            .series
            .iter()
            .filter(|(labels, _)| selectors.iter().any(|it| satisfies(labels, it)));
        let found = wanted.map(|(labels, held)| {
            let within = |it: &&Exemplar| (start_ms..=end_ms).contains(&it.at_ms);
            (
                labels.clone(),
                held.iter().filter(within).cloned().collect(),
            )
        });
        found
            .filter(|(_, exemplars): &(_, Vec<Exemplar>)| !exemplars.is_empty())
            .collect()
    }
}

impl Ekg {
    /// Where exemplars are kept.
    pub fn exemplars(&self) -> &Exemplars {
        &self.exemplars
    }

    /// `/api/v1/query_exemplars`: those of all series that the query selects.
    pub fn query_exemplars(&self, expr: &str, start: Time, end: Time) -> Value {
        let found = self.exemplars_of(expr, (start.millis(), end.millis()));
        match found {
            Ok(found) => answer::success(found.iter().map(of_series).collect()),
            Err(error) => answer::failure(&error),
        }
    }

    fn exemplars_of(
        &self,
        expr: &str,
        window: (i64, i64),
    ) -> Result<BTreeMap<Labels, Vec<Exemplar>>, QueryError> {
        let query = Query::parse(expr)?;
        let selectors = query.selectors().into_iter();
        let selectors = selectors.map(|it| storage::translated(&it.matchers));
        let selectors = selectors.collect::<Result<Vec<_>, _>>()?;
        Ok(self.exemplars.select(&selectors, window))
    }
}

fn of_series((series, exemplars): (&Labels, &Vec<Exemplar>)) -> Value {
    let object = |labels: &Labels| -> Value {
        let pair = |(name, value): (&str, &str)| (name.to_owned(), Value::from(value));
        Value::Object(labels.iter().map(pair).collect())
    };
    let exemplars = exemplars.iter().map(|it| {
        json!({
            "labels": object(&it.labels),
            "value": Number(it.value).to_string(),
            "timestamp": answer::seconds(it.at_ms),
        })
    });
    json!({ "seriesLabels": object(series), "exemplars": exemplars.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str) -> Labels {
        Labels::from_pairs([("__name__", name)]).unwrap()
    }

    fn sent(trace: &str, value: f64, at_ms: i64) -> SentExemplar {
        SentExemplar::new([("trace_id", trace)], value, Some(at_ms))
    }

    fn held(exemplars: &Exemplars, name: &str) -> Vec<(i64, f64)> {
        let ring = exemplars.ring();
        let held = ring.series.get(&series(name)).into_iter().flatten();
        held.map(|it| (it.at_ms, it.value)).collect()
    }

    #[test]
    fn of_one_series_they_ascend_and_one_sent_again_is_taken_once() {
        let exemplars = Exemplars::default();
        let a = series("a");
        assert_eq!(exemplars.add(&a, &sent("x", 2.0, 10), 0), Ok(true));
        assert_eq!(exemplars.add(&a, &sent("x", 2.0, 10), 0), Ok(false));
        assert_eq!(exemplars.add(&a, &sent("y", 3.0, 10), 0), Ok(true));
        let older = ExemplarFault::OutOfOrder { at_ms: 10 };
        assert_eq!(exemplars.add(&a, &sent("x", 2.0, 10), 0), Err(older));
        let unsaid = SentExemplar::new([], 1.0, None);
        assert_eq!(exemplars.add(&a, &unsaid, 70), Ok(true));
        assert_eq!(held(&exemplars, "a"), [(10, 2.0), (10, 3.0), (70, 1.0)]);
    }

    #[test]
    fn the_oldest_of_all_series_makes_room() {
        let exemplars = Exemplars::with_limit(3);
        for (name, at_ms) in [("a", 1), ("b", 2), ("a", 3), ("a", 4), ("b", 5)] {
            exemplars
                .add(&series(name), &sent("x", 0.0, at_ms), 0)
                .unwrap();
        }
        assert_eq!(held(&exemplars, "a"), [(3, 0.0), (4, 0.0)]);
        assert_eq!(held(&exemplars, "b"), [(5, 0.0)]);
        assert_eq!(exemplars.len(), 3);
    }

    #[test]
    fn labels_that_are_too_long_are_refused() {
        let exemplars = Exemplars::default();
        let long = "x".repeat(LABEL_CHARS_MAX);
        let refused = exemplars.add(&series("a"), &sent(&long, 1.0, 1), 0);
        assert_eq!(refused, Err(ExemplarFault::TooLong(LABEL_CHARS_MAX + 8)));
        assert!(exemplars.is_empty());
    }
}
