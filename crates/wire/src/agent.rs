//! What the server and the agent of a host say to each other.

use std::collections::BTreeMap;

use mainstay_core::{FabricName, HostName, InstanceName, ServiceName, Span, Time, Version};
use serde::{Deserialize, Serialize};

use crate::Generation;

/// An instance as it should run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredInstance {
    /// Its name.
    pub instance: InstanceName,
    /// Its service.
    pub service: ServiceName,
    /// Its fabric.
    pub fabric: FabricName,
    /// The version to run.
    pub version: Version,
    /// Counts up with each ordered restart: a process of an older incarnation must go.
    pub incarnation: u64,
    /// Directory that holds `VERSION/run`.
    pub artifacts: String,
    /// Arguments; `{port}`, `{version}`, `{instance}` and `{fabric}` are replaced.
    #[serde(default)]
    pub args: Vec<String>,
    /// Environment; values are replaced likewise.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// A fixed port, if it must have one.
    #[serde(default)]
    pub port: Option<u16>,
    /// How long it may take to stop before it is killed.
    pub stop_grace: Span,
}

/// Processes that Mainstay did not start: how those of a service are recognised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sought {
    /// The service.
    pub service: ServiceName,
    /// The path of what they run.
    #[serde(default)]
    pub executable: Option<String>,
    /// The port that they listen on.
    #[serde(default)]
    pub port: Option<u16>,
}

/// Everything that should run on one host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredSet {
    /// Its place among the orders.
    pub generation: Generation,
    /// The whole set: what is not in it must not run.
    pub instances: Vec<DesiredInstance>,
    /// What is looked for and never acted upon.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sought: Vec<Sought>,
}

/// What an agent saw of a process, from the kernel and not from the process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessFacts {
    /// The boot it was started in.
    pub boot_id: String,
    /// Process id.
    pub pid: u32,
    /// Start time, in clock ticks since boot: with the boot id and pid it names a process for ever.
    pub start_ticks: u64,
    /// Start time by the wall clock.
    pub started_at: Time,
    /// SHA-256 of the executable it runs.
    pub exe_sha256: String,
    /// The port on which it, and nobody else, listens.
    pub listening_port: Option<u16>,
    /// Resident memory.
    pub rss_bytes: u64,
    /// Open files.
    pub open_files: u64,
}

/// A process that was looked for and found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    /// The service that it is an instance of.
    pub service: ServiceName,
    /// The path of what it runs.
    pub executable: String,
    /// The port that it was looked for on.
    pub port: Option<u16>,
    /// What the kernel says.
    pub process: ProcessFacts,
}

/// Where an instance stands on its host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum InstanceState {
    /// Not started yet, or waiting before the next try.
    Waiting {
        /// Why.
        because: String,
    },
    /// Started, not yet listening.
    Starting,
    /// Listening on its port.
    Running,
    /// Told to stop, still there.
    Stopping,
    /// Seen gone.
    Gone,
    /// It cannot run here.
    Failed {
        /// Why, with the remedy.
        because: String,
    },
}

/// One instance as its agent sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceReport {
    /// Its name.
    pub instance: InstanceName,
    /// Its service.
    pub service: ServiceName,
    /// The version the agent started.
    pub version: Version,
    /// The incarnation the agent started.
    pub incarnation: u64,
    /// Where it stands.
    pub state: InstanceState,
    /// The port it was given.
    pub port: Option<u16>,
    /// What the kernel says.
    pub process: Option<ProcessFacts>,
    /// SHA-256 of the artifact's executable on disk.
    pub artifact_sha256: Option<String>,
    /// Times it exited without an order since the incarnation began.
    pub unordered_exits: u32,
    /// Whether it had to be killed because it outlived its grace.
    pub killed_last: bool,
}

/// From the server to the agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ToAgent {
    /// What should run.
    Desired {
        /// The set.
        set: DesiredSet,
    },
}

/// From the agent to the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum FromAgent {
    /// First message on a connection.
    Hello {
        /// Version of the messages it writes.
        wire: u16,
        /// The host it speaks for.
        host: HostName,
        /// The generation it holds.
        generation: Generation,
        /// Where the host's metrics are scraped; empty where they are not.
        #[serde(default)]
        metrics_url: String,
    },
    /// What it sees; sent each second and on every change.
    Report {
        /// When, by the host's clock.
        at: Time,
        /// The generation it acts on.
        generation: Generation,
        /// All its instances.
        instances: Vec<InstanceReport>,
        /// What it found of what it looks for.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        found: Vec<Found>,
    },
    /// Something moved on the host without an order.
    Unordered {
        /// When.
        at: Time,
        /// The instance, where it is one of ours.
        instance: Option<InstanceName>,
        /// The service, where it is one that is only observed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<ServiceName>,
        /// What was seen.
        what: String,
    },
}
