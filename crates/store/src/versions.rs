//! How many entries streams have, as this process's writer remembers it from one commit to the next.
//!
//! Guarantees: what is remembered is what the database would say. Only appends change versions, every append
//! moves the chain's head, and a head is never come back to, since it holds the hash of all before it. So
//! while the head, read under the lock that keeps other writers out, is the one this writer left, nobody has
//! written in between; on any other head everything is forgotten. A commit whose end is unknown is forgotten
//! as well. Never grows past [`STREAMS_MAX`] by remembering.
//!
//! Example: another process appends to `capacity/voyager/lax`; the next group finds a head it did not leave
//! and asks the database again.

use std::collections::BTreeMap;

use mainstay_core::StreamId;

use crate::engine::Head;

/// Most streams remembered between two commits: some hundred kilobytes, and far more than are written to
/// at one time.
pub(crate) const STREAMS_MAX: usize = 4_096;

/// Versions of the streams that were written to last.
#[derive(Debug, Default)]
pub(crate) struct Versions {
    left: Option<Head>,
    known: BTreeMap<StreamId, u64>,
}

impl Versions {
    /// Keeps what is known only if `head`, read under the lock, is where this writer left the chain.
    pub(crate) fn resume(&mut self, head: Head) {
        if self.left.take() != Some(head) || self.known.len() > STREAMS_MAX {
            self.known.clear();
        }
    }

    /// The transaction has ended at `head`, for certain; without this word all is forgotten.
    pub(crate) fn left_at(&mut self, head: Head) {
        self.left = Some(head);
    }

    /// Whether the version of a stream is known.
    pub(crate) fn knows(&self, stream: &StreamId) -> bool {
        self.known.contains_key(stream)
    }

    /// The version of a stream that was read before; one that was not has none, and is 0.
    pub(crate) fn of(&self, stream: &StreamId) -> u64 {
        self.known.get(stream).copied().unwrap_or(0)
    }

    /// Notes what was read or written.
    pub(crate) fn set(&mut self, stream: StreamId, version: u64) {
        self.known.insert(stream, version);
    }
}

#[cfg(test)]
mod tests {
    use mainstay_core::Hash;

    use super::*;

    fn head(seq: u64, text: &str) -> Head {
        Head {
            seq,
            hash: Hash::of(&[text.as_bytes()]),
        }
    }

    fn knowing() -> (Versions, StreamId) {
        let stream = StreamId::new("s");
        let mut versions = Versions::default();
        versions.resume(head(4, "a"));
        versions.set(stream.clone(), 4);
        (versions, stream)
    }

    #[test]
    fn what_is_known_lasts_while_the_head_is_the_one_that_was_left() {
        let (mut versions, stream) = knowing();
        versions.left_at(head(5, "b"));
        versions.resume(head(5, "b"));
        assert!(versions.knows(&stream));
    }

    #[test]
    fn another_head_of_the_same_length_is_another_head() {
        let (mut versions, stream) = knowing();
        versions.left_at(head(5, "b"));
        versions.resume(head(5, "c"));
        assert!(!versions.knows(&stream));
    }

    #[test]
    fn a_transaction_whose_end_is_unknown_is_forgotten() {
        let (mut versions, stream) = knowing();
        versions.resume(head(4, "a"));
        assert!(!versions.knows(&stream));
    }
}
