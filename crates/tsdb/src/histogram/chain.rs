//! Histograms of one series, written by one thread while others read: what pages are for numbers.
//!
//! Guarantees: a reader sees a beginning of what was written, and neither side ever waits.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use super::HistogramSample;

/// Histograms of the first link and of the largest.
const LINKS: std::ops::RangeInclusive<usize> = 4..=64;

/// A fixed number of histograms, and what comes after them.
#[derive(Debug)]
pub(crate) struct Chain {
    cells: Box<[OnceLock<HistogramSample>]>,
    /// Of interest to the writer only: a cell that is set is there to read.
    len: AtomicUsize,
    next: OnceLock<Arc<Chain>>,
}

impl Chain {
    pub(crate) fn new() -> Arc<Self> {
        Self::of(*LINKS.start())
    }

    fn of(cells: usize) -> Arc<Self> {
        Arc::new(Self {
            cells: (0..cells).map(|_| OnceLock::new()).collect(),
            len: AtomicUsize::new(0),
            next: OnceLock::new(),
        })
    }

    /// Adds a sample; only the one writer may call this. If this link is full, one after it gets the sample and is
    /// returned.
    pub(crate) fn push(&self, sample: HistogramSample) -> Option<Arc<Chain>> {
        let len = self.len.load(Ordering::Relaxed);
        let Some(cell) = self.cells.get(len) else {
            let cells = (self.cells.len() * 2).min(*LINKS.end());
            let next = self.next.get_or_init(|| Self::of(cells));
            return Some(next.push(sample).unwrap_or_else(|| Arc::clone(next)));
        };
        if cell.set(sample).is_ok() {
            self.len.store(len + 1, Ordering::Relaxed);
        }
        None
    }

    /// Samples in the order they were written.
    pub(crate) fn samples(&self) -> impl Iterator<Item = &HistogramSample> {
        let links = std::iter::successors(Some(self), |link| link.next.get().map(|next| &**next));
        links.flat_map(|link| link.cells.iter().map_while(OnceLock::get))
    }
}

/// Ends a long chain without recursion.
impl Drop for Chain {
    fn drop(&mut self) {
        let mut next = self.next.take();
        while let Some(link) = next {
            next = Arc::into_inner(link).and_then(|mut link| link.next.take());
        }
    }
}
