//! Orders about what is kept of samples, on the paths of Prometheus's admin API.
//!
//! Guarantees: an order is checked, then written into the ledger, then given: it is answered 204 once it is done and
//! durable. What goes wrong after the entry is in the answer, with the change's id beside it. Each server keeps samples
//! of its own: an order is about those of the one that is asked.
//!
//! ```text
//! curl -X POST 'http://127.0.0.1:7070/api/v1/admin/tsdb/delete_series?match[]=up{job="old"}'
//! ```

use axum::{
    Extension, Json,
    body::Bytes,
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use mainstay_core::{
    Actor, Append, BlastRadius, Change, ChangeId, ChangeKind, ChangeState, Expected, Time,
    change::Plan, ports::BoxFuture,
};
use serde_json::{Value, json};

use crate::{
    App, Window,
    changes::{moved_entry, open_entry},
    metrics::{
        failed,
        params::{Params, Wrong},
    },
    problem::Problem,
};

/// Bytes of all selectors of an order: they stand in its entry of the ledger.
const SELECTORS_BYTES_MAX: usize = 2_000;
/// Bytes of a title.
const TITLE_BYTES_MAX: usize = 200;
/// Bytes of a reason.
const REASON_BYTES_MAX: usize = 1_000;
/// Which change an order is in the ledger.
const CHANGE: HeaderName = HeaderName::from_static("x-mainstay-change");

/// Why an order was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undone {
    /// It is refused as it is.
    Refused(String),
    /// It cannot be done at the moment.
    Unavailable(String),
    /// It came upon something that is broken.
    Failed(String),
}

/// Takes orders about samples.
pub trait Upkeep: Send + Sync {
    /// What is wrong with selectors.
    fn check(&self, selectors: &[String]) -> Result<(), String>;
    /// Removes the samples of a window that are there now, of series that any selector names.
    fn delete(&self, selectors: Vec<String>, window: Window) -> BoxFuture<'_, Result<(), Undone>>;
    /// Frees the disk of what was removed.
    fn clean(&self) -> BoxFuture<'_, Result<(), Undone>>;
    /// Copies everything that is kept, what is only in memory if told so, into a folder of this name.
    fn snapshot(&self, name: String, with_head: bool) -> BoxFuture<'_, Result<(), Undone>>;
    /// `POST /api/v1/import`: keeps samples of any age.
    fn import(
        &self,
        request: axum::http::Request<Bytes>,
    ) -> BoxFuture<'_, axum::http::Response<Bytes>>;
    /// How copies of what is kept stand elsewhere.
    fn copies(&self) -> Value;
}

/// `POST, PUT /api/v1/admin/tsdb/delete_series`.
pub(crate) async fn delete_series(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    params: Params,
) -> Result<Response, Wrong> {
    let selectors = params.selectors()?.into_iter().map(str::to_owned);
    let selectors: Vec<String> = selectors.collect();
    if selectors.is_empty() {
        return Err(Wrong::new("no match[] parameter provided"));
    }
    app.upkeep
        .check(&selectors)
        .map_err(|why| Wrong::parameter("match[]", why))?;
    let bytes: usize = selectors.iter().map(String::len).sum();
    if bytes > SELECTORS_BYTES_MAX {
        let why = format!("{bytes} bytes of selectors, the limit is {SELECTORS_BYTES_MAX}");
        return Err(Wrong::parameter("match[]", why));
    }
    let start = params.time("start", Time::from_millis(i64::MIN))?;
    let end = params.time("end", Time::from_millis(i64::MAX))?;
    if end < start {
        return Err(Wrong::parameter("end", "it is before the start"));
    }
    let whole = |text: &str, time: Time| (!params.text(text).is_empty()).then(|| time.to_string());
    let (from, to) = (whole("start", start), whole("end", end));
    let order = Written {
        title: format!("delete samples of {}", selectors.join(" and ")),
        reason: reason(&params)?,
        kind: "samples.delete",
        body: json!({ "match": selectors, "start": from, "end": to }),
    };
    let window = Window { start, end };
    Ok(carried_out(&app, actor, order, app.upkeep.delete(selectors, window)).await)
}

/// `POST, PUT /api/v1/admin/tsdb/clean_tombstones`.
pub(crate) async fn clean_tombstones(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    params: Params,
) -> Result<Response, Wrong> {
    let order = Written {
        title: "clean deleted samples off the disk".to_owned(),
        reason: reason(&params)?,
        kind: "samples.clean",
        body: json!({}),
    };
    Ok(carried_out(&app, actor, order, app.upkeep.clean()).await)
}

/// `POST, PUT /api/v1/admin/tsdb/snapshot`. It changes nothing, so that no entry tells it.
pub(crate) async fn snapshot(State(app): State<App>, params: Params) -> Result<Response, Wrong> {
    let with_head = match params.text("skip_head") {
        "" | "false" | "0" => true,
        "true" | "1" => false,
        other => {
            let why = format!("cannot parse {other:?} to a truth value");
            return Err(Wrong::parameter("skip_head", why));
        }
    };
    let name = snapshot_name(app.clock.now(), &(app.next_change_id)());
    Ok(match app.upkeep.snapshot(name.clone(), with_head).await {
        Ok(()) => Json(json!({ "status": "success", "data": { "name": name } })).into_response(),
        Err(undone) => undone.into_response(),
    })
}

/// When it was made, as Prometheus writes that, and what tells it from another of the same second.
fn snapshot_name(now: Time, unique: &ChangeId) -> String {
    let time = now.to_string();
    let time = time.split_once('.').map_or(&*time, |(whole, _)| whole);
    let time = time.chars().filter(char::is_ascii_alphanumeric);
    let time: String = time.filter(|c| *c != 'Z').collect();
    let unique = unique.as_str().trim_start_matches("chg-");
    format!("{time}Z-{unique}")
}

fn reason(params: &Params) -> Result<String, Wrong> {
    let reason = params.text("reason");
    if reason.len() > REASON_BYTES_MAX {
        let why = format!("{} bytes, the limit is {REASON_BYTES_MAX}", reason.len());
        return Err(Wrong::parameter("reason", why));
    }
    Ok(reason.to_owned())
}

/// An order as the ledger has it.
pub(crate) struct Written {
    pub(crate) title: String,
    pub(crate) reason: String,
    pub(crate) kind: &'static str,
    pub(crate) body: Value,
}

async fn carried_out(
    app: &App,
    actor: Actor,
    order: Written,
    carry_out: BoxFuture<'_, Result<(), Undone>>,
) -> Response {
    let change = match recorded(app, actor, order).await {
        Ok(change) => change,
        Err(problem) => return problem.into_response(),
    };
    let mut response = match carry_out.await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(undone) => undone.into_response(),
    };
    if let Ok(id) = HeaderValue::from_str(change.as_str()) {
        response.headers_mut().insert(CHANGE, id);
    }
    response
}

impl IntoResponse for Undone {
    fn into_response(self) -> Response {
        match self {
            Self::Refused(why) => failed(StatusCode::BAD_REQUEST, "bad_data", &why),
            Self::Unavailable(why) => failed(StatusCode::SERVICE_UNAVAILABLE, "unavailable", &why),
            Self::Failed(why) => failed(StatusCode::INTERNAL_SERVER_ERROR, "internal", &why),
        }
    }
}

/// Writes an order into the ledger, as one that is given at once.
pub(crate) async fn recorded(app: &App, actor: Actor, order: Written) -> Result<ChangeId, Problem> {
    let now = app.clock.now();
    let mut title = order.title;
    if title.len() > TITLE_BYTES_MAX {
        let cut = (0..=TITLE_BYTES_MAX - 4)
            .rev()
            .find(|at| title.is_char_boundary(*at));
        title.truncate(cut.unwrap_or(0));
        title.push_str(" …");
    }
    let opened = Change {
        id: (app.next_change_id)(),
        kind: ChangeKind::Data,
        actor: actor.clone(),
        reason: order.reason,
        title,
        blast_radius: BlastRadius::default(),
        emergency: None,
        opened_at: now,
        deadline: None,
        plan: Plan {
            kind: order.kind.to_owned(),
            schema: 1,
            body: order.body.to_string(),
        },
    };
    let entries = vec![
        open_entry(&opened),
        moved_entry(&opened, ChangeState::Done, "given to the metric engine"),
    ];
    let expected = vec![Expected {
        stream: opened.stream(),
        version: 0,
    }];
    app.ledger
        .append(Append {
            actor,
            at: now,
            expected,
            entries,
        })
        .await?;
    Ok(opened.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_named_after_its_time() {
        let at = Time::from_millis(1_700_000_000_123);
        let name = snapshot_name(at, &ChangeId::new("chg-abc").unwrap());
        assert_eq!(name, "20231114T221320Z-abc");
    }
}
