//! The HTTP API: one module a resource, `application/problem+json` for every error.
//!
//! **Guarantees.** Every route names the scope it needs; without a token only a loopback listener
//! answers, and then only to a loopback `Host` and a matching `Origin`, so that no web page can reach it
//! by rebinding a name. Bodies are bounded, and so is how many come at once. Whatever changes production is in the ledger before the
//! response says so. **Never** decides anything about a rollout: it validates, writes and reads.

mod actions;
mod auth;
mod changes;
mod crowd;
mod extract;
mod incidents;
mod ledger;
mod metrics;
mod monitors;
mod oncall;
mod openapi;
mod own;
mod problem;
mod resources;
mod routes;
mod rules;
mod standby;
mod streams;
mod upkeep;

use std::sync::Arc;

use axum::{Extension, Router, extract::DefaultBodyLimit, middleware};
use mainstay_core::{
    ChangeId,
    ports::{Changes, Clock, Identity, Ledger, Tables, Views},
};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use crowd::{CONNECTIONS_MAX, Door, SENDERS_MAX};

pub use auth::{Access, Scope};
pub use incidents::{Incidents, IncidentsAsked};
pub use metrics::{
    PlanAsked, Queries, Tenant, Terms, Window, answer::Answer, intake::Intake, read::Reading,
};
pub use monitors::Monitors;
pub use oncall::{Instant, Oncall, OncallAnswer, OncallAsked, OncallOf};
pub use openapi::OPENAPI;
pub use own::{Gauge, Gauges};
pub use resources::{Applied, ApplyRequest, ApplyResponse, declared, schema};
pub use routes::{Operation, operations};
pub use rules::{Counted, Rules, RulesAsked};
pub use standby::Leader;
pub use streams::{SILENT_MAX, Streams};
pub use upkeep::{Undone, Upkeep};

/// Largest body of a request, in bytes: a whole site in one apply.
pub const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What the API stands on.
#[derive(Clone)]
pub struct App {
    /// Every change to production.
    pub ledger: Arc<dyn Ledger>,
    /// Tables projected from it.
    pub tables: Arc<dyn Tables>,
    /// Whose a token is.
    pub identity: Arc<dyn Identity>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Makes the id of the next change.
    pub next_change_id: Arc<dyn Fn() -> ChangeId + Send + Sync>,
    /// The sequence number of the newest committed entry.
    pub newest: watch::Receiver<u64>,
    /// Who may ask.
    pub access: Access,
    /// Opens changes and steers them.
    pub changes: Arc<dyn Changes>,
    /// What is measured and folded, live.
    pub views: Arc<dyn Views>,
    /// Answers PromQL.
    pub queries: Arc<dyn Queries>,
    /// Takes what others send.
    pub intake: Arc<dyn Intake>,
    /// Takes orders about what is kept of samples.
    pub upkeep: Arc<dyn Upkeep>,
    /// Evaluates rules.
    pub rules: Arc<dyn Rules>,
    /// Judges monitors.
    pub monitors: Arc<dyn Monitors>,
    /// Knows who is on call.
    pub oncall: Arc<dyn Oncall>,
    /// Keeps incidents.
    pub incidents: Arc<dyn Incidents>,
    /// Attends to agents that connect.
    pub agents: Arc<dyn Streams>,
    /// Attends to routers that connect.
    pub routers: Arc<dyn Streams>,
    /// Who leads: only that server takes orders and connections.
    pub leader: watch::Receiver<Leader>,
    /// The configuration in YAML, without secrets.
    pub config: Arc<str>,
    /// What its own metrics say besides.
    pub gauges: Arc<dyn Gauges>,
}

/// All routes; streaming connections end when their peers do.
pub fn router(app: App) -> Router {
    served(app, streams::Open::default(), Arc::default())
}

fn served(app: App, open: streams::Open, room: Arc<metrics::intake::Room>) -> Router {
    let own = Arc::new(own::Own::new());
    let routes = routes::on_own_port(&app)
        .fallback(problem::not_found)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(Extension(open))
        .layer(Extension(room))
        .layer(Extension(metrics::status::Started::now()))
        .layer(Extension(Arc::clone(&own)))
        .layer(middleware::from_fn_with_state(own, own::count))
        .with_state(app);
    // `Allow` is written outside the layers of a route: whoever reads it stands around all routes.
    Router::new()
        .fallback_service(routes)
        .layer(middleware::map_response(problem::method_not_allowed))
}

/// What is behind OTLP's own ports: HTTP and gRPC on either.
fn otlp(app: App, room: Arc<metrics::intake::Room>) -> Router {
    routes::on_otlp_ports(&app)
        .fallback(metrics::grpc::not_here)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(Extension(room))
        .with_state(app)
}

/// Where a server is to be reached.
#[derive(Debug)]
pub struct Doors {
    /// For everything.
    pub all: TcpListener,
    /// For those who send OTLP, on its own ports.
    pub otlp: Vec<TcpListener>,
}

/// Serves until `stop` is cancelled; requests under way may finish, streaming connections end.
pub async fn serve(doors: Doors, app: App, stop: CancellationToken) -> std::io::Result<()> {
    let open = streams::Open::until(stop.clone());
    let room = Arc::<metrics::intake::Room>::default();
    let own_ports = doors.otlp.into_iter().map(|listener| {
        let routes = otlp(app.clone(), Arc::clone(&room));
        let door = Door::new(listener, SENDERS_MAX);
        let serving = axum::serve(door, routes);
        serving
            .with_graceful_shutdown(stop.clone().cancelled_owned())
            .into_future()
    });
    let own_ports = futures_util::future::try_join_all(own_ports);
    let routes = served(app, open.clone(), room);
    let all = axum::serve(Door::new(doors.all, CONNECTIONS_MAX), routes)
        .with_graceful_shutdown(stop.cancelled_owned());
    tokio::try_join!(all.into_future(), own_ports)?;
    open.ended().await;
    Ok(())
}
