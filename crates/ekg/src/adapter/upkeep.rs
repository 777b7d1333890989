//! Orders about what is kept of samples: deletion, cleaning, snapshots, import.
//!
//! Guarantees: an order that is answered well is durable, and every query that begins after that sees it. One that is
//! wrong is refused before anything is done. Where no answer comes in time it may still be carried out: giving it again
//! does no harm.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use mainstay_core::{Time, ports::Clock};
use mainstay_tsdb::{Matcher, Order, OrderError, Outcome};
use serde_json::{Map, Value, json};
use tokio::{task::spawn_blocking, time::timeout};

use super::{
    Writer,
    intake::{refusal, text, typed},
};
use crate::{
    QueryError,
    delivery::Delivery,
    handle::matchers,
    import::{self, TextFormat},
    metadata::Metadata,
    write::{Protocol, decode, unpacked},
};

/// How long an order may take: it waits for what was appended before it to be sealed, and parts of a month may be
/// written anew.
const ORDER_WITHIN: Duration = Duration::from_mins(10);

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum UpkeepError {
    /// A selector is wrong.
    #[error(transparent)]
    Wrong(#[from] QueryError),
    /// The engine refused it, or could not do it.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// No answer came in time.
    #[error("it was not done within {} s, and may be done later: look at the server's log, and order it again", ORDER_WITHIN.as_secs())]
    Late,
}

/// Gives orders about samples that are kept.
#[derive(Clone)]
pub struct Upkeep {
    writer: Writer,
    clock: Arc<dyn Clock>,
}

impl Upkeep {
    /// One that reaches the engine through `writer`.
    pub fn new(writer: Writer, clock: Arc<dyn Clock>) -> Self {
        Self { writer, clock }
    }

    /// Whether all are selectors, of which there must be one.
    pub fn check(selectors: &[String]) -> Result<(), QueryError> {
        parsed(selectors).map(|_| ())
    }

    /// Removes the samples of `start..=end` that are there now, of series that any of the selectors names.
    pub async fn delete(
        &self,
        selectors: &[String],
        start: Time,
        end: Time,
    ) -> Result<Outcome, UpkeepError> {
        let order = Order::Delete {
            selectors: parsed(selectors)?,
            start_ms: start.millis(),
            end_ms: end.millis(),
        };
        self.give(order).await
    }

    /// Frees the disk of what was removed.
    pub async fn clean(&self) -> Result<Outcome, UpkeepError> {
        self.give(Order::Clean).await
    }

    /// Copies everything that is kept into the folder `name` of snapshots.
    pub async fn snapshot(&self, name: String, with_head: bool) -> Result<Outcome, UpkeepError> {
        self.give(Order::Snapshot { name, with_head }).await
    }

    /// `POST /api/v1/import`: samples of any age, in the text formats or as remote write 1.0.
    pub async fn import(&self, request: Request<Bytes>) -> Response<Bytes> {
        let now = self.clock.now();
        let (parts, body) = request.into_parts();
        let read = spawn_blocking(move || {
            let mut delivery = Delivery::new(now, Metadata::default());
            read(&parts.headers, &body, &mut delivery).map(|()| delivery)
        });
        let delivery = match read.await {
            Ok(Ok(delivery)) => delivery,
            Ok(Err((status, why))) => return failed(status, "bad_data", &why),
            Err(error) => {
                tracing::error!(%error, "reading what was sent died");
                let why = "reading the request died; the server's log says how";
                return failed(StatusCode::INTERNAL_SERVER_ERROR, "internal", why);
            }
        };
        let batch = import::by_series(&delivery.samples.finish());
        match self.give(Order::Backfill(batch)).await {
            Ok(outcome) => {
                let mut refused = delivery.refused;
                let limits = || "labels are too many or too long".to_owned();
                refused.add("label-limit", outcome.refused, limits);
                let reasons: Map<String, Value> = refused
                    .by_reason()
                    .map(|(reason, count)| (reason.to_owned(), count.into()))
                    .collect();
                let data = json!({
                    "written": outcome.written, "known": outcome.known,
                    "expired": outcome.expired, "refused": reasons, "told": refused.text(),
                });
                let body = json!({ "status": "success", "data": data });
                typed(
                    StatusCode::OK,
                    "application/json",
                    body.to_string().into_bytes(),
                )
            }
            Err(why) => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                failed(status, "unavailable", &why.to_string())
            }
        }
    }

    async fn give(&self, order: Order) -> Result<Outcome, UpkeepError> {
        let given = self.writer.order(self.clock.now(), order);
        let answered = timeout(ORDER_WITHIN, given).await;
        Ok(answered.map_err(|_| UpkeepError::Late)??)
    }
}

/// The matchers of a selector, for whoever keeps some series longer than others.
pub fn selected(selector: &str) -> Result<Vec<Matcher>, QueryError> {
    matchers(selector)
}

fn read(
    headers: &HeaderMap,
    body: &[u8],
    delivery: &mut Delivery,
) -> Result<(), (StatusCode, String)> {
    let content = text(headers, header::CONTENT_TYPE);
    let media = content.split(';').next().unwrap_or("").trim();
    let format = match media {
        "application/openmetrics-text" => TextFormat::OpenMetrics,
        "" | "text/plain" => TextFormat::Prometheus,
        _ => {
            let encoding = text(headers, header::CONTENT_ENCODING);
            let protocol = Protocol::of(content, encoding);
            let unspoken = |error: crate::write::Unspoken| {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, error.to_string())
            };
            let protocol = protocol.map_err(unspoken)?;
            let read = unpacked(body, |message| decode(protocol, message, delivery));
            return read.map_err(|error| (refusal(&error), error.to_string()));
        }
    };
    let seen = import::read_text(format, body);
    let seen = seen.map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
    import::deliver(&seen, delivery);
    Ok(())
}

fn failed(status: StatusCode, kind: &str, why: &str) -> Response<Bytes> {
    let body = json!({ "status": "error", "errorType": kind, "error": why });
    typed(status, "application/json", body.to_string().into_bytes())
}

fn parsed(selectors: &[String]) -> Result<Vec<Vec<Matcher>>, QueryError> {
    if selectors.is_empty() {
        return Err(QueryError::NoSelector);
    }
    selectors
        .iter()
        .map(|selector| matchers(selector))
        .collect()
}
