//! The protobuf exposition format: metric families, each with its length before it.
//!
//! Guarantees: the same exposition as of the text formats, or a refusal with its byte; bounds of buckets and
//! quantiles are written as OpenMetrics writes them. Whether native histograms are read, and classic buckets beside
//! them, is asked for; where they are not, they are counted. Exemplars of a native histogram are read where they say
//! their time, as Prometheus does.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod histogram;

use std::{borrow::Cow, sync::Arc};

use histogram::{Histogram, exemplar};

use crate::{
    exemplars::SentExemplar,
    metadata::Kind,
    text::{Exposition, Extra, Natives, Number, Sample, TextLimits},
    wire::{Field, Reader, WireError, WireErrorKind},
};

/// The content type, without its parameters.
pub const MEDIA_TYPE: &str = "application/vnd.google.protobuf";

/// Reads a whole body.
pub fn scan<'a>(body: &'a [u8], limits: &TextLimits) -> Result<Exposition<'a>, WireError> {
    let mut stream = Reader::new(body);
    let mut families = Families {
        limits,
        seen: Exposition::default(),
    };
    while !stream.is_empty() {
        families.family(stream.delimited()?)?;
    }
    Ok(families.seen)
}

struct Families<'a, 'l> {
    limits: &'l TextLimits,
    seen: Exposition<'a>,
}

/// What every sample of one metric shares.
struct Metric<'a> {
    family: &'a str,
    labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    timestamp_ms: Option<i64>,
}

impl<'a> Metric<'a> {
    fn sample(&self, suffix: &str, value: f64, extra: Option<(&'static str, f64)>) -> Sample<'a> {
        let mut labels = self.labels.clone();
        labels.extend(extra.map(|(name, bound)| (name.into(), open_number(bound).into())));
        Sample {
            name: if suffix.is_empty() {
                self.family.into()
            } else {
                format!("{}{suffix}", self.family).into()
            },
            labels,
            // A NaN with a payload would be a staleness marker.
            value: if value.is_nan() { f64::NAN } else { value },
            timestamp_ms: self.timestamp_ms,
            extra: None,
        }
    }
}

impl<'a> Families<'a, '_> {
    fn family(&mut self, message: Reader<'a>) -> Result<(), WireError> {
        let (mut name, mut help, mut unit, mut kind) = ("", "", "", Kind::Counter);
        let mut fields = message;
        while let Some(field) = fields.field()? {
            match field.number {
                1 => name = field.text()?,
                2 => help = field.text()?,
                3 => kind = declared(field.unsigned()?),
                5 => unit = field.text()?,
                _ => {}
            }
        }
        self.seen.types.insert(name.into(), kind);
        for (texts, text) in [(&mut self.seen.help, help), (&mut self.seen.units, unit)] {
            if !text.is_empty() {
                texts.insert(name.into(), text.into());
            }
        }
        let mut fields = message;
        while let Some(field) = fields.field()? {
            if field.number == 4 {
                self.metric((name, kind), &field)?;
            }
        }
        Ok(())
    }

    fn metric(
        &mut self,
        (family, kind): (&'a str, Kind),
        field: &Field<'a>,
    ) -> Result<(), WireError> {
        let mut metric = Metric {
            family,
            labels: Vec::new(),
            timestamp_ms: None,
        };
        let mut fields = field.message()?;
        while let Some(field) = fields.field()? {
            match field.number {
                1 => {
                    let over = limit("labels of one sample", self.limits.labels);
                    if metric.labels.len() >= self.limits.labels {
                        return Err(field.wrong(over));
                    }
                    metric.labels.push(label(field.message()?)?);
                }
                6 => metric.timestamp_ms = Some(field.signed()?).filter(|ms| *ms != 0),
                _ => {}
            }
        }
        let mut fields = field.message()?;
        while let Some(value) = fields.field()? {
            match value.number {
                2 | 3 | 5 => {
                    let (number, exemplars) = one_double(&value)?;
                    let mut sample = metric.sample("", number, None);
                    sample.extra = Extra::of(exemplars);
                    self.push(sample, &value)?;
                }
                4 => self.summary(&metric, &value)?,
                7 => self.histogram(&metric, &value, kind)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn push(&mut self, sample: Sample<'a>, at: &Field<'_>) -> Result<(), WireError> {
        if self.seen.samples.len() >= self.limits.samples {
            return Err(at.wrong(limit("samples", self.limits.samples)));
        }
        self.seen.samples.push(sample);
        Ok(())
    }

    fn summary(&mut self, metric: &Metric<'a>, at: &Field<'a>) -> Result<(), WireError> {
        let (mut count, mut sum) = (0, 0.0);
        let mut fields = at.message()?;
        while let Some(field) = fields.field()? {
            match field.number {
                1 => count = field.unsigned()?,
                2 => sum = field.double()?,
                3 => {
                    let (mut quantile, mut value) = (0.0, 0.0);
                    let mut inner = field.message()?;
                    while let Some(field) = inner.field()? {
                        match field.number {
                            1 => quantile = field.double()?,
                            2 => value = field.double()?,
                            _ => {}
                        }
                    }
                    let sample = metric.sample("", value, Some(("quantile", quantile)));
                    self.push(sample, &field)?;
                }
                _ => {}
            }
        }
        self.push(metric.sample("_sum", sum, None), at)?;
        self.push(metric.sample("_count", count as f64, None), at)
    }

    fn histogram(
        &mut self,
        metric: &Metric<'a>,
        at: &Field<'a>,
        kind: Kind,
    ) -> Result<(), WireError> {
        let read = Histogram::read(at.message()?, kind)?;
        let natives = self.limits.natives;
        let (is_native, has_classic) = (read.is_native, !read.classic.is_empty());
        let is_read = is_native && natives != Natives::PassedOver;
        let classic = !is_read || has_classic && natives == Natives::ReadWithClassic;
        if classic {
            self.classic(metric, &read, at)?;
        }
        if is_read {
            self.native(metric, read, at)
        } else {
            self.seen.native_histograms += u64::from(is_native);
            Ok(())
        }
    }

    fn native(
        &mut self,
        metric: &Metric<'a>,
        read: Histogram<'a>,
        at: &Field<'a>,
    ) -> Result<(), WireError> {
        match read.sent.histogram() {
            Ok(histogram) => {
                let mut sample = metric.sample("", f64::NAN, None);
                sample.extra = Some(Box::new(Extra {
                    histogram: Some(Arc::new(histogram)),
                    exemplars: read.exemplars,
                }));
                self.push(sample, at)
            }
            Err(fault) => {
                let (count, first) = &mut self.seen.invalid_histograms;
                *count += 1;
                first.get_or_insert(fault);
                Ok(())
            }
        }
    }

    fn classic(
        &mut self,
        metric: &Metric<'a>,
        read: &Histogram<'a>,
        at: &Field<'a>,
    ) -> Result<(), WireError> {
        let count = read.sent.real_count.unwrap_or(read.sent.count as f64);
        for (bound, below, exemplars, place) in &read.classic {
            let mut sample = metric.sample("_bucket", *below, Some(("le", *bound)));
            sample.extra = Extra::of(exemplars.clone());
            self.push(sample, place)?;
        }
        if !read.classic.iter().any(|it| it.0 == f64::INFINITY) {
            let last = metric.sample("_bucket", count, Some(("le", f64::INFINITY)));
            self.push(last, at)?;
        }
        self.push(metric.sample("_sum", read.sent.sum, None), at)?;
        self.push(metric.sample("_count", count, None), at)
    }
}

fn limit(what: &'static str, limit: usize) -> WireErrorKind {
    WireErrorKind::Limit { what, limit }
}

fn declared(number: u64) -> Kind {
    match number {
        0 => Kind::Counter,
        1 => Kind::Gauge,
        2 => Kind::Summary,
        4 => Kind::Histogram,
        5 => Kind::GaugeHistogram,
        _ => Kind::Unknown,
    }
}

fn label(mut fields: Reader<'_>) -> Result<(Cow<'_, str>, Cow<'_, str>), WireError> {
    let (mut name, mut value) = ("", "");
    while let Some(field) = fields.field()? {
        match field.number {
            1 => name = field.text()?,
            2 => value = field.text()?,
            _ => {}
        }
    }
    Ok((name.into(), value.into()))
}

/// The one value of a counter, a gauge or an untyped metric, and a counter's exemplar.
fn one_double(field: &Field<'_>) -> Result<(f64, Vec<SentExemplar>), WireError> {
    let (mut value, mut exemplars) = (0.0, Vec::new());
    let is_counter = field.number == 3;
    let mut fields = field.message()?;
    while let Some(field) = fields.field()? {
        match field.number {
            1 => value = field.double()?,
            2 if is_counter => exemplars = vec![exemplar(field.message()?)?],
            _ => {}
        }
    }
    Ok((value, exemplars))
}

/// A number as OpenMetrics writes it: always with a point or an exponent, the latter from a million on.
pub(crate) fn open_number(value: f64) -> String {
    let exponential = format!("{value:e}");
    let Some((digits, exponent)) = exponential.split_once('e') else {
        return Number(value).to_string();
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value != 0.0 && !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = value.to_string();
    if plain.contains('.') {
        plain
    } else {
        plain + ".0"
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use mainstay_tsdb::BucketCounts;

    use super::*;
    use crate::wire::tests::Message;

    fn label(name: &str, value: &str) -> Message {
        Message::default().bytes(1, name).bytes(2, value)
    }

    fn family(name: &str, kind: u64, metric: Message) -> Vec<u8> {
        let family = Message::default().bytes(1, name).bytes(2, "Help.");
        family.uint(3, kind).nested(4, metric).delimited()
    }

    fn bucket(below: u64, bound: f64) -> Message {
        Message::default().uint(1, below).double(2, bound)
    }

    fn body() -> Vec<u8> {
        let counter = Message::default()
            .nested(1, label("code", "200"))
            .nested(3, Message::default().double(1, 7.0))
            .uint(6, 1_500);
        let exemplar = |trace, value, seconds: Option<u64>| {
            let it = Message::default()
                .nested(1, label("trace_id", trace))
                .double(2, value);
            let time = |seconds| Message::default().uint(1, seconds).uint(2, 500_000_000);
            seconds.map_or(it.clone(), |seconds| it.nested(3, time(seconds)))
        };
        let second = Message::default().uint(1, 1);
        let histogram = Message::default()
            .uint(1, 4)
            .double(2, 1.5)
            .nested(3, bucket(3, 1.0).nested(3, exemplar("c", 0.75, Some(2))))
            .uint(5, 4)
            .nested(12, Message::default().uint(1, 1).uint(2, 2))
            .packed(13, [2, 4])
            .nested(16, exemplar("x", 0.5, None))
            .nested(16, exemplar("d", 0.25, None).nested(3, second));
        let summary = Message::default()
            .uint(1, 2)
            .double(2, 3.0)
            .nested(3, Message::default().double(1, 0.5).double(2, f64::NAN));
        [
            family("hits_total", 0, counter),
            family("seconds", 4, Message::default().nested(7, histogram)),
            family("rpc", 2, Message::default().nested(4, summary)),
        ]
        .concat()
    }

    #[test]
    fn families_of_every_kind_are_read() {
        let body = body();
        let seen = scan(&body, &TextLimits::default()).unwrap();
        let samples: Vec<String> = seen.samples.iter().map(ToString::to_string).collect();
        assert_eq!(
            samples,
            [
                "hits_total{code=\"200\"} 7 1500",
                "seconds_bucket{le=\"1.0\"} 3",
                "seconds_bucket{le=\"+Inf\"} 4",
                "seconds_sum 1.5",
                "seconds_count 4",
                "rpc{quantile=\"0.5\"} NaN",
                "rpc_sum 3",
                "rpc_count 2",
            ]
        );
        assert_eq!(
            (seen.native_histograms, seen.types["rpc"]),
            (1, Kind::Summary)
        );
        let exemplars = |at: usize| {
            seen.samples[at]
                .extra
                .as_ref()
                .map(|it| it.exemplars.clone())
        };
        let of_bucket = SentExemplar::new([("trace_id", "c")], 0.75, Some(2_500));
        assert_eq!(exemplars(1), Some(vec![of_bucket]));
        assert_eq!(exemplars(2), None);
        let few = TextLimits {
            samples: 3,
            ..TextLimits::default()
        };
        let error = scan(&body, &few).unwrap_err().to_string();
        assert!(error.ends_with("more than 3 samples"), "{error}");
    }

    #[test]
    fn native_histograms_are_read_where_that_is_asked_for() {
        let body = body();
        let read = |natives| {
            let limits = TextLimits {
                natives,
                ..TextLimits::default()
            };
            let seen = scan(&body, &limits).unwrap();
            let names = seen
                .samples
                .iter()
                .filter(|it| it.name.starts_with("seconds"));
            let names: Vec<String> = names.map(|it| it.name.to_string()).collect();
            let native = seen.samples.iter().find(|it| it.name == "seconds");
            (names, native.and_then(|it| it.extra.clone()))
        };
        let (names, extra) = read(Natives::Read);
        assert_eq!(names, ["seconds"]);
        let extra = extra.unwrap();
        let histogram = extra.histogram.unwrap();
        assert_eq!((histogram.schema, histogram.sum), (2, 1.5));
        let BucketCounts::Whole(tally) = &histogram.counts else {
            panic!("whole counts");
        };
        assert_eq!((tally.count, &tally.positive[..]), (4, &[1, 3][..]));
        // The one without a time is left out.
        let timed = SentExemplar::new([("trace_id", "d")], 0.25, Some(1_000));
        assert_eq!(extra.exemplars, [timed]);
        let (names, _) = read(Natives::ReadWithClassic);
        let both = [
            "seconds_bucket",
            "seconds_bucket",
            "seconds_sum",
            "seconds_count",
            "seconds",
        ];
        assert_eq!(names, both);
    }

    #[test]
    fn numbers_are_written_as_openmetrics_writes_them() {
        for (value, text) in [
            (1.0, "1.0"),
            (0.0, "0.0"),
            (0.25, "0.25"),
            (100_000.0, "100000.0"),
            (1e6, "1e+06"),
            (1.5e-5, "1.5e-05"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(open_number(value), text);
        }
    }

    proptest! {
        #[test]
        fn random_bytes_and_random_damage_never_panic(
            noise in prop::collection::vec(any::<u8>(), 0..100),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let _ = scan(&noise, &TextLimits::default());
            let mut damaged = body();
            let at = at.index(damaged.len());
            damaged[at] = byte;
            if let Err(error) = scan(&damaged, &TextLimits::default()) {
                prop_assert!(error.at <= damaged.len());
            }
        }
    }
}
