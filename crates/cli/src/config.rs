//! The server's configuration file: TOML, one struct a section, every field with a default.

use std::{net::SocketAddr, path::Path};

use anyhow::Context;
use serde::Deserialize;

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    pub(crate) server: Server,
    pub(crate) store: Store,
    pub(crate) notify: Notify,
}

/// `[server]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) listen: SocketAddr,
    /// Ask for a token on loopback too.
    pub(crate) require_token: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7070)),
            require_token: false,
        }
    }
}

/// `[store]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Store {
    /// `postgres://…`; SQLite in the data directory where unset.
    pub(crate) url: Option<String>,
}

/// `[notify]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Notify {
    /// Who hears, by a JSON POST, of what a person should know.
    pub(crate) webhooks: Vec<Webhook>,
}

/// An address that takes a JSON POST.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Webhook(pub(crate) reqwest::Url);

impl TryFrom<String> for Webhook {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match reqwest::Url::parse(&text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(Self(url)),
            _ => Err(format!(
                "`{text}` is not an address that can be posted to, such as `http://127.0.0.1:9000/hook`"
            )),
        }
    }
}

impl Config {
    /// Reads `file`; the error names line and field.
    pub(crate) fn read(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is not a configuration", file.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_a_configuration_and_an_unknown_field_is_not() {
        assert_eq!(toml::from_str::<Config>("").unwrap(), Config::default());
        let error = toml::from_str::<Config>("[server]\nlisten_on = 1\n")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("line 2") && error.contains("listen_on"),
            "{error}"
        );
    }

    #[test]
    fn a_webhook_that_is_no_address_is_refused_with_its_line() {
        let read =
            |hook: &str| toml::from_str::<Config>(&format!("[notify]\nwebhooks = [\"{hook}\"]\n"));
        let config = read("http://127.0.0.1:9000/hook").unwrap();
        assert_eq!(config.notify.webhooks.len(), 1);
        for wrong in ["127.0.0.1:9000", "ftp://host/", "mailto:ops"] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.contains("line 2") && error.contains(wrong), "{error}");
        }
    }
}
