//! A scrape job as a configuration says it, in Prometheus's field names, and what it finds.
//!
//! Guarantees: a field that this program does not know is refused by its name; what is known but cannot be done is
//! refused too, never ignored. From a target's address to its URL and labels everything is a pure function.
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

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use mainstay_core::Span;
use serde::Deserialize;

use crate::{
    adapter::{Asking, Format, SampleLimits, SampleRules, ScrapeConfig, Target},
    relabel::{self, Rule, RuleError, Set},
};

/// Prometheus's default of `scrape_interval`.
const INTERVAL: Span = Span::from_secs(60);
/// Prometheus's default of `scrape_timeout`.
const TIMEOUT: Span = Span::from_secs(10);
/// How often files of targets are read again.
const REFRESH: Span = Span::from_secs(5);
/// Bytes of one answer, where the job names no limit: a scrape of a million samples.
const BODY_BYTES: usize = 100 << 20;
/// Targets of one job, where it names no limit.
const TARGETS: usize = 20_000;

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
    /// Only `http`.
    #[serde(default = "scheme")]
    pub scheme: String,
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
    /// Targets that are listed here.
    #[serde(default)]
    pub static_configs: Vec<Group>,
    /// Targets that are listed in files.
    #[serde(default)]
    pub file_sd_configs: Vec<Files>,
    /// What becomes of targets.
    #[serde(default)]
    pub relabel_configs: Vec<relabel::Section>,
    /// What becomes of samples.
    #[serde(default)]
    pub metric_relabel_configs: Vec<relabel::Section>,
    /// Samples of one scrape; zero is no limit, here and below.
    #[serde(default)]
    pub sample_limit: usize,
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

fn scheme() -> String {
    "http".to_owned()
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
    #[serde(default = "refresh")]
    pub refresh_interval: Span,
}

fn refresh() -> Span {
    REFRESH
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

/// Why a section is no job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// An empty name.
    #[error("a scrape job needs a `job_name`")]
    NoName,
    /// A scheme that is not spoken.
    #[error("scrape job `{job}`: scheme `{scheme}` is not supported, `http` is")]
    Scheme {
        /// The job.
        job: String,
        /// The scheme.
        scheme: String,
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
        if section.scheme != "http" {
            let scheme = section.scheme;
            return Err(JobError::Scheme { job, scheme });
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
        let config = config(&section, interval, timeout, relabel.into());
        Ok(Self {
            section,
            rules,
            config,
        })
    }
}

fn config(section: &Section, interval: Span, deadline: Span, relabel: Arc<[Rule]>) -> ScrapeConfig {
    let limit = |limit: usize| Some(limit).filter(|limit| *limit > 0);
    let asking = Asking::default();
    ScrapeConfig {
        pool: section.job_name.clone(),
        interval,
        deadline,
        body_bytes: limit(section.body_size_limit.0).unwrap_or(BODY_BYTES),
        targets: limit(section.target_limit).unwrap_or(TARGETS),
        asking: Asking {
            formats: section.scrape_protocols.clone().unwrap_or(asking.formats),
            gzip: section.enable_compression,
            redirects: section.follow_redirects,
            authorization: None,
        },
        samples: SampleRules {
            honor_labels: section.honor_labels,
            honor_timestamps: section.honor_timestamps,
            limits: SampleLimits {
                samples: limit(section.sample_limit),
                labels: limit(section.label_limit),
                name_bytes: limit(section.label_name_length_limit),
                value_bytes: limit(section.label_value_length_limit),
            },
            relabel,
        },
        ..ScrapeConfig::default()
    }
}

impl Job {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.section.job_name
    }

    /// How its targets are scraped.
    pub fn config(&self) -> &ScrapeConfig {
        &self.config
    }

    /// The groups that stand in the configuration.
    pub fn fixed(&self) -> &[Group] {
        &self.section.static_configs
    }

    /// Relative paths of files of targets begin at `folder` from now on.
    pub fn begin_at(&mut self, folder: &Path) {
        let files = &mut self.section.file_sd_configs;
        for path in files.iter_mut().flat_map(|it| &mut it.files) {
            *path = folder.join(&path);
        }
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
            ("__scheme__", &self.section.scheme),
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
            (
                r#"{"job_name": "a", "scheme": "https"}"#,
                "`a`: scheme `https`",
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
