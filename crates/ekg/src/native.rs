//! Native histograms as protobuf messages spell them: spans of buckets, and counts as differences or as they are.
//!
//! Guarantees: what comes out has passed [`Histogram::check`], or there is the reason why not; a resolution that is finer
//! than the store's is reduced, which adds buckets up and loses no observation. Lists are bounded while they are read.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use mainstay_tsdb::{
    BucketCounts, BucketSpan, CUSTOM_SCHEMA, Histogram, HistogramFault, MAX_BUCKETS, ResetHint,
    Tally,
};

use crate::wire::{
    Field, Reader, WireError,
    put::{self, Put},
};

/// The finest schema that is stored.
const FINEST: i32 = 8;
/// The finest that anybody sends; it is reduced to the finest that is stored.
const FINEST_SENT: i32 = 52;

/// One side as it is sent: of both lists one is empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Side {
    pub(crate) spans: Vec<BucketSpan>,
    /// Whole counts, each as its difference to the one before.
    pub(crate) deltas: Vec<i64>,
    /// Counts that need not be whole.
    pub(crate) counts: Vec<f64>,
}

/// A histogram as it is sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sent {
    /// Set where counts are whole …
    pub(crate) count: u64,
    pub(crate) zero: u64,
    /// … and where they need not be.
    pub(crate) real_count: Option<f64>,
    pub(crate) real_zero: Option<f64>,
    pub(crate) sum: f64,
    pub(crate) schema: i32,
    pub(crate) zero_threshold: f64,
    pub(crate) positive: Side,
    pub(crate) negative: Side,
    pub(crate) hint: ResetHint,
    pub(crate) start_ms: i64,
    pub(crate) bounds: Vec<f64>,
}

impl Side {
    /// Reads field `number`, where the spans have the number `first` and what follows them the next ones.
    pub(crate) fn read(&mut self, field: &Field<'_>, first: u32) -> Result<(), WireError> {
        match field.number.checked_sub(first) {
            Some(0) => {
                self.spans.push(span(field.message()?)?);
                field.within(self.spans.len(), MAX_BUCKETS, "spans of one histogram")
            }
            Some(1) => field.each_unsigned(|zigzag| {
                self.deltas.push(signed(zigzag));
                field.within(self.deltas.len(), MAX_BUCKETS, "buckets of one histogram")
            }),
            Some(2) => {
                field.each_fixed(|bits| {
                    // One more than there may be tells that there are too many.
                    if self.counts.len() <= MAX_BUCKETS {
                        self.counts.push(f64::from_bits(bits));
                    }
                })?;
                field.within(self.counts.len(), MAX_BUCKETS, "buckets of one histogram")
            }
            _ => Ok(()),
        }
    }

    fn whole(&self) -> Result<Vec<u64>, HistogramFault> {
        let mut count = 0_i64;
        let whole = self.deltas.iter().map(|delta| {
            count = count.saturating_add(*delta);
            u64::try_from(count).map_err(|_| HistogramFault::Count(count as f64))
        });
        whole.collect()
    }
}

fn span(mut fields: Reader<'_>) -> Result<BucketSpan, WireError> {
    let mut span = BucketSpan::default();
    while let Some(field) = fields.field()? {
        match field.number {
            1 => span.offset = signed(field.unsigned()?) as i32,
            2 => span.len = field.unsigned()? as u32,
            _ => {}
        }
    }
    Ok(span)
}

/// A number in zigzag.
pub(crate) fn signed(zigzag: u64) -> i64 {
    (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64)
}

impl Sent {
    /// Reads bounds of custom buckets.
    pub(crate) fn read_bounds(&mut self, field: &Field<'_>) -> Result<(), WireError> {
        field.each_fixed(|bits| {
            if self.bounds.len() <= MAX_BUCKETS {
                self.bounds.push(f64::from_bits(bits));
            }
        })?;
        field.within(self.bounds.len(), MAX_BUCKETS, "bounds of one histogram")
    }

    /// Whether it is the end of its series.
    pub(crate) fn is_stale(&self) -> bool {
        mainstay_tsdb::is_stale(self.sum)
    }

    /// The histogram that it says.
    pub(crate) fn histogram(self) -> Result<Histogram, HistogramFault> {
        let real = self.real_count.is_some() || self.real_zero.is_some();
        let counts = if real {
            BucketCounts::Real(Tally {
                count: self.real_count.unwrap_or(0.0),
                zero: self.real_zero.unwrap_or(0.0),
                positive: self.positive.counts,
                negative: self.negative.counts,
            })
        } else {
            BucketCounts::Whole(Tally {
                count: self.count,
                zero: self.zero,
                positive: self.positive.whole()?,
                negative: self.negative.whole()?,
            })
        };
        let mut histogram = Histogram {
            schema: self.schema,
            hint: self.hint,
            start_ms: self.start_ms,
            zero_threshold: self.zero_threshold,
            sum: self.sum,
            positive: self.positive.spans.into(),
            negative: self.negative.spans.into(),
            bounds: self.bounds.into(),
            counts,
        };
        if (FINEST + 1..=FINEST_SENT).contains(&histogram.schema) {
            // Spans and counts have to agree before they are added up.
            let schema = histogram.schema;
            histogram.schema = FINEST;
            histogram.check()?;
            histogram.schema = schema;
            reduce(&mut histogram, (schema - FINEST) as u32);
        }
        histogram.check()?;
        Ok(histogram)
    }
}

/// Makes buckets of an exponential histogram wider, so that each power of two has 2^`by` times fewer.
pub(crate) fn reduce(histogram: &mut Histogram, by: u32) {
    if by == 0 || histogram.schema == CUSTOM_SCHEMA {
        return;
    }
    histogram.schema -= by as i32;
    let (positive, negative) = (histogram.positive.clone(), histogram.negative.clone());
    match &mut histogram.counts {
        BucketCounts::Whole(tally) => {
            let add = |a: u64, b: u64| a.saturating_add(b);
            (histogram.positive, tally.positive) = reduced(&positive, &tally.positive, by, add);
            (histogram.negative, tally.negative) = reduced(&negative, &tally.negative, by, add);
        }
        BucketCounts::Real(tally) => {
            let add = |a: f64, b: f64| a + b;
            (histogram.positive, tally.positive) = reduced(&positive, &tally.positive, by, add);
            (histogram.negative, tally.negative) = reduced(&negative, &tally.negative, by, add);
        }
    }
}

fn reduced<N: Copy>(
    spans: &[BucketSpan],
    counts: &[N],
    by: u32,
    add: impl Fn(N, N) -> N,
) -> (std::sync::Arc<[BucketSpan]>, Vec<N>) {
    let mut slots: Vec<(i32, N)> = Vec::new();
    for (index, count) in indices(spans).zip(counts) {
        // Bucket i ends at 2^(i · 2^−schema), inclusive: the wider one that holds it ends at or after that.
        let wider = (index.saturating_sub(1) >> by.min(31)) + 1;
        match slots.last_mut() {
            Some((last, sum)) if *last == wider => *sum = add(*sum, *count),
            _ => slots.push((wider, *count)),
        }
    }
    spans_of(&slots)
}

/// The index of each bucket.
pub(crate) fn indices(spans: &[BucketSpan]) -> impl Iterator<Item = i32> {
    let mut next = 0_i32;
    spans.iter().flat_map(move |span| {
        let first = next.saturating_add(span.offset);
        next = first.saturating_add_unsigned(span.len);
        first..next
    })
}

/// Buckets by index, ascending, as spans and counts.
pub(crate) fn spans_of<N: Copy>(slots: &[(i32, N)]) -> (std::sync::Arc<[BucketSpan]>, Vec<N>) {
    let mut spans: Vec<BucketSpan> = Vec::new();
    let mut end = 0_i32;
    for (index, _) in slots {
        match spans.last_mut() {
            Some(span) if *index == end => span.len += 1,
            _ => spans.push(BucketSpan {
                offset: index.saturating_sub(end),
                len: 1,
            }),
        }
        end = index.saturating_add(1);
    }
    (
        spans.into(),
        slots.iter().map(|(_, count)| *count).collect(),
    )
}

/// A histogram as remote write and remote read say it.
pub(crate) fn message(at_ms: i64, histogram: &Histogram) -> Put {
    let mut message = Put::default();
    let (sides, spans) = match &histogram.counts {
        BucketCounts::Whole(tally) => {
            message.unsigned(1, tally.count);
            message.unsigned(6, tally.zero);
            let deltas = |counts: &[u64]| {
                let mut before = 0_u64;
                let mut packed = Vec::new();
                for count in counts {
                    put::varint(&mut packed, zigzag(count.wrapping_sub(before) as i64));
                    before = *count;
                }
                packed
            };
            ([deltas(&tally.negative), deltas(&tally.positive)], [9, 12])
        }
        BucketCounts::Real(tally) => {
            message.double(2, tally.count);
            message.double(7, tally.zero);
            (
                [doubles(&tally.negative), doubles(&tally.positive)],
                [10, 13],
            )
        }
    };
    message.double(3, histogram.sum);
    message.unsigned(4, zigzag(i64::from(histogram.schema)));
    message.double(5, histogram.zero_threshold);
    for (number, all) in [(8, &histogram.negative), (11, &histogram.positive)] {
        for span in &**all {
            let mut told = Put::default();
            told.unsigned(1, zigzag(i64::from(span.offset)));
            told.unsigned(2, u64::from(span.len));
            message.message(number, &told);
        }
    }
    for (number, packed) in spans.into_iter().zip(&sides) {
        if !packed.is_empty() {
            message.bytes(number, packed);
        }
    }
    message.unsigned(
        14,
        match histogram.hint {
            ResetHint::Unknown => 0,
            ResetHint::Reset => 1,
            ResetHint::NotReset => 2,
            ResetHint::Gauge => 3,
        },
    );
    message.signed(15, at_ms);
    if !histogram.bounds.is_empty() {
        message.bytes(16, &doubles(&histogram.bounds));
    }
    if histogram.start_ms != 0 {
        message.signed(17, histogram.start_ms);
    }
    message
}

fn doubles(values: &[f64]) -> Vec<u8> {
    let bits = values
        .iter()
        .flat_map(|value| value.to_bits().to_le_bytes());
    bits.collect()
}

fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

/// The hint of a message.
pub(crate) fn hint(number: u64) -> ResetHint {
    match number {
        1 => ResetHint::Reset,
        2 => ResetHint::NotReset,
        3 => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(offset: i32, len: u32) -> BucketSpan {
        BucketSpan { offset, len }
    }

    #[test]
    fn differences_become_counts_and_a_count_below_zero_is_refused() {
        let mut sent = Sent {
            count: 9,
            sum: 1.0,
            positive: Side {
                spans: vec![span(-1, 2), span(3, 1)],
                deltas: vec![2, 1, 1],
                counts: Vec::new(),
            },
            ..Sent::default()
        };
        let BucketCounts::Whole(tally) = sent.clone().histogram().unwrap().counts else {
            panic!("whole counts");
        };
        assert_eq!(tally.positive, [2, 3, 4]);
        sent.positive.deltas = vec![2, -3, 1];
        let fault = sent.histogram().unwrap_err();
        assert_eq!(fault, HistogramFault::Count(-1.0));
    }

    #[test]
    fn a_resolution_that_is_too_fine_is_reduced_and_no_observation_lost() {
        let sent = Sent {
            real_count: Some(15.0),
            schema: 10,
            positive: Side {
                spans: vec![span(-4, 6), span(2, 1)],
                deltas: Vec::new(),
                counts: vec![1.0, 2.0, 3.0, 4.0, 0.0, 0.0, 5.0],
            },
            ..Sent::default()
        };
        let histogram = sent.histogram().unwrap();
        assert_eq!(histogram.schema, 8);
        // Of -4..=1 and 4: -4 goes to -1, -3..=0 to 0, 1 and 4 to 1.
        assert_eq!(&*histogram.positive, &[span(-1, 3)]);
        let BucketCounts::Real(tally) = histogram.counts else {
            panic!("real counts");
        };
        assert_eq!(tally.positive, [1.0, 9.0, 5.0]);
    }

    #[test]
    fn buckets_keep_their_places_as_spans() {
        let spans = [span(-2, 2), span(0, 1), span(4, 2)];
        let places: Vec<i32> = indices(&spans).collect();
        assert_eq!(places, [-2, -1, 0, 5, 6]);
        let slots: Vec<(i32, u64)> = places.into_iter().map(|it| (it, 1)).collect();
        assert_eq!(&*spans_of(&slots).0, &[span(-2, 3), span(4, 2)]);
    }
}
