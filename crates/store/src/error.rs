//! Why the store did not do what was asked.
//!
//! Guarantees: the database's own error stays attached as source and is not repeated in the text.
//! Example: `StoreError::UnknownProjection("gadgets")` prints `no projection is called gadgets`.

use std::path::PathBuf;

use mainstay_core::{ledger::Broken, ports::LedgerError};

use crate::limits::Excess;

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused, or cannot be reached.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// The folder of the database cannot be made.
    #[error("cannot make the folder {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A newer Mainstay wrote this database.
    #[error(
        "the database has format {found} and this program reads format {known}; use a newer one"
    )]
    Format {
        /// What is there.
        found: i64,
        /// What this program reads.
        known: i64,
    },
    /// The chain of the ledger does not hold.
    #[error("the ledger is broken at {0}")]
    Broken(#[from] Broken),
    /// No projection of this name was passed when the store was opened.
    #[error("no projection is called {0}")]
    UnknownProjection(String),
    /// The name is taken.
    #[error("a token called {0} exists; revoke it first or choose another name")]
    TokenExists(String),
    /// The operating system gave no random bytes.
    #[error("no random bytes for a token: {0}")]
    Random(String),
    /// A bound is exceeded.
    #[error("{what} is {actual} where at most {limit} is allowed")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large.
        actual: usize,
        /// The limit.
        limit: usize,
    },
}

impl From<Excess> for StoreError {
    fn from((what, actual, limit): Excess) -> Self {
        Self::TooLarge {
            what,
            actual,
            limit,
        }
    }
}

pub(crate) fn unavailable(error: &sqlx::Error) -> LedgerError {
    LedgerError::Unavailable(error.to_string())
}
