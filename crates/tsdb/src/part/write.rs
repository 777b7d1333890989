//! Writing a part, series by series.
//!
//! Guarantees: memory is bounded by the samples of one series, a few pages, the labels of all series, and
//! [`SHARED_BYTES`] of timestamps. Equal timestamps of several series are written once, wherever the series stand.

use std::io;

use hashbrown::HashTable;
use mainstay_wal::DiskFile;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    Meta, Tier,
    histograms::{self, HistogramPiece},
    index::{Gathering, Names},
    ints::{Effort, put_ints},
    pages::{Filling, PageWriter, Span},
    series::{BLOCK_SERIES, Coder, Piece, Stored, pieces, split},
    values::put_values,
};
use crate::{
    Labels,
    cursor::{put_text, put_varint, put_zigzag},
    histogram::HistogramColumn,
    is_stale,
    memtable::{Columns, HISTOGRAM_BITS, Last},
};

/// Timestamps that are remembered to be shared; beyond, all are forgotten, and some may be written again.
const SHARED_BYTES: usize = 64 << 20;

/// A part that is being written.
#[derive(Debug)]
pub(crate) struct PartWriter {
    pages: PageWriter,
    times: Filling,
    values: Filling,
    histograms: Filling,
    shared: Shared,
    /// The block of series that is not full yet.
    block: Vec<u8>,
    coder: Coder,
    blocks: Vec<u32>,
    labels: Gathering,
    stored: Stored,
    base_ms: i64,
    effort: Effort,
    meta: Meta,
}

impl PartWriter {
    /// A part of the generations that `tier` and `generations` say; `base_ms` is near the ends of most series.
    pub(crate) fn new(
        file: Box<dyn DiskFile>,
        tier: Tier,
        generations: (u64, u64),
        base_ms: i64,
    ) -> Self {
        Self {
            pages: PageWriter::new(file),
            times: Filling::default(),
            values: Filling::default(),
            histograms: Filling::default(),
            shared: Shared::default(),
            block: Vec::new(),
            coder: Coder::new(base_ms),
            blocks: Vec::new(),
            labels: Gathering::default(),
            stored: Stored::default(),
            base_ms,
            effort: match tier {
                Tier::Generation | Tier::Hour => Effort::Quick,
                Tier::Day | Tier::FiveMinutes | Tier::OneHour => Effort::Thorough,
            },
            meta: Meta {
                tier,
                generations,
                series: 0,
                samples: 0,
                oldest_ms: i64::MAX,
                newest_ms: i64::MIN,
            },
        }
    }

    /// Adds a series, whose labels come after those before; one without samples is left out.
    pub(crate) fn push(
        &mut self,
        labels: &Labels,
        born_ms: Option<i64>,
        columns: &Columns,
    ) -> io::Result<()> {
        let (Some(first_ms), Some(last)) = (columns.first_ms(), Last::of(columns)) else {
            return Ok(());
        };
        let samples = columns.times.len();
        self.stored.pieces.clear();
        let spans = self.put_times(&columns.times)?;
        let mut begin = 0;
        for (times, count) in spans.into_iter().zip(split(samples, pieces(samples))) {
            let values = &columns.values[begin..begin + count];
            let effort = self.effort;
            self.stored.pieces.push(Piece {
                first_ms: columns.times[begin],
                times,
                values: self
                    .values
                    .put(&mut self.pages, |out| put_values(out, values, effort))?,
            });
            begin += count;
        }
        self.put_histograms(&columns.histograms)?;
        self.stored.key.clear();
        self.stored.key.extend_from_slice(labels.key().as_bytes());
        self.stored.born_ms = born_ms;
        self.stored.samples = samples;
        self.stored.last = last;
        self.coder.put(&mut self.block, &self.stored);
        self.labels.push(self.meta.series, labels.iter());
        self.meta.series += 1;
        self.meta.samples += columns.len() as u64;
        self.meta.oldest_ms = self.meta.oldest_ms.min(first_ms);
        self.meta.newest_ms = self.meta.newest_ms.max(last.at_ms);
        if self.meta.series.is_multiple_of(BLOCK_SERIES) {
            self.end_block()?;
        }
        Ok(())
    }

    /// Ends the part and makes the file durable, but for its name.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        if !self.block.is_empty() {
            self.end_block()?;
        }
        self.times.flush(&mut self.pages)?;
        self.values.flush(&mut self.pages)?;
        self.histograms.flush(&mut self.pages)?;
        let names = std::mem::take(&mut self.labels).write(&mut self.pages)?;
        let root = self.root(&names);
        let root = self.pages.page(&root)?;
        self.pages.finish(root)
    }

    fn end_block(&mut self) -> io::Result<()> {
        self.blocks.push(self.pages.page(&self.block)?);
        self.block.clear();
        self.coder = Coder::new(self.base_ms);
        Ok(())
    }

    /// Histograms stand in pages of their own.
    fn put_histograms(&mut self, column: &HistogramColumn) -> io::Result<()> {
        self.stored.histograms.clear();
        let effort = self.effort;
        for piece in histograms::pieces(&column.samples) {
            let times: Vec<i64> = piece.iter().map(|it| it.at_ms).collect();
            let spans = self.put_times(&times)?;
            let values = self.histograms.put(&mut self.pages, |out| {
                histograms::put_histograms(out, piece, effort);
            })?;
            let (Some(first_ms), [times]) = (times.first(), &*spans) else {
                return Err(io::Error::other(
                    "a piece of histograms has one piece of times",
                ));
            };
            self.stored.histograms.push(HistogramPiece {
                first_ms: *first_ms,
                count: piece.len(),
                times: *times,
                values,
            });
        }
        Ok(())
    }

    /// Where these timestamps stand, written now if they were not before.
    fn put_times(&mut self, times: &[i64]) -> io::Result<Vec<Span>> {
        let hash = self.shared.hash(times);
        if let Some(spans) = self.shared.find(hash, times) {
            return Ok(spans);
        }
        let (mut spans, mut begin) = (Vec::new(), 0);
        for count in split(times.len(), pieces(times.len())) {
            let piece = &times[begin..begin + count];
            let effort = self.effort;
            spans.push(
                self.times
                    .put(&mut self.pages, |out| put_ints(out, piece, effort))?,
            );
            begin += count;
        }
        self.shared.remember(hash, times, &spans);
        Ok(spans)
    }

    fn root(&self, names: &Names) -> Vec<u8> {
        let mut out = Vec::new();
        self.meta.put(&mut out);
        put_zigzag(&mut out, self.base_ms);
        put_varint(&mut out, self.blocks.len() as u64);
        let mut before = 0;
        for page in &self.blocks {
            put_varint(&mut out, u64::from(page - before));
            before = *page;
        }
        let mut page = 0;
        for (name, directory) in names {
            put_text(&mut out, name);
            directory.put(&mut out, &mut page);
        }
        out
    }
}

impl Last {
    /// Of samples that ascend.
    pub(super) fn of(columns: &Columns) -> Option<Self> {
        let numbers = columns.times.iter().zip(&columns.values).rev();
        let mut numbers = numbers.map(|(at_ms, value)| (*at_ms, *value));
        let histogram = columns.histograms.last();
        let histogram = histogram.map(|it| (it.at_ms, f64::from_bits(HISTOGRAM_BITS)));
        let later = |a: Option<(i64, f64)>, b: Option<(i64, f64)>| {
            let is_later = |b: &(i64, f64)| a.is_none_or(|a| b.0 > a.0);
            b.filter(is_later).or(a)
        };
        let (at_ms, value) = later(numbers.clone().next(), histogram)?;
        let real = numbers.find(|(_, value)| !is_stale(*value));
        Some(Self {
            at_ms,
            is_stale: is_stale(value),
            real: later(real, histogram),
        })
    }
}

#[derive(Debug)]
struct Known {
    hash: u64,
    times: Vec<i64>,
    spans: Vec<Span>,
}

/// Timestamps that were written, to be shared.
#[derive(Debug, Default)]
struct Shared {
    known: HashTable<Known>,
    bytes: usize,
    scratch: Vec<u8>,
}

impl Shared {
    fn hash(&mut self, times: &[i64]) -> u64 {
        self.scratch.clear();
        for at_ms in times {
            self.scratch.extend_from_slice(&at_ms.to_le_bytes());
        }
        xxh3_64(&self.scratch)
    }

    fn find(&self, hash: u64, times: &[i64]) -> Option<Vec<Span>> {
        let same = |known: &Known| known.hash == hash && known.times == times;
        self.known.find(hash, same).map(|known| known.spans.clone())
    }

    fn remember(&mut self, hash: u64, times: &[i64], spans: &[Span]) {
        if self.bytes > SHARED_BYTES {
            self.known.clear();
            self.bytes = 0;
        }
        self.bytes += size_of_val(times) + size_of::<Known>();
        let known = Known {
            hash,
            times: times.to_vec(),
            spans: spans.to_vec(),
        };
        self.known.insert_unique(hash, known, |known| known.hash);
    }
}
