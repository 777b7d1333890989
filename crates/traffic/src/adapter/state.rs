//! What outlives a route table: a cell a service and a cell an incarnation.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use http_body_util::{Either, Empty};
use hyper::{body::Incoming, client::conn::http1::SendRequest};
use mainstay_core::Version;
use mainstay_wire::{
    Generation,
    router::{Backend, ServiceRoutes},
};
use std::sync::Arc;

use crate::{BackendHealth, Compartment, Permit, RetryBudget, SlotTable};

pub(crate) type UpstreamBody = Either<Incoming, Empty<Bytes>>;

/// A poisoned lock holds counters that are still whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) struct Upstream {
    pub(crate) sender: SendRequest<UpstreamBody>,
    pub(crate) _permit: Option<Permit>,
}

/// Upper bounds of the latency histogram, in milliseconds.
pub(crate) const BUCKETS_MS: [u64; 16] = [
    1, 2, 3, 5, 7, 10, 20, 35, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000,
];

#[derive(Default)]
pub(crate) struct Series {
    pub(crate) codes: Mutex<BTreeMap<(String, u16), u64>>,
    pub(crate) buckets: [AtomicU64; 16],
    pub(crate) count: AtomicU64,
    pub(crate) sum_ms: AtomicU64,
}

pub(crate) struct BackendCell {
    pub(crate) spec: Backend,
    pub(crate) health: Mutex<BackendHealth>,
    /// Requests under way: sequence to start, so that the first is the oldest.
    pub(crate) under_way: Mutex<BTreeMap<u64, u64>>,
    pub(crate) in_flight: AtomicU32,
    pub(crate) idle: Mutex<Vec<Upstream>>,
    pub(crate) share_permille: AtomicU32,
    pub(crate) seen_version: Mutex<Option<Version>>,
    pub(crate) series: Series,
}

impl BackendCell {
    pub(crate) fn new(spec: Backend, timeout_ms: u64) -> Self {
        Self {
            spec,
            health: Mutex::new(BackendHealth::new(timeout_ms)),
            under_way: Mutex::default(),
            in_flight: AtomicU32::new(0),
            idle: Mutex::default(),
            share_permille: AtomicU32::new(1_000),
            seen_version: Mutex::default(),
            series: Series::default(),
        }
    }

    pub(crate) fn oldest_ms(&self, now_ms: u64) -> u64 {
        lock(&self.under_way)
            .values()
            .next()
            .map_or(0, |start| now_ms.saturating_sub(*start))
    }

    pub(crate) fn is_same(&self, spec: &Backend) -> bool {
        (
            &self.spec.instance,
            self.spec.incarnation,
            &self.spec.version,
            &self.spec.address,
        ) == (
            &spec.instance,
            spec.incarnation,
            &spec.version,
            &spec.address,
        )
    }
}

#[derive(Default)]
pub(crate) struct ServiceCell {
    pub(crate) offered: AtomicU64,
    pub(crate) retried: AtomicU64,
    pub(crate) fallback: AtomicU64,
    pub(crate) rejects: Mutex<BTreeMap<&'static str, u64>>,
    pub(crate) in_flight: Compartment,
    pub(crate) connections: Compartment,
    pub(crate) retry: Mutex<RetryBudget>,
    pub(crate) shed: AtomicU32,
    pub(crate) mass: AtomicBool,
}

impl ServiceCell {
    pub(crate) fn reject(&self, reason: &'static str) {
        *lock(&self.rejects).entry(reason).or_default() += 1;
    }
}

pub(crate) struct Service {
    pub(crate) routes: ServiceRoutes,
    pub(crate) slots: SlotTable,
    pub(crate) backends: Vec<Arc<BackendCell>>,
    pub(crate) cell: Arc<ServiceCell>,
}

#[derive(Default)]
pub(crate) struct Snapshot {
    pub(crate) generation: Generation,
    pub(crate) protected: bool,
    /// Longest prefix first.
    pub(crate) services: Vec<Service>,
}

impl Snapshot {
    pub(crate) fn service(&self, path: &str) -> Option<&Service> {
        self.services
            .iter()
            .find(|s| path.starts_with(&s.routes.prefix))
    }

    /// The snapshot for `table`, with the cells of this one that it still means.
    pub(crate) fn next(&self, table: mainstay_wire::router::RouteTable) -> Self {
        let mut services: Vec<Service> = table
            .services
            .into_iter()
            .map(|routes| {
                let old = self
                    .services
                    .iter()
                    .find(|s| s.routes.service == routes.service);
                let backends = routes
                    .backends
                    .iter()
                    .map(|spec| {
                        old.and_then(|s| s.backends.iter().find(|c| c.is_same(spec)).cloned())
                            .unwrap_or_else(|| {
                                Arc::new(BackendCell::new(spec.clone(), routes.timeout.millis()))
                            })
                    })
                    .collect();
                let slots = old.map(|s| s.slots.clone()).unwrap_or_default();
                Service {
                    slots: slots.update(&routes.weights),
                    cell: old.map(|s| Arc::clone(&s.cell)).unwrap_or_default(),
                    backends,
                    routes,
                }
            })
            .collect();
        services.sort_by_key(|s| std::cmp::Reverse(s.routes.prefix.len()));
        for service in &services {
            for cell in &service.backends {
                lock(&cell.health).set_timeout(service.routes.timeout.millis());
            }
        }
        Self {
            generation: table.generation,
            protected: table.protected,
            services,
        }
    }
}

impl Service {
    /// The backend for a hashed unit, and whether its version had to be left for another.
    pub(crate) fn choose(&self, hash: u64, random: u64) -> Option<(Arc<BackendCell>, bool)> {
        let wanted = self.slots.version(hash)?;
        let of = |version: &Version| {
            let candidates: Vec<crate::Candidate> = self
                .routes
                .backends
                .iter()
                .zip(&self.backends)
                .map(|(spec, cell)| crate::Candidate {
                    in_flight: cell.in_flight.load(Ordering::Relaxed),
                    share: if spec.draining || spec.version != *version {
                        0.0
                    } else {
                        spec.share * f64::from(cell.share_permille.load(Ordering::Relaxed))
                            / 1_000.0
                    },
                })
                .collect();
            crate::pick(&candidates, random).map(|i| Arc::clone(&self.backends[i]))
        };
        if let Some(cell) = of(wanted) {
            return Some((cell, false));
        }
        let mut others = self
            .routes
            .weights
            .iter()
            .filter(|(v, w)| **w > 0 && *v != wanted);
        others.find_map(|(v, _)| of(v)).map(|cell| (cell, true))
    }
}
