//! The one task of a process that appends.
//!
//! Guarantees: whatever waits is written in one commit of at most [`GROUP_APPENDS_MAX`] appends;
//! each is judged against what the ones before it in the group left; one that conflicts fails alone;
//! nobody hears of success before the commit. Never caches the head: other processes may write too.
//!
//! Example: two appends that both expect version 0 of a stream meet in a group; the first is
//! written as version 1, the second gets a conflict with `actual: 1`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use mainstay_core::{Append, Entry, StreamId, ports::LedgerError};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    engine::{Engine, Head, Tx},
    error::unavailable,
    limits::GROUP_APPENDS_MAX,
    projection::{Folds, Projection},
};

/// What an appender hears.
pub(crate) type Written = Result<Vec<Entry>, LedgerError>;

/// An append that waits.
pub(crate) struct Waiting {
    pub(crate) append: Append,
    pub(crate) restoring: bool,
    pub(crate) reply: oneshot::Sender<Written>,
}

/// What the writer is told.
pub(crate) enum Message {
    Append(Waiting),
    Close(oneshot::Sender<()>),
}

/// The disk whose last bytes are kept for restoring appends.
pub(crate) struct Reserve {
    pub(crate) folder: PathBuf,
    pub(crate) bytes: u64,
}

pub(crate) struct Writer {
    pub(crate) engine: Engine,
    pub(crate) projections: Arc<[Arc<dyn Projection>]>,
    pub(crate) reserve: Option<Reserve>,
    pub(crate) newest: Arc<watch::Sender<u64>>,
}

impl Writer {
    /// Writes until told to close or until nobody is left who could append.
    pub(crate) async fn run(self, mut queue: mpsc::Receiver<Message>) {
        let mut messages = Vec::with_capacity(GROUP_APPENDS_MAX);
        let mut closing = Vec::new();
        while queue.recv_many(&mut messages, GROUP_APPENDS_MAX).await > 0 {
            let mut group = Vec::with_capacity(messages.len());
            for message in messages.drain(..) {
                match message {
                    Message::Append(waiting) => group.push(waiting),
                    Message::Close(done) => {
                        queue.close();
                        closing.push(done);
                    }
                }
            }
            if !group.is_empty() {
                self.write(group).await;
            }
        }
        self.engine.close().await;
        for done in closing {
            // Whoever asked may have stopped waiting.
            let _ = done.send(());
        }
    }

    async fn write(&self, group: Vec<Waiting>) {
        let outcomes = match self.commit(&group).await {
            Ok(outcomes) => outcomes,
            Err(error) => {
                tracing::error!(%error, appends = group.len(), "appends were not written");
                let error = self.failure(&error);
                vec![Err(error); group.len()]
            }
        };
        for (waiting, outcome) in group.into_iter().zip(outcomes) {
            // A caller that gave up finds its entries in the ledger.
            let _ = waiting.reply.send(outcome);
        }
    }

    async fn commit(&self, group: &[Waiting]) -> Result<Vec<Written>, sqlx::Error> {
        let full = self.reserve.as_ref().and_then(Reserve::shortage);
        let mut tx = self.engine.begin().await?;
        let head = tx.lock_head().await?;
        let mut batch = Batch {
            tx,
            head,
            versions: BTreeMap::new(),
            folds: Folds::default(),
        };
        let mut outcomes = Vec::with_capacity(group.len());
        for waiting in group {
            outcomes.push(match &full {
                Some(full) if !waiting.restoring => Err(full.clone()),
                _ => batch.place(&waiting.append, &self.projections).await?,
            });
        }
        let Batch {
            mut tx,
            head: end,
            folds,
            ..
        } = batch;
        if end != head {
            folds.flush(&mut tx).await?;
            tx.set_head(end).await?;
            tx.commit().await?;
            advance(&self.newest, end.seq);
        }
        Ok(outcomes)
    }

    fn failure(&self, error: &sqlx::Error) -> LedgerError {
        let code = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code);
        // SQLITE_FULL, and PostgreSQL's disk_full.
        if !matches!(code.as_deref(), Some("13" | "53100")) {
            return unavailable(error);
        }
        LedgerError::Full {
            free_bytes: 0,
            reserve_bytes: self.reserve.as_ref().map_or(0, |reserve| reserve.bytes),
            place: self.reserve.as_ref().map_or_else(
                || "the database server".to_owned(),
                |reserve| reserve.folder.display().to_string(),
            ),
        }
    }
}

/// Tells subscribers of a newer position; an older one is no news.
pub(crate) fn advance(newest: &watch::Sender<u64>, seq: u64) {
    newest.send_if_modified(|known| {
        let newer = seq > *known;
        *known = seq.max(*known);
        newer
    });
}

impl Reserve {
    fn shortage(&self) -> Option<LedgerError> {
        let free_bytes = free_bytes(&self.folder)?;
        (free_bytes < self.bytes).then(|| LedgerError::Full {
            free_bytes,
            reserve_bytes: self.bytes,
            place: self.folder.display().to_string(),
        })
    }
}

/// Bytes an unprivileged writer may still use; unknown where the file system does not say.
fn free_bytes(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// One transaction's worth of appends.
struct Batch {
    tx: Tx,
    head: Head,
    versions: BTreeMap<StreamId, u64>,
    folds: Folds,
}

impl Batch {
    /// The outer error ends the transaction; the inner one concerns this append only, which then
    /// has written nothing.
    async fn place(
        &mut self,
        append: &Append,
        projections: &[Arc<dyn Projection>],
    ) -> Result<Written, sqlx::Error> {
        for expected in &append.expected {
            let actual = self.version(&expected.stream).await?;
            if actual != expected.version {
                return Ok(Err(LedgerError::Conflict {
                    stream: expected.stream.clone(),
                    expected: expected.version,
                    actual,
                }));
            }
        }
        let mut written = Vec::with_capacity(append.entries.len());
        for new in &append.entries {
            let version = self.version(&new.stream).await? + 1;
            let mut entry = Entry {
                seq: self.head.seq + 1,
                stream: new.stream.clone(),
                version,
                at: append.at,
                actor: append.actor.clone(),
                kind: new.kind.clone(),
                schema: new.schema,
                body: new.body.clone(),
                prev: self.head.hash,
                hash: self.head.hash,
            };
            entry.hash = entry.digest();
            self.tx.insert(&entry).await?;
            for projection in projections {
                self.folds
                    .apply(&mut self.tx, projection.as_ref(), &entry)
                    .await?;
            }
            self.versions.insert(entry.stream.clone(), version);
            self.head = Head {
                seq: entry.seq,
                hash: entry.hash,
            };
            written.push(entry);
        }
        Ok(Ok(written))
    }

    async fn version(&mut self, stream: &StreamId) -> Result<u64, sqlx::Error> {
        if let Some(version) = self.versions.get(stream) {
            return Ok(*version);
        }
        let version = self.tx.version(stream).await?;
        self.versions.insert(stream.clone(), version);
        Ok(version)
    }
}
