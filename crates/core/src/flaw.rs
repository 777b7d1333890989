//! What keeps a spec from ever holding, whatever else is declared.
//!
//! Guarantees: names the field, the bound and what would mend it; a spec without a flaw may still have to wait, but
//! not for ever by its own terms. Never looks at other resources: [`graph`](crate::graph) does.
//!
//! ```
//! use mainstay_core::catalog::RolloutPolicySpec;
//! let mut policy = RolloutPolicySpec::default();
//! policy.max_evidence_wait = "10ms".parse().unwrap();
//! assert_eq!(policy.flaws()[0].field, "maxEvidenceWait");
//! ```

use crate::{
    Span,
    catalog::{RolloutPolicySpec, Spec, Strategy},
    guard::GuardSpec,
};

/// Shortest time that a gate of a rollout is open: what was asked just before may still be under way.
pub const GATE_MIN: Span = Span::from_secs(3);
/// From a verdict until no router sends what it need not: the way back is answered within a second, a table is
/// composed and applied, and a request that is under way at that moment was met before. No way back is shorter.
pub const FLIP: Span = Span::from_secs(2);
/// Least share of requests at a step of the canary, in per cent: routers count in hundredths.
pub const STEP_MIN: f64 = 0.01;
/// Shortest window of a guard: what runs is scraped once a second.
pub const WINDOW_MIN: Span = Span::from_secs(1);

/// One way in which a spec can never hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecFlaw {
    /// The field below `spec`, such as `probes[0].path`.
    pub field: String,
    /// What is wrong.
    pub what: String,
    /// What would mend it.
    pub remedy: String,
}

impl SpecFlaw {
    fn new(field: impl Into<String>, what: String, remedy: &str) -> Self {
        Self {
            field: field.into(),
            what,
            remedy: remedy.to_owned(),
        }
    }
}

impl Spec {
    /// What keeps it from ever holding by itself. Probes are told with the service that they are of, by
    /// [`graph`](crate::graph); a freeze by its own machine, a monitor by whoever judges it, responders and schedules by
    /// whoever knows zones.
    pub fn flaws(&self) -> Vec<SpecFlaw> {
        match self {
            Self::RolloutPolicy(policy) => policy.flaws(),
            Self::Guard(guard) => guard.flaws(),
            Self::EscalationPolicy(policy) => policy.flaws(),
            Self::Fabric(_)
            | Self::Host(_)
            | Self::Service(_)
            | Self::Freeze(_)
            | Self::Monitor(_)
            | Self::Responder(_)
            | Self::Schedule(_) => Vec::new(),
        }
    }
}

impl RolloutPolicySpec {
    /// What no rollout could ever satisfy.
    pub fn flaws(&self) -> Vec<SpecFlaw> {
        let mut flaws = Vec::new();
        for (at, step) in self.canary_steps.iter().enumerate() {
            if step.get() < STEP_MIN {
                flaws.push(SpecFlaw::new(
                    format!("canarySteps[{at}]"),
                    format!("{step} of the requests show nothing"),
                    "write steps from 0.01 % on, rising, such as [1%, 5%, 25%]",
                ));
            }
        }
        if self.batch.get() <= 0.0 {
            flaws.push(SpecFlaw::new(
                "batch",
                format!("batches of {} replace nothing", self.batch),
                "write a batch above 0 %; it is 10% where unset",
            ));
        }
        if self.margin.get() <= 0.0 || self.margin.get() >= 100.0 {
            flaws.push(SpecFlaw::new(
                "margin",
                format!("no sample shows a difference below {}", self.margin),
                "write a margin above 0 % and below 100 %; it is 1% where unset",
            ));
        }
        if self.max_evidence_wait <= GATE_MIN {
            let wait = self.max_evidence_wait;
            flaws.push(SpecFlaw::new(
                "maxEvidenceWait",
                format!("{wait} for evidence, where every gate is open for at least {GATE_MIN}"),
                "write more than 3s; it is 30m where unset",
            ));
        }
        let in_place = self.strategy == Strategy::Canary;
        if in_place && self.enforce && self.rollback_within < FLIP {
            let within = self.rollback_within;
            flaws.push(SpecFlaw::new(
                "rollbackWithin",
                format!("`enforce: true` with {within}, where routes alone take {FLIP} to flip"),
                "write 2s or more, or leave `enforce` out",
            ));
        }
        flaws
    }
}

impl GuardSpec {
    /// What no measurement could ever satisfy, but for the expression: that is PromQL's to say.
    pub fn flaws(&self) -> Vec<SpecFlaw> {
        let mut flaws = Vec::new();
        if self.window < WINDOW_MIN {
            let window = self.window;
            flaws.push(SpecFlaw::new(
                "window",
                format!("samples come once a second: none would be younger than {window}"),
                "write 1s or more; it is 30s where unset",
            ));
        }
        flaws
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Kind;

    fn fields(kind: Kind, spec: serde_json::Value) -> Vec<String> {
        let flaws = Spec::decode(kind, &spec).unwrap().flaws();
        flaws.into_iter().map(|flaw| flaw.field).collect()
    }

    #[test]
    fn a_policy_that_no_rollout_could_satisfy_is_told_by_each_field_that_keeps_it_from_it() {
        let of = |spec| fields(Kind::RolloutPolicy, spec);
        assert!(of(json!({})).is_empty());
        assert!(
            of(json!({"maxEvidenceWait": "3001ms", "canarySteps": [], "bake": "0s"})).is_empty()
        );
        let never = json!({"batch": "0%", "margin": "0%", "maxEvidenceWait": "10ms", "canarySteps": ["1%", "0%"],
            "enforce": true, "rollbackWithin": "1s"});
        assert_eq!(
            of(never),
            [
                "canarySteps[1]",
                "batch",
                "margin",
                "maxEvidenceWait",
                "rollbackWithin"
            ]
        );
        assert_eq!(of(json!({"margin": "100%"})), ["margin"]);
        assert_eq!(of(json!({"maxEvidenceWait": "3s"})), ["maxEvidenceWait"]);
        let by_routes = json!({"strategy": "blue-green", "enforce": true, "rollbackWithin": "1s"});
        assert!(of(by_routes).is_empty(), "nothing is enforced of routes");
    }

    #[test]
    fn a_guard_whose_window_no_sample_falls_into_is_refused() {
        let of = |window: &str| {
            let spec = json!({"expr": "up", "op": ">", "limit": 0, "window": window});
            fields(Kind::Guard, spec)
        };
        assert!(of("1s").is_empty());
        assert_eq!(of("200ms"), ["window"]);
    }
}
