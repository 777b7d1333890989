//! The load generator, and its report: the only source of what users saw.
//!
//! **Guarantees.** Numbers come from the generator's own file, written outside the platform. **Never** asks
//! the platform how its users fare.
//!
//! Example: `Load::start(&site, &plan, dir)?`, `load.report()?`, `load.stop().await?`.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Process, Program};

/// What the report's writing may take once the last user has gone.
const WRITTEN_WITHIN: Duration = Duration::from_secs(8);
/// Users arrive until told otherwise: longer than anybody watches.
const DURATION_S: &str = "86400";

/// What users do.
#[derive(Debug, Clone)]
pub(crate) struct LoadPlan {
    /// Base URLs of the routers.
    pub(crate) targets: Vec<String>,
    /// Requests a second, in all.
    pub(crate) rate: f64,
    /// Routes and their weights.
    pub(crate) routes: Vec<(String, f64)>,
    /// People the requests are drawn from.
    pub(crate) users: u32,
    /// A daily wave, `AMPLITUDE,PERIOD_S`.
    pub(crate) diurnal: Option<String>,
    /// After how long a user gives up.
    pub(crate) patience: Duration,
    /// Versions no user should see, `SERVICE=VERSION`.
    pub(crate) bad_versions: Vec<String>,
    /// Seed of who comes when and asks what.
    pub(crate) seed: u64,
}

/// What users saw, as the generator counted it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Whether the run is over.
    pub(crate) finished: bool,
    /// Why the numbers must not be used; empty when they may be.
    pub(crate) void: Vec<String>,
    /// When the run began, in milliseconds since the Unix epoch.
    pub(crate) began_at_ms: i64,
    /// Seconds from there to this report.
    pub(crate) elapsed_s: f64,
    /// All requests that ended.
    pub(crate) requests: u64,
    /// Those that failed.
    pub(crate) failed: u64,
    /// Why they failed.
    pub(crate) failures: BTreeMap<String, u64>,
    /// By route.
    pub(crate) routes: BTreeMap<String, RouteCounts>,
    /// By second.
    pub(crate) per_second: PerSecond,
    /// People who made a request.
    pub(crate) users: u64,
    /// Requests that a bad version took part in.
    pub(crate) bad_version_requests: u64,
    /// People who met one.
    pub(crate) bad_version_users: u64,
    /// When the first of these requests ended, in seconds after the begin.
    pub(crate) first_bad_version_s: Option<f64>,
    /// From the first of these requests to the last.
    pub(crate) exposed_s: f64,
    /// Seconds in which more than half of the requests failed.
    pub(crate) outage_s: u64,
    /// Latency in milliseconds.
    pub(crate) latency_ms: Value,
    /// How late the generator was, in milliseconds.
    pub(crate) lag_ms: Value,
}

/// Counts of one route.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct RouteCounts {
    /// Requests that ended.
    pub(crate) requests: u64,
    /// Those that failed.
    pub(crate) failed: u64,
}

/// Counts, one a second of the run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct PerSecond {
    /// Requests planned for the second.
    pub(crate) requests: Vec<u32>,
    /// Those of them that failed.
    pub(crate) failed: Vec<u32>,
}

/// A running load generator.
pub(crate) struct Load {
    process: Process,
    file: PathBuf,
    patience: Duration,
}

impl Load {
    /// Starts users; `site` is the binary, the report and the log go to `dir`.
    pub(crate) fn start(site: &Path, plan: &LoadPlan, dir: &Path) -> anyhow::Result<Self> {
        let file = dir.join("load.json");
        if file.exists() {
            fs::remove_file(&file).context("cannot remove the report of an earlier run")?;
        }
        let routes: Vec<String> = plan
            .routes
            .iter()
            .map(|(route, weight)| format!("{route}={weight}"))
            .collect();
        let mut args: Vec<OsString> = vec!["load".into(), "--leash".into()];
        let mut add = |flag: &str, value: &str| args.extend([flag.into(), value.into()]);
        add("--target", &plan.targets.join(","));
        add("--rate", &plan.rate.to_string());
        add("--duration", DURATION_S);
        add("--routes", &routes.join(","));
        add("--users", &plan.users.to_string());
        add("--deadline-ms", &plan.patience.as_millis().to_string());
        add("--seed", &plan.seed.to_string());
        add("--report-file", &file.to_string_lossy());
        if let Some(wave) = &plan.diurnal {
            add("--diurnal", wave);
        }
        for bad in &plan.bad_versions {
            add("--bad-version", bad);
        }
        let logs = dir.join("logs");
        fs::create_dir_all(&logs)?;
        Ok(Self {
            process: Process::start(Program {
                name: "load".into(),
                binary: site.to_owned(),
                args,
                env: Vec::new(),
                logs,
            })?,
            file,
            patience: plan.patience,
        })
    }

    /// The report so far; none in the first second.
    pub(crate) fn report(&self) -> anyhow::Result<Option<Report>> {
        match fs::read(&self.file) {
            Ok(text) => Ok(Some(
                serde_json::from_slice(&text).context("the load report cannot be read")?,
            )),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context("the load report cannot be read"),
        }
    }

    /// An error, with the end of its log, if it has ended by itself.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        anyhow::ensure!(self.process.ended().is_none(), self.process.post_mortem());
        Ok(())
    }

    /// Lets no more users come, waits for those under way, and gives the whole report.
    pub(crate) async fn stop(mut self) -> anyhow::Result<Report> {
        self.process.ask_to_stop();
        let killed = self
            .process
            .wait_or_kill(self.patience + WRITTEN_WITHIN)
            .await;
        let report = self.report()?;
        match report {
            Some(report) if report.finished && !killed => Ok(report),
            _ => anyhow::bail!(
                "the load generator left no report: {}",
                self.process.post_mortem()
            ),
        }
    }
}
