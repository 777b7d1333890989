//! Rules that a catalog must keep as a whole: references exist, calls form no cycle, and nobody waits
//! for a child longer than their own caller waits for them.
//!
//! The last rule is the lesson of a well-known class of outages: a child whose timeout is longer than
//! its parent's keeps working for a caller that has gone, and retries pile up on work nobody wants.

use std::collections::BTreeMap;

use crate::{
    HostName, Kind, Name, ServiceName,
    catalog::{HostSpec, Manage, ObservedProcess, ServiceSpec},
    oncall::ScheduleSpec,
    probe,
};

/// URLs in one list of an observed service: half of what the scraper follows in all.
const OBSERVED_URLS_MAX: usize = 1_000;
/// Descriptions of processes of an observed service; each is looked for once a second.
const OBSERVED_PROCESSES_MAX: usize = 32;

/// One way in which a catalog does not hold together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// The kind of the resource to mend.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// The field, such as `spec.dependencies[1].timeout`.
    pub field: String,
    /// What is wrong.
    pub what: String,
    /// What would mend it.
    pub remedy: String,
}

/// The parts of a catalog that refer to each other.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// Services by name.
    pub services: BTreeMap<ServiceName, ServiceSpec>,
    /// Hosts by name.
    pub hosts: BTreeMap<HostName, HostSpec>,
    /// Names of fabrics.
    pub fabrics: Vec<Name>,
    /// Names of rollout policies.
    pub policies: Vec<Name>,
    /// Names of responders.
    pub responders: Vec<Name>,
    /// Schedules by name.
    pub schedules: BTreeMap<Name, ScheduleSpec>,
}

impl Catalog {
    /// Every flaw, in the order of names.
    pub fn flaws(&self) -> Vec<Flaw> {
        let mut flaws = Vec::new();
        for (name, host) in &self.hosts {
            if !self
                .fabrics
                .iter()
                .any(|fabric| fabric.as_str() == host.fabric.as_str())
            {
                flaws.push(unknown(
                    Kind::Host,
                    name.as_str(),
                    "spec.fabric",
                    "fabric",
                    host.fabric.as_str(),
                ));
            }
        }
        for (name, service) in &self.services {
            self.check_references(name, service, &mut flaws);
            self.check_timeouts(name, service, &mut flaws);
            check_observed(name, service, &mut flaws);
            self.check_processes(name, service, &mut flaws);
            check_requests(name, service, &mut flaws);
        }
        for (name, schedule) in &self.schedules {
            let named = schedule.named();
            let missing = named.filter(|(_, person)| !self.responders.contains(person));
            flaws.extend(missing.map(|(field, person)| {
                let field = format!("spec.{field}");
                unknown(
                    Kind::Schedule,
                    name.as_str(),
                    &field,
                    "responder",
                    person.as_str(),
                )
            }));
        }
        flaws.extend(self.cycle());
        flaws
    }

    fn check_references(&self, name: &ServiceName, service: &ServiceSpec, flaws: &mut Vec<Flaw>) {
        for fabric in service.instances.keys() {
            if !self
                .fabrics
                .iter()
                .any(|known| known.as_str() == fabric.as_str())
            {
                let field = format!("spec.instances.{fabric}");
                flaws.push(unknown(
                    Kind::Service,
                    name.as_str(),
                    &field,
                    "fabric",
                    fabric.as_str(),
                ));
            }
        }
        if let Some(policy) = &service.policy
            && !self.policies.contains(policy)
        {
            flaws.push(unknown(
                Kind::Service,
                name.as_str(),
                "spec.policy",
                "rolloutpolicy",
                policy.as_str(),
            ));
        }
        for (at, dependency) in service.dependencies.iter().enumerate() {
            if !self.services.contains_key(&dependency.service) {
                let field = format!("spec.dependencies[{at}].service");
                flaws.push(unknown(
                    Kind::Service,
                    name.as_str(),
                    &field,
                    "service",
                    dependency.service.as_str(),
                ));
            }
        }
    }

    /// Processes of an observed service can be found, on hosts that there are.
    fn check_processes(&self, name: &ServiceName, service: &ServiceSpec, flaws: &mut Vec<Flaw>) {
        let all = service.observe.iter().flat_map(|it| &it.processes);
        let count = all.clone().count();
        let mut flaw = |field: String, what: String, remedy: &str| {
            flaws.push(Flaw {
                kind: Kind::Service,
                name: name.to_string(),
                field,
                what,
                remedy: remedy.to_owned(),
            });
        };
        if count > OBSERVED_PROCESSES_MAX {
            let what =
                format!("{count} descriptions of processes; at most {OBSERVED_PROCESSES_MAX}");
            flaw(
                "spec.observe.processes".to_owned(),
                what,
                "divide the service",
            );
        }
        for (at, it) in all.enumerate() {
            let field = format!("spec.observe.processes[{at}]");
            if let Some((below, what, remedy)) = process_flaw(it) {
                flaw(format!("{field}{below}"), what, remedy);
            }
            if let Some(host) = it.host.as_ref().filter(|it| !self.hosts.contains_key(*it)) {
                flaw(
                    format!("{field}.host"),
                    format!("there is no host `{host}`"),
                    "declare the host, or leave `host` out to look on every one",
                );
            }
        }
    }

    fn check_timeouts(&self, name: &ServiceName, service: &ServiceSpec, flaws: &mut Vec<Flaw>) {
        for (at, edge) in service.dependencies.iter().enumerate() {
            let mut flaw = |what: String, remedy: String| {
                let field = format!("spec.dependencies[{at}].timeout");
                flaws.push(Flaw {
                    kind: Kind::Service,
                    name: name.to_string(),
                    field,
                    what,
                    remedy,
                });
            };
            if edge.timeout > service.timeout {
                flaw(
                    format!(
                        "{name} → {} may take {}, but callers wait only {} for {name}",
                        edge.service, edge.timeout, service.timeout
                    ),
                    format!(
                        "lower it to {} or less, or raise spec.timeout of {name}",
                        service.timeout
                    ),
                );
            }
            let Some(child) = self.services.get(&edge.service) else {
                continue;
            };
            for below in child
                .dependencies
                .iter()
                .filter(|below| below.timeout > edge.timeout)
            {
                flaw(
                    format!(
                        "{name} → {} waits {}, while {} → {} waits {}: the child outlives its parent",
                        edge.service, edge.timeout, edge.service, below.service, below.timeout
                    ),
                    format!(
                        "lower {} → {} to {} or less, or raise this one",
                        edge.service, below.service, edge.timeout
                    ),
                );
            }
        }
    }

    /// The first cycle of calls, if there is one.
    fn cycle(&self) -> Option<Flaw> {
        let mut state: BTreeMap<&ServiceName, bool> = BTreeMap::new();
        for start in self.services.keys() {
            // An explicit stack: a chain of thousands of services must not exhaust ours.
            let mut path: Vec<(&ServiceName, usize)> = vec![(start, 0)];
            while let Some((at, next)) = path.pop() {
                if next == 0 {
                    if state.contains_key(at) {
                        continue;
                    }
                    state.insert(at, false);
                }
                let edges = self
                    .services
                    .get(at)
                    .map_or(&[][..], |service| &service.dependencies[..]);
                let Some(edge) = edges.get(next) else {
                    state.insert(at, true);
                    continue;
                };
                path.push((at, next + 1));
                match state.get(&edge.service) {
                    Some(true) => {}
                    Some(false) => return Some(cycle_flaw(&path, &edge.service)),
                    None => path.push((&edge.service, 0)),
                }
            }
        }
        None
    }
}

/// Probes can be sent, and where clients say their version is the name of a header.
fn check_requests(name: &ServiceName, service: &ServiceSpec, flaws: &mut Vec<Flaw>) {
    let mut flaw = |field: String, what: String, remedy: String| {
        flaws.push(Flaw {
            kind: Kind::Service,
            name: name.to_string(),
            field,
            what,
            remedy,
        });
    };
    if service.manage == Manage::Observe && !service.probes.is_empty() {
        flaw(
            "spec.probes".to_owned(),
            "no router of Mainstay's reaches a service that is only observed".to_owned(),
            "leave `probes` out, or write `manage: full`".to_owned(),
        );
    }
    for found in probe::flaws(&service.probes) {
        flaw(format!("spec.{}", found.field), found.what, found.remedy);
    }
    if !probe::is_header_name(&service.client_version_header) {
        flaw(
            "spec.clientVersionHeader".to_owned(),
            format!("`{}` is no name of a header", service.client_version_header),
            "write it in letters, digits and `-`".to_owned(),
        );
    }
}

/// What keeps a description of processes from ever finding one; where it is wrong, what is wrong and the remedy.
fn process_flaw(it: &ObservedProcess) -> Option<(&'static str, String, &'static str)> {
    match (&it.executable, it.port) {
        (None, None) => Some((
            "",
            "it says neither what runs nor where it listens".to_owned(),
            "write `executable: /usr/sbin/nginx`, `port: 8080`, or both",
        )),
        (Some(path), _) if !path.starts_with('/') || path.ends_with('/') => Some((
            ".executable",
            format!("`{path}` is not the whole path of a file"),
            "write it as `readlink /proc/PID/exe` shows it, such as `/usr/sbin/nginx`",
        )),
        (_, Some(0)) => Some((
            ".port",
            "nobody listens on port 0".to_owned(),
            "write the port that it listens on, from 1 to 65535",
        )),
        (Some(_), _) | (None, Some(_)) => None,
    }
}

/// Whoever is observed may not be acted upon, and the other way round.
fn check_observed(name: &ServiceName, service: &ServiceSpec, flaws: &mut Vec<Flaw>) {
    let mut flaw = |field: &str, what: String, remedy: &str| {
        flaws.push(Flaw {
            kind: Kind::Service,
            name: name.to_string(),
            field: field.to_owned(),
            what,
            remedy: remedy.to_owned(),
        });
    };
    let Some(observe) = &service.observe else {
        return;
    };
    if service.manage != Manage::Observe {
        flaw(
            "spec.observe",
            "a service that Mainstay runs is measured by its own router".to_owned(),
            "write `manage: observe`, or leave `observe` out",
        );
    }
    let all = [("urls", &observe.urls), ("scrape", &observe.scrape)];
    for (field, urls) in all {
        if urls.len() > OBSERVED_URLS_MAX {
            let what = format!("{} URLs; at most {OBSERVED_URLS_MAX}", urls.len());
            flaw(&format!("spec.observe.{field}"), what, "divide the service");
        }
        for (at, url) in urls.iter().enumerate() {
            let rest = url.strip_prefix("http://").unwrap_or_default();
            let has_path = rest.trim_end_matches('/').contains('/');
            if rest.is_empty() || rest.starts_with('/') || (field == "urls" && has_path) {
                let remedy = match field {
                    "urls" => "write `http://host:port`; paths are in `metrics` and `health`",
                    _ => "write `http://host:port/metrics`",
                };
                let field = format!("spec.observe.{field}[{at}]");
                flaw(&field, format!("`{url}` cannot be asked"), remedy);
            }
        }
    }
}

fn cycle_flaw(path: &[(&ServiceName, usize)], back_to: &ServiceName) -> Flaw {
    let from = path
        .iter()
        .position(|(name, _)| *name == back_to)
        .unwrap_or(0);
    let mut names: Vec<&str> = path[from..].iter().map(|(name, _)| name.as_str()).collect();
    names.push(back_to.as_str());
    let last = path.last().map_or(back_to, |(name, _)| name);
    Flaw {
        kind: Kind::Service,
        name: last.to_string(),
        field: "spec.dependencies".to_owned(),
        what: format!("calls form a cycle: {}", names.join(" → ")),
        remedy: "remove one of these edges: no order of releases could keep them all compatible"
            .to_owned(),
    }
}

fn unknown(kind: Kind, name: &str, field: &str, what: &str, missing: &str) -> Flaw {
    Flaw {
        kind,
        name: name.to_owned(),
        field: field.to_owned(),
        what: format!("there is no {what} `{missing}`"),
        remedy: format!("apply {what} `{missing}` too, or correct the name"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(timeout: &str, edges: &[(&str, &str)]) -> ServiceSpec {
        let dependencies: Vec<_> = edges
            .iter()
            .map(|(to, wait)| serde_json::json!({"service": to, "timeout": wait}))
            .collect();
        serde_json::from_value(
            serde_json::json!({"owner": "x", "timeout": timeout, "dependencies": dependencies}),
        )
        .unwrap()
    }

    #[test]
    fn probes_that_cannot_be_sent_are_refused() {
        let mut probed = service("1s", &[]);
        let probe = |path: &str| serde_json::from_value(serde_json::json!({"path": path})).unwrap();
        probed.probes = vec![probe("/a/home")];
        assert!(catalog(&[("a", probed.clone())]).flaws().is_empty());
        probed.probes.push(probe("a"));
        probed.manage = Manage::Observe;
        let flaws = catalog(&[("a", probed)]).flaws();
        let fields: Vec<&str> = flaws.iter().map(|flaw| flaw.field.as_str()).collect();
        assert!(fields.starts_with(&["spec.probes"]), "{fields:?}");
        assert!(fields.contains(&"spec.probes[1].path"), "{fields:?}");
    }

    #[test]
    fn a_client_version_header_that_no_request_can_carry_is_refused() {
        let mut asking = service("1s", &[]);
        asking.client_version_header = "X-App-Version".to_owned();
        assert!(catalog(&[("a", asking.clone())]).flaws().is_empty());
        for broken in ["", "x app", "x-app:", &"x".repeat(1_000)] {
            asking.client_version_header = broken.to_owned();
            let flaws = catalog(&[("a", asking.clone())]).flaws();
            assert_eq!(flaws.len(), 1, "{broken}");
            assert_eq!(flaws[0].field, "spec.clientVersionHeader");
        }
    }

    fn catalog(services: &[(&str, ServiceSpec)]) -> Catalog {
        Catalog {
            services: services
                .iter()
                .map(|(n, s)| (n.parse().unwrap(), s.clone()))
                .collect(),
            ..Catalog::default()
        }
    }

    #[test]
    fn a_child_that_outlives_its_parent_is_named_with_both_edges() {
        let flaws = catalog(&[
            ("feed", service("2s", &[("profile", "500ms")])),
            ("profile", service("1s", &[("graph", "800ms")])),
            ("graph", service("1s", &[])),
        ])
        .flaws();
        assert_eq!(flaws.len(), 1);
        assert!(
            flaws[0].what.contains("feed → profile") && flaws[0].what.contains("profile → graph"),
            "{flaws:?}"
        );
    }

    #[test]
    fn a_cycle_is_printed_in_the_order_of_its_calls() {
        let flaws = catalog(&[
            ("a", service("2s", &[("b", "1s")])),
            ("b", service("2s", &[("c", "1s")])),
            ("c", service("2s", &[("b", "1s")])),
        ])
        .flaws();
        assert!(
            flaws.iter().any(|flaw| flaw.what.ends_with("b → c → b")),
            "{flaws:?}"
        );
    }

    #[test]
    fn a_chain_of_ten_thousand_services_does_not_exhaust_the_stack() {
        let names: Vec<String> = (0..10_000).map(|n| format!("s{n:05}")).collect();
        let services: Vec<(&str, ServiceSpec)> = names
            .iter()
            .enumerate()
            .map(|(at, name)| {
                let edge: Vec<(&str, &str)> = names
                    .get(at + 1)
                    .map(|to| (to.as_str(), "1s"))
                    .into_iter()
                    .collect();
                (name.as_str(), service("2s", &edge))
            })
            .collect();
        assert_eq!(catalog(&services).flaws(), []);
    }

    #[test]
    fn an_unknown_service_fabric_or_policy_is_named_with_its_field() {
        let mut lone = service("2s", &[("ghost", "1s")]);
        lone.instances.insert("nowhere".parse().unwrap(), 2);
        lone.policy = Some("lost".parse().unwrap());
        let fields: Vec<String> = catalog(&[("feed", lone)])
            .flaws()
            .into_iter()
            .map(|flaw| flaw.field)
            .collect();
        assert_eq!(
            fields,
            [
                "spec.instances.nowhere",
                "spec.policy",
                "spec.dependencies[0].service"
            ]
        );
    }

    #[test]
    fn a_process_that_is_observed_can_be_recognised_and_its_host_is_declared() {
        let of = |processes: &str| {
            let spec = format!(
                r#"{{"owner":"o","manage":"observe","observe":{{"processes":{processes}}}}}"#
            );
            let mut catalog = Catalog::default();
            let host = serde_json::from_str(r#"{"fabric":"lax"}"#).unwrap();
            catalog.hosts.insert("h1".parse().unwrap(), host);
            catalog.fabrics.push(Name::new("lax").unwrap());
            let service = serde_json::from_str(&spec).unwrap();
            catalog.services.insert("shop".parse().unwrap(), service);
            let flaws = catalog.flaws().into_iter();
            flaws.map(|it| it.field).collect::<Vec<_>>()
        };
        assert!(
            of(r#"[{"executable":"/usr/sbin/nginx","port":80,"host":"h1"},{"port":81}]"#)
                .is_empty()
        );
        assert_eq!(
            of(r#"[{},{"executable":"nginx"},{"port":0},{"port":80,"host":"h9"}]"#),
            [
                "spec.observe.processes[0]",
                "spec.observe.processes[1].executable",
                "spec.observe.processes[2].port",
                "spec.observe.processes[3].host"
            ]
        );
    }

    #[test]
    fn what_is_observed_is_not_acted_upon_and_its_urls_can_be_asked() {
        let spec = |json: &str| -> ServiceSpec { serde_json::from_str(json).unwrap() };
        let fields = |service: ServiceSpec| -> Vec<String> {
            let flaws = catalog(&[("shop", service)]).flaws();
            flaws.into_iter().map(|flaw| flaw.field).collect()
        };
        let good = r#"{"owner":"o","manage":"observe","observe":{"urls":["http://h:1","http://h:2/"],
            "scrape":["http://proxy:9113/metrics"],"signals":{"from":"nginx"}}}"#;
        assert!(fields(spec(good)).is_empty());
        let acted = r#"{"owner":"o","observe":{"urls":[]}}"#;
        assert_eq!(fields(spec(acted)), ["spec.observe"]);
        let unasked = r#"{"owner":"o","manage":"observe","observe":{"urls":["h:1","http://h:1/metrics"],
            "scrape":["https://h/metrics"]}}"#;
        let expected = [
            "spec.observe.urls[0]",
            "spec.observe.urls[1]",
            "spec.observe.scrape[0]",
        ];
        assert_eq!(fields(spec(unasked)), expected);
        let typo = r#"{"owner":"o","manage":"observe","observe":{"signal":{}}}"#;
        assert!(serde_json::from_str::<ServiceSpec>(typo).is_err());
    }
}
