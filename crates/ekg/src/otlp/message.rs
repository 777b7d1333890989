//! `ExportMetricsServiceRequest`, as far as it is used here, in the words of its definition.
//!
//! Guarantees: one shape for both encodings; texts are borrowed where they can be. In JSON, unknown fields are passed
//! over, as senders may be newer. Never looks into what is not kept: exemplars and exponential histograms are counted.

use std::borrow::Cow;

use serde::{Deserialize, de::IgnoredAny};

use super::{
    json::{Double, Signed, Unsigned},
    value::Attribute,
};

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
    pub(super) exponential_histogram: Option<ExponentialHistogram>,
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
pub(super) struct ExponentialHistogram {
    pub(super) data_points: Vec<IgnoredAny>,
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
    pub(super) exemplars: Vec<IgnoredAny>,
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
    pub(super) exemplars: Vec<IgnoredAny>,
    pub(super) flags: u32,
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
    fn exemplars(&self) -> usize;

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
    fn exemplars(&self) -> usize {
        self.exemplars.len()
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
    fn exemplars(&self) -> usize {
        self.exemplars.len()
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
    fn exemplars(&self) -> usize {
        0
    }
}
