//! The vocabulary of Mainstay.
//!
//! Every room speaks in these types: typed names and ids, time, the resources an operator declares,
//! [`Change`] and the ledger's [`Entry`], [`Claim`] and [`Measured`], [`Guard`](guard::GuardSpec) and
//! [`Verdict`], and the ports through which production is read and moved.
//!
//! **Guarantees.** Synchronous, no I/O, no clock, no randomness. Names and percentages are parsed at
//! the edge: a value of these types is valid. **Never** names a pillar: what a plan contains is bytes
//! with a kind and a version, decoded by the room that owns it.
//!
//! ```
//! use mainstay_core::{Measured, Span, Time};
//! let seen = Measured::observe("up", Time::from_millis(1_000), "router/lax");
//! assert!(seen.is_fresh(Time::from_millis(2_500), Span::from_secs(2)));
//! assert!(!seen.is_fresh(Time::from_millis(9_000), Span::from_secs(2)));
//! ```

pub mod catalog;
pub mod change;
pub mod escalation;
pub mod flaw;
pub mod graph;
pub mod guard;
mod hash;
mod ids;
pub mod ledger;
mod measured;
pub mod monitor;
pub mod oncall;
pub mod ports;
pub mod probe;
pub mod resource;
mod time;

pub use change::{Actor, BlastRadius, Change, ChangeKind, ChangeState, Emergency};
pub use guard::{Finding, Outcome, Verdict};
pub use hash::{Hash, hex};
pub use ids::{
    ChangeId, FabricName, HostName, InstanceName, NAME_BYTES_MAX, Name, NameError, Percent,
    ServiceName, Version,
};
pub use ledger::{Append, Entry, Expected, NewEntry, StreamId};
pub use measured::{Claim, Measured};
pub use resource::{Kind, Metadata, Resource};
pub use time::{Span, SpanError, Time, TimeError};
