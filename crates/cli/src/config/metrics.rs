//! `[metrics]`: how long samples are kept, or which cluster keeps them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::ensure;
use mainstay_core::Span;
use mainstay_ekg::{
    adapter::{Secret, Tls, Upkeep},
    backend::{self, Backend, BackendError},
    job::{Authorization, BasicAuth},
    remote::{MessageKind, Queue},
};
use serde::Deserialize;

/// `[metrics]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Section")]
pub(crate) struct Metrics {
    /// How long samples are kept that no `[[metrics.retain]]` names.
    pub(crate) retention: Span,
    /// `[[metrics.retain]]`: other times for some series; of several the first that names a series holds for it.
    pub(crate) retain: Vec<Retain>,
    /// `[metrics.downsample]`: what becomes of samples after that.
    pub(crate) downsample: Downsample,
    /// The cluster that keeps samples and answers queries, if there is one.
    pub(crate) backend: Option<Backend>,
}

/// The section as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    retention: Option<Span>,
    #[serde(default)]
    retain: Vec<Retain>,
    #[serde(default)]
    downsample: Downsample,
    backend: Option<String>,
    write_url: Option<String>,
    keep: Option<Span>,
    remote_timeout: Option<Span>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    basic_auth: Option<BasicAuth>,
    authorization: Option<Authorization>,
    bearer_token: Option<Secret>,
    bearer_token_file: Option<PathBuf>,
    #[serde(default)]
    tls_config: Tls,
    queue_config: Option<Queue>,
    #[serde(default)]
    protobuf_message: MessageKind,
}

/// What a section cannot mean.
#[derive(Debug, thiserror::Error)]
enum MetricsError {
    /// The cluster.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// Two times for one thing.
    #[error(
        "[metrics]: with `backend` the cluster keeps samples: say `keep` for how long they stay here too, not `{0}`"
    )]
    KeptElsewhere(&'static str),
}

impl TryFrom<Section> for Metrics {
    type Error = MetricsError;

    fn try_from(section: Section) -> Result<Self, MetricsError> {
        let backend = Backend::of(backend::Section {
            backend: section.backend,
            write_url: section.write_url,
            keep: section.keep,
            remote_timeout: section.remote_timeout,
            headers: section.headers,
            basic_auth: section.basic_auth,
            authorization: section.authorization,
            bearer_token: section.bearer_token,
            bearer_token_file: section.bearer_token_file,
            tls_config: section.tls_config,
            queue_config: section.queue_config,
            protobuf_message: section.protobuf_message,
        })?;
        if backend.is_some() {
            let said = [
                ("retention", section.retention.is_some()),
                ("retain", !section.retain.is_empty()),
                ("downsample", section.downsample != Downsample::default()),
            ];
            if let Some((field, _)) = said.into_iter().find(|(_, is_said)| *is_said) {
                return Err(MetricsError::KeptElsewhere(field));
            }
        }
        let kept = backend.as_ref().map(|it| it.keep);
        let usual = Self::default();
        Ok(Self {
            retention: kept.or(section.retention).unwrap_or(usual.retention),
            retain: section.retain,
            downsample: section.downsample,
            backend,
        })
    }
}

/// `[metrics.downsample]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Downsample {
    /// How long summaries of five minutes are kept, from when their samples were; none are made where unset.
    pub(crate) five_minutes: Option<Span>,
    /// The same of summaries of an hour.
    pub(crate) one_hour: Option<Span>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            retention: Span::from_secs(30 * 24 * 60 * 60),
            retain: Vec::new(),
            downsample: Downsample::default(),
            backend: None,
        }
    }
}

impl Metrics {
    /// Whether every time is long enough.
    pub(super) fn check(&self, file: &Path) -> anyhow::Result<()> {
        let spans = self.retain.iter().map(|it| it.span);
        for span in spans.chain([self.retention]) {
            ensure!(
                span >= RETENTION_MIN,
                "{}: samples cannot be kept for {span} only: give a time of at least {RETENTION_MIN}, such as \"30d\"",
                file.display()
            );
        }
        let mut before = ("retention", self.retention);
        let coarser = [
            ("downsample.five_minutes", self.downsample.five_minutes),
            ("downsample.one_hour", self.downsample.one_hour),
        ];
        for (name, span) in coarser {
            let Some(span) = span else { continue };
            ensure!(
                span > before.1,
                "{}: metrics.{name} of {span} ends before metrics.{} of {}: what is coarser is kept for longer",
                file.display(),
                before.0,
                before.1
            );
            before = (name, span);
        }
        Ok(())
    }
}

/// `[[metrics.retain]]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Retain {
    /// Which series.
    #[serde(rename = "match")]
    pub(crate) selector: Selector,
    /// How long they are kept.
    #[serde(rename = "for")]
    pub(crate) span: Span,
}

/// A selector that holds.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Selector(pub(crate) String);

impl TryFrom<String> for Selector {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match Upkeep::check(std::slice::from_ref(&text)) {
            Ok(()) => Ok(Self(text)),
            Err(wrong) => Err(format!("`{text}` names no series: {wrong}")),
        }
    }
}

/// Samples younger than this are not in parts that could be dropped.
const RETENTION_MIN: Span = Span::from_secs(60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retention_has_a_selector_that_holds_and_a_time_that_is_long_enough() {
        let read = |text: &str| {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("mainstay.toml");
            std::fs::write(&file, text).unwrap();
            crate::config::Config::read(&file).map_err(|error| format!("{error:#}"))
        };
        let rule = |selector: &str, span: &str| {
            format!(
                "[metrics]\nretention = \"7d\"\n[[metrics.retain]]\nmatch = '{selector}'\nfor = \"{span}\"\n"
            )
        };
        let config = read(&rule("{job=\"shop\"}", "90d")).unwrap();
        assert_eq!(config.metrics.retention, Span::from_secs(7 * 24 * 3_600));
        assert_eq!(
            config.metrics.retain[0].span,
            Span::from_secs(90 * 24 * 3_600)
        );
        let coarser = "[metrics.downsample]\nfive_minutes = \"30d\"\none_hour = \"2y\"\n";
        let config = read(&(rule("up", "90d") + coarser)).unwrap();
        assert_eq!(
            config.metrics.downsample.one_hour,
            Some(Span::from_secs(730 * 24 * 3_600))
        );
        for (text, says) in [
            (
                "[metrics.downsample]\none_hour = \"20d\"\n".to_owned(),
                "ends before metrics.retention",
            ),
            (
                "[metrics]\nbackend = \"http://a:1\"\nretention = \"7d\"\n".to_owned(),
                "not `retention`",
            ),
            ("[metrics]\nkeep = \"2h\"\n".to_owned(), "without `backend`"),
            (rule("up[5m]", "90d"), "line 4"),
            (rule("up", "1m"), "at least 1h"),
            (rule("up", "soon"), "soon"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
