//! Monitors as their user meets them: declared, red where something is wrong or silent, green once it is mended.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::Output,
    thread,
    time::{Duration, Instant, SystemTime},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Server, service, stderr};

const DAY: Duration = Duration::from_hours(24);
/// Far above what any condition takes, so that a failure is told and not waited for.
const LIMIT: Duration = Duration::from_mins(1);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(100);

fn database(name: &str) -> String {
    let metadata = format!("metadata: {{name: {name}, labels: {{role: database}}}}");
    let unlabelled = format!("metadata: {{name: {name}}}");
    service(name, "tier: 1").replace(&unlabelled, &metadata)
}

/// Every database has a backup younger than a day; `every` and `rest` are more fields.
fn backups(every: &str, rest: &str) -> String {
    format!(
        "apiVersion: mainstay/v1\nkind: Monitor\nmetadata: {{name: backups, labels: {{severity: page}}}}\nspec:\n  \
         every: {{kind: service, labels: {{role: database}}{every}}}\n  \
         expr: time() - max by (service) (backup_completed_timestamp_seconds)\n  \
         op: \"<\"\n  limit: 86400\n  unit: seconds\n  for: 0s\n  remedy: run one by hand\n{rest}"
    )
}

/// What the server answers, with its status.
fn asked(server: &Server, line: &str, body: &str) -> (u16, String) {
    let address = server.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let head = format!(
        "{line} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all((head + body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// Says when the last backup of each was done, as a job with an OpenTelemetry SDK does.
fn backed_up(server: &Server, ages: &[(&str, Duration)]) {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    let points: Vec<Value> = ages
        .iter()
        .map(|(name, age)| {
            json!({
                "timeUnixNano": now.as_nanos().to_string(),
                "asDouble": now.saturating_sub(*age).as_secs_f64(),
                "attributes": [{"key": "service", "value": {"stringValue": name}}],
            })
        })
        .collect();
    let metric =
        json!({"name": "backup.completed.timestamp", "unit": "s", "gauge": {"dataPoints": points}});
    let sent = json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]});
    let (status, said) = asked(server, "POST /api/v1/otlp/v1/metrics", &sent.to_string());
    assert_eq!((status, said.contains("rejected")), (200, false), "{said}");
}

fn reported(server: &Server) -> Value {
    let (status, report) = asked(server, "GET /api/v1/monitors", "");
    assert_eq!(status, 200, "{report}");
    serde_json::from_str(&report).unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The databases of which an alert fires.
fn firing(server: &Server) -> Vec<String> {
    let alerts = server.json(&["alerts"])["alerts"].clone();
    let firing = alerts.as_array().unwrap().iter();
    firing
        .filter(|it| it["state"] == "firing" && it["labels"]["severity"] == "page")
        .map(|it| it["labels"]["service"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_monitor_finds_the_old_backup_and_the_database_that_was_never_backed_up_until_both_are() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path());
    let databases = ["audit", "orders", "users"].map(database).join("---\n");
    let catalog = format!(
        "{databases}---\n{}---\n{}",
        service("mail", "tier: 1"),
        backups("", "")
    );
    let applied = server.apply(&catalog);
    assert!(applied.status.success(), "{}", stderr(&applied));
    backed_up(&server, &[("orders", 3 * DAY), ("users", DAY / 24)]);

    let red = server.run(&["monitors"]);
    let told = stdout(&red);
    assert_eq!(red.status.code(), Some(1), "{told}{}", stderr(&red));
    let wanted = [
        "FAIL     backups  3 services, 1 violates, 1 without data",
        "         audit   no data (limit < 24h): not seen in the 0s it is watched",
        "         orders  3d (limit < 24h), for 0s",
        "         → run one by hand",
        "",
        "1 monitor: 1 FAIL",
        "watched: 3 of 4 services",
        "not watched: service mail",
    ];
    assert_eq!(told.lines().collect::<Vec<_>>(), wanted);
    // Nobody reads what this server logs of the alerts, and it goes on.
    assert_eq!(firing(&server), ["audit", "orders"]);
    let route = reported(&server);
    assert_eq!(route["summary"]["fail"], 1);
    let entities = &route["monitors"][0]["entities"];
    assert_eq!(
        *entities,
        json!({"watched": 3, "pass": 1, "fail": 1, "noData": 1})
    );

    backed_up(
        &server,
        &["audit", "orders", "users"].map(|name| (name, Duration::ZERO)),
    );
    let green = server.run(&["monitors", "backups"]);
    assert_eq!(green.status.code(), Some(0), "{}", stdout(&green));
    assert!(
        stdout(&green).starts_with("pass     backups  3 services\n"),
        "{}",
        stdout(&green)
    );
    assert_eq!(firing(&server), Vec::<String>::new());

    let unknown = server.run(&["monitors", "disks"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(
        stderr(&unknown).contains("there is no monitor `disks`"),
        "{}",
        stderr(&unknown)
    );
    assert!(
        server
            .run(&["delete", "monitor", "backups"])
            .status
            .success()
    );
    assert!(stdout(&server.run(&["monitors"])).starts_with("no monitors"));
}

#[test]
fn a_monitor_that_could_never_be_judged_is_refused_with_place_and_remedy() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path());
    assert!(server.apply(&database("orders")).status.success());
    let good = backups("", "");
    for (wrong, wanted) in [
        (
            good.replace("max by (service) (", "max by (service ("),
            ["Monitor/backups spec.expr: 1:", "remedy: give PromQL"],
        ),
        (
            good.replace(
                "time() - max by (service) (backup_completed_timestamp_seconds)",
                "time()",
            ),
            ["spec.expr: it gives no series", "remedy: give PromQL"],
        ),
        (
            good.replace("kind: service", "kind: database"),
            ["input.yaml:5:", "one of service, instance, host, fabric"],
        ),
        (
            good.replace("  limit: 86400\n", ""),
            [
                "missing field `limit`",
                "remedy: `mainstay explain monitor`",
            ],
        ),
        (
            good.replace("limit: 86400", "limit: .inf"),
            ["input.yaml:8:10:", "not a finite number"],
        ),
        (
            backups(", names: [ledgers]", ""),
            [
                "spec.every.names: there is no service `ledgers`",
                "remedy: correct the name",
            ],
        ),
        (
            backups(", fabrics: [lax]", ""),
            [
                "spec.every.fabrics: a service belongs to none of the fabrics",
                "remedy: leave it out",
            ],
        ),
        (backups("", "  limits: 3\n"), ["input.yaml:12:", "limits"]),
    ] {
        let refused = server.apply(&wrong);
        let said = stderr(&refused);
        assert_eq!(refused.status.code(), Some(2), "{wrong}{said}");
        for text in wanted {
            assert!(said.contains(text), "{text} in {said}");
        }
    }
    assert_eq!(server.json(&["get", "monitors"]), json!([]));
}

#[test]
fn an_instance_that_does_not_answer_is_red_by_its_address_and_has_the_labels_of_its_service() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path());
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let observed = format!("tier: 1, manage: observe, observe: {{urls: [\"http://{closed}\"]}}");
    let shop = database("shop").replace("tier: 1", &observed);
    let monitor = "apiVersion: mainstay/v1\nkind: Monitor\nmetadata: {name: answers}\nspec:\n  \
                   every: {kind: instance, labels: {role: database}}\n  \
                   expr: up\n  op: \">=\"\n  limit: 1\n";
    let applied = server.apply(&format!("{shop}---\n{monitor}"));
    assert!(applied.status.success(), "{}", stderr(&applied));
    let since = Instant::now();
    loop {
        let report = reported(&server);
        let red = &report["monitors"][0]["red"][0];
        assert_eq!(red["name"], closed.to_string(), "{report:#}");
        if red["value"] == 0.0 {
            return;
        }
        assert!(since.elapsed() < LIMIT, "never scraped: {report:#}");
        thread::sleep(LOOK);
    }
}
