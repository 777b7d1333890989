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
        cell.order(spec);
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

    /// The service that holds more than half of what the router holds, and at least half of what it may:
    /// most of very little is nothing. `None` where there is only one service, which hoards from nobody.
    pub(crate) fn hoarder(&self, pool: u32) -> Option<&ServiceName> {
        let hoards = |service: &&Service| {
            let (held, may) = if self.protected {
                let may = service.routes.bulkhead.connections;
                (service.cell.connections.held(), may)
            } else {
                (service.cell.in_flight.held(), pool)
            };
            self.share_held(service) > 0.5 && held >= may / 2
        };
        let services = (self.services.len() > 1).then_some(&self.services)?;
        services.iter().find(hoards).map(|s| &s.routes.service)
    }

    /// The part of `service` in what all services hold now: connections, or places in the shared pool
    /// while the protections are off.
    pub(crate) fn share_held(&self, service: &Service) -> f64 {
        let held = |service: &Service| {
            let cell = &service.cell;
            let compartment = if self.protected {
                &cell.connections
            } else {
                &cell.in_flight
            };
            f64::from(compartment.held())
        };
        held(service) / self.services.iter().map(held).sum::<f64>().max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_core::{Span, catalog::Bulkhead};

    fn table(services: &[&str], instances: usize) -> RouteTable {
        let version = Version::new("v1").unwrap();
        let backend = |i| Backend {
            instance: InstanceName::new(format!("i-{i}")).unwrap(),
            incarnation: 1,
            version: version.clone(),
            address: "127.0.0.1:1".to_owned(),
            draining: false,
            share: 1.0,
            capacity_rps: None,
            limit: None,
        };
        let routes = |prefix: &&str| ServiceRoutes {
            service: ServiceName::new(format!("s{}", prefix.replace('/', "-").len())).unwrap(),
            prefix: (*prefix).to_owned(),
            timeout: Span::from_secs(1),
            health: "/healthz".to_owned(),
            bulkhead: Bulkhead {
                connections: 10,
                in_flight: 10,
            },
            slo: None,
            weights: BTreeMap::from([(version.clone(), 10_000)]),
            backends: (0..instances).map(backend).collect(),
            shed: 0,
            client_version_header: "x-client-version".to_owned(),
            probes: Vec::new(),
            probing: None,
        };
        RouteTable {
            services: services.iter().map(routes).collect(),
            protected: true,
            ..RouteTable::default()
        }
    }

    #[test]
    fn the_longest_prefix_wins_wherever_it_ends() {
        let prefixes = ["/", "/ap", "/api/", "/api/v2/", "/other/"];
        let snapshot = Snapshot::default().next(table(&prefixes, 0), 0);
        for (path, prefix) in [
            ("/api/v2/x", "/api/v2/"),
            ("/api/v1/x", "/api/"),
            ("/api", "/ap"),
            ("/apx/y", "/ap"),
            ("/zzz/y", "/"),
            ("/", "/"),
        ] {
            let found = snapshot.find(path).unwrap();
            assert_eq!(snapshot.services[found].routes.prefix, prefix, "{path}");
        }
        assert_eq!(snapshot.find("*"), None);
    }

    #[test]
    fn the_departed_are_remembered_for_five_minutes_and_not_without_bound() {
        let full = Snapshot::default().next(table(&["/a/"], 3), 0);
        let cell = Arc::clone(&full.services[0].backends[2]);
        let fewer = full.next(table(&["/a/"], 1), 1_000);
        assert_eq!(fewer.departed.len(), 2);
        assert!(cell.is_retired());
        // One that returns is the same as before, and is not departed any more.
        let back = fewer.next(table(&["/a/"], 3), 2_000);
        assert!(Arc::ptr_eq(&back.services[0].backends[2], &cell));
        assert!(back.departed.is_empty() && !cell.is_retired());
        let gone = back.next(RouteTable::default(), 3_000);
        let later = gone.next(RouteTable::default(), 3_000 + DEPARTED_FOR_MS - 1);
        assert_eq!(later.departed.len(), 3);
        let forgotten = gone.next(RouteTable::default(), 3_000 + DEPARTED_FOR_MS);
        assert!(forgotten.departed.is_empty());
        let many = Snapshot::default().next(table(&["/a/"], DEPARTED_MAX + 50), 0);
        let none = many.next(RouteTable::default(), 1);
        assert_eq!(none.departed.len(), DEPARTED_MAX);
    }

    #[test]
    fn a_service_with_most_of_what_is_held_hoards_unless_that_is_little() {
        let snapshot = Snapshot::default().next(table(&["/a/", "/bb/"], 0), 0);
        let (one, other) = (&snapshot.services[0], &snapshot.services[1]);
        let enter = |service: &Service| service.cell.connections.enter(100).unwrap();
        let _other = enter(other);
        let mut held: Vec<_> = (0..4).map(|_| enter(one)).collect();
        assert!((snapshot.share_held(one) - 0.8).abs() < 1e-9);
        assert_eq!(snapshot.hoarder(256), None, "4 of the 10 that it may hold");
        held.push(enter(one));
        assert_eq!(snapshot.hoarder(256), Some(&one.routes.service));
        let _more: Vec<_> = (0..4).map(|_| enter(other)).collect();
        assert_eq!(snapshot.hoarder(256), None, "5 of 10");
    }
}
