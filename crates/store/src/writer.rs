//! The one task of a process that appends.
//!
//! Guarantees: whatever waits is written in one commit of at most [`GROUP_APPENDS_MAX`] appends;
//! each is judged against what the ones before it in the group left; one that conflicts fails alone;
//! nobody hears of success before the commit. Never caches the head: other processes may write too, and what
//! is remembered of streams holds only while the head is where this writer left it.
//!
//! Example: two appends that both expect version 0 of a stream meet in a group; the first is
//! written as version 1, the second gets a conflict with `actual: 1`.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use mainstay_core::{Append, Entry, ports::LedgerError};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    engine::Engine,
    error::unavailable,
    group::{self, Group},
    limits::GROUP_APPENDS_MAX,
    projection::{self, Projection},
    versions::Versions,
};

/// What an appender hears.
pub(crate) type Written = Result<Vec<Entry>, LedgerError>;

/// An append that may use the disk, or why it may not.
type Admitted = Result<Append, LedgerError>;

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
    pub(crate) versions: Versions,
}

impl Writer {
    /// Writes until told to close or until nobody is left who could append.
    pub(crate) async fn run(mut self, mut queue: mpsc::Receiver<Message>) {
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

    async fn write(&mut self, group: Vec<Waiting>) {
        let full = self.reserve.as_ref().and_then(Reserve::shortage);
        let (appends, replies): (Vec<Admitted>, Vec<_>) = group
            .into_iter()
            .map(|waiting| {
                let admitted = match &full {
                    Some(full) if !waiting.restoring => Err(full.clone()),
                    _ => Ok(waiting.append),
                };
                (admitted, waiting.reply)
            })
            .unzip();
        let outcomes = match self.commit(appends).await {
            Ok(outcomes) => outcomes,
            Err(error) => {
                tracing::error!(%error, appends = replies.len(), "appends were not written");
                vec![Err(self.failure(&error)); replies.len()]
            }
        };
        for (reply, outcome) in replies.into_iter().zip(outcomes) {
            // A caller that gave up finds its entries in the ledger.
            let _ = reply.send(outcome);
        }
    }

    async fn commit(&mut self, appends: Vec<Admitted>) -> Result<Vec<Written>, sqlx::Error> {
        let mut tx = self.engine.begin().await?;
        let head = tx.lock_head().await?;
        self.versions.resume(head);
        let admitted = appends.iter().filter_map(|append| append.as_ref().ok());
        let unread = group::unread(admitted, &self.versions);
        for (stream, version) in tx.versions(&unread).await? {
            self.versions.set(stream, version);
        }
        let mut group = Group {
            head,
            versions: &mut self.versions,
        };
        let outcomes: Vec<Written> = appends
            .into_iter()
            .map(|append| append.and_then(|append| group.place(append)))
            .collect();
        let end = group.head;
        if end != head {
            let entries: Vec<&Entry> = outcomes.iter().flatten().flatten().collect();
            tx.insert(&entries).await?;
            projection::fold(&mut tx, &self.projections, &entries).await?;
            tx.set_head(end).await?;
            tx.commit().await?;
            advance(&self.newest, end.seq);
        }
        self.versions.left_at(end);
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
