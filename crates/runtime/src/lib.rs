//! Performs effects: hosts the machines of open changes over the ledger.
//!
//! **Guarantees.** Events are committed before any effect that follows from them is dispatched;
//! recovery folds events alone; an effect is sent again until the state moves on, under the same
//! identity; a writer that lost the leadership commits nothing. **Never** knows a pillar: plans, events,
//! inputs and effects are bytes here, decoded by the machine registered for their kind.
//!
//! [`Runtime::turn`] is synchronous and reads no clock, so the simulator runs the same code; [`drive`]
//! is the thin shell that gives it a ledger, a clock and hands.
//!
//! ```
//! use mainstay_change::freeze::Freeze;
//! use mainstay_core::{Actor, Expected, Time};
//! use mainstay_runtime::{Codecs, Runtime, leader_stream};
//! let leadership = Expected { stream: leader_stream(), version: 1 };
//! let mut runtime = Runtime::new(Codecs::new().with::<Freeze>(), Actor::system(), leadership);
//! assert!(runtime.turn(Time::from_millis(0), vec![]).is_empty());
//! ```

mod drive;
mod hosted;
mod message;
mod turn;

pub use drive::{DriveError, Performer, Shell, drive, lead};
pub use hosted::{Codecs, HostError};
pub use message::{Dispatch, Inbox, Ticket};
pub use turn::{Runtime, leader_stream};
