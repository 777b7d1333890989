//! Histograms as bytes: of neighbours with the same buckets each bucket is a column of counts over time.
//!
//! Guarantees: bit for bit. Neighbours whose buckets differ stand in runs of their own, one after another; within a run
//! the buckets are written once. Reading never panics and makes no more counts than a piece may have.

use std::sync::Arc;

use super::{
    ints::{Effort, put_ints, take_ints},
    pages::Span,
    values::{put_values, take_values},
};
use crate::{
    BucketCounts, Histogram, HistogramSample, MAX_BUCKETS, Tally,
    cursor::{Cursor, put_varint},
    histogram::{hint_number, hint_of, put_layout, take_layout},
};

/// Histograms of one piece at most …
const PIECE_HISTOGRAMS: usize = 512;
/// … and their buckets: what is decoded to find one.
const PIECE_BUCKETS: usize = 1 << 18;

/// Histograms that stand together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct HistogramPiece {
    pub(super) first_ms: i64,
    pub(super) count: usize,
    pub(super) times: Span,
    pub(super) values: Span,
}

/// Histograms in pieces.
pub(super) fn pieces(mut samples: &[HistogramSample]) -> impl Iterator<Item = &[HistogramSample]> {
    std::iter::from_fn(move || {
        let mut buckets = 0;
        let fits = |it: &&HistogramSample| {
            buckets += it.histogram.buckets();
            buckets <= PIECE_BUCKETS
        };
        let count = samples.iter().take(PIECE_HISTOGRAMS).take_while(fits);
        let count = count.count().max(1);
        let (piece, rest) = samples.split_at_checked(count)?;
        samples = rest;
        Some(piece)
    })
}

pub(super) fn put_histograms(out: &mut Vec<u8>, samples: &[HistogramSample], effort: Effort) {
    for run in samples.chunk_by(|a, b| a.histogram.same_layout(&b.histogram)) {
        let Some(first) = run.first() else { continue };
        put_varint(out, run.len() as u64);
        put_layout(out, &first.histogram);
        let all = || run.iter().map(|it| &*it.histogram);
        let ints = |out: &mut Vec<u8>, ints: &[i64]| {
            column(out, |out| put_ints(out, ints, effort));
        };
        let hints: Vec<i64> = all().map(|it| i64::from(hint_number(it.hint))).collect();
        ints(out, &hints);
        ints(out, &all().map(|it| it.start_ms).collect::<Vec<_>>());
        let sums: Vec<f64> = all().map(|it| it.sum).collect();
        column(out, |out| put_values(out, &sums, effort));
        match &first.histogram.counts {
            BucketCounts::Whole(_) => {
                let tallies: Vec<_> = all().filter_map(|it| it.whole()).collect();
                for at in 0..first.histogram.columns() {
                    let counts = tallies.iter().filter_map(|it| it.nth(at));
                    ints(out, &counts.map(|it| it as i64).collect::<Vec<_>>());
                }
            }
            BucketCounts::Real(_) => {
                let tallies: Vec<_> = all().filter_map(|it| it.real()).collect();
                for at in 0..first.histogram.columns() {
                    let counts: Vec<f64> = tallies.iter().filter_map(|it| it.nth(at)).collect();
                    column(out, |out| put_values(out, &counts, effort));
                }
            }
        }
    }
}

/// A column with its length before it.
fn column(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = Vec::new();
    write(&mut bytes);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(&bytes);
}

/// Reads `count` histograms, which are all that `bytes` hold.
pub(super) fn take_histograms(bytes: &[u8], count: usize) -> Option<Vec<Arc<Histogram>>> {
    let mut cursor = Cursor::new(bytes);
    let mut histograms = Vec::new();
    if count > PIECE_HISTOGRAMS {
        return None;
    }
    while histograms.len() < count {
        let run = cursor.count(count - histograms.len())?;
        let layout = take_layout(&mut cursor)?;
        take_run(&mut cursor, run, &layout, &mut histograms)?;
        if run == 0 {
            return None;
        }
    }
    cursor.is_empty().then_some(histograms)
}

fn take_run(
    cursor: &mut Cursor<'_>,
    run: usize,
    layout: &Histogram,
    into: &mut Vec<Arc<Histogram>>,
) -> Option<()> {
    let (positive, negative) = layout.sides()?;
    if run.checked_mul(positive + negative)? > PIECE_BUCKETS + MAX_BUCKETS {
        return None;
    }
    let hints = take_column(cursor, run)?;
    let starts = take_column(cursor, run)?;
    let sums = take_column_of_values(cursor, run)?;
    let columns = 2 + positive + negative;
    let counts: Vec<BucketCounts> = match layout.counts {
        BucketCounts::Whole(_) => {
            let columns: Vec<Vec<i64>> = (0..columns)
                .map(|_| take_column(cursor, run))
                .collect::<Option<_>>()?;
            let count = |column: &Vec<i64>, row: usize| column.get(row).map(|it| *it as u64);
            rows(&columns, run, positive, count)?
                .map(BucketCounts::Whole)
                .collect()
        }
        BucketCounts::Real(_) => {
            let columns: Vec<Vec<f64>> = (0..columns)
                .map(|_| take_column_of_values(cursor, run))
                .collect::<Option<_>>()?;
            let count = |column: &Vec<f64>, row: usize| column.get(row).copied();
            rows(&columns, run, positive, count)?
                .map(BucketCounts::Real)
                .collect()
        }
    };
    let about = hints.into_iter().zip(starts).zip(sums);
    for (((hint, start_ms), sum), counts) in about.zip(counts) {
        into.push(Arc::new(Histogram {
            hint: hint_of(u8::try_from(hint).ok()?)?,
            start_ms,
            sum,
            counts,
            ..layout.clone()
        }));
    }
    Some(())
}

/// Rows of columns: count, zero count, positive buckets, negative ones.
fn rows<C, N: Default>(
    columns: &[C],
    run: usize,
    positive: usize,
    count: impl Fn(&C, usize) -> Option<N>,
) -> Option<std::vec::IntoIter<Tally<N>>> {
    let row = |row: usize| {
        let mut cells = columns.iter().map(|column| count(column, row));
        Some(Tally {
            count: cells.next()??,
            zero: cells.next()??,
            positive: cells.by_ref().take(positive).collect::<Option<_>>()?,
            negative: cells.collect::<Option<_>>()?,
        })
    };
    let rows: Vec<Tally<N>> = (0..run).map(row).collect::<Option<_>>()?;
    Some(rows.into_iter())
}

fn column_bytes<'a>(cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let bytes = cursor.count(cursor.rest().len())?;
    cursor.take(bytes)
}

fn take_column(cursor: &mut Cursor<'_>, count: usize) -> Option<Vec<i64>> {
    take_ints(&mut Cursor::new(column_bytes(cursor)?), count)
}

fn take_column_of_values(cursor: &mut Cursor<'_>, count: usize) -> Option<Vec<f64>> {
    take_values(column_bytes(cursor)?, count)
}

impl Histogram {
    /// How many numbers a histogram with these buckets counts by.
    fn columns(&self) -> usize {
        2 + self.buckets()
    }

    fn whole(&self) -> Option<&Tally<u64>> {
        match &self.counts {
            BucketCounts::Whole(tally) => Some(tally),
            BucketCounts::Real(_) => None,
        }
    }

    fn real(&self) -> Option<&Tally<f64>> {
        match &self.counts {
            BucketCounts::Real(tally) => Some(tally),
            BucketCounts::Whole(_) => None,
        }
    }
}

impl<N: Copy> Tally<N> {
    fn nth(&self, at: usize) -> Option<N> {
        match at {
            0 => Some(self.count),
            1 => Some(self.zero),
            _ => {
                let sides = self.positive.get(at - 2);
                let negative = || self.negative.get(at - 2 - self.positive.len());
                sides.or_else(negative).copied()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::tests::{any_histogram, histograms};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_histograms_come_back_bit_for_bit(
            all in prop::collection::vec(any_histogram(), 1..40), times in 1_usize..20, thorough: bool,
        ) {
            let repeated = std::iter::repeat_n(all, times).flatten();
            let samples: Vec<HistogramSample> = repeated.zip(0..)
                .map(|(histogram, at_ms)| HistogramSample { at_ms, histogram: Arc::new(histogram) })
                .collect();
            let effort = if thorough { Effort::Thorough } else { Effort::Quick };
            let mut read = Vec::new();
            for piece in pieces(&samples) {
                let mut bytes = Vec::new();
                put_histograms(&mut bytes, piece, effort);
                read.extend(take_histograms(&bytes, piece.len()).unwrap());
            }
            prop_assert!(read.iter().eq(samples.iter().map(|it| &it.histogram)));
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..80), count in 0_usize..200,
        ) {
            take_histograms(&bytes, count);
        }
    }

    #[test]
    fn a_steady_histogram_takes_few_bytes() {
        let samples = histograms(120, 20);
        let mut bytes = Vec::new();
        put_histograms(&mut bytes, &samples, Effort::Quick);
        assert!(bytes.len() < 120 * 12, "{}", bytes.len());
    }
}
