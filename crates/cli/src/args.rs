//! The command line: `kubectl`-like verbs, one server, one output flag.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use mainstay_core::{ChangeId, FabricName, HostName, Kind, Name, ServiceName};

/// One ledger of every change to production, one guard for all of them.
#[derive(Debug, Parser)]
#[command(
    name = "mainstay",
    version,
    propagate_version = true,
    max_term_width = 100
)]
#[command(
    after_help = "Start here:\n  mainstay up                   a server with an example catalog\n  \
    mainstay get services         what is declared\n  mainstay changes              what changed, newest first\n  \
    mainstay explain service      the fields of a resource\n\nExit codes: 0 done, 1 differs or broken, 2 error."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every client command takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The server to speak to.
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
    Serve(Serve),
    /// Run the server with an example catalog and say what to try.
    Up {
        /// Where it listens.
        #[arg(long, default_value = "127.0.0.1:7070")]
        listen: SocketAddr,
        /// Where it keeps its data; a temporary directory, removed at the end, where unset.
        #[arg(long)]
        data_dir: Option<PathBuf>,
    },
    /// Run what the server orders on this host; one a host.
    Agent(Agent),
    /// Carry the users of a fabric; one a fabric.
    Router(RouterArgs),
    /// Declare resources from YAML files or directories, all or nothing.
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
    Diff {
        #[command(flatten)]
        files: Files,
    },
    /// List resources of a kind, or one of them.
    Get {
        /// Kind, singular or plural.
        kind: Kind,
        /// Name.
        name: Option<Name>,
    },
    /// One resource with its history.
    Describe {
        /// Kind.
        kind: Kind,
        /// Name.
        name: Name,
    },
    /// Remove a resource; its history stays.
    Delete {
        /// Kind.
        kind: Kind,
        /// Name.
        name: Name,
    },
    /// The fields of a kind, as JSON Schema.
    Explain {
        /// Kind.
        kind: Kind,
    },
    /// List changes, newest first.
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
    #[command(subcommand)]
    Change(ChangeCommand),
    /// Every step of a change, with its verdicts.
    Why {
        /// The change.
        change: ChangeId,
    },
    /// The ledger itself.
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// Tokens, on the server's own machine.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Check or explain the server's configuration file.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a completion script for a shell.
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
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
    /// TOML; `mainstay config check` explains it.
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
}

/// What `agent` takes.
#[derive(Debug, Args)]
pub(crate) struct Agent {
    /// The host it speaks for.
    #[arg(long)]
    pub(crate) host: HostName,
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
pub(crate) enum LedgerCommand {
    /// Walk the hash chain; exit code 1 and the first broken entry if it does not hold.
    Verify {
        /// Read this data directory instead of asking a server.
        #[arg(long)]
        data_dir: Option<PathBuf>,
    },
    /// Print entries after a position.
    Show {
        /// Position.
        #[arg(long, default_value_t = 0)]
        since: u64,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token; its secret is printed once and never again.
    Create {
        /// Its name: the actor in the ledger.
        name: String,
        /// What it may do.
        #[arg(long = "scope", value_parser = ["read", "write", "host", "admin"], required = true)]
        scopes: Vec<String>,
        /// The server's data directory.
        #[arg(long)]
        data_dir: PathBuf,
    },
    /// List tokens without their secrets.
    List {
        /// The server's data directory.
        #[arg(long)]
        data_dir: PathBuf,
    },
    /// End a token at once.
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
    Check {
        /// The file.
        file: PathBuf,
    },
}
