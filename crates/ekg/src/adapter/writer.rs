//! The one task that writes to the head.
//!
//! Guarantees: batches are written in the order they were sent, and the sender hears what was refused; whoever
//! follows the feed hears of the rest before it is durable. A batch that somebody answers for is told written once it
//! is durable, and is not taken while the disk fails; others are taken all the same, so that rules go on, and become
//! durable soon after, also where nothing follows. It never
//! queues more than [`QUEUED_BATCHES`]: senders wait.

use std::{sync::PoisonError, time::Duration};

use mainstay_core::Time;
use mainstay_tsdb::{Head, Labels, NotDurable};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::feed::Telling;
use crate::{Ekg, Refusals};

/// Batches that may wait; a scraper has one in flight for each target.
const QUEUED_BATCHES: usize = 256;
/// Where no batch comes for so long, what came last is made durable.
const IDLE: Duration = Duration::from_millis(250);

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

/// Why a batch cannot be answered for: whoever sent it sends it again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The writer has ended.
    #[error("monitoring has ended: send it again")]
    Gone,
    /// Samples cannot be kept at the moment.
    #[error(transparent)]
    NotDurable(#[from] NotDurable),
}

type Written = oneshot::Sender<Result<Refusals, NotDurable>>;

/// What a batch is waited for with.
#[derive(Debug)]
pub(crate) struct Pending(oneshot::Receiver<Result<Refusals, NotDurable>>);

impl Pending {
    /// What was refused of the batch, once the rest is written.
    pub(crate) async fn written(self) -> Result<Refusals, WriteError> {
        Ok(self.0.await.map_err(|_| WriteError::Gone)??)
    }
}

struct Batch {
    now: Time,
    samples: Vec<NewSample>,
    /// Whether it counts as written only once it is durable.
    durably: bool,
    written: Written,
}

/// Sends samples to the task that writes them.
#[derive(Clone, Debug)]
pub struct Writer {
    batches: mpsc::Sender<Batch>,
    ekg: Ekg,
}

impl Writer {
    /// A writer into the head that `ekg` reads, and its task, which runs until `stop`, until the last writer is
    /// dropped, or until the head's log has died.
    pub fn new(
        ekg: Ekg,
        head: Head,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (batches, inbox) = mpsc::channel(QUEUED_BATCHES);
        let writer = Self {
            batches,
            ekg: ekg.clone(),
        };
        (writer, write(ekg, head, inbox, stop))
    }

    /// Writes a batch gathered at `now`; returns what was refused of it once the rest can be queried. It becomes
    /// durable soon after, if the disk allows.
    pub async fn append(&self, now: Time, samples: Vec<NewSample>) -> Result<Refusals, WriteError> {
        self.send(now, samples, false).await?.written().await
    }

    /// Sends a batch that counts as written once it is durable.
    pub(crate) async fn append_durably(
        &self,
        now: Time,
        samples: Vec<NewSample>,
    ) -> Result<Pending, WriteError> {
        self.send(now, samples, true).await
    }

    async fn send(
        &self,
        now: Time,
        samples: Vec<NewSample>,
        durably: bool,
    ) -> Result<Pending, WriteError> {
        let (written, pending) = oneshot::channel();
        let batch = Batch {
            now,
            samples,
            durably,
            written,
        };
        let sent = self.batches.send(batch).await;
        sent.map_err(|_| WriteError::Gone)?;
        Ok(Pending(pending))
    }

    /// Counts what was refused before it became a batch.
    pub(crate) fn refuse(&self, refused: &Refusals) {
        let totals = self.ekg.refusals.lock();
        totals.unwrap_or_else(PoisonError::into_inner).add(refused);
    }
}

async fn write(
    ekg: Ekg,
    mut head: Head,
    mut inbox: mpsc::Receiver<Batch>,
    stop: CancellationToken,
) {
    while let Some(received) = stop.run_until_cancelled(timeout(IDLE, inbox.recv())).await {
        let batch = match received {
            Ok(Some(batch)) => batch,
            Ok(None) => return,
            Err(_) => {
                head.flush();
                continue;
            }
        };
        if head.is_broken() {
            tracing::error!("the log of samples has died: so does monitoring");
            return;
        }
        take(&ekg, &mut head, batch);
    }
}

fn take(ekg: &Ekg, head: &mut Head, batch: Batch) {
    let now_ms = batch.now.millis();
    head.tend(now_ms);
    // Senders that no longer listen have been stopped; their samples are written all the same.
    match head.ready() {
        Err(why) if batch.durably => {
            let _ = batch.written.send(Err(why));
        }
        Ok(()) | Err(_) => {
            let refused = append(ekg, head, &batch.samples);
            if batch.durably {
                let written = batch.written;
                head.commit(Box::new(move |durable| {
                    let _ = written.send(durable.map(|()| refused));
                }));
            } else {
                head.commit_at_leisure(now_ms);
                let _ = batch.written.send(Ok(refused));
            }
        }
    }
}

fn append(ekg: &Ekg, head: &mut Head, samples: &[NewSample]) -> Refusals {
    let mut refused = Refusals::default();
    let mut telling = ekg.feed.tell();
    for sample in samples {
        let appended = if sample.born_from_zero {
            head.append_born_from_zero(&sample.labels, sample.at_ms, sample.value)
        } else {
            head.append(&sample.labels, sample.at_ms, sample.value)
        };
        match (appended, &mut telling) {
            (Err(error), _) => refused.count(&error),
            (Ok(()), Some(it)) => it.accepted(&sample.labels, sample.at_ms, sample.value),
            (Ok(()), None) => {}
        }
    }
    telling.into_iter().for_each(Telling::written);
    let totals = ekg.refusals.lock();
    totals.unwrap_or_else(PoisonError::into_inner).add(&refused);
    refused
}
