//! A server that takes a Prometheus's file, and reads it again while it runs.

#![expect(clippy::unwrap_used, reason = "a step that fails ends its test")]

use std::{
    io::{BufRead, BufReader, Read as _, Write as _},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_mainstay");
/// Far above what any condition takes, so that a failure is told and not waited for.
const LIMIT: Duration = Duration::from_mins(1);

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // An error means that it is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Answers every request with one sample; where it is.
fn target() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 4_096]);
            let body = "shop_orders 7\n";
            let length = body.len();
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
            let _ = stream.write_all((head + body).as_bytes());
        }
    });
    address
}

fn serve(folder: &Path) -> (Server, String) {
    let mut child = Command::new(BINARY)
        .args(["serve", "--otlp-listen", "none", "--listen", "127.0.0.1:0"])
        .arg("--data-dir")
        .arg(folder.join("data"))
        .arg("--config")
        .arg(folder.join("mainstay.toml"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let url = lines
        .find_map(|line| Some(line.split_once("listening on ")?.1.trim().to_owned()))
        .expect("the server says where it listens");
    // A pipe that nobody reads would stop the server in time.
    thread::spawn(move || lines.for_each(drop));
    (Server(child), url)
}

async fn asked(url: &str, path: &str) -> Value {
    let answer = reqwest::get(format!("{url}{path}")).await.unwrap();
    serde_json::from_str(&answer.text().await.unwrap()).unwrap()
}

async fn until(url: &str, path: &str, holds: impl Fn(&Value) -> bool) {
    let since = Instant::now();
    loop {
        let answer = asked(url, path).await;
        if holds(&answer["data"]) {
            return;
        }
        assert!(since.elapsed() < LIMIT, "{path}: {answer}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn jobs_and_rules_of_a_prometheus_file_follow_it_and_a_wrong_file_changes_nothing() {
    // Another test of this process may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = TempDir::new().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let target = target();
    write(
        "mainstay.toml",
        "[scrape]\nprometheus_config = \"prometheus.yml\"\n",
    );
    write(
        "prometheus.yml",
        &format!(
            "global: {{scrape_interval: 100ms, evaluation_interval: 100ms}}\nrule_files: [r.yml]\n\
             scrape_configs: [{{job_name: shop, static_configs: [{{targets: ['{target}']}}]}}]\n"
        ),
    );
    write(
        "r.yml",
        "groups: [{name: g, rules: [{record: twice, expr: shop_orders * 2}]}]\n",
    );
    let (_server, url) = serve(folder.path());
    let twice = "/api/v1/query?query=twice";
    until(&url, twice, |it| it["result"][0]["value"][1] == "14").await;

    let reload = || {
        let request = reqwest::Client::new().post(format!("{url}/-/reload"));
        request.send()
    };
    write(
        "prometheus.yml",
        "scrape_configs: [{job_name: shop, scheme: ftp}]\n",
    );
    let refused = reload().await.unwrap();
    assert!(refused.status().is_server_error());
    assert!(refused.text().await.unwrap().contains("prometheus.yml:1:"));
    let pools = asked(&url, "/api/v1/scrape_pools").await["data"].to_string();
    assert!(pools.contains("shop"), "{pools}");

    write("prometheus.yml", "scrape_configs:\n");
    assert!(reload().await.unwrap().status().is_success());
    let orders = "/api/v1/query?query=shop_orders";
    until(&url, orders, |it| {
        it["result"].as_array().unwrap().is_empty()
    })
    .await;
    let pools = asked(&url, "/api/v1/scrape_pools").await["data"].to_string();
    assert!(!pools.contains("shop"), "{pools}");
    until(&url, "/api/v1/rules", |it| {
        !it.to_string().contains("twice")
    })
    .await;
}
