//! `alerting`: where alerts go, and what becomes of them before.

use mainstay_core::Span;
use serde::Deserialize;

use super::nothing_or;
use crate::{
    job::{Group, Scheme},
    relabel,
};

/// What is not done for Alertmanagers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AlertingError {
    /// An old API.
    #[error("`api_version: {0}` is gone from Alertmanager: say `v2`, or nothing")]
    Version(String),
}

/// The section.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Alerting {
    #[serde(deserialize_with = "nothing_or")]
    alert_relabel_configs: Vec<relabel::Section>,
    #[serde(deserialize_with = "nothing_or")]
    alertmanagers: Vec<Alertmanagers>,
}

/// Alertmanagers that are spoken to alike.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Alertmanagers {
    #[serde(default)]
    static_configs: Vec<Group>,
    #[serde(default)]
    scheme: Scheme,
    #[serde(default)]
    path_prefix: String,
    api_version: Option<String>,
    /// Each try has a deadline of its own here.
    #[serde(rename = "timeout")]
    _timeout: Option<Span>,
}

impl Alerting {
    /// The addresses, and what becomes of alerts.
    pub(super) fn taken(self) -> Result<(Vec<String>, Vec<relabel::Section>), AlertingError> {
        let mut addresses = Vec::new();
        for alike in self.alertmanagers {
            if let Some(version) = alike.api_version.filter(|it| it != "v2") {
                return Err(AlertingError::Version(version));
            }
            let scheme = alike.scheme.as_str();
            let prefix = alike.path_prefix.trim_matches('/');
            let slash = if prefix.is_empty() { "" } else { "/" };
            let targets = alike.static_configs.iter().flat_map(|it| &it.targets);
            addresses.extend(targets.map(|it| format!("{scheme}://{it}{slash}{prefix}")));
        }
        Ok((addresses, self.alert_relabel_configs))
    }
}
