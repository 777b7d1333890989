//! Every change in one row: what it is, where it stands, why, and the last verdict; and the order in
//! which lists of changes are read.
//!
//! Guarantees: keys of `changes` are change ids, bodies a [`ChangeSummary`]; keys of `changes_newest` sort
//! the newest first, bodies are change ids. Never forgets a change. Example: after `change.opened` and
//! `change.moved` to `paused` the row of the change says `"state":"paused"`.

use std::collections::BTreeSet;

use mainstay_core::{
    ChangeState, Entry, Time, Verdict,
    change::{Change, MOVED, Moved, OPENED, VERDICT},
};
use serde::{Deserialize, Serialize};

use crate::projection::Projection;

/// A change as a list shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeSummary {
    /// As it was opened.
    pub change: Change,
    /// Where it stands.
    pub state: ChangeState,
    /// Why it stands there; empty until it first moves.
    pub because: String,
    /// The last verdict, if one was reached.
    pub last_verdict: Option<Verdict>,
    /// When its last entry was written.
    pub updated_at: Time,
    /// How many entries its stream has; also the version to expect.
    pub entries: u64,
}

/// Keeps [`ChangeSummary`]s under the name `changes`.
#[derive(Debug, Clone, Copy, Default)]
pub struct ChangeProjection;

impl Projection for ChangeProjection {
    fn name(&self) -> &'static str {
        "changes"
    }

    fn keys(&self, entry: &Entry) -> Vec<String> {
        change_id(entry).map(str::to_owned).into_iter().collect()
    }

    fn fold(&self, _key: &str, current: Option<&str>, entry: &Entry) -> Option<String> {
        let known = current.and_then(|body| serde_json::from_str(body).ok());
        let summary =
            summary(known, entry).and_then(|summary| serde_json::to_string(&summary).ok());
        summary.or_else(|| current.map(str::to_owned))
    }
}

/// Keeps ids of changes under the name `changes_newest`, so that a list reads no more than it shows.
///
/// Below `all/`, `kind/KIND/` and `service/SERVICE/` the one opened last comes first; below
/// `state/STATE/`, for final states, the one that came to it last. Below `open/` stand the ids of those
/// that are not final, in byte order. Incidents change nothing, so they stand below `kind/` and `open/` alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewestProjection;

impl Projection for NewestProjection {
    fn name(&self) -> &'static str {
        "changes_newest"
    }

    fn keys(&self, entry: &Entry) -> Vec<String> {
        let Some(id) = change_id(entry) else {
            return Vec::new();
        };
        // Positions in the ledger, unlike clocks, never step back; inverted, the last sorts first.
        let place = format!("{:016x}", !entry.seq);
        if entry.kind == OPENED
            && let Ok(change) = serde_json::from_str::<Change>(&entry.body)
        {
            let mut keys = vec![format!("open/{id}")];
            if let Some(kind) = text(&change.kind) {
                keys.push(format!("kind/{kind}/{place}"));
            }
            if is_incident(id) {
                return keys;
            }
            keys.push(format!("all/{place}"));
            let services: BTreeSet<_> = change.blast_radius.services.into_iter().collect();
            keys.extend(
                services
                    .into_iter()
                    .map(|service| format!("service/{service}/{place}")),
            );
            return keys;
        }
        match ended(entry).and_then(|state| text(&state)) {
            Some(_) if is_incident(id) => vec![format!("open/{id}")],
            Some(state) => vec![format!("state/{state}/{place}"), format!("open/{id}")],
            None => Vec::new(),
        }
    }

    fn fold(&self, key: &str, _current: Option<&str>, entry: &Entry) -> Option<String> {
        if key.starts_with("open/") && ended(entry).is_some() {
            return None;
        }
        change_id(entry).map(str::to_owned)
    }
}

fn change_id(entry: &Entry) -> Option<&str> {
    let id = entry.stream.as_str().strip_prefix("change/");
    id.filter(|id| !id.is_empty())
}

/// Whether an id is that of an incident.
fn is_incident(id: &str) -> bool {
    id.starts_with("inc-")
}

/// The final state that this entry brings.
fn ended(entry: &Entry) -> Option<ChangeState> {
    if entry.kind != MOVED {
        return None;
    }
    let moved: Moved = serde_json::from_str(&entry.body).ok()?;
    moved.state.is_final().then_some(moved.state)
}

/// A unit variant as JSON writes it.
fn text(value: &impl Serialize) -> Option<String> {
    let value = serde_json::to_value(value).ok()?;
    value.as_str().map(str::to_owned)
}

/// `None` while the stream holds no change that can be read.
fn summary(known: Option<ChangeSummary>, entry: &Entry) -> Option<ChangeSummary> {
    let mut summary = match known {
        Some(summary) => summary,
        None if entry.kind == OPENED => ChangeSummary {
            change: serde_json::from_str(&entry.body).ok()?,
            state: ChangeState::Running,
            because: String::new(),
            last_verdict: None,
            updated_at: entry.at,
            entries: entry.version,
        },
        None => return None,
    };
    summary.updated_at = entry.at;
    summary.entries = entry.version;
    if entry.kind == MOVED
        && let Ok(moved) = serde_json::from_str::<Moved>(&entry.body)
    {
        summary.state = moved.state;
        summary.because = moved.because;
    }
    if entry.kind == VERDICT
        && let Ok(verdict) = serde_json::from_str(&entry.body)
    {
        summary.last_verdict = Some(verdict);
    }
    Some(summary)
}
