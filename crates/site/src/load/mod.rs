//! The load generator: an open model whose users do not wait for one another.
//!
//! Guarantees: arrivals are Poisson and planned from the seed alone; latency counts from the planned
//! instant, so a slow site cannot hide behind a slow generator; when the generator itself was late
//! or out of room, the run is void (exit code 4).
//! Never calls another machine, never retries, never follows a redirect.
//! Example: `mainstay-site load --target http://127.0.0.1:7000 --rate 100 --duration 60`.

mod plan;
mod tally;
mod user;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::task::TaskTracker;

use crate::loopback::Base;
use plan::{Diurnal, Plan, RouteWeights};
use tally::{BadVersion, Report, Tally};
use user::{Seen, Site};

/// The exit code of a run whose numbers must not be used.
const EXIT_VOID: u8 = 4;
/// Niceness of the generator, below which only the kernel's own work runs.
const PRIORITY: i32 = -10;
const RATE_MAX: f64 = 20_000.0;
const DURATION_S_MAX: f64 = 86_400.0;
const USERS_MAX: u32 = 10_000_000;
const DEADLINE_MS_MAX: u64 = 60_000;
/// Requests in flight at most; also less than the file descriptors this process may open.
const IN_FLIGHT_MAX: usize = 8192;
/// File descriptors left for everything that is not a request.
const SPARE_DESCRIPTORS: usize = 64;
/// How often the report file is replaced.
const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// One JSON object.
    Json,
    /// A few lines for people.
    Text,
}

/// What `load` is asked to do.
#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// Base URLs on this machine, used in turn.
    #[arg(long = "target", value_delimiter = ',', required = true)]
    targets: Vec<Base>,
    /// Mean arrivals a second.
    #[arg(long)]
    rate: f64,
    /// Seconds in which users arrive.
    #[arg(long)]
    duration: f64,
    /// A daily wave, as `AMPLITUDE,PERIOD_S`: `0.5,600` swings by half within ten minutes.
    #[arg(long)]
    diurnal: Option<Diurnal>,
    /// Routes and their weights, as `/feed/home=5,/voyager/profile=3`.
    #[arg(long, default_value = "/feed/home=1")]
    routes: RouteWeights,
    /// Size of the population that requests are drawn from.
    #[arg(long, default_value_t = 1_000)]
    users: u32,
    /// A user gives up after this many milliseconds.
    #[arg(long, default_value_t = 2_000)]
    deadline_ms: u64,
    /// Seed of arrivals, routes and users.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// A version no user should see, as `SERVICE=VERSION`; repeat for several.
    #[arg(long = "bad-version")]
    bad_versions: Vec<BadVersion>,
    /// The form of the report on standard output.
    #[arg(long, value_enum, default_value_t = Output::Json)]
    output: Output,
    /// Seconds between two lines of progress on standard error.
    #[arg(long, default_value_t = 5)]
    report_every: u64,
    /// A file that is replaced each second with the report so far.
    #[arg(long)]
    report_file: Option<PathBuf>,
    /// The run is void when the generator's own 99th percentile of lateness exceeds this.
    #[arg(long, default_value_t = 20.0)]
    max_lag_ms: f64,
    /// Stop as by SIGTERM when standard input ends: when whoever started this is gone.
    #[arg(long)]
    leash: bool,
}

impl LoadArgs {
    fn check(&self) -> anyhow::Result<()> {
        ensure!(
            self.rate > 0.0 && self.rate <= RATE_MAX,
            "rate must lie between 0 and {RATE_MAX} a second"
        );
        ensure!(
            self.duration > 0.0 && self.duration <= DURATION_S_MAX,
            "duration must lie between 0 and {DURATION_S_MAX} seconds"
        );
        ensure!(
            (1..=USERS_MAX).contains(&self.users),
            "users must lie between 1 and {USERS_MAX}"
        );
        ensure!(
            (1..=DEADLINE_MS_MAX).contains(&self.deadline_ms),
            "deadline-ms must lie between 1 and {DEADLINE_MS_MAX}"
        );
        ensure!(self.report_every >= 1, "report-every must be at least 1");
        Ok(())
    }
}

/// Runs the load and prints the report.
pub(crate) fn run(args: LoadArgs) -> anyhow::Result<ExitCode> {
    args.check()?;
    // What measures should not wait for what is measured. Where this is not allowed, lateness is reported.
    let _allowed = rustix::process::setpriority_process(None, PRIORITY);
    let args = Arc::new(args);
    let report = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(generate(Arc::clone(&args)))?;
    match args.output {
        Output::Json => println!("{}", serde_json::to_string(&report)?),
        Output::Text => print!("{report}"),
    }
    if report.void.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("void: {}", report.void.join("; "));
    Ok(ExitCode::from(EXIT_VOID))
}

async fn generate(args: Arc<LoadArgs>) -> anyhow::Result<Report> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut tally = Tally::new(&args.routes, &args.bad_versions, args.max_lag_ms)?;
    let room = in_flight_limit();
    let (seen_in, mut seen_out) = mpsc::channel(room);
    let begin = Instant::now();
    let users = TaskTracker::new();
    let leash = args.leash;
    let stopped = tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = input_ended(), if leash => {}
        }
    });
    // A task of its own: writing the report file must not make users late.
    let mut arrivals = tokio::spawn(arrive(
        Arc::clone(&args),
        begin,
        room,
        users.clone(),
        seen_in,
        stopped,
    ));
    let mut arriving = true;
    let mut second = tokio::time::interval_at(begin + SECOND, SECOND);
    second.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut follower = Follower::new(&args);
    loop {
        tokio::select! {
            biased;
            planned = &mut arrivals, if arriving => {
                planned??;
                arriving = false;
            }
            _ = second.tick() => follower.follow(&tally, begin.elapsed()).await,
            seen = seen_out.recv() => match seen {
                Some(seen) => tally.add(&seen),
                None if !arriving => break,
                None => {}
            },
        }
    }
    let report = tally.report(begin.elapsed(), true);
    follower.finish(&report).await?;
    Ok(report)
}

/// Sends each planned user at the planned instant, until the plan ends or a signal asks to stop.
async fn arrive(
    args: Arc<LoadArgs>,
    begin: Instant,
    room: usize,
    users: TaskTracker,
    seen: mpsc::Sender<Seen>,
    mut stopped: tokio::task::JoinHandle<()>,
) -> anyhow::Result<()> {
    let site = Arc::new(Site::new(
        &args.targets,
        &args.routes,
        Duration::from_millis(args.deadline_ms),
    )?);
    for arrival in Plan::new(
        args.rate,
        args.duration,
        args.diurnal,
        &args.routes,
        args.users,
        args.seed,
    ) {
        let at = begin + arrival.after;
        tokio::select! {
            biased;
            _ = &mut stopped => break,
            () = tokio::time::sleep_until(at) => {}
        }
        if users.len() >= room {
            seen.send(Seen::not_sent(&arrival, at)).await?;
            continue;
        }
        let (site, seen) = (Arc::clone(&site), seen.clone());
        users.spawn(async move {
            // The receiver outlives all senders: the loop above ends when the last one is gone.
            let _sent = seen.send(site.visit(arrival, begin, at).await).await;
        });
    }
    stopped.abort();
    Ok(())
}

/// Returns once standard input has ended.
async fn input_ended() {
    let (ended, told) = tokio::sync::oneshot::channel();
    // A thread of its own: the runtime would wait for a blocking read of its own pool at the end.
    std::thread::spawn(move || {
        // An error ends the input as well as its end does.
        let _bytes = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        // Nobody listens when a signal came first.
        let _told = ended.send(());
    });
    let _ended = told.await;
}

/// How many requests may be in flight, given how many files this process may open.
fn in_flight_limit() -> usize {
    let descriptors = fs::read_to_string("/proc/self/limits")
        .ok()
        .and_then(|limits| {
            let line = limits
                .lines()
                .find(|line| line.starts_with("Max open files"))?;
            line.split_whitespace().nth(3)?.parse::<usize>().ok()
        })
        .unwrap_or(1024);
    descriptors
        .saturating_sub(SPARE_DESCRIPTORS)
        .clamp(1, IN_FLIGHT_MAX)
}

/// Tells people and other processes how the run goes.
#[derive(Debug)]
struct Follower {
    file: Option<PathBuf>,
    progress_every_s: u64,
    seconds: u64,
    warned: bool,
}

impl Follower {
    fn new(args: &LoadArgs) -> Self {
        Self {
            file: args.report_file.clone(),
            progress_every_s: args.report_every,
            seconds: 0,
            warned: false,
        }
    }

    async fn follow(&mut self, tally: &Tally, elapsed: Duration) {
        self.seconds += 1;
        let report = tally.report(elapsed, false);
        if self.seconds.is_multiple_of(self.progress_every_s) {
            eprintln!(
                "{:>5} s  {} requests, {} failed, p99 {:.1} ms, {} saw a bad version",
                self.seconds,
                report.requests,
                report.failed,
                report.latency_ms.p99,
                report.bad_version_users
            );
        }
        if let Err(error) = self.write(&report).await
            && !self.warned
        {
            eprintln!("the report file falls behind: {error:#}");
            self.warned = true;
        }
    }

    async fn finish(&self, report: &Report) -> anyhow::Result<()> {
        self.write(report).await
    }

    async fn write(&self, report: &Report) -> anyhow::Result<()> {
        let Some(path) = self.file.clone() else {
            return Ok(());
        };
        let json = serde_json::to_vec(report)?;
        tokio::task::spawn_blocking(move || replace(&path, &json)).await?
    }
}

/// Replaces a file, so that a reader sees the old content or the new, never half of it.
fn replace(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", std::process::id()));
    fs::write(&draft, content)
        .and_then(|()| fs::rename(&draft, path))
        .with_context(|| format!("write {}", path.display()))
}
