//! The message in protobuf, read into its shape.
//!
//! Guarantees: what it takes in memory is bounded by [`OBJECTS_MAX`], however the bytes are spent; values nest at most
//! [`NESTED_MAX`] deep. An error names its byte.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::{borrow::Cow, fmt::Write as _};

use mainstay_tsdb::MAX_BUCKETS;

use super::{
    OBJECTS_MAX,
    json::{Double, Signed, Unsigned},
    message::{
        Buckets, Exemplar, ExponentialHistogram, ExponentialPoint, Gauge, Histogram,
        HistogramPoint, Metric, NumberPoint, Quantile, Request, Resource, ResourceMetrics, Scope,
        ScopeMetrics, Sum, Summary, SummaryPoint, Temporality,
    },
    value::{Any, Attribute, KeyValue},
};
use crate::{
    native,
    wire::{Field, Reader, WireError},
};

/// How deep values may nest: as deep as anybody reads.
const NESTED_MAX: usize = 16;

/// Bytes of the longest id, that of a trace.
const ID_BYTES: usize = 16;

pub(super) fn decode(message: &[u8]) -> Result<Request<'_>, WireError> {
    let mut decoder = Decoder::default();
    let mut request = Request::default();
    let mut reader = Reader::new(message);
    while let Some(field) = reader.field()? {
        if field.number == 1 {
            let metrics = decoder.resource_metrics(&field)?;
            request.resource_metrics.push(metrics);
        }
    }
    Ok(request)
}

/// An id as JSON writes it.
fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes.iter().take(ID_BYTES) {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Counts the messages within the message.
#[derive(Default)]
struct Decoder {
    objects: usize,
}

impl Decoder {
    fn open<'a>(&mut self, field: &Field<'a>) -> Result<Reader<'a>, WireError> {
        self.objects += 1;
        field.within(self.objects, OBJECTS_MAX, "messages within one")?;
        field.message()
    }

    fn resource_metrics<'a>(
        &mut self,
        field: &Field<'a>,
    ) -> Result<ResourceMetrics<'a>, WireError> {
        let mut reader = self.open(field)?;
        let mut metrics = ResourceMetrics::default();
        while let Some(field) = reader.field()? {
            match field.number {
                1 => metrics.resource = self.resource(&field)?,
                2 => metrics.scope_metrics.push(self.scope_metrics(&field)?),
                _ => {}
            }
        }
        Ok(metrics)
    }

    fn resource<'a>(&mut self, field: &Field<'a>) -> Result<Resource<'a>, WireError> {
        let mut reader = self.open(field)?;
        let mut resource = Resource::default();
        while let Some(field) = reader.field()? {
            if field.number == 1 {
                resource.attributes.push(self.attribute(&field)?);
            }
        }
        Ok(resource)
    }

    fn scope_metrics<'a>(&mut self, field: &Field<'a>) -> Result<ScopeMetrics<'a>, WireError> {
        let mut reader = self.open(field)?;
        let mut metrics = ScopeMetrics::default();
        while let Some(field) = reader.field()? {
            match field.number {
                1 => metrics.scope = self.scope(&field)?,
                2 => metrics.metrics.push(self.metric(&field)?),
                3 => metrics.schema_url = Cow::Borrowed(field.text()?),
                _ => {}
            }
        }
        Ok(metrics)
    }

    fn scope<'a>(&mut self, field: &Field<'a>) -> Result<Scope<'a>, WireError> {
        let mut reader = self.open(field)?;
        let mut scope = Scope::default();
        while let Some(field) = reader.field()? {
            match field.number {
                1 => scope.name = Cow::Borrowed(field.text()?),
                2 => scope.version = Cow::Borrowed(field.text()?),
                3 => scope.attributes.push(self.attribute(&field)?),
                _ => {}
            }
        }
        Ok(scope)
    }

    fn metric<'a>(&mut self, field: &Field<'a>) -> Result<Metric<'a>, WireError> {
        let mut reader = self.open(field)?;
        let mut metric = Metric::default();
        while let Some(field) = reader.field()? {
            match field.number {
                1 => metric.name = Cow::Borrowed(field.text()?),
                2 => metric.description = Cow::Borrowed(field.text()?),
                3 => metric.unit = Cow::Borrowed(field.text()?),
                5 => metric.gauge = Some(self.gauge(&field)?),
                7 => metric.sum = Some(self.sum(&field)?),
                9 => metric.histogram = Some(self.histogram(&field)?),
                10 => metric.exponential_histogram = Some(self.exponential(&field)?),
                11 => metric.summary = Some(self.summary(&field)?),
                _ => {}
            }
        }
        Ok(metric)
    }

    fn gauge<'a>(&mut self, field: &Field<'a>) -> Result<Gauge<'a>, WireError> {
        let mut reader = self.open(field)?;
        let mut gauge = Gauge::default();
        while let Some(field) = reader.field()? {
            if field.number == 1 {
                gauge.data_points.push(self.number(&field)?);
            }
        }
        Ok(gauge)
    }

    fn sum<'a>(&mut self, field: &Field<'a>) -> Result<Sum<'a>, WireError> {
        let mut reader = self.open(field)?;
        let mut sum = Sum::default();
        while let Some(field) = reader.field()? {
            match field.number {
                1 => sum.data_points.push(self.number(&field)?),
                2 => sum.aggregation_temporality = Temporality::of(field.unsigned()?),
                3 => sum.is_monotonic = field.unsigned()? != 0,
                _ => {}
            }
        }
        Ok(sum)
    }

    fn histogram<'a>(&mut self, field: &Field<'a>) -> Result<Histogram<'a>, WireError> {
        let mut reader = self.open(field)?;
        let mut histogram = Histogram::default();
        while let Some(field) = reader.field()? {
            match field.number {
                1 => histogram.data_points.push(self.histogram_point(&field)?),
                2 => histogram.aggregation_temporality = Temporality::of(field.unsigned()?),
                _ => {}
            }
        }
        Ok(histogram)
    }

    fn exponential<'a>(
        &mut self,
        field: &Field<'a>,
    ) -> Result<ExponentialHistogram<'a>, WireError> {
        let mut reader = self.open(field)?;
        let mut histogram = ExponentialHistogram::default();
        while let Some(field) = reader.field()? {
            match field.number {
                1 => histogram.data_points.push(self.exponential_point(&field)?),
                2 => histogram.aggregation_temporality = Temporality::of(field.unsigned()?),
                _ => {}
            }
        }
        Ok(histogram)
    }

    fn exponential_point<'a>(
        &mut self,
        field: &Field<'a>,
    ) -> Result<ExponentialPoint<'a>, WireError> {
        let mut reader = self.open(field)?;
        let mut point = ExponentialPoint::default();
        while let Some(field) = reader.field()? {
            match field.number {
                1 => point.attributes.push(self.attribute(&field)?),
                2 => point.start_time_unix_nano = Unsigned(field.fixed()?),
                3 => point.time_unix_nano = Unsigned(field.fixed()?),
                4 => point.count = Unsigned(field.fixed()?),
                5 => point.sum = Some(Double(field.double()?)),
                6 => point.scale = native::signed(field.unsigned()?) as i32,
                7 => point.zero_count = Unsigned(field.fixed()?),
                8 => point.positive = self.buckets(&field)?,
                9 => point.negative = self.buckets(&field)?,
                10 => point.flags = field.unsigned()? as u32,
                11 => point.exemplars.push(self.exemplar(&field)?),
                14 => point.zero_threshold = Double(field.double()?),
                _ => {}
            }
        }
        Ok(point)
    }

    fn buckets(&mut self, field: &Field<'_>) -> Result<Buckets, WireError> {
        let mut reader = self.open(field)?;
        let mut buckets = Buckets::default();
        while let Some(field) = reader.field()? {
            match field.number {
                1 => buckets.offset = native::signed(field.unsigned()?) as i32,
                2 => {
                    let counts = &mut buckets.bucket_counts;
                    field.each_unsigned(|count| {
                        counts.push(Unsigned(count));
                        field.within(counts.len(), MAX_BUCKETS, "buckets of one side")
                    })?;
                }
                _ => {}
            }
        }
        Ok(buckets)
    }

    fn exemplar<'a>(&mut self, field: &Field<'a>) -> Result<Exemplar<'a>, WireError> {
        let mut reader = self.open(field)?;
        let mut exemplar = Exemplar::default();
        while let Some(field) = reader.field()? {
            match field.number {
                2 => exemplar.time_unix_nano = Unsigned(field.fixed()?),
                3 => exemplar.as_double = Some(Double(field.double()?)),
                4 => exemplar.span_id = hex(field.bytes()?).into(),
                5 => exemplar.trace_id = hex(field.bytes()?).into(),
                6 => exemplar.as_int = Some(Signed(field.fixed()? as i64)),
                7 => {
                    let attribute = self.attribute(&field)?;
                    exemplar.filtered_attributes.push(attribute);
                }
                _ => {}
            }
        }
        Ok(exemplar)
    }

    fn summary<'a>(&mut self, field: &Field<'a>) -> Result<Summary<'a>, WireError> {
        let mut reader = self.open(field)?;
        let mut summary = Summary::default();
        while let Some(field) = reader.field()? {
            if field.number == 1 {
                summary.data_points.push(self.summary_point(&field)?);
            }
        }
        Ok(summary)
    }

    fn number<'a>(&mut self, field: &Field<'a>) -> Result<NumberPoint<'a>, WireError> {
        let mut reader = self.open(field)?;
        let mut point = NumberPoint::default();
        while let Some(field) = reader.field()? {
            match field.number {
                2 => point.start_time_unix_nano = Unsigned(field.fixed()?),
                3 => point.time_unix_nano = Unsigned(field.fixed()?),
                4 => point.as_double = Some(Double(field.double()?)),
                5 => point.exemplars.push(self.exemplar(&field)?),
                6 => point.as_int = Some(Signed(field.fixed()? as i64)),
                7 => point.attributes.push(self.attribute(&field)?),
                8 => point.flags = field.unsigned()? as u32,
                _ => {}
            }
        }
        Ok(point)
    }

    fn histogram_point<'a>(&mut self, field: &Field<'a>) -> Result<HistogramPoint<'a>, WireError> {
        let mut reader = self.open(field)?;
        let mut point = HistogramPoint::default();
        while let Some(field) = reader.field()? {
            match field.number {
                2 => point.start_time_unix_nano = Unsigned(field.fixed()?),
                3 => point.time_unix_nano = Unsigned(field.fixed()?),
                4 => point.count = Unsigned(field.fixed()?),
                5 => point.sum = Some(Double(field.double()?)),
                6 => field.each_fixed(|bits| point.bucket_counts.push(Unsigned(bits)))?,
                7 => field.each_fixed(|bits| {
                    point.explicit_bounds.push(Double(f64::from_bits(bits)));
                })?,
                8 => point.exemplars.push(self.exemplar(&field)?),
                9 => point.attributes.push(self.attribute(&field)?),
                10 => point.flags = field.unsigned()? as u32,
                _ => {}
            }
        }
        Ok(point)
    }

    fn summary_point<'a>(&mut self, field: &Field<'a>) -> Result<SummaryPoint<'a>, WireError> {
        let mut reader = self.open(field)?;
        let mut point = SummaryPoint::default();
        while let Some(field) = reader.field()? {
            match field.number {
                2 => point.start_time_unix_nano = Unsigned(field.fixed()?),
                3 => point.time_unix_nano = Unsigned(field.fixed()?),
                4 => point.count = Unsigned(field.fixed()?),
                5 => point.sum = Double(field.double()?),
                6 => point.quantile_values.push(self.quantile(&field)?),
                7 => point.attributes.push(self.attribute(&field)?),
                8 => point.flags = field.unsigned()? as u32,
                _ => {}
            }
        }
        Ok(point)
    }

    fn quantile(&mut self, field: &Field<'_>) -> Result<Quantile, WireError> {
        let mut reader = self.open(field)?;
        let mut quantile = Quantile::default();
        while let Some(field) = reader.field()? {
            match field.number {
                1 => quantile.quantile = Double(field.double()?),
                2 => quantile.value = Double(field.double()?),
                _ => {}
            }
        }
        Ok(quantile)
    }

    fn attribute<'a>(&mut self, field: &Field<'a>) -> Result<Attribute<'a>, WireError> {
        self.key_value(field, NESTED_MAX).map(Attribute::from)
    }

    fn key_value<'a>(
        &mut self,
        field: &Field<'a>,
        deeper: usize,
    ) -> Result<KeyValue<'a>, WireError> {
        let mut reader = self.open(field)?;
        let mut pair = KeyValue::default();
        while let Some(field) = reader.field()? {
            match field.number {
                1 => pair.key = Cow::Borrowed(field.text()?),
                2 => pair.value = self.any(&field, deeper)?,
                _ => {}
            }
        }
        Ok(pair)
    }

    fn any<'a>(&mut self, field: &Field<'a>, deeper: usize) -> Result<Any<'a>, WireError> {
        field.within(NESTED_MAX + 1 - deeper, NESTED_MAX, "values within another")?;
        let deeper = deeper.saturating_sub(1);
        let mut reader = self.open(field)?;
        let mut any = Any::Empty;
        while let Some(field) = reader.field()? {
            any = match field.number {
                1 => Any::Text(Cow::Borrowed(field.text()?)),
                2 => Any::Bool(field.unsigned()? != 0),
                3 => Any::Int(field.signed()?),
                4 => Any::Double(field.double()?),
                5 => {
                    let mut values = Vec::new();
                    let mut list = self.open(&field)?;
                    while let Some(field) = list.field()? {
                        if field.number == 1 {
                            values.push(self.any(&field, deeper)?);
                        }
                    }
                    Any::List(values)
                }
                6 => {
                    let mut pairs = Vec::new();
                    let mut list = self.open(&field)?;
                    while let Some(field) = list.field()? {
                        if field.number == 1 {
                            pairs.push(self.key_value(&field, deeper)?);
                        }
                    }
                    Any::Map(pairs)
                }
                7 => Any::bytes(field.bytes()?),
                _ => any,
            };
        }
        Ok(any)
    }
}
