//! A Mainstay that copies what it keeps.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
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
/// What must be seen nowhere.
pub(crate) const SECRET: &str = "hunter2hunter2";

/// Waits for a condition.
pub(crate) fn until(what: &str, is: impl Fn() -> bool) {
    let since = Instant::now();
    while !is() {
        assert!(since.elapsed() < LIMIT, "never: {what}");
        thread::sleep(LOOK);
    }
}

/// Status and text of an answer, if there is one.
pub(crate) fn asked(
    request: impl FnOnce(&reqwest::Client) -> reqwest::RequestBuilder,
) -> Option<(u16, String)> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().timeout(ANSWER);
    let client = client.build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(async {
        let answer = request(&client).send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.text().await.ok()?))
    })
}

/// The program with the keys of the store.
pub(crate) fn program() -> Command {
    let mut command = Command::new(BINARY);
    command
        .env("AWS_ACCESS_KEY_ID", "alice")
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

/// Killed with this value, as by `kill -9`.
pub(crate) struct Mainstay {
    process: Child,
    pub(crate) url: String,
    said: Arc<Mutex<Vec<String>>>,
    pub(crate) data: PathBuf,
}

impl Drop for Mainstay {
    fn drop(&mut self) {
        // An error means that it is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Mainstay {
    pub(crate) fn start(dir: &Path, data: &str, config: &str) -> Self {
        let file = dir.join("mainstay.toml");
        std::fs::write(&file, config).unwrap();
        let data = dir.join(data);
        let mut process = program()
            .args([
                "serve",
                "--otlp-listen",
                "none",
                "--listen",
                "127.0.0.1:0",
                "--data-dir",
            ])
            .arg(&data)
            .arg("--config")
            .arg(&file)
            .env("RUST_LOG", "debug")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let said = Arc::<Mutex<Vec<String>>>::default();
        let heard = Arc::clone(&said);
        thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .for_each(|line| heard.lock().unwrap().push(line));
        });
        let url = || {
            let said = said.lock().unwrap();
            let url = |line: &String| Some(line.split_once("listening on ")?.1.trim().to_owned());
            said.iter().find_map(url)
        };
        let since = Instant::now();
        let url = loop {
            if let Some(url) = url() {
                break url;
            }
            let said = said.lock().unwrap().join("\n");
            assert!(since.elapsed() < LIMIT, "it does not start: {said}");
            let ended = process.try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {said}");
            thread::sleep(LOOK);
        };
        Self {
            process,
            url,
            said,
            data,
        }
    }

    /// All that it said until now.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().join("\n")
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        program()
            .args(args)
            .args(["--server", &self.url])
            .output()
            .unwrap()
    }

    /// What a command that succeeds prints.
    pub(crate) fn printed(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert!(
            ran.status.success(),
            "{}",
            String::from_utf8_lossy(&ran.stderr)
        );
        String::from_utf8(ran.stdout).unwrap()
    }

    pub(crate) fn text(&self, path: &str) -> String {
        let url = format!("{}{path}", self.url);
        asked(move |client| client.get(url)).unwrap().1
    }

    pub(crate) fn copies(&self) -> Value {
        let answer: Value = serde_json::from_str(&self.text("/api/v1/status/copies")).unwrap();
        answer["data"].clone()
    }

    /// Samples of any age are kept, sealed and merged.
    pub(crate) fn import(&self, text: &str) {
        let (url, text) = (format!("{}/api/v1/import", self.url), text.to_owned());
        let media = "application/openmetrics-text";
        let sent = asked(move |client| client.post(url).header("content-type", media).body(text));
        let (status, answer) = sent.unwrap();
        assert_eq!(status, 200, "{answer}");
        // Imported parts are merged once a generation ends after them, which a snapshot makes it.
        until("the server watches itself", || {
            self.text("/api/v1/query?query=up").contains("value")
        });
        self.printed(&["metrics", "snapshot"]);
    }

    /// Values of `kept` over a month, with their times.
    pub(crate) fn values(&self) -> Value {
        let text = self.text("/api/v1/query?query=kept%5B30d%5D");
        let answer: Value = serde_json::from_str(&text).unwrap();
        answer["data"]["result"].clone()
    }
}
