//! `[metrics]`: an existing Prometheus-compatible cluster that keeps the samples and answers queries.
//!
//! Guarantees: what is sent there goes the way of remote write, with all that that promises. What cannot be is refused,
//! never ignored.
//!
//! ```
//! use mainstay_ekg::backend::{Backend, Section};
//! let section: Section = serde_json::from_str(r#"{"backend": "http://mimir:8080/prometheus"}"#)?;
//! let backend = Backend::of(section)?.unwrap();
//! assert_eq!(backend.remote.url(), "http://mimir:8080/prometheus/api/v1/write");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::{collections::BTreeMap, path::PathBuf};

use mainstay_core::Span;
use serde::Deserialize;

use crate::{
    adapter::{Secret, Tls},
    job::{Authorization, BasicAuth},
    remote::{self, MessageKind, Queue, Remote, RemoteError},
};

/// How long samples stay here beside the cluster, unless it is said otherwise.
const KEPT: Span = Span::from_secs(24 * 60 * 60);
/// Shorter than what rules and the judge look back would make each of them ask the cluster.
const KEPT_MIN: Span = Span::from_secs(60 * 60);
/// How long samples wait for others on their way to the cluster: who asks it wants them soon.
const SEND_WITHIN: Span = Span::from_secs(1);

/// The section `[metrics]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Section {
    /// Where the cluster's API of Prometheus begins: what comes before `/api/v1`.
    pub backend: Option<String>,
    /// Where it takes remote write; `/api/v1/write` of it where unset. Mimir's is `…/api/v1/push`.
    pub write_url: Option<String>,
    /// How long samples stay here too.
    pub keep: Option<Span>,
    /// Time an answer may take.
    pub remote_timeout: Option<Span>,
    /// Headers of each request, such as `X-Scope-OrgID`.
    pub headers: BTreeMap<String, String>,
    /// Name and password.
    pub basic_auth: Option<BasicAuth>,
    /// A token.
    pub authorization: Option<Authorization>,
    /// The same, as older configurations write it.
    pub bearer_token: Option<Secret>,
    /// The same, in a file.
    pub bearer_token_file: Option<PathBuf>,
    /// How TLS is spoken.
    pub tls_config: Tls,
    /// How much waits, and is sent at once.
    pub queue_config: Option<Queue>,
    /// The message of remote write.
    pub protobuf_message: MessageKind,
}

/// A cluster that can be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// Where its API begins, without a slash behind.
    pub url: String,
    /// How samples are sent there; its credentials are those of queries too.
    pub remote: Remote,
    /// How long samples stay here.
    pub keep: Span,
}

/// Why a section names no cluster that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// Fields that say how to use what is not named.
    #[error("[metrics]: `{0}` says nothing without `backend`")]
    Without(&'static str),
    /// Too short.
    #[error(
        "[metrics] keep of {0}: give at least {KEPT_MIN}, so that rules do not depend on the cluster"
    )]
    Keep(Span),
    /// What remote write says.
    #[error("[metrics]: {0}")]
    Remote(#[from] RemoteError),
}

impl Backend {
    /// The cluster of a section, if it names one.
    pub fn of(section: Section) -> Result<Option<Self>, BackendError> {
        let Some(url) = section.backend else {
            let said = [
                ("write_url", section.write_url.is_some()),
                ("keep", section.keep.is_some()),
                ("queue_config", section.queue_config.is_some()),
            ];
            let useless = said.into_iter().find(|(_, said)| *said);
            return useless.map_or(Ok(None), |(field, _)| Err(BackendError::Without(field)));
        };
        let url = url.trim_end_matches('/').to_owned();
        let keep = section.keep.unwrap_or(KEPT);
        if keep < KEPT_MIN {
            return Err(BackendError::Keep(keep));
        }
        let write = section.write_url;
        let write = write.unwrap_or_else(|| format!("{url}/api/v1/write"));
        let mut sent = remote::Section::at(write);
        // What is not sent is gone after a day.
        sent.send_native_histograms = true;
        sent.name = Some("backend".to_owned());
        sent.remote_timeout = section.remote_timeout.unwrap_or(sent.remote_timeout);
        sent.headers = section.headers;
        sent.basic_auth = section.basic_auth;
        sent.authorization = section.authorization;
        sent.bearer_token = section.bearer_token;
        sent.bearer_token_file = section.bearer_token_file;
        sent.tls_config = section.tls_config;
        sent.queue_config = section.queue_config.unwrap_or(Queue {
            batch_send_deadline: SEND_WITHIN,
            ..Queue::default()
        });
        sent.protobuf_message = section.protobuf_message;
        // The address of queries has to be one as well.
        Remote::try_from(remote::Section::at(url.clone()))?;
        Ok(Some(Self {
            remote: Remote::try_from(sent)?,
            url,
            keep,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Backend>, String> {
        let section: Section = serde_json::from_str(text).map_err(|error| error.to_string())?;
        Backend::of(section).map_err(|error| error.to_string())
    }

    #[test]
    fn a_cluster_is_sent_to_and_asked_and_what_cannot_be_is_refused() {
        assert_eq!(read("{}"), Ok(None));
        let text = r#"{"backend": "http://a:1/", "write_url": "http://a:1/push", "keep": "2h",
                       "headers": {"X-Scope-OrgID": "shop"}}"#;
        let backend = read(text).unwrap().unwrap();
        assert_eq!(
            (backend.url.as_str(), backend.remote.url()),
            ("http://a:1", "http://a:1/push")
        );
        assert_eq!(backend.remote.name(), "backend");
        for (text, says) in [
            (r#"{"keep": "2h"}"#, "`keep` says nothing without `backend`"),
            (
                r#"{"backend": "http://a", "keep": "1m"}"#,
                "give at least 1h",
            ),
            (r#"{"backend": "a:1"}"#, "`a:1` is not a URL"),
            (r#"{"backend": "http://a", "tenant": "b"}"#, "tenant"),
        ] {
            let wrong = read(text).unwrap_err();
            assert!(wrong.contains(says), "{text}: {wrong}");
        }
    }
}
