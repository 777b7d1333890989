use super::*;

fn slots(first: i32, counts: &[f64]) -> Vec<Slot> {
    let slot = |(at, count): (usize, &f64)| Slot {
        index: first + at as i32,
        count: *count,
    };
    counts.iter().enumerate().map(slot).collect()
}

fn exponential(schema: i32, counts: &[f64]) -> Histogram {
    Histogram {
        schema,
        count: counts.iter().sum(),
        positive: slots(0, counts),
        ..Histogram::default()
    }
}

fn custom(bounds: &[f64], counts: &[f64]) -> Histogram {
    Histogram {
        bounds: bounds.into(),
        ..exponential(CUSTOM_SCHEMA, counts)
    }
}

#[test]
fn a_sum_takes_the_coarser_schema() {
    let fine = Histogram {
        positive: slots(1, &[2.0, 2.0]),
        ..exponential(0, &[])
    };
    let coarse = Histogram {
        positive: slots(1, &[1.0]),
        ..exponential(-1, &[])
    };
    let sum = fine.plus(&coarse).unwrap().histogram;
    assert_eq!((sum.schema, sum.positive), (-1, slots(1, &[5.0])));
}

#[test]
fn a_zero_bucket_swallows_a_populated_bucket_whole() {
    let narrow = exponential(0, &[1.0, 2.0, 4.0]);
    let wide = Histogram {
        zero_threshold: 1.5,
        zero_count: 8.0,
        ..Histogram::default()
    };
    let sum = narrow.plus(&wide).unwrap().histogram;
    assert_eq!((sum.zero_threshold, sum.zero_count), (2.0, 11.0));
    assert_eq!(sum.positive, slots(2, &[4.0]));
}

#[test]
fn different_custom_bounds_meet_in_those_they_share() {
    let sum = custom(&[1.0, 5.0, 10.0], &[1.0, 1.0, 1.0, 1.0])
        .plus(&custom(&[5.0], &[2.0, 3.0]))
        .unwrap();
    assert!(sum.reconciled);
    assert_eq!(*sum.histogram.bounds, [5.0]);
    assert_eq!(sum.histogram.positive, slots(0, &[4.0, 5.0]));
}

#[test]
fn exponential_and_custom_buckets_do_not_mix() {
    let sum = exponential(0, &[1.0]).plus(&custom(&[1.0], &[1.0]));
    assert_eq!(sum.err(), Some(Incompatible));
}

#[test]
fn a_fallen_bucket_is_a_reset_even_if_the_count_grew() {
    let before = exponential(0, &[2.0, 2.0]);
    assert!(exponential(0, &[1.0, 9.0]).is_reset_after(&before));
    assert!(!exponential(0, &[2.0, 9.0]).is_reset_after(&before));
    let told = exponential(0, &[1.0, 9.0]).with_hint(ResetHint::NotReset);
    assert!(!told.is_reset_after(&before));
}

#[test]
fn a_tally_keeps_small_sums_between_large_ones() {
    let of = |sum| Histogram {
        sum,
        ..Histogram::default()
    };
    let mut tally = Tally::new(&of(1e100));
    tally.add(&of(1.0)).unwrap();
    tally.add(&of(-1e100)).unwrap();
    assert_eq!(tally.sum().sum, 1.0);
}

#[test]
fn quantiles_interpolate_exponentially() {
    let histogram = exponential(0, &[1.0, 2.0, 1.0]);
    assert_eq!(histogram.quantile(0.5).0, 2.0_f64.sqrt());
    assert_eq!(histogram.fraction(1.0, 2.0), 0.5);
    assert_eq!(custom(&[5.0, 10.0], &[2.0, 2.0]).quantile(0.25).0, 2.5);
}

#[test]
fn trimming_keeps_the_interpolated_share() {
    let trimmed = exponential(0, &[1.0, 2.0, 1.0]).trimmed(Trim::KeepBelow, 2.0_f64.sqrt());
    assert!((trimmed.count - 2.0).abs() < 1e-12);
}
