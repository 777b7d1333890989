//! What a limit test is told, what happened to it, and what it wants done.

use mainstay_core::{Actor, Measured, Time, Verdict, Version};
use serde::{Deserialize, Serialize};

use crate::moves::Verb;

/// What was measured of the instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sample {
    /// Good answers per second over the last five whole seconds.
    pub goodput_rps: f64,
    /// 99 % of its requests took no longer, in milliseconds.
    pub p99_ms: Option<f64>,
    /// Why its objective does not hold any more, where it does not.
    pub broken: Option<String>,
    /// What ends the test although nothing broke: another change of the service, another process.
    pub disturbed: Option<String>,
}

/// What a limit test is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// Whether the next step may begin.
    Asked {
        /// The generation that asked.
        generation: u64,
        /// Freezes and guards.
        allowed: Verdict,
        /// The instance, its router and the rest of the fabric, as measured.
        fit: Measured<Verdict>,
    },
    /// Whether the router acts on what state `generation` wants.
    Routed {
        /// The generation looked for.
        generation: u64,
        /// Whether it does.
        applied: Measured<bool>,
    },
    /// What was seen of the instance while a step was held.
    Seen {
        /// The generation looked for.
        generation: u64,
        /// As its router reported it.
        sample: Measured<Sample>,
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

/// What happened to a limit test; folded into its state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Event {
    /// The first step may not begin yet.
    Waits {
        /// When.
        at: Time,
        /// Why.
        verdict: Verdict,
    },
    /// The instance gets another share.
    Stepped {
        /// When.
        at: Time,
        /// Which step, from 0.
        step: usize,
        /// The share.
        share: f64,
        /// Why it may.
        verdict: Verdict,
    },
    /// The router acts on it.
    Applied {
        /// When.
        at: Time,
        /// Who saw it.
        source: String,
    },
    /// The share was held within the objective for a whole hold.
    Held {
        /// When.
        at: Time,
        /// What was measured.
        sample: Sample,
        /// Who measured it.
        source: String,
    },
    /// The objective did not hold.
    Broke {
        /// When.
        at: Time,
        /// What was measured.
        sample: Sample,
        /// Who measured it.
        source: String,
    },
    /// The share goes back to a full one.
    Returned {
        /// When.
        at: Time,
        /// Who, if a person did.
        by: Option<Actor>,
        /// Why.
        because: String,
    },
    /// The way back was not seen for long: a person should look at the router.
    Unseen {
        /// When.
        at: Time,
    },
    /// What an instance of the version carries, at least.
    Measured {
        /// When.
        at: Time,
        /// The version.
        version: Version,
        /// Requests per second.
        rps: f64,
    },
    /// The full share was seen in force; the test is over.
    Back {
        /// When.
        at: Time,
        /// Who saw it.
        source: String,
    },
}

/// What a limit test wants done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Effect {
    /// Say whether the next step may begin.
    Ask {
        /// The state's generation.
        generation: u64,
    },
    /// Say whether the router acts on what is wanted.
    Confirm {
        /// The state's generation.
        generation: u64,
    },
    /// Say what is seen of the instance, at once when it breaks, else at the end of the hold.
    Watch {
        /// The state's generation.
        generation: u64,
        /// When the hold ends.
        until: Time,
    },
}
