//! Escalation policies: who is told of an incident, in what order, how, and by when somebody must have acted.
//!
//! Guarantees: a policy that says nothing is the usual one: primary, after five minutes secondary, then the team's
//! lead, then its manager, over and over until somebody acknowledges. **Never** says who that is at an instant.
//!
//! ```
//! use mainstay_core::escalation::{EscalationPolicySpec, Target};
//! let spec: EscalationPolicySpec = serde_json::from_value(serde_json::json!({
//!     "steps": [{"who": ["schedule/web/primary"], "wait": "5m"}, {"who": ["person/alice"]}],
//! }))?;
//! assert_eq!(spec.steps[0].who, ["schedule/web/primary".parse::<Target>()?]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::{borrow::Cow, collections::BTreeMap, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::{Name, Span, flaw::SpecFlaw};

/// Most steps of a policy, each counted as often as it is repeated: what an incident keeps of it fits an entry.
pub const STEPS_MAX: usize = 16;
/// Most targets of one step.
pub const TARGETS_MAX: usize = 6;
/// Shortest wait of a step: a person needs a moment to read what was sent.
pub const WAIT_MIN: Span = Span::from_secs(1);
/// Most people who have to acknowledge.
pub const ACKNOWLEDGE_MAX: u32 = 5;

/// How bad an incident is; P0 is the worst.
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
pub enum Severity {
    /// Users cannot do what they came for.
    P0,
    /// An important part does not work.
    P1,
    /// Something is worse than it should be.
    #[default]
    P2,
    /// It can wait for the working day.
    P3,
    /// Good to know.
    P4,
}

impl Severity {
    /// All of them, the worst first.
    pub const ALL: [Self; 5] = [Self::P0, Self::P1, Self::P2, Self::P3, Self::P4];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::P0 => "P0",
            Self::P1 => "P1",
            Self::P2 => "P2",
            Self::P3 => "P3",
            Self::P4 => "P4",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that is no severity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no severity; write P0, P1, P2, P3 or P4")]
pub struct UnknownSeverity(String);

impl FromStr for Severity {
    type Err = UnknownSeverity;
    fn from_str(text: &str) -> Result<Self, UnknownSeverity> {
        Self::ALL
            .into_iter()
            .find(|it| it.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownSeverity(text.chars().take(40).collect()))
    }
}

/// Who is meant, whoever that is when it matters: `person/NAME`, `schedule/NAME/ROLE` or `team/NAME/ROLE`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Target {
    /// One person.
    Person(Name),
    /// Whoever has a role in a schedule.
    Schedule {
        /// The schedule.
        schedule: Name,
        /// Such as `primary`.
        role: Name,
    },
    /// Whoever has a role in a team, or all of it.
    Team {
        /// The team.
        team: Name,
        /// Such as `lead`; everybody where unset.
        role: Option<Name>,
    },
}

/// A text that names no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no target; write person/NAME, schedule/NAME/ROLE (such as schedule/web/primary), team/NAME or \
     team/NAME/ROLE (such as team/web/lead), in lowercase letters, digits, `.` and `-`"
)]
pub struct UnknownTarget(String);

impl FromStr for Target {
    type Err = UnknownTarget;
    fn from_str(text: &str) -> Result<Self, UnknownTarget> {
        let wrong = || UnknownTarget(text.chars().take(80).collect());
        let name = |text: &str| Name::new(text).map_err(|_| wrong());
        let parts: Vec<&str> = text.split('/').collect();
        Ok(match parts.as_slice() {
            ["person", person] => Self::Person(name(person)?),
            ["schedule", schedule, role] => Self::Schedule {
                schedule: name(schedule)?,
                role: name(role)?,
            },
            ["team", team] => Self::Team {
                team: name(team)?,
                role: None,
            },
            ["team", team, role] => Self::Team {
                team: name(team)?,
                role: Some(name(role)?),
            },
            _ => return Err(wrong()),
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person(person) => write!(f, "person/{person}"),
            Self::Schedule { schedule, role } => write!(f, "schedule/{schedule}/{role}"),
            Self::Team { team, role: None } => write!(f, "team/{team}"),
            Self::Team {
                team,
                role: Some(role),
            } => write!(f, "team/{team}/{role}"),
        }
    }
}

impl TryFrom<String> for Target {
    type Error = UnknownTarget;
    fn try_from(text: String) -> Result<Self, UnknownTarget> {
        text.parse()
    }
}

impl From<Target> for String {
    fn from(target: Target) -> Self {
        target.to_string()
    }
}

impl JsonSchema for Target {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("Target")
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "person/NAME, schedule/NAME/ROLE, team/NAME or team/NAME/ROLE",
            "type": "string",
            "pattern": "^(person/[^/]+|schedule/[^/]+/[^/]+|team/[^/]+(/[^/]+)?)$",
        })
    }
}

/// One step: these people, in this way, and so long before the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StepSpec {
    /// Who is told, all at once.
    pub who: Vec<Target>,
    /// Only by these of their channels, in this order; each by their own where empty.
    #[serde(default)]
    pub channels: Vec<Name>,
    /// How long this step waits for an acknowledgement.
    #[serde(default = "default_wait")]
    pub wait: Span,
    /// How often it is done again before the next.
    #[serde(default)]
    pub repeat: u32,
}

fn default_wait() -> Span {
    Span::from_secs(300)
}

/// By when somebody must have acted, from the moment that an incident has its severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeadlinesSpec {
    /// Acknowledged.
    pub acknowledge: Span,
    /// Resolved.
    pub resolve: Span,
}

/// Which alerts open incidents, and as what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AlertsSpec {
    /// Conditions that all must hold of an alert's labels, as Alertmanager writes matchers, such as `team="web"`;
    /// every alert where empty.
    pub matchers: Vec<String>,
    /// Alerts alike in these labels are one incident.
    pub group_by: Vec<String>,
    /// The label that says how bad it is.
    pub severity_label: String,
    /// What its values mean; `P0` to `P4` mean themselves.
    pub severities: BTreeMap<String, Severity>,
    /// How bad it is where the label says nothing known.
    pub otherwise: Severity,
    /// Whether an incident is resolved when all its alerts are over.
    pub resolve_when_clear: bool,
}

impl Default for AlertsSpec {
    fn default() -> Self {
        let severities = [
            ("critical", Severity::P1),
            ("page", Severity::P1),
            ("error", Severity::P2),
            ("warning", Severity::P3),
            ("info", Severity::P4),
        ];
        Self {
            matchers: Vec::new(),
            group_by: vec!["alertname".to_owned(), "service".to_owned()],
            severity_label: "severity".to_owned(),
            severities: severities.map(|(text, it)| (text.to_owned(), it)).into(),
            otherwise: Severity::P2,
            resolve_when_clear: true,
        }
    }
}

/// Who is told of an incident, in what order, how, and by when somebody must have acted. Every field has a default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct EscalationPolicySpec {
    /// The schedule and the team that the usual steps name; the policy's own name where unset.
    pub team: Option<Name>,
    /// The steps, begun anew after the last until somebody acknowledges; where empty the usual ones: primary,
    /// secondary, lead, manager, five minutes each.
    pub steps: Vec<StepSpec>,
    /// How many people have to acknowledge.
    pub acknowledge_by: u32,
    /// How long one channel of a person waits for an acknowledgement before that person's next is tried.
    pub channel_wait: Span,
    /// Deadlines by severity, beside those of P0 (5m, 30m) and P1 (15m, 2h), which may be changed.
    pub deadlines: BTreeMap<Severity, DeadlinesSpec>,
    /// Who is told besides, at once, when an incident is or becomes P0.
    pub at_p0: Vec<Target>,
    /// Which alerts open incidents; none do where unset.
    pub alerts: Option<AlertsSpec>,
    /// For how long after it was resolved an incident is opened again by another alert of its own.
    pub reopen_within: Span,
    /// How long a resolved incident takes notes and tasks, and may be reopened, before it is closed for good.
    pub closes_after: Span,
}

impl Default for EscalationPolicySpec {
    fn default() -> Self {
        Self {
            team: None,
            steps: Vec::new(),
            acknowledge_by: 1,
            channel_wait: Span::from_secs(60),
            deadlines: BTreeMap::new(),
            at_p0: Vec::new(),
            alerts: None,
            reopen_within: Span::from_secs(1_800),
            closes_after: Span::from_secs(7 * 86_400),
        }
    }
}

impl EscalationPolicySpec {
    /// What no incident could be escalated by.
    pub fn flaws(&self) -> Vec<SpecFlaw> {
        let mut flaws = Vec::new();
        let mut flaw = |field: String, what: String, remedy: &str| {
            flaws.push(SpecFlaw {
                field,
                what,
                remedy: remedy.to_owned(),
            });
        };
        let all: usize = self
            .steps
            .iter()
            .map(|step| (step.repeat as usize).saturating_add(1))
            .fold(0, usize::saturating_add);
        if all > STEPS_MAX {
            flaw(
                "steps".to_owned(),
                format!("{all} steps with those that are repeated; at most {STEPS_MAX}"),
                "leave some out: after the last the first begins anew anyway",
            );
        }
        for (at, step) in self.steps.iter().enumerate() {
            if step.who.is_empty() {
                let what = "nobody is told".to_owned();
                let remedy = "write who, such as [schedule/web/primary], or leave the step out";
                flaw(format!("steps[{at}].who"), what, remedy);
            }
            if step.who.len() > TARGETS_MAX || step.channels.len() > TARGETS_MAX {
                let what = format!("more than {TARGETS_MAX} targets or channels in one step");
                flaw(
                    format!("steps[{at}]"),
                    what,
                    "name a team, or divide the step",
                );
            }
            if step.wait < WAIT_MIN {
                flaw(
                    format!("steps[{at}].wait"),
                    format!("{} leaves nobody time to act", step.wait),
                    "write 1s or more; it is 5m where unset",
                );
            }
        }
        if self.at_p0.len() > TARGETS_MAX {
            let what = format!("{} targets; at most {TARGETS_MAX}", self.at_p0.len());
            flaw("atP0".to_owned(), what, "name a team");
        }
        if !(1..=ACKNOWLEDGE_MAX).contains(&self.acknowledge_by) {
            flaw(
                "acknowledgeBy".to_owned(),
                format!("{} people", self.acknowledge_by),
                "write 1 to 5; it is 1 where unset",
            );
        }
        if self.channel_wait < WAIT_MIN {
            flaw(
                "channelWait".to_owned(),
                format!("{} leaves nobody time to act", self.channel_wait),
                "write 1s or more; it is 1m where unset",
            );
        }
        for (severity, it) in &self.deadlines {
            if it.acknowledge < WAIT_MIN || it.resolve < it.acknowledge {
                flaw(
                    format!("deadlines.{severity}"),
                    format!(
                        "acknowledged in {} and resolved in {}",
                        it.acknowledge, it.resolve
                    ),
                    "write acknowledge of 1s or more, and resolve no shorter than it",
                );
            }
        }
        flaws
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(spec: serde_json::Value) -> Vec<String> {
        let spec: EscalationPolicySpec = serde_json::from_value(spec).unwrap();
        spec.flaws().into_iter().map(|it| it.field).collect()
    }

    #[test]
    fn a_target_reads_back_as_it_is_written_and_another_text_says_how_to_write_one() {
        for text in [
            "person/alice",
            "schedule/web/primary",
            "team/web",
            "team/web/lead",
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        for wrong in [
            "alice",
            "person/",
            "person/a/b",
            "schedule/web",
            "team//lead",
            "person/Alice",
        ] {
            let said = wrong.parse::<Target>().unwrap_err().to_string();
            assert!(said.contains("schedule/NAME/ROLE"), "{said}");
        }
    }

    #[test]
    fn a_policy_that_could_not_escalate_is_told_by_each_field_that_keeps_it_from_it() {
        assert!(fields(serde_json::json!({})).is_empty());
        let wrong = serde_json::json!({
            "steps": [{"who": []}, {"who": ["person/alice"], "wait": "10ms", "repeat": 20}],
            "acknowledgeBy": 0, "channelWait": "0s",
            "deadlines": {"P2": {"acknowledge": "1h", "resolve": "10m"}},
        });
        assert_eq!(
            fields(wrong),
            [
                "steps",
                "steps[0].who",
                "steps[1].wait",
                "acknowledgeBy",
                "channelWait",
                "deadlines.P2",
            ]
        );
        let huge = serde_json::json!({"steps": [{"who": ["person/a"], "repeat": u32::MAX}]});
        assert_eq!(fields(huge), ["steps"]);
    }

    #[test]
    fn severities_are_ordered_from_the_worst_and_read_in_any_case() {
        assert!(Severity::P0 < Severity::P1);
        assert_eq!("p1".parse(), Ok(Severity::P1));
        assert!("sev1".parse::<Severity>().is_err());
    }
}
