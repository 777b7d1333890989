//! PromQL over HTTP, in the shapes of Prometheus's API, so that whatever speaks to Prometheus speaks to it.
//!
//! Guarantees: envelope, error types and status codes are Prometheus's; parameters it does not know are
//! ignored, as there. A query computes on a thread that may block, at most [`QUERIES_AT_ONCE`] at once:
//! beyond, the client hears 429 with `Retry-After`. Never holds a query for later.
//!
//! ```text
//! curl 'http://127.0.0.1:7070/api/v1/query?query=sum(http_requests_total)'
//! ```

pub(crate) mod about;
pub(crate) mod answer;
pub(crate) mod grpc;
pub(crate) mod gzip;
pub(crate) mod intake;
pub(crate) mod params;
pub(crate) mod read;
pub(crate) mod status;

use std::{sync::Arc, time::Instant};

use axum::{
    Extension,
    extract::{Path, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use mainstay_core::{Span, Time};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::{App, own::Own};
use answer::{Answer, limit_to};
use gzip::{Accepts, Packed};
use params::{Params, Wrong};

/// Queries that compute at once; as many as Prometheus lets run by default.
pub(crate) const QUERIES_AT_ONCE: usize = 20;
/// Points of one series in an answer, as in Prometheus: more than any screen shows.
const POINTS_MAX: i128 = 11_000;
/// When to try again if too many queries run, in seconds: most take far less.
const RETRY_AFTER_SECS: u64 = 1;

/// One of those who share the engine: what it holds and sends, and what it may. Nothing said is no limit.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tenant {
    /// The value of the label that tells them apart.
    pub name: String,
    /// Series that it has.
    pub series: u64,
    /// The most that it may have.
    pub series_limit: Option<u64>,
    /// Samples a second, as last measured.
    pub samples_per_second: f64,
    /// The most that it may send, over a minute.
    pub samples_per_second_limit: Option<u64>,
    /// The most labels that one of its series may have.
    pub labels_limit: Option<u64>,
    /// Samples taken since the start.
    pub samples: u64,
    /// Samples refused since the start, by the limit that was in the way.
    pub refused: std::collections::BTreeMap<&'static str, u64>,
}

/// A window of time, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// From.
    pub start: Time,
    /// To.
    pub end: Time,
}

/// On which terms a query is computed.
#[derive(Debug, Clone)]
pub struct Terms {
    /// How long it may compute.
    pub within: Span,
    /// Cancelled when who asked has gone.
    pub gone: CancellationToken,
    /// How much the answer says of what it took: nothing, or `all` with samples by step, or sums.
    pub stats: String,
    /// What is told of how it is computed.
    pub plan: PlanAsked,
}

/// What is told of how a query is computed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PlanAsked {
    /// Nothing.
    #[default]
    No,
    /// What it would read, instead of its value.
    Estimate,
    /// What each node took, beside its value.
    Analyze,
}

/// Answers PromQL in Prometheus's JSON. Calls may compute for as long as a query is heavy: they are made on a
/// thread that may block.
pub trait Queries: Send + Sync {
    /// `/api/v1/query`.
    fn query(&self, expr: &str, at: Time, terms: &Terms) -> Answer;
    /// `/api/v1/query_range`.
    fn query_range(&self, expr: &str, window: Window, step: Span, terms: &Terms) -> Answer;
    /// Whether an expression can ever come to numbers; if not, where in it and why. Computes nothing.
    fn check(&self, expr: &str) -> Result<(), String>;
    /// `/api/v1/format_query`: an expression as it is written best.
    fn format_query(&self, expr: &str) -> Value;
    /// `/api/v1/parse_query`: an expression as a tree.
    fn parse_query(&self, expr: &str) -> Value;
    /// `/api/v1/query_exemplars`: those of the series that a query selects.
    fn query_exemplars(&self, expr: &str, window: Window) -> Value;
    /// `/api/v1/series`.
    fn series(&self, selectors: &[&str], window: Window) -> Value;
    /// `/api/v1/labels`.
    fn labels(&self, selectors: &[&str], window: Window) -> Value;
    /// `/api/v1/label/NAME/values`.
    fn label_values(&self, name: &str, selectors: &[&str], window: Window) -> Value;
    /// `/api/v1/metadata`: descriptions of one metric or of all, at most `limit` names and `per_metric` of each.
    fn metadata(
        &self,
        metric: Option<&str>,
        limit: Option<usize>,
        per_metric: Option<usize>,
    ) -> Value;
    /// `/api/v1/targets`: of one pool, or of all where the name is empty.
    fn targets(&self, pool: &str) -> Value;
    /// `/api/v1/targets/metadata`: of the targets that a selector takes, and of one metric; all where empty.
    fn target_metadata(&self, selector: &str, metric: &str, limit: Option<usize>) -> Value;
    /// `/api/v1/targets/relabel_steps`: what the rules of a pool make of labels, which are a JSON object.
    fn relabel_steps(&self, pool: &str, labels: &str) -> Value;
    /// Names of all pools of targets.
    fn pools(&self) -> Vec<String>;
    /// `/api/v1/read`: a request that is understood; otherwise why not.
    fn remote_read(&self, body: &[u8]) -> Result<Box<dyn read::Reading>, String>;
    /// `/api/v1/export`: samples of a window as a Parquet file; otherwise why not.
    fn export(&self, selectors: &[&str], window: Window) -> Result<Box<dyn read::Reading>, String>;
    /// `/federate`: the newest sample of each selected series, in the text format; or an error's answer.
    fn federate(&self, selectors: &[&str], at: Time) -> Result<String, Value>;
    /// `/api/v1/status/tsdb`, with at most `limit` entries of each list.
    fn cardinality(&self, limit: usize) -> Value;
    /// Who shares the engine, those with the most series first; nobody where no label tells them apart.
    fn tenants(&self) -> Vec<Tenant> {
        Vec::new()
    }
    /// How long samples are kept.
    fn retention(&self) -> Span;
    /// Samples and targets refused since the start, by reason.
    fn refused(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

/// `/api/v1/query`: an expression at one time, now by default.
pub(crate) async fn query(
    State(app): State<App>,
    Extension(own): Extension<Arc<Own>>,
    accepts: Accepts,
    params: Params,
) -> Result<Response, Wrong> {
    let at = params.time("time", app.clock.now())?;
    let (limit, terms) = (params.limit()?, terms(&params)?);
    let _waits = terms.gone.clone().drop_guard();
    let timed = Timed::new(&params);
    let compute = move || {
        let mut answer = timed.took(|| app.queries.query(params.text("query"), at, &terms));
        answer.limit(limit);
        answer
    };
    Ok(answered(&own, accepts, compute).await)
}

/// `/api/v1/query_range`: an expression from `start` to `end`, every `step`.
pub(crate) async fn query_range(
    State(app): State<App>,
    Extension(own): Extension<Arc<Own>>,
    accepts: Accepts,
    params: Params,
) -> Result<Response, Wrong> {
    let (start, end) = (params.needed_time("start")?, params.needed_time("end")?);
    let window = window(start, end)?;
    let step = params.step()?;
    let (limit, terms) = (params.limit()?, terms(&params)?);
    if step == Span::ZERO {
        let why = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(Wrong::parameter("step", why));
    }
    let length = i128::from(end.millis()) - i128::from(start.millis());
    if length / i128::from(step.millis()) + 1 > POINTS_MAX {
        return Err(Wrong::new(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query \
             resolution (?step=XX)",
        ));
    }
    let _waits = terms.gone.clone().drop_guard();
    let timed = Timed::new(&params);
    let compute = move || {
        let expr = params.text("query");
        let mut answer = timed.took(|| app.queries.query_range(expr, window, step, &terms));
        answer.limit(limit);
        answer
    };
    Ok(answered(&own, accepts, compute).await)
}

/// `/api/v1/series`: label sets with a sample in the window.
pub(crate) async fn series(
    State(app): State<App>,
    Extension(own): Extension<Arc<Own>>,
    accepts: Accepts,
    params: Params,
) -> Result<Response, Wrong> {
    listed(&own, accepts, params, move |selectors, window| {
        app.queries.series(selectors, window)
    })
    .await
}

/// `/api/v1/labels`: names of labels.
pub(crate) async fn labels(
    State(app): State<App>,
    Extension(own): Extension<Arc<Own>>,
    accepts: Accepts,
    params: Params,
) -> Result<Response, Wrong> {
    listed(&own, accepts, params, move |selectors, window| {
        app.queries.labels(selectors, window)
    })
    .await
}

/// `/api/v1/label/NAME/values`.
pub(crate) async fn label_values(
    State(app): State<App>,
    Extension(own): Extension<Arc<Own>>,
    accepts: Accepts,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, Wrong> {
    let name = params::unescaped(&name);
    listed(&own, accepts, params, move |selectors, window| {
        app.queries.label_values(&name, selectors, window)
    })
    .await
}

/// What a request says of how its query is computed; it is over when its handler is dropped.
fn terms(params: &Params) -> Result<Terms, Wrong> {
    Ok(Terms {
        within: params.timeout()?,
        gone: CancellationToken::new(),
        stats: params.text("stats").to_owned(),
        plan: match params.text("plan") {
            "" | "false" => PlanAsked::No,
            "true" | "estimate" => PlanAsked::Estimate,
            "analyze" => PlanAsked::Analyze,
            other => {
                let why = format!("{other:?} is none of estimate and analyze");
                return Err(Wrong::parameter("plan", why));
            }
        },
    })
}

/// Measures a query, if its client asks for that (`stats=all`).
struct Timed(Option<Instant>);

impl Timed {
    fn new(params: &Params) -> Self {
        Self((!params.text("stats").is_empty()).then(Instant::now))
    }

    /// Answers, with the times in the answer: how long it waited for a thread, and how long it computed.
    fn took(&self, answer: impl FnOnce() -> Answer) -> Answer {
        let began = Instant::now();
        let mut answer = answer();
        if let (Some(asked), Some(data)) = (self.0, answer.envelope.get_mut("data")) {
            let (waited, took) = (began - asked, began.elapsed());
            data["stats"]["timings"] = json!({
                "execQueueTime": waited.as_secs_f64(),
                "evalTotalTime": took.as_secs_f64(),
                "execTotalTime": (waited + took).as_secs_f64(),
            });
        }
        answer
    }
}

/// The three lists: selectors `match[]`, a window that is all of time by default, a limit.
async fn listed(
    own: &Arc<Own>,
    accepts: Accepts,
    params: Params,
    list: impl FnOnce(&[&str], Window) -> Value + Send + 'static,
) -> Result<Response, Wrong> {
    let start = params.time("start", Time::from_millis(i64::MIN))?;
    let end = params.time("end", Time::from_millis(i64::MAX))?;
    let window = window(start, end)?;
    let limit = params.limit()?;
    params.selectors()?;
    let compute = move || {
        // Checked just above; nothing changed it since.
        let selectors = params.selectors().unwrap_or_default();
        let mut answer = list(&selectors, window);
        limit_to(&mut answer, "/data", limit);
        answer
    };
    Ok(answered(own, accepts, compute).await)
}

fn window(start: Time, end: Time) -> Result<Window, Wrong> {
    if end < start {
        let why = "end timestamp must not be before start time";
        return Err(Wrong::parameter("end", why));
    }
    Ok(Window { start, end })
}

/// Computes an answer in JSON, like [`computed`].
async fn answered<A: Into<Answer>>(
    own: &Arc<Own>,
    accepts: Accepts,
    compute: impl FnOnce() -> A + Send + 'static,
) -> Response {
    let compute = move || {
        let answer: Answer = compute().into();
        (status(&answer.envelope), answer.text())
    };
    computed(own, accepts, compute).await
}

/// Computes on a thread that may block, if not too many do; the answer is made into bytes there too.
async fn computed(
    own: &Arc<Own>,
    accepts: Accepts,
    compute: impl FnOnce() -> (StatusCode, String) + Send + 'static,
) -> Response {
    let Some(permit) = own.query_permit() else {
        return too_many(own);
    };
    let own = Arc::clone(own);
    let computing = move || {
        // Held until the computation ends, which is soon after the client has gone: that is what is limited.
        let _permit = permit;
        let began = Instant::now();
        let (status, body) = compute();
        let packed = accepts.pack(body);
        own.query_took(began.elapsed());
        (status, packed)
    };
    off_thread(computing).await
}

/// Tells who comes while too many queries run when to come back, and counts it.
fn too_many(own: &Own) -> Response {
    own.refuse_query();
    let what = format!("{QUERIES_AT_ONCE} queries run already: try again in {RETRY_AFTER_SECS} s");
    let mut response = failed(StatusCode::TOO_MANY_REQUESTS, "unavailable", &what);
    let retry = HeaderValue::from(RETRY_AFTER_SECS);
    response.headers_mut().insert(header::RETRY_AFTER, retry);
    response
}

/// An answer in JSON that no query stands behind: however many of those run, it is given.
pub(crate) async fn told(
    accepts: Accepts,
    compute: impl FnOnce() -> Value + Send + 'static,
) -> Response {
    let computing = move || {
        let answer = compute();
        (status(&answer), accepts.pack(answer.to_string()))
    };
    off_thread(computing).await
}

/// What a thread that may block makes of it.
async fn off_thread(computing: impl FnOnce() -> (StatusCode, Packed) + Send + 'static) -> Response {
    match spawn_blocking(computing).await {
        Ok((status, packed)) => {
            let mut response = json_body(status, packed.bytes);
            response.headers_mut().extend(packed.headers);
            if status == StatusCode::TOO_MANY_REQUESTS {
                let retry = HeaderValue::from(RETRY_AFTER_SECS);
                response.headers_mut().insert(header::RETRY_AFTER, retry);
            }
            response
        }
        Err(error) => {
            tracing::error!(%error, "a query died");
            let what = "the query died; the server's log says how";
            failed(StatusCode::INTERNAL_SERVER_ERROR, "internal", what)
        }
    }
}

/// The status that Prometheus gives to each type of error.
fn status(answer: &Value) -> StatusCode {
    match answer["errorType"].as_str() {
        None => StatusCode::OK,
        Some("bad_data") => StatusCode::BAD_REQUEST,
        Some("execution") => StatusCode::UNPROCESSABLE_ENTITY,
        Some("canceled" | "timeout" | "unavailable") => StatusCode::SERVICE_UNAVAILABLE,
        // Not one of Prometheus's, which has no such limit.
        Some("overloaded") => StatusCode::TOO_MANY_REQUESTS,
        Some("not_found") => StatusCode::NOT_FOUND,
        Some(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn success(data: Value) -> Value {
    json!({ "status": "success", "data": data })
}

pub(crate) fn failed(status: StatusCode, kind: &str, what: &str) -> Response {
    let body = json!({ "status": "error", "errorType": kind, "error": what });
    json_body(status, body.to_string().into_bytes())
}

fn json_body(status: StatusCode, body: Vec<u8>) -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    (status, json, body).into_response()
}

impl IntoResponse for Wrong {
    fn into_response(self) -> Response {
        failed(StatusCode::BAD_REQUEST, "bad_data", &self.0)
    }
}

#[cfg(test)]
mod tests;
