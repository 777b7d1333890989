//! `metrics`: what is kept of samples.

mod copies;

use std::path::Path;

use anyhow::{Context as _, ensure};
use mainstay_core::Time;
use mainstay_wal::LocalDisk;
use serde_json::Value;

use crate::{
    args::{CopyCommand, Global, MetricsCommand},
    client::{Client, parameters},
    output,
};

pub(crate) async fn run(global: &Global, command: MetricsCommand) -> anyhow::Result<()> {
    match command {
        MetricsCommand::Delete {
            selectors,
            start,
            end,
            reason,
        } => delete(global, &selectors, (start, end), &reason).await,
        MetricsCommand::Clean { reason } => {
            let path = parameters(&[("reason", &reason)]);
            let path = format!("/api/v1/admin/tsdb/clean_tombstones{path}");
            let _: Value = Client::new(global)?.post(&path, &()).await?;
            output::print("deleted samples are off the disk")
        }
        MetricsCommand::Snapshot { skip_head } => {
            let path = parameters(&[("skip_head", if skip_head { "true" } else { "false" })]);
            let path = format!("/api/v1/admin/tsdb/snapshot{path}");
            let answer: Value = Client::new(global)?.post(&path, &()).await?;
            let data = &answer["data"];
            if output::value(global.output, data)? {
                return Ok(());
            }
            output::print(&output::cell(data, "/name"))
        }
        MetricsCommand::Restore {
            snapshot: Some(snapshot),
            data_dir,
            ..
        } => restore(&snapshot, &data_dir),
        MetricsCommand::Restore {
            snapshot: None,
            data_dir,
            copies,
        } => copies::restore(copies, &data_dir).await,
        MetricsCommand::Copy(CopyCommand::Status) => copies::status(global).await,
        MetricsCommand::Export {
            format,
            selectors,
            from,
            to,
            out,
        } => copies::export(global, (format, &selectors), (from, to), &out).await,
    }
}

fn restore(snapshot: &Path, data_dir: &Path) -> anyhow::Result<()> {
    ensure!(
        snapshot.is_dir(),
        "{} is no folder\n  remedy: name a folder of metrics/snapshots in a data directory",
        snapshot.display()
    );
    let from = LocalDisk::open(snapshot).with_context(|| snapshot.display().to_string())?;
    let target = data_dir.join("metrics");
    let to = LocalDisk::open(&target).with_context(|| target.display().to_string())?;
    let restored = mainstay_tsdb::restore(&from, &to)
        .with_context(|| format!("{} was not restored", snapshot.display()))?;
    output::print(&format!(
        "{} parts with {} samples, {} bytes, are in {}",
        restored.parts,
        restored.samples,
        restored.bytes,
        target.display()
    ))
}

async fn delete(
    global: &Global,
    selectors: &[String],
    (start, end): (Option<Time>, Option<Time>),
    reason: &str,
) -> anyhow::Result<()> {
    let times = [("start", start), ("end", end)];
    let times = times.map(|(name, time)| Some((name, time?.to_string())));
    let mut pairs: Vec<(&str, &str)> = selectors.iter().map(|it| ("match[]", &**it)).collect();
    pairs.extend(times.iter().flatten().map(|(name, time)| (*name, &**time)));
    pairs.push(("reason", reason));
    let path = format!("/api/v1/admin/tsdb/delete_series{}", parameters(&pairs));
    let _: Value = Client::new(global)?.post(&path, &()).await?;
    output::print("deleted: no query sees these samples any more")
}
