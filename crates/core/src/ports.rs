//! The ports through which production is read and moved. One appears when its first two sides exist.

use std::{collections::BTreeMap, future::Future, pin::Pin};

use crate::{
    Actor, Append, ChangeId, Entry, FabricName, Hash, HostName, Measured, ServiceName, StreamId,
    Time, Verdict,
    ledger::{Broken, ChainCheck},
};

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
    /// Somebody edited what is stored.
    #[error("the ledger is broken at {0}")]
    Broken(#[from] Broken),
}

/// Entries that are read at once where a ledger is walked from its first.
const VERIFY_PAGE: usize = 1_000;

/// The ledger: appended to, read forward, never rewritten. An append that returned is on disk.
pub trait Ledger: Send + Sync {
    /// Writes all entries or none.
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>>;
    /// The same for a change that restores what was: it may write into what is kept for that when the disk
    /// is full.
    fn append_restoring(&self, append: Append) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        self.append(append)
    }
    /// Entries after `seq`, oldest first, at most `limit`.
    fn since(&self, seq: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>>;
    /// All entries of one stream, oldest first.
    fn stream<'a>(&'a self, stream: &'a StreamId)
    -> BoxFuture<'a, Result<Vec<Entry>, LedgerError>>;
    /// Walks the chain: how many entries hold, and the hash of the last. The first that does not hold is
    /// [`LedgerError::Broken`].
    fn verify(&self) -> BoxFuture<'_, Result<(u64, Hash), LedgerError>> {
        Box::pin(async move {
            let mut check = ChainCheck::default();
            loop {
                let page = self.since(check.head().0, VERIFY_PAGE).await?;
                if page.is_empty() {
                    return Ok(check.head());
                }
                for entry in &page {
                    check.step(entry)?;
                }
            }
        })
    }
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

/// How much one counter grew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grown {
    /// Its labels, `__name__` included.
    pub labels: BTreeMap<String, String>,
    /// The exact increase, resets included.
    pub by: u64,
}

/// How much the counters of one selector grew in a window.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Growth {
    /// Those with a sample in the window, in the order of their labels.
    pub series: Vec<Grown>,
    /// Whether each was counted from a known beginning.
    pub whole: bool,
}

/// What is measured of production, dated by the newest sample of the stalest contributing series.
pub trait Signals: Send + Sync {
    /// The values of a PromQL expression; `None` where no sample contributed.
    fn eval<'a>(&'a self, expr: &'a str, at: Time) -> BoxFuture<'a, Option<Measured<Vec<f64>>>>;
    /// Exact growth in `(from, to]` of the counters of `name{label="value"}`, never extrapolated; `None`
    /// where no sample contributed.
    fn counts<'a>(
        &'a self,
        selector: &'a str,
        from: Time,
        to: Time,
    ) -> BoxFuture<'a, Option<Measured<Growth>>>;
}

/// What kind of a no it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum No {
    /// There is no such thing.
    Unknown,
    /// The request makes no sense as it stands.
    Invalid,
    /// It clashes with what is under way.
    Conflict,
    /// The guard denies it.
    Denied,
    /// It cannot be decided now.
    Unavailable,
}

/// Why a change was not opened or not steered.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{what}")]
pub struct Declined {
    /// What kind of a no it is.
    pub no: No,
    /// A stable code, such as `unknown-service`.
    pub code: &'static str,
    /// What is wrong, in a sentence.
    pub what: String,
    /// What would mend it.
    pub remedy: String,
    /// The verdict that denies it, with its numbers.
    pub verdict: Option<Box<Verdict>>,
}

impl Declined {
    /// A no without a verdict.
    pub fn new(no: No, code: &'static str, what: impl Into<String>, remedy: &str) -> Self {
        Self {
            no,
            code,
            what: what.into(),
            remedy: remedy.to_owned(),
            verdict: None,
        }
    }
}

/// Opens changes and steers open ones. Requests and answers are JSON that the owning pillar reads.
pub trait Changes: Send + Sync {
    /// Plans and opens a change of `kind`, such as `rollout`.
    fn propose(
        &self,
        kind: String,
        actor: Actor,
        request: String,
    ) -> BoxFuture<'_, Result<String, Declined>>;
    /// Tells an open change something, such as `pause` or `abort`.
    fn steer(
        &self,
        change: ChangeId,
        verb: String,
        actor: Actor,
        reason: String,
    ) -> BoxFuture<'_, Result<String, Declined>>;
    /// Whether orders are walked and written down now, or why not.
    fn ready(&self) -> BoxFuture<'_, Result<(), Declined>>;
    /// Whether every instance of these services may stop, which is what taking them out of the catalog does.
    fn may_stop(&self, services: Vec<ServiceName>) -> BoxFuture<'_, Result<(), Declined>>;
    /// Whether services may declare so many instances by fabric: fewer must still carry what is asked of them.
    fn may_scale(
        &self,
        wanted: Vec<(ServiceName, InstanceCounts)>,
    ) -> BoxFuture<'_, Result<(), Declined>>;
    /// Whether these hosts may leave their fabric: one that is deleted or moved gets no orders there any more.
    fn may_leave(&self, hosts: Vec<HostName>) -> BoxFuture<'_, Result<(), Declined>>;
}

/// Instances of a service by fabric.
pub type InstanceCounts = BTreeMap<FabricName, u32>;

/// Live views that are measured or folded, not stored: `instances`, `rollouts`, `status`.
pub trait Views: Send + Sync {
    /// JSON; `None` where there is no such view, or nothing under `key`.
    fn view<'a>(&'a self, name: &'a str, key: Option<&'a str>) -> BoxFuture<'a, Option<String>>;
}
