//! Processes of the tests, a server with a known pattern of failures, and a client that shows bytes.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A condition not met by then fails the test.
const PATIENCE: Duration = Duration::from_secs(30);

/// The binary under test.
pub(crate) fn site() -> Command {
    Command::new(env!("CARGO_BIN_EXE_mainstay-site"))
}

/// An empty folder of one test's own.
pub(crate) fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if path.exists() {
        std::fs::remove_dir_all(&path).unwrap();
    }
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// Builds a release and returns its executable.
pub(crate) fn artifact(out: &Path, service: &str, version: &str, more: &[&str]) -> PathBuf {
    let output = site()
        .args(["build", "--service", service, "--version", version, "--out"])
        .arg(out)
        .args(more)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let path = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
    assert_eq!(path, out.join(service).join(version).join("run"));
    path
}

/// Sends a signal to a process that this test started.
pub(crate) fn send_signal(pid: u32, signal: &str) {
    let status = Command::new("kill")
        .args(["-s", signal, &pid.to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

/// Waits for a condition; each look costs a request or a system call, so this does not spin hot.
pub(crate) fn until(condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < PATIENCE, "the condition never held");
        std::thread::yield_now();
    }
}

/// Anything that listens.
pub(crate) trait Serves {
    fn address(&self) -> String;
}

/// The load generator with a generous limit on its own lateness: test machines are busy.
pub(crate) fn load_command(address: &str, more: &[&str]) -> Command {
    let mut command = site();
    command.args(["load", "--target", &format!("http://{address}")]);
    if !more.contains(&"--max-lag-ms") {
        command.args(["--max-lag-ms", "10000"]);
    }
    if !more.contains(&"--deadline-ms") {
        command.args(["--deadline-ms", "30000"]);
    }
    command.args(more);
    command
}

/// Runs the load generator to its end.
pub(crate) fn load(server: &impl Serves, more: &[&str]) -> (Value, ExitStatus) {
    let output = load_command(&server.address(), more).output().unwrap();
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (report, output.status)
}

/// An answer, taken apart.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// A request on its own connection, whose answer may or may not come.
#[derive(Debug)]
pub(crate) struct Pending(TcpStream);

impl Pending {
    /// Waits for the answer.
    pub(crate) fn read(mut self) -> Option<Answer> {
        self.0.set_nonblocking(false).unwrap();
        self.0.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut text = String::new();
        self.0.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        Some(Answer {
            status,
            headers,
            body: body.to_owned(),
        })
    }

    /// Whether the connection is open and not a byte has come.
    pub(crate) fn is_silent(&self) -> bool {
        self.0.set_nonblocking(true).unwrap();
        let mut byte = [0];
        matches!(self.0.peek(&mut byte), Err(error) if error.kind() == ErrorKind::WouldBlock)
    }
}

/// A running instance, killed when the test is done with it.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    address: String,
}

impl Running {
    pub(crate) fn start(path: &Path, environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(path)
            .env("PORT", "0")
            .env("INSTANCE", "test-1")
            .env("FABRIC", "east")
            .env_remove("ROUTER")
            .env_remove("SEED")
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let hello: Value = serde_json::from_str(&line).unwrap();
        let address = hello["listening"].as_str().unwrap().to_owned();
        Self { child, address }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn send(&self, path: &str) -> Pending {
        self.send_with(path, "")
    }

    pub(crate) fn send_with(&self, path: &str, headers: &str) -> Pending {
        self.request("GET", path, headers)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send(path).read().unwrap()
    }

    pub(crate) fn post(&self, path: &str) -> Answer {
        self.request("POST", path, "").read().unwrap()
    }

    fn request(&self, method: &str, path: &str, headers: &str) -> Pending {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{headers}\r\n"
        )
        .unwrap();
        Pending(stream)
    }

    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let metrics = self.get("/metrics").body;
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name} ")))?;
        line.parse().ok()
    }

    pub(crate) fn until_metric(&self, name: &str, value: f64) {
        until(|| self.metric(name) == Some(value));
    }

    pub(crate) fn signal(&self, signal: &str) {
        send_signal(self.pid(), signal);
    }

    /// Whether the kernel still has this signal to deliver.
    pub(crate) fn signal_pending(&self, signal: &str) -> bool {
        assert_eq!(signal, "TERM");
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        status
            .lines()
            .filter_map(|line| {
                line.strip_prefix("SigPnd:")
                    .or_else(|| line.strip_prefix("ShdPnd:"))
            })
            .any(|mask| u64::from_str_radix(mask.trim(), 16).unwrap() & (1 << 14) != 0)
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Serves for Running {
    fn address(&self) -> String {
        self.address.clone()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Either may fail when the process has ended already, which is what we want.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// How the pattern server answered.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counted {
    pub(crate) errors: u64,
    pub(crate) closed: u64,
}

#[derive(Debug, Default)]
struct Log {
    heads: Vec<String>,
    counted: Counted,
}

/// Answers requests with a repeating pattern of statuses; 0 closes the connection instead.
#[derive(Debug)]
pub(crate) struct PatternServer {
    address: String,
    log: Arc<(Mutex<Log>, Condvar)>,
}

impl PatternServer {
    pub(crate) fn start(pattern: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let log = Arc::new((Mutex::new(Log::default()), Condvar::new()));
        let (pattern, shared) = (pattern.to_vec(), Arc::clone(&log));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (pattern, shared) = (pattern.clone(), Arc::clone(&shared));
                // One request a connection: nothing for a client's pool to retry.
                std::thread::spawn(move || answer(stream.unwrap(), &pattern, &shared));
            }
        });
        Self { address, log }
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.log.0.lock().unwrap().heads.clone()
    }

    pub(crate) fn counted(&self) -> Counted {
        self.log.0.lock().unwrap().counted
    }

    /// Waits until so many requests have come.
    pub(crate) fn until_served(&self, count: usize) {
        let log = self.log.0.lock().unwrap();
        let (_log, timeout) = self
            .log
            .1
            .wait_timeout_while(log, PATIENCE, |log| log.heads.len() < count)
            .unwrap();
        assert!(!timeout.timed_out());
    }
}

impl Serves for PatternServer {
    fn address(&self) -> String {
        self.address.clone()
    }
}

fn answer(mut stream: TcpStream, pattern: &[u16], log: &(Mutex<Log>, Condvar)) {
    let mut head = String::new();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            return;
        }
    }
    let status = {
        let mut log = log.0.lock().unwrap();
        let status = pattern[log.heads.len() % pattern.len()];
        log.heads.push(head);
        match status {
            0 => log.counted.closed += 1,
            400.. => log.counted.errors += 1,
            _ => {}
        }
        status
    };
    log.1.notify_all();
    if status != 0 {
        // The client may be gone; then there is nobody to answer.
        let _written = write!(
            stream,
            "HTTP/1.1 {status} x\r\nx-service-version: 9.9.9\r\nconnection: close\r\n\
             content-length: 2\r\n\r\nok"
        );
    }
}
