use super::*;
use proptest::prelude::*;

fn refusal(body: &str) -> String {
    let limits = TextLimits {
        line_bytes: 40,
        labels: 2,
        samples: 2,
        ..TextLimits::default()
    };
    scan(body.as_bytes(), &limits).unwrap_err().to_string()
}

#[test]
fn a_body_of_every_construct_is_read() {
    let body = "# HELP a_total Counts \\\\ and\\nmore\n# TYPE a_total counter\n# a remark\n\n\
        a_total{x = \"q\\\"\\\\\\n\", y=\"\",} 3 -1500\n\tb +Inf\nc{} -inf\nd NaN\ne 1e3 \n";
    let seen = scan(body.as_bytes(), &TextLimits::default()).unwrap();
    assert_eq!(seen.help["a_total"], "Counts \\ and\nmore");
    assert_eq!(seen.samples.len(), 5);
    assert_eq!(
        seen.samples[0].labels[0],
        ("x".into(), Cow::from("q\"\\\n"))
    );
    assert_eq!(seen.samples[0].timestamp_ms, Some(-1_500));
    assert_eq!(seen.samples[1].value, f64::INFINITY);
    assert_eq!(seen.samples[2].value, f64::NEG_INFINITY);
    assert!(seen.samples[3].value.is_nan());
    assert_eq!(seen.samples[4].value, 1_000.0);
    assert!(seen.counts_from_zero("a_total") && !seen.counts_from_zero("b"));
}

#[test]
fn each_refusal_names_its_line_and_column() {
    for (body, expected) in [
        ("a 1", "1:4: expected a line feed at the end"),
        ("a 1\nb", "2:2: expected a line feed at the end"),
        ("\n9a 1\n", "2:1: expected a metric's name"),
        ("a\n", "1:2: expected a blank or `{`"),
        ("a \n", "1:3: expected a value"),
        ("a x\n", "1:3: `x` is not a number"),
        ("a 1 2.5\n", "1:5: `2.5` is not a timestamp in milliseconds"),
        ("a 1 2 3\n", "1:7: expected the end of the line"),
        ("a 1\r\n", "1:3: `1\r` is not a number"),
        (
            "a{b=\"é\",b=\"\"} 1\n",
            "1:9: label `b` may not stand here again",
        ),
        (
            "a{__name__=\"\"} 1\n",
            "1:3: label `__name__` may not stand here again",
        ),
        (
            "a{b=\"\\t\"} 1\n",
            "1:7: `\\t` is not an escape; `\\\\`, `\\\"` and `\\n` are",
        ),
        ("a{b=\"x} 1\n", "1:10: expected a closing `\"`"),
        ("a{b=\"\" c=\"\"} 1\n", "1:8: expected `,` or `}`"),
        (
            "a{b=\"\",c=\"\",d=\"\"} 1\n",
            "1:13: more than 2 labels of one sample",
        ),
        ("a 1\nb 1\nc 1\n", "3:1: more than 2 samples"),
        (
            "# TYPE a gadget\n",
            "1:10: `gadget` is not a type: counter, gauge, histogram, summary and untyped are",
        ),
        (
            "# TYPE a gauge\n# TYPE a gauge\n",
            "2:10: a second TYPE of `a`",
        ),
    ] {
        assert_eq!(refusal(body), expected, "{body:?}");
    }
    assert_eq!(
        refusal(&format!("#{}\n", "x".repeat(40))),
        "1:1: more than 40 bytes in a line"
    );
    let broken = scan(b"a 1\nb\xff 1\n", &TextLimits::default()).unwrap_err();
    assert_eq!(broken.to_string(), "2:2: not UTF-8");
}

#[test]
fn a_nan_with_a_payload_is_never_a_staleness_marker() {
    for word in ["NaN", "nan", "-NaN"] {
        let body = format!("a {word}\n");
        let seen = scan(body.as_bytes(), &TextLimits::default()).unwrap();
        assert_eq!(seen.samples[0].value.to_bits(), f64::NAN.to_bits());
    }
}

proptest! {
    #[test]
    fn a_sample_reads_back_what_it_writes(
        name in "[a-zA-Z_:][a-zA-Z0-9_:]{0,8}|(\\PC|[\\\\\"\n]){1,8}",
        labels in prop::collection::btree_map("[a-z][a-z0-9_]{0,5}|\\PC{1,4}", "(\\PC|[\\\\\"\n]){0,8}", 0..5),
        value in prop::num::f64::ANY,
        timestamp_ms in prop::option::of(any::<i64>()),
    ) {
        let labels = labels.iter().map(|(n, v)| (n.into(), v.into())).collect();
        let sample = Sample { name: name.into(), labels, value, timestamp_ms, extra: None };
        let text = format!("{sample}\n");
        let seen = scan(text.as_bytes(), &TextLimits::default()).unwrap();
        let read = &seen.samples[0];
        prop_assert_eq!(&read.labels, &sample.labels);
        prop_assert_eq!((&read.name, read.timestamp_ms), (&sample.name, timestamp_ms));
        let same = read.value.to_bits() == value.to_bits() || (read.value.is_nan() && value.is_nan());
        prop_assert!(same, "{} became {}", value, read.value);
    }

    #[test]
    fn no_bytes_make_the_scanner_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = scan(&body, &TextLimits::default());
    }

    #[test]
    fn no_text_of_the_formats_own_signs_makes_the_scanner_panic(
        body in "(# TYPE |# HELP |a|é|\\{|\\}|\"|\\\\|=|,| |\t|\n|1|NaN){0,60}"
    ) {
        let _ = scan(body.as_bytes(), &TextLimits::default());
    }
}
