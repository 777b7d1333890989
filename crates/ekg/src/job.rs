//! A scrape job as a configuration says it, in Prometheus's field names, and what it finds.
//!
//! Guarantees: what is known but cannot be done is refused, never ignored. From a target's address to its URL and labels everything is a pure function.
//!
//! ```
//! use mainstay_ekg::job::{Group, Job, Section};
//! let section: Section = serde_json::from_str(
//!     r#"{"job_name": "shop", "static_configs": [{"targets": ["10.0.0.1:80"], "labels": {"dc": "lax"}}]}"#)?;
//! let job = Job::try_from(section)?;
//! let found = job.targets(job.fixed());
//! assert_eq!(found.targets[0].url(), "http://10.0.0.1:80/metrics");
//! assert_eq!(found.targets[0].labels().get("dc"), Some("lax"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod section;

use std::{fmt::Write as _, path::Path, sync::Arc};

use mainstay_core::Span;

use crate::{
    adapter::{
        Asking, Format, ListServer, SampleLimits, SampleRules, ScrapeConfig, Target, TlsError,
    },
    relabel::{self, Rule, RuleError, Set},
    text::{Natives, TextLimits},
};
pub(crate) use section::Auth;
pub use section::{Authorization, BasicAuth, Files, Group, HttpList, Scheme, Section, Size};

/// Prometheus's default of `scrape_interval`.
const INTERVAL: Span = Span::from_secs(60);
/// Prometheus's default of `scrape_timeout`.
const TIMEOUT: Span = Span::from_secs(10);
/// Bytes of one answer, where the job names no limit: a scrape of a million samples.
const BODY_BYTES: usize = 100 << 20;
/// Targets of one job, where it names no limit.
const TARGETS: usize = 20_000;

/// Why a section is no job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// An empty name.
    #[error("a scrape job needs a `job_name`")]
    NoName,
    /// Fields that say two things.
    #[error("scrape job `{job}`: {fields} contradict each other: keep one")]
    Credentials {
        /// The job.
        job: String,
        /// Which.
        fields: &'static str,
    },
    /// A server of targets that cannot be asked.
    #[error(
        "scrape job `{job}`, http_sd_configs: `{url}` is not a URL like `https://host/targets`"
    )]
    ListServer {
        /// The job.
        job: String,
        /// The URL.
        url: String,
    },
    /// An answer may take longer than until the next question.
    #[error(
        "scrape job `{job}`: scrape_timeout {timeout} is longer than scrape_interval {interval}"
    )]
    Timeout {
        /// The job.
        job: String,
        /// The timeout.
        timeout: Span,
        /// The interval.
        interval: Span,
    },
    /// A rule that is none.
    #[error("scrape job `{job}`, {list}: {error}")]
    Rule {
        /// The job.
        job: String,
        /// Which rules.
        list: &'static str,
        /// What is wrong.
        error: RuleError,
    },
}

/// A job that can be run.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    section: Section,
    rules: Vec<Rule>,
    config: ScrapeConfig,
    servers: Vec<ListServer>,
}

/// What a job makes of what was found.
#[derive(Debug, Default)]
pub struct Found {
    /// What is scraped.
    pub targets: Vec<Target>,
    /// What relabeling dropped.
    pub dropped: Vec<Set>,
    /// What cannot be a target, and why.
    pub refused: Vec<String>,
}

impl TryFrom<Section> for Job {
    type Error = JobError;

    fn try_from(section: Section) -> Result<Self, JobError> {
        let job = section.job_name.clone();
        if job.is_empty() {
            return Err(JobError::NoName);
        }
        let interval = section.scrape_interval.unwrap_or(INTERVAL);
        let timeout = section.scrape_timeout.unwrap_or(TIMEOUT.min(interval));
        if timeout > interval {
            return Err(JobError::Timeout {
                job,
                timeout,
                interval,
            });
        }
        let compiled = |list, sections: &[relabel::Section]| {
            let rules = sections.iter().cloned().map(Rule::try_from);
            let rules: Result<Vec<Rule>, RuleError> = rules.collect();
            let job = job.clone();
            rules.map_err(|error| JobError::Rule { job, list, error })
        };
        let rules = compiled("relabel_configs", &section.relabel_configs)?;
        let relabel = compiled("metric_relabel_configs", &section.metric_relabel_configs)?;
        let contradict = |fields| JobError::Credentials {
            job: job.clone(),
            fields,
        };
        let credentials = Auth {
            basic: section.basic_auth.as_ref(),
            authorization: section.authorization.as_ref(),
            bearer_token: section.bearer_token.as_ref(),
            bearer_token_file: section.bearer_token_file.as_ref(),
        };
        let mut config = config(&section, interval, timeout, relabel.into());
        config.asking.credentials = credentials.credentials().map_err(contradict)?;
        let servers = section.http_sd_configs.iter();
        let servers: Result<_, JobError> = servers.map(|list| list_server(&job, list)).collect();
        Ok(Self {
            servers: servers?,
            section,
            rules,
            config,
        })
    }
}

fn config(section: &Section, interval: Span, deadline: Span, relabel: Arc<[Rule]>) -> ScrapeConfig {
    let limit = |limit: usize| Some(limit).filter(|limit| *limit > 0);
    let mut formats = Asking::default().formats;
    let (native, keep_classic, custom_buckets) = (
        section.scrape_native_histograms.unwrap_or(false),
        section.always_scrape_classic_histograms.unwrap_or(false),
        section.convert_classic_histograms_to_nhcb.unwrap_or(false),
    );
    if native {
        // Only this format has them.
        formats.insert(0, Format::Protobuf);
    }
    let natives = match (native, keep_classic) {
        (false, _) => Natives::PassedOver,
        (true, false) => Natives::Read,
        (true, true) => Natives::ReadWithClassic,
    };
    ScrapeConfig {
        pool: section.job_name.clone(),
        interval,
        deadline,
        body_bytes: limit(section.body_size_limit.0).unwrap_or(BODY_BYTES),
        targets: limit(section.target_limit).unwrap_or(TARGETS),
        asking: Asking {
            formats: section.scrape_protocols.clone().unwrap_or(formats),
            gzip: section.enable_compression,
            redirects: section.follow_redirects,
            credentials: None,
        },
        tls: section.tls_config.clone(),
        samples: SampleRules {
            honor_labels: section.honor_labels,
            honor_timestamps: section.honor_timestamps,
            limits: SampleLimits {
                samples: limit(section.sample_limit),
                labels: limit(section.label_limit),
                name_bytes: limit(section.label_name_length_limit),
                value_bytes: limit(section.label_value_length_limit),
                buckets: limit(section.native_histogram_bucket_limit),
                finest_schema: finest_schema(section.native_histogram_min_bucket_factor),
            },
            custom_buckets,
            keep_classic,
            relabel,
        },
        text: TextLimits {
            natives,
            ..ScrapeConfig::default().text
        },
        ..ScrapeConfig::default()
    }
}

/// The finest schema whose buckets grow by at least `factor`.
fn finest_schema(factor: f64) -> Option<i32> {
    let grows = |schema: &i32| 2_f64.powf(2_f64.powi(-*schema)) >= factor;
    let finest = (-4..=8).rev().find(grows).unwrap_or(-4);
    (factor > 1.0).then_some(finest)
}

fn list_server(job: &str, list: &HttpList) -> Result<ListServer, JobError> {
    let credentials = Auth {
        basic: list.basic_auth.as_ref(),
        authorization: list.authorization.as_ref(),
        bearer_token: list.bearer_token.as_ref(),
        bearer_token_file: list.bearer_token_file.as_ref(),
    };
    let url = list.url.parse().ok();
    let url = url.filter(|url: &http::Uri| {
        matches!(url.scheme_str(), Some("http" | "https")) && url.authority().is_some()
    });
    Ok(ListServer {
        url: url.ok_or_else(|| JobError::ListServer {
            job: job.to_owned(),
            url: list.url.chars().take(200).collect(),
        })?,
        every: list.refresh_interval,
        redirects: list.follow_redirects,
        credentials: credentials
            .credentials()
            .map_err(|fields| JobError::Credentials {
                job: job.to_owned(),
                fields,
            })?,
        tls: list.tls_config.clone(),
    })
}

impl Job {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.section.job_name
    }

    /// Whether TLS can be spoken as it wants, with its targets and with the servers that list them.
    pub fn check_tls(&self) -> Result<(), TlsError> {
        self.config.tls.client()?;
        for server in &self.servers {
            server.tls.client()?;
        }
        Ok(())
    }

    /// What becomes of its targets.
    pub(crate) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// How its targets are scraped.
    pub fn config(&self) -> &ScrapeConfig {
        &self.config
    }

    /// The groups that stand in the configuration.
    pub fn fixed(&self) -> &[Group] {
        &self.section.static_configs
    }

    /// Relative paths of files, of targets and of secrets, begin at `folder` from now on.
    pub fn begin_at(&mut self, folder: &Path) {
        let files = &mut self.section.file_sd_configs;
        for path in files.iter_mut().flat_map(|it| &mut it.files) {
            *path = folder.join(&path);
        }
        let asking = &mut self.config.asking.credentials;
        let servers = self.servers.iter_mut();
        let spoken = servers.map(|server| (&mut server.credentials, &mut server.tls));
        for (credentials, tls) in spoken.chain([(asking, &mut self.config.tls)]) {
            tls.begin_at(folder);
            if let Some(credentials) = credentials {
                credentials.begin_at(folder);
            }
        }
    }

    /// The servers that list others.
    pub fn servers(&self) -> &[ListServer] {
        &self.servers
    }

    /// The files that list others.
    pub fn files(&self) -> &[Files] {
        &self.section.file_sd_configs
    }

    /// Targets out of groups.
    pub fn targets<'g>(&self, groups: impl IntoIterator<Item = &'g Group>) -> Found {
        let mut found = Found::default();
        for group in groups {
            for address in &group.targets {
                let discovered = self.discovered(address, &group.labels);
                match relabel::apply(&self.rules, discovered.clone()) {
                    Some(set) if set.contains_key("__address__") => match self.target(&set) {
                        Ok(target) => found.targets.push(target.discovered_as(discovered)),
                        Err(error) => found.refused.push(format!("{address}: {error}")),
                    },
                    _ => found.dropped.push(discovered),
                }
            }
        }
        found
    }

    /// What is known of an address before relabeling.
    fn discovered(&self, address: &str, labels: &Set) -> Set {
        let own = [
            ("__address__", address),
            ("__metrics_path__", &self.section.metrics_path),
            ("__scheme__", self.section.scheme.as_str()),
            ("__scrape_interval__", &self.config.interval.to_string()),
            ("__scrape_timeout__", &self.config.deadline.to_string()),
            ("job", self.name()),
        ];
        let mut set: Set = own.map(|(n, v)| (n.to_owned(), v.to_owned())).into();
        for (name, values) in &self.section.params {
            let first = values.first().cloned().unwrap_or_default();
            set.insert(format!("__param_{name}"), first);
        }
        set.extend(labels.clone());
        set.retain(|_, value| !value.is_empty());
        set
    }

    fn target(&self, set: &Set) -> Result<Target, String> {
        let value = |name: &str| set.get(name).map_or("", String::as_str);
        let path = value("__metrics_path__");
        let slash = if path.starts_with('/') { "" } else { "/" };
        let (scheme, address) = (value("__scheme__"), value("__address__"));
        let query = self.query(set);
        let url = format!("{scheme}://{address}{slash}{path}{query}");
        let span = |name: &str| {
            value(name)
                .parse::<Span>()
                .map_err(|error| error.to_string())
        };
        let (interval, deadline) = (span("__scrape_interval__")?, span("__scrape_timeout__")?);
        if interval == Span::ZERO || deadline > interval {
            return Err(format!(
                "a scrape_timeout of {deadline} does not fit into {interval}"
            ));
        }
        let labels = set.iter().filter(|(name, _)| !name.starts_with("__"));
        let labels = labels.map(|(name, value)| (name.as_str(), value.as_str()));
        let target = Target::new(&url, labels).map_err(|error| error.to_string())?;
        Ok(target.every(interval, deadline))
    }

    /// The parameters of the URL: the first of each name is what relabeling made of it.
    fn query(&self, set: &Set) -> String {
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for (name, value) in set {
            if let Some(name) = name.strip_prefix("__param_") {
                pairs.push((name, value));
                let others = self.section.params.get(name).into_iter().flatten().skip(1);
                pairs.extend(others.map(|value| (name, value.as_str())));
            }
        }
        let encoded = pairs
            .iter()
            .map(|(n, v)| format!("{}={}", encoded(n), encoded(v)));
        let encoded: Vec<String> = encoded.collect();
        if encoded.is_empty() {
            return String::new();
        }
        format!("?{}", encoded.join("&"))
    }
}

/// A text as a part of a URL's query.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(json: &str) -> Result<Job, String> {
        let section: Section = serde_json::from_str(json).map_err(|error| error.to_string())?;
        Job::try_from(section).map_err(|error| error.to_string())
    }

    #[test]
    fn an_address_becomes_a_url_and_labels_by_the_jobs_rules() {
        let job = job(r#"{"job_name": "probe", "metrics_path": "/probe", "scrape_interval": "30s",
            "params": {"module": ["http 2xx", "x"]},
            "static_configs": [{"targets": ["a.example:80", "skip:1"], "labels": {"dc": "lax", "gone": ""}}],
            "relabel_configs": [
              {"source_labels": ["__address__"], "regex": "skip.*", "action": "drop"},
              {"source_labels": ["__address__"], "target_label": "__param_target"},
              {"source_labels": ["__param_target"], "target_label": "instance"},
              {"target_label": "__address__", "replacement": "127.0.0.1:9115"},
              {"target_label": "__scrape_interval__", "replacement": "15s"}]}"#).unwrap();
        let found = job.targets(job.fixed());
        let target = &found.targets[0];
        assert_eq!(
            target.url(),
            "http://127.0.0.1:9115/probe?module=http%202xx&module=x&target=a.example%3A80"
        );
        assert_eq!(
            target.labels().to_string(),
            r#"{dc="lax", instance="a.example:80", job="probe"}"#
        );
        assert_eq!(target.discovered()["__address__"], "a.example:80");
        assert_eq!(found.dropped[0]["__address__"], "skip:1");
        assert_eq!((found.targets.len(), found.refused.len()), (1, 0));
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        for (json, says) in [
            (
                r#"{"job_name": "a", "kubernetes_sd_configs": []}"#,
                "unknown field `kubernetes_sd_configs`",
            ),
            (r#"{"job_name": ""}"#, "needs a `job_name`"),
            (r#"{"job_name": "a", "scheme": "ftp"}"#, "ftp"),
            (
                r#"{"job_name": "a", "bearer_token": "x", "basic_auth": {"username": "u"}}"#,
                "`a`: `basic_auth`, `authorization` and `bearer_token` contradict",
            ),
            (
                r#"{"job_name": "a", "authorization": {"credentials": "x", "credentials_file": "y"}}"#,
                "credentials_file` contradict",
            ),
            (
                r#"{"job_name": "a", "http_sd_configs": [{"url": "targets.json"}]}"#,
                "`targets.json` is not a URL",
            ),
            (
                r#"{"job_name": "a", "scrape_interval": "5s", "scrape_timeout": "6s"}"#,
                "longer than",
            ),
            (
                r#"{"job_name": "a", "relabel_configs": [{"action": "hashmod"}]}"#,
                "relabel_configs: action",
            ),
            (
                r#"{"job_name": "a", "body_size_limit": "10"}"#,
                "`10` is not a size",
            ),
        ] {
            let error = job(json).unwrap_err();
            assert!(error.contains(says), "{json}: {error}");
        }
        let limited =
            job(r#"{"job_name": "a", "body_size_limit": "10MB", "sample_limit": 5}"#).unwrap();
        assert_eq!(limited.config().body_bytes, 10 << 20);
        assert_eq!(limited.config().samples.limits.samples, Some(5));
    }
}
