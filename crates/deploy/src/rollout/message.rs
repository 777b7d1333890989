//! What a rollout is told, what happened to it, and what it wants done.

use std::collections::BTreeMap;

use mainstay_change::Direction;
use mainstay_core::{Actor, FabricName, Finding, Measured, Time, Verdict};
use serde::{Deserialize, Serialize};

use super::state::Role;
pub use crate::moves::{Expected, Verb};
use crate::{deployment::Deployment, moves::Processes, slots::Slots};

/// What a verdict is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "gate", rename_all = "kebab-case")]
pub enum Gate {
    /// A step of the canary, from 0.
    Canary {
        /// Which.
        step: u32,
    },
    /// After a batch.
    Batch {
        /// Which, from 1.
        batch: u32,
    },
    /// Before the rollout is done.
    Bake,
}

/// What the judge rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ruling {
    /// Measured, and no worse than the control.
    Pass,
    /// Measured, and worse, or beyond a limit.
    Harm,
    /// Both versions fail alike: the cause is elsewhere.
    SharedFailure,
    /// Not measured well enough to say.
    Insufficient,
    /// A freeze holds what would come next, whatever was measured.
    Frozen,
}

/// What a rollout is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// Whether it may begin.
    Admission {
        /// The verdict.
        verdict: Measured<Verdict>,
    },
    /// What was seen of the instances it moves, as wanted by state `generation`.
    Seen {
        /// The generation looked for.
        generation: u64,
        /// Instances seen as they are wanted.
        verified: Measured<Slots>,
        /// Instances that hold no request any more.
        drained: Slots,
        /// Instances that cannot come up, and why.
        failing: Option<(Slots, String)>,
    },
    /// What the judge rules.
    Verdict {
        /// The ruling.
        ruling: Ruling,
        /// Its reasons.
        verdict: Measured<Verdict>,
    },
    /// How many may be out at once, held in the ledger.
    Granted {
        /// The batch asked for.
        batch: u32,
        /// Those that may be taken out; none where room must be made first.
        slots: Slots,
        /// The processes that are there.
        before: Processes,
        /// Share of requests that the version to leave must still take, where the other cannot carry all.
        left: BTreeMap<FabricName, u32>,
        /// The arithmetic, one a fabric.
        findings: Vec<Finding>,
    },
    /// The deployment is in the ledger.
    Settled {
        /// Its number.
        number: u64,
    },
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

/// What happened to a rollout; folded into its state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Event {
    /// It may begin.
    Admitted {
        /// When.
        at: Time,
        /// Why.
        verdict: Verdict,
    },
    /// Instances are added.
    Surged {
        /// When.
        at: Time,
        /// Which.
        slots: Slots,
        /// What for.
        role: Role,
    },
    /// Instances were seen as they are wanted.
    Verified {
        /// When.
        at: Time,
        /// Which.
        slots: Slots,
        /// Who saw it.
        source: String,
    },
    /// The judge changed its mind.
    Judged {
        /// When.
        at: Time,
        /// To what.
        ruling: Ruling,
        /// Why.
        verdict: Verdict,
    },
    /// A gate was passed.
    Passed {
        /// When.
        at: Time,
        /// Which.
        gate: Gate,
        /// Why.
        verdict: Verdict,
    },
    /// The canary gets more requests because evidence comes too slowly.
    Raised {
        /// When.
        at: Time,
        /// To what share, in hundredths of a per cent.
        weight: u32,
    },
    /// Probes are sent from now on, because evidence still comes too slowly.
    ProbesBegan {
        /// When.
        at: Time,
    },
    /// A batch may not begin yet.
    Held {
        /// When.
        at: Time,
        /// Which.
        batch: u32,
        /// Share of requests that the version to leave must still take.
        #[serde(default)]
        left: BTreeMap<FabricName, u32>,
        /// Why.
        findings: Vec<Finding>,
    },
    /// A batch begins: its instances get no more requests.
    Began {
        /// When.
        at: Time,
        /// Which.
        batch: u32,
        /// Its instances.
        slots: Slots,
        /// Share of requests left to the version that is being left.
        left: BTreeMap<FabricName, u32>,
        /// The arithmetic.
        findings: Vec<Finding>,
    },
    /// Processes that the batch replaces, as their agents saw them last: their successors start later. In parts, of
    /// which each fits an entry.
    Replaces {
        /// When.
        at: Time,
        /// Those.
        before: Processes,
    },
    /// The batch holds no request any more: its processes are replaced.
    Drained {
        /// When.
        at: Time,
        /// Whether it was waited for in vain: what is left is older than anyone waits.
        overdue: bool,
    },
    /// Surplus instances hold no request any more, and go.
    Trimmed {
        /// When.
        at: Time,
    },
    /// It turns back.
    Failed {
        /// When.
        at: Time,
        /// Why.
        verdict: Verdict,
    },
    /// It waits for a person.
    Paused {
        /// When.
        at: Time,
        /// Who paused it, if a person did.
        by: Option<Actor>,
        /// Why.
        because: String,
        /// Whether the new version gets no requests meanwhile.
        unrouted: bool,
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
    /// A person passed the gate.
    Promoted {
        /// When.
        at: Time,
        /// Who.
        by: Actor,
        /// Why.
        reason: String,
    },
    /// A person turned it back.
    Aborted {
        /// When.
        at: Time,
        /// Who.
        by: Actor,
        /// Why.
        reason: String,
    },
    /// On its way back it cannot get further by itself.
    Stuck {
        /// When.
        at: Time,
        /// Why.
        because: String,
    },
    /// It ended; what runs is in the ledger.
    Settled {
        /// When.
        at: Time,
    },
}

/// What a rollout wants done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Effect {
    /// Say whether it may begin.
    Admit,
    /// Say what is seen of the instances it moves.
    Observe {
        /// The state's generation.
        generation: u64,
        /// Instances to verify.
        starting: Slots,
        /// What those should be.
        expected: Expected,
        /// Others to verify: the control, which runs the old version.
        control: Slots,
        /// Instances that should come to rest.
        draining: Slots,
    },
    /// Judge the new version beside the old one until the state moves on.
    Judge {
        /// Since when the gate is open.
        since: Time,
        /// Which gate.
        gate: Gate,
        /// The control of equal age, where there is one.
        control: Slots,
        /// Whether probes are sent, and are evidence too.
        probes: bool,
    },
    /// Take as many as may be out at once.
    Lease {
        /// The batch.
        batch: u32,
        /// Which way.
        direction: Direction,
        /// Candidates.
        candidates: Slots,
    },
    /// Write down what runs now.
    Settle {
        /// The deployment.
        deployment: Deployment,
    },
}
