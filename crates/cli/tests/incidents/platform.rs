//! A server whose people are reached at one webhook, and that can be killed.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_mainstay");
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// See the module.
pub(crate) struct Platform {
    child: Child,
    address: String,
    dir: TempDir,
}

impl Drop for Platform {
    fn drop(&mut self) {
        // An error means that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `holds`.
pub(crate) fn until(limit: Duration, holds: impl Fn() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < limit, "it does not hold in {limit:?}");
        thread::sleep(LOOK);
    }
}

impl Platform {
    /// With `alice` and `bob`, and the policy `web`.
    pub(crate) fn start(hook: SocketAddr, policy: &Value) -> Self {
        let dir = TempDir::new().unwrap();
        let person = |name: &str| {
            format!(
                "[oncall.people.{name}]\nzone = \"Europe/Berlin\"\n\
                 [[oncall.people.{name}.channels]]\nname = \"push\"\nwebhook = {{ url = \"http://{hook}/{name}\" }}\n"
            )
        };
        let config = format!(
            "[server]\notlp_listen = []\n[oncall]\npages_per_minute = 100\n{}{}",
            person("alice"),
            person("bob")
        );
        std::fs::write(dir.path().join("mainstay.toml"), config).unwrap();
        let (child, address) = serve(&dir, "127.0.0.1:0");
        let platform = Self {
            child,
            address,
            dir,
        };
        let (status, body) = platform.apply(policy);
        assert_eq!(status, 200, "{body}");
        platform
    }

    /// Declares the policy `web`.
    pub(crate) fn apply(&self, spec: &Value) -> (u16, String) {
        let resource = json!({"apiVersion": "mainstay/v1", "kind": "EscalationPolicy", "metadata": {"name": "web"}, "spec": spec});
        let body = json!({"resources": [resource], "reason": "as asked"});
        self.ask("POST", "/api/v1/apply", &body.to_string())
    }

    /// Kills the server as hard as can be, and starts it where it was.
    pub(crate) fn kill_and_start(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let (child, address) = serve(&self.dir, &self.address);
        self.child = child;
        self.address = address;
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask("GET", path, "");
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.ask("POST", path, &body.to_string());
        assert_eq!(status, 200, "{path}: {answer}");
        serde_json::from_str(&answer).unwrap()
    }

    /// Status and body.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let address = &self.address;
        let mut stream = TcpStream::connect(address).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\nx-mainstay-actor: dan\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = if head
            .to_ascii_lowercase()
            .contains("transfer-encoding: chunked")
        {
            unchunked(body)
        } else {
            body.to_owned()
        };
        (status, body)
    }

    /// The command line, as its own process.
    pub(crate) fn cli(&self, args: &[&str]) -> Output {
        Command::new(BINARY)
            .args(["--server", &format!("http://{}", self.address)])
            .args(args)
            .output()
            .unwrap()
    }
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length.trim(), 16).unwrap();
        if length == 0 {
            break;
        }
        whole.push_str(&rest[..length]);
        body = &rest[length + 2..];
    }
    whole
}

fn serve(dir: &TempDir, listen: &str) -> (Child, String) {
    let config: PathBuf = dir.path().join("mainstay.toml");
    let mut child = Command::new(BINARY)
        .arg("serve")
        .arg("--data-dir")
        .arg(dir.path().join("data"))
        .args(["--listen", listen, "--otlp-listen", "none"])
        .arg("--config")
        .arg(config)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let address = lines.find_map(|line| {
        let (_, url) = line.split_once("listening on ")?;
        Some(url.trim().trim_start_matches("http://").to_owned())
    });
    // A pipe that nobody reads would stop the server in time.
    thread::spawn(move || lines.for_each(drop));
    (child, address.expect("the server says where it listens"))
}
