//! The client of the API: one connection pool, one server or the one of several that leads, deadlines, bounded answers, errors with their remedy.
//!
//! Guarantees: a server that is away, an order that it refuses and an answer that cannot be read are
//! three different errors. Never tries again by itself: whoever waits for a server says so.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use mainstay_core::Verdict;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{args::Global, output, style::Style};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_mins(1);
/// How long a file may take.
const DOWNLOAD_WITHIN: Duration = Duration::from_hours(6);
/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Characters shown of an answer that is not JSON.
const EXCERPT_MAX: usize = 300;

/// Says that an answer ended before the ledger did, and after how many changes.
const LOOKED_AT: &str = "x-mainstay-looked-at";

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// Nobody listens, or no longer.
    #[error("no server answers at {server}: start one, or name it with --server")]
    Away {
        server: String,
        source: reqwest::Error,
    },
    /// It listens, and says nothing.
    #[error(
        "{server} did not answer within {} s: it may still do what it was asked; look at its log, and ask again",
        TIMEOUT.as_secs()
    )]
    Silent {
        server: String,
        source: reqwest::Error,
    },
    /// The connection ended within the answer.
    #[error("the answer broke off")]
    Broke(#[source] reqwest::Error),
    /// It answered in another language.
    #[error("the answer is not what this version expects")]
    Unreadable(#[source] serde_json::Error),
    /// It said no.
    #[error("{text}")]
    Refused {
        status: u16,
        text: String,
        /// The whole answer, where it is JSON.
        problem: Value,
    },
}

impl ClientError {
    /// Whether the same request may succeed once the server is back.
    pub(crate) fn is_away(&self) -> bool {
        match self {
            Self::Away { .. } | Self::Silent { .. } | Self::Broke(_) => true,
            Self::Refused { status, .. } => matches!(status, 429 | 502..=504),
            Self::Unreadable(_) => false,
        }
    }

    /// The same, with `place` of each resource and field that it names before what it says of them.
    pub(crate) fn placed(self, place: impl Fn(&str, &str) -> Option<String>) -> Self {
        match self {
            Self::Refused {
                status, problem, ..
            } if problem.is_object() => Self::Refused {
                status,
                text: explain(&problem, place),
                problem,
            },
            other => other,
        }
    }

    /// Whether another server may answer: this one was not reached, or stands by.
    fn is_elsewhere(&self) -> bool {
        match self {
            Self::Away { source, .. } => source.is_connect(),
            Self::Refused { problem, .. } => problem["code"] == "standby",
            Self::Silent { .. } | Self::Broke(_) | Self::Unreadable(_) => false,
        }
    }

    /// Whether there is no such thing.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }
}

/// Speaks to the server that leads, of those that it was given.
pub(crate) struct Client {
    http: reqwest::Client,
    servers: Vec<String>,
    /// The one that answered last.
    at: AtomicUsize,
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
            servers: global.servers()?,
            at: AtomicUsize::new(0),
            token: global.token.clone(),
        })
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(|server| self.http.get(format!("{server}{path}")))
            .await
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.ask(|server| self.http.post(format!("{server}{path}")).json(body))
            .await
    }

    /// Asks for what is no JSON.
    pub(crate) async fn get_text(&self, path: &str) -> Result<String, ClientError> {
        let request = |server: &str| self.http.get(format!("{server}{path}"));
        let body = self.body(request).await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// Posts bytes that are no JSON.
    pub(crate) async fn post_bytes<T: DeserializeOwned>(
        &self,
        path: &str,
        media: &str,
        body: Vec<u8>,
    ) -> Result<T, ClientError> {
        self.ask(|server| {
            let request = self.http.post(format!("{server}{path}"));
            request.header("content-type", media).body(body.clone())
        })
        .await
    }

    /// Whether `path` is answered with success.
    pub(crate) async fn answers(&self, path: &str) -> bool {
        let server = &self.servers[self.at.load(Ordering::Relaxed)];
        let request = self.http.get(format!("{server}{path}")).send();
        request
            .await
            .is_ok_and(|answer| answer.status().is_success())
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        request: impl Fn(&str) -> reqwest::RequestBuilder,
    ) -> Result<T, ClientError> {
        let body = self.body(request).await?;
        // What has no body says nothing.
        let body = if body.is_empty() { &b"null"[..] } else { &body };
        serde_json::from_slice(body).map_err(ClientError::Unreadable)
    }

    /// Asks one server after another, from the one that answered last, until one neither is away nor stands by.
    async fn body(
        &self,
        request: impl Fn(&str) -> reqwest::RequestBuilder,
    ) -> Result<Vec<u8>, ClientError> {
        let first = self.at.load(Ordering::Relaxed);
        let mut tried = 0;
        loop {
            let at = (first + tried) % self.servers.len();
            let server = &self.servers[at];
            let answer = self.send(server, request(server)).await;
            tried += 1;
            let next = matches!(&answer, Err(error) if error.is_elsewhere());
            if !next || tried >= self.servers.len() {
                self.at.store(at, Ordering::Relaxed);
                return answer;
            }
        }
    }

    /// Gets a file piece by piece; `take` fails where its disk does.
    pub(crate) async fn download(
        &self,
        path: &str,
        take: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
    ) -> anyhow::Result<()> {
        let server = &self.servers[self.at.load(Ordering::Relaxed)];
        let request = self.http.get(format!("{server}{path}"));
        let mut response = self.sent(server, request.timeout(DOWNLOAD_WITHIN)).await?;
        let status = response.status();
        if !status.is_success() {
            let body = response.bytes().await.map_err(ClientError::Broke)?;
            return Err(refused(status, &body).into());
        }
        while let Some(piece) = response.chunk().await.map_err(ClientError::Broke)? {
            take(&piece)?;
        }
        Ok(())
    }

    async fn sent(
        &self,
        server: &str,
        mut request: reqwest::RequestBuilder,
    ) -> Result<reqwest::Response, ClientError> {
        match &self.token {
            Some(token) => request = request.bearer_auth(token),
            None => request = request.header("x-mainstay-actor", os_user()),
        }
        request.send().await.map_err(|source| {
            let server = server.to_owned();
            if source.is_timeout() && !source.is_connect() {
                ClientError::Silent { server, source }
            } else {
                ClientError::Away { server, source }
            }
        })
    }

    async fn send(
        &self,
        server: &str,
        request: reqwest::RequestBuilder,
    ) -> Result<Vec<u8>, ClientError> {
        let response = self.sent(server, request).await?;
        let status = response.status();
        let looked_at = response.headers().get(LOOKED_AT);
        if let Some(count) = looked_at.and_then(|count| count.to_str().ok()) {
            eprintln!("note: only the newest {count} changes were looked at; filter by less");
        }
        let body = response.bytes().await.map_err(ClientError::Broke)?;
        if status.is_success() {
            return Ok(body.to_vec());
        }
        Err(refused(status, &body))
    }
}

/// What an answer says that is no success.
fn refused(status: reqwest::StatusCode, body: &[u8]) -> ClientError {
    let problem = serde_json::from_slice(body).unwrap_or(Value::Null);
    let text = if problem.is_object() {
        explain(&problem, |_, _| None)
    } else {
        let text = String::from_utf8_lossy(body);
        format!(
            "{status}: {}",
            text.chars().take(EXCERPT_MAX).collect::<String>()
        )
    };
    ClientError::Refused {
        status: status.as_u16(),
        text,
        problem,
    }
}

/// `?a=b&c=d`, every byte escaped that might mean something else.
pub(crate) fn parameters(pairs: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        text.push(if text.is_empty() { '?' } else { '&' });
        text.push_str(name);
        text.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                text.push(char::from(byte));
            } else {
                // Writing to a `String` cannot fail.
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}

fn explain(problem: &Value, written: impl Fn(&str, &str) -> Option<String>) -> String {
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or_default().to_owned();
    if let Some(error) = problem["error"].as_str() {
        return format!("{error} ({})", text(problem, "errorType"));
    }
    let places = problem["errors"].as_array().map_or(&[][..], Vec::as_slice);
    let code = text(problem, "code");
    if !places.is_empty() {
        let lines: Vec<String> = places
            .iter()
            .map(|place| {
                let (resource, field) = (text(place, "resource"), text(place, "field"));
                let before = written(&resource, &field).map_or_else(String::new, |at| at + ": ");
                format!(
                    "{before}{resource} {field}: {} ({code})\n  remedy: {}",
                    text(place, "what"),
                    text(place, "remedy")
                )
            })
            .collect();
        return lines
            .into_iter()
            .chain(numbers(problem))
            .collect::<Vec<_>>()
            .join("\n");
    }
    let mut lines = vec![format!("{} ({code})", text(problem, "title"))];
    lines.extend(numbers(problem));
    let remedy = text(problem, "remedy");
    if !remedy.is_empty() {
        lines.push(format!("  remedy: {remedy}"));
    }
    lines.join("\n")
}

/// The verdict that denies it, with its numbers, a line each; none where there is none.
fn numbers(problem: &Value) -> Vec<String> {
    let Ok(verdict) = serde_json::from_value::<Verdict>(problem["verdict"].clone()) else {
        return Vec::new();
    };
    let mut lines = vec![format!("  {}", output::verdict(&verdict, Style::PLAIN))];
    let finding = |finding| format!("    {}", output::finding(finding, Style::PLAIN));
    lines.extend(verdict.findings.iter().map(finding));
    lines
}

/// The operating system's user by the name it has there, or by number: a claim, marked unverified by the server.
/// The kernel is asked and not the environment, in which anybody may write any name.
fn os_user() -> String {
    let uid = nix::unistd::Uid::effective();
    let known = nix::unistd::User::from_uid(uid).ok().flatten();
    let name = known.map(|user| user.name).filter(|name| !name.is_empty());
    name.unwrap_or_else(|| format!("uid-{uid}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_parameter_may_hold_any_text() {
        assert_eq!(
            parameters(&[("query", "sum(up{a=\"b&c\"}) + 1"), ("t", "é")]),
            "?query=sum%28up%7Ba%3D%22b%26c%22%7D%29%20%2B%201&t=%C3%A9"
        );
        assert_eq!(parameters(&[]), "");
    }

    #[test]
    fn a_denial_shows_signal_value_limit_and_remedy() {
        let problem = json!({
            "code": "denied", "title": "the guard denies it", "remedy": "use smaller batches",
            "verdict": {"step": "batch 1", "at": 0, "findings": [{
                "signal": "capacity", "outcome": "fail", "value": "3,500 rps", "limit": "5,200 rps",
                "remedy": "largest safe batch is 8"}]},
        });
        let text = explain(&problem, |_, _| None);
        assert_eq!(
            text,
            "the guard denies it (denied)\n  batch 1: fail\n    fail  capacity: 3,500 rps \
             (limit 5,200 rps) → largest safe batch is 8\n  remedy: use smaller batches"
        );
    }
}
