//! `/api/v1/status/…`: what answers, since when, and with which settings.
//!
//! Guarantees: a value is measured or set here; fields of Prometheus that mean nothing for this program are left
//! empty, never made up.

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use axum::{Extension, Json, extract::State, response::Response};
use mainstay_core::Time;
use serde_json::{Map, Value, json};

use super::{
    answered,
    gzip::Accepts,
    params::{Params, Wrong},
    success,
};
use crate::{App, own::Own};

/// Entries of each list of `/api/v1/status/tsdb`, where the client names no number; as in Prometheus.
const TOP: usize = 10;

/// When the server started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Started(Time);

impl Started {
    pub(crate) fn now() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let ms = since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(0));
        Self(Time::from_millis(ms))
    }
}

/// `/api/v1/status/buildinfo`: what dashboards ask to know whom they speak to.
pub(crate) async fn buildinfo() -> Json<Value> {
    Json(success(json!({
        "application": "mainstay", "version": env!("CARGO_PKG_VERSION"),
        "revision": "", "branch": "", "buildUser": "", "buildDate": "", "goVersion": "",
    })))
}

/// `/api/v1/status/runtimeinfo`. The configuration is read once, at the start; tasks stand for goroutines.
pub(crate) async fn runtimeinfo(
    State(app): State<App>,
    Extension(Started(started)): Extension<Started>,
) -> Json<Value> {
    let cwd = std::env::current_dir().unwrap_or_else(|_| PathBuf::new());
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let tasks = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    Json(success(json!({
        "startTime": started.to_string(),
        "CWD": cwd.display().to_string(),
        "serverTime": app.clock.now().to_string(),
        "reloadConfigSuccess": true,
        "lastConfigTime": started.to_string(),
        "goroutineCount": tasks,
        "GOMAXPROCS": processors,
        "GOGC": "", "GODEBUG": "",
        "storageRetention": app.queries.retention().to_string(),
    })))
}

/// `/api/v1/status/flags`, under Prometheus's names where there is one.
pub(crate) async fn flags(State(app): State<App>) -> Json<Value> {
    let retention = app.queries.retention().to_string();
    let flags = [
        ("query.max-concurrency", super::QUERIES_AT_ONCE.to_string()),
        ("query.lookback-delta", "5m".to_owned()),
        ("storage.tsdb.retention.time", retention),
        ("web.enable-remote-write-receiver", "true".to_owned()),
    ];
    let flags = flags.map(|(name, value)| (name.to_owned(), Value::from(value)));
    Json(success(Value::Object(Map::from_iter(flags))))
}

/// `/api/v1/status/config`: the configuration as its file says it, without secrets.
pub(crate) async fn config(State(app): State<App>) -> Json<Value> {
    Json(success(json!({ "yaml": &*app.config })))
}

/// `/api/v1/status/walreplay`: the log is replayed before anybody is answered, so that nothing is left of it.
pub(crate) async fn walreplay() -> Json<Value> {
    Json(success(
        json!({ "min": 0, "max": 0, "current": 0, "state": "done" }),
    ))
}

/// `/api/v1/status/tsdb`: which metrics and labels have the most series.
pub(crate) async fn tsdb(
    State(app): State<App>,
    Extension(own): Extension<Arc<Own>>,
    accepts: Accepts,
    params: Params,
) -> Result<Response, Wrong> {
    let limit = params.limit()?.unwrap_or(TOP);
    let compute = move || success(app.queries.cardinality(limit));
    Ok(answered(&own, accepts, compute).await)
}

/// `/api/v1/status/copies`: how the copies of parts, and the archive of days, stand; null where there is none.
pub(crate) async fn copies(State(app): State<App>) -> Json<Value> {
    Json(success(app.upkeep.copies()))
}

/// `/api/v1/status/tenants`: what those who share the engine hold and send, those with the most series first.
pub(crate) async fn tenants(State(app): State<App>, params: Params) -> Result<Json<Value>, Wrong> {
    let limit = params.limit()?.unwrap_or(TOP);
    let mut tenants = app.queries.tenants();
    tenants.truncate(limit);
    Ok(Json(success(json!(tenants))))
}
