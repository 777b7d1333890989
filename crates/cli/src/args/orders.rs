//! What orders to production take.

use anyhow::bail;
use clap::{Args, Subcommand, ValueEnum};
use mainstay_core::{FabricName, Name, ServiceName, Version};
use serde_json::{Value, json};

#[derive(Debug, Subcommand)]
pub(crate) enum RolloutCommand {
    /// Plan a release, print the plan, and open it.
    #[command(
        after_help = "Examples:\n  mainstay rollout start feed v2 --dry-run\n  \
                      mainstay rollout start feed v2 --reason 'fixes the cache' --watch\n  \
                      mainstay rollout start feed v2 --batch 5% --strategy blue-green\n  \
                      mainstay rollout start feed v2 --expose 20%  # a person decides there\n  \
                      mainstay rollout start feed v2 --emergency security --reason 'CVE in the parser'\n  \
                      mainstay rollout start feed v2 --emergency blind --stated-demand 400 --reason 'no metrics'"
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
    #[command(flatten)]
    pub(crate) emergency: Emergency,
    /// Largest share of instances in one batch; what is measured may make it smaller.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub(crate) batch: Option<String>,
    /// Share of a fabric's instances that may run the new version before a person is asked.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub(crate) expose: Option<String>,
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

/// The emergency to open a change under, and what is stated in it.
#[derive(Debug, Default, Args)]
pub(crate) struct Emergency {
    /// The emergency policy to open it under; needs a reason.
    #[arg(long = "emergency", value_name = "POLICY", requires = "reason")]
    pub(crate) policy: Option<Name>,
    /// Requests per second asked of the service in each fabric, in place of what is measured; for an hour.
    #[arg(long, value_name = "RPS", requires = "policy", value_parser = rps)]
    pub(crate) stated_demand: Option<f64>,
    /// Requests per second that one instance carries, in place of what is measured; for an hour.
    #[arg(long, value_name = "RPS", requires = "policy", value_parser = rps)]
    pub(crate) stated_capacity: Option<f64>,
}

impl Emergency {
    /// As the API wants it; nothing where none is declared.
    pub(crate) fn body(&self, reason: &str) -> anyhow::Result<Option<Value>> {
        let Some(policy) = &self.policy else {
            return Ok(None);
        };
        if reason.trim().is_empty() {
            bail!("an emergency needs its reason: say it with --reason");
        }
        let mut body = json!({ "policy": policy, "reason": reason });
        if let Some(rps) = self.stated_demand {
            body["statedDemandRps"] = json!(rps);
        }
        if let Some(rps) = self.stated_capacity {
            body["statedCapacityRps"] = json!(rps);
        }
        Ok(Some(body))
    }
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
    #[command(flatten)]
    pub(crate) emergency: Emergency,
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

/// A number of requests per second.
fn rps(text: &str) -> Result<f64, String> {
    match text.trim().parse() {
        Ok(rps) if (0.0..f64::INFINITY).contains(&rps) => Ok(rps),
        _ => Err("requests per second are a number from 0 on, such as `400`".to_owned()),
    }
}

/// `10`, `10%` or `10 %`, as the API writes it.
fn percent(text: &str) -> Result<String, String> {
    let number: Option<f64> = text.trim().trim_end_matches('%').trim_end().parse().ok();
    match number {
        Some(number) if (0.0..=100.0).contains(&number) => Ok(format!("{number}%")),
        _ => Err("a percentage is a number from 0 to 100, such as `10%`".to_owned()),
    }
}
