//! Requests of remote write: what [`write`](crate::write) reads, written.

use std::{collections::HashMap, sync::Arc};

use mainstay_tsdb::{Histogram, Labels};

use super::MessageKind;
use crate::{
    metadata::{Described, Kind},
    native,
    wire::put::Put,
};

/// A sample that is sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    pub(crate) labels: Labels,
    pub(crate) at_ms: i64,
    /// Of no meaning where it is a histogram.
    pub(crate) value: f64,
    pub(crate) histogram: Option<Arc<Histogram>>,
}

/// The media type of a message.
pub(crate) fn media(kind: MessageKind) -> &'static str {
    match kind {
        MessageKind::V1 => "application/x-protobuf",
        MessageKind::V2 => "application/x-protobuf;proto=io.prometheus.write.v2.Request",
    }
}

/// What `X-Prometheus-Remote-Write-Version` says.
pub(crate) fn version(kind: MessageKind) -> &'static str {
    match kind {
        MessageKind::V1 => "0.1.0",
        MessageKind::V2 => "2.0.0",
    }
}

/// A request with these samples, packed; samples of a series stand together, in their order.
pub(crate) fn request(
    kind: MessageKind,
    items: &[Item],
    described: impl Fn(&str) -> Option<Arc<Described>>,
) -> Vec<u8> {
    let message = match kind {
        MessageKind::V1 => first(items),
        MessageKind::V2 => second(items, described),
    };
    packed(message.as_bytes())
}

/// A request of remote write 1.0 that only describes metrics.
pub(crate) fn descriptions<'a>(all: impl Iterator<Item = &'a Described>) -> Vec<u8> {
    let mut request = Put::default();
    for it in all {
        let mut metadata = Put::default();
        metadata.unsigned(1, number(it.family.kind));
        metadata.text(2, &it.name);
        metadata.text(4, &it.family.help);
        metadata.text(5, &it.family.unit);
        request.message(3, &metadata);
    }
    packed(request.as_bytes())
}

fn packed(message: &[u8]) -> Vec<u8> {
    // Only what is longer than 4 GiB cannot be packed, and requests are bounded far below.
    snap::raw::Encoder::new()
        .compress_vec(message)
        .unwrap_or_default()
}

/// Series in the order of their first samples.
fn by_series(items: &[Item]) -> Vec<(&Labels, Vec<&Item>)> {
    let mut places: HashMap<&Labels, usize> = HashMap::new();
    let mut series: Vec<(&Labels, Vec<&Item>)> = Vec::new();
    for item in items {
        let place = *places.entry(&item.labels).or_insert_with(|| {
            series.push((&item.labels, Vec::new()));
            series.len() - 1
        });
        if let Some((_, samples)) = series.get_mut(place) {
            samples.push(item);
        }
    }
    series
}

/// Histograms are told in the field of this number.
fn put_samples(message: &mut Put, samples: &[&Item], histograms: u32) {
    let mut sample = Put::default();
    for item in samples {
        if let Some(histogram) = &item.histogram {
            message.message(histograms, &native::message(item.at_ms, histogram));
            continue;
        }
        sample.clear();
        sample.double(1, item.value);
        sample.signed(2, item.at_ms);
        message.message(2, &sample);
    }
}

/// `prometheus.WriteRequest`.
fn first(items: &[Item]) -> Put {
    let mut request = Put::default();
    for (labels, samples) in by_series(items) {
        let mut series = Put::default();
        for (name, value) in labels {
            let mut label = Put::default();
            label.text(1, name);
            label.text(2, value);
            series.message(1, &label);
        }
        put_samples(&mut series, &samples, 4);
        request.message(1, &series);
    }
    request
}

/// Texts of a message, each once; the first is the empty one.
#[derive(Default)]
struct Symbols<'a> {
    places: HashMap<&'a str, u32>,
    all: Vec<&'a str>,
}

impl<'a> Symbols<'a> {
    fn place(&mut self, text: &'a str) -> u32 {
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        let place = self.all.len() as u32;
        self.all.push(text);
        self.places.insert(text, place);
        place
    }
}

/// `io.prometheus.write.v2.Request`.
fn second(items: &[Item], described: impl Fn(&str) -> Option<Arc<Described>>) -> Put {
    let series = by_series(items);
    let families: Vec<Option<Arc<Described>>> = series
        .iter()
        .map(|(labels, _)| described(labels.metric_name().unwrap_or_default()))
        .collect();
    let mut symbols = Symbols::default();
    symbols.place("");
    let mut all = Put::default();
    for ((labels, samples), family) in series.iter().zip(&families) {
        let mut message = Put::default();
        let references = labels.iter().flat_map(|(name, value)| [name, value]);
        let references: Vec<u32> = references.map(|text| symbols.place(text)).collect();
        message.packed(1, &references);
        put_samples(&mut message, samples, 3);
        if let Some(family) = family {
            let mut metadata = Put::default();
            let family = &family.family;
            metadata.unsigned(1, number(family.kind));
            metadata.unsigned(3, u64::from(symbols.place(&family.help)));
            metadata.unsigned(4, u64::from(symbols.place(&family.unit)));
            message.message(5, &metadata);
        }
        all.message(5, &message);
    }
    let mut request = Put::default();
    for symbol in symbols.all {
        request.text(4, symbol);
    }
    request.append(&all);
    request
}

fn number(kind: Kind) -> u64 {
    match kind {
        Kind::Unknown => 0,
        Kind::Counter => 1,
        Kind::Gauge => 2,
        Kind::Histogram => 3,
        Kind::GaugeHistogram => 4,
        Kind::Summary => 5,
        Kind::Info => 6,
        Kind::StateSet => 7,
    }
}

#[cfg(test)]
mod tests {
    use mainstay_tsdb::{BucketCounts, BucketSpan, ResetHint, Tally};

    use super::*;
    use crate::metadata::Family;
    use crate::write::{Protocol, Series, Sink, decode, unpacked};

    #[derive(Default)]
    struct Heard {
        series: Vec<String>,
        histograms: Vec<(i64, Histogram)>,
        metadata: Vec<String>,
    }

    impl Sink for Heard {
        fn series(&mut self, series: &Series<'_>) {
            assert_eq!(series.broken, None);
            let samples = series.samples.iter();
            let samples: Vec<_> = samples.map(|it| (it.at_ms, it.value)).collect();
            for sent in &series.histograms {
                let histogram = sent.histogram.clone().unwrap().unwrap();
                self.histograms.push((sent.at_ms, histogram));
            }
            self.series.push(format!("{:?} {samples:?}", series.labels));
        }
        fn metadata(&mut self, name: &str, family: Family<'_>) {
            let Family { kind, help, unit } = family;
            self.metadata
                .push(format!("{name} {} {help} {unit}", kind.word()));
        }
    }

    fn item(job: &str, at_ms: i64) -> Item {
        let labels = Labels::from_pairs([("__name__", "hits_total"), ("job", job)]).unwrap();
        Item {
            labels,
            at_ms,
            value: 1.5,
            histogram: None,
        }
    }

    #[test]
    fn both_messages_read_back_with_a_series_samples_together() {
        let mut items = [item("a", 1), item("b", 2), item("a", 3), item("b", 4)];
        let histogram = Histogram {
            schema: -2,
            hint: ResetHint::Gauge,
            start_ms: 3,
            zero_threshold: 0.5,
            sum: -1.5,
            positive: [BucketSpan { offset: -7, len: 2 }].into(),
            negative: [BucketSpan { offset: 1, len: 1 }].into(),
            counts: BucketCounts::Whole(Tally {
                count: 11,
                zero: 1,
                positive: vec![7, 1],
                negative: vec![2],
            }),
            ..Histogram::default()
        };
        items[3].histogram = Some(Arc::new(histogram.clone()));
        let described = Arc::new(Described {
            name: "hits_total".into(),
            family: Family {
                kind: Kind::Counter,
                help: "Hits.".into(),
                unit: "".into(),
            },
        });
        for (kind, protocol) in [
            (MessageKind::V1, Protocol::V1),
            (MessageKind::V2, Protocol::V2),
        ] {
            let body = request(kind, &items, |_| Some(Arc::clone(&described)));
            let mut heard = Heard::default();
            unpacked(&body, |message| decode(protocol, message, &mut heard)).unwrap();
            let name = r#"("__name__", "hits_total")"#;
            assert_eq!(
                heard.series,
                [
                    format!(r#"[{name}, ("job", "a")] [(1, 1.5), (3, 1.5)]"#),
                    format!(r#"[{name}, ("job", "b")] [(2, 1.5)]"#),
                ]
            );
            assert_eq!(heard.histograms, [(4, histogram.clone())]);
            let times = usize::from(kind == MessageKind::V2) * 2;
            assert_eq!(heard.metadata, vec!["hits_total counter Hits. "; times]);
        }
        let mut heard = Heard::default();
        let body = descriptions([&*described].into_iter());
        unpacked(&body, |message| decode(Protocol::V1, message, &mut heard)).unwrap();
        assert_eq!(heard.metadata, ["hits_total counter Hits. "]);
    }
}
