//! `mainstay router`.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::routing::get;
use mainstay_core::{FabricName, Span};
use mainstay_server::Access;
use mainstay_wire::{
    Generation,
    router::{Backend, RouteTable, ServiceRoutes},
};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::Notify};

use crate::{LIMIT, Mainstay, Server};

fn lax() -> FabricName {
    "lax".parse().unwrap()
}

/// Its process, where users are served, and where its metrics are.
struct Router {
    process: Mainstay,
    users: String,
    metrics: String,
}

fn start(server: &str, dir: &Path, listen: &str) -> Router {
    let process = Mainstay::start(&[
        "router",
        "--fabric",
        "lax",
        "--server",
        server,
        "--listen",
        listen,
        "--data-dir",
        dir.to_str().unwrap(),
        "--leash",
    ]);
    Router {
        users: process.says("users are served on "),
        metrics: process.says("metrics are on "),
        process,
    }
}

impl Router {
    async fn is_ready(&self) -> bool {
        let url = self.metrics.replace("/metrics", "/-/ready");
        ask(&url).await.0 == 200
    }
}

/// The status and the body of a GET.
async fn ask(url: &str) -> (u16, String) {
    // An error only means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().timeout(LIMIT);
    let answer = client.build().unwrap().get(url).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// A backend of service `feed`: `/feed/` answers at once, `/feed/slow` when it is let.
struct Feed {
    address: String,
    reached: Arc<Notify>,
    go: Arc<Notify>,
}

impl Feed {
    async fn start() -> Self {
        let (reached, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let slow = {
            let (reached, go) = (Arc::clone(&reached), Arc::clone(&go));
            async move || {
                reached.notify_one();
                go.notified().await;
                "slowly fed"
            }
        };
        let app = axum::Router::new()
            .route("/feed/", get(async || "fed"))
            .route("/feed/slow", get(slow))
            .route("/healthz", get(async || "ok"));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(axum::serve(listener, app).into_future());
        Self {
            address,
            reached,
            go,
        }
    }

    fn table(&self, counter: u64) -> RouteTable {
        RouteTable {
            generation: Generation { epoch: 1, counter },
            services: vec![ServiceRoutes {
                service: "feed".parse().unwrap(),
                prefix: "/feed/".into(),
                timeout: Span::from_secs(20),
                health: "/healthz".into(),
                bulkhead: serde_json::from_str("{}").unwrap(),
                slo: None,
                weights: BTreeMap::from([("v1".parse().unwrap(), 10_000)]),
                backends: vec![Backend {
                    instance: "feed-lax-1".parse().unwrap(),
                    incarnation: 1,
                    version: "v1".parse().unwrap(),
                    address: self.address.clone(),
                    draining: false,
                    share: 1.0,
                    capacity_rps: None,
                    limit: None,
                }],
                shed: 0,
                client_version_header: "x-client-version".to_owned(),
                probes: Vec::new(),
                probing: None,
            }],
            protected: true,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_in_force_told_at_once_scraped_and_kept_for_a_start_without_a_server() {
    let dir = TempDir::new().unwrap();
    let feed = Feed::start().await;
    let server = Server::start().await;
    let router = start(&server.url(), dir.path(), "127.0.0.1:0");
    let view = server
        .routes_until(|view| view.fabrics.contains_key(&lax()))
        .await;
    assert_eq!(view.fabrics[&lax()].metrics_url, router.metrics);
    assert!(!router.is_ready().await, "no table is in force yet");

    let began = Instant::now();
    for counter in 1..=6 {
        let table = feed.table(counter);
        let wanted = table.generation;
        server.routes.order(&lax(), table);
        server
            .routes_until(|view| view.fabrics[&lax()].applied == wanted)
            .await;
    }
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "with a report a second alone this takes six"
    );
    assert!(router.is_ready().await);
    assert_eq!(
        ask(&format!("{}/feed/", router.users)).await,
        (200, "fed".into())
    );
    let (status, text) = ask(&router.metrics).await;
    assert_eq!(status, 200);
    let scanned =
        mainstay_ekg::text::scan(text.as_bytes(), &mainstay_ekg::text::TextLimits::default());
    assert!(!scanned.unwrap().samples.is_empty(), "{text}");

    let address = server.stop().await;
    assert_eq!(ask(&format!("{}/feed/", router.users)).await.0, 200);
    assert!(router.process.let_go().await.success());
    let router = start(&format!("http://{address}"), dir.path(), "127.0.0.1:0");
    assert_eq!(
        ask(&format!("{}/feed/", router.users)).await,
        (200, "fed".into())
    );
    assert!(router.is_ready().await);

    let server = Server::start_on(address, Access::OpenOnLoopback).await;
    let view = server
        .routes_until(|view| view.fabrics.contains_key(&lax()))
        .await;
    assert_eq!(
        view.fabrics[&lax()].applied.counter,
        6,
        "it says what it holds"
    );
    assert!(router.process.let_go().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_under_way_is_answered_before_the_router_ends() {
    let dir = TempDir::new().unwrap();
    let feed = Feed::start().await;
    let server = Server::start().await;
    server.routes.order(&lax(), feed.table(1));
    let mut router = start(&server.url(), dir.path(), "127.0.0.1:0");
    server
        .routes_until(|view| {
            view.fabrics
                .get(&lax())
                .is_some_and(|lax| lax.applied.counter == 1)
        })
        .await;
    let url = format!("{}/feed/slow", router.users);
    let slow = tokio::spawn(async move { ask(&url).await });
    feed.reached.notified().await;
    router.process.signal("-TERM");
    let ready = async {
        while router.is_ready().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, ready).await.unwrap();
    feed.go.notify_one();
    assert_eq!(slow.await.unwrap(), (200, "slowly fed".into()));
    assert!(router.process.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_on_disk_that_cannot_be_read_does_not_keep_the_router_from_starting() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("routes.json"), "{\"gener").unwrap();
    let feed = Feed::start().await;
    let server = Server::start().await;
    server.routes.order(&lax(), feed.table(1));
    let router = start(&server.url(), dir.path(), "127.0.0.1:0");
    server
        .routes_until(|view| {
            view.fabrics
                .get(&lax())
                .is_some_and(|lax| lax.applied.counter == 1)
        })
        .await;
    let kept = async {
        let read = || std::fs::read(dir.path().join("routes.json")).unwrap();
        while serde_json::from_slice::<RouteTable>(&read()).is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, kept).await.unwrap();
    assert!(router.process.let_go().await.success());
}
