//! The series of a head: number → labels, written by one thread while others read.
//!
//! Guarantees: numbers are given out without holes; a series that was published stays what it is for as long as
//! the table lives. The index over it belongs to those who read: the writer never waits for it, readers bring it
//! up to date before they use it.

use std::sync::{
    OnceLock, PoisonError, RwLock, RwLockReadGuard,
    atomic::{AtomicU32, Ordering},
};

use crate::{Labels, index::Index, segments::Segments};

/// What never changes about a series.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) labels: Labels,
    /// Time of its first sample ever, if it is known to have been zero just before.
    pub(crate) born_ms: Option<i64>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct SeriesTable {
    entries: Segments<OnceLock<Entry>>,
    len: AtomicU32,
    limit: usize,
    index: RwLock<Index>,
}

impl SeriesTable {
    pub(crate) fn with_limit(limit: usize) -> Self {
        let limit = limit.min(u32::MAX as usize - 1);
        Self {
            entries: Segments::with_limit(limit),
            len: AtomicU32::new(0),
            limit,
            index: RwLock::default(),
        }
    }

    /// Adds a series; only the one writer may call this. `None` if there are as many as there may be.
    pub(crate) fn push(&self, entry: Entry) -> Option<u32> {
        let id = self.len.load(Ordering::Relaxed);
        if id as usize >= self.limit {
            return None;
        }
        self.entries.get_or_make(id)?.set(entry).ok()?;
        self.len.store(id + 1, Ordering::Release);
        Some(id)
    }

    pub(crate) fn get(&self, id: u32) -> Option<&Entry> {
        self.entries.get(id)?.get()
    }

    pub(crate) fn len(&self) -> u32 {
        self.len.load(Ordering::Acquire)
    }

    /// The index, with all series published by now.
    pub(crate) fn index(&self) -> RwLockReadGuard<'_, Index> {
        let wanted = self.len();
        let read = || self.index.read().unwrap_or_else(PoisonError::into_inner);
        let index = read();
        if index.len() >= wanted {
            return index;
        }
        drop(index);
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        for id in index.len()..wanted {
            if let Some(entry) = self.get(id) {
                index.push(entry.labels.iter());
            }
        }
        drop(index);
        read()
    }
}
