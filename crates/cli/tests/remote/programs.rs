//! Programs that are started for one test, and what is asked of them.

use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_mainstay");
/// Far above what any condition takes, so that a failure is told and not waited for.
const LIMIT: Duration = Duration::from_mins(2);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(20);

/// Where a program is, if it is.
pub(crate) fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file());
    if found.is_none() {
        // Where nothing may be skipped, that is a failure.
        let said = format!("skipped: {name} is not installed");
        assert!(std::env::var_os("MAINSTAY_SKIPPED").is_none(), "{said}");
        println!("{said}");
    }
    found
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Waits for a condition.
pub(crate) fn until(what: &str, is: impl Fn() -> bool) {
    let since = Instant::now();
    while !is() {
        assert!(since.elapsed() < LIMIT, "never: {what}");
        thread::sleep(LOOK);
    }
}

/// Something that answers Prometheus's API.
pub(crate) trait Asked {
    fn url(&self) -> &str;

    fn query(&self, expr: &str) -> Value {
        self.get(&format!("/api/v1/query?query={}", escaped(expr)))
    }

    fn query_at(&self, expr: &str, at: i64) -> Value {
        self.get(&format!("/api/v1/query?query={}&time={at}", escaped(expr)))
    }

    fn get(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path)).unwrap_or_default()
    }

    /// Nothing where nobody answers.
    fn text(&self, path: &str) -> String {
        let url = format!("{}{path}", self.url());
        asked(move |client| client.get(url)).unwrap_or_default()
    }

    fn post_json(&self, path: &str, body: &Value) {
        let (url, body) = (format!("{}{path}", self.url()), body.clone());
        let answer = asked(move |client| client.post(url).json(&body)).unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer, serde_json::json!({}), "all is written");
    }
}

/// The text of an answer, whatever its status.
fn asked(request: impl FnOnce(&reqwest::Client) -> reqwest::RequestBuilder) -> Option<String> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().timeout(ANSWER);
    let client = client.build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(async { request(&client).send().await.ok()?.text().await.ok() })
}

fn escaped(text: &str) -> String {
    let byte = |it: u8| match it {
        b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => char::from(it).to_string(),
        _ => format!("%{it:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// A process that is killed with this value, also while it is paused.
struct Process(Child);

impl Process {
    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Somebody else's program.
pub(crate) struct Program {
    process: Process,
    pub(crate) url: String,
}

impl Asked for Program {
    fn url(&self) -> &str {
        &self.url
    }
}

impl Program {
    /// A Prometheus with this configuration.
    pub(crate) fn prometheus(binary: &Path, dir: &Path, config: &str, more: &[&str]) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        let file = dir.join("prometheus.yml");
        std::fs::write(&file, format!("global: {{scrape_interval: 1m}}\n{config}")).unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new(binary);
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                dir.join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .args(more);
        Self::start(command, &address, "/-/ready")
    }

    /// A single-node VictoriaMetrics.
    pub(crate) fn victoria_metrics(binary: &Path, dir: &Path) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new(binary);
        command
            .arg(format!("-storageDataPath={}", dir.join("data").display()))
            .arg(format!("-httpListenAddr={address}"))
            .arg("-search.latencyOffset=0s");
        Self::start(command, &address, "/health")
    }

    fn start(mut command: Command, address: &str, ready: &str) -> Self {
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let program = Self {
            process: Process(command.spawn().unwrap()),
            url: format!("http://{address}"),
        };
        until("it is ready", || !program.text(ready).is_empty());
        program
    }

    /// It answers nobody, and loses nothing.
    pub(crate) fn pause(&self) {
        self.process.signal(rustix::process::Signal::STOP);
    }

    pub(crate) fn go_on(&self) {
        self.process.signal(rustix::process::Signal::CONT);
    }
}

/// A Mainstay.
pub(crate) struct Mainstay {
    process: Process,
    pub(crate) url: String,
}

impl Asked for Mainstay {
    fn url(&self) -> &str {
        &self.url
    }
}

impl Mainstay {
    pub(crate) fn start(dir: &Path, config: &str) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        let file = dir.join("mainstay.toml");
        std::fs::write(&file, config).unwrap();
        let mut child = Command::new(BINARY)
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(dir.join("data"))
            .arg("--config")
            .arg(&file)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = Vec::new();
        let mut lines = BufReader::new(child.stderr.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let process = Process(child);
        let url = lines.find_map(|line| {
            let url = line
                .split_once("listening on ")
                .map(|it| it.1.trim().to_owned());
            said.push(line);
            url
        });
        let url = url.unwrap_or_else(|| panic!("it does not start: {}", said.join("\n")));
        // A pipe that nobody reads would stop the server in time.
        thread::spawn(move || lines.for_each(drop));
        Self { process, url }
    }

    /// As `kill -9`.
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// It answers nobody, and loses nothing.
    pub(crate) fn pause(&self) {
        self.process.signal(rustix::process::Signal::STOP);
    }

    pub(crate) fn go_on(&self) {
        self.process.signal(rustix::process::Signal::CONT);
    }
}
