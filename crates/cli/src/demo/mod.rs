//! Scenarios: scripts that anyone can read and run, each over a whole platform of its own.
//!
//! **Guarantees.** Each scenario runs on ports and in a directory of its own, gives one JSON object, and
//! says of every thing that must hold whether it did. What users saw comes from the load generator alone.
//! **Never** tells the site or the platform which scenario is played.
//!
//! Example: `mainstay demo bad-canary --output json`.

mod bad_canary;
mod bad_late;
mod blue_green;
mod defects;
mod dependency_down;
mod ending;
mod good;
mod liar;
mod server_dies;
mod stage;
mod storm;
mod tables;
mod that_day;

use clap::{Args, ValueEnum};

pub(crate) use ending::Ending;

/// The most requests a second that the example site's edge is made for.
const RATE_MAX: f64 = 400.0;

/// Requests a second that use about half of every service.
const RATE: f64 = 300.0;
/// Instances of `voyager` in each fabric that these are made for.
const INSTANCES: u32 = 6;

/// What `demo` takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// The scenario.
    #[arg(value_enum)]
    pub(crate) scenario: Scenario,
    /// A defect of the release, instead of the scenario's own; may be repeated. `errors=P[,route=R][,client=V]`,
    /// `slow=P,ms=N`, `leak=SECONDS[,mb=N]`, `lying-health`, `ignores-stop`, `hang`; `none` for no defect.
    #[arg(long = "defect")]
    pub(crate) defects: Vec<String>,
    /// Requests a second over all services, two thirds of them to `voyager`; the scenario's own where unset.
    #[arg(long, value_parser = rate)]
    rate: Option<f64>,
    /// Instances of `voyager` in each fabric; the scenario's own where unset.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    instances: Option<u32>,
    /// Seed of the site's and the users' random choices.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Keep the directory with logs and data.
    #[arg(long)]
    pub(crate) keep: bool,
}

impl Options {
    /// Requests a second over all services.
    pub(crate) fn rate(&self) -> f64 {
        self.rate.unwrap_or(match self.scenario {
            Scenario::Storm => storm::RATE,
            _ => RATE,
        })
    }

    /// Instances of `voyager` in each fabric.
    pub(crate) fn instances(&self) -> u32 {
        self.instances.unwrap_or(match self.scenario {
            Scenario::Storm => storm::INSTANCES,
            _ => INSTANCES,
        })
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if rate > 0.0 && rate <= RATE_MAX {
        Ok(rate)
    } else {
        Err(format!("must be above 0 and at most {RATE_MAX}"))
    }
}

/// What is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// A release without defects goes all the way, and no user notices.
    Good,
    /// A release that fails some requests is found in the canary and taken back.
    BadCanary,
    /// A release that goes bad after a while is taken back from wherever it has got to.
    BadLate,
    /// A second set beside the first: a good release replaces it, a bad one is flipped back.
    BlueGreen,
    /// An instance that says it is well while its callers get nothing, and that ignores its stop.
    Liar,
    /// What a release depends on fails: nobody's fault, so the rollout waits.
    DependencyDown,
    /// The server and an agent are killed in mid-batch: the rollout completes.
    ServerDies,
    /// A rollback in two halves brings a whole site down, and then, guarded, does not.
    Storm,
}

impl Scenario {
    /// As it is written on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::BadCanary => "bad-canary",
            Self::BadLate => "bad-late",
            Self::BlueGreen => "blue-green",
            Self::Liar => "liar",
            Self::DependencyDown => "dependency-down",
            Self::ServerDies => "server-dies",
            Self::Storm => "storm",
        }
    }
}

/// Plays a scenario to its end.
pub(crate) async fn play(options: &Options) -> anyhow::Result<Ending> {
    match options.scenario {
        Scenario::Good => good::play(options).await,
        Scenario::BadCanary => bad_canary::play(options).await,
        Scenario::BadLate => bad_late::play(options).await,
        Scenario::BlueGreen => blue_green::play(options).await,
        Scenario::Liar => liar::play(options).await,
        Scenario::DependencyDown => dependency_down::play(options).await,
        Scenario::ServerDies => server_dies::play(options).await,
        Scenario::Storm => storm::play(options).await,
    }
}
