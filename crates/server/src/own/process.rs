//! Numbers of this process, read from `/proc`, under the names that every Prometheus client uses.

use std::{fs, io};

use super::Text;

/// Ticks a second in `/proc`: part of the kernel's interface, 100 on every architecture that Mainstay runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// What the kernel says of this process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Process {
    cpu_seconds: f64,
    started_at_seconds: f64,
    resident_bytes: f64,
    open_files: usize,
}

impl Process {
    pub(super) fn read() -> io::Result<Self> {
        // The directory handle that lists them is one of them.
        let open_files = fs::read_dir("/proc/self/fd")?.count().saturating_sub(1);
        let stat = fs::read_to_string("/proc/self/stat")?;
        let status = fs::read_to_string("/proc/self/status")?;
        let system = fs::read_to_string("/proc/stat")?;
        Self::parse(&stat, &status, &system, open_files)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not in the known format"))
    }

    fn parse(stat: &str, status: &str, system: &str, open_files: usize) -> Option<Self> {
        // The name of the program stands in parentheses and may hold anything; state, the third field, follows.
        let (_, fields) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let resident = field(status, "VmRSS:")?;
        let booted = field(system, "btime")?;
        Some(Self {
            cpu_seconds: (ticks(14)? + ticks(15)?) / TICKS_PER_SECOND,
            started_at_seconds: booted + ticks(22)? / TICKS_PER_SECOND,
            resident_bytes: resident * 1_024.0,
            open_files,
        })
    }

    pub(super) fn write(&self, text: &mut Text) {
        let metrics = [
            (
                "process_cpu_seconds_total",
                "counter",
                "CPU time used.",
                self.cpu_seconds,
            ),
            (
                "process_start_time_seconds",
                "gauge",
                "When the process started, in Unix seconds.",
                self.started_at_seconds,
            ),
            (
                "process_resident_memory_bytes",
                "gauge",
                "Memory in RAM.",
                self.resident_bytes,
            ),
            (
                "process_open_fds",
                "gauge",
                "Open files.",
                self.open_files as f64,
            ),
        ];
        for (name, kind, help, value) in metrics {
            text.begin(name, kind, help);
            text.sample("", &[], value);
        }
    }
}

/// The first number after `name` at a line's beginning.
fn field(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_shifts_nothing() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 0 1 0 0 0 250 50 0 0 20 0 9 0 1234 5 6";
        let got = Process::parse(
            stat,
            "Name:\tx\nVmRSS:\t  2048 kB\n",
            "cpu 1\nbtime 1700000000\n",
            9,
        );
        let expected = Process {
            cpu_seconds: 3.0,
            started_at_seconds: 1_700_000_012.34,
            resident_bytes: 2_097_152.0,
            open_files: 9,
        };
        assert_eq!(got, Some(expected));
        assert_eq!(Process::parse("7 (a) S", "", "", 0), None);
    }

    #[test]
    fn this_process_can_be_read() {
        let seen = Process::read().unwrap();
        assert!(seen.resident_bytes > 0.0 && seen.open_files > 0, "{seen:?}");
    }
}
