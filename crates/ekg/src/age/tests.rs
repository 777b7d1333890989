use mainstay_tsdb::{Head, HeadLimits, stale_marker};

use super::*;

fn series(name: &str, instance: &str, version: &str) -> Labels {
    let pairs = [
        (METRIC_NAME, name),
        ("job", "shop"),
        ("instance", instance),
        ("version", version),
    ];
    Labels::from_pairs(pairs).unwrap()
}

fn head(samples: &[(&Labels, i64, f64)]) -> Head {
    let mut head = Head::new(HeadLimits::default());
    for (labels, at_ms, value) in samples {
        head.append(labels, *at_ms, *value).unwrap();
    }
    head
}

/// As old as what, if `hits_total` is read in the 10 s before `at_ms`.
fn as_of(head: &Head, at_ms: i64) -> Option<i64> {
    let hits = Matcher::new(METRIC_NAME, MatchOp::Equal, "hits_total").unwrap();
    Age::of(&head.tsdb(), &[hits], at_ms - 9_999, at_ms)
        .unwrap()
        .ms()
}

#[test]
fn a_target_that_stops_answering_ages_the_answer_even_beyond_the_window() {
    let (a, b) = (
        series("hits_total", "a", "v1"),
        series("hits_total", "b", "v1"),
    );
    let (up_a, up_b) = (series("up", "a", "v1"), series("up", "b", "v1"));
    let mut head = head(&[
        (&a, 1_000, 5.0),
        (&b, 1_000, 5.0),
        (&up_a, 1_000, 1.0),
        (&up_b, 1_000, 1.0),
        (&b, 2_000, stale_marker()),
        (&up_b, 2_000, 0.0),
    ]);
    for at_ms in [2_000, 5_000, 20_000] {
        head.append(&a, at_ms, 6.0).unwrap();
        head.append(&up_a, at_ms, 1.0).unwrap();
        assert_eq!(as_of(&head, at_ms), Some(1_000), "at {at_ms}");
        head.append(&up_b, at_ms + 1, 0.0).unwrap();
    }
    head.append(&b, 20_500, 1.0).unwrap();
    assert_eq!(as_of(&head, 20_500), Some(20_000));
}

#[test]
fn a_target_that_was_taken_off_the_list_is_complete() {
    let (a, b) = (
        series("hits_total", "a", "v2"),
        series("hits_total", "b", "v1"),
    );
    let (up_a, up_b) = (series("up", "a", "v2"), series("up", "b", "v1"));
    let mut head = head(&[
        (&b, 1_000, 5.0),
        (&up_b, 1_000, 1.0),
        (&b, 2_000, stale_marker()),
        (&up_b, 2_000, stale_marker()),
        (&a, 3_000, 5.0),
        (&up_a, 3_000, 1.0),
    ]);
    assert_eq!(as_of(&head, 3_000), Some(3_000));
    // Another instance that is silent does not speak for the one that is gone.
    head.append(&up_a, 4_000, 0.0).unwrap();
    head.append(&a, 4_000, stale_marker()).unwrap();
    assert_eq!(as_of(&head, 3_999), Some(3_000));
    assert_eq!(as_of(&head, 2_500), Some(1_000), "nothing else should run");
}

#[test]
fn a_series_that_fell_silent_without_a_marker_is_stale_until_nobody_expects_it() {
    let (a, b) = (
        series("hits_total", "a", "v1"),
        series("hits_total", "b", "v1"),
    );
    let head = head(&[
        (&a, 1_000, 5.0),
        (&b, 1_000, 5.0),
        (&a, 60_000, 6.0),
        (&a, 310_000, 7.0),
    ]);
    assert_eq!(as_of(&head, 60_000), Some(1_000));
    assert_eq!(as_of(&head, 310_000), Some(310_000));
}

#[test]
fn a_router_that_stops_answering_ages_what_it_said_of_others() {
    let up = [
        (METRIC_NAME, "up"),
        ("job", "router"),
        ("fabric", "lax"),
        ("instance", "r:1"),
    ];
    let up = Labels::from_pairs(up).unwrap();
    let said = |fabric| {
        let pairs = [
            (METRIC_NAME, "hits_total"),
            ("job", "router"),
            ("fabric", fabric),
            ("instance", "shop-1"),
        ];
        Labels::from_pairs(pairs).unwrap()
    };
    let (lax, fra) = (said("lax"), said("fra"));
    let head = head(&[
        (&lax, 1_000, 5.0),
        (&up, 1_000, 1.0),
        (&lax, 2_000, stale_marker()),
        (&up, 2_000, 0.0),
        (&fra, 30_000, 5.0),
        (&up, 30_000, 0.0),
    ]);
    assert_eq!(as_of(&head, 30_000), Some(1_000));
}

#[test]
fn what_no_sample_entered_has_no_age() {
    let a = series("hits_total", "a", "v1");
    let head = head(&[(&a, 1_000, 5.0)]);
    assert_eq!(as_of(&head, 20_000), None);
    assert_eq!(as_of(&head, 500), None);
}
