//! The platform as processes: one server, a router for each fabric, an agent for each host.
//!
//! **Guarantees.** A start that fails says which process did not come up and shows the end of its log; a
//! stop is bounded, ends with SIGKILL, and is verified against the kernel. **Never** reports a process as
//! up because it was started: only its own answer, or the server's word that it connected, counts.
//!
//! Example: `Cluster::new(ground)?`, `cluster.start().await?`, `cluster.kill(&Role::Server).await?`, `cluster.stop().await`.

use std::{
    collections::BTreeMap, ffi::OsString, fmt, fs, net::SocketAddr, path::PathBuf, time::Duration,
};

use anyhow::{Context, bail};
use mainstay_core::{FabricName, HostName};
use rustix::process::Signal;
use tokio::time::Instant;

use super::{Api, Process, Program, Survivor, running_under};

/// How long a process may take to come up: a debug build on a busy machine.
const UP_WITHIN: Duration = Duration::from_secs(30);
/// How long agents may take to stop their instances, of which some ignore a stop.
const DOWN_WITHIN: Duration = Duration::from_secs(12);
/// How long processes may take to vanish once they were killed.
const GONE_WITHIN: Duration = Duration::from_secs(3);
/// Pause between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What the platform stands on.
pub(crate) struct Ground {
    /// Everything it writes goes here: data, logs, artifacts.
    pub(crate) dir: PathBuf,
    /// Where the server listens.
    pub(crate) listen: SocketAddr,
    /// Whether it keeps to ports of its own, as one beside a platform that somebody works with must.
    pub(crate) is_apart: bool,
    /// The fabrics, and where the router of each listens.
    pub(crate) fabrics: BTreeMap<FabricName, SocketAddr>,
    /// The hosts, one agent each.
    pub(crate) hosts: Vec<HostName>,
}

/// What a process of the platform is there for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// The server.
    Server,
    /// The router of a fabric.
    Router(FabricName),
    /// The agent of a host.
    Agent(HostName),
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server => write!(f, "server"),
            Self::Router(fabric) => write!(f, "router {fabric}"),
            Self::Agent(host) => write!(f, "agent {host}"),
        }
    }
}

/// A running platform.
pub(crate) struct Cluster {
    ground: Ground,
    api: Api,
    processes: BTreeMap<Role, Process>,
}

impl Cluster {
    /// A platform that is yet to start.
    pub(crate) fn new(ground: Ground) -> anyhow::Result<Self> {
        fs::create_dir_all(ground.dir.join("logs"))
            .with_context(|| format!("cannot create {}", ground.dir.display()))?;
        Ok(Self {
            api: Api::new(format!("http://{}", ground.listen))?,
            ground,
            processes: BTreeMap::new(),
        })
    }

    /// Starts everything and waits until it is up; where that fails, `stop` ends what came up.
    pub(crate) async fn start(&mut self) -> anyhow::Result<()> {
        self.start_one(Role::Server)?;
        self.until_up(&Role::Server).await?;
        let fabrics = self.ground.fabrics.keys().cloned().map(Role::Router);
        let hosts = self.ground.hosts.iter().cloned().map(Role::Agent);
        let peers: Vec<Role> = fabrics.chain(hosts).collect();
        for role in &peers {
            self.start_one(role.clone())?;
        }
        for role in &peers {
            self.until_up(role).await?;
        }
        Ok(())
    }

    /// The server's API.
    pub(crate) fn api(&self) -> &Api {
        &self.api
    }

    /// Kills one process with SIGKILL; what it started goes on.
    pub(crate) async fn kill(&mut self, role: &Role) -> anyhow::Result<()> {
        self.process(role)?.kill().await
    }

    /// Starts a process that ended again, and waits until it is up.
    pub(crate) async fn restart(&mut self, role: &Role) -> anyhow::Result<()> {
        self.process(role)?.again()?;
        self.until_up(role).await
    }

    /// An error, with the end of its log, if a process of the platform has ended.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        for process in self.processes.values_mut() {
            if process.ended().is_some() {
                bail!("{}", process.post_mortem());
            }
        }
        Ok(())
    }

    /// The processes of the platform that have ended, each with how.
    pub(crate) fn ended(&mut self) -> Vec<(Role, String)> {
        self.processes
            .iter_mut()
            .filter_map(|(role, process)| {
                process.ended()?;
                Some((role.clone(), process.state()))
            })
            .collect()
    }

    /// Stops everything: agents first, which stop their instances. Gives what was still running afterwards,
    /// and was killed then.
    pub(crate) async fn stop(&mut self) -> Vec<Survivor> {
        let deadline = Instant::now() + DOWN_WITHIN;
        let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
        // Agents report their last to a server that still listens; users are routed until the end.
        for agents in [true, false] {
            let mut these: Vec<(&Role, &mut Process)> = self
                .processes
                .iter_mut()
                .filter(|(role, _)| matches!(role, Role::Agent(_)) == agents)
                .collect();
            for (_, process) in &mut these {
                process.ask_to_stop();
            }
            for (role, process) in these {
                if process.wait_or_kill(left(deadline).max(LOOK_EVERY)).await {
                    tracing::warn!("{role} did not stop in time and was killed");
                }
            }
        }
        self.processes.clear();
        let survivors = running_under(&self.ground.dir);
        for survivor in &survivors {
            survivor.signal(Signal::KILL);
        }
        let deadline = Instant::now() + GONE_WITHIN;
        while !running_under(&self.ground.dir).is_empty() && Instant::now() < deadline {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        for survivor in running_under(&self.ground.dir) {
            tracing::error!(pid = survivor.pid, "{} cannot be killed", survivor.instance);
        }
        survivors
    }

    fn process(&mut self, role: &Role) -> anyhow::Result<&mut Process> {
        self.processes
            .get_mut(role)
            .with_context(|| format!("there is no {role}"))
    }

    fn start_one(&mut self, role: Role) -> anyhow::Result<()> {
        let process = Process::start(Program {
            name: role.to_string(),
            binary: std::env::current_exe().context("cannot find this binary")?,
            args: self.args(&role)?,
            env: Vec::new(),
            logs: self.ground.dir.join("logs"),
        })?;
        self.processes.insert(role, process);
        Ok(())
    }

    fn args(&self, role: &Role) -> anyhow::Result<Vec<OsString>> {
        let dir = &self.ground.dir;
        let server = self.api.url();
        let (words, data): (Vec<String>, PathBuf) = match role {
            Role::Server => {
                let listen = self.ground.listen.to_string();
                let mut words = vec!["serve".into(), "--listen".into(), listen];
                if self.ground.is_apart {
                    words.extend(["--otlp-listen".into(), "none".into()]);
                }
                (words, dir.join("server"))
            }
            Role::Router(fabric) => {
                let listen = self.ground.fabrics.get(fabric).context("no such fabric")?;
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
                ];
                (
                    words.map(str::to_owned).to_vec(),
                    dir.join("routers").join(fabric.as_str()),
                )
            }
            Role::Agent(host) => {
                let words = ["agent", "--host", host.as_str(), "--server", server];
                (
                    words.map(str::to_owned).to_vec(),
                    dir.join("hosts").join(host.as_str()),
                )
            }
        };
        fs::create_dir_all(&data).with_context(|| format!("cannot create {}", data.display()))?;
        let mut args: Vec<OsString> = words.into_iter().map(OsString::from).collect();
        args.extend(["--data-dir".into(), data.into(), "--leash".into()]);
        Ok(args)
    }

    async fn until_up(&mut self, role: &Role) -> anyhow::Result<()> {
        let deadline = Instant::now() + UP_WITHIN;
        while !self.is_up(role).await {
            let process = self.process(role)?;
            if process.ended().is_some() {
                bail!("{}", process.post_mortem());
            }
            if Instant::now() > deadline {
                bail!(
                    "{role} is not up after {} s: {}",
                    UP_WITHIN.as_secs(),
                    process.post_mortem()
                );
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        // An answer may be that of a stranger on the same port.
        let process = self.process(role)?;
        if process.ended().is_some() {
            bail!("{}", process.post_mortem());
        }
        Ok(())
    }

    async fn is_up(&self, role: &Role) -> bool {
        match role {
            Role::Server => self.api.is_ready().await,
            Role::Router(fabric) => {
                self.api
                    .is_connected("routers", "fabric", fabric.as_str())
                    .await
            }
            Role::Agent(host) => self.api.is_connected("hosts", "name", host.as_str()).await,
        }
    }
}

impl Drop for Cluster {
    /// The last resort of a stop that was never awaited: nothing may outlive us.
    fn drop(&mut self) {
        if self.processes.is_empty() {
            return;
        }
        for process in self.processes.values_mut() {
            process.kill_group();
        }
        for survivor in running_under(&self.ground.dir) {
            survivor.signal(Signal::KILL);
        }
    }
}
