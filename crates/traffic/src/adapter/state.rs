//! What outlives a route table: a cell a service and a cell an incarnation.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use mainstay_core::Version;
use mainstay_wire::router::{Backend, ServiceRoutes};

use super::{
    recent::{Guard, Recent},
    series::Series,
    upstream::Upstream,
};
use crate::{
    BackendHealth, Candidate, Compartment, Outcome, RetryBudget, SlotTable, balance::pick_by,
    clients::Clients,
};

/// A poisoned lock holds counters that are still whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is known of one incarnation.
pub(crate) struct Tally {
    pub(crate) health: BackendHealth,
    /// Requests that it has not answered yet: sequence to start, so that the first is the oldest.
    pub(crate) under_way: BTreeMap<u64, u64>,
    pub(crate) seen_version: Option<Version>,
    /// What ended in the last two seconds.
    pub(crate) recent: Recent,
    /// What it was ordered to get, and what ends that.
    guard: Guard,
    /// Whether a user was answered since the last health check.
    user_saw: bool,
}

impl Tally {
    pub(crate) fn oldest_ms(&self, now_us: u64) -> u64 {
        let oldest = self.under_way.values().next();
        oldest.map_or(0, |start| now_us.saturating_sub(*start) / 1_000)
    }

    /// Counts a request that ended.
    pub(crate) fn ended(&mut self, now_us: u64, took_us: u64, outcome: Outcome) {
        let slow = self.guard.is_slow(took_us);
        self.recent
            .ended(now_us, took_us, outcome != Outcome::Good, slow);
    }

    /// Takes note of the version that an answer to a user names.
    pub(crate) fn user_saw(&mut self, headers: &http::HeaderMap) {
        self.user_saw = true;
        self.saw(headers);
    }

    /// Takes note of the version that a health check names, unless users know better.
    pub(crate) fn check_saw(&mut self, headers: &http::HeaderMap) {
        if !std::mem::take(&mut self.user_saw) {
            self.saw(headers);
        }
    }

    fn saw(&mut self, headers: &http::HeaderMap) {
        let Some(text) = headers
            .get("x-service-version")
            .and_then(|v| v.to_str().ok())
        else {
            return;
        };
        if self.seen_version.as_ref().map(Version::as_str) != Some(text)
            && let Ok(version) = Version::new(text)
        {
            self.seen_version = Some(version);
        }
    }
}

pub(crate) struct BackendCell {
    pub(crate) spec: Backend,
    pub(crate) tally: Mutex<Tally>,
    pub(crate) series: Arc<Mutex<Series>>,
    pub(crate) in_flight: AtomicU32,
    pub(crate) share_permille: AtomicU32,
    /// Its limit broke: no more than a full share, until another share is ordered.
    broken: AtomicBool,
    /// Kept connections, oldest first; each holds a place in the service's bulkhead.
    #[expect(
        clippy::vec_box,
        reason = "a connection moves with each request, and a pointer moves cheaper"
    )]
    idle: Mutex<Vec<Box<Upstream>>>,
    /// The connection of its health checks, which is no user's.
    pub(crate) check: Mutex<Option<Box<Upstream>>>,
    pub(crate) checking: AtomicBool,
    /// Draining or gone: nothing is kept open to it.
    retired: AtomicBool,
}

impl BackendCell {
    pub(crate) fn new(spec: Backend, timeout_ms: u64, series: Arc<Mutex<Series>>) -> Self {
        Self {
            tally: Mutex::new(Tally {
                health: BackendHealth::new(timeout_ms),
                under_way: BTreeMap::new(),
                seen_version: None,
                recent: Recent::default(),
                guard: Guard::new(spec.share, spec.limit),
                user_saw: false,
            }),
            spec,
            series,
            broken: AtomicBool::new(false),
            in_flight: AtomicU32::new(0),
            share_permille: AtomicU32::new(1_000),
            idle: Mutex::default(),
            check: Mutex::default(),
            checking: AtomicBool::new(false),
            retired: AtomicBool::new(false),
        }
    }

    /// Whether `spec` means this incarnation.
    pub(crate) fn is_same(&self, spec: &Backend) -> bool {
        (
            self.spec.incarnation,
            &self.spec.version,
            &self.spec.address,
        ) == (spec.incarnation, &spec.version, &spec.address)
    }

    pub(crate) fn retire(&self, retired: bool) {
        self.retired.store(retired, Ordering::Release);
        if retired {
            lock(&self.idle).clear();
            *lock(&self.check) = None;
        }
    }

    /// Takes the share and the limit of a newer table; another share is a new beginning.
    pub(crate) fn order(&self, spec: &Backend) {
        let mut tally = lock(&self.tally);
        if tally.guard.order(spec.share, spec.limit) {
            self.broken.store(false, Ordering::Release);
        }
    }

    /// Ends a share above a full one where the limit broke.
    pub(crate) fn look(&self, now_us: u64) {
        let tally = lock(&self.tally);
        if tally
            .guard
            .breaks(&tally.recent, tally.under_way.values(), now_us)
        {
            self.broken.store(true, Ordering::Release);
        }
    }

    /// Whether its limit broke.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// The connection kept last, if one is fresh.
    pub(crate) fn take_idle(&self, now_us: u64) -> Option<Box<Upstream>> {
        let upstream = lock(&self.idle).pop()?;
        if upstream.is_fresh(now_us) {
            return Some(upstream);
        }
        // The last one kept is stale, and so are all before it.
        lock(&self.idle).clear();
        None
    }

    /// Closes the connection kept longest.
    pub(crate) fn close_one_idle(&self) -> bool {
        let mut idle = lock(&self.idle);
        let some = !idle.is_empty();
        if some {
            drop(idle.remove(0));
        }
        some
    }

    pub(crate) fn close_stale(&self, now_us: u64) {
        lock(&self.idle).retain(|upstream| upstream.is_fresh(now_us));
    }

    pub(crate) fn keep(&self, mut upstream: Box<Upstream>, now_us: u64) {
        if !self.is_retired() {
            upstream.keep(now_us);
            lock(&self.idle).push(upstream);
        }
    }
}

/// Bytes of a path that is asked again.
const TYPICAL_BYTES_MAX: usize = 512;

#[derive(Default)]
pub(crate) struct ServiceCell {
    pub(crate) offered: AtomicU64,
    pub(crate) retried: AtomicU64,
    pub(crate) fallback: AtomicU64,
    pub(crate) rejects: Mutex<BTreeMap<&'static str, u64>>,
    pub(crate) in_flight: Compartment,
    pub(crate) connections: Compartment,
    /// Requests that wait for the shared pool while the protections are off.
    pub(crate) queued: Compartment,
    /// Probes under way.
    pub(crate) probes: Compartment,
    /// Probes that were due and not sent.
    pub(crate) unprobed: AtomicU64,
    pub(crate) retry: Mutex<RetryBudget>,
    pub(crate) clients: Mutex<Clients>,
    /// A path that was answered well of late.
    typical: Mutex<Option<Box<str>>>,
    /// The second in which it was.
    typical_at: AtomicU64,
    pub(crate) shed: AtomicU32,
    pub(crate) mass: AtomicBool,
}

impl ServiceCell {
    /// A GET of `path` was answered well. One a second is remembered, so that what is asked most is found most; without
    /// its query, which is its user's.
    pub(crate) fn answered_well(&self, path: &str, second: u64) {
        let path = path.split('?').next().unwrap_or(path);
        if self.typical_at.load(Ordering::Relaxed) == second || path.len() > TYPICAL_BYTES_MAX {
            return;
        }
        self.typical_at.store(second, Ordering::Relaxed);
        *lock(&self.typical) = Some(path.into());
    }

    /// What users ask of the service, if any was answered well yet.
    pub(crate) fn typical_path(&self) -> Option<Box<str>> {
        lock(&self.typical).clone()
    }

    pub(crate) fn reject(&self, reason: &'static str) {
        *lock(&self.rejects).entry(reason).or_default() += 1;
    }
}

/// The backends of one version that take new requests.
struct Group {
    version: Version,
    members: Vec<usize>,
    /// The greatest share among them.
    most: f64,
}

pub(crate) struct Service {
    pub(crate) routes: ServiceRoutes,
    pub(crate) slots: Arc<SlotTable>,
    pub(crate) backends: Vec<Arc<BackendCell>>,
    pub(crate) cell: Arc<ServiceCell>,
    groups: Vec<Group>,
}

impl Service {
    pub(crate) fn new(
        routes: ServiceRoutes,
        slots: Arc<SlotTable>,
        backends: Vec<Arc<BackendCell>>,
        cell: Arc<ServiceCell>,
    ) -> Self {
        let mut groups: Vec<Group> = Vec::new();
        for (index, spec) in routes.backends.iter().enumerate() {
            if spec.draining {
                continue;
            }
            let known = groups.iter().position(|g| g.version == spec.version);
            let at = known.unwrap_or_else(|| {
                groups.push(Group {
                    version: spec.version.clone(),
                    members: Vec::new(),
                    most: 0.0,
                });
                groups.len() - 1
            });
            groups[at].members.push(index);
            groups[at].most = groups[at].most.max(spec.share);
        }
        Self {
            routes,
            slots,
            backends,
            cell,
            groups,
        }
    }

    /// The backend for a hashed unit, and whether its version had to be left for another. `avoid` has
    /// just failed: it is chosen only where nobody else of its version can be.
    pub(crate) fn choose(
        &self,
        hash: u64,
        random: u64,
        avoid: Option<&Arc<BackendCell>>,
    ) -> Option<(&Arc<BackendCell>, bool)> {
        let wanted = self.slots.version(hash)?;
        let of = |version: &Version| {
            self.pick(version, random, avoid)
                .or_else(|| avoid.and_then(|_| self.pick(version, random, None)))
        };
        if let Some(cell) = of(wanted) {
            return Some((cell, false));
        }
        let others = self.routes.weights.iter();
        others
            .filter(|(v, w)| **w > 0 && *v != wanted)
            .find_map(|(v, _)| of(v))
            .map(|cell| (cell, true))
    }

    fn pick(
        &self,
        version: &Version,
        random: u64,
        avoid: Option<&Arc<BackendCell>>,
    ) -> Option<&Arc<BackendCell>> {
        let group = self.groups.iter().find(|g| g.version == *version)?;
        let candidate = |member: usize| {
            let index = group.members[member];
            let cell = &self.backends[index];
            let avoided = avoid.is_some_and(|other| Arc::ptr_eq(other, cell));
            let permille = f64::from(cell.share_permille.load(Ordering::Relaxed));
            let ordered = self.routes.backends[index].share;
            let share = if cell.is_broken() {
                ordered.min(1.0)
            } else {
                ordered
            } * permille
                / 1_000.0;
            Candidate {
                in_flight: cell.in_flight.load(Ordering::Relaxed),
                share: if avoided { 0.0 } else { share },
            }
        };
        let member = pick_by(group.members.len(), group.most, candidate, random)?;
        Some(&self.backends[group.members[member]])
    }

    /// What is shed now, by order or by the router's own decision, in hundredths of a per cent.
    pub(crate) fn shed(&self) -> u32 {
        self.routes.shed.max(self.cell.shed.load(Ordering::Relaxed))
    }

    /// Why nobody can be chosen.
    pub(crate) fn nobody(&self) -> (&'static str, &'static str) {
        let backends = &self.routes.backends;
        if backends.is_empty() {
            ("no-backend", "the service has no backend")
        } else if backends.iter().all(|b| b.draining) {
            ("draining", "every backend of the service is draining")
        } else {
            (
                "no-backend",
                "no backend of a version with weight is in rotation",
            )
        }
    }
}
