//! The writer's side of the series: labels → number, and what it remembers of each.
//!
//! Guarantees: a hash only finds a series, equality of labels decides. Growing never stops the writer for long:
//! the lookup is many small tables, each growing by itself, and what is remembered stands in pieces.

use std::{collections::BTreeMap, sync::Arc};

use hashbrown::HashTable;

use crate::{
    HistogramSample,
    histogram::Chain,
    page::Page,
    series::{Entry, SeriesTable},
    tenants::TenantId,
};

/// Small tables: at a million series each holds 4,000, which move in a tenth of a millisecond.
const SHARDS: usize = 256;
/// Series in one piece of what is remembered.
const PIECE: usize = 4_096;

/// What the writer remembers of a series.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) newest_ms: i64,
    pub(crate) newest_bits: u64,
    /// Where the next sample goes.
    pub(crate) page: Option<Arc<Page>>,
    /// The generation that the page belongs to.
    pub(crate) generation: u32,
    /// The generation of the log that knows the series' number.
    pub(crate) defined: u32,
    /// The epoch in which its newest value was logged.
    pub(crate) epoch: u32,
    /// Samples in this generation.
    pub(crate) samples: u32,
    /// Whose it is.
    pub(crate) tenant: TenantId,
    /// The series that came after it last time; mostly the one that was made after it.
    pub(crate) next: u32,
}

impl State {
    pub(crate) fn new() -> Self {
        Self {
            newest_ms: i64::MIN,
            newest_bits: 0,
            page: None,
            generation: 0,
            defined: 0,
            epoch: 0,
            samples: 0,
            tenant: TenantId::NOBODY,
            next: u32::MAX,
        }
    }
}

/// What the writer remembers of a series' histograms, if it has any.
#[derive(Clone, Debug)]
pub(crate) struct Beside {
    /// The newest that came in order.
    pub(crate) newest: HistogramSample,
    /// Where the next goes.
    pub(crate) link: Option<Arc<Chain>>,
    /// The generation that the link belongs to.
    pub(crate) generation: u32,
}

impl Beside {
    /// Of a generation that ended.
    pub(crate) fn carried(newest: HistogramSample) -> Self {
        Self {
            newest,
            link: None,
            generation: 0,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u64,
    id: u32,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Roster {
    table: Arc<SeriesTable>,
    shards: Vec<HashTable<Slot>>,
    states: Vec<Vec<State>>,
    /// Few series have histograms: those that have none pay nothing for them.
    pub(crate) beside: BTreeMap<u32, Beside>,
}

impl Roster {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            table: Arc::new(SeriesTable::with_limit(limit)),
            shards: (0..SHARDS).map(|_| HashTable::new()).collect(),
            states: Vec::new(),
            beside: BTreeMap::new(),
        }
    }

    pub(crate) fn table(&self) -> &Arc<SeriesTable> {
        &self.table
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len() as usize
    }

    /// The number of the series with these labels.
    pub(crate) fn find(&self, hash: u64, key: &str) -> Option<u32> {
        let same = |slot: &Slot| {
            let entry = || self.table.get(slot.id);
            slot.hash == hash && entry().is_some_and(|it| it.labels.key() == key)
        };
        // The lowest bits choose inside a table, the highest are its tags.
        let shard = self.shards.get((hash >> 32) as usize % SHARDS)?;
        shard.find(hash, same).map(|slot| slot.id)
    }

    /// The number of the series with these labels, if it is the one that followed `last` before: senders name theirs
    /// in the same order each time, so labels are mostly compared once and hashed never.
    pub(crate) fn find_after(&self, last: u32, key: &str) -> Option<u32> {
        let next = self.state(last)?.next;
        let entry = self.table.get(next)?;
        (entry.labels.key() == key).then_some(next)
    }

    /// `next` came after `last`.
    pub(crate) fn follow(&mut self, last: u32, next: u32) {
        if let Some((state, _)) = self.remembered(last) {
            state.next = next;
        }
    }

    /// Adds a series that is not there; `None` if there are as many as there may be.
    pub(crate) fn insert(&mut self, hash: u64, entry: Entry, state: State) -> Option<u32> {
        let id = self.table.push(entry)?;
        if let Some(shard) = self.shards.get_mut((hash >> 32) as usize % SHARDS) {
            shard.insert_unique(hash, Slot { hash, id }, |slot| slot.hash);
        }
        if (id as usize).is_multiple_of(PIECE) {
            self.states.push(Vec::with_capacity(PIECE));
        }
        let next = id.wrapping_add(1);
        if let Some(piece) = self.states.last_mut() {
            piece.push(State { next, ..state });
        }
        Some(id)
    }

    pub(crate) fn state(&self, id: u32) -> Option<&State> {
        self.states
            .get(id as usize / PIECE)?
            .get(id as usize % PIECE)
    }

    /// What is remembered of a series, and what never changes about any.
    pub(crate) fn remembered(&mut self, id: u32) -> Option<(&mut State, &SeriesTable)> {
        let piece = self.states.get_mut(id as usize / PIECE)?;
        Some((piece.get_mut(id as usize % PIECE)?, &self.table))
    }
}
