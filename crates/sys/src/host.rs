//! One sample of this host's metrics, under the names that node_exporter made the field's own.
//!
//! Existing dashboards and rules work on them unchanged. Counters are as the kernel keeps them,
//! since boot. Read within about a millisecond; not a snapshot of one instant. A host with more
//! devices than the limit has the rest counted in [`HostMetrics::omitted`].
//!
//! Example: `node_cpu_seconds_total{cpu="0",mode="idle"} 8123.5`.

use std::time::{SystemTime, UNIX_EPOCH};

use procfs::{Current, LoadAverage, Meminfo};

use crate::Error;

/// Room for 512 processors and 256 network devices; a host of containers may have more of the latter.
const SAMPLES_MAX: usize = 8_192;

/// One value of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Name, with the unit last.
    pub name: &'static str,
    /// Labels, sorted by name.
    pub labels: Vec<(&'static str, String)>,
    /// Value, in the unit of the name.
    pub value: f64,
}

/// What one look at the host gave.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HostMetrics {
    /// The samples.
    pub samples: Vec<Sample>,
    /// How many were left out because the host has more than the limit.
    pub omitted: usize,
}

impl HostMetrics {
    fn add(&mut self, name: &'static str, labels: Vec<(&'static str, String)>, value: f64) {
        if self.samples.len() < SAMPLES_MAX {
            self.samples.push(Sample {
                name,
                labels,
                value,
            });
        } else {
            self.omitted += 1;
        }
    }
}

/// Reads processors, memory, load, the root file system, network devices and boot time.
pub fn host_metrics() -> Result<HostMetrics, Error> {
    let mut metrics = HostMetrics::default();
    let stat = std::fs::read_to_string("/proc/stat").map_err(Error::io("read /proc/stat"))?;
    kernel(&stat, procfs::ticks_per_second() as f64, &mut metrics);
    memory(
        &Meminfo::current().map_err(Error::proc("memory"))?,
        &mut metrics,
    );
    let load = LoadAverage::current().map_err(Error::proc("load"))?;
    metrics.add("node_load1", vec![], load.one.into());
    metrics.add("node_load5", vec![], load.five.into());
    metrics.add("node_load15", vec![], load.fifteen.into());
    root_filesystem(&mut metrics)?;
    network(&mut metrics)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    metrics.add(
        "node_time_seconds",
        vec![],
        now.map_or(0.0, |since| since.as_secs_f64()),
    );
    Ok(metrics)
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

fn memory(info: &Meminfo, metrics: &mut HostMetrics) {
    for (name, bytes) in [
        ("node_memory_MemTotal_bytes", Some(info.mem_total)),
        ("node_memory_MemFree_bytes", Some(info.mem_free)),
        ("node_memory_MemAvailable_bytes", info.mem_available),
        ("node_memory_Buffers_bytes", Some(info.buffers)),
        ("node_memory_Cached_bytes", Some(info.cached)),
        ("node_memory_SwapTotal_bytes", Some(info.swap_total)),
        ("node_memory_SwapFree_bytes", Some(info.swap_free)),
    ] {
        if let Some(bytes) = bytes {
            metrics.add(name, vec![], bytes as f64);
        }
    }
}

fn root_filesystem(metrics: &mut HostMetrics) -> Result<(), Error> {
    let root = rustix::fs::statvfs("/")
        .map_err(|errno| Error::io("stat the root file system")(errno.into()))?;
    let block = root.f_frsize as f64;
    for (name, value) in [
        ("node_filesystem_size_bytes", root.f_blocks as f64 * block),
        ("node_filesystem_free_bytes", root.f_bfree as f64 * block),
        ("node_filesystem_avail_bytes", root.f_bavail as f64 * block),
        ("node_filesystem_files", root.f_files as f64),
        ("node_filesystem_files_free", root.f_ffree as f64),
    ] {
        metrics.add(name, vec![("mountpoint", "/".to_owned())], value);
    }
    Ok(())
}

fn network(metrics: &mut HostMetrics) -> Result<(), Error> {
    let devices = procfs::net::dev_status().map_err(Error::proc("network devices"))?;
    let mut devices: Vec<_> = devices.into_values().collect();
    devices.sort_by(|one, other| one.name.cmp(&other.name));
    for device in devices {
        for (name, value) in [
            ("node_network_receive_bytes_total", device.recv_bytes),
            ("node_network_receive_packets_total", device.recv_packets),
            ("node_network_receive_errs_total", device.recv_errs),
            ("node_network_receive_drop_total", device.recv_drop),
            ("node_network_transmit_bytes_total", device.sent_bytes),
            ("node_network_transmit_packets_total", device.sent_packets),
            ("node_network_transmit_errs_total", device.sent_errs),
            ("node_network_transmit_drop_total", device.sent_drop),
        ] {
            let labels = vec![("device", device.name.clone())];
            metrics.add(name, labels, value as f64);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn value(metrics: &HostMetrics, name: &str, label: Option<&str>) -> Option<f64> {
        let has = |sample: &&Sample| {
            label.is_none_or(|wanted| sample.labels.iter().any(|(_, value)| value == wanted))
        };
        let mut named = metrics.samples.iter().filter(|sample| sample.name == name);
        named.find(has).map(|sample| sample.value)
    }

    #[test]
    fn a_processor_keeps_its_number_when_another_is_switched_off() {
        let mut metrics = HostMetrics::default();
        let text =
            "cpu 9 9 9 9\ncpu0 100 0 50 800 5 1 2 3 0 0\ncpu2 200 0 0 0\nbtime 17\nintr 1 2 3\n";
        kernel(text, 100.0, &mut metrics);
        assert_eq!(metrics.samples.len(), 8 + 4 + 1);
        assert_eq!(
            metrics.samples[3],
            Sample {
                name: "node_cpu_seconds_total",
                labels: vec![("cpu", "0".to_owned()), ("mode", "idle".to_owned())],
                value: 8.0,
            }
        );
        assert_eq!(metrics.samples[8].labels[0].1, "2");
        assert_eq!(value(&metrics, "node_boot_time_seconds", None), Some(17.0));
    }

    #[test]
    fn this_hosts_memory_disk_and_boot_are_plausible() {
        let metrics = host_metrics().unwrap();
        let read = |name| value(&metrics, name, None).unwrap();
        assert!(read("node_memory_MemTotal_bytes") >= read("node_memory_MemAvailable_bytes"));
        assert!(read("node_memory_MemTotal_bytes") > 16e6);
        assert!(read("node_filesystem_size_bytes") >= read("node_filesystem_avail_bytes"));
        assert!(read("node_boot_time_seconds") <= read("node_time_seconds") + 1.0);
        assert!(read("node_load1") >= 0.0);
        assert_eq!(metrics.omitted, 0);
    }

    #[test]
    fn no_series_is_given_twice() {
        let metrics = host_metrics().unwrap();
        let series: BTreeSet<String> = metrics
            .samples
            .iter()
            .map(|sample| format!("{}{:?}", sample.name, sample.labels))
            .collect();
        assert_eq!(series.len(), metrics.samples.len());
    }

    #[test]
    fn bytes_sent_to_oneself_show_on_the_loopback_device() {
        let received = || {
            let metrics = host_metrics().unwrap();
            value(&metrics, "node_network_receive_bytes_total", Some("lo")).unwrap()
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let before = received();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut receiver, _) = listener.accept().unwrap();
        std::io::Write::write_all(&mut sender, &[7; 4_096]).unwrap();
        std::io::Read::read_exact(&mut receiver, &mut [0; 4_096]).unwrap();
        assert!(received() >= before + 4_096.0);
    }

    #[test]
    fn samples_over_the_limit_are_counted() {
        let mut metrics = HostMetrics::default();
        for _ in 0..SAMPLES_MAX + 3 {
            metrics.add("node_load1", vec![], 1.0);
        }
        assert_eq!(metrics.samples.len(), SAMPLES_MAX);
        assert_eq!(metrics.omitted, 3);
    }
}
