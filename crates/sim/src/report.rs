//! The names of invariants, faults and planted bugs, and what came of a world.

use std::collections::BTreeMap;

/// What must hold in every world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// No effect without an entry before it; the chain is whole.
    Ledger,
    /// No forward step while a freeze holds.
    Guard,
    /// A freeze ends by its deadline.
    Undo,
    /// A stale leader commits nothing; no effect takes hold twice or after a newer one.
    Fence,
    /// When faults stop, every change ends.
    Live,
}

/// What goes wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The leader dies right after a commit.
    CrashAfterCommit,
    /// A commit's acknowledgement does not arrive.
    LostAcknowledgement,
    /// A machine decides on an input it was told before.
    DuplicateInput,
    /// The wall clock jumps.
    ClockJump,
    /// A leader that was replaced tries to write.
    StaleLeader,
    /// A receiver is sent an effect that took hold already.
    DuplicateEffect,
}

/// A bug in the simulated system, to test the simulator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// None.
    Nothing,
    /// The guard passes everything.
    GuardSaysYes,
    /// The ledger writes without looking at what was expected.
    NoExpectations,
    /// The receiver does again what it did before.
    ReceiverTakesTwice,
    /// The ledger acknowledges without writing.
    AcknowledgesUnwritten,
    /// The runtime's clock stands still.
    ClockStandsStill,
    /// A new leader is not told which changes are open.
    NoRecovery,
}

/// An invariant that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// What happened instead.
    pub what: String,
}

/// What came of a world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What did not hold; stops at the first.
    pub violations: Vec<Violation>,
    /// How often each fault bit.
    pub bites: BTreeMap<Fault, u32>,
    /// Commits by leaders.
    pub commits: u32,
    /// Everything that happened, in order.
    pub trace: String,
}
