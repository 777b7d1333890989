//! Bugs in the machines, for the simulator to find: a simulator that finds none of them proves nothing.
//!
//! Guarantees: compiled in only with the feature `planted`, which no product enables; without it [`is`] is a
//! constant `false`. One thread has at most one bug, so that worlds run beside each other.

/// A bug that a machine, the runtime or the capacity arithmetic can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// No failure domain is held back when a batch is sized.
    MarginForgotten,
    /// What other changes hold counts as free.
    LeasesUncounted,
    /// A rollout takes out whatever still has to move, whatever was granted.
    GrantOverrun,
    /// Harm is written down and nothing follows from it.
    HarmNoted,
    /// A gate is passed although evidence is missing.
    MissingPasses,
    /// What was seen of another set of instances moves a machine.
    GenerationIgnored,
    /// The runtime writes without expecting that it still leads.
    LeadershipUnexpected,
    /// A way back waits for a person as a way forward does.
    RestoringPauses,
    /// A freeze goes on after its time.
    FreezeOutlasts,
    /// A shed or a drain is not undone in its time.
    TemporaryStays,
    /// One instance that is verified counts for all that are awaited.
    OneForAll,
    /// A router is taken to act on a table before it says so.
    TablesBelieved,
    /// An acknowledgement is written down and nothing follows from it.
    AcknowledgementIgnored,
    /// An alert that joins an incident puts its next step off.
    AlertsPutOff,
    /// A step of an escalation is left out.
    StepSkipped,
    /// A channel that fails is not followed by the next.
    NextChannelForgotten,
    /// A page counts as taken before it is sent.
    AcceptedUnsent,
    /// A page that is under way is sent again whenever it is asked for.
    UnderwayForgotten,
    /// What is too much for one person is not told at all.
    OverLimitDropped,
}

#[cfg(feature = "planted")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Gives this thread's machines a bug, or none.
#[cfg(feature = "planted")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether the machines of this thread have `bug`.
#[cfg(feature = "planted")]
pub fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether the machines of this thread have `bug`: never, as they are built here.
#[cfg(not(feature = "planted"))]
pub const fn is(_: Bug) -> bool {
    false
}
