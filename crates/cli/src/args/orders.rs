//! What orders to production take.

use clap::{Args, Subcommand, ValueEnum};
use mainstay_core::{FabricName, Name, ServiceName, Version};

#[derive(Debug, Subcommand)]
pub(crate) enum RolloutCommand {
    /// Plan a release, print the plan, and open it.
    #[command(
        after_help = "Examples:\n  mainstay rollout start feed v2 --dry-run\n  \
                      mainstay rollout start feed v2 --reason 'fixes the cache' --watch\n  \
                      mainstay rollout start feed v2 --batch 5% --strategy blue-green\n  \
                      mainstay rollout start feed v2 --emergency security --reason 'CVE in the parser'"
    )]
    Start(RolloutStart),
    /// Follow a rollout, or any change, until it ends or waits for a person.
    #[command(
        after_help = "Examples:\n  mainstay rollout watch feed\n  mainstay rollout watch chg-abcdefgh23\n  \
                      mainstay rollout watch feed --output json\n\n\
                      Exit codes: 0 done, 1 rolled back or aborted, 2 error, 3 paused for a person, \
                      130 watching stopped by Ctrl-C (the rollout goes on)."
    )]
    Watch {
        /// A change, or a service whose newest rollout is meant.
        #[arg(value_name = "CHANGE|SERVICE")]
        target: Name,
    },
    /// Where a rollout stands, or all that are open.
    #[command(
        after_help = "Examples:\n  mainstay rollout status\n  mainstay rollout status feed\n  \
                      mainstay rollout status feed --output json"
    )]
    Status {
        /// A change, or a service whose newest rollout is meant.
        #[arg(value_name = "CHANGE|SERVICE")]
        target: Option<Name>,
    },
    /// Stop going forward; what is measured goes on being watched.
    #[command(
        after_help = "Examples:\n  mainstay rollout pause feed --reason 'looking at the log'"
    )]
    Pause(Steer),
    /// Go on after a pause.
    #[command(after_help = "Examples:\n  mainstay rollout resume feed --reason 'log is clean'")]
    Resume(Steer),
    /// End it: instances of the new version go back first.
    #[command(after_help = "Examples:\n  mainstay rollout abort feed --reason 'wrong build'")]
    Abort(Steer),
    /// Go back to the version before, sized for demand.
    #[command(
        after_help = "Examples:\n  mainstay rollout rollback feed --reason 'users see old prices'"
    )]
    Rollback(Steer),
    /// Go on although the evidence is not enough yet; a failed guard still stops it.
    #[command(
        after_help = "Examples:\n  mainstay rollout promote feed --reason 'too little traffic at night'"
    )]
    Promote(Steer),
    /// Rollouts that were, newest first.
    #[command(
        after_help = "Examples:\n  mainstay rollout history\n  mainstay rollout history feed --limit 5"
    )]
    History {
        /// Only of this service.
        service: Option<ServiceName>,
        /// At most so many.
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
}

/// What `rollout start` takes.
#[derive(Debug, Args)]
pub(crate) struct RolloutStart {
    /// The service.
    pub(crate) service: ServiceName,
    /// The version, as its artifact names it.
    #[arg(id = "to", value_name = "VERSION")]
    pub(crate) version: Version,
    /// Why; kept in the ledger.
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    /// The emergency policy to open it under; needs a reason.
    #[arg(long, value_name = "POLICY", requires = "reason")]
    pub(crate) emergency: Option<Name>,
    /// Largest share of instances in one batch; what is measured may make it smaller.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub(crate) batch: Option<String>,
    /// How it goes over the service; the service's policy decides where unset.
    #[arg(long, value_enum)]
    pub(crate) strategy: Option<Strategy>,
    /// Print the plan and open nothing.
    #[arg(long, conflicts_with = "watch")]
    pub(crate) dry_run: bool,
    /// Follow it until it ends or waits for a person.
    #[arg(long)]
    pub(crate) watch: bool,
}

/// How a release goes over a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Strategy {
    /// A canary, then batches in place.
    Canary,
    /// A second set beside the first, then the routes.
    BlueGreen,
}

impl Strategy {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Canary => "canary",
            Self::BlueGreen => "blue-green",
        }
    }
}

/// What tells an open rollout something.
#[derive(Debug, Args)]
pub(crate) struct Steer {
    /// A change, or a service whose open rollout is meant.
    #[arg(value_name = "CHANGE|SERVICE")]
    pub(crate) target: Name,
    /// Why; kept in the ledger.
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
}

/// What `restart`, `drain` and `kill` take.
#[derive(Debug, Args)]
pub(crate) struct Act {
    /// An instance or a service; `instance/NAME` or `service/NAME` where both are called so.
    #[arg(value_name = "INSTANCE|SERVICE")]
    pub(crate) target: String,
    /// Only the service's instances in this fabric.
    #[arg(long)]
    pub(crate) fabric: Option<FabricName>,
    /// Why; kept in the ledger.
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    /// Follow it until it ends or waits for a person.
    #[arg(long)]
    pub(crate) watch: bool,
}

/// What `shed` takes.
#[derive(Debug, Args)]
pub(crate) struct Shed {
    /// The service.
    pub(crate) service: ServiceName,
    /// The share of its requests to refuse; `0%` ends it.
    #[arg(value_name = "PERCENT", value_parser = percent)]
    pub(crate) percent: String,
    /// Only in this fabric.
    #[arg(long)]
    pub(crate) fabric: Option<FabricName>,
    /// Why; kept in the ledger.
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
}

/// What `limit-test` takes.
#[derive(Debug, Args)]
pub(crate) struct LimitTest {
    /// The service.
    pub(crate) service: ServiceName,
    /// In this fabric; in any where unset.
    #[arg(long)]
    pub(crate) fabric: Option<FabricName>,
    /// Why; kept in the ledger.
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    /// Follow it until it ends.
    #[arg(long)]
    pub(crate) watch: bool,
}

/// `10`, `10%` or `10 %`, as the API writes it.
fn percent(text: &str) -> Result<String, String> {
    let number: Option<f64> = text.trim().trim_end_matches('%').trim_end().parse().ok();
    match number {
        Some(number) if (0.0..=100.0).contains(&number) => Ok(format!("{number}%")),
        _ => Err("a percentage is a number from 0 to 100, such as `10%`".to_owned()),
    }
}
