//! A service that Mainstay did not start: two real processes' worth of metrics, the real server, and a verdict
//! that nobody acts upon.

#![expect(clippy::unwrap_used, reason = "a step that fails ends its test")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_mainstay");
/// Far above what any condition takes, so that a failure is told and not waited for.
const LIMIT: Duration = Duration::from_mins(1);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// An instance of a shop, as its owner runs it: counts requests under its version, and how many failed.
struct Shop {
    address: SocketAddr,
    good: AtomicU64,
    bad: AtomicU64,
    /// Failures among a hundred requests.
    failing: AtomicU64,
    /// Whatever anybody asked of it.
    asked: Mutex<Vec<String>>,
}

impl Shop {
    /// Serves, and counts a hundred requests a second from its users while `open`.
    fn start(version: &'static str, open: &Arc<AtomicBool>) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let shop = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            good: AtomicU64::new(0),
            bad: AtomicU64::new(0),
            failing: AtomicU64::new(0),
            asked: Mutex::default(),
        });
        let serving = Arc::clone(&shop);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                serving.answer(version, stream);
            }
        });
        let (counting, open) = (Arc::clone(&shop), Arc::clone(open));
        thread::spawn(move || {
            let mut count = 0_u64;
            while open.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(10));
                count += 1;
                let is_bad = count % 100 < counting.failing.load(Ordering::Relaxed);
                let counter = if is_bad {
                    &counting.bad
                } else {
                    &counting.good
                };
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
        shop
    }

    fn answer(&self, version: &str, mut stream: TcpStream) {
        let mut request = [0; 2_048];
        let read = stream.read(&mut request).unwrap_or(0);
        let line = String::from_utf8_lossy(&request[..read]);
        let line = line.lines().next().unwrap_or_default().to_owned();
        let body = if line.contains(" /stats ") {
            let (good, bad) = (
                self.good.load(Ordering::Relaxed),
                self.bad.load(Ordering::Relaxed),
            );
            let all = good + bad;
            format!(
                "shop_requests_total{{release=\"{version}\",status=\"200\"}} {good}\n\
                 shop_requests_total{{release=\"{version}\",status=\"503\"}} {bad}\n\
                 shop_seconds_bucket{{release=\"{version}\",le=\"0.1\"}} {all}\n\
                 shop_seconds_bucket{{release=\"{version}\",le=\"+Inf\"}} {all}\n"
            )
        } else {
            "fine\n".to_owned()
        };
        self.asked.lock().unwrap().push(line);
        let length = body.len();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
        // Whoever hung up does not want it.
        let _ = stream.write_all((head + &body).as_bytes());
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(dir: &Path) -> Self {
        let mut child = Command::new(BINARY)
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(dir)
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
        Self { child, url }
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(BINARY);
        command
            .args(args)
            .args(["--server", &self.url])
            .output()
            .unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        let output = self.run(&[args, &["--output", "json"]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn shop(&self) -> Value {
        self.json(&["status"])["observed"][0].clone()
    }

    /// The shop as the server sees it once `is` holds.
    fn shop_when(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let since = Instant::now();
        loop {
            let shop = self.shop();
            if is(&shop) {
                return shop;
            }
            assert!(since.elapsed() < LIMIT, "never {what}: {shop:#}");
            thread::sleep(LOOK);
        }
    }

    fn observed(&self) -> Vec<String> {
        let changes = self.json(&["changes", "--kind", "observed"]);
        let title = |it: &Value| it["change"]["title"].as_str().unwrap().to_owned();
        let mut titles: Vec<String> = changes.as_array().unwrap().iter().map(title).collect();
        titles.reverse();
        titles
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error means that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn catalog(urls: &[String]) -> String {
    let urls = json!(urls);
    format!(
        r#"apiVersion: mainstay/v1
kind: Service
metadata: {{name: shop}}
spec:
  owner: shop
  manage: observe
  metrics: /stats
  version: v9
  observe:
    urls: {urls}
    signals:
      requests: {{selector: 'shop_requests_total{{service="shop"}}', versionLabel: release, codeLabel: status}}
      latency: {{selector: 'shop_seconds_bucket{{service="shop"}}'}}
"#
    )
}

#[test]
fn a_release_that_somebody_else_makes_is_judged_and_written_down_and_left_alone() {
    let dir = TempDir::new().unwrap();
    let open = Arc::new(AtomicBool::new(true));
    let server = Server::start(dir.path());
    let old = Shop::start("v1", &open);
    let file = dir.path().join("shop.yaml");
    let apply = |urls: &[String]| {
        std::fs::write(&file, catalog(urls)).unwrap();
        let output = server.run(&["apply", "-f", file.to_str().unwrap()]);
        assert!(output.status.success(), "{}", stderr(&output));
    };
    apply(&[old.url()]);
    let alone = server.shop_when("seen alone", |it| it["stable"] == "v1");
    assert_eq!(alone["trial"], Value::Null);
    server.shop_when("asked how it is", |it| {
        it["instances"][0]["claimed"] == "ok"
    });

    let new = Shop::start("v2", &open);
    apply(&[old.url(), new.url()]);
    let young = server.shop_when("compared", |it| {
        it["trial"]["requests"]["new"].as_u64() > Some(50)
    });
    assert_eq!(
        (&young["trial"]["from"], &young["trial"]["to"]),
        (&json!("v1"), &json!("v2"))
    );
    assert_ne!(
        young["trial"]["ruling"], "harm",
        "nothing is wrong with it yet"
    );

    new.failing.store(30, Ordering::Relaxed);
    let judged = server.shop_when("judged", |it| it["trial"]["ruling"] == "harm");
    assert_eq!(judged["trial"]["would"], "fail");
    let status = server.run(&["status"]);
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(
        status.contains("observed: shop v1 → v2 would fail: requests that failed: "),
        "{status}"
    );

    // The verdict is written a moment after it is shown.
    let wanted = [
        "shop v1 seen",
        "shop v2 seen beside v1",
        "shop v1 → v2 would fail",
    ];
    let since = Instant::now();
    while server.observed() != wanted {
        assert!(since.elapsed() < LIMIT, "{:?}", server.observed());
        thread::sleep(LOOK);
    }
    for args in [
        ["rollout", "start", "shop", "v2"].as_slice(),
        &["restart", "service/shop"],
        &["drain", "service/shop"],
        &["kill", "service/shop"],
        &["shed", "shop", "10%"],
    ] {
        let refused = server.run(args);
        assert_eq!(refused.status.code(), Some(2), "{args:?}");
        assert!(
            stderr(&refused).contains("observed-only"),
            "{args:?}: {}",
            stderr(&refused)
        );
    }
    let changes = server.json(&["changes"]);
    let mut kinds: Vec<&str> = changes
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["change"]["kind"].as_str().unwrap())
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, ["apply", "observed"], "nothing was acted upon");
    for shop in [&old, &new] {
        let asked = shop.asked.lock().unwrap();
        let only_looked =
            |it: &String| it.starts_with("GET /stats ") || it.starts_with("GET /healthz ");
        assert!(asked.iter().all(only_looked), "{asked:?}");
    }
    open.store(false, Ordering::Relaxed);
}

/// A process of the test's own; it ends with this value.
struct Process(Child);

impl Process {
    fn agent(server: &Server, dir: &Path) -> Self {
        let mut command = Command::new(BINARY);
        command
            .args(["agent", "--server", &server.url, "--host", "h1"])
            .arg("--data-dir")
            .arg(dir)
            .stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    fn pid(&self) -> u64 {
        u64::from(self.0.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_process_that_somebody_else_started_is_measured_and_its_starts_and_ends_are_written_down() {
    let dir = TempDir::new().unwrap();
    let program = dir.path().canonicalize().unwrap().join("shopd");
    std::fs::copy("/bin/sleep", &program).unwrap();
    let start = || Process(Command::new(&program).arg("600").spawn().unwrap());
    let first = start();
    let server = Server::start(&dir.path().join("server"));
    let file = dir.path().join("shop.yaml");
    let spec = json!({"owner": "shop", "manage": "observe", "observe": {"processes": [{"executable": program}]}});
    let text = format!(
        "apiVersion: mainstay/v1\nkind: Fabric\nmetadata: {{name: lax}}\nspec: {{}}\n---\n\
         apiVersion: mainstay/v1\nkind: Host\nmetadata: {{name: h1}}\nspec: {{fabric: lax}}\n---\n\
         apiVersion: mainstay/v1\nkind: Service\nmetadata: {{name: shop}}\nspec: {spec}\n"
    );
    std::fs::write(&file, text).unwrap();
    let applied = server.run(&["apply", "-f", file.to_str().unwrap()]);
    assert!(applied.status.success(), "{}", stderr(&applied));
    let agent = Process::agent(&server, &dir.path().join("agent"));

    let until = |what: &str, is: &dyn Fn(&[Value]) -> bool| {
        let since = Instant::now();
        loop {
            let all = server.json(&["get", "instances"]);
            let all = all.as_array().unwrap().clone();
            if is(&all) {
                return all;
            }
            assert!(since.elapsed() < LIMIT, "never {what}: {all:#?}");
            thread::sleep(LOOK);
        }
    };
    let is_pid =
        |pid: u64| move |all: &[Value]| all.len() == 1 && all[0]["status"]["pid"] == json!(pid);
    let found = until("found", &is_pid(first.pid()));
    let one = &found[0];
    assert_eq!(
        one["metadata"]["name"],
        json!(format!("shop-h1-{}", first.pid()))
    );
    assert_eq!(
        (
            &one["spec"]["service"],
            &one["spec"]["fabric"],
            &one["spec"]["manage"]
        ),
        (&json!("shop"), &json!("lax"), &json!("observe"))
    );
    assert_eq!(one["status"]["exeSha256"].as_str().unwrap().len(), 64);
    assert_eq!(one["status"]["measured"], Value::Null, "nobody measured it");

    // An agent that is started anew knows what it saw before.
    drop(agent);
    let second = {
        let _agent = Process::agent(&server, &dir.path().join("agent"));
        let second = start();
        until("both there", &|all| all.len() == 2);
        let pid = first.pid();
        drop(first);
        until("one gone", &is_pid(second.pid()));
        let titles = server.observed();
        let of = |pid: u64| {
            titles
                .iter()
                .filter(move |it| it.contains(&pid.to_string()))
        };
        assert_eq!(of(pid).count(), 2, "{titles:?}");
        assert!(
            titles.contains(&format!("shop on h1: process {pid} ended")),
            "{titles:?}"
        );
        let begins = format!(
            "shop on h1: process {} runs {}",
            second.pid(),
            program.display()
        );
        assert!(
            titles.iter().any(|it| it.starts_with(&begins)),
            "{titles:?}"
        );
        second
    };
    let alive = std::fs::read_to_string(format!("/proc/{}/stat", second.pid())).unwrap();
    assert!(!alive.contains(") Z "), "it was never signalled: {alive}");
}
