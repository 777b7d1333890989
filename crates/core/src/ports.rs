//! The ports through which production is read and moved. One appears when its first two sides exist.

use std::{future::Future, pin::Pin};

use crate::{Append, Entry, StreamId, Time};

/// What an I/O port returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why the ledger did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// Somebody else wrote first: read again, decide again.
    #[error("stream {stream} has {actual} entries, not {expected}")]
    Conflict {
        /// The stream that moved on.
        stream: StreamId,
        /// What the writer believed.
        expected: u64,
        /// What it holds.
        actual: u64,
    },
    /// The append breaks a limit.
    #[error("{what} is {actual} where at most {limit} is allowed")]
    TooLarge {
        /// What is too large.
        what: String,
        /// How large.
        actual: usize,
        /// The limit.
        limit: usize,
    },
    /// No room: restoring changes may still write into the reserve.
    #[error(
        "the ledger's disk is full ({free_bytes} bytes free, {reserve_bytes} are kept for rollbacks); free space on {place}"
    )]
    Full {
        /// Bytes left.
        free_bytes: u64,
        /// Bytes kept for restoring changes.
        reserve_bytes: u64,
        /// Where.
        place: String,
    },
    /// Too many writers wait: try again later.
    #[error("{waiting} appends wait already; try again in {retry_after_ms} ms")]
    Overloaded {
        /// How many wait.
        waiting: usize,
        /// When to try again.
        retry_after_ms: u64,
    },
    /// The engine below failed.
    #[error("the ledger cannot be reached: {0}")]
    Unavailable(String),
}

/// The ledger: appended to, read forward, never rewritten. An append that returned is on disk.
pub trait Ledger: Send + Sync {
    /// Writes all entries or none.
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>>;
    /// Entries after `seq`, oldest first, at most `limit`.
    fn since(&self, seq: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>>;
    /// All entries of one stream, oldest first.
    fn stream<'a>(&'a self, stream: &'a StreamId)
    -> BoxFuture<'a, Result<Vec<Entry>, LedgerError>>;
}

/// The wall clock, so that a simulated one can stand in.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Time;
}

/// Tables projected from the ledger, in the transaction that wrote it.
pub trait Tables: Send + Sync {
    /// One row: JSON.
    fn get<'a>(
        &'a self,
        table: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, LedgerError>>;
    /// Rows whose key begins with `prefix`, in key order, after `after`, at most `limit`.
    fn list<'a>(
        &'a self,
        table: &'a str,
        prefix: &'a str,
        after: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, String)>, LedgerError>>;
}

/// Who a token belongs to, and what it may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenHolder {
    /// The token's name: the actor in the ledger.
    pub name: String,
    /// Its scopes, such as `read`, `write`, `admin`.
    pub scopes: Vec<String>,
}

/// Knows whose a secret is.
pub trait Identity: Send + Sync {
    /// The holder of `secret`, if it is known and not revoked.
    fn holder<'a>(
        &'a self,
        secret: &'a str,
    ) -> BoxFuture<'a, Result<Option<TokenHolder>, LedgerError>>;
}
