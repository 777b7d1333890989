//! Changes: list, one with every step, and those made elsewhere.

use axum::{
    Extension, Json,
    extract::{Path, State},
    http::{HeaderMap, HeaderName, StatusCode},
};
use mainstay_core::{
    Actor, Append, BlastRadius, Change, ChangeId, ChangeKind, ChangeState, Expected, NewEntry,
    ServiceName,
    change::{self, Moved, Plan},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    App,
    extract::{Asked, Count, Queried, Sent},
    problem::Problem,
    problem::unreadable,
};

/// Most changes in one answer.
const LIST_MAX: usize = 1_000;
/// Ids read at once.
const PAGE: usize = 1_000;
/// Changes looked at for one answer, newest first. Only two filters at once, both of which most changes
/// fail, can come to it; the header [`LOOKED_AT`] then says so.
const LOOK_MAX: usize = 20_000;
/// How many changes were looked at, where an answer ended before the ledger did.
const LOOKED_AT: &str = "x-mainstay-looked-at";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    kind: Option<ChangeKind>,
    state: Option<ChangeState>,
    service: Option<ServiceName>,
    limit: Option<Count<usize>>,
}

impl Filter {
    /// Where the ids that can pass are found, newest first: under the filter that leaves fewest.
    fn index(&self) -> String {
        let word = |value: Value| value.as_str().unwrap_or_default().to_owned();
        match (&self.service, self.state, self.kind) {
            (Some(service), _, _) => format!("service/{service}/"),
            (None, Some(state), _) => format!("state/{}/", word(json!(state))),
            (None, None, Some(kind)) => format!("kind/{}/", word(json!(kind))),
            (None, None, None) => "all/".to_owned(),
        }
    }

    fn keeps(&self, row: &Value) -> bool {
        let is = |path: &str, want: Option<Value>| {
            want.is_none_or(|want| row.pointer(path) == Some(&want))
        };
        let is_incident = row.pointer("/change/kind") == Some(&json!(ChangeKind::Incident));
        (!is_incident || self.kind == Some(ChangeKind::Incident))
            && is("/change/kind", self.kind.map(|kind| json!(kind)))
            && is("/state", self.state.map(|state| json!(state)))
            && self.service.as_ref().is_none_or(|service| {
                let touched = row
                    .pointer("/change/blastRadius/services")
                    .and_then(Value::as_array);
                touched.is_some_and(|list| list.contains(&json!(service)))
            })
    }
}

/// `GET /api/v1/changes`: newest first.
pub(crate) async fn list(
    State(app): State<App>,
    Queried(filter): Queried<Filter>,
) -> Result<(HeaderMap, Json<Vec<Value>>), Problem> {
    let limit = filter.limit.map_or(100, |limit| limit.0).min(LIST_MAX);
    if filter.state.is_some_and(|state| !state.is_final()) {
        let mut found = open(&app, &filter).await?;
        found.truncate(limit);
        return Ok((HeaderMap::new(), Json(found)));
    }
    let prefix = filter.index();
    let (mut found, mut after, mut looked) = (Vec::new(), String::new(), 0);
    while found.len() < limit {
        let page = app
            .tables
            .list("changes_newest", &prefix, &after, PAGE)
            .await?;
        let Some((last, _)) = page.last() else { break };
        after.clone_from(last);
        for (_, id) in &page {
            if found.len() >= limit {
                break;
            }
            if looked >= LOOK_MAX {
                let looked_at = (HeaderName::from_static(LOOKED_AT), looked.into());
                return Ok((HeaderMap::from_iter([looked_at]), Json(found)));
            }
            looked += 1;
            found.extend(summary(&app, id).await?.filter(|row| filter.keeps(row)));
        }
    }
    Ok((HeaderMap::new(), Json(found)))
}

/// Those that are not final: never many, so all are read and then sorted.
async fn open(app: &App, filter: &Filter) -> Result<Vec<Value>, Problem> {
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page = app
            .tables
            .list("changes_newest", "open/", &after, PAGE)
            .await?;
        let Some((last, _)) = page.last() else { break };
        after.clone_from(last);
        for (_, id) in &page {
            found.extend(summary(app, id).await?.filter(|row| filter.keeps(row)));
        }
    }
    let opened = |row: &Value| {
        row.pointer("/change/openedAt")
            .and_then(Value::as_i64)
            .unwrap_or(0)
    };
    found.sort_by_key(|row| std::cmp::Reverse(opened(row)));
    Ok(found)
}

async fn summary(app: &App, id: &str) -> Result<Option<Value>, Problem> {
    let Some(body) = app.tables.get("changes", id).await? else {
        return Ok(None);
    };
    serde_json::from_str(&body).map_err(|error| unreadable(&format!("change {id}"), &error))
}

/// `GET /api/v1/changes/ID`: the summary and every entry.
pub(crate) async fn get(
    State(app): State<App>,
    Asked(Path(id)): Asked<Path<ChangeId>>,
) -> Result<Json<Value>, Problem> {
    let Some(summary) = summary(&app, id.as_str()).await? else {
        return Err(Problem::new(
            StatusCode::NOT_FOUND,
            "unknown-change",
            format!("there is no change `{id}`"),
            "list them with `mainstay changes`",
        ));
    };
    let entries = app.ledger.stream(&change::change_stream(&id)).await?;
    Ok(Json(json!({ "summary": summary, "entries": entries })))
}

/// A change made elsewhere.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Record {
    title: String,
    reason: String,
    #[serde(default)]
    services: Vec<ServiceName>,
}

/// `POST /api/v1/changes/record`.
pub(crate) async fn record(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Sent(Json(record)): Sent<Json<Record>>,
) -> Result<Json<Value>, Problem> {
    if record.title.trim().is_empty() || record.title.len() > 200 || record.reason.len() > 1_000 {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "bad-record",
            "a recorded change needs a title of 1 to 200 bytes and a reason of at most 1,000",
            "shorten it",
        ));
    }
    let now = app.clock.now();
    let opened = Change {
        id: (app.next_change_id)(),
        kind: ChangeKind::Recorded,
        actor: actor.clone(),
        reason: record.reason,
        title: record.title,
        blast_radius: BlastRadius {
            services: record.services,
            ..BlastRadius::default()
        },
        emergency: None,
        opened_at: now,
        deadline: None,
        plan: Plan {
            kind: "recorded".to_owned(),
            schema: 1,
            body: "{}".to_owned(),
        },
    };
    let id = opened.id.clone();
    let entries = vec![
        open_entry(&opened),
        moved_entry(&opened, ChangeState::Done, "made elsewhere"),
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
    Ok(Json(json!({ "change": id })))
}

/// The entry that opens `change`.
pub(crate) fn open_entry(change: &Change) -> NewEntry {
    entry(change, change::OPENED, &json!(change))
}

/// The entry that moves `change` to `state`.
pub(crate) fn moved_entry(change: &Change, state: ChangeState, because: &str) -> NewEntry {
    entry(
        change,
        change::MOVED,
        &json!(Moved {
            state,
            because: because.to_owned()
        }),
    )
}

fn entry(change: &Change, kind: &str, body: &Value) -> NewEntry {
    NewEntry {
        stream: change.stream(),
        kind: kind.to_owned(),
        schema: 1,
        body: body.to_string(),
    }
}
