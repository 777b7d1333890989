//! The task that writes days of samples as Parquet.
//!
//! Guarantees: a day's file is there whole or not at all, and is never changed by it. It only reads the engine; what it
//! holds of a day is a row group and a few pieces. A day that it cannot read is named, and the others are written.

use std::{collections::BTreeSet, convert::Infallible, io, sync::Arc, time::Duration};

use bytes::Bytes;
use mainstay_core::{Span, Time, ports::Clock};
use mainstay_tsdb::{ReadError, Tiers, Tsdb};
use tokio::{
    sync::mpsc,
    task::spawn_blocking,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    seen::{ArchiveSeen, Shown},
    store::{CHUNKS_AT_ONCE, Store, StoreError, failed},
};
use crate::{
    days::{Day, Held, due},
    pieces::Pieces,
    place::Place,
    samples::{SampleFile, SamplesError, Totals},
};

/// How often is looked which days are there: one that somebody removed is written anew.
const LIST_EVERY: Duration = Duration::from_hours(1);
/// How soon a store that failed is tried again at first …
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// … and at last.
const RETRY_LAST: Duration = Duration::from_mins(5);
/// Pieces, of about 1 MiB, that wait for the store.
const PIECES_MAX: usize = 4;

/// What an [`Archiver`] needs.
pub struct ArchiverConfig {
    /// How often is looked for what is new.
    pub look_every: Duration,
    /// The engine.
    pub tsdb: Tsdb,
    /// How its parts are merged.
    pub tiers: Tiers,
    /// When it is.
    pub clock: Arc<dyn Clock>,
    /// Where files go.
    pub place: Place,
    /// How long a day is over before it is written.
    pub after: Span,
}

/// Why a day is not written.
#[derive(Debug, thiserror::Error)]
enum ArchiveError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0} is not written: {1}")]
    Read(String, ReadError),
    #[error("{0} is not written: {1}")]
    Samples(String, SamplesError),
    #[error("{0} is not written: {1}")]
    Given(String, io::Error),
    #[error("writing a day died: {0}")]
    Died(#[from] tokio::task::JoinError),
}

/// See the module.
pub struct Archiver {
    config: ArchiverConfig,
    seen: Shown<ArchiveSeen>,
    /// Days that hold no number.
    empty: BTreeSet<Day>,
    pause: Duration,
}

impl Archiver {
    /// One that writes nothing yet.
    pub fn new(config: ArchiverConfig) -> Self {
        let seen = Shown::new(ArchiveSeen {
            url: config.place.url().to_owned(),
            ..ArchiveSeen::default()
        });
        Self {
            config,
            seen,
            empty: BTreeSet::new(),
            pause: RETRY_FIRST,
        }
    }

    /// How days stand, now and later.
    pub fn seen(&self) -> Shown<ArchiveSeen> {
        self.seen.clone()
    }

    /// Writes days until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let error = tokio::select! {
                () = stop.cancelled() => return,
                Err(error) = self.work() => error,
            };
            if self.seen.get().failing.is_none() {
                tracing::error!(%error, "a day of samples cannot be archived; it is tried again");
            }
            let now = self.config.clock.now();
            self.seen.change(|seen| {
                seen.failing = Some(error.to_string());
                seen.failures += 1;
                seen.waiting_since = seen.waiting_since.or(Some(now));
            });
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(self.pause) => {}
            }
            self.pause = (self.pause * 2).min(RETRY_LAST);
        }
    }

    /// Writes days until something fails.
    async fn work(&mut self) -> Result<Infallible, ArchiveError> {
        loop {
            let store = Store::open(&self.config.place)?;
            let mut done = listed(&store).await?;
            let began = Instant::now();
            while began.elapsed() < LIST_EVERY {
                let wait = self.round(&store, &mut done).await;
                self.show(&done);
                wait?;
                self.pause = RETRY_FIRST;
                self.seen.change(|seen| {
                    if let Some(was) = seen.failing.take() {
                        tracing::warn!(%was, "days of samples are archived again");
                    }
                });
                sleep(self.config.look_every).await;
            }
        }
    }

    /// Days that are to be written.
    fn due(&self, done: &BTreeSet<Day>) -> Vec<Day> {
        let sealed = self.config.tsdb.sealed(self.config.tiers);
        let raw = sealed.parts().iter().filter(|part| !part.is_summary());
        let held = raw.map(|part| Held {
            span_ms: part.span_ms(),
            rests: part.rests(),
        });
        let held: Vec<Held> = held.collect();
        let now_ms = self.config.clock.now().millis();
        let after_ms = i64::try_from(self.config.after.millis()).unwrap_or(i64::MAX);
        let done = done.union(&self.empty).copied().collect();
        due(&held, &done, after_ms, now_ms)
    }

    /// Writes all days that are due; the first error, once all others are written.
    async fn round(&mut self, store: &Store, done: &mut BTreeSet<Day>) -> Result<(), ArchiveError> {
        let mut result = Ok(());
        for day in self.due(done) {
            match self.write(store, day).await {
                Ok(Totals { rows: 0, .. }) => {
                    self.empty.insert(day);
                }
                Ok(totals) => {
                    tracing::info!(day = day.date(), rows = totals.rows, "archived");
                    done.insert(day);
                    self.show(done);
                }
                Err(error @ ArchiveError::Read(..)) => result = result.and(Err(error)),
                Err(error) => return Err(error),
            }
        }
        result
    }

    fn show(&self, done: &BTreeSet<Day>) {
        let waiting = self.due(done).len() as u64;
        let now = self.config.clock.now();
        self.seen.change(|seen| {
            seen.days = done.len() as u64;
            seen.newest_day = done.last().map(|day| day.date());
            seen.waiting_days = waiting;
            let behind = waiting > 0;
            seen.waiting_since = behind.then(|| seen.waiting_since.unwrap_or(now));
        });
    }

    async fn write(&self, store: &Store, day: Day) -> Result<Totals, ArchiveError> {
        let object = day.object();
        let (give, mut taken) = mpsc::channel::<Vec<u8>>(PIECES_MAX);
        let tsdb = self.config.tsdb.clone();
        let writing = spawn_blocking(move || fill(&tsdb, day, &give));
        let (mut upload, mut bytes) = (None, 0);
        let mut sent = Ok(());
        while let Some(piece) = taken.recv().await {
            bytes += piece.len() as u64;
            let begun = match &mut upload {
                Some(begun) => begun,
                None => upload.insert(store.begin(&object).await?),
            };
            let room = begun.wait_for_capacity(CHUNKS_AT_ONCE).await;
            if let Err(source) = room {
                sent = Err(failed(&object, source));
                break;
            }
            begun.put(Bytes::from(piece));
        }
        // Whoever still writes hears that nobody takes more.
        drop(taken);
        let written = writing.await?;
        let whole = sent.map_err(ArchiveError::from).and(written);
        match (upload, whole) {
            (Some(upload), Ok(totals)) if totals.rows > 0 => {
                let ended = upload.finish().await;
                ended.map_err(|source| failed(&object, source))?;
                self.seen.change(|seen| {
                    seen.rows += totals.rows;
                    seen.bytes += bytes;
                    seen.left_out += totals.left_out;
                });
                Ok(totals)
            }
            (upload, whole) => {
                if let Some(upload) = upload {
                    // What was begun and not ended is never there; an error changes nothing about that.
                    let _ = upload.abort().await;
                }
                whole
            }
        }
    }
}

/// Days that are there.
async fn listed(store: &Store) -> Result<BTreeSet<Day>, StoreError> {
    let objects = store.list("").await?;
    let days: BTreeSet<Day> = { objects.iter() }
        .filter_map(|it| Day::in_object(&it.name))
        .collect();
    // What an upload left behind whose process died.
    objects
        .iter()
        .filter_map(|it| it.name.rsplit_once('/'))
        .for_each(|(folder, _)| store.sweep(folder));
    Ok(days)
}

/// Gives the file of a day. May block.
fn fill(tsdb: &Tsdb, day: Day, give: &mpsc::Sender<Vec<u8>>) -> Result<Totals, ArchiveError> {
    let samples = |error| ArchiveError::Samples(day.date(), error);
    let pieces = Pieces::new(|piece| give.blocking_send(piece).is_ok());
    let mut file = SampleFile::new(pieces).map_err(samples)?;
    let mut pushed = Ok(());
    let walked = tsdb.walk(&[Vec::new()], day.window_ms(), &mut |series| {
        pushed = file.push(&series);
        pushed.is_ok()
    });
    pushed.map_err(samples)?;
    walked.map_err(|error| ArchiveError::Read(day.date(), error))?;
    let (pieces, totals) = file.finish().map_err(samples)?;
    let given = pieces.finish();
    given.map_err(|error| ArchiveError::Given(day.date(), error))?;
    Ok(totals)
}

impl ArchiveSeen {
    /// How long something has been waiting.
    pub fn behind(&self, now: Time) -> Span {
        self.waiting_since
            .map_or(Span::ZERO, |since| now.since(since))
    }
}
