//! The samples that all are given: hosts of a thousand series each, as a node exporter has them.
//!
//! Guarantees: what a sample is follows from its host, series and round, so every peer gets the same bytes.

use anyhow::Context;
use mainstay_siege::{Connection, WRITE_HEADERS, WriteRequest};

/// Series of one host.
pub(super) const PER_HOST: usize = 1_000;
/// Hosts in one request: 2,000 samples, as Prometheus sends by default.
pub(super) const HOSTS_PER_REQUEST: usize = 2;
/// Series of one metric of a host.
pub(super) const PER_METRIC: usize = 20;
const MODES: [&str; 5] = ["idle", "iowait", "system", "user", "steal"];

/// Labels of one series.
pub(super) struct Named {
    metric: String,
    cpu: &'static str,
    mode: &'static str,
}

/// What every host has.
pub(super) fn names() -> Vec<Named> {
    const CPUS: [&str; 4] = ["0", "1", "2", "3"];
    let named = |series: usize| Named {
        metric: metric(series / PER_METRIC),
        cpu: CPUS[series / MODES.len() % CPUS.len()],
        mode: MODES[series % MODES.len()],
    };
    (0..PER_HOST).map(named).collect()
}

/// The name of a metric.
pub(super) fn metric(number: usize) -> String {
    format!("node_bench_{number:02}_seconds_total")
}

/// A value: constants, counters, gauges with two decimals.
fn value(host: usize, series: usize, round: u64) -> f64 {
    let seed = (host * 31 + series * 7) as u64;
    match series / PER_METRIC % 4 {
        0 => seed as f64,
        1 | 2 => (seed + round * (15 + seed % 11)) as f64,
        _ => ((seed * 2_654_435_761 + round * 40_503) % 100_000) as f64 / 100.0,
    }
}

/// One delivery: some hosts at one round.
pub(super) fn delivery(
    names: &[Named],
    hosts: std::ops::Range<usize>,
    (round, at_ms): (u64, u64),
) -> anyhow::Result<Vec<u8>> {
    let mut request = WriteRequest::default();
    for host in hosts {
        let instance = format!("host-{host:05}.lax.example.com:9100");
        for (series, name) in names.iter().enumerate() {
            let labels = [
                ("__name__", name.metric.as_str()),
                ("cpu", name.cpu),
                ("instance", instance.as_str()),
                ("job", "node"),
                ("mode", name.mode),
            ];
            request.series(&labels, &[(at_ms, value(host, series, round))]);
        }
    }
    request.packed().context("a delivery that is too long")
}

/// Sends a delivery until it is taken.
pub(super) fn send(connection: &mut Connection, body: &[u8]) -> anyhow::Result<()> {
    loop {
        let answer = connection
            .post("/api/v1/write", &WRITE_HEADERS, body)
            .context("a delivery is not answered")?;
        match answer.status {
            429 | 503 => std::thread::sleep(std::time::Duration::from_millis(50)),
            _ if answer.is_good() => return Ok(()),
            other => anyhow::bail!("a delivery is answered {other}: {}", answer.text()),
        }
    }
}
