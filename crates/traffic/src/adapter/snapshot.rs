//! A route table in force, with the cells of what it names and of what it named until lately.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

use mainstay_core::{InstanceName, ServiceName, Version};
use mainstay_wire::{
    Generation,
    router::{Backend, RouteTable, ServiceRoutes},
};

use super::{
    series::Series,
    state::{BackendCell, Service, ServiceCell, lock},
};

/// How long counters of what left the table are still shown.
pub(crate) const DEPARTED_FOR_MS: u64 = 300_000;
/// Departed backends that are remembered; beyond it the one that left first is forgotten.
const DEPARTED_MAX: usize = 2_000;

/// A backend that left the table.
#[derive(Clone)]
pub(crate) struct Departed {
    pub(crate) service: ServiceName,
    pub(crate) owner: Arc<ServiceCell>,
    pub(crate) cell: Arc<BackendCell>,
    pub(crate) at_ms: u64,
}

type Labels = (ServiceName, InstanceName, Version);

/// The cells to go on with when a table is replaced.
#[derive(Default)]
struct Known {
    owners: BTreeMap<ServiceName, Arc<ServiceCell>>,
    cells: BTreeMap<(ServiceName, InstanceName), Vec<Arc<BackendCell>>>,
    series: BTreeMap<Labels, Arc<Mutex<Series>>>,
}

impl Known {
    fn add(&mut self, service: &ServiceName, owner: &Arc<ServiceCell>, cell: &Arc<BackendCell>) {
        let instance = &cell.spec.instance;
        let labels = (service.clone(), instance.clone(), cell.spec.version.clone());
        self.series.insert(labels, Arc::clone(&cell.series));
        self.owners.insert(service.clone(), Arc::clone(owner));
        self.cells
            .entry((service.clone(), instance.clone()))
            .or_default()
            .push(Arc::clone(cell));
    }

    /// The cell of this incarnation; a new one goes on with the counters of the one before.
    fn cell(&mut self, routes: &ServiceRoutes, spec: &Backend) -> Arc<BackendCell> {
        let name = &routes.service;
        let known = self.cells.get(&(name.clone(), spec.instance.clone()));
        let same = known.and_then(|cells| cells.iter().find(|c| c.is_same(spec)));
        let cell = same.cloned().unwrap_or_else(|| {
            let labels = (name.clone(), spec.instance.clone(), spec.version.clone());
            let series = Arc::clone(self.series.entry(labels).or_default());
            let timeout = routes.timeout.millis();
            Arc::new(BackendCell::new(spec.clone(), timeout, series))
        });
        cell.retire(spec.draining);
        lock(&cell.tally)
            .health
            .set_timeout(routes.timeout.millis());
        cell
    }
}

#[derive(Default)]
pub(crate) struct Snapshot {
    pub(crate) generation: Generation,
    pub(crate) protected: bool,
    /// Longest prefix first.
    pub(crate) services: Vec<Service>,
    pub(crate) departed: Vec<Departed>,
    /// First segment of a path to the services whose prefix holds that segment whole.
    by_segment: HashMap<Box<str>, Vec<usize>>,
    /// Services whose prefix ends within the first segment.
    loose: Vec<usize>,
}

fn first_segment(path: &str) -> Option<&str> {
    path.strip_prefix('/')?
        .split_once('/')
        .map(|(first, _)| first)
}

impl Snapshot {
    /// The place of the service with the longest prefix of `path`.
    pub(crate) fn find(&self, path: &str) -> Option<usize> {
        let fits = |index: &&usize| path.starts_with(&self.services[**index].routes.prefix);
        let exact =
            first_segment(path).and_then(|segment| self.by_segment.get(segment)?.iter().find(fits));
        // A loose prefix is shorter than any that holds the whole segment.
        exact.or_else(|| self.loose.iter().find(fits)).copied()
    }

    /// The snapshot for `table`, with the cells of this one that it still means.
    pub(crate) fn next(&self, table: RouteTable, now_ms: u64) -> Self {
        let mut known = Known::default();
        for gone in &self.departed {
            known.add(&gone.service, &gone.owner, &gone.cell);
        }
        for service in &self.services {
            let name = &service.routes.service;
            known.owners.insert(name.clone(), Arc::clone(&service.cell));
            for cell in &service.backends {
                known.add(name, &service.cell, cell);
            }
        }
        let old: BTreeMap<&ServiceName, &Service> = self
            .services
            .iter()
            .map(|s| (&s.routes.service, s))
            .collect();
        let mut services: Vec<Service> = Vec::with_capacity(table.services.len());
        for routes in table.services {
            let before = old.get(&routes.service);
            let slots = match before {
                Some(before) if before.routes.weights == routes.weights => {
                    Arc::clone(&before.slots)
                }
                Some(before) => Arc::new(before.slots.update(&routes.weights)),
                None => Arc::new(crate::SlotTable::default().update(&routes.weights)),
            };
            let backends = routes
                .backends
                .iter()
                .map(|spec| known.cell(&routes, spec))
                .collect();
            let owner = known.owners.entry(routes.service.clone()).or_default();
            let owner = Arc::clone(owner);
            services.push(Service::new(routes, slots, backends, owner));
        }
        services.sort_by_key(|s| std::cmp::Reverse(s.routes.prefix.len()));
        let departed = self.departures(&services, now_ms);
        let mut next = Self {
            generation: table.generation,
            protected: table.protected,
            services,
            departed,
            by_segment: HashMap::new(),
            loose: Vec::new(),
        };
        next.index();
        next
    }

    fn index(&mut self) {
        for (index, service) in self.services.iter().enumerate() {
            match first_segment(&service.routes.prefix) {
                Some(segment) => self
                    .by_segment
                    .entry(segment.into())
                    .or_default()
                    .push(index),
                None => self.loose.push(index),
            }
        }
    }

    /// What `services` no longer name, the longest gone first.
    fn departures(&self, services: &[Service], now_ms: u64) -> Vec<Departed> {
        let named: std::collections::BTreeSet<*const BackendCell> = services
            .iter()
            .flat_map(|s| s.backends.iter().map(Arc::as_ptr))
            .collect();
        let stays = |cell: &Arc<BackendCell>| named.contains(&Arc::as_ptr(cell));
        let mut departed: Vec<Departed> = self
            .departed
            .iter()
            .filter(|gone| gone.at_ms + DEPARTED_FOR_MS > now_ms && !stays(&gone.cell))
            .cloned()
            .collect();
        for service in &self.services {
            for cell in service.backends.iter().filter(|cell| !stays(cell)) {
                cell.retire(true);
                departed.push(Departed {
                    service: service.routes.service.clone(),
                    owner: Arc::clone(&service.cell),
                    cell: Arc::clone(cell),
                    at_ms: now_ms,
                });
            }
        }
        let surplus = departed.len().saturating_sub(DEPARTED_MAX);
        departed.drain(..surplus);
        departed
    }

    /// Connections that one service may hold, over those of all, as held now; `None` where there is
    /// only one service, which hoards from nobody.
    pub(crate) fn hoarder(&self, pool: u32) -> Option<&ServiceName> {
        let most = self
            .services
            .iter()
            .filter(|_| self.services.len() > 1)
            .max_by(|a, b| {
                self.share_held(a, pool)
                    .total_cmp(&self.share_held(b, pool))
            })?;
        (self.share_held(most, pool) > 0.5).then_some(&most.routes.service)
    }

    /// Share of what the router can hold that `service` holds; `pool` is what all share while the
    /// protections are off.
    pub(crate) fn share_held(&self, service: &Service, pool: u32) -> f64 {
        let (held, all) = if self.protected {
            let bulkheads = self.services.iter();
            let all: u64 = bulkheads
                .map(|s| u64::from(s.routes.bulkhead.connections))
                .sum();
            (service.cell.connections.held(), all)
        } else {
            (service.cell.in_flight.held(), u64::from(pool))
        };
        f64::from(held) / (all.max(1) as f64)
    }
}
