//! The configuration file of a Prometheus, taken as it is.
//!
//! Guarantees: what the file asks for and is not done here is refused by its name, with what to do instead; what is
//! merely done otherwise, such as where samples are stored, is listed. A wrong field is told with its line. Never
//! reads a file or the environment itself.
//!
//! ```
//! use mainstay_ekg::prometheus::File;
//! let file = File::parse(
//!     "global: {scrape_interval: 15s}\nscrape_configs: [{job_name: shop, static_configs: [{targets: ['a:80']}]}]\n",
//!     &|_| None,
//! )?;
//! assert_eq!(file.jobs[0].config().interval.to_string(), "15s");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod alerting;
mod expand;

use std::{collections::BTreeMap, path::PathBuf};

use mainstay_core::Span;
use serde::{Deserialize, Deserializer, de::IgnoredAny};

use crate::{
    adapter::Format,
    job::{Job, JobError, Section, Size},
    otlp::OtlpSettings,
    relabel::{Rule, RuleError},
    remote::{self, Remote, RemoteError},
};

use alerting::Alerting;
pub use alerting::AlertingError;

/// Reads a variable of the environment.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// No YAML, or a field that is not known or not of its kind.
    #[error("{line}:{column}: {what}")]
    Field {
        /// Counted from 1.
        line: u64,
        /// Counted from 1.
        column: u64,
        /// What, and where one is, the remedy.
        what: String,
    },
    /// A job that does not hold.
    #[error(transparent)]
    Job(#[from] JobError),
    /// A receiver of samples that is none.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// Where alerts go.
    #[error("alerting: {0}")]
    Alerting(#[from] AlertingError),
    /// A rule that is none.
    #[error("alerting.alert_relabel_configs: {0}")]
    Rule(#[from] RuleError),
    /// Something that is asked for and not done.
    #[error("{section}: {remedy}")]
    Refused {
        /// Which part.
        section: &'static str,
        /// What to do.
        remedy: &'static str,
    },
}

/// What is taken of a file.
#[derive(Clone, Debug)]
pub struct File {
    /// What is scraped.
    pub jobs: Vec<Job>,
    /// Files that list more jobs, by path or pattern; each is read by [`File::more`].
    pub job_files: Vec<PathBuf>,
    /// Files of rules, by path or pattern.
    pub rule_files: Vec<PathBuf>,
    /// How often rules are evaluated.
    pub evaluation_interval: Option<Span>,
    /// How far behind the clock.
    pub query_offset: Option<Span>,
    /// Where samples are sent on to.
    pub receivers: Vec<Remote>,
    /// Labels of everything that leaves.
    pub external_labels: BTreeMap<String, String>,
    /// The addresses of Alertmanagers.
    pub alertmanagers: Vec<String>,
    /// What becomes of alerts that leave.
    pub alert_rules: Vec<Rule>,
    /// How OTLP is taken, if the file says it.
    pub otlp: Option<OtlpSettings>,
    /// What the file says and is done otherwise here: the section, and how.
    pub otherwise: Vec<(&'static str, &'static str)>,
    global: Global,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    #[serde(deserialize_with = "nothing_or")]
    global: Global,
    runtime: Option<IgnoredAny>,
    #[serde(deserialize_with = "nothing_or")]
    rule_files: Vec<PathBuf>,
    #[serde(deserialize_with = "nothing_or")]
    scrape_config_files: Vec<PathBuf>,
    #[serde(deserialize_with = "nothing_or")]
    scrape_configs: Vec<Section>,
    #[serde(deserialize_with = "nothing_or")]
    alerting: Alerting,
    #[serde(deserialize_with = "nothing_or")]
    remote_write: Vec<remote::Section>,
    #[serde(deserialize_with = "nothing_or")]
    remote_read: Vec<IgnoredAny>,
    storage: Option<IgnoredAny>,
    tracing: Option<IgnoredAny>,
    otlp: Option<OtlpSettings>,
}

/// What holds for jobs that say nothing else.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Global {
    scrape_interval: Option<Span>,
    scrape_timeout: Option<Span>,
    scrape_protocols: Option<Vec<Format>>,
    scrape_native_histograms: Option<bool>,
    always_scrape_classic_histograms: Option<bool>,
    convert_classic_histograms_to_nhcb: Option<bool>,
    evaluation_interval: Option<Span>,
    rule_query_offset: Option<Span>,
    external_labels: BTreeMap<String, String>,
    query_log_file: Option<IgnoredAny>,
    scrape_failure_log_file: Option<IgnoredAny>,
    body_size_limit: Size,
    sample_limit: usize,
    label_limit: usize,
    label_name_length_limit: usize,
    label_value_length_limit: usize,
    target_limit: usize,
    keep_dropped_targets: Option<IgnoredAny>,
    metric_name_validation_scheme: Option<String>,
    metric_name_escaping_scheme: Option<IgnoredAny>,
}

/// `scrape_config_files`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct More {
    scrape_configs: Vec<Section>,
}

/// A key without a value says nothing.
fn nothing_or<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl File {
    /// Reads a file's text; external labels may name variables of the environment, as `${REGION}`.
    pub fn parse(text: &str, environment: Environment<'_>) -> Result<Self, FileError> {
        // A file of comments is an empty configuration, as with Prometheus.
        let raw: Option<Raw> = serde_saphyr::from_str(text).map_err(|error| unreadable(&error))?;
        let raw = raw.unwrap_or_default();
        let valid = raw.global.metric_name_validation_scheme.as_deref();
        if !matches!(valid, None | Some("utf8")) {
            return Err(FileError::Refused {
                section: "global.metric_name_validation_scheme",
                remedy: "names may be any UTF-8 here: remove the field, or say `utf8`",
            });
        }
        let otherwise = raw.otherwise();
        let jobs = raw.scrape_configs.into_iter();
        let external = raw.global.external_labels.iter();
        let external: BTreeMap<String, String> = external
            .map(|(name, value)| (name.clone(), expand::expanded(value, environment)))
            .collect();
        let receivers = raw.remote_write.into_iter().map(|it| {
            let mut receiver = Remote::try_from(it)?;
            receiver.add_labels(&external)?;
            Ok(receiver)
        });
        let receivers: Result<Vec<Remote>, FileError> = receivers.collect();
        let (alertmanagers, relabel) = raw.alerting.taken()?;
        let alert_rules = relabel.into_iter().map(Rule::try_from);
        Ok(Self {
            jobs: jobs
                .map(|it| raw.global.job(it))
                .collect::<Result<_, _>>()?,
            job_files: raw.scrape_config_files,
            rule_files: raw.rule_files,
            evaluation_interval: raw.global.evaluation_interval,
            query_offset: raw.global.rule_query_offset,
            receivers: receivers?,
            external_labels: external,
            alertmanagers,
            alert_rules: alert_rules.collect::<Result<_, _>>()?,
            otlp: raw.otlp,
            otherwise,
            global: raw.global,
        })
    }

    /// The jobs of one of its [`job_files`](Self::job_files).
    pub fn more(&self, text: &str) -> Result<Vec<Job>, FileError> {
        let more: Option<More> =
            serde_saphyr::from_str(text).map_err(|error| unreadable(&error))?;
        let jobs = more.unwrap_or_default().scrape_configs.into_iter();
        Ok(jobs
            .map(|it| self.global.job(it))
            .collect::<Result<_, _>>()?)
    }
}

impl Raw {
    fn otherwise(&self) -> Vec<(&'static str, &'static str)> {
        let global = &self.global;
        let said = [
            (
                self.storage.is_some(),
                "storage",
                "how samples are kept is said in [metrics] of the server's own configuration",
            ),
            (
                !self.remote_read.is_empty(),
                "remote_read",
                "queries are answered from this server's samples; [metrics] backend names another store",
            ),
            (
                self.tracing.is_some(),
                "tracing",
                "the server sends no traces of itself",
            ),
            (
                self.runtime.is_some(),
                "runtime",
                "there is no garbage collector to tune",
            ),
            (
                global.query_log_file.is_some(),
                "global.query_log_file",
                "queries are counted in /metrics, and not logged",
            ),
            (
                global.scrape_failure_log_file.is_some(),
                "global.scrape_failure_log_file",
                "the last error of each target is in /api/v1/targets",
            ),
            (
                global.keep_dropped_targets.is_some(),
                "global.keep_dropped_targets",
                "dropped targets are bounded by themselves",
            ),
            (
                global.metric_name_escaping_scheme.is_some(),
                "global.metric_name_escaping_scheme",
                "names are asked for as they are",
            ),
        ];
        let said = said.into_iter().filter(|(is_said, ..)| *is_said);
        said.map(|(_, section, how)| (section, how)).collect()
    }
}

impl Global {
    /// A job, for which this holds where it says nothing itself.
    fn job(&self, mut section: Section) -> Result<Job, JobError> {
        if section.scrape_interval.is_none() {
            section.scrape_interval = self.scrape_interval;
        }
        if section.scrape_timeout.is_none() {
            let interval = section.scrape_interval;
            // The general timeout gives way to a job that is scraped more often.
            section.scrape_timeout = self
                .scrape_timeout
                .map(|it| interval.map_or(it, |interval| it.min(interval)));
        }
        if section.scrape_protocols.is_none() {
            section.scrape_protocols.clone_from(&self.scrape_protocols);
        }
        for (own, general) in [
            (
                &mut section.scrape_native_histograms,
                self.scrape_native_histograms,
            ),
            (
                &mut section.always_scrape_classic_histograms,
                self.always_scrape_classic_histograms,
            ),
            (
                &mut section.convert_classic_histograms_to_nhcb,
                self.convert_classic_histograms_to_nhcb,
            ),
        ] {
            *own = own.or(general);
        }
        if section.body_size_limit == Size::default() {
            section.body_size_limit = self.body_size_limit;
        }
        for (own, general) in [
            (&mut section.sample_limit, self.sample_limit),
            (&mut section.label_limit, self.label_limit),
            (
                &mut section.label_name_length_limit,
                self.label_name_length_limit,
            ),
            (
                &mut section.label_value_length_limit,
                self.label_value_length_limit,
            ),
            (&mut section.target_limit, self.target_limit),
        ] {
            if *own == 0 {
                *own = general;
            }
        }
        Job::try_from(section)
    }
}

fn unreadable(error: &serde_saphyr::Error) -> FileError {
    let place = error.location();
    let mut what = error.without_snippet().to_string();
    if what.contains("_sd_configs") {
        what += "; targets are found by static_configs, file_sd_configs and http_sd_configs: have another \
                 discovery write a file or serve a list";
    }
    FileError::Field {
        line: place.map_or(1, |it| it.line()),
        column: place.map_or(1, |it| it.column()),
        what,
    }
}

#[cfg(test)]
mod tests;
