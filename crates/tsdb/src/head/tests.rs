use super::*;
use crate::{MatchOp, is_stale, stale_marker};
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
    let found = head.select(&[equal("__name__", "m")], 3, 5);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].labels.get("instance"), Some("a"));
    assert_eq!(&*found[0].timestamps, &[3, 4, 5]);
    assert_eq!(&*found[1].values, &[3.0, 4.0, 5.0]);
    assert!(head.select(&[equal("__name__", "m")], 5, 3).is_empty());
}

#[test]
fn a_repeated_sample_is_harmless_and_a_conflicting_one_is_refused() {
    let mut head = Head::new(HeadLimits::default());
    let series = labels(&[("__name__", "m")]);
    head.append(&series, 5, 1.0).unwrap();
    head.append(&series, 5, 1.0).unwrap();
    assert_eq!(head.sample_count(), 1);
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
    assert_eq!(head.series_count(), 1);
}

#[test]
fn retention_drops_whole_chunks_and_then_the_series() {
    let mut head = Head::new(HeadLimits {
        chunk_samples: 4,
        retention_ms: 10,
        max_series: 1,
        ..HeadLimits::default()
    });
    let series = labels(&[("__name__", "m")]);
    for t in 0..10 {
        head.append(&series, t, 0.0).unwrap();
    }
    let dropped = head.truncate(15);
    assert_eq!(
        dropped,
        Truncated {
            samples: 4,
            series: 0
        }
    );
    assert_eq!(&*head.select(&[], 0, 4)[0].timestamps, &[4]);
    let dropped = head.truncate(1_000);
    assert_eq!(
        dropped,
        Truncated {
            samples: 6,
            series: 1
        }
    );
    assert_eq!((head.series_count(), head.sample_count()), (0, 0));
    assert_eq!(head.label_names().count(), 0);
    head.append(&labels(&[("__name__", "n")]), 2_000, 1.0)
        .unwrap();
    assert_eq!(head.label_values("__name__").collect::<Vec<_>>(), ["n"]);
    assert!(head.series_id(&series).is_none());
}

#[test]
fn the_stale_marker_survives_storage_bit_for_bit() {
    let mut head = Head::new(HeadLimits::default());
    let series = labels(&[("__name__", "m")]);
    head.append(&series, 0, stale_marker()).unwrap();
    assert!(is_stale(head.select(&[], 0, 0)[0].values[0]));
    assert!(!is_stale(f64::NAN));
}

proptest! {
    #[test]
    fn any_window_of_a_chunked_series_is_what_was_appended(
        gaps in prop::collection::vec(1_i64..50, 1..60),
        chunk_samples in 1_usize..9,
        start in -10_i64..1_000,
        span in 0_i64..500,
    ) {
        let limits = HeadLimits { chunk_samples, ..HeadLimits::default() };
        let mut head = Head::new(limits);
        let series = labels(&[("__name__", "m")]);
        let mut t = 0;
        let mut wanted = Vec::new();
        for gap in gaps {
            t += gap;
            head.append(&series, t, t as f64).unwrap();
            if (start..=start + span).contains(&t) {
                wanted.push(t);
            }
        }
        let found = head.select(&[], start, start + span);
        let got: Vec<i64> = found.iter().flat_map(|s| s.timestamps.to_vec()).collect();
        prop_assert_eq!(got, wanted);
    }
}
