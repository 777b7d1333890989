//! One process, looked at again and again.
//!
//! Guarantees: whether it is there costs one system call; what is measured is of the identified process,
//! since its descriptor says afterwards that it had not ended. Never trusts what it saw before: what is
//! remembered is only where to look first.
//!
//! ```
//! use mainstay_sys::{Listeners, Watch, identify};
//! let mut watch = Watch::of(&identify(std::process::id())?)?;
//! assert!(!watch.exited()?);
//! let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
//! let port = listener.local_addr().expect("it is bound").port();
//! assert!(watch.measure(port, &Listeners::read()?)?.listens);
//! # Ok::<(), mainstay_sys::Error>(())
//! ```

use std::path::PathBuf;

use procfs::process::Process;

use crate::identity::{self, ProcessIdentity};
use crate::{Error, Listeners, PidFd, Resources, resources, socket};

/// What one look gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Measure {
    /// SHA-256 of the executable it has open.
    pub exe_sha256: String,
    /// Where that executable was.
    pub exe_path: PathBuf,
    /// What it uses.
    pub resources: Resources,
    /// Whether it owns a socket that listens on the port asked for.
    pub listens: bool,
}

/// A handle on one process that stays with it.
#[derive(Debug)]
pub struct Watch {
    start_ticks: u64,
    process: PidFd,
    /// The descriptor that last was its listening socket.
    listens_at: Option<i32>,
}

impl Watch {
    /// On the identified process, or nothing.
    pub fn of(identity: &ProcessIdentity) -> Result<Self, Error> {
        Ok(Self {
            start_ticks: identity.start_time_ticks,
            process: PidFd::open_identified(identity)?,
            listens_at: None,
        })
    }

    /// Whether it has ended, reaped or not.
    pub fn exited(&self) -> Result<bool, Error> {
        self.process.exited()
    }

    /// Measures what it runs, what it uses, and whether it is among `listeners` on `port`.
    pub fn measure(&mut self, port: u16, listeners: &Listeners) -> Result<Measure, Error> {
        let pid = self.process.pid();
        let process = identity::open(pid)?;
        let (exe_path, exe_sha256) = identity::executable(pid, &process)?;
        let (start_ticks, resources) = resources::of(pid, &process)?;
        let listens = self.listens(&process, listeners.on(port))?;
        // Last: as long as it has not ended, nobody else can have had its number.
        if start_ticks != self.start_ticks || self.exited()? {
            return Err(Error::NoSuchProcess { pid });
        }
        Ok(Measure {
            exe_sha256,
            exe_path,
            resources,
            listens,
        })
    }

    fn listens(&mut self, process: &Process, inodes: &[u64]) -> Result<bool, Error> {
        if inodes.is_empty() {
            return Ok(false);
        }
        let pid = self.process.pid();
        if let Some(descriptor) = self.listens_at
            && socket::is_one_of(pid, descriptor, inodes)
        {
            return Ok(true);
        }
        self.listens_at = socket::descriptor_of(pid, process, inodes)?;
        Ok(self.listens_at.is_some())
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::identify;
    use crate::testing::Sleeper;

    #[test]
    fn a_socket_that_is_closed_is_owned_no_more_and_its_successor_is() {
        let mut watch = Watch::of(&identify(std::process::id()).unwrap()).unwrap();
        let mut listens = |port| {
            let listeners = Listeners::read().unwrap();
            watch.measure(port, &listeners).unwrap().listens
        };
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        assert!(listens(port) && listens(port));
        drop(first);
        assert!(!listens(port));
        let second = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(listens(second.local_addr().unwrap().port()));
    }

    #[test]
    fn a_neighbours_socket_is_not_its_own() {
        let sleeper = Sleeper::spawn();
        let mut watch = Watch::of(&identify(sleeper.pid()).unwrap()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = watch.measure(port, &Listeners::read().unwrap()).unwrap();
        assert!(!seen.listens);
        assert_eq!(seen.resources.threads, 1);
    }

    #[test]
    fn a_process_that_ended_is_seen_ended_and_measured_no_more() {
        let mut sleeper = Sleeper::spawn();
        let mut watch = Watch::of(&identify(sleeper.pid()).unwrap()).unwrap();
        assert!(!watch.exited().unwrap());
        sleeper.end();
        assert!(watch.exited().unwrap());
        assert!(watch.measure(1, &Listeners::default()).is_err());
    }
}
