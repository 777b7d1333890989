//! From an alert that is posted to the first notification at a webhook; and 6,000 escalations that begin at once.
//!
//! `cargo xtask bench pages`, or with a server's binary at hand
//! `cargo run --release -p mainstay-oncall --example pages_bench -- target/release/mainstay`
//!
//! A server of its own with an empty ledger on disk. Idle: one alert after another, each with an incident of its own;
//! counted is from before the alert is posted to when its page is read at the webhook. Storm: so many alerts that open
//! an incident each, in deliveries of a hundred, eight at a time; counted is from before the first is posted to when
//! the last incident's first page is read. Everything runs on one machine, sender and webhook too.

use std::{
    collections::HashMap,
    error::Error,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{Json, Router, extract::State, routing::post};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet, time::sleep};

const IDLE: usize = 500;
const IDLE_PAUSE: Duration = Duration::from_millis(20);
const STORM: usize = 6_000;
const PER_REQUEST: usize = 100;
const AT_ONCE: usize = 8;
const LIMIT: Duration = Duration::from_mins(3);

type Failure = Box<dyn Error + Send + Sync>;
/// When the first page of each incident came, by its title.
type Came = Arc<Mutex<HashMap<String, Instant>>>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let binary = std::env::args()
        .nth(1)
        .ok_or("the path of a server's binary is missing")?;
    // An error only means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let came = Came::default();
    let webhook = TcpListener::bind("127.0.0.1:0").await?;
    let hook = webhook.local_addr()?.to_string();
    let router = Router::new()
        .route("/", post(take))
        .with_state(Arc::clone(&came));
    let serving = tokio::spawn(async move { axum::serve(webhook, router).await });
    let home = tempfile::tempdir()?;
    let (mut server, url) = serve(&binary, home.path(), &hook)?;
    let result = measure(&url, &came).await;
    server.kill()?;
    server.wait()?;
    serving.abort();
    result
}

async fn take(State(came): State<Came>, Json(page): Json<Value>) {
    let now = Instant::now();
    let others = page["others"].as_array().cloned().unwrap_or_default();
    let mut came = came.lock().unwrap_or_else(PoisonError::into_inner);
    for one in std::iter::once(&page).chain(&others) {
        let title = one["title"].as_str().unwrap_or_default().to_owned();
        came.entry(title).or_insert(now);
    }
}

fn serve(binary: &str, home: &Path, hook: &str) -> Result<(Child, String), Failure> {
    let free = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = free.local_addr()?.to_string();
    drop(free);
    let config = home.join("mainstay.toml");
    let text = format!(
        "[oncall]\npages_per_minute = 1000000\n[oncall.people.alice]\n[[oncall.people.alice.channels]]\n\
         name = \"push\"\nwebhook = {{ url = \"http://{hook}/\" }}\n"
    );
    std::fs::write(&config, text)?;
    let server = Command::new(binary)
        .args(["serve", "--listen", &address, "--otlp-listen", "none"])
        .arg("--data-dir")
        .arg(home.join("data"))
        .arg("--config")
        .arg(config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    Ok((server, format!("http://{address}")))
}

fn alert(name: &str) -> Value {
    json!({"labels": {"alertname": name, "team": "web", "severity": "page"}})
}

async fn measure(url: &str, came: &Came) -> Result<(), Failure> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    ready(&client, url).await?;
    let policy = json!({
        "steps": [{"who": ["person/alice"], "wait": "1h"}],
        "alerts": {"matchers": ["team=\"web\""], "groupBy": ["alertname"]},
    });
    let resource = json!({"apiVersion": "mainstay/v1", "kind": "EscalationPolicy", "metadata": {"name": "web"}, "spec": policy});
    sent(
        &client,
        &format!("{url}/api/v1/apply"),
        &json!({"resources": [resource]}),
    )
    .await?;
    let alerts = format!("{url}/api/v2/alerts");
    let mut latencies = Vec::with_capacity(IDLE);
    for n in 0..IDLE {
        let name = format!("Idle{n}");
        let began = Instant::now();
        sent(&client, &alerts, &json!([alert(&name)])).await?;
        latencies.push(until(came, &name).await?.saturating_duration_since(began));
        sleep(IDLE_PAUSE).await;
    }
    latencies.sort_unstable();
    let at = |share: f64| {
        let place = (latencies.len() as f64 * share) as usize;
        let found = latencies.get(place.min(latencies.len().saturating_sub(1)));
        found.map_or(f64::NAN, |it| it.as_secs_f64() * 1e3)
    };
    let (p50, p99) = (at(0.5), at(0.99));
    let began = Instant::now();
    let mut sending = JoinSet::new();
    for first in (0..STORM).step_by(PER_REQUEST) {
        if sending.len() >= AT_ONCE
            && let Some(done) = sending.join_next().await
        {
            done??;
        }
        let body: Vec<Value> = (first..first + PER_REQUEST)
            .map(|n| alert(&format!("Storm{n}")))
            .collect();
        let (client, alerts) = (client.clone(), alerts.clone());
        sending.spawn(async move { sent(&client, &alerts, &json!(body)).await });
    }
    while let Some(done) = sending.join_next().await {
        done??;
    }
    let accepted = began.elapsed().as_secs_f64();
    let mut last = Duration::ZERO;
    for n in 0..STORM {
        let at = until(came, &format!("Storm{n}")).await?;
        last = last.max(at.saturating_duration_since(began));
    }
    println!(
        "{IDLE} alerts one after another: p50 {p50:.1} ms, p99 {p99:.1} ms; {STORM} escalations begun in {:.2} s, \
         accepted after {accepted:.2} s",
        last.as_secs_f64()
    );
    println!("figure pages_idle_p50_ms {p50:.2}");
    println!("figure pages_idle_p99_ms {p99:.2}");
    println!("figure pages_6000_escalations_s {:.2}", last.as_secs_f64());
    Ok(())
}

/// When the first page came of the incident of an alert.
async fn until(came: &Came, name: &str) -> Result<Instant, Failure> {
    let title = format!("{name} {{alertname=\"{name}\"}}");
    let waited = Instant::now();
    loop {
        let found = {
            let came = came.lock().unwrap_or_else(PoisonError::into_inner);
            came.get(&title).copied()
        };
        if let Some(at) = found {
            return Ok(at);
        }
        if waited.elapsed() > LIMIT {
            return Err(format!("no page came of {name}").into());
        }
        sleep(Duration::from_millis(1)).await;
    }
}

async fn sent(client: &reqwest::Client, url: &str, body: &Value) -> Result<(), Failure> {
    let answer = client.post(url).json(body).send().await?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    Err(format!("{url} answers {status}: {}", answer.text().await?).into())
}

async fn ready(client: &reqwest::Client, url: &str) -> Result<(), Failure> {
    let waited = Instant::now();
    loop {
        let answer = client.get(format!("{url}/-/ready")).send().await;
        if answer.is_ok_and(|it| it.status().is_success()) {
            return Ok(());
        }
        if waited.elapsed() > LIMIT {
            return Err("the server does not become ready".into());
        }
        sleep(Duration::from_millis(50)).await;
    }
}
