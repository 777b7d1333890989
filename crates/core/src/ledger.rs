//! The ledger's entries, and the rule by which they chain.
//!
//! An entry belongs to a stream (a change, a resource, the capacity of a service). A writer names the
//! version it saw of each stream it appends to; if any has moved on, nothing is written. Entries of
//! all streams form one sequence, and each carries the hash of the one before it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Actor, Hash, Time};

/// Largest body of an entry, in bytes: the ledger holds decisions; evidence is kept elsewhere.
pub const BODY_BYTES_MAX: usize = 4_096;
/// Largest body of an `apply`: a resource as its owner wrote it.
pub const RESOURCE_BYTES_MAX: usize = 65_536;
/// Most entries in one append: a whole site applied at once.
pub const APPEND_ENTRIES_MAX: usize = 4_096;

/// Names one stream, such as `change/chg-3f9k2m`, `resource/Service/voyager` or `capacity/voyager/lax`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StreamId(String);

impl StreamId {
    /// The stream called `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the writer believes a stream to hold: the number of its entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// The stream.
    pub stream: StreamId,
    /// How many entries it has.
    pub version: u64,
}

/// An entry as its writer hands it over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewEntry {
    /// The stream it belongs to.
    pub stream: StreamId,
    /// What happened, such as `change.opened`.
    pub kind: String,
    /// Version of the body's schema.
    pub schema: u16,
    /// JSON, at most [`BODY_BYTES_MAX`] bytes ([`RESOURCE_BYTES_MAX`] for `resource.*`).
    pub body: String,
}

/// Entries to write together or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Append {
    /// Who writes.
    pub actor: Actor,
    /// When, by the writer's clock.
    pub at: Time,
    /// What must still hold of the streams.
    pub expected: Vec<Expected>,
    /// What to write, in order.
    pub entries: Vec<NewEntry>,
}

/// An entry as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Position in the ledger, from 1, without gaps.
    pub seq: u64,
    /// The stream it belongs to.
    pub stream: StreamId,
    /// Position in its stream, from 1.
    pub version: u64,
    /// When, by the writer's clock.
    pub at: Time,
    /// Who wrote it.
    pub actor: Actor,
    /// What happened.
    pub kind: String,
    /// Version of the body's schema.
    pub schema: u16,
    /// JSON.
    pub body: String,
    /// Hash of the entry before.
    pub prev: Hash,
    /// Hash of this entry: see [`Entry::digest`].
    pub hash: Hash,
}

impl Entry {
    /// SHA-256 over every other field in a fixed order, each with its length before it.
    pub fn digest(&self) -> Hash {
        Hash::of(&[
            self.prev.to_string().as_bytes(),
            &self.seq.to_be_bytes(),
            self.stream.as_str().as_bytes(),
            &self.version.to_be_bytes(),
            &self.at.millis().to_be_bytes(),
            self.actor.id.as_bytes(),
            &[u8::from(self.actor.verified)],
            self.kind.as_bytes(),
            &self.schema.to_be_bytes(),
            self.body.as_bytes(),
        ])
    }
}

/// The first place where a chain does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("entry {seq}: {what}")]
pub struct Broken {
    /// Position of the entry.
    pub seq: u64,
    /// What does not hold.
    pub what: String,
}

/// Walks a chain entry by entry; says where it first breaks.
#[derive(Debug, Clone)]
pub struct ChainCheck {
    next_seq: u64,
    prev: Hash,
}

impl Default for ChainCheck {
    fn default() -> Self {
        Self {
            next_seq: 1,
            prev: Hash::GENESIS,
        }
    }
}

impl ChainCheck {
    /// Checks the next entry.
    pub fn step(&mut self, entry: &Entry) -> Result<(), Broken> {
        let broken = |what: String| {
            Err(Broken {
                seq: self.next_seq,
                what,
            })
        };
        if entry.seq != self.next_seq {
            return broken(format!("missing; the next stored entry is {}", entry.seq));
        }
        if entry.prev != self.prev {
            return broken("names another predecessor than the entry before it".to_owned());
        }
        if entry.digest() != entry.hash {
            return broken("its content does not match its hash".to_owned());
        }
        self.next_seq += 1;
        self.prev = entry.hash;
        Ok(())
    }
    /// How many entries held, and the hash of the last.
    pub fn head(&self) -> (u64, Hash) {
        (self.next_seq - 1, self.prev)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(seq: u64, prev: Hash) -> Entry {
        let mut entry = Entry {
            seq,
            stream: StreamId::new("change/a"),
            version: seq,
            at: Time::from_millis(5),
            actor: Actor::verified("ana"),
            kind: "change.opened".to_owned(),
            schema: 1,
            body: "{}".to_owned(),
            prev,
            hash: Hash::GENESIS,
        };
        entry.hash = entry.digest();
        entry
    }

    #[test]
    fn a_changed_removed_or_reordered_entry_breaks_the_chain_at_its_place() {
        let one = entry(1, Hash::GENESIS);
        let two = entry(2, one.hash);
        let three = entry(3, two.hash);
        let walk = |entries: &[&Entry]| {
            let mut check = ChainCheck::default();
            entries
                .iter()
                .try_for_each(|e| check.step(e))
                .map_err(|broken| broken.seq)
        };
        assert_eq!(walk(&[&one, &two, &three]), Ok(()));
        assert_eq!(walk(&[&one, &three]), Err(2));
        assert_eq!(walk(&[&two, &three]), Err(1));
        let mut forged = two.clone();
        forged.body = "{\"x\":1}".to_owned();
        assert_eq!(walk(&[&one, &forged, &three]), Err(2));
        forged.hash = forged.digest();
        assert_eq!(walk(&[&one, &forged, &three]), Err(3));
    }
}
