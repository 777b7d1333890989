//! What `metrics` takes.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
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
    /// Make a data directory of a snapshot, or of the copies in a store; checks every byte. The server must not run.
    #[command(
        after_help = "Examples:\n  mainstay metrics restore /backup/20261105T170000Z-abcdefgh23 --data-dir /var/lib/mainstay\n  \
                      mainstay metrics restore --from s3://backups/shop --data-dir /var/lib/mainstay\n\nKeys of a bucket come \
                      from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or a file. Copies that are missing or \
                      corrupt are named, the rest is restored, and the exit status is 2. One that broke off is begun anew \
                      with the same command."
    )]
    Restore {
        /// The snapshot's folder.
        #[arg(required_unless_present = "from", conflicts_with = "from")]
        snapshot: Option<PathBuf>,
        /// Where the server will keep its data: it must hold no samples yet.
        #[arg(long)]
        data_dir: PathBuf,
        #[command(flatten)]
        copies: CopiesArgs,
    },
    /// The copies of parts in a store, as `[metrics.copy]` says.
    #[command(subcommand, after_help = "Examples:\n  mainstay metrics copy status")]
    Copy(CopyCommand),
    /// Write samples into a file for other programs.
    #[command(
        after_help = "Examples:\n  mainstay metrics export --match 'up' --from 2026-11-05T00:00:00Z --out up.parquet\n  \
                      mainstay metrics export --format parquet --match '{job=\"shop\"}' --from 2026-11-05T00:00:00Z \
                      --to 2026-11-06T00:00:00Z --out shop.parquet"
    )]
    Export {
        /// Of the file.
        #[arg(long, value_enum, default_value = "parquet")]
        format: ExportFormat,
        /// Which series; may be repeated.
        #[arg(long = "match", required = true, value_name = "SELECTOR")]
        selectors: Vec<String>,
        /// From when, RFC 3339.
        #[arg(long)]
        from: Time,
        /// Up to when, RFC 3339; up to now where unset.
        #[arg(long)]
        to: Option<Time>,
        /// The file; it is there once it is whole.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// Apache Parquet.
    Parquet,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CopyCommand {
    /// How copies stand, and the archive of days.
    #[command(
        after_help = "Examples:\n  mainstay metrics copy status\n  mainstay metrics copy status -o json"
    )]
    Status,
}

/// Where copies are.
#[derive(Debug, Args)]
pub(crate) struct CopiesArgs {
    /// s3://BUCKET/PREFIX or file:///FOLDER.
    #[arg(long, value_name = "URL")]
    pub(crate) from: Option<String>,
    /// As things were at this time, RFC 3339, if copies of then are still kept.
    #[arg(long, requires = "from")]
    pub(crate) at: Option<Time>,
    /// Where the bucket is, if not at Amazon's.
    #[arg(long, requires = "from", value_name = "URL")]
    pub(crate) endpoint: Option<String>,
    /// The bucket's region.
    #[arg(long, requires = "from")]
    pub(crate) region: Option<String>,
    /// A file with aws_access_key_id and aws_secret_access_key.
    #[arg(long, requires = "from", value_name = "FILE")]
    pub(crate) credentials_file: Option<PathBuf>,
}
