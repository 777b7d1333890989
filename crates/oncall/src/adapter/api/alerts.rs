//! Alerts by HTTP: taken, listed, listed by group.

use std::collections::BTreeMap;

use axum::{
    Json,
    body::Bytes,
    extract::{RawQuery, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::{
    Shared, durable, refused,
    written::{Kept, Question, alert, read_time},
};
use crate::{Labels, Posted, config::Settings, dispatch::Fate};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    labels: Labels,
    #[serde(default)]
    annotations: Option<Labels>,
    starts_at: Option<String>,
    ends_at: Option<String>,
    #[serde(rename = "generatorURL")]
    generator_url: Option<String>,
}

impl Body {
    fn posted(self) -> Result<Posted, String> {
        Ok(Posted {
            labels: self.labels,
            annotations: self.annotations.unwrap_or_default(),
            starts_at: read_time(self.starts_at.as_deref())?,
            ends_at: read_time(self.ends_at.as_deref())?,
            generator_url: self.generator_url.unwrap_or_default(),
        })
    }
}

/// A body that holds no alerts.
#[derive(Debug, thiserror::Error)]
#[error("parsing alerts body failed: {0}")]
pub struct IntakeError(#[from] serde_json::Error);

/// The alerts of a body, and what is wrong with those that are none.
pub fn posted(body: &[u8]) -> Result<(Vec<Posted>, Vec<String>), IntakeError> {
    let bodies: Vec<Body> = serde_json::from_slice(body)?;
    let (mut posted, mut wrong) = (Vec::with_capacity(bodies.len()), Vec::new());
    for body in bodies {
        match body.posted() {
            Ok(one) => posted.push(one),
            Err(error) => wrong.push(error),
        }
    }
    Ok((posted, wrong))
}

/// Takes alerts; where some are none, the others are taken and the answer is 400.
pub(super) async fn post(State(service): Shared, body: Bytes) -> Response {
    let (posted, mut wrong) = match posted(&body) {
        Ok(read) => read,
        Err(error) => return refused(StatusCode::BAD_REQUEST, error),
    };
    let now = Timestamp::now();
    let over = posted
        .iter()
        .filter(|it| it.ends_at.is_some_and(|at| at <= now))
        .count();
    let firing = posted.len() - over;
    let (errors, kept) = service.change(|machine| {
        let (effects, refused) = machine.accept(posted, now);
        (refused, effects)
    });
    wrong.extend(errors.iter().map(ToString::to_string));
    service.metrics.received(firing, over, wrong.len());
    let answer = if wrong.is_empty() {
        StatusCode::OK.into_response()
    } else {
        refused(StatusCode::BAD_REQUEST, wrong.join("; "))
    };
    durable(kept, answer).await
}

/// Lists alerts by fingerprint.
pub(super) async fn list(State(service): Shared, RawQuery(query): RawQuery) -> Response {
    let question = match Question::read(query.as_deref()) {
        Ok(question) => question,
        Err(error) => return refused(StatusCode::BAD_REQUEST, error),
    };
    let now = Timestamp::now();
    let found: Vec<_> = service.look(|machine| {
        let settings = machine.settings();
        let mut muted: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for (_, alerts) in machine.dispatch().groups() {
            for (alert, fate) in alerts {
                if let Fate::Muted(by) = fate {
                    muted
                        .entry(alert.fingerprint())
                        .or_default()
                        .extend(by.iter().cloned());
                }
            }
        }
        let mut found = Vec::new();
        for (print, one) in machine.alerts().iter() {
            let receivers = receivers(settings, &one.labels);
            if !receivers.iter().any(|it| question.wants_receiver(it)) {
                continue;
            }
            let kept = Kept::of(machine, &one.labels, now);
            let muted = muted.get(&print).map(Vec::as_slice).unwrap_or_default();
            if question.wants(one, &kept, !muted.is_empty(), now) {
                found.push(alert(one, &kept, muted, &receivers));
            }
        }
        found
    });
    Json(found).into_response()
}

/// Whom an alert goes to.
fn receivers<'a>(settings: &'a Settings, labels: &Labels) -> Vec<&'a str> {
    let routes = settings.tree.matching(labels).into_iter();
    routes
        .map(|id| &*settings.tree.get(id).manner.receiver)
        .collect()
}

/// Lists groups by their labels, then by receiver.
pub(super) async fn groups(State(service): Shared, RawQuery(query): RawQuery) -> Response {
    let question = match Question::read(query.as_deref()) {
        Ok(question) => question,
        Err(error) => return refused(StatusCode::BAD_REQUEST, error),
    };
    let now = Timestamp::now();
    let mut found: Vec<_> = service.look(|machine| {
        let settings = machine.settings();
        let mut found = Vec::new();
        for (id, alerts) in machine.dispatch().groups() {
            let receiver = &*settings.tree.get(id.route).manner.receiver;
            if !question.wants_receiver(receiver) {
                continue;
            }
            let mut shown = Vec::new();
            let mut alerts: Vec<_> = alerts.collect();
            alerts.sort_by(|a, b| a.0.order(b.0));
            for (one, fate) in alerts {
                let kept = Kept::of(machine, &one.labels, now);
                let muted = match fate {
                    Fate::Muted(by) => by.as_slice(),
                    _ => &[],
                };
                if question.wants(one, &kept, !muted.is_empty(), now) {
                    let receivers = receivers(settings, &one.labels);
                    shown.push(alert(one, &kept, muted, &receivers));
                }
            }
            if !shown.is_empty() {
                found.push((id.labels.clone(), receiver.to_owned(), shown));
            }
        }
        found
    });
    found.sort_by(|a, b| a.0.before(&b.0).then_with(|| a.1.cmp(&b.1)));
    let found = found.into_iter().map(|(labels, receiver, alerts)| {
        json!({"alerts": alerts, "labels": labels, "receiver": {"name": receiver}})
    });
    Json(found.collect::<Vec<_>>()).into_response()
}
