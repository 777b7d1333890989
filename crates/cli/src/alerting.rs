//! Rules and monitors inside the server: the files of rules, and the way of alerts to Alertmanagers and webhooks.
//!
//! **Guarantees.** Files are taken all or none: a wrong one is said with its line, and the rules go on as they
//! were. An alert goes to each Alertmanager (API v2) on its own, 64 at once; what one does not
//! take is counted, and told again within a minute anyway. **Never** makes the evaluation of rules wait.
//!
//! ```toml
//! [rules]
//! files = ["rules/*.yml"]
//! [alerting]
//! alertmanagers = ["http://127.0.0.1:9093"]
//! ```

mod carrier;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, bail};
use mainstay_core::ports::{BoxFuture, Clock};
use mainstay_ekg::{
    Ekg, RuleFilter, RuleKind,
    adapter::{AlertSink, Catalog, Monitors, NamedFile, Ruler, RulerConfig, Told, Watch, Writer},
};
use mainstay_rules::{External, FileError, RuleFile, monitor};
use mainstay_server::{Counted, RulesAsked};
use serde_json::{Value, json};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::{JoinSet, spawn_blocking},
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Alerting, Rules},
    itself,
    reload::Reloader,
};
use carrier::Carriers;

/// Rounds of alerts that may wait for those who tell people; more are counted.
const ROUNDS_MAX: usize = 256;
/// Largest rule file read, in bytes.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Rules and monitors, as the server's API sees them.
pub(crate) struct Desk {
    rules: mainstay_ekg::adapter::Rules,
    monitors: Monitors,
    reloader: Reloader,
    files: watch::Sender<Vec<NamedFile>>,
    carriers: Arc<Carriers>,
}

/// What evaluates rules, and what is told of it.
pub(crate) struct Started {
    /// For the API.
    pub(crate) desk: Arc<Desk>,
    /// What should be told to people.
    pub(crate) news: mpsc::Receiver<Vec<Told>>,
    /// All alerts, for incidents.
    pub(crate) all: mpsc::Receiver<Vec<Told>>,
    /// Runs until told to stop.
    pub(crate) tasks: JoinSet<()>,
}

/// Gives each round of alerts to the Alertmanagers and to whoever tells people.
struct Sink {
    carriers: Arc<Carriers>,
    news: mpsc::Sender<Vec<Told>>,
    all: mpsc::Sender<Vec<Told>>,
}

impl AlertSink for Sink {
    fn take(&self, alerts: Vec<Told>) {
        let news: Vec<Told> = alerts.iter().filter(|it| it.is_news).cloned().collect();
        if !news.is_empty()
            && let Err(mpsc::error::TrySendError::Full(lost)) = self.news.try_send(news)
        {
            self.carriers.lose(lost.len());
            tracing::error!(
                alerts = lost.len(),
                "too much to tell at once: these are not told"
            );
        }
        self.carriers.send(&alerts);
        if let Err(mpsc::error::TrySendError::Full(late)) = self.all.try_send(alerts) {
            // What fires is told again within a minute, and so is what ended.
            tracing::error!(
                alerts = late.len(),
                "too many alerts at once: these open incidents when they are told again"
            );
        }
    }
}

/// What rules and monitors are judged by.
pub(crate) struct Judged {
    /// What is measured.
    pub(crate) ekg: Ekg,
    /// Takes what rules record.
    pub(crate) writer: Writer,
    /// What is declared.
    pub(crate) catalog: Arc<dyn Catalog>,
    /// When it is.
    pub(crate) clock: Arc<dyn Clock>,
}

/// Begins to evaluate the rules of `config` and the monitors of the catalog; `url` is the server's own address.
pub(crate) fn start(
    config: (Rules, Alerting),
    (url, reloader): (&str, Reloader),
    judged: Judged,
    stop: &CancellationToken,
) -> anyhow::Result<Started> {
    let Judged {
        ekg,
        writer,
        catalog,
        clock,
    } = judged;
    let (rules, alerting) = config;
    let files = all(&rules.files, rules.own)?;
    let external = External {
        url: alerting.external_url.unwrap_or_else(|| url.to_owned()),
        labels: alerting.external_labels,
    };
    let mut tasks = JoinSet::new();
    let carriers = Carriers::start(
        alerting.alertmanagers,
        (&external, alerting.relabel),
        &mut tasks,
        stop,
    )?;
    let carriers = Arc::new(carriers);
    let (news, told) = mpsc::channel(ROUNDS_MAX);
    let (all, every) = mpsc::channel(ROUNDS_MAX);
    let sink = Arc::new(Sink {
        carriers: Arc::clone(&carriers),
        news,
        all,
    });
    let usual = RulerConfig::default();
    let config = RulerConfig {
        interval: rules.evaluation_interval.unwrap_or(usual.interval),
        query_offset: rules.query_offset.unwrap_or(usual.query_offset),
        external,
    };
    let (watch, monitors) = Watch::new(&ekg, catalog, Arc::clone(&clock), sink.clone());
    let ruler = Ruler::new(&ekg, writer, clock, sink, config);
    let (files, followed) = watch::channel(files);
    let desk = Arc::new(Desk {
        rules: ruler.rules(),
        monitors,
        reloader,
        files,
        carriers,
    });
    tasks.spawn(ruler.run(followed, stop.clone()));
    tasks.spawn(watch.run(stop.clone()));
    tasks.spawn(reload_when_told(Arc::clone(&desk), stop.clone()));
    Ok(Started {
        desk,
        news: told,
        all: every,
        tasks,
    })
}

/// SIGHUP is how Prometheus is told to read its files again.
async fn reload_when_told(desk: Arc<Desk>, stop: CancellationToken) {
    let mut hangups = match signal(SignalKind::hangup()) {
        Ok(hangups) => hangups,
        Err(error) => {
            tracing::warn!(%error, "SIGHUP is not heard: reload with POST /-/reload");
            return stop.cancelled().await;
        }
    };
    while let Some(Some(())) = stop.run_until_cancelled(hangups.recv()).await {
        let desk = Arc::clone(&desk);
        let reloaded = spawn_blocking(move || mainstay_server::Rules::reload(&*desk)).await;
        match reloaded {
            Ok(Ok(())) => tracing::info!("jobs and rule files read again"),
            Ok(Err(wrong)) => tracing::error!("everything stays as it was: {wrong}"),
            Err(error) => tracing::error!(%error, "reading rule files died"),
        }
    }
}

/// What is evaluated: Mainstay's own rules, where they are wanted, and those of the patterns.
fn all(patterns: &[PathBuf], own: bool) -> anyhow::Result<Vec<NamedFile>> {
    let mut files = Vec::new();
    if own {
        files.push((itself::OWN_FILE.to_owned(), itself::own_rules()?));
    }
    files.extend(read(patterns)?);
    Ok(files)
}

/// Every file that the patterns name, in order; a plain path has to be there.
pub(crate) fn read(patterns: &[PathBuf]) -> anyhow::Result<Vec<NamedFile>> {
    let mut files = Vec::new();
    for pattern in patterns {
        let text = pattern.to_string_lossy();
        let mut found: Vec<PathBuf> = glob::glob(&text)
            .with_context(|| format!("`{text}` is no pattern of files"))?
            .collect::<Result<_, _>>()
            .with_context(|| format!("`{text}` cannot be listed"))?;
        if found.is_empty() && !text.contains(['*', '?', '[']) {
            bail!("there is no rule file {text}");
        }
        found.sort();
        for path in found {
            files.push((path.display().to_string(), read_file(&path)?));
        }
    }
    Ok(files)
}

/// One file; everything wrong with it, a line each.
pub(crate) fn read_file(path: &Path) -> anyhow::Result<RuleFile> {
    RuleFile::parse(&text(path)?).map_err(|wrongs| wrong(path, &wrongs))
}

/// The text of a file of rules, or of their tests.
pub(crate) fn text(path: &Path) -> anyhow::Result<String> {
    let name = path.display();
    let size = std::fs::metadata(path)
        .with_context(|| format!("cannot read {name}"))?
        .len();
    if size > FILE_BYTES_MAX {
        bail!("{name} has {size} bytes; at most {FILE_BYTES_MAX} are read");
    }
    std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))
}

/// Everything wrong with a file, a line each.
pub(crate) fn wrong(path: &Path, wrongs: &[FileError]) -> anyhow::Error {
    let name = path.display();
    let lines: Vec<String> = wrongs.iter().map(|it| format!("{name}:{it}")).collect();
    anyhow::anyhow!("{}", lines.join("\n"))
}

impl mainstay_server::Monitors for Desk {
    fn report(&self) -> BoxFuture<'_, Result<Value, String>> {
        Box::pin(self.monitors.report())
    }

    fn check(&self, expr: &str) -> Result<(), String> {
        monitor::check(expr)
    }
}

impl mainstay_server::Rules for Desk {
    fn groups(&self, asked: RulesAsked) -> Value {
        let kind = match asked.kind.as_str() {
            "alert" => Some(RuleKind::Alert),
            "record" => Some(RuleKind::Record),
            _ => None,
        };
        self.rules.groups(&RuleFilter {
            kind,
            rules: asked.rules,
            groups: asked.groups,
            files: asked.files,
            without_alerts: asked.without_alerts,
            selectors: asked.selectors,
        })
    }

    fn alerts(&self) -> Value {
        let mut answer = self.rules.alerts();
        if let Some(alerts) = answer["data"]["alerts"].as_array_mut() {
            alerts.extend(self.monitors.alerts());
        }
        answer
    }

    fn alertmanagers(&self) -> Value {
        let active: Vec<Value> = self
            .carriers
            .names()
            .map(|url| json!({ "url": url }))
            .collect();
        let data = json!({ "activeAlertmanagers": active, "droppedAlertmanagers": [] });
        json!({ "status": "success", "data": data })
    }

    fn reload(&self) -> Result<(), String> {
        let reread = || {
            let config = self.reloader.read()?;
            let files = all(&config.rules().files, config.rules().own)?;
            anyhow::Ok((config, files))
        };
        let (config, files) = reread().map_err(|error| format!("{error:#}"))?;
        self.reloader.take(config);
        self.files.send_replace(files);
        Ok(())
    }

    fn counted(&self) -> Vec<Counted> {
        let (rules, sent) = (self.rules.counts(), self.carriers.counts());
        let monitors = self.monitors.counts();
        let counter = |name, help, count| Counted { name, help, count };
        vec![
            counter(
                "mainstay_monitor_rounds_total",
                "Times that all monitors were judged.",
                monitors.rounds,
            ),
            counter(
                "mainstay_monitor_failures_total",
                "Monitors that could not be evaluated, summed over the rounds.",
                monitors.failures,
            ),
            counter(
                "mainstay_rule_evaluations_total",
                "Rules evaluated.",
                rules.evaluations,
            ),
            counter(
                "mainstay_rule_evaluation_failures_total",
                "Evaluations that gave an error.",
                rules.failures,
            ),
            counter(
                "mainstay_rule_group_iterations_missed_total",
                "Rounds of a group left out because the one before took too long.",
                rules.missed,
            ),
            counter(
                "mainstay_rule_samples_refused_total",
                "Samples of rules that the metric engine refused.",
                rules.refused,
            ),
            counter(
                "mainstay_rule_live_turns_total",
                "Times that samples, or the time, moved the streamed rules of a group.",
                rules.turns,
            ),
            counter(
                "mainstay_rule_whole_evaluations_total",
                "Alerts without an incremental form evaluated because samples arrived.",
                rules.whole,
            ),
            counter(
                "mainstay_rule_live_rereads_total",
                "Times that streamed rules had missed samples and read again what is stored.",
                rules.reread,
            ),
            counter(
                "mainstay_alerts_sent_total",
                "Alerts that an Alertmanager took.",
                sent.sent,
            ),
            counter(
                "mainstay_alerts_dropped_total",
                "Alerts that an Alertmanager did not take, or that had no room on their way out.",
                sent.dropped,
            ),
        ]
    }
}

#[cfg(test)]
mod tests;
