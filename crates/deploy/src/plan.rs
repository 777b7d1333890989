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
/// Instances that a rollout adds to a fabric before the first request: the canary and its control.
const ADDED: u32 = 2;

/// Instances of the new version that a canary at `weight` takes among `size`: so many that none carries more than a
/// tenth above its share, canary and control counted.
pub(crate) fn canaries(size: u32, weight: u32) -> u32 {
    let of_all = ((size + ADDED) * weight * 10).div_ceil(ALL * 11);
    (size * weight).div_ceil(ALL).max(of_all).max(1)
}

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

    /// The same, with a step at which one canary among `sizes` instances carries a full share, where no step of the
    /// canary brings its instances within a fifth of that: whatever a cold or crowded instance hides shows before the
    /// first batch. Where nobody wants a canary, or a second set takes all at once, there is none.
    #[must_use]
    pub fn with_a_full_share(mut self, sizes: impl IntoIterator<Item = u32>) -> Self {
        let is_canary = self.strategy == Strategy::Canary;
        let steps = &mut self.canary_steps;
        for size in sizes.into_iter().filter(|size| *size > 0) {
            let full = ALL / (size + ADDED);
            let carries = |weight: u32| weight / canaries(size, weight);
            let lacks = |weight: &u32| carries(*weight) * 5 < full * 4;
            if is_canary && !steps.is_empty() && steps.iter().all(lacks) {
                steps.push(full);
                steps.sort_unstable();
                steps.dedup();
            }
        }
        self
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

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(of: &[f64], sizes: &[u32]) -> Vec<u32> {
        let percent = |it: &f64| Percent::new(*it).unwrap();
        let policy = RolloutPolicySpec {
            canary_steps: of.iter().map(percent).collect(),
            ..RolloutPolicySpec::default()
        };
        let service = serde_json::from_str(r#"{"owner": "o"}"#).unwrap();
        let terms = Terms::of(&policy, &service);
        terms.with_a_full_share(sizes.iter().copied()).canary_steps
    }

    #[test]
    fn one_canary_carries_a_full_share_before_the_first_batch_whatever_the_steps_say() {
        let cases: [(&[f64], &[u32], &[u32]); 8] = [
            (&[1.0, 5.0], &[6], &[100, 500, 1_250]),
            (&[1.0, 5.0, 25.0], &[4], &[100, 500, 1_666, 2_500]),
            (&[1.0, 5.0, 25.0], &[1], &[100, 500, 2_500, 3_333]),
            (&[0.1], &[100], &[10, 98]),
            (&[1.0, 5.0, 25.0], &[6, 10, 100], &[100, 500, 2_500]),
            (&[1.0, 5.0], &[6, 20], &[100, 500, 1_250]),
            (&[], &[6], &[]),
            (&[1.0], &[0], &[100]),
        ];
        for (of, sizes, wanted) in cases {
            assert_eq!(steps(of, sizes), wanted, "{of:?} {sizes:?}");
        }
    }
}
