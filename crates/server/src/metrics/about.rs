//! What dashboards and tools ask beside queries: what metrics are, what is scraped, the newest samples.
//!
//! Guarantees: shapes are Prometheus's. Never answers for what does not exist here: a route of
//! Prometheus without meaning is no route.
//!
//! ```text
//! curl 'http://127.0.0.1:7070/api/v1/metadata?metric=http_requests_total'
//! ```

use std::sync::Arc;

use axum::{
    Extension,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use mainstay_core::Time;
use serde_json::{Value, json};

use super::{
    answered, computed,
    gzip::Accepts,
    params::{Params, Wrong},
    status, success, window,
};
use crate::{App, own::Own};

/// `/api/v1/metadata`: what metrics are, by those who report them.
pub(crate) async fn metadata(
    State(app): State<App>,
    Extension(own): Extension<Arc<Own>>,
    accepts: Accepts,
    params: Params,
) -> Result<Response, Wrong> {
    let limit = params.limit()?;
    let per_metric = params.count("limit_per_metric")?;
    let compute = move || {
        let metric = Some(params.text("metric")).filter(|metric| !metric.is_empty());
        success(app.queries.metadata(metric, limit, per_metric))
    };
    Ok(answered(&own, accepts, compute).await)
}

/// `/api/v1/targets`: what is scraped, and what relabeling dropped.
pub(crate) async fn targets(
    State(app): State<App>,
    Extension(own): Extension<Arc<Own>>,
    accepts: Accepts,
    params: Params,
) -> Response {
    let compute = move || {
        let mut data = app.queries.targets(params.text("scrapePool"));
        match params.text("state") {
            "active" => data["droppedTargets"] = json!([]),
            "dropped" => data["activeTargets"] = json!([]),
            _ => {}
        }
        success(data)
    };
    answered(&own, accepts, compute).await
}

/// `/api/v1/targets/metadata`: what each target says its metrics are.
pub(crate) async fn target_metadata(
    State(app): State<App>,
    Extension(own): Extension<Arc<Own>>,
    accepts: Accepts,
    params: Params,
) -> Result<Response, Wrong> {
    let limit = params.limit()?;
    let compute = move || {
        let (targets, metric) = (params.text("match_target"), params.text("metric"));
        app.queries.target_metadata(targets, metric, limit)
    };
    Ok(answered(&own, accepts, compute).await)
}

/// `/api/v1/targets/relabel_steps`: what each rule of a pool makes of labels.
pub(crate) async fn relabel_steps(
    State(app): State<App>,
    Extension(own): Extension<Arc<Own>>,
    accepts: Accepts,
    params: Params,
) -> Response {
    let compute = move || {
        let (pool, labels) = (params.text("scrapePool"), params.text("labels"));
        app.queries.relabel_steps(pool, labels)
    };
    answered(&own, accepts, compute).await
}

/// `/api/v1/scrape_pools`: the names of all jobs.
pub(crate) async fn pools(
    State(app): State<App>,
    Extension(own): Extension<Arc<Own>>,
    accepts: Accepts,
) -> Response {
    let compute = move || success(json!({ "scrapePools": app.queries.pools() }));
    answered(&own, accepts, compute).await
}

/// `/api/v1/query_exemplars`: single observations of the series that a query selects.
pub(crate) async fn exemplars(
    State(app): State<App>,
    Extension(own): Extension<Arc<Own>>,
    accepts: Accepts,
    params: Params,
) -> Result<Response, Wrong> {
    let start = params.time("start", Time::from_millis(i64::MIN))?;
    let end = params.time("end", Time::from_millis(i64::MAX))?;
    let window = window(start, end)?;
    let compute = move || app.queries.query_exemplars(params.text("query"), window);
    Ok(answered(&own, accepts, compute).await)
}

/// `/api/v1/format_query`: an expression as it is written best.
pub(crate) async fn format_query(
    State(app): State<App>,
    Extension(own): Extension<Arc<Own>>,
    accepts: Accepts,
    params: Params,
) -> Response {
    let compute = move || app.queries.format_query(params.text("query"));
    answered(&own, accepts, compute).await
}

/// `/api/v1/parse_query`: an expression as a tree.
pub(crate) async fn parse_query(
    State(app): State<App>,
    Extension(own): Extension<Arc<Own>>,
    accepts: Accepts,
    params: Params,
) -> Response {
    let compute = move || app.queries.parse_query(params.text("query"));
    answered(&own, accepts, compute).await
}

/// `/federate`: the newest sample of each selected series, in the text format.
pub(crate) async fn federate(
    State(app): State<App>,
    Extension(own): Extension<Arc<Own>>,
    accepts: Accepts,
    params: Params,
) -> Result<Response, Wrong> {
    params.selectors()?;
    let compute = move || {
        // Checked just above; nothing changed it since.
        let selectors = params.selectors().unwrap_or_default();
        match app.queries.federate(&selectors, app.clock.now()) {
            Ok(text) => (StatusCode::OK, text),
            Err(error) => (status(&error), text_of(&error)),
        }
    };
    let mut response = computed(&own, accepts, compute).await;
    let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, format);
    Ok(response)
}

fn text_of(error: &Value) -> String {
    let text = error["error"].as_str().unwrap_or("");
    format!("{text}\n")
}
