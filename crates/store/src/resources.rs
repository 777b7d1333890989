//! The resources in force: the last `resource.applied` of each that was not deleted.
//!
//! Guarantees: keys are `Kind/name`, bodies an [`AppliedResource`]. Never judges a resource: what
//! the ledger holds was checked before. Example: `Service/voyager`.

use mainstay_core::{
    Actor, Entry, Time,
    resource::{APPLIED, DELETED},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::projection::Projection;

/// A resource in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppliedResource {
    /// As its owner wrote it.
    pub resource: Value,
    /// Entries of its stream so far.
    pub version: u64,
    /// The entry that applied it.
    pub seq: u64,
    /// When.
    pub at: Time,
    /// Who.
    pub actor: Actor,
}

/// Keeps [`AppliedResource`]s under the name `resources`.
#[derive(Debug, Clone, Copy, Default)]
pub struct ResourceProjection;

impl Projection for ResourceProjection {
    fn name(&self) -> &'static str {
        "resources"
    }

    fn keys(&self, entry: &Entry) -> Vec<String> {
        if !matches!(entry.kind.as_str(), APPLIED | DELETED) {
            return Vec::new();
        }
        let key = entry.stream.as_str().strip_prefix("resource/");
        key.filter(|key| !key.is_empty())
            .map(str::to_owned)
            .into_iter()
            .collect()
    }

    fn fold(&self, _key: &str, current: Option<&str>, entry: &Entry) -> Option<String> {
        if entry.kind == DELETED {
            return None;
        }
        let folded = serde_json::from_str(&entry.body).and_then(|resource| {
            serde_json::to_string(&AppliedResource {
                resource,
                version: entry.version,
                seq: entry.seq,
                at: entry.at,
                actor: entry.actor.clone(),
            })
        });
        // A body that is no JSON declares nothing: what was in force stays.
        folded.ok().or_else(|| current.map(str::to_owned))
    }
}
