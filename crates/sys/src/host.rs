//! One sample of this host's metrics, under the names that node_exporter made the field's own.
//!
//! Existing dashboards and rules work on them unchanged. Counters are as the kernel keeps them,
//! since boot. Read within a few milliseconds; not a snapshot of one instant. What this kernel does
//! not offer, such as pressure, is left out. A host with more devices than the limit has the rest
//! counted in [`HostMetrics::omitted`]. Never asks a file system behind a network how full it is:
//! one whose server is gone would not answer for ever.
//!
//! ```
//! let text = mainstay_sys::host_metrics()?.text();
//! assert!(text.contains("# TYPE node_cpu_seconds_total counter\nnode_cpu_seconds_total{cpu=\"0\",mode="));
//! # Ok::<(), mainstay_sys::Error>(())
//! ```

mod disk;
mod families;
mod kernel;
mod memory;
mod network;

use std::{
    fmt::Write as _,
    io,
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::io::Errno;

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

    /// In the Prometheus text format: each family once, with its HELP and TYPE, in the order of names.
    pub fn text(&self) -> String {
        let mut sorted: Vec<&Sample> = self.samples.iter().collect();
        // Stable: within a family the order of reading stays.
        sorted.sort_by_key(|sample| sample.name);
        let mut text = String::with_capacity(sorted.len() * 64);
        let mut family = "";
        for sample in sorted {
            if sample.name != family {
                family = sample.name;
                let (kind, help) = families::of(family);
                let _ = writeln!(text, "# HELP {family} {help}\n# TYPE {family} {kind}");
            }
            text.push_str(sample.name);
            for (at, (name, value)) in sample.labels.iter().enumerate() {
                let _ = write!(text, "{}{name}=\"", if at == 0 { '{' } else { ',' });
                escape(&mut text, value);
                text.push('"');
            }
            let after = if sample.labels.is_empty() { "" } else { "}" };
            let _ = writeln!(text, "{after} {}", sample.value);
        }
        let name = "mainstay_agent_host_samples_omitted";
        let help = "Samples left out because this host has more devices than the limit.";
        let _ = writeln!(
            text,
            "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {}",
            self.omitted
        );
        text
    }
}

fn escape(text: &mut String, value: &str) {
    for letter in value.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            letter => text.push(letter),
        }
    }
}

/// Reads processors, memory, load, pressure, processes, disks, file systems, network and boot time.
pub fn host_metrics() -> Result<HostMetrics, Error> {
    let mut metrics = HostMetrics::default();
    kernel::read(&mut metrics)?;
    memory::read(&mut metrics)?;
    disk::read(&mut metrics)?;
    network::read(&mut metrics)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    metrics.add(
        "node_time_seconds",
        vec![],
        now.map_or(0.0, |since| since.as_secs_f64()),
    );
    Ok(metrics)
}

/// The text of a file under `/proc`; `None` where this kernel, or this container, has no such file.
fn offered(path: &'static str) -> Result<Option<String>, Error> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if is_not_offered(&error) => Ok(None),
        Err(error) => Err(Error::io(path)(error)),
    }
}

/// A kernel that accounts no pressure has its files all the same, and refuses to open them.
fn is_not_offered(error: &io::Error) -> bool {
    let refused = [Errno::OPNOTSUPP, Errno::PERM, Errno::ACCESS];
    error.kind() == io::ErrorKind::NotFound
        || refused
            .iter()
            .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
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

    #[test]
    fn every_family_of_this_host_is_told_once_with_a_help_of_its_own() {
        let metrics = host_metrics().unwrap();
        let text = metrics.text();
        let helps: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("# HELP"))
            .collect();
        let once: BTreeSet<&&str> = helps.iter().collect();
        assert_eq!(once.len(), helps.len());
        assert!(!text.contains("As its name says."), "{text}");
        let lines = text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(lines, metrics.samples.len() + 1);
        for wanted in [
            "node_disk_",
            "node_memory_",
            "node_processes_pids",
            "node_uname_info",
        ] {
            assert!(text.contains(wanted), "{wanted}");
        }
    }

    #[test]
    fn a_label_with_quotes_and_line_feeds_stays_one_line() {
        let mut metrics = HostMetrics::default();
        metrics.add("node_load1", vec![("device", "a\"b\\c\nd".to_owned())], 1.0);
        assert!(
            metrics
                .text()
                .contains(r#"node_load1{device="a\"b\\c\nd"} 1"#)
        );
    }
}
