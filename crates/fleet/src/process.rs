//! The driver of plain processes on this machine.
//!
//! **Guarantees.** `ARTIFACTS/VERSION/run` is executed as it is, in a process group of its own, its output
//! appended to `DATA/logs/INSTANCE.log`; so it outlives its agent. Identity is measured from the kernel. A
//! signal reaches the identified process or nobody; what is left of the group of a process that ended is
//! killed, unless an earlier agent had started it: then the number may belong to others. **Never** runs a shell, never hands on the agent's own
//! environment beyond [`ENV_KEPT`], never calls `setsid`.
//!
//! ```
//! use mainstay_fleet::process::ProcessDriver;
//! let data = std::env::temp_dir();
//! let driver = ProcessDriver::new(&data);
//! assert!(driver.log(&"voyager-lax-1".parse().unwrap()).ends_with("logs/voyager-lax-1.log"));
//! ```

mod seek;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use mainstay_core::{InstanceName, Time};
use mainstay_sys::{Error as SysError, Listeners, PidFd, ProcessIdentity, Signal, Watch};
use mainstay_wire::agent::{DesiredInstance, Found, ProcessFacts, Sought};
use serde::{Deserialize, Serialize};

use crate::driver::{Ask, AskError, Driver, Observation, StartError, Stray};
use seek::Owners;

/// Variables of the agent's environment that its processes see too.
pub const ENV_KEPT: [&str; 5] = ["PATH", "HOME", "LANG", "TZ", "TMPDIR"];
/// A log larger than this is moved to `INSTANCE.log.1`, whose predecessor goes.
pub const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Looks for strays between two at every process; at the others only what is new is looked at, since a
/// process that ran something else for two looks seldom turns into one of ours.
const LOOKS_AT_ALL: u32 = 10;
/// Looks after which a process is no longer new: what was forked at one has called `exec` by the next.
const LOOKS_NEW: u8 = 2;
/// Tries to find a free port that no other instance was given.
const PORT_TRIES: usize = 64;

/// A process as it was when it started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    boot_id: String,
    pid: u32,
    start_ticks: u64,
    started_at: Time,
    exe_sha256: String,
    exe: PathBuf,
}

impl Process {
    fn of(identity: &ProcessIdentity) -> Self {
        Self {
            boot_id: identity.boot_id.clone(),
            pid: identity.pid,
            start_ticks: identity.start_time_ticks,
            started_at: Time::from_millis(
                i64::try_from(identity.started_at_ms).unwrap_or(i64::MAX),
            ),
            exe_sha256: identity.exe_sha256.clone(),
            exe: identity.exe_path.clone(),
        }
    }

    fn identity(&self) -> ProcessIdentity {
        ProcessIdentity {
            boot_id: self.boot_id.clone(),
            pid: self.pid,
            start_time_ticks: self.start_ticks,
            started_at_ms: u64::try_from(self.started_at.millis()).unwrap_or(0),
            exe_sha256: self.exe_sha256.clone(),
            exe_path: self.exe.clone(),
        }
    }
}

/// Runs artifacts from a local folder as processes.
#[derive(Debug)]
pub struct ProcessDriver {
    logs: PathBuf,
    /// Those this very agent started, to be reaped.
    children: BTreeMap<u32, Child>,
    /// Those that are looked at, each by a descriptor that stays with it.
    watched: BTreeMap<u32, (Process, Watch)>,
    /// What listens on this host, read once a look.
    listeners: Option<Listeners>,
    others: Others,
    owners: Owners,
}

/// Processes that run nothing of ours, as far as was seen.
#[derive(Debug, Default)]
struct Others {
    folders: BTreeSet<PathBuf>,
    looks: u32,
    /// How often each was looked at.
    seen: BTreeMap<u32, u8>,
}

impl Others {
    /// Whether `pid` need not be looked at this time.
    fn is_settled(&self, pid: u32) -> bool {
        self.seen.get(&pid).is_some_and(|looks| *looks >= LOOKS_NEW)
    }

    /// Begins a look at `pids` for what runs in `folders`.
    fn begin(&mut self, folders: &BTreeSet<PathBuf>, pids: &[u32]) {
        self.looks += 1;
        if self.looks >= LOOKS_AT_ALL || self.folders != *folders {
            self.looks = 0;
            self.seen.clear();
            self.folders.clone_from(folders);
        }
        let there: BTreeSet<u32> = pids.iter().copied().collect();
        self.seen.retain(|pid, _| there.contains(pid));
    }
}

impl ProcessDriver {
    /// A driver that keeps its logs under `data`.
    pub fn new(data: &Path) -> Self {
        Self {
            logs: data.join("logs"),
            children: BTreeMap::new(),
            watched: BTreeMap::new(),
            listeners: None,
            others: Others::default(),
            owners: Owners::default(),
        }
    }

    /// Where the output of an instance goes.
    pub fn log(&self, instance: &InstanceName) -> PathBuf {
        self.logs.join(format!("{instance}.log"))
    }

    fn command(&self, order: &DesiredInstance, port: u16) -> Result<Command, StartError> {
        let path = self.log(&order.instance);
        let log = fs::create_dir_all(&self.logs)
            .and_then(|()| fs::OpenOptions::new().create(true).append(true).open(&path))
            .and_then(|out| out.try_clone().map(|err| (out, err)));
        let (out, err) = log.map_err(|source| StartError::Log { path, source })?;
        let run = executable(order);
        let fill = |text: &str| fill(text, order, port);
        let mut command = Command::new(&run);
        command
            .args(order.args.iter().map(|text| fill(text)))
            .env_clear()
            .envs(
                ENV_KEPT
                    .iter()
                    .filter_map(|name| Some((name, std::env::var_os(name)?))),
            )
            .envs(order.env.iter().map(|(name, text)| (name, fill(text))))
            .env("PORT", port.to_string())
            .env("INSTANCE", order.instance.as_str())
            .env("FABRIC", order.fabric.as_str())
            .env("VERSION", order.version.as_str())
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .process_group(0);
        if let Some(folder) = run.parent() {
            command.current_dir(folder);
        }
        Ok(command)
    }

    /// The handle on a process, unless it has ended.
    fn watch(&mut self, process: &Process) -> Result<Option<&mut Watch>, SysError> {
        let pid = process.pid;
        if self.watched.get(&pid).is_none_or(|(of, _)| of != process) {
            let watch = match Watch::of(&process.identity()) {
                Ok(watch) => watch,
                Err(error) => return gone_or(error),
            };
            self.watched.insert(pid, (process.clone(), watch));
        }
        let Some((_, watch)) = self.watched.get_mut(&pid) else {
            return Ok(None);
        };
        Ok((!watch.exited()?).then_some(watch))
    }

    fn facts(&mut self, process: &Process, port: u16) -> Result<Option<ProcessFacts>, SysError> {
        let listeners = match self.listeners.take() {
            Some(listeners) => listeners,
            None => Listeners::read()?,
        };
        let measured = match self.watch(process)? {
            None => Ok(None),
            Some(watch) => match watch.measure(port, &listeners) {
                Ok(measured) => Ok(Some(measured)),
                // The memory goes before the process does, and a first thread may end before the others.
                Err(error @ SysError::NoExecutable { .. }) if !watch.exited()? => Err(error),
                Err(error) => gone_or(error),
            },
        };
        self.listeners = Some(listeners);
        Ok(measured?.map(|now| ProcessFacts {
            boot_id: process.boot_id.clone(),
            pid: process.pid,
            start_ticks: process.start_ticks,
            started_at: process.started_at,
            exe_sha256: now.exe_sha256,
            listening_port: now.listens.then_some(port),
            rss_bytes: now.resources.rss_bytes,
            open_files: now.resources.open_fds,
        }))
    }

    /// Ends what is left of the group of a leader that ended, then reaps the leader: in this order, since
    /// until then nobody else can have its number.
    fn bury(&mut self, process: &Process) -> String {
        if self
            .watched
            .get(&process.pid)
            .is_some_and(|(of, _)| of == process)
        {
            self.watched.remove(&process.pid);
        }
        let Some(mut child) = self.children.remove(&process.pid) else {
            return "not this agent's child, so its exit status is unknown".to_owned();
        };
        let identity = process.identity();
        if let Ok(leader) = PidFd::open_identified(&identity)
            && let Err(error) = leader.send_to_group(&identity, Signal::Kill)
        {
            tracing::debug!(pid = process.pid, %error, "nothing left of the group");
        }
        child
            .wait()
            .map_or_else(|error| error.to_string(), |status| status.to_string())
    }
}

fn gone_or<T>(error: SysError) -> Result<Option<T>, SysError> {
    match error {
        SysError::NoSuchProcess { .. }
        | SysError::NoExecutable { .. }
        | SysError::Reused { .. }
        | SysError::OtherBoot { .. } => Ok(None),
        error => Err(error),
    }
}

fn executable(order: &DesiredInstance) -> PathBuf {
    let path = Path::new(&order.artifacts)
        .join(order.version.as_str())
        .join("run");
    std::path::absolute(&path).unwrap_or(path)
}

/// Names hold no braces, so what is filled in is never filled in again.
fn fill(text: &str, order: &DesiredInstance, port: u16) -> String {
    text.replace("{port}", &port.to_string())
        .replace("{version}", order.version.as_str())
        .replace("{instance}", order.instance.as_str())
        .replace("{fabric}", order.fabric.as_str())
}

fn pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    names
        .filter_map(|name| name.to_str()?.parse().ok())
        .collect()
}

fn instance_of(pid: u32) -> Option<String> {
    mainstay_sys::environment_variable(pid, "INSTANCE")
}

/// The process group, from `/proc/PID/stat`: the name before it may hold blanks and brackets.
fn group_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(2)?.parse().ok()
}

impl Driver for ProcessDriver {
    type Handle = Process;

    fn artifact(&mut self, order: &DesiredInstance) -> Result<String, StartError> {
        let path = executable(order);
        let Ok(found) = fs::metadata(&path) else {
            let version = order.version.to_string();
            return Err(StartError::Missing { path, version });
        };
        if !found.is_file() || found.permissions().mode() & 0o111 == 0 {
            return Err(StartError::NotExecutable { path });
        }
        mainstay_sys::sha256_file(&path).map_err(|error| StartError::Unmeasured {
            why: error.to_string(),
            path,
        })
    }

    fn port(&mut self, order: &DesiredInstance, given: &BTreeSet<u16>) -> Result<u16, StartError> {
        if let Some(port) = order.port {
            return match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                Ok(_) => Ok(port),
                Err(_) => Err(StartError::PortTaken {
                    port,
                    holder: mainstay_sys::listening_socket_owner(port, &pids())
                        .ok()
                        .flatten(),
                }),
            };
        }
        let mut failed = std::io::Error::other("every free port was given to an instance");
        for _ in 0..PORT_TRIES {
            match TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr()) {
                Ok(free) if !given.contains(&free.port()) => return Ok(free.port()),
                Ok(_) => {}
                Err(error) => failed = error,
            }
        }
        Err(StartError::System {
            path: executable(order),
            source: failed,
        })
    }

    fn start(&mut self, order: &DesiredInstance, port: u16) -> Result<Process, StartError> {
        let mut child =
            self.command(order, port)?
                .spawn()
                .map_err(|source| StartError::System {
                    path: executable(order),
                    source,
                })?;
        let pid = child.id();
        match mainstay_sys::identify(pid) {
            Ok(identity) => {
                self.children.insert(pid, child);
                Ok(Process::of(&identity))
            }
            Err(error) => {
                // Ended already, or cannot be measured: then it may not run unmeasured.
                let killed = child.kill().and_then(|()| child.wait());
                let how =
                    killed.map_or_else(|error| error.to_string(), |status| status.to_string());
                tracing::warn!(pid, %error, "a process could not be identified");
                let log = self.log(&order.instance);
                Err(StartError::EndedAtOnce { pid, how, log })
            }
        }
    }

    fn signal(&mut self, process: &Process, ask: Ask) -> Result<(), AskError> {
        let identity = process.identity();
        let sent = PidFd::open_identified(&identity).and_then(|handle| match ask {
            Ask::Stop => handle.send(Signal::Term),
            Ask::Kill => handle.send_to_group(&identity, Signal::Kill),
        });
        match sent {
            // Gone already is what was asked for; the next look sees it.
            Ok(())
            | Err(
                SysError::NoSuchProcess { .. }
                | SysError::Reused { .. }
                | SysError::OtherBoot { .. },
            ) => Ok(()),
            Err(error) => Err(AskError(error.to_string())),
        }
    }

    fn observe(&mut self, process: &Process, port: u16, closely: bool) -> Observation {
        let seen = if closely {
            self.facts(process, port)
                .map(|facts| facts.map(Observation::Alive))
        } else {
            self.watch(process)
                .map(|there| there.map(|_| Observation::Still))
        };
        match seen {
            Ok(Some(seen)) => seen,
            Ok(None) => Observation::Gone {
                how: self.bury(process),
            },
            Err(error) => Observation::Unknown {
                because: error.to_string(),
            },
        }
    }

    fn adopt(&mut self, order: &DesiredInstance) -> Option<Process> {
        let run = executable(order);
        let run = fs::canonicalize(&run).unwrap_or(run);
        pids()
            .into_iter()
            .filter(|pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == run))
            .filter(|pid| instance_of(*pid).as_deref() == Some(order.instance.as_str()))
            .filter(|pid| group_of(*pid) == Some(*pid))
            .find_map(|pid| mainstay_sys::identify(pid).ok())
            .map(|identity| Process::of(&identity))
    }

    fn started_digest<'a>(&self, process: &'a Process) -> &'a str {
        &process.exe_sha256
    }

    fn strays(&mut self, folders: &BTreeSet<PathBuf>, known: &[Process]) -> Vec<Stray> {
        let folders: BTreeSet<PathBuf> = folders
            .iter()
            .filter_map(|folder| fs::canonicalize(folder).ok())
            .collect();
        let ours: BTreeSet<u32> = known.iter().map(|process| process.pid).collect();
        let pids = pids();
        self.others.begin(&folders, &pids);
        let mut strays = Vec::new();
        for pid in pids {
            if self.others.is_settled(pid) {
                continue;
            }
            let Ok(exe) = fs::read_link(format!("/proc/{pid}/exe")) else {
                *self.others.seen.entry(pid).or_default() += 1;
                continue;
            };
            let inside = exe.ends_with("run")
                && exe
                    .ancestors()
                    .nth(2)
                    .is_some_and(|folder| folders.contains(folder));
            // A worker of one of our processes is in its group.
            if inside && group_of(pid).is_some_and(|group| !ours.contains(&group)) {
                let instance = instance_of(pid);
                strays.push(Stray { pid, exe, instance });
            } else if !inside {
                *self.others.seen.entry(pid).or_default() += 1;
            }
        }
        strays
    }

    fn seek(&mut self, sought: &[Sought], most: usize) -> Vec<Found> {
        let listeners = match self.listeners.take().map_or_else(Listeners::read, Ok) {
            Ok(listeners) => listeners,
            Err(error) => {
                tracing::warn!(%error, "what listens cannot be read: nothing is found by its port");
                Listeners::default()
            }
        };
        let found = self.owners.seek(sought, &listeners, most);
        self.listeners = Some(listeners);
        found
    }

    fn look_begins(&mut self) {
        self.listeners = None;
    }

    fn tend(&mut self, instance: &InstanceName) {
        let path = self.log(instance);
        if fs::metadata(&path).map_or(0, |found| found.len()) <= LOG_BYTES_MAX {
            return;
        }
        // The process appends to this very file, so it is emptied and not renamed; a line written between
        // the two calls is lost.
        let moved = fs::copy(&path, path.with_extension("log.1"))
            .and_then(|_| fs::OpenOptions::new().write(true).open(&path))
            .and_then(|log| log.set_len(0));
        if let Err(error) = moved {
            tracing::warn!(log = %path.display(), %error, "a log over its limit could not be moved");
        }
    }
}
