//! What is scraped.
//!
//! Guarantees: a target's URL is HTTP or HTTPS with a host, and its label set has an `instance`.

use http::Uri;
use mainstay_core::Span;
use mainstay_tsdb::{LabelError, Labels};

use crate::relabel::Set;

/// A process that says what it measures, and the labels its samples get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    url: Uri,
    labels: Labels,
    /// What was known of it before relabeling.
    discovered: Set,
    interval: Option<Span>,
    deadline: Option<Span>,
}

/// Why something cannot be a target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Not a URL the scraper can ask.
    #[error("`{0}` is not a URL like `http://host:port/metrics`")]
    Url(String),
    /// Labels that are none.
    #[error(transparent)]
    Labels(#[from] LabelError),
}

impl Target {
    /// A target at `url`. Without an `instance` among `labels`, the host and port of the URL become it.
    pub fn new<'a>(
        url: &str,
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, TargetError> {
        let wrong = || TargetError::Url(url.chars().take(200).collect());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let instance = uri.authority().map(ToString::to_string);
        let instance = instance.filter(|_| matches!(uri.scheme_str(), Some("http" | "https")));
        let instance = instance.ok_or_else(wrong)?;
        let mut pairs: Vec<(&str, &str)> = labels.into_iter().collect();
        if !pairs.iter().any(|(name, _)| *name == "instance") {
            pairs.push(("instance", &instance));
        }
        let labels = Labels::from_pairs(pairs.iter().copied())?;
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Ok(Self {
            discovered: labels.iter().map(own).collect(),
            url: uri,
            labels,
            interval: None,
            deadline: None,
        })
    }

    /// With what was known of it before relabeling.
    #[must_use]
    pub fn discovered_as(mut self, discovered: Set) -> Self {
        self.discovered = discovered;
        self
    }

    /// With a rhythm of its own.
    #[must_use]
    pub fn every(mut self, interval: Span, deadline: Span) -> Self {
        (self.interval, self.deadline) = (Some(interval), Some(deadline));
        self
    }

    /// Where it is asked.
    pub fn url(&self) -> &Uri {
        &self.url
    }

    /// What its samples are labelled with.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// What was known of it before relabeling.
    pub fn discovered(&self) -> &Set {
        &self.discovered
    }

    /// Its own rhythm, or `otherwise`.
    pub(super) fn interval(&self, otherwise: Span) -> Span {
        self.interval.unwrap_or(otherwise)
    }

    /// How long its answer may take, or `otherwise`.
    pub(super) fn deadline(&self, otherwise: Span) -> Span {
        self.deadline.unwrap_or(otherwise)
    }

    pub(crate) fn key(&self) -> (String, Labels) {
        (self.url.to_string(), self.labels.clone())
    }
}
