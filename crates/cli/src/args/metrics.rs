//! What `metrics` takes.

use std::path::PathBuf;

use clap::Subcommand;
use mainstay_core::Time;

#[derive(Debug, Subcommand)]
pub(crate) enum MetricsCommand {
    /// Remove the samples of series, for good; what is sent later is kept.
    #[command(
        after_help = "Examples:\n  mainstay metrics delete --match '{job=\"old\"}' --reason 'gone since May'\n  \
                      mainstay metrics delete --match up --match '{__name__=~\"test_.*\"}' \
                      --start 2026-11-05T00:00:00Z --end 2026-11-06T00:00:00Z"
    )]
    Delete {
        /// Which series; may be repeated.
        #[arg(long = "match", required = true, value_name = "SELECTOR")]
        selectors: Vec<String>,
        /// From when, RFC 3339; from the first sample where unset.
        #[arg(long)]
        start: Option<Time>,
        /// Up to when, RFC 3339; up to now where unset.
        #[arg(long)]
        end: Option<Time>,
        /// Why; kept in the ledger.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Free the disk of deleted samples now, not when their parts are written anew within the next hours.
    #[command(after_help = "Examples:\n  mainstay metrics clean")]
    Clean {
        /// Why; kept in the ledger.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Copy all samples, what is only in memory too, into a folder beside them; takes no room until parts are merged.
    #[command(
        after_help = "Examples:\n  mainstay metrics snapshot\n\nThe folder is metrics/snapshots/NAME in the server's data \
                      directory: copy it elsewhere for a backup, and remove it when it is not needed."
    )]
    Snapshot {
        /// Without what is only in memory.
        #[arg(long)]
        skip_head: bool,
    },
    /// Make a data directory of a snapshot; checks every byte. The server must not run.
    #[command(
        after_help = "Examples:\n  mainstay metrics restore /backup/20261105T170000Z-abcdefgh23 --data-dir /var/lib/mainstay"
    )]
    Restore {
        /// The snapshot's folder.
        snapshot: PathBuf,
        /// Where the server will keep its data: it must hold no samples yet.
        #[arg(long)]
        data_dir: PathBuf,
    },
}
