//! `import`: samples of text dumps and of a Prometheus's blocks, into a running server or a data directory.
//!
//! Guarantees: what is there already is not written again, so that an import that broke off is begun anew; what is not
//! imported is counted with its reason. Never reads a log of Prometheus: what is only there is not in its blocks yet.

mod block;
mod dump;
mod sink;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use mainstay_ekg::import::TextFormat;
use mainstay_tsdb::Backfilled;
use serde_json::json;
use tokio::{sync::mpsc, task::spawn_blocking};

use crate::{
    args::{Global, Import, ImportFormat},
    output,
};
use sink::Sink;

/// Samples in one batch: far below what a request may have.
const BATCH_SAMPLES: usize = 100_000;
/// Bytes of labels in one batch, which each series has once.
const BATCH_LABEL_BYTES: usize = 4 << 20;
/// Batches that are read ahead.
const BATCHES_AHEAD: usize = 2;

/// What was read and is no sample to import.
#[derive(Debug, Default, Clone, Copy)]
struct Skipped {
    /// Samples of native histograms.
    histograms: u64,
    /// Samples of encodings that are not read here.
    unknown: u64,
    /// Samples without a time.
    timeless: u64,
    /// Samples that were deleted in the block.
    deleted: u64,
}

/// Gathers samples, and hands them on in batches.
struct Batches {
    batch: Vec<Backfilled>,
    samples: usize,
    label_bytes: usize,
    to: mpsc::Sender<Vec<Backfilled>>,
    skipped: Skipped,
}

impl Batches {
    fn push(&mut self, series: Backfilled) -> anyhow::Result<()> {
        if series.samples.is_empty() {
            return Ok(());
        }
        self.samples += series.samples.len();
        let labels = series.labels.iter();
        self.label_bytes += labels.map(|(n, v)| n.len() + v.len()).sum::<usize>();
        self.batch.push(series);
        if self.samples >= BATCH_SAMPLES || self.label_bytes >= BATCH_LABEL_BYTES {
            return self.flush();
        }
        Ok(())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        (self.samples, self.label_bytes) = (0, 0);
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        // Whoever does not take it any more says why.
        self.to.blocking_send(batch).context("the import ended")
    }
}

pub(crate) async fn run(global: &Global, args: Import) -> anyhow::Result<()> {
    let mut sink = Sink::open(global, &args).await?;
    let (to, mut batches) = mpsc::channel(BATCHES_AHEAD);
    let (paths, format) = (args.paths.clone(), args.format);
    let reading = spawn_blocking(move || {
        let mut batches = Batches {
            batch: Vec::new(),
            samples: 0,
            label_bytes: 0,
            to,
            skipped: Skipped::default(),
        };
        for path in &paths {
            let read = read(path, format, &mut batches).and_then(|()| batches.flush());
            read.with_context(|| path.display().to_string())?;
        }
        anyhow::Ok(batches.skipped)
    });
    while let Some(batch) = batches.recv().await {
        sink.take(batch).await?;
    }
    let skipped = reading.await??;
    let taken = sink.close().await?;
    let summary = json!({
        "written": taken.written, "known": taken.known, "expired": taken.expired,
        "refused": taken.refused, "nativeHistograms": skipped.histograms,
        "unknownEncodings": skipped.unknown, "withoutTime": skipped.timeless,
        "deletedInBlock": skipped.deleted,
    });
    if output::value(global.output, &summary)? {
        return Ok(());
    }
    let told = [
        (taken.known, "were there already"),
        (taken.expired, "are older than they are kept"),
        (taken.refused, "are refused for their labels or their time"),
        (
            skipped.histograms,
            "are native histograms, which are not read from blocks yet",
        ),
        (skipped.unknown, "have an encoding that is not known"),
        (skipped.timeless, "say no time"),
        (skipped.deleted, "are deleted in their block"),
    ];
    output::print(&format!("{} samples imported", taken.written))?;
    for (count, what) in told.into_iter().filter(|(count, _)| *count > 0) {
        output::print(&format!("{count} {what}"))?;
    }
    if !taken.told.is_empty() {
        output::print(&taken.told)?;
    }
    Ok(())
}

fn read(path: &Path, format: ImportFormat, batches: &mut Batches) -> anyhow::Result<()> {
    if path.is_file() {
        let format = match format {
            ImportFormat::Prometheus => TextFormat::Prometheus,
            ImportFormat::Openmetrics => TextFormat::OpenMetrics,
            ImportFormat::Auto => dump::format(path)?,
        };
        return dump::read(path, format, batches);
    }
    ensure!(path.is_dir(), "there is no such file or folder");
    if block::is_block(path) {
        return block::read(path, batches);
    }
    let mut blocks: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?.path();
        if block::is_block(&entry) {
            blocks.push(entry);
        }
    }
    blocks.sort();
    if blocks.is_empty() {
        bail!(
            "no block is here: name a block, a Prometheus's data directory or snapshot, or a text dump"
        );
    }
    if path.join("wal").is_dir() {
        eprintln!(
            "note: what is only in Prometheus's log is not imported; its snapshot has it as a block \
             (`POST /api/v1/admin/tsdb/snapshot`)"
        );
    }
    blocks
        .iter()
        .try_for_each(|one| block::read(one, batches).with_context(|| one.display().to_string()))
}
