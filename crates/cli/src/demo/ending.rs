//! How a scenario ended: what was measured, and what had to hold.
//!
//! **Guarantees.** An ending is ok only when everything that had to hold did, and when the load generator
//! says that its numbers may be used. **Never** leaves out a thing that did not hold.
//!
//! Example: `ending.must(report.failed == 0, "no request failed")`.

use serde_json::{Map, Value, json};

use crate::local::{Report, Rollout};

/// The end of a scenario.
pub(crate) struct Ending {
    scenario: &'static str,
    expected: String,
    missed: Vec<String>,
    void: Vec<String>,
    fields: Map<String, Value>,
}

impl Ending {
    /// An ending of which nothing is known yet.
    pub(super) fn new(scenario: &'static str, expected: impl Into<String>) -> Self {
        Self {
            scenario,
            expected: expected.into(),
            missed: Vec::new(),
            void: Vec::new(),
            fields: Map::new(),
        }
    }

    /// Notes a measurement.
    pub(super) fn note(&mut self, name: &str, value: impl Into<Value>) {
        self.fields.insert(name.to_owned(), value.into());
    }

    /// Something that had to hold.
    pub(super) fn must(&mut self, held: bool, what: impl Into<String>) {
        if !held {
            self.missed.push(what.into());
        }
    }

    /// Notes why numbers must not be used.
    pub(super) fn void(&mut self, reason: impl Into<String>) {
        self.void.push(reason.into());
    }

    /// Notes what users saw.
    pub(super) fn saw(&mut self, report: &Report) {
        self.void.extend(report.void.iter().cloned());
        for (name, value) in measured(report) {
            self.fields.insert(name, value);
        }
    }

    /// Notes where a rollout ended, and how long the bad version was out before it was found.
    pub(super) fn rolled(&mut self, rollout: &Rollout, report: &Report) {
        self.note("detected_s", json!(detected_s(rollout, report)));
        self.note(
            "exposed_after_verdict_s",
            json!(exposed_after_verdict_s(rollout, report)),
        );
        self.note("batches", json!(rollout.batches));
        self.note("verdicts", json!(rollout.verdicts));
        self.note(
            "rollout",
            json!({
                "change": rollout.change,
                "service": rollout.service,
                "from": rollout.from,
                "to": rollout.to,
                "state": rollout.state,
                "phase": rollout.phase,
                "because": rollout.because,
            }),
        );
    }

    /// Whether everything held that had to.
    pub(crate) fn is_ok(&self) -> bool {
        self.missed.is_empty() && !self.is_void()
    }

    /// Whether the load generator's numbers may not be used.
    pub(crate) fn is_void(&self) -> bool {
        !self.void.is_empty()
    }

    /// What did not hold.
    pub(crate) fn missed(&self) -> &[String] {
        &self.missed
    }

    /// What was expected.
    pub(crate) fn expected(&self) -> &str {
        &self.expected
    }

    /// One object.
    pub(crate) fn json(&self) -> Value {
        let mut all = Map::new();
        all.insert("scenario".into(), json!(self.scenario));
        all.insert("ok".into(), json!(self.is_ok()));
        all.insert("expected".into(), json!(self.expected));
        all.insert("missed".into(), json!(self.missed));
        all.insert("void".into(), json!(self.void));
        all.extend(self.fields.clone());
        Value::Object(all)
    }

    /// A number that was noted, for a summary.
    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        self.fields.get(name).and_then(Value::as_f64)
    }
}

/// What the load generator measured, under the names that every scenario uses.
pub(super) fn measured(report: &Report) -> Map<String, Value> {
    let share = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
    let mut fields = Map::new();
    let mut note = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    note("requests", json!(report.requests));
    note("failed", json!(report.failed));
    note("failures", json!(report.failures));
    note("users", json!(report.users));
    note("bad_version_requests", json!(report.bad_version_requests));
    note("bad_version_users", json!(report.bad_version_users));
    note(
        "bad_version_request_share",
        json!(share(report.bad_version_requests, report.requests)),
    );
    note(
        "bad_version_user_share",
        json!(share(report.bad_version_users, report.users)),
    );
    note("exposed_s", json!(report.exposed_s));
    note("outage_s", json!(report.outage_s));
    note("elapsed_s", json!(report.elapsed_s));
    note("latency_ms", report.latency_ms.clone());
    note("lag_ms", report.lag_ms.clone());
    note("routes", json!(report.routes));
    fields
}

/// From the first answer of the bad version that a user got, to the entry of the verdict against it.
pub(super) fn detected_s(rollout: &Rollout, report: &Report) -> Option<f64> {
    let verdict_ms = rollout.failed_at_ms()?;
    Some((verdict_ms - first_bad_ms(report)?) / 1_000.0)
}

/// From that entry to the last answer of the bad version; 0 where none came after it.
fn exposed_after_verdict_s(rollout: &Rollout, report: &Report) -> Option<f64> {
    let last_ms = first_bad_ms(report)? + report.exposed_s * 1_000.0;
    Some(((last_ms - rollout.failed_at_ms()?) / 1_000.0).max(0.0))
}

fn first_bad_ms(report: &Report) -> Option<f64> {
    Some(report.began_at_ms as f64 + report.first_bad_version_s? * 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            began_at_ms: 1_000_000,
            first_bad_version_s: Some(10.0),
            exposed_s: 14.0,
            bad_version_users: 3,
            users: 300,
            ..Report::default()
        }
    }

    fn rollout() -> Rollout {
        let verdict = |step, at, signal, outcome| json!({"step": step, "at": at, "findings": [{"signal": signal, "outcome": outcome}]});
        serde_json::from_value(json!({
            "change": "chg-1", "service": "voyager", "from": "v1", "to": "v2", "state": "rolled-back",
            "verdicts": [
                verdict("plan", 1_002_000, "capacity", "fail"),
                verdict("canary", 1_012_000, "errors", "insufficient-evidence"),
                verdict("canary", 1_022_500, "errors", "fail"),
                verdict("canary", 1_030_000, "errors", "fail"),
            ],
        }))
        .unwrap()
    }

    #[test]
    fn detection_counts_from_the_first_bad_answer_to_the_first_verdict_against_the_version() {
        assert_eq!(detected_s(&rollout(), &report()), Some(12.5));
        assert_eq!(exposed_after_verdict_s(&rollout(), &report()), Some(1.5));
        assert_eq!(detected_s(&rollout(), &Report::default()), None);
    }

    #[test]
    fn an_ending_is_ok_only_if_all_held_and_the_numbers_may_be_used() {
        let mut ending = Ending::new("good", "done");
        ending.saw(&report());
        ending.must(true, "held");
        assert!(ending.is_ok());
        assert_eq!(ending.json()["bad_version_user_share"], 0.01);
        let mut missed = Ending::new("good", "done");
        missed.must(false, "did not hold");
        assert_eq!(missed.json()["missed"][0], "did not hold");
        ending.saw(&Report {
            void: vec!["late".into()],
            ..Report::default()
        });
        assert!(!ending.is_ok() && ending.is_void());
    }
}
