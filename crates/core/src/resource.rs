//! What an operator declares: `apiVersion`, `kind`, `metadata`, `spec`.

use std::{collections::BTreeMap, fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Name, StreamId};

/// The version every resource carries.
pub const API_VERSION: &str = "mainstay/v1";
/// Entry kind: a resource was declared; body is a [`Resource`].
pub const APPLIED: &str = "resource.applied";
/// Entry kind: a resource was removed; body is its last [`Resource`].
pub const DELETED: &str = "resource.deleted";

/// Kinds of resources.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Kind {
    /// A datacenter.
    Fabric,
    /// A machine.
    Host,
    /// What is released and routed to.
    Service,
    /// How releases of a service go.
    RolloutPolicy,
    /// A measured condition.
    Guard,
    /// A moratorium.
    Freeze,
    /// What has to hold of every entity of a kind.
    Monitor,
    /// Who is told of an incident, and in what order.
    EscalationPolicy,
    /// Somebody who answers pages.
    Responder,
    /// Who is on call when.
    Schedule,
}

impl Kind {
    /// All kinds, in the order in which they must be applied.
    pub const ALL: [Kind; 10] = [
        Kind::Fabric,
        Kind::Host,
        Kind::RolloutPolicy,
        Kind::Guard,
        Kind::Service,
        Kind::Freeze,
        Kind::Monitor,
        Kind::Responder,
        Kind::Schedule,
        Kind::EscalationPolicy,
    ];

    /// As YAML writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fabric => "Fabric",
            Self::Host => "Host",
            Self::Service => "Service",
            Self::RolloutPolicy => "RolloutPolicy",
            Self::Guard => "Guard",
            Self::Freeze => "Freeze",
            Self::Monitor => "Monitor",
            Self::EscalationPolicy => "EscalationPolicy",
            Self::Responder => "Responder",
            Self::Schedule => "Schedule",
        }
    }
    /// As a URL and a command line write many of it.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Fabric => "fabrics",
            Self::Host => "hosts",
            Self::Service => "services",
            Self::RolloutPolicy => "rolloutpolicies",
            Self::Guard => "guards",
            Self::Freeze => "freezes",
            Self::Monitor => "monitors",
            Self::EscalationPolicy => "escalationpolicies",
            Self::Responder => "responders",
            Self::Schedule => "schedules",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown kind `{0}`; known are fabrics, hosts, services, rolloutpolicies, guards, freezes, monitors, responders, \
     schedules, escalationpolicies"
)]
pub struct UnknownKind(String);

impl FromStr for Kind {
    type Err = UnknownKind;
    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let lower = text.to_ascii_lowercase();
        Kind::ALL
            .into_iter()
            .find(|kind| kind.plural() == lower || kind.as_str().eq_ignore_ascii_case(&lower))
            .ok_or_else(|| UnknownKind(text.chars().take(64).collect()))
    }
}

/// What every resource is called and labelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// Unique within its kind.
    pub name: Name,
    /// Free labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A resource; the spec is decoded by its kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resource {
    /// Always [`API_VERSION`].
    pub api_version: String,
    /// Its kind.
    pub kind: Kind,
    /// Its name and labels.
    pub metadata: Metadata,
    /// What is wanted.
    pub spec: serde_json::Value,
}

impl Resource {
    /// The stream that holds its history.
    pub fn stream(&self) -> StreamId {
        resource_stream(self.kind, &self.metadata.name)
    }
}

/// The stream that holds a resource's history.
pub fn resource_stream(kind: Kind, name: &Name) -> StreamId {
    StreamId::new(format!("resource/{kind}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_read_in_singular_plural_and_any_case() {
        for kind in Kind::ALL {
            assert_eq!(kind.plural().parse::<Kind>(), Ok(kind));
            assert_eq!(kind.as_str().to_lowercase().parse::<Kind>(), Ok(kind));
        }
        assert!(
            "pods"
                .parse::<Kind>()
                .unwrap_err()
                .to_string()
                .contains("known are")
        );
    }
}
