//! The samples as the query engine sees them.
//!
//! Guarantees: a query, however heavy, never holds up the writer; each selection is consistent in itself. Where
//! asked, it remembers how old what it gave out is, and says older rather than younger; such a reading, on which
//! something may be decided, fails where samples are damaged. Any other goes on without them and remembers what it
//! did without.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
};

use mainstay_promql as promql;
use mainstay_tsdb::{
    BucketCounts, BucketSpan, Damage, Histogram, MatchOp, Matcher, MatcherError, ReadError,
    ResetHint, SeriesSlice, Tally, Tsdb,
};

use crate::{
    age::Age,
    native,
    past::{Past, joined},
    read::narrowed,
    summaries::{Summaries, Unread},
};

/// Reads for one query.
pub(crate) struct Reader<'a> {
    tsdb: &'a Tsdb,
    /// Who has what was before.
    past: Option<&'a dyn Past>,
    /// How old what was read is, if somebody wants to know.
    age: Option<Cell<Age>>,
    damage: RefCell<Damage>,
    pub(crate) summaries: Summaries,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(tsdb: &'a Tsdb) -> Self {
        Self {
            tsdb,
            past: None,
            age: None,
            damage: RefCell::default(),
            summaries: Summaries::default(),
        }
    }

    /// The same, with what another store has of the time before.
    pub(crate) fn after(self, past: Option<&'a dyn Past>) -> Self {
        Self { past, ..self }
    }

    /// One that remembers how old the samples are.
    pub(crate) fn dating(tsdb: &'a Tsdb) -> Self {
        Self {
            tsdb,
            past: None,
            age: Some(Cell::default()),
            damage: RefCell::default(),
            summaries: Summaries::default(),
        }
    }

    /// What was read around.
    pub(crate) fn damage(&self) -> Damage {
        self.damage.borrow().clone()
    }

    /// How old the answer is; `None` if no sample was read at all.
    pub(crate) fn as_of_ms(&self) -> Option<i64> {
        self.age.as_ref()?.get().ms()
    }
}

impl promql::Storage for Reader<'_> {
    fn select(
        &self,
        matchers: &[promql::Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<promql::Series>, promql::StorageError> {
        if let Some(past) = self.past {
            let here = |start_ms, end_ms| self.here(matchers, start_ms, end_ms);
            return joined(past, matchers, (start_ms, end_ms), here);
        }
        self.here(matchers, start_ms, end_ms)
    }

    fn extent(
        &self,
        matchers: &[promql::Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<promql::Extent, promql::StorageError> {
        self.estimated(matchers, start_ms, end_ms)
    }
}

/// Series whose samples are counted to estimate those of all.
const COUNTED: usize = 16;

impl Reader<'_> {
    /// How much there is here: series exactly, samples by those of some.
    fn estimated(
        &self,
        matchers: &[promql::Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<promql::Extent, promql::StorageError> {
        let wrong = |error: &dyn std::fmt::Display| promql::StorageError(error.to_string());
        let mut matchers = translated(matchers).map_err(|error| wrong(&error))?;
        let damage = &mut self.damage.borrow_mut();
        let series = self.tsdb.series(&matchers, start_ms, end_ms, damage);
        let series = series.map_err(|error| wrong(&error))?;
        let apart = (series.len() / COUNTED).max(1);
        let some: std::collections::BTreeSet<_> = series
            .iter()
            .step_by(apart)
            .take(COUNTED)
            .cloned()
            .collect();
        matchers.extend(narrowed(&some));
        let found = self.tsdb.select_around(&matchers, start_ms, end_ms, damage);
        let found = found.map_err(|error| wrong(&error))?;
        let counted = found.iter().filter(|it| some.contains(&it.labels));
        let samples: u64 = counted.map(|it| it.timestamps.len() as u64).sum();
        let all = series.len() as u64;
        Ok(promql::Extent {
            series: all,
            samples: (samples.saturating_mul(all)).div_ceil((some.len() as u64).max(1)),
        })
    }

    /// What is kept here.
    fn here(
        &self,
        matchers: &[promql::Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<promql::Series>, promql::StorageError> {
        let wrong = |error: MatcherError| promql::StorageError(error.to_string());
        let matchers = translated(matchers).map_err(wrong)?;
        let failed = |error: ReadError| promql::StorageError(error.to_string());
        if let Some(age) = &self.age {
            // Before the samples are read, so that what comes in meanwhile does not make them look younger.
            let read = Age::of(self.tsdb, &matchers, start_ms, end_ms).map_err(failed)?;
            age.set(age.get().and(read));
        }
        let found = if self.age.is_some() {
            self.tsdb.select(&matchers, start_ms, end_ms)
        } else {
            let damage = &mut self.damage.borrow_mut();
            let window = (start_ms, end_ms);
            let found = self.summaries.select(self.tsdb, &matchers, window, damage);
            found.or_else(|unread| match unread {
                Unread::Read(error) => Err(error),
                // Whatever it leads to is not looked at: the query is asked again.
                Unread::Summaries => Ok(Vec::new()),
            })
        };
        let found = found.map_err(failed)?;
        Ok(found.into_iter().map(series).collect())
    }
}

fn series(slice: SeriesSlice) -> promql::Series {
    let labels = promql::Labels::from_pairs(slice.labels.iter());
    if slice.histograms.is_empty() {
        return promql::Series::floats(labels, slice.timestamps, slice.values);
    }
    let numbers = slice.timestamps.iter().zip(&*slice.values);
    let mut numbers = numbers.map(|(t, v)| (*t, *v)).peekable();
    let (mut timestamps, mut values, mut histograms) = (Vec::new(), Vec::new(), Vec::new());
    let mut push = |at_ms, value, histogram| {
        timestamps.push(at_ms);
        values.push(value);
        histograms.push(histogram);
    };
    for sample in &slice.histograms {
        while let Some((at_ms, value)) = numbers.next_if(|(at_ms, _)| *at_ms < sample.at_ms) {
            push(at_ms, value, None);
        }
        let histogram = histogram(&sample.histogram);
        push(sample.at_ms, f64::NAN, Some(Arc::new(histogram)));
    }
    numbers.for_each(|(at_ms, value)| push(at_ms, value, None));
    promql::Series {
        labels,
        timestamps: timestamps.into(),
        values: values.into(),
        histograms: Some(histograms.into()),
        start_timestamps: None,
    }
}

/// A stored histogram as the engine computes with it. That it is no reset is not believed, since samples before it may
/// not have been stored: the engine compares.
fn histogram(stored: &Histogram) -> promql::Histogram {
    let (count, zero_count, positive, negative) = match &stored.counts {
        BucketCounts::Whole(tally) => {
            let side = |spans: &[BucketSpan], counts: &[u64]| {
                slots(spans, counts.iter().map(|count| *count as f64))
            };
            let positive = side(&stored.positive, &tally.positive);
            let negative = side(&stored.negative, &tally.negative);
            (tally.count as f64, tally.zero as f64, positive, negative)
        }
        BucketCounts::Real(tally) => {
            let side = |spans: &[BucketSpan], counts: &[f64]| slots(spans, counts.iter().copied());
            let positive = side(&stored.positive, &tally.positive);
            let negative = side(&stored.negative, &tally.negative);
            (tally.count, tally.zero, positive, negative)
        }
    };
    promql::Histogram {
        schema: stored.schema,
        hint: match stored.hint {
            ResetHint::Unknown | ResetHint::NotReset => promql::ResetHint::Unknown,
            ResetHint::Reset => promql::ResetHint::Reset,
            ResetHint::Gauge => promql::ResetHint::Gauge,
        },
        zero_threshold: stored.zero_threshold,
        zero_count,
        count,
        sum: stored.sum,
        positive,
        negative,
        bounds: Arc::clone(&stored.bounds),
    }
}

/// What the engine computed as it is stored: counts need not be whole.
pub(crate) fn stored(computed: &promql::Histogram) -> Arc<Histogram> {
    let side = |slots: &[promql::Slot]| {
        let slots: Vec<(i32, f64)> = slots.iter().map(|it| (it.index, it.count)).collect();
        native::spans_of(&slots)
    };
    let ((positive, above), (negative, below)) =
        (side(&computed.positive), side(&computed.negative));
    Arc::new(Histogram {
        schema: computed.schema,
        hint: match computed.hint {
            promql::ResetHint::Unknown => ResetHint::Unknown,
            promql::ResetHint::Reset => ResetHint::Reset,
            promql::ResetHint::NotReset => ResetHint::NotReset,
            promql::ResetHint::Gauge => ResetHint::Gauge,
        },
        start_ms: 0,
        zero_threshold: computed.zero_threshold,
        sum: computed.sum,
        positive,
        negative,
        bounds: Arc::clone(&computed.bounds),
        counts: BucketCounts::Real(Tally {
            count: computed.count,
            zero: computed.zero_count,
            positive: above,
            negative: below,
        }),
    })
}

fn slots(spans: &[BucketSpan], counts: impl Iterator<Item = f64>) -> Vec<promql::Slot> {
    let slot = |(index, count)| promql::Slot { index, count };
    native::indices(spans).zip(counts).map(slot).collect()
}

/// The engine's matchers as the store's.
pub(crate) fn translated(matchers: &[promql::Matcher]) -> Result<Vec<Matcher>, MatcherError> {
    let one = |m: &promql::Matcher| {
        let op = match m.op {
            promql::MatchOp::Equal => MatchOp::Equal,
            promql::MatchOp::NotEqual => MatchOp::NotEqual,
            promql::MatchOp::Regex => MatchOp::Regex,
            promql::MatchOp::NotRegex => MatchOp::NotRegex,
        };
        Matcher::new(m.name.as_str(), op, m.value.as_str())
    };
    matchers.iter().map(one).collect()
}
