//! What a sample takes on disk: what a node exporter really said, scrape by scrape, in each.
//!
//! Guarantees: the same samples with their real times in each, as four hosts whose clocks are minutes apart; the index
//! counts. Mainstay's parts are merged as they are after so much time; VictoriaMetrics is told to merge all it has;
//! of Prometheus the blocks count that it makes of what it has. Needs `prometheus-node-exporter`; a trace is recorded
//! for [`RECORD_S`] seconds, or read from the file that the environment names in `MAINSTAY_TRACE`: texts as they were
//! scraped, each after a line `# at MILLISECONDS`.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, ensure};
use mainstay_siege::{Connection, Server, WriteRequest, free_address};

use super::{
    budget::{self, Said},
    payload::send,
    peer::{Kind, Peer},
};

/// How long a trace is recorded, one scrape a second.
const RECORD_S: u64 = 600;
/// Hosts that are made of one trace …
const HOSTS: usize = 4;
/// … each so many scrapes later in it than the one before.
const APART: usize = 60;
/// Samples in one request.
const PER_REQUEST: usize = 2_000;
const PATIENCE: Duration = Duration::from_mins(10);
const AT: &str = "# at ";

/// Series by their labels, and of each host the samples, by time.
struct Trace {
    series: Vec<Vec<(String, String)>>,
    samples: Vec<(usize, u64, f64)>,
}

pub(super) fn measure(own: &Path) -> anyhow::Result<Vec<Said>> {
    let text = match std::env::var_os("MAINSTAY_TRACE") {
        Some(file) => std::fs::read_to_string(file).context("the trace cannot be read")?,
        None => record()?,
    };
    let trace = read(&text)?;
    let count = trace.samples.len() as f64;
    println!("{} series, {count} samples", trace.series.len());
    let mut said = kept_by_engine(&trace)?;
    let ours = said.iter().find_map(|it| match it {
        Said::Figure(_, bytes) => Some(*bytes),
        Said::Unmeasured(..) => None,
    });
    for kind in [Kind::Prometheus, Kind::VictoriaMetrics] {
        let figure = format!("disk_share_of_{kind}");
        let Some(peer) = Peer::start(kind, own)? else {
            said.push(Said::Unmeasured(figure, format!("{kind} is not installed")));
            continue;
        };
        let bytes = kept_by(&peer, &trace)? as f64 / count;
        println!("{kind}: {bytes:.4} bytes a sample");
        said.extend(ours.map(|ours| Said::Figure(figure, ours / bytes)));
    }
    for it in &said {
        println!("{it}");
    }
    Ok(said)
}

fn record() -> anyhow::Result<String> {
    let address = free_address()?;
    let log = tempfile::NamedTempFile::new()?;
    let mut command = Command::new("prometheus-node-exporter");
    command.arg(format!("--web.listen-address={address}"));
    let mut exporter = Server::start(&mut command, address, log.path())
        .context("prometheus-node-exporter does not start")?;
    exporter.wait_ready("/metrics", PATIENCE)?;
    println!("recording for {RECORD_S} s");
    let mut text = String::new();
    let began = Instant::now();
    let mut connection = Connection::open(address, PATIENCE)?;
    for second in 0..RECORD_S {
        let at_ms = SystemTime::UNIX_EPOCH.elapsed()?.as_millis();
        text.push_str(AT);
        text.push_str(&at_ms.to_string());
        text.push('\n');
        text.push_str(&connection.get("/metrics")?.text());
        sleep(Duration::from_secs(second + 1).saturating_sub(began.elapsed()));
    }
    Ok(text)
}

fn read(text: &str) -> anyhow::Result<Trace> {
    let mut scrapes: Vec<(u64, Vec<(&str, f64)>)> = Vec::new();
    for line in text.lines() {
        if let Some(at_ms) = line.strip_prefix(AT) {
            scrapes.push((
                at_ms.trim().parse().context("a time that is none")?,
                Vec::new(),
            ));
        } else if !line.starts_with('#')
            && let Some((name, value)) = line.rsplit_once(' ')
            && let Some((_, samples)) = scrapes.last_mut()
        {
            samples.push((name, value.parse().context("a value that is none")?));
        }
    }
    let rounds = scrapes.len().saturating_sub(APART * HOSTS);
    ensure!(
        rounds > 1_000 || rounds * 2 > scrapes.len(),
        "the trace is too short"
    );
    let (mut numbers, mut series, mut samples) = (BTreeMap::new(), Vec::new(), Vec::new());
    let base_ms = scrapes.first().map_or(0, |it| it.0);
    for round in 0..rounds {
        for host in 0..HOSTS {
            let (_, found) = &scrapes[round + host * APART];
            // All go by the first host's clock, each with the jitter of its own scrapes.
            let (at_ms, _) = scrapes[round];
            let jitter = scrapes[round + host * APART].0.wrapping_sub(base_ms) % 10;
            for (name, value) in found {
                let number = *numbers.entry((host, *name)).or_insert_with(|| {
                    series.push(labels(host, name));
                    series.len() - 1
                });
                samples.push((number, at_ms + jitter, *value));
            }
        }
    }
    Ok(Trace { series, samples })
}

/// `name{a="b"}` with a host's own labels. Values of a node exporter hold no quotes.
fn labels(host: usize, text: &str) -> Vec<(String, String)> {
    let (name, rest) = text.split_once('{').unwrap_or((text, ""));
    let pairs = rest.trim_end_matches('}').split("\",");
    let pairs = pairs.filter_map(|pair| pair.split_once("=\""));
    let mut labels: Vec<(String, String)> = pairs
        .map(|(name, value)| (name.to_owned(), value.trim_end_matches('"').to_owned()))
        .filter(|(_, value)| !value.is_empty())
        .collect();
    labels.push(("__name__".to_owned(), name.to_owned()));
    labels.push(("instance".to_owned(), format!("host-{host}:9100")));
    labels.push(("job".to_owned(), "node".to_owned()));
    labels.sort();
    labels
}

/// The engine by itself, on a clock as fast as it can keep up with.
fn kept_by_engine(trace: &Trace) -> anyhow::Result<Vec<Said>> {
    let mut file = tempfile::NamedTempFile::new()?;
    let mut bytes = (trace.series.len() as u64).to_le_bytes().to_vec();
    for labels in &trace.series {
        let line: Vec<String> = labels.iter().map(|(n, v)| format!("{n}\t{v}")).collect();
        bytes.extend(line.join("\t").as_bytes());
        bytes.push(b'\n');
    }
    for (series, at_ms, value) in &trace.samples {
        bytes.extend((*series as u64).to_le_bytes());
        bytes.extend(at_ms.to_le_bytes());
        bytes.extend(value.to_bits().to_le_bytes());
    }
    file.write_all(&bytes)?;
    let output = Command::new("cargo")
        .args(["run", "--quiet", "--release", "--package", "mainstay-tsdb"])
        .args(["--example", "parts_bench", "--"])
        .arg(file.path())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(
        output.status.success(),
        "the engine ended with {}",
        output.status
    );
    let mut said = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        println!("{line}");
        said.extend(budget::said(line)?);
    }
    Ok(said)
}

fn kept_by(peer: &Peer, trace: &Trace) -> anyhow::Result<u64> {
    let mut connection = peer.connection()?;
    for samples in trace.samples.chunks(PER_REQUEST) {
        let mut request = WriteRequest::default();
        for (series, at_ms, value) in samples {
            let labels = trace.series[*series].iter();
            let labels: Vec<_> = labels.map(|(n, v)| (n.as_str(), v.as_str())).collect();
            request.series(&labels, &[(*at_ms, *value)]);
        }
        send(&mut connection, &request.packed()?)?;
    }
    match peer.kind {
        Kind::VictoriaMetrics => {
            connection.get("/internal/force_flush")?;
            connection.get("/internal/force_merge")?;
            Ok(settled(&peer.data())?)
        }
        Kind::Prometheus => {
            let answer = connection.post("/api/v1/admin/tsdb/snapshot", &[], &[])?;
            ensure!(answer.is_good(), "no snapshot: {}", answer.text());
            length(&peer.data().join("snapshots"))
        }
        Kind::Mainstay => length(&peer.data()),
    }
}

/// The bytes in a folder once they have not changed for a while.
fn settled(folder: &Path) -> anyhow::Result<u64> {
    let (mut before, mut since) = (length(folder)?, Instant::now());
    while since.elapsed() < Duration::from_secs(10) {
        sleep(Duration::from_millis(500));
        let now = length(folder).unwrap_or(0);
        if now != before {
            (before, since) = (now, Instant::now());
        }
    }
    Ok(before)
}

fn length(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).with_context(|| format!("no {}", folder.display()))? {
        let entry = entry?;
        let about = entry.metadata()?;
        bytes += if about.is_dir() {
            length(&entry.path())?
        } else {
            about.len()
        };
    }
    Ok(bytes)
}
