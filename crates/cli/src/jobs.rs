//! Runs the scrape jobs of the configuration, which may change while the server runs.
//!
//! Guarantees: a job that stays as it was goes on undisturbed, with what it knows of its targets; the series of one
//! that is gone, or is another now, end with staleness markers before the new one begins. Never gives up a job for
//! another one's failure.

use std::sync::Arc;

use anyhow::Context as _;
use mainstay_core::ports::Clock;
use mainstay_ekg::{
    adapter::{Discovery, Known, ScrapeConfig, Scraper, Writer},
    job::Job,
};
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

/// What a scraper needs beside its configuration.
#[derive(Clone)]
pub(crate) struct Scraping {
    pub(crate) writer: Writer,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) known: Known,
}

impl Scraping {
    /// One that scrapes as `config` says; an error names the pool.
    pub(crate) fn scraper(&self, config: ScrapeConfig) -> anyhow::Result<Scraper> {
        let pool = config.pool.clone();
        let (writer, clock) = (self.writer.clone(), Arc::clone(&self.clock));
        Scraper::new(writer, clock, config, self.known.clone())
            .with_context(|| format!("scrape job `{pool}`"))
    }
}

/// Whether all can be run; an error names the job.
pub(crate) fn check(jobs: &[Job]) -> anyhow::Result<()> {
    for job in jobs {
        job.check_tls()
            .with_context(|| format!("scrape job `{}`", job.name()))?;
    }
    Ok(())
}

/// A job that runs.
struct Running {
    job: Job,
    targets: watch::Sender<Vec<mainstay_ekg::adapter::Target>>,
    discovery_ends: CancellationToken,
    discovery: JoinHandle<()>,
    scraper: JoinHandle<()>,
}

/// Runs the jobs that `wanted` has, until `stop`; if nobody can change them any more, they stay.
pub(crate) async fn run(
    scraping: Scraping,
    mut wanted: watch::Receiver<Vec<Job>>,
    stop: CancellationToken,
) {
    let mut running: Vec<Running> = Vec::new();
    loop {
        let jobs = wanted.borrow_and_update().clone();
        let (stay, leave): (Vec<_>, Vec<_>) =
            running.into_iter().partition(|it| jobs.contains(&it.job));
        running = stay;
        let mut ending: JoinSet<()> = leave
            .into_iter()
            .map(|it| it.end(scraping.known.clone()))
            .collect();
        while ending.join_next().await.is_some() {}
        for job in jobs {
            if running.iter().any(|it| it.job == job) {
                continue;
            }
            match Running::begin(&scraping, job, &stop) {
                Ok(begun) => running.push(begun),
                Err(error) => tracing::error!("a scrape job does not run: {error:#}"),
            }
        }
        match stop.run_until_cancelled(wanted.changed()).await {
            Some(Ok(())) => {}
            Some(Err(_)) => {
                stop.cancelled().await;
                break;
            }
            None => break,
        }
    }
    for job in running {
        ended(job.discovery.await);
        ended(job.scraper.await);
    }
}

impl Running {
    fn begin(scraping: &Scraping, job: Job, stop: &CancellationToken) -> anyhow::Result<Self> {
        let name = job.name().to_owned();
        let scraper = scraping.scraper(job.config().clone())?;
        let discovery = Discovery::new(job.clone(), scraping.known.pools.clone())
            .with_context(|| format!("scrape job `{name}`, http_sd_configs"))?;
        let (targets, followed) = watch::channel(Vec::new());
        let discovery_ends = stop.child_token();
        Ok(Self {
            job,
            discovery: tokio::spawn(discovery.run(targets.clone(), discovery_ends.clone())),
            scraper: tokio::spawn(scraper.run(followed, stop.clone())),
            targets,
            discovery_ends,
        })
    }

    /// Ends it: its series do, too.
    async fn end(self, known: Known) {
        self.discovery_ends.cancel();
        ended(self.discovery.await);
        self.targets.send_replace(Vec::new());
        drop(self.targets);
        ended(self.scraper.await);
        known.pools.forget(self.job.name());
    }
}

fn ended(task: Result<(), tokio::task::JoinError>) {
    if let Err(error) = task {
        tracing::error!(%error, "a scrape job died");
    }
}
