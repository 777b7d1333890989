//! Old samples that are kept as summaries, as a query meets them.
//!
//! Guarantees: a query is evaluated as ever until it meets a summary, and then again from the beginning as one over
//! summaries. An instant selector sees the last sample of a window for as long as the window is followed by another:
//! what stands is repeated, never changed. Whoever asks hears how coarse what was read is.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
};

use mainstay_core::Time;
use mainstay_promql as promql;
use mainstay_tsdb::{
    Aggregate, Coarse, Damage, Histogram, HistogramSample, Matcher, ReadError, Resolution,
    SeriesSlice, Tsdb,
};

/// A little less than the engine looks back, so that what stands is always found.
const REPEAT_MS: i64 = 299_000;
/// How many windows may be empty before a series counts as gone.
const WINDOWS_BETWEEN: i64 = 2;

/// How a reading goes about summaries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Way {
    /// They are samples like others.
    #[default]
    Plain,
    /// They end it.
    Detecting,
    /// What is asked of them is said by the selector.
    Asked,
}

/// What a reading met.
#[derive(Debug, Default)]
pub(crate) struct Summaries {
    way: Cell<Way>,
    met: RefCell<Vec<Coarse>>,
}

impl Summaries {
    pub(crate) fn go(&self, way: Way) {
        self.way.set(way);
    }

    /// Whether the query has to be asked as one over summaries.
    pub(crate) fn detected(&self) -> bool {
        self.way.get() == Way::Detecting && !self.met.borrow().is_empty()
    }

    /// What somebody who reads the answer should know.
    pub(crate) fn infos(&self, blurred: &[&'static str]) -> Vec<String> {
        let met = self.met.borrow();
        let told = |resolution: Resolution| {
            let of_it = || met.iter().filter(|it| it.resolution == resolution);
            let oldest_ms = of_it().map(|it| it.oldest_ms).min()?;
            let newest_ms = of_it().map(|it| it.newest_ms).max()?;
            let (from, to) = (Time::from_millis(oldest_ms), Time::from_millis(newest_ms));
            let (length, range) = match resolution {
                Resolution::FiveMinutes => ("5m", "10m"),
                Resolution::Hour => ("1h", "2h"),
            };
            Some(format!(
                "samples from {from} to {to} are downsampled to {length}: ranges over them need at least {range}"
            ))
        };
        let mut infos: Vec<String> = [Resolution::Hour, Resolution::FiveMinutes]
            .into_iter()
            .filter_map(told)
            .collect();
        if !(infos.is_empty() || blurred.is_empty()) {
            infos.push(format!(
                "of downsampled samples these functions see the last of each window only: {}",
                blurred.join(", ")
            ));
        }
        infos
    }

    /// Reads around damage what a selector asks for.
    pub(crate) fn select(
        &self,
        tsdb: &Tsdb,
        matchers: &[Matcher],
        (start_ms, end_ms): (i64, i64),
        damage: &mut Damage,
    ) -> Result<Vec<SeriesSlice>, Unread> {
        let asked = matchers
            .iter()
            .find(|it| it.name() == promql::SUMMARY_LABEL);
        let mut plain = matchers.to_vec();
        plain.retain(|it| it.name() != promql::SUMMARY_LABEL);
        let way = self.way.get();
        let before_ms = match (way, asked) {
            // What stands at the beginning may have come long before.
            (Way::Asked, Some(_)) => WINDOWS_BETWEEN * Resolution::Hour.ms(),
            _ => 0,
        };
        let early_ms = start_ms.saturating_sub(before_ms);
        let coarse = match way {
            Way::Plain => Vec::new(),
            Way::Detecting | Way::Asked => tsdb.coarse(early_ms, end_ms),
        };
        self.met.borrow_mut().extend(coarse.iter().copied());
        if way == Way::Detecting && !coarse.is_empty() {
            return Err(Unread::Summaries);
        }
        let aggregate = asked.and_then(|it| Aggregate::of(it.value()));
        if let Some(aggregate) = aggregate {
            let window = (start_ms, end_ms);
            return Ok(tsdb.select_aggregate(aggregate, &plain, window, damage)?);
        }
        let stands = asked.is_some() && !coarse.is_empty();
        let early_ms = if stands { early_ms } else { start_ms };
        let mut found = tsdb.select_around(&plain, early_ms, end_ms, damage)?;
        if stands {
            for slice in &mut found {
                repeat(slice, &coarse, (start_ms, end_ms));
            }
            found.retain(|it| !(it.timestamps.is_empty() && it.histograms.is_empty()));
        }
        Ok(found)
    }
}

/// Why a selection came to nothing.
#[derive(Debug)]
pub(crate) enum Unread {
    /// It met summaries, and was not asked for them.
    Summaries,
    /// A disk fails.
    Read(ReadError),
}

impl From<ReadError> for Unread {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

/// What stands: a number, or a histogram.
#[derive(Clone, Debug)]
enum Stands {
    Number(f64),
    Histogram(Arc<Histogram>),
}

impl Stands {
    fn is_stale(&self) -> bool {
        match self {
            Self::Number(value) => mainstay_tsdb::is_stale(*value),
            Self::Histogram(_) => false,
        }
    }
}

/// Samples of both kinds in the order of time.
fn in_order(slice: &SeriesSlice) -> Vec<(i64, Stands)> {
    let numbers = slice.timestamps.iter().zip(&*slice.values);
    let numbers = numbers.map(|(at_ms, value)| (*at_ms, Stands::Number(*value)));
    let histograms = slice.histograms.iter();
    let histograms = histograms.map(|it| (it.at_ms, Stands::Histogram(Arc::clone(&it.histogram))));
    let mut all: Vec<(i64, Stands)> = numbers.chain(histograms).collect();
    if !slice.histograms.is_empty() {
        all.sort_by_key(|(at_ms, _)| *at_ms);
    }
    all
}

/// Repeats what stands from one window to the next.
fn repeat(slice: &mut SeriesSlice, coarse: &[Coarse], (start_ms, end_ms): (i64, i64)) {
    let (mut times, mut values, mut histograms) = (Vec::new(), Vec::new(), Vec::new());
    let samples = in_order(slice);
    for (at, (at_ms, what)) in samples.iter().enumerate() {
        let mut here_ms = *at_ms;
        let next_ms = samples.get(at + 1).map(|(next_ms, _)| *next_ms);
        let within = |it: &&Coarse| (it.oldest_ms..=it.newest_ms).contains(at_ms);
        let window_ms = coarse
            .iter()
            .find(within)
            .map_or(0, |it| it.resolution.ms());
        let stands = !what.is_stale()
            && next_ms.is_some_and(|next_ms| next_ms - *at_ms <= WINDOWS_BETWEEN * window_ms);
        let until_ms = if stands {
            next_ms.unwrap_or(*at_ms)
        } else {
            *at_ms + 1
        };
        while here_ms < until_ms {
            if (start_ms..=end_ms).contains(&here_ms) {
                match what {
                    Stands::Number(value) => {
                        times.push(here_ms);
                        values.push(*value);
                    }
                    Stands::Histogram(histogram) => histograms.push(HistogramSample {
                        at_ms: here_ms,
                        histogram: Arc::clone(histogram),
                    }),
                }
            }
            here_ms += REPEAT_MS;
        }
    }
    slice.timestamps = times.into();
    slice.values = values.into();
    slice.histograms = histograms;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_is_repeated_until_the_next_and_not_beyond_an_end() {
        let coarse = [Coarse {
            oldest_ms: 0,
            newest_ms: 20_000_000,
            resolution: Resolution::Hour,
        }];
        let stale = mainstay_tsdb::stale_marker();
        let mut slice = SeriesSlice {
            labels: mainstay_tsdb::Labels::default(),
            timestamps: vec![0, 700_000, 800_000, 9_000_000, 9_200_000].into(),
            values: vec![1.0, 2.0, stale, 3.0, 4.0].into(),
            histograms: vec![HistogramSample {
                at_ms: 9_050_000,
                histogram: Arc::default(),
            }],
        };
        repeat(&mut slice, &coarse, (1, 9_100_000));
        assert_eq!(
            slice.timestamps[..],
            [299_000, 598_000, 700_000, 800_000, 9_000_000]
        );
        assert_eq!(slice.values[..3], [1.0, 1.0, 2.0]);
        assert_eq!(slice.histograms.len(), 1, "the next repetition is too late");
    }
}
