//! Incidents in the world: opened and acted on over the ledger, people told by their channels.
//!
//! Guarantees: whatever was answered well is in the ledger; two who act at once do not act on what is not so. A page
//! goes out only while this process leads, once for each try. Who is meant and how they are reached is asked when it
//! matters. Never lets a channel that hangs keep another waiting.

mod auditor;
mod book;
mod by_link;
mod contacts;
mod desk;
mod direct;
mod intake;
mod link;
mod orders;
mod pager;
mod rota;
mod turns;

use std::sync::Arc;

use mainstay_core::{
    ChangeId,
    ports::{Clock, Ledger, Tables},
};
use tokio::sync::watch;

pub use auditor::Auditor;
pub use book::{Book, Declared};
pub use contacts::{Contacts, ContactsError, Method, Person};
pub use desk::{Desk, Listed, Page};
pub use intake::{IntakeError, posted};
pub use link::Links;
pub use orders::{Opening, VERBS};
pub use pager::{Channels, Pager, Paging, Sent};
pub use rota::Rota;

/// What incidents stand on.
#[derive(Clone)]
pub struct Ports {
    /// Where they are written.
    pub ledger: Arc<dyn Ledger>,
    /// Tables folded from it.
    pub tables: Arc<dyn Tables>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// The position of the newest entry.
    pub newest: watch::Receiver<u64>,
    /// Makes the id of the next incident.
    pub next_id: Arc<dyn Fn() -> ChangeId + Send + Sync>,
    /// Hears that an incident has so many entries, so that nobody waits for it to be found.
    pub wrote: Wrote,
}

/// Hears of entries: of which incident, and how many it has.
pub type Wrote = Arc<dyn Fn(&ChangeId, u64) + Send + Sync>;

impl std::fmt::Debug for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ports")
    }
}

#[cfg(test)]
mod tests;
