//! Appends that are written in one commit, judged one after another.
//!
//! Guarantees: each is judged against what the ones before it left; one that conflicts has changed nothing.
//! Never asks the database: all versions it needs were read before it begins.
//!
//! Example: two appends that both expect version 0 of a stream; the first is placed as version 1, the second
//! gets a conflict with `actual: 1`.

use std::collections::BTreeSet;

use mainstay_core::{Append, Entry, StreamId, ports::LedgerError};

use crate::{engine::Head, versions::Versions, writer::Written};

/// A group that is being placed.
pub(crate) struct Group<'a> {
    pub(crate) head: Head,
    pub(crate) versions: &'a mut Versions,
}

impl Group<'_> {
    /// Gives the append its place, or says why it has none.
    pub(crate) fn place(&mut self, append: Append) -> Written {
        for expected in append.expected {
            let actual = self.versions.of(&expected.stream);
            if actual != expected.version {
                return Err(LedgerError::Conflict {
                    stream: expected.stream,
                    expected: expected.version,
                    actual,
                });
            }
        }
        let mut written = Vec::with_capacity(append.entries.len());
        for new in append.entries {
            let mut entry = Entry {
                seq: self.head.seq + 1,
                version: self.versions.of(&new.stream) + 1,
                stream: new.stream,
                at: append.at,
                actor: append.actor.clone(),
                kind: new.kind,
                schema: new.schema,
                body: new.body,
                prev: self.head.hash,
                hash: self.head.hash,
            };
            entry.hash = entry.digest();
            self.versions.set(entry.stream.clone(), entry.version);
            self.head = Head {
                seq: entry.seq,
                hash: entry.hash,
            };
            written.push(entry);
        }
        Ok(written)
    }
}

/// The streams that these appends name and whose versions have to be read, each once.
pub(crate) fn unread<'a>(
    appends: impl Iterator<Item = &'a Append>,
    versions: &Versions,
) -> Vec<&'a StreamId> {
    let named = appends.flat_map(|append| {
        let expected = append.expected.iter().map(|expected| &expected.stream);
        expected.chain(append.entries.iter().map(|entry| &entry.stream))
    });
    let unread: BTreeSet<&StreamId> = named.filter(|stream| !versions.knows(stream)).collect();
    unread.into_iter().collect()
}
