//! Everything that listens, asked of the kernel once for many processes.
//!
//! Asks `NETLINK_SOCK_DIAG` for listening sockets alone, so the cost does not grow with connections, of which
//! a busy host has tens of thousands; where that is not to be had, `/proc/net/tcp` is read whole. Never
//! waits longer than [`ANSWER_WITHIN`].

use std::collections::BTreeMap;
use std::time::Duration;

use procfs::net::{TcpNetEntry, TcpState};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

use crate::Error;

/// The kernel answers from memory, within the call that asks.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// The kernel fills at most this much at a time.
const ANSWER_BYTES: usize = 32 * 1024;
/// Answers read for one question: room for half a million sockets.
const ANSWERS_MAX: usize = 2_048;

/// From `linux/netlink.h`, `linux/sock_diag.h` and `linux/inet_diag.h`.
const HEADER_BYTES: usize = 16;
const REQUEST_BYTES: usize = HEADER_BYTES + 56;
const MESSAGE_BYTES: usize = HEADER_BYTES + 72;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const REQUEST_AND_DUMP: u16 = 0x1 | 0x300;
const TYPE_ERROR: u16 = 2;
const TYPE_DONE: u16 = 3;
const TCP: u8 = 6;
const STATE_LISTEN: u32 = 1 << 10;
/// Where a message has the port, in network order, and the inode, in the host's.
const PORT_AT: usize = HEADER_BYTES + 4;
const INODE_AT: usize = HEADER_BYTES + 68;

/// The TCP sockets that listened when this was read, in the network namespace of this process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listeners(BTreeMap<u16, Vec<u64>>);

impl Listeners {
    /// Asks the kernel.
    pub fn read() -> Result<Self, Error> {
        match Self::ask() {
            Ok(found) => Ok(found),
            // A kernel without this question, or a container that may not ask it.
            Err(_) => Self::read_tables(),
        }
    }

    /// The inodes of the sockets that listen on `port`, over IPv4 or IPv6.
    pub(crate) fn on(&self, port: u16) -> &[u64] {
        self.0.get(&port).map_or(&[], Vec::as_slice)
    }

    fn ask() -> Result<Self, Errno> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            Some(netlink::SOCK_DIAG),
        )?;
        set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_WITHIN))?;
        let mut found = Self::default();
        let mut buffer = vec![0_u8; ANSWER_BYTES];
        for family in [AddressFamily::INET, AddressFamily::INET6] {
            let family = u8::try_from(family.as_raw()).map_err(|_| Errno::AFNOSUPPORT)?;
            rustix::net::send(&socket, &request(family), SendFlags::empty())?;
            let mut answers = 0;
            loop {
                let (_, length) =
                    rustix::net::recv(&socket, buffer.as_mut_slice(), RecvFlags::empty())?;
                let whole = buffer.get(..length).ok_or(Errno::MSGSIZE)?;
                answers += 1;
                if found.take(whole)? {
                    break;
                }
                if answers >= ANSWERS_MAX {
                    return Err(Errno::MSGSIZE);
                }
            }
        }
        Ok(found)
    }

    /// Takes the messages of one answer; whether it was the last.
    fn take(&mut self, mut answer: &[u8]) -> Result<bool, Errno> {
        while answer.len() >= HEADER_BYTES {
            // The last message is shorter than those that tell of a socket.
            let (length, rest) = answer.split_first_chunk().ok_or(Errno::BADMSG)?;
            let (kind, _) = rest.split_first_chunk().ok_or(Errno::BADMSG)?;
            let length = u32::from_ne_bytes(*length) as usize;
            let message = answer.get(..length).ok_or(Errno::BADMSG)?;
            match u16::from_ne_bytes(*kind) {
                TYPE_DONE => return Ok(true),
                TYPE_ERROR => return Err(Errno::OPNOTSUPP),
                SOCK_DIAG_BY_FAMILY => {
                    let port = field::<2>(message, PORT_AT).map(u16::from_be_bytes);
                    let inode = field::<4>(message, INODE_AT).map(u32::from_ne_bytes);
                    let (Some(port), Some(inode)) = (port, inode) else {
                        return Err(Errno::BADMSG);
                    };
                    self.0.entry(port).or_default().push(inode.into());
                }
                _ => {}
            }
            // Messages begin at multiples of four; a length of zero would never end.
            let next = length.max(HEADER_BYTES).next_multiple_of(4);
            answer = answer.get(next..).unwrap_or_default();
        }
        Ok(false)
    }

    fn read_tables() -> Result<Self, Error> {
        let mut found = Self::default();
        let mut take = |entries: Vec<TcpNetEntry>| {
            let listening = entries.iter().filter(|it| it.state == TcpState::Listen);
            for entry in listening {
                let port = entry.local_address.port();
                found.0.entry(port).or_default().push(entry.inode);
            }
        };
        take(procfs::net::tcp().map_err(Error::proc("sockets"))?);
        match procfs::net::tcp6() {
            Ok(entries) => take(entries),
            // A kernel without IPv6 has no such file.
            Err(procfs::ProcError::NotFound(_)) => {}
            Err(source) => return Err(Error::proc("sockets")(source)),
        }
        Ok(found)
    }
}

fn field<const N: usize>(message: &[u8], at: usize) -> Option<[u8; N]> {
    let bytes = message.get(..MESSAGE_BYTES)?.get(at..at + N)?;
    bytes.try_into().ok()
}

fn request(family: u8) -> Vec<u8> {
    let mut request = Vec::with_capacity(REQUEST_BYTES);
    request.extend((REQUEST_BYTES as u32).to_ne_bytes());
    request.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend(REQUEST_AND_DUMP.to_ne_bytes());
    // Sequence and sender: one question at a time, and the kernel knows who asks.
    request.extend([0; 8]);
    request.extend([family, TCP, 0, 0]);
    request.extend(STATE_LISTEN.to_ne_bytes());
    // No address is asked for in particular.
    request.resize(REQUEST_BYTES, 0);
    request
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn what_listens_is_found_over_both_protocols_and_a_connection_is_not() {
        let four = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = four.local_addr().unwrap().port();
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let six = TcpListener::bind("[::1]:0").ok();
        for found in [Listeners::ask().unwrap(), Listeners::read_tables().unwrap()] {
            assert_eq!(found.on(port).len(), 1, "{found:?}");
            assert!(found.on(client.local_addr().unwrap().port()).is_empty());
            if let Some(six) = &six {
                assert_eq!(found.on(six.local_addr().unwrap().port()).len(), 1);
            }
        }
    }

    #[test]
    fn both_ways_of_asking_name_the_same_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Listeners::ask().unwrap();
        let read = Listeners::read_tables().unwrap();
        assert_eq!(asked.on(port), read.on(port));
    }

    #[test]
    fn a_cut_or_endless_answer_is_refused_or_ends() {
        let mut found = Listeners::default();
        assert_eq!(found.take(&[0; 64]), Ok(false), "lengths of zero");
        let mut cut = request(2);
        cut.truncate(40);
        assert_eq!(found.take(&cut), Err(Errno::BADMSG));
        assert_eq!(found, Listeners::default());
    }
}
