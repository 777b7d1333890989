//! Asks for rollouts, and finds out which one is meant.
//!
//! Guarantees: what is no rollout but a change all the same is followed by its entry in the list of
//! changes. Never takes an unknown state for a known one.

use anyhow::{Context as _, bail};
use mainstay_core::{ChangeState, Name, change::VERDICT};
use serde_json::{Value, json};

use super::progress::Rollout;
use crate::{
    client::{Client, ClientError},
    output,
};

/// Which rollout a service stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The open one, else the last.
    Newest,
    /// The open one.
    Open,
}

/// The change that `target` names: itself, or the rollout of a service.
pub(super) async fn resolve(
    client: &Client,
    target: &Name,
    wanted: Wanted,
) -> anyhow::Result<String> {
    let target = target.as_str();
    let all: Vec<Value> = client.get("/api/v1/views/rollouts").await?;
    let (rollouts, _) = decode(&all)?;
    if rollouts.iter().any(|one| one.change == target) {
        return Ok(target.to_owned());
    }
    let of_service = || rollouts.iter().filter(|one| one.service == target);
    if let Some(open) = of_service().find(|one| !one.state.is_final()) {
        return Ok(open.change.clone());
    }
    match (of_service().next(), wanted) {
        (Some(last), Wanted::Newest) => Ok(last.change.clone()),
        (Some(last), Wanted::Open) => bail!(
            "no rollout of `{target}` is open: the last, {}, is {}\n  remedy: name a change, or start \
             one with `mainstay rollout start {target} VERSION`",
            last.change,
            output::word(&last.state)
        ),
        // Another kind of change, or one too old for the view.
        (None, _) => {
            let found: Result<Value, _> = client.get(&format!("/api/v1/changes/{target}")).await;
            match found {
                Ok(_) => Ok(target.to_owned()),
                Err(error) if error.is_not_found() => bail!(
                    "`{target}` is no change, and no service with a rollout\n  remedy: list them with \
                     `mainstay changes` or `mainstay rollout history`"
                ),
                Err(error) => Err(error.into()),
            }
        }
    }
}

/// All of them, and the newest.
pub(super) fn decode(all: &[Value]) -> anyhow::Result<(Vec<Rollout>, Option<Rollout>)> {
    let read = |one: &Value| {
        let rollout: Result<Rollout, _> = serde_json::from_value(one.clone());
        rollout.with_context(|| format!("rollout {} cannot be read", one["change"]))
    };
    let rollouts: Vec<Rollout> = all.iter().map(read).collect::<Result<_, _>>()?;
    let newest = rollouts.first().cloned();
    Ok((rollouts, newest))
}

/// One change, decoded and as the server wrote it.
pub(super) async fn one(client: &Client, change: &str) -> Result<(Rollout, Value), ClientError> {
    let view: Result<Value, _> = client
        .get(&format!("/api/v1/views/rollouts/{change}"))
        .await;
    let raw = match view {
        Err(error) if error.is_not_found() => {
            let answer: Value = client.get(&format!("/api/v1/changes/{change}")).await?;
            as_rollout(change, &answer)
        }
        other => other?,
    };
    let rollout = serde_json::from_value(raw.clone()).map_err(ClientError::Unreadable)?;
    Ok((rollout, raw))
}

/// What the ledger knows of a change, in the shape of a rollout.
fn as_rollout(change: &str, answer: &Value) -> Value {
    let (summary, opened) = (&answer["summary"], &answer["summary"]["change"]);
    let none = Vec::new();
    let entries = answer["entries"].as_array().unwrap_or(&none);
    let verdicts: Vec<Value> = entries
        .iter()
        .filter(|entry| entry["kind"] == VERDICT)
        .filter_map(|entry| serde_json::from_str(entry["body"].as_str()?).ok())
        .collect();
    let state: Option<ChangeState> = serde_json::from_value(summary["state"].clone()).ok();
    let ended_at = match state {
        Some(state) if state.is_final() => &summary["updatedAt"],
        _ => &Value::Null,
    };
    json!({
        "change": change,
        "kind": opened["kind"],
        "title": opened["title"],
        "state": summary["state"],
        "because": summary["because"],
        "openedAt": opened["openedAt"],
        "endedAt": ended_at,
        "actor": opened["actor"],
        "reason": opened["reason"],
        "verdict": summary["lastVerdict"],
        "verdicts": verdicts,
    })
}
