//! What an action is told, what happened to it, and what it wants done.

use mainstay_core::{Actor, Measured, Time, Verdict};
use serde::{Deserialize, Serialize};

use super::plan::Processes;
use crate::{deployment::Deployment, moves::Verb, slots::Slots};

/// What an action is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// How many may be out at once, held in the ledger.
    Granted {
        /// The batch asked for.
        batch: u32,
        /// Those that may be taken out; none where something holds it, or room must be made first.
        slots: Slots,
        /// Their processes, as their agents saw them.
        before: Processes,
        /// Whether only capacity holds it, so that one more instance would help.
        room: bool,
        /// Why: freezes, guards and the arithmetic.
        verdict: Verdict,
    },
    /// What was seen of the instances it moves, as wanted by state `generation`.
    Seen {
        /// The generation looked for.
        generation: u64,
        /// Instances seen as they are wanted.
        verified: Measured<Slots>,
        /// Of those, the ones whose process before outlived its grace and was killed.
        killed: Slots,
        /// Instances that hold no request any more.
        drained: Slots,
        /// Instances that cannot come up, and why.
        failing: Option<(Slots, String)>,
    },
    /// The routers act on what is wanted by state `generation`.
    Routed {
        /// The generation looked for.
        generation: u64,
        /// Whether all of them do.
        applied: Measured<bool>,
    },
    /// What runs is in the ledger, and nothing is held any more.
    Settled,
    /// A person's word.
    Order {
        /// What.
        verb: Verb,
        /// Who.
        actor: Actor,
        /// Why.
        reason: String,
    },
}

/// What happened to an action; folded into its state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Event {
    /// A batch may not begin yet.
    Held {
        /// When.
        at: Time,
        /// Which.
        batch: u32,
        /// Why.
        verdict: Verdict,
    },
    /// Instances are added, so that others can be taken out.
    Surged {
        /// When.
        at: Time,
        /// Which.
        slots: Slots,
    },
    /// A batch begins: its instances get no more requests.
    Began {
        /// When.
        at: Time,
        /// Which.
        batch: u32,
        /// Its instances.
        slots: Slots,
        /// The processes they had.
        before: Processes,
        /// Why it may.
        verdict: Verdict,
    },
    /// The batch holds no request any more.
    Drained {
        /// When.
        at: Time,
        /// Whether it was waited for in vain: what is left is older than anyone waits.
        overdue: bool,
    },
    /// Instances were seen as they are wanted.
    Verified {
        /// When.
        at: Time,
        /// Which.
        slots: Slots,
        /// Of those, the ones whose process before outlived its grace and was killed.
        killed: Slots,
        /// Who saw it.
        source: String,
    },
    /// The routers act on it.
    Applied {
        /// When.
        at: Time,
        /// Who saw it.
        source: String,
    },
    /// What was temporary is undone.
    Returned {
        /// When.
        at: Time,
        /// Who, if a person did; else its time was over.
        by: Option<Actor>,
        /// Why.
        because: String,
    },
    /// It was seen undone.
    Back {
        /// When.
        at: Time,
        /// Who saw it.
        source: String,
    },
    /// Surplus instances hold no request any more, and go.
    Trimmed {
        /// When.
        at: Time,
    },
    /// It waits for a person.
    Paused {
        /// When.
        at: Time,
        /// Who paused it, if a person did.
        by: Option<Actor>,
        /// Why.
        because: String,
    },
    /// It goes on.
    Resumed {
        /// When.
        at: Time,
        /// Who.
        by: Actor,
        /// Why.
        reason: String,
    },
    /// A person ended it.
    Aborted {
        /// When.
        at: Time,
        /// Who.
        by: Actor,
        /// Why.
        reason: String,
    },
    /// It ended; what runs is in the ledger.
    Settled {
        /// When.
        at: Time,
    },
}

/// What an action wants done. Which instances are meant is in the state of the same generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Effect {
    /// Take as many as may be out at once.
    Lease {
        /// The batch.
        batch: u32,
        /// Since when it asks.
        since: Time,
    },
    /// Say what is seen of the instances it moves.
    Observe {
        /// The state's generation.
        generation: u64,
    },
    /// Say whether the routers act on what it wants.
    Confirm {
        /// The state's generation.
        generation: u64,
    },
    /// Write down what runs now, and let go of every lease.
    Settle {
        /// The deployment; none where no process was replaced.
        deployment: Option<Deployment>,
    },
}
