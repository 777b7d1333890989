//! Who answers when: responders, and the schedules that they stand in.
//!
//! Guarantees: dates and times of day are those that a calendar and a clock on the wall show; the instants they stand
//! for follow from the zone beside them. **Never** reads a zone's rules: the room that reckons with them does.
//!
//! ```
//! use mainstay_core::oncall::{Role, ScheduleSpec};
//! let spec: ScheduleSpec = serde_json::from_value(serde_json::json!({
//!     "zone": "Europe/Berlin",
//!     "layers": [{"name": "week", "people": ["alice", "bob"], "from": "2026-01-05"}],
//! }))?;
//! assert_eq!(spec.layers[0].role, Role::Primary);
//! assert_eq!(spec.layers[0].handoff.to_string(), "09:00");
//! # Ok::<(), serde_json::Error>(())
//! ```

mod wall;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Name, Span, Time};

pub use wall::{Day, WallTime, WallTimeError};

/// Entry kind: somebody stands in for somebody; body names the schedule.
pub const STOOD_IN: &str = "oncall.stood-in";
/// Entry kind: what a change entered is taken back; body names the schedule and that change.
pub const WITHDRAWN: &str = "oncall.withdrawn";

/// How a responder is reached.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum ContactKind {
    /// `to` is an address.
    Email,
    /// `to` is a number such as `+4930123456`: text messages and calls.
    Phone,
    /// `to` is the URL of an incoming webhook.
    Slack,
    /// `to` is a URL.
    Webhook,
    /// `to` is the endpoint of a subscription, whose keys stand in `keys`.
    WebPush,
}

/// The keys of a web push subscription, as a browser gives them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PushKeys {
    /// Its public key, base64url.
    pub p256dh: String,
    /// Its authentication secret, base64url.
    pub auth: String,
}

/// One way to reach a responder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Contact {
    /// What rules call it.
    pub name: Name,
    /// Of which kind.
    pub kind: ContactKind,
    /// Where to.
    pub to: String,
    /// Only for `web-push`.
    #[serde(default)]
    pub keys: Option<PushKeys>,
}

/// A day of the week.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "days of the week are known")]
pub enum Weekday {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Weekday {
    /// All days, from Monday on.
    pub const ALL: [Weekday; 7] = [
        Self::Mon,
        Self::Tue,
        Self::Wed,
        Self::Thu,
        Self::Fri,
        Self::Sat,
        Self::Sun,
    ];
}

/// Hours of some days; over midnight where `until` is not after `from`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hours {
    /// Days on which they begin; every day where empty.
    #[serde(default)]
    pub days: Vec<Weekday>,
    /// From this time of the day on.
    #[serde(default)]
    pub from: WallTime,
    /// Up to this one, which does not belong to them.
    #[serde(default = "midnight")]
    pub until: WallTime,
}

fn midnight() -> WallTime {
    WallTime::END_OF_DAY
}

/// By which contacts a responder wants to be reached, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ContactRule {
    /// Severities it is for, such as `p0`; all where empty.
    #[serde(default)]
    pub severities: Vec<Name>,
    /// Hours it is for, by the responder's own clock; always where empty.
    #[serde(default)]
    pub hours: Vec<Hours>,
    /// Names of contacts, the first one first.
    pub contacts: Vec<Name>,
}

/// Somebody who answers pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResponderSpec {
    /// As people write it; the resource's name where unset.
    #[serde(default)]
    pub name: Option<String>,
    /// The zone whose clock is theirs, such as `Europe/Berlin`.
    #[serde(default = "utc")]
    pub zone: String,
    /// How they are reached; at least one.
    #[serde(default)]
    pub contacts: Vec<Contact>,
    /// The first that fits counts; where none does, all contacts in their order.
    #[serde(default)]
    pub rules: Vec<ContactRule>,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// What somebody on call is there for.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Is paged first.
    #[default]
    Primary,
    /// Is paged where the primary does not answer.
    Secondary,
    /// Leads the team, and is told where both do not.
    Lead,
    /// Decides where nobody of the team answers.
    Manager,
    /// Listens and learns; nobody relies on them.
    Shadow,
}

impl Role {
    /// All roles, in the order in which they are told.
    pub const ALL: [Role; 5] = [
        Self::Primary,
        Self::Secondary,
        Self::Lead,
        Self::Manager,
        Self::Shadow,
    ];

    /// As YAML writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Secondary => "secondary",
            Self::Lead => "lead",
            Self::Manager => "manager",
            Self::Shadow => "shadow",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// People who take turns, or a calendar that says whose turn it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LayerSpec {
    /// Unique within the schedule.
    pub name: Name,
    /// The role it fills.
    #[serde(default)]
    pub role: Role,
    /// Responders, in the order of their turns.
    #[serde(default)]
    pub people: Vec<Name>,
    /// In place of `people`: the text of an iCalendar file whose events carry a responder's name as their summary.
    #[serde(default)]
    pub calendar: Option<String>,
    /// How long a turn is, in days and hours of the calendar: `12h`, `1d`, `3d`, `1w`, `2w`.
    #[serde(default = "week")]
    pub every: Span,
    /// The time of the day at which turns begin.
    #[serde(default = "nine")]
    pub handoff: WallTime,
    /// The day on which the first turn begins; before it the layer is not there.
    pub from: Day,
    /// The day on which, at the time of the hand-off, the layer ends.
    #[serde(default)]
    pub until: Option<Day>,
    /// The zone of its clock; the schedule's where unset.
    #[serde(default)]
    pub zone: Option<String>,
    /// Hours in which it holds; always where empty.
    #[serde(default)]
    pub hours: Vec<Hours>,
}

fn week() -> Span {
    Span::from_secs(7 * 24 * 3_600)
}

fn nine() -> WallTime {
    WallTime::NINE
}

/// Somebody who holds a role for a while, whoever's turn it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OverrideSpec {
    /// The role.
    #[serde(default)]
    pub role: Role,
    /// Who.
    pub person: Name,
    /// From when.
    pub from: Time,
    /// Until when.
    pub until: Time,
}

/// Who is on call when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScheduleSpec {
    /// The zone of its clock, such as `Europe/Berlin`.
    pub zone: String,
    /// Of one role, a later layer comes before an earlier one wherever it holds.
    pub layers: Vec<LayerSpec>,
    /// They come before every layer, a later one before an earlier one.
    #[serde(default)]
    pub overrides: Vec<OverrideSpec>,
    /// Hours in which somebody must be on call, so that nobody is a gap; always where empty.
    #[serde(default)]
    pub covers: Vec<Hours>,
}

impl ScheduleSpec {
    /// Whom it names, each with the field below `spec` that does.
    pub fn named(&self) -> impl Iterator<Item = (String, &Name)> {
        let layers = self.layers.iter().enumerate().flat_map(|(at, layer)| {
            let people = layer.people.iter().enumerate();
            people.map(move |(turn, name)| (format!("layers[{at}].people[{turn}]"), name))
        });
        let overrides = self.overrides.iter().enumerate();
        layers.chain(overrides.map(|(at, it)| (format!("overrides[{at}].person"), &it.person)))
    }
}
