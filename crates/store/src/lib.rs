//! The ledger, leases, timers, projections and tokens, on SQLite, PostgreSQL or memory.
//!
//! Guarantees: an append that returned is committed, whole, at consecutive positions, each entry
//! carrying the hash of the one before; a writer whose view of a stream is stale gets a conflict and
//! changes nothing; projections move in the same transaction as the entries they are folded from;
//! a lease's epoch grows whenever it changes hands. The three engines pass one conformance suite.
//!
//! An append that ended in `Unavailable` may have been written all the same, as a connection can die
//! between the commit and its answer: read the stream again before deciding. A stream written to
//! without an expectation grows at its end.
//!
//! Never: rewrites or deletes an entry, asks the database for the time, waits without a bound for
//! room in the queue, keeps a token's secret.
//!
//! ```
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! use mainstay_core::{Actor, Append, Expected, NewEntry, StreamId, Time, ports::Ledger};
//! use mainstay_store::{Options, Store};
//!
//! let store = Store::memory(Options::default()).await.unwrap();
//! let stream = StreamId::new("capacity/voyager/lax");
//! let append = Append {
//!     actor: Actor::verified("ana"),
//!     at: Time::from_millis(1),
//!     expected: vec![Expected { stream: stream.clone(), version: 0 }],
//!     entries: vec![NewEntry {
//!         stream: stream.clone(),
//!         kind: "capacity.leased".to_owned(),
//!         schema: 1,
//!         body: "{}".to_owned(),
//!     }],
//! };
//! let written = store.append(append.clone()).await.unwrap();
//! assert_eq!((written[0].seq, written[0].version), (1, 1));
//! assert!(store.append(append).await.is_err(), "the stream has moved on");
//! # });
//! ```

mod changes;
mod engine;
mod error;
mod group;
mod leases;
mod limits;
mod many;
mod projection;
mod resources;
mod rows;
mod secrets;
mod standins;
mod store;
mod timers;
mod tokens;
mod versions;
mod writer;

pub use changes::{ChangeProjection, ChangeSummary, NewestProjection};
pub use error::StoreError;
pub use leases::Lease;
pub use limits::{
    FREE_BYTES_RESERVE, GROUP_APPENDS_MAX, LIST_ROWS_MAX, NAME_BYTES_MAX, PAGE_ENTRIES_MAX,
    QUEUE_APPENDS_MAX, TIMER_BODY_BYTES_MAX,
};
pub use projection::{Projected, Projection};
pub use resources::{AppliedResource, ResourceProjection};
pub use standins::StandInProjection;
pub use store::{Options, Store};
pub use timers::Timer;
pub use tokens::TokenInfo;
