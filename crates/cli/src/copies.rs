//! Copies of what the engine keeps: started, shown, and exported by hand.

use std::{path::PathBuf, sync::Arc};

use anyhow::Context as _;
use mainstay_archive::{
    adapter::{
        ArchiveSeen, Archiver, ArchiverConfig, Copier, CopierConfig, CopySeen, LOOK_EVERY, Shown,
        identity,
    },
    pieces::Pieces,
    samples::SampleFile,
};
use mainstay_core::{Time, ports::Clock};
use mainstay_ekg::adapter::selected;
use mainstay_server::{Gauge, Window};
use mainstay_tsdb::{Matcher, Options, Tsdb};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config;

/// What copies are made of.
pub(crate) struct Sources {
    pub(crate) tsdb: Tsdb,
    pub(crate) clock: Arc<dyn Clock>,
    /// Where it is kept whose copies they are.
    pub(crate) folder: PathBuf,
}

/// How copies stand.
#[derive(Clone, Default)]
pub(crate) struct Copies {
    copy: Option<Shown<CopySeen>>,
    archive: Option<Shown<ArchiveSeen>>,
}

impl Copies {
    /// Starts what is configured.
    pub(crate) fn start(
        config: &config::Metrics,
        sources: Sources,
        tasks: &mut JoinSet<()>,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let mut copies = Self::default();
        if config.copy.is_some() || config.archive.is_some() {
            // An error only means that a provider is installed already.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let tiers = Options::default().tiers;
        if let Some(copy) = &config.copy {
            let copier = Copier::new(CopierConfig {
                look_every: LOOK_EVERY,
                tsdb: sources.tsdb.clone(),
                tiers,
                clock: Arc::clone(&sources.clock),
                place: copy.place.clone(),
                keep: copy.keep,
                server: identity(&sources.folder).context("copies of parts cannot begin")?,
            });
            copies.copy = Some(copier.seen());
            tasks.spawn(copier.run(stop.clone()));
        }
        if let Some(archive) = &config.archive {
            let archiver = Archiver::new(ArchiverConfig {
                look_every: LOOK_EVERY,
                tsdb: sources.tsdb,
                tiers,
                clock: sources.clock,
                place: archive.place.clone(),
                after: archive.after,
            });
            copies.archive = Some(archiver.seen());
            tasks.spawn(archiver.run(stop.clone()));
        }
        Ok(copies)
    }

    /// `/api/v1/status/copies`.
    pub(crate) fn listed(&self, now: Time) -> Value {
        let copy = self.copy.as_ref().map(Shown::get);
        let archive = self.archive.as_ref().map(Shown::get);
        json!({
            "copy": copy.map(|it| json!({
                "url": it.url, "parts": it.parts, "bytes": it.bytes, "samples": it.samples,
                "newestSample": it.newest, "listing": it.listing, "listedAt": it.listed_at,
                "waitingParts": it.waiting_parts, "waitingBytes": it.waiting_bytes,
                "behindSeconds": behind(it.waiting_since, now), "damaged": it.damaged,
                "failing": it.failing,
            })),
            "archive": archive.map(|it| json!({
                "url": it.url, "days": it.days, "newestDay": it.newest_day, "waitingDays": it.waiting_days,
                "behindSeconds": behind(it.waiting_since, now), "histogramsLeftOut": it.left_out,
                "failing": it.failing,
            })),
        })
    }

    /// What the server's own metrics say of them.
    pub(crate) fn gauges(&self, now: Time) -> Vec<Gauge> {
        let mut gauges = Vec::new();
        if let Some(it) = self.copy.as_ref().map(Shown::get) {
            gauges.extend(copying(&it, now));
        }
        if let Some(it) = self.archive.as_ref().map(Shown::get) {
            gauges.extend(archiving(&it, now));
        }
        gauges
    }
}

/// How long something has been waiting, in seconds.
fn behind(since: Option<Time>, now: Time) -> f64 {
    since.map_or(0.0, |since| now.since(since).secs_f64())
}

fn is(failing: Option<&String>) -> f64 {
    f64::from(u8::from(failing.is_some()))
}

fn copying(it: &CopySeen, now: Time) -> [Gauge; 10] {
    let gauge = |name, help, value| Gauge::new(name, help, Vec::new(), value);
    let counter = |name, help, count| Gauge::counter(name, help, Vec::new(), count);
    let newest = it.newest.map_or(0.0, |at| at.millis() as f64 / 1_000.0);
    [
        gauge(
            "mainstay_metrics_copy_parts",
            "Parts of samples in the copy.",
            it.parts as f64,
        ),
        gauge(
            "mainstay_metrics_copy_bytes",
            "Bytes of the parts in the copy.",
            it.bytes as f64,
        ),
        gauge(
            "mainstay_metrics_copy_newest_seconds",
            "Time of the newest sample in the copy.",
            newest,
        ),
        gauge(
            "mainstay_metrics_copy_waiting_parts",
            "Parts that are still to be copied.",
            it.waiting_parts as f64,
        ),
        gauge(
            "mainstay_metrics_copy_behind_seconds",
            "How long something has been waiting to be copied.",
            behind(it.waiting_since, now),
        ),
        gauge(
            "mainstay_metrics_copy_failing",
            "Whether the last attempt to copy failed.",
            is(it.failing.as_ref()),
        ),
        counter(
            "mainstay_metrics_copy_uploaded_parts_total",
            "Parts that were copied.",
            it.uploaded_parts,
        ),
        counter(
            "mainstay_metrics_copy_uploaded_bytes_total",
            "Bytes of the parts that were copied.",
            it.uploaded_bytes,
        ),
        counter(
            "mainstay_metrics_copy_removed_total",
            "Objects of the copy that were removed.",
            it.removed,
        ),
        counter(
            "mainstay_metrics_copy_failures_total",
            "Attempts to copy that failed.",
            it.failures,
        ),
    ]
}

fn archiving(it: &ArchiveSeen, now: Time) -> [Gauge; 8] {
    let gauge = |name, help, value| Gauge::new(name, help, Vec::new(), value);
    let counter = |name, help, count| Gauge::counter(name, help, Vec::new(), count);
    [
        gauge(
            "mainstay_metrics_archive_days",
            "Days of samples in the archive.",
            it.days as f64,
        ),
        gauge(
            "mainstay_metrics_archive_waiting_days",
            "Days that are still to be archived.",
            it.waiting_days as f64,
        ),
        gauge(
            "mainstay_metrics_archive_behind_seconds",
            "How long a day has been waiting to be archived.",
            behind(it.waiting_since, now),
        ),
        gauge(
            "mainstay_metrics_archive_failing",
            "Whether the last attempt to archive failed.",
            is(it.failing.as_ref()),
        ),
        counter(
            "mainstay_metrics_archive_rows_total",
            "Samples that were archived.",
            it.rows,
        ),
        counter(
            "mainstay_metrics_archive_bytes_total",
            "Bytes of the files that were archived.",
            it.bytes,
        ),
        counter(
            "mainstay_metrics_archive_histograms_left_out_total",
            "Native histograms that are not in the archive's files.",
            it.left_out,
        ),
        counter(
            "mainstay_metrics_archive_failures_total",
            "Attempts to archive that failed.",
            it.failures,
        ),
    ]
}

/// Samples of a window, as a Parquet file.
pub(crate) struct Exporting {
    tsdb: Tsdb,
    selectors: Vec<Vec<Matcher>>,
    window: Window,
}

impl Exporting {
    /// Those of series that any of the selectors names.
    pub(crate) fn new(tsdb: &Tsdb, selectors: &[&str], window: Window) -> Result<Self, String> {
        let selectors = selectors.iter().map(|it| selected(it));
        let selectors: Result<_, _> = selectors.collect();
        Ok(Self {
            tsdb: tsdb.clone(),
            selectors: selectors.map_err(|wrong| wrong.to_string())?,
            window,
        })
    }
}

impl mainstay_server::Reading for Exporting {
    fn is_streamed(&self) -> bool {
        true
    }

    fn read(&self, take: &mut dyn FnMut(Vec<u8>) -> bool) -> Result<(), String> {
        // Pieces are given between series only: the file's writer may be of any thread.
        let (give, taken) = std::sync::mpsc::channel();
        let pieces = Pieces::new(move |piece| give.send(piece).is_ok());
        let mut file = SampleFile::new(pieces).map_err(|error| error.to_string())?;
        let (mut pushed, mut gone) = (Ok(()), false);
        let window = (self.window.start.millis(), self.window.end.millis());
        let walked = self.tsdb.walk(&self.selectors, window, &mut |series| {
            pushed = file.push(&series);
            gone = !taken.try_iter().all(&mut *take);
            pushed.is_ok() && !gone
        });
        pushed.map_err(|error| error.to_string())?;
        walked.map_err(|error| error.to_string())?;
        let (pieces, _) = file.finish().map_err(|error| error.to_string())?;
        pieces.finish().map_err(|error| error.to_string())?;
        if gone || !taken.try_iter().all(&mut *take) {
            return Err("nobody takes more of it".to_owned());
        }
        Ok(())
    }
}
