//! `[metrics]`: how long samples are kept, or which cluster keeps them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::ensure;
use mainstay_archive::place::{self, Place, PlaceError};
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
    /// `[metrics.copy]`: where parts are copied to.
    pub(crate) copy: Option<Copies>,
    /// `[metrics.archive]`: where days are written to as Parquet.
    pub(crate) archive: Option<Archive>,
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
    copy: Option<Copies>,
    archive: Option<Archive>,
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
            copy: section.copy,
            archive: section.archive,
        })
    }
}

/// `[metrics.copy]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "CopySection")]
pub(crate) struct Copies {
    /// Where.
    pub(crate) place: Place,
    /// How long what was removed here stays there.
    pub(crate) keep: Span,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CopySection {
    url: String,
    endpoint: Option<String>,
    region: Option<String>,
    credentials_file: Option<PathBuf>,
    keep: Option<Span>,
}

/// How long what was removed here stays in the store, where nothing is said.
const KEEP: Span = Span::from_secs(24 * 60 * 60);

impl TryFrom<CopySection> for Copies {
    type Error = PlaceError;

    fn try_from(section: CopySection) -> Result<Self, PlaceError> {
        let place = Place::of(place::Section {
            url: section.url,
            endpoint: section.endpoint,
            region: section.region,
            credentials_file: section.credentials_file,
        })?;
        let keep = section.keep.unwrap_or(KEEP);
        Ok(Self { place, keep })
    }
}

/// `[metrics.archive]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "ArchiveSection")]
pub(crate) struct Archive {
    /// Where.
    pub(crate) place: Place,
    /// How long a day is over before it is written.
    pub(crate) after: Span,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ArchiveSection {
    url: String,
    endpoint: Option<String>,
    region: Option<String>,
    credentials_file: Option<PathBuf>,
    after: Option<Span>,
}

/// How long a day is over before it is written, where nothing is said: late samples of it are there by then.
const AFTER: Span = Span::from_secs(24 * 60 * 60);
/// Samples of the last hour may still be on their way into parts.
const AFTER_MIN: Span = Span::from_secs(60 * 60);

impl TryFrom<ArchiveSection> for Archive {
    type Error = PlaceError;

    fn try_from(section: ArchiveSection) -> Result<Self, PlaceError> {
        let place = Place::of(place::Section {
            url: section.url,
            endpoint: section.endpoint,
            region: section.region,
            credentials_file: section.credentials_file,
        })?;
        let after = section.after.unwrap_or(AFTER);
        Ok(Self { place, after })
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
            copy: None,
            archive: None,
        }
    }
}

impl Metrics {
    /// Whether every time is long enough.
    pub(super) fn check(&self, file: &Path) -> anyhow::Result<()> {
        if let Some(archive) = &self.archive {
            ensure!(
                archive.after >= AFTER_MIN,
                "{}: metrics.archive.after of {}: give a time of at least {AFTER_MIN}, such as \"1d\"",
                file.display(),
                archive.after
            );
            let day = Span::from_secs(24 * 60 * 60).millis();
            ensure!(
                archive.after.millis().saturating_add(day) < self.retention.millis(),
                "{}: metrics.archive.after of {} and the day itself are longer than metrics.retention of {}: its first \
                 samples would be gone",
                file.display(),
                archive.after,
                self.retention
            );
        }
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
        let elsewhere = "[metrics.copy]\nurl = \"s3://copies/shop\"\nendpoint = \"http://a:9000\"\nkeep = \"7d\"\n\
                         [metrics.archive]\nurl = \"file:///archive\"\nafter = \"2d\"\n";
        let config = read(elsewhere).unwrap();
        let copy = config.metrics.copy.unwrap();
        assert_eq!(copy.place.url(), "s3://copies/shop");
        assert_eq!(copy.keep, Span::from_secs(7 * 24 * 3_600));
        let archive = config.metrics.archive.unwrap();
        assert_eq!(archive.after, Span::from_secs(2 * 24 * 3_600));
        for (text, says) in [
            (
                "[metrics.copy]\nurl = \"s3://alice:x@copies/a\"\n".to_owned(),
                "no password",
            ),
            (
                "[metrics.copy]\nurl = \"/copies\"\n".to_owned(),
                "s3://BUCKET/PREFIX",
            ),
            (
                "[metrics.archive]\nurl = \"file:///a\"\nafter = \"1m\"\n".to_owned(),
                "at least 1h",
            ),
            (
                "[metrics]\nretention = \"2d\"\n[metrics.archive]\nurl = \"file:///a\"\n"
                    .to_owned(),
                "would be gone",
            ),
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
