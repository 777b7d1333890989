//! The running router.
//!
//! **Guarantees.** A table applied is in force for every request accepted after [`Router::apply`]
//! returns; one older than the table in force is refused. **Never** lets one service hold more of the
//! router than its bulkhead.
//!
//! ```no_run
//! # async fn f() -> Result<(), mainstay_traffic::RouterError> {
//! let router = mainstay_traffic::Router::bind("127.0.0.1:8080".parse().unwrap()).await?;
//! router.apply(mainstay_wire::router::RouteTable::default())?;
//! # Ok(()) }
//! ```

mod errand;
mod flight;
mod head;
mod metrics;
mod patience;
mod prober;
mod proxy;
mod recent;
mod series;
mod snapshot;
mod state;
mod upstream;
mod users;
mod watch;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use mainstay_core::{ServiceName, Span, Time};
use mainstay_wire::{
    Generation,
    router::{BackendReport, FromRouter, RouteTable},
};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    snapshot::Snapshot,
    state::{BackendCell, Service, lock},
};
use crate::Compartment;

/// Requests under way over all services while the protections are off; more wait.
pub(crate) const POOL: u32 = 256;

/// Why a router does not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The table is older than the one in force.
    #[error("table {offered:?} is older than {in_force:?}, which is in force")]
    Stale {
        /// The generation refused.
        offered: Generation,
        /// The generation in force.
        in_force: Generation,
    },
}

pub(crate) struct Shared {
    pub(crate) snapshot: ArcSwap<Snapshot>,
    pub(crate) sequence: AtomicU64,
    pub(crate) tasks: TaskTracker,
    /// What all services share while the protections are off.
    pub(crate) pool: Arc<Semaphore>,
    pub(crate) users: Compartment,
    pub(crate) accept_errors: AtomicU64,
    pub(crate) unrouted: AtomicU64,
    applying: Mutex<()>,
    draws: AtomicU64,
    started: Instant,
}

impl Shared {
    fn new() -> Self {
        Self {
            snapshot: ArcSwap::default(),
            sequence: AtomicU64::new(0),
            tasks: TaskTracker::new(),
            pool: Arc::new(Semaphore::new(POOL as usize)),
            users: Compartment::default(),
            accept_errors: AtomicU64::new(0),
            unrouted: AtomicU64::new(0),
            applying: Mutex::default(),
            draws: AtomicU64::new(0),
            started: Instant::now(),
        }
    }
    pub(crate) fn now_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }
    /// The instant of a time of [`now_us`](Self::now_us).
    pub(crate) fn instant(&self, at_us: u64) -> tokio::time::Instant {
        (self.started + Duration::from_micros(at_us)).into()
    }
    pub(crate) fn now_ms(&self) -> u64 {
        self.now_us() / 1_000
    }
    pub(crate) fn random(&self) -> u64 {
        let n = self.draws.fetch_add(1, Ordering::Relaxed);
        xxhash_rust::xxh3::xxh3_64(&n.to_le_bytes())
    }
}

/// A running router; dropping it stops it.
pub struct Router {
    shared: Arc<Shared>,
    stop: CancellationToken,
    address: SocketAddr,
}

impl Drop for Router {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Router {
    /// Listens for users on `listen`, with no routes yet.
    pub async fn bind(listen: SocketAddr) -> Result<Self, RouterError> {
        let bind = |source| RouterError::Bind {
            address: listen,
            source,
        };
        let listener = TcpListener::bind(listen).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let shared = Arc::new(Shared::new());
        let stop = CancellationToken::new();
        shared.tasks.spawn(
            stop.clone()
                .run_until_cancelled_owned(users::accept(Arc::clone(&shared), listener)),
        );
        shared.tasks.spawn(
            stop.clone()
                .run_until_cancelled_owned(watch::watch(Arc::clone(&shared))),
        );
        shared.tasks.spawn(
            stop.clone()
                .run_until_cancelled_owned(watch::guard(Arc::clone(&shared))),
        );
        shared.tasks.spawn(
            stop.clone()
                .run_until_cancelled_owned(prober::run(Arc::clone(&shared))),
        );
        Ok(Self {
            shared,
            stop,
            address,
        })
    }

    /// Where users are served.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Puts `table` in force before it returns.
    pub fn apply(&self, table: RouteTable) -> Result<(), RouterError> {
        let _one_at_a_time = lock(&self.shared.applying);
        let before = self.shared.snapshot.load();
        if table.generation < before.generation {
            return Err(RouterError::Stale {
                offered: table.generation,
                in_force: before.generation,
            });
        }
        let next = before.next(table, self.shared.now_ms());
        self.shared.snapshot.store(Arc::new(next));
        Ok(())
    }

    /// Its metrics, in the Prometheus text format.
    pub fn metrics(&self) -> String {
        metrics::text(&self.shared)
    }

    /// What the router sees now.
    pub fn report(&self) -> FromRouter {
        let snapshot = self.shared.snapshot.load();
        let now = self.shared.now_us();
        let backends: BTreeMap<ServiceName, Vec<BackendReport>> = snapshot
            .services
            .iter()
            .map(|s| {
                (
                    s.routes.service.clone(),
                    s.backends.iter().map(|c| seen(s, c, now)).collect(),
                )
            })
            .collect();
        let hoarder = snapshot.hoarder(POOL).cloned();
        let at = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_millis() as i64);
        FromRouter::Report {
            at: Time::from_millis(at),
            applied: snapshot.generation,
            backends,
            hoarder,
        }
    }
}

fn seen(service: &Service, cell: &BackendCell, now_us: u64) -> BackendReport {
    let tally = lock(&cell.tally);
    let health = &tally.health;
    let (goodput_rps, bad_rps) = health.rates();
    let mut evidence = health.evidence();
    if service.cell.mass.load(Ordering::Relaxed) {
        evidence.push_str("; more than 30 % turned bad within 10 s: none ejected, load is shed");
    }
    BackendReport {
        instance: cell.spec.instance.clone(),
        incarnation: cell.spec.incarnation,
        seen_version: tally.seen_version.clone(),
        claimed: health.claimed(),
        measured: health.measured(),
        verdict: health.verdict(),
        evidence,
        in_rotation: !health.is_out(),
        in_flight: cell.in_flight.load(Ordering::Relaxed),
        oldest_in_flight: Span::from_millis(tally.oldest_ms(now_us)),
        goodput_rps,
        bad_rps,
        recent_rps: health.recent_rps(now_us / 1_000),
        p99_ms: tally.recent.p99_ms(now_us),
        limit_broken: cell.is_broken(),
    }
}
