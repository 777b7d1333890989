//! What each host should run and each router should route: a pure function of the catalog, of what is
//! desired, and of what was seen.
//!
//! Guarantees: the same arguments give the same orders; a backend is listed only where a process was seen
//! listening, at the port it was seen on; one that is not what is desired any more is listed as draining,
//! so that it may finish. Never forgets an instance because its agent is silent: requests tell whether it
//! serves.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_core::{
    FabricName, HostName, InstanceName, ServiceName, Span, Version,
    catalog::{FabricSpec, HostSpec, Manage, RunSpec, ServiceSpec},
};
use mainstay_wire::{
    agent::{DesiredInstance, InstanceReport, InstanceState},
    router::{Backend, Limit, Probing, ServiceRoutes},
};

use crate::{
    desired::{Desired, Wanted},
    plan::ALL,
    site::Seen,
    slots::{Slot, Slots},
};

/// Where instances of hosts without an address listen.
const LOOPBACK: &str = "127.0.0.1";
/// Instances of each version that probes go to in one fabric: as evidence, more say no more.
const PROBED_MAX: usize = 16;
/// How long a server that just began waits for a host's first report before it asks the router whether that
/// host's instances serve: agents are back within five seconds if they are alive.
const PATIENCE: Span = Span::from_secs(10);

/// Whether enough is known of `fabric` to order its routes. A server that just began has seen nothing, and
/// routes made of nothing would take every instance out; until then the router keeps what it has. A host that
/// stays silent is left out only once the router says that nothing on it answers.
pub fn is_heard(
    hosts: &BTreeMap<HostName, HostSpec>,
    fabric: &FabricName,
    desired: &BTreeMap<ServiceName, Desired>,
    seen: &Seen,
    waited: Span,
) -> bool {
    let silent: BTreeSet<&HostName> = hosts
        .iter()
        .filter(|(name, host)| host.fabric == *fabric && !seen.hosts.contains_key(*name))
        .map(|(name, _)| name)
        .collect();
    if silent.is_empty() {
        return true;
    }
    let answers = |service: &ServiceName, slot: &Slot| {
        let instance = slot.instance(service).ok();
        let backend = instance.and_then(|it| seen.backend(fabric, service, it.as_str()));
        backend.is_some_and(|it| it.in_rotation && it.goodput_rps > 0.0)
    };
    let serves = desired.iter().any(|(service, desired)| {
        let mut slots = desired.slots.iter();
        slots.any(|(slot, wanted)| {
            slot.fabric == *fabric && silent.contains(&wanted.host) && answers(service, slot)
        })
    });
    waited >= PATIENCE && seen.fabrics.contains_key(fabric) && !serves
}

/// Everything that should run and be routed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Orders {
    /// What each host should run.
    pub hosts: BTreeMap<HostName, Vec<DesiredInstance>>,
    /// What each router should route.
    pub fabrics: BTreeMap<FabricName, Vec<ServiceRoutes>>,
}

/// What is composed.
#[derive(Debug, Clone, Copy)]
pub struct Composition<'a> {
    /// Services, by name.
    pub services: &'a BTreeMap<ServiceName, ServiceSpec>,
    /// Fabrics, by name.
    pub fabrics: &'a BTreeMap<FabricName, FabricSpec>,
    /// Hosts, by name.
    pub hosts: &'a [HostName],
    /// What is desired of each service.
    pub desired: &'a BTreeMap<ServiceName, Desired>,
    /// The last report about each instance.
    pub seen: &'a BTreeMap<InstanceName, InstanceReport>,
    /// Requests per second that an instance of a version is known to carry.
    pub capacity: &'a BTreeMap<(ServiceName, Version), f64>,
}

/// The orders that follow.
pub fn compose(of: Composition<'_>) -> Orders {
    let mut orders = Orders {
        hosts: of
            .hosts
            .iter()
            .map(|host| (host.clone(), Vec::new()))
            .collect(),
        fabrics: of
            .fabrics
            .keys()
            .map(|fabric| (fabric.clone(), Vec::new()))
            .collect(),
    };
    for (name, desired) in of.desired {
        let Some(spec) = of
            .services
            .get(name)
            .filter(|spec| spec.manage == Manage::Full)
        else {
            continue;
        };
        if let Some(run) = &spec.run {
            for (slot, wanted) in &desired.slots {
                let instance = instance(of, name, slot, wanted, run);
                if let (Some(host), Some(mut instance)) =
                    (orders.hosts.get_mut(&wanted.host), instance)
                {
                    if desired.at_once.contains(slot) {
                        instance.stop_grace = Span::ZERO;
                    }
                    host.push(instance);
                }
            }
        }
        for (fabric, routes) in &mut orders.fabrics {
            routes.extend(service_routes(of, name, spec, desired, fabric));
        }
    }
    orders
}

fn instance(
    of: Composition<'_>,
    service: &ServiceName,
    slot: &Slot,
    wanted: &Wanted,
    run: &RunSpec,
) -> Option<DesiredInstance> {
    let router = of
        .fabrics
        .get(&slot.fabric)
        .and_then(|fabric| fabric.listen.as_deref())
        .map_or_else(String::new, |listen| format!("http://{listen}"));
    let fill = |text: &String| text.replace("{router}", &router);
    Some(DesiredInstance {
        instance: slot.instance(service).ok()?,
        service: service.clone(),
        fabric: slot.fabric.clone(),
        version: wanted.version.clone(),
        incarnation: wanted.incarnation,
        artifacts: run.artifacts.clone(),
        args: run.args.iter().map(fill).collect(),
        env: run
            .env
            .iter()
            .map(|(name, text)| (name.clone(), fill(text)))
            .collect(),
        port: run.port,
        stop_grace: run.stop_grace,
    })
}

fn service_routes(
    of: Composition<'_>,
    name: &ServiceName,
    spec: &ServiceSpec,
    desired: &Desired,
    fabric: &FabricName,
) -> Option<ServiceRoutes> {
    let weights = desired.weights.get(fabric)?;
    let backends: Vec<Backend> = desired
        .slots
        .iter()
        .filter(|(slot, _)| slot.fabric == *fabric)
        .filter_map(|(slot, wanted)| backend(of, name, slot, wanted))
        .collect();
    Some(ServiceRoutes {
        service: name.clone(),
        prefix: spec.route.clone().unwrap_or_else(|| format!("/{name}/")),
        timeout: spec.timeout,
        health: spec.health.clone(),
        bulkhead: spec.bulkhead,
        slo: spec.slo,
        weights: weights
            .iter()
            .filter(|(_, weight)| **weight > 0)
            .map(|(version, weight)| (version.clone(), *weight))
            .collect(),
        backends,
        shed: desired.shed.get(fabric).copied().unwrap_or(0).min(ALL),
        client_version_header: spec.client_version_header.clone(),
        probes: spec.probes.clone(),
        probing: probing(name, spec, desired, fabric),
    })
}

/// The probes of a rollout in `fabric`; none where one of both versions does not serve there.
fn probing(
    name: &ServiceName,
    spec: &ServiceSpec,
    desired: &Desired,
    fabric: &FabricName,
) -> Option<Probing> {
    let wanted = desired.probing.as_ref()?;
    let named = |slots: &Slots| -> Vec<InstanceName> {
        let here = slots.of(fabric).filter_map(|slot| slot.instance(name).ok());
        here.take(PROBED_MAX).collect()
    };
    let (canary, control) = (named(&wanted.arms.canary), named(&wanted.arms.control));
    let is_whole = !spec.probes.is_empty() && !canary.is_empty() && !control.is_empty();
    is_whole.then(|| Probing {
        change: wanted.change.clone(),
        probes: spec.probes.clone(),
        canary,
        control,
        at_most: wanted.at_most,
    })
}

fn backend(
    of: Composition<'_>,
    service: &ServiceName,
    slot: &Slot,
    wanted: &Wanted,
) -> Option<Backend> {
    let instance = slot.instance(service).ok()?;
    let seen = of.seen.get(&instance)?;
    let listens = matches!(seen.state, InstanceState::Running | InstanceState::Stopping);
    let port = seen.port.filter(|_| listens)?;
    let as_wanted = is_wanted(seen, wanted);
    Some(Backend {
        incarnation: seen.incarnation,
        version: seen.version.clone(),
        address: format!("{LOOPBACK}:{port}"),
        draining: wanted.draining || !as_wanted || seen.state == InstanceState::Stopping,
        share: if as_wanted { wanted.share } else { 1.0 },
        limit: wanted.limit.filter(|_| as_wanted).map(|slo| Limit {
            error_ratio: slo.error_ratio.fraction(),
            latency_p99_ms: slo.latency_p99.millis(),
        }),
        capacity_rps: of
            .capacity
            .get(&(service.clone(), seen.version.clone()))
            .copied(),
        instance,
    })
}

/// Whether what was seen is the process that is wanted.
pub fn is_wanted(seen: &InstanceReport, wanted: &Wanted) -> bool {
    seen.incarnation == wanted.incarnation && seen.version == wanted.version
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Deployment;

    fn report(name: &str, version: &str, incarnation: u64, port: u16) -> InstanceReport {
        InstanceReport {
            instance: name.parse().unwrap(),
            service: "voyager".parse().unwrap(),
            version: version.parse().unwrap(),
            incarnation,
            state: InstanceState::Running,
            port: Some(port),
            process: None,
            artifact_sha256: None,
            unordered_exits: 0,
            killed_last: false,
        }
    }

    #[test]
    fn a_process_that_is_not_the_wanted_one_drains_and_one_not_seen_is_no_backend() {
        let spec: ServiceSpec = serde_json::from_str(
            r#"{"owner":"o","run":{"artifacts":"/a","env":{"ROUTER":"{router}"}}}"#,
        )
        .unwrap();
        let voyager: ServiceName = "voyager".parse().unwrap();
        let lax: FabricName = "lax".parse().unwrap();
        let host: HostName = "h1".parse().unwrap();
        let deployment = Deployment::first(
            "v2".parse().unwrap(),
            [(lax.clone(), (vec![host.clone()], 3))].into(),
        );
        let mut desired = Desired::from(&deployment);
        desired
            .slots
            .get_mut(&Slot::new(lax.clone(), 1))
            .unwrap()
            .incarnation = 4;
        let seen = [
            report("voyager-lax-1", "v1", 2, 9_001),
            report("voyager-lax-2", "v2", 0, 9_002),
        ]
        .map(|it| (it.instance.clone(), it));
        let orders = compose(Composition {
            services: &[(voyager.clone(), spec)].into(),
            fabrics: &[(
                lax.clone(),
                FabricSpec {
                    listen: Some("127.0.0.1:80".into()),
                },
            )]
            .into(),
            hosts: std::slice::from_ref(&host),
            desired: &[(voyager, desired)].into(),
            seen: &seen.into(),
            capacity: &BTreeMap::new(),
        });
        assert_eq!(orders.hosts[&host].len(), 3);
        assert_eq!(orders.hosts[&host][0].env["ROUTER"], "http://127.0.0.1:80");
        let backends: Vec<(&str, &str, bool)> = orders.fabrics[&lax][0]
            .backends
            .iter()
            .map(|it| (it.instance.as_str(), it.version.as_str(), it.draining))
            .collect();
        assert_eq!(
            backends,
            [
                ("voyager-lax-1", "v1", true),
                ("voyager-lax-2", "v2", false)
            ]
        );
    }

    #[test]
    fn probes_are_ordered_where_both_versions_serve_and_nowhere_else() {
        let spec: ServiceSpec =
            serde_json::from_str(r#"{"owner":"o","probes":[{"path":"/voyager/home"}]}"#).unwrap();
        let voyager: ServiceName = "voyager".parse().unwrap();
        let [lax, iad]: [FabricName; 2] = ["lax", "iad"].map(|it| it.parse().unwrap());
        let slot = |fabric: &FabricName, ordinal| Slot::new(fabric.clone(), ordinal);
        let desired = Desired {
            probing: Some(crate::desired::Probing {
                change: "chg-1".parse().unwrap(),
                arms: crate::rollout::Probed {
                    canary: [slot(&lax, 7)].into_iter().collect(),
                    control: [slot(&lax, 8), slot(&iad, 8)].into_iter().collect(),
                },
                at_most: Span::from_secs(60),
            }),
            ..Desired::default()
        };
        let ordered = probing(&voyager, &spec, &desired, &lax).unwrap();
        assert_eq!(ordered.probes, spec.probes);
        assert_eq!(ordered.canary, ["voyager-lax-7".parse().unwrap()]);
        assert_eq!(ordered.control, ["voyager-lax-8".parse().unwrap()]);
        assert_eq!(probing(&voyager, &spec, &desired, &iad), None);
        let silent = ServiceSpec {
            probes: Vec::new(),
            ..spec
        };
        assert_eq!(probing(&voyager, &silent, &desired, &lax), None);
    }

    #[test]
    fn nothing_is_ever_ordered_for_a_service_that_is_only_observed() {
        let spec: ServiceSpec = serde_json::from_str(
            r#"{"owner":"o","manage":"observe","run":{"artifacts":"/a"},
                "observe":{"urls":["http://h:1"]}}"#,
        )
        .unwrap();
        let shop: ServiceName = "shop".parse().unwrap();
        let lax: FabricName = "lax".parse().unwrap();
        let host: HostName = "h1".parse().unwrap();
        let deployment = Deployment::first(
            "v1".parse().unwrap(),
            [(lax.clone(), (vec![host.clone()], 3))].into(),
        );
        let orders = compose(Composition {
            services: &[(shop.clone(), spec)].into(),
            fabrics: &[(lax, FabricSpec::default())].into(),
            hosts: &[host],
            desired: &[(shop, Desired::from(&deployment))].into(),
            seen: &BTreeMap::new(),
            capacity: &BTreeMap::new(),
        });
        assert!(orders.hosts.values().all(Vec::is_empty), "{orders:?}");
        assert!(orders.fabrics.values().all(Vec::is_empty), "{orders:?}");
    }
}
