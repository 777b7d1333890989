//! `promql`: work on expressions without a server.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum PromqlCommand {
    /// Run test scripts in the format of Prometheus's promqltest; exit code 1 and both results where one fails.
    #[command(after_help = "Examples:\n  mainstay promql test alerts.test")]
    Test {
        /// The scripts.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Parse and type-check expressions; exit code 1 and the place where one is wrong.
    #[command(
        after_help = "Examples:\n  mainstay promql check 'rate(errors_total[5m])'\n  mainstay promql check -f expr.promql"
    )]
    Check {
        #[command(flatten)]
        expressions: Expressions,
        /// Refuse functions that Prometheus has behind its switch for experimental ones.
        #[arg(long)]
        stable_only: bool,
    },
    /// Print expressions in Prometheus's style.
    #[command(
        after_help = "Examples:\n  mainstay promql fmt 'sum(rate(x[5m]))by(job)'\n  mainstay promql fmt --check -f expr.promql"
    )]
    Fmt {
        #[command(flatten)]
        expressions: Expressions,
        /// Print nothing of it; exit code 1 where it is formatted otherwise.
        #[arg(long)]
        check: bool,
    },
}

/// Expressions on the command line and in files.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Expressions {
    /// Expressions.
    pub(crate) expr: Vec<String>,
    /// A file with one expression.
    #[arg(short, long)]
    pub(crate) file: Vec<PathBuf>,
}
