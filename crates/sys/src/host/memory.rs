//! Memory, and what the kernel moves in and out of it.
//!
//! Guarantees: bytes, as the name says, whatever unit the kernel writes. Never invents a field that this
//! kernel does not have.
//!
//! Example: `node_memory_MemAvailable_bytes 8.1e9`.

use super::{HostMetrics, offered};
use crate::Error;

/// The kernel's word in `/proc/meminfo`, and the metric.
const FIELDS: [(&str, &str); 28] = [
    ("Active", "node_memory_Active_bytes"),
    ("Active(anon)", "node_memory_Active_anon_bytes"),
    ("Active(file)", "node_memory_Active_file_bytes"),
    ("AnonPages", "node_memory_AnonPages_bytes"),
    ("Buffers", "node_memory_Buffers_bytes"),
    ("Cached", "node_memory_Cached_bytes"),
    ("CommitLimit", "node_memory_CommitLimit_bytes"),
    ("Committed_AS", "node_memory_Committed_AS_bytes"),
    ("Dirty", "node_memory_Dirty_bytes"),
    ("HugePages_Free", "node_memory_HugePages_Free"),
    ("HugePages_Total", "node_memory_HugePages_Total"),
    ("Hugepagesize", "node_memory_Hugepagesize_bytes"),
    ("Inactive", "node_memory_Inactive_bytes"),
    ("Inactive(anon)", "node_memory_Inactive_anon_bytes"),
    ("Inactive(file)", "node_memory_Inactive_file_bytes"),
    ("KernelStack", "node_memory_KernelStack_bytes"),
    ("Mapped", "node_memory_Mapped_bytes"),
    ("MemAvailable", "node_memory_MemAvailable_bytes"),
    ("MemFree", "node_memory_MemFree_bytes"),
    ("MemTotal", "node_memory_MemTotal_bytes"),
    ("PageTables", "node_memory_PageTables_bytes"),
    ("SReclaimable", "node_memory_SReclaimable_bytes"),
    ("SUnreclaim", "node_memory_SUnreclaim_bytes"),
    ("Shmem", "node_memory_Shmem_bytes"),
    ("Slab", "node_memory_Slab_bytes"),
    ("SwapFree", "node_memory_SwapFree_bytes"),
    ("SwapTotal", "node_memory_SwapTotal_bytes"),
    ("Writeback", "node_memory_Writeback_bytes"),
];
/// The kernel's word in `/proc/vmstat`, and the metric.
const EVENTS: [(&str, &str); 7] = [
    ("oom_kill", "node_vmstat_oom_kill"),
    ("pgfault", "node_vmstat_pgfault"),
    ("pgmajfault", "node_vmstat_pgmajfault"),
    ("pgpgin", "node_vmstat_pgpgin"),
    ("pgpgout", "node_vmstat_pgpgout"),
    ("pswpin", "node_vmstat_pswpin"),
    ("pswpout", "node_vmstat_pswpout"),
];

pub(super) fn read(metrics: &mut HostMetrics) -> Result<(), Error> {
    let info = std::fs::read_to_string("/proc/meminfo").map_err(Error::io("read /proc/meminfo"))?;
    memory(&info, metrics);
    let events = offered("/proc/vmstat")?.unwrap_or_default();
    for line in events.lines() {
        let Some((word, count)) = line.split_once(' ') else {
            continue;
        };
        let known = EVENTS.iter().find(|(known, _)| *known == word);
        if let (Some((_, name)), Ok(count)) = (known, count.parse()) {
            metrics.add(name, vec![], count);
        }
    }
    Ok(())
}

/// Reads lines such as `MemTotal:  16384 kB`, or without a unit where something else is counted.
fn memory(text: &str, metrics: &mut HostMetrics) {
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let word = words.next().unwrap_or_default().trim_end_matches(':');
        let known = FIELDS.iter().find(|(known, _)| *known == word);
        let value = words.next().and_then(|value| value.parse::<f64>().ok());
        if let (Some((_, name)), Some(value)) = (known, value) {
            let unit = if words.next() == Some("kB") {
                1_024.0
            } else {
                1.0
            };
            metrics.add(name, vec![], value * unit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kilobytes_become_bytes_and_what_is_counted_stays() {
        let mut metrics = HostMetrics::default();
        let text =
            "MemTotal:       2 kB\nActive(anon):  1 kB\nHugePages_Total:   3\nFuture:  9 kB\n";
        memory(text, &mut metrics);
        let read: Vec<_> = metrics
            .samples
            .iter()
            .map(|it| (it.name, it.value))
            .collect();
        let wanted = [
            ("node_memory_MemTotal_bytes", 2_048.0),
            ("node_memory_Active_anon_bytes", 1_024.0),
            ("node_memory_HugePages_Total", 3.0),
        ];
        assert_eq!(read, wanted);
    }
}
