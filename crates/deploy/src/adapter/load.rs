//! How much each service is asked for, and how much its instances carry.
//!
//! Guarantees: demand counts first attempts, not retries; its upper bound is three standard deviations of a
//! Poisson count above the highest rate of the last minute. What an instance carries is declared by a load
//! test, else found by a limit test of its version, else the most it was seen to answer within its service's
//! objective. A person who declares an emergency may state either for an hour: the arithmetic is then done on that,
//! and says so.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use mainstay_change::Declared;
use mainstay_core::{
    FabricName, Finding, ServiceName, Time, Version,
    catalog::{ServiceSpec, Slo},
    ports::Growth,
};
use mainstay_wire::router::BackendReport;

use super::{Engine, lock};
use crate::{model::AllTested, site::Seen};

/// How often demand is measured.
const EVERY: Duration = Duration::from_secs(1);
/// Seconds over which a rate is taken.
pub(super) const RATE_SECS: i64 = 5;
/// Rates below which nothing is said of the most that is asked for: users who come back after a gap do not
/// come all in its first seconds.
pub(super) const RATES_MIN: usize = 8;
/// Rates remembered: a minute of them.
const RATES_MAX: usize = 60;
/// Share of bad answers above which what an instance answers is not within an objective, where none is
/// declared.
const ERRORS_MAX: f64 = 0.01;

/// Demand and capacity of all services.
#[derive(Debug, Default)]
pub(super) struct Loads {
    demand: BTreeMap<(ServiceName, FabricName), VecDeque<f64>>,
    held: BTreeMap<(ServiceName, Version), f64>,
}

impl Loads {
    /// Upper bound of first attempts per second; none before it was measured for a while.
    pub(super) fn demand_upper(&self, service: &ServiceName, fabric: &FabricName) -> Option<f64> {
        let rates = self.demand.get(&(service.clone(), fabric.clone()))?;
        if rates.len() < RATES_MIN {
            return None;
        }
        let highest = rates.iter().copied().fold(0.0, f64::max);
        let seconds = RATE_SECS as f64;
        Some(highest + 3.0 * (highest * seconds).sqrt() / seconds)
    }

    /// First attempts per second, as measured last.
    pub(super) fn demand(&self, service: &ServiceName, fabric: &FabricName) -> Option<f64> {
        let rates = self.demand.get(&(service.clone(), fabric.clone()))?;
        rates.back().copied()
    }

    /// Requests per second that one instance of each version of `service` carries, at least.
    pub(super) fn carries(
        &self,
        service: &ServiceName,
        spec: &ServiceSpec,
        tested: &AllTested,
        versions: impl IntoIterator<Item = Version>,
    ) -> BTreeMap<Version, f64> {
        versions
            .into_iter()
            .filter_map(|version| {
                let key = (service.clone(), version);
                let found = tested.get(&key).map(|it| it.rps);
                let held = self.held.get(&key).copied();
                Some((key.1, spec.capacity_rps.or(found).or(held)?))
            })
            .collect()
    }

    /// Capacities declared or measured, for the routers' own bounds.
    pub(super) fn capacities(
        &self,
        services: &BTreeMap<ServiceName, ServiceSpec>,
    ) -> BTreeMap<(ServiceName, Version), f64> {
        let declared = |service: &ServiceName| services.get(service)?.capacity_rps;
        // A bound that only follows the load would have routers keep what they should eject.
        self.held
            .keys()
            .filter_map(|key| Some((key.clone(), declared(&key.0)?)))
            .collect()
    }

    pub(super) fn offered(&mut self, growth: &Growth) {
        let mut rates: BTreeMap<(ServiceName, FabricName), f64> = BTreeMap::new();
        for series in &growth.series {
            let label = |name: &str| series.labels.get(name);
            let service = label("service").and_then(|it| ServiceName::new(it).ok());
            let fabric = label("fabric").and_then(|it| FabricName::new(it).ok());
            if let (Some(service), Some(fabric)) = (service, fabric) {
                *rates.entry((service, fabric)).or_default() += series.by as f64;
            }
        }
        for (key, count) in rates {
            let of = self.demand.entry(key).or_default();
            of.push_back(count / RATE_SECS as f64);
            if of.len() > RATES_MAX {
                of.pop_front();
            }
        }
    }

    /// Remembers what was answered within the objectives of `services`.
    pub(super) fn hold(&mut self, seen: &Seen, services: &BTreeMap<ServiceName, ServiceSpec>) {
        for (service, backends) in seen.fabrics.values().flat_map(|fabric| &fabric.backends) {
            let slo = services.get(service).and_then(|spec| spec.slo);
            for backend in backends {
                let Some(version) = &backend.seen_version else {
                    continue;
                };
                if within(slo, backend) {
                    let held = self
                        .held
                        .entry((service.clone(), version.clone()))
                        .or_default();
                    *held = held.max(backend.goodput_rps);
                }
            }
        }
    }
}

/// Whether what an instance answers is within the objective; never where nothing was answered, or where nobody measured
/// how long it took and the objective asks.
fn within(slo: Option<Slo>, backend: &BackendReport) -> bool {
    let all = backend.goodput_rps + backend.bad_rps;
    let errors_max = slo.map_or(ERRORS_MAX, |slo| slo.error_ratio.fraction());
    let in_time = slo.is_none_or(|slo| {
        let limit_ms = slo.latency_p99.millis() as f64;
        backend.p99_ms.is_some_and(|p99_ms| p99_ms <= limit_ms)
    });
    all > 0.0 && backend.bad_rps <= errors_max * all && in_time
}

/// What capacity is counted with: what is measured, or what a person states in its place in an emergency.
#[derive(Clone, Copy)]
pub(super) struct Figures<'a> {
    loads: &'a Loads,
    emergency: Option<&'a Declared>,
    now: Time,
}

impl<'a> Figures<'a> {
    pub(super) fn new(loads: &'a Loads, emergency: Option<&'a Declared>, now: Time) -> Self {
        Self {
            loads,
            emergency,
            now,
        }
    }

    /// Upper bound of first attempts per second; none where it was neither stated nor measured for a while.
    pub(super) fn demand_upper(self, service: &ServiceName, fabric: &FabricName) -> Option<f64> {
        let stated = self.emergency.and_then(|it| it.demand_rps(self.now));
        stated.or_else(|| self.loads.demand_upper(service, fabric))
    }

    /// First attempts per second, as measured last.
    pub(super) fn demand(self, service: &ServiceName, fabric: &FabricName) -> Option<f64> {
        self.loads.demand(service, fabric)
    }

    /// Requests per second that one instance of each version of `service` carries, at least.
    pub(super) fn carries(
        self,
        service: &ServiceName,
        spec: &ServiceSpec,
        tested: &AllTested,
        versions: impl IntoIterator<Item = Version>,
    ) -> BTreeMap<Version, f64> {
        match self.emergency.and_then(|it| it.capacity_rps(self.now)) {
            Some(rps) => versions.into_iter().map(|it| (it, rps)).collect(),
            None => self.loads.carries(service, spec, tested, versions),
        }
    }

    /// What is stated in place of what is measured, if anything is: it stands beside every verdict.
    pub(super) fn stated(self) -> Option<Finding> {
        self.emergency.and_then(|it| it.stated(self.now))
    }
}

impl Engine {
    pub(super) async fn keep_measuring(self) {
        let mut beat = tokio::time::interval(EVERY);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            let now = self.now();
            let from = Time::from_millis(now.millis() - RATE_SECS * 1_000);
            let selector = "mainstay_router_offered_total";
            let offered = self.0.ports.signals.counts(selector, from, now).await;
            let seen = self.0.ports.site.seen();
            let model = self.model();
            let mut loads = lock(&self.0.loads);
            if let Some(offered) = offered {
                loads.offered(offered.value());
            }
            loads.hold(&seen, &model.services);
        }
    }
}

#[cfg(test)]
mod tests {
    use mainstay_core::{Percent, Span};
    use mainstay_wire::router::{ClaimedHealth, HealthVerdict, MeasuredHealth};

    use super::*;

    #[test]
    fn what_an_instance_carries_is_what_it_answers_within_the_objective() {
        let answers = |goodput_rps, bad_rps, p99_ms| BackendReport {
            instance: "shop-lax-1".parse().unwrap(),
            incarnation: 0,
            seen_version: None,
            claimed: ClaimedHealth::Ok,
            measured: MeasuredHealth::Good,
            verdict: HealthVerdict::Healthy,
            evidence: String::new(),
            in_rotation: true,
            in_flight: 0,
            oldest_in_flight: Span::ZERO,
            goodput_rps,
            bad_rps,
            recent_rps: 0.0,
            p99_ms,
            limit_broken: false,
        };
        let slo = Some(Slo {
            error_ratio: Percent::new(5.0).unwrap(),
            latency_p99: Span::from_millis(200),
        });
        let cases = [
            (None, answers(99.0, 1.0, None), true),
            (None, answers(98.0, 2.0, None), false),
            (None, answers(0.0, 0.0, None), false),
            (slo, answers(95.0, 5.0, Some(200.0)), true),
            (slo, answers(94.0, 6.0, Some(20.0)), false),
            (slo, answers(100.0, 0.0, Some(201.0)), false),
            (slo, answers(100.0, 0.0, None), false),
        ];
        for (slo, answered, wanted) in cases {
            assert_eq!(within(slo, &answered), wanted, "{slo:?} {answered:?}");
        }
    }
}
