use super::*;
use crate::{LabelKeys, MatchOp, Matcher, is_stale, stale_marker};
use proptest::prelude::*;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied()).unwrap()
}

fn equal(name: &str, value: &str) -> Matcher {
    Matcher::new(name, MatchOp::Equal, value).unwrap()
}

#[test]
fn a_selection_is_sorted_by_labels_and_bounded_by_time_on_both_sides() {
    let mut head = Head::new(HeadLimits::default());
    for instance in ["b", "a"] {
        let series = labels(&[("__name__", "m"), ("instance", instance)]);
        for t in 0..10 {
            head.append(&series, t, t as f64).unwrap();
        }
    }
    let found = head.tsdb().select(&[equal("__name__", "m")], 3, 5).unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].labels.get("instance"), Some("a"));
    assert_eq!(&*found[0].timestamps, &[3, 4, 5]);
    assert_eq!(&*found[1].values, &[3.0, 4.0, 5.0]);
    assert!(
        head.tsdb()
            .select(&[equal("__name__", "m")], 5, 3)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_repeated_sample_is_harmless_and_a_conflicting_one_is_refused() {
    let mut head = Head::new(HeadLimits::default());
    let series = labels(&[("__name__", "m")]);
    head.append(&series, 5, 1.0).unwrap();
    head.append(&series, 5, 1.0).unwrap();
    assert_eq!(head.tsdb().sample_count(), 1);
    let refused = head.append(&series, 5, 2.0).unwrap_err();
    assert!(matches!(
        refused,
        AppendError::DuplicateTime { at_ms: 5, .. }
    ));
    let refused = head.append(&series, 4, 2.0).unwrap_err();
    assert!(matches!(
        refused,
        AppendError::OutOfOrder { newest_ms: 5, .. }
    ));
}

#[test]
fn a_limit_refuses_the_new_series_and_keeps_serving_the_old() {
    let mut head = Head::new(HeadLimits {
        max_series: 1,
        max_labels: 2,
        max_label_bytes: 16,
        ..HeadLimits::default()
    });
    head.append(&labels(&[("a", "1")]), 0, 0.0).unwrap();
    let refused = head.append(&labels(&[("a", "2")]), 0, 0.0).unwrap_err();
    assert_eq!(refused, AppendError::TooManySeries { limit: 1 });
    let wide = labels(&[("a", "1"), ("b", "1"), ("c", "1")]);
    let refused = head.append(&wide, 0, 0.0).unwrap_err();
    assert_eq!(refused, AppendError::TooManyLabels { count: 3, limit: 2 });
    let long = labels(&[("a", "12345678901234567")]);
    let refused = head.append(&long, 0, 0.0).unwrap_err();
    assert!(matches!(
        refused,
        AppendError::LabelsTooLong { bytes: 18, .. }
    ));
    head.append(&labels(&[("a", "1")]), 1, 0.0).unwrap();
    assert_eq!(head.tsdb().series_count(), 1);
}

#[test]
fn without_a_disk_whole_generations_are_dropped_when_they_are_too_old() {
    let mut head = Head::new(HeadLimits {
        retention_ms: 10,
        generation_ms: 4,
        ..HeadLimits::default()
    });
    let series = labels(&[("__name__", "m")]);
    for t in 0..20 {
        head.append(&series, t, 0.0).unwrap();
        head.tend(t);
    }
    let found = head.tsdb().select(&[], 0, 100).unwrap();
    let oldest = found[0].timestamps[0];
    assert!((1..=9).contains(&oldest), "{oldest}");
    assert_eq!(found[0].timestamps.len() as i64, 20 - oldest);
    assert_eq!(head.tsdb().sample_count() as i64, 20 - oldest);
}

#[test]
fn series_that_are_gone_make_room_and_those_that_stay_keep_their_order() {
    let mut head = Head::new(HeadLimits {
        generation_ms: 10,
        retention_ms: 10,
        max_series: 5_000,
        ..HeadLimits::default()
    });
    let pod = |at: i64| labels(&[("__name__", "m"), ("pod", &at.to_string())]);
    let stays = labels(&[("__name__", "stays")]);
    for at in 0..20_000 {
        head.append(&pod(at), at, 1.0).unwrap();
        head.append(&stays, at, 1.0).unwrap();
        head.tend(at / 100);
    }
    let refused = head.append(&stays, 3, 1.0).unwrap_err();
    assert!(matches!(
        refused,
        AppendError::OutOfOrder {
            newest_ms: 19_999,
            ..
        }
    ));
}

#[test]
fn a_late_sample_finds_its_place_and_one_that_is_too_late_is_refused() {
    let mut head = Head::new(HeadLimits {
        late_ms: 5,
        ..HeadLimits::default()
    });
    let series = labels(&[("__name__", "m")]);
    for t in [1, 2, 10, 7, 6, 7, 12] {
        head.append(&series, t, t as f64).unwrap();
    }
    let refused = head.append(&series, 6, 0.0).unwrap_err();
    assert!(matches!(
        refused,
        AppendError::OutOfOrder {
            newest_ms: 12,
            at_ms: 6,
            ..
        }
    ));
    let found = head.tsdb().select(&[], 2, 12).unwrap();
    assert_eq!(&*found[0].timestamps, &[2, 6, 7, 10, 12]);
    assert_eq!(&*found[0].values, &[2.0, 6.0, 7.0, 10.0, 12.0]);
}

#[test]
fn the_newest_of_a_series_is_found_however_many_generations_ago_it_was() {
    let mut head = Head::new(HeadLimits {
        generation_ms: 10,
        retention_ms: 100_000,
        ..HeadLimits::default()
    });
    let ended = labels(&[("__name__", "ended")]);
    head.append(&ended, 1, 7.0).unwrap();
    head.append(&ended, 2, stale_marker()).unwrap();
    // Enough others that come and go for the table of series to be left behind.
    for at in 3..3_000 {
        let pod = labels(&[("__name__", "pod"), ("at", &at.to_string())]);
        head.append(&pod, at, 1.0).unwrap();
        head.tend(at);
    }
    head.append(&ended, 3_000, stale_marker()).unwrap();
    let newest = head.tsdb().newest(&[equal("__name__", "ended")], 3_000);
    let newest = newest.unwrap().pop().unwrap();
    assert_eq!((newest.at_ms, newest.value, newest.ended), (1, 7.0, true));
}

#[test]
fn the_stale_marker_survives_storage_bit_for_bit() {
    let mut head = Head::new(HeadLimits::default());
    let series = labels(&[("__name__", "m")]);
    head.append(&series, 0, stale_marker()).unwrap();
    assert!(is_stale(
        head.tsdb().select(&[], 0, 0).unwrap()[0].values[0]
    ));
    assert!(!is_stale(f64::NAN));
}

proptest! {
    #[test]
    fn any_window_of_a_series_in_generations_is_what_was_appended(
        gaps in prop::collection::vec(1_i64..50, 1..60),
        generation_ms in 1_i64..90,
        start in -10_i64..1_000,
        span in 0_i64..500,
    ) {
        let limits = HeadLimits { generation_ms, ..HeadLimits::default() };
        let mut head = Head::new(limits);
        let series = labels(&[("__name__", "m")]);
        let mut t = 0;
        let mut wanted = Vec::new();
        for gap in gaps {
            t += gap;
            head.append(&series, t, t as f64).unwrap();
            head.tend(t);
            if (start..=start + span).contains(&t) {
                wanted.push(t);
            }
        }
        let found = head.tsdb().select(&[], start, start + span).unwrap();
        let got: Vec<i64> = found.iter().flat_map(|s| s.timestamps.to_vec()).collect();
        prop_assert_eq!(got, wanted);
    }
}

#[test]
fn a_delivery_with_several_samples_of_a_series_may_be_repeated_and_one_that_differs_is_refused() {
    let mut head = Head::new(HeadLimits::default());
    let up = Labels::from_pairs([("__name__", "up")]).unwrap();
    let delivery = [(1_000, 1.0), (2_000, 2.0), (3_000, 3.0)];
    for _ in 0..2 {
        for (at_ms, value) in delivery {
            head.append(&up, at_ms, value).unwrap();
        }
        head.cut(4_000);
    }
    let refused = head.append(&up, 2_000, 7.0).unwrap_err();
    assert!(
        matches!(refused, AppendError::OutOfOrder { .. }),
        "{refused}"
    );
    assert_eq!(head.tsdb().sample_count(), 3);
}

#[test]
fn a_series_is_found_by_its_key_whatever_came_before_it() {
    let labels = |number: usize| {
        let number = number.to_string();
        Labels::from_pairs([("__name__", "up"), ("number", &number)]).unwrap()
    };
    let mut keyed = Head::new(HeadLimits::default());
    let mut plain = Head::new(HeadLimits::default());
    let orders: [&[usize]; 5] = [
        &[0, 1, 2, 3],
        &[0, 1, 2, 3],
        &[3, 1, 0, 2],
        &[3, 1, 0, 2],
        &[2, 4, 0],
    ];
    let mut last = None;
    for (round, order) in orders.iter().enumerate() {
        let at_ms = 1_000 * round as i64;
        let mut keys = LabelKeys::default();
        assert!(order.iter().all(|number| keys.push(&labels(*number))));
        let keys = keys.checked().unwrap();
        for (key, number) in keys.sets().zip(*order) {
            let value = *number as f64;
            let series = keyed
                .append_keyed(key, last, (at_ms, value), false)
                .unwrap();
            assert_eq!(keyed.labels(series), Some(&labels(*number)));
            plain.append(&labels(*number), at_ms, value).unwrap();
            last = Some(series);
        }
    }
    let all = |head: &Head| format!("{:?}", head.tsdb().select(&[], 0, 10_000).unwrap());
    assert_eq!(all(&keyed), all(&plain));
}
