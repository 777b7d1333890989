//! Remote write out: where samples are sent on to, in Prometheus's field names, and everything about it that can be
//! decided without sending.
//!
//! Guarantees: what is known but cannot be done is refused, never ignored. A sample is given up for two reasons only:
//! the receiver answered that it will never take it, or `sample_age_limit` says so; both are counted.
//!
//! ```
//! use mainstay_ekg::remote::{Remote, Section};
//! let section: Section = serde_json::from_str(
//!     r#"{"url": "http://127.0.0.1:9090/api/v1/write", "queue_config": {"max_shards": 2}}"#)?;
//! let remote = Remote::try_from(section)?;
//! assert_eq!(remote.name(), "127.0.0.1:9090");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub(crate) mod encode;
pub(crate) mod mark;
pub(crate) mod pace;
mod section;

use std::{collections::BTreeMap, path::Path};

use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use crate::{
    adapter::{Credentials, Tls},
    job::Auth,
    relabel::{self, Rule, RuleError},
};
pub use section::{MessageKind, Metadata, Queue, Section};

/// Shards of one receiver: each is a connection and a queue of its own.
pub const SHARDS_MAX: usize = 64;
/// Samples of one request.
const SEND_MAX: usize = 100_000;
/// Samples that wait for one shard.
const CAPACITY_MAX: usize = 10_000_000;

/// Why a section is no receiver.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// Not an address.
    #[error("remote_write: `{0}` is not a URL like `https://host/api/v1/write`")]
    Url(String),
    /// Fields that say two things.
    #[error("remote_write to {url}: {fields} contradict each other: keep one")]
    Credentials {
        /// The receiver.
        url: String,
        /// Which.
        fields: &'static str,
    },
    /// A header that cannot be sent.
    #[error("remote_write to {url}: header `{name}` {why}")]
    Header {
        /// The receiver.
        url: String,
        /// The header.
        name: String,
        /// Why not.
        why: &'static str,
    },
    /// A rule that is none.
    #[error("remote_write to {url}, write_relabel_configs: {error}")]
    Rule {
        /// The receiver.
        url: String,
        /// What is wrong.
        error: RuleError,
    },
    /// A number that cannot be.
    #[error("remote_write to {url}, queue_config: {field} of {value}: {remedy}")]
    Queue {
        /// The receiver.
        url: String,
        /// The field.
        field: &'static str,
        /// What it says.
        value: usize,
        /// What it may be.
        remedy: &'static str,
    },
    /// Something that is not sent.
    #[error("remote_write to {url}: {field} cannot be done yet: {why}")]
    Unsent {
        /// The receiver.
        url: String,
        /// The field.
        field: &'static str,
        /// Why not.
        why: &'static str,
    },
}

/// A receiver that can be sent to.
#[derive(Clone, Debug, PartialEq)]
pub struct Remote {
    section: Section,
    name: String,
    pub(crate) url: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) rules: Vec<Rule>,
}

impl TryFrom<Section> for Remote {
    type Error = RemoteError;

    fn try_from(section: Section) -> Result<Self, RemoteError> {
        let url = section.url.clone();
        let wrong = || RemoteError::Url(url.chars().take(200).collect());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
        let authority = uri.authority().filter(|_| is_web).ok_or_else(wrong)?;
        // Who names none gets the host: a name is a file's and a label's.
        let name = section.name.clone().unwrap_or_else(|| {
            let host = authority.host();
            authority
                .port_u16()
                .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
        });
        holds(&section, &url)?;
        let auth = Auth {
            basic: section.basic_auth.as_ref(),
            authorization: section.authorization.as_ref(),
            bearer_token: section.bearer_token.as_ref(),
            bearer_token_file: section.bearer_token_file.as_ref(),
        };
        let credentials = auth
            .credentials()
            .map_err(|fields| RemoteError::Credentials {
                url: url.clone(),
                fields,
            })?;
        let rules = section.write_relabel_configs.iter().cloned();
        let rules: Result<Vec<Rule>, RuleError> = rules.map(Rule::try_from).collect();
        Ok(Self {
            headers: headers(&section.headers, &url)?,
            rules: rules.map_err(|error| RemoteError::Rule { url, error })?,
            section,
            name,
            url: uri,
            credentials,
        })
    }
}

/// Whether the numbers can be, and all that is asked for is done.
fn holds(section: &Section, url: &str) -> Result<(), RemoteError> {
    let unsent = |field, why| {
        Err(RemoteError::Unsent {
            url: url.to_owned(),
            field,
            why,
        })
    };
    if section.send_exemplars {
        return unsent("send_exemplars", "leave it out, exemplars are not sent");
    }
    let Queue {
        capacity,
        max_shards,
        min_shards,
        max_samples_per_send,
        ..
    } = section.queue_config;
    let limits = [
        ("capacity", capacity, CAPACITY_MAX, "give 1 to 10,000,000"),
        ("max_shards", max_shards, usize::MAX, "give at least 1"),
        (
            "min_shards",
            min_shards,
            max_shards,
            "give at least 1, and at most max_shards",
        ),
        (
            "max_samples_per_send",
            max_samples_per_send,
            SEND_MAX,
            "give 1 to 100,000",
        ),
    ];
    for (field, value, most, remedy) in limits {
        if value == 0 || value > most {
            return Err(RemoteError::Queue {
                url: url.to_owned(),
                field,
                value,
                remedy,
            });
        }
    }
    Ok(())
}

/// Headers of the sender's own protocol, which a configuration cannot say.
const OWN_HEADERS: [&str; 5] = [
    "authorization",
    "content-encoding",
    "content-type",
    "host",
    "x-prometheus-remote-write-version",
];

fn headers(said: &BTreeMap<String, String>, url: &str) -> Result<HeaderMap, RemoteError> {
    let mut headers = HeaderMap::new();
    for (name, value) in said {
        let wrong = |why| RemoteError::Header {
            url: url.to_owned(),
            name: name.clone(),
            why,
        };
        if OWN_HEADERS.contains(&name.to_lowercase().as_str()) {
            return Err(wrong("is said by remote write itself"));
        }
        let value =
            HeaderValue::from_str(value).map_err(|_| wrong("has a value no header may have"))?;
        let name = HeaderName::try_from(name).map_err(|_| wrong("is no name of a header"))?;
        headers.insert(name, value);
    }
    Ok(headers)
}

impl Remote {
    /// Whether it is sent native histograms.
    pub(crate) fn sends_histograms(&self) -> bool {
        self.section.send_native_histograms
    }

    /// Its name: the one it was given, or its host.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.section.url
    }

    pub(crate) fn section(&self) -> &Section {
        &self.section
    }

    /// Shards that send at once.
    pub(crate) fn shards(&self) -> usize {
        let Queue {
            max_shards,
            min_shards,
            ..
        } = self.section.queue_config;
        section::SHARDS
            .clamp(min_shards, max_shards)
            .min(SHARDS_MAX)
    }

    pub(crate) fn tls(&self) -> &Tls {
        &self.section.tls_config
    }

    /// Adds labels to all series that do not have them, before they are relabeled.
    pub(crate) fn add_labels(
        &mut self,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), RemoteError> {
        let rules = labels.iter().map(|(name, value)| {
            Rule::try_from(relabel::Section {
                source_labels: vec![name.clone()],
                regex: String::new(),
                target_label: name.clone(),
                replacement: value.replace('$', "$$"),
                ..relabel::Section::default()
            })
        });
        let rules: Result<Vec<Rule>, RuleError> = rules.collect();
        let rules = rules.map_err(|error| RemoteError::Rule {
            url: self.section.url.clone(),
            error,
        })?;
        self.rules.splice(..0, rules);
        Ok(())
    }

    /// Relative paths of files begin at `folder` from now on.
    pub fn begin_at(&mut self, folder: &Path) {
        self.section.tls_config.begin_at(folder);
        if let Some(credentials) = &mut self.credentials {
            credentials.begin_at(folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &str) -> Result<Remote, String> {
        let text = format!("{{\"url\": \"http://a:1/w\"{fields}}}");
        let section: Section = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        Remote::try_from(section).map_err(|error| error.to_string())
    }

    #[test]
    fn labels_are_added_where_there_are_none_and_before_rules() {
        let mut remote =
            read(r#", "write_relabel_configs": [{"source_labels": ["dc"], "target_label": "at"}]"#)
                .unwrap();
        let labels = [("dc", "l$1"), ("job", "x")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        remote.add_labels(&labels.into()).unwrap();
        let set = relabel::Set::from([("job".to_owned(), "shop".to_owned())]);
        let made = relabel::apply(&remote.rules, set).unwrap();
        assert_eq!(
            (&*made["dc"], &*made["at"], &*made["job"]),
            ("l$1", "l$1", "shop")
        );
    }

    #[test]
    fn a_section_says_what_prometheus_says_and_what_cannot_be_is_refused_with_its_field() {
        let remote = read("").unwrap();
        assert_eq!((remote.name(), remote.shards()), ("a:1", 4));
        let queue = |fields: &str| read(&format!(", \"queue_config\": {{{fields}}}"));
        assert_eq!(queue("\"max_shards\": 1").unwrap().shards(), 1);
        assert_eq!(queue("\"min_shards\": 9").unwrap().shards(), 9);
        for (fields, says) in [
            (
                r#", "headers": {"Host": "b"}"#,
                "`Host` is said by remote write itself",
            ),
            (r#", "send_exemplars": true"#, "send_exemplars"),
            (r#", "sigv4": {}"#, "sigv4"),
            (r#", "protobuf_message": "mine""#, "mine"),
            (
                r#", "bearer_token": "a", "basic_auth": {"username": "b"}"#,
                "contradict",
            ),
            (
                r#", "write_relabel_configs": [{"regex": "("}]"#,
                "write_relabel_configs",
            ),
        ] {
            let wrong = read(fields).unwrap_err();
            assert!(wrong.contains(says), "{fields}: {wrong}");
        }
        let wrong = queue("\"capacity\": 0").unwrap_err();
        assert!(wrong.contains("capacity of 0: give 1 to"), "{wrong}");
        let wrong = Remote::try_from(Section::at("ftp://a/w")).unwrap_err();
        assert!(
            wrong.to_string().contains("https://host/api/v1/write"),
            "{wrong}"
        );
    }
}
