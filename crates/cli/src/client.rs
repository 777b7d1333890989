//! The client of the API: one connection pool, deadlines, bounded answers, errors with their remedy.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::args::Global;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_mins(1);
/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Speaks to one server.
pub(crate) struct Client {
    http: reqwest::Client,
    server: String,
    token: Option<String>,
}

impl Client {
    pub(crate) fn new(global: &Global) -> anyhow::Result<Self> {
        // An error only means that a provider is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .no_proxy()
            .build()?;
        Ok(Self {
            http,
            server: global.server.trim_end_matches('/').to_owned(),
            token: global.token.clone(),
        })
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.send(self.http.get(format!("{}{path}", self.server)))
            .await
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        self.send(self.http.post(format!("{}{path}", self.server)).json(body))
            .await
    }

    /// Whether `path` is answered with success.
    pub(crate) async fn answers(&self, path: &str) -> bool {
        let request = self.http.get(format!("{}{path}", self.server)).send();
        request
            .await
            .is_ok_and(|answer| answer.status().is_success())
    }

    async fn send<T: DeserializeOwned>(
        &self,
        mut request: reqwest::RequestBuilder,
    ) -> anyhow::Result<T> {
        match &self.token {
            Some(token) => request = request.bearer_auth(token),
            None => request = request.header("x-mainstay-actor", os_user()),
        }
        let response = request.send().await.with_context(|| {
            format!(
                "no server answers at {}: start one, or name it with --server",
                self.server
            )
        })?;
        let status = response.status();
        let body = response.bytes().await.context("the answer broke off")?;
        if status.is_success() {
            return serde_json::from_slice(&body)
                .context("the answer is not what this version expects");
        }
        match serde_json::from_slice::<Value>(&body) {
            Ok(problem) => Err(explain(&problem)),
            Err(_) => bail!(
                "{status}: {}",
                String::from_utf8_lossy(&body)
                    .chars()
                    .take(300)
                    .collect::<String>()
            ),
        }
    }
}

fn explain(problem: &Value) -> anyhow::Error {
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let places = problem["errors"].as_array().map_or(&[][..], Vec::as_slice);
    if places.is_empty() {
        return anyhow!(
            "{} ({})\n  remedy: {}",
            text(problem, "title"),
            text(problem, "code"),
            text(problem, "remedy")
        );
    }
    let lines: Vec<String> = places
        .iter()
        .map(|place| {
            format!(
                "{} {}: {}\n  remedy: {}",
                text(place, "resource"),
                text(place, "field"),
                text(place, "what"),
                text(place, "remedy")
            )
        })
        .collect();
    anyhow!("{}", lines.join("\n"))
}

/// The operating system's user: a claim, marked unverified by the server.
fn os_user() -> String {
    use std::os::unix::fs::MetadataExt as _;
    let named = std::env::var("USER")
        .or_else(|_| std::env::var("LOGNAME"))
        .ok()
        .filter(|name| !name.is_empty());
    let by_uid = || std::fs::metadata("/proc/self").map(|me| format!("uid-{}", me.uid()));
    named
        .or_else(|| by_uid().ok())
        .unwrap_or_else(|| "unknown".to_owned())
}
