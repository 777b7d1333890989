//! Records on disk: alerts, silences, what was told.
//!
//! Guarantees: [`Journal::keep`] answers when its records are synced; records become durable in the order in which
//! they were given; a compaction loses none of them. Who gives waits or is one of a bounded number of messages under
//! way, so the queue is bounded by them.

use std::{path::Path, sync::Arc, sync::mpsc, thread};

use mainstay_wal::{
    Group, LocalDisk, Log, LogError, LogOptions, MAX_PAYLOAD_BYTES, Seen, remove_segments_before,
    replay,
};
use tokio::sync::oneshot;

use crate::machine::Record;

/// The kind of frames that hold a record as JSON.
const RECORD: u8 = 1;
/// So many requests at most share a sync.
const SHARED_MAX: usize = 4096;

/// Why records cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The folder.
    #[error("{folder}: {error}; make it writable, or choose another with --storage.path")]
    Folder {
        /// Which.
        folder: String,
        /// Why.
        error: std::io::Error,
    },
    /// What was written before.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The thread that writes.
    #[error("the thread of the journal cannot be started: {0}")]
    Thread(std::io::Error),
}

enum Order {
    Keep {
        records: Vec<Vec<u8>>,
        done: Option<oneshot::Sender<Result<(), String>>>,
    },
    /// Everything as it is now: what was written before is not needed any more.
    Whole(Vec<Vec<u8>>),
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Journal(mpsc::Sender<Order>);

/// What a start found.
pub(super) struct Opened {
    pub(super) journal: Journal,
    pub(super) records: Vec<Record>,
}

impl Journal {
    /// Reads what is there and goes on.
    pub(super) fn open(folder: &Path) -> Result<Opened, JournalError> {
        let wrong = |error| JournalError::Folder {
            folder: folder.display().to_string(),
            error,
        };
        std::fs::create_dir_all(folder).map_err(wrong)?;
        let disk = Arc::new(LocalDisk::open(folder).map_err(wrong)?);
        let mut records: Vec<Record> = Vec::new();
        let replayed = replay(&*disk, 0, &mut |seen| match seen {
            Seen::Frame { payload, .. } => match serde_json::from_slice(payload) {
                Ok(record) => records.push(record),
                Err(error) => {
                    tracing::error!(%error, "a record in the journal is of an unknown form; it is left out");
                }
            },
            Seen::Gap(gap) => tracing::error!(
                segment = gap.segment,
                frames = gap.frames,
                "records are missing in the journal: alerts are told again by who sends them, silences may be gone"
            ),
        })?;
        if let Some(cut) = &replayed.cut {
            tracing::warn!(
                bytes = cut.bytes,
                "the journal ended while it was written; nothing in that was acknowledged"
            );
        }
        let log = Log::start(
            disk.clone(),
            LogOptions::default(),
            replayed.next_segment,
            replayed.next_seq,
        );
        let (give, orders) = mpsc::channel();
        let writer = Writer { disk, log };
        thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || writer.run(&orders))
            .map_err(JournalError::Thread)?;
        Ok(Opened {
            journal: Self(give),
            records,
        })
    }

    /// Keeps records; the answer comes when they are on disk, or says why they are not.
    pub(super) fn keep(&self, records: &[Record]) -> oneshot::Receiver<Result<(), String>> {
        let (done, answer) = oneshot::channel();
        // Where the thread is gone the answer's sender goes with the order, and who waits hears of it.
        let _ = self.0.send(Order::Keep {
            records: records.iter().filter_map(encoded).collect(),
            done: Some(done),
        });
        answer
    }

    /// Keeps records that nobody waits for.
    pub(super) fn note(&self, records: &[Record]) {
        let _ = self.0.send(Order::Keep {
            records: records.iter().filter_map(encoded).collect(),
            done: None,
        });
    }

    /// Everything as it is now.
    pub(super) fn whole(&self, records: &[Record]) {
        let _ = self
            .0
            .send(Order::Whole(records.iter().filter_map(encoded).collect()));
    }
}

fn encoded(record: &Record) -> Option<Vec<u8>> {
    match serde_json::to_vec(record) {
        Ok(bytes) if bytes.len() <= MAX_PAYLOAD_BYTES => Some(bytes),
        Ok(bytes) => {
            tracing::error!(
                bytes = bytes.len(),
                "a record is too long for the journal; after a restart it may be told again"
            );
            None
        }
        Err(error) => {
            tracing::error!(%error, "a record cannot be written");
            None
        }
    }
}

struct Writer {
    disk: Arc<LocalDisk>,
    log: Log,
}

impl Writer {
    fn run(mut self, orders: &mpsc::Receiver<Order>) {
        while let Ok(first) = orders.recv() {
            let mut waiting = Vec::new();
            let mut group = Group::default();
            let more = std::iter::from_fn(|| orders.try_recv().ok()).take(SHARED_MAX);
            for order in std::iter::once(first).chain(more) {
                match order {
                    Order::Keep { records, done } => {
                        for record in &records {
                            group.push(RECORD, record);
                        }
                        waiting.extend(done);
                    }
                    Order::Whole(records) => {
                        self.commit(&mut group, &mut waiting);
                        self.compact(&records);
                    }
                }
            }
            self.commit(&mut group, &mut waiting);
        }
    }

    fn commit(
        &mut self,
        group: &mut Group,
        waiting: &mut Vec<oneshot::Sender<Result<(), String>>>,
    ) {
        let committed = if group.is_empty() {
            self.log.commit_staged()
        } else {
            self.log.commit(group)
        };
        group.clear();
        let answer = committed.map_err(|error| error.to_string());
        if let Err(error) = &answer {
            tracing::error!("{error}");
        }
        for done in waiting.drain(..) {
            // Who does not wait any more has closed the request.
            let _ = done.send(answer.clone());
        }
    }

    /// Writes everything anew, and only then removes what was before it.
    fn compact(&mut self, records: &[Vec<u8>]) {
        let first = self.log.rotate();
        let mut group = Group::default();
        for record in records {
            group.push(RECORD, record);
        }
        let mut nobody = Vec::new();
        self.commit(&mut group, &mut nobody);
        if self.log.commit_staged().is_ok()
            && let Err(error) = remove_segments_before(&*self.disk, first)
        {
            tracing::warn!("{error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Entry;

    fn told(group: &str) -> Record {
        Record::Told(Entry {
            group: group.to_owned(),
            channel: "c".to_owned(),
            firing: [crate::Fingerprint(7)].into(),
            resolved: [].into(),
            at: jiff::Timestamp::UNIX_EPOCH,
            expires: jiff::Timestamp::MAX,
        })
    }

    /// Opens the folder of a journal that was dropped, whose thread ends soon.
    fn opened_again(folder: &Path) -> Opened {
        for _ in 0..1_000_000 {
            match Journal::open(folder) {
                Err(JournalError::Folder { error, .. })
                    if error.kind() == std::io::ErrorKind::ResourceBusy =>
                {
                    thread::yield_now();
                }
                opened => return opened.unwrap(),
            }
        }
        panic!("the folder stays in use");
    }

    #[test]
    fn what_was_answered_is_there_after_a_start_also_after_a_compaction() {
        let folder = tempfile::tempdir().unwrap();
        let opened = Journal::open(folder.path()).unwrap();
        assert!(opened.records.is_empty());
        for group in ["a", "b"] {
            opened
                .journal
                .keep(&[told(group)])
                .blocking_recv()
                .unwrap()
                .unwrap();
        }
        drop(opened);
        let again = opened_again(folder.path());
        assert_eq!(again.records, [told("a"), told("b")]);
        again.journal.whole(&[told("b")]);
        again
            .journal
            .keep(&[told("c")])
            .blocking_recv()
            .unwrap()
            .unwrap();
        drop(again);
        let again = opened_again(folder.path());
        assert_eq!(again.records, [told("b"), told("c")]);
    }
}
