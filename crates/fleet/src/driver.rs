//! What an agent needs from the thing that really runs processes.
//!
//! **Guarantees.** The agent asks through this trait alone, so an orchestrator can stand where
//! [`ProcessDriver`](crate::process::ProcessDriver) does. **Never** answers with what a process says of
//! itself: an observation comes from the kernel, or from whoever owns the process. Calls may block; the
//! agent makes them on a thread of their own.

use std::{collections::BTreeSet, path::PathBuf};

use mainstay_core::InstanceName;
use mainstay_wire::agent::{DesiredInstance, Found, ProcessFacts, Sought};
use serde::{Serialize, de::DeserializeOwned};

/// What can be asked of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Finish and go: SIGTERM, to the process.
    Stop,
    /// Go now: SIGKILL, to its whole group.
    Kill,
}

/// What was seen of a process.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// It is there.
    Alive(ProcessFacts),
    /// It is there, and was not looked at closely.
    Still,
    /// It is not there any more.
    Gone {
        /// How it ended, where that is known.
        how: String,
    },
    /// It could not be looked at: nothing may be concluded.
    Unknown {
        /// Why.
        because: String,
    },
}

/// A process that runs one of our artifacts and that nobody ordered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stray {
    /// Process id.
    pub pid: u32,
    /// What it runs.
    pub exe: PathBuf,
    /// The instance it says it is, if it says so.
    pub instance: Option<String>,
}

/// Why an instance cannot be started; each names the place and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No such file.
    #[error("artifact {} is missing; put version {version} there or order another version", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
        /// The version ordered.
        version: String,
    },
    /// A file that the kernel will not run.
    #[error("artifact {} is not an executable file; make it one (chmod +x)", path.display())]
    NotExecutable {
        /// Where it is.
        path: PathBuf,
    },
    /// Somebody else listens.
    #[error("port {port} is taken{}; stop that process or order another port",
        holder.map(|pid| format!(" by process {pid}")).unwrap_or_default())]
    PortTaken {
        /// The fixed port.
        port: u16,
        /// Who listens, where that can be seen.
        holder: Option<u32>,
    },
    /// The log cannot be written.
    #[error("log {} cannot be opened: {source}; free space or correct its permissions", path.display())]
    Log {
        /// Where.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It ended before it could be identified.
    #[error("process {pid} ended at once ({how}); see {}", log.display())]
    EndedAtOnce {
        /// Its process id.
        pid: u32,
        /// How it ended.
        how: String,
        /// Where its output is.
        log: PathBuf,
    },
    /// The system refused.
    #[error("{} cannot be run: {source}; check that it was built for this host", path.display())]
    System {
        /// What was to be run.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The artifact cannot be measured.
    #[error("artifact {} cannot be measured: {why}; make it readable", path.display())]
    Unmeasured {
        /// Where it is.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// Why a process could not be asked to stop.
#[derive(Debug, thiserror::Error)]
#[error("process cannot be signalled: {0}")]
pub struct AskError(pub String);

/// Starts, signals, observes and adopts processes.
pub trait Driver: Send + 'static {
    /// Names one process for ever; written to disk and read back by the next agent.
    type Handle: Clone + std::fmt::Debug + PartialEq + Serialize + DeserializeOwned + Send;

    /// Measures the artifact of an order: its SHA-256.
    fn artifact(&mut self, order: &DesiredInstance) -> Result<String, StartError>;
    /// The port an order will have: its fixed one if that is free, otherwise a free one not in `given`.
    fn port(&mut self, order: &DesiredInstance, given: &BTreeSet<u16>) -> Result<u16, StartError>;
    /// Starts a process.
    fn start(&mut self, order: &DesiredInstance, port: u16) -> Result<Self::Handle, StartError>;
    /// Asks a process to go; nobody else can be hit.
    fn signal(&mut self, handle: &Self::Handle, ask: Ask) -> Result<(), AskError>;
    /// Looks whether a process is there, and with `closely` what it runs, uses, and whether it listens on
    /// `port`.
    fn observe(&mut self, handle: &Self::Handle, port: u16, closely: bool) -> Observation;
    /// The process an earlier agent started for an order but did not live to write down.
    fn adopt(&mut self, order: &DesiredInstance) -> Option<Self::Handle>;
    /// SHA-256 of what the process ran when it was started.
    fn started_digest<'a>(&self, handle: &'a Self::Handle) -> &'a str;
    /// Processes of the artifacts in `folders` that are none of `known`.
    fn strays(&mut self, folders: &BTreeSet<PathBuf>, known: &[Self::Handle]) -> Vec<Stray>;
    /// Processes that are looked for, at most `most`; they are looked at and nothing else.
    fn seek(&mut self, _sought: &[Sought], _most: usize) -> Vec<Found> {
        Vec::new()
    }
    /// A look at everything begins: what was read for an earlier one says nothing any more.
    fn look_begins(&mut self) {}
    /// Keeps what an instance writes within its limit.
    fn tend(&mut self, instance: &InstanceName);
}
