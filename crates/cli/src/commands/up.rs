//! `mainstay up`: the platform, the example site and its users on this machine, until stopped.
//!
//! **Guarantees.** A process of the platform that dies is started again, as a supervisor in production would
//! do, and both are said: killing one by hand shows what users see of it. **Never** hides a process that
//! cannot stay up: more than [`ENDS_MAX`] ends within [`ENDS_WITHIN`] end everything, with the log's end.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use clap::Args;
use tokio::time::{Instant, MissedTickBehavior};

use crate::{
    ending,
    local::{self, Build, Cluster, Ground, Load, LoadPlan, Site},
    output,
};

/// How long the first releases of all services may take together.
const FIRST_RELEASES_WITHIN: Duration = Duration::from_mins(2);
/// How often the processes are looked at while nothing else happens.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// For how long a process that died is missing before it is started again: long enough to look around.
const BACK_AFTER: Duration = Duration::from_secs(3);
/// So many ends of processes are made good within [`ENDS_WITHIN`].
const ENDS_MAX: usize = 5;
/// The time in which ends of processes are counted.
const ENDS_WITHIN: Duration = Duration::from_mins(1);
/// Most users come in a wave as high as half of its middle, one in ten minutes.
const DAY: &str = "0.4,600";
/// People that requests are drawn from.
const USERS: u32 = 20_000;
/// After how long a user gives up.
const PATIENCE: Duration = Duration::from_secs(2);
/// The day's middle rate is limited so that its peak stays within what the site is sized for.
const RATE_MAX: f64 = 400.0;

/// What `up` takes.
#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Where the server listens.
    #[arg(long, default_value = "127.0.0.1:7070")]
    listen: SocketAddr,
    /// Where everything is kept; a temporary directory, removed at the end, where unset.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Requests a second in the middle of the day, over all services; 0 for none.
    #[arg(long, default_value_t = 200.0)]
    rate: f64,
    /// Instances of `voyager` in each fabric.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=100))]
    instances: u32,
    /// Seed of the site's and the users' random choices.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) async fn up(args: Up) -> anyhow::Result<()> {
    super::log_to_stderr("warn");
    if !(0.0..=RATE_MAX).contains(&args.rate) {
        bail!("--rate must lie between 0 and {RATE_MAX} requests a second");
    }
    let temporary = args.data_dir.is_none();
    let dir = args.data_dir.clone().unwrap_or_else(|| {
        std::env::temp_dir().join(format!("mainstay-up-{}", std::process::id()))
    });
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    // Paths in orders and in /proc are absolute.
    let dir = dir.canonicalize()?;
    let mut run = Run::default();
    let result = tokio::select! {
        result = run.go(&args, &dir) => result,
        stopped = ending::told(false) => Ok(stopped?),
    };
    run.stop().await;
    if temporary && let Err(error) = std::fs::remove_dir_all(&dir) {
        tracing::warn!("cannot remove {}: {error}", dir.display());
    }
    result
}

/// What runs, so that it can be stopped wherever the start is interrupted.
#[derive(Default)]
struct Run {
    cluster: Option<Cluster>,
    load: Option<Load>,
    ends: Ends,
}

/// The ends of processes not long ago.
#[derive(Default)]
struct Ends(VecDeque<Instant>);

impl Ends {
    /// Counts one more; whether there were too many.
    fn are_too_many(&mut self, now: Instant) -> bool {
        while (self.0.front()).is_some_and(|&first| now.duration_since(first) > ENDS_WITHIN) {
            self.0.pop_front();
        }
        self.0.push_back(now);
        self.0.len() > ENDS_MAX
    }
}

impl Run {
    /// Starts everything, then watches it until something ends.
    async fn go(&mut self, args: &Up, dir: &Path) -> anyhow::Result<()> {
        let mut site = Site::new(dir, args.seed)?;
        site.set_instances("voyager", args.instances)?;
        eprintln!("making the releases of the example site");
        site.build_all().await?;
        for (version, defects) in [("v2", None), ("v3-bad", Some("errors=0.2,route=profile"))] {
            let defects: Vec<String> = defects.into_iter().map(str::to_owned).collect();
            site.build(&Build::of("voyager", version).with(&defects))
                .await?;
        }
        let fabrics = site.fabrics()?;
        let cluster = self.cluster.insert(Cluster::new(Ground {
            dir: dir.to_owned(),
            listen: args.listen,
            is_apart: false,
            fabrics: fabrics.clone(),
            hosts: site.hosts()?,
        })?);
        local::open(cluster, &site, FIRST_RELEASES_WITHIN, |line| {
            eprintln!("{line}");
        })
        .await?;
        if args.rate > 0.0 {
            let targets = fabrics.values().map(|listen| format!("http://{listen}"));
            let plan = LoadPlan {
                targets: targets.collect(),
                rate: args.rate,
                routes: Site::routes(),
                users: USERS,
                diurnal: Some(DAY.to_owned()),
                patience: PATIENCE,
                bad_versions: vec!["voyager=v3-bad".to_owned()],
                seed: args.seed,
            };
            self.load = Some(Load::start(site.binary(), &plan, dir)?);
        }
        let router = fabrics
            .values()
            .next()
            .context("the example has no fabric")?;
        welcome(cluster.api().url(), &router.to_string(), dir)?;
        self.watch().await
    }

    /// Starts again what died. Comes back, with an error, only when something cannot be kept up.
    async fn watch(&mut self) -> anyhow::Result<()> {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            if let Some(cluster) = &mut self.cluster {
                revive(cluster, &mut self.ends).await?;
            }
            if let Some(load) = &mut self.load {
                load.check()?;
            }
        }
    }

    async fn stop(&mut self) {
        if let Some(load) = self.load.take() {
            match load.stop().await {
                Ok(report) => eprintln!(
                    "{} requests were made, {} failed",
                    report.requests, report.failed
                ),
                Err(error) => tracing::warn!("{error:#}"),
            }
        }
        if let Some(mut cluster) = self.cluster.take() {
            eprintln!("stopping");
            for survivor in cluster.stop().await {
                tracing::warn!(
                    pid = survivor.pid,
                    "{} was still running and was killed",
                    survivor.instance
                );
            }
        }
    }
}

async fn revive(cluster: &mut Cluster, ends: &mut Ends) -> anyhow::Result<()> {
    for (role, how) in cluster.ended() {
        if ends.are_too_many(Instant::now()) {
            cluster.check()?;
        }
        eprintln!(
            "{role} {how}; it is started again in {} s",
            BACK_AFTER.as_secs()
        );
        tokio::time::sleep(BACK_AFTER).await;
        cluster.restart(&role).await?;
        eprintln!("{role} is back");
    }
    Ok(())
}

fn say(line: &str) -> anyhow::Result<()> {
    output::print(line)
}

fn welcome(server: &str, router: &str, dir: &Path) -> anyhow::Result<()> {
    let flag = if server == "http://127.0.0.1:7070" {
        String::new()
    } else {
        format!(" --server {server}")
    };
    say("")?;
    say(&format!(
        "Mainstay is up at {server}, with the example site behind it."
    ))?;
    say("In another terminal:")?;
    for (command, what) in [
        ("status", "what runs, and what is blocked"),
        (
            "get instances",
            "what instances claim, and what callers measure",
        ),
        ("rollout start voyager v2", "a good release"),
        (
            "rollout start voyager v3-bad",
            "a release that breaks one page for some",
        ),
        ("changes", "what changed, newest first"),
        ("monitors", "what must hold of every host and instance"),
    ] {
        say(&format!(
            "  mainstay {:<44} # {what}",
            format!("{command}{flag}")
        ))?;
    }
    say(&format!("  curl http://{router}/voyager/home"))?;
    say(&format!(
        "What users see is in {}/load.json; logs are in {}/logs.",
        dir.display(),
        dir.display()
    ))?;
    say("Ctrl-C stops everything.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sixth_end_within_a_minute_is_one_too_many_and_old_ones_are_forgotten() {
        let mut ends = Ends::default();
        let start = Instant::now();
        assert!((0..5).all(|_| !ends.are_too_many(start)));
        assert!(ends.are_too_many(start + ENDS_WITHIN));
        assert!(!ends.are_too_many(start + 2 * ENDS_WITHIN + Duration::from_secs(1)));
    }
}
