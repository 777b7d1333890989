//! The specs of resources: services and their edges, fabrics, hosts, policies, freezes.
//!
//! Units are in the types; unknown fields are errors; every default is right for a newcomer.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ChangeKind, FabricName, HostName, Name, Percent, ServiceName, Span, Time, Version,
    probe::ProbeSpec,
};

/// A fabric: a datacenter with one router.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FabricSpec {
    /// Where its router listens for users, `host:port`.
    #[serde(default)]
    pub listen: Option<String>,
}

/// A host: one machine with one agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostSpec {
    /// The fabric it stands in.
    pub fabric: FabricName,
    /// The rack, where racks can fail together.
    #[serde(default)]
    pub rack: Option<Name>,
}

/// What can fail together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FailureDomain {
    /// One host.
    #[default]
    Host,
    /// One rack.
    Rack,
    /// One fabric.
    Fabric,
}

/// Whether Mainstay acts on a service or only watches it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Manage {
    /// Starts, stops and routes.
    #[default]
    Full,
    /// Watches, gives shadow verdicts, never acts.
    Observe,
}

/// How a service that Mainstay did not start is watched. Every field has a default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ObserveSpec {
    /// Its instances, as `http://host:port`. The path `metrics` of each is scraped, and the path `health`
    /// asked: a claim.
    pub urls: Vec<String>,
    /// Processes on hosts that run an agent: found, measured, and never acted upon.
    pub processes: Vec<ObservedProcess>,
    /// Metrics of those who call it, such as `http://proxy:9113/metrics`; labels stay as they are found.
    pub scrape: Vec<String>,
    /// Which series count its requests.
    pub signals: SignalsSpec,
}

/// By what the processes of an observed service are recognised: by either, or by both.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ObservedProcess {
    /// The executable's whole path, such as `/usr/sbin/nginx`; for a script that of its interpreter. Of a process and
    /// its children that run the same, the parent is the instance.
    pub executable: Option<String>,
    /// The TCP port that it listens on. Of several that share the socket, the one that started first is the instance.
    pub port: Option<u16>,
    /// The host that it is looked for on; every host where unset.
    pub host: Option<HostName>,
}

/// Which series count a service's requests, and by which labels they are told apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SignalsSpec {
    /// Whose metrics they are: fills every name that is not given.
    pub from: SignalsFrom,
    /// Counters of requests.
    pub requests: RequestsSpec,
    /// Histogram of how long they took.
    pub latency: LatencySpec,
    /// A series that says which version an instance runs, where the counters do not say it.
    pub version: Option<VersionSpec>,
}

/// Whose metrics count the requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SignalsFrom {
    /// The instances' own, named as Prometheus's guide advises: `http_requests_total` with `code`, and
    /// `http_request_duration_seconds`.
    #[default]
    Prometheus,
    /// nginx with nginx-module-vts, a filter zone named after the service and keyed by version.
    Nginx,
    /// Envoy, a cluster a version, named `SERVICE-VERSION`.
    Envoy,
    /// HAProxy's own exporter, a backend a version, named `SERVICE-VERSION`. It has no histogram.
    Haproxy,
}

/// Counters of requests. What is not given is filled by `from`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RequestsSpec {
    /// Such as `nginx_http_requests_total{host="shop"}`.
    pub selector: Option<String>,
    /// The label that holds the version.
    pub version_label: Option<String>,
    /// The label that holds the status: a code such as `503`, or a class such as `5xx` or `5`.
    pub code_label: Option<String>,
}

/// Buckets of a histogram. What is not given is filled by `from`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LatencySpec {
    /// Such as `http_request_duration_seconds_bucket{service="shop"}`; its bounds are in the label `le`.
    pub selector: Option<String>,
    /// The label that holds the version; that of the requests where unset.
    pub version_label: Option<String>,
    /// The unit of the bounds.
    pub unit: Option<BoundUnit>,
}

/// The unit of a histogram's bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BoundUnit {
    /// Seconds.
    #[serde(rename = "s")]
    Seconds,
    /// Milliseconds.
    #[serde(rename = "ms")]
    Milliseconds,
}

/// A series that says which version an instance runs; it is joined with the counters by `instance`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VersionSpec {
    /// Such as `shop_build_info{service="shop"}`.
    pub selector: String,
    /// Its label that holds the version.
    #[serde(default = "default_version_label")]
    pub label: String,
}

fn default_version_label() -> String {
    "version".to_owned()
}

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunSpec {
    /// A directory that holds `VERSION/run`, an executable for each version.
    pub artifacts: String,
    /// Arguments; `{port}`, `{version}`, `{instance}` and `{fabric}` are replaced.
    #[serde(default)]
    pub args: Vec<String>,
    /// Environment; values are replaced as arguments are.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// A fixed port, where the service cannot take any other.
    #[serde(default)]
    pub port: Option<u16>,
    /// How long a process may take to stop before it is killed.
    #[serde(default = "default_stop_grace")]
    pub stop_grace: Span,
}

fn default_stop_grace() -> Span {
    Span::from_secs(5)
}

/// A call that a service makes of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Dependency {
    /// The service called.
    pub service: ServiceName,
    /// How long the caller waits.
    pub timeout: Span,
}

/// The most that a service may hold of a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bulkhead {
    /// Connections to its instances.
    #[serde(default = "default_bulkhead")]
    pub connections: u32,
    /// Requests under way.
    #[serde(default = "default_bulkhead")]
    pub in_flight: u32,
}

fn default_bulkhead() -> u32 {
    256
}

impl Default for Bulkhead {
    fn default() -> Self {
        Self {
            connections: default_bulkhead(),
            in_flight: default_bulkhead(),
        }
    }
}

/// What users of a service are promised.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Slo {
    /// Largest share of failed requests.
    pub error_ratio: Percent,
    /// 99 % of requests are answered within this.
    pub latency_p99: Span,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceSpec {
    /// The team that answers for it.
    pub owner: String,
    /// 0 (the site is down without it) to 3.
    #[serde(default = "default_tier")]
    pub tier: u8,
    /// The version of its first release.
    #[serde(default)]
    pub version: Option<Version>,
    /// Instances in each fabric. A change of it is a change of its own, `scale`: more are seen serving, fewer go as
    /// measured capacity allows.
    #[serde(default)]
    pub instances: BTreeMap<FabricName, u32>,
    /// Whether Mainstay acts on it.
    #[serde(default)]
    pub manage: Manage,
    /// What to run; needed unless `manage: observe`.
    #[serde(default)]
    pub run: Option<RunSpec>,
    /// How it is watched; only with `manage: observe`.
    #[serde(default)]
    pub observe: Option<ObserveSpec>,
    /// Path prefix that the router sends here; `/NAME/` by default.
    #[serde(default)]
    pub route: Option<String>,
    /// Path of the health check: a claim.
    #[serde(default = "default_health")]
    pub health: String,
    /// Path of its Prometheus metrics.
    #[serde(default = "default_metrics")]
    pub metrics: String,
    /// How long a request may take in all, at the router.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
    /// What it calls.
    #[serde(default)]
    pub dependencies: Vec<Dependency>,
    /// The most it may hold of a router.
    #[serde(default)]
    pub bulkhead: Bulkhead,
    /// What its users are promised.
    #[serde(default)]
    pub slo: Option<Slo>,
    /// What can fail together.
    #[serde(default)]
    pub failure_domain: FailureDomain,
    /// The rollout policy; the defaults where none is named.
    #[serde(default)]
    pub policy: Option<Name>,
    /// Requests per second that one instance is known to carry, from a load test; measured where unset.
    #[serde(default)]
    pub capacity_rps: Option<f64>,
    /// Requests that the routers send, tagged `x-mainstay-probe`: when users bring a rollout too little evidence (none
    /// where empty), and to an instance out of rotation, which comes back after three rounds of good answers (a path
    /// that users got answers from where empty).
    #[serde(default)]
    pub probes: Vec<ProbeSpec>,
    /// Header in which clients say their version; of a request without it, the product that its `User-Agent` names
    /// first counts. A release that breaks one of them is found even where all together look well.
    #[serde(default = "default_client_version_header")]
    pub client_version_header: String,
}

/// Header in which clients say their version, unless a service declares another.
pub fn default_client_version_header() -> String {
    "x-client-version".to_owned()
}

fn default_tier() -> u8 {
    2
}
fn default_health() -> String {
    "/healthz".to_owned()
}
fn default_metrics() -> String {
    "/metrics".to_owned()
}
fn default_timeout() -> Span {
    Span::from_secs(2)
}

/// How a release goes over a service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// A canary, then batches in place.
    #[default]
    Canary,
    /// A second set beside the first, then the routes.
    BlueGreen,
}

/// How releases of a service go. Every field has a default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RolloutPolicySpec {
    /// The strategy.
    pub strategy: Strategy,
    /// Share of traffic at each step of the canary.
    pub canary_steps: Vec<Percent>,
    /// Largest share of a fabric's instances replaced at once.
    pub batch: Percent,
    /// Difference in the share of bad requests that still counts as no worse.
    pub margin: Percent,
    /// How long the last version is watched before the rollout is done.
    pub bake: Span,
    /// Longest wait for evidence at one gate.
    pub max_evidence_wait: Span,
    /// Longest exposure to a version from the verdict against it. A plan in place estimates it from replacements that
    /// were measured; blue-green flips routes to a set that is still warm.
    pub rollback_within: Span,
    /// Refuse a plan in place whose rollback is not estimated to hold `rollbackWithin`, or cannot be estimated.
    pub enforce: bool,
    /// Emergencies that may be declared.
    pub emergencies: Vec<EmergencySpec>,
}

impl Default for RolloutPolicySpec {
    fn default() -> Self {
        let percent = |value| Percent::new(value).expect("a constant between 0 and 100");
        Self {
            strategy: Strategy::Canary,
            canary_steps: vec![percent(1.0), percent(5.0), percent(25.0)],
            batch: percent(10.0),
            margin: percent(1.0),
            bake: Span::from_secs(300),
            max_evidence_wait: Span::from_secs(1_800),
            rollback_within: Span::from_secs(30),
            enforce: false,
            emergencies: Vec::new(),
        }
    }
}

/// An emergency that may be declared: it may waive evidence, never the capacity floor. Whoever declares it may state
/// demand and capacity in place of what is measured, for an hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EmergencySpec {
    /// Its name.
    pub name: Name,
    /// Whether forward steps may go without evidence.
    #[serde(default)]
    pub waives_evidence: bool,
    /// Whether it ends a freeze for this change.
    #[serde(default)]
    pub waives_freeze: bool,
}

/// A moratorium: no forward step of the kinds it covers begins while it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FreezeSpec {
    /// Why; shown with each refusal.
    pub reason: String,
    /// From when, such as `2026-11-05T18:00:00Z`; at once where unset.
    #[serde(default)]
    pub from: Option<Time>,
    /// Until when; until deleted where unset.
    #[serde(default)]
    pub until: Option<Time>,
    /// Services it covers; all where empty.
    #[serde(default)]
    pub services: Vec<ServiceName>,
    /// Who or what it does not hold for.
    #[serde(default)]
    pub exceptions: Vec<FreezeException>,
}

/// A named exception to a freeze.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FreezeException {
    /// What it is called, in the ledger too.
    pub name: Name,
    /// Services it lets through; all where empty.
    #[serde(default)]
    pub services: Vec<ServiceName>,
    /// Kinds it lets through; all where empty.
    #[serde(default)]
    pub kinds: Vec<ChangeKind>,
}

/// Where an instance stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Placement {
    /// Its service.
    pub service: ServiceName,
    /// Its host.
    pub host: HostName,
    /// Its fabric.
    pub fabric: FabricName,
}

/// The spec of a resource, decoded by its kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Spec {
    /// See [`FabricSpec`].
    Fabric(FabricSpec),
    /// See [`HostSpec`].
    Host(HostSpec),
    /// See [`ServiceSpec`].
    Service(Box<ServiceSpec>),
    /// See [`RolloutPolicySpec`].
    RolloutPolicy(RolloutPolicySpec),
    /// See [`GuardSpec`](crate::guard::GuardSpec).
    Guard(crate::guard::GuardSpec),
    /// See [`FreezeSpec`].
    Freeze(FreezeSpec),
    /// See [`MonitorSpec`](crate::monitor::MonitorSpec).
    Monitor(Box<crate::monitor::MonitorSpec>),
    /// See [`EscalationPolicySpec`](crate::escalation::EscalationPolicySpec).
    EscalationPolicy(Box<crate::escalation::EscalationPolicySpec>),
    /// See [`ResponderSpec`](crate::oncall::ResponderSpec).
    Responder(crate::oncall::ResponderSpec),
    /// See [`ScheduleSpec`](crate::oncall::ScheduleSpec).
    Schedule(crate::oncall::ScheduleSpec),
}

impl Spec {
    /// Decodes `spec` as `kind` wants it; the error names the field.
    pub fn decode(kind: crate::Kind, spec: &serde_json::Value) -> Result<Self, serde_json::Error> {
        use crate::Kind;
        Ok(match kind {
            Kind::Fabric => Self::Fabric(FabricSpec::deserialize(spec)?),
            Kind::Host => Self::Host(HostSpec::deserialize(spec)?),
            Kind::Service => Self::Service(Box::new(ServiceSpec::deserialize(spec)?)),
            Kind::RolloutPolicy => Self::RolloutPolicy(RolloutPolicySpec::deserialize(spec)?),
            Kind::Guard => Self::Guard(crate::guard::GuardSpec::deserialize(spec)?),
            Kind::Freeze => Self::Freeze(FreezeSpec::deserialize(spec)?),
            Kind::Monitor => {
                Self::Monitor(Box::new(crate::monitor::MonitorSpec::deserialize(spec)?))
            }
            Kind::EscalationPolicy => Self::EscalationPolicy(Box::new(
                crate::escalation::EscalationPolicySpec::deserialize(spec)?,
            )),
            Kind::Responder => Self::Responder(crate::oncall::ResponderSpec::deserialize(spec)?),
            Kind::Schedule => Self::Schedule(crate::oncall::ScheduleSpec::deserialize(spec)?),
        })
    }
}
