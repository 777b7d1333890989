//! Query results as measurements.
//!
//! Guarantees: a measurement is as old as the newest sample of its stalest series; where no sample
//! contributed, or nothing came out, there is no measurement.

use mainstay_core::{Measured, Time};
use mainstay_promql::QueryResult;

use crate::{Ekg, QueryError};

impl Ekg {
    /// The values of `expr` at `now`, with the age of the samples they came from; `None` is silence.
    pub fn measure(&self, expr: &str, now: Time) -> Result<Option<Measured<Vec<f64>>>, QueryError> {
        let (result, as_of) = self.instant(expr, now)?;
        let values: Vec<f64> = match result {
            QueryResult::Scalar(sample) => vec![sample.value],
            QueryResult::Vector(series) => series.iter().map(|s| s.sample.value).collect(),
            QueryResult::Matrix(_) | QueryResult::String(_) => Vec::new(),
        };
        let seen = as_of.filter(|_| !values.is_empty());
        Ok(seen.map(|at| Measured::observe(values, at, "ekg/scrape")))
    }

    /// Like [`Ekg::measure`]; a query that fails is logged, and is silence too.
    pub fn eval(&self, expr: &str, now: Time) -> Option<Measured<Vec<f64>>> {
        self.measure(expr, now).unwrap_or_else(|error| {
            tracing::warn!(expr, %error, "a signal cannot be evaluated");
            None
        })
    }
}
