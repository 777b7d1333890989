//! `mainstay alertmanager` as a process: alerts by HTTP, messages at a webhook, `amtool`, a kill, a reload.

#![expect(clippy::unwrap_used, reason = "a step that fails ends its test")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
    time::Duration,
};

use mainstay_siege::Sink;
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_mainstay");
/// Far above what any condition takes, so that a failure is told and not waited for.
const LIMIT: Duration = Duration::from_mins(1);

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts it with one flag as the oldest unit files have it; where it listens.
fn start(folder: &Path) -> (Process, String) {
    let mut child = Command::new(BINARY)
        .arg("alertmanager")
        .arg(format!("-config.file={}", folder.join("am.yml").display()))
        .arg(format!("--storage.path={}", folder.join("data").display()))
        .args([
            "--web.listen-address=127.0.0.1:0",
            "--web.external-url=http://am.example",
        ])
        .args([
            "--cluster.listen-address=",
            "--data.retention=1h",
            "--alerts.gc-interval=1m",
        ])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let address =
        lines.find_map(|line| Some(line.split_once("taken on http://")?.1.trim().to_owned()));
    thread::spawn(move || lines.for_each(drop));
    (Process(child), address.unwrap())
}

/// Status and body.
fn ask(address: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (
        head.split(' ').nth(1).unwrap().parse().unwrap(),
        body.to_owned(),
    )
}

fn post(address: &str, labels: &str) {
    let body = format!(r#"[{{"labels": {labels}, "annotations": {{"summary": "down"}}}}]"#);
    assert_eq!(ask(address, "POST", "/api/v2/alerts", &body).0, 200);
}

fn config(sink: &Sink) -> String {
    format!(
        "route: {{receiver: hook, group_by: [job], group_wait: 0s, group_interval: 1s}}\n\
         receivers: [{{name: hook, webhook_configs: [{{url: 'http://{}/'}}]}}]\n",
        sink.address()
    )
}

fn jobs(sink: &Sink) -> Vec<String> {
    let bodies = sink.bodies();
    let jobs = bodies.iter().map(|body| {
        let body: Value = serde_json::from_str(body).unwrap();
        body["groupLabels"]["job"].as_str().unwrap().to_owned()
    });
    jobs.collect()
}

#[test]
fn what_was_accepted_and_told_survives_a_kill() {
    let (folder, sink) = (tempfile::tempdir().unwrap(), Sink::start().unwrap());
    fs::write(folder.path().join("am.yml"), config(&sink)).unwrap();
    let (mut process, address) = start(folder.path());
    post(&address, r#"{"alertname": "Down", "job": "shop"}"#);
    sink.until(1, LIMIT);
    let silence = r#"{"matchers": [{"name": "job", "value": "feed", "isRegex": false}], "startsAt": "2026-01-01T00:00:00Z",
        "endsAt": "2126-01-01T00:00:00Z", "createdBy": "ops", "comment": "work"}"#;
    let (status, body) = ask(&address, "POST", "/api/v2/silences", silence);
    assert_eq!(status, 200, "{body}");
    // The entry of what was told follows the answer of the webhook: wait until a later change is on disk.
    post(&address, r#"{"alertname": "Down", "job": "feed"}"#);
    process.0.kill().unwrap();
    process.0.wait().unwrap();

    let (_process, address) = start(folder.path());
    let (_, alerts) = ask(&address, "GET", "/api/v2/alerts", "");
    let alerts: Value = serde_json::from_str(&alerts).unwrap();
    assert_eq!(alerts.as_array().unwrap().len(), 2, "{alerts}");
    let (_, silenced) = ask(&address, "GET", "/api/v2/alerts?active=false", "");
    let silenced: Value = serde_json::from_str(&silenced).unwrap();
    assert_eq!(silenced[0]["labels"]["job"], "feed");
    assert_eq!(silenced[0]["status"]["state"], "suppressed");
    post(&address, r#"{"alertname": "Down", "job": "mail"}"#);
    sink.until(2, LIMIT);
    assert_eq!(jobs(&sink), ["shop", "mail"]);
}

#[test]
fn a_wrong_configuration_changes_nothing_and_a_right_one_holds_at_once() {
    let (folder, sink) = (tempfile::tempdir().unwrap(), Sink::start().unwrap());
    let file = folder.path().join("am.yml");
    fs::write(&file, config(&sink)).unwrap();
    let (process, address) = start(folder.path());
    fs::write(&file, "route:\n  receiver: nobody\n").unwrap();
    let (status, body) = ask(&address, "POST", "/-/reload", "");
    assert_eq!(status, 500);
    assert!(
        body.contains("am.yml:2:") && body.contains("nobody"),
        "{body}"
    );
    let metric = |value: &str| {
        let (_, metrics) = ask(&address, "GET", "/metrics", "");
        metrics.contains(&format!(
            "alertmanager_config_last_reload_successful {value}"
        ))
    };
    assert!(metric("0"));
    post(&address, r#"{"alertname": "Down", "job": "shop"}"#);
    sink.until(1, LIMIT);

    let other = Sink::start().unwrap();
    fs::write(&file, config(&other).replace(": hook", ": other")).unwrap();
    let pid = process.0.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-HUP", &pid])
            .status()
            .unwrap()
            .success()
    );
    let begun = std::time::Instant::now();
    while !metric("1") {
        assert!(begun.elapsed() < LIMIT, "the right file does not hold");
        thread::yield_now();
    }
    // Another receiver was never told.
    other.until(1, LIMIT);
}

#[test]
fn amtool_works_unchanged() {
    let (folder, sink) = (tempfile::tempdir().unwrap(), Sink::start().unwrap());
    fs::write(folder.path().join("am.yml"), config(&sink)).unwrap();
    let (_process, address) = start(folder.path());
    let amtool = |args: &[&str]| -> Option<Output> {
        let url = format!("--alertmanager.url=http://{address}");
        Command::new("amtool").arg(url).args(args).output().ok()
    };
    let Some(added) = amtool(&[
        "alert",
        "add",
        "Down",
        "job=shop",
        "--annotation=summary=down",
    ]) else {
        let said = "skipped: amtool is not installed";
        println!("{said}");
        assert!(std::env::var_os("MAINSTAY_SKIPPED").is_none(), "{said}");
        return;
    };
    let text = |output: Output| {
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{error}");
        String::from_utf8(output.stdout).unwrap()
    };
    text(added);
    sink.until(1, LIMIT);
    let run = |args: &[&str]| text(amtool(args).unwrap());
    assert!(run(&["alert", "query", "job=shop"]).contains("Down"));
    let id = run(&[
        "silence",
        "add",
        "job=~sh.*",
        "--comment=work",
        "--author=ops",
        "--duration=1h",
    ]);
    assert!(run(&["silence", "query"]).contains(id.trim()));
    assert!(!run(&["alert", "query", "--active"]).contains("Down"));
    run(&["silence", "update", id.trim(), "--duration=2h"]);
    run(&["silence", "expire", id.trim()]);
    assert!(run(&["alert", "query", "--active"]).contains("Down"));
    assert!(run(&["config", "show"]).contains("hook"));
    assert!(run(&["config", "routes", "test", "job=shop"]).contains("hook"));
    assert!(run(&["cluster", "show"]).contains("disabled"));
}

#[test]
fn a_flag_that_would_change_who_is_told_is_refused_by_its_name() {
    for (flag, remedy) in [
        ("--cluster.peer=10.0.0.1:9094", "run one"),
        ("--web.config.file=web.yml", "proxy"),
        ("--config.file=/nowhere.yml", "/nowhere.yml"),
    ] {
        let output = Command::new(BINARY)
            .args(["alertmanager", flag])
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(remedy), "{flag}: {error}");
    }
}
