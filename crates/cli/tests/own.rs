//! Mainstay as its own target: it scrapes itself where tokens are asked for, and its own alerts fire on what they are
//! about.

#![expect(clippy::unwrap_used, reason = "a step that fails ends its test")]

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
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

fn run(args: &[&str]) -> Output {
    Command::new(BINARY).args(args).output().unwrap()
}

/// A server that asks for tokens, its address, and a token that may read.
fn guarded(dir: &Path) -> (Server, String, String) {
    let data = dir.join("data");
    let data = data.to_str().unwrap();
    let made = run(&[
        "token",
        "create",
        "reader",
        "--scope",
        "read",
        "--data-dir",
        data,
    ]);
    assert!(made.status.success(), "{made:?}");
    let made = String::from_utf8(made.stdout).unwrap();
    let token = made.split_whitespace().find(|it| it.starts_with("mst_"));
    let config = dir.join("mainstay.toml");
    std::fs::write(&config, "[server]\nrequire_token = true\n").unwrap();
    let mut child = Command::new(BINARY)
        .args([
            "serve",
            "--otlp-listen",
            "none",
            "--listen",
            "127.0.0.1:0",
            "--data-dir",
            data,
        ])
        .arg("--config")
        .arg(&config)
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
    (Server(child), url, token.unwrap().to_owned())
}

#[test]
fn a_server_that_asks_for_tokens_measures_itself_and_has_what_its_alerts_name() {
    let dir = TempDir::new().unwrap();
    let (_server, url, token) = guarded(dir.path());
    let asked = |args: &[&str]| run(&[args, &["--server", &url, "--token", &token]].concat());
    let since = Instant::now();
    let names = loop {
        let query = "count by (__name__) ({job=\"mainstay\"})";
        let found = asked(&["query", query, "--output", "json"]);
        let found: Value = serde_json::from_slice(&found.stdout).unwrap_or_default();
        let text = found.to_string();
        if text.contains("mainstay_data_dir_free_bytes") {
            break text;
        }
        assert!(since.elapsed() < LIMIT, "never scraped: {text}");
        thread::sleep(Duration::from_millis(100));
    };
    // Agents and routers tell theirs; receivers, copies and schedules have some where there are any; counters of answers
    // come with the first of their kind.
    let rules = std::fs::read_to_string("rules/own.yml").unwrap();
    let exprs = rules
        .lines()
        .filter_map(|it| it.trim().strip_prefix("expr: "));
    let words = exprs.flat_map(|it| it.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'));
    let named: BTreeSet<&str> = words
        .filter(|it| it.starts_with("mainstay_") || it.starts_with("process_"))
        .filter(|it| {
            let elsewhere = [
                "mainstay_agent_",
                "mainstay_router_",
                "mainstay_remote_write_",
                "mainstay_metrics_copy_",
                "mainstay_metrics_archive_",
                "mainstay_oncall_",
            ];
            !elsewhere.iter().any(|by| it.starts_with(by))
        })
        .collect();
    assert!(named.len() > 10, "{named:?}");
    for name in named {
        assert!(
            names.contains(&format!("\"{name}\"")),
            "nothing is called {name}: {names}"
        );
    }
    let rules = asked(&["rules", "list"]);
    let rules = String::from_utf8(rules.stdout).unwrap();
    assert!(rules.contains("MainstayDiskNearlyFull"), "{rules}");
}

#[test]
fn each_of_its_own_alerts_fires_on_what_it_is_about() {
    let tested = run(&["rules", "test", "rules/own.test.yml"]);
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&tested.stdout),
        String::from_utf8_lossy(&tested.stderr)
    );
    assert!(tested.status.success(), "{said}");
    let rules = std::fs::read_to_string("rules/own.yml").unwrap();
    let tests = std::fs::read_to_string("rules/own.test.yml").unwrap();
    let docs = std::fs::read_to_string("../../docs/operations/own-alerts.md").unwrap();
    for name in rules
        .lines()
        .filter_map(|it| it.trim().strip_prefix("- alert: "))
    {
        assert!(
            tests.contains(&format!("alertname=\"{name}\"")),
            "{name} has no test"
        );
        assert!(
            docs.contains(&format!("## {name}\n")),
            "{name} is not explained"
        );
    }
}
