//! The ledger itself: pages of it, a live feed, and the state of its chain.

use std::{convert::Infallible, time::Duration};

use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::sse::{Event, KeepAlive, Sse},
};
use futures_util::{Stream, stream};
use mainstay_core::{Entry, StreamId, ports::LedgerError};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    App,
    extract::{Count, Queried},
    problem::Problem,
};

/// Most entries in one page.
const PAGE_MAX: usize = 1_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    #[serde(default)]
    since: Count<u64>,
    limit: Option<Count<usize>>,
    stream: Option<StreamId>,
}

/// `GET /api/v1/ledger?since=SEQ&stream=STREAM`: entries after SEQ, oldest first; of one stream where it is named.
pub(crate) async fn since(
    State(app): State<App>,
    Queried(page): Queried<Page>,
) -> Result<Json<Vec<Entry>>, Problem> {
    let limit = page.limit.map_or(100, |limit| limit.0).min(PAGE_MAX);
    let Some(stream) = &page.stream else {
        return Ok(Json(app.ledger.since(page.since.0, limit).await?));
    };
    let mut entries = app.ledger.stream(stream).await?;
    entries.retain(|entry| entry.seq > page.since.0);
    entries.truncate(limit);
    Ok(Json(entries))
}

/// `GET /api/v1/ledger/feed`: every entry as it is committed; `Last-Event-ID` resumes without a gap.
pub(crate) async fn feed(
    State(app): State<App>,
    Queried(page): Queried<Page>,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let resumed = headers
        .get("last-event-id")
        .and_then(|id| id.to_str().ok())
        .and_then(|id| id.parse().ok());
    let start = (
        app,
        resumed.unwrap_or(page.since.0),
        Vec::<Entry>::new().into_iter(),
    );
    let events = stream::unfold(start, async |(mut app, mut at, mut ready)| {
        loop {
            if let Some(entry) = ready.next() {
                at = entry.seq;
                let event = Event::default()
                    .id(entry.seq.to_string())
                    .event(&entry.kind)
                    .data(json!(entry).to_string());
                return Some((Ok(event), (app, at, ready)));
            }
            match app.ledger.since(at, PAGE_MAX).await {
                Ok(page) if !page.is_empty() => ready = page.into_iter(),
                Ok(_) => app.newest.changed().await.ok()?,
                Err(error) => {
                    // The client sees the stream end and resumes from its last id.
                    tracing::warn!(%error, "a feed of the ledger ended");
                    return None;
                }
            }
        }
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(5)))
}

/// `GET /api/v1/ledger/verify`: walks the whole chain.
pub(crate) async fn verify(State(app): State<App>) -> Result<Json<Value>, Problem> {
    Ok(Json(match app.ledger.verify().await {
        Ok((entries, head)) => json!({ "holds": true, "entries": entries, "head": head }),
        Err(LedgerError::Broken(broken)) => json!({ "holds": false, "broken": broken }),
        Err(error) => return Err(error.into()),
    }))
}
