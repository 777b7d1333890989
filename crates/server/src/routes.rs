//! Every route: where it is, by which methods, what it asks of who comes, and who answers.
//!
//! Guarantees: what is not listed here is not served, and [`operations`] lists all that is. Each operation is in
//! docs/openapi.yaml and has a contract test; `cargo xtask coverage` holds that.
//!
//! ```
//! let query = mainstay_server::operations().find(|it| it.path == "/api/v1/query" && it.method == "POST");
//! assert_eq!(query.and_then(|it| it.scope), Some(mainstay_server::Scope::Read));
//! ```

use axum::{
    Router,
    handler::Handler,
    routing::{self, MethodFilter, MethodRouter},
};

use crate::{
    App, actions,
    auth::{self, Scope},
    changes, incidents, ledger, metrics, monitors, oncall, openapi, own, resources, rules, standby,
    streams, upkeep,
};
use metrics::{about, intake, read, status};

/// One way to ask one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    /// `GET`, `POST` or `PUT`.
    pub method: &'static str,
    /// The path, with names in braces for what varies.
    pub path: &'static str,
    /// What a token needs; none where nobody is asked who they are.
    pub scope: Option<Scope>,
}

/// A method that a route takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Get,
    Post,
    Put,
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }

    fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Post => MethodFilter::POST,
            Self::Put => MethodFilter::PUT,
        }
    }
}

/// What a route asks before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guard {
    /// Nothing.
    Open,
    /// A scope.
    Any(Scope),
    /// A scope, and that this server leads.
    Led(Scope),
}

struct Route {
    path: &'static str,
    guard: Guard,
    verbs: &'static [Verb],
    answers: MethodRouter<App>,
}

impl Route {
    fn operations(self) -> impl Iterator<Item = Operation> {
        let scope = match self.guard {
            Guard::Open => None,
            Guard::Any(scope) | Guard::Led(scope) => Some(scope),
        };
        let path = self.path;
        self.verbs.iter().map(move |verb| Operation {
            method: verb.name(),
            path,
            scope,
        })
    }
}

/// All operations that the server answers, on its own port and on those of OTLP; one that is on both comes twice.
pub fn operations() -> impl Iterator<Item = Operation> {
    let all = all().into_iter().chain(otlp_routes());
    all.flat_map(Route::operations)
}

/// All routes of the server's own port, each behind its guard.
pub(crate) fn on_own_port(app: &App) -> Router<App> {
    guarded(all(), app)
}

/// All routes of OTLP's ports, each behind its guard.
pub(crate) fn on_otlp_ports(app: &App) -> Router<App> {
    guarded(otlp_routes(), app)
}

fn guarded(routes: Vec<Route>, app: &App) -> Router<App> {
    let add = |router: Router<App>, route: Route| {
        let answers = match route.guard {
            Guard::Open => route.answers,
            Guard::Any(scope) => auth::guarded(route.answers, app, scope),
            Guard::Led(scope) => auth::guarded(standby::guarded(route.answers, app), app, scope),
        };
        router.route(route.path, answers)
    };
    routes.into_iter().fold(Router::new(), add)
}

/// The method of gRPC that takes OTLP.
const OTLP_CALL: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
const READ: Guard = Guard::Any(Scope::Read);
const SEND: Guard = Guard::Any(Scope::Send);
const WRITE: Guard = Guard::Led(Scope::Write);
/// On every server, whichever leads: what is written is decided by the ledger.
const ANY_WRITE: Guard = Guard::Any(Scope::Write);
const HOST: Guard = Guard::Led(Scope::Host);

fn on<H, T>(verbs: &'static [Verb], path: &'static str, guard: Guard, handler: H) -> Route
where
    H: Handler<T, App>,
    T: 'static,
{
    let answers = MethodRouter::new();
    let answers = verbs.iter().fold(answers, |answers, verb| {
        answers.merge(routing::on(verb.filter(), handler.clone()))
    });
    Route {
        path,
        guard,
        verbs,
        answers,
    }
}

fn get<H: Handler<T, App>, T: 'static>(path: &'static str, guard: Guard, handler: H) -> Route {
    on(&[Verb::Get], path, guard, handler)
}

fn post<H: Handler<T, App>, T: 'static>(path: &'static str, guard: Guard, handler: H) -> Route {
    on(&[Verb::Post], path, guard, handler)
}

/// By the URL's query, or by a form, for what is longer than a URL may be.
fn asked<H: Handler<T, App>, T: 'static>(path: &'static str, handler: H) -> Route {
    on(&[Verb::Get, Verb::Post], path, READ, handler)
}

/// An order about what is kept, by either method that Prometheus takes it by.
fn ordered<H: Handler<T, App>, T: 'static>(path: &'static str, handler: H) -> Route {
    let guard = Guard::Any(Scope::Write);
    on(&[Verb::Post, Verb::Put], path, guard, handler)
}

fn all() -> Vec<Route> {
    let mut all = own_routes();
    all.extend(prometheus_routes());
    all
}

/// What is behind OTLP's own ports, by HTTP and by gRPC.
fn otlp_routes() -> Vec<Route> {
    vec![
        post("/v1/metrics", SEND, intake::otlp),
        post(OTLP_CALL, SEND, intake::otlp_call),
    ]
}

/// Mainstay's own.
fn own_routes() -> Vec<Route> {
    vec![
        get("/-/ready", Guard::Open, actions::ready),
        get("/-/healthy", Guard::Open, async || "healthy\n"),
        on(
            &[Verb::Post, Verb::Put],
            "/-/reload",
            Guard::Any(Scope::Write),
            rules::reload,
        ),
        get("/metrics", READ, own::metrics),
        get("/api/openapi.json", Guard::Open, openapi::document),
        post("/api/v1/apply", WRITE, resources::apply),
        get("/api/v1/resources/{kind}", READ, resources::list),
        get("/api/v1/resources/{kind}/{name}", READ, resources::get),
        post(
            "/api/v1/resources/{kind}/{name}/delete",
            WRITE,
            resources::delete,
        ),
        get("/api/v1/schemas/{kind}", READ, resources::get_schema),
        get("/api/v1/changes", READ, changes::list),
        post("/api/v1/changes/record", WRITE, changes::record),
        get("/api/v1/changes/{id}", READ, changes::get),
        post("/api/v1/changes/{id}/{verb}", WRITE, actions::steer),
        post("/api/v1/actions/{kind}", WRITE, actions::propose),
        get("/api/v1/oncall", READ, oncall::now),
        get("/api/v1/oncall/gaps", READ, oncall::gaps),
        get("/api/v1/oncall/schedules/{name}", READ, oncall::of_schedule),
        post(
            "/api/v1/oncall/schedules/{name}/{verb}",
            WRITE,
            oncall::order,
        ),
        get("/api/v1/oncall/people/{name}", READ, oncall::of_person),
        get("/api/v1/views/{name}", READ, actions::view),
        get("/api/v1/views/{name}/{key}", READ, actions::view_of),
        get("/api/v1/monitors", READ, monitors::report),
        get("/api/v1/incidents", READ, incidents::list),
        post("/api/v1/incidents", ANY_WRITE, incidents::open),
        get("/api/v1/incidents/{id}", READ, incidents::show),
        post("/api/v1/incidents/{id}/{verb}", ANY_WRITE, incidents::act),
        get("/api/v1/acknowledge/{token}", Guard::Open, incidents::link),
        post(
            "/api/v1/acknowledge/{token}",
            Guard::Open,
            incidents::acknowledge,
        ),
        get("/api/v1/ledger", READ, ledger::since),
        get("/api/v1/ledger/feed", READ, ledger::feed),
        get("/api/v1/ledger/verify", READ, ledger::verify),
        get("/api/v1/streams/agent", HOST, streams::agent),
        get("/api/v1/streams/router", HOST, streams::router),
    ]
}

/// Those of Prometheus, where its clients look for them.
fn prometheus_routes() -> Vec<Route> {
    vec![
        asked("/api/v1/query", metrics::query),
        asked("/api/v1/query_range", metrics::query_range),
        asked("/api/v1/query_exemplars", about::exemplars),
        asked("/api/v1/format_query", about::format_query),
        asked("/api/v1/parse_query", about::parse_query),
        asked("/api/v1/series", metrics::series),
        asked("/api/v1/labels", metrics::labels),
        get("/api/v1/label/{name}/values", READ, metrics::label_values),
        get("/federate", READ, about::federate),
        post("/api/v1/read", READ, read::remote_read),
        get("/api/v1/export", READ, read::export),
        post("/api/v1/write", SEND, intake::remote_write),
        post("/api/v1/otlp/v1/metrics", SEND, intake::otlp),
        post(OTLP_CALL, SEND, intake::otlp_call),
        get("/api/v1/metadata", READ, about::metadata),
        get("/api/v1/targets", READ, about::targets),
        get("/api/v1/targets/metadata", READ, about::target_metadata),
        get("/api/v1/targets/relabel_steps", READ, about::relabel_steps),
        get("/api/v1/scrape_pools", READ, about::pools),
        get("/api/v1/rules", READ, rules::groups),
        get("/api/v1/alerts", READ, rules::alerts),
        get("/api/v1/alertmanagers", READ, rules::alertmanagers),
        post("/api/v2/alerts", SEND, incidents::alerts),
        get("/api/v1/status/config", READ, status::config),
        get("/api/v1/status/flags", READ, status::flags),
        get("/api/v1/status/runtimeinfo", READ, status::runtimeinfo),
        get("/api/v1/status/buildinfo", READ, status::buildinfo),
        get("/api/v1/status/tsdb", READ, status::tsdb),
        get("/api/v1/status/walreplay", READ, status::walreplay),
        get("/api/v1/status/tenants", READ, status::tenants),
        get("/api/v1/status/copies", READ, status::copies),
        ordered("/api/v1/admin/tsdb/delete_series", upkeep::delete_series),
        ordered(
            "/api/v1/admin/tsdb/clean_tombstones",
            upkeep::clean_tombstones,
        ),
        ordered("/api/v1/admin/tsdb/snapshot", upkeep::snapshot),
        post("/api/v1/import", Guard::Any(Scope::Write), intake::import),
    ]
}
