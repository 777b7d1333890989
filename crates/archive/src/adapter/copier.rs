//! The task that keeps copies of parts in a store.
//!
//! Guarantees: it only reads the engine, and holds one part at a time, so that neither ingest nor sealing ever waits for it;
//! a store that fails or hangs costs it alone time. What it began is taken up again, by this process or the next. It stops
//! at a place where somebody else's copies are. Objects that no listing of use names go.

use std::{collections::BTreeSet, convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use mainstay_core::{Span, Time, ports::Clock};
use mainstay_tsdb::{ReadError, SealedPart, Tiers, Tsdb};
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    listings::{Remote, newest, read, versions},
    seen::{CopySeen, Shown},
    store::{Store, StoreError},
    upload::{checked, send},
};
use crate::{
    copy::{
        Entry, FORMAT, LISTINGS, Listing, Local, Mark, PARTS, Step, Uploaded, expired,
        listing_object, next, part_object, sha256_in,
    },
    place::Place,
};

/// How often is looked for what may go, where nothing else changes.
const CLEAN_EVERY: Duration = Duration::from_hours(1);
/// How soon a store that failed is tried again at first …
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// … and at last.
const RETRY_LAST: Duration = Duration::from_mins(5);

/// What a [`Copier`] needs.
pub struct CopierConfig {
    /// How often is looked for what is new.
    pub look_every: Duration,
    /// The engine.
    pub tsdb: Tsdb,
    /// How its parts are merged.
    pub tiers: Tiers,
    /// When it is.
    pub clock: Arc<dyn Clock>,
    /// Where copies go.
    pub place: Place,
    /// How long what was removed here stays there.
    pub keep: Span,
    /// Whose copies these are.
    pub server: String,
}

/// Why nothing is copied.
#[derive(Debug, thiserror::Error)]
pub(super) enum CopyError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Read(ReadError),
    #[error("part {part} cannot be read: {error}; repair the disk")]
    Disk { part: String, error: std::io::Error },
    #[error("part {0} was read twice, and was not the same: look at the disk")]
    Changed(String),
    #[error("{object} is no listing of this version: {why}")]
    Listing { object: String, why: String },
    #[error(
        "another server's copies are there (listing {0}): name another place, or bring them back with `mainstay metrics \
         restore --from` into an empty data directory"
    )]
    Foreign(u64),
    #[error("reading died: {0}")]
    Died(#[from] tokio::task::JoinError),
}

/// See the module.
pub struct Copier {
    config: CopierConfig,
    seen: Shown<CopySeen>,
    /// What was listed last.
    remote: Remote,
    /// What is uploaded, listed or not.
    uploaded: Uploaded,
    /// Damaged here, and not uploaded before.
    damaged: BTreeSet<Mark>,
    pause: Duration,
}

impl Copier {
    /// One that copies nothing yet.
    pub fn new(config: CopierConfig) -> Self {
        let seen = Shown::new(CopySeen {
            url: config.place.url().to_owned(),
            ..CopySeen::default()
        });
        Self {
            config,
            seen,
            remote: Remote::default(),
            uploaded: Uploaded::new(),
            damaged: BTreeSet::new(),
            pause: RETRY_FIRST,
        }
    }

    /// How copies stand, now and later.
    pub fn seen(&self) -> Shown<CopySeen> {
        self.seen.clone()
    }

    /// Copies until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let error = tokio::select! {
                () = stop.cancelled() => return,
                Err(error) = self.work() => error,
            };
            if self.seen.get().failing.is_none() {
                tracing::error!(%error, "parts cannot be copied; it is tried again");
            }
            self.seen.change(|seen| {
                seen.failing = Some(error.to_string());
                seen.failures += 1;
            });
            self.look();
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(self.pause) => {}
            }
            self.pause = (self.pause * 2).min(RETRY_LAST);
        }
    }

    fn now(&self) -> Time {
        self.config.clock.now()
    }

    /// Copies until something fails.
    async fn work(&mut self) -> Result<Infallible, CopyError> {
        let store = Store::open(&self.config.place)?;
        let remote = newest(&store).await?;
        let foreign = |it: &&Listing| it.server != self.config.server;
        if let Some(foreign) = remote.newest.as_ref().filter(foreign) {
            return Err(CopyError::Foreign(foreign.version));
        }
        store.sweep(PARTS);
        store.sweep(LISTINGS);
        let one = |it: &Entry| (it.mark.clone(), it.sha256.clone());
        self.uploaded = remote.entries().iter().map(one).collect();
        self.remote = remote;
        self.show();
        let (mut fresh, mut cleaned) = (0, None);
        loop {
            let (parts, local) = self.look();
            match self.next(&local, fresh) {
                Step::Upload(at) => {
                    let Some(part) = parts.into_iter().nth(at) else {
                        continue;
                    };
                    let mark = mark(&part);
                    match self.upload(&store, part).await? {
                        Some(sha256) => {
                            self.uploaded.insert(mark, sha256);
                            fresh += 1;
                        }
                        None => {
                            self.damaged.insert(mark);
                        }
                    }
                    self.succeeded();
                }
                Step::List if self.list(&store).await? => {
                    fresh = 0;
                    let entries = self.remote.entries();
                    let is_listed = |mark: &Mark| entries.iter().any(|it| it.mark == *mark);
                    self.uploaded.retain(|mark, _| is_listed(mark));
                    cleaned = None;
                    self.succeeded();
                }
                Step::List | Step::Rest => {
                    fresh = 0;
                    let due = |at: &Instant| at.elapsed() >= CLEAN_EVERY;
                    if cleaned.as_ref().is_none_or(due) {
                        self.clean(&store).await?;
                        cleaned = Some(Instant::now());
                    }
                    self.succeeded();
                    sleep(self.config.look_every).await;
                }
            }
        }
    }

    /// What went well: the next failure is tried again soon.
    fn succeeded(&mut self) {
        self.pause = RETRY_FIRST;
        self.seen.change(|seen| {
            if let Some(was) = seen.failing.take() {
                tracing::warn!(%was, "parts are copied again");
            }
        });
    }

    fn next(&self, local: &[Local], fresh: usize) -> Step {
        let listed = self.remote.entries();
        next(listed, local, &self.uploaded, &self.damaged, fresh)
    }

    /// The engine's parts now; shows how many wait.
    fn look(&mut self) -> (Vec<SealedPart>, Vec<Local>) {
        let sealed = self.config.tsdb.sealed(self.config.tiers);
        let parts = sealed.parts().to_vec();
        let local: Vec<Local> = parts.iter().map(local).collect();
        let is_here = |mark: &Mark| local.iter().any(|it| it.mark == *mark);
        self.damaged.retain(is_here);
        let now = self.now();
        let (damaged, listed) = (&self.damaged, self.remote.entries());
        let waits = |it: &&Local| it.rests && !self.uploaded.contains_key(&it.mark);
        let waiting: Vec<u64> = { local.iter() }
            .filter(waits)
            .map(|it| it.mark.bytes)
            .collect();
        self.seen.change(|seen| {
            seen.waiting_parts = waiting.len() as u64;
            seen.waiting_bytes = waiting.iter().sum();
            let is_listed = |mark: &Mark| listed.iter().any(|it| it.mark == *mark);
            let behind =
                seen.failing.is_some() || local.iter().any(|it| it.rests && !is_listed(&it.mark));
            seen.waiting_since = behind.then(|| seen.waiting_since.unwrap_or(now));
            seen.damaged = damaged.iter().map(|it| it.name.clone()).collect();
        });
        (parts, local)
    }

    fn show(&self) {
        let entries = self.remote.entries();
        self.seen.change(|seen| {
            seen.parts = entries.len() as u64;
            seen.bytes = entries.iter().map(|it| it.mark.bytes).sum();
            seen.samples = entries.iter().map(|it| it.mark.samples).sum();
            let newest_ms = entries.iter().map(|it| it.mark.newest_ms).max();
            seen.newest = newest_ms.map(Time::from_millis);
            seen.listing = self.remote.version();
            let at_ms = self.remote.newest.as_ref().map(|it| it.at_ms);
            seen.listed_at = at_ms.map(Time::from_millis);
        });
    }

    /// Uploads a part, unless its bytes are there; its SHA-256, or nothing if it is damaged here.
    async fn upload(&self, store: &Store, part: SealedPart) -> Result<Option<String>, CopyError> {
        let (name, bytes) = (part.name().to_owned(), part.bytes());
        let (part, read) = spawn_blocking(move || {
            let read = checked(&part);
            (part, read)
        })
        .await?;
        let sha256 = match read {
            Ok(sha256) => sha256,
            Err(CopyError::Read(error @ ReadError::Damaged { .. })) => {
                tracing::error!(%error, "a part is damaged, and not copied");
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let object = part_object(&sha256);
        if store.length(&object).await? == Some(bytes) {
            tracing::debug!(part = name, object, "is there already");
            return Ok(Some(sha256));
        }
        send(store, part, &object, &sha256).await?;
        tracing::debug!(part = name, object, bytes, "copied");
        self.seen.change(|seen| {
            seen.uploaded_parts += 1;
            seen.uploaded_bytes += bytes;
        });
        Ok(Some(sha256))
    }

    /// Writes a listing of what is uploaded now, unless it would say what the last one does; whether it did.
    async fn list(&mut self, store: &Store) -> Result<bool, CopyError> {
        let sealed = self.config.tsdb.sealed(self.config.tiers);
        let entries = sealed.parts().iter().filter_map(|part| {
            let mark = mark(part);
            let sha256 = self.uploaded.get(&mark)?.clone();
            Some(Entry { mark, sha256 })
        });
        let entries: Vec<Entry> = entries.collect();
        let local: Vec<Local> = sealed.parts().iter().map(local).collect();
        // The engine may have gone on since the step was planned.
        if self.next(&local, usize::MAX) != Step::List {
            return Ok(false);
        }
        let names = entries.iter().map(|it| &*it.mark.name).collect();
        let manifest = sealed.manifest_of(&names);
        drop(sealed);
        let before = self.remote.newest.as_ref();
        if before.map_or(entries.is_empty(), |it| {
            it.manifest == manifest && it.parts == entries
        }) {
            return Ok(false);
        }
        let listing = Listing {
            format: FORMAT,
            server: self.config.server.clone(),
            version: self.remote.version() + 1,
            at_ms: self.now().millis(),
            parts: entries,
            manifest,
        };
        let object = listing_object(listing.version);
        let text = serde_json::to_vec(&listing).map_err(|error| CopyError::Listing {
            object: object.clone(),
            why: error.to_string(),
        })?;
        if !store.create(&object, Bytes::from(text)).await? {
            // An attempt that was not answered may have been ours.
            let there = read(store, listing.version).await?;
            if there != listing {
                return Err(CopyError::Foreign(listing.version));
            }
        }
        self.remote.take(listing);
        self.show();
        Ok(true)
    }

    /// Removes listings that are of no use any more, and objects that none names.
    async fn clean(&mut self, store: &Store) -> Result<(), CopyError> {
        let now_ms = self.now().millis();
        let remote = &mut self.remote;
        let versions = versions(store).await?;
        for version in &versions {
            if *version > remote.version() {
                return Err(CopyError::Foreign(*version));
            }
            if !remote.known.contains_key(version) {
                let listing = read(store, *version).await?;
                let digests = listing.parts.into_iter().map(|it| it.sha256);
                let known = (listing.at_ms, digests.collect());
                remote.known.insert(*version, known);
            }
        }
        remote.known.retain(|version, _| versions.contains(version));
        let written = remote.known.iter().map(|(version, it)| (*version, it.0));
        let keep_ms = i64::try_from(self.config.keep.millis()).unwrap_or(i64::MAX);
        let mut removed = 0;
        for version in expired(&written.collect(), keep_ms, now_ms) {
            store.remove(&listing_object(version)).await?;
            remote.known.remove(&version);
            removed += 1;
        }
        let named: BTreeSet<&String> = { remote.known.values() }
            .flat_map(|it| &it.1)
            .chain(self.uploaded.values())
            .collect();
        for object in store.list(PARTS).await? {
            let last = object.name.rsplit('/').next().unwrap_or_default();
            let Some(sha256) = sha256_in(last) else {
                continue;
            };
            if !named.contains(&sha256.to_owned()) {
                store.remove(&object.name).await?;
                removed += 1;
            }
        }
        self.seen.change(|seen| seen.removed += removed);
        Ok(())
    }
}

fn local(part: &SealedPart) -> Local {
    Local {
        mark: mark(part),
        rests: part.rests(),
    }
}

fn mark(part: &SealedPart) -> Mark {
    let (oldest_ms, newest_ms) = part.span_ms();
    Mark {
        name: part.name().to_owned(),
        bytes: part.bytes(),
        samples: part.samples(),
        oldest_ms,
        newest_ms,
        generations: part.generations(),
    }
}
