//! Silences by HTTP: set, listed, ended.

use std::cmp::Reverse;

use axum::{
    Json,
    body::Bytes,
    extract::{Path, RawQuery, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Shared, durable, refused,
    written::{filter, pairs, read_time, time},
};
use crate::{
    Labels,
    matcher::{Matcher, Matchers},
    silence::{Silence, SilenceError, SilenceState},
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    #[serde(default)]
    id: Option<String>,
    matchers: Vec<Matcher>,
    starts_at: String,
    ends_at: String,
    created_by: String,
    comment: String,
}

impl Body {
    fn silence(self, now: Timestamp) -> Result<Silence, String> {
        let at = |text: &str| {
            read_time(Some(text))?.ok_or_else(|| "a silence needs its start and its end".to_owned())
        };
        Ok(Silence {
            id: self.id.unwrap_or_default(),
            matchers: Matchers::from(self.matchers),
            starts_at: at(&self.starts_at)?,
            ends_at: at(&self.ends_at)?,
            updated_at: now,
            created_by: self.created_by,
            comment: self.comment,
        })
    }
}

fn status(error: &SilenceError) -> StatusCode {
    match error {
        SilenceError::NotFound(_) => StatusCode::NOT_FOUND,
        SilenceError::TooMany => StatusCode::TOO_MANY_REQUESTS,
        SilenceError::Expired(_) => StatusCode::INTERNAL_SERVER_ERROR,
        SilenceError::EndsBeforeStart
        | SilenceError::EndsInThePast
        | SilenceError::AboutEverything
        | SilenceError::NoMatcher
        | SilenceError::TooManyMatchers
        | SilenceError::TooLong(_) => StatusCode::BAD_REQUEST,
    }
}

fn written(silence: &Silence, now: Timestamp) -> Value {
    json!({
        "id": silence.id,
        "status": {"state": silence.state(now).word()},
        "updatedAt": time(silence.updated_at),
        "comment": silence.comment,
        "createdBy": silence.created_by,
        "endsAt": time(silence.ends_at),
        "matchers": silence.matchers,
        "startsAt": time(silence.starts_at),
    })
}

/// Makes a silence, or changes one.
pub(super) async fn set(State(service): Shared, body: Bytes) -> Response {
    let now = Timestamp::now();
    let wanted = serde_json::from_slice(&body).map_err(|error| error.to_string());
    let wanted = match wanted.and_then(|body: Body| body.silence(now)) {
        Ok(wanted) => wanted,
        Err(error) => {
            return refused(
                StatusCode::BAD_REQUEST,
                format!("parsing silence body failed: {error}"),
            );
        }
    };
    let id = match new_id() {
        Ok(id) => id,
        Err(error) => return refused(StatusCode::INTERNAL_SERVER_ERROR, error),
    };
    let (set, kept) = service.change(|machine| match machine.silence(wanted, id, now) {
        Ok((id, effects)) => (Ok(id), effects),
        Err(error) => (Err(error), Vec::new()),
    });
    match set {
        Err(error) => refused(status(&error), format!("failed to create silence: {error}")),
        Ok(id) => durable(kept, Json(json!({"silenceID": id})).into_response()).await,
    }
}

/// A random UUID, version 4.
fn new_id() -> Result<String, getrandom::Error> {
    let random = (u128::from(getrandom::u64()?) << 64) | u128::from(getrandom::u64()?);
    let versioned = (random & !(0xf << 76)) | (0x4 << 76);
    let id = (versioned & !(0x3 << 62)) | (0x2 << 62);
    let hex = format!("{id:032x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default().to_owned();
    Ok([
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32),
    ]
    .join("-"))
}

/// Ends a silence.
pub(super) async fn expire(State(service): Shared, Path(id): Path<String>) -> Response {
    let (ended, kept) = service.change(|machine| match machine.expire(&id, Timestamp::now()) {
        Ok(effects) => (Ok(()), effects),
        Err(error) => (Err(error), Vec::new()),
    });
    match ended {
        Err(error) => refused(status(&error), error),
        Ok(()) => durable(kept, StatusCode::OK.into_response()).await,
    }
}

/// One silence.
pub(super) async fn one(State(service): Shared, Path(id): Path<String>) -> Response {
    let now = Timestamp::now();
    let found = service.look(|machine| machine.silences().get(&id).map(|it| written(it, now)));
    match found {
        Some(silence) => Json(silence).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Lists silences: those in force by their end, then those to come by their start, then those that are over.
pub(super) async fn list(State(service): Shared, RawQuery(query): RawQuery) -> Response {
    let mut wanted = Matchers::default();
    for (_, text) in pairs(query.as_deref())
        .into_iter()
        .filter(|(name, _)| name == "filter")
    {
        match filter(&text) {
            Ok(more) => wanted.extend(more),
            Err(error) => return refused(StatusCode::BAD_REQUEST, error),
        }
    }
    let now = Timestamp::now();
    let found: Vec<_> = service.look(|machine| {
        let all = machine.silences().iter();
        let mut found: Vec<_> = all.filter(|it| is_about(it, &wanted)).collect();
        found.sort_by_key(|it| {
            let state = it.state(now);
            let second = match state {
                SilenceState::Active | SilenceState::Expired => it.ends_at.as_millisecond(),
                SilenceState::Pending => it.starts_at.as_millisecond(),
            };
            let second = if state == SilenceState::Expired {
                -second
            } else {
                second
            };
            (state, second, Reverse(it.updated_at))
        });
        found.into_iter().map(|it| written(it, now)).collect()
    });
    Json(found).into_response()
}

/// Whether a silence's own matchers, taken as labels, are asked for.
fn is_about(silence: &Silence, wanted: &Matchers) -> bool {
    let labels: Labels = silence
        .matchers
        .iter()
        .map(|it| (it.name(), it.value()))
        .collect();
    wanted.matches(&labels)
}
