//! What a configuration says of a scrape job, in Prometheus's field names.
//!
//! Guarantees: a field that this program does not know is refused by its name. Secrets are shown by nothing.

use std::{collections::BTreeMap, path::PathBuf};

use mainstay_core::Span;
use serde::Deserialize;

use crate::{
    adapter::{Credentials, Format, Held, Secret, Tls},
    relabel::{self, Set},
};

/// How often files of targets are read again.
const FILES_REFRESH: Span = Span::from_secs(5);
/// How often a server that lists targets is asked again, as Prometheus does.
const HTTP_REFRESH: Span = Span::from_secs(60);

/// `[[scrape]]`, or an entry of `scrape_configs`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// The job's name: the label `job`, and the pool's name.
    pub job_name: String,
    /// Time between two scrapes of one target.
    pub scrape_interval: Option<Span>,
    /// Time an answer may take.
    pub scrape_timeout: Option<Span>,
    /// Formats, the most wanted first.
    pub scrape_protocols: Option<Vec<Format>>,
    /// The path of metrics.
    #[serde(default = "metrics_path")]
    pub metrics_path: String,
    /// `http` or `https`.
    #[serde(default)]
    pub scheme: Scheme,
    /// Parameters of the URL.
    #[serde(default)]
    pub params: BTreeMap<String, Vec<String>>,
    /// Whether a sample's own label stands.
    #[serde(default)]
    pub honor_labels: bool,
    /// Whether a sample's own time stands.
    #[serde(default = "yes")]
    pub honor_timestamps: bool,
    /// Whether redirects are followed.
    #[serde(default = "yes")]
    pub follow_redirects: bool,
    /// Whether packed answers are taken.
    #[serde(default = "yes")]
    pub enable_compression: bool,
    /// Name and password for targets.
    pub basic_auth: Option<BasicAuth>,
    /// A token for targets.
    pub authorization: Option<Authorization>,
    /// The same, as older configurations write it.
    pub bearer_token: Option<Secret>,
    /// The same, in a file.
    pub bearer_token_file: Option<PathBuf>,
    /// How TLS is spoken with targets.
    #[serde(default)]
    pub tls_config: Tls,
    /// Targets that are listed here.
    #[serde(default)]
    pub static_configs: Vec<Group>,
    /// Targets that are listed in files.
    #[serde(default)]
    pub file_sd_configs: Vec<Files>,
    /// Targets that servers list.
    #[serde(default)]
    pub http_sd_configs: Vec<HttpList>,
    /// What becomes of targets.
    #[serde(default)]
    pub relabel_configs: Vec<relabel::Section>,
    /// What becomes of samples.
    #[serde(default)]
    pub metric_relabel_configs: Vec<relabel::Section>,
    /// Samples of one scrape; zero is no limit, here and below.
    #[serde(default)]
    pub sample_limit: usize,
    /// Whether native histograms are scraped.
    pub scrape_native_histograms: Option<bool>,
    /// Whether classic buckets are kept beside a native histogram.
    #[serde(alias = "scrape_classic_histograms")]
    pub always_scrape_classic_histograms: Option<bool>,
    /// Whether classic histograms become native ones with custom buckets.
    pub convert_classic_histograms_to_nhcb: Option<bool>,
    /// Buckets of one native histogram.
    #[serde(default)]
    pub native_histogram_bucket_limit: usize,
    /// How much larger than the one before a bucket's end is at least; zero is no limit.
    #[serde(default)]
    pub native_histogram_min_bucket_factor: f64,
    /// Labels of one sample.
    #[serde(default)]
    pub label_limit: usize,
    /// Bytes of a label's name.
    #[serde(default)]
    pub label_name_length_limit: usize,
    /// Bytes of a label's value.
    #[serde(default)]
    pub label_value_length_limit: usize,
    /// Targets of the job.
    #[serde(default)]
    pub target_limit: usize,
    /// Bytes of one answer, such as `10MB`.
    #[serde(default)]
    pub body_size_limit: Size,
}

fn metrics_path() -> String {
    "/metrics".to_owned()
}

fn yes() -> bool {
    true
}

/// Addresses that share labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Hosts with ports.
    #[serde(default)]
    pub targets: Vec<String>,
    /// Their labels.
    #[serde(default)]
    pub labels: Set,
}

/// Files that list groups, in JSON or YAML.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// Their paths; the last part may hold `*`.
    pub files: Vec<PathBuf>,
    /// How often they are read again.
    #[serde(default = "files_refresh")]
    pub refresh_interval: Span,
}

fn files_refresh() -> Span {
    FILES_REFRESH
}

/// A server that lists groups, in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpList {
    /// Where it is asked.
    pub url: String,
    /// How often.
    #[serde(default = "http_refresh")]
    pub refresh_interval: Span,
    /// Whether redirects are followed.
    #[serde(default = "yes")]
    pub follow_redirects: bool,
    /// Name and password for it.
    pub basic_auth: Option<BasicAuth>,
    /// A token for it.
    pub authorization: Option<Authorization>,
    /// The same, as older configurations write it.
    pub bearer_token: Option<Secret>,
    /// The same, in a file.
    pub bearer_token_file: Option<PathBuf>,
    /// How TLS is spoken with it.
    #[serde(default)]
    pub tls_config: Tls,
}

fn http_refresh() -> Span {
    HTTP_REFRESH
}

/// A number of bytes, with `KB`, `MB` or `GB` (of 1,024) behind it; zero is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Size(pub usize);

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a size such as `10MB`");
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let factor = match unit.replace('i', "").as_str() {
            "" if number == "0" => 0,
            "B" => 1,
            "KB" => 1 << 10,
            "MB" => 1 << 20,
            "GB" => 1 << 30,
            _ => return Err(wrong()),
        };
        let bytes = number
            .parse::<usize>()
            .ok()
            .and_then(|it| it.checked_mul(factor));
        bytes.map(Self).ok_or_else(wrong)
    }
}

/// How targets are spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// In plain text.
    #[default]
    Http,
    /// Within TLS.
    Https,
}

impl Scheme {
    /// As a URL begins.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// `basic_auth`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BasicAuth {
    /// The name.
    pub username: String,
    /// The password.
    pub password: Option<Secret>,
    /// The password, in a file.
    pub password_file: Option<PathBuf>,
}

/// `authorization`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authorization {
    /// The word before the token.
    #[serde(rename = "type", default = "bearer")]
    pub kind: String,
    /// The token.
    pub credentials: Option<Secret>,
    /// The token, in a file.
    pub credentials_file: Option<PathBuf>,
}

fn bearer() -> String {
    "Bearer".to_owned()
}

/// The ways to say who asks, of which a section has one at most.
pub(crate) struct Auth<'a> {
    pub(crate) basic: Option<&'a BasicAuth>,
    pub(crate) authorization: Option<&'a Authorization>,
    pub(crate) bearer_token: Option<&'a Secret>,
    pub(crate) bearer_token_file: Option<&'a PathBuf>,
}

impl Auth<'_> {
    /// What the section says; the error names the fields that contradict each other.
    pub(crate) fn credentials(self) -> Result<Option<Credentials>, &'static str> {
        let bearer = held(
            self.bearer_token,
            self.bearer_token_file,
            "`bearer_token` and `bearer_token_file`",
        )?;
        let bearer = bearer.map(|token| (self::bearer(), token));
        let mut tokens = None;
        if let Some(it) = self.authorization {
            let fields = "`authorization.credentials` and `credentials_file`";
            let secret = held(
                it.credentials.as_ref(),
                it.credentials_file.as_ref(),
                fields,
            )?;
            // Without a token there is nothing to say, as in Prometheus.
            tokens = secret.map(|token| (it.kind.clone(), token));
        }
        let mut basic = None;
        if let Some(it) = self.basic {
            let fields = "`basic_auth.password` and `password_file`";
            basic = Some(Credentials::Basic {
                user: it.username.clone(),
                password: held(it.password.as_ref(), it.password_file.as_ref(), fields)?,
            });
        }
        let token = |(kind, token)| Credentials::Token { kind, token };
        let mut said = basic
            .into_iter()
            .chain([tokens, bearer].into_iter().flatten().map(token));
        match (said.next(), said.next()) {
            (said, None) => Ok(said),
            (_, Some(_)) => Err("`basic_auth`, `authorization` and `bearer_token`"),
        }
    }
}

/// A secret that stands here, or in a file, or nowhere; `fields` where it stands in both.
fn held(
    here: Option<&Secret>,
    file: Option<&PathBuf>,
    fields: &'static str,
) -> Result<Option<Held>, &'static str> {
    match (here, file) {
        (Some(_), Some(_)) => Err(fields),
        (Some(secret), None) => Ok(Some(Held::Here(secret.clone()))),
        (None, Some(file)) => Ok(Some(Held::File(file.clone()))),
        (None, None) => Ok(None),
    }
}
