//! Query results as measurements.
//!
//! Guarantees: a measurement is as old as the newest sample of its stalest series that should still run, so
//! a scrape that died makes it stale whatever the others say; where no sample contributed, nothing came out,
//! or a counter cannot be counted exactly, there is no measurement. Never computes on a thread that others
//! wait on.

use mainstay_core::{
    Measured, Time,
    ports::{BoxFuture, Grown, Growth, Signals},
};
use mainstay_promql::QueryResult;
use mainstay_tsdb::SeriesCount;
use tokio::task::spawn_blocking;

use crate::{Ekg, QueryError};

/// Who observed what is measured here.
const SOURCE: &str = "ekg/scrape";

impl Ekg {
    /// The values of `expr` at `now`, with the age of the samples they came from; `None` is silence.
    pub fn measure(&self, expr: &str, now: Time) -> Result<Option<Measured<Vec<f64>>>, QueryError> {
        let (result, as_of) = self.instant(expr, now)?;
        let values: Vec<f64> = match result {
            QueryResult::Scalar(sample) => vec![sample.value],
            // A histogram is no number to judge.
            QueryResult::Vector(series) => series
                .iter()
                .filter(|s| s.histogram.is_none())
                .map(|s| s.sample.value)
                .collect(),
            QueryResult::Matrix(_) | QueryResult::String(_) => Vec::new(),
        };
        let seen = as_of.filter(|_| !values.is_empty());
        Ok(seen.map(|at| Measured::observe(values, at, SOURCE)))
    }

    /// Like [`Ekg::measure`]; a query that fails is logged, and is silence too.
    pub fn eval(&self, expr: &str, now: Time) -> Option<Measured<Vec<f64>>> {
        self.measure(expr, now).unwrap_or_else(|error| {
            tracing::warn!(expr, %error, "a signal cannot be evaluated");
            None
        })
    }

    /// Exact growth in `(from, to]` of the selected counters, and its age; a fault is logged and is silence.
    pub fn growth(&self, selector: &str, from: Time, to: Time) -> Option<Measured<Growth>> {
        let (counts, as_of) = self
            .dated_counts(selector, from, to)
            .inspect_err(|error| tracing::warn!(selector, %error, "counters cannot be selected"))
            .ok()?;
        let whole = counts.coverage.is_whole();
        let grown: Result<Vec<Grown>, _> = counts.series.into_iter().map(grown).collect();
        let series = grown
            .inspect_err(|fault| tracing::warn!(selector, %fault, "a counter cannot be counted"))
            .ok()?;
        let as_of = as_of.filter(|_| !series.is_empty())?;
        Some(Measured::observe(Growth { series, whole }, as_of, SOURCE))
    }
}

fn grown(series: SeriesCount) -> Result<Grown, mainstay_tsdb::CountFault> {
    let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    Ok(Grown {
        labels: series.labels.iter().map(pair).collect(),
        by: series.delta?,
    })
}

impl Signals for Ekg {
    fn eval<'a>(&'a self, expr: &'a str, at: Time) -> BoxFuture<'a, Option<Measured<Vec<f64>>>> {
        let (ekg, expr) = (self.clone(), expr.to_owned());
        Box::pin(answered(move || ekg.eval(&expr, at)))
    }

    fn counts<'a>(
        &'a self,
        selector: &'a str,
        from: Time,
        to: Time,
    ) -> BoxFuture<'a, Option<Measured<Growth>>> {
        let (ekg, selector) = (self.clone(), selector.to_owned());
        Box::pin(answered(move || ekg.growth(&selector, from, to)))
    }
}

/// Computes on a thread that may block; what panics is silence, which never passes.
async fn answered<T: Send + 'static>(
    compute: impl FnOnce() -> Option<T> + Send + 'static,
) -> Option<T> {
    spawn_blocking(compute).await.unwrap_or_else(|error| {
        tracing::error!(%error, "measuring died");
        None
    })
}
