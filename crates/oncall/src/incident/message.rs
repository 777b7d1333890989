//! What an incident is told, what happens to it, and what it wants done.

use mainstay_core::{
    ChangeId, Name, Span, Time,
    escalation::{Severity, Target},
};
use serde::{Deserialize, Serialize};

use super::page::Ask;
use crate::escalation::Recipient;

/// A part that somebody plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Decides.
    Commander,
    /// Tells those outside.
    Communications,
    /// Writes down.
    Scribe,
    /// Acts on production.
    Operations,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Commander,
        Self::Communications,
        Self::Scribe,
        Self::Operations,
    ];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Commander => "commander",
            Self::Communications => "communications",
            Self::Scribe => "scribe",
            Self::Operations => "operations",
        }
    }
}

/// What a note is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoteKind {
    /// What somebody says.
    #[default]
    Message,
    /// What somebody did.
    Action,
    /// What somebody measured.
    Measurement,
    /// What changed in production.
    Change,
}

/// Which deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Which {
    /// Until when it had to be acknowledged.
    Acknowledge,
    /// Until when it had to be resolved.
    Resolve,
}

/// What is kept of an alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertBrief {
    /// The fingerprint of its labels.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// What it says of itself, or its labels.
    pub text: String,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Event {
    /// An alert belongs to it, and fires.
    Alerted {
        /// When it was taken.
        at: Time,
        /// Which.
        alert: AlertBrief,
    },
    /// An alert of it is over.
    Cleared {
        /// When it was taken.
        at: Time,
        /// Which.
        id: String,
    },
    /// More alerts belong to it than it lists: from now on they are only taken.
    Crowded {
        /// When.
        at: Time,
    },
    /// A step began: these are told, but those who acknowledged already.
    Began {
        /// When.
        at: Time,
        /// Of which round.
        cycle: u32,
        /// Which step.
        step: u32,
        /// Who.
        people: Vec<Recipient>,
    },
    /// More people of the step that just began.
    Also {
        /// Of which round.
        cycle: u32,
        /// Which step.
        step: u32,
        /// Who.
        people: Vec<Recipient>,
    },
    /// A page is being sent; until its end is known it is sent again.
    Paging {
        /// Since when.
        at: Time,
        /// What makes it one page.
        key: String,
        /// Of which round.
        cycle: u32,
        /// Of which step.
        step: u32,
        /// To whom.
        person: Name,
        /// By which channel.
        channel: Name,
        /// Which try, from 1.
        attempt: u32,
    },
    /// The channel took it.
    Accepted {
        /// When that was known.
        at: Time,
        /// Which.
        key: String,
        /// How many pages one message told; 1 is a message of its own.
        told: u32,
    },
    /// Too much for one person and channel: it is told with others.
    Held {
        /// When that was known.
        at: Time,
        /// Which.
        key: String,
        /// Until when.
        until: Time,
    },
    /// The channel could not take it now.
    Retrying {
        /// When that was known.
        at: Time,
        /// Which.
        key: String,
        /// Why.
        why: String,
        /// When it is tried again.
        until: Time,
    },
    /// The channel will not take it.
    Failed {
        /// When that was known.
        at: Time,
        /// Which.
        key: String,
        /// Why.
        why: String,
    },
    /// It was seen to arrive.
    Delivered {
        /// When that was known.
        at: Time,
        /// Which.
        key: String,
    },
    /// Nobody of a step could be told: the next begins.
    Unreached {
        /// When.
        at: Time,
        /// Of which round.
        cycle: u32,
        /// Which step.
        step: u32,
    },
    /// Somebody says that they look after it.
    Acknowledged {
        /// When.
        at: Time,
        /// Who.
        by: String,
        /// How: `cli`, `api`, `link`.
        via: String,
    },
    /// The next step begins at once.
    Escalated {
        /// When.
        at: Time,
        /// Who wanted it.
        by: String,
        /// Why.
        because: String,
    },
    /// A deadline passed; the next step begins at once.
    Breached {
        /// When that was seen.
        at: Time,
        /// Which.
        which: Which,
        /// Of which severity.
        severity: Severity,
        /// Since when it counted.
        since: Time,
        /// How long there was.
        within: Span,
    },
    /// It is worse, or less bad.
    Severity {
        /// When.
        at: Time,
        /// Who says so.
        by: String,
        /// From now on.
        to: Severity,
        /// Why.
        because: String,
    },
    /// It is over.
    Resolved {
        /// When.
        at: Time,
        /// Who says so.
        by: String,
        /// Why.
        because: String,
    },
    /// It is not over.
    Reopened {
        /// When.
        at: Time,
        /// Who says so.
        by: String,
        /// Why.
        because: String,
    },
    /// Nothing more happens to it.
    Closed {
        /// When.
        at: Time,
    },
    /// Somebody plays a part from now on.
    Role {
        /// When.
        at: Time,
        /// Which.
        role: Role,
        /// Who.
        person: String,
        /// Who says so.
        by: String,
        /// What is handed over.
        note: String,
    },
    /// Something is to be done.
    Task {
        /// When it was found.
        at: Time,
        /// Its number, from 1.
        id: u32,
        /// What.
        text: String,
        /// By whom; empty where nobody is named.
        assignee: String,
        /// Who found it.
        by: String,
    },
    /// A task is done.
    Finished {
        /// When.
        at: Time,
        /// Which.
        id: u32,
        /// Who says so.
        by: String,
    },
    /// Something for the record.
    Noted {
        /// When.
        at: Time,
        /// Who.
        by: String,
        /// About what.
        kind: NoteKind,
        /// What.
        text: String,
    },
    /// Another incident has to do with it.
    Related {
        /// When.
        at: Time,
        /// Which.
        to: ChangeId,
        /// Who says so.
        by: String,
    },
    /// What was done is not what should have been done by now.
    Differs {
        /// When that was seen.
        at: Time,
        /// What is missing.
        missing: String,
    },
}

/// What it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Input {
    /// Time has passed.
    Tick,
    /// Who is meant by a step.
    Found {
        /// Of which round.
        cycle: u32,
        /// Which step.
        step: u32,
        /// Who.
        people: Vec<Recipient>,
    },
    /// A channel took a page.
    Accepted {
        /// Which.
        key: String,
        /// How many pages the message told.
        told: u32,
    },
    /// A page waits for others.
    Held {
        /// Which.
        key: String,
        /// Which try.
        attempt: u32,
        /// Until when.
        until: Time,
    },
    /// A channel did not take a page.
    Failed {
        /// Which.
        key: String,
        /// Which try.
        attempt: u32,
        /// Why.
        why: String,
        /// Whether another try may go better.
        again: bool,
    },
    /// A page was seen to arrive.
    Delivered {
        /// Which.
        key: String,
    },
    /// An alert of it fires, or is over.
    Alert {
        /// Which.
        alert: AlertBrief,
        /// Whether it fires.
        fires: bool,
    },
    /// Somebody looks after it.
    Acknowledge {
        /// Who.
        by: String,
        /// How.
        via: String,
    },
    /// The next step, at once.
    Escalate {
        /// Who wants it.
        by: String,
        /// Why.
        because: String,
    },
    /// It is over.
    Resolve {
        /// Who says so.
        by: String,
        /// Why.
        because: String,
    },
    /// It is not.
    Reopen {
        /// Who says so.
        by: String,
        /// Why.
        because: String,
    },
    /// How bad it is.
    Severity {
        /// Who says so.
        by: String,
        /// How bad.
        to: Severity,
        /// Why.
        because: String,
    },
    /// Who plays a part.
    Role {
        /// Which.
        role: Role,
        /// Who.
        person: String,
        /// Who says so.
        by: String,
        /// What is handed over.
        note: String,
    },
    /// Something is to be done.
    Task {
        /// What.
        text: String,
        /// By whom.
        assignee: String,
        /// Who found it.
        by: String,
    },
    /// A task is done.
    Finish {
        /// Which.
        id: u32,
        /// Who says so.
        by: String,
    },
    /// Something for the record.
    Note {
        /// Who.
        by: String,
        /// About what.
        kind: NoteKind,
        /// What.
        text: String,
    },
    /// Another incident.
    Relate {
        /// Which.
        to: ChangeId,
        /// Who says so.
        by: String,
    },
    /// What the auditor misses.
    Differs {
        /// What.
        missing: String,
    },
}

/// What it wants done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Effect {
    /// Who is meant? Answered by [`Input::Found`].
    Find {
        /// Of which round.
        cycle: u32,
        /// Which step.
        step: u32,
        /// Who.
        who: Vec<Target>,
    },
    /// Tell somebody. Answered by [`Input::Accepted`], [`Input::Held`] or [`Input::Failed`].
    Send(Ask),
}
