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
mod ledger;
mod metrics;
mod monitors;
mod own;
mod problem;
mod resources;
mod rules;
mod standby;
mod streams;
mod upkeep;

use std::sync::Arc;

use axum::{Extension, Router, extract::DefaultBodyLimit, middleware, routing};
use mainstay_core::{
    ChangeId,
    ports::{Changes, Clock, Identity, Ledger, Tables, Views},
};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use crowd::{CONNECTIONS_MAX, Door, SENDERS_MAX};

pub use auth::{Access, Scope};
pub use metrics::{Queries, Tenant, Window, intake::Intake};
pub use monitors::Monitors;
pub use own::{Gauge, Gauges};
pub use resources::{Applied, ApplyRequest, ApplyResponse, declared, schema};
pub use rules::{Counted, Rules, RulesAsked};
pub use standby::Leader;
pub use streams::{SILENT_MAX, Streams};
pub use upkeep::{Undone, Upkeep};

/// Largest body of a request, in bytes: a whole site in one apply.
pub const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The one method of OTLP over gRPC that is served.
const OTLP_CALL: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

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
    /// Attends to agents that connect.
    pub agents: Arc<dyn Streams>,
    /// Attends to routers that connect.
    pub routers: Arc<dyn Streams>,
    /// Who leads: only that server takes orders and connections.
    pub leader: watch::Receiver<Leader>,
    /// What its own metrics say besides.
    pub gauges: Arc<dyn Gauges>,
}

/// All routes; streaming connections end when their peers do.
pub fn router(app: App) -> Router {
    routes(app, streams::Open::default(), Arc::default())
}

fn routes(app: App, open: streams::Open, room: Arc<metrics::intake::Room>) -> Router {
    let own = Arc::new(own::Own::new());
    let read = |route| auth::guarded(route, &app, Scope::Read);
    let own_write = |route| auth::guarded(route, &app, Scope::Write);
    let led = |route, scope| auth::guarded(standby::guarded(route, &app), &app, scope);
    let write = |route| led(route, Scope::Write);
    let host = |route| led(route, Scope::Host);
    let send = |route| auth::guarded(route, &app, Scope::Send);
    let routes = Router::new()
        .route("/-/ready", routing::get(actions::ready))
        .route("/-/healthy", routing::get(async || "healthy\n"))
        .route("/api/v1/apply", write(routing::post(resources::apply)))
        .route(
            "/api/v1/resources/{kind}",
            read(routing::get(resources::list)),
        )
        .route(
            "/api/v1/resources/{kind}/{name}",
            read(routing::get(resources::get)),
        )
        .route(
            "/api/v1/resources/{kind}/{name}/delete",
            write(routing::post(resources::delete)),
        )
        .route(
            "/api/v1/schemas/{kind}",
            read(routing::get(resources::get_schema)),
        )
        .route("/api/v1/changes", read(routing::get(changes::list)))
        .route("/api/v1/changes/{id}", read(routing::get(changes::get)))
        .route(
            "/api/v1/changes/record",
            write(routing::post(changes::record)),
        )
        .route("/api/v1/ledger", read(routing::get(ledger::since)))
        .route("/api/v1/ledger/feed", read(routing::get(ledger::feed)))
        .route("/api/v1/ledger/verify", read(routing::get(ledger::verify)))
        .route(
            "/api/v1/actions/{kind}",
            write(routing::post(actions::propose)),
        )
        .route(
            "/api/v1/changes/{id}/{verb}",
            write(routing::post(actions::steer)),
        )
        .route("/api/v1/views/{name}", read(routing::get(actions::view)))
        .route(
            "/api/v1/views/{name}/{key}",
            read(routing::get(actions::view_of)),
        )
        .route(
            "/api/v1/query",
            read(routing::get(metrics::query).post(metrics::query)),
        )
        .route(
            "/api/v1/query_range",
            read(routing::get(metrics::query_range).post(metrics::query_range)),
        )
        .route(
            "/api/v1/series",
            read(routing::get(metrics::series).post(metrics::series)),
        )
        .route(
            "/api/v1/labels",
            read(routing::get(metrics::labels).post(metrics::labels)),
        )
        .route(
            "/api/v1/label/{name}/values",
            read(routing::get(metrics::label_values)),
        )
        .merge(dashboards(&app))
        .route(
            "/api/v1/write",
            send(routing::post(metrics::intake::remote_write)),
        )
        .route(
            "/api/v1/otlp/v1/metrics",
            send(routing::post(metrics::intake::otlp)),
        )
        .route(OTLP_CALL, send(routing::post(metrics::intake::otlp_call)))
        .route(
            "/api/v1/admin/tsdb/delete_series",
            own_write(routing::post(upkeep::delete_series).put(upkeep::delete_series)),
        )
        .route(
            "/api/v1/admin/tsdb/clean_tombstones",
            own_write(routing::post(upkeep::clean_tombstones).put(upkeep::clean_tombstones)),
        )
        .route(
            "/api/v1/admin/tsdb/snapshot",
            own_write(routing::post(upkeep::snapshot).put(upkeep::snapshot)),
        )
        .route(
            "/api/v1/import",
            own_write(routing::post(metrics::intake::import)),
        )
        .route("/api/v1/monitors", read(routing::get(monitors::report)))
        .route("/api/v1/rules", read(routing::get(rules::groups)))
        .route("/api/v1/alerts", read(routing::get(rules::alerts)))
        .route(
            "/api/v1/alertmanagers",
            read(routing::get(rules::alertmanagers)),
        )
        .route(
            "/-/reload",
            own_write(routing::post(rules::reload).put(rules::reload)),
        )
        .route("/metrics", read(routing::get(own::metrics)))
        .route("/api/v1/streams/agent", host(routing::get(streams::agent)))
        .route(
            "/api/v1/streams/router",
            host(routing::get(streams::router)),
        )
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

/// What Prometheus's API has beside queries.
fn dashboards(app: &App) -> Router<App> {
    use metrics::{about, status};
    let read = |route| auth::guarded(route, app, Scope::Read);
    Router::new()
        .route("/api/v1/metadata", read(routing::get(about::metadata)))
        .route("/api/v1/targets", read(routing::get(about::targets)))
        .route("/api/v1/scrape_pools", read(routing::get(about::pools)))
        .route(
            "/api/v1/query_exemplars",
            read(routing::get(about::exemplars).post(about::exemplars)),
        )
        .route(
            "/api/v1/format_query",
            read(routing::get(about::format_query).post(about::format_query)),
        )
        .route(
            "/api/v1/parse_query",
            read(routing::get(about::parse_query).post(about::parse_query)),
        )
        .route("/federate", read(routing::get(about::federate)))
        .route(
            "/api/v1/status/buildinfo",
            read(routing::get(status::buildinfo)),
        )
        .route(
            "/api/v1/status/runtimeinfo",
            read(routing::get(status::runtimeinfo)),
        )
        .route("/api/v1/status/flags", read(routing::get(status::flags)))
        .route("/api/v1/status/tsdb", read(routing::get(status::tsdb)))
        .route(
            "/api/v1/status/tenants",
            read(routing::get(status::tenants)),
        )
}

/// What is behind OTLP's own ports: HTTP and gRPC on either.
fn otlp(app: App, room: Arc<metrics::intake::Room>) -> Router {
    let send = |route| auth::guarded(route, &app, Scope::Send);
    Router::new()
        .route("/v1/metrics", send(routing::post(metrics::intake::otlp)))
        .route(OTLP_CALL, send(routing::post(metrics::intake::otlp_call)))
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
    let routes = routes(app, open.clone(), room);
    let all = axum::serve(Door::new(doors.all, CONNECTIONS_MAX), routes)
        .with_graceful_shutdown(stop.cancelled_owned());
    tokio::try_join!(all.into_future(), own_ports)?;
    open.ended().await;
    Ok(())
}
