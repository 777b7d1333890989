//! Guards and what they say.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Name, ServiceName, Span, Time};

/// What to do when there is nothing to judge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnMissing {
    /// Say so; nothing goes forward on it.
    #[default]
    Insufficient,
    /// Treat silence as failure.
    Fail,
}

/// How a value is held against its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Bound {
    /// The value must stay below the limit.
    #[serde(rename = "<")]
    Below,
    /// The value must not pass the limit.
    #[serde(rename = "<=")]
    AtMost,
    /// The value must stay above the limit.
    #[serde(rename = ">")]
    Above,
    /// The value must reach the limit.
    #[serde(rename = ">=")]
    AtLeast,
}

impl Bound {
    /// Whether `value` keeps to `limit`; NaN never does.
    pub fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Below => value < limit,
            Self::AtMost => value <= limit,
            Self::Above => value > limit,
            Self::AtLeast => value >= limit,
        }
    }
    /// As an operator writes it.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Below => "<",
            Self::AtMost => "<=",
            Self::Above => ">",
            Self::AtLeast => ">=",
        }
    }
}

/// A measured condition that protects services: it can fail a change, never promote one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GuardSpec {
    /// PromQL; one value, or several that must all keep to the limit.
    pub expr: String,
    /// How values are held against the limit.
    pub op: Bound,
    /// The limit.
    pub limit: f64,
    /// Oldest sample that still counts.
    #[serde(default = "default_window")]
    pub window: Span,
    /// What silence means.
    #[serde(default)]
    pub on_missing: OnMissing,
    /// Services it protects; empty means all.
    #[serde(default)]
    pub services: Vec<ServiceName>,
    /// What would mend it, shown with a failure.
    #[serde(default)]
    pub remedy: String,
}

fn default_window() -> Span {
    Span::from_secs(30)
}

/// Stands in place of a value that nothing was measured of.
pub const NO_DATA: &str = "no data";

/// What a verdict comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Measured, and within limits.
    Pass,
    /// Measured, and beyond a limit.
    Fail,
    /// Not measured well enough to say.
    InsufficientEvidence,
}

/// One reason within a verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What was asked, such as a guard's name or `capacity`.
    pub signal: String,
    /// What it comes to.
    pub outcome: Outcome,
    /// The measured value, with its unit; `no data` where there is none.
    pub value: String,
    /// The limit, with its unit.
    pub limit: String,
    /// What would change it.
    pub remedy: String,
}

impl Finding {
    /// Whether there is no evidence because its signal says nothing, rather than too little.
    pub fn is_missing(&self) -> bool {
        self.outcome == Outcome::InsufficientEvidence && self.value.contains(NO_DATA)
    }
}

/// What the guard engine says of one step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// The step it judges, such as `batch 3`.
    pub step: String,
    /// When it was reached.
    pub at: Time,
    /// Every reason, worst first.
    pub findings: Vec<Finding>,
}

impl Verdict {
    /// A verdict over `findings`, worst first.
    pub fn new(step: impl Into<String>, at: Time, mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|finding| severity(finding.outcome));
        Self {
            step: step.into(),
            at,
            findings,
        }
    }
    /// The worst of its findings; with none there is no evidence.
    pub fn outcome(&self) -> Outcome {
        self.findings
            .first()
            .map_or(Outcome::InsufficientEvidence, |finding| finding.outcome)
    }
    /// The worst findings in one line.
    pub fn sentence(&self) -> String {
        let worst = self.outcome();
        let parts: Vec<String> = self
            .findings
            .iter()
            .filter(|finding| finding.outcome == worst)
            .map(|finding| {
                format!(
                    "{}: {} (limit {})",
                    finding.signal, finding.value, finding.limit
                )
            })
            .collect();
        if parts.is_empty() {
            "nothing was measured".to_owned()
        } else {
            parts.join("; ")
        }
    }
}

fn severity(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Fail => 0,
        Outcome::InsufficientEvidence => 1,
        Outcome::Pass => 2,
    }
}

/// A guard together with its name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Guard {
    /// Its resource name.
    pub name: Name,
    /// What it says.
    pub spec: GuardSpec,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(outcome: Outcome) -> Finding {
        Finding {
            signal: "s".into(),
            outcome,
            value: "1".into(),
            limit: "2".into(),
            remedy: String::new(),
        }
    }

    #[test]
    fn a_verdict_is_as_bad_as_its_worst_finding_and_no_finding_is_no_evidence() {
        let at = Time::from_millis(0);
        let of = |list: &[Outcome]| {
            Verdict::new("x", at, list.iter().map(|o| finding(*o)).collect()).outcome()
        };
        assert_eq!(of(&[]), Outcome::InsufficientEvidence);
        assert_eq!(
            of(&[Outcome::Pass, Outcome::InsufficientEvidence]),
            Outcome::InsufficientEvidence
        );
        assert_eq!(
            of(&[Outcome::Pass, Outcome::InsufficientEvidence, Outcome::Fail]),
            Outcome::Fail
        );
        assert_eq!(of(&[Outcome::Pass]), Outcome::Pass);
    }

    #[test]
    fn not_a_number_never_keeps_to_a_limit() {
        for bound in [Bound::Below, Bound::AtMost, Bound::Above, Bound::AtLeast] {
            assert!(!bound.holds(f64::NAN, 1.0));
        }
    }
}
