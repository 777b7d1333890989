//! Why a fact could not be read, or a signal was not sent.

use std::io;
use std::path::PathBuf;

use procfs::ProcError;
use rustix::io::Errno;

/// A fact that could not be read, or a signal that was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No process has this pid now.
    #[error("process {pid} does not exist")]
    NoSuchProcess {
        /// The pid asked for.
        pid: u32,
    },
    /// The process has no executable to read: it is a zombie or a thread of the kernel.
    #[error("process {pid} has no executable")]
    NoExecutable {
        /// The pid asked for.
        pid: u32,
    },
    /// The pid belongs to a process that started at another time than the identified one.
    #[error("pid {pid} was reused: it started at tick {found}, the identified one at {expected}")]
    Reused {
        /// The pid both processes had.
        pid: u32,
        /// Start of the process that has the pid now, in clock ticks since boot.
        found: u64,
        /// Start of the identified process.
        expected: u64,
    },
    /// The identity names another pid than the descriptor was opened for.
    #[error("the identity is of pid {identified}, the descriptor of pid {opened}")]
    OtherPid {
        /// The identity's pid.
        identified: u32,
        /// The descriptor's pid.
        opened: u32,
    },
    /// The host was restarted since the identity was taken.
    #[error("process {pid} was identified in an earlier boot")]
    OtherBoot {
        /// The identity's pid.
        pid: u32,
    },
    /// The process is in another's group, which may hold processes nobody identified.
    #[error("process {pid} does not lead a group, it is in group {group}")]
    NotLeader {
        /// The process asked for.
        pid: u32,
        /// The group it is in.
        group: i32,
    },
    /// The system does not let this user do that to the process.
    #[error("permission denied on process {pid}: {what}")]
    Denied {
        /// The process asked for.
        pid: u32,
        /// What was attempted.
        what: &'static str,
    },
    /// A file that has no digest: not a regular file, or larger than an executable can be.
    #[error("{} cannot be digested: {why}", path.display())]
    NotDigestible {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: &'static str,
    },
    /// Something under `/proc` was unreadable.
    #[error("read {what}")]
    Proc {
        /// What was read.
        what: &'static str,
        /// The reader's reason.
        #[source]
        source: ProcError,
    },
    /// A system call failed.
    #[error("{what}")]
    Io {
        /// What was attempted.
        what: &'static str,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// A failed read of a process's own folder under `/proc`.
    pub(crate) fn of_process(pid: u32, what: &'static str, source: ProcError) -> Self {
        match source {
            ProcError::NotFound(_) => Self::NoSuchProcess { pid },
            ProcError::PermissionDenied(_) => Self::Denied { pid, what },
            ProcError::Io(source, _) if is_gone(&source) => Self::NoSuchProcess { pid },
            source => Self::Proc { what, source },
        }
    }

    /// A failed system call on a process.
    pub(crate) fn of_call(pid: u32, what: &'static str, errno: Errno) -> Self {
        match errno {
            Errno::SRCH => Self::NoSuchProcess { pid },
            Errno::PERM | Errno::ACCESS => Self::Denied { pid, what },
            errno => Self::Io {
                what,
                source: errno.into(),
            },
        }
    }

    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }

    pub(crate) fn proc(what: &'static str) -> impl FnOnce(ProcError) -> Self {
        move |source| Self::Proc { what, source }
    }
}

/// Reads in a folder of `/proc` whose process has gone say "no such process".
fn is_gone(source: &io::Error) -> bool {
    source.raw_os_error() == Some(Errno::SRCH.raw_os_error())
}
