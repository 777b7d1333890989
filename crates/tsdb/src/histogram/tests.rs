use proptest::prelude::*;

use super::*;
use crate::cursor::Cursor;

/// Histograms of a service under steady load: all buckets grow.
pub(crate) fn histograms(count: i64, buckets: u32) -> Vec<HistogramSample> {
    let sample = |at: i64| {
        let positive: Vec<u64> = (0..u64::from(buckets))
            .map(|bucket| (bucket + 1) * at as u64)
            .collect();
        let histogram = Histogram {
            schema: 3,
            sum: at as f64 * 1.5,
            positive: [BucketSpan {
                offset: -3,
                len: buckets,
            }]
            .into(),
            counts: BucketCounts::Whole(Tally {
                count: positive.iter().sum(),
                positive,
                ..Tally::default()
            }),
            ..Histogram::default()
        };
        HistogramSample {
            at_ms: at * 15_000,
            histogram: Arc::new(histogram),
        }
    };
    (0..count).map(sample).collect()
}

fn any_spans() -> impl Strategy<Value = Vec<(i32, u32)>> {
    prop::collection::vec((0_i32..5, 0_u32..4), 0..4)
}

fn spans(spans: &[(i32, u32)], first: i32) -> Arc<[BucketSpan]> {
    let span = |(at, (offset, len)): (usize, &(i32, u32))| BucketSpan {
        offset: if at == 0 { first } else { *offset },
        len: *len,
    };
    spans.iter().enumerate().map(span).collect()
}

/// Good ones of any kind.
pub(crate) fn any_histogram() -> impl Strategy<Value = Histogram> {
    let odd = prop_oneof![any::<f64>(), Just(-0.0), Just(f64::NAN), Just(17.25)];
    let about = (0_u8..3, -4_i32..=8, any::<i64>(), 0_u8..4, odd);
    let counts = prop::collection::vec(prop_oneof![0_u64..50, any::<u64>()], 26);
    let sides = (any_spans(), any_spans(), -9_i32..9);
    (about, sides, counts).prop_map(
        |((kind, schema, start_ms, hint, sum), (positive, negative, first), counts)| {
            let custom = kind == 2;
            let positive = spans(&positive, if custom { 0 } else { first });
            let negative = spans(if custom { &[] } else { &negative }, first);
            let len = |spans: &[BucketSpan]| spans.iter().map(|it| it.len as usize).sum::<usize>();
            let (above, below) = (len(&positive), len(&negative));
            let mut counts = counts.into_iter();
            let zero = counts.next().filter(|_| !custom).unwrap_or(0) >> 8;
            let above: Vec<u64> = counts.by_ref().take(above).map(|it| it >> 8).collect();
            let below: Vec<u64> = counts.take(below).map(|it| it >> 8).collect();
            let bounds = if custom { 30 } else { 0 };
            let counts = if kind == 1 {
                let real =
                    |counts: Vec<u64>| counts.into_iter().map(|it| it as f64 / 3.0).collect();
                BucketCounts::Real(Tally {
                    count: 7.5,
                    zero: zero as f64 / 7.0,
                    positive: real(above),
                    negative: real(below),
                })
            } else {
                BucketCounts::Whole(Tally {
                    count: zero + above.iter().chain(&below).sum::<u64>(),
                    zero,
                    positive: above,
                    negative: below,
                })
            };
            Histogram {
                schema: if custom { CUSTOM_SCHEMA } else { schema },
                hint: code::hint_of(hint).unwrap(),
                start_ms,
                zero_threshold: if custom { 0.0 } else { 1e-9 },
                sum: if crate::is_stale(sum) { 1.0 } else { sum },
                positive,
                negative,
                bounds: (0..bounds).map(f64::from).collect(),
                counts,
            }
        },
    )
}

proptest! {
    #[test]
    fn a_histogram_comes_back_bit_for_bit(histogram in any_histogram()) {
        prop_assert_eq!(histogram.check(), Ok(()));
        let mut bytes = Vec::new();
        put_histogram(&mut bytes, &histogram);
        let mut cursor = Cursor::new(&bytes);
        prop_assert_eq!(take_histogram(&mut cursor), Some(histogram));
        prop_assert!(cursor.is_empty());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        take_histogram(&mut Cursor::new(&bytes));
    }
}

fn good() -> Histogram {
    Histogram::clone(&histograms(2, 3)[1].histogram)
}

fn fault(change: impl FnOnce(&mut Histogram)) -> String {
    let mut histogram = good();
    change(&mut histogram);
    histogram.check().unwrap_err().to_string()
}

#[test]
fn what_makes_no_sense_is_refused_with_the_reason() {
    assert_eq!(good().check(), Ok(()));
    assert!(fault(|it| it.schema = 9).contains("no schema 9"));
    assert!(fault(|it| it.positive = [].into()).contains("have 0 buckets, but 3 counts"));
    let spans = |offset| {
        let span = |offset, len| BucketSpan { offset, len };
        [span(0, 1), span(offset, 2)]
    };
    assert!(fault(|it| it.positive = spans(-1).into()).contains("negative offset -1"));
    assert!(fault(|it| it.positive = spans(i32::MAX).into()).contains("beyond the last"));
    let text = fault(|it| {
        if let BucketCounts::Whole(tally) = &mut it.counts {
            tally.count = 5;
        }
    });
    assert!(text.contains("6 observations are in buckets, but the count is 5"));
    assert!(fault(|it| it.bounds = [1.0].into()).contains("custom bounds"));
    assert!(fault(|it| it.zero_threshold = -1.0).contains("zero threshold"));
    let custom = |it: &mut Histogram, bounds: &[f64]| {
        it.schema = CUSTOM_SCHEMA;
        it.positive = [BucketSpan { offset: 0, len: 3 }].into();
        it.bounds = bounds.into();
    };
    assert!(fault(|it| custom(it, &[1.0])).contains("index 2, but there are only 1"));
    assert!(fault(|it| custom(it, &[2.0, 1.0])).contains("must ascend"));
    assert!(fault(|it| custom(it, &[1.0, f64::INFINITY])).contains("finite"));
    let mut whole = good();
    custom(&mut whole, &[1.0, 2.0]);
    assert_eq!(whole.check(), Ok(()));
}

#[test]
fn observations_that_are_no_numbers_are_in_no_bucket() {
    let mut histogram = good();
    histogram.sum = f64::NAN;
    if let BucketCounts::Whole(tally) = &mut histogram.counts {
        tally.count += 1;
    }
    assert_eq!(histogram.check(), Ok(()));
}
