//! Processes whose executable lies under a directory: how a stop is verified instead of believed.
//!
//! **Guarantees.** The kernel's word counts (`/proc/PID/exe`), not a list kept by whoever started them.
//! **Never** looks beyond the directory given. Example: `running_under(Path::new("/tmp/mainstay-up-7"))`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use mainstay_sys::environment_variable;
use rustix::process::{Pid, Signal, kill_process};

/// A process of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Survivor {
    /// What it calls itself in its environment; empty where it has no such name.
    pub(crate) instance: String,
    /// Process id.
    pub(crate) pid: i32,
    /// Its executable.
    pub(crate) exe: PathBuf,
}

impl Survivor {
    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return;
        };
        // Gone in the meantime is what was wanted.
        let _ = kill_process(pid, signal);
    }
}

/// Every process whose executable lies under `dir`, by instance.
pub(crate) fn running_under(dir: &Path) -> Vec<Survivor> {
    let Ok(dir) = dir.canonicalize() else {
        return Vec::new();
    };
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut found: Vec<Survivor> = processes
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            // Other people's processes cannot be read, and are not ours.
            let exe = fs::read_link(entry.path().join("exe")).ok()?;
            if !exe.starts_with(&dir) {
                return None;
            }
            let instance = environment_variable(pid.try_into().ok()?, "INSTANCE");
            Some(Survivor {
                instance: instance.unwrap_or_default(),
                pid,
                exe,
            })
        })
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use std::{
        process::{Command, Stdio},
        time::{Duration, Instant},
    };

    use super::*;

    #[test]
    fn a_process_is_found_by_its_executable_and_named_by_its_environment() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("run");
        fs::copy("/bin/cat", &program).unwrap();
        let mut child = Command::new(&program)
            .env("INSTANCE", "voyager-lax-1")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        // For a moment after it was started it still is its parent's likeness.
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut found = Vec::new();
        while found.is_empty() && Instant::now() < deadline {
            found = running_under(dir.path());
        }
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].instance, "voyager-lax-1");
        found[0].signal(Signal::KILL);
        child.wait().unwrap();
        assert_eq!(running_under(dir.path()), []);
    }
}
