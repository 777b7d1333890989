//! Processes that Mainstay did not start: which of many are the instances, and what is new about them.
//!
//! Guarantees: a process is told from its successor by boot, pid and start time, so that an agent which is started
//! anew tells nothing twice. Pure: what was seen comes in, what to tell goes out.

use mainstay_core::ServiceName;
use mainstay_wire::agent::{Found, ProcessFacts, Sought};
use serde::{Deserialize, Serialize};

/// A process that fits a description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fits {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    /// In clock ticks since boot.
    pub(crate) started: u64,
}

/// Which of the processes that fit a description are instances: of a parent and its children the parent; of those
/// that share a socket the one that started first.
pub(crate) fn instances(fits: &[Fits], share_a_socket: bool) -> Vec<u32> {
    let is_child = |it: &Fits| fits.iter().any(|other| other.pid == it.parent);
    let mut heads: Vec<&Fits> = fits.iter().filter(|it| !is_child(it)).collect();
    heads.sort_by_key(|it| (it.started, it.pid));
    if share_a_socket {
        heads.truncate(1);
    }
    heads.into_iter().map(|it| it.pid).collect()
}

/// One process as it was last seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Seen {
    service: ServiceName,
    boot_id: String,
    pid: u32,
    start_ticks: u64,
    exe_sha256: String,
}

impl Seen {
    fn is(&self, found: &Found) -> bool {
        let ProcessFacts {
            boot_id,
            pid,
            start_ticks,
            ..
        } = &found.process;
        (&self.service, &self.boot_id, self.pid, self.start_ticks)
            == (&found.service, boot_id, *pid, *start_ticks)
    }
}

/// What is remembered over restarts of the agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Known(Vec<Seen>);

impl Known {
    /// Takes what was found of what is `sought`; what is news of which service.
    pub(crate) fn take(
        &mut self,
        sought: &[Sought],
        found: &[Found],
    ) -> Vec<(ServiceName, String)> {
        let mut news = Vec::new();
        let is_sought = |it: &&Seen| sought.iter().any(|of| of.service == it.service);
        for gone in self.0.iter().filter(is_sought) {
            if !found.iter().any(|it| gone.is(it)) {
                news.push((gone.service.clone(), format!("process {} ended", gone.pid)));
            }
        }
        for it in found {
            let ProcessFacts {
                pid, exe_sha256, ..
            } = &it.process;
            let what = match self.0.iter().find(|seen| seen.is(it)) {
                Some(seen) if seen.exe_sha256 == *exe_sha256 => continue,
                Some(_) => format!("process {pid} now runs {exe_sha256}"),
                None => {
                    let port = it.process.listening_port;
                    let port = port.map_or_else(String::new, |port| format!(", on port {port}"));
                    format!(
                        "process {pid} runs {}{port}, since {}",
                        it.executable, it.process.started_at
                    )
                }
            };
            news.push((it.service.clone(), what));
        }
        self.0 = found
            .iter()
            .map(|it| Seen {
                service: it.service.clone(),
                boot_id: it.process.boot_id.clone(),
                pid: it.process.pid,
                start_ticks: it.process.start_ticks,
                exe_sha256: it.process.exe_sha256.clone(),
            })
            .collect();
        news
    }
}

#[cfg(test)]
mod tests {
    use mainstay_core::Time;

    use super::*;

    fn fits(pid: u32, parent: u32, started: u64) -> Fits {
        Fits {
            pid,
            parent,
            started,
        }
    }

    #[test]
    fn of_a_master_and_its_workers_the_master_is_the_instance() {
        let nginx = [fits(12, 10, 52), fits(11, 10, 51), fits(10, 1, 50)];
        assert_eq!(instances(&nginx, false), [10]);
        let two = [fits(20, 1, 60), fits(10, 1, 50)];
        assert_eq!(instances(&two, false), [10, 20]);
        assert_eq!(instances(&two, true), [10], "they share a socket");
        assert_eq!(instances(&[], true), Vec::<u32>::new());
    }

    fn found(pid: u32, start_ticks: u64, sha: &str) -> Found {
        Found {
            service: "shop".parse().unwrap(),
            executable: "/usr/sbin/nginx".to_owned(),
            port: Some(80),
            process: ProcessFacts {
                boot_id: "b".to_owned(),
                pid,
                start_ticks,
                started_at: Time::from_millis(0),
                exe_sha256: sha.to_owned(),
                listening_port: Some(80),
                rss_bytes: 1,
                open_files: 1,
            },
        }
    }

    #[test]
    fn starts_ends_and_other_bytes_are_told_once_and_a_reused_pid_is_another_process() {
        let sought = [Sought {
            service: "shop".parse().unwrap(),
            executable: None,
            port: Some(80),
        }];
        let mut known = Known::default();
        let mut news = |found: &[Found]| -> Vec<String> {
            let told = known.take(&sought, found).into_iter();
            told.map(|(_, what)| what).collect()
        };
        let first = news(&[found(7, 100, "aa")]);
        assert_eq!(
            first,
            ["process 7 runs /usr/sbin/nginx, on port 80, since 1970-01-01T00:00:00Z"]
        );
        assert!(news(&[found(7, 100, "aa")]).is_empty());
        assert_eq!(news(&[found(7, 100, "bb")]), ["process 7 now runs bb"]);
        let reused = news(&[found(7, 900, "bb")]);
        assert_eq!(reused.len(), 2, "{reused:?}");
        assert_eq!(reused[0], "process 7 ended");
        assert_eq!(news(&[]), ["process 7 ended"]);
    }

    #[test]
    fn what_is_looked_for_no_longer_is_forgotten_without_a_word() {
        let sought = [Sought {
            service: "shop".parse().unwrap(),
            executable: None,
            port: Some(80),
        }];
        let mut known = Known::default();
        known.take(&sought, &[found(7, 100, "aa")]);
        assert_eq!(known.take(&[], &[]), []);
        assert_eq!(known, Known::default());
    }
}
