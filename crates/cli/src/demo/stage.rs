//! What every scenario stands on: a platform, its site, its users, and a clock to wait by.
//!
//! **Guarantees.** Every wait has a deadline and says what it waited for; when a stage is dropped, everything
//! it started ends. **Never** acts on the platform but through its API, or through signals where a scenario
//! is about a process that dies.
//!
//! Example: see `good.rs`.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use mainstay_core::{ChangeState, Kind};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Options;
use crate::local::{
    self, Api, Build, Cluster, Ground, Load, LoadPlan, Report, Rollout, Site, Survivor, free_port,
    running_under,
};

/// The service that scenarios release.
pub(super) const VOYAGER: &str = "voyager";
/// The version it runs before.
pub(super) const OLD: &str = "v1";
/// The version that is released.
pub(super) const NEW: &str = "v2";

/// How long the first releases of all services may take together.
const FIRST_RELEASES_WITHIN: Duration = Duration::from_mins(1);
/// Pause between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// People that requests are drawn from: many, as on a real site, so that few of them meet a canary.
pub(super) const USERS: u32 = 20_000;
/// After how long a user gives up.
const PATIENCE: Duration = Duration::from_secs(2);
/// Requests before a scenario's first act: the platform knows its demand by then.
const WARM: u64 = 600;
/// Where few users come, so many seconds of them.
const WARM_S: f64 = 5.0;
/// How long that may take.
const WARM_WITHIN: Duration = Duration::from_secs(30);

/// A platform of one scenario.
pub(super) struct Stage {
    options: Options,
    began: Instant,
    /// After how long a user gives up; to be changed before users are let in.
    pub(super) patience: Duration,
    /// The version of `voyager` that users should not meet; to be changed before users are let in.
    pub(super) unwanted: &'static str,
    dir: PathBuf,
    /// The site, to be changed before the stage opens.
    pub(super) site: Site,
    cluster: Option<Cluster>,
    load: Option<Load>,
}

/// What is left when a stage is closed.
pub(super) struct Closed {
    /// What users saw.
    pub(super) report: Report,
    /// What was still running after everything was told to stop.
    pub(super) survivors: Vec<Survivor>,
}

impl Stage {
    /// A stage with the example site, not yet started.
    pub(super) fn new(options: &Options) -> anyhow::Result<Self> {
        let name = format!(
            "mainstay-demo-{}-{}",
            options.scenario.name(),
            std::process::id()
        );
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir)
            .with_context(|| format!("cannot create {}", dir.display()))?;
        let dir = dir.canonicalize()?;
        let mut site = Site::new(&dir, options.seed)?;
        site.set_instances(VOYAGER, options.instances())?;
        // The same policy as every day, but somebody waits for the end.
        site.edit(Kind::RolloutPolicy, "careful", |spec| {
            spec["bake"] = json!("15s");
            spec["maxEvidenceWait"] = json!("1m");
        })?;
        Ok(Self {
            options: options.clone(),
            began: Instant::now(),
            patience: PATIENCE,
            unwanted: NEW,
            dir,
            site,
            cluster: None,
            load: None,
        })
    }

    /// Makes the first releases, all without defects but those of `voyager` given here, starts the platform,
    /// declares the site and waits until every service is up.
    pub(super) async fn open(&mut self, defects: &[String]) -> anyhow::Result<()> {
        self.tell("making releases");
        self.site.build_all().await?;
        if !defects.is_empty() {
            self.build(OLD, defects).await?;
        }
        self.open_as_made().await
    }

    /// The same, with releases that were made already.
    pub(super) async fn open_as_made(&mut self) -> anyhow::Result<()> {
        let ground = Ground {
            dir: self.dir.clone(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)),
            is_apart: true,
            fabrics: self.site.fabrics()?,
            hosts: self.site.hosts()?,
        };
        let began = self.began;
        let cluster = self.cluster.insert(Cluster::new(ground)?);
        local::open(cluster, &self.site, FIRST_RELEASES_WITHIN, |line| {
            tell(began, line);
        })
        .await
    }

    /// Makes a release of `voyager`.
    pub(super) async fn build(&self, version: &str, defects: &[String]) -> anyhow::Result<()> {
        let build = Build::of(VOYAGER, version).with(defects);
        self.site.build(&build).await?;
        Ok(())
    }

    /// Lets users in, and waits until some have come.
    pub(super) async fn let_users_in(&mut self) -> anyhow::Result<()> {
        let fabrics = self.site.fabrics()?;
        let plan = LoadPlan {
            targets: fabrics.values().map(|at| format!("http://{at}")).collect(),
            rate: self.options.rate(),
            routes: Site::routes(),
            users: USERS,
            diurnal: None,
            patience: self.patience,
            bad_versions: vec![format!("{VOYAGER}={}", self.unwanted)],
            seed: self.options.seed,
        };
        self.load = Some(Load::start(self.site.binary(), &plan, &self.dir)?);
        self.tell(&format!(
            "users ask for {} pages a second",
            self.options.rate()
        ));
        let enough = WARM.min((self.options.rate() * WARM_S) as u64);
        self.until_seen("users have come", WARM_WITHIN, |report| {
            report.requests >= enough
        })
        .await?;
        Ok(())
    }

    /// Orders the release of the new version; gives its change.
    pub(super) async fn release(&self, reason: &str) -> anyhow::Result<String> {
        self.release_of(NEW, reason).await
    }

    /// Orders the release of a version; gives its change.
    pub(super) async fn release_of(&self, version: &str, reason: &str) -> anyhow::Result<String> {
        let opened = self
            .api()?
            .rollout(VOYAGER, version, reason, json!({}))
            .await?;
        for line in &opened.plan {
            self.tell(&format!("plan: {line}"));
        }
        opened
            .change
            .context("the rollout was planned but not opened")
    }

    /// Waits until a rollout is where it is wanted; an API that does not answer for a while is asked again.
    pub(super) async fn until(
        &mut self,
        change: &str,
        what: &str,
        within: Duration,
        reached: impl Fn(&Rollout) -> bool,
    ) -> anyhow::Result<Rollout> {
        let deadline = Instant::now() + within;
        let mut told = String::new();
        loop {
            let seen = self.api()?.rollout_of(change).await;
            if let Ok(rollout) = &seen {
                if rollout.line() != told {
                    told = rollout.line();
                    self.tell(&told);
                }
                if reached(rollout) {
                    return Ok(rollout.clone());
                }
                // Only the end of a process that was not killed on purpose is worth an error.
                self.check()?;
                if rollout.state.is_final() {
                    bail!("{what}: never, since the rollout ended: {}", rollout.line());
                }
            }
            if Instant::now() > deadline {
                let state = seen.map_or_else(|error| format!("{error:#}"), |it| it.line());
                bail!("{what}: not within {} s; {state}", within.as_secs());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until a rollout is over, or waits for a person.
    pub(super) async fn until_over(
        &mut self,
        change: &str,
        within: Duration,
    ) -> anyhow::Result<Rollout> {
        self.until(change, "the rollout is over", within, |rollout| {
            rollout.state.is_final() || rollout.state == ChangeState::Paused
        })
        .await
    }

    /// Waits until users have seen something.
    pub(super) async fn until_seen(
        &mut self,
        what: &str,
        within: Duration,
        reached: impl Fn(&Report) -> bool,
    ) -> anyhow::Result<Report> {
        let deadline = Instant::now() + within;
        loop {
            self.check()?;
            let report = self.seen()?;
            if let Some(report) = report.filter(|report| reached(report)) {
                return Ok(report);
            }
            if Instant::now() > deadline {
                bail!("{what}: not within {} s", within.as_secs());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// What users saw so far.
    pub(super) fn seen(&self) -> anyhow::Result<Option<Report>> {
        let load = self.load.as_ref().context("no users were let in")?;
        load.report()
    }

    /// Instances of a service as the platform sees them.
    pub(super) async fn instances(&self, service: &str) -> anyhow::Result<Vec<Value>> {
        let mut instances = self.api()?.instances().await?;
        instances.retain(|instance| instance["spec"]["service"] == service);
        Ok(instances)
    }

    /// How many instances of `voyager` run each version, as measured.
    pub(super) async fn versions(&self) -> anyhow::Result<BTreeMap<String, usize>> {
        let mut versions = BTreeMap::new();
        for instance in self.instances(VOYAGER).await? {
            let version = instance["status"]["version"].as_str().unwrap_or("unknown");
            *versions.entry(version.to_owned()).or_default() += 1;
        }
        Ok(versions)
    }

    /// Processes of the site, as the kernel knows them.
    pub(super) fn processes(&self) -> Vec<Survivor> {
        running_under(&self.dir)
    }

    /// The API.
    pub(super) fn api(&self) -> anyhow::Result<&Api> {
        Ok(self
            .cluster
            .as_ref()
            .context("the stage is not open")?
            .api())
    }

    /// The platform's processes.
    pub(super) fn cluster(&mut self) -> anyhow::Result<&mut Cluster> {
        self.cluster.as_mut().context("the stage is not open")
    }

    /// Where everything is.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Sends users home and stops the platform.
    pub(super) async fn close(mut self) -> anyhow::Result<Closed> {
        self.tell("closing");
        let load = self.load.take().context("no users were let in")?;
        let report = load.stop().await?;
        let survivors = match self.cluster.take() {
            Some(mut cluster) => cluster.stop().await,
            None => Vec::new(),
        };
        Ok(Closed { report, survivors })
    }

    /// Tells whoever watches what happens.
    pub(super) fn tell(&self, what: &str) {
        tell(self.began, what);
    }

    fn check(&mut self) -> anyhow::Result<()> {
        if let Some(cluster) = &mut self.cluster {
            cluster.check()?;
        }
        if let Some(load) = &mut self.load {
            load.check()?;
        }
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // In this order: what still runs must be found by its executable.
        self.load = None;
        self.cluster = None;
        if self.options.keep {
            eprintln!("logs and data are in {}", self.dir.display());
        } else if let Err(error) = std::fs::remove_dir_all(&self.dir) {
            eprintln!("cannot remove {}: {error}", self.dir.display());
        }
    }
}

fn tell(began: Instant, what: &str) {
    eprintln!("{:>6.1} s  {what}", began.elapsed().as_secs_f64());
}
