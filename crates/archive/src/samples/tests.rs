use bytes::Bytes;
use mainstay_tsdb::{Labels, stale_marker};
use parquet::{
    file::reader::{FileReader as _, SerializedFileReader},
    record::{MapAccessor as _, RowAccessor as _},
};
use proptest::prelude::*;

use super::*;

type Row = (String, Vec<(String, String)>, i64, Option<u64>);

fn slice(pairs: &[(&str, &str)], samples: &[(i64, f64)]) -> SeriesSlice {
    SeriesSlice {
        labels: Labels::from_pairs(pairs.iter().copied()).unwrap(),
        timestamps: std::sync::Arc::new(samples.iter().map(|it| it.0).collect()),
        values: std::sync::Arc::new(samples.iter().map(|it| it.1).collect()),
        histograms: Vec::new(),
    }
}

fn written(all: &[SeriesSlice]) -> (Vec<u8>, Totals) {
    let mut file = SampleFile::new(Vec::new()).unwrap();
    for series in all {
        file.push(series).unwrap();
    }
    file.finish().unwrap()
}

fn rows(bytes: Vec<u8>) -> Vec<Row> {
    let reader = SerializedFileReader::new(Bytes::from(bytes)).unwrap();
    let rows = reader.get_row_iter(None).unwrap();
    rows.map(|row| {
        let row = row.unwrap();
        let map = row.get_map(1).unwrap();
        let (keys, values) = (map.get_keys(), map.get_values());
        let label = |at| {
            let text =
                |list: &dyn parquet::record::ListAccessor| list.get_string(at).unwrap().clone();
            (text(&*keys), text(&*values))
        };
        (
            row.get_string(0).unwrap().clone(),
            (0..map.len()).map(label).collect(),
            row.get_timestamp_millis(2).unwrap(),
            row.get_double(3).ok().map(f64::to_bits),
        )
    })
    .collect()
}

#[test]
fn rows_are_the_samples_and_a_series_that_ended_has_no_value_there() {
    let up = slice(
        &[("__name__", "up"), ("job", "shop"), ("at", "ä")],
        &[(-5, 1.0), (7, stale_marker()), (9, -0.0)],
    );
    let bare = slice(&[], &[(1, f64::NAN)]);
    let (bytes, totals) = written(&[bare, up]);
    assert_eq!((totals.rows, totals.series, totals.left_out), (4, 2, 0));
    let labels = vec![
        ("at".to_owned(), "ä".to_owned()),
        ("job".to_owned(), "shop".to_owned()),
    ];
    let up = |at_ms, value: Option<f64>| {
        let bits = value.map(f64::to_bits);
        ("up".to_owned(), labels.clone(), at_ms, bits)
    };
    let nan = Some(f64::NAN.to_bits());
    assert_eq!(
        rows(bytes),
        [
            (String::new(), Vec::new(), 1, nan),
            up(-5, Some(1.0)),
            up(7, None),
            up(9, Some(-0.0)),
        ]
    );
}

#[test]
fn a_file_of_nothing_is_a_file() {
    let (bytes, totals) = written(&[]);
    assert_eq!(totals, Totals::default());
    assert_eq!(rows(bytes), []);
}

#[test]
fn what_is_more_than_a_row_group_goes_on_in_the_next() {
    let samples: Vec<_> = (0..GROUP_ROWS as i64 + 3)
        .map(|at| (at, at as f64))
        .collect();
    let (bytes, totals) = written(&[slice(&[("__name__", "a")], &samples)]);
    assert_eq!(totals.rows, GROUP_ROWS as u64 + 3);
    let reader = SerializedFileReader::new(Bytes::from(bytes)).unwrap();
    let groups = reader.metadata().row_groups().iter();
    let rows: Vec<i64> = groups
        .map(parquet::file::metadata::RowGroupMetaData::num_rows)
        .collect();
    assert_eq!(rows, [GROUP_ROWS as i64, 3]);
}

proptest! {
    #[test]
    fn every_bit_of_every_sample_reads_back(
        all in proptest::collection::vec(
            (0_usize..4, proptest::collection::vec((any::<i32>(), any::<u64>()), 0..40)),
            0..6,
        ),
    ) {
        let names: [&[(&str, &str)]; 4] = [
            &[],
            &[("__name__", "x")],
            &[("__name__", "y"), ("a", "")],
            &[("a", "1"), ("b", "2"), ("c", "3")],
        ];
        let series: Vec<SeriesSlice> = all.iter().map(|(which, samples)| {
            let samples: Vec<_> = samples.iter()
                .map(|(at, bits)| (i64::from(*at), f64::from_bits(*bits)))
                .collect();
            slice(names[*which], &samples)
        }).collect();
        let wanted: Vec<(i64, Option<u64>)> = series.iter().flat_map(|it| {
            let value = |value: &f64| (!is_stale(*value)).then(|| value.to_bits());
            it.timestamps.iter().copied().zip(it.values.iter().map(value)).collect::<Vec<_>>()
        }).collect();
        let (bytes, _) = written(&series);
        let found: Vec<_> = rows(bytes).into_iter().map(|it| (it.2, it.3)).collect();
        prop_assert_eq!(found, wanted);
    }
}
