//! Guards: measured conditions that can stop a change and never promote one.
//!
//! A stale or missing measurement is [`Outcome::InsufficientEvidence`], or a failure where the guard
//! says so; it never passes. Not-a-number never keeps to a limit.

use std::cmp::Ordering;

use mainstay_core::{
    Finding, Measured, Outcome, Time, Verdict,
    guard::{Bound, Guard, NO_DATA, OnMissing},
};
use serde::{Deserialize, Serialize};

use crate::capacity::CAPACITY;

/// Which way a step leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Towards something new: needs a pass.
    Forward,
    /// Back to what was, or off what is measured dead.
    Restoring,
}

impl Direction {
    /// Whether a step this way may go on this finding. A restoring step is stopped by one thing alone:
    /// measured capacity that it would take below the floor.
    pub fn permits(self, finding: &Finding) -> bool {
        match self {
            Self::Forward => finding.outcome == Outcome::Pass,
            Self::Restoring => finding.outcome != Outcome::Fail || finding.signal != CAPACITY,
        }
    }
    /// Whether a step this way may go on this verdict; forward needs at least one finding.
    pub fn permits_all(self, verdict: &Verdict) -> bool {
        let all = verdict.findings.iter().all(|finding| self.permits(finding));
        match self {
            Self::Forward => all && !verdict.findings.is_empty(),
            Self::Restoring => all,
        }
    }
}

/// What `guard` says of `seen` at `now`; the worst value is the one shown.
pub fn judge(guard: &Guard, seen: Option<&Measured<Vec<f64>>>, now: Time) -> Finding {
    let spec = &guard.spec;
    let (outcome, value) = match seen {
        None => (missing(spec.on_missing), NO_DATA.to_owned()),
        Some(seen) if !seen.is_fresh(now, spec.window) => {
            let age = match now.since(seen.observed_at()) {
                mainstay_core::Span::ZERO => "from a clock ahead of ours".to_owned(),
                age => format!("{age} old, from {}", seen.source()),
            };
            (
                missing(spec.on_missing),
                format!("{NO_DATA}: last sample {age}"),
            )
        }
        Some(seen) => match worst(spec.op, seen.value()) {
            None => (missing(spec.on_missing), NO_DATA.to_owned()),
            Some(value) if spec.op.holds(value, spec.limit) => (Outcome::Pass, value.to_string()),
            Some(value) => (Outcome::Fail, value.to_string()),
        },
    };
    Finding {
        signal: guard.name.to_string(),
        outcome,
        value,
        limit: format!("{} {}", spec.op.symbol(), spec.limit),
        remedy: match outcome {
            Outcome::Pass => String::new(),
            Outcome::Fail => spec.remedy.clone(),
            Outcome::InsufficientEvidence => {
                format!("restore the samples of `{}`", spec.expr)
            }
        },
    }
}

fn missing(on_missing: OnMissing) -> Outcome {
    match on_missing {
        OnMissing::Insufficient => Outcome::InsufficientEvidence,
        OnMissing::Fail => Outcome::Fail,
    }
}

/// The value furthest on the wrong side; a NaN is worse than any number.
fn worst(op: Bound, values: &[f64]) -> Option<f64> {
    let wrong_side = |a: &f64, b: &f64| match op {
        Bound::Below | Bound::AtMost => a.partial_cmp(b),
        Bound::Above | Bound::AtLeast => b.partial_cmp(a),
    };
    values.iter().copied().max_by(|a, b| {
        wrong_side(a, b).unwrap_or(match (a.is_nan(), b.is_nan()) {
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (true, true) | (false, false) => Ordering::Equal,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_core::{Name, Span, guard::GuardSpec};

    fn guard(op: Bound, on_missing: OnMissing) -> Guard {
        Guard {
            name: Name::new("errors").unwrap(),
            spec: GuardSpec {
                expr: "errors".into(),
                op,
                limit: 1.0,
                window: Span::from_secs(30),
                on_missing,
                services: vec![],
                remedy: "roll back".into(),
            },
        }
    }

    fn say(op: Bound, values: &[f64], at_ms: i64) -> Finding {
        let seen = Measured::observe(values.to_vec(), Time::from_millis(at_ms), "tsdb");
        let now = Time::from_millis(100_000);
        judge(&guard(op, OnMissing::Insufficient), Some(&seen), now)
    }

    #[test]
    fn the_worst_value_decides_and_is_shown() {
        let low = say(Bound::Below, &[0.1, 3.0, 0.2], 99_000);
        assert_eq!((low.outcome, low.value.as_str()), (Outcome::Fail, "3"));
        assert_eq!(low.remedy, "roll back");
        let high = say(Bound::AtLeast, &[5.0, 2.0, 9.0], 99_000);
        assert_eq!((high.outcome, high.value.as_str()), (Outcome::Pass, "2"));
    }

    #[test]
    fn not_a_number_among_good_values_fails_whatever_the_bound_and_place() {
        for op in [Bound::Below, Bound::AtMost, Bound::Above, Bound::AtLeast] {
            for values in [
                [f64::NAN, 1.0, 1.0],
                [1.0, f64::NAN, 1.0],
                [1.0, 1.0, f64::NAN],
            ] {
                let said = say(op, &values, 99_000);
                assert_eq!((said.outcome, said.value.as_str()), (Outcome::Fail, "NaN"));
            }
        }
    }

    #[test]
    fn stale_future_empty_and_absent_samples_never_pass() {
        for said in [
            say(Bound::Below, &[0.0], 69_999),
            say(Bound::Below, &[0.0], 130_001),
            say(Bound::Below, &[], 99_000),
        ] {
            assert_eq!(said.outcome, Outcome::InsufficientEvidence, "{said:?}");
            assert!(said.value.starts_with("no data"), "{said:?}");
        }
        let strict = guard(Bound::Below, OnMissing::Fail);
        assert_eq!(
            judge(&strict, None, Time::from_millis(0)).outcome,
            Outcome::Fail
        );
    }

    #[test]
    fn only_measured_capacity_stops_a_restoring_step() {
        let of = |signal: &str, outcome| Finding {
            signal: signal.into(),
            outcome,
            value: String::new(),
            limit: String::new(),
            remedy: String::new(),
        };
        let (fail, unsure) = (Outcome::Fail, Outcome::InsufficientEvidence);
        assert!(Direction::Restoring.permits(&of("errors", fail)));
        assert!(Direction::Restoring.permits(&of(CAPACITY, unsure)));
        assert!(!Direction::Restoring.permits(&of(CAPACITY, fail)));
        assert!(!Direction::Forward.permits(&of("errors", unsure)));
        let nothing = Verdict::new("step", Time::from_millis(0), vec![]);
        assert!(!Direction::Forward.permits_all(&nothing));
        assert!(Direction::Restoring.permits_all(&nothing));
    }
}
