//! Emergencies: a named policy, a reason and a person let a change go without evidence or past a freeze.
//!
//! Never touches a capacity finding: an operator may state demand or capacity where they are not
//! measured, for at most an hour, and the arithmetic is then done on what was stated.

use mainstay_core::{Actor, Emergency, Finding, Outcome, Span, Time, catalog::EmergencySpec};
use serde::{Deserialize, Serialize};

use crate::capacity::CAPACITY;

/// How long a stated number stands in for a measured one.
pub const STATED_VALID_FOR: Span = Span::from_secs(3_600);

/// Why an emergency cannot be declared.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EmergencyError {
    /// No policy of that name.
    #[error("no emergency named `{0}` in the service's policy; declare one of those it lists")]
    Unknown(String),
    /// No reason.
    #[error("an emergency needs a reason that others can read later")]
    NoReason,
    /// Nobody stands behind it.
    #[error("an emergency is declared by a person, not by `{0}`")]
    NoPerson(String),
    /// A stated number that is none.
    #[error("{0} is not a number of requests per second")]
    NotANumber(f64),
}

/// An emergency that holds for one change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    spec: EmergencySpec,
    reason: String,
    actor: Actor,
}

impl Declared {
    /// Checks that `wanted` names one of `specs`, gives a reason, and comes from a person.
    pub fn new(
        specs: &[EmergencySpec],
        wanted: &Emergency,
        actor: &Actor,
    ) -> Result<Self, EmergencyError> {
        let spec = specs
            .iter()
            .find(|spec| spec.name == wanted.policy)
            .ok_or_else(|| EmergencyError::Unknown(wanted.policy.to_string()))?;
        if wanted.reason.trim().is_empty() {
            return Err(EmergencyError::NoReason);
        }
        if actor.id.trim().is_empty() || actor.id == Actor::system().id {
            return Err(EmergencyError::NoPerson(actor.id.clone()));
        }
        Ok(Self {
            spec: spec.clone(),
            reason: wanted.reason.clone(),
            actor: actor.clone(),
        })
    }
    /// Whether a freeze does not hold for it.
    pub fn waives_freeze(&self) -> bool {
        self.spec.waives_freeze
    }
    /// The finding as it counts under this emergency: missing evidence may pass, a measured failure
    /// and anything about capacity stay what they are.
    pub fn apply(&self, finding: Finding) -> Finding {
        let waived = self.spec.waives_evidence
            && finding.outcome == Outcome::InsufficientEvidence
            && finding.signal != CAPACITY;
        if !waived {
            return finding;
        }
        Finding {
            outcome: Outcome::Pass,
            value: format!("{}; {self}", finding.value),
            ..finding
        }
    }
}

impl std::fmt::Display for Declared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "waived by emergency `{}` ({}: {})",
            self.spec.name, self.actor.id, self.reason
        )
    }
}

/// A number that a person gives where none is measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stated {
    rps: f64,
    at: Time,
    by: Actor,
}

impl Stated {
    /// What `by` states at `at`, in requests per second.
    pub fn new(rps: f64, at: Time, by: Actor) -> Result<Self, EmergencyError> {
        if !rps.is_finite() || rps < 0.0 {
            return Err(EmergencyError::NotANumber(rps));
        }
        if by.id.trim().is_empty() || by.id == Actor::system().id {
            return Err(EmergencyError::NoPerson(by.id));
        }
        Ok(Self { rps, at, by })
    }
    /// The number, while it is valid: from when it was stated, for [`STATED_VALID_FOR`].
    pub fn rps(&self, now: Time) -> Option<f64> {
        (now >= self.at && now.since(self.at) <= STATED_VALID_FOR).then_some(self.rps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_core::Name;

    fn spec(evidence: bool, freeze: bool) -> EmergencySpec {
        EmergencySpec {
            name: Name::new("site-down").unwrap(),
            waives_evidence: evidence,
            waives_freeze: freeze,
        }
    }

    fn wanted(reason: &str) -> Emergency {
        Emergency {
            policy: Name::new("site-down").unwrap(),
            reason: reason.into(),
        }
    }

    fn finding(signal: &str, outcome: Outcome) -> Finding {
        Finding {
            signal: signal.into(),
            outcome,
            value: "no data".into(),
            limit: "< 1".into(),
            remedy: String::new(),
        }
    }

    #[test]
    fn an_emergency_needs_a_known_policy_a_reason_and_a_person() {
        let specs = [spec(true, true)];
        let ana = Actor::verified("ana");
        let refused = |w: &Emergency, a: &Actor| Declared::new(&specs, w, a).unwrap_err();
        assert_eq!(refused(&wanted(" "), &ana), EmergencyError::NoReason);
        let nobody = refused(&wanted("down"), &Actor::system());
        assert_eq!(nobody, EmergencyError::NoPerson("mainstay".into()));
        assert!(Declared::new(&[], &wanted("down"), &ana).is_err());
        assert!(Declared::new(&specs, &wanted("down"), &ana).is_ok());
    }

    #[test]
    fn it_waives_missing_evidence_and_never_a_failure_or_capacity() {
        let ana = Actor::verified("ana");
        let loud = Declared::new(&[spec(true, false)], &wanted("down"), &ana).unwrap();
        let unsure = Outcome::InsufficientEvidence;
        let passed = loud.apply(finding("errors", unsure));
        assert_eq!(passed.outcome, Outcome::Pass);
        assert!(passed.value.contains("ana: down"), "{}", passed.value);
        for kept in [finding(CAPACITY, unsure), finding("errors", Outcome::Fail)] {
            assert_eq!(loud.apply(kept.clone()), kept);
        }
        let quiet = Declared::new(&[spec(false, true)], &wanted("down"), &ana).unwrap();
        assert_eq!(quiet.apply(finding("errors", unsure)).outcome, unsure);
    }

    #[test]
    fn a_stated_number_is_valid_for_an_hour_and_not_before_it_was_stated() {
        let at = Time::from_millis(1_000);
        let stated = Stated::new(500.0, at, Actor::verified("ana")).unwrap();
        assert_eq!(stated.rps(at + STATED_VALID_FOR), Some(500.0));
        assert_eq!(stated.rps(at + Span::from_millis(3_600_001)), None);
        assert_eq!(stated.rps(Time::from_millis(999)), None);
        assert!(Stated::new(f64::NAN, at, Actor::verified("ana")).is_err());
    }
}
