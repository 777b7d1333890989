use proptest::prelude::*;

use super::*;
use crate::stale_marker;

fn labels(name: &str) -> Labels {
    Labels::from_pairs([("__name__", name)]).unwrap()
}

fn columns(samples: &[(i64, f64)]) -> Columns {
    let mut columns = Columns::default();
    for (at_ms, value) in samples {
        columns.push(*at_ms, *value);
    }
    columns
}

/// As `increase` counts, without its extrapolation.
fn grown(columns: &Columns) -> f64 {
    let real: Vec<f64> = columns
        .values
        .iter()
        .copied()
        .filter(|it| !is_stale(*it))
        .collect();
    let step = |pair: &[f64]| {
        if pair[1] < pair[0] {
            pair[1]
        } else {
            pair[1] - pair[0]
        }
    };
    real.windows(2).map(step).sum()
}

proptest! {
    #[test]
    fn a_counter_counts_the_same_at_every_resolution(
        steps in prop::collection::vec((1_i64..200_000, 0_u32..50, 0_u32..20), 1..200)
    ) {
        let (mut at_ms, mut value) = (0, 0.0);
        let mut raw = Columns::default();
        for (after, more, fate) in steps {
            at_ms += after;
            value = if fate == 0 { f64::from(more) } else { value + f64::from(more) };
            raw.push(at_ms, value);
        }
        let labels = labels("a_total");
        let fine = Summary::of(&labels, &raw, Resolution::FiveMinutes);
        let coarse = fine.coarser(&labels, Resolution::Hour);
        // From the first sample that is kept on.
        for summary in [&fine, &coarse] {
            let first = summary.kept.times[0];
            let mut since = raw.clone();
            since.cut_out((i64::MIN, first - 1));
            prop_assert_eq!(grown(&summary.kept), grown(&since));
        }
    }

    #[test]
    fn aggregates_are_those_of_all_samples_that_there_were(
        steps in prop::collection::vec((1_i64..200_000, -50_i32..50, 0_u32..20), 1..200)
    ) {
        let mut at_ms = 0;
        let mut raw = Columns::default();
        for (after, value, fate) in steps {
            at_ms += after;
            raw.push(at_ms, if fate == 0 { stale_marker() } else { f64::from(value) });
        }
        let labels = labels("gauge");
        let fine = Summary::of(&labels, &raw, Resolution::FiveMinutes);
        let coarse = fine.coarser(&labels, Resolution::Hour);
        let real: Vec<f64> = raw.values.iter().copied().filter(|it| !is_stale(*it)).collect();
        for summary in [&fine, &coarse] {
            let [count, sum, min, max] = &summary.aggregates;
            prop_assert_eq!(count.values.iter().sum::<f64>(), real.len() as f64);
            prop_assert_eq!(sum.values.iter().sum::<f64>(), real.iter().sum::<f64>());
            let least = |of: &[f64]| of.iter().copied().reduce(f64::min);
            let most = |of: &[f64]| of.iter().copied().reduce(f64::max);
            prop_assert_eq!(least(&min.values), least(&real));
            prop_assert_eq!(most(&max.values), most(&real));
            prop_assert!(summary.kept.times.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert_eq!(summary.kept.times.last(), raw.times.last());
        }
        prop_assert!(fine.kept.times.len() >= coarse.kept.times.len());
    }
}

#[test]
fn a_window_is_as_old_as_its_last_sample_and_an_end_stays_an_end() {
    let raw = columns(&[
        (1_000, 5.0),
        (2_000, 1.0),
        (3_000, stale_marker()),
        (300_000, 7.0),
    ]);
    let summary = Summary::of(&labels("load"), &raw, Resolution::FiveMinutes);
    assert_eq!(summary.kept.times, [1_000, 2_000, 3_000, 300_000]);
    let [count, sum, min, max] = &summary.aggregates;
    assert_eq!(
        (&count.times[..], &count.values[..]),
        (&[2_000, 300_000][..], &[2.0, 1.0][..])
    );
    assert_eq!(
        (sum.values[0], min.values[0], max.values[0]),
        (6.0, 1.0, 5.0)
    );
}

#[test]
fn a_gauge_that_moves_up_and_down_keeps_its_last_sample_only() {
    let raw: Vec<(i64, f64)> = (0..20)
        .map(|at| (at * 15_000, f64::from(at as i32 % 3)))
        .collect();
    let summary = Summary::of(&labels("load"), &columns(&raw), Resolution::FiveMinutes);
    assert_eq!(summary.kept.times, [285_000]);
}

#[test]
fn samples_become_the_finest_summaries_that_keep_them() {
    let both = Downsampling {
        five_minutes_ms: Some(100),
        hour_ms: Some(1_000),
    };
    assert_eq!(both.next(None, 50), Some(Resolution::FiveMinutes));
    assert_eq!(both.next(None, 200), Some(Resolution::Hour));
    assert_eq!(
        both.next(Some(Resolution::FiveMinutes), 200),
        Some(Resolution::Hour)
    );
    assert_eq!(both.next(Some(Resolution::Hour), 2_000), None);
    assert_eq!(Downsampling::default().next(None, 0), None);
}
