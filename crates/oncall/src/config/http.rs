//! How a receiver is reached by HTTP, and what must not be shown.
//!
//! Guarantees: a secret is never printed by accident. Never opens a file or a connection.

use std::{collections::BTreeMap, fmt};

use serde::Deserialize;

/// A text that is not shown.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// A secret, or the file that holds it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Held {
    /// There is none.
    #[default]
    None,
    /// As it is.
    Here(Secret),
    /// In a file, read each time that it is needed.
    File(String),
}

impl Held {
    /// Of the two fields of which at most one is set; the file counts if both are.
    pub fn of(secret: &Secret, file: &str) -> Self {
        if !file.is_empty() {
            Self::File(file.to_owned())
        } else if secret.is_empty() {
            Self::None
        } else {
            Self::Here(secret.clone())
        }
    }

    /// This, or `other` where there is none.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match self {
            Self::None => other,
            Self::Here(_) | Self::File(_) => self,
        }
    }
}

/// `http_config`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Name and password.
    pub basic_auth: Option<Basic>,
    /// Any other scheme.
    pub authorization: Option<Authorization>,
    /// Older spelling of `authorization`.
    pub bearer_token: Secret,
    /// Older spelling of `authorization`.
    pub bearer_token_file: String,
    /// Not done here.
    pub oauth2: Option<serde::de::IgnoredAny>,
    /// How the other side is believed.
    pub tls_config: Option<Tls>,
    /// Whether redirects are followed.
    pub follow_redirects: bool,
    /// Whether HTTP/2 may be spoken.
    pub enable_http2: bool,
    /// Through which proxy.
    pub proxy_url: Secret,
    /// Whom not to ask through it.
    pub no_proxy: String,
    /// Whether the environment names the proxy.
    pub proxy_from_environment: bool,
    /// What the proxy is told.
    pub proxy_connect_header: Option<serde::de::IgnoredAny>,
    /// What is sent along.
    pub http_headers: BTreeMap<String, Header>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            basic_auth: None,
            authorization: None,
            bearer_token: Secret::default(),
            bearer_token_file: String::new(),
            oauth2: None,
            tls_config: None,
            follow_redirects: true,
            enable_http2: true,
            proxy_url: Secret::default(),
            no_proxy: String::new(),
            proxy_from_environment: false,
            proxy_connect_header: None,
            http_headers: BTreeMap::new(),
        }
    }
}

impl Http {
    /// What is asked for and not done.
    pub fn refused(&self) -> Option<&'static str> {
        let refused = [
            (
                self.oauth2.is_some(),
                "oauth2: is not done here; have a proxy add the token, or use authorization",
            ),
            (
                self.proxy_connect_header.is_some(),
                "proxy_connect_header: is not done here; remove it",
            ),
            (
                !self.no_proxy.is_empty(),
                "no_proxy: is not done here; give those receivers a http_config of their own",
            ),
        ];
        refused
            .into_iter()
            .find_map(|(is, what)| is.then_some(what))
    }
}

/// `basic_auth`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Basic {
    /// Who.
    pub username: String,
    /// Who, in a file.
    pub username_file: String,
    /// By what.
    pub password: Secret,
    /// By what, in a file.
    pub password_file: String,
}

/// `authorization`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Authorization {
    /// Such as Bearer.
    #[serde(rename = "type")]
    pub scheme: String,
    /// By what.
    pub credentials: Secret,
    /// By what, in a file.
    pub credentials_file: String,
}

impl Default for Authorization {
    fn default() -> Self {
        Self {
            scheme: "Bearer".to_owned(),
            credentials: Secret::default(),
            credentials_file: String::new(),
        }
    }
}

/// One of `http_headers`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Header {
    /// Shown.
    pub values: Vec<String>,
    /// Not shown.
    pub secrets: Vec<Secret>,
    /// In files.
    pub files: Vec<String>,
}

/// `tls_config`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// Who is believed.
    pub ca: String,
    /// Who is believed, in a file.
    pub ca_file: String,
    /// Who we are.
    pub cert: String,
    /// Who we are, in a file.
    pub cert_file: String,
    /// How we show it.
    pub key: Secret,
    /// How we show it, in a file.
    pub key_file: String,
    /// Whom we expect, where that is not the host of the address.
    pub server_name: String,
    /// Whether anybody is believed.
    pub insecure_skip_verify: bool,
    /// At least.
    pub min_version: String,
    /// At most.
    pub max_version: String,
}
