//! The example site as data: what `examples/site.yaml` declares, and how its releases are made.
//!
//! **Guarantees.** The catalog is the example file itself, with ports, artifacts and counts of this run laid
//! over it; a release is an executable made by `mainstay-site build`, with the defects asked for and no
//! others. **Never** tells a release what it is used for.
//!
//! Example: `Site::new(dir)?`, `site.build(&Build::of("voyager", "v2"))`, `site.resources()`.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use mainstay_core::{FabricName, HostName, Kind, Resource, catalog::ServiceSpec};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::ports;
use crate::yaml;

const EXAMPLE: &str = include_str!("../../../../examples/site.yaml");
/// The version of a service before anybody releases anything.
pub(crate) const FIRST: &str = "v1";

/// How the releases of a service are made.
///
/// An instance carries `workers / time a worker holds a request` requests a second, where the time is
/// `service_ms` and what its dependencies take.
struct Recipe {
    service: &'static str,
    workers: u32,
    service_ms: f64,
    queue: u32,
}

/// Queues are short: whoever waits longer than its caller works for nobody.
const RECIPES: [Recipe; 5] = [
    recipe("graph", 2, 15.0, 24),
    recipe("media", 1, 18.0, 12),
    recipe("profile", 2, 45.0, 24),
    recipe("feed", 2, 32.0, 24),
    recipe("voyager", 3, 38.0, 30),
];

/// What users ask for at a rate of 300 a second, in requests a second.
const ROUTES: [(&str, f64); 7] = [
    ("/voyager/home", 60.0),
    ("/voyager/updates", 60.0),
    ("/voyager/profile", 40.0),
    ("/voyager/search", 40.0),
    ("/feed/home", 30.0),
    ("/feed/updates", 30.0),
    ("/profile/home", 40.0),
];

const fn recipe(service: &'static str, workers: u32, service_ms: f64, queue: u32) -> Recipe {
    Recipe {
        service,
        workers,
        service_ms,
        queue,
    }
}

/// A release to make.
#[derive(Debug, Clone)]
pub(crate) struct Build {
    service: String,
    version: String,
    defects: Vec<String>,
    workers: Option<u32>,
}

impl Build {
    /// A release without defects.
    pub(crate) fn of(service: &str, version: &str) -> Self {
        Self {
            service: service.to_owned(),
            version: version.to_owned(),
            defects: Vec::new(),
            workers: None,
        }
    }

    /// With another number of workers than usual.
    #[must_use]
    pub(crate) fn workers(mut self, workers: u32) -> Self {
        self.workers = Some(workers);
        self
    }

    /// With defects, written as `mainstay-site build --defect` takes them.
    #[must_use]
    pub(crate) fn with(mut self, defects: &[String]) -> Self {
        self.defects.extend_from_slice(defects);
        self
    }
}

/// The example site of one run.
pub(crate) struct Site {
    binary: PathBuf,
    dir: PathBuf,
    resources: Vec<Resource>,
    seed: u64,
}

impl Site {
    /// The example, with ports of its own and artifacts under `dir`.
    pub(crate) fn new(dir: &Path, seed: u64) -> anyhow::Result<Self> {
        let mut site = Self {
            binary: find_binary()?,
            dir: dir.to_owned(),
            resources: yaml::parse("examples/site.yaml", EXAMPLE)?,
            seed,
        };
        for resource in &mut site.resources {
            match resource.kind {
                Kind::Fabric => {
                    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()?));
                    resource.spec["listen"] = json!(listen.to_string());
                }
                Kind::Service => {
                    let artifacts = dir.join("artifacts").join(resource.metadata.name.as_str());
                    resource.spec["run"]["artifacts"] = json!(artifacts);
                    resource.spec["run"]["env"]["SEED"] = json!(seed.to_string());
                }
                Kind::Host
                | Kind::RolloutPolicy
                | Kind::Guard
                | Kind::Freeze
                | Kind::Monitor
                | Kind::Responder
                | Kind::Schedule
                | Kind::EscalationPolicy => {}
            }
        }
        Ok(site)
    }

    /// The catalog.
    pub(crate) fn resources(&self) -> &[Resource] {
        &self.resources
    }

    /// The binary that makes releases and sends load.
    pub(crate) fn binary(&self) -> &Path {
        &self.binary
    }

    /// Changes the spec of a resource, before it is applied.
    pub(crate) fn edit(
        &mut self,
        kind: Kind,
        name: &str,
        change: impl FnOnce(&mut Value),
    ) -> anyhow::Result<()> {
        let found = self
            .resources
            .iter_mut()
            .find(|resource| resource.kind == kind && resource.metadata.name.as_str() == name);
        let resource = found.with_context(|| format!("the example has no {kind} {name}"))?;
        change(&mut resource.spec);
        Ok(())
    }

    /// Sets how many instances of a service run in each fabric.
    pub(crate) fn set_instances(&mut self, service: &str, each: u32) -> anyhow::Result<()> {
        let fabrics: BTreeMap<FabricName, u32> = self
            .fabrics()?
            .into_keys()
            .map(|fabric| (fabric, each))
            .collect();
        self.edit(Kind::Service, service, |spec| {
            spec["instances"] = json!(fabrics);
        })
    }

    /// The fabrics, and where the router of each listens.
    pub(crate) fn fabrics(&self) -> anyhow::Result<BTreeMap<FabricName, SocketAddr>> {
        self.of_kind(Kind::Fabric)
            .map(|fabric| {
                let listen = fabric.spec["listen"]
                    .as_str()
                    .context("no listen address")?;
                Ok((fabric.metadata.name.as_str().parse()?, listen.parse()?))
            })
            .collect()
    }

    /// The hosts.
    pub(crate) fn hosts(&self) -> anyhow::Result<Vec<HostName>> {
        self.of_kind(Kind::Host)
            .map(|host| Ok(host.metadata.name.as_str().parse()?))
            .collect()
    }

    /// The services.
    pub(crate) fn services(&self) -> Vec<String> {
        self.of_kind(Kind::Service)
            .map(|service| service.metadata.name.as_str().to_owned())
            .collect()
    }

    /// Instances of a service in each fabric.
    pub(crate) fn instances(&self, service: &str) -> anyhow::Result<BTreeMap<FabricName, u32>> {
        let mut specs = self.service_specs()?;
        let spec = specs.remove(service);
        Ok(spec
            .with_context(|| format!("the example has no service {service}"))?
            .instances)
    }

    /// What the catalog says of each service.
    pub(crate) fn service_specs(&self) -> anyhow::Result<BTreeMap<String, ServiceSpec>> {
        self.of_kind(Kind::Service)
            .map(|service| {
                let spec = ServiceSpec::deserialize(&service.spec)?;
                Ok((service.metadata.name.as_str().to_owned(), spec))
            })
            .collect()
    }

    /// What users ask for, with weights.
    pub(crate) fn routes() -> Vec<(String, f64)> {
        ROUTES
            .iter()
            .map(|(route, weight)| ((*route).to_owned(), *weight))
            .collect()
    }

    /// Makes the first release of every service.
    pub(crate) async fn build_all(&self) -> anyhow::Result<()> {
        for service in self.services() {
            self.build(&Build::of(&service, FIRST)).await?;
        }
        Ok(())
    }

    /// Makes a release; gives its executable.
    pub(crate) async fn build(&self, build: &Build) -> anyhow::Result<PathBuf> {
        let args = self.build_args(build)?;
        let output = tokio::process::Command::new(&self.binary)
            .args(&args)
            .arg("--out")
            .arg(self.dir.join("artifacts"))
            .output()
            .await
            .with_context(|| format!("cannot run {}", self.binary.display()))?;
        ensure!(
            output.status.success(),
            "cannot make {} {}: {}",
            build.service,
            build.version,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(PathBuf::from(
            String::from_utf8_lossy(&output.stdout).trim(),
        ))
    }

    fn build_args(&self, build: &Build) -> anyhow::Result<Vec<String>> {
        let recipe = RECIPES.iter().find(|it| it.service == build.service);
        let recipe = recipe.with_context(|| format!("no recipe makes {}", build.service))?;
        let mut args = vec!["build".to_owned()];
        let mut add = |flag: &str, value: String| args.extend([flag.to_owned(), value]);
        add("--service", build.service.clone());
        add("--version", build.version.clone());
        let workers = build.workers.unwrap_or(recipe.workers);
        add("--workers", workers.to_string());
        add("--service-ms", recipe.service_ms.to_string());
        add("--queue", recipe.queue.to_string());
        add("--seed", self.seed.to_string());
        for dependency in self.dependencies(&build.service) {
            add("--dependency", dependency);
        }
        for defect in &build.defects {
            add("--defect", defect.clone());
        }
        Ok(args)
    }

    /// What a release calls is what the catalog says that it calls.
    fn dependencies(&self, service: &str) -> Vec<String> {
        self.of_kind(Kind::Service)
            .filter(|resource| resource.metadata.name.as_str() == service)
            .filter_map(|resource| resource.spec["dependencies"].as_array())
            .flatten()
            .filter_map(|edge| edge["service"].as_str().map(str::to_owned))
            .collect()
    }

    fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Resource> {
        self.resources.iter().filter(move |it| it.kind == kind)
    }
}

fn find_binary() -> anyhow::Result<PathBuf> {
    let named = std::env::var_os("MAINSTAY_SITE_BIN").map(PathBuf::from);
    let beside = std::env::current_exe()
        .context("cannot find this binary")?
        .with_file_name("mainstay-site");
    let binary = named.unwrap_or(beside);
    if !binary.is_file() {
        bail!(
            "the example site's binary is not at {}: build it with \
             `cargo build --package mainstay-site`, or name it in MAINSTAY_SITE_BIN",
            binary.display()
        );
    }
    Ok(binary)
}

#[cfg(test)]
mod tests {
    use mainstay_core::catalog::Spec;

    use super::*;

    fn services() -> Vec<(String, ServiceSpec)> {
        let resources = yaml::parse("examples/site.yaml", EXAMPLE).unwrap();
        let services = resources.into_iter().filter_map(|resource| {
            match Spec::decode(resource.kind, &resource.spec).unwrap() {
                Spec::Service(spec) => Some((resource.metadata.name.to_string(), *spec)),
                _ => None,
            }
        });
        services.collect()
    }

    #[test]
    fn every_service_of_the_example_has_a_recipe_and_every_recipe_a_service() {
        let mut declared: Vec<String> = services().into_iter().map(|(name, _)| name).collect();
        let mut made: Vec<String> = RECIPES.iter().map(|it| it.service.to_owned()).collect();
        declared.sort();
        made.sort();
        assert_eq!(declared, made);
    }

    /// Requests a second that reach a service when users make 300, callers of it included.
    fn demand(service: &str) -> f64 {
        let users: f64 = ROUTES
            .iter()
            .filter(|(route, _)| route.split('/').nth(1) == Some(service))
            .map(|(_, rate)| rate)
            .sum();
        let callers = services();
        let callers = callers.iter().filter(|(_, spec)| {
            spec.dependencies
                .iter()
                .any(|edge| edge.service.as_str() == service)
        });
        users + callers.map(|(name, _)| demand(name)).sum::<f64>()
    }

    #[test]
    fn a_normal_day_uses_about_half_of_every_service_of_the_example() {
        for (name, spec) in services() {
            let instances: u32 = spec.instances.values().sum();
            let capacity = f64::from(instances) * spec.capacity_rps.unwrap();
            let used = demand(&name) / capacity;
            assert!((0.4..=0.6).contains(&used), "{name} is used to {used:.2}");
        }
    }

    #[test]
    fn the_declared_capacity_is_less_than_what_the_workers_carry() {
        let held_ms = |service: &str| {
            let recipe = RECIPES.iter().find(|it| it.service == service).unwrap();
            recipe.service_ms
        };
        // What a call through the router adds to the time of the called, in a debug build.
        const CALL_MS: f64 = 6.0;
        for (name, spec) in services() {
            let calls: f64 = spec
                .dependencies
                .iter()
                .map(|edge| held_ms(edge.service.as_str()) + CALL_MS)
                .sum();
            let recipe = RECIPES.iter().find(|it| it.service == name).unwrap();
            let carries = f64::from(recipe.workers) * 1_000.0 / (recipe.service_ms + calls);
            let declared = spec.capacity_rps.unwrap();
            let share = declared / carries;
            assert!(
                (0.5..=0.9).contains(&share),
                "{name}: {declared} of {carries:.0}"
            );
        }
    }
}
