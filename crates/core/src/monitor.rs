//! Monitors: what has to hold of every entity of the catalog.
//!
//! Guarantees: which entities a monitor watches follows from the catalog, never from the series there are: one
//! that was never measured is watched too. **Never** has a default for what must hold.
//!
//! ```
//! use mainstay_core::monitor::{EntityKind, MonitorSpec};
//! let spec: MonitorSpec = serde_json::from_value(serde_json::json!({
//!     "every": {"kind": "service", "labels": {"role": "database"}},
//!     "expr": "time() - backup_completed_timestamp_seconds",
//!     "op": "<", "limit": 86400, "unit": "seconds",
//! }))?;
//! assert_eq!((spec.every.kind, spec.label()), (EntityKind::Service, "service"));
//! # Ok::<(), serde_json::Error>(())
//! ```

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{FabricName, Kind, ServiceName, Span, guard::Bound};

/// What kind of an entity.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum EntityKind {
    /// What is released and routed to.
    Service,
    /// A process of a service, as it should run.
    Instance,
    /// A machine.
    Host,
    /// A datacenter.
    Fabric,
}

impl EntityKind {
    /// All kinds, in the order in which people read them.
    pub const ALL: [EntityKind; 4] = [Self::Service, Self::Instance, Self::Host, Self::Fabric];

    /// As YAML writes it, and the label that names such an entity unless a monitor says otherwise.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Instance => "instance",
            Self::Host => "host",
            Self::Fabric => "fabric",
        }
    }

    /// The kind of resource that declares such an entity by its name; an instance follows from its service.
    pub fn declared_as(self) -> Option<Kind> {
        match self {
            Self::Service => Some(Kind::Service),
            Self::Host => Some(Kind::Host),
            Self::Fabric => Some(Kind::Fabric),
            Self::Instance => None,
        }
    }
}

/// Which entities; whatever is given must hold of each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EverySpec {
    /// Of which kind.
    pub kind: EntityKind,
    /// Only these; one that is not in the catalog counts as one without data. All where empty.
    #[serde(default)]
    pub names: Vec<String>,
    /// But not these.
    #[serde(default)]
    pub except: Vec<String>,
    /// Only those that carry all of these labels in their metadata; an instance carries those of its service.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Only instances of these services, or these services themselves; all where empty.
    #[serde(default)]
    pub services: Vec<ServiceName>,
    /// Only instances and hosts in these fabrics, or these fabrics themselves; all where empty.
    #[serde(default)]
    pub fabrics: Vec<FabricName>,
}

/// What values measure, for those who read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Seconds, shown as a length of time.
    Seconds,
    /// A share of one, shown in per cent.
    Ratio,
}

/// An expectation: of each of some entities, a measured value keeps to a limit. An entity without a value is red too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MonitorSpec {
    /// Which entities.
    pub every: EverySpec,
    /// PromQL that gives series; each belongs to the entity that its label names, and all of one must keep to the limit.
    pub expr: String,
    /// How values are held against the limit.
    pub op: Bound,
    /// The limit.
    pub limit: f64,
    /// What the values measure.
    #[serde(default)]
    pub unit: Option<Unit>,
    /// The label that names the entity; that of its kind (`service`, `instance`, `host`, `fabric`) where unset.
    #[serde(default)]
    pub label: Option<String>,
    /// How long an entity must be red before an alert fires.
    #[serde(default = "default_hold", rename = "for")]
    pub hold: Span,
    /// What would mend it, shown with what is red.
    #[serde(default)]
    pub remedy: String,
}

/// Long enough for a server that has just started to measure everything once.
fn default_hold() -> Span {
    Span::from_secs(120)
}

impl MonitorSpec {
    /// The label that names the entity a series belongs to.
    pub fn label(&self) -> &str {
        self.label
            .as_deref()
            .unwrap_or_else(|| self.every.kind.as_str())
    }
}
