//! Remote read, remote write out and a metrics backend, with the programs that others run: Prometheus and
//! VictoriaMetrics as this machine has them, and a second Mainstay. Where one of them is not installed its test says so
//! and ends.

#![expect(clippy::unwrap_used, reason = "a step that fails ends its test")]

#[path = "remote/programs.rs"]
mod programs;

use std::time::{SystemTime, UNIX_EPOCH};

use programs::{Asked, Mainstay, Program, free_port, installed, until};
use serde_json::{Value, json};
use tempfile::TempDir;

fn now_secs() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// A gauge in OTLP with one point every 5 s up to now, for each of `hosts`.
fn points(hosts: usize, count: i64, until_secs: i64) -> Value {
    let value = |host: usize, at: i64| {
        let host = json!({ "key": "host", "value": { "stringValue": format!("h{host}") } });
        let nanos = (until_secs - (count - 1 - at) * 5) * 1_000_000_000;
        json!({ "asDouble": at as f64, "timeUnixNano": nanos.to_string(), "attributes": [host] })
    };
    let points: Vec<Value> = (0..hosts)
        .flat_map(|host| (0..count).map(move |at| (host, at)))
        .map(|(host, at)| value(host, at))
        .collect();
    let metric = json!({ "name": "queue_length", "gauge": { "dataPoints": points } });
    json!({ "resourceMetrics": [{ "scopeMetrics": [{ "metrics": [metric] }] }] })
}

/// What `count_over_time` says of all series together.
fn counted(program: &impl Asked, window: &str) -> Option<f64> {
    let expr = format!("sum(count_over_time(queue_length[{window}]))");
    let answer = program.query(&expr);
    let value = answer["data"]["result"][0]["value"][1].as_str()?;
    value.parse().ok()
}

#[test]
fn prometheus_reads_what_mainstay_has() {
    let Some(binary) = installed("prometheus") else {
        return;
    };
    let dir = TempDir::new().unwrap();
    let mainstay = Mainstay::start(&dir.path().join("mainstay"), "");
    mainstay.post_json("/api/v1/otlp/v1/metrics", &points(300, 200, now_secs()));
    assert_eq!(counted(&mainstay, "1h"), Some(60_000.0));
    let read = format!(
        "remote_read: [{{url: '{}/api/v1/read', read_recent: true}}]\n",
        mainstay.url
    );
    let prometheus = Program::prometheus(&binary, &dir.path().join("prometheus"), &read, &[]);
    until("every sample is read", || {
        counted(&prometheus, "1h") == Some(60_000.0)
    });
    let same = |expr: &str| {
        let at = now_secs();
        let ours = mainstay.query_at(expr, at);
        let theirs = prometheus.query_at(expr, at);
        assert_eq!(ours["data"]["result"], theirs["data"]["result"], "{expr}");
        assert!(
            ours["data"]["result"]
                .as_array()
                .is_some_and(|it| !it.is_empty()),
            "{expr}"
        );
    };
    same("sort(sum by (host) (increase(queue_length{host=~\"h1.\"}[10m])))");
    same("sum(queue_length)");
    same("count(queue_length{host!~\"h[0-4]\"})");
    let series = prometheus.get("/api/v1/series?match[]=queue_length");
    assert_eq!(series["data"].as_array().unwrap().len(), 300);
}

/// Writes, is killed while the receiver is away, is started again, and the receiver gets all of it.
fn is_sent_all(
    url: &str,
    extra: &str,
    receiver: &impl Asked,
    away: impl FnOnce(),
    back: impl FnOnce(),
) {
    let dir = TempDir::new().unwrap();
    let config = format!(
        "[[remote_write]]\nurl = \"{url}\"\nname = \"other\"\n{extra}\nqueue_config = {{ batch_send_deadline = \"200ms\", \
         min_backoff = \"10ms\", max_backoff = \"200ms\", capacity = 500 }}\n"
    );
    let at = now_secs();
    let mainstay = Mainstay::start(dir.path(), &config);
    mainstay.post_json("/api/v1/otlp/v1/metrics", &points(50, 20, at - 120));
    until("the first samples came", || {
        counted(receiver, "1h") == Some(1_000.0)
    });
    away();
    mainstay.post_json("/api/v1/otlp/v1/metrics", &points(50, 20, at - 10));
    // What was acknowledged is sent, whatever happens to who acknowledged it.
    mainstay.kill();
    let mainstay = Mainstay::start(dir.path(), &config);
    back();
    until("all samples came", || {
        counted(receiver, "1h") == Some(2_000.0)
    });
    let metrics = mainstay.text("/metrics");
    let line = "mainstay_remote_write_samples_total{receiver=\"other\"} ";
    assert!(metrics.contains(line), "{metrics}");
}

#[test]
fn prometheus_gets_every_acknowledged_sample_across_its_absence_and_a_kill() {
    let Some(binary) = installed("prometheus") else {
        return;
    };
    let dir = TempDir::new().unwrap();
    let more = ["--web.enable-remote-write-receiver"];
    let prometheus = Program::prometheus(&binary, dir.path(), "", &more);
    let url = format!("{}/api/v1/write", prometheus.url);
    is_sent_all(
        &url,
        "",
        &prometheus,
        || prometheus.pause(),
        || prometheus.go_on(),
    );
}

#[test]
fn another_mainstay_gets_every_acknowledged_sample_by_the_second_protocol() {
    let dir = TempDir::new().unwrap();
    let other = Mainstay::start(dir.path(), "");
    let url = format!("{}/api/v1/write", other.url);
    let second = "protobuf_message = \"io.prometheus.write.v2.Request\"";
    is_sent_all(&url, second, &other, || other.pause(), || other.go_on());
    let metrics = other.text("/metrics");
    let line = "mainstay_received_total{by=\"remote-write-2\",outcome=\"written\"}";
    assert!(metrics.contains(line), "{metrics}");
}

/// A server that keeps its samples in `url`: what is sent to it is found there, by itself and by the backend, and its
/// rules see it.
fn works_on(url: &str, write_url: &str, backend: &impl Asked) {
    let dir = TempDir::new().unwrap();
    let rules = "groups:\n- name: queues\n  interval: 1s\n  rules:\n  - {record: queues:sum, expr: sum(queue_length)}\n  \
                 - {alert: Queues, expr: sum(queue_length) > 1, labels: {severity: page}}\n  \
                 - {alert: Grew, expr: 'sum(count_over_time(queue_length[3h])) >= 200'}\n";
    std::fs::write(dir.path().join("rules.yml"), rules).unwrap();
    let config = format!(
        "[metrics]\nbackend = \"{url}\"\nwrite_url = \"{write_url}\"\n[rules]\nfiles = [\"rules.yml\"]\n"
    );
    // What is in the backend from before is found as well.
    let mainstay = Mainstay::start(dir.path(), &config);
    mainstay.post_json("/api/v1/otlp/v1/metrics", &points(10, 20, now_secs()));
    until("the backend has them", || {
        counted(backend, "1h") == Some(200.0)
    });
    until("and answers for them", || {
        counted(&mainstay, "1h") == Some(200.0)
    });
    until("what a rule records is there too", || {
        !mainstay.query("queues:sum")["data"]["result"][0].is_null()
            && !backend.query("queues:sum")["data"]["result"][0].is_null()
    });
    until(
        "rules fire, also one that looks farther back than is kept here",
        || {
            let alerts = mainstay.text("/api/v1/alerts");
            alerts.contains("\"Queues\"") && alerts.contains("\"Grew\"")
        },
    );
    let names = mainstay.get("/api/v1/label/host/values?match[]=queue_length");
    assert_eq!(names["data"].as_array().unwrap().len(), 10, "{names}");
    let series = mainstay.get("/api/v1/series?match[]=queue_length%7Bhost=%22h3%22%7D");
    assert_eq!(series["data"].as_array().unwrap().len(), 1, "{series}");
    let range = mainstay.get(&format!(
        "/api/v1/query_range?query=sum(queue_length)&start={}&end={}&step=5",
        now_secs() - 60,
        now_secs()
    ));
    assert_eq!(range["status"], "success", "{range}");
    let wrong = mainstay.get("/api/v1/query?query=sum(");
    let kind = wrong["errorType"].as_str().unwrap_or_default();
    assert!(matches!(kind, "bad_data" | "execution"), "{wrong}");
}

#[test]
fn a_prometheus_can_keep_the_samples() {
    let Some(binary) = installed("prometheus") else {
        return;
    };
    let dir = TempDir::new().unwrap();
    let more = ["--web.enable-remote-write-receiver"];
    let prometheus = Program::prometheus(&binary, dir.path(), "", &more);
    let write = format!("{}/api/v1/write", prometheus.url);
    works_on(&prometheus.url, &write, &prometheus);
    let other = Mainstay::start(
        &dir.path().join("gone"),
        &format!(
            "[metrics]\nbackend = \"http://127.0.0.1:{}\"\n",
            free_port()
        ),
    );
    let answer = other.get("/api/v1/query?query=up");
    assert_eq!(answer["errorType"], "unavailable", "{answer}");
    let why = answer["error"].as_str().unwrap();
    assert!(why.contains("cannot be reached"), "{why}");
}

#[test]
fn a_victoriametrics_can_keep_the_samples() {
    let Some(binary) = installed("victoria-metrics") else {
        return;
    };
    let dir = TempDir::new().unwrap();
    let victoria = Program::victoria_metrics(&binary, dir.path());
    let write = format!("{}/api/v1/write", victoria.url);
    works_on(&victoria.url, &write, &victoria);
}
