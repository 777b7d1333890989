//! The one task that writes to the head.
//!
//! Guarantees: batches are written in the order they were sent, and the sender hears what was refused; whoever
//! follows the feed hears of the rest before it is durable. A batch that somebody answers for is told written once it
//! is durable, and is not taken while the disk fails; others are taken all the same, so that rules go on, and become
//! durable soon after, also where nothing follows. It never
//! queues more than [`QUEUED_BATCHES`]: senders wait.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use mainstay_core::Time;
use mainstay_tsdb::{
    Head, Histogram, Labels, NotDurable, Order, OrderError, Outcome, SeriesNumber,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::feed::{NO_EDITION, Telling};
use crate::{
    Ekg, Refusals,
    exemplars::Exemplars,
    parcel::{Item, Parcel},
};

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
    /// The histogram that it is, instead of a number.
    pub histogram: Option<Arc<Histogram>>,
}

impl NewSample {
    /// A number.
    pub fn number(labels: Labels, at_ms: i64, value: f64) -> Self {
        Self {
            labels,
            at_ms,
            value,
            born_from_zero: false,
            histogram: None,
        }
    }
}

/// Why a batch cannot be answered for: whoever sent it sends it again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The writer has ended.
    #[error("monitoring has ended: send it again")]
    Gone,
    /// It cannot be promised that a receiver of remote write is sent the samples.
    #[error("samples are kept, and cannot be sent on for sure: {0}; send them again")]
    NotSentOn(String),
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

enum Content {
    Samples(Vec<NewSample>),
    Parcel(Parcel),
}

struct Batch {
    now: Time,
    content: Content,
    /// Whether it counts as written only once it is durable.
    durably: bool,
    written: Written,
}

/// What the task takes in, one after another.
enum Incoming {
    Batch(Batch),
    Order(Time, Order, oneshot::Sender<Result<Outcome, OrderError>>),
}

/// Sends samples to the task that writes them.
#[derive(Clone, Debug)]
pub struct Writer {
    batches: mpsc::Sender<Incoming>,
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
        let content = Content::Samples(samples);
        self.send(now, content, false).await?.written().await
    }

    /// Sends what counts as written once it is durable.
    pub(crate) async fn append_durably(
        &self,
        now: Time,
        parcel: Parcel,
    ) -> Result<Pending, WriteError> {
        self.send(now, Content::Parcel(parcel), true).await
    }

    /// Sends histograms, and the markers that end them, which count as written once they are durable.
    pub(crate) async fn append_histograms_durably(
        &self,
        now: Time,
        histograms: Vec<NewSample>,
    ) -> Result<Pending, WriteError> {
        self.send(now, Content::Samples(histograms), true).await
    }

    async fn send(
        &self,
        now: Time,
        content: Content,
        durably: bool,
    ) -> Result<Pending, WriteError> {
        let (written, pending) = oneshot::channel();
        let batch = Batch {
            now,
            content,
            durably,
            written,
        };
        let sent = self.batches.send(Incoming::Batch(batch)).await;
        sent.map_err(|_| WriteError::Gone)?;
        Ok(Pending(pending))
    }

    /// Has an order carried out on what was sent before it.
    pub(crate) async fn order(&self, now: Time, order: Order) -> Result<Outcome, OrderError> {
        let (tell, told) = oneshot::channel();
        let sent = self.batches.send(Incoming::Order(now, order, tell)).await;
        sent.map_err(|_| OrderError::Closed)?;
        // An engine that is closed before tells nobody.
        told.await.unwrap_or(Err(OrderError::Closed))
    }

    /// Where exemplars are kept.
    pub(crate) fn exemplars(&self) -> &Exemplars {
        &self.ekg.exemplars
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
    mut inbox: mpsc::Receiver<Incoming>,
    stop: CancellationToken,
) {
    let mut known = Remembered::default();
    while let Some(received) = stop.run_until_cancelled(timeout(IDLE, inbox.recv())).await {
        let incoming = match received {
            Ok(Some(incoming)) => incoming,
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
        match incoming {
            Incoming::Batch(batch) => take(&ekg, &mut head, &mut known, batch),
            Incoming::Order(now, order, tell) => {
                let obeyed = Box::new(|outcome| {
                    // Whoever gave it may have gone; it is carried out all the same.
                    let _ = tell.send(outcome);
                });
                head.order(order, now.millis(), obeyed);
            }
        }
    }
}

fn take(ekg: &Ekg, head: &mut Head, known: &mut Remembered, batch: Batch) {
    let now_ms = batch.now.millis();
    head.tend(now_ms);
    // Senders that no longer listen have been stopped; their samples are written all the same.
    match head.ready() {
        Err(why) if batch.durably => {
            let _ = batch.written.send(Err(why));
        }
        Ok(()) | Err(_) => {
            let refused = match &batch.content {
                Content::Samples(samples) => append(ekg, head, samples),
                Content::Parcel(parcel) => append_parcel(ekg, head, known, parcel),
            };
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
        let appended = if let Some(histogram) = &sample.histogram {
            head.append_histogram(&sample.labels, sample.at_ms, Histogram::clone(histogram))
        } else if sample.born_from_zero {
            head.append_born_from_zero(&sample.labels, sample.at_ms, sample.value)
        } else {
            head.append(&sample.labels, sample.at_ms, sample.value)
        };
        match (appended, &mut telling) {
            (Err(error), _) => refused.count(&error),
            (Ok(()), Some(it)) => match &sample.histogram {
                Some(histogram) => {
                    it.accepted_histogram(&sample.labels, sample.at_ms, histogram);
                }
                None => {
                    it.accepted(&sample.labels, sample.at_ms, sample.value);
                }
            },
            (Ok(()), None) => {}
        }
    }
    telling.into_iter().for_each(Telling::written);
    let totals = ekg.refusals.lock();
    totals.unwrap_or_else(PoisonError::into_inner).add(&refused);
    refused
}

/// What is remembered of series between parcels.
#[derive(Default)]
struct Remembered {
    last: Option<SeriesNumber>,
    numbering: u32,
    /// In which edition of the feed nobody wanted to hear of a series, by its number.
    unheard: Vec<u32>,
}

impl Remembered {
    fn renew(&mut self, head: &Head) {
        if self.numbering != head.numbering() {
            *self = Self {
                numbering: head.numbering(),
                ..Self::default()
            };
        }
    }

    fn is_unheard(&self, series: SeriesNumber, edition: u32) -> bool {
        self.unheard.get(series.place()) == Some(&edition)
    }

    fn set_unheard(&mut self, series: SeriesNumber, edition: u32) {
        let place = series.place();
        if self.unheard.len() <= place {
            self.unheard.resize(place + 1, NO_EDITION);
        }
        if let Some(of) = self.unheard.get_mut(place) {
            *of = edition;
        }
    }
}

fn append_parcel(ekg: &Ekg, head: &mut Head, known: &mut Remembered, parcel: &Parcel) -> Refusals {
    let mut refused = Refusals::default();
    let mut telling = ekg.feed.tell();
    known.renew(head);
    for item in parcel.items() {
        append_item(head, known, &mut telling, &mut refused, item);
    }
    telling.into_iter().for_each(Telling::written);
    let totals = ekg.refusals.lock();
    totals.unwrap_or_else(PoisonError::into_inner).add(&refused);
    refused
}

fn append_item(
    head: &mut Head,
    known: &mut Remembered,
    telling: &mut Option<Telling<'_>>,
    refused: &mut Refusals,
    item: Item<'_>,
) {
    let mut own = None;
    for (at_ms, value) in item.points.iter().copied() {
        let appended = match own {
            Some(series) => head.append_next(series, (at_ms, value)).map(|()| series),
            None => head.append_keyed(item.key, known.last, (at_ms, value), item.born_from_zero),
        };
        let series = match appended {
            Ok(series) => *own.insert(series),
            Err(error) => {
                refused.count(&error);
                continue;
            }
        };
        let Some(telling) = telling else { continue };
        if known.is_unheard(series, telling.edition()) {
            continue;
        }
        let heard = head
            .labels(series)
            .is_some_and(|labels| telling.accepted(labels, at_ms, value));
        if !heard {
            known.set_unheard(series, telling.edition());
        }
    }
    if own.is_some() {
        known.last = own;
    }
}
