//! Safe facts about this host and its processes, for an agent that starts and stops them.
//!
//! Guarantees: a signal reaches the process that was identified or nobody, also when its pid has
//! been given to another process since; an identity is measured from the running executable's own
//! bytes, not from a path or a promise; everything read is bounded. Never starts a process, never
//! reaps one, never blocks longer than it was asked to. Contains no `unsafe`.
//!
//! ```
//! use mainstay_sys::{PidFd, Signal, identify};
//!
//! let mut child = std::process::Command::new("sleep").arg("60").spawn()?;
//! let identity = identify(child.id())?;
//! assert_eq!(identity.exe_sha256.len(), 64);
//!
//! let process = PidFd::open(identity.pid)?;
//! process.verify(&identity)?;
//! process.send(Signal::Term)?;
//! child.wait()?;
//! assert!(process.exited()?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod digest;
mod environment;
mod error;
mod host;
mod identity;
mod pidfd;
mod resources;
mod socket;
#[cfg(test)]
mod testing;
mod watch;

pub use digest::sha256_file;
pub use environment::environment_variable;
pub use error::Error;
pub use host::{HostMetrics, Sample, host_metrics};
pub use identity::{ProcessIdentity, boot_id, identify};
pub use pidfd::{PidFd, Signal};
pub use resources::{Resources, resources};
pub use socket::{
    Listeners, listening_socket_owner, listening_socket_owners, owns_listening_socket,
};
pub use watch::{Measure, Watch};
