//! The plan of a rollout: immutable, made once from catalog and request, small enough for one entry.

use mainstay_core::{
    Emergency, Percent, ServiceName, Span, Version,
    catalog::{RolloutPolicySpec, ServiceSpec, Strategy},
};
use serde::{Deserialize, Serialize};

use crate::deployment::Deployment;

/// Ten thousand hundredths of a per cent: all of a service's requests.
pub const ALL: u32 = 10_000;
/// How long a process may take from its order until it is verified.
pub const VERIFY_WITHIN: Span = Span::from_secs(60);
/// Added to a service's own timeout: when it has passed, nobody waits for an answer any more.
const DRAIN_MARGIN: Span = Span::from_millis(500);

/// How one rollout goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Terms {
    /// The strategy.
    pub strategy: Strategy,
    /// Share of requests at each step of the canary, in hundredths of a per cent, rising.
    pub canary_steps: Vec<u32>,
    /// Largest share of a fabric's instances replaced at once.
    pub batch: Percent,
    /// Share of a fabric's instances that may run the new version before a person is asked; none where nobody is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expose: Option<Percent>,
    /// Difference in the share of bad requests that still counts as no worse.
    pub margin: Percent,
    /// How long the last version is watched before the rollout is done.
    pub bake: Span,
    /// Longest wait for evidence at one gate.
    pub max_evidence_wait: Span,
    /// How long a process may take from its order until it is verified.
    pub verify_within: Span,
    /// How long a drained instance may take to answer what it holds.
    pub drain_within: Span,
    /// Whether the service says what may be sent when users bring too little evidence.
    #[serde(default)]
    pub probes: bool,
}

impl Terms {
    /// The terms of `policy` for `service`.
    pub fn of(policy: &RolloutPolicySpec, service: &ServiceSpec) -> Self {
        let mut canary_steps: Vec<u32> = policy
            .canary_steps
            .iter()
            .map(|step| (step.get() * 100.0).round() as u32)
            .filter(|step| (1..ALL).contains(step))
            .collect();
        canary_steps.sort_unstable();
        canary_steps.dedup();
        Self {
            strategy: policy.strategy,
            canary_steps,
            batch: policy.batch,
            expose: None,
            margin: policy.margin,
            bake: policy.bake,
            max_evidence_wait: policy.max_evidence_wait,
            verify_within: VERIFY_WITHIN,
            drain_within: Span::from_millis(service.timeout.millis() + DRAIN_MARGIN.millis()),
            probes: !service.probes.is_empty(),
        }
    }

    /// The longest that a gate waits for evidence: the bake's, which takes its time first.
    pub fn longest_gate(&self) -> Span {
        Span::from_millis(self.max_evidence_wait.millis() + self.bake.millis())
    }
}

/// What a rollout does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RolloutPlan {
    /// The service.
    pub service: ServiceName,
    /// The version that runs, measured good; none before the first release.
    pub from: Option<Version>,
    /// The version to run.
    pub to: Version,
    /// What runs now; for a first release, what is to run.
    pub base: Deployment,
    /// How it goes.
    pub terms: Terms,
    /// The emergency it was opened under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency: Option<Emergency>,
}

impl RolloutPlan {
    /// The number of the deployment it leads to.
    pub fn number(&self) -> u64 {
        self.base.number + 1
    }
    /// The incarnation of instances moved forward.
    pub fn forward_incarnation(&self) -> u64 {
        self.number() * 2
    }
    /// The incarnation of instances moved back.
    pub fn restored_incarnation(&self) -> u64 {
        self.number() * 2 + 1
    }
}
