//! What the log keeps of a batch.
//!
//! Guarantees: what is read back is what was written, bit for bit. Records are columns (numbers of series, times,
//! values), each coded by what changes: a batch of one scrape takes a few bytes a sample. A value is coded by the
//! one before it of its series since [`Kind::Epoch`] or [`Kind::Generation`], zero at first: after a gap a reader
//! may use no samples until the next of these.

use mainstay_wal::{Group, MAX_PAYLOAD_BYTES};

use crate::{
    HistogramSample, Labels,
    cursor::{Cursor, from_zigzag, put_text, put_varint, put_zigzag, to_zigzag},
    histogram::{put_histogram, take_histogram},
};

/// Samples in one record.
const RECORD_SAMPLES: usize = 1 << 16;
/// A record of series is ended when it has so many bytes; one more series still fits.
const SERIES_BYTES: usize = MAX_PAYLOAD_BYTES / 2;
/// A record of histograms is ended when it has so many bytes; one more still fits.
const HISTOGRAMS_BYTES: usize = MAX_PAYLOAD_BYTES / 2;
/// Above this a double no longer holds every integer.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// The kinds of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Numbers of series mean nothing any more, values neither.
    Generation = 1,
    /// Values begin at zero again.
    Epoch = 2,
    /// Numbers of series, and what they mean.
    Series = 3,
    /// Samples newer than those before of their series.
    Samples = 4,
    /// Samples older than those before of their series.
    Late = 5,
    /// Samples that are histograms, each by itself.
    Histograms = 6,
}

impl Kind {
    pub(crate) fn of(byte: u8) -> Option<Self> {
        let all = [
            Self::Generation,
            Self::Epoch,
            Self::Series,
            Self::Samples,
            Self::Late,
            Self::Histograms,
        ];
        all.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// A sample and the value it is coded by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) id: u32,
    pub(crate) at_ms: i64,
    pub(crate) before: u64,
    pub(crate) bits: u64,
}

/// Gathers what a batch adds, until it becomes frames.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    series: Vec<u8>,
    samples: Vec<Change>,
    late: Vec<Change>,
    histograms: Vec<u8>,
    payload: Vec<u8>,
}

impl Recorder {
    /// A series is used for the first time in this generation.
    pub(crate) fn series(
        &mut self,
        id: u32,
        labels: &Labels,
        born_ms: Option<i64>,
        group: &mut Group,
    ) {
        put_varint(&mut self.series, u64::from(id));
        put_text(&mut self.series, labels.key());
        match born_ms {
            None => self.series.push(0),
            Some(at_ms) => {
                self.series.push(1);
                put_zigzag(&mut self.series, at_ms);
            }
        }
        if self.series.len() >= SERIES_BYTES {
            self.flush(group);
        }
    }

    pub(crate) fn sample(&mut self, change: Change) {
        self.samples.push(change);
    }

    /// Bytes of samples gathered.
    pub(crate) fn bytes(&self) -> usize {
        (self.samples.len() + self.late.len()) * size_of::<Change>() + self.histograms.len()
    }

    /// A sample that is a histogram; `late` as of numbers.
    pub(crate) fn histogram(
        &mut self,
        id: u32,
        late: bool,
        sample: &HistogramSample,
        group: &mut Group,
    ) {
        let out = &mut self.histograms;
        put_varint(out, u64::from(id) << 1 | u64::from(late));
        put_zigzag(out, sample.at_ms);
        put_histogram(out, &sample.histogram);
        if out.len() >= HISTOGRAMS_BYTES {
            self.flush(group);
        }
    }

    pub(crate) fn late(&mut self, change: Change) {
        self.late.push(change);
    }

    /// Makes frames of what was gathered; returns their bytes.
    pub(crate) fn flush(&mut self, group: &mut Group) -> usize {
        let before = group.bytes();
        if !self.series.is_empty() {
            group.push(Kind::Series as u8, &self.series);
            self.series.clear();
        }
        for (kind, changes) in [(Kind::Samples, &self.samples), (Kind::Late, &self.late)] {
            for changes in changes.chunks(RECORD_SAMPLES) {
                self.payload.clear();
                write_changes(&mut self.payload, changes);
                group.push(kind as u8, &self.payload);
            }
        }
        // After the numbers: a reader knows by this order, not by time, what came first.
        if !self.histograms.is_empty() {
            group.push(Kind::Histograms as u8, &self.histograms);
            self.histograms.clear();
        }
        self.samples.clear();
        self.late.clear();
        group.bytes() - before
    }
}

/// Reads a record of series.
pub(crate) fn read_series(
    payload: &[u8],
    visit: &mut dyn FnMut(u32, Labels, Option<i64>),
) -> Option<()> {
    let mut cursor = Cursor::new(payload);
    while !cursor.is_empty() {
        let id = u32::try_from(cursor.varint()?).ok()?;
        let labels = Labels::from_key(cursor.text()?)?;
        let born_ms = match cursor.byte()? {
            0 => None,
            _ => Some(cursor.zigzag()?),
        };
        visit(id, labels, born_ms);
    }
    Some(())
}

/// Reads a record of histograms: the number of each one's series, whether it was late, and it.
pub(crate) fn read_histograms(
    payload: &[u8],
    visit: &mut dyn FnMut(u32, bool, HistogramSample),
) -> Option<()> {
    let mut cursor = Cursor::new(payload);
    while !cursor.is_empty() {
        let number = cursor.varint()?;
        let (id, late) = (u32::try_from(number >> 1).ok()?, number & 1 == 1);
        let at_ms = cursor.zigzag()?;
        let histogram = take_histogram(&mut cursor)?.into();
        visit(id, late, HistogramSample { at_ms, histogram });
    }
    Some(())
}

fn write_changes(out: &mut Vec<u8>, changes: &[Change]) {
    put_varint(out, changes.len() as u64);
    // Runs of neighbours: how far the first is from the one after the last run, and how many follow it.
    let mut next = 0;
    for run in changes.chunk_by(|a, b| a.id.wrapping_add(1) == b.id) {
        put_zigzag(out, i64::from(run[0].id) - next);
        put_varint(out, run.len() as u64);
        next = i64::from(run[run.len() - 1].id) + 1;
    }
    let mut time = 0;
    for run in changes.chunk_by(|a, b| a.at_ms == b.at_ms) {
        put_zigzag(out, run[0].at_ms.wrapping_sub(time));
        put_varint(out, run.len() as u64);
        time = run[0].at_ms;
    }
    for change in changes {
        put_value(out, change.before, change.bits);
    }
}

/// Reads a record of samples. `before` is asked for the value that a series had before; it is told the new one
/// with the next call, or by `visit`.
pub(crate) fn read_changes(
    payload: &[u8],
    mut before: impl FnMut(u32) -> u64,
    mut visit: impl FnMut(Change),
) -> Option<()> {
    let mut cursor = Cursor::new(payload);
    let count = cursor.count(RECORD_SAMPLES)?;
    let mut ids = Vec::with_capacity(count);
    let mut next = 0_i64;
    while ids.len() < count {
        let first = next.checked_add(cursor.zigzag()?)?;
        let run = cursor.count(count - ids.len())?;
        for id in first..first.checked_add(run as i64)? {
            ids.push(u32::try_from(id).ok()?);
        }
        next = first + run as i64;
    }
    let mut times = Vec::with_capacity(count);
    let mut time = 0_i64;
    while times.len() < count {
        time = time.wrapping_add(cursor.zigzag()?);
        let run = cursor.count(count - times.len())?;
        times.resize(times.len() + run, time);
    }
    for (id, at_ms) in ids.into_iter().zip(times) {
        let before = before(id);
        let bits = take_value(&mut cursor, before)?;
        visit(Change {
            id,
            at_ms,
            before,
            bits,
        });
    }
    Some(())
}

/// Codes a value by the one before: whole numbers by their difference (lowest bit 0), others by the bytes that
/// differ (lowest bit 1, then 3 bits of zero bytes below, then 4 bits of how many bytes follow).
pub(crate) fn put_value(out: &mut Vec<u8>, before: u64, bits: u64) {
    if let (Some(a), Some(b)) = (whole(before), whole(bits)) {
        put_varint(out, to_zigzag(b - a) << 1);
        return;
    }
    let differ = before ^ bits;
    let below = (differ.trailing_zeros() / 8).min(7);
    let shifted = differ >> (below * 8);
    let bytes = (64 - shifted.leading_zeros()).div_ceil(8);
    out.push(1 | (below << 1 | bytes << 4) as u8);
    out.extend_from_slice(&shifted.to_le_bytes()[..bytes as usize]);
}

pub(crate) fn take_value(cursor: &mut Cursor<'_>, before: u64) -> Option<u64> {
    let first = *cursor.rest().first()?;
    if first & 1 == 0 {
        let delta = from_zigzag(cursor.varint()? >> 1);
        let value = whole(before)?.checked_add(delta)?;
        return Some((value as f64).to_bits());
    }
    cursor.byte()?;
    let (below, bytes) = (first >> 1 & 7, usize::from(first >> 4));
    let mut shifted = [0; 8];
    shifted
        .get_mut(..bytes)?
        .copy_from_slice(cursor.take(bytes)?);
    Some(before ^ u64::from_le_bytes(shifted) << (below * 8))
}

/// The whole number that these are exactly the bits of.
fn whole(bits: u64) -> Option<i64> {
    let value = f64::from_bits(bits);
    let exact = value.abs() <= MAX_EXACT;
    let number = if exact { value as i64 } else { return None };
    ((number as f64).to_bits() == bits).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn any_bits() -> impl Strategy<Value = u64> {
        prop_oneof![
            any::<u64>(),
            (-1_000_i64..1_000).prop_map(|n| (n as f64).to_bits()),
            (-1_000_i64..1_000).prop_map(|n| (n as f64 / 100.0).to_bits()),
            prop::sample::select(vec![
                crate::STALE_MARKER_BITS,
                (-0.0_f64).to_bits(),
                f64::MAX.to_bits(),
                MAX_EXACT.to_bits(),
                (-MAX_EXACT).to_bits(),
                f64::NEG_INFINITY.to_bits(),
            ]),
        ]
    }

    proptest! {
        #[test]
        fn samples_come_back_bit_for_bit(
            samples in prop::collection::vec((0_u32..20, any::<i64>(), any_bits()), 0..60)
        ) {
            let mut before = BTreeMap::new();
            let changes: Vec<Change> = samples
                .into_iter()
                .map(|(id, at_ms, bits)| {
                    let before = before.insert(id, bits).unwrap_or(0);
                    Change { id, at_ms, before, bits }
                })
                .collect();
            let mut payload = Vec::new();
            write_changes(&mut payload, &changes);
            let known = std::cell::RefCell::new(BTreeMap::new());
            let mut found = Vec::new();
            let read = read_changes(
                &payload,
                |id| known.borrow().get(&id).copied().unwrap_or(0),
                |change| {
                    known.borrow_mut().insert(change.id, change.bits);
                    found.push(change);
                },
            );
            prop_assert_eq!(read, Some(()));
            prop_assert_eq!(found, changes);
        }

        #[test]
        fn any_bytes_are_read_or_refused(payload in prop::collection::vec(any::<u8>(), 0..60)) {
            read_changes(&payload, |_| 0, |_| ());
            read_series(&payload, &mut |_, _, _| ());
        }
    }

    #[test]
    fn a_scrape_of_counters_takes_two_bytes_a_sample() {
        let changes: Vec<Change> = (0..1_000)
            .map(|id| Change {
                id,
                at_ms: 1_700_000_000_000,
                before: f64::from(id).to_bits(),
                bits: f64::from(id + 40).to_bits(),
            })
            .collect();
        let mut payload = Vec::new();
        write_changes(&mut payload, &changes);
        assert!(payload.len() < 2_020, "{}", payload.len());
    }
}
