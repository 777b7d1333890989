//! What a configuration says of a receiver, in Prometheus's field names.

use std::{collections::BTreeMap, path::PathBuf};

use mainstay_core::Span;
use serde::Deserialize;

use crate::{
    adapter::{Secret, Tls},
    job::{Authorization, BasicAuth},
    relabel,
};

/// Shards where the configuration does not ask for others.
pub(super) const SHARDS: usize = 4;

/// `[[remote_write]]`, or an entry of `remote_write`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// Where samples are sent.
    pub url: String,
    /// Its name in metrics and logs.
    pub name: Option<String>,
    /// Time an answer may take.
    #[serde(default = "timeout")]
    pub remote_timeout: Span,
    /// Headers of each request.
    #[serde(default)]
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
    #[serde(default)]
    pub tls_config: Tls,
    /// What becomes of series before they are sent.
    #[serde(default)]
    pub write_relabel_configs: Vec<relabel::Section>,
    /// How much waits, and is sent at once.
    #[serde(default)]
    pub queue_config: Queue,
    /// What is said of metrics.
    #[serde(default)]
    pub metadata_config: Metadata,
    /// Whether exemplars are sent.
    #[serde(default)]
    pub send_exemplars: bool,
    /// Whether native histograms are sent.
    #[serde(default)]
    pub send_native_histograms: bool,
    /// The message, and with it the protocol.
    #[serde(default)]
    pub protobuf_message: MessageKind,
}

impl Section {
    /// Nothing but an address.
    pub fn at(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            name: None,
            remote_timeout: timeout(),
            headers: BTreeMap::new(),
            basic_auth: None,
            authorization: None,
            bearer_token: None,
            bearer_token_file: None,
            tls_config: Tls::default(),
            write_relabel_configs: Vec::new(),
            queue_config: Queue::default(),
            metadata_config: Metadata::default(),
            send_exemplars: false,
            send_native_histograms: false,
            protobuf_message: MessageKind::default(),
        }
    }
}

fn timeout() -> Span {
    Span::from_secs(30)
}

/// A message of remote write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum MessageKind {
    /// Remote write 1.0.
    #[default]
    #[serde(rename = "prometheus.WriteRequest")]
    V1,
    /// Remote write 2.0.
    #[serde(rename = "io.prometheus.write.v2.Request")]
    V2,
}

/// `queue_config`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Queue {
    /// Samples of a shard that wait in memory; what is beyond waits in the store.
    pub capacity: usize,
    /// Most shards.
    pub max_shards: usize,
    /// Fewest shards.
    pub min_shards: usize,
    /// Samples of one request.
    pub max_samples_per_send: usize,
    /// How long samples wait for others.
    pub batch_send_deadline: Span,
    /// Wait before the first repetition.
    pub min_backoff: Span,
    /// Longest wait between repetitions.
    pub max_backoff: Span,
    /// Taken for Prometheus's sake: a 429 is always sent again.
    pub retry_on_http_429: bool,
    /// Samples older than this are given up; zero is no limit.
    pub sample_age_limit: Span,
}

impl Default for Queue {
    /// Prometheus's.
    fn default() -> Self {
        Self {
            capacity: 10_000,
            max_shards: 50,
            min_shards: 1,
            max_samples_per_send: 2_000,
            batch_send_deadline: Span::from_secs(5),
            min_backoff: Span::from_millis(30),
            max_backoff: Span::from_secs(5),
            retry_on_http_429: true,
            sample_age_limit: Span::ZERO,
        }
    }
}

/// `metadata_config`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metadata {
    /// Whether metrics are described.
    pub send: bool,
    /// How often, in remote write 1.0; 2.0 has it in each request.
    pub send_interval: Span,
    /// Descriptions of one request.
    pub max_samples_per_send: usize,
}

impl Default for Metadata {
    /// Prometheus's.
    fn default() -> Self {
        Self {
            send: true,
            send_interval: Span::from_secs(60),
            max_samples_per_send: 2_000,
        }
    }
}
