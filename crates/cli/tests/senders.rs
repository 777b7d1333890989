//! What others send to a real server: OTLP on its own ports, over HTTP and gRPC, and what one of those who share the
//! server may send.

#![expect(clippy::unwrap_used, reason = "a step that fails ends its test")]

use std::{
    io::{BufRead, BufReader, Write as _},
    net::TcpListener,
    process::{Child, Command, Stdio},
    thread,
};

use flate2::{Compression, write::GzEncoder};
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_mainstay");
const EXPORT: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

struct Server {
    child: Child,
    _data: TempDir,
    api: String,
    otlp: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error means that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start() -> Self {
        Self::with("")
    }

    fn with(config: &str) -> Self {
        // Another test of this process may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let data = TempDir::new().unwrap();
        let file = data.path().join("mainstay.toml");
        std::fs::write(&file, config).unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let otlp = free.local_addr().unwrap().to_string();
        drop(free);
        let mut child = Command::new(BINARY)
            .args(["serve", "--listen", "127.0.0.1:0", "--otlp-listen", &otlp])
            .arg("--data-dir")
            .arg(data.path())
            .arg("--config")
            .arg(&file)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let api = lines
            .find_map(|line| Some(line.split_once("listening on ")?.1.trim().to_owned()))
            .expect("the server says where it listens");
        // A pipe that nobody reads would stop the server in time.
        thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            _data: data,
            api,
            otlp: format!("http://{otlp}"),
        }
    }

    async fn call(&self, path: &str, encoding: &str, body: Vec<u8>) -> Response {
        let client = Client::builder().http2_prior_knowledge().build().unwrap();
        let request = client
            .post(format!("{}{path}", self.otlp))
            .header("content-type", "application/grpc")
            .header("grpc-encoding", encoding)
            .header("te", "trailers");
        request.body(body).send().await.unwrap()
    }

    async fn value(&self, query: &str) -> Value {
        let url = format!("{}/api/v1/query?query={query}", self.api);
        let answer = reqwest::get(url).await.unwrap().text().await.unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        answer["data"]["result"][0]["value"][1].clone()
    }
}

/// A field of protobuf: a message, or a text.
fn field(number: u8, inner: &[u8]) -> Vec<u8> {
    let length = u8::try_from(inner.len()).unwrap();
    assert!(length < 0x80, "one byte of length is enough here");
    [&[number << 3 | 2, length], inner].concat()
}

/// A gauge of one point, taken now.
fn gauge(name: &str, value: f64) -> Vec<u8> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let nanos = u64::try_from(now.unwrap().as_nanos()).unwrap();
    let mut point = vec![3 << 3 | 1];
    point.extend(nanos.to_le_bytes());
    point.push(4 << 3 | 1);
    point.extend(value.to_le_bytes());
    let metric = [field(1, name.as_bytes()), field(5, &field(1, &point))].concat();
    field(1, &field(2, &field(2, &metric)))
}

fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[flag], &length[..], message].concat()
}

fn status(response: &Response) -> &str {
    let status = response.headers().get("grpc-status");
    status.map_or("behind the message", |it| it.to_str().unwrap())
}

#[tokio::test]
async fn a_call_of_grpc_writes_and_says_how_it_ended() {
    let server = Server::start();
    let plain = framed(0, &gauge("queue_length", 7.0));
    let response = server.call(EXPORT, "identity", plain).await;
    assert_eq!(status(&response), "behind the message");
    assert_eq!(response.bytes().await.unwrap(), [0; 5][..]);
    assert_eq!(server.value("queue_length").await, "7");

    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(&gauge("packed", 8.0)).unwrap();
    let packed = framed(1, &packer.finish().unwrap());
    assert_eq!(
        server.call(EXPORT, "gzip", packed.clone()).await.status(),
        StatusCode::OK
    );
    assert_eq!(server.value("packed").await, "8");

    for (body, encoding, code) in [
        (framed(0, b"x"), "identity", "3"),
        (b"short".to_vec(), "identity", "3"),
        (packed, "snappy", "12"),
    ] {
        assert_eq!(status(&server.call(EXPORT, encoding, body).await), code);
    }
    let traces = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let response = server.call(traces, "identity", framed(0, b"")).await;
    assert_eq!(status(&response), "12");
}

#[tokio::test]
async fn a_small_call_that_unpacks_to_too_much_is_refused() {
    let server = Server::start();
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    let zeros = vec![0; 1 << 20];
    for _ in 0..64 {
        packer.write_all(&zeros).unwrap();
    }
    let bomb = framed(1, &packer.finish().unwrap());
    assert!(bomb.len() < 1 << 20, "{} bytes", bomb.len());
    assert_eq!(status(&server.call(EXPORT, "gzip", bomb).await), "8");
}

#[tokio::test]
async fn http_is_taken_on_the_same_port_and_nothing_else() {
    let server = Server::start();
    let client = Client::new();
    let send = |path: &str, body: Vec<u8>| {
        let request = client.post(format!("{}{path}", server.otlp));
        let request = request.header("content-type", "application/x-protobuf");
        request.body(body).send()
    };
    let sent = send("/v1/metrics", gauge("by_http", 9.0)).await.unwrap();
    assert_eq!(sent.status(), StatusCode::OK);
    assert_eq!(server.value("by_http").await, "9");
    for elsewhere in ["/v1/traces", "/api/v1/apply"] {
        let answer = send(elsewhere, Vec::new()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{elsewhere}");
    }
    let rebound = client.post(format!("{}/v1/metrics", server.otlp));
    let answer = rebound.header("host", "evil.example").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
}

/// Gauges of a team, in JSON.
fn of_team(team: &str, names: &[&str]) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let nanos = now.unwrap().as_nanos().to_string();
    let team = serde_json::json!([{ "key": "team", "value": { "stringValue": team } }]);
    let point = serde_json::json!({ "asInt": "1", "timeUnixNano": nanos, "attributes": team });
    let metrics: Vec<Value> = names
        .iter()
        .map(|name| serde_json::json!({ "name": name, "gauge": { "dataPoints": [point] } }))
        .collect();
    let scopes = serde_json::json!([{ "metrics": metrics }]);
    serde_json::json!({ "resourceMetrics": [{ "scopeMetrics": scopes }] }).to_string()
}

#[tokio::test]
async fn a_team_over_its_limit_hears_429_and_who_it_is_and_no_other_team_does() {
    let config = "[limits]\ntenant_label = \"team\"\neach = { series = 2 }\n";
    let server = Server::with(config);
    let client = Client::new();
    let send = |team, names: &[&str]| {
        let request = client.post(format!("{}/v1/metrics", server.otlp));
        let request = request.header("content-type", "application/json");
        request.body(of_team(team, names)).send()
    };
    let over = send("shop", &["a", "b", "c"]).await.unwrap();
    assert_eq!(over.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(over.headers().contains_key("retry-after"));
    let why = over.text().await.unwrap();
    assert!(
        why.contains("tenant `shop` is at its limit of 2 series"),
        "{why}"
    );
    for (team, names) in [("shop", ["a", "b"]), ("other", ["a", "b"])] {
        let sent = send(team, &names).await.unwrap();
        assert_eq!(sent.status(), StatusCode::OK, "{team}");
    }
    let shown = Command::new(BINARY)
        .args(["top", "series", "--by", "tenant", "--server", &server.api])
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let shop = shown.lines().find(|line| line.starts_with("shop")).unwrap();
    assert!(shop.ends_with("1 by series"), "{shown}");
    let metrics = reqwest::get(format!("{}/metrics", server.api))
        .await
        .unwrap();
    let metrics = metrics.text().await.unwrap();
    let line = "mainstay_tenant_refused_total{tenant=\"shop\",limit=\"series\"} 1";
    assert!(metrics.contains(line), "{metrics}");
}
