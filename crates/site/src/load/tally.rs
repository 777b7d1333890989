//! What all users saw together.
//!
//! Guarantees: each visit is counted once, in the second it was planned for; a run in which the
//! generator was late or out of room is marked void. Never forgets a failure, and never estimates.
//! Example: `tally.add(&seen)`, then `tally.report(elapsed, true)`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use hdrhistogram::Histogram;
use serde::Serialize;

use super::plan::RouteWeights;
use super::user::{Failure, Seen};

/// The longest latency told apart, in microseconds: well beyond the longest deadline.
const LATENCY_US_MAX: u64 = 300_000_000;
/// A second is an outage when more than this share of its requests failed.
const OUTAGE_SHARE: f64 = 0.5;

/// A version that no user should see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BadVersion {
    service: String,
    version: String,
}

impl FromStr for BadVersion {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (service, version) = text
            .split_once('=')
            .context("a bad version is SERVICE=VERSION")?;
        Ok(Self {
            service: service.to_owned(),
            version: version.to_owned(),
        })
    }
}

#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct RouteCounts {
    requests: u64,
    failed: u64,
}

#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct PerSecond {
    requests: Vec<u32>,
    failed: Vec<u32>,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Quantiles {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

impl Quantiles {
    fn of(histogram: &Histogram<u64>) -> Self {
        let ms = |us: u64| us as f64 / 1_000.0;
        Self {
            p50: ms(histogram.value_at_quantile(0.50)),
            p99: ms(histogram.value_at_quantile(0.99)),
            max: ms(histogram.max()),
        }
    }
}

/// The report of a run, or of a run so far.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    /// Whether the run is over.
    pub(super) finished: bool,
    /// Why the numbers must not be used; empty when they may be.
    pub(super) void: Vec<String>,
    /// When the run began, in milliseconds since the Unix epoch.
    pub(super) began_at_ms: u64,
    /// Seconds from the begin of the run to this report.
    pub(super) elapsed_s: f64,
    pub(super) requests: u64,
    pub(super) failed: u64,
    pub(super) failures: BTreeMap<Failure, u64>,
    pub(super) routes: BTreeMap<String, RouteCounts>,
    /// One number a second, by the second the request was planned for.
    pub(super) per_second: PerSecond,
    /// Distinct users who made a request.
    pub(super) users: u64,
    pub(super) bad_version_requests: u64,
    /// Distinct users who saw a bad version.
    pub(super) bad_version_users: u64,
    /// When the first bad-version response ended, in seconds after the begin of the run.
    pub(super) first_bad_version_s: Option<f64>,
    /// From the first bad-version response to the last.
    pub(super) exposed_s: f64,
    /// Seconds in which more than half of the requests failed.
    pub(super) outage_s: u64,
    /// From the planned instant to the end of each visit, failed ones included.
    pub(super) latency_ms: Quantiles,
    /// How late the generator itself was.
    pub(super) lag_ms: Quantiles,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} requests in {:.1} s, {} failed, {} s of outage",
            self.requests, self.elapsed_s, self.failed, self.outage_s
        )?;
        for (route, counts) in &self.routes {
            writeln!(
                f,
                "  {route}: {} requests, {} failed",
                counts.requests, counts.failed
            )?;
        }
        writeln!(
            f,
            "latency p50 {:.1} ms, p99 {:.1} ms; generator late by p99 {:.1} ms",
            self.latency_ms.p50, self.latency_ms.p99, self.lag_ms.p99
        )?;
        writeln!(
            f,
            "bad version: {} requests, {} of {} users, exposed for {:.1} s",
            self.bad_version_requests, self.bad_version_users, self.users, self.exposed_s
        )
    }
}

/// Counts visits.
#[derive(Debug)]
pub(super) struct Tally {
    began_at_ms: u64,
    names: Vec<String>,
    routes: Vec<RouteCounts>,
    bad_versions: Vec<BadVersion>,
    failures: BTreeMap<Failure, u64>,
    per_second: PerSecond,
    users: BTreeSet<u32>,
    bad_requests: u64,
    bad_users: BTreeSet<u32>,
    exposed: Option<(Duration, Duration)>,
    latency: Histogram<u64>,
    lag: Histogram<u64>,
    max_lag_ms: f64,
}

impl Tally {
    pub(super) fn new(
        routes: &RouteWeights,
        bad_versions: &[BadVersion],
        max_lag_ms: f64,
    ) -> anyhow::Result<Self> {
        let names: Vec<String> = routes.names().map(str::to_owned).collect();
        let began_at = SystemTime::now().duration_since(UNIX_EPOCH);
        Ok(Self {
            began_at_ms: began_at.map_or(0, |since| since.as_millis() as u64),
            users: BTreeSet::new(),
            routes: vec![RouteCounts::default(); names.len()],
            names,
            bad_versions: bad_versions.to_vec(),
            failures: BTreeMap::new(),
            per_second: PerSecond::default(),
            bad_requests: 0,
            bad_users: BTreeSet::new(),
            exposed: None,
            latency: Histogram::new_with_max(LATENCY_US_MAX, 3)?,
            lag: Histogram::new_with_max(LATENCY_US_MAX, 3)?,
            max_lag_ms,
        })
    }

    /// Counts one visit.
    pub(super) fn add(&mut self, seen: &Seen) {
        let second = seen.planned.as_secs() as usize;
        if self.per_second.requests.len() <= second {
            self.per_second.requests.resize(second + 1, 0);
            self.per_second.failed.resize(second + 1, 0);
        }
        self.per_second.requests[second] += 1;
        self.users.insert(seen.user);
        let route = &mut self.routes[seen.route];
        route.requests += 1;
        if let Some(failure) = seen.failure {
            route.failed += 1;
            self.per_second.failed[second] += 1;
            *self.failures.entry(failure).or_default() += 1;
        }
        self.latency
            .saturating_record(seen.latency.as_micros() as u64);
        self.lag.saturating_record(seen.lag.as_micros() as u64);
        let is_bad = |(service, version): &(String, String)| {
            self.bad_versions
                .iter()
                .any(|bad| bad.service == *service && bad.version == *version)
        };
        if seen.versions.iter().any(is_bad) {
            self.bad_requests += 1;
            self.bad_users.insert(seen.user);
            let (first, last) = self.exposed.unwrap_or((seen.ended, seen.ended));
            self.exposed = Some((first.min(seen.ended), last.max(seen.ended)));
        }
    }

    /// The report so far.
    pub(super) fn report(&self, elapsed: Duration, finished: bool) -> Report {
        let lag_ms = Quantiles::of(&self.lag);
        let seconds = self.per_second.requests.iter();
        let outage = seconds
            .zip(&self.per_second.failed)
            .filter(|(requests, failed)| f64::from(**failed) > OUTAGE_SHARE * f64::from(**requests))
            .count();
        let mut void = Vec::new();
        if lag_ms.p99 > self.max_lag_ms {
            void.push(format!(
                "the generator was late: p99 {:.1} ms, limit {} ms",
                lag_ms.p99, self.max_lag_ms
            ));
        }
        if let Some(count) = self.failures.get(&Failure::NotSent) {
            void.push(format!("the generator had no room for {count} requests"));
        }
        Report {
            finished,
            void,
            began_at_ms: self.began_at_ms,
            elapsed_s: elapsed.as_secs_f64(),
            requests: self.routes.iter().map(|route| route.requests).sum(),
            failed: self.routes.iter().map(|route| route.failed).sum(),
            failures: self.failures.clone(),
            routes: self
                .names
                .iter()
                .cloned()
                .zip(self.routes.iter().cloned())
                .collect(),
            per_second: self.per_second.clone(),
            users: self.users.len() as u64,
            bad_version_requests: self.bad_requests,
            bad_version_users: self.bad_users.len() as u64,
            first_bad_version_s: self.exposed.map(|(first, _)| first.as_secs_f64()),
            exposed_s: self.exposed.map_or(0.0, |(first, last)| {
                last.saturating_sub(first).as_secs_f64()
            }),
            outage_s: outage as u64,
            latency_ms: Quantiles::of(&self.latency),
            lag_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(planned_ms: u64, user: u32, failure: Option<Failure>, version: &str) -> Seen {
        let planned = Duration::from_millis(planned_ms);
        let latency = Duration::from_millis(10);
        Seen {
            route: 0,
            user,
            planned,
            ended: planned + latency,
            latency,
            lag: Duration::ZERO,
            failure,
            versions: vec![("feed".into(), version.into())],
        }
    }

    fn tally() -> Tally {
        let bad = ["feed=2".parse().unwrap()];
        Tally::new(&"/feed/home".parse().unwrap(), &bad, 20.0).unwrap()
    }

    #[test]
    fn only_seconds_with_more_than_half_failed_are_an_outage() {
        let mut tally = tally();
        for (planned_ms, failure) in [
            (100, Some(Failure::Status)),
            (200, None),
            (1_100, Some(Failure::Deadline)),
            (1_200, Some(Failure::Status)),
            (1_300, None),
            (3_000, None),
        ] {
            tally.add(&seen(planned_ms, 1, failure, "1"));
        }
        let report = tally.report(Duration::from_secs(4), true);
        assert_eq!((report.requests, report.failed, report.outage_s), (6, 3, 1));
        assert_eq!(report.per_second.requests, [2, 3, 0, 1]);
        assert_eq!(report.per_second.failed, [1, 2, 0, 0]);
        assert_eq!(report.bad_version_requests, 0);
    }

    #[test]
    fn exposure_counts_distinct_users_from_first_to_last_response() {
        let mut tally = tally();
        for (planned_ms, user) in [(500, 1), (1_500, 2), (2_000, 1)] {
            tally.add(&seen(planned_ms, user, None, "2"));
        }
        tally.add(&seen(3_000, 3, None, "1"));
        let report = tally.report(Duration::from_secs(4), true);
        assert_eq!(report.bad_version_requests, 3);
        assert_eq!(report.bad_version_users, 2);
        assert_eq!(report.users, 3);
        assert_eq!(report.first_bad_version_s, Some(0.51));
        assert!((report.exposed_s - 1.5).abs() < 1e-9);
    }

    #[test]
    fn a_late_or_crowded_generator_voids_the_run() {
        let mut tally = tally();
        tally.add(&seen(0, 1, None, "1"));
        assert!(tally.report(Duration::ZERO, true).void.is_empty());
        let mut late = seen(0, 1, Some(Failure::NotSent), "1");
        late.lag = Duration::from_millis(50);
        tally.add(&late);
        assert_eq!(tally.report(Duration::ZERO, true).void.len(), 2);
    }
}
