//! `ExportMetricsServiceRequest`, as far as it is used here, in the words of its definition.
//!
//! Guarantees: one shape for both encodings; texts are borrowed where they can be. In JSON, unknown fields are passed
//! over, as senders may be newer.

use std::borrow::Cow;

use serde::Deserialize;

use super::{
    json::{Double, Signed, Unsigned},
    value::Attribute,
};
use crate::exemplars::SentExemplar;

/// Nanoseconds of a millisecond.
const NANOS: u64 = 1_000_000;
/// The flag of a point that says that there is no value any more.
const NO_RECORDED_VALUE: u32 = 1;

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Request<'a> {
    #[serde(borrow)]
    pub(super) resource_metrics: Vec<ResourceMetrics<'a>>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ResourceMetrics<'a> {
    #[serde(borrow)]
    pub(super) resource: Resource<'a>,
    pub(super) scope_metrics: Vec<ScopeMetrics<'a>>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Resource<'a> {
    #[serde(borrow)]
    pub(super) attributes: Vec<Attribute<'a>>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ScopeMetrics<'a> {
    #[serde(borrow)]
    pub(super) scope: Scope<'a>,
    pub(super) metrics: Vec<Metric<'a>>,
    pub(super) schema_url: Cow<'a, str>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Scope<'a> {
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
    pub(super) version: Cow<'a, str>,
    pub(super) attributes: Vec<Attribute<'a>>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Metric<'a> {
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
    pub(super) description: Cow<'a, str>,
    pub(super) unit: Cow<'a, str>,
    pub(super) gauge: Option<Gauge<'a>>,
    pub(super) sum: Option<Sum<'a>>,
    pub(super) histogram: Option<Histogram<'a>>,
    pub(super) exponential_histogram: Option<ExponentialHistogram<'a>>,
    pub(super) summary: Option<Summary<'a>>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Gauge<'a> {
    #[serde(borrow)]
    pub(super) data_points: Vec<NumberPoint<'a>>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Sum<'a> {
    #[serde(borrow)]
    pub(super) data_points: Vec<NumberPoint<'a>>,
    pub(super) aggregation_temporality: Temporality,
    pub(super) is_monotonic: bool,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Histogram<'a> {
    #[serde(borrow)]
    pub(super) data_points: Vec<HistogramPoint<'a>>,
    pub(super) aggregation_temporality: Temporality,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ExponentialHistogram<'a> {
    #[serde(borrow)]
    pub(super) data_points: Vec<ExponentialPoint<'a>>,
    pub(super) aggregation_temporality: Temporality,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Summary<'a> {
    #[serde(borrow)]
    pub(super) data_points: Vec<SummaryPoint<'a>>,
}

/// Whether points add up, or are sums already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Temporality {
    #[default]
    Unspecified,
    Delta,
    Cumulative,
}

impl Temporality {
    pub(super) fn of(number: u64) -> Self {
        match number {
            1 => Self::Delta,
            2 => Self::Cumulative,
            _ => Self::Unspecified,
        }
    }
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct NumberPoint<'a> {
    #[serde(borrow)]
    pub(super) attributes: Vec<Attribute<'a>>,
    pub(super) start_time_unix_nano: Unsigned,
    pub(super) time_unix_nano: Unsigned,
    pub(super) as_double: Option<Double>,
    pub(super) as_int: Option<Signed>,
    pub(super) exemplars: Vec<Exemplar<'a>>,
    pub(super) flags: u32,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct HistogramPoint<'a> {
    #[serde(borrow)]
    pub(super) attributes: Vec<Attribute<'a>>,
    pub(super) start_time_unix_nano: Unsigned,
    pub(super) time_unix_nano: Unsigned,
    pub(super) count: Unsigned,
    pub(super) sum: Option<Double>,
    pub(super) bucket_counts: Vec<Unsigned>,
    pub(super) explicit_bounds: Vec<Double>,
    pub(super) exemplars: Vec<Exemplar<'a>>,
    pub(super) flags: u32,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ExponentialPoint<'a> {
    #[serde(borrow)]
    pub(super) attributes: Vec<Attribute<'a>>,
    pub(super) start_time_unix_nano: Unsigned,
    pub(super) time_unix_nano: Unsigned,
    pub(super) count: Unsigned,
    pub(super) sum: Option<Double>,
    pub(super) scale: i32,
    pub(super) zero_count: Unsigned,
    pub(super) zero_threshold: Double,
    pub(super) positive: Buckets,
    pub(super) negative: Buckets,
    pub(super) exemplars: Vec<Exemplar<'a>>,
    pub(super) flags: u32,
}

/// Neighbouring buckets of one side.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Buckets {
    pub(super) offset: i32,
    pub(super) bucket_counts: Vec<Unsigned>,
}

/// A single observation.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Exemplar<'a> {
    #[serde(borrow)]
    pub(super) filtered_attributes: Vec<Attribute<'a>>,
    pub(super) time_unix_nano: Unsigned,
    pub(super) as_double: Option<Double>,
    pub(super) as_int: Option<Signed>,
    /// In hexadecimal.
    pub(super) trace_id: Cow<'a, str>,
    pub(super) span_id: Cow<'a, str>,
}

impl Exemplar<'_> {
    /// As it is kept: with `trace_id` and `span_id` among its labels, the attributes of the rest left out where they
    /// would make the labels too long, as Prometheus does.
    pub(super) fn sent(&self) -> SentExemplar {
        let whole = self.as_int.map(|whole| whole.0 as f64);
        let value = self.as_double.map(|value| value.0).or(whole);
        let at_ms = i64::try_from(self.time_unix_nano.0 / NANOS).ok();
        let ids = [("trace_id", &self.trace_id), ("span_id", &self.span_id)];
        let ids = ids.into_iter().filter(|(_, id)| !id.is_empty());
        let mut sent = SentExemplar::new(
            ids.map(|(name, id)| (name, &**id)),
            value.unwrap_or(0.0),
            at_ms.filter(|at_ms| *at_ms > 0),
        );
        for attribute in &self.filtered_attributes {
            sent.push_if_it_fits(&attribute.key, &attribute.value);
        }
        sent
    }
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct SummaryPoint<'a> {
    #[serde(borrow)]
    pub(super) attributes: Vec<Attribute<'a>>,
    pub(super) start_time_unix_nano: Unsigned,
    pub(super) time_unix_nano: Unsigned,
    pub(super) count: Unsigned,
    pub(super) sum: Double,
    pub(super) quantile_values: Vec<Quantile>,
    pub(super) flags: u32,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Quantile {
    pub(super) quantile: Double,
    pub(super) value: Double,
}

/// When a point was taken, and since when it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) start_ms: Option<i64>,
    pub(super) at_ms: i64,
    /// There is no value any more.
    pub(super) gone: bool,
}

/// What points of every kind have.
pub(super) trait Point {
    fn attributes(&self) -> &[Attribute<'_>];
    /// Start and time in nanoseconds, and the flags.
    fn placed(&self) -> (Unsigned, Unsigned, u32);
    /// How many samples it becomes.
    fn samples(&self) -> usize;
    fn exemplars(&self) -> &[Exemplar<'_>];

    /// None if the point does not say when it was taken.
    fn stamp(&self) -> Option<Stamp> {
        let (start, at, flags) = self.placed();
        let millis = |nanos: Unsigned| i64::try_from(nanos.0 / NANOS).ok();
        Some(Stamp {
            start_ms: millis(start).filter(|start| *start > 0),
            at_ms: millis(at).filter(|_| at.0 > 0)?,
            gone: flags & NO_RECORDED_VALUE != 0,
        })
    }
}

impl Point for NumberPoint<'_> {
    fn attributes(&self) -> &[Attribute<'_>] {
        &self.attributes
    }
    fn placed(&self) -> (Unsigned, Unsigned, u32) {
        (self.start_time_unix_nano, self.time_unix_nano, self.flags)
    }
    fn samples(&self) -> usize {
        1
    }
    fn exemplars(&self) -> &[Exemplar<'_>] {
        &self.exemplars
    }
}

impl NumberPoint<'_> {
    pub(super) fn value(&self) -> Option<f64> {
        let whole = self.as_int.map(|whole| whole.0 as f64);
        self.as_double.map(|value| value.0).or(whole)
    }
}

impl Point for HistogramPoint<'_> {
    fn attributes(&self) -> &[Attribute<'_>] {
        &self.attributes
    }
    fn placed(&self) -> (Unsigned, Unsigned, u32) {
        (self.start_time_unix_nano, self.time_unix_nano, self.flags)
    }
    fn samples(&self) -> usize {
        self.explicit_bounds.len() + 3
    }
    fn exemplars(&self) -> &[Exemplar<'_>] {
        &self.exemplars
    }
}

impl Point for ExponentialPoint<'_> {
    fn attributes(&self) -> &[Attribute<'_>] {
        &self.attributes
    }
    fn placed(&self) -> (Unsigned, Unsigned, u32) {
        (self.start_time_unix_nano, self.time_unix_nano, self.flags)
    }
    /// One, but it takes the place of more.
    fn samples(&self) -> usize {
        let buckets = self.positive.bucket_counts.len() + self.negative.bucket_counts.len();
        1 + buckets / 2
    }
    fn exemplars(&self) -> &[Exemplar<'_>] {
        &self.exemplars
    }
}

impl Point for SummaryPoint<'_> {
    fn attributes(&self) -> &[Attribute<'_>] {
        &self.attributes
    }
    fn placed(&self) -> (Unsigned, Unsigned, u32) {
        (self.start_time_unix_nano, self.time_unix_nano, self.flags)
    }
    fn samples(&self) -> usize {
        self.quantile_values.len() + 2
    }
    fn exemplars(&self) -> &[Exemplar<'_>] {
        &[]
    }
}
