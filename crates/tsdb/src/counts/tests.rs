use super::*;
use crate::{Head, HeadLimits, stale_marker};
use proptest::prelude::*;

fn labels(name: &str) -> Labels {
    Labels::from_pairs([("__name__", name)]).unwrap()
}

fn head_with(samples: &[(i64, f64)]) -> Head {
    let mut head = Head::new(HeadLimits::default());
    for (t, value) in samples {
        head.append(&labels("c_total"), *t, *value).unwrap();
    }
    head
}

#[test]
fn the_window_is_open_at_its_start_and_closed_at_its_end() {
    let head = head_with(&[(10, 5.0), (20, 8.0), (30, 12.0), (40, 99.0)]);
    let counts = head.tsdb().counts(&[], 10, 30).unwrap();
    assert_eq!(counts.total(), Ok(7));
    assert_eq!(counts.series[0].base, Base::Before);
    assert_eq!((counts.oldest_ms, counts.newest_ms), (Some(10), Some(30)));
}

#[test]
fn a_series_of_unknown_origin_does_not_count_its_first_value() {
    let head = head_with(&[(20, 8.0), (30, 12.0)]);
    let counts = head.tsdb().counts(&[], 10, 30).unwrap();
    assert_eq!(counts.series[0].base, Base::FirstInWindow);
    assert_eq!(counts.total(), Ok(4));
}

#[test]
fn a_series_known_to_be_born_inside_counts_from_zero_until_retention_forgets_its_birth() {
    let mut head = Head::new(HeadLimits {
        generation_ms: 1,
        retention_ms: 10,
        ..HeadLimits::default()
    });
    head.append_born_from_zero(&labels("c_total"), 20, 8.0)
        .unwrap();
    head.tend(20);
    head.tend(21);
    head.append(&labels("c_total"), 30, 12.0).unwrap();
    let counts = head.tsdb().counts(&[], 10, 30).unwrap();
    assert_eq!(counts.series[0].base, Base::BornFromZero);
    assert_eq!(counts.total(), Ok(12));
    head.tend(35);
    head.tend(36);
    let counts = head.tsdb().counts(&[], 10, 30).unwrap();
    assert_eq!(counts.series[0].base, Base::FirstInWindow);
    assert_eq!(counts.total(), Ok(0));
}

#[test]
fn a_fractional_value_is_a_fault_and_not_a_number() {
    let head = head_with(&[(10, 1.0), (20, 1.5)]);
    let fault = head.tsdb().counts(&[], 0, 20).unwrap().total().unwrap_err();
    assert_eq!(
        fault,
        CountFault::NotAnInteger {
            value: 1.5,
            at_ms: 20
        }
    );
}

#[test]
fn a_series_without_a_sample_in_the_window_is_matched_but_not_seen() {
    let head = head_with(&[(10, 1.0), (20, stale_marker())]);
    let counts = head.tsdb().counts(&[], 15, 30).unwrap();
    assert_eq!((counts.matched, counts.series.len()), (1, 0));
    assert_eq!(counts.newest_ms, None);
}

#[test]
fn the_newest_of_a_series_is_its_last_value_and_whether_it_ended() {
    let mut head = head_with(&[(10, 1.0), (20, 2.0)]);
    let newest = |head: &Head, at| {
        let mut found = head.tsdb().newest(&[], at).unwrap().into_iter();
        found.next().map(|n| (n.at_ms, n.value, n.ended))
    };
    assert_eq!(newest(&head, 9), None);
    assert_eq!(newest(&head, 19), Some((10, 1.0, false)));
    head.append(&labels("c_total"), 30, stale_marker()).unwrap();
    assert_eq!(newest(&head, 29), Some((20, 2.0, false)));
    assert_eq!(newest(&head, 30), Some((20, 2.0, true)));
}

/// The count by reading all that is retained, as the definition says it.
fn by_definition(samples: &[(i64, f64)], born: bool, from: i64, to: i64) -> Option<(u64, Base)> {
    let seen = || samples.iter().filter(|(t, v)| *t <= to && !is_stale(*v));
    let (first_ms, first) = *seen().find(|(t, _)| *t > from)?;
    let before = seen().rfind(|(t, _)| *t <= from);
    let (mut previous, base) = match before {
        Some((_, value)) => (*value, Base::Before),
        None if born => (0.0, Base::BornFromZero),
        None => (first, Base::FirstInWindow),
    };
    let mut sum = 0.0;
    for (_, value) in seen().filter(|(t, _)| *t >= first_ms) {
        sum += if *value < previous {
            *value
        } else {
            value - previous
        };
        previous = *value;
    }
    Some((sum as u64, base))
}

proptest! {
    #[test]
    fn a_count_over_generations_is_the_count_over_everything(
        steps in prop::collection::vec((1_i64..5, prop::option::weighted(0.8, 0_u32..20)), 1..60),
        born in any::<bool>(), generation_ms in 1_i64..20, from in -3_i64..150, span in -3_i64..150,
    ) {
        let mut head = Head::new(HeadLimits { generation_ms, ..HeadLimits::default() });
        let (mut at, mut samples) = (0, Vec::new());
        for (after, value) in steps {
            at += after;
            let value = value.map_or_else(stale_marker, f64::from);
            if born {
                head.append_born_from_zero(&labels("c_total"), at, value).unwrap();
            } else {
                head.append(&labels("c_total"), at, value).unwrap();
            }
            head.tend(at);
            samples.push((at, value));
        }
        let counts = head.tsdb().counts(&[], from, from + span).unwrap();
        let got = counts.series.first().map(|s| (s.delta.unwrap(), s.base));
        prop_assert_eq!(got, by_definition(&samples, born, from, from + span));
    }

    #[test]
    fn with_resets_the_count_is_what_the_process_did(
        steps in prop::collection::vec((0_u64..1_000, any::<bool>()), 1..40)
    ) {
        // The process counts `grown`; a restart before a step clears it. A reset is visible only if the
        // value falls, so an oracle that knows the restarts bounds the result from above.
        let mut head = Head::new(HeadLimits::default());
        head.append(&labels("c_total"), 0, 0.0).unwrap();
        let (mut value, mut visible, mut truth) = (0_u64, 0_u64, 0_u64);
        for (at, (grown, restart)) in steps.iter().enumerate() {
            let next = if *restart { *grown } else { value + grown };
            visible += if next < value { next } else { next - value };
            truth += grown;
            value = next;
            head.append(&labels("c_total"), at as i64 + 1, value as f64).unwrap();
        }
        let total = head.tsdb().counts(&[], 0, 1_000).unwrap().total().unwrap();
        prop_assert_eq!(total, visible);
        prop_assert!(total <= truth);
    }
}
