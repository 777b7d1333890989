//! Network devices, and what TCP had to do again.
//!
//! Guarantees: devices in the order of their names. Never waits for the network.
//!
//! Example: `node_network_receive_bytes_total{device="eth0"} 1.2e9`.

use super::{HostMetrics, offered};
use crate::Error;

/// Column of a device's line in `/proc/net/dev`, and the metric.
const COLUMNS: [(usize, &str); 16] = [
    (0, "node_network_receive_bytes_total"),
    (1, "node_network_receive_packets_total"),
    (2, "node_network_receive_errs_total"),
    (3, "node_network_receive_drop_total"),
    (4, "node_network_receive_fifo_total"),
    (5, "node_network_receive_frame_total"),
    (6, "node_network_receive_compressed_total"),
    (7, "node_network_receive_multicast_total"),
    (8, "node_network_transmit_bytes_total"),
    (9, "node_network_transmit_packets_total"),
    (10, "node_network_transmit_errs_total"),
    (11, "node_network_transmit_drop_total"),
    (12, "node_network_transmit_fifo_total"),
    (13, "node_network_transmit_colls_total"),
    (14, "node_network_transmit_carrier_total"),
    (15, "node_network_transmit_compressed_total"),
];
/// Group and word in `/proc/net/snmp` and `/proc/net/netstat`, and the metric.
const PROTOCOL: [(&str, &str, &str); 10] = [
    ("Tcp", "ActiveOpens", "node_netstat_Tcp_ActiveOpens"),
    ("Tcp", "CurrEstab", "node_netstat_Tcp_CurrEstab"),
    ("Tcp", "InErrs", "node_netstat_Tcp_InErrs"),
    ("Tcp", "InSegs", "node_netstat_Tcp_InSegs"),
    ("Tcp", "OutRsts", "node_netstat_Tcp_OutRsts"),
    ("Tcp", "OutSegs", "node_netstat_Tcp_OutSegs"),
    ("Tcp", "PassiveOpens", "node_netstat_Tcp_PassiveOpens"),
    ("Tcp", "RetransSegs", "node_netstat_Tcp_RetransSegs"),
    ("TcpExt", "ListenDrops", "node_netstat_TcpExt_ListenDrops"),
    (
        "TcpExt",
        "ListenOverflows",
        "node_netstat_TcpExt_ListenOverflows",
    ),
];

pub(super) fn read(metrics: &mut HostMetrics) -> Result<(), Error> {
    devices(&offered("/proc/net/dev")?.unwrap_or_default(), metrics);
    for path in ["/proc/net/snmp", "/proc/net/netstat"] {
        protocols(&offered(path)?.unwrap_or_default(), metrics);
    }
    Ok(())
}

/// Reads lines such as `  eth0: 1 2 3 …` after two lines of headings.
fn devices(text: &str, metrics: &mut HostMetrics) {
    let mut lines: Vec<(&str, &str)> = text
        .lines()
        .skip(2)
        .filter_map(|line| line.trim_start().split_once(':'))
        .collect();
    lines.sort_unstable();
    for (device, numbers) in lines {
        let numbers: Vec<&str> = numbers.split_whitespace().collect();
        for (column, name) in COLUMNS {
            let value = numbers.get(column).and_then(|word| word.parse().ok());
            if let Some(value) = value {
                metrics.add(name, vec![("device", device.to_owned())], value);
            }
        }
    }
}

/// Reads pairs of lines: `Tcp: NAME NAME …`, then `Tcp: VALUE VALUE …`.
fn protocols(text: &str, metrics: &mut HostMetrics) {
    let lines: Vec<&str> = text.lines().collect();
    for pair in lines.chunks(2) {
        let [names, values] = pair else { continue };
        let (Some((group, names)), Some((_, values))) =
            (names.split_once(':'), values.split_once(':'))
        else {
            continue;
        };
        for (word, value) in names.split_whitespace().zip(values.split_whitespace()) {
            let known = PROTOCOL
                .iter()
                .find(|(of, known, _)| *of == group && *known == word);
            if let (Some((_, _, name)), Ok(value)) = (known, value.parse()) {
                metrics.add(name, vec![], value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_read_by_name_whatever_their_order() {
        let text = "Ip: Forwarding\nIp: 1\nTcp: RetransSegs CurrEstab Future\nTcp: 7 3 9\n";
        let mut metrics = HostMetrics::default();
        protocols(text, &mut metrics);
        let read: Vec<_> = metrics
            .samples
            .iter()
            .map(|it| (it.name, it.value))
            .collect();
        let wanted = [
            ("node_netstat_Tcp_RetransSegs", 7.0),
            ("node_netstat_Tcp_CurrEstab", 3.0),
        ];
        assert_eq!(read, wanted);
    }

    #[test]
    fn a_device_whose_name_touches_its_numbers_is_read() {
        let text =
            "a\nb\neth1:10 2 0 0 0 0 0 4 20 5 0 0 0 0 0 0\n  lo: 7 1 0 0 0 0 0 0 7 1 0 0 0 0 0 0\n";
        let mut metrics = HostMetrics::default();
        devices(text, &mut metrics);
        assert_eq!(metrics.samples.len(), 32);
        assert_eq!(metrics.samples[8].value, 20.0);
        assert_eq!(metrics.samples[8].labels, [("device", "eth1".to_owned())]);
    }
}
