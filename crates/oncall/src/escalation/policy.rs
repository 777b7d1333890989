//! A policy as an incident keeps it.
//!
//! Guarantees: made once, when the incident opens, with every default filled in and repeated steps written out.

use std::collections::BTreeMap;

use mainstay_core::{
    Name, Span,
    escalation::{EscalationPolicySpec, STEPS_MAX, Severity, StepSpec, Target},
};
use serde::{Deserialize, Serialize};

/// Steps where a policy has none of its own, five minutes each.
const USUAL_WAIT: Span = Span::from_secs(300);
/// Deadlines of P0 and P1 where a policy has none of its own: acknowledged, resolved.
const USUAL_DEADLINES: [(Severity, u64, u64); 2] =
    [(Severity::P0, 300, 1_800), (Severity::P1, 900, 7_200)];

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Who is told.
    pub who: Vec<Target>,
    /// Only by these of their channels; by their own where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<Name>,
    /// How long until the next.
    pub wait: Span,
}

/// By when somebody must have acted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deadlines {
    /// Acknowledged.
    pub acknowledge: Span,
    /// Resolved.
    pub resolve: Span,
}

/// What an incident is escalated by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    /// Its name.
    pub name: Name,
    /// At least one.
    pub steps: Vec<Step>,
    /// How many people have to acknowledge.
    pub acknowledge_by: u32,
    /// How long one channel of a person waits before the next.
    pub channel_wait: Span,
    /// By severity; none where nothing is promised.
    pub deadlines: BTreeMap<Severity, Deadlines>,
    /// Who is told at once of P0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub at_p0: Vec<Target>,
    /// How long another alert of its own opens it again.
    pub reopen_within: Span,
    /// How long after it was resolved it is closed.
    pub closes_after: Span,
    /// Whether it is resolved when all its alerts are over.
    pub resolve_when_clear: bool,
}

impl Policy {
    /// The snapshot of a declared policy.
    pub fn snapshot(name: &Name, spec: &EscalationPolicySpec) -> Self {
        let written = |step: &StepSpec| {
            let one = Step {
                who: step.who.clone(),
                channels: step.channels.clone(),
                wait: step.wait,
            };
            std::iter::repeat_n(one, step.repeat as usize + 1)
        };
        // A policy that says more is refused where it is declared.
        let all = spec.steps.iter().flat_map(written);
        let mut steps: Vec<Step> = all.take(STEPS_MAX).collect();
        if steps.is_empty() {
            steps = usual(spec.team.as_ref().unwrap_or(name));
        }
        let mut deadlines: BTreeMap<Severity, Deadlines> = USUAL_DEADLINES
            .into_iter()
            .map(|(severity, acknowledge, resolve)| {
                let it = Deadlines {
                    acknowledge: Span::from_secs(acknowledge),
                    resolve: Span::from_secs(resolve),
                };
                (severity, it)
            })
            .collect();
        deadlines.extend(spec.deadlines.iter().map(|(severity, it)| {
            let it = Deadlines {
                acknowledge: it.acknowledge,
                resolve: it.resolve,
            };
            (*severity, it)
        }));
        Self {
            name: name.clone(),
            steps,
            acknowledge_by: spec.acknowledge_by,
            channel_wait: spec.channel_wait,
            deadlines,
            at_p0: spec.at_p0.clone(),
            reopen_within: spec.reopen_within,
            closes_after: spec.closes_after,
            resolve_when_clear: spec.alerts.as_ref().is_none_or(|it| it.resolve_when_clear),
        }
    }

    /// The step of this number; the last where there are fewer.
    pub fn step(&self, number: u32) -> Option<&Step> {
        self.steps.get(number as usize).or(self.steps.last())
    }

    /// The number of the last step.
    pub fn last(&self) -> u32 {
        u32::try_from(self.steps.len().saturating_sub(1)).unwrap_or(u32::MAX)
    }
}

/// Primary, secondary, lead, manager.
fn usual(team: &Name) -> Vec<Step> {
    let role = |text: &str| Name::new(text).ok();
    let by_schedule = ["primary", "secondary"].into_iter().filter_map(|it| {
        Some(Target::Schedule {
            schedule: team.clone(),
            role: role(it)?,
        })
    });
    let by_team = ["lead", "manager"].into_iter().map(|it| Target::Team {
        team: team.clone(),
        role: role(it),
    });
    by_schedule
        .chain(by_team)
        .map(|target| Step {
            who: vec![target],
            channels: Vec::new(),
            wait: USUAL_WAIT,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(spec: serde_json::Value) -> Policy {
        let spec = serde_json::from_value(spec).unwrap();
        Policy::snapshot(&Name::new("web").unwrap(), &spec)
    }

    #[test]
    fn a_policy_that_says_nothing_goes_from_primary_to_secondary_to_lead_to_manager() {
        let policy = snapshot(serde_json::json!({}));
        let who: Vec<String> = policy
            .steps
            .iter()
            .map(|it| it.who[0].to_string())
            .collect();
        assert_eq!(
            who,
            [
                "schedule/web/primary",
                "schedule/web/secondary",
                "team/web/lead",
                "team/web/manager"
            ]
        );
        assert!(
            policy
                .steps
                .iter()
                .all(|it| it.wait == Span::from_secs(300))
        );
        let p0 = policy.deadlines[&Severity::P0];
        assert_eq!(
            (p0.acknowledge.to_string(), p0.resolve.to_string()),
            ("5m".into(), "30m".into())
        );
        let p1 = policy.deadlines[&Severity::P1];
        assert_eq!(
            (p1.acknowledge.to_string(), p1.resolve.to_string()),
            ("15m".into(), "2h".into())
        );
        assert_eq!(policy.deadlines.len(), 2);
    }

    #[test]
    fn a_repeated_step_is_written_out_and_deadlines_can_be_changed() {
        let policy = snapshot(serde_json::json!({
            "steps": [{"who": ["person/alice"], "wait": "2m", "repeat": 2}, {"who": ["person/bob"]}],
            "deadlines": {"P1": {"acknowledge": "1m", "resolve": "10m"}},
        }));
        assert_eq!(policy.steps.len(), 4);
        assert_eq!(policy.steps[2], policy.steps[0]);
        assert_eq!(policy.last(), 3);
        assert_eq!(
            policy.deadlines[&Severity::P1].resolve,
            Span::from_secs(600)
        );
        assert_eq!(
            policy.deadlines[&Severity::P0].resolve,
            Span::from_secs(1_800)
        );
    }
}
