//! How one receiver stands: what is unsent, what was counted, and what is kept on disk of it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
};

use mainstay_core::Time;
use tokio::{sync::Mutex as AsyncMutex, task::spawn_blocking};

use super::keep::{self, KeepError};
use crate::remote::{
    MessageKind, Remote,
    mark::{Mark, Unsent},
};

/// Samples younger than this may be on their way to the courier: the mark stays so far behind the clock.
const SLACK_MS: i64 = 10_000;
/// The same when everything ends, and so do all who write samples.
const ENDING_MS: i64 = 2_000;
/// The mark is not written again for less than this.
const MOVED_MS: i64 = 1_000;

/// One receiver.
#[derive(Debug)]
pub(super) struct State {
    pub(super) remote: Remote,
    file: PathBuf,
    /// What is on disk; locked while that changes.
    mark: AsyncMutex<Mark>,
    unsent: Mutex<Unsent>,
    pub(super) counts: Counts,
    /// Whether the receiver knows remote write 2.0, as far as is known.
    second: AtomicBool,
    /// When this run began: what is not younger may have been sent by the one before.
    pub(super) began_ms: i64,
}

/// What was counted since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) sent: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) retried: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) too_old: AtomicU64,
    pub(super) relabeled: AtomicU64,
    pub(super) newest_sent_ms: AtomicI64,
    pub(super) newest_ms: AtomicI64,
    pub(super) catching_up: AtomicBool,
    requests: Mutex<BTreeMap<String, u64>>,
}

/// How a receiver stands, for metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sending {
    /// Its name.
    pub name: String,
    /// Samples in memory that it has not taken.
    pub pending: u64,
    /// Samples that it took.
    pub sent: u64,
    /// Bytes of their requests.
    pub bytes: u64,
    /// Samples that were sent again.
    pub retried: u64,
    /// Samples that it will never take, by why: `refused`, `too-old`.
    pub given_up: [(&'static str, u64); 2],
    /// Samples that `write_relabel_configs` dropped.
    pub relabeled: u64,
    /// The time of the newest sample that it took.
    pub newest_sent: Option<Time>,
    /// The time of the newest sample that was accepted.
    pub newest: Option<Time>,
    /// Whether samples are read from the store for it.
    pub catching_up: bool,
    /// Requests by what was answered: a status, or `none`.
    pub requests: BTreeMap<String, u64>,
}

impl Counts {
    pub(super) fn answered(&self, with: String) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry(with).or_default() += 1;
    }
}

impl State {
    /// Opens what is known of a receiver; with the time from which an earlier run left samples unsent, if one did.
    pub(super) fn open(
        remote: Remote,
        folder: &Path,
        now: Time,
    ) -> Result<(Self, Option<i64>), KeepError> {
        let file = keep::file(folder, remote.name());
        let known = keep::read(&file)?;
        let mark = known.unwrap_or(Mark {
            from_ms: now.millis(),
        });
        if known.is_none() {
            keep::write(&file, mark)?;
        }
        let second = remote.section().protobuf_message == MessageKind::V2;
        let state = Self {
            remote,
            file,
            mark: AsyncMutex::new(mark),
            unsent: Mutex::default(),
            counts: Counts::default(),
            second: AtomicBool::new(second),
            began_ms: if known.is_some() {
                now.millis()
            } else {
                i64::MIN
            },
        };
        Ok((state, known.map(|it| it.from_ms)))
    }

    /// The message that the receiver is sent.
    pub(super) fn speaks(&self) -> MessageKind {
        if self.second.load(Ordering::Relaxed) {
            MessageKind::V2
        } else {
            MessageKind::V1
        }
    }

    /// The receiver does not know remote write 2.0.
    pub(super) fn speak_first(&self) {
        self.second.store(false, Ordering::Relaxed);
    }

    pub(super) fn unsent(&self) -> MutexGuard<'_, Unsent> {
        self.unsent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time that is kept.
    pub(super) async fn kept_ms(&self) -> i64 {
        self.mark.lock().await.from_ms
    }

    pub(super) async fn cover(self: &Arc<Self>, at_ms: i64) -> Result<(), KeepError> {
        let mut mark = self.mark.lock().await;
        if mark.from_ms <= at_ms {
            return Ok(());
        }
        self.write(Mark { from_ms: at_ms }).await?;
        mark.from_ms = at_ms;
        Ok(())
    }

    /// Writes down how far the receiver is. `hand_over` is called while nothing else can be covered: it takes what
    /// waits in the feed, and gives the time from which samples are still to be read, if there are such.
    pub(super) async fn keep(
        self: &Arc<Self>,
        now: Time,
        hand_over: impl FnOnce() -> Option<i64>,
        slack: bool,
    ) {
        let mut mark = self.mark.lock().await;
        let behind = hand_over().unwrap_or(i64::MAX);
        let oldest = self.unsent().oldest_ms().unwrap_or(i64::MAX);
        let slack_ms = if slack { SLACK_MS } else { ENDING_MS };
        let from_ms = behind.min(oldest).min(now.millis() - slack_ms);
        if from_ms.abs_diff(mark.from_ms) < MOVED_MS.unsigned_abs() && slack {
            return;
        }
        match self.write(Mark { from_ms }).await {
            Ok(()) => mark.from_ms = from_ms,
            Err(error) => {
                tracing::warn!(receiver = self.remote.name(), %error, "after a crash more will be sent again");
            }
        }
    }

    async fn write(self: &Arc<Self>, mark: Mark) -> Result<(), KeepError> {
        let this = Arc::clone(self);
        let written = spawn_blocking(move || keep::write(&this.file, mark)).await;
        written.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    pub(super) fn sending(&self) -> Sending {
        let counts = &self.counts;
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        let time = |of: &AtomicI64| match of.load(Ordering::Relaxed) {
            0 => None,
            ms => Some(Time::from_millis(ms)),
        };
        let requests = counts.requests.lock();
        Sending {
            name: self.remote.name().to_owned(),
            pending: self.unsent().count(),
            sent: count(&counts.sent),
            bytes: count(&counts.bytes),
            retried: count(&counts.retried),
            given_up: [
                ("refused", count(&counts.refused)),
                ("too-old", count(&counts.too_old)),
            ],
            relabeled: count(&counts.relabeled),
            newest_sent: time(&counts.newest_sent_ms),
            newest: time(&counts.newest_ms),
            catching_up: counts.catching_up.load(Ordering::Relaxed),
            requests: requests.unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}
