//! Who holds which part of a service's headroom, so that two changes cannot spend it twice.
//!
//! The book of one service in one fabric is the fold of its stream `capacity/SERVICE/FABRIC`. A writer
//! appends against the version it decided on, so of two changes that saw the same headroom one
//! conflicts and decides again. Never lets a forward change displace anybody.

use std::collections::BTreeMap;

use mainstay_core::{ChangeId, Entry, Expected, FabricName, NewEntry, ServiceName, StreamId};
use serde::{Deserialize, Serialize};

use crate::{
    guards::Direction,
    planted::{self, Bug},
};

/// Kind of the entries of a lease book; the body is a [`LeaseEvent`].
pub const LEASE_EVENT: &str = "capacity.lease";
/// Most leases in one book: more changes at once on one service and fabric are refused.
const LEASES_MAX: usize = 256;

/// What happened to headroom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
pub enum LeaseEvent {
    /// A change holds so much from now on, in place of what it held.
    Taken {
        /// The change.
        change: ChangeId,
        /// Which way it goes.
        direction: Direction,
        /// Requests per second.
        rps: f64,
        /// Forward changes whose leases this one takes over; only where it restores.
        #[serde(default)]
        from: Vec<ChangeId>,
    },
    /// A change holds nothing any more.
    Released {
        /// The change.
        change: ChangeId,
    },
}

/// What one change holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lease {
    /// Which way it goes.
    pub direction: Direction,
    /// Requests per second.
    pub rps: f64,
}

/// Why a lease is not given, or a book cannot be read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LeaseError {
    /// Not a number of requests.
    #[error("{0} is not a number of requests per second")]
    NotANumber(f64),
    /// Too many.
    #[error("{LEASES_MAX} changes hold leases already; wait until one is done")]
    TooMany,
    /// An entry that is not of this book.
    #[error("entry {seq} is not a lease event: {why}")]
    Unreadable {
        /// Its position.
        seq: u64,
        /// What is wrong with it.
        why: String,
    },
    /// Entries are missing.
    #[error("entry {found} of the book follows entry {expected_after}")]
    Gap {
        /// The last one folded.
        expected_after: u64,
        /// The one offered.
        found: u64,
    },
}

/// The stream of a service's leases in a fabric.
pub fn lease_stream(service: &ServiceName, fabric: &FabricName) -> StreamId {
    StreamId::new(format!("capacity/{service}/{fabric}"))
}

/// The leases of one service in one fabric.
#[derive(Debug, Clone, PartialEq)]
pub struct LeaseBook {
    stream: StreamId,
    version: u64,
    leases: BTreeMap<ChangeId, Lease>,
}

impl LeaseBook {
    /// An empty book.
    pub fn new(service: &ServiceName, fabric: &FabricName) -> Self {
        Self {
            stream: lease_stream(service, fabric),
            version: 0,
            leases: BTreeMap::new(),
        }
    }
    /// Folds the next entry of the stream in; one folded before changes nothing.
    pub fn fold(&mut self, entry: &Entry) -> Result<(), LeaseError> {
        let unreadable = |why: String| LeaseError::Unreadable {
            seq: entry.seq,
            why,
        };
        if entry.stream != self.stream || entry.kind != LEASE_EVENT {
            return Err(unreadable(format!("`{}` of {}", entry.kind, entry.stream)));
        }
        if entry.version <= self.version {
            return Ok(());
        }
        if entry.version != self.version + 1 {
            return Err(LeaseError::Gap {
                expected_after: self.version,
                found: entry.version,
            });
        }
        let event = serde_json::from_str(&entry.body).map_err(|e| unreadable(e.to_string()))?;
        match event {
            LeaseEvent::Taken {
                change,
                direction,
                rps,
                from,
            } => {
                for other in &from {
                    self.leases.remove(other);
                }
                self.leases.insert(change, Lease { direction, rps });
            }
            LeaseEvent::Released { change } => {
                self.leases.remove(&change);
            }
        }
        self.version = entry.version;
        Ok(())
    }
    /// What the others hold: a change's own lease is not in its way, and a restoring one counts no
    /// forward lease, because it may take those over.
    pub fn leased_rps(&self, change: &ChangeId, direction: Direction) -> f64 {
        self.leases
            .iter()
            .filter(|(id, lease)| *id != change && !displaces(direction, **lease))
            .filter(|_| !planted::is(Bug::LeasesUncounted))
            .map(|(_, lease)| lease.rps)
            // An empty sum of floats is −0, which no reader wants to see.
            .fold(0.0, |sum, rps| sum + rps)
    }
    /// The entry by which `change` holds `rps`; append it expecting [`LeaseBook::expected`]. A restoring
    /// change takes over every forward lease.
    pub fn take(
        &self,
        change: &ChangeId,
        direction: Direction,
        rps: f64,
    ) -> Result<NewEntry, LeaseError> {
        if !rps.is_finite() || rps < 0.0 {
            return Err(LeaseError::NotANumber(rps));
        }
        let from: Vec<ChangeId> = self
            .leases
            .iter()
            .filter(|(id, lease)| *id != change && displaces(direction, **lease))
            .map(|(id, _)| id.clone())
            .collect();
        if !self.leases.contains_key(change) && self.leases.len() - from.len() >= LEASES_MAX {
            return Err(LeaseError::TooMany);
        }
        Ok(self.entry(&LeaseEvent::Taken {
            change: change.clone(),
            direction,
            rps,
            from,
        }))
    }
    /// The entry by which `change` holds nothing; `None` where it holds nothing already.
    pub fn release(&self, change: &ChangeId) -> Option<NewEntry> {
        self.leases.contains_key(change).then(|| {
            self.entry(&LeaseEvent::Released {
                change: change.clone(),
            })
        })
    }
    /// What `change` holds.
    pub fn lease(&self, change: &ChangeId) -> Option<Lease> {
        self.leases.get(change).copied()
    }
    /// Who holds what.
    pub fn leases(&self) -> impl Iterator<Item = (&ChangeId, &Lease)> {
        self.leases.iter()
    }
    /// What an append must expect of the stream.
    pub fn expected(&self) -> Expected {
        Expected {
            stream: self.stream.clone(),
            version: self.version,
        }
    }
    fn entry(&self, event: &LeaseEvent) -> NewEntry {
        NewEntry {
            stream: self.stream.clone(),
            kind: LEASE_EVENT.to_owned(),
            schema: 1,
            body: serde_json::to_string(event).expect("strings and finite numbers serialise"),
        }
    }
}

fn displaces(direction: Direction, other: Lease) -> bool {
    direction == Direction::Restoring && other.direction == Direction::Forward
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_core::{Actor, Hash, Time};

    fn id(text: &str) -> ChangeId {
        ChangeId::new(text).unwrap()
    }

    fn book() -> LeaseBook {
        let service = ServiceName::new("voyager").unwrap();
        LeaseBook::new(&service, &FabricName::new("lax").unwrap())
    }

    fn stored(book: &LeaseBook, new: NewEntry) -> Entry {
        let version = book.expected().version + 1;
        Entry {
            seq: version,
            stream: new.stream,
            version,
            at: Time::from_millis(0),
            actor: Actor::system(),
            kind: new.kind,
            schema: new.schema,
            body: new.body,
            prev: Hash::GENESIS,
            hash: Hash::GENESIS,
        }
    }

    fn take(book: &mut LeaseBook, change: &str, direction: Direction, rps: f64) {
        let entry = stored(book, book.take(&id(change), direction, rps).unwrap());
        book.fold(&entry).unwrap();
    }

    #[test]
    fn headroom_that_one_change_holds_is_gone_for_the_next_until_it_is_released() {
        let mut book = book();
        take(&mut book, "a", Direction::Forward, 300.0);
        assert_eq!(book.leased_rps(&id("b"), Direction::Forward), 300.0);
        assert_eq!(book.leased_rps(&id("a"), Direction::Forward), 0.0);
        take(&mut book, "a", Direction::Forward, 100.0);
        assert_eq!(book.leased_rps(&id("b"), Direction::Forward), 100.0);
        let free = stored(&book, book.release(&id("a")).unwrap());
        book.fold(&free).unwrap();
        assert_eq!(book.leased_rps(&id("b"), Direction::Forward), 0.0);
        assert_eq!(book.release(&id("a")), None);
    }

    #[test]
    fn a_restoring_change_takes_over_forward_leases_and_never_another_restoring_one() {
        let mut book = book();
        take(&mut book, "forward", Direction::Forward, 300.0);
        take(&mut book, "back-1", Direction::Restoring, 50.0);
        assert_eq!(book.lease(&id("forward")), None);
        assert_eq!(book.leased_rps(&id("back-2"), Direction::Restoring), 50.0);
        take(&mut book, "back-2", Direction::Restoring, 20.0);
        assert_eq!(book.leased_rps(&id("other"), Direction::Forward), 70.0);
    }

    #[test]
    fn an_entry_seen_twice_counts_once_and_a_gap_is_an_error() {
        let mut book = book();
        let first = stored(&book, book.take(&id("a"), Direction::Forward, 5.0).unwrap());
        book.fold(&first).unwrap();
        book.fold(&first).unwrap();
        assert_eq!(book.expected().version, 1);
        let mut third = first.clone();
        third.version = 3;
        assert!(matches!(book.fold(&third), Err(LeaseError::Gap { .. })));
        assert!(book.take(&id("a"), Direction::Forward, f64::NAN).is_err());
    }
}
