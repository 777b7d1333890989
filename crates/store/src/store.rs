//! The handle the rest of Mainstay holds.
//!
//! Guarantees: clones share one writer and one set of connections. Never blocks a thread and never
//! waits for room in the queue. Example: see the crate's first page.

use std::{path::Path, sync::Arc, time::Duration};

use mainstay_core::{
    Append, Entry, Hash, StreamId,
    ledger::{Broken, ChainCheck},
    ports::{BoxFuture, Ledger, LedgerError},
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    changes::{ChangeProjection, NewestProjection},
    engine::Engine,
    error::StoreError,
    limits::{self, FREE_BYTES_RESERVE, PAGE_ENTRIES_MAX, QUEUE_APPENDS_MAX, RETRY_AFTER_MS},
    projection::{Projected, Projection},
    resources::ResourceProjection,
    rows::page,
    standins::StandInProjection,
    versions::Versions,
    writer::{Message, Reserve, Waiting, Writer, Written, advance},
};

/// How often a process looks for what other processes wrote.
const FOLLOW_EVERY: Duration = Duration::from_millis(200);

/// What a store is opened with.
#[derive(Clone)]
pub struct Options {
    /// The projections to keep; the same in every process on one database.
    pub projections: Vec<Arc<dyn Projection>>,
    /// Bytes of a SQLite database's disk that only restoring appends may use.
    pub reserve_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            projections: vec![
                Arc::new(ResourceProjection),
                Arc::new(ChangeProjection),
                Arc::new(NewestProjection),
                Arc::new(StandInProjection),
            ],
            reserve_bytes: FREE_BYTES_RESERVE,
        }
    }
}

/// An open database. Clones are handles to the same one.
#[derive(Clone)]
pub struct Store {
    pub(crate) engine: Engine,
    projections: Arc<[Arc<dyn Projection>]>,
    queue: mpsc::Sender<Message>,
    newest: watch::Receiver<u64>,
}

impl Store {
    /// Opens or makes the SQLite database at `path`, in WAL mode, flushed at every commit.
    pub async fn sqlite(path: impl AsRef<Path>, options: Options) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let engine = Engine::sqlite(path).await?;
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let reserve = Reserve {
            folder: folder.to_owned(),
            bytes: options.reserve_bytes,
        };
        Self::open(engine, options, Some(reserve)).await
    }

    /// Connects to PostgreSQL by URL. Any number of processes may.
    pub async fn postgres(url: &str, options: Options) -> Result<Self, StoreError> {
        Self::open(Engine::postgres(url).await?, options, None).await
    }

    /// A SQLite database without a file: gone with the last handle.
    pub async fn memory(options: Options) -> Result<Self, StoreError> {
        Self::open(Engine::memory().await?, options, None).await
    }

    async fn open(
        engine: Engine,
        options: Options,
        reserve: Option<Reserve>,
    ) -> Result<Self, StoreError> {
        let projections: Arc<[Arc<dyn Projection>]> = options.projections.into();
        engine.build_missing(&projections).await?;
        let (newest_sender, newest) = watch::channel(engine.newest().await?);
        let newest_sender = Arc::new(newest_sender);
        let (queue, waiting) = mpsc::channel(QUEUE_APPENDS_MAX);
        let writer = Writer {
            engine: engine.clone(),
            projections: Arc::clone(&projections),
            reserve,
            newest: Arc::clone(&newest_sender),
            versions: Versions::default(),
        };
        // Both tasks end by themselves once no handle is left.
        tokio::spawn(writer.run(waiting));
        if matches!(engine, Engine::Postgres(_)) {
            tokio::spawn(follow(engine.clone(), newest_sender));
        }
        Ok(Self {
            engine,
            projections,
            queue,
            newest,
        })
    }

    /// Whether other processes may have it open too.
    pub fn is_shared(&self) -> bool {
        matches!(self.engine, Engine::Postgres(_))
    }

    /// Like [`Ledger::append`], for changes that restore what was: may use the disk's reserve.
    pub async fn append_restoring(&self, append: Append) -> Result<Vec<Entry>, LedgerError> {
        self.enqueue(append, true).await
    }

    async fn enqueue(&self, append: Append, restoring: bool) -> Written {
        limits::check_append(&append)?;
        let (reply, written) = oneshot::channel();
        let message = Message::Append(Waiting {
            append,
            restoring,
            reply,
        });
        let stopped = || LedgerError::Unavailable("the ledger's writer has stopped".to_owned());
        self.queue.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => LedgerError::Overloaded {
                waiting: QUEUE_APPENDS_MAX,
                retry_after_ms: RETRY_AFTER_MS,
            },
            mpsc::error::TrySendError::Closed(_) => stopped(),
        })?;
        written.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// The newest committed position, as it moves; page from the last one seen with `since`.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.newest.clone()
    }

    /// One row of a projection.
    pub async fn get(&self, name: &str, key: &str) -> Result<Option<Projected>, StoreError> {
        self.projection(name)?;
        self.engine.projected(name, key).await
    }

    /// Rows of a projection whose key starts with `prefix`, after `after_key`, in byte order of
    /// their keys; at most `limit` and never more than [`crate::LIST_ROWS_MAX`].
    pub async fn list(
        &self,
        name: &str,
        prefix: &str,
        after_key: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Projected>, StoreError> {
        self.projection(name)?;
        let after = after_key.unwrap_or_default();
        self.engine.list_projected(name, prefix, after, limit).await
    }

    /// Empties a projection and folds the whole ledger again, while writers wait.
    pub async fn rebuild(&self, name: &str) -> Result<(), StoreError> {
        let projection = self.projection(name)?;
        self.engine.rebuild(projection).await
    }

    fn projection(&self, name: &str) -> Result<&Arc<dyn Projection>, StoreError> {
        self.projections
            .iter()
            .find(|projection| projection.name() == name)
            .ok_or_else(|| StoreError::UnknownProjection(name.to_owned()))
    }

    /// Walks the chain: how many entries hold, and the hash of the last.
    /// The error is [`StoreError::Broken`] with the first place where it does not hold.
    pub async fn verify(&self) -> Result<(u64, Hash), StoreError> {
        let mut check = ChainCheck::default();
        loop {
            // Read before the page: an empty page then proves that this is the end.
            let head = self.engine.head().await?;
            let (count, hash) = check.head();
            let limit = page(PAGE_ENTRIES_MAX, PAGE_ENTRIES_MAX);
            let entries = self.engine.since(count, limit).await?;
            if entries.is_empty() {
                let what = match head {
                    Ok(head) if head.seq != count => {
                        format!("the ledger's head says it has {} entries", head.seq)
                    }
                    Ok(head) if head.hash != hash => {
                        "the ledger's head names another hash".to_owned()
                    }
                    Ok(_) => return Ok((count, hash)),
                    Err(what) => what,
                };
                let seq = count + 1;
                return Err(Broken { seq, what }.into());
            }
            for entry in &entries {
                check.step(entry)?;
            }
        }
    }

    /// Writes what waits, then closes all connections; later appends are refused.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.queue.send(Message::Close(done)).await.is_ok() {
            // An error means the writer has stopped by itself: closed as well.
            let _ = closed.await;
        }
    }
}

/// Looks for what other processes wrote, until nobody listens or the store is closed.
async fn follow(engine: Engine, newest: Arc<watch::Sender<u64>>) {
    loop {
        tokio::select! {
            () = newest.closed() => return,
            () = tokio::time::sleep(FOLLOW_EVERY) => {}
        }
        match engine.newest().await {
            Ok(seq) => advance(&newest, seq),
            Err(StoreError::Database(sqlx::Error::PoolClosed)) => return,
            Err(error) => tracing::warn!(%error, "cannot look for what other processes wrote"),
        }
    }
}

fn ledger_error(error: StoreError) -> LedgerError {
    match error {
        StoreError::Database(error) => crate::error::unavailable(&error),
        StoreError::Broken(broken) => broken.into(),
        error => LedgerError::Unavailable(error.to_string()),
    }
}

impl Ledger for Store {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        Box::pin(self.enqueue(append, false))
    }

    fn since(&self, seq: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Entry>, LedgerError>> {
        let limit = page(limit, PAGE_ENTRIES_MAX);
        Box::pin(async move { self.engine.since(seq, limit).await.map_err(ledger_error) })
    }

    fn stream<'a>(
        &'a self,
        stream: &'a StreamId,
    ) -> BoxFuture<'a, Result<Vec<Entry>, LedgerError>> {
        Box::pin(async move { self.engine.stream(stream).await.map_err(ledger_error) })
    }

    fn verify(&self) -> BoxFuture<'_, Result<(u64, Hash), LedgerError>> {
        Box::pin(async move { Store::verify(self).await.map_err(ledger_error) })
    }
}
