//! What monitoring scrapes, as a pure function of what is known to run.
//!
//! Guarantees: sorted, no target twice; what cannot be one (a path or an address that is no URL) is left out
//! and returned with the reason. Never asks anybody anything.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_core::{
    FabricName, HostName, InstanceName, ServiceName, Version, catalog::ServiceSpec,
};
use mainstay_ekg::adapter::{Target, TargetError};

/// The job under which routers are found.
pub(crate) const ROUTER_JOB: &str = "mainstay-router";
/// The job under which hosts are found: the metrics of a host are told by its agent.
pub(crate) const AGENT_JOB: &str = "mainstay-agent";
/// The job under which the server is found.
pub(crate) const SERVER_JOB: &str = "mainstay";

/// The job under which those who call observed services are found.
pub(crate) const CALLERS_JOB: &str = "callers";

/// An instance that listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listening<'a> {
    /// Its service.
    pub(crate) service: &'a ServiceName,
    /// Its name.
    pub(crate) instance: &'a InstanceName,
    /// What it runs.
    pub(crate) version: &'a Version,
    /// Where.
    pub(crate) fabric: &'a FabricName,
    /// The port on which it listens, on the loopback of its host.
    pub(crate) port: u16,
    /// The service's path of metrics, such as `/metrics`.
    pub(crate) path: &'a str,
}

/// A host whose agent tells its metrics.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured<'a> {
    /// The host.
    pub(crate) host: &'a HostName,
    /// Its fabric, where it is declared.
    pub(crate) fabric: Option<&'a FabricName>,
    /// Where its metrics are.
    pub(crate) url: &'a str,
}

/// `path` at `url`, such as `http://host:port`.
pub(crate) fn joined(url: &str, path: &str) -> String {
    format!(
        "{}/{}",
        url.trim_end_matches('/'),
        path.trim_start_matches('/')
    )
}

/// Targets by who may say whose a sample is.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Targets {
    /// Instances and hosts: the target's labels stand.
    pub(crate) own: Vec<Target>,
    /// Routers, which speak of others: the sample's labels stand.
    pub(crate) routers: Vec<Target>,
    /// The server itself.
    pub(crate) server: Vec<Target>,
    /// What cannot be scraped, and why.
    pub(crate) refused: Vec<TargetError>,
}

impl Targets {
    /// Adds what services that are only observed declare: their instances, and the metrics of their callers,
    /// each once however many services name it.
    pub(crate) fn with_observed(mut self, services: &BTreeMap<ServiceName, ServiceSpec>) -> Self {
        let mut callers = BTreeSet::new();
        let mut own = Vec::new();
        for (service, spec) in services {
            let Some(observe) = &spec.observe else {
                continue;
            };
            callers.extend(observe.scrape.iter().map(String::as_str));
            own.extend(observed(service, spec));
        }
        self.own = sorted(self.own.into_iter().map(Ok).chain(own), &mut self.refused);
        let callers = callers
            .into_iter()
            .map(|url| Target::new(url, [("job", CALLERS_JOB)]));
        self.routers = sorted(
            self.routers.into_iter().map(Ok).chain(callers),
            &mut self.refused,
        );
        self
    }
}

/// The instances that an observed service declares.
fn observed<'a>(
    service: &'a ServiceName,
    spec: &'a ServiceSpec,
) -> impl Iterator<Item = Result<Target, TargetError>> + 'a {
    let labels = [("job", service.as_str()), ("service", service.as_str())];
    let urls = spec.observe.iter().flat_map(|it| &it.urls);
    urls.map(move |url| Target::new(&joined(url, &spec.metrics), labels))
}

/// What the instances of an observed service are called in their series; one that cannot be scraped has no name.
pub(crate) fn observed_instances(service: &ServiceName, spec: &ServiceSpec) -> Vec<String> {
    let targets = observed(service, spec).filter_map(Result::ok);
    targets
        .filter_map(|it| it.labels().get("instance").map(str::to_owned))
        .collect()
}

/// All targets: instances, hosts, routers by fabric and address of their metrics, and the server at `server`, such
/// as `http://127.0.0.1:7070`.
pub(crate) fn targets<'a>(
    instances: impl IntoIterator<Item = Listening<'a>>,
    hosts: impl IntoIterator<Item = Measured<'a>>,
    routers: impl IntoIterator<Item = (&'a FabricName, &'a str)>,
    server: Option<&str>,
) -> Targets {
    let mut targets = Targets::default();
    let server = server.map(|url| {
        let url = format!("{}/metrics", url.trim_end_matches('/'));
        Target::new(&url, [("job", SERVER_JOB)])
    });
    let instances = instances.into_iter().map(instance);
    let own = instances.chain(hosts.into_iter().map(host));
    targets.own = sorted(own, &mut targets.refused);
    targets.server = sorted(server.into_iter(), &mut targets.refused);
    let routers = routers.into_iter().map(|(fabric, url)| {
        let labels = [("job", ROUTER_JOB), ("fabric", fabric.as_str())];
        Target::new(url, labels)
    });
    targets.routers = sorted(routers, &mut targets.refused);
    targets
}

/// The host is the instance: its agent's port changes with each start, and its series shall not.
fn host(measured: Measured<'_>) -> Result<Target, TargetError> {
    let fabric = measured.fabric.map(|fabric| ("fabric", fabric.as_str()));
    let labels = [
        ("job", AGENT_JOB),
        ("instance", measured.host.as_str()),
        ("host", measured.host.as_str()),
    ];
    Target::new(measured.url, labels.into_iter().chain(fabric))
}

fn instance(listening: Listening<'_>) -> Result<Target, TargetError> {
    let url = joined(
        &format!("http://127.0.0.1:{}", listening.port),
        listening.path,
    );
    let version = listening.version.to_string();
    let labels = [
        ("job", listening.service.as_str()),
        ("service", listening.service.as_str()),
        ("instance", listening.instance.as_str()),
        ("version", version.as_str()),
        ("fabric", listening.fabric.as_str()),
    ];
    Target::new(&url, labels)
}

fn sorted(
    found: impl Iterator<Item = Result<Target, TargetError>>,
    refused: &mut Vec<TargetError>,
) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    for target in found {
        match target {
            Ok(target) => targets.push(target),
            Err(error) => refused.push(error),
        }
    }
    targets.sort_by_cached_key(|target| (target.labels().clone(), target.url().to_string()));
    targets.dedup();
    targets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(targets: &[Target]) -> Vec<String> {
        let text = |target: &Target| format!("{} {}", target.url(), target.labels());
        targets.iter().map(text).collect()
    }

    #[test]
    fn instances_routers_and_the_server_are_targets_once_and_in_order() {
        let service = ServiceName::new("shop").unwrap();
        let fabric = FabricName::new("lax").unwrap();
        let version: Version = Version::new("v2").unwrap();
        let names = ["shop-lax-2", "shop-lax-1"].map(|name| InstanceName::new(name).unwrap());
        let listening = |at: usize| Listening {
            service: &service,
            instance: &names[at],
            version: &version,
            fabric: &fabric,
            port: 9_000 + at as u16,
            path: "metrics",
        };
        let routers = [
            (&fabric, "http://127.0.0.1:8000/metrics"),
            (&fabric, "nowhere"),
        ];
        let instances = [listening(0), listening(1), listening(0)];
        let hosts = ["lax-2", "lax-1"].map(|name| HostName::new(name).unwrap());
        let measured = |at: usize| Measured {
            host: &hosts[at],
            fabric: (at == 1).then_some(&fabric),
            url: "http://127.0.0.1:9100/metrics",
        };
        let agents = || [measured(0), measured(1)];
        let found = targets(instances, agents(), routers, Some("http://127.0.0.1:7070/"));
        let expected = [
            r#"http://127.0.0.1:9100/metrics {fabric="lax", host="lax-1", instance="lax-1", job="mainstay-agent"}"#,
            r#"http://127.0.0.1:9001/metrics {fabric="lax", instance="shop-lax-1", job="shop", service="shop", version="v2"}"#,
            r#"http://127.0.0.1:9000/metrics {fabric="lax", instance="shop-lax-2", job="shop", service="shop", version="v2"}"#,
            r#"http://127.0.0.1:9100/metrics {host="lax-2", instance="lax-2", job="mainstay-agent"}"#,
        ];
        assert_eq!(texts(&found.own), expected);
        let server = r#"http://127.0.0.1:7070/metrics {instance="127.0.0.1:7070", job="mainstay"}"#;
        assert_eq!(texts(&found.server), [server]);
        let router = r#"http://127.0.0.1:8000/metrics {fabric="lax", instance="127.0.0.1:8000", job="mainstay-router"}"#;
        assert_eq!(texts(&found.routers), [router]);
        assert_eq!(found.refused, [TargetError::Url("nowhere".to_owned())]);
        let other = targets(
            [listening(1), listening(0)],
            [measured(1), measured(0)],
            routers,
            Some("http://127.0.0.1:7070"),
        );
        assert_eq!(other, found, "the order of what is given cannot be seen");
    }

    #[test]
    fn observed_instances_are_scraped_as_their_service_and_their_callers_once() {
        let spec = |url: &str| -> ServiceSpec {
            let text = format!(
                r#"{{"owner":"o","manage":"observe","metrics":"stats","observe":{{"urls":["{url}"],
                    "scrape":["http://proxy:9113/metrics"]}}}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let shop = ServiceName::new("shop").unwrap();
        let cart = ServiceName::new("cart").unwrap();
        let services = [(shop, spec("http://h:1/")), (cart, spec("http://h:2"))].into();
        let found = targets([], [], [], None).with_observed(&services);
        let expected = [
            r#"http://h:1/stats {instance="h:1", job="shop", service="shop"}"#,
            r#"http://h:2/stats {instance="h:2", job="cart", service="cart"}"#,
        ];
        assert_eq!(texts(&found.own), expected);
        let proxy = r#"http://proxy:9113/metrics {instance="proxy:9113", job="callers"}"#;
        assert_eq!(texts(&found.routers), [proxy]);
    }
}
