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

mod metrics;
mod proxy;
mod state;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http_body_util::Empty;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use mainstay_core::{ServiceName, Span, Time};
use mainstay_wire::{
    Generation,
    router::{BackendReport, FromRouter, RouteTable},
};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::state::{BackendCell, Service, Snapshot, lock};
use crate::{EjectionInput, plan_ejections};

/// Connections from users; more wait in the listener's backlog.
const USERS_MAX: usize = 8_192;
const CHECK_EVERY: Duration = Duration::from_secs(1);

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
    pub(crate) unprotected: crate::Compartment,
    applying: Mutex<()>,
    draws: AtomicU64,
    started: Instant,
}

impl Shared {
    pub(crate) fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
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
        let shared = Arc::new(Shared {
            snapshot: ArcSwap::default(),
            sequence: AtomicU64::new(0),
            tasks: TaskTracker::new(),
            unprotected: crate::Compartment::default(),
            applying: Mutex::default(),
            draws: AtomicU64::new(0),
            started: Instant::now(),
        });
        let stop = CancellationToken::new();
        shared
            .tasks
            .spawn(stop.clone().run_until_cancelled_owned(accept(
                Arc::clone(&shared),
                listener,
                stop.clone(),
            )));
        shared.tasks.spawn(
            stop.clone()
                .run_until_cancelled_owned(watch(Arc::clone(&shared))),
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
        self.shared.snapshot.store(Arc::new(before.next(table)));
        Ok(())
    }

    /// Its metrics, in the Prometheus text format.
    pub fn metrics(&self) -> String {
        metrics::text(&self.shared)
    }

    /// What the router sees now.
    pub fn report(&self) -> FromRouter {
        let snapshot = self.shared.snapshot.load();
        let now = self.shared.now_ms();
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
        let capacity: u64 = snapshot
            .services
            .iter()
            .map(|s| u64::from(s.routes.bulkhead.connections))
            .sum();
        let hoarder = snapshot
            .services
            .iter()
            .find(|s| u64::from(s.cell.connections.held()) * 2 > capacity)
            .map(|s| s.routes.service.clone());
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

fn seen(service: &Service, cell: &BackendCell, now: u64) -> BackendReport {
    let health = lock(&cell.health);
    let (goodput_rps, bad_rps) = health.rates();
    let mut evidence = health.evidence();
    if service.cell.mass.load(Ordering::Relaxed) {
        evidence.push_str("; more than 30 % turned bad within 10 s: none ejected, load is shed");
    }
    BackendReport {
        instance: cell.spec.instance.clone(),
        incarnation: cell.spec.incarnation,
        seen_version: lock(&cell.seen_version).clone(),
        claimed: health.claimed(),
        measured: health.measured(),
        verdict: health.verdict(),
        evidence,
        in_rotation: !health.is_out(),
        in_flight: cell.in_flight.load(Ordering::Relaxed),
        oldest_in_flight: Span::from_millis(cell.oldest_ms(now)),
        goodput_rps,
        bad_rps,
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener, stop: CancellationToken) {
    let users = Arc::new(Semaphore::new(USERS_MAX));
    while let Ok(place) = Arc::clone(&users).acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        let service_shared = Arc::clone(&shared);
        let stop = stop.clone();
        shared.tasks.spawn(async move {
            let _place = place;
            let answer = service_fn(move |request| {
                let shared = Arc::clone(&service_shared);
                async move { Ok::<_, Infallible>(proxy::serve(shared, request).await) }
            });
            let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            builder
                .http1()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(30));
            let connection = builder.serve_connection(TokioIo::new(stream), answer);
            drop(stop.run_until_cancelled(connection).await);
        });
    }
}

async fn watch(shared: Arc<Shared>) {
    let mut beat = tokio::time::interval(CHECK_EVERY);
    loop {
        beat.tick().await;
        let snapshot = shared.snapshot.load_full();
        for service in &snapshot.services {
            for cell in &service.backends {
                let out = lock(&cell.health).is_out();
                let (shared, cell) = (Arc::clone(&shared), Arc::clone(cell));
                let (health, prefix) =
                    (service.routes.health.clone(), service.routes.prefix.clone());
                let tracker = shared.tasks.clone();
                tracker.spawn(async move {
                    let well = ask(&cell.spec.address, &health)
                        .await
                        .is_some_and(|code| code < 400);
                    lock(&cell.health).claim(shared.now_ms(), well);
                    if out {
                        let well = ask(&cell.spec.address, &prefix)
                            .await
                            .is_some_and(|code| code < 500);
                        lock(&cell.health).probed(shared.now_ms(), well);
                    }
                });
            }
            judge(service, shared.now_ms(), snapshot.protected);
        }
    }
}

fn judge(service: &Service, now: u64, protected: bool) {
    let inputs: Vec<EjectionInput> = service
        .routes
        .backends
        .iter()
        .zip(&service.backends)
        .map(|(spec, cell)| {
            let mut health = lock(&cell.health);
            health.tick(now, cell.oldest_ms(now));
            EjectionInput {
                turned_bad_ms: health.turned_bad_ms(),
                out: spec.draining || health.is_out(),
                capacity_rps: spec.capacity_rps,
            }
        })
        .collect();
    if protected {
        let demand = lock(&service.cell.retry).offered_rps(now / 1_000);
        let plan = plan_ejections(
            &inputs,
            demand,
            now,
            service.cell.mass.load(Ordering::Relaxed),
        );
        for index in plan.eject {
            lock(&service.backends[index].health).eject();
        }
        service.cell.mass.store(plan.mass, Ordering::Relaxed);
        service.cell.shed.store(plan.shed, Ordering::Relaxed);
    }
    for cell in &service.backends {
        let health = lock(&cell.health);
        let share = if protected {
            health.share()
        } else {
            f64::from(u8::from(
                health.claimed() != mainstay_wire::router::ClaimedHealth::Failing,
            ))
        };
        cell.share_permille
            .store((share * 1_000.0) as u32, Ordering::Relaxed);
    }
}

/// The status of a GET on a connection of its own, within a second.
async fn ask(address: &str, path: &str) -> Option<u16> {
    let exchange = async {
        let stream = tokio::net::TcpStream::connect(address).await.ok()?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .ok()?;
        let request = http::Request::get(path)
            .header("host", address)
            .body(Empty::<Bytes>::new())
            .ok()?;
        let answer = async {
            sender
                .send_request(request)
                .await
                .ok()
                .map(|r| r.status().as_u16())
        };
        tokio::pin!(connection, answer);
        tokio::select! {
            status = &mut answer => status,
            _ = &mut connection => answer.await,
        }
    };
    tokio::time::timeout(CHECK_EVERY, exchange)
        .await
        .ok()
        .flatten()
}
