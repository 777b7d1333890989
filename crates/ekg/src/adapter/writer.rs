//! The one task that writes to the head.
//!
//! Guarantees: batches are written in the order they were sent, each under one lock, and the sender hears
//! what was refused; whoever follows the feed hears of the rest. It never queues more than [`QUEUED_BATCHES`]: senders wait.

use std::sync::PoisonError;

use mainstay_core::Time;
use mainstay_tsdb::Labels;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::feed::Telling;
use crate::{Ekg, Refusals};

/// Batches that may wait; a scraper has one in flight for each target.
const QUEUED_BATCHES: usize = 256;
/// How often old samples are dropped.
const TRUNCATE_EVERY_MS: i64 = 60_000;

/// A sample to write.
#[derive(Clone, Debug, PartialEq)]
pub struct NewSample {
    /// The series.
    pub labels: Labels,
    /// Milliseconds since the epoch.
    pub at_ms: i64,
    /// The value.
    pub value: f64,
    /// If this creates the series: its counter is known to have been zero just before.
    pub born_from_zero: bool,
}

/// The writer has ended; nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the monitoring writer has ended")]
pub struct WriterGone;

struct Batch {
    now: Time,
    samples: Vec<NewSample>,
    written: oneshot::Sender<Refusals>,
}

/// Sends samples to the task that writes them.
#[derive(Clone, Debug)]
pub struct Writer {
    batches: mpsc::Sender<Batch>,
    ekg: Ekg,
}

impl Writer {
    /// A writer into `ekg`, and its task, which runs until `stop` or until the last writer is dropped.
    pub fn new(ekg: Ekg, stop: CancellationToken) -> (Self, impl Future<Output = ()> + Send) {
        let (batches, inbox) = mpsc::channel(QUEUED_BATCHES);
        let writer = Self {
            batches,
            ekg: ekg.clone(),
        };
        (writer, write(ekg, inbox, stop))
    }

    /// Writes a batch gathered at `now`; returns what was refused of it once the rest can be queried.
    pub async fn append(&self, now: Time, samples: Vec<NewSample>) -> Result<Refusals, WriterGone> {
        let (written, refused) = oneshot::channel();
        let batch = Batch {
            now,
            samples,
            written,
        };
        self.batches.send(batch).await.map_err(|_| WriterGone)?;
        refused.await.map_err(|_| WriterGone)
    }

    /// Counts what was refused before it became a batch.
    pub(crate) fn refuse(&self, refused: &Refusals) {
        let totals = self.ekg.refusals.lock();
        totals.unwrap_or_else(PoisonError::into_inner).add(refused);
    }
}

async fn write(ekg: Ekg, mut inbox: mpsc::Receiver<Batch>, stop: CancellationToken) {
    let mut truncated_ms = i64::MIN;
    while let Some(Some(batch)) = stop.run_until_cancelled(inbox.recv()).await {
        let refused = write_batch(&ekg, &batch, &mut truncated_ms);
        // A sender that no longer listens has been stopped; its samples are written all the same.
        let _ = batch.written.send(refused);
    }
}

fn write_batch(ekg: &Ekg, batch: &Batch, truncated_ms: &mut i64) -> Refusals {
    let mut refused = Refusals::default();
    let mut telling = ekg.feed.tell();
    let mut head = ekg.head.write().unwrap_or_else(PoisonError::into_inner);
    for sample in &batch.samples {
        let appended = if sample.born_from_zero {
            head.append_born_from_zero(&sample.labels, sample.at_ms, sample.value)
        } else {
            head.append(&sample.labels, sample.at_ms, sample.value)
        };
        match (appended, &mut telling) {
            (Err(error), _) => refused.count(&error),
            (Ok(_), Some(it)) => it.accepted(&sample.labels, sample.at_ms, sample.value),
            (Ok(_), None) => {}
        }
    }
    let now_ms = batch.now.millis();
    if now_ms >= truncated_ms.saturating_add(TRUNCATE_EVERY_MS) {
        head.truncate(now_ms);
        *truncated_ms = now_ms;
    }
    drop(head);
    telling.into_iter().for_each(Telling::written);
    let totals = ekg.refusals.lock();
    totals.unwrap_or_else(PoisonError::into_inner).add(&refused);
    refused
}
