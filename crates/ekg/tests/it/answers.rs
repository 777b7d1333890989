//! Answers over samples that are known one by one.

use mainstay_core::{Span, Time};
use mainstay_ekg::Ekg;
use mainstay_tsdb::{Head, HeadLimits, Labels, stale_marker};
use serde_json::json;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied()).unwrap()
}

/// `hits_total` of two instances at 1 s, 2 s, …, 5 s; `b` resets after 3 s, and ended at 6 s.
fn ekg() -> Ekg {
    let mut head = Head::new(HeadLimits::default());
    let a = labels(&[("__name__", "hits_total"), ("instance", "a")]);
    let b = labels(&[("__name__", "hits_total"), ("instance", "b")]);
    for (at, (va, vb)) in [
        (10.0, 7.0),
        (12.0, 8.0),
        (14.0, 9.0),
        (16.0, 2.0),
        (18.0, 4.0),
    ]
    .into_iter()
    .enumerate()
    {
        let at_ms = 1_000 * (at as i64 + 1);
        head.append(&a, at_ms, va).unwrap();
        head.append(&b, at_ms, vb).unwrap();
    }
    head.append(&b, 6_000, stale_marker()).unwrap();
    Ekg::over(head.tsdb())
}

const fn ms(millis: i64) -> Time {
    Time::from_millis(millis)
}

#[test]
fn an_instant_query_has_prometheus_shape() {
    assert_eq!(
        ekg().query("hits_total / 0", ms(6_500)).json(),
        json!({ "status": "success", "data": { "resultType": "vector", "result": [
            { "metric": { "instance": "a" }, "value": [6.5, "+Inf"] },
        ] } })
    );
    let scalar = json!({ "resultType": "scalar", "result": [6, "0.5"] });
    assert_eq!(ekg().query("1 / 2", ms(6_000)).json()["data"], scalar);
    let text = json!({ "resultType": "string", "result": [6, "x"] });
    assert_eq!(ekg().query("\"x\"", ms(6_000)).json()["data"], text);
}

#[test]
fn a_range_query_has_prometheus_shape() {
    let step = Span::from_secs(2);
    let answer = ekg()
        .query_range("sum(hits_total)", ms(1_000), ms(6_000), step)
        .json();
    assert_eq!(
        answer["data"],
        json!({ "resultType": "matrix", "result": [
            { "metric": {}, "values": [[1, "17"], [3, "23"], [5, "22"]] },
        ] })
    );
}

#[test]
fn a_wrong_query_is_bad_data_with_its_place() {
    let answer = ekg().query("sum(hits_total", ms(0)).json();
    assert_eq!(
        (&answer["status"], &answer["errorType"]),
        (&json!("error"), &json!("bad_data"))
    );
    let text = answer["error"].as_str().unwrap();
    assert!(text.starts_with("1:15: "), "{text}");
    let answer = ekg().series(&["rate(hits_total[1m])"], ms(0), ms(9_000));
    assert_eq!(answer["errorType"], "bad_data");
    let answer = ekg().series(&[], ms(0), ms(9_000));
    assert_eq!(answer["errorType"], "bad_data");
}

#[test]
fn series_and_labels_are_listed_by_selector() {
    let (ekg, from, to) = (ekg(), ms(0), ms(9_000));
    assert_eq!(
        ekg.series(&["hits_total{instance=~\"b|c\"}"], from, to)["data"],
        json!([{ "__name__": "hits_total", "instance": "b" }])
    );
    let names = json!(["__name__", "instance"]);
    assert_eq!(ekg.labels(&[], from, to)["data"], names);
    assert_eq!(ekg.labels(&["hits_total"], from, to)["data"], names);
    assert_eq!(
        ekg.label_values("instance", &[], from, to)["data"],
        json!(["a", "b"])
    );
    let of_b = ekg.label_values("instance", &["{instance=~\"b|c\"}"], from, to);
    assert_eq!(of_b["data"], json!(["b"]));
    assert_eq!(
        ekg.series(&["hits_total"], ms(7_000), to)["data"],
        json!([])
    );
}

#[test]
fn counts_are_exact_across_a_reset_and_say_what_they_saw() {
    let ekg = ekg();
    let count = ekg.counts("hits_total", ms(2_000), ms(5_000)).unwrap();
    assert_eq!(count.total, Ok((2 + 2 + 2) + (1 + 2 + 2)));
    assert_eq!(count.resets, 1);
    assert_eq!(count.coverage.oldest, Some(ms(2_000)));
    assert_eq!(count.coverage.newest, Some(ms(5_000)));
    assert!(count.coverage.is_whole());
    let count = ekg.counts("hits_total", ms(0), ms(3_000)).unwrap();
    assert_eq!((count.total, count.coverage.whole), (Ok(4 + 2), 0));
    assert!(
        !ekg.counts("nothing", ms(0), ms(3_000))
            .unwrap()
            .coverage
            .is_whole()
    );
    assert!(ekg.counts("hits_total offset 1m", ms(0), ms(1)).is_err());
}

#[test]
fn a_measurement_is_as_old_as_its_stalest_running_series() {
    let ekg = ekg();
    let seen = ekg.eval("sum(rate(hits_total[10s]))", ms(9_000)).unwrap();
    assert_eq!(seen.observed_at(), ms(5_000));
    assert_eq!(seen.value().len(), 1);
    let ended = ekg.eval("increase(hits_total{instance=\"b\"}[10s])", ms(9_000));
    assert_eq!(ended.unwrap().observed_at(), ms(5_000));
}

#[test]
fn what_no_sample_contributed_to_is_not_measured() {
    let ekg = ekg();
    for silent in [
        "1",
        "vector(1)",
        "absent(nothing)",
        "nothing",
        "hits_total{instance=\"b\"}",
        "hits_total > 99",
        "hits_total[",
    ] {
        assert!(ekg.eval(silent, ms(7_000)).is_none(), "{silent}");
    }
    assert!(ekg.measure("hits_total[", ms(7_000)).is_err());
}
