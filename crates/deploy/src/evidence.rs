//! What is known of a new version beside the old one, and what that comes to.
//!
//! Errors are judged over all requests, and again in each cohort (fabric, route, client version), so that one
//! broken group is not averaged away; latency is the share of requests slower than the old version's 99th
//! percentile. The chance of false harm is split among them (e-Bonferroni): half to errors, a quarter to latency,
//! a quarter to at most [`COHORTS_MAX`] cohorts. Cohorts can only fail a version, never promote it.
//!
//! Guarantees: probes are compared with probes and users with users, so that a canary which gets mostly probes is
//! not judged by how probes differ from users; what both kinds show is one evidence, printed with how much of it
//! were probes. Never takes silence for health.

mod arms;
mod cohorts;
mod latency;
mod sample;
mod wording;

use mainstay_core::{Finding, Outcome, Percent, ports::Growth};
use mainstay_stats::{ArmCounts, Judge, Judgement, Pair, STRATA, StatsError};

use self::{
    arms::Kind,
    cohorts::{Cohorts, OF_CLIENTS, OF_REQUESTS, Ticked},
    latency::Latency,
    sample::Sample,
    wording::finding,
};
pub use self::{
    arms::{Arms, Labels},
    cohorts::COHORTS_MAX,
};
use crate::rollout::Ruling;

/// What was counted of one kind of requests in one tick.
#[derive(Debug, Clone, Copy)]
pub struct Traffic<'a> {
    /// Growth of its requests by status.
    pub requests: &'a Growth,
    /// Growth of its latency buckets by `le`.
    pub buckets: &'a Growth,
}

/// What was counted in one tick.
#[derive(Debug, Clone, Copy)]
pub struct Tick<'a> {
    /// Requests of users.
    pub users: Traffic<'a>,
    /// The same requests by version of the client, where it is told.
    pub clients: Option<&'a Growth>,
    /// Probes, where they are sent.
    pub probes: Option<Traffic<'a>>,
}

impl<'a> Tick<'a> {
    /// A tick with users alone.
    pub fn of_users(requests: &'a Growth, buckets: &'a Growth) -> Self {
        Self {
            users: Traffic { requests, buckets },
            clients: None,
            probes: None,
        }
    }

    fn kinds(self) -> impl Iterator<Item = (Kind, Traffic<'a>)> {
        let probes = self.probes.map(|traffic| (Kind::Probes, traffic));
        [(Kind::Users, self.users)].into_iter().chain(probes)
    }
}

/// The running evidence of one rollout. Bounded by [`COHORTS_MAX`] and the router's buckets.
#[derive(Debug, Clone)]
pub struct Bench {
    names: Labels,
    whole: Judge,
    errors: Sample,
    cohorts: Cohorts,
    latency: Latency,
}

/// A ruling with its reasons.
#[derive(Debug, Clone, PartialEq)]
pub struct Ruled {
    /// The ruling.
    pub ruling: Ruling,
    /// Its reasons.
    pub findings: Vec<Finding>,
    /// About how many more requests of the new version would show that it is no worse.
    pub needed_requests: Option<u64>,
}

impl Bench {
    /// No evidence yet, for a tolerated difference of `margin`.
    pub fn new(margin: Percent) -> Result<Self, StatsError> {
        Self::reading(margin, Labels::default())
    }

    /// Like [`Bench::new`], over series labelled by `names`.
    pub fn reading(margin: Percent, names: Labels) -> Result<Self, StatsError> {
        let all = Judge {
            margin: margin.fraction(),
            ..Judge::default()
        };
        let part = |of: f64| Judge {
            alpha_harm: all.alpha_harm * of,
            ..all
        };
        let whole = part(0.5);
        Ok(Self {
            names,
            whole,
            errors: Sample::new(&whole)?,
            cohorts: Cohorts::new(part(0.25)),
            latency: Latency::new(part(0.25))?,
        })
    }

    /// Adds what was counted in one tick.
    pub fn observe(&mut self, arms: &Arms, tick: Tick<'_>) -> Result<(), StatsError> {
        let mut whole = [Pair::default(); STRATA];
        let mut cohorts = Ticked::default();
        for (kind, traffic) in tick.kinds() {
            for series in &traffic.requests.series {
                let Some(arm) = arms.of(&series.labels, &self.names) else {
                    continue;
                };
                let is_bad = self.names.is_bad(&series.labels, kind);
                let bad = if is_bad { series.by } else { 0 };
                arm.add(&mut whole[kind as usize], series.by, bad);
                for (label, _) in OF_REQUESTS {
                    if let Some(value) = series.labels.get(label) {
                        cohorts.add((label, value.clone()), kind, arm, series.by, bad);
                    }
                }
            }
        }
        for series in tick.clients.iter().flat_map(|growth| &growth.series) {
            let arm = arms.of(&series.labels, &self.names);
            if let (Some(arm), Some(value)) = (arm, series.labels.get(OF_CLIENTS.0)) {
                let is_bad = self.names.is_bad(&series.labels, Kind::Users);
                let bad = if is_bad { series.by } else { 0 };
                let name = (OF_CLIENTS.0, value.clone());
                cohorts.add(name, Kind::Users, arm, series.by, bad);
            }
        }
        self.errors.observe(whole)?;
        self.cohorts.observe(cohorts)?;
        let buckets: Vec<(Kind, &Growth)> = tick.kinds().map(|(k, it)| (k, it.buckets)).collect();
        self.latency.observe(arms, &self.names, &buckets)
    }

    /// What it comes to now.
    pub fn rule(&self) -> Ruled {
        let errors = self.errors.judge(&self.whole);
        let latency = self.latency.judge();
        let broken = self.cohorts.broken();
        let is_harm = |judgement: &Judgement| matches!(judgement, Judgement::Harmful { .. });
        let probed = self.errors.probed();
        let mut findings = vec![finding("errors", "requests that failed", &errors, probed)];
        if let Some(((kind, value), judgement, probed)) = &broken
            && !is_harm(&errors)
        {
            let what = format!("requests that failed at {kind} {value}");
            let signal = format!("errors {kind}={value}");
            findings.push(finding(&signal, &what, judgement, *probed));
        }
        let what = self.latency.words(&self.names);
        let probed = self.latency.probed();
        findings.push(finding("latency", &what, &latency, probed));
        findings.extend(self.uncontrolled());
        let needed = |judgement: &Judgement| match judgement {
            Judgement::Insufficient {
                needed_requests, ..
            } => *needed_requests,
            Judgement::NonInferior { .. }
            | Judgement::Harmful { .. }
            | Judgement::BothFailing { .. } => None,
        };
        let needed_requests = needed(&errors).max(needed(&latency));
        let safe = |judgement: &Judgement| matches!(judgement, Judgement::NonInferior { .. });
        let ruling = if is_harm(&errors) || is_harm(&latency) || broken.is_some() {
            Ruling::Harm
        } else if matches!(errors, Judgement::BothFailing { .. }) {
            Ruling::SharedFailure
        } else if safe(&errors) && safe(&latency) {
            Ruling::Pass
        } else {
            Ruling::Insufficient
        };
        Ruled {
            ruling,
            findings,
            needed_requests,
        }
    }

    /// Says so where nothing of the old version was measured beside the new one.
    fn uncontrolled(&self) -> Option<Finding> {
        let (canary, control) = self.counts();
        (canary.total > 0 && control.total == 0).then(|| Finding {
            signal: "control".to_owned(),
            outcome: Outcome::InsufficientEvidence,
            value: format!(
                "uncontrolled: {} requests to the new version, none to the old",
                canary.total
            ),
            limit: "the old version serves beside the new one until the bake ends".to_owned(),
            remedy: "see with `mainstay get instances` why no old instance answers; \
                     a person may promote or roll back"
                .to_owned(),
        })
    }

    /// Counts of all requests so far: the new version's and the old one's.
    pub fn counts(&self) -> (ArmCounts, ArmCounts) {
        let evidence = *self.errors.judge(&self.whole).evidence();
        (evidence.canary, evidence.control)
    }
}

#[cfg(test)]
mod tests;
