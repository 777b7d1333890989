//! Reading a part: its series one after another, and samples of those that are asked for.
//!
//! Guarantees: what is read is checked, and only what a window needs is decoded. Nothing is kept beyond one reading.

use std::{collections::HashMap, rc::Rc};

use super::{
    Part,
    histograms::{HistogramPiece, take_histograms},
    ints::take_ints,
    pages::{Lens, Span},
    series::{BLOCK_SERIES, Coder, Piece, Stored},
    values::take_values,
};
use crate::{Labels, ReadError, cursor::Cursor, damage::Tolerance, memtable::Columns};

/// Timestamps that are held because other series may share them.
const HELD_PIECES: usize = 1_024;

/// The series of a part, ascending.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    part: &'a Part,
    block: Option<u32>,
    bytes: Vec<u8>,
    /// How much of the block is behind.
    at: usize,
    /// The series that is read next.
    next: u32,
    coder: Coder,
    stored: Stored,
}

impl<'a> Walk<'a> {
    pub(super) fn new(part: &'a Part) -> Self {
        Self {
            part,
            block: None,
            bytes: Vec::new(),
            at: 0,
            next: 0,
            coder: Coder::new(0),
            stored: Stored::default(),
        }
    }

    /// Series `id`, which comes after those before.
    pub(super) fn series(&mut self, id: u32) -> Result<&Stored, ReadError> {
        let block = id / BLOCK_SERIES;
        let page = self.part.blocks.get(block as usize).copied();
        let page = page.ok_or_else(|| self.part.pages.senseless(self.part.pages.root()))?;
        if self.block != Some(block) {
            self.bytes = self.part.pages.read(page)?;
            self.block = Some(block);
            (self.at, self.next) = (0, block * BLOCK_SERIES);
            self.coder = Coder::new(self.part.base_ms);
        }
        while self.next <= id {
            let mut cursor = Cursor::new(self.bytes.get(self.at..).unwrap_or_default());
            let read = self.coder.take(&mut cursor, &mut self.stored);
            read.ok_or_else(|| self.part.pages.senseless(page))?;
            self.at = self.bytes.len() - cursor.rest().len();
            self.next += 1;
        }
        Ok(&self.stored)
    }

    /// The labels of the series that was read last.
    pub(super) fn labels(&self) -> Result<Labels, ReadError> {
        let page = self.block.and_then(|at| self.part.blocks.get(at as usize));
        let senseless = || self.part.pages.senseless(page.copied().unwrap_or_default());
        self.stored.labels().ok_or_else(senseless)
    }

    pub(super) fn stored(&self) -> &Stored {
        &self.stored
    }
}

/// The samples of a part.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    times: Lens<'a>,
    values: Lens<'a>,
    histograms: Lens<'a>,
    held: HashMap<Span, Rc<Vec<i64>>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(part: &'a Part) -> Self {
        Self {
            times: Lens::new(&part.pages),
            values: Lens::new(&part.pages),
            histograms: Lens::new(&part.pages),
            held: HashMap::new(),
        }
    }

    /// Adds the samples of a series in the window, both ends included; of damaged pieces none.
    pub(super) fn read(
        &mut self,
        series: &Stored,
        window: (i64, i64),
        tolerance: &mut Tolerance<'_>,
        into: &mut Columns,
    ) -> Result<(), ReadError> {
        for (count, piece) in series.within(window) {
            if let Err(error) = self.piece(count, piece, window, into) {
                tolerance.forgive(error)?;
            }
        }
        for piece in series.histograms_within(window) {
            if let Err(error) = self.histogram_piece(piece, window, into) {
                tolerance.forgive(error)?;
            }
        }
        Ok(())
    }

    fn histogram_piece(
        &mut self,
        piece: &HistogramPiece,
        window: (i64, i64),
        into: &mut Columns,
    ) -> Result<(), ReadError> {
        let times = self.times(piece.times, piece.count)?;
        let within = within(&times, window);
        if within.is_empty() {
            return Ok(());
        }
        let read = |bytes: &[u8]| take_histograms(bytes, piece.count);
        let histograms = self.histograms.read(piece.values, read)?;
        let both = times.iter().zip(histograms);
        for (at_ms, histogram) in both.skip(within.start).take(within.len()) {
            into.histograms.push(*at_ms, histogram);
        }
        Ok(())
    }

    fn piece(
        &mut self,
        count: usize,
        piece: &Piece,
        window: (i64, i64),
        into: &mut Columns,
    ) -> Result<(), ReadError> {
        let times = self.times(piece.times, count)?;
        let within = within(&times, window);
        if within.is_empty() {
            return Ok(());
        }
        let values = self
            .values
            .read(piece.values, |bytes| take_values(bytes, count))?;
        let both = (times.get(within.clone()), values.get(within));
        if let (Some(times), Some(values)) = both {
            into.times.extend_from_slice(times);
            into.values.extend_from_slice(values);
        }
        Ok(())
    }

    /// Whether a series has a sample in the window.
    pub(super) fn has_sample(
        &mut self,
        series: &Stored,
        window: (i64, i64),
    ) -> Result<bool, ReadError> {
        for (count, piece) in series.within(window) {
            let ends = [piece.first_ms, series.last.at_ms];
            if ends
                .iter()
                .any(|at_ms| (window.0..=window.1).contains(at_ms))
                || !within(&self.times(piece.times, count)?, window).is_empty()
            {
                return Ok(true);
            }
        }
        for piece in series.histograms_within(window) {
            if !within(&self.times(piece.times, piece.count)?, window).is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn times(&mut self, span: Span, count: usize) -> Result<Rc<Vec<i64>>, ReadError> {
        if let Some(times) = self.held.get(&span) {
            return Ok(Rc::clone(times));
        }
        let read = |bytes: &[u8]| take_ints(&mut Cursor::new(bytes), count);
        let times = Rc::new(self.times.read(span, read)?);
        if self.held.len() >= HELD_PIECES {
            self.held.clear();
        }
        self.held.insert(span, Rc::clone(&times));
        Ok(times)
    }
}

fn within(times: &[i64], (start_ms, end_ms): (i64, i64)) -> std::ops::Range<usize> {
    let from = times.partition_point(|at_ms| *at_ms < start_ms);
    let to = times.partition_point(|at_ms| *at_ms <= end_ms);
    from..to.max(from)
}
