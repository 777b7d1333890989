//! From a sample that leaves its sender to the alert at a webhook that plays Alertmanager.
//!
//! `cargo xtask bench alert-latency`, or with a server's binary at hand
//! `cargo run --release -p mainstay-ekg --example alert_latency_bench -- target/release/mainstay`
//!
//! A server of its own, 100,000 series by remote write, all of which one alert hangs on; each tenth of a second one
//! of them goes over the limit for one sample. Everything runs on one machine, sender and webhook too.

use std::{
    collections::HashMap,
    error::Error,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use mainstay_siege::{WriteRequest, usage};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    time::{MissedTickBehavior, interval, sleep},
};

const SERIES: usize = 100_000;
/// Each series once a second.
const REQUESTS_PER_S: usize = 50;
const SERIES_PER_REQUEST: usize = SERIES / REQUESTS_PER_S;
/// One request of so many carries a sample over the limit.
const HOT_EVERY: usize = 5;
const SETTLE_S: usize = 5;
const MEASURE_S: usize = 60;
/// Rules are evaluated so often beside what samples move.
const RULES: &str = "groups:\n- name: bench\n  interval: 2s\n  rules:\n  - {alert: Hot, expr: bench_value > 1000}\n";

type Failure = Box<dyn Error + Send + Sync>;
/// When the sample of a series was sent that no alert has come for.
type Sent = Arc<Mutex<HashMap<usize, Instant>>>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let binary = std::env::args()
        .nth(1)
        .ok_or("the path of a server's binary is missing")?;
    let webhook = TcpListener::bind("127.0.0.1:0").await?;
    let home = tempfile::tempdir()?;
    let (mut server, address) = serve(&binary, home.path(), webhook.local_addr()?.port())?;
    let result = measure(webhook, &address, server.id()).await;
    server.kill()?;
    server.wait()?;
    result
}

fn serve(binary: &str, home: &Path, webhook: u16) -> Result<(Child, String), Failure> {
    let free = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = free.local_addr()?.to_string();
    drop(free);
    std::fs::write(home.join("rules.yml"), RULES)?;
    let config = home.join("mainstay.toml");
    let text = format!(
        "[rules]\nfiles = [\"rules.yml\"]\n[alerting]\nalertmanagers = [\"http://127.0.0.1:{webhook}\"]\n"
    );
    std::fs::write(&config, text)?;
    let server = Command::new(binary)
        .args(["serve", "--listen", &address])
        .arg("--data-dir")
        .arg(home.join("data"))
        .arg("--config")
        .arg(config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    Ok((server, address))
}

async fn measure(webhook: TcpListener, address: &str, server: u32) -> Result<(), Failure> {
    let (sent, latencies) = (Sent::default(), Arc::new(Mutex::new(Vec::new())));
    tokio::spawn(listen(webhook, Arc::clone(&sent), Arc::clone(&latencies)));
    let mut stream = connected(address).await?;
    let mut ticks = interval(Duration::from_secs(1) / REQUESTS_PER_S as u32);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut began, mut cpu) = (Instant::now(), 0.0);
    let mut hot_sent = 0;
    for round in 0..(SETTLE_S + MEASURE_S) * REQUESTS_PER_S {
        ticks.tick().await;
        let measures = round >= SETTLE_S * REQUESTS_PER_S;
        if round == SETTLE_S * REQUESTS_PER_S {
            (began, cpu) = (Instant::now(), usage(server)?.cpu_s);
        }
        let first = round % REQUESTS_PER_S * SERIES_PER_REQUEST;
        let hot = (measures && round % HOT_EVERY == 0)
            .then(|| first + round * 7_919 % SERIES_PER_REQUEST);
        let body = request(first, hot)?;
        if let Some(hot) = hot {
            hot_sent += 1;
            locked(&sent).insert(hot, Instant::now());
        }
        post(&mut stream, address, &body).await?;
    }
    let (took, cpu) = (began.elapsed().as_secs_f64(), usage(server)?.cpu_s - cpu);
    sleep(Duration::from_secs(3)).await;
    let mut latencies = std::mem::take(&mut *locked(&latencies));
    latencies.sort_unstable();
    let at = |share: f64| -> Result<f64, Failure> {
        let place = (latencies.len() as f64 * share) as usize;
        let found = latencies.get(place.min(latencies.len().saturating_sub(1)));
        Ok(found.ok_or("no alert came")?.as_secs_f64() * 1e3)
    };
    let (p50, p99, most) = (at(0.5)?, at(0.99)?, at(1.0)?);
    println!(
        "{} alerts of {hot_sent}: p50 {p50:.2} ms, p99 {p99:.2} ms, most {most:.2} ms; {:.0} samples a second on \
         {SERIES} series, {:.0} % of one CPU",
        latencies.len(),
        (MEASURE_S * SERIES) as f64 / took,
        cpu / took * 100.0
    );
    println!("figure alert_latency_p50_ms {p50:.2}");
    println!("figure alert_latency_p99_ms {p99:.2}");
    println!("figure alert_latency_missed {}", hot_sent - latencies.len());
    Ok(())
}

async fn connected(address: &str) -> Result<BufReader<TcpStream>, Failure> {
    let waited = Instant::now();
    loop {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(BufReader::new(stream));
            }
            Err(error) if waited.elapsed() > Duration::from_secs(30) => return Err(error.into()),
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

/// A delivery of one block of series, in remote write 1.0.
fn request(first: usize, hot: Option<usize>) -> Result<Vec<u8>, Failure> {
    let at_ms = SystemTime::UNIX_EPOCH.elapsed()?.as_millis() as u64;
    let mut request = WriteRequest::default();
    for series in first..first + SERIES_PER_REQUEST {
        let host = (series / 100).to_string();
        let number = series.to_string();
        let labels = [
            ("__name__", "bench_value"),
            ("host", host.as_str()),
            ("series", number.as_str()),
        ];
        let value: f64 = if hot == Some(series) { 2_000.0 } else { 7.0 };
        request.series(&labels, &[(at_ms, value)]);
    }
    Ok(request.packed()?)
}

async fn post(stream: &mut BufReader<TcpStream>, host: &str, body: &[u8]) -> Result<(), Failure> {
    let head = format!(
        "POST /api/v1/write HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/x-protobuf\r\n\
         content-encoding: snappy\r\nx-prometheus-remote-write-version: 0.1.0\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    let (status, _) = message(stream).await?.ok_or("the server hung up")?;
    if status
        .split(' ')
        .nth(1)
        .is_none_or(|it| !it.starts_with('2'))
    {
        return Err(format!("the server answered {status}").into());
    }
    Ok(())
}

/// The first line and the body of an HTTP message; nothing at the end of the connection.
async fn message(stream: &mut BufReader<TcpStream>) -> Result<Option<(String, Vec<u8>)>, Failure> {
    let (mut first, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let line = line.trim_end();
        if first.is_empty() {
            line.clone_into(&mut first);
        } else if line.is_empty() {
            break;
        } else if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(Some((first, body)))
}

async fn listen(
    webhook: TcpListener,
    sent: Sent,
    latencies: Arc<Mutex<Vec<Duration>>>,
) -> Result<(), Failure> {
    loop {
        let (stream, _) = webhook.accept().await?;
        let (sent, latencies) = (Arc::clone(&sent), Arc::clone(&latencies));
        tokio::spawn(async move {
            let mut stream = BufReader::new(stream);
            while let Ok(Some((_, body))) = message(&mut stream).await {
                let received = Instant::now();
                let alerts: Vec<Value> = serde_json::from_slice(&body).unwrap_or_default();
                let series = alerts
                    .iter()
                    .filter_map(|it| it["labels"]["series"].as_str());
                for series in series.filter_map(|it| it.parse().ok()) {
                    // Told again, or its end: of no interest.
                    if let Some(began) = locked(&sent).remove(&series) {
                        locked(&latencies).push(received - began);
                    }
                }
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
    }
}

fn locked<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
