//! Range queries over a day of ten thousand series, and a pattern over a million: side by side.
//!
//! Guarantees: the same samples in each, and the same queries; each is asked once before it is measured, no answer
//! comes from a cache. Mainstay's answers must be Prometheus's, number by number; VictoriaMetrics computes rates in
//! its own way, so that only where the answers are the same is said. Time is processor time of the server.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::Path,
    time::{Instant, SystemTime},
};

use anyhow::{Context, ensure};
use mainstay_siege::WriteRequest;
use serde_json::Value;

use super::{
    budget::Said,
    ingest::{STEP_MS, Size, send_rounds},
    payload::{names, send},
    peer::{Kind, Peer},
};

/// Instances, each with a histogram.
const INSTANCES: usize = 1_000;
const BOUNDS: [&str; 10] = [
    "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "+Inf",
];
/// Between two samples; at 15 seconds the slowest of the three would take a quarter of an hour to be filled.
const EVERY_MS: u64 = 60_000;
const ROUNDS: u64 = 24 * 60;
/// Instances in one request.
const PER_REQUEST: usize = 200;
const STEP_S: u64 = 300;
/// No sample lies on an edge of a window: Prometheus before its version 3 counts the older edge as inside.
const ASIDE_S: u64 = 7;
/// How often each query is measured.
const TIMES: u32 = 5;
/// How far numbers may be apart that are the same.
const TOLERANCE: f64 = 1e-9;

struct Asked {
    name: &'static str,
    expr: &'static str,
    is_range: bool,
}

const DAY: [Asked; 3] = [
    Asked {
        name: "sum_by_le_of_rate",
        expr: "sum by (le) (rate(took_seconds_bucket[5m]))",
        is_range: true,
    },
    Asked {
        name: "topk",
        expr: "topk(5, rate(took_seconds_bucket{le=\"+Inf\"}[5m]))",
        is_range: true,
    },
    Asked {
        name: "quantile_over_time",
        expr: "quantile_over_time(0.99, took_seconds_bucket[1h])",
        is_range: true,
    },
];

const PATTERN: Asked = Asked {
    name: "pattern_over_1m",
    expr: "count by (mode) ({instance=~\"host-0.*[37]5[.].*\",mode!~\"i.*\"})",
    is_range: false,
};

const WIDE: Size = Size {
    name: "1m",
    hosts: 1_000,
    rounds: 1,
};

/// Labels of a series, and its numbers by time.
type Matrix = BTreeMap<String, BTreeMap<u64, f64>>;
type Measured = BTreeMap<(&'static str, Kind), (f64, Matrix)>;

pub(super) fn measure(own: &Path) -> anyhow::Result<Vec<Said>> {
    let now_ms = SystemTime::UNIX_EPOCH.elapsed()?.as_millis() as u64;
    let end_ms = now_ms / EVERY_MS * EVERY_MS;
    let mut all = Measured::new();
    for kind in Kind::ALL {
        let Some(peer) = Peer::start(kind, own)? else {
            println!("{kind} is not installed");
            continue;
        };
        fill(&peer, end_ms).with_context(|| format!("{kind} cannot be filled"))?;
        for asked in &DAY {
            ask(&peer, asked, end_ms, &mut all)?;
        }
        drop(peer);
        let peer = Peer::start(kind, own)?.context("it was there")?;
        send_rounds(&peer, &names(), &WIDE, (0..1, end_ms - STEP_MS))?;
        ask(&peer, &PATTERN, end_ms, &mut all)?;
    }
    figures(&all)
}

fn figures(all: &Measured) -> anyhow::Result<Vec<Said>> {
    let mut said = Vec::new();
    for asked in DAY.iter().chain([&PATTERN]) {
        let name = asked.name;
        let Some((own_s, own)) = all.get(&(name, Kind::Mainstay)) else {
            continue;
        };
        for kind in [Kind::Prometheus, Kind::VictoriaMetrics] {
            let figure = format!("query_{name}_times_{kind}");
            let Some((peer_s, theirs)) = all.get(&(name, kind)) else {
                said.push(Said::Unmeasured(figure, format!("{kind} is not installed")));
                continue;
            };
            let difference = difference(own, theirs);
            if kind == Kind::Prometheus {
                ensure!(
                    difference.is_none(),
                    "{name}: {}",
                    difference.unwrap_or_default()
                );
            } else if let Some(what) = difference {
                println!("{name}: {kind} answers otherwise: {what}");
            }
            said.push(Said::Figure(figure, peer_s / own_s));
        }
    }
    for it in &said {
        println!("{it}");
    }
    Ok(said)
}

fn fill(peer: &Peer, end_ms: u64) -> anyhow::Result<()> {
    let mut connection = peer.connection()?;
    let mut counts = vec![0_u64; INSTANCES * BOUNDS.len()];
    for round in 0..ROUNDS {
        let at_ms = end_ms - (ROUNDS - 1 - round) * EVERY_MS;
        for first in (0..INSTANCES).step_by(PER_REQUEST) {
            let mut request = WriteRequest::default();
            for instance in first..first + PER_REQUEST {
                let name = format!("shop-{instance:04}:8080");
                for (bound, le) in BOUNDS.iter().enumerate() {
                    let count = &mut counts[instance * BOUNDS.len() + bound];
                    *count += (instance as u64 * 7 + round * (bound as u64 + 3)) % 101
                        * (bound as u64 + 1);
                    let labels = [
                        ("__name__", "took_seconds_bucket"),
                        ("instance", name.as_str()),
                        ("job", "shop"),
                        ("le", le),
                    ];
                    request.series(&labels, &[(at_ms, *count as f64)]);
                }
            }
            send(&mut connection, &request.packed()?)?;
        }
    }
    if peer.kind == Kind::VictoriaMetrics {
        peer.connection()?.get("/internal/force_flush")?;
    }
    Ok(())
}

fn ask(peer: &Peer, asked: &Asked, end_ms: u64, all: &mut Measured) -> anyhow::Result<()> {
    let Asked {
        name,
        expr,
        is_range,
    } = asked;
    let end = end_ms / 1_000 - ASIDE_S;
    let begin = end - 86_400 + 3_600;
    let expr = escaped(expr);
    let path = if *is_range {
        format!("/api/v1/query_range?query={expr}&start={begin}&end={end}&step={STEP_S}")
    } else {
        format!("/api/v1/query?query={expr}&time={end}")
    };
    let answer = matrix(&peer.asked(&path)?);
    let mut connection = peer.connection()?;
    let (before, began) = (peer.usage()?, Instant::now());
    for _ in 0..TIMES {
        let again = connection.get(&path)?;
        ensure!(again.is_good(), "{}", again.text());
    }
    let times = f64::from(TIMES);
    let (cpu, wall) = (
        (peer.usage()?.cpu_s - before.cpu_s) / times,
        began.elapsed().as_secs_f64() / times,
    );
    println!(
        "{name}, {}: {cpu:.3} CPU-seconds, {wall:.3} s, {} series",
        peer.kind,
        answer.len()
    );
    all.insert((*name, peer.kind), (cpu, answer));
    Ok(())
}

/// What a query's characters are in an address.
fn escaped(text: &str) -> String {
    let mut encoded = String::with_capacity(3 * text.len());
    for byte in text.bytes() {
        // Writing to a string does not fail.
        let _ = write!(encoded, "%{byte:02X}");
    }
    encoded
}

fn matrix(result: &Value) -> Matrix {
    let series = result.as_array().into_iter().flatten();
    series
        .map(|series| {
            let points = series["values"].as_array().cloned();
            let points = points.unwrap_or_else(|| vec![series["value"].clone()]);
            let point = |it: &Value| Some((it[0].as_f64()? as u64, it[1].as_str()?.parse().ok()?));
            // Names of labels in one order.
            let labels: BTreeMap<_, _> =
                series["metric"].as_object().into_iter().flatten().collect();
            (
                format!("{labels:?}"),
                points.iter().filter_map(point).collect(),
            )
        })
        .collect()
}

/// The first difference between two answers.
fn difference(a: &Matrix, b: &Matrix) -> Option<String> {
    if a.len() != b.len() {
        return Some(format!("{} series, {} series", a.len(), b.len()));
    }
    for (labels, points) in a {
        let Some(others) = b.get(labels) else {
            return Some(format!("{labels} is there only once"));
        };
        if points.len() != others.len() {
            return Some(format!(
                "{labels}: {} points, {} points",
                points.len(),
                others.len()
            ));
        }
        for ((at, value), (other_at, other)) in points.iter().zip(others) {
            let near = (value - other).abs() <= TOLERANCE * value.abs().max(other.abs());
            if at != other_at || !near {
                return Some(format!("{labels}: {value} at {at}, {other} at {other_at}"));
            }
        }
    }
    None
}
