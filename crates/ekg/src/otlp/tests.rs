use std::collections::BTreeMap;

use mainstay_core::Time;
use mainstay_tsdb::{BucketCounts, Histogram};
use proptest::prelude::*;

use super::*;
use crate::{
    delivery::Delivery,
    metadata::Metadata,
    parcel::{Item, Parcel},
    wire::tests::Message,
};

/// A second after the points of the tests.
const NOW: Time = Time::from_millis(1_700_000_011_000);
/// When they began, and when they were taken.
const START: u64 = 1_700_000_000_000_000_000;
const AT: u64 = 1_700_000_010_000_000_000;

fn text(value: &str) -> Message {
    Message::default().bytes(1, value)
}

fn pair(key: &str, value: Message) -> Message {
    Message::default().bytes(1, key).nested(2, value)
}

fn fixed(message: Message, field: u64, value: u64) -> Message {
    message.double(field, f64::from_bits(value))
}

/// A point of a number, taken at `at`.
fn number(at: u64, value: f64) -> Message {
    let point = fixed(fixed(Message::default(), 2, START), 3, at);
    let point = point.double(4, value).nested(5, Message::default());
    point.nested(7, pair("http.method", text("GET")))
}

fn metric(name: &str, unit: &str, data: u64, inner: Message) -> Message {
    let named = Message::default().bytes(1, name).bytes(2, "What it is.");
    named.bytes(3, unit).nested(data, inner)
}

/// Metrics of `shop/cart` at `a:1`, which runs on Linux.
fn request(metrics: impl IntoIterator<Item = Message>) -> Message {
    let resource = [
        ("service.namespace", "shop"),
        ("service.name", "cart"),
        ("service.instance.id", "a:1"),
        ("os.type", "linux"),
    ];
    let resource = resource
        .into_iter()
        .fold(Message::default(), |all, (key, value)| {
            all.nested(1, pair(key, text(value)))
        });
    let scope = Message::default().bytes(1, "io.cart").bytes(2, "1.2");
    let scoped = Message::default().nested(1, scope);
    let scoped = metrics
        .into_iter()
        .fold(scoped, |all, it| all.nested(2, it));
    let all = Message::default().nested(1, resource).nested(2, scoped);
    Message::default().nested(1, all)
}

fn sum(temporality: u64, monotonic: bool, points: impl IntoIterator<Item = Message>) -> Message {
    let sum = Message::default()
        .uint(2, temporality)
        .uint(3, monotonic.into());
    points
        .into_iter()
        .fold(sum, |sum, point| sum.nested(1, point))
}

fn histogram(at: u64, counts: [u64; 3]) -> Message {
    let point = fixed(fixed(Message::default(), 2, START), 3, at);
    let count = counts.iter().sum();
    let le_bytes = |numbers: &[u64]| numbers.iter().flat_map(|it| it.to_le_bytes()).collect();
    let bounds: Vec<u8> = le_bytes(&[0.5_f64.to_bits(), 5_f64.to_bits()]);
    let counts: Vec<u8> = le_bytes(&counts);
    let point = fixed(point, 4, count).double(5, 7.5);
    point.bytes(6, counts).bytes(7, bounds)
}

/// What a request came to: series with time and value, and what was refused.
struct Taken {
    series: BTreeMap<String, (i64, f64)>,
    outcome: Outcome,
    refused: String,
    born: usize,
    exemplars: u64,
    histograms: BTreeMap<String, Histogram>,
}

#[derive(Default)]
struct Receiver {
    settings: OtlpSettings,
    deltas: Deltas,
    metadata: Metadata,
}

impl Receiver {
    fn take(&mut self, encoding: Encoding, message: &[u8]) -> Taken {
        let request = decode(encoding, message).unwrap();
        let mut delivery = Delivery::new(NOW, self.metadata.clone());
        let outcome = translate(&request, &self.settings, &mut self.deltas, &mut delivery);
        let parcels = delivery.samples.finish();
        let items = || parcels.iter().flat_map(Parcel::items);
        let samples = |it: Item<'_>| {
            let labels = it.key.labels().to_string();
            let points = it.points.iter();
            points
                .map(|point| (labels.clone(), *point))
                .collect::<Vec<_>>()
        };
        Taken {
            series: items().flat_map(samples).collect(),
            outcome,
            refused: delivery.refused.text(),
            born: items().filter(|it| it.born_from_zero).count(),
            exemplars: delivery.exemplars.len() as u64,
            histograms: delivery
                .histograms
                .iter()
                .filter_map(|it| {
                    let histogram = Histogram::clone(it.histogram.as_ref()?);
                    Some((it.labels.to_string(), histogram))
                })
                .collect(),
        }
    }

    fn proto(&mut self, metrics: impl IntoIterator<Item = Message>) -> Taken {
        self.take(Encoding::Protobuf, &request(metrics).0)
    }
}

const CART: &str = r#"instance="a:1", job="shop/cart""#;

#[test]
fn points_become_the_series_that_prometheus_makes_of_them() {
    let mut receiver = Receiver::default();
    let quantile = Message::default().double(1, 0.99).double(2, 3.0);
    let summary = fixed(fixed(Message::default(), 3, AT), 4, 9);
    let summary = summary.double(5, 4.5).nested(6, quantile);
    let taken = receiver.proto([
        metric("hits", "{hit}", 7, sum(2, true, [number(AT, 5.0)])),
        metric("queue.length", "1", 7, sum(2, false, [number(AT, -2.0)])),
        metric(
            "load",
            "1",
            5,
            Message::default().nested(1, number(AT, 0.5)),
        ),
        metric(
            "time",
            "s",
            9,
            Message::default()
                .nested(1, histogram(AT, [1, 2, 3]))
                .uint(2, 2),
        ),
        metric("age", "ms", 11, Message::default().nested(1, summary)),
    ]);
    let method = r#"http_method="GET", "#;
    let expected = [
        (format!(r#"{{__name__="hits_total", {method}{CART}}}"#), 5.0),
        (
            format!(r#"{{__name__="queue_length", {method}{CART}}}"#),
            -2.0,
        ),
        (format!(r#"{{__name__="load_ratio", {method}{CART}}}"#), 0.5),
        (
            format!(r#"{{__name__="time_seconds_bucket", {CART}, le="0.5"}}"#),
            1.0,
        ),
        (
            format!(r#"{{__name__="time_seconds_bucket", {CART}, le="5"}}"#),
            3.0,
        ),
        (
            format!(r#"{{__name__="time_seconds_bucket", {CART}, le="+Inf"}}"#),
            6.0,
        ),
        (format!(r#"{{__name__="time_seconds_count", {CART}}}"#), 6.0),
        (format!(r#"{{__name__="time_seconds_sum", {CART}}}"#), 7.5),
        (
            format!(r#"{{__name__="age_milliseconds", {CART}, quantile="0.99"}}"#),
            3.0,
        ),
        (
            format!(r#"{{__name__="age_milliseconds_count", {CART}}}"#),
            9.0,
        ),
        (
            format!(r#"{{__name__="age_milliseconds_sum", {CART}}}"#),
            4.5,
        ),
        (
            format!(r#"{{__name__="target_info", {CART}, os_type="linux"}}"#),
            1.0,
        ),
    ];
    let at_ms = 1_700_000_010_000;
    let expected = expected.map(|(labels, value)| (labels, (at_ms, value)));
    assert_eq!(taken.series, BTreeMap::from(expected));
    assert_eq!(
        taken.outcome,
        Outcome {
            points: 5,
            rejected: 0
        }
    );
    // The counter and the five series of the histogram began ten seconds before.
    assert_eq!(
        (taken.refused.as_str(), taken.born, taken.exemplars),
        ("", 6, 3)
    );
    let about = receiver.metadata.listed(Some("time_seconds"), None, None);
    let expected =
        serde_json::json!([{ "type": "histogram", "help": "What it is.", "unit": "seconds" }]);
    assert_eq!(about["time_seconds"], expected);
}

#[test]
fn the_same_in_json_is_the_same() {
    let json = format!(
        r#"{{"resourceMetrics": [{{"later": {{}}, "resource": {{"attributes": [
            {{"key": "service.name", "value": {{"stringValue": "cart"}}}}]}},
        "scopeMetrics": [{{"scope": {{"name": "io.cart"}}, "metrics": [
            {{"name": "hits", "sum": {{"isMonotonic": true,
                "aggregationTemporality": "AGGREGATION_TEMPORALITY_CUMULATIVE", "dataPoints": [
                {{"asInt": "7", "timeUnixNano": "{AT}", "startTimeUnixNano": "{START}",
                  "attributes": [{{"key": "a", "value": {{"intValue": 3}}}}]}}]}}}},
            {{"name": "time", "histogram": {{"aggregationTemporality": 2, "dataPoints": [
                {{"count": "3", "sum": 1.5, "bucketCounts": ["1", 2], "explicitBounds": [0.5],
                  "timeUnixNano": {AT}, "exemplars": [{{"asDouble": 1}}]}}]}}}}]}}]}}]}}"#
    );
    let taken = Receiver::default().take(Encoding::Json, json.as_bytes());
    let values = taken
        .series
        .iter()
        .map(|(labels, (_, value))| (labels.as_str(), *value));
    assert_eq!(
        values.collect::<Vec<_>>(),
        [
            (r#"{__name__="hits_total", a="3", job="cart"}"#, 7.0),
            (r#"{__name__="time_bucket", job="cart", le="+Inf"}"#, 3.0),
            (r#"{__name__="time_bucket", job="cart", le="0.5"}"#, 1.0),
            (r#"{__name__="time_count", job="cart"}"#, 3.0),
            (r#"{__name__="time_sum", job="cart"}"#, 1.5),
        ]
    );
    assert_eq!((taken.outcome.points, taken.exemplars), (2, 1));
}

#[test]
fn deltas_add_up_and_one_sent_again_does_not() {
    let mut receiver = Receiver::default();
    let second = AT + 500_000_000;
    let mut values = Vec::new();
    for (at, value) in [(AT, 2.0), (second, 3.0), (second, 3.0)] {
        let counts = [1, value as u64, 0];
        let taken = receiver.proto([
            metric("hits", "", 7, sum(1, true, [number(at, value)])),
            metric(
                "time",
                "s",
                9,
                Message::default()
                    .nested(1, histogram(at, counts))
                    .uint(2, 1),
            ),
        ]);
        assert_eq!((taken.refused.as_str(), taken.outcome.rejected), ("", 0));
        let of = |start: &str| {
            let mut found = taken
                .series
                .iter()
                .filter(|(labels, _)| labels.contains(start));
            found.next().unwrap().1.1
        };
        values.push([
            of("hits_total"),
            of("le=\"0.5\""),
            of("le=\"5\""),
            of("seconds_sum"),
        ]);
    }
    let after = [5.0, 2.0, 7.0, 15.0];
    assert_eq!(values, [[2.0, 1.0, 3.0, 7.5], after, after]);
    // One in the future is refused, and does not hold up the next.
    let ahead = AT + 3_600_000_000_000;
    let taken = receiver.proto([metric(
        "hits",
        "",
        7,
        sum(
            1,
            true,
            [
                number(ahead, 1.0),
                number(AT, 1.0),
                number(second + 1_000_000, 1.0),
            ],
        ),
    )]);
    assert!(
        taken.refused.starts_with("1 far-ahead, 1 out-of-order"),
        "{}",
        taken.refused
    );
    assert_eq!(
        taken.outcome,
        Outcome {
            points: 3,
            rejected: 2
        }
    );
    assert!(taken.series.values().any(|(_, value)| *value == 6.0));
}

#[test]
fn what_has_no_place_here_is_refused_by_name_and_the_rest_is_written() {
    let coarse = fixed(Message::default(), 3, AT).uint(6, 9);
    let exponential = Message::default().nested(1, coarse).uint(2, 2);
    let odd = fixed(Message::default(), 3, AT).double(7, 0.5);
    let taken = Receiver::default().proto([
        metric("a", "", 10, exponential),
        metric("b", "", 7, sum(1, false, [number(AT, 1.0)])),
        metric("c", "", 7, sum(0, true, [number(AT, 1.0)])),
        metric("d", "", 9, Message::default().nested(1, odd).uint(2, 2)),
        metric(
            "e",
            "",
            5,
            Message::default().nested(1, fixed(Message::default(), 3, AT)),
        ),
        metric(
            "f",
            "",
            5,
            Message::default().nested(1, Message::default().double(4, 1.0)),
        ),
        metric("@", "", 5, Message::default().nested(1, number(AT, 1.0))),
        metric("good", "", 5, Message::default().nested(1, number(AT, 1.0))),
    ]);
    let said = "1 buckets, 1 delta-level, 1 invalid-histogram, 1 labels, 1 no-time, 1 no-value, 1 temporality; a: ";
    assert!(taken.refused.starts_with(said), "{}", taken.refused);
    assert_eq!(
        taken.outcome,
        Outcome {
            points: 8,
            rejected: 7
        }
    );
    assert_eq!(taken.series.len(), 2, "{:?}", taken.series);
}

/// A point of an exponential histogram at scale 1, with counts of its buckets from 1 upwards.
fn exponential(at: u64, counts: [u64; 2]) -> Message {
    let count = counts.iter().sum::<u64>() + 1;
    let point = fixed(fixed(fixed(Message::default(), 2, START), 3, at), 4, count);
    let buckets = Message::default().uint(1, 0).packed(2, counts);
    let point = fixed(point.double(5, 2.5).uint(6, 2), 7, 1);
    let exemplar = fixed(Message::default(), 2, at).double(3, 1.2);
    let exemplar = exemplar.bytes(5, vec![0xab; 16]);
    point.nested(8, buckets).nested(11, exemplar)
}

#[test]
fn exponential_histograms_become_native_ones_and_their_deltas_are_added_up() {
    let points = |points: [Message; 2], temporality| {
        let all = points
            .into_iter()
            .fold(Message::default(), |all, it| all.nested(1, it));
        metric("took", "s", 10, all.uint(2, temporality))
    };
    let both = || {
        [
            exponential(AT, [1, 2]),
            exponential(AT + 1_000_000_000, [3, 0]),
        ]
    };
    let whole = |taken: &Taken| {
        assert_eq!(taken.refused, "");
        let (labels, histogram) = taken.histograms.last_key_value().unwrap();
        assert!(labels.contains("__name__=\"took_seconds\""), "{labels}");
        let BucketCounts::Whole(tally) = &histogram.counts else {
            panic!("whole counts");
        };
        (
            histogram.schema,
            histogram.sum,
            tally.count,
            tally.positive.clone(),
        )
    };
    let mut receiver = Receiver::default();
    let taken = receiver.proto([points(both(), 2)]);
    assert_eq!(whole(&taken), (1, 2.5, 4, vec![3]));
    assert_eq!(taken.exemplars, 2);
    let taken = receiver.proto([points(both(), 1)]);
    assert_eq!(whole(&taken), (1, 5.0, 8, vec![4, 2]));
    let again = receiver.proto([metric(
        "took",
        "s",
        10,
        Message::default()
            .nested(1, exponential(AT + 1_000_000_000, [3, 0]))
            .uint(2, 1),
    )]);
    assert_eq!(whole(&again), (1, 5.0, 8, vec![4, 2]), "sent again");
}

#[test]
fn a_point_without_a_value_any_more_ends_its_series() {
    let gone = fixed(Message::default(), 3, AT).uint(8, 1);
    let metrics = [
        metric("hits", "", 7, sum(1, true, [gone.clone()])),
        metric("load", "", 5, Message::default().nested(1, gone)),
    ];
    let taken = Receiver::default().proto(metrics);
    let mut ended = taken
        .series
        .iter()
        .filter(|(labels, _)| !labels.contains("target_info"));
    assert_eq!(taken.series.len(), 3);
    assert!(
        ended.all(|(_, (_, value))| value.to_bits() == mainstay_tsdb::stale_marker().to_bits())
    );
}

#[test]
fn the_scope_and_attributes_of_the_resource_are_labels_where_that_is_asked_for() {
    let mut receiver = Receiver {
        settings: OtlpSettings {
            promote_resource_attributes: vec!["os.type".to_owned(), "missing".to_owned()],
            keep_identifying_resource_attributes: true,
            promote_scope_metadata: true,
        },
        ..Receiver::default()
    };
    let taken = receiver.proto([metric(
        "load",
        "",
        5,
        Message::default().nested(1, number(AT, 1.0)),
    )]);
    let named: Vec<&str> = taken.series.keys().map(String::as_str).collect();
    let scope = r#"os_type="linux", otel_scope_name="io.cart", otel_scope_version="1.2""#;
    let kept = r#"os_type="linux", service_instance_id="a:1", service_name="cart", service_namespace="shop""#;
    assert_eq!(
        named,
        [
            format!(r#"{{__name__="load", http_method="GET", {CART}, {scope}}}"#),
            format!(r#"{{__name__="target_info", {CART}, {kept}}}"#),
        ]
    );
}

#[test]
fn what_would_take_too_much_memory_is_refused_before_it_does() {
    let many = |count| {
        let one = Message::default().nested(1, Message::default()).0;
        request([metric("a", "", 5, Message(one.repeat(count)))])
    };
    let error = decode(Encoding::Protobuf, &many(OBJECTS_MAX).0).unwrap_err();
    assert!(error.to_string().contains("messages within one"), "{error}");
    let braces = "{".repeat(OBJECTS_MAX + 1);
    let error = decode(Encoding::Json, braces.as_bytes()).unwrap_err();
    assert!(matches!(
        error,
        BodyError::TooMuch {
            what: "objects",
            ..
        }
    ));
    let wide = Message::default().bytes(7, vec![0; 8 * SAMPLES_MAX]);
    let wide = request([metric("a", "", 9, Message::default().nested(1, wide))]);
    let error = decode(Encoding::Protobuf, &wide.0).unwrap_err();
    assert!(matches!(
        error,
        BodyError::TooMuch {
            what: "samples",
            ..
        }
    ));
    let deep = (0..20).fold(text("a"), |inner, _| {
        Message::default().nested(5, Message::default().nested(1, inner))
    });
    let point = Message::default().nested(7, pair("a", deep));
    let deep = request([metric("a", "", 5, Message::default().nested(1, point))]);
    let error = decode(Encoding::Protobuf, &deep.0).unwrap_err();
    assert!(
        error.to_string().contains("values within another"),
        "{error}"
    );
}

proptest! {
    #[test]
    fn random_bytes_and_random_damage_never_panic(
        noise in prop::collection::vec(any::<u8>(), 0..200),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut damaged = request([
            metric("hits", "", 7, sum(1, true, [number(AT, 5.0)])),
            metric("time", "s", 9, Message::default().nested(1, histogram(AT, [1, 2, 3])).uint(2, 1)),
        ]).0;
        let at = at.index(damaged.len());
        damaged[at] = byte;
        for message in [noise, damaged] {
            let _ = unpack(&message, true);
            for encoding in [Encoding::Protobuf, Encoding::Json] {
                if let Ok(request) = decode(encoding, &message) {
                    let mut delivery = Delivery::new(NOW, Metadata::default());
                    let mut deltas = Deltas::default();
                    let outcome = translate(&request, &OtlpSettings::default(), &mut deltas, &mut delivery);
                    prop_assert!(outcome.rejected <= outcome.points);
                }
            }
        }
    }
}
