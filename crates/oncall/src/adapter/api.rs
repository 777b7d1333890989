//! The original's HTTP API, version 2, and what stands beside it.
//!
//! Guarantees: 200 to alerts and silences only after they are on disk; 503 where that failed. As open as the original:
//! who reaches the port may do everything, so it listens on loopback unless it is told otherwise.

mod alerts;
mod silences;
mod written;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::oneshot;

use super::Service;

pub use alerts::{IntakeError, posted};

/// Bytes of one body: some ten thousand alerts.
const BODY_MAX: usize = 32 << 20;

type Shared = State<Arc<Service>>;

/// All routes, below the prefix.
pub(super) fn router(service: Arc<Service>) -> Router {
    let v2 = Router::new()
        .route("/status", get(status))
        .route("/receivers", get(receivers))
        .route("/alerts", get(alerts::list).post(alerts::post))
        .route("/alerts/groups", get(alerts::groups))
        .route("/silences", get(silences::list).post(silences::set))
        .route("/silence/{id}", get(silences::one).delete(silences::expire));
    let all = Router::new()
        .nest("/api/v2", v2)
        .route("/-/healthy", get(|| async { "OK" }))
        .route("/-/ready", get(|| async { "OK" }))
        .route("/-/reload", post(reload))
        .route("/metrics", get(metrics))
        .route("/", get(front))
        .layer(DefaultBodyLimit::max(BODY_MAX));
    let prefix = service.prefix().to_owned();
    let all = if prefix.is_empty() {
        all
    } else {
        Router::new().nest(&prefix, all)
    };
    all.with_state(service)
}

/// An error as the original writes one.
fn refused(status: StatusCode, what: impl ToString) -> Response {
    (status, Json(what.to_string())).into_response()
}

/// The answer `well` once what was changed is on disk.
async fn durable(kept: oneshot::Receiver<Result<(), String>>, well: Response) -> Response {
    let ended = |_| Err("the journal has ended".to_owned());
    match kept.await.unwrap_or_else(ended) {
        Ok(()) => well,
        Err(why) => refused(StatusCode::SERVICE_UNAVAILABLE, why),
    }
}

async fn front() -> &'static str {
    "Mainstay in place of an Alertmanager. The API is below /api/v2; amtool speaks it.\n"
}

async fn reload(State(service): Shared) -> Response {
    match service.reload() {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => {
            let what = format!("failed to reload config: {error}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, what).into_response()
        }
    }
}

async fn metrics(State(service): Shared) -> Response {
    let text = service.look(|machine| service.metrics.text(machine, Timestamp::now()));
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        text,
    )
        .into_response()
}

async fn status(State(service): Shared) -> Response {
    let original = service.look(|machine| machine.settings().shown.clone());
    Json(json!({
        "cluster": {"status": "disabled", "peers": []},
        "config": {"original": original},
        "uptime": written::time(service.started),
        "versionInfo": {
            "branch": "mainstay",
            "buildDate": "",
            "buildUser": "",
            "goVersion": "",
            "revision": "",
            "version": env!("CARGO_PKG_VERSION"),
        },
    }))
    .into_response()
}

async fn receivers(State(service): Shared) -> Response {
    let names: Vec<_> = service.look(|machine| {
        let all = machine.settings().receivers.iter();
        all.map(|it| json!({"name": &*it.name})).collect()
    });
    Json(names).into_response()
}
