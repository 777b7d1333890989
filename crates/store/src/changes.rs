//! Every change in one row: what it is, where it stands, why, and the last verdict.
//!
//! Guarantees: keys are change ids, bodies a [`ChangeSummary`]. Never forgets a change. Example: after
//! `change.opened` and `change.moved` to `paused` the row of the change says `"state":"paused"`.

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
        let id = entry.stream.as_str().strip_prefix("change/");
        id.filter(|id| !id.is_empty())
            .map(str::to_owned)
            .into_iter()
            .collect()
    }

    fn fold(&self, _key: &str, current: Option<&str>, entry: &Entry) -> Option<String> {
        let known = current.and_then(|body| serde_json::from_str(body).ok());
        let summary =
            summary(known, entry).and_then(|summary| serde_json::to_string(&summary).ok());
        summary.or_else(|| current.map(str::to_owned))
    }
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
