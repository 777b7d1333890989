//! The names of invariants, faults and planted bugs, and what came of a world.

use std::collections::BTreeMap;

use mainstay_core::ChangeState;

/// What must hold in every world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// No effect without an entry before it; the chain is whole.
    Ledger,
    /// No forward step while a freeze holds, after harm was seen, or on stale data.
    Guard,
    /// What is temporary ends by its deadline: a freeze, a drain, a shed, a share that a limit test shifted.
    Undo,
    /// A stale leader commits nothing; no effect takes hold twice or after a newer one.
    Fence,
    /// When faults stop, every change ends, or waits for a person.
    Live,
    /// No effect takes serving capacity below what it was, or demand and a margin, whichever is less.
    Floor,
    /// What is called verified, at rest or done was so.
    Truth,
    /// Whatever was taken is told to people, in time and no more often than has to be, until somebody acts.
    Page,
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
    /// An effect does not arrive.
    LostEffect,
    /// An order arrives after a newer one.
    LateOrder,
    /// An agent reports nothing.
    SilentAgent,
    /// An agent reports what is wanted instead of what is.
    LyingAgent,
    /// An agent is started anew.
    AgentRestart,
    /// Nothing is measured: routers are silent, the judge has no evidence.
    BlindMonitoring,
    /// Both versions fail alike.
    SharedFailure,
    /// A host is gone, with all it ran.
    HostLoss,
    /// So is a whole rack.
    RackLoss,
    /// A process does not stop until it is killed.
    RefusesToStop,
    /// A process does not start.
    FailsToStart,
    /// Another change holds headroom of the same service.
    ForeignLease,
    /// An answer does not arrive in time, or never.
    LostAnswer,
    /// An agent is gone; what it started goes on.
    AgentGone,
    /// A router is cut off; it goes on with the table it has.
    RouterGone,
    /// An instance holds its port and answers nobody.
    Hangs,
    /// A freeze holds what would go forward.
    Frozen,
    /// A change is opened while another one is under way on the service.
    Beside,
    /// More than a full share breaks what users are promised.
    LimitBreaks,
    /// A channel takes nothing.
    DeadChannel,
    /// A channel takes a message and does not say so.
    SilentChannel,
    /// Nobody is on call.
    NobodyOnCall,
    /// One person is to be told more than they may be at once.
    TooManyPages,
}

/// A bug in the simulated system, to test the simulator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// None.
    Nothing,
    /// The guard passes everything.
    GuardSaysYes,
    /// Nobody asks whether a freeze holds.
    FreezeOverlooked,
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
    /// What an agent says of itself is taken for what is.
    ClaimsTrusted,
    /// A verdict from before monitoring went blind is dated as of now.
    StaleVerdicts,
    /// Instances are taken out without a lease.
    NoLease,
    /// Batches are as large as they like.
    BatchIgnoresArithmetic,
    /// The old version is said to carry everything on the way back.
    OldVersionCarriesAll,
    /// Instances are said to be at rest at once.
    DrainedTooSoon,
    /// A new leader counts no request that was under way before it.
    ForgetsInFlight,
    /// What was seen of another set of instances is taken for what is looked for now.
    GenerationIgnored,
    /// An agent that is started anew starts its instances beside those that run.
    AgentForgets,
    /// Harm is ruled a pass.
    HarmSwallowed,
    /// Receivers take orders older than those they have.
    OldOrdersTaken,
    /// A new leader orders routes before it has heard what runs.
    RoutesUnheard,
    /// The end is reported without writing down what runs.
    SettlesUnwritten,
    /// The end is reported without letting go of what was leased.
    LeasesKept,
    /// Headroom that others hold is counted as free.
    LeasesUncounted,
    /// A process counts as the successor although it started before.
    StartIgnored,
    /// Nobody says which processes had to be killed.
    KillsUnsaid,
    /// A process that was told to stop for good counts as gone.
    StopBelieved,
    /// Routers are said to act on a table that they were only sent.
    ConfirmsUnapplied,
    /// A limit test does not see other changes of its service.
    DisturbanceIgnored,
    /// What an instance was sent is taken for what it answered well.
    OfferedIsHeld,
    /// A share above a full one is ordered without its limit.
    LimitUnsent,
    /// A share that was raised is never ordered back.
    ShareKept,
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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// What did not hold; stops at the first.
    pub violations: Vec<Violation>,
    /// How often each fault bit.
    pub bites: BTreeMap<Fault, u32>,
    /// Commits by leaders.
    pub commits: u32,
    /// Where the rollout stood at the end; none in worlds without one.
    pub ended: Option<ChangeState>,
    /// Milliseconds from the verdict of harm to the last request that the bad version answered.
    pub exposed_after_ms: Option<i64>,
    /// Everything that happened, in order.
    pub trace: String,
}
