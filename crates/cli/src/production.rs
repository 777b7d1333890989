//! Production behind the server: agents and routers as releases see them, what releases want done, and what
//! moved without an order.
//!
//! Guarantees: what an agent saw move without an order becomes a change in the ledger, at most one a second
//! for each instance, the others counted in it. Never acts by itself.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use mainstay_change::EffectId;
use mainstay_core::{
    Actor, Append, BlastRadius, Change, ChangeId, ChangeKind, ChangeState, Expected, FabricName,
    HostName, NewEntry, ServiceName,
    change::{MOVED, Moved, OPENED, Plan},
    ports::{BoxFuture, Changes, Clock as _, Declined, InstanceCounts, Ledger, No, Views},
};
use mainstay_deploy::{
    adapter::Engine,
    site::{Seen, SeenFabric, SeenHost, Site},
};
use mainstay_fleet::hub::{FleetHub, Unordered};
use mainstay_oncall::adapter::incidents::Pager;
use mainstay_runtime::{Inbox, Performer};
use mainstay_traffic::hub::RouteHub;
use mainstay_wire::{agent::DesiredSet, agent::InstanceState, router::RouteTable};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    metrics::Monitoring,
    ports::{SystemClock, new_change_id},
    targets::{self, Listening, Measured},
};

/// Shortest time between two entries about one instance.
const OBSERVED_EVERY: Duration = Duration::from_secs(1);
/// Instances remembered for that; a flood from more is still bounded by the agents' own limits.
const OBSERVED_MAX: usize = 10_000;

/// Agents and routers, as releases see and move them.
pub(crate) struct Hubs {
    fleet: FleetHub,
    routes: RouteHub,
    changed: watch::Sender<u64>,
}

impl Hubs {
    pub(crate) fn new(fleet: FleetHub, routes: RouteHub) -> Self {
        Self {
            fleet,
            routes,
            changed: watch::Sender::new(0),
        }
    }

    /// Passes changes of either hub on, until `stop`.
    pub(crate) async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let (mut fleet, mut routes) = (self.fleet.changed(), self.routes.changed());
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Ok(()) = fleet.changed() => {}
                Ok(()) = routes.changed() => {}
                else => return,
            }
            self.changed.send_modify(|count| *count += 1);
        }
    }
}

impl Site for Hubs {
    fn seen(&self) -> Seen {
        let (fleet, routes) = (self.fleet.view(), self.routes.view());
        let hosts = fleet.hosts.iter().map(|(name, it)| {
            let seen = SeenHost {
                connected: it.connected,
                received_at: it.received_at,
                generation: it.generation,
                instances: it.instances.clone(),
                found: it.found.clone(),
            };
            (name.clone(), seen)
        });
        let hosts = hosts.collect();
        let fabrics = routes.fabrics.iter().map(|(name, it)| {
            let seen = SeenFabric {
                connected: it.connected,
                received_at: it.received_at,
                applied: it.applied,
                backends: it.backends.clone(),
                hoarder: it.hoarder.clone(),
            };
            (name.clone(), seen)
        });
        let fabrics = fabrics.collect();
        Seen { hosts, fabrics }
    }
    fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
    fn order_host(&self, host: &HostName, set: DesiredSet) {
        self.fleet.order(host, set);
    }
    fn order_fabric(&self, fabric: &FabricName, table: RouteTable) {
        self.routes.order(fabric, table);
    }
}

/// What changes want done; each kind of plan has its own hands.
pub(crate) struct Hands {
    pub(crate) engine: Engine,
    pub(crate) pager: Pager,
}

impl Performer for Hands {
    fn perform(&self, change: ChangeId, id: EffectId, body: String) -> BoxFuture<'_, Vec<Inbox>> {
        Box::pin(async move {
            let inputs = match id.target.as_str() {
                mainstay_deploy::rollout::KIND => self.engine.perform(change.clone(), body).await,
                mainstay_deploy::action::KIND => {
                    self.engine.perform_action(change.clone(), body).await
                }
                mainstay_deploy::limit::KIND => {
                    self.engine.perform_limit(change.clone(), body).await
                }
                mainstay_oncall::incident::KIND => self.pager.perform(change.clone(), &body),
                _ => {
                    tracing::error!(%change, ?id, "nothing here can do this effect");
                    return Vec::new();
                }
            };
            let told = inputs.into_iter().map(|body| Inbox::Input {
                change: change.clone(),
                body,
            });
            told.collect()
        })
    }
}

/// Orders of people, and what they see.
pub(crate) struct Desk {
    pub(crate) engine: Engine,
    /// Where the walk of changes is told; gone while another server leads.
    pub(crate) inputs: mpsc::Sender<Inbox>,
}

impl Changes for Desk {
    fn propose(
        &self,
        kind: String,
        actor: Actor,
        request: String,
    ) -> BoxFuture<'_, Result<String, Declined>> {
        Box::pin(async move { self.engine.propose(&kind, actor, &request).await })
    }
    fn ready(&self) -> BoxFuture<'_, Result<(), Declined>> {
        Box::pin(self.engine.ready())
    }
    fn may_stop(&self, services: Vec<ServiceName>) -> BoxFuture<'_, Result<(), Declined>> {
        Box::pin(async move { self.engine.may_stop(&services).await })
    }
    fn may_scale(
        &self,
        wanted: Vec<(ServiceName, InstanceCounts)>,
    ) -> BoxFuture<'_, Result<(), Declined>> {
        Box::pin(async move { self.engine.may_scale(&wanted).await })
    }
    fn may_leave(&self, hosts: Vec<HostName>) -> BoxFuture<'_, Result<(), Declined>> {
        Box::pin(async move { self.engine.may_leave(&hosts).await })
    }
    fn steer(
        &self,
        change: ChangeId,
        verb: String,
        actor: Actor,
        reason: String,
    ) -> BoxFuture<'_, Result<String, Declined>> {
        Box::pin(async move {
            let body = self.engine.steer(&change, &verb, actor, reason).await?;
            let input = Inbox::Input {
                change: change.clone(),
                body,
            };
            self.inputs.try_send(input).map_err(|_| {
                Declined::new(
                    No::Unavailable,
                    "not-leading",
                    "this server does not walk the changes",
                    "ask the server that leads, or try again in a moment",
                )
            })?;
            Ok(json!({ "change": change, "told": verb }).to_string())
        })
    }
}

impl Views for Desk {
    fn view<'a>(&'a self, name: &'a str, key: Option<&'a str>) -> BoxFuture<'a, Option<String>> {
        Box::pin(async move { self.engine.view(name, key) })
    }
}

/// Scrapes whatever is seen listening, until `stop`.
pub(crate) async fn keep_scraping(
    monitoring: Monitoring,
    site: Arc<Hubs>,
    engine: Engine,
    server: String,
    stop: CancellationToken,
) {
    let (mut changed, mut folded) = (site.changed(), engine.folded());
    loop {
        let (fleet, routes) = (site.fleet.view(), site.routes.view());
        let paths = engine.metrics_paths();
        let instances: Vec<(FabricName, String, &mainstay_wire::agent::InstanceReport)> = fleet
            .hosts
            .values()
            .flat_map(|host| &host.instances)
            .filter(|it| matches!(it.state, InstanceState::Running | InstanceState::Stopping))
            .filter_map(|it| {
                let (fabric, path) = engine.placed(it, &paths)?;
                Some((fabric, path, it))
            })
            .collect();
        let listening = instances.iter().filter_map(|(fabric, path, it)| {
            Some(Listening {
                service: &it.service,
                instance: &it.instance,
                version: &it.version,
                fabric,
                port: it.port?,
                path,
            })
        });
        let routers = routes
            .fabrics
            .iter()
            .map(|(fabric, it)| (fabric, it.metrics_url.as_str()));
        let hosts: Vec<(&HostName, Option<FabricName>, &str)> = fleet
            .hosts
            .iter()
            // An agent of the version before tells no metrics.
            .filter(|(_, it)| !it.metrics_url.is_empty())
            .map(|(name, it)| (name, engine.fabric_of(name), it.metrics_url.as_str()))
            .collect();
        let hosts = hosts.iter().map(|(host, fabric, url)| Measured {
            host,
            fabric: fabric.as_ref(),
            url,
        });
        let found = targets::targets(listening, hosts, routers, Some(&server));
        monitoring.follow(found.with_observed(&engine.observed()));
        // What is observed changes with the catalog, also where no agent ever reports.
        tokio::select! {
            () = stop.cancelled() => return,
            seen = changed.changed() => if seen.is_err() { return },
            read = folded.changed() => if read.is_err() { return },
        }
    }
}

/// Writes down what moved without an order, until `stop`.
pub(crate) async fn keep_observing(
    ledger: Arc<dyn Ledger>,
    mut unordered: mpsc::Receiver<Unordered>,
    stop: CancellationToken,
) {
    let mut last: BTreeMap<String, (Instant, u64)> = BTreeMap::new();
    while let Some(Some(event)) = stop.run_until_cancelled(unordered.recv()).await {
        let key = match (&event.instance, &event.service) {
            (Some(instance), _) => instance.to_string(),
            // Each says of one process what is said of it once.
            (None, Some(_)) => event.what.clone(),
            (None, None) => event.host.to_string(),
        };
        if last.len() >= OBSERVED_MAX {
            last.retain(|_, (at, _)| at.elapsed() < OBSERVED_EVERY);
        }
        let more = match last.get_mut(&key) {
            Some((at, more)) if at.elapsed() < OBSERVED_EVERY => {
                *more += 1;
                continue;
            }
            Some((_, more)) => *more,
            None => 0,
        };
        last.insert(key, (Instant::now(), 0));
        let append = observed(&event, more);
        if let Err(error) = ledger.append(append).await {
            tracing::warn!(%error, ?event, "what moved without an order was not written down");
        }
    }
}

fn observed(event: &Unordered, more: u64) -> Append {
    let of_instance = event.instance.as_ref().and_then(|name| {
        // An instance is SERVICE-FABRIC-ORDINAL; a service's own name may hold dashes.
        let mut parts = name.as_str().rsplitn(3, '-').skip(2);
        parts.next().and_then(|name| ServiceName::new(name).ok())
    });
    let service = event.service.clone().or(of_instance);
    let who = match (&event.instance, &event.service) {
        (Some(instance), _) => instance.to_string(),
        (None, Some(service)) => format!("{service} on {}", event.host),
        (None, None) => event.host.to_string(),
    };
    let counted = match more {
        0 => String::new(),
        more => format!(" ({more} more since the last entry)"),
    };
    let at = SystemClock.now();
    let change = Change {
        id: new_change_id(),
        kind: ChangeKind::Observed,
        actor: Actor::system(),
        reason: format!("seen by the agent of {}{counted}", event.host),
        title: format!(
            "{who}: {}",
            event.what.chars().take(180).collect::<String>()
        ),
        blast_radius: BlastRadius {
            services: service.into_iter().collect(),
            instances: u32::from(event.instance.is_some() || event.service.is_some()),
            ..BlastRadius::default()
        },
        emergency: None,
        opened_at: at,
        deadline: None,
        plan: Plan {
            kind: "observed".to_owned(),
            schema: 1,
            body: json!({ "host": event.host, "at": event.at }).to_string(),
        },
    };
    let moved = Moved {
        state: ChangeState::Done,
        because: match event.service {
            Some(_) => "its service is only observed".to_owned(),
            None => "nobody ordered it".to_owned(),
        },
    };
    let entry = |kind: &str, body: String| NewEntry {
        stream: change.stream(),
        kind: kind.to_owned(),
        schema: 1,
        body,
    };
    Append {
        actor: Actor::system(),
        at,
        expected: vec![Expected {
            stream: change.stream(),
            version: 0,
        }],
        entries: vec![
            entry(OPENED, json!(change).to_string()),
            entry(MOVED, json!(moved).to_string()),
        ],
    }
}
