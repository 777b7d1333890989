use proptest::prelude::*;

use mainstay_core::Time;
use mainstay_tsdb::{BucketCounts, BucketSpan, HistogramFault, ResetHint, Tally};

use super::*;
use crate::{delivery::Delivery, metadata::Metadata, parcel::Parcel, wire::tests::Message};

/// Keeps everything, as text.
#[derive(Default)]
struct Kept(Vec<String>);

impl Sink for Kept {
    fn series(&mut self, series: &Series<'_>) {
        self.0.push(format!("{series:?}"));
    }
    fn metadata(&mut self, name: &str, family: Family<'_>) {
        let Family { kind, help, unit } = family;
        self.0.push(format!("{name} {} {help} {unit}", kind.word()));
    }
}

fn label(name: &str, value: &str) -> Message {
    Message::default().bytes(1, name).bytes(2, value)
}

fn point(value: f64, at_ms: i64) -> Message {
    Message::default().double(1, value).uint(2, at_ms as u64)
}

fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

/// A histogram of whole counts: three observations in two buckets from 2 upwards, and one in the zero bucket.
fn native() -> Message {
    let span = Message::default().uint(1, zigzag(2)).uint(2, 2);
    Message::default()
        .uint(1, 4)
        .double(3, 7.5)
        .uint(4, zigzag(-1))
        .double(5, 0.001)
        .uint(6, 1)
        .nested(11, span)
        .packed(12, [zigzag(1), zigzag(1)])
        .uint(14, 1)
        .uint(15, 9)
        .uint(17, 5)
}

/// Custom buckets, whose counts need not be whole.
fn custom() -> Message {
    let le_bytes =
        |numbers: &[f64]| -> Vec<u8> { numbers.iter().flat_map(|it| it.to_le_bytes()).collect() };
    Message::default()
        .double(2, 3.5)
        .double(3, 1.0)
        .uint(4, zigzag(-53))
        .nested(11, Message::default().uint(2, 2))
        .bytes(13, le_bytes(&[1.5, 2.0]))
        .uint(15, 9)
        .bytes(16, le_bytes(&[0.5]))
}

fn histograms() -> Vec<SentHistogram> {
    let whole = Histogram {
        schema: -1,
        hint: ResetHint::Reset,
        start_ms: 5,
        zero_threshold: 0.001,
        sum: 7.5,
        positive: [BucketSpan { offset: 2, len: 2 }].into(),
        counts: BucketCounts::Whole(Tally {
            count: 4,
            zero: 1,
            positive: vec![1, 2],
            negative: Vec::new(),
        }),
        ..Histogram::default()
    };
    let real = Histogram {
        schema: -53,
        sum: 1.0,
        positive: [BucketSpan { offset: 0, len: 2 }].into(),
        bounds: [0.5].into(),
        counts: BucketCounts::Real(Tally {
            count: 3.5,
            positive: vec![1.5, 2.0],
            ..Tally::default()
        }),
        ..Histogram::default()
    };
    let sent = |histogram| SentHistogram {
        at_ms: 9,
        histogram: Ok(Some(histogram)),
    };
    vec![sent(whole), sent(real)]
}

/// `up{job="a"}` with two samples, one of them before 1970, two histograms and an exemplar; and metadata.
fn first() -> Message {
    let series = Message::default()
        .nested(1, label("__name__", "up"))
        .nested(1, label("job", "a"))
        .nested(2, point(1.5, -1))
        .nested(2, point(2.0, 7))
        .nested(3, exemplar(|it| it.nested(1, label("trace_id", "a"))))
        .nested(4, native())
        .nested(4, custom());
    let about = Message::default()
        .uint(1, 1)
        .bytes(2, "up")
        .bytes(4, "Is it?")
        .bytes(5, "s");
    Message::default().nested(1, series).nested(3, about)
}

/// The same in the second protocol, with symbols at the end.
fn second() -> Message {
    let series = Message::default()
        .packed(1, [1, 2, 3, 4])
        .nested(2, point(1.5, -1))
        .nested(2, point(2.0, 7).uint(3, 5))
        .nested(3, native())
        .nested(3, custom())
        .nested(4, exemplar(|it| it.packed(1, [7, 4])))
        .nested(5, Message::default().uint(1, 1).uint(3, 5).uint(4, 6));
    let request = Message::default().nested(5, series);
    let symbols = ["", "__name__", "up", "job", "a", "Is it?", "s", "trace_id"];
    symbols
        .into_iter()
        .fold(request, |request, it| request.bytes(4, it))
}

fn kept(protocol: Protocol, message: &Message) -> Result<Vec<String>, WireError> {
    let mut kept = Kept::default();
    decode(protocol, &message.0, &mut kept).map(|()| kept.0)
}

#[test]
fn both_protocols_say_the_same() {
    let mut expected = Series {
        labels: vec![("__name__", "up"), ("job", "a")],
        broken: None,
        samples: [(1.5, -1), (2.0, 7)]
            .map(|(value, at_ms)| Sample {
                value,
                at_ms,
                start_ms: None,
            })
            .to_vec(),
        histograms: histograms(),
        exemplars: vec![SentExemplar::new([("trace_id", "a")], 0.5, Some(7))],
    };
    let about = "up counter Is it? s".to_owned();
    let told = kept(Protocol::V1, &first()).unwrap();
    assert_eq!(told, [format!("{expected:?}"), about.clone()]);
    expected.samples[1].start_ms = Some(5);
    let told = kept(Protocol::V2, &second()).unwrap();
    assert_eq!(told, [format!("{expected:?}"), about]);
}

fn exemplar(labels: impl FnOnce(Message) -> Message) -> Message {
    labels(Message::default()).double(2, 0.5).uint(3, 7)
}

#[test]
fn a_histogram_that_makes_no_sense_says_why_and_one_without_a_sum_any_more_ends_its_series() {
    let sent = |histogram: Message| {
        let series = Message::default().nested(4, histogram);
        let mut kept = Histograms::default();
        decode(
            Protocol::V1,
            &Message::default().nested(1, series).0,
            &mut kept,
        )
        .unwrap();
        kept.0.remove(0).histogram
    };
    let few = native().uint(1, 9);
    let fault = HistogramFault::Sum {
        buckets: 4,
        count: 9,
    };
    assert_eq!(sent(few), Err(fault));
    let falling = native().packed(12, [zigzag(-5)]);
    assert_eq!(sent(falling), Err(HistogramFault::Count(-3.0)));
    let ended = Message::default().double(3, mainstay_tsdb::stale_marker());
    assert_eq!(sent(ended), Ok(None));
}

#[derive(Default)]
struct Histograms(Vec<SentHistogram>);

impl Sink for Histograms {
    fn series(&mut self, series: &Series<'_>) {
        self.0.extend(series.histograms.clone());
    }
    fn metadata(&mut self, _: &str, _: Family<'_>) {}
}

#[test]
fn a_reference_to_nothing_breaks_its_series_and_no_other() {
    let series = |refs: &[u64]| Message::default().packed(1, refs.iter().copied());
    let message = Message::default()
        .bytes(4, "")
        .bytes(4, "a")
        .nested(5, series(&[1, 2]))
        .nested(5, series(&[1]))
        .nested(5, series(&[1, 1]));
    let told = kept(Protocol::V2, &message).unwrap();
    assert!(told[0].contains("Beyond"), "{told:?}");
    assert!(told[1].contains("Odd"), "{told:?}");
    assert!(
        told[2].contains(r#"[("a", "a")], broken: None"#),
        "{told:?}"
    );
}

#[test]
fn the_headers_choose_the_protocol_or_are_refused() {
    let of = |content, encoding| Protocol::of(content, encoding).ok();
    let v1 = "application/x-protobuf;proto=prometheus.WriteRequest";
    let v2 = "Application/X-Protobuf; proto=\"io.prometheus.write.v2.Request\"";
    assert_eq!(of("application/x-protobuf", ""), Some(Protocol::V1));
    assert_eq!(of(v1, "snappy"), Some(Protocol::V1));
    assert_eq!(of(v2, "Snappy"), Some(Protocol::V2));
    for (content, encoding) in [
        ("", "snappy"),
        ("text/plain", "snappy"),
        (
            "application/x-protobuf;proto=prometheus.ReadRequest",
            "snappy",
        ),
        (v1, "gzip"),
        (v2, "zstd"),
    ] {
        assert_eq!(of(content, encoding), None, "{content} {encoding}");
    }
}

#[test]
fn a_body_that_unpacks_to_too_much_is_refused_before_it_is_unpacked() {
    let bomb = [0xff, 0xff, 0xff, 0xff, 0x03, 0x00];
    let unpack = |body: &[u8]| unpacked(body, |message| Ok(message.to_vec()));
    let error = unpack(&bomb).unwrap_err();
    assert_eq!(
        error,
        BodyError::TooLong {
            bytes: (1 << 30) - 1
        }
    );
    assert!(matches!(unpack(b"\x05ab"), Err(BodyError::Snappy(_))));
    let packed = snap::raw::Encoder::new().compress_vec(&first().0).unwrap();
    assert_eq!(unpack(&packed).unwrap(), first().0);
}

#[test]
fn a_message_cut_anywhere_inside_a_field_is_refused_at_a_byte_inside_it() {
    for (protocol, message) in [(Protocol::V1, first()), (Protocol::V2, second())] {
        let whole = kept(protocol, &message).unwrap();
        for end in 0..message.0.len() {
            match kept(protocol, &Message(message.0[..end].to_vec())) {
                Ok(told) => assert!(told.len() < whole.len() || protocol == Protocol::V2),
                Err(error) => assert!(error.at <= end, "{error}"),
            }
        }
    }
}

fn delivery() -> Delivery {
    Delivery::new(Time::from_millis(1_000_000), Metadata::default())
}

/// Hands every series over field by field.
struct FieldByField(Delivery);

impl Sink for FieldByField {
    fn series(&mut self, series: &Series<'_>) {
        self.0.series(series);
    }
    fn metadata(&mut self, name: &str, family: Family<'_>) {
        self.0.metadata(name, family);
    }
}

/// Labels and points of all that would be written.
fn listed(delivery: Delivery) -> Vec<(String, Vec<(i64, u64)>)> {
    let parcels = delivery.samples.finish();
    let items = parcels.iter().flat_map(Parcel::items);
    let bits = |(at_ms, value): &(i64, f64)| (*at_ms, value.to_bits());
    items
        .map(|it| {
            (
                it.key.labels().to_string(),
                it.points.iter().map(bits).collect(),
            )
        })
        .collect()
}

/// Series as senders write them, mostly: sorted or not, with names or without, with zeros left out or not, too early
/// ones among them.
fn any_series() -> impl Strategy<Value = Message> {
    let name = prop::sample::select(vec!["__name__", "a", "b", "é", ""]);
    let value = prop_oneof!["[a-zé]{0,3}", "[a-z]{126,130}"];
    let labels = prop::collection::vec((name, value), 0..4);
    let time = prop_oneof![Just(0), 1_i64..2_000_000, any::<i64>()];
    let number = prop_oneof![Just(0.0), Just(-0.0), any::<f64>()];
    let samples = prop::collection::vec((time, number), 0..3);
    (labels, samples, any::<bool>(), any::<bool>()).prop_map(
        |(mut labels, samples, named, zeros)| {
            if named {
                labels.insert(0, ("__name__", "up".to_owned()));
                labels.sort();
                labels.dedup_by_key(|label| label.0);
            }
            let labels = labels.iter().map(|(name, value)| label(name, value));
            let series = labels.fold(Message::default(), |it, label| it.nested(1, label));
            samples.into_iter().fold(series, |it, (at_ms, value)| {
                let sample = Message::default();
                let sample = if zeros || value.to_bits() != 0 {
                    sample.double(1, value)
                } else {
                    sample
                };
                let sample = if zeros || at_ms != 0 {
                    sample.uint(2, at_ms as u64)
                } else {
                    sample
                };
                it.nested(2, sample)
            })
        },
    )
}

/// Name and value of a label, and times and values of samples, bit by bit.
type Sent = (String, String, Vec<(i64, u64)>);

proptest! {
    #[test]
    fn random_bytes_and_random_damage_never_panic(
        noise in prop::collection::vec(any::<u8>(), 0..200),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let _ = unpacked(&noise, |message| Ok(message.len()));
        for (protocol, message) in [(Protocol::V1, first()), (Protocol::V2, second())] {
            let _ = kept(protocol, &Message(noise.clone()));
            let mut damaged = message.0;
            let at = at.index(damaged.len());
            damaged[at] = byte;
            if let Err(error) = kept(protocol, &Message(damaged.clone())) {
                prop_assert!(error.at <= damaged.len());
            }
        }
    }

    #[test]
    fn a_series_read_in_one_go_is_the_same_as_read_field_by_field(
        all in prop::collection::vec(any_series(), 0..5),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        damage in any::<bool>(),
    ) {
        let request = all.into_iter().fold(Message::default(), |it, series| it.nested(1, series));
        let mut message = request.0;
        if damage && !message.is_empty() {
            let at = at.index(message.len());
            message[at] = byte;
        }
        let mut at_once = delivery();
        let read = decode(Protocol::V1, &message, &mut at_once);
        let mut slowly = FieldByField(delivery());
        prop_assert_eq!(decode(Protocol::V1, &message, &mut slowly), read);
        if read.is_ok() {
            prop_assert_eq!(at_once.refused.text(), slowly.0.refused.text());
            prop_assert_eq!(listed(at_once), listed(slowly.0));
        }
    }

    #[test]
    fn what_is_written_is_what_is_read(
        sent in prop::collection::vec(
            ("[a-z]{1,5}", "\\PC{0,6}", prop::collection::vec((any::<i64>(), any::<u64>()), 0..4)), 0..6)
    ) {
        let mut request = Message::default();
        for (name, value, samples) in &sent {
            let series = Message::default().nested(1, label(name, value));
            let series = samples.iter().fold(series, |series, (at_ms, bits)| {
                series.nested(2, point(f64::from_bits(*bits), *at_ms))
            });
            request = request.nested(1, series);
        }
        #[derive(Default)]
        struct Bits(Vec<Sent>);
        impl Sink for Bits {
            fn series(&mut self, series: &Series<'_>) {
                let (name, value) = series.labels[0];
                let samples = series.samples.iter().map(|it| (it.at_ms, it.value.to_bits()));
                self.0.push((name.to_owned(), value.to_owned(), samples.collect()));
            }
            fn metadata(&mut self, _: &str, _: Family<'_>) {}
        }
        let mut read = Bits::default();
        decode(Protocol::V1, &request.0, &mut read).unwrap();
        prop_assert_eq!(read.0, sent);
    }
}
