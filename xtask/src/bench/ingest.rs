//! Remote write, side by side: what a core takes in, and what a series takes of memory.
//!
//! Guarantees: the same deliveries to each, one server at a time; processor time is what the kernel counted of the
//! server's process, from the first measured delivery until it has been quiet for [`AFTERWARDS`] after the last, so
//! that what one does later counts too. Every one must then hold every sample.

use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, ensure};
use mainstay_siege::Connection;

use super::{
    budget::Said,
    payload::{HOSTS_PER_REQUEST, Named, PER_HOST, PER_METRIC, delivery, metric, names, send},
    peer::{Kind, Peer},
};

/// Connections that send at once.
const SENDERS: usize = 2;
/// Between two samples of a series.
pub(super) const STEP_MS: u64 = 15_000;
/// Rounds before it is measured: series are made in the first.
const BEFORE: u64 = 2;
/// Memory is read at the end of this round: at 15 s a sample, so many come in before they are sealed.
const FULL: u64 = 20;
/// What is done after the last answer counts for so long.
const AFTERWARDS: Duration = Duration::from_secs(5);

/// How much is sent.
pub(super) struct Size {
    pub(super) name: &'static str,
    pub(super) hosts: usize,
    /// Measured samples of each series.
    pub(super) rounds: u64,
}

const SIZES: [Size; 2] = [
    Size {
        name: "100k",
        hosts: 100,
        rounds: 40,
    },
    Size {
        name: "1m",
        hosts: 1_000,
        rounds: 8,
    },
];

#[derive(Clone, Copy)]
struct Measured {
    per_cpu_s: f64,
    per_s: f64,
    bytes_per_series: f64,
}

pub(super) fn measure(own: &Path) -> anyhow::Result<Vec<Said>> {
    let mut said = Vec::new();
    for size in &SIZES {
        let mut all = Vec::new();
        for kind in Kind::ALL {
            let name = kind.word();
            let Some(peer) = Peer::start(kind, own)? else {
                println!("{name} is not installed");
                continue;
            };
            let measured = one(&peer, size).with_context(|| format!("{name}, {}", size.name))?;
            println!(
                "{} series, {name}: {:.0} samples a CPU-second, {:.0} a second, {:.0} bytes a series",
                size.name, measured.per_cpu_s, measured.per_s, measured.bytes_per_series
            );
            all.push((kind, measured));
        }
        said.extend(figures(size, &all));
    }
    for it in &said {
        println!("{it}");
    }
    Ok(said)
}

fn figures(size: &Size, all: &[(Kind, Measured)]) -> Vec<Said> {
    let of = |wanted: Kind| all.iter().find(|(kind, _)| *kind == wanted).map(|it| it.1);
    let name = |figure: &str| format!("ingest_{}_{figure}", size.name);
    let Some(own) = of(Kind::Mainstay) else {
        return Vec::new();
    };
    let mut said = vec![
        Said::Figure(name("samples_per_cpu_s"), own.per_cpu_s),
        Said::Figure(name("bytes_per_series"), own.bytes_per_series),
    ];
    for peer in [Kind::Prometheus, Kind::VictoriaMetrics] {
        let figure = name(&format!("times_{peer}"));
        said.push(of(peer).map_or_else(
            || Said::Unmeasured(figure.clone(), format!("{peer} is not installed")),
            |it| Said::Figure(figure.clone(), own.per_cpu_s / it.per_cpu_s),
        ));
    }
    said
}

fn one(peer: &Peer, size: &Size) -> anyhow::Result<Measured> {
    let rounds = BEFORE + size.rounds;
    let now_ms = SystemTime::UNIX_EPOCH.elapsed()?.as_millis() as u64;
    let began_ms = now_ms - rounds * STEP_MS;
    let names = names();
    let empty = peer.usage()?;
    send_rounds(peer, &names, size, (0..BEFORE, began_ms))?;
    let (began, before) = (Instant::now(), peer.usage()?);
    let full = rounds.min(FULL);
    send_rounds(peer, &names, size, (BEFORE..full, began_ms))?;
    let filled = peer.usage()?;
    send_rounds(peer, &names, size, (full..rounds, began_ms))?;
    let took = began.elapsed().as_secs_f64();
    thread::sleep(AFTERWARDS);
    let after = peer.usage()?;
    let counted = counted(peer, now_ms)?;
    let sent = size.hosts as u64 * PER_METRIC as u64 * rounds;
    ensure!(
        counted == sent,
        "{sent} samples were sent of one metric, {counted} are there"
    );
    let (series, samples) = (
        size.hosts * PER_HOST,
        size.hosts * PER_HOST * size.rounds as usize,
    );
    let grown = filled.memory_bytes.saturating_sub(empty.memory_bytes);
    Ok(Measured {
        per_cpu_s: samples as f64 / (after.cpu_s - before.cpu_s),
        per_s: samples as f64 / took,
        bytes_per_series: grown as f64 / series as f64,
    })
}

/// How many samples of one metric are there.
pub(super) fn counted(peer: &Peer, now_ms: u64) -> anyhow::Result<u64> {
    let expr = format!("sum(count_over_time({}%5B3h%5D))", metric(7));
    let at = now_ms / 1_000 + 1;
    let answer = peer.asked(&format!("/api/v1/query?query={expr}&time={at}"))?;
    let count = answer[0]["value"][1].as_str().unwrap_or("0");
    count.parse().context("a count that is none")
}

/// Sends some rounds, each begun when the one before is answered.
pub(super) fn send_rounds(
    peer: &Peer,
    names: &[Named],
    size: &Size,
    (rounds, began_ms): (std::ops::Range<u64>, u64),
) -> anyhow::Result<()> {
    let mut connections = Vec::new();
    for _ in 0..SENDERS {
        connections.push(peer.connection()?);
    }
    for round in rounds {
        let at = (round, began_ms + round * STEP_MS);
        let next = AtomicUsize::new(0);
        let next = &next;
        thread::scope(|scope| {
            let sending: Vec<_> = connections
                .iter_mut()
                .map(|connection| {
                    scope.spawn(move || send_some(connection, names, size, (next, at)))
                })
                .collect();
            sending
                .into_iter()
                .try_for_each(|it| it.join().unwrap_or_else(|_| anyhow::bail!("a sender died")))
        })?;
    }
    Ok(())
}

fn send_some(
    connection: &mut Connection,
    names: &[Named],
    size: &Size,
    (next, at): (&AtomicUsize, (u64, u64)),
) -> anyhow::Result<()> {
    loop {
        let first = next.fetch_add(HOSTS_PER_REQUEST, Ordering::Relaxed);
        if first >= size.hosts {
            return Ok(());
        }
        let last = (first + HOSTS_PER_REQUEST).min(size.hosts);
        send(connection, &delivery(names, first..last, at)?)?;
    }
}
