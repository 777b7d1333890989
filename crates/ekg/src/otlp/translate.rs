//! From points to series.
//!
//! Guarantees: a point is written whole or, refused before it is written, not at all; every refusal has its reason, and
//! the points it met are counted. A histogram becomes `_bucket` with `le`, `_count` and `_sum`, an exponential one a
//! native histogram, a summary `quantile`s.
//! A resource with more attributes than make its `job` and `instance` says them in `target_info`, at its newest point.

use std::collections::BTreeMap;

use mainstay_core::Time;
use mainstay_tsdb::{Labels, METRIC_NAME, stale_marker};

use super::{
    OtlpSettings,
    delta::{Delta, DeltaError, Deltas},
    exponential,
    message::{
        Exemplar, ExponentialPoint, HistogramPoint, Metric, NumberPoint, Point, Request, Stamp,
        SummaryPoint, Temporality,
    },
    name::{self, Suffix},
    origin::{Origin, Pairs},
    value::Attribute,
};
use crate::{
    delivery::Delivery,
    metadata::{Family, Kind},
    write::{Sample, SentHistogram, Series, Sink as _},
};

/// Why a bucket's bounds and counts do not fit.
const NO_BUCKETS: &str = "its buckets do not fit its bounds, which have to ascend";
const NO_VALUE: &str = "it has no value";

/// How many points were sent, and how many were refused before anything was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) points: u64,
    pub(crate) rejected: u64,
}

/// How many samples a request becomes, and how many bytes their labels have together, about.
pub(super) fn weigh(request: &Request<'_>) -> (usize, usize) {
    let mut weight = (0, 0);
    for metrics in &request.resource_metrics {
        let resource = bytes(&metrics.resource.attributes);
        for scope in &metrics.scope_metrics {
            let scope_bytes = resource + bytes(&scope.scope.attributes);
            for metric in &scope.metrics {
                let own = scope_bytes + metric.name.len();
                let mut add = |point: &dyn Point| {
                    let samples = point.samples();
                    weight.0 += samples;
                    weight.1 += samples * (own + bytes(point.attributes()));
                };
                let numbers = metric.gauge.iter().flat_map(|it| &it.data_points);
                let sums = metric.sum.iter().flat_map(|it| &it.data_points);
                numbers.chain(sums).for_each(|point| add(point));
                let histograms = metric.histogram.iter().flat_map(|it| &it.data_points);
                histograms.for_each(|point| add(point));
                let summaries = metric.summary.iter().flat_map(|it| &it.data_points);
                summaries.for_each(|point| add(point));
                let exponential = metric.exponential_histogram.iter();
                let exponential = exponential.flat_map(|it| &it.data_points);
                exponential.for_each(|point| add(point));
            }
        }
    }
    weight
}

fn bytes(attributes: &[Attribute<'_>]) -> usize {
    let each = attributes.iter().map(|it| it.key.len() + it.value.len());
    each.sum()
}

/// Puts what a request says into a delivery that arrived at `now`.
pub(crate) fn translate(
    request: &Request<'_>,
    settings: &OtlpSettings,
    deltas: &mut Deltas,
    delivery: &mut Delivery,
) -> Outcome {
    let mut translation = Translation {
        deltas,
        delivery,
        outcome: Outcome::default(),
        newest_ms: None,
        told: None,
    };
    let mut infos = BTreeMap::<Pairs, i64>::new();
    for metrics in &request.resource_metrics {
        let origin = Origin::new(&metrics.resource, settings);
        translation.newest_ms = None;
        for scope in &metrics.scope_metrics {
            let origin = origin.in_scope(scope, settings);
            for metric in &scope.metrics {
                translation.metric(&origin, metric);
            }
        }
        let info = origin.info(&metrics.resource, settings);
        if let (Some(at_ms), Some(info)) = (translation.newest_ms, info) {
            let newest = infos.entry(info).or_insert(at_ms);
            *newest = at_ms.max(*newest);
        }
    }
    if !infos.is_empty() {
        let family = family(Kind::Gauge, "Attributes of the resource.", "");
        translation.delivery.metadata("target_info", family);
    }
    for (pairs, at_ms) in infos {
        let stamp = Stamp {
            start_ms: None,
            at_ms,
            gone: false,
        };
        translation.write(&Named::new("target_info", &pairs, stamp), "", None, 1.0);
    }
    translation.outcome
}

fn family<'a>(kind: Kind, help: &'a str, unit: &'a str) -> Family<'a> {
    Family {
        kind,
        help: help.into(),
        unit: unit.into(),
    }
}

/// A point's name, labels and time.
struct Named<'n> {
    name: &'n str,
    labels: &'n Pairs,
    stamp: Stamp,
}

impl<'n> Named<'n> {
    fn new(name: &'n str, labels: &'n Pairs, stamp: Stamp) -> Self {
        Self {
            name,
            labels,
            stamp,
        }
    }
}

/// The labels of a point's series.
fn stream(at: &Named<'_>) -> Labels {
    let named = (METRIC_NAME, at.name);
    let pairs = at.labels.iter().map(|(n, v)| (n.as_str(), v.as_str()));
    // Names are unique and not empty: the labels come from a map.
    let labels = Labels::from_pairs(pairs.filter(|(n, _)| *n != METRIC_NAME).chain([named]));
    labels.unwrap_or_default()
}

/// A series of a point, and the bound of its bucket.
type Told = (Option<f64>, Labels);

struct Translation<'t> {
    deltas: &'t mut Deltas,
    delivery: &'t mut Delivery,
    outcome: Outcome,
    /// The newest time of a point of this resource that is written.
    newest_ms: Option<i64>,
    /// The series of a point that has exemplars.
    told: Option<Vec<Told>>,
}

impl Translation<'_> {
    fn metric(&mut self, origin: &Origin, metric: &Metric<'_>) {
        use Temporality::{Cumulative, Delta, Unspecified};
        if let Some(it) = &metric.gauge {
            let name = self.named(metric, Suffix::Gauge, Kind::Gauge);
            self.each(&name, origin, &it.data_points, |self_, point, at| {
                self_.gauge(point, at);
            });
        }
        if let Some(it) = &metric.sum {
            let points = &it.data_points;
            match (it.aggregation_temporality, it.is_monotonic) {
                (Unspecified, _) => self.no_temporality(metric, points.len()),
                (Delta, false) => self.refuse_all(metric, points.len(), "delta-level", || {
                    "a level is not known from its changes: send it cumulative".to_owned()
                }),
                (Cumulative, false) => {
                    let name = self.named(metric, Suffix::None, Kind::Gauge);
                    self.each(&name, origin, points, |self_, point, at| {
                        self_.gauge(point, at);
                    });
                }
                (temporality, true) => {
                    let name = self.named(metric, Suffix::Counter, Kind::Counter);
                    self.each(&name, origin, points, |self_, point, at| {
                        self_.counter(point, at, temporality);
                    });
                }
            }
        }
        if let Some(it) = &metric.histogram {
            match it.aggregation_temporality {
                Unspecified => self.no_temporality(metric, it.data_points.len()),
                temporality @ (Delta | Cumulative) => {
                    let name = self.named(metric, Suffix::None, Kind::Histogram);
                    self.each(&name, origin, &it.data_points, |self_, point, at| {
                        self_.histogram(point, at, temporality);
                    });
                }
            }
        }
        if let Some(it) = &metric.exponential_histogram {
            match it.aggregation_temporality {
                Unspecified => self.no_temporality(metric, it.data_points.len()),
                temporality @ (Delta | Cumulative) => {
                    let name = self.named(metric, Suffix::None, Kind::Histogram);
                    self.each(&name, origin, &it.data_points, |self_, point, at| {
                        self_.exponential(point, at, temporality);
                    });
                }
            }
        }
        if let Some(it) = &metric.summary {
            let name = self.named(metric, Suffix::None, Kind::Summary);
            self.each(&name, origin, &it.data_points, |self_, point, at| {
                self_.summary(point, at);
            });
        }
    }

    /// What a metric is called here, and what it is.
    fn named(&mut self, metric: &Metric<'_>, suffix: Suffix, kind: Kind) -> Result<String, String> {
        let name = name::metric(&metric.name, &metric.unit, suffix)
            .ok_or_else(|| format!("the name {:?} has no letter or digit", metric.name))?;
        let unit = name::unit(&metric.unit);
        let family = family(kind, &metric.description, &unit);
        self.delivery.metadata(&name, family);
        Ok(name)
    }

    fn no_temporality(&mut self, metric: &Metric<'_>, points: usize) {
        self.refuse_all(metric, points, "temporality", || {
            "neither delta nor cumulative".to_owned()
        });
    }

    fn refuse_all(
        &mut self,
        metric: &Metric<'_>,
        points: usize,
        reason: &'static str,
        why: impl FnOnce() -> String,
    ) {
        let points = points as u64;
        self.outcome.points += points;
        self.outcome.rejected += points;
        let refused = &mut self.delivery.refused;
        refused.add(reason, points, || format!("{}: {}", metric.name, why()));
    }

    /// Each point with its labels and time, or its refusal.
    fn each<P: Point>(
        &mut self,
        name: &Result<String, String>,
        origin: &Origin,
        points: &[P],
        mut write: impl FnMut(&mut Self, &P, &Named<'_>),
    ) {
        for point in points {
            let before = self.delivery.refused.total();
            match (name, point.stamp(), origin.labels(point.attributes())) {
                (Ok(name), Some(stamp), Ok(labels)) => {
                    self.told = (!point.exemplars().is_empty()).then(Vec::new);
                    write(self, point, &Named::new(name, &labels, stamp));
                    let told = self.told.take().unwrap_or_default();
                    self.exemplars(point.exemplars(), &told, stamp);
                }
                (Err(why), _, _) => self.refuse("", "labels", why),
                (Ok(name), _, Err(why)) => self.refuse(name, "labels", &why),
                (Ok(name), None, Ok(_)) => self.refuse(name, "no-time", "it has no time"),
            }
            self.outcome.points += 1;
            if self.delivery.refused.total() > before {
                self.outcome.rejected += 1;
            } else {
                let at_ms = point.stamp().map(|stamp| stamp.at_ms);
                self.newest_ms = self.newest_ms.max(at_ms);
            }
        }
    }

    /// Exemplars belong to the series of their point; of a histogram with buckets to that bucket which counts them.
    fn exemplars(&mut self, exemplars: &[Exemplar<'_>], told: &[Told], stamp: Stamp) {
        let Some((_, first)) = told.first() else {
            return;
        };
        for exemplar in exemplars {
            let sent = exemplar.sent();
            let counts = |(bound, _): &&Told| bound.is_some_and(|bound| sent.value <= bound);
            let series = told.iter().find(counts).map_or(first, |(_, labels)| labels);
            let series = series.clone();
            self.delivery.exemplars.push((series, sent, stamp.at_ms));
        }
    }

    fn refuse(&mut self, name: &str, reason: &'static str, why: &str) {
        let refused = &mut self.delivery.refused;
        refused.add(reason, 1, || format!("{name}: {why}"));
    }

    fn gauge(&mut self, point: &NumberPoint<'_>, at: &Named<'_>) {
        match point.value().or(at.stamp.gone.then(stale_marker)) {
            Some(value) => {
                let stamp = Stamp {
                    start_ms: None,
                    ..at.stamp
                };
                self.write(&Named { stamp, ..*at }, "", None, value);
            }
            None => self.refuse(at.name, "no-value", NO_VALUE),
        }
    }

    fn counter(&mut self, point: &NumberPoint<'_>, at: &Named<'_>, temporality: Temporality) {
        let Some(value) = point.value().or(at.stamp.gone.then(stale_marker)) else {
            return self.refuse(at.name, "no-value", NO_VALUE);
        };
        match self.summed(at, temporality, &[], &[value]).as_deref() {
            Ok([sum]) => self.write(at, "", None, *sum),
            Ok(_) => self.refuse(at.name, "no-value", NO_VALUE),
            Err(error) => self.refuse(at.name, error.reason(), &error.to_string()),
        }
    }

    fn histogram(&mut self, point: &HistogramPoint<'_>, at: &Named<'_>, temporality: Temporality) {
        let counts = point.bucket_counts.iter().map(|count| count.0 as f64);
        let bounds: Vec<f64> = point.explicit_bounds.iter().map(|it| it.0).collect();
        let fits = counts.len() == bounds.len() + 1 || counts.len() + bounds.len() == 0;
        if !fits || !bounds.is_sorted_by(|a, b| a < b) {
            return self.refuse(at.name, "buckets", NO_BUCKETS);
        }
        // The last bucket is what the count says: with the others before it, it is not needed.
        let mut values: Vec<f64> = counts.take(bounds.len()).collect();
        values.push(point.count.0 as f64);
        values.extend(point.sum.map(|sum| sum.0));
        let summed = self.summed(at, temporality, &bounds, &values);
        let sums = match summed {
            Ok(sums) => sums,
            Err(error) => return self.refuse(at.name, error.reason(), &error.to_string()),
        };
        let (buckets, rest) = sums.split_at_checked(bounds.len()).unwrap_or_default();
        let mut so_far = 0.0;
        for (bound, count) in bounds.iter().zip(buckets) {
            so_far += count;
            if bound.is_finite() {
                self.write(at, "_bucket", Some(("le", &bound.to_string())), so_far);
            }
        }
        if let [count, sum @ ..] = rest {
            self.write(at, "_bucket", Some(("le", "+Inf")), *count);
            self.write(at, "_count", None, *count);
            for sum in sum {
                self.write(at, "_sum", None, *sum);
            }
        }
    }

    fn exponential(
        &mut self,
        point: &ExponentialPoint<'_>,
        at: &Named<'_>,
        temporality: Temporality,
    ) {
        if at.stamp.gone {
            return self.write(at, "", None, stale_marker());
        }
        let mut histogram = match exponential::native(point) {
            Ok(histogram) => histogram,
            Err(fault) => return self.refuse(at.name, "invalid-histogram", &fault.to_string()),
        };
        // What is refused for its time must not hold the next one up.
        if temporality == Temporality::Delta && self.delivery.in_time(at.stamp.at_ms) {
            let delta = (at.stamp.at_ms, histogram);
            let labels = stream(at);
            let now = self.delivery.now();
            histogram = match self.deltas.add_histogram(&labels, delta, now) {
                Ok(sum) => sum,
                Err(error) => return self.refuse(at.name, error.reason(), &error.to_string()),
            };
        } else if temporality == Temporality::Cumulative {
            histogram.start_ms = at.stamp.start_ms.unwrap_or(0);
        }
        if let Some(told) = &mut self.told {
            told.push((None, stream(at)));
        }
        let labels = at.labels.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        let labels = labels.filter(|(name, _)| *name != METRIC_NAME);
        self.delivery.series(&Series {
            labels: [(METRIC_NAME, at.name)].into_iter().chain(labels).collect(),
            histograms: vec![SentHistogram {
                at_ms: at.stamp.at_ms,
                histogram: Ok(Some(histogram)),
            }],
            ..Series::default()
        });
    }

    fn summary(&mut self, point: &SummaryPoint<'_>, at: &Named<'_>) {
        for it in &point.quantile_values {
            let quantile = it.quantile.0.to_string();
            self.write(at, "", Some(("quantile", &quantile)), it.value.0);
        }
        self.write(at, "_sum", None, point.sum.0);
        self.write(at, "_count", None, point.count.0 as f64);
    }

    /// Values since the beginning, of which `values` are the newest part, or which they are already.
    fn summed(
        &mut self,
        at: &Named<'_>,
        temporality: Temporality,
        bounds: &[f64],
        values: &[f64],
    ) -> Result<Vec<f64>, DeltaError> {
        let delta = match temporality {
            Temporality::Delta => Delta {
                start_ms: at.stamp.start_ms,
                at_ms: at.stamp.at_ms,
                bounds,
                values,
            },
            Temporality::Cumulative | Temporality::Unspecified => return Ok(values.to_vec()),
        };
        // The end of a series adds nothing, and what is refused for its time must not hold the next one up.
        if at.stamp.gone || !self.delivery.in_time(at.stamp.at_ms) {
            return Ok(values.to_vec());
        }
        let labels = stream(at);
        let now: Time = self.delivery.now();
        self.deltas.add(&labels, &delta, now).map(<[f64]>::to_vec)
    }

    /// One sample of a point.
    fn write(&mut self, at: &Named<'_>, suffix: &str, own: Option<(&str, &str)>, value: f64) {
        let name = format!("{}{suffix}", at.name);
        let ours = |name: &str| name == METRIC_NAME || own.is_some_and(|(own, _)| own == name);
        let labels = at.labels.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        let labels = labels.filter(|(name, _)| !ours(name));
        let sample = Sample {
            value: if at.stamp.gone { stale_marker() } else { value },
            at_ms: at.stamp.at_ms,
            start_ms: at.stamp.start_ms,
        };
        let series = Series {
            labels: [(METRIC_NAME, name.as_str())]
                .into_iter()
                .chain(own)
                .chain(labels)
                .collect(),
            samples: vec![sample],
            ..Series::default()
        };
        if let Some(told) = &mut self.told
            && let Ok(labels) = Labels::from_pairs(series.labels.iter().copied())
        {
            let bound = own.filter(|(own, _)| *own == "le");
            told.push((bound.and_then(|(_, bound)| bound.parse().ok()), labels));
        }
        self.delivery.series(&series);
    }
}
