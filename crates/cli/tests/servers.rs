//! Two real servers on one real PostgreSQL: one leads, the other stands by and follows it when it is killed.

#![expect(clippy::unwrap_used, reason = "a step that fails ends its test")]

#[path = "../../store/tests/store/pg.rs"]
mod pg;

use std::{
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
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// A process that is killed with this value.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Server {
    _process: Process,
    url: String,
}

impl Server {
    fn start(database: &str, dir: &Path) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        let config = dir.join("mainstay.toml");
        std::fs::write(&config, format!("[store]\nurl = \"{database}\"\n")).unwrap();
        let mut child = Command::new(BINARY)
            .args([
                "serve",
                "--otlp-listen",
                "none",
                "--listen",
                "127.0.0.1:0",
                "--data-dir",
            ])
            .arg(dir)
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
        Self {
            _process: Process(child),
            url,
        }
    }
}

fn run(servers: &str, args: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.args(args).args(["--server", servers]);
    command.output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn declare(servers: &str, file: &Path, kind: &str, name: &str, spec: &str) -> Output {
    let text = format!(
        "apiVersion: mainstay/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    );
    std::fs::write(file, text).unwrap();
    run(servers, &["apply", "-f", file.to_str().unwrap()])
}

fn until(what: &str, is: impl Fn() -> bool) {
    let since = Instant::now();
    while !is() {
        assert!(since.elapsed() < LIMIT, "never {what}");
        thread::sleep(LOOK);
    }
}

/// Whether the agent of `h1` is connected to this very server.
fn has_agent(server: &Server) -> bool {
    let status = run(&server.url, &["status", "--output", "json"]);
    let status: Value = serde_json::from_slice(&status.stdout).unwrap_or_default();
    status["hosts"][0]["connected"] == true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_by_follows_one_that_is_killed_and_agents_go_with_the_lead() {
    let database = match pg::start().await {
        Ok(database) => database,
        Err(why) => return pg::skipped("two servers", &why),
    };
    let url = database.fresh(0).await;
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("input.yaml");
    let first = Server::start(&url, &dir.path().join("a"));
    let declared = declare(&first.url, &file, "Fabric", "lax", "{}");
    assert!(declared.status.success(), "{}", stderr(&declared));

    let second = Server::start(&url, &dir.path().join("b"));
    let refused = declare(&second.url, &file, "Host", "h1", "{fabric: lax}");
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        stderr(&refused).contains("standby") && stderr(&refused).contains(&first.url),
        "{}",
        stderr(&refused)
    );
    let both = format!("{},{}", second.url, first.url);
    let declared = declare(&both, &file, "Host", "h1", "{fabric: lax}");
    assert!(declared.status.success(), "{}", stderr(&declared));
    until("read from the one that stands by", || {
        run(&second.url, &["get", "host", "h1"]).status.success()
    });
    let agent = Command::new(BINARY)
        .args(["agent", "--server", &both, "--host", "h1", "--data-dir"])
        .arg(dir.path().join("agent"))
        .stderr(Stdio::null())
        .spawn();
    let _agent = Process(agent.unwrap());
    until("with the leader", || has_agent(&first));
    assert!(!has_agent(&second));

    let killed = first.url.clone();
    drop(first);
    until("led by the other", || {
        declare(&both, &file, "Fabric", "iad", "{}")
            .status
            .success()
    });
    until("with the new leader", || has_agent(&second));

    let again = Server::start(&url, &dir.path().join("a"));
    assert_ne!(again.url, killed);
    let refused = declare(&again.url, &file, "Fabric", "pdx", "{}");
    assert!(
        stderr(&refused).contains("standby") && stderr(&refused).contains(&second.url),
        "{}",
        stderr(&refused)
    );
    let verified = run(&second.url, &["ledger", "verify"]);
    assert!(verified.status.success(), "{}", stderr(&verified));
}
