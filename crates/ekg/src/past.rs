//! What lies before the samples that are kept here, where another store has it.
//!
//! Guarantees: from [`Past::here_since_ms`] on the samples of this store are all there are; before it they are joined
//! with those of the other, which may not show yet what it was sent. Where the other does not answer, neither does a
//! query that needs it; all others do.

use std::{collections::BTreeMap, fmt::Debug, sync::Arc};

use mainstay_promql::{Histogram, Labels, Matcher, Series, StorageError};

/// Another store.
pub trait Past: Debug + Send + Sync {
    /// Since when every sample is here.
    fn here_since_ms(&self) -> i64;
    /// Samples of the series that satisfy all matchers, both ends included. May block.
    fn select(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Series>, StorageError>;
}

/// Samples of both, each series once.
pub(crate) fn joined(
    past: &dyn Past,
    matchers: &[Matcher],
    (start_ms, end_ms): (i64, i64),
    here: impl FnOnce(i64, i64) -> Result<Vec<Series>, StorageError>,
) -> Result<Vec<Series>, StorageError> {
    let since_ms = past.here_since_ms();
    if start_ms >= since_ms {
        return here(start_ms, end_ms);
    }
    let earlier = past.select(matchers, start_ms, end_ms.min(since_ms - 1))?;
    let mut all: BTreeMap<Labels, Series> = BTreeMap::new();
    all.extend(earlier.into_iter().map(|it| (it.labels.clone(), it)));
    for series in here(start_ms, end_ms)? {
        match all.remove(&series.labels) {
            None => drop(all.insert(series.labels.clone(), series)),
            Some(before) => drop(all.insert(series.labels.clone(), merged(&before, &series))),
        }
    }
    Ok(all.into_values().collect())
}

/// A series with the samples of both, in the order of time; of two at one time the second's stands.
fn merged(first: &Series, second: &Series) -> Series {
    let samples = |of: &Series| {
        let samples = of.timestamps.iter().copied().zip(of.values.iter().copied());
        let histograms = of.histograms.clone();
        let histogram = move |at: usize| histograms.as_ref()?.get(at)?.clone();
        let samples = samples.enumerate();
        let samples = samples.map(|(at, (at_ms, value))| (at_ms, (value, histogram(at))));
        samples.collect::<BTreeMap<i64, (f64, Option<Arc<Histogram>>)>>()
    };
    let mut both = samples(first);
    both.extend(samples(second));
    let mut series = Series::floats(
        first.labels.clone(),
        Arc::new(both.keys().copied().collect()),
        Arc::new(both.values().map(|(value, _)| *value).collect()),
    );
    if both.values().any(|(_, histogram)| histogram.is_some()) {
        let histograms = both.into_values().map(|(_, histogram)| histogram);
        series.histograms = Some(Arc::new(histograms.collect()));
    }
    series
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One sample every ten milliseconds from 0 on, all of the value 1; knows everything from 50 on.
    #[derive(Debug)]
    struct Old;

    fn series(job: &str, times: &[i64], value: f64) -> Series {
        let values = vec![value; times.len()];
        let labels = Labels::from_pairs([("job", job)]);
        Series::floats(labels, times.to_vec().into(), values.into())
    }

    impl Past for Old {
        fn here_since_ms(&self) -> i64 {
            50
        }
        fn select(&self, _: &[Matcher], start: i64, end: i64) -> Result<Vec<Series>, StorageError> {
            let times: Vec<i64> = (start..=end).filter(|at| at % 10 == 0).collect();
            Ok(vec![series("a", &times, 1.0), series("gone", &times, 1.0)])
        }
    }

    fn found(start_ms: i64, end_ms: i64) -> Vec<(String, Vec<i64>, Vec<f64>)> {
        let here = |start: i64, end: i64| {
            let times: Vec<i64> = (start..=end).filter(|at| at % 10 == 5).collect();
            Ok(vec![series("a", &times, 2.0), series("b", &times, 2.0)])
        };
        let all = joined(&Old, &[], (start_ms, end_ms), here).unwrap();
        let told = |it: Series| {
            let job = it.labels.get("job").unwrap_or_default().to_owned();
            (job, it.timestamps.to_vec(), it.values.to_vec())
        };
        all.into_iter().map(told).collect()
    }

    #[test]
    fn both_are_joined_before_all_is_here_and_every_series_stands_once() {
        let both = found(30, 59);
        let times = vec![30, 35, 40, 45, 55];
        assert_eq!(both[0], ("a".into(), times, vec![1.0, 2.0, 1.0, 2.0, 2.0]));
        assert_eq!(both[1], ("b".into(), vec![35, 45, 55], vec![2.0; 3]));
        assert_eq!(both[2], ("gone".into(), vec![30, 40], vec![1.0, 1.0]));
        assert_eq!(found(50, 59)[0].1, [55], "the other store is not asked");
        assert_eq!(found(30, 49)[0].1, [30, 35, 40, 45]);
    }
}
