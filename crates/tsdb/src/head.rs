//! The head: recent samples in memory, in columns, in chunks.
//!
//! Guarantees: per series timestamps strictly ascend; a refused sample changes nothing; retention drops whole
//! chunks, so a sample is never dropped before its age and at most one chunk later. It never blocks, never
//! reads a clock and never exceeds its limits.
//!
//! ```
//! use mainstay_tsdb::{AppendError, Head, HeadLimits, Labels};
//! let mut head = Head::new(HeadLimits::default());
//! let up = Labels::from_pairs([("__name__", "up")])?;
//! head.append(&up, 2_000, 1.0)?;
//! assert!(matches!(head.append(&up, 1_000, 1.0), Err(AppendError::OutOfOrder { .. })));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::index::Index;
use crate::{Labels, Matcher, SeriesId};
use std::collections::VecDeque;
use std::sync::Arc;

/// What a head may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Series at once; one more is refused.
    pub max_series: usize,
    /// Labels of one series, the name included.
    pub max_labels: usize,
    /// Bytes of all label names and values of one series.
    pub max_label_bytes: usize,
    /// Age after which samples may be dropped.
    pub retention_ms: i64,
    /// Samples in one chunk, the unit in which retention drops.
    pub chunk_samples: usize,
}

impl Default for HeadLimits {
    /// One million series, two hours.
    fn default() -> Self {
        Self {
            max_series: 1_000_000,
            max_labels: 64,
            max_label_bytes: 8 * 1024,
            retention_ms: 2 * 60 * 60 * 1000,
            chunk_samples: 120,
        }
    }
}

/// Why a sample was refused; the head is unchanged.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AppendError {
    /// Older than the newest sample of its series.
    #[error("out of order: {labels} has a sample at {newest_ms} ms, this one is at {at_ms} ms")]
    OutOfOrder {
        /// The series.
        labels: Labels,
        /// Time of the newest accepted sample.
        newest_ms: i64,
        /// Time of the refused sample.
        at_ms: i64,
    },
    /// Same time as the newest sample, another value.
    #[error("{labels} already has another value at {at_ms} ms")]
    DuplicateTime {
        /// The series.
        labels: Labels,
        /// The time of both.
        at_ms: i64,
    },
    /// The sample would create one series too many.
    #[error("the head holds its limit of {limit} series")]
    TooManySeries {
        /// The limit.
        limit: usize,
    },
    /// Too many labels on one series.
    #[error("{count} labels on one series, the limit is {limit}")]
    TooManyLabels {
        /// How many it has.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// Label names and values too long together.
    #[error("labels of one series take {bytes} bytes, the limit is {limit}")]
    LabelsTooLong {
        /// How many bytes they take.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
}

/// Samples of one series inside a selection, as two columns of equal length.
#[derive(Clone, Debug)]
pub struct SeriesSlice {
    /// The series.
    pub labels: Labels,
    /// Milliseconds since the epoch, strictly ascending.
    pub timestamps: Arc<[i64]>,
    /// The values, staleness markers included.
    pub values: Arc<[f64]>,
}

/// What a retention pass dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Truncated {
    /// Samples dropped.
    pub samples: usize,
    /// Series that had no sample left.
    pub series: usize,
}

#[derive(Debug, Default)]
struct Chunk {
    timestamps: Vec<i64>,
    values: Vec<f64>,
}

impl Chunk {
    fn ends_before(&self, t: i64) -> bool {
        self.timestamps.last().is_none_or(|newest| *newest < t)
    }

    fn begins_by(&self, t: i64) -> bool {
        self.timestamps.first().is_some_and(|oldest| *oldest <= t)
    }
}

#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) labels: Labels,
    hash: u64,
    chunks: VecDeque<Chunk>,
    /// The oldest retained sample is the first ever, and the counter was zero just before it.
    pub(crate) born_from_zero: bool,
}

impl Series {
    fn newest(&self) -> Option<(i64, f64)> {
        let chunk = self.chunks.back()?;
        Some((*chunk.timestamps.last()?, *chunk.values.last()?))
    }

    /// Samples with time in `start..=end`, ascending.
    pub(crate) fn samples(&self, start: i64, end: i64) -> impl Iterator<Item = (i64, f64)> {
        // Chunks ascend as their samples do: those wholly outside are never looked into.
        let first = self
            .chunks
            .partition_point(|chunk| chunk.ends_before(start));
        let after = self.chunks.partition_point(|chunk| chunk.begins_by(end));
        self.chunks
            .range(first..after.max(first))
            .flat_map(move |chunk| {
                let from = chunk.timestamps.partition_point(|t| *t < start);
                let to = chunk.timestamps.partition_point(|t| *t <= end).max(from);
                let times = chunk.timestamps[from..to].iter().copied();
                times.zip(chunk.values[from..to].iter().copied())
            })
    }

    /// Samples with time up to `end`, descending.
    pub(crate) fn samples_back(&self, end: i64) -> impl Iterator<Item = (i64, f64)> {
        let after = self.chunks.partition_point(|chunk| chunk.begins_by(end));
        self.chunks.range(..after).rev().flat_map(move |chunk| {
            let to = chunk.timestamps.partition_point(|t| *t <= end);
            let times = chunk.timestamps[..to].iter().copied();
            times.zip(chunk.values[..to].iter().copied()).rev()
        })
    }
}

/// Recent samples of many series; see the module.
#[derive(Debug)]
pub struct Head {
    limits: HeadLimits,
    index: Index,
    series: Vec<Option<Series>>,
    free: Vec<SeriesId>,
    samples: usize,
}

impl Head {
    /// An empty head. A chunk holds at least one sample, whatever the limits say.
    pub fn new(limits: HeadLimits) -> Self {
        Self {
            limits: HeadLimits {
                chunk_samples: limits.chunk_samples.max(1),
                ..limits
            },
            index: Index::default(),
            series: Vec::new(),
            free: Vec::new(),
            samples: 0,
        }
    }

    /// Adds a sample. Repeating the newest sample exactly (same time, same bits) is accepted and changes
    /// nothing, so a retried batch is harmless.
    pub fn append(
        &mut self,
        labels: &Labels,
        t_ms: i64,
        value: f64,
    ) -> Result<SeriesId, AppendError> {
        self.append_as(labels, t_ms, value, false)
    }

    /// Like [`Head::append`], for a counter known to have been zero just before this sample (its process
    /// started after the previous scrape). If this call creates the series, [`Head::counts`] counts its
    /// first value in full; on an existing series it changes nothing.
    pub fn append_born_from_zero(
        &mut self,
        labels: &Labels,
        t_ms: i64,
        value: f64,
    ) -> Result<SeriesId, AppendError> {
        self.append_as(labels, t_ms, value, true)
    }

    fn append_as(
        &mut self,
        labels: &Labels,
        t_ms: i64,
        value: f64,
        born_from_zero: bool,
    ) -> Result<SeriesId, AppendError> {
        let hash = labels.hash64();
        let id = match self.index.find(hash, labels) {
            Some(id) => id,
            None => self.create(hash, labels, born_from_zero)?,
        };
        let chunk_samples = self.limits.chunk_samples;
        let Some(Some(series)) = self.series.get_mut(id.0 as usize) else {
            unreachable!("the index only holds ids of live series")
        };
        if let Some((newest_ms, newest)) = series.newest() {
            if t_ms < newest_ms {
                return Err(AppendError::OutOfOrder {
                    labels: labels.clone(),
                    newest_ms,
                    at_ms: t_ms,
                });
            }
            if t_ms == newest_ms {
                return if newest.to_bits() == value.to_bits() {
                    Ok(id)
                } else {
                    Err(AppendError::DuplicateTime {
                        labels: labels.clone(),
                        at_ms: t_ms,
                    })
                };
            }
        }
        let full = |chunk: &Chunk| chunk.timestamps.len() >= chunk_samples;
        if series.chunks.back().is_none_or(full) {
            series.chunks.push_back(Chunk::default());
        }
        if let Some(chunk) = series.chunks.back_mut() {
            chunk.timestamps.push(t_ms);
            chunk.values.push(value);
            self.samples += 1;
        }
        Ok(id)
    }

    fn create(
        &mut self,
        hash: u64,
        labels: &Labels,
        born_from_zero: bool,
    ) -> Result<SeriesId, AppendError> {
        let limits = &self.limits;
        if labels.len() > limits.max_labels {
            return Err(AppendError::TooManyLabels {
                count: labels.len(),
                limit: limits.max_labels,
            });
        }
        if labels.byte_len() > limits.max_label_bytes {
            return Err(AppendError::LabelsTooLong {
                bytes: labels.byte_len(),
                limit: limits.max_label_bytes,
            });
        }
        if self.index.len() >= limits.max_series.min(u32::MAX as usize) {
            return Err(AppendError::TooManySeries {
                limit: limits.max_series,
            });
        }
        let series = Series {
            labels: labels.clone(),
            hash,
            chunks: VecDeque::new(),
            born_from_zero,
        };
        let id = if let Some(id) = self.free.pop() {
            self.series[id.0 as usize] = Some(series);
            id
        } else {
            self.series.push(Some(series));
            SeriesId(self.series.len() as u32 - 1)
        };
        self.index.insert(hash, labels, id);
        Ok(id)
    }

    /// Series that satisfy all matchers and have a sample in `start_ms..=end_ms`, sorted by labels.
    pub fn select(&self, matchers: &[Matcher], start_ms: i64, end_ms: i64) -> Vec<SeriesSlice> {
        let mut found = self.select_unsorted(matchers, start_ms, end_ms);
        found.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        found
    }

    /// Like [`Head::select`], in no order that means anything: for who holds a lock meanwhile and sorts after.
    pub fn select_unsorted(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Vec<SeriesSlice> {
        let mut found = Vec::new();
        for series in self.matching(matchers) {
            let (timestamps, values): (Vec<i64>, Vec<f64>) =
                series.samples(start_ms, end_ms).unzip();
            if !timestamps.is_empty() {
                found.push(SeriesSlice {
                    labels: series.labels.clone(),
                    timestamps: timestamps.into(),
                    values: values.into(),
                });
            }
        }
        found
    }

    pub(crate) fn matching(&self, matchers: &[Matcher]) -> impl Iterator<Item = &Series> {
        let ids = self.index.matching(matchers);
        ids.into_iter()
            .filter_map(|id| self.series.get(id.0 as usize).and_then(Option::as_ref))
    }

    /// The id of a series, if the head holds it.
    pub fn series_id(&self, labels: &Labels) -> Option<SeriesId> {
        self.index.find(labels.hash64(), labels)
    }

    /// Label names present, ascending.
    pub fn label_names(&self) -> impl Iterator<Item = &str> {
        self.index.names()
    }

    /// Values of one label, ascending.
    pub fn label_values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.index.values(name)
    }

    /// Series held.
    pub fn series_count(&self) -> usize {
        self.index.len()
    }

    /// Samples held.
    pub fn sample_count(&self) -> usize {
        self.samples
    }

    /// Drops chunks whose newest sample is older than the retention, and series left without a sample.
    pub fn truncate(&mut self, now_ms: i64) -> Truncated {
        let oldest_kept_ms = now_ms.saturating_sub(self.limits.retention_ms);
        let mut dropped = Truncated::default();
        for (at, slot) in self.series.iter_mut().enumerate() {
            let Some(series) = slot else { continue };
            while let Some(chunk) = series.chunks.front() {
                if chunk
                    .timestamps
                    .last()
                    .is_some_and(|t| *t >= oldest_kept_ms)
                {
                    break;
                }
                dropped.samples += chunk.timestamps.len();
                series.chunks.pop_front();
                series.born_from_zero = false;
            }
            if series.chunks.is_empty() {
                let id = SeriesId(at as u32);
                self.index.remove(series.hash, &series.labels, id);
                self.free.push(id);
                *slot = None;
                dropped.series += 1;
            }
        }
        self.samples -= dropped.samples;
        dropped
    }
}

#[cfg(test)]
mod tests;
