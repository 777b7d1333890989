//! First releases that cannot be planned, as the ledger has them: a change that was wanted and could not begin.
//!
//! Guarantees: folded from entries alone, so that a reason is written down once, whoever leads. At most
//! [`REASONS_MAX`] reasons of one version are written; what `status` says is never bounded by it.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_core::{
    Actor, BlastRadius, Change, ChangeId, ChangeKind, ChangeState, NewEntry, ServiceName, Time,
    Version,
    change::{MOVED, Moved, OPENED, Plan},
    ports::Declined,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Kind of the plan of such a change; the body is a [`Refused`].
pub const KIND: &str = "first-release.refused";
/// Reasons that are written down of one version: a reason with numbers in it must not fill the ledger.
const REASONS_MAX: usize = 8;

/// A first release that does not begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Refused {
    /// The service.
    pub service: ServiceName,
    /// The version that it declares.
    pub version: Version,
    /// A stable code of the reason, such as `no-host`.
    pub code: String,
    /// The reason, in a sentence.
    pub because: String,
    /// What would let it begin.
    pub remedy: String,
}

impl Refused {
    /// Why the first release of `service` is declined.
    pub fn new(service: &ServiceName, version: &Version, declined: &Declined) -> Self {
        Self {
            service: service.clone(),
            version: version.clone(),
            code: declined.code.to_owned(),
            because: declined.what.clone(),
            remedy: declined.remedy.clone(),
        }
    }

    /// The entries of a change that was aborted as it was opened.
    pub(crate) fn entries(&self, id: ChangeId, at: Time) -> (Change, Vec<NewEntry>) {
        let change = Change {
            id,
            kind: ChangeKind::Rollout,
            actor: Actor::system(),
            reason: "first release of a declared service".to_owned(),
            title: format!("{} nothing → {}", self.service, self.version),
            blast_radius: BlastRadius {
                services: vec![self.service.clone()],
                ..BlastRadius::default()
            },
            emergency: None,
            opened_at: at,
            deadline: None,
            plan: Plan {
                kind: KIND.to_owned(),
                schema: 1,
                body: json!(self).to_string(),
            },
        };
        let moved = Moved {
            state: ChangeState::Aborted,
            because: format!(
                "{}; {}; it begins by itself then",
                self.because, self.remedy
            ),
        };
        let entry = |kind: &str, body: Value| NewEntry {
            stream: change.stream(),
            kind: kind.to_owned(),
            schema: 1,
            body: body.to_string(),
        };
        let entries = vec![entry(OPENED, json!(change)), entry(MOVED, json!(moved))];
        (change, entries)
    }
}

/// What was written down of each service's declared version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reasons(BTreeMap<ServiceName, (Version, BTreeSet<String>)>);

impl Reasons {
    /// Folds one that is in the ledger in; another version begins anew.
    pub fn fold(&mut self, refused: Refused) {
        let known = self.0.entry(refused.service).or_insert_with(|| {
            let none = BTreeSet::new();
            (refused.version.clone(), none)
        });
        if known.0 != refused.version {
            *known = (refused.version, BTreeSet::new());
        }
        known.1.insert(refused.because);
    }

    /// Whether it is to be written down.
    pub fn is_news(&self, refused: &Refused) -> bool {
        self.0.get(&refused.service).is_none_or(|(version, known)| {
            *version != refused.version
                || known.len() < REASONS_MAX && !known.contains(&refused.because)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(version: &str, because: &str) -> Refused {
        Refused {
            service: "shop".parse().unwrap(),
            version: version.parse().unwrap(),
            code: "no-host".to_owned(),
            because: because.to_owned(),
            remedy: "declare a host".to_owned(),
        }
    }

    #[test]
    fn a_reason_is_news_once_a_version_and_reasons_without_end_are_not_all_written() {
        let mut reasons = Reasons::default();
        assert!(reasons.is_news(&refused("v1", "no host")));
        reasons.fold(refused("v1", "no host"));
        assert!(!reasons.is_news(&refused("v1", "no host")));
        assert!(reasons.is_news(&refused("v1", "no artifact")));
        assert!(reasons.is_news(&refused("v2", "no host")));
        for number in 0..REASONS_MAX {
            reasons.fold(refused("v1", &format!("{number} hosts")));
        }
        assert!(!reasons.is_news(&refused("v1", "99 hosts")));
        reasons.fold(refused("v2", "no host"));
        assert!(reasons.is_news(&refused("v1", "no host")), "v1 again");
    }
}
