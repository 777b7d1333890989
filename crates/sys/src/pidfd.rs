//! Signals that reach the identified process or nobody.
//!
//! A [`PidFd`] stays with the process it was opened for: when that process is gone, signals fail
//! instead of reaching whoever has its pid next. Opening by pid may already meet the next owner;
//! [`PidFd::verify`] finds that out by boot and start time. So: open, verify, send, in this order,
//! as the example of the crate does.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

use crate::Error;
use crate::identity::{self, ProcessIdentity, boot_id};

/// What an agent may ask of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Please end: the process may drain first.
    Term,
    /// End now.
    Kill,
    /// Stop running, keep everything.
    Stop,
    /// Run again after [`Signal::Stop`].
    Cont,
}

impl Signal {
    fn raw(self) -> rustix::process::Signal {
        match self {
            Self::Term => rustix::process::Signal::TERM,
            Self::Kill => rustix::process::Signal::KILL,
            Self::Stop => rustix::process::Signal::STOP,
            Self::Cont => rustix::process::Signal::CONT,
        }
    }
}

/// A handle on one process that its pid's next owner cannot inherit.
#[derive(Debug)]
pub struct PidFd {
    pid: u32,
    descriptor: OwnedFd,
}

impl PidFd {
    /// Opens whoever has `pid` now. Follow with [`PidFd::verify`].
    pub fn open(pid: u32) -> Result<Self, Error> {
        let descriptor =
            rustix::process::pidfd_open(raw_pid(pid)?, PidfdFlags::empty()).map_err(|errno| {
                match errno {
                    // A thread's id is not a process's.
                    Errno::INVAL | Errno::NOENT => Error::NoSuchProcess { pid },
                    errno => Error::of_call(pid, "open a process descriptor", errno),
                }
            })?;
        Ok(Self { pid, descriptor })
    }

    /// Opens the identified process, or nothing.
    pub fn open_identified(identity: &ProcessIdentity) -> Result<Self, Error> {
        let process = Self::open(identity.pid)?;
        process.verify(identity)?;
        Ok(process)
    }

    /// The pid this was opened for.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Fails unless this handle is on the identified process and that process was not reaped yet.
    ///
    /// Compares boot, pid and start time; not the executable, which `exec` may have changed.
    pub fn verify(&self, identity: &ProcessIdentity) -> Result<(), Error> {
        self.verified_group(identity).map(|_| ())
    }

    /// Sends a signal to this process alone.
    pub fn send(&self, signal: Signal) -> Result<(), Error> {
        rustix::process::pidfd_send_signal(&self.descriptor, signal.raw())
            .map_err(|errno| Error::of_call(self.pid, "send a signal", errno))
    }

    /// Sends a signal to every process of the group that the identified process leads.
    ///
    /// Refused unless the process is verified and its group's leader, and not reaped: while it is
    /// not, the kernel gives its number to nobody else. So a parent signals the group first and
    /// waits for the leader afterwards. Somebody who is not the parent leaves a gap of microseconds
    /// in which the leader may be reaped, its whole group end, and its pid come round again.
    pub fn send_to_group(&self, identity: &ProcessIdentity, signal: Signal) -> Result<(), Error> {
        let group = self.verified_group(identity)?;
        if !is_group_to_signal(self.pid, group) {
            return Err(Error::NotLeader {
                pid: self.pid,
                group,
            });
        }
        rustix::process::kill_process_group(raw_pid(self.pid)?, signal.raw())
            .map_err(|errno| Error::of_call(self.pid, "send a signal to a group", errno))
    }

    /// Whether the process has ended, reaped or not. Does not block.
    pub fn exited(&self) -> Result<bool, Error> {
        self.wait_exited(Duration::ZERO)
    }

    /// Waits until the process has ended, at most `limit`; false if it still runs then.
    ///
    /// Blocks the thread; an async caller waits for this handle to become readable instead.
    pub fn wait_exited(&self, limit: Duration) -> Result<bool, Error> {
        let started = std::time::Instant::now();
        loop {
            let left = limit.saturating_sub(started.elapsed());
            let timeout = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            let mut polled = [PollFd::new(&self.descriptor, PollFlags::IN)];
            match rustix::event::poll(&mut polled, Some(&timeout)) {
                Ok(ready) => return Ok(ready > 0),
                // A signal to this process came first; wait for what is left of the time.
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::of_call(self.pid, "wait for a process", errno)),
            }
        }
    }

    /// Verifies, and tells the process's group.
    fn verified_group(&self, identity: &ProcessIdentity) -> Result<i32, Error> {
        let pid = self.pid;
        if identity.pid != pid {
            return Err(Error::OtherPid {
                identified: identity.pid,
                opened: pid,
            });
        }
        if identity.boot_id != boot_id()? {
            return Err(Error::OtherBoot { pid });
        }
        let stat = identity::open(pid)?
            .stat()
            .map_err(|source| Error::of_process(pid, "start time", source))?;
        if stat.starttime != identity.start_time_ticks {
            return Err(Error::Reused {
                pid,
                found: stat.starttime,
                expected: identity.start_time_ticks,
            });
        }
        // Last: if our process holds its pid still, it held it while the start time was read.
        if self.reaped()? {
            return Err(Error::NoSuchProcess { pid });
        }
        Ok(stat.pgrp)
    }

    /// The kernel shows -1 for the pid of a descriptor whose process was reaped.
    fn reaped(&self) -> Result<bool, Error> {
        let path = format!("/proc/self/fdinfo/{}", self.descriptor.as_raw_fd());
        let text = std::fs::read_to_string(path).map_err(Error::io("read a descriptor's state"))?;
        Ok(!holds_pid(&text, self.pid))
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// A group is signalled under its leader's number. That of init's group is what the kernel reads as
/// "everybody".
fn is_group_to_signal(leader: u32, group: i32) -> bool {
    i64::from(group) == i64::from(leader) && leader > 1
}

fn holds_pid(fdinfo: &str, pid: u32) -> bool {
    fdinfo
        .lines()
        .filter_map(|line| line.strip_prefix("Pid:"))
        .any(|value| value.trim().parse() == Ok(pid))
}

fn raw_pid(pid: u32) -> Result<Pid, Error> {
    i32::try_from(pid)
        .ok()
        .filter(|number| *number > 0)
        .and_then(Pid::from_raw)
        .ok_or(Error::NoSuchProcess { pid })
}

#[cfg(test)]
mod tests;
