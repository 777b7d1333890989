//! Samples of one series, written by one thread while others read.
//!
//! Guarantees: a reader sees a beginning of what was written, never a half-written sample, and neither side ever
//! waits. That needs no unsafe code: samples are atomics, and a sample exists once the length that counts it does.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering},
};

/// Samples of the largest page: what a chain of pages may waste at its end.
const LARGEST: usize = 512;
/// Samples of the smallest.
const SMALLEST: usize = 4;

#[derive(Debug, Default)]
struct Cell {
    at_ms: AtomicI64,
    bits: AtomicU64,
}

/// A fixed number of samples, and what comes after them.
#[derive(Debug)]
pub(crate) struct Page {
    len: AtomicU32,
    cells: Box<[Cell]>,
    next: OnceLock<Arc<Page>>,
}

impl Page {
    /// An empty page for about `expected` samples.
    pub(crate) fn new(expected: usize) -> Arc<Self> {
        let cells = expected.clamp(SMALLEST, LARGEST);
        Arc::new(Self {
            len: AtomicU32::new(0),
            cells: (0..cells).map(|_| Cell::default()).collect(),
            next: OnceLock::new(),
        })
    }

    /// Adds a sample; only the one writer may call this. If the page is full, a page after it gets the sample and
    /// is returned.
    pub(crate) fn push(&self, at_ms: i64, bits: u64) -> Option<Arc<Page>> {
        let len = self.len.load(Ordering::Relaxed);
        let Some(cell) = self.cells.get(len as usize) else {
            let next = self.next.get_or_init(|| Page::new(self.cells.len() * 2));
            return Some(next.push(at_ms, bits).unwrap_or_else(|| Arc::clone(next)));
        };
        cell.at_ms.store(at_ms, Ordering::Relaxed);
        cell.bits.store(bits, Ordering::Relaxed);
        // Whoever sees this length sees the sample: see `samples`.
        self.len.store(len + 1, Ordering::Release);
        None
    }

    /// This page and those after it.
    fn chain(&self) -> impl Iterator<Item = &Page> {
        std::iter::successors(Some(self), |page| page.next.get().map(|next| &**next))
    }

    /// Samples in the order they were written, up to what is published now.
    pub(crate) fn samples(&self) -> impl Iterator<Item = (i64, u64)> {
        self.chain().flat_map(|page| {
            let len = page.len.load(Ordering::Acquire) as usize;
            page.cells.iter().take(len).map(|cell| {
                let bits = cell.bits.load(Ordering::Relaxed);
                (cell.at_ms.load(Ordering::Relaxed), bits)
            })
        })
    }

    /// Samples in `start_ms..=end_ms` of a page chain whose times ascend.
    pub(crate) fn ascending(&self, start_ms: i64, end_ms: i64) -> impl Iterator<Item = (i64, u64)> {
        self.chain()
            .skip_while(move |page| page.ends_before(start_ms))
            .flat_map(move |page| page.window(start_ms, end_ms))
    }

    /// Adds what [`Page::ascending`] gives to two columns, which grow once.
    pub(crate) fn read(
        &self,
        (start_ms, end_ms): (i64, i64),
        times: &mut Vec<i64>,
        values: &mut Vec<f64>,
    ) {
        let pages = || {
            self.chain()
                .skip_while(move |page| page.ends_before(start_ms))
                .map(move |page| page.cells_within(start_ms, end_ms))
        };
        let more = pages().map(<[Cell]>::len).sum();
        times.reserve(more);
        values.reserve(more);
        // More may have been written since they were counted: the columns grow then.
        for cells in pages() {
            times.extend(cells.iter().map(|cell| cell.at_ms.load(Ordering::Relaxed)));
            let bits = cells.iter().map(|cell| cell.bits.load(Ordering::Relaxed));
            values.extend(bits.map(f64::from_bits));
        }
    }

    fn ends_before(&self, start_ms: i64) -> bool {
        let len = self.len.load(Ordering::Acquire) as usize;
        let newest = len.checked_sub(1).and_then(|last| self.cells.get(last));
        newest.is_some_and(|cell| cell.at_ms.load(Ordering::Relaxed) < start_ms)
    }

    fn cells_within(&self, start_ms: i64, end_ms: i64) -> &[Cell] {
        let len = self.len.load(Ordering::Acquire) as usize;
        let cells = &self.cells[..len.min(self.cells.len())];
        let from = cells.partition_point(|it| it.at_ms.load(Ordering::Relaxed) < start_ms);
        let to = cells.partition_point(|it| it.at_ms.load(Ordering::Relaxed) <= end_ms);
        &cells[from..to.max(from)]
    }

    fn window(&self, start_ms: i64, end_ms: i64) -> impl Iterator<Item = (i64, u64)> {
        self.cells_within(start_ms, end_ms).iter().map(|cell| {
            let bits = cell.bits.load(Ordering::Relaxed);
            (cell.at_ms.load(Ordering::Relaxed), bits)
        })
    }
}

/// Ends a long chain without recursion: dropping the first page of a head that was never cut must not overflow
/// the stack.
impl Drop for Page {
    fn drop(&mut self) {
        let mut next = self.next.take();
        while let Some(page) = next {
            next = Arc::into_inner(page).and_then(|mut page| page.next.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_sees_a_beginning_of_what_is_written_meanwhile() {
        let first = Page::new(1);
        let written = 200_000;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut last = Arc::clone(&first);
                for at in 0..written {
                    if let Some(next) = last.push(at, at as u64 * 3) {
                        last = next;
                    }
                }
            });
            let mut seen = 0;
            while seen < written as usize {
                let samples: Vec<_> = first.samples().collect();
                assert!(samples.len() >= seen, "what was seen stays");
                seen = samples.len();
                let whole =
                    |(at, sample): (usize, &(i64, u64))| *sample == (at as i64, at as u64 * 3);
                assert!(samples.iter().enumerate().all(whole));
            }
        });
        let window: Vec<i64> = first.ascending(100_000, 100_002).map(|(t, _)| t).collect();
        assert_eq!(window, [100_000, 100_001, 100_002]);
    }
}
