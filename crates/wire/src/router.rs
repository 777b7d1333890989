//! What the server and the router of a fabric say to each other.

use std::collections::BTreeMap;

use mainstay_core::{
    ChangeId, FabricName, InstanceName, ServiceName, Span, Time, Version,
    catalog::{Bulkhead, Slo, default_client_version_header},
    probe::ProbeSpec,
};
use serde::{Deserialize, Serialize};

use crate::Generation;

/// A process that requests may go to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// Its name.
    pub instance: InstanceName,
    /// The incarnation that is meant: measurements of an older one do not count.
    pub incarnation: u64,
    /// The version it should run; what it answers is measured against this.
    pub version: Version,
    /// `host:port`.
    pub address: String,
    /// No new requests; those under way may finish.
    #[serde(default)]
    pub draining: bool,
    /// Relative share within its version; 1.0 is a full share.
    #[serde(default = "full")]
    pub share: f64,
    /// Requests per second it is known to carry, if that was measured.
    #[serde(default)]
    pub capacity_rps: Option<f64>,
    /// What ends a share above 1.0 at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
}

/// What a backend must keep to while it gets more than a full share.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limit {
    /// Largest share of bad answers, from 0 to 1.
    pub error_ratio: f64,
    /// 99 % of requests are answered within this.
    pub latency_p99_ms: u64,
}

fn full() -> f64 {
    1.0
}

/// One service as a router should route it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRoutes {
    /// Its name.
    pub service: ServiceName,
    /// Path prefix, such as `/voyager/`.
    pub prefix: String,
    /// Time a request may take in all.
    pub timeout: Span,
    /// Health check path.
    pub health: String,
    /// What it may hold of the router.
    pub bulkhead: Bulkhead,
    /// What its users are promised.
    pub slo: Option<Slo>,
    /// Weight of each version, in hundredths of a per cent of this service's requests; they sum to
    /// 10,000. A request with a unit (`x-user-id`) always meets the same version while weights stand,
    /// and moves only from a version that shrinks to one that grows.
    pub weights: BTreeMap<Version, u32>,
    /// Where they go.
    pub backends: Vec<Backend>,
    /// Share of requests refused with 503 and Retry-After to save the rest, in hundredths of a per cent.
    #[serde(default)]
    pub shed: u32,
    /// Header in which clients say their version.
    #[serde(default = "default_client_version_header")]
    pub client_version_header: String,
    /// What a backend out of rotation is asked before it comes back; a path that users got answers from where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<ProbeSpec>,
    /// Requests of the router's own, while a change is short of evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probing: Option<Probing>,
}

/// Tagged probes to send: each to one instance of both arms at the same time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Probing {
    /// What they are sent for, and tagged with.
    pub change: ChangeId,
    /// What to send, and how often.
    pub probes: Vec<ProbeSpec>,
    /// Instances of the new version, asked in turn.
    pub canary: Vec<InstanceName>,
    /// Instances of the old version, asked in turn.
    pub control: Vec<InstanceName>,
    /// For how long, unless other instances are named: no gate of a rollout waits longer, so that a router whose
    /// server is gone does not ask for ever.
    pub at_most: Span,
}

/// Everything one router should do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteTable {
    /// Its place among the orders.
    pub generation: Generation,
    /// All services.
    pub services: Vec<ServiceRoutes>,
    /// Whether the protections (bulkheads, deadlines, measured health) hold. Off only for replaying
    /// what happens without them.
    #[serde(default = "yes")]
    pub protected: bool,
}

fn yes() -> bool {
    true
}

/// What the instance says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClaimedHealth {
    /// Its health check answers well.
    Ok,
    /// Its health check answers badly, or not in time.
    Failing,
    /// Nobody takes a connection: nothing is claimed, and the measurement is bad.
    Silent,
    /// Not asked yet.
    Unknown,
}

/// What its callers measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MeasuredHealth {
    /// Requests are answered.
    Good,
    /// Requests fail or never come back.
    Bad,
    /// No requests: nothing is known.
    Unknown,
}

/// The worse of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealthVerdict {
    /// In rotation.
    Healthy,
    /// Nothing measured; in rotation.
    Unknown,
    /// It fails by its own word, which leaves it in rotation, or by measurement, which does not.
    Unhealthy,
    /// It claims to be well while callers measure that it is not.
    Lying,
    /// On its way back after an ejection.
    Recovering,
}

/// One backend as its router sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendReport {
    /// Its name.
    pub instance: InstanceName,
    /// The incarnation measured.
    pub incarnation: u64,
    /// The version its answers carry, as callers see it.
    pub seen_version: Option<Version>,
    /// What it says.
    pub claimed: ClaimedHealth,
    /// What callers measure.
    pub measured: MeasuredHealth,
    /// The worse of both.
    pub verdict: HealthVerdict,
    /// The evidence, in one line with numbers.
    pub evidence: String,
    /// Whether it gets requests.
    pub in_rotation: bool,
    /// Requests under way.
    pub in_flight: u32,
    /// Age of the oldest request under way.
    pub oldest_in_flight: Span,
    /// Good answers per second over the last ten.
    pub goodput_rps: f64,
    /// Bad answers per second over the last ten.
    pub bad_rps: f64,
    /// Good answers per second over the last five whole seconds.
    #[serde(default)]
    pub recent_rps: f64,
    /// 99 % of the requests that ended in the last two seconds took no longer, as its buckets tell.
    #[serde(default)]
    pub p99_ms: Option<f64>,
    /// Whether its limit broke, so that it has a full share and no more until that is changed by an order.
    #[serde(default)]
    pub limit_broken: bool,
}

/// From the server to the router.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ToRouter {
    /// The table to apply.
    Routes {
        /// The table.
        table: RouteTable,
    },
}

/// From the router to the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum FromRouter {
    /// First message on a connection.
    Hello {
        /// Version of the messages it writes.
        wire: u16,
        /// The fabric it serves.
        fabric: FabricName,
        /// The generation it holds.
        generation: Generation,
        /// Where its metrics are scraped.
        metrics_url: String,
    },
    /// What it sees; sent each second and when a table was applied.
    Report {
        /// When, by the router's clock.
        at: Time,
        /// The generation in force: every request accepted from now on follows it.
        applied: Generation,
        /// All backends.
        backends: BTreeMap<ServiceName, Vec<BackendReport>>,
        /// A service that holds more than half of the router's connections, if one does.
        hoarder: Option<ServiceName>,
    },
}
