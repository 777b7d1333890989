//! Orders to production, and live views of it.
//!
//! Guarantees: an order is JSON that the owning pillar reads; a no carries its code, remedy and, where the
//! guard denies it, the verdict with its numbers. Never decides anything itself.

use axum::{
    Extension, Json,
    body::Bytes,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use mainstay_core::{
    Actor, ChangeId,
    ports::{Declined, No},
};
use serde::Deserialize;

use crate::{
    App,
    extract::{Asked, Sent},
    problem::Problem,
};

/// Largest order, in bytes.
const ORDER_BYTES_MAX: usize = 64 * 1024;

/// Why somebody steers a change, or removes a resource.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Reason {
    pub(crate) reason: String,
}

/// `GET /-/ready`: 200 while orders are walked and the ledger takes what is written, 503 with the reason otherwise.
pub(crate) async fn ready(State(app): State<App>) -> Result<&'static str, Problem> {
    app.changes.ready().await?;
    Ok("ready\n")
}

/// `POST /api/v1/actions/KIND`: plans and opens a change.
pub(crate) async fn propose(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Asked(Path(kind)): Asked<Path<String>>,
    body: Bytes,
) -> Result<Response, Problem> {
    let order = std::str::from_utf8(&body)
        .ok()
        .filter(|text| text.len() <= ORDER_BYTES_MAX);
    let Some(order) = order else {
        let title = format!("an order is UTF-8 JSON of at most {ORDER_BYTES_MAX} bytes");
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "bad-order",
            title,
            "see docs/api.md",
        ));
    };
    let answer = app.changes.propose(kind, actor, order.to_owned()).await?;
    Ok(json(answer))
}

/// `POST /api/v1/changes/ID/VERB`: tells an open change something.
pub(crate) async fn steer(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Asked(Path((id, verb))): Asked<Path<(ChangeId, String)>>,
    Sent(reason): Sent<Option<Json<Reason>>>,
) -> Result<Response, Problem> {
    let reason = reason.map(|Json(it)| it.reason).unwrap_or_default();
    let answer = app.changes.steer(id, verb, actor, reason).await?;
    Ok(json(answer))
}

/// `GET /api/v1/views/NAME`.
pub(crate) async fn view(
    State(app): State<App>,
    Asked(Path(name)): Asked<Path<String>>,
) -> Result<Response, Problem> {
    found(&name, None, app.views.view(&name, None).await)
}

/// `GET /api/v1/views/NAME/KEY`.
pub(crate) async fn view_of(
    State(app): State<App>,
    Asked(Path((name, key))): Asked<Path<(String, String)>>,
) -> Result<Response, Problem> {
    found(&name, Some(&key), app.views.view(&name, Some(&key)).await)
}

fn found(name: &str, key: Option<&str>, body: Option<String>) -> Result<Response, Problem> {
    body.map(json).ok_or_else(|| {
        let what = key.map_or_else(|| name.to_owned(), |key| format!("{name}/{key}"));
        Problem::new(
            StatusCode::NOT_FOUND,
            "unknown-view",
            format!("there is no view `{what}`"),
            "see docs/api.md",
        )
    })
}

fn json(body: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

impl From<Declined> for Problem {
    fn from(declined: Declined) -> Self {
        let status = match declined.no {
            No::Unknown => StatusCode::NOT_FOUND,
            No::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            No::Conflict | No::Denied => StatusCode::CONFLICT,
            No::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, declined.code, declined.what, declined.remedy).because(declined.verdict)
    }
}
