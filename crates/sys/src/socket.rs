//! Who really listens on a port: measured, not taken from a process's word.
//!
//! A port that answers proves only that somebody answers. An agent that started a new version asks
//! whether that very process holds the listening socket before traffic is sent there. Looks in the
//! network namespace of the process. Children that inherited the socket own it as well.

mod listeners;

use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::{FDTarget, Process};

use crate::Error;
use crate::identity;

pub use listeners::Listeners;

/// More than the kernel lets one process open by default (`fs.nr_open`).
const FDS_MAX: usize = 1 << 20;

/// The first of `candidates` that owns a socket listening on TCP `port`, over IPv4 or IPv6.
///
/// A candidate that has ended meanwhile does not own it.
pub fn listening_socket_owner(port: u16, candidates: &[u32]) -> Result<Option<u32>, Error> {
    for pid in candidates {
        match owns_listening_socket(*pid, port) {
            Ok(true) => return Ok(Some(*pid)),
            Ok(false) | Err(Error::NoSuchProcess { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Whether the process owns a socket that listens on TCP `port`, over IPv4 or IPv6.
///
/// Reads the sockets of its network and its own descriptors; no other process is looked at. Takes
/// milliseconds, most of them the kernel's walk over its table of connections: ask when an instance
/// starts, not for each request.
pub fn owns_listening_socket(pid: u32, port: u16) -> Result<bool, Error> {
    let process = identity::open(pid)?;
    let unreadable = |what| move |source| Error::of_process(pid, what, source);
    let mut inodes = listening_inodes(&process.tcp().map_err(unreadable("sockets"))?, port);
    match process.tcp6() {
        Ok(entries) => inodes.extend(listening_inodes(&entries, port)),
        // A kernel without IPv6 has no such file.
        Err(procfs::ProcError::NotFound(_)) => {}
        Err(source) => return Err(unreadable("sockets")(source)),
    }
    if inodes.is_empty() {
        return Ok(false);
    }
    Ok(descriptor_of(pid, &process, &inodes)?.is_some())
}

/// Those of `candidates` that own one of `listeners` on TCP `port`. One whose descriptors may not be read is left out.
pub fn listening_socket_owners(port: u16, candidates: &[u32], listeners: &Listeners) -> Vec<u32> {
    let inodes = listeners.on(port);
    let owns = |pid: u32| {
        let process = identity::open(pid)?;
        descriptor_of(pid, &process, inodes)
    };
    candidates
        .iter()
        .copied()
        .filter(|pid| !inodes.is_empty() && matches!(owns(*pid), Ok(Some(_))))
        .collect()
}

/// The descriptor through which the process has one of these sockets.
pub(crate) fn descriptor_of(
    pid: u32,
    process: &Process,
    inodes: &[u64],
) -> Result<Option<i32>, Error> {
    let unreadable = |source| Error::of_process(pid, "open files", source);
    let descriptors = process.fd().map_err(unreadable)?;
    for descriptor in descriptors.take(FDS_MAX) {
        match descriptor {
            Ok(info) => {
                if matches!(info.target, FDTarget::Socket(inode) if inodes.contains(&inode)) {
                    return Ok(Some(info.fd));
                }
            }
            // Closed between the listing and the look at it.
            Err(procfs::ProcError::NotFound(_)) => {}
            Err(source) => return Err(unreadable(source)),
        }
    }
    Ok(None)
}

/// Whether this descriptor of the process is one of these sockets.
pub(crate) fn is_one_of(pid: u32, descriptor: i32, inodes: &[u64]) -> bool {
    let Ok(target) = std::fs::read_link(format!("/proc/{pid}/fd/{descriptor}")) else {
        return false;
    };
    let inode = target.to_str().and_then(|target| {
        let number = target.strip_prefix("socket:[")?.strip_suffix(']')?;
        number.parse().ok()
    });
    inode.is_some_and(|inode: u64| inodes.contains(&inode))
}

fn listening_inodes(entries: &[TcpNetEntry], port: u16) -> Vec<u64> {
    entries
        .iter()
        .filter(|entry| entry.state == TcpState::Listen && entry.local_address.port() == port)
        .map(|entry| entry.inode)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::testing::Sleeper;

    #[test]
    fn the_process_that_listens_owns_the_port_and_its_neighbour_does_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let sleeper = Sleeper::spawn();
        let own = std::process::id();
        assert!(owns_listening_socket(own, port).unwrap());
        assert!(!owns_listening_socket(sleeper.pid(), port).unwrap());
        let owner = listening_socket_owner(port, &[sleeper.pid(), own]).unwrap();
        assert_eq!(owner, Some(own));
        let owners = |port| {
            let listeners = Listeners::read().unwrap();
            listening_socket_owners(port, &[sleeper.pid(), own], &listeners)
        };
        assert_eq!(owners(port), [own]);
        drop(listener);
        assert!(owners(port).is_empty());
    }

    #[test]
    fn a_connection_from_a_port_is_not_listening_on_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let port = stream.local_addr().unwrap().port();
        assert!(!owns_listening_socket(std::process::id(), port).unwrap());
    }

    #[test]
    fn a_candidate_that_ended_does_not_hide_the_owner() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut sleeper = Sleeper::spawn();
        let gone = sleeper.pid();
        sleeper.end();
        let own = std::process::id();
        assert_eq!(
            listening_socket_owner(port, &[gone, own]).unwrap(),
            Some(own)
        );
        assert_eq!(listening_socket_owner(port, &[gone]).unwrap(), None);
    }
}
