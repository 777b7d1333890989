//! The command line: which of its three roles this process plays.
//!
//! Guarantees: an executable that carries a trailer and gets no arguments is a service instance;
//! everything else is parsed, and refused with an explanation when it is out of bounds.
//! Never starts work before all arguments have been checked.
//! Example: `mainstay-site build --service feed --version 1.0.0 --out releases`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::artifact::{self, Spec, WhenFull};
use crate::defect::Defect;
use crate::{instance, load};

#[derive(Debug, Parser)]
#[command(name = "mainstay-site", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a release artifact: an executable that is one version of one service.
    Build(BuildArgs),
    /// Print what a release artifact says it is, as JSON.
    Inspect {
        /// The artifact, such as `releases/feed/1.0.0/run`.
        artifact: PathBuf,
    },
    /// Send open-model traffic to loopback targets and count what users saw.
    Load(load::LoadArgs),
}

#[derive(Debug, Args)]
struct BuildArgs {
    /// The service's name, which is also the first segment of its routes.
    #[arg(long)]
    service: String,
    /// The release's version.
    #[arg(long = "version")]
    release: String,
    /// The folder that receives `SERVICE/VERSION/run`.
    #[arg(long)]
    out: PathBuf,
    /// Requests worked on at the same time.
    #[arg(long, default_value_t = 4)]
    workers: u32,
    /// Mean time a worker holds a request, in milliseconds.
    #[arg(long, default_value_t = 20.0)]
    service_ms: f64,
    /// Shape of the log-normal service time: 0 is constant, 0.35 is calm, 1 is wild.
    #[arg(long, default_value_t = 0.35)]
    spread: f64,
    /// Requests that may wait for a worker.
    #[arg(long, default_value_t = 64)]
    queue: u32,
    /// What a request meets when the queue is full.
    #[arg(long, value_enum, default_value_t = WhenFull::Reject)]
    when_full: WhenFull,
    /// Seconds after start in which the cache is cold (0: never cold).
    #[arg(long, default_value_t = 0.0)]
    cold_s: f64,
    /// How many times slower the very first request is while the cache is cold.
    #[arg(long, default_value_t = 4.0)]
    cold_factor: f64,
    /// A route below the service's name; repeat for several.
    #[arg(long = "route", default_values_t = artifact::default_routes())]
    routes: Vec<String>,
    /// A service called for each request, as `identity` or `identity/profile`; repeat for several.
    #[arg(long = "dependency")]
    dependencies: Vec<String>,
    /// A defect, such as `errors=0.2,route=home` or `lying-health`; repeat for several.
    #[arg(long = "defect")]
    defects: Vec<Defect>,
    /// Seed of the instance's random choices; the environment variable SEED overrides it.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Plays the role that the executable's trailer and the arguments ask for.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    if std::env::args_os().len() == 1
        && let Some(spec) = artifact::read(&std::env::current_exe()?)?
    {
        return instance::run(spec);
    }
    match Cli::parse().command {
        Command::Build(args) => build(args),
        Command::Inspect { artifact: path } => {
            let spec = artifact::read(&path)?
                .ok_or_else(|| anyhow::anyhow!("{} carries no trailer", path.display()))?;
            println!("{}", serde_json::to_string(&spec)?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Load(args) => load::run(args),
    }
}

fn build(args: BuildArgs) -> anyhow::Result<ExitCode> {
    let spec = Spec {
        service: args.service,
        version: args.release,
        workers: args.workers,
        service_ms: args.service_ms,
        spread: args.spread,
        queue: args.queue,
        when_full: args.when_full,
        cold_s: args.cold_s,
        cold_factor: args.cold_factor,
        routes: args.routes,
        dependencies: args.dependencies,
        defects: args.defects,
        seed: args.seed,
    };
    let path = artifact::build(&spec, &args.out)?;
    println!("{}", path.display());
    Ok(ExitCode::SUCCESS)
}
