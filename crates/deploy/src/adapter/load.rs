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
    FabricName, Finding, ServiceName, Time, Version, catalog::ServiceSpec, ports::Growth,
};

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

    pub(super) fn hold(&mut self, seen: &Seen) {
        for (service, backends) in seen.fabrics.values().flat_map(|fabric| &fabric.backends) {
            for backend in backends {
                let Some(version) = &backend.seen_version else {
                    continue;
                };
                let all = backend.goodput_rps + backend.bad_rps;
                if all > 0.0 && backend.bad_rps <= ERRORS_MAX * all {
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
            let mut loads = lock(&self.0.loads);
            if let Some(offered) = offered {
                loads.offered(offered.value());
            }
            loads.hold(&seen);
        }
    }
}
