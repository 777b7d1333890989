//! The configuration, read again while the server runs.
//!
//! Guarantees: all or nothing: where anything is wrong, everything stays as it was. What takes effect at a start only
//! is named when it differs.

use std::path::PathBuf;

use mainstay_ekg::job::Job;
use tokio::sync::watch;

use crate::{
    config::{Config, Rules},
    jobs,
};

/// Reads the configuration again.
pub(crate) struct Reloader {
    /// Where it is; nowhere, and nothing of it can change.
    file: Option<PathBuf>,
    /// As the server began with it.
    began: Config,
    jobs: watch::Sender<Vec<Job>>,
}

/// What was read, and holds from [`Reloader::take`] on.
pub(crate) struct Reread(Config);

impl Reread {
    /// Which rules are wanted.
    pub(crate) fn rules(&self) -> &Rules {
        &self.0.rules
    }
}

impl Reloader {
    /// One for `file`, of which `began` is in force; and what follows its jobs.
    pub(crate) fn new(file: Option<PathBuf>, began: Config) -> (Self, watch::Receiver<Vec<Job>>) {
        let (jobs, followed) = watch::channel(began.scrape.jobs().to_vec());
        let reloader = Self { file, began, jobs };
        (reloader, followed)
    }

    /// Reads it, without any effect yet.
    pub(crate) fn read(&self) -> anyhow::Result<Reread> {
        let config = match &self.file {
            Some(file) => Config::read(file)?,
            None => self.began.clone(),
        };
        jobs::check(config.scrape.jobs())?;
        Ok(Reread(config))
    }

    /// From now on its jobs are scraped.
    pub(crate) fn take(&self, Reread(config): Reread) {
        let later = self.at_the_next_start(&config);
        if !later.is_empty() {
            tracing::warn!(
                "changes of {} take effect at the next start",
                later.join(", ")
            );
        }
        let jobs = config.scrape.into_jobs();
        self.jobs.send_if_modified(|running| {
            let differ = *running != jobs;
            *running = jobs;
            differ
        });
    }

    /// The sections that differ and are not read again.
    fn at_the_next_start(&self, now: &Config) -> Vec<&'static str> {
        let began = &self.began;
        let rhythm = |rules: &Rules| (rules.evaluation_interval, rules.query_offset);
        let sections = [
            ("[server]", began.server != now.server),
            ("[store]", began.store != now.store),
            ("[notify]", began.notify != now.notify),
            ("[alerting]", began.alerting != now.alerting),
            ("[otlp]", began.otlp != now.otlp),
            ("[limits]", began.limits != now.limits),
            ("[metrics]", began.metrics != now.metrics),
            ("[[remote_write]]", began.remote_write != now.remote_write),
            (
                "the rhythm of [rules]",
                rhythm(&began.rules) != rhythm(&now.rules),
            ),
        ];
        let differ = sections.into_iter().filter(|(_, differs)| *differs);
        differ.map(|(name, _)| name).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn jobs_are_taken_when_all_holds_and_what_waits_for_a_start_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mainstay.toml");
        let write = |text: &str| fs::write(&file, text).unwrap();
        write("[[scrape]]\njob_name = \"a\"\n");
        let began = Config::read(&file).unwrap();
        let (reloader, mut jobs) = Reloader::new(Some(file.clone()), began);
        assert_eq!(jobs.borrow_and_update().len(), 1);

        reloader.take(reloader.read().unwrap());
        assert!(!jobs.has_changed().unwrap(), "the same is no change");

        write("[[scrape]]\njob_name = \"a\"\nscheme = \"ftp\"\n");
        assert!(reloader.read().is_err());
        write(
            "[[scrape]]\njob_name = \"a\"\nscheme = \"https\"\ntls_config = { ca_file = \"none.pem\" }\n",
        );
        let error = reloader.read().err().unwrap().to_string();
        assert!(error.contains("scrape job `a`"), "{error}");
        assert!(!jobs.has_changed().unwrap());

        write("[server]\nrequire_token = true\n[[scrape]]\njob_name = \"b\"\n");
        let reread = reloader.read().unwrap();
        assert_eq!(reloader.at_the_next_start(&reread.0), ["[server]"]);
        reloader.take(reread);
        assert_eq!(jobs.borrow_and_update()[0].name(), "b");
    }

    #[test]
    fn without_a_file_nothing_changes() {
        let (reloader, jobs) = Reloader::new(None, Config::default());
        reloader.take(reloader.read().unwrap());
        assert!(!jobs.has_changed().unwrap());
    }
}
