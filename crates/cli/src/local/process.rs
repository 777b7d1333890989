//! One child process: in a group of its own, on a leash, with its output in a file.
//!
//! **Guarantees.** The child's standard input is a pipe that only this process holds, so it learns of our
//! end; a signal goes to its whole group. **Never** leaves a zombie: a stopped child is waited for.
//!
//! Example: `Process::start(program)?`, `ask_to_stop()`, then `wait_or_kill(Duration::from_secs(5))`.

use std::{
    ffi::OsString,
    fs,
    io::{Read as _, Seek as _, SeekFrom},
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

/// The end of a log that is shown when its process failed, in bytes.
const TAIL_BYTES: u64 = 2_000;
/// How long the kernel may take to end a killed process.
const KILLED_WITHIN: Duration = Duration::from_secs(5);

/// What to start.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// What it is called, here and in the name of its log.
    pub(crate) name: String,
    /// The executable.
    pub(crate) binary: PathBuf,
    /// Its arguments.
    pub(crate) args: Vec<OsString>,
    /// What is added to its environment.
    pub(crate) env: Vec<(String, String)>,
    /// The directory that receives its log.
    pub(crate) logs: PathBuf,
}

/// A child.
pub(crate) struct Process {
    program: Program,
    log: PathBuf,
    child: Child,
}

impl Process {
    /// Starts a program; its output is appended to `LOGS/NAME.log`.
    pub(crate) fn start(program: Program) -> anyhow::Result<Self> {
        let name = &program.name;
        let log = program.logs.join(format!("{}.log", name.replace(' ', "-")));
        let out = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let child = Command::new(&program.binary)
            .args(&program.args)
            .envs(program.env.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(out.try_clone()?)
            .stderr(out)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {name}: {}", program.binary.display()))?;
        Ok(Self {
            program,
            log,
            child,
        })
    }

    /// Starts it anew, as it was started; the old one must have ended.
    pub(crate) fn again(&mut self) -> anyhow::Result<()> {
        *self = Self::start(self.program.clone())?;
        Ok(())
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        // An error would mean that it is not our child, which `start` rules out.
        self.child.try_wait().ok().flatten()
    }

    /// Kills it, and nothing that it started, without a chance to say goodbye.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        self.child
            .kill()
            .await
            .with_context(|| format!("cannot kill {}", self.program.name))
    }

    /// Asks it to stop.
    pub(crate) fn ask_to_stop(&mut self) {
        self.signal(Signal::TERM);
        // The leash: whoever does not hear the signal hears this.
        drop(self.child.stdin.take());
    }

    /// Kills its whole group.
    pub(crate) fn kill_group(&mut self) {
        self.signal(Signal::KILL);
    }

    /// Waits for its end, at most `within`; beyond it the group is killed. Whether it had to be killed.
    pub(crate) async fn wait_or_kill(&mut self, within: Duration) -> bool {
        if tokio::time::timeout(within, self.child.wait())
            .await
            .is_ok()
        {
            return false;
        }
        self.signal(Signal::KILL);
        if tokio::time::timeout(KILLED_WITHIN, self.child.wait())
            .await
            .is_err()
        {
            tracing::error!(
                "{} outlives SIGKILL: the kernel holds it",
                self.program.name
            );
        }
        true
    }

    /// Whether it runs, or how it ended, in words.
    pub(crate) fn state(&mut self) -> String {
        match self.ended() {
            None => "is still running".to_owned(),
            Some(status) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("ended with exit code {code}"),
                (None, Some(signal)) => format!("was ended by signal {signal}"),
                (None, None) => "ended".to_owned(),
            },
        }
    }

    /// Its end in words, with the end of its log.
    pub(crate) fn post_mortem(&mut self) -> String {
        let state = self.state();
        let name = &self.program.name;
        let log = self.log.display();
        match self.tail() {
            Ok(tail) if tail.trim().is_empty() => format!("{name} {state}; {log} is empty"),
            Ok(tail) => format!("{name} {state}; the end of {log}:\n{}", tail.trim_end()),
            Err(error) => format!("{name} {state}; {log} cannot be read: {error}"),
        }
    }

    fn tail(&self) -> std::io::Result<String> {
        let mut file = fs::File::open(&self.log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn signal(&self, signal: Signal) {
        // No id: it was waited for already. Until then nobody else can have its number.
        let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id as i32)) else {
            return;
        };
        if let Err(error) = kill_process_group(pid, signal) {
            tracing::debug!("{} does not take a signal: {error}", self.program.name);
        }
    }
}
