//! What a process uses now.
//!
//! Example: an instance whose `open_fds` climbs with each request has a leak that memory does not
//! show yet.

use procfs::process::Process;

use crate::Error;
use crate::identity;

/// What one process uses, read at about one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Resources {
    /// Memory that is resident, in bytes; shared pages count in full. Kernels before 6.16 may
    /// report a few pages a processor too little.
    pub rss_bytes: u64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// Processor time since its start, in user and system mode, of all its threads, in seconds.
    pub cpu_seconds: f64,
    /// Threads.
    pub threads: u64,
}

/// Reads what the process that has `pid` now uses.
///
/// Verify a [`crate::PidFd`] afterwards where the pid may have been reused.
pub fn resources(pid: u32) -> Result<Resources, Error> {
    of(pid, &identity::open(pid)?).map(|(_, used)| used)
}

/// When it started, in clock ticks since boot, and what it uses.
pub(crate) fn of(pid: u32, process: &Process) -> Result<(u64, Resources), Error> {
    let stat = process
        .stat()
        .map_err(|source| Error::of_process(pid, "resources", source))?;
    // Not from `stat`: its count lacks what each processor has not reported yet, which is all of it
    // for a small process. Kernels from 6.16 on sum up for `statm`.
    let memory = process
        .statm()
        .map_err(|source| Error::of_process(pid, "memory", source))?;
    let open_fds = process
        .fd_count()
        .map_err(|source| Error::of_process(pid, "open files", source))?;
    let ticks = stat.utime.saturating_add(stat.stime);
    let used = Resources {
        rss_bytes: memory.resident.saturating_mul(procfs::page_size()),
        open_fds: open_fds as u64,
        cpu_seconds: ticks as f64 / procfs::ticks_per_second() as f64,
        threads: u64::try_from(stat.num_threads).unwrap_or(0),
    };
    Ok((stat.starttime, used))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Sleeper;

    #[test]
    fn open_files_and_threads_are_counted_as_they_come() {
        let before = resources(std::process::id()).unwrap();
        let files: Vec<_> = (0..200)
            .map(|_| std::fs::File::open("/dev/null").unwrap())
            .collect();
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || wait.recv());
        let during = resources(std::process::id()).unwrap();
        assert!(during.open_fds >= before.open_fds + 150);
        assert!(during.threads >= 2);
        drop((files, done));
        assert!(thread.join().unwrap().is_err());
    }

    #[test]
    fn work_shows_as_processor_time_and_memory_as_resident() {
        let before = resources(std::process::id()).unwrap();
        let block = vec![1_u8; 64 << 20];
        let mut sum = 0_u64;
        let mut after = before;
        while after.cpu_seconds <= before.cpu_seconds {
            sum = block
                .iter()
                .fold(sum, |sum, byte| sum.wrapping_add(u64::from(*byte)));
            after = resources(std::process::id()).unwrap();
        }
        assert!(sum > 0);
        assert!(after.rss_bytes >= 64 << 20);
    }

    #[test]
    fn a_sleeping_process_uses_one_thread_and_no_processor() {
        let sleeper = Sleeper::spawn();
        let used = resources(sleeper.pid()).unwrap();
        assert_eq!(used.threads, 1);
        assert!(used.cpu_seconds < 1.0);
    }

    #[test]
    fn a_process_that_is_gone_uses_nothing_and_is_an_error() {
        let mut sleeper = Sleeper::spawn();
        let pid = sleeper.pid();
        sleeper.end();
        assert!(matches!(resources(pid), Err(Error::NoSuchProcess { .. })));
    }
}
