//! The command line: `kubectl`-like verbs, one server, one output flag.

mod import;
mod incidents;
mod kinds;
mod metrics;
mod oncall;
mod orders;
mod promql;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, path::PathBuf, str::FromStr};

use clap::{Args, Parser, Subcommand, ValueEnum};
use mainstay_core::{ChangeId, FabricName, HostName, Kind, Name, ServiceName, Span, Time};

pub(crate) use import::{Import, ImportFormat};
pub(crate) use incidents::{IncidentCommand, Page, Why};
pub(crate) use kinds::{Listed, Pointed, Pointing};
pub(crate) use metrics::{CopiesArgs, CopyCommand, ExportFormat, MetricsCommand};
pub(crate) use oncall::{Oncall, ScheduleCommand, StandIn, Window};
#[cfg(test)]
pub(crate) use orders::Emergency;
pub(crate) use orders::{Act, LimitTest, RolloutCommand, RolloutStart, Shed, Steer};
pub(crate) use promql::{Expressions, PromqlCommand};

/// One ledger of every change to production, one guard for all of them.
#[derive(Debug, Parser)]
#[command(
    name = "mainstay",
    version,
    propagate_version = true,
    max_term_width = 100
)]
#[command(after_help = "\
Start here:
  mainstay up                        # a whole platform with an example site
  mainstay status                    # what is blocked and what would unblock it
  mainstay get services              # what is declared
  mainstay get instances             # what runs, as it claims and as it is measured
  mainstay rollout start feed v2     # plan, print the plan, and go
  mainstay rollout watch feed        # live until it is done or back
  mainstay why chg-abcdefgh23        # every step with its verdict and the measurements
  mainstay changes --service feed    # what changed, newest first
  mainstay help rollout              # each command has examples

Exit codes: 0 done, 1 differs, broken, rolled back or aborted, 2 error, 3 paused for a person.
Colour only on a terminal, and not where NO_COLOR is set.")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every client command takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The server to speak to; where several share a ledger, all of them, with commas between.
    #[arg(
        long,
        global = true,
        env = "MAINSTAY_SERVER",
        default_value = "http://127.0.0.1:7070"
    )]
    pub(crate) server: String,
    /// The token to show it, where it asks for one.
    #[arg(long, global = true, env = "MAINSTAY_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// How to print.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
}

impl Global {
    /// The servers, each without a slash at its end.
    pub(crate) fn servers(&self) -> anyhow::Result<Vec<String>> {
        let all = self.server.split(',').map(str::trim);
        let all = all.map(|it| it.trim_end_matches('/').to_owned());
        let servers: Vec<String> = all.filter(|it| !it.is_empty()).collect();
        anyhow::ensure!(
            !servers.is_empty(),
            "no server is named\n  remedy: --server http://127.0.0.1:7070"
        );
        Ok(servers)
    }
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// As resources are written.
    Yaml,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server: API and console on one port.
    #[command(
        after_help = "Examples:\n  mainstay serve --data-dir ./data\n  mainstay serve --data-dir /var/lib/mainstay --listen 10.0.0.5:7070 --config mainstay.toml"
    )]
    Serve(Serve),
    /// Run the server, the example site and its users on this machine, and say what to try.
    #[command(
        after_help = "Examples:\n  mainstay up\n  mainstay up --listen 127.0.0.1:8080 --rate 100 --instances 4"
    )]
    Up(crate::commands::up::Up),
    /// Draft a catalog of observed services from an existing Prometheus; writes files, applies nothing.
    #[command(
        after_help = "Examples:\n  mainstay init --prometheus http://127.0.0.1:9090\n  mainstay init --prometheus http://prometheus:9090 --out catalog --overwrite"
    )]
    Init(crate::commands::init::Init),
    /// Play a scenario over a whole platform of its own, and say what users saw.
    #[command(
        after_help = "Examples:\n  mainstay demo good\n  mainstay demo bad-canary --defect errors=0.05,route=profile --output json\n\nExit codes: 0 ended as it must, 1 did not, 2 error, 4 the load generator was too late to be believed."
    )]
    Demo(crate::demo::Options),
    /// Run what the server orders on this host; one a host.
    #[command(
        after_help = "Examples:\n  mainstay agent --host lax-1 --data-dir /var/lib/mainstay-agent\n  \
                      mainstay agent --host lax-1 --data-dir ./lax-1 --admin 10.0.0.7:9100 --server http://10.0.0.5:7070"
    )]
    Agent(Agent),
    /// Carry the users of a fabric; one a fabric.
    #[command(
        after_help = "Examples:\n  mainstay router --fabric lax --listen 127.0.0.1:7081 --data-dir ./router-lax"
    )]
    Router(RouterArgs),
    /// Take alerts in place of an Alertmanager: its flags, its configuration file, its API.
    #[command(
        after_help = "Examples:\n  mainstay alertmanager --config.file=alertmanager.yml --storage.path=/var/lib/alertmanager\n  \
                      amtool --alertmanager.url=http://127.0.0.1:9093 alert query\n\n\
                      SIGHUP or POST /-/reload reads the configuration again. docs/alertmanager.md says what differs."
    )]
    Alertmanager(Box<crate::commands::alertmanager::Alertmanager>),
    /// Declare resources from YAML files or directories, all or nothing.
    #[command(
        after_help = "Examples:\n  mainstay apply -f site.yaml --reason 'two more hosts'\n  mainstay apply -f catalog/ --dry-run"
    )]
    Apply {
        #[command(flatten)]
        files: Files,
        /// Why; kept in the ledger.
        #[arg(long, default_value = "")]
        reason: String,
        /// Check and compare only.
        #[arg(long)]
        dry_run: bool,
    },
    /// Show what an apply would change; exit code 1 if anything.
    #[command(after_help = "Examples:\n  mainstay diff -f site.yaml")]
    Diff {
        #[command(flatten)]
        files: Files,
    },
    /// List resources of a kind, or those you name.
    #[command(
        after_help = "Examples:\n  mainstay get services\n  mainstay get instances\n  \
                      mainstay get instance feed-lax-1 --output json\n  mainstay get service/feed host/a\n  mainstay get rollouts\n\n\
                      Kinds: fabrics, hosts, services, rolloutpolicies, guards, freezes, monitors, \
                      responders, schedules, escalationpolicies; and, measured rather than declared, instances and rollouts."
    )]
    Get {
        #[command(flatten)]
        what: Pointing<Listed>,
    },
    /// Who uses the most of something.
    #[command(
        subcommand,
        after_help = "Examples:\n  mainstay top series\n  mainstay top series --by metric"
    )]
    Top(TopCommand),
    /// One resource with its history, or one instance with its evidence.
    #[command(
        after_help = "Examples:\n  mainstay describe service/feed\n  mainstay describe instance feed-lax-1"
    )]
    Describe {
        #[command(flatten)]
        what: Pointing<Listed>,
    },
    /// Remove a resource; its history stays.
    #[command(
        after_help = "Examples:\n  mainstay delete freeze holidays --reason 'the season is over'\n  \
            mainstay delete host/a host/b"
    )]
    Delete {
        #[command(flatten)]
        what: Pointing<Kind>,
        /// Why; kept in the ledger.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// The fields of a kind, as JSON Schema.
    #[command(after_help = "Examples:\n  mainstay explain service\n  mainstay explain freeze")]
    Explain {
        /// Kind.
        kind: Kind,
    },
    /// What is blocked and what would unblock it, then changes in flight, services and hosts.
    #[command(after_help = "Examples:\n  mainstay status\n  mainstay status --output json")]
    Status,
    /// Walk a version over a service, judged by what is measured.
    #[command(
        subcommand,
        after_help = "Examples:\n  mainstay rollout start feed v2 --reason 'fixes the cache' --watch\n  \
                      mainstay rollout watch feed\n  mainstay rollout pause feed --reason 'looking at the log'\n  \
                      mainstay rollout rollback feed\n\n\
                      Exit codes of start --watch and watch: 0 done, 1 rolled back or aborted, 2 error, \
                      3 paused for a person, 130 watching stopped by Ctrl-C (the rollout goes on)."
    )]
    Rollout(RolloutCommand),
    /// Restart an instance, or those of a service a few at a time; its version stays.
    #[command(
        after_help = "Examples:\n  mainstay restart feed-lax-1 --reason 'stuck on a lock'\n  \
                      mainstay restart feed --fabric lax --watch\n  \
                      mainstay restart feed --emergency blind --stated-demand 400 --reason 'no metrics'"
    )]
    Restart(Act),
    /// Take load off an instance, or off a service in a fabric, as far as the rest can carry it.
    #[command(
        after_help = "Examples:\n  mainstay drain feed-lax-1\n  mainstay drain feed --fabric iad --reason 'power work'\n  \
                      mainstay drain feed-iad-3 --emergency blind --stated-capacity 36 --reason 'no metrics'"
    )]
    Drain(Act),
    /// Kill the process of an instance at once; its agent starts it again.
    #[command(
        after_help = "Examples:\n  mainstay kill feed-lax-1 --reason 'ignores its stop signal'\n  \
                      mainstay kill feed-lax-1 --emergency blind --stated-demand 400 --reason 'no metrics'"
    )]
    Kill(Act),
    /// Refuse a share of a service's requests, to save the rest.
    #[command(
        after_help = "Examples:\n  mainstay shed feed 20% --fabric lax --reason 'demand above capacity'\n  \
                      mainstay shed feed 0%"
    )]
    Shed(Shed),
    /// Measure what an instance carries: it gets more of the real load, step by step, until its objective breaks.
    #[command(
        after_help = "Examples:\n  mainstay limit-test feed --watch\n  mainstay limit-test feed --fabric lax --reason 'before the release'\n\n\
                      The router gives a full share again within 100 ms when the service's objective (spec.slo) breaks. \
                      The figure is the most that was held for a whole step; rollouts count with it."
    )]
    LimitTest(LimitTest),
    /// Ask monitoring in PromQL; exit code 2 and the place where the expression is wrong.
    #[command(after_help = "Examples:\n  mainstay query up\n  \
                      mainstay query 'sum by (service) (rate(http_requests_total[1m]))'\n  \
                      mainstay query 'up == 0' --time 2026-11-05T18:00:00Z\n  \
                      mainstay query 'up' --range 5m --step 15s --output json\n  \
                      mainstay query 'sum(rate(http_requests_total[1h]))' --plan")]
    Query {
        /// The expression.
        expr: String,
        /// At which time, RFC 3339 or seconds since 1970; now where unset. The end of a range.
        #[arg(long)]
        time: Option<String>,
        /// Every step of so long a time, up to `--time`.
        #[arg(long)]
        range: Option<Span>,
        /// How far apart the values of a range are.
        #[arg(long, default_value = "15s", requires = "range")]
        step: Span,
        /// What it would read, instead of its value; `--plan=analyze` gives the value and what each part took.
        #[arg(
            long,
            num_args = 0..=1,
            require_equals = true,
            default_missing_value = "estimate",
            value_parser = ["estimate", "analyze"]
        )]
        plan: Option<String>,
    },
    /// What is kept of samples: delete series, make and restore snapshots.
    #[command(
        subcommand,
        after_help = "Examples:\n  mainstay metrics delete --match '{job=\"old\"}' --reason 'gone since May'\n  mainstay metrics clean"
    )]
    Metrics(MetricsCommand),
    /// Bring samples of any age from text dumps and from blocks of a Prometheus; the same twice is imported once.
    #[command(
        after_help = "Examples:\n  mainstay import dump.om\n  mainstay import /var/lib/prometheus/snapshots/20261105T170000Z-1a2b3c\n  \
                      mainstay import /var/lib/prometheus/metrics2 --data-dir /var/lib/mainstay --config mainstay.toml"
    )]
    Import(Import),
    /// Alerts that wait or fire, with what they say.
    #[command(after_help = "Examples:\n  mainstay alerts\n  mainstay alerts --output json")]
    Alerts,
    /// Judge every monitor now, as a test runner does: what is red with its value and limit, and what nobody watches.
    #[command(
        after_help = "Examples:\n  mainstay monitors\n  mainstay monitors database-backup --output json\n\n\
                      Exit codes: 0 all green, 1 some red, 2 an error, or a monitor that could not be evaluated."
    )]
    Monitors {
        /// Only these; all where none is named.
        names: Vec<Name>,
    },
    /// Who is on call; of a schedule that is named, in one word.
    #[command(
        after_help = "Examples:\n  mainstay oncall\n  mainstay oncall feed\n  mainstay oncall feed --role secondary --at 2026-03-29T01:30:00Z\n  \
                      mainstay oncall --severity p0 --output json\n\n\
                      Exit codes: 0 somebody who can be reached, 1 nobody, 2 error."
    )]
    Oncall(Oncall),
    /// Schedules: shifts, gaps, who stands in, calendars.
    #[command(
        subcommand,
        after_help = "Examples:\n  mainstay schedule show feed\n  mainstay schedule take feed\n  mainstay schedule gaps\n\n\
                      Schedules are declared: `mainstay explain schedule`, `mainstay explain responder`."
    )]
    Schedule(ScheduleCommand),
    /// Recording and alerting rules: check files, and see how the server's stand.
    #[command(
        subcommand,
        after_help = "Examples:\n  mainstay rules check rules/*.yml\n  mainstay rules list\n\n\
                      Files are Prometheus's. The server evaluates those that its configuration names in [rules] files."
    )]
    Rules(RulesCommand),
    /// Test, check and format PromQL, without a server.
    #[command(
        subcommand,
        after_help = "Examples:\n  mainstay promql check 'rate(errors_total[5m])'\n  mainstay promql test alerts.test"
    )]
    Promql(PromqlCommand),
    /// Open an incident: people are told by an escalation policy until somebody acknowledges.
    #[command(
        after_help = "Examples:\n  mainstay page 'the shop is slow' --policy web\n  \
                      mainstay page 'nobody can log in' --policy web --severity P0 --reason 'since the release'"
    )]
    Page(Page),
    /// Say that you look after an incident: nobody else is told.
    #[command(after_help = "Examples:\n  mainstay ack inc-abcdefgh23")]
    Ack {
        /// The incident.
        incident: ChangeId,
    },
    /// Tell the next step of an incident at once.
    #[command(
        after_help = "Examples:\n  mainstay escalate inc-abcdefgh23 --reason 'needs somebody who knows the cache'"
    )]
    Escalate(Why),
    /// Say that an incident is over.
    #[command(after_help = "Examples:\n  mainstay resolve inc-abcdefgh23 --reason 'rolled back'")]
    Resolve(Why),
    /// Incidents: list and show them, severity, parts, tasks, notes.
    #[command(
        subcommand,
        after_help = "Examples:\n  mainstay incident list\n  mainstay incident show inc-abcdefgh23\n  \
                      mainstay incident severity inc-abcdefgh23 P0 --reason 'nobody can log in'\n\n\
                      Exit codes: 0 done, 2 error, or the incident refuses it."
    )]
    Incident(IncidentCommand),
    /// List changes, newest first.
    #[command(
        after_help = "Examples:\n  mainstay changes --limit 10\n  mainstay changes --kind rollout --state rolled-back\n  mainstay changes --service feed --output json"
    )]
    Changes {
        /// Only of this kind, such as `apply` or `rollout`.
        #[arg(long)]
        kind: Option<String>,
        /// Only in this state, such as `running` or `done`.
        #[arg(long)]
        state: Option<String>,
        /// Only those that touch this service.
        #[arg(long)]
        service: Option<ServiceName>,
        /// At most so many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Write down a change made elsewhere.
    #[command(
        after_help = "Examples:\n  mainstay change record 'DNS moved to the new zone' --reason 'old zone ends' --service feed"
    )]
    #[command(subcommand)]
    Change(ChangeCommand),
    /// Every step of a change, with its verdicts.
    #[command(
        after_help = "Examples:\n  mainstay why chg-abcdefgh23\n  mainstay why chg-abcdefgh23 --output json"
    )]
    Why {
        /// The change.
        change: ChangeId,
    },
    /// The ledger itself.
    #[command(
        after_help = "Examples:\n  mainstay ledger verify\n  mainstay ledger show --since 100 --limit 20"
    )]
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// Tokens, on the server's own machine.
    #[command(
        after_help = "Examples:\n  mainstay token create deployer --scope write --data-dir ./data\n  mainstay token revoke deployer --data-dir ./data"
    )]
    #[command(subcommand)]
    Token(TokenCommand),
    /// Check or explain the server's configuration file.
    #[command(after_help = "Examples:\n  mainstay config check mainstay.toml")]
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a completion script for a shell.
    #[command(after_help = "Examples:\n  mainstay completion bash\n  mainstay completion zsh")]
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Addresses, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OtlpListen(pub(crate) Vec<SocketAddr>);

impl FromStr for OtlpListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(Vec::new()));
        }
        let addresses = text.split(',').map(|it| {
            let parsed = it.trim().parse();
            parsed
                .map_err(|_| format!("`{it}` is no address such as 127.0.0.1:4317, and not `none`"))
        });
        addresses.collect::<Result<_, _>>().map(Self)
    }
}

/// What `serve` takes.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Where it keeps its data.
    #[arg(long)]
    pub(crate) data_dir: PathBuf,
    /// Where it listens; beyond loopback only with tokens.
    #[arg(long)]
    pub(crate) listen: Option<SocketAddr>,
    /// Where OTLP is taken besides; `none` for nowhere. Unset: what the configuration says, or ports 4317 and 4318.
    #[arg(long, value_name = "ADDR,…")]
    pub(crate) otlp_listen: Option<OtlpListen>,
    /// TOML; `mainstay config check` explains it.
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
    /// End at the end of standard input too.
    #[arg(long)]
    pub(crate) leash: bool,
}

/// What there may be the most of.
#[derive(Debug, Subcommand)]
pub(crate) enum TopCommand {
    /// Which tenants, metrics and labels have the most series, and who is at a limit.
    #[command(
        after_help = "Examples:\n  mainstay top series\n  mainstay top series --by metric --limit 30\n  mainstay top series --by tenant --output json"
    )]
    Series {
        /// Only one list.
        #[arg(long, value_enum)]
        by: Option<TopBy>,
        /// Lines of each list.
        #[arg(long, default_value_t = 10)]
        limit: usize,
    },
}

/// By what series are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TopBy {
    /// Those who share the engine.
    Tenant,
    /// The metric's name.
    Metric,
    /// A label and its value.
    Pair,
    /// Labels, by how many values they have.
    Label,
}

/// What `agent` takes.
#[derive(Debug, Args)]
pub(crate) struct Agent {
    /// The host it speaks for.
    #[arg(long)]
    pub(crate) host: HostName,
    /// Where metrics and readiness are; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) admin: SocketAddr,
    /// Where it keeps its state and the logs of its instances.
    #[arg(long)]
    pub(crate) data_dir: PathBuf,
    /// End at the end of standard input too, and take all instances along.
    #[arg(long)]
    pub(crate) leash: bool,
}

/// What `router` takes.
#[derive(Debug, Args)]
pub(crate) struct RouterArgs {
    /// The fabric whose users it carries.
    #[arg(long)]
    pub(crate) fabric: FabricName,
    /// Where users are served.
    #[arg(long)]
    pub(crate) listen: SocketAddr,
    /// Where metrics and readiness are; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) admin: SocketAddr,
    /// Where it keeps the last table.
    #[arg(long)]
    pub(crate) data_dir: PathBuf,
    /// End at the end of standard input too.
    #[arg(long)]
    pub(crate) leash: bool,
}

/// Files to read resources from.
#[derive(Debug, Args)]
pub(crate) struct Files {
    /// A file or a directory of `.yaml` files; may be repeated; `-` is standard input.
    #[arg(short = 'f', long = "filename", required = true)]
    pub(crate) paths: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ChangeCommand {
    /// Record a change that another tool made.
    #[command(
        after_help = "Examples:\n  mainstay change record 'kernel upgraded on h7' --service feed"
    )]
    Record {
        /// What was done, in one line.
        title: String,
        /// Why.
        #[arg(long, default_value = "")]
        reason: String,
        /// A service it touched; may be repeated.
        #[arg(long = "service")]
        services: Vec<ServiceName>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum RulesCommand {
    /// Read rule files and say everything that is wrong; exit code 1 if anything.
    #[command(after_help = "Examples:\n  mainstay rules check rules/*.yml")]
    Check {
        /// The files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Run unit tests of rules in promtool's format; exit code 1 and both results where one fails.
    #[command(
        after_help = "Examples:\n  mainstay rules test tests/*.yml\n  mainstay rules test shop.test.yml --run 'burst.*'"
    )]
    Test {
        /// The files of tests; the rule files that they name are looked for beside them.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Only tests whose whole name this regular expression matches.
        #[arg(long, value_name = "REGEX")]
        run: Option<String>,
    },
    /// Which rules move with each sample, which are evaluated at intervals, why, and what each holds of series.
    #[command(after_help = "Examples:\n  mainstay rules explain rules/*.yml")]
    Explain {
        /// The files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// When the alerts of a file would have fired over the history that the server has.
    #[command(
        after_help = "Examples:\n  mainstay rules backtest rules/shop.yml --since 6h\n  \
                      mainstay rules backtest rules/shop.yml --rule Down --start 2026-11-05T18:00:00Z"
    )]
    Backtest(Backtest),
    /// The server's rules with the state of each.
    #[command(after_help = "Examples:\n  mainstay rules list\n  mainstay rules list --output json")]
    List,
}

/// What `rules backtest` takes.
#[derive(Debug, Args)]
pub(crate) struct Backtest {
    /// The rule file.
    pub(crate) file: PathBuf,
    /// Only this alert.
    #[arg(long)]
    pub(crate) rule: Option<String>,
    /// How far back.
    #[arg(long, default_value = "1h", conflicts_with = "start")]
    pub(crate) since: Span,
    /// From when, RFC 3339.
    #[arg(long)]
    pub(crate) start: Option<Time>,
    /// Up to when, RFC 3339; now where unset.
    #[arg(long)]
    pub(crate) end: Option<Time>,
    /// How often groups are evaluated that name no interval.
    #[arg(long, default_value = "1m")]
    pub(crate) every: Span,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LedgerCommand {
    /// Walk the hash chain; exit code 1 and the first broken entry if it does not hold.
    #[command(
        after_help = "Examples:\n  mainstay ledger verify\n  mainstay ledger verify --data-dir ./data"
    )]
    Verify {
        /// Read this data directory instead of asking a server.
        #[arg(long)]
        data_dir: Option<PathBuf>,
    },
    /// Print entries after a position.
    #[command(
        after_help = "Examples:\n  mainstay ledger show --since 100\n  mainstay ledger show --stream resource/Service/feed\n\n\
                      Streams are resource/KIND/NAME, change/ID, deployment/SERVICE."
    )]
    Show {
        /// Position.
        #[arg(long, default_value_t = 0)]
        since: u64,
        /// Only entries of this stream.
        #[arg(long)]
        stream: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Fold the whole ledger anew into the tables that lists and searches read; stop the server first.
    #[command(
        after_help = "Examples:\n  mainstay ledger rebuild --data-dir ./data\n  mainstay ledger rebuild --config mainstay.toml"
    )]
    Rebuild(Kept),
}

/// Where a server keeps its ledger.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Kept {
    /// In this data directory.
    #[arg(long)]
    pub(crate) data_dir: Option<PathBuf>,
    /// Where [store] of this configuration says.
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token; its secret is printed once and never again.
    #[command(
        after_help = "Examples:\n  mainstay token create deployer --scope write --data-dir ./data"
    )]
    Create {
        /// Its name: the actor in the ledger.
        name: String,
        /// What it may do.
        #[arg(long = "scope", value_parser = ["read", "send", "write", "host", "admin"], required = true)]
        scopes: Vec<String>,
        /// The server's data directory.
        #[arg(long)]
        data_dir: PathBuf,
    },
    /// List tokens without their secrets.
    #[command(after_help = "Examples:\n  mainstay token list --data-dir ./data")]
    List {
        /// The server's data directory.
        #[arg(long)]
        data_dir: PathBuf,
    },
    /// End a token at once.
    #[command(after_help = "Examples:\n  mainstay token revoke deployer --data-dir ./data")]
    Revoke {
        /// Its name.
        name: String,
        /// The server's data directory.
        #[arg(long)]
        data_dir: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Read a configuration file and say what is wrong with it.
    #[command(after_help = "Examples:\n  mainstay config check mainstay.toml")]
    Check {
        /// The file.
        file: PathBuf,
    },
}
