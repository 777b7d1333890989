//! The series of a part, in blocks: each with its full labels, its end, and where its samples are.
//!
//! Guarantees: a block is read by itself; what is read back is what was written. Series stand in the order of their
//! labels, so that neighbours share most of them and each says only what it does not share.

use super::{histograms::HistogramPiece, pages::Span};
use crate::{
    Labels,
    cursor::{Cursor, put_text_bytes, put_varint, put_zigzag},
    memtable::Last,
    record::{put_value, take_value},
};

/// Series in one block: what is read to find one.
pub(super) const BLOCK_SERIES: u32 = 128;
/// Samples of one piece at most: what is decoded to find one.
const PIECE_SAMPLES: usize = 4_096;

const BORN: u8 = 1;
const ENDED: u8 = 2;
const REAL: u8 = 4;
const HISTOGRAMS: u8 = 8;

/// Samples that stand together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Piece {
    pub(super) first_ms: i64,
    pub(super) times: Span,
    pub(super) values: Span,
}

/// A series.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stored {
    /// The canonical form of its labels.
    pub(super) key: Vec<u8>,
    pub(super) born_ms: Option<i64>,
    pub(super) samples: usize,
    pub(super) last: Last,
    pub(super) pieces: Vec<Piece>,
    pub(super) histograms: Vec<HistogramPiece>,
}

impl Default for Stored {
    fn default() -> Self {
        let last = Last {
            at_ms: 0,
            is_stale: false,
            real: None,
        };
        Self {
            key: Vec::new(),
            born_ms: None,
            samples: 0,
            last,
            pieces: Vec::new(),
            histograms: Vec::new(),
        }
    }
}

impl Stored {
    pub(super) fn labels(&self) -> Option<Labels> {
        Labels::from_key(std::str::from_utf8(&self.key).ok()?)
    }

    /// The pieces with a sample in the window, perhaps: how many samples each has, and it.
    pub(super) fn within(
        &self,
        (start_ms, end_ms): (i64, i64),
    ) -> impl Iterator<Item = (usize, &Piece)> {
        let ends = self.pieces.iter().skip(1).map(|next| next.first_ms - 1);
        let ends = ends.chain([self.last.at_ms]);
        let pieces = split(self.samples, self.pieces.len()).zip(&self.pieces);
        let near = pieces
            .zip(ends)
            .filter(move |((_, piece), last_ms)| piece.first_ms <= end_ms && *last_ms >= start_ms);
        near.map(|(piece, _)| piece)
    }

    /// The pieces with a histogram in the window, perhaps.
    pub(super) fn histograms_within(
        &self,
        (start_ms, end_ms): (i64, i64),
    ) -> impl Iterator<Item = &HistogramPiece> {
        let ends = self.histograms.iter().skip(1).map(|next| next.first_ms - 1);
        let pieces = self.histograms.iter().zip(ends.chain([self.last.at_ms]));
        let near = move |(piece, last_ms): &(&HistogramPiece, i64)| {
            piece.first_ms <= end_ms && *last_ms >= start_ms
        };
        pieces.filter(near).map(|(piece, _)| piece)
    }
}

/// How many samples each of some pieces has: as equal as can be.
pub(super) fn split(samples: usize, pieces: usize) -> impl Iterator<Item = usize> {
    let (each, more) = (samples / pieces.max(1), samples % pieces.max(1));
    (0..pieces).map(move |at| each + usize::from(at < more))
}

/// How many pieces so many samples make.
pub(super) fn pieces(samples: usize) -> usize {
    samples.div_ceil(PIECE_SAMPLES)
}

/// What a series is coded by: that before it in its block.
#[derive(Debug)]
pub(super) struct Coder {
    base_ms: i64,
    key: Vec<u8>,
    times_page: u32,
    values_page: u32,
}

impl Coder {
    /// At the beginning of a block; times are told from `base_ms`.
    pub(super) fn new(base_ms: i64) -> Self {
        Self {
            base_ms,
            key: Vec::new(),
            times_page: 0,
            values_page: 0,
        }
    }

    pub(super) fn put(&mut self, out: &mut Vec<u8>, series: &Stored) {
        let pairs = self.key.iter().zip(&series.key);
        let shared = pairs.take_while(|(a, b)| a == b).count();
        put_varint(out, shared as u64);
        put_text_bytes(out, &series.key[shared..]);
        self.key.clone_from(&series.key);
        let last = &series.last;
        let flag = |is: bool, flag: u8| if is { flag } else { 0 };
        out.push(
            flag(series.born_ms.is_some(), BORN)
                | flag(last.is_stale, ENDED)
                | flag(last.real.is_some(), REAL)
                | flag(!series.histograms.is_empty(), HISTOGRAMS),
        );
        put_zigzag(out, self.base_ms.wrapping_sub(last.at_ms));
        if let Some(born_ms) = series.born_ms {
            put_zigzag(out, last.at_ms.wrapping_sub(born_ms));
        }
        if let Some((at_ms, value)) = last.real {
            put_zigzag(out, last.at_ms.wrapping_sub(at_ms));
            put_value(out, 0, value.to_bits());
        }
        put_varint(out, series.samples as u64);
        put_varint(out, series.pieces.len() as u64);
        let mut before_ms = last.at_ms;
        for piece in &series.pieces {
            put_zigzag(out, piece.first_ms.wrapping_sub(before_ms));
            before_ms = piece.first_ms;
            piece.times.put(out, &mut self.times_page);
            piece.values.put(out, &mut self.values_page);
        }
        if !series.histograms.is_empty() {
            put_varint(out, series.histograms.len() as u64);
            for piece in &series.histograms {
                put_zigzag(out, piece.first_ms.wrapping_sub(before_ms));
                before_ms = piece.first_ms;
                put_varint(out, piece.count as u64);
                piece.times.put(out, &mut self.times_page);
                piece.values.put(out, &mut self.values_page);
            }
        }
    }

    /// Reads the next series over the one before.
    pub(super) fn take(&mut self, cursor: &mut Cursor<'_>, into: &mut Stored) -> Option<()> {
        let shared = cursor.count(self.key.len())?;
        self.key.truncate(shared);
        let bytes = cursor.count(cursor.rest().len())?;
        self.key.extend_from_slice(cursor.take(bytes)?);
        into.key.clone_from(&self.key);
        let flags = cursor.byte()?;
        let at_ms = self.base_ms.wrapping_sub(cursor.zigzag()?);
        into.born_ms = match flags & BORN {
            0 => None,
            _ => Some(at_ms.wrapping_sub(cursor.zigzag()?)),
        };
        let real = if flags & REAL == 0 {
            None
        } else {
            let real_ms = at_ms.wrapping_sub(cursor.zigzag()?);
            Some((real_ms, f64::from_bits(take_value(cursor, 0)?)))
        };
        into.last = Last {
            at_ms,
            is_stale: flags & ENDED != 0,
            real,
        };
        into.samples = usize::try_from(cursor.varint()?).ok()?;
        // A piece takes more bytes than one.
        let pieces = cursor.count(cursor.rest().len())?;
        into.pieces.clear();
        let mut before_ms = at_ms;
        for _ in 0..pieces {
            before_ms = before_ms.wrapping_add(cursor.zigzag()?);
            into.pieces.push(Piece {
                first_ms: before_ms,
                times: Span::take(cursor, &mut self.times_page)?,
                values: Span::take(cursor, &mut self.values_page)?,
            });
        }
        into.histograms.clear();
        if flags & HISTOGRAMS != 0 {
            let pieces = cursor.count(cursor.rest().len())?;
            for _ in 0..pieces {
                before_ms = before_ms.wrapping_add(cursor.zigzag()?);
                into.histograms.push(HistogramPiece {
                    first_ms: before_ms,
                    count: usize::try_from(cursor.varint()?).ok()?,
                    times: Span::take(cursor, &mut self.times_page)?,
                    values: Span::take(cursor, &mut self.values_page)?,
                });
            }
        }
        (into.samples <= pieces * PIECE_SAMPLES).then_some(())
    }
}
