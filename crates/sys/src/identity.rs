//! Which process exactly: not its pid, which is reused, but its boot, pid and start time; and what
//! it runs, measured from the executable it has open.
//!
//! An identity stays true of a process until it ends or calls `exec`: the latter keeps boot, pid and
//! start but changes the executable, so an agent that reports what runs identifies anew each time.
//! For a script the executable is its interpreter.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use procfs::ProcError;
use procfs::process::Process;
use rustix::time::ClockId;

use crate::{Error, digest};

/// One process of one boot of this host, and what it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessIdentity {
    /// The kernel's random id of this boot.
    pub boot_id: String,
    /// The process's id, unique among the processes alive at one time.
    pub pid: u32,
    /// When it started, in clock ticks since boot. With `boot_id` and `pid` it is never reused.
    pub start_time_ticks: u64,
    /// When it started, in milliseconds since 1970, to about a tick (10 ms). For people: it moves
    /// with corrections of the host's clock, so it is never compared.
    pub started_at_ms: u64,
    /// SHA-256 of the executable it has open, also if the file was replaced or removed since.
    pub exe_sha256: String,
    /// Where the executable was when it started. Ends in ` (deleted)` if it was removed since.
    pub exe_path: PathBuf,
}

/// The kernel's random id of this boot: it changes whenever the host restarts.
pub fn boot_id() -> Result<String, Error> {
    procfs::sys::kernel::random::boot_id()
        .map(|id| id.trim().to_owned())
        .map_err(Error::proc("boot id"))
}

/// Measures the identity of the process that has `pid` now.
pub fn identify(pid: u32) -> Result<ProcessIdentity, Error> {
    // One handle on the process's folder: all reads through it are of one process, or fail.
    let process = open(pid)?;
    let start_time_ticks = start_time_ticks(pid, &process)?;
    let (exe_path, exe_sha256) = executable(pid, &process)?;
    Ok(ProcessIdentity {
        boot_id: boot_id()?,
        pid,
        start_time_ticks,
        started_at_ms: started_at_ms(start_time_ticks),
        exe_sha256,
        exe_path,
    })
}

/// Where the executable it has open was, and its SHA-256.
pub(crate) fn executable(pid: u32, process: &Process) -> Result<(PathBuf, String), Error> {
    let no_executable = |what| {
        move |source| match source {
            ProcError::NotFound(_) => Error::NoExecutable { pid },
            source => Error::of_process(pid, what, source),
        }
    };
    let exe_path = process.exe().map_err(no_executable("executable's path"))?;
    let file = process
        .open_relative("exe")
        .map_err(no_executable("executable"))?;
    let exe_sha256 = digest::sha256_open(file.into(), &exe_path)?;
    Ok((exe_path, exe_sha256))
}

pub(crate) fn open(pid: u32) -> Result<Process, Error> {
    // Zero and negative numbers mean groups and "everybody" to the kernel, never a process.
    let number = i32::try_from(pid).ok().filter(|number| *number > 0);
    let number = number.ok_or(Error::NoSuchProcess { pid })?;
    // By path, so that a thread's id or a symbolic link is not taken for a process.
    Process::new_with_root(Path::new("/proc").join(number.to_string()))
        .map_err(|source| Error::of_process(pid, "process", source))
}

pub(crate) fn start_time_ticks(pid: u32, process: &Process) -> Result<u64, Error> {
    process
        .stat()
        .map(|stat| stat.starttime)
        .map_err(|source| Error::of_process(pid, "start time", source))
}

/// Both the start and the boot clock count time asleep, and share a time namespace.
fn started_at_ms(start_time_ticks: u64) -> u64 {
    let booted = rustix::time::clock_gettime(ClockId::Boottime);
    let up_ms = (booted.tv_sec as u64) * 1_000 + (booted.tv_nsec as u64) / 1_000_000;
    let start_ms = start_time_ticks.saturating_mul(1_000) / procfs::ticks_per_second().max(1);
    let now_ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64);
    now_ms.saturating_sub(up_ms.saturating_sub(start_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sha256_file;
    use crate::testing::Sleeper;

    fn now_ms() -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        since.as_millis() as u64
    }

    #[test]
    fn an_identity_carries_the_digest_of_the_running_executable() {
        let sleeper = Sleeper::spawn();
        let identity = identify(sleeper.pid()).unwrap();
        assert_eq!(identity.pid, sleeper.pid());
        assert_eq!(identity.boot_id, boot_id().unwrap());
        assert_eq!(
            identity.exe_sha256,
            sha256_file(&identity.exe_path).unwrap()
        );
    }

    #[test]
    fn the_digest_is_of_what_runs_even_after_the_file_was_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let app = folder.path().join("app");
        std::fs::copy(Sleeper::program(), &app).unwrap();
        let expected = sha256_file(&app).unwrap();
        let sleeper = Sleeper::spawn_program(&app);
        std::fs::remove_file(&app).unwrap();
        std::fs::write(&app, "something else").unwrap();
        let identity = identify(sleeper.pid()).unwrap();
        assert_eq!(identity.exe_sha256, expected);
        assert_ne!(identity.exe_sha256, sha256_file(&app).unwrap());
    }

    #[test]
    fn the_start_is_told_in_wall_time_to_a_tick_or_so() {
        let before = now_ms();
        let sleeper = Sleeper::spawn();
        let after = now_ms();
        let started = identify(sleeper.pid()).unwrap().started_at_ms;
        assert!(before <= started + 50 && started <= after + 50);
    }

    #[test]
    fn a_process_identified_twice_has_one_start_time() {
        let sleeper = Sleeper::spawn();
        let first = identify(sleeper.pid()).unwrap();
        let second = identify(sleeper.pid()).unwrap();
        assert_eq!(first.start_time_ticks, second.start_time_ticks);
    }

    #[test]
    fn a_pid_nobody_has_is_no_such_process() {
        for pid in [0, i32::MAX as u32, u32::MAX] {
            assert!(
                matches!(identify(pid), Err(Error::NoSuchProcess { .. })),
                "{pid}"
            );
        }
    }

    #[test]
    fn an_ended_process_that_nobody_reaped_has_no_executable() {
        let sleeper = Sleeper::spawn();
        sleeper.end_without_reaping();
        assert!(matches!(
            identify(sleeper.pid()),
            Err(Error::NoExecutable { .. })
        ));
    }
}
