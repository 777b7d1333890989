//! The server's configuration file: TOML, one struct a section, every field with a default.

mod shown;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use mainstay_core::{Name, Span};
use mainstay_ekg::{
    otlp::OtlpSettings,
    relabel::Rule,
    remote::{self, Remote, RemoteError},
};
use mainstay_oncall::adapter::incidents::Person;
use serde::Deserialize;

mod limits;
mod metrics;
mod prometheus;
mod scrape;

pub(crate) use limits::Limits;
pub(crate) use metrics::{Metrics, Retain};
pub(crate) use scrape::Scrape;

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    pub(crate) server: Server,
    pub(crate) store: Store,
    pub(crate) notify: Notify,
    pub(crate) oncall: Oncall,
    pub(crate) rules: Rules,
    pub(crate) alerting: Alerting,
    /// `[[scrape]]`, or `[scrape]`: what is scraped beside what Mainstay runs.
    pub(crate) scrape: Scrape,
    /// `[metrics]`: how long samples are kept, or which cluster keeps them and answers queries.
    pub(crate) metrics: Metrics,
    /// `[otlp]`: which labels series get that are sent so.
    pub(crate) otlp: OtlpSettings,
    /// `[limits]`: what those may who share the engine.
    pub(crate) limits: Limits,
    /// What a Prometheus's file says and is done otherwise here, a line each.
    #[serde(skip)]
    pub(crate) otherwise: Vec<String>,
    /// `[[remote_write]]`: where samples are sent on to.
    pub(crate) remote_write: Vec<RemoteWrite>,
    /// The file in YAML, without secrets.
    #[serde(skip)]
    pub(crate) shown: String,
}

/// `[server]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) listen: SocketAddr,
    /// Ask for a token on loopback too.
    pub(crate) require_token: bool,
    /// Where others reach this server, of several on one ledger; its own address where unset.
    pub(crate) advertise: Option<String>,
    /// Where OTLP is taken besides, gRPC and HTTP on each; unset: on ports 4317 and 4318 of where it listens, if they
    /// are free.
    pub(crate) otlp_listen: Option<Vec<SocketAddr>>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7070)),
            require_token: false,
            advertise: None,
            otlp_listen: None,
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

/// `[rules]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Rules {
    /// Rule files as Prometheus has them, by path or pattern such as `rules/*.yml`; relative ones begin at the
    /// configuration's own folder.
    pub(crate) files: Vec<PathBuf>,
    /// How often groups are evaluated that name no interval; each minute where unset.
    pub(crate) evaluation_interval: Option<Span>,
    /// How far behind the clock groups look that name no offset; not at all where unset.
    pub(crate) query_offset: Option<Span>,
    /// Whether Mainstay's alerts about itself are evaluated too.
    pub(crate) own: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            evaluation_interval: None,
            query_offset: None,
            own: true,
        }
    }
}

/// `[alerting]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Alerting {
    /// Alertmanagers that take alerts (API v2), each all of them.
    pub(crate) alertmanagers: Vec<Webhook>,
    /// Labels added to every alert that leaves, unless it has them.
    pub(crate) external_labels: BTreeMap<String, String>,
    /// Where people reach this server; its own address where unset.
    pub(crate) external_url: Option<String>,
    /// What becomes of the labels of alerts that leave, as a Prometheus's file says it.
    #[serde(skip)]
    pub(crate) relabel: Vec<Rule>,
}

/// `[notify]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Notify {
    /// Who hears, by a JSON POST, of what a person should know.
    pub(crate) webhooks: Vec<Webhook>,
    /// How often a change that waits for a person is told again.
    pub(crate) remind_every: Span,
}

impl Default for Notify {
    fn default() -> Self {
        Self {
            webhooks: Vec::new(),
            remind_every: Span::from_secs(3_600),
        }
    }
}

/// `[oncall]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Oncall {
    /// `[oncall.people.NAME]`: who can be told of incidents, and how.
    pub(crate) people: BTreeMap<Name, Person>,
    /// Pages that one person gets by one channel in a minute; what is more is told in one message. P0 is not counted.
    pub(crate) pages_per_minute: usize,
}

impl Default for Oncall {
    fn default() -> Self {
        Self {
            people: BTreeMap::new(),
            pages_per_minute: 10,
        }
    }
}

/// Reminders more often than this would be an alarm bell.
const REMIND_EVERY_MIN: Span = Span::from_secs(1);

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

/// A receiver that can be sent to; what is wrong with it is told with its line.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "remote::Section")]
pub(crate) struct RemoteWrite(pub(crate) Remote);

impl TryFrom<remote::Section> for RemoteWrite {
    type Error = RemoteError;

    fn try_from(section: remote::Section) -> Result<Self, RemoteError> {
        Remote::try_from(section).map(Self)
    }
}

impl Config {
    /// Reads `file`; the error names line and field.
    pub(crate) fn read(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        let mut config: Self = toml::from_str(&text)
            .with_context(|| format!("{} is not a configuration", file.display()))?;
        config.shown = shown::shown(&text);
        let folder = file.parent().unwrap_or(Path::new(""));
        for pattern in &mut config.rules.files {
            *pattern = folder.join(&pattern);
        }
        for RemoteWrite(remote) in &mut config.remote_write {
            remote.begin_at(folder);
        }
        if let Scrape::Prometheus { prometheus_config } = &config.scrape {
            let path = folder.join(prometheus_config);
            config.adopt(prometheus::read(&path)?)?;
        } else if let Scrape::Jobs(jobs) = &mut config.scrape {
            for job in jobs {
                job.begin_at(folder);
            }
        }
        ensure!(
            config.rules.evaluation_interval != Some(Span::ZERO),
            "{}: rules.evaluation_interval of zero: give a time such as \"30s\"",
            file.display()
        );
        ensure!(
            config.notify.remind_every >= REMIND_EVERY_MIN,
            "{}: notify.remind_every of {}: give a time of at least {REMIND_EVERY_MIN}, such as \"1h\"",
            file.display(),
            config.notify.remind_every
        );
        ensure!(
            config.limits.make_sense(),
            "{}: [limits] without tenant_label: say whose limits these are, such as tenant_label = \"team\"",
            file.display()
        );
        config.metrics.check(file)?;
        let mut names = BTreeSet::new();
        for job in config.scrape.jobs() {
            ensure!(
                names.insert(job.name()),
                "{}: two scrape jobs are named `{}`; rename one",
                file.display(),
                job.name()
            );
        }
        if let Some(backend) = &mut config.metrics.backend {
            backend.remote.begin_at(folder);
        }
        if let Some(copy) = &mut config.metrics.copy {
            copy.place.begin_at(folder);
        }
        if let Some(archive) = &mut config.metrics.archive {
            archive.place.begin_at(folder);
        }
        Ok(config)
    }

    /// Takes what a Prometheus's file says; what is said here already stands.
    fn adopt(&mut self, file: prometheus::File) -> anyhow::Result<()> {
        self.scrape = Scrape::Jobs(file.jobs);
        let receivers = file.receivers.into_iter();
        self.remote_write.extend(receivers.map(RemoteWrite));
        self.rules.files.extend(file.rule_files);
        let rules = &mut self.rules;
        rules.evaluation_interval = rules.evaluation_interval.or(file.evaluation_interval);
        rules.query_offset = rules.query_offset.or(file.query_offset);
        for address in file.alertmanagers {
            let address = Webhook::try_from(address).map_err(anyhow::Error::msg);
            self.alerting
                .alertmanagers
                .push(address.context("alerting.alertmanagers")?);
        }
        for (name, value) in file.external_labels {
            self.alerting.external_labels.entry(name).or_insert(value);
        }
        self.alerting.relabel = file.alert_rules;
        if let Some(otlp) = file.otlp
            && self.otlp == OtlpSettings::default()
        {
            self.otlp = otlp;
        }
        let said = file.otherwise.into_iter();
        self.otherwise = said
            .map(|(section, how)| format!("{section}: {how}"))
            .collect();
        Ok(())
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
    fn a_scrape_job_that_does_not_hold_is_refused_with_its_line() {
        let read = |field: &str| {
            let text = format!("[[scrape]]\njob_name = \"shop\"\n{field}\n");
            toml::from_str::<Config>(&text)
        };
        let config = read("static_configs = [{ targets = [\"a:1\"] }]").unwrap();
        assert_eq!(config.scrape.jobs()[0].name(), "shop");
        for (field, says) in [
            ("kubernetes_sd_configs = []", "kubernetes_sd_configs"),
            ("scheme = \"ftp\"", "ftp"),
            ("scrape_interval = \"soon\"", "soon"),
        ] {
            let error = read(field).unwrap_err().to_string();
            assert!(error.contains("line ") && error.contains(says), "{error}");
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mainstay.toml");
        let files = "file_sd_configs = [{ files = [\"t/*.yml\"] }]";
        std::fs::write(&file, format!("[[scrape]]\njob_name = \"a\"\n{files}\n")).unwrap();
        let config = Config::read(&file).unwrap();
        let found = &config.scrape.jobs()[0].files()[0].files;
        assert_eq!(*found, [folder.path().join("t/*.yml")]);
        std::fs::write(&file, "[[scrape]]\njob_name = \"a\"\n".repeat(2)).unwrap();
        let error = Config::read(&file).unwrap_err().to_string();
        assert!(error.contains("two scrape jobs are named `a`"), "{error}");
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
