//! Emergencies: a named policy, a reason and a person let a change go without evidence or past a freeze.
//!
//! Never touches a capacity finding: an operator may state demand or capacity where they are not
//! measured, for at most an hour, and the arithmetic is then done on what was stated.

use mainstay_core::{Actor, Emergency, Finding, Outcome, Span, Time, catalog::EmergencySpec};

use crate::capacity::{CAPACITY, INSTANCE_RPS_MAX};

/// The signal of the [`Finding`] that says what is stated.
pub const STATED: &str = "stated";
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
    #[error("{0} is no demand; state requests per second from 0 to {INSTANCE_RPS_MAX}")]
    NoDemand(f64),
    /// A stated number that is none.
    #[error(
        "{0} is not what an instance carries; state requests per second above 0 and up to {INSTANCE_RPS_MAX}"
    )]
    NoCapacity(f64),
}

/// An emergency that holds for one change.
#[derive(Debug, Clone, PartialEq)]
pub struct Declared {
    spec: EmergencySpec,
    wanted: Emergency,
    actor: Actor,
    at: Time,
}

impl Declared {
    /// Checks that `wanted`, declared at `at`, names one of `specs`, gives a reason, comes from a person, and states
    /// nothing but numbers.
    pub fn new(
        specs: &[EmergencySpec],
        wanted: &Emergency,
        actor: &Actor,
        at: Time,
    ) -> Result<Self, EmergencyError> {
        let spec = specs
            .iter()
            .find(|spec| spec.name == wanted.policy)
            .ok_or_else(|| EmergencyError::Unknown(wanted.policy.to_string()))?;
        if wanted.reason.trim().is_empty() {
            return Err(EmergencyError::NoReason);
        }
        if !actor.is_person() {
            return Err(EmergencyError::NoPerson(actor.id.clone()));
        }
        let is_number = |rps: f64| (0.0..=INSTANCE_RPS_MAX).contains(&rps);
        if let Some(rps) = wanted.stated_demand_rps.filter(|rps| !is_number(*rps)) {
            return Err(EmergencyError::NoDemand(rps));
        }
        let carries_nothing = |rps: &f64| !is_number(*rps) || *rps == 0.0;
        if let Some(rps) = wanted.stated_capacity_rps.filter(carries_nothing) {
            return Err(EmergencyError::NoCapacity(rps));
        }
        Ok(Self {
            spec: spec.clone(),
            wanted: wanted.clone(),
            actor: actor.clone(),
            at,
        })
    }
    /// Whether what it states counts at `now`: from when it was stated, for [`STATED_VALID_FOR`].
    fn is_valid(&self, now: Time) -> bool {
        now >= self.at && now.since(self.at) <= STATED_VALID_FOR
    }
    /// The demand that is stated in place of the measured one, while that counts.
    pub fn demand_rps(&self, now: Time) -> Option<f64> {
        self.wanted.stated_demand_rps.filter(|_| self.is_valid(now))
    }
    /// What one instance is stated to carry in place of what is measured, while that counts.
    pub fn capacity_rps(&self, now: Time) -> Option<f64> {
        self.wanted
            .stated_capacity_rps
            .filter(|_| self.is_valid(now))
    }
    /// What it states, who did and until when it counts, for every verdict under it; where its time is over, that it
    /// is. `None` where it states nothing. Judges nothing itself: what counts with it is judged beside it.
    pub fn stated(&self, now: Time) -> Option<Finding> {
        let demand = self.wanted.stated_demand_rps;
        let demand = demand.map(|rps| format!("demand {rps} rps"));
        let capacity = self.wanted.stated_capacity_rps;
        let capacity = capacity.map(|rps| format!("{rps} rps an instance"));
        let what: Vec<String> = demand.into_iter().chain(capacity).collect();
        if what.is_empty() {
            return None;
        }
        let by = &self.actor.id;
        let unverified = if self.actor.verified {
            ""
        } else {
            " (unverified)"
        };
        let what = format!("{} as stated by {by}{unverified}", what.join(" and "));
        let until = self.at + STATED_VALID_FOR;
        Some(Finding {
            signal: STATED.to_owned(),
            outcome: Outcome::Pass,
            value: if self.is_valid(now) {
                format!("{what}, until {until}")
            } else {
                format!("{what}; over since {until}: measurements count")
            },
            limit: format!("{STATED_VALID_FOR} from when it was said"),
            remedy: String::new(),
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
            self.spec.name, self.actor.id, self.wanted.reason
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_core::Name;

    const AT: Time = Time::from_millis(1_000);

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
            stated_demand_rps: None,
            stated_capacity_rps: None,
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
        let refused = |w: &Emergency, a: &Actor| Declared::new(&specs, w, a, AT).unwrap_err();
        assert_eq!(refused(&wanted(" "), &ana), EmergencyError::NoReason);
        let nobody = refused(&wanted("down"), &Actor::system());
        assert_eq!(nobody, EmergencyError::NoPerson("mainstay".into()));
        let unnamed = refused(&wanted("down"), &Actor::anonymous());
        assert_eq!(unnamed, EmergencyError::NoPerson("anonymous".into()));
        assert!(Declared::new(&[], &wanted("down"), &ana, AT).is_err());
        assert!(Declared::new(&specs, &wanted("down"), &ana, AT).is_ok());
    }

    #[test]
    fn it_waives_missing_evidence_and_never_a_failure_or_capacity() {
        let ana = Actor::verified("ana");
        let loud = Declared::new(&[spec(true, false)], &wanted("down"), &ana, AT).unwrap();
        let unsure = Outcome::InsufficientEvidence;
        let passed = loud.apply(finding("errors", unsure));
        assert_eq!(passed.outcome, Outcome::Pass);
        assert!(passed.value.contains("ana: down"), "{}", passed.value);
        for kept in [finding(CAPACITY, unsure), finding("errors", Outcome::Fail)] {
            assert_eq!(loud.apply(kept.clone()), kept);
        }
        let quiet = Declared::new(&[spec(false, true)], &wanted("down"), &ana, AT).unwrap();
        assert_eq!(quiet.apply(finding("errors", unsure)).outcome, unsure);
    }

    #[test]
    fn what_is_stated_counts_for_an_hour_names_who_said_it_and_says_when_it_is_over() {
        let wanted = Emergency {
            stated_demand_rps: Some(500.0),
            stated_capacity_rps: Some(36.5),
            ..wanted("down")
        };
        let ana = Actor::unverified("ana");
        let declared = Declared::new(&[spec(true, false)], &wanted, &ana, AT).unwrap();
        let last = AT + STATED_VALID_FOR;
        assert_eq!(declared.demand_rps(last), Some(500.0));
        assert_eq!(declared.capacity_rps(last), Some(36.5));
        let said = declared.stated(last).unwrap();
        assert_eq!(
            said.value,
            "demand 500 rps and 36.5 rps an instance as stated by ana (unverified), until 1970-01-01T01:00:01Z"
        );
        assert_eq!(said.outcome, Outcome::Pass, "what is said judges nothing");
        for out in [last + Span::from_millis(1), Time::from_millis(999)] {
            assert_eq!(declared.demand_rps(out), None);
            assert_eq!(declared.capacity_rps(out), None);
        }
        let over = declared.stated(last + Span::from_millis(1)).unwrap();
        assert!(over.value.ends_with("measurements count"), "{}", over.value);
    }

    #[test]
    fn a_stated_figure_that_is_no_number_of_requests_is_refused() {
        let ana = Actor::verified("ana");
        let stated = |demand, capacity| Emergency {
            stated_demand_rps: demand,
            stated_capacity_rps: capacity,
            ..wanted("down")
        };
        let said = |it: &Emergency| Declared::new(&[spec(true, false)], it, &ana, AT);
        for wrong in [f64::NAN, f64::INFINITY, -1.0, 1e12] {
            assert!(said(&stated(Some(wrong), None)).is_err(), "{wrong}");
            assert!(said(&stated(None, Some(wrong))).is_err(), "{wrong}");
        }
        let nothing = said(&stated(None, Some(0.0))).unwrap_err();
        assert_eq!(nothing, EmergencyError::NoCapacity(0.0));
        assert!(said(&stated(Some(0.0), Some(1.0))).is_ok());
    }
}
