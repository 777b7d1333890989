//! A ledger in memory, with the rules of the real one.

use std::collections::BTreeMap;

use mainstay_core::{Append, Entry, Hash, StreamId};

#[derive(Default)]
pub(crate) struct SimLedger {
    pub(crate) entries: Vec<Entry>,
    versions: BTreeMap<StreamId, u64>,
}

impl SimLedger {
    pub(crate) fn version(&self, stream: &StreamId) -> u64 {
        self.versions.get(stream).copied().unwrap_or(0)
    }
    pub(crate) fn streams(&self) -> impl Iterator<Item = (&StreamId, u64)> {
        self.versions
            .iter()
            .map(|(stream, version)| (stream, *version))
    }
    pub(crate) fn stream(&self, stream: &StreamId) -> Vec<Entry> {
        let mine = self.entries.iter().filter(|entry| entry.stream == *stream);
        mine.cloned().collect()
    }
    /// Writes all or nothing; the error names the stream that had moved on.
    pub(crate) fn append(&mut self, append: &Append, check: bool) -> Result<Vec<Entry>, StreamId> {
        let moved = append
            .expected
            .iter()
            .find(|it| self.version(&it.stream) != it.version);
        if let Some(expected) = moved.filter(|_| check) {
            return Err(expected.stream.clone());
        }
        let first = self.entries.len();
        for new in &append.entries {
            let version = self.versions.entry(new.stream.clone()).or_default();
            *version += 1;
            let mut entry = Entry {
                seq: self.entries.len() as u64 + 1,
                stream: new.stream.clone(),
                version: *version,
                at: append.at,
                actor: append.actor.clone(),
                kind: new.kind.clone(),
                schema: new.schema,
                body: new.body.clone(),
                prev: self.entries.last().map_or(Hash::GENESIS, |last| last.hash),
                hash: Hash::GENESIS,
            };
            entry.hash = entry.digest();
            self.entries.push(entry);
        }
        Ok(self.entries.iter().skip(first).cloned().collect())
    }
}
