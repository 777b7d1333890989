//! Changes: list, one with every step, and those made elsewhere.

use axum::{
    Extension, Json,
    extract::{Path, Query, State},
    http::StatusCode,
};
use mainstay_core::{
    Actor, Append, BlastRadius, Change, ChangeId, ChangeKind, ChangeState, Expected, NewEntry,
    ServiceName,
    change::{self, Moved, Plan},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{App, problem::Problem, problem::unreadable};

/// Most changes in one answer.
const LIST_MAX: usize = 1_000;
/// Rows looked through for one answer: filters are applied to the newest.
const SCAN_MAX: usize = 20_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    kind: Option<ChangeKind>,
    state: Option<ChangeState>,
    service: Option<ServiceName>,
    limit: Option<usize>,
}

impl Filter {
    fn keeps(&self, row: &Value) -> bool {
        let is = |path: &str, want: Option<Value>| {
            want.is_none_or(|want| row.pointer(path) == Some(&want))
        };
        is("/change/kind", self.kind.map(|kind| json!(kind)))
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
    Query(filter): Query<Filter>,
) -> Result<Json<Vec<Value>>, Problem> {
    let mut found = Vec::new();
    let mut after = String::new();
    let mut seen = 0;
    loop {
        let page = app.tables.list("changes", "", &after, LIST_MAX).await?;
        let Some((last, _)) = page.last() else { break };
        after.clone_from(last);
        seen += page.len();
        for (id, body) in &page {
            let row: Value = serde_json::from_str(body)
                .map_err(|error| unreadable(&format!("change {id}"), &error))?;
            if filter.keeps(&row) {
                found.push(row);
            }
        }
        if seen >= SCAN_MAX {
            break;
        }
    }
    let opened = |row: &Value| {
        row.pointer("/change/openedAt")
            .and_then(Value::as_i64)
            .unwrap_or(0)
    };
    found.sort_by_key(|row| std::cmp::Reverse(opened(row)));
    found.truncate(filter.limit.unwrap_or(100).min(LIST_MAX));
    Ok(Json(found))
}

/// `GET /api/v1/changes/ID`: the summary and every entry.
pub(crate) async fn get(
    State(app): State<App>,
    Path(id): Path<ChangeId>,
) -> Result<Json<Value>, Problem> {
    let Some(body) = app.tables.get("changes", id.as_str()).await? else {
        return Err(Problem::new(
            StatusCode::NOT_FOUND,
            "unknown-change",
            format!("there is no change `{id}`"),
            "list them with `mainstay changes`",
        ));
    };
    let summary: Value =
        serde_json::from_str(&body).map_err(|error| unreadable(&format!("change {id}"), &error))?;
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
    Json(record): Json<Record>,
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
