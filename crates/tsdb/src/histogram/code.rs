//! One histogram as bytes, by itself: what the log keeps.
//!
//! Guarantees: what is read back is what was written, bit for bit; reading never panics and makes no more buckets than
//! a histogram may have.

use std::sync::Arc;

use super::{BucketCounts, BucketSpan, Histogram, MAX_BUCKETS, ResetHint, Tally};
use crate::cursor::{Cursor, put_varint, put_zigzag};

/// What stands before counts that are no whole numbers.
const REAL: u8 = 1;

pub(crate) fn put_histogram(out: &mut Vec<u8>, histogram: &Histogram) {
    put_layout(out, histogram);
    out.push(hint_number(histogram.hint));
    put_zigzag(out, histogram.start_ms);
    put_bits(out, histogram.sum);
    match &histogram.counts {
        BucketCounts::Whole(tally) => {
            put_varint(out, tally.count);
            put_varint(out, tally.zero);
            for side in [&tally.positive, &tally.negative] {
                let mut before = 0_u64;
                for count in side {
                    put_zigzag(out, count.wrapping_sub(before) as i64);
                    before = *count;
                }
            }
        }
        BucketCounts::Real(tally) => {
            let sides = tally.positive.iter().chain(&tally.negative);
            for count in [&tally.count, &tally.zero].into_iter().chain(sides) {
                put_bits(out, *count);
            }
        }
    }
}

pub(crate) fn take_histogram(cursor: &mut Cursor<'_>) -> Option<Histogram> {
    let layout = take_layout(cursor)?;
    let (hint, start_ms) = (hint_of(cursor.byte()?)?, cursor.zigzag()?);
    let sum = take_bits(cursor)?;
    let (positive, negative) = layout.sides()?;
    let counts = if matches!(layout.counts, BucketCounts::Whole(_)) {
        let (count, zero) = (cursor.varint()?, cursor.varint()?);
        let mut side = |buckets| {
            let mut count = 0_u64;
            let next = |_| {
                count = count.wrapping_add(cursor.zigzag()? as u64);
                Some(count)
            };
            (0..buckets).map(next).collect::<Option<Vec<u64>>>()
        };
        let (positive, negative) = (side(positive)?, side(negative)?);
        BucketCounts::Whole(Tally {
            count,
            zero,
            positive,
            negative,
        })
    } else {
        let (count, zero) = (take_bits(cursor)?, take_bits(cursor)?);
        let mut side = |buckets| {
            let bits = |_| take_bits(cursor);
            (0..buckets).map(bits).collect::<Option<Vec<f64>>>()
        };
        let (positive, negative) = (side(positive)?, side(negative)?);
        BucketCounts::Real(Tally {
            count,
            zero,
            positive,
            negative,
        })
    };
    Some(Histogram {
        hint,
        start_ms,
        sum,
        counts,
        ..layout
    })
}

/// Which buckets it has, and whether its counts are whole.
pub(crate) fn put_layout(out: &mut Vec<u8>, histogram: &Histogram) {
    out.push(match &histogram.counts {
        BucketCounts::Whole(_) => 0,
        BucketCounts::Real(_) => REAL,
    });
    put_zigzag(out, i64::from(histogram.schema));
    put_bits(out, histogram.zero_threshold);
    for spans in [&histogram.positive, &histogram.negative] {
        put_varint(out, spans.len() as u64);
        for span in &**spans {
            put_zigzag(out, i64::from(span.offset));
            put_varint(out, u64::from(span.len));
        }
    }
    put_varint(out, histogram.bounds.len() as u64);
    for bound in &*histogram.bounds {
        put_bits(out, *bound);
    }
}

/// A histogram with these buckets and no counts.
pub(crate) fn take_layout(cursor: &mut Cursor<'_>) -> Option<Histogram> {
    let counts = match cursor.byte()? {
        0 => BucketCounts::Whole(Tally::default()),
        REAL => BucketCounts::Real(Tally::default()),
        _ => return None,
    };
    let schema = i32::try_from(cursor.zigzag()?).ok()?;
    let zero_threshold = take_bits(cursor)?;
    let mut spans = || -> Option<Arc<[BucketSpan]>> {
        let count = cursor.count(MAX_BUCKETS)?;
        let span = |_| {
            Some(BucketSpan {
                offset: i32::try_from(cursor.zigzag()?).ok()?,
                len: u32::try_from(cursor.varint()?).ok()?,
            })
        };
        (0..count).map(span).collect()
    };
    let (positive, negative) = (spans()?, spans()?);
    let bounds = cursor.count(MAX_BUCKETS)?;
    let bounds = (0..bounds)
        .map(|_| take_bits(cursor))
        .collect::<Option<_>>()?;
    Some(Histogram {
        schema,
        zero_threshold,
        positive,
        negative,
        bounds,
        counts,
        ..Histogram::default()
    })
}

impl Histogram {
    /// How many buckets the spans of either side name; `None` if those are more than there may be.
    pub(crate) fn sides(&self) -> Option<(usize, usize)> {
        let side = |spans: &[BucketSpan]| spans.iter().map(|span| span.len as usize).sum::<usize>();
        let (positive, negative) = (side(&self.positive), side(&self.negative));
        (positive.checked_add(negative)? <= MAX_BUCKETS).then_some((positive, negative))
    }
}

pub(crate) fn hint_number(hint: ResetHint) -> u8 {
    match hint {
        ResetHint::Unknown => 0,
        ResetHint::Reset => 1,
        ResetHint::NotReset => 2,
        ResetHint::Gauge => 3,
    }
}

pub(crate) fn hint_of(number: u8) -> Option<ResetHint> {
    Some(match number {
        0 => ResetHint::Unknown,
        1 => ResetHint::Reset,
        2 => ResetHint::NotReset,
        3 => ResetHint::Gauge,
        _ => return None,
    })
}

fn put_bits(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}

fn take_bits(cursor: &mut Cursor<'_>) -> Option<f64> {
    let bytes = cursor.take(8)?.first_chunk::<8>()?;
    Some(f64::from_bits(u64::from_le_bytes(*bytes)))
}
