//! Real processes for this crate's tests. Each is ended and reaped when its handle is dropped.

use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::{PidFd, Signal, identity};

/// How long a test waits for a condition that normally takes milliseconds.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A process that does nothing for a while.
pub(crate) struct Sleeper {
    process: Child,
    leads: bool,
}

impl Sleeper {
    pub(crate) fn spawn() -> Self {
        Self::spawn_program(Path::new("sleep"))
    }

    pub(crate) fn spawn_program(program: &Path) -> Self {
        // A program just written is busy while another test's fork still holds its descriptor.
        let process = wait_for(|| match Command::new(program).arg("60").spawn() {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => None,
            spawned => Some(spawned.unwrap()),
        });
        Self {
            process,
            leads: false,
        }
    }

    /// A shell that leads a group of its own, and waits for a `sleep` it started.
    pub(crate) fn spawn_leader_with_child() -> Self {
        let process = Command::new("sh")
            .args(["-c", "sleep 60 & wait"])
            .process_group(0)
            .spawn()
            .unwrap();
        Self {
            process,
            leads: true,
        }
    }

    /// Where `sleep` is on this host.
    pub(crate) fn program() -> PathBuf {
        let sleeper = Self::spawn();
        identity::open(sleeper.pid()).unwrap().exe().unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The child of a leader, as soon as it runs its own program.
    pub(crate) fn child_pid(&self) -> u32 {
        let path = format!("/proc/{0}/task/{0}/children", self.pid());
        wait_for(|| {
            let children = std::fs::read_to_string(&path).ok()?;
            children.split_whitespace().next()?.parse().ok()
        })
    }

    /// Waits until the kernel shows one of the states, as `/proc/PID/stat` names them.
    pub(crate) fn wait_state(&self, states: &str) {
        wait_for(|| {
            let stat = identity::open(self.pid()).ok()?.stat().ok()?;
            states.contains(stat.state).then_some(())
        });
    }

    pub(crate) fn end_without_reaping(&self) {
        let process = PidFd::open(self.pid()).unwrap();
        process.send(Signal::Kill).unwrap();
        assert!(process.wait_exited(LIMIT).unwrap());
    }

    pub(crate) fn end(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        if self.leads
            && let Some(group) = rustix::process::Pid::from_raw(self.pid() as i32)
        {
            // Gone already is what most tests leave behind.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Tries until there is a result; gives other threads the processor in between.
pub(crate) fn wait_for<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(result) = attempt() {
            return result;
        }
        assert!(started.elapsed() < LIMIT, "the condition did not come true");
        std::thread::yield_now();
    }
}
