//! What is scraped.
//!
//! Guarantees: a target's URL is plain HTTP with a host, and its label set has an `instance`.

use http::Uri;
use mainstay_tsdb::{LabelError, Labels};

/// A process that says what it measures, and the labels its samples get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    url: Uri,
    labels: Labels,
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
        let instance = instance.filter(|_| uri.scheme_str() == Some("http"));
        let instance = instance.ok_or_else(wrong)?;
        let mut pairs: Vec<(&str, &str)> = labels.into_iter().collect();
        if !pairs.iter().any(|(name, _)| *name == "instance") {
            pairs.push(("instance", &instance));
        }
        Ok(Self {
            url: uri,
            labels: Labels::from_pairs(pairs)?,
        })
    }

    /// Where it is asked.
    pub fn url(&self) -> &Uri {
        &self.url
    }

    /// What its samples are labelled with.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    pub(crate) fn key(&self) -> (String, Labels) {
        (self.url.to_string(), self.labels.clone())
    }
}
