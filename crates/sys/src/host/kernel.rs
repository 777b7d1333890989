//! Processors, load, pressure and processes, as the kernel counts them.
//!
//! Guarantees: lines and files that another kernel adds or lacks are passed over. Never walks the folders of
//! processes: what is counted here costs the same on a host with ten of them or ten thousand.
//!
//! Example: `node_pressure_memory_waiting_seconds_total 1.5`.

use super::{HostMetrics, offered};
use crate::Error;

/// Kernel's file of pressure; metric of tasks that waited, and of moments in which all did.
const PRESSURE: [(&str, &str, Option<&str>); 3] = [
    (
        "/proc/pressure/cpu",
        "node_pressure_cpu_waiting_seconds_total",
        None,
    ),
    (
        "/proc/pressure/io",
        "node_pressure_io_waiting_seconds_total",
        Some("node_pressure_io_stalled_seconds_total"),
    ),
    (
        "/proc/pressure/memory",
        "node_pressure_memory_waiting_seconds_total",
        Some("node_pressure_memory_stalled_seconds_total"),
    ),
];

pub(super) fn read(metrics: &mut HostMetrics) -> Result<(), Error> {
    let stat = std::fs::read_to_string("/proc/stat").map_err(Error::io("read /proc/stat"))?;
    kernel(&stat, procfs::ticks_per_second() as f64, metrics);
    let load = std::fs::read_to_string("/proc/loadavg").map_err(Error::io("read /proc/loadavg"))?;
    load_average(&load, metrics);
    for (path, waiting, stalled) in PRESSURE {
        if let Some(text) = offered(path)? {
            pressure(&text, waiting, stalled, metrics);
        }
    }
    limits(metrics)?;
    system(metrics);
    Ok(())
}

/// Reads the text of `/proc/stat`. Lines that a newer kernel adds are passed over.
///
/// A processor's number is taken from its line: those switched off have none.
fn kernel(text: &str, ticks_per_second: f64, metrics: &mut HostMetrics) {
    const MODES: [&str; 8] = [
        "user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal",
    ];
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some(key) = words.next() else { continue };
        let name = match key {
            "btime" => "node_boot_time_seconds",
            "ctxt" => "node_context_switches_total",
            "processes" => "node_forks_total",
            "procs_running" => "node_procs_running",
            "procs_blocked" => "node_procs_blocked",
            "intr" => "node_intr_total",
            _ => {
                let Some(cpu) = key.strip_prefix("cpu").filter(|cpu| !cpu.is_empty()) else {
                    continue;
                };
                for (mode, ticks) in MODES.into_iter().zip(words) {
                    if let Ok(ticks) = ticks.parse::<u64>() {
                        let labels = vec![("cpu", cpu.to_owned()), ("mode", mode.to_owned())];
                        let value = ticks as f64 / ticks_per_second;
                        metrics.add("node_cpu_seconds_total", labels, value);
                    }
                }
                continue;
            }
        };
        if let Some(value) = words.next().and_then(|word| word.parse::<u64>().ok()) {
            metrics.add(name, vec![], value as f64);
        }
    }
}

/// Reads `0.10 0.20 0.30 2/345 6789`: load, then tasks that run and all tasks.
fn load_average(text: &str, metrics: &mut HostMetrics) {
    let mut words = text.split_whitespace();
    for name in ["node_load1", "node_load5", "node_load15"] {
        if let Some(load) = words.next().and_then(|word| word.parse().ok()) {
            metrics.add(name, vec![], load);
        }
    }
    let tasks = words.next().and_then(|word| word.split_once('/'));
    if let Some(tasks) = tasks.and_then(|(_, all)| all.parse().ok()) {
        metrics.add("node_processes_threads", vec![], tasks);
    }
}

/// Reads `some avg10=0.00 … total=12345` and `full …`, in microseconds.
fn pressure(
    text: &str,
    waiting: &'static str,
    stalled: Option<&'static str>,
    metrics: &mut HostMetrics,
) {
    for line in text.lines() {
        let name = match line.split_whitespace().next() {
            Some("some") => Some(waiting),
            Some("full") => stalled,
            _ => None,
        };
        let total = line.rsplit_once("total=");
        let total = total.and_then(|(_, micros)| micros.trim().parse::<f64>().ok());
        if let (Some(name), Some(micros)) = (name, total) {
            metrics.add(name, vec![], micros / 1e6);
        }
    }
}

fn limits(metrics: &mut HostMetrics) -> Result<(), Error> {
    for (path, name) in [
        ("/proc/sys/kernel/pid_max", "node_processes_max_processes"),
        ("/proc/sys/kernel/threads-max", "node_processes_max_threads"),
    ] {
        let text = offered(path)?;
        if let Some(limit) = text.and_then(|text| text.trim().parse().ok()) {
            metrics.add(name, vec![], limit);
        }
    }
    let entries = std::fs::read_dir("/proc").map_err(Error::io("list /proc"))?;
    let is_pid = |name: std::ffi::OsString| name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    let pids = entries.flatten().filter(|entry| is_pid(entry.file_name()));
    metrics.add("node_processes_pids", vec![], pids.count() as f64);
    let Some(files) = offered("/proc/sys/fs/file-nr")? else {
        return Ok(());
    };
    let numbers: Vec<f64> = files
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    if let [allocated, _, maximum] = numbers[..] {
        metrics.add("node_filefd_allocated", vec![], allocated);
        metrics.add("node_filefd_maximum", vec![], maximum);
    }
    Ok(())
}

fn system(metrics: &mut HostMetrics) {
    let system = rustix::system::uname();
    let word = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let labels = vec![
        ("domainname", word(system.domainname())),
        ("machine", word(system.machine())),
        ("nodename", word(system.nodename())),
        ("release", word(system.release())),
        ("sysname", word(system.sysname())),
        ("version", word(system.version())),
    ];
    metrics.add("node_uname_info", labels, 1.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(metrics: &HostMetrics, name: &str) -> Option<f64> {
        let found = metrics.samples.iter().find(|sample| sample.name == name);
        found.map(|sample| sample.value)
    }

    #[test]
    fn a_processor_keeps_its_number_when_another_is_switched_off() {
        let mut metrics = HostMetrics::default();
        let text =
            "cpu 9 9 9 9\ncpu0 100 0 50 800 5 1 2 3 0 0\ncpu2 200 0 0 0\nbtime 17\nintr 1 2 3\n";
        kernel(text, 100.0, &mut metrics);
        assert_eq!(metrics.samples.len(), 8 + 4 + 2);
        assert_eq!(
            metrics.samples[3],
            super::super::Sample {
                name: "node_cpu_seconds_total",
                labels: vec![("cpu", "0".to_owned()), ("mode", "idle".to_owned())],
                value: 8.0,
            }
        );
        assert_eq!(metrics.samples[8].labels[0].1, "2");
        assert_eq!(value(&metrics, "node_boot_time_seconds"), Some(17.0));
    }

    #[test]
    fn pressure_is_in_seconds_and_what_a_processor_never_has_is_left_out() {
        let text = "some avg10=0.12 avg60=0.00 avg300=0.00 total=2500000\n\
                    full avg10=0.00 avg60=0.00 avg300=0.00 total=500000\n";
        let mut metrics = HostMetrics::default();
        let (_, waiting, stalled) = PRESSURE[2];
        pressure(text, waiting, stalled, &mut metrics);
        let read = |name| value(&metrics, name);
        assert_eq!(
            read("node_pressure_memory_waiting_seconds_total"),
            Some(2.5)
        );
        assert_eq!(
            read("node_pressure_memory_stalled_seconds_total"),
            Some(0.5)
        );
        let before = metrics.samples.len();
        pressure(text, PRESSURE[0].1, PRESSURE[0].2, &mut metrics);
        assert_eq!(metrics.samples.len(), before + 1);
    }

    #[test]
    fn load_and_tasks_are_read_from_one_line() {
        let mut metrics = HostMetrics::default();
        load_average("0.50 1.25 2.00 3/421 9999\n", &mut metrics);
        assert_eq!(value(&metrics, "node_load5"), Some(1.25));
        assert_eq!(value(&metrics, "node_processes_threads"), Some(421.0));
    }
}
