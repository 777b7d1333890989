//! `[metrics]`: how long samples are kept.

use std::path::Path;

use anyhow::ensure;
use mainstay_core::Span;
use mainstay_ekg::adapter::Upkeep;
use serde::Deserialize;

/// `[metrics]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Metrics {
    /// How long samples are kept that no `[[metrics.retain]]` names.
    pub(crate) retention: Span,
    /// `[[metrics.retain]]`: other times for some series; of several the first that names a series holds for it.
    pub(crate) retain: Vec<Retain>,
    /// `[metrics.downsample]`: what becomes of samples after that.
    pub(crate) downsample: Downsample,
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
            (rule("up[5m]", "90d"), "line 4"),
            (rule("up", "1m"), "at least 1h"),
            (rule("up", "soon"), "soon"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
