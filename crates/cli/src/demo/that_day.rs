//! How production was run on the day of the storm: by a tool that believes what it is told.
//!
//! The same releases, users and routers as everywhere else, but the routers trust health checks and keep one
//! pool of requests for all services, and what starts and stops processes is a script that takes an answer
//! for a fact. **Guarantees.** Nothing here protects anything. **Never** used outside `storm`.
//!
//! Example: `ThatDay::begin(…)`, `day.deploy_half(0, "v1")`, `day.restart_all("v1")`.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use anyhow::Context;
use mainstay_core::{FabricName, Version, catalog::ServiceSpec};
use mainstay_wire::{
    Generation,
    router::{Backend, RouteTable, ServiceRoutes},
};

use super::{stage::VOYAGER, tables::Tables};
use crate::local::{FIRST, Process, Program, Site, direct, free_port};

/// How long routers and instances may take to come up.
const UP_WITHIN: Duration = Duration::from_secs(20);
/// How long the tool waits for a process that said it stopped.
const BELIEVED_AFTER: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// One process of the site, and where it belongs.
struct Instance {
    service: String,
    fabric: FabricName,
    name: String,
    port: u16,
    process: Option<Process>,
}

/// Production, that day.
pub(super) struct ThatDay {
    dir: PathBuf,
    instances: Vec<Instance>,
    routers: BTreeMap<FabricName, Process>,
    tables: Tables,
    /// Restarts that the tool reported as done.
    pub(super) restarts_believed: usize,
    /// Those of them after which another process ran.
    pub(super) restarts_true: usize,
}

impl ThatDay {
    /// Starts every instance, `voyager` with `version`, and a router without protections in each fabric.
    pub(super) async fn begin(site: &Site, dir: PathBuf, version: &str) -> anyhow::Result<Self> {
        fs::create_dir_all(dir.join("logs"))?;
        let services = site.service_specs()?;
        let fabrics = site.fabrics()?;
        let mut instances = Vec::new();
        for (service, spec) in &services {
            for (fabric, count) in &spec.instances {
                for number in 1..=*count {
                    instances.push(Instance {
                        service: service.clone(),
                        fabric: fabric.clone(),
                        name: format!("{service}-{fabric}-{number}"),
                        port: free_port()?,
                        process: None,
                    });
                }
            }
        }
        let tables = fabrics.keys().map(|fabric| {
            let table = table(fabric, &services, &instances)?;
            Ok((fabric.clone(), table))
        });
        let mut tables = Tables::serve(tables.collect::<anyhow::Result<_>>()?).await?;
        let mut routers = BTreeMap::new();
        for (fabric, listen) in &fabrics {
            let router = router(fabric, *listen, &tables.url(), &dir)?;
            routers.insert(fabric.clone(), Process::start(router)?);
        }
        for instance in &mut instances {
            let version = if instance.service == VOYAGER {
                version
            } else {
                FIRST
            };
            let router = fabrics.get(&instance.fabric).context("no such fabric")?;
            let program = instance.program(&dir, version, *router);
            instance.process = Some(Process::start(program)?);
        }
        for instance in &mut instances {
            instance.until_listening().await?;
        }
        if let Err(error) = tables.until_in_force(UP_WITHIN).await {
            let ends: Vec<String> = routers.values_mut().map(Process::post_mortem).collect();
            return Err(error.context(ends.join("\n")));
        }
        Ok(Self {
            dir,
            instances,
            routers,
            tables,
            restarts_believed: 0,
            restarts_true: 0,
        })
    }

    /// The 50 % batch: every other instance of `voyager` is taken out of rotation and down, and after `takes`
    /// all of them come back with `version`. Half is 0 or 1. Gives how many were in it.
    pub(super) async fn deploy_half(
        &mut self,
        site: &Site,
        half: usize,
        version: &str,
        takes: Duration,
    ) -> anyhow::Result<usize> {
        let batch = self.half(half);
        self.drain(&batch).await?;
        for index in &batch {
            self.instances[*index].ask_to_stop().await;
        }
        tokio::time::sleep(takes).await;
        for index in &batch {
            self.start_believing(site, *index, version)?;
        }
        tokio::time::sleep(BELIEVED_AFTER).await;
        self.drain(&[]).await?;
        Ok(batch.len())
    }

    /// Takes these, and no others, out of rotation, and lets their requests finish.
    async fn drain(&mut self, batch: &[usize]) -> anyhow::Result<()> {
        let names: Vec<&str> = batch
            .iter()
            .map(|index| self.instances[*index].name.as_str())
            .collect();
        self.tables.change(|table| {
            for backend in table.services.iter_mut().flat_map(|it| &mut it.backends) {
                backend.draining = names.contains(&backend.instance.as_str());
            }
        });
        self.tables.until_in_force(UP_WITHIN).await?;
        tokio::time::sleep(BELIEVED_AFTER).await;
        Ok(())
    }

    /// The restart command, for all of `voyager`.
    pub(super) async fn restart_all(&mut self, site: &Site, version: &str) -> anyhow::Result<()> {
        let all: Vec<usize> = self.voyagers().collect();
        for index in &all {
            self.instances[*index].ask_to_stop().await;
        }
        tokio::time::sleep(BELIEVED_AFTER).await;
        for index in all {
            self.start_believing(site, index, version)?;
        }
        Ok(())
    }

    /// What is left when no tool can be trusted: every process is killed by hand, and started again.
    pub(super) async fn kill_and_start_all(
        &mut self,
        site: &Site,
        version: &str,
    ) -> anyhow::Result<()> {
        let all: Vec<usize> = self.voyagers().collect();
        for index in &all {
            if let Some(process) = &mut self.instances[*index].process {
                process.kill().await?;
            }
        }
        for index in &all {
            let router = router_of(site, &self.instances[*index].fabric)?;
            let program = self.instances[*index].program(&self.dir, version, router);
            self.instances[*index].process = Some(Process::start(program)?);
        }
        for index in all {
            self.instances[index].until_listening().await?;
        }
        Ok(())
    }

    /// Ends everything.
    pub(super) async fn end(mut self) {
        let instances = self.instances.iter_mut();
        let instances = instances.filter_map(|instance| instance.process.as_mut());
        for process in instances.chain(self.routers.values_mut()) {
            process.kill_group();
            process.wait_or_kill(BELIEVED_AFTER).await;
        }
    }

    fn voyagers(&self) -> impl Iterator<Item = usize> {
        let instances = self.instances.iter().enumerate();
        instances
            .filter(|(_, instance)| instance.service == VOYAGER)
            .map(|(index, _)| index)
    }

    /// Every other instance, in each fabric.
    fn half(&self, half: usize) -> Vec<usize> {
        let mut seen: BTreeMap<&FabricName, usize> = BTreeMap::new();
        let mut chosen = Vec::new();
        for index in self.voyagers() {
            let place = seen.entry(&self.instances[index].fabric).or_default();
            if *place % 2 == half {
                chosen.push(index);
            }
            *place += 1;
        }
        chosen
    }

    /// Starts a process where another one said that it stopped, and reports success either way.
    fn start_believing(&mut self, site: &Site, index: usize, version: &str) -> anyhow::Result<()> {
        self.restarts_believed += 1;
        let router = router_of(site, &self.instances[index].fabric)?;
        let instance = &mut self.instances[index];
        let program = instance.program(&self.dir, version, router);
        let gone = instance
            .process
            .as_mut()
            .is_none_or(|process| process.ended().is_some());
        if gone {
            self.restarts_true += 1;
            instance.process = Some(Process::start(program)?);
        }
        // Otherwise its port is taken: the new process would end at once, and nobody looks.
        Ok(())
    }
}

/// Where the router of a fabric listens.
fn router_of(site: &Site, fabric: &FabricName) -> anyhow::Result<SocketAddr> {
    let fabrics = site.fabrics()?;
    fabrics.get(fabric).copied().context("no such fabric")
}

impl Instance {
    fn program(&self, dir: &std::path::Path, version: &str, router: SocketAddr) -> Program {
        let releases = dir.join("artifacts").join(&self.service);
        let env = [
            ("PORT", self.port.to_string()),
            ("INSTANCE", self.name.clone()),
            ("FABRIC", self.fabric.to_string()),
            ("ROUTER", format!("http://{router}")),
            ("LEASH", "1".to_owned()),
        ];
        Program {
            name: self.name.clone(),
            binary: releases.join(version).join("run"),
            args: Vec::new(),
            env: env.map(|(name, value)| (name.to_owned(), value)).to_vec(),
            logs: dir.join("logs"),
        }
    }

    /// The stop command. It answers that the instance stopped; that is all that is known.
    async fn ask_to_stop(&self) {
        let url = format!("http://127.0.0.1:{}/admin/stop", self.port);
        if let Ok(http) = direct(BELIEVED_AFTER)
            && let Err(error) = http.post(url).send().await
        {
            tracing::debug!("{} does not answer its stop: {error}", self.name);
        }
    }

    async fn until_listening(&mut self) -> anyhow::Result<()> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let process = self.process.as_mut().context("it was not started")?;
        let listening = async {
            while tokio::net::TcpStream::connect(address).await.is_err() {
                if process.ended().is_some() {
                    break;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let came = tokio::time::timeout(UP_WITHIN, listening).await.is_ok();
        anyhow::ensure!(came && process.ended().is_none(), process.post_mortem());
        Ok(())
    }
}

fn router(
    fabric: &FabricName,
    listen: SocketAddr,
    server: &str,
    dir: &std::path::Path,
) -> anyhow::Result<Program> {
    let data = dir.join("routers").join(fabric.as_str());
    fs::create_dir_all(&data)?;
    let words = [
        "router",
        "--fabric",
        fabric.as_str(),
        "--listen",
        &listen.to_string(),
        "--admin",
        "127.0.0.1:0",
        "--server",
        server,
        "--leash",
        "--data-dir",
    ];
    let mut args: Vec<std::ffi::OsString> = words.iter().map(Into::into).collect();
    args.push(data.into());
    Ok(Program {
        name: format!("router {fabric}"),
        binary: std::env::current_exe().context("cannot find this binary")?,
        args,
        env: Vec::new(),
        logs: dir.join("logs"),
    })
}

/// The routes of a fabric: all instances, whatever they run, and no protection.
fn table(
    fabric: &FabricName,
    services: &BTreeMap<String, ServiceSpec>,
    instances: &[Instance],
) -> anyhow::Result<RouteTable> {
    // That day's routers knew services and not versions.
    let version: Version = FIRST.parse()?;
    let mut routes = Vec::new();
    for (name, spec) in services {
        let here = instances
            .iter()
            .filter(|it| it.service == *name && it.fabric == *fabric);
        let backends = here.map(|instance| {
            Ok(Backend {
                instance: instance.name.parse()?,
                incarnation: 1,
                version: version.clone(),
                address: format!("127.0.0.1:{}", instance.port),
                draining: false,
                share: 1.0,
                capacity_rps: None,
                limit: None,
            })
        });
        routes.push(ServiceRoutes {
            service: name.parse()?,
            prefix: format!("/{name}/"),
            timeout: spec.timeout,
            health: spec.health.clone(),
            bulkhead: spec.bulkhead,
            slo: spec.slo,
            weights: BTreeMap::from([(version.clone(), 10_000)]),
            backends: backends.collect::<anyhow::Result<_>>()?,
            shed: 0,
            client_version_header: "x-client-version".to_owned(),
            probes: Vec::new(),
            probing: None,
        });
    }
    Ok(RouteTable {
        generation: Generation {
            epoch: 1,
            counter: 1,
        },
        services: routes,
        protected: false,
    })
}
