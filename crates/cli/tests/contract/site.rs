//! A real server with something of everything in it, and one client of it.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cases::Case;

const BINARY: &str = env!("CARGO_BIN_EXE_mainstay");
/// Far above what any condition takes, so that a failure is told and not waited for.
const LIMIT: Duration = Duration::from_mins(1);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// What a stream that never ends is read of.
const STREAM_BYTES: usize = 200;

/// The server, and what was learned of it.
pub(crate) struct Site {
    child: Child,
    url: String,
    otlp: String,
    client: reqwest::Client,
    /// The newest change that a case made.
    pub(crate) change: String,
    /// A change that was there before the cases.
    pub(crate) first_change: String,
    /// An incident that a case opened.
    pub(crate) incident: String,
    _dir: TempDir,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) body: String,
}

impl Drop for Site {
    fn drop(&mut self) {
        // An error means that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says always the same of its metrics; gives where.
fn shop() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut request = [0; 1_024];
            let _read = stream.read(&mut request).unwrap_or(0);
            let body =
                "# HELP orders_total Orders taken.\n# TYPE orders_total counter\norders_total 7\n";
            let length = body.len();
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
            let _ = stream.write_all((head + body).as_bytes());
        }
    });
    address.to_string()
}

fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

fn config(shop: &str, otlp: &str) -> String {
    format!(
        r#"
[server]
otlp_listen = ["{otlp}"]
[rules]
files = ["rules.yml"]
[alerting]
alertmanagers = ["http://127.0.0.1:9/"]
[[scrape]]
job_name = "shop"
scrape_interval = "200ms"
static_configs = [{{ targets = ["{shop}", "dropped:1"] }}]
relabel_configs = [{{ source_labels = ["__address__"], regex = "dropped:1", action = "drop" }}]
"#
    )
}

const RULES: &str = r"groups:
- name: shop
  interval: 1s
  rules:
  - {record: shop:orders, expr: orders_total}
  - {alert: Orders, expr: orders_total > 1, labels: {severity: page}, annotations: {summary: '{{ $value }} orders'}}
- name: second
  rules: [{record: a:b, expr: vector(1)}]
";

impl Site {
    pub(crate) async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("mainstay.toml");
        let otlp = free_address();
        std::fs::write(&file, config(&shop(), &otlp)).unwrap();
        std::fs::write(dir.path().join("rules.yml"), RULES).unwrap();
        let mut child = Command::new(BINARY)
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(dir.path().join("data"))
            .arg("--config")
            .arg(&file)
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
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(LIMIT)
            .build()
            .unwrap();
        let mut site = Self {
            child,
            url,
            otlp: format!("http://{otlp}"),
            client,
            change: String::new(),
            first_change: String::new(),
            incident: String::new(),
            _dir: dir,
        };
        site.declare().await;
        site.settle().await;
        site
    }

    /// A fabric with a host, a service that runs nowhere yet, two people on call, and a monitor.
    async fn declare(&mut self) {
        let resource = |kind: &str, name: &str, spec: Value| json!({ "apiVersion": "mainstay/v1", "kind": kind, "metadata": { "name": name }, "spec": spec });
        let every = json!({ "kind": "service" });
        let observe = json!({ "urls": ["http://127.0.0.1:9"], "signals": {
            "requests": { "selector": "orders_total", "versionLabel": "release", "codeLabel": "status" } } });
        let resources = json!([
            resource("Fabric", "lax", json!({})),
            resource("Fabric", "iad", json!({})),
            resource("Host", "h1", json!({ "fabric": "lax" })),
            resource("Service", "feed", json!({ "owner": "feed" })),
            resource(
                "Service",
                "shop",
                json!({ "owner": "shop", "manage": "observe", "observe": observe })
            ),
            resource(
                "Responder",
                "alice",
                json!({ "contacts": [{ "name": "mail", "kind": "email", "to": "alice@example.com" }] })
            ),
            resource(
                "Responder",
                "bob",
                json!({ "contacts": [{ "name": "mail", "kind": "email", "to": "bob@example.com" }] })
            ),
            resource(
                "Schedule",
                "feed",
                json!({ "zone": "Europe/Berlin", "layers": [
                    { "name": "week", "people": ["alice", "bob"], "from": "2026-01-05" },
                    { "name": "second", "role": "secondary", "people": ["bob"], "from": "2026-01-05", "until": "2026-01-12" },
                ] })
            ),
            resource(
                "Monitor",
                "backups",
                json!({ "every": every, "expr": "backup_age_seconds", "op": "<", "limit": 5 })
            ),
            resource(
                "EscalationPolicy",
                "web",
                json!({ "alerts": { "matchers": ["team=web"] } })
            ),
        ]);
        let body = json!({ "resources": resources, "reason": "as asked" });
        let request = self
            .client
            .post(format!("{}/api/v1/apply", self.url))
            .json(&body);
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let applied: Value = answer.json().await.unwrap();
        assert!(status.is_success(), "{applied:#}");
        applied["change"]
            .as_str()
            .unwrap()
            .clone_into(&mut self.first_change);
    }

    /// Waits until samples came and an alert fires.
    async fn settle(&self) {
        let since = Instant::now();
        loop {
            let alerts = self.get("/api/v1/alerts").await;
            let described = self.get("/api/v1/targets/metadata").await;
            let shadow = self.get("/api/v1/views/shadow").await;
            let is_seen = shadow.body.contains("\"shop\"");
            let is_scraped = described.body.contains("orders_total");
            if is_seen && is_scraped && alerts.body.contains("firing") {
                return;
            }
            assert!(
                since.elapsed() < LIMIT,
                "nothing fires: {} {} {}",
                alerts.body,
                described.body,
                shadow.body
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(&Case::get(path, path)).await
    }

    pub(crate) async fn ask(&self, case: &Case) -> Answer {
        let method = case.method.parse().unwrap();
        let base = if case.on_otlp_port {
            &self.otlp
        } else {
            &self.url
        };
        let url = format!("{base}{}", case.url);
        let mut request = self.client.request(method, url).body(case.body.clone());
        for (name, value) in &case.headers {
            request = request.header(*name, *value);
        }
        let mut response = request.send().await.unwrap();
        let content_type = response.headers().get("content-type");
        let content_type = content_type
            .map_or("", |it| it.to_str().unwrap())
            .to_owned();
        let status = response.status().as_u16();
        let streams = status == 101 || content_type.starts_with("text/event-stream");
        let mut body = Vec::new();
        while status != 101
            && (!streams || body.len() < STREAM_BYTES)
            && let Some(chunk) = response.chunk().await.unwrap()
        {
            body.extend_from_slice(&chunk);
        }
        Answer {
            status,
            content_type,
            body: String::from_utf8_lossy(&body).into_owned(),
        }
    }

    /// Takes over what later cases need.
    pub(crate) fn learn(&mut self, case: &Case, answer: &Answer) {
        let change = serde_json::from_str::<Value>(&answer.body).unwrap_or_default();
        if case.method == "POST"
            && let Some(change) = change["change"].as_str()
        {
            change.clone_into(&mut self.change);
        }
        let opened = serde_json::from_str::<Value>(&answer.body).unwrap_or_default();
        if case.method == "POST"
            && case.path == "/api/v1/incidents"
            && let Some(incident) = opened["id"].as_str()
        {
            incident.clone_into(&mut self.incident);
        }
    }
}
