//! A change to production: who, what, why, how far it may reach, and where it stands.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ChangeId, FabricName, Name, ServiceName, Span, StreamId, Time};

/// Who did it. Without authentication the operating system's user, marked unverified.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Actor {
    /// A token's name, an operating system user, or `mainstay` itself.
    pub id: String,
    /// Whether a credential proved it.
    pub verified: bool,
}

impl Actor {
    /// Somebody whose token was checked.
    pub fn verified(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            verified: true,
        }
    }
    /// Somebody who only says who they are.
    pub fn unverified(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            verified: false,
        }
    }
    /// Mainstay itself.
    pub fn system() -> Self {
        Self::verified("mainstay")
    }
    /// Somebody who does not say who they are.
    pub fn anonymous() -> Self {
        Self::unverified("anonymous")
    }
    /// Whether it is somebody who can be asked: neither nobody nor Mainstay itself.
    pub fn is_person(&self) -> bool {
        let nobody = [Self::system().id, Self::anonymous().id];
        !self.id.trim().is_empty() && !nobody.contains(&self.id)
    }
}

/// What kind of change it is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// Resources were declared or removed.
    Apply,
    /// A version is walked over a service.
    Rollout,
    /// Instances are added or taken out, as declared.
    Scale,
    /// Processes are restarted, version unchanged.
    Restart,
    /// Load is taken off instances.
    Drain,
    /// Part of the requests is refused to save the rest.
    Shed,
    /// Processes are killed.
    Kill,
    /// The capacity of an instance is measured under real load.
    LimitTest,
    /// Changes are forbidden for a while.
    Freeze,
    /// Something moved without an order from here.
    Observed,
    /// Made elsewhere, and written down here.
    Recorded,
    /// Samples that were kept are removed.
    Data,
    /// Something is wrong, and people are told; it changes nothing itself.
    Incident,
    /// Somebody stands in for somebody on call.
    Oncall,
}

/// Where a change stands.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeState {
    /// Under way.
    Running,
    /// Waits for a person.
    Paused,
    /// On its way back.
    RollingBack,
    /// Done, as measured.
    Done,
    /// Back where it began, as measured.
    RolledBack,
    /// Ended by a person or a refusal, with nothing left to undo.
    Aborted,
}

impl ChangeState {
    /// Whether nothing more will happen.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::RolledBack | Self::Aborted)
    }
}

/// How far a change may reach at most.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlastRadius {
    /// Services it touches.
    pub services: Vec<ServiceName>,
    /// Fabrics it touches.
    pub fabrics: Vec<FabricName>,
    /// Instances it touches at most.
    pub instances: u32,
}

/// The emergency policy a change was opened under, and what its actor states in place of what is measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Emergency {
    /// The policy's name.
    pub policy: Name,
    /// Why; never empty.
    pub reason: String,
    /// Requests per second asked of the service in each fabric, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stated_demand_rps: Option<f64>,
    /// Requests per second that one instance carries, at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stated_capacity_rps: Option<f64>,
}

/// A change as it is opened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Its id.
    pub id: ChangeId,
    /// Its kind.
    pub kind: ChangeKind,
    /// Who opened it.
    pub actor: Actor,
    /// Why.
    pub reason: String,
    /// One line for a list, such as `voyager v1 → v2`.
    pub title: String,
    /// How far it may reach.
    pub blast_radius: BlastRadius,
    /// The emergency it was opened under, if any.
    pub emergency: Option<Emergency>,
    /// When it was opened.
    pub opened_at: Time,
    /// When it gives up waiting, if it can wait.
    pub deadline: Option<Span>,
    /// The plan, decoded by the room that made it.
    pub plan: Plan,
}

impl Change {
    /// The stream that holds all its entries.
    pub fn stream(&self) -> StreamId {
        change_stream(&self.id)
    }
}

/// The stream that holds a change's entries.
pub fn change_stream(id: &ChangeId) -> StreamId {
    StreamId::new(format!("change/{id}"))
}

/// An immutable plan: JSON that only its owner reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Which room's plan, such as `deploy.rollout`.
    pub kind: String,
    /// Version of its schema.
    pub schema: u16,
    /// The plan.
    pub body: String,
}

/// Body of `change.opened` is a [`Change`]; this is the body of `change.moved`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Moved {
    /// The state it is in now.
    pub state: ChangeState,
    /// Why, in a sentence with the numbers.
    pub because: String,
}

/// Entry kind: a change was opened; body is a [`Change`].
pub const OPENED: &str = "change.opened";
/// Entry kind: a change moved to another state; body is a [`Moved`].
pub const MOVED: &str = "change.moved";
/// Entry kind: a verdict of a change differs from the one before; body is a [`crate::Verdict`].
pub const VERDICT: &str = "change.verdict";
