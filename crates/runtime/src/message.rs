//! What a turn is told, and what it wants done.

use mainstay_change::{Direction, EffectId, Refusal};
use mainstay_core::{Append, ChangeId, Entry, StreamId};

use crate::hosted::HostError;

/// Names one append under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub(crate) u64);

/// What a turn is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Inbox {
    /// A stream has so many entries.
    Seen {
        /// The change it belongs to.
        change: ChangeId,
        /// Its entries.
        version: u64,
    },
    /// A whole stream: the answer to [`Dispatch::Read`], and how a change is recovered.
    Stream {
        /// The change.
        change: ChangeId,
        /// All its entries, oldest first.
        entries: Vec<Entry>,
    },
    /// An append is on disk.
    Committed {
        /// Which.
        ticket: Ticket,
        /// As stored.
        entries: Vec<Entry>,
    },
    /// An append was refused because a stream had moved on.
    Conflict {
        /// Which.
        ticket: Ticket,
        /// The stream.
        stream: StreamId,
    },
    /// Whether an append was written, or what a stream holds, is not known: the ledger did not answer.
    Unknown {
        /// The change.
        change: ChangeId,
    },
    /// Something for a machine, as JSON.
    Input {
        /// The change.
        change: ChangeId,
        /// The input.
        body: String,
    },
}

/// What a turn wants done; each is answered by an [`Inbox`] message, effects by any number of inputs.
#[derive(Debug, Clone, PartialEq)]
pub enum Dispatch {
    /// Write.
    Append {
        /// To name it in the answer.
        ticket: Ticket,
        /// The change it is for.
        change: ChangeId,
        /// What to write.
        append: Append,
        /// Which way the change goes.
        direction: Direction,
    },
    /// Read a change's stream.
    Read {
        /// The change.
        change: ChangeId,
    },
    /// Act, or measure. May come twice; the receiver applies an identity once.
    Effect {
        /// The change.
        change: ChangeId,
        /// What makes it one effect.
        id: EffectId,
        /// The effect, as JSON.
        body: String,
    },
    /// An input was not accepted.
    Refused {
        /// The change.
        change: ChangeId,
        /// Why.
        refusal: Refusal,
    },
    /// A change cannot be hosted: it stays as it is until somebody looks.
    Broken {
        /// The change.
        change: ChangeId,
        /// Why.
        error: HostError,
    },
}
