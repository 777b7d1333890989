//! What releases see of production, and how they move it.

use std::collections::BTreeMap;

use mainstay_core::{FabricName, HostName, ServiceName, Span, Time};
use mainstay_wire::{
    Generation,
    agent::{DesiredSet, Found, InstanceReport},
    router::{BackendReport, RouteTable},
};
use tokio::sync::watch;

/// Older reports say nothing about now.
pub const REPORT_FRESH: Span = Span::from_secs(4);

/// The last word of one host's agent.
#[derive(Debug, Clone, Default)]
pub struct SeenHost {
    /// Whether its agent is connected.
    pub connected: bool,
    /// When it was received.
    pub received_at: Time,
    /// The orders it acts on.
    pub generation: Generation,
    /// Its instances.
    pub instances: Vec<InstanceReport>,
    /// Processes of services that are only observed.
    pub found: Vec<Found>,
}

/// The last word of one fabric's router.
#[derive(Debug, Clone, Default)]
pub struct SeenFabric {
    /// Whether it is connected.
    pub connected: bool,
    /// When it was received.
    pub received_at: Time,
    /// The table in force.
    pub applied: Generation,
    /// Backends as its callers see them.
    pub backends: BTreeMap<ServiceName, Vec<BackendReport>>,
    /// A service that holds more than half of its connections.
    pub hoarder: Option<ServiceName>,
}

impl SeenHost {
    /// Whether what it said holds for now.
    pub fn is_fresh(&self, now: Time) -> bool {
        self.connected && now.since(self.received_at) <= REPORT_FRESH
    }
}

impl SeenFabric {
    /// Whether what it said holds for now.
    pub fn is_fresh(&self, now: Time) -> bool {
        self.connected && now.since(self.received_at) <= REPORT_FRESH
    }
}

/// All that was reported.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// By host.
    pub hosts: BTreeMap<HostName, SeenHost>,
    /// By fabric.
    pub fabrics: BTreeMap<FabricName, SeenFabric>,
}

impl Seen {
    /// The agent's report about an instance, and when it was received.
    pub fn instance(&self, name: &str) -> Option<(&SeenHost, &InstanceReport)> {
        self.hosts.values().find_map(|host| {
            let found = host
                .instances
                .iter()
                .find(|it| it.instance.as_str() == name)?;
            Some((host, found))
        })
    }
    /// The router's report about an instance.
    pub fn backend(
        &self,
        fabric: &FabricName,
        service: &ServiceName,
        name: &str,
    ) -> Option<&BackendReport> {
        let backends = self.fabrics.get(fabric)?.backends.get(service)?;
        backends.iter().find(|it| it.instance.as_str() == name)
    }
}

/// Production, as releases see and move it: whoever wires agents and routers stands behind it.
pub trait Site: Send + Sync {
    /// All that was reported last.
    fn seen(&self) -> Seen;
    /// Changes whenever something was reported.
    fn changed(&self) -> watch::Receiver<u64>;
    /// Has a host run `set`; sent again whenever its agent comes back.
    fn order_host(&self, host: &HostName, set: DesiredSet);
    /// Has a fabric route `table`.
    fn order_fabric(&self, fabric: &FabricName, table: RouteTable);
}
