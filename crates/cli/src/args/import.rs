//! What `import` takes.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// Text dumps with times, blocks of a Prometheus, or folders of such blocks.
    #[arg(required = true, value_name = "FILE|DIR")]
    pub(crate) paths: Vec<PathBuf>,
    /// Into this data directory, whose server must not run; into the running server where unset.
    #[arg(long)]
    pub(crate) data_dir: Option<PathBuf>,
    /// The configuration that says how long samples are kept there.
    #[arg(long, requires = "data_dir")]
    pub(crate) config: Option<PathBuf>,
    /// How text dumps are written.
    #[arg(long, value_enum, default_value_t = ImportFormat::Auto)]
    pub(crate) format: ImportFormat,
    /// Why; kept in the ledger.
    #[arg(long, default_value = "", conflicts_with = "data_dir")]
    pub(crate) reason: String,
}

/// How text dumps are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImportFormat {
    /// OpenMetrics where the file ends in `# EOF`.
    Auto,
    /// Prometheus's text, times in milliseconds.
    Prometheus,
    /// OpenMetrics, times in seconds.
    Openmetrics,
}
