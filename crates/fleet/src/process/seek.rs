//! Finds processes that somebody else started, by what they run and where they listen.
//!
//! Guarantees: what is reported is of the process that was found, by pid and start time; nothing is sent to it, not
//! even a signal of zero. A process whose executable or descriptors this agent may not read is not found.

use std::{collections::BTreeMap, fs, path::Path};

use mainstay_core::Time;
use mainstay_sys::{Listeners, listening_socket_owners};
use mainstay_wire::agent::{Found, ProcessFacts, Sought};

use super::pids;
use crate::found::{Fits, instances};

/// Looks between two at the descriptors of every process for a port whose owner is not known: there may be thousands.
const LOOKS_AT_ALL: u32 = 5;

/// Who was found to listen, by port.
#[derive(Debug, Default)]
pub(super) struct Owners {
    looks: u32,
    by_port: BTreeMap<u16, Vec<u32>>,
}

impl Owners {
    /// Looks for all that is sought; at most `most` are told.
    pub(super) fn seek(
        &mut self,
        sought: &[Sought],
        listeners: &Listeners,
        most: usize,
    ) -> Vec<Found> {
        let looks_at_all = self.looks.is_multiple_of(LOOKS_AT_ALL);
        self.looks = self.looks.wrapping_add(1);
        let is_sought = |port: &u16| sought.iter().any(|it| it.port == Some(*port));
        self.by_port.retain(|port, _| is_sought(port));
        let pids = pids();
        let mut found = Vec::new();
        for it in sought {
            let of_path = it.executable.as_deref().map(|path| running(&pids, path));
            let fits = match (of_path, it.port) {
                (Some(pids), None) => pids,
                (Some(pids), Some(port)) => listening_socket_owners(port, &pids, listeners),
                (None, Some(port)) => self.of_port(port, &pids, listeners, looks_at_all),
                (None, None) => Vec::new(),
            };
            let fits: Vec<Fits> = fits.into_iter().filter_map(stat).collect();
            let chosen = instances(&fits, it.port.is_some());
            found.extend(chosen.into_iter().filter_map(|pid| measured(it, pid)));
            if found.len() >= most {
                tracing::warn!(most, service = %it.service, "more processes fit than are told");
                found.truncate(most);
                break;
            }
        }
        found
    }

    /// Who listens on `port`: those known from before where they still do, else everybody is looked at.
    fn of_port(
        &mut self,
        port: u16,
        pids: &[u32],
        listeners: &Listeners,
        looks_at_all: bool,
    ) -> Vec<u32> {
        let known = self.by_port.get(&port).map_or(&[][..], Vec::as_slice);
        let still = listening_socket_owners(port, known, listeners);
        let owners = if !still.is_empty() && still.len() == known.len() && !looks_at_all {
            still
        } else if known.is_empty() && !looks_at_all {
            Vec::new()
        } else {
            listening_socket_owners(port, pids, listeners)
        };
        self.by_port.insert(port, owners.clone());
        owners
    }
}

/// Those that run the file at `path`, also where it was replaced since they started.
fn running(pids: &[u32], path: &str) -> Vec<u32> {
    let runs = |pid: &&u32| {
        let exe = fs::read_link(format!("/proc/{pid}/exe"));
        exe.is_ok_and(|exe| whole(&exe) == path)
    };
    pids.iter().filter(runs).copied().collect()
}

/// A path as it was before its file was removed.
fn whole(exe: &Path) -> String {
    let path = exe.to_string_lossy();
    path.strip_suffix(" (deleted)").unwrap_or(&path).to_owned()
}

/// Parent and start time, from `/proc/PID/stat`: the name before them may hold blanks and brackets.
fn stat(pid: u32) -> Option<Fits> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(1);
    let parent = fields.next()?.parse().ok()?;
    // The 22nd field; the parent was the fourth.
    let started = fields.nth(17)?.parse().ok()?;
    Some(Fits {
        pid,
        parent,
        started,
    })
}

fn measured(sought: &Sought, pid: u32) -> Option<Found> {
    let identity = mainstay_sys::identify(pid).ok()?;
    let resources = mainstay_sys::resources(pid).ok()?;
    // Between the two another process may have got its number.
    let now = stat(pid).filter(|it| it.started == identity.start_time_ticks)?;
    Some(Found {
        service: sought.service.clone(),
        executable: whole(&identity.exe_path),
        port: sought.port,
        process: ProcessFacts {
            boot_id: identity.boot_id,
            pid: now.pid,
            start_ticks: identity.start_time_ticks,
            started_at: Time::from_millis(i64::try_from(identity.started_at_ms).unwrap_or(0)),
            exe_sha256: identity.exe_sha256,
            listening_port: sought.port,
            rss_bytes: resources.rss_bytes,
            open_files: resources.open_fds,
        },
    })
}

#[cfg(test)]
mod tests {
    use std::{
        net::TcpListener,
        process::{Child, Command, Stdio},
    };

    use super::*;

    struct Sleeper(Child);

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn sought(executable: Option<&Path>, port: Option<u16>) -> Vec<Sought> {
        vec![Sought {
            service: "shop".parse().unwrap(),
            executable: executable.map(|it| it.display().to_string()),
            port,
        }]
    }

    fn pids_of(owners: &mut Owners, sought: &[Sought]) -> Vec<u32> {
        let found = owners.seek(sought, &Listeners::read().unwrap(), 16);
        found.into_iter().map(|it| it.process.pid).collect()
    }

    #[test]
    fn a_process_is_found_by_what_it_runs_until_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().canonicalize().unwrap().join("shop");
        fs::copy("/bin/sleep", &program).unwrap();
        let child = Command::new(&program)
            .arg("60")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let (pid, sleeper) = (child.id(), Sleeper(child));
        let mut owners = Owners::default();
        let by_path = sought(Some(&program), None);
        // Between fork and exec it runs something else.
        while pids_of(&mut owners, &by_path) != [pid] {
            std::thread::yield_now();
        }
        fs::remove_file(&program).unwrap();
        assert_eq!(pids_of(&mut owners, &by_path), [pid], "its file is gone");
        drop(sleeper);
        assert!(pids_of(&mut owners, &by_path).is_empty());
    }

    #[test]
    fn a_process_is_found_by_the_port_that_it_listens_on() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let own = std::process::id();
        let mut owners = Owners::default();
        let by_port = sought(None, Some(port));
        let found = owners.seek(&by_port, &Listeners::read().unwrap(), 16);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].process.pid, own);
        assert_eq!(found[0].process.listening_port, Some(port));
        assert_eq!(pids_of(&mut owners, &by_port), [own], "known from before");
        let other = sought(Some(Path::new("/bin/none")), Some(port));
        assert!(pids_of(&mut owners, &other).is_empty());
        drop(listener);
        assert!(pids_of(&mut owners, &by_port).is_empty());
    }
}
