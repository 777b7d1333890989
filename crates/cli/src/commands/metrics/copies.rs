//! `metrics copy`, `metrics restore --from` and `metrics export`.

use std::{fs, io::Write as _, path::Path};

use anyhow::{Context as _, bail};
use mainstay_archive::{
    adapter::{self, take_identity},
    place::{self, Place},
};
use mainstay_core::Time;
use mainstay_wal::LocalDisk;
use serde_json::Value;

use crate::{
    args::{CopiesArgs, ExportFormat, Global},
    client::{Client, parameters},
    output::{self, cell},
};

/// Brings copies back into an empty data directory, and says what is missing.
pub(super) async fn restore(args: CopiesArgs, data_dir: &Path) -> anyhow::Result<()> {
    // An error only means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let place = Place::of(place::Section {
        url: args.from.unwrap_or_default(),
        endpoint: args.endpoint,
        region: args.region,
        credentials_file: args.credentials_file,
    })?;
    let target = data_dir.join("metrics");
    let disk = LocalDisk::open(&target).with_context(|| target.display().to_string())?;
    let mut tell = |line: &str| eprintln!("{line}");
    let restored = adapter::restore(&place, args.at, &disk, &mut tell).await;
    let report = restored.with_context(|| format!("{} was not restored", place.url()))?;
    // So that the server goes on with these copies.
    take_identity(&data_dir.join("copies"), &report.server)?;
    let what = report.restored;
    let at = report
        .at
        .map_or_else(|| "-".to_owned(), |at| at.to_string());
    output::print(&format!(
        "{} parts with {} samples, {} bytes, as listed at {at}, are in {}",
        what.parts,
        what.samples,
        what.bytes,
        target.display()
    ))?;
    if report.without.is_empty() {
        return Ok(());
    }
    for (part, why) in &report.without {
        eprintln!("without {part}: {why}");
    }
    bail!(
        "{} of {} parts are missing or corrupt in the store, and left out; everything else is restored",
        report.without.len(),
        what.parts + report.without.len()
    )
}

pub(super) async fn status(global: &Global) -> anyhow::Result<()> {
    let mut answer: Value = Client::new(global)?.get("/api/v1/status/copies").await?;
    let data = answer["data"].take();
    if output::value(global.output, &data)? {
        return Ok(());
    }
    lines(&data).iter().try_for_each(|line| output::print(line))
}

fn lines(data: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    let state = |it: &Value| match &it["failing"] {
        Value::String(why) => format!("  failing for {} s: {why}", cell(it, "/behindSeconds")),
        _ if it["behindSeconds"].as_f64() > Some(0.0) => {
            format!("  behind for {} s", cell(it, "/behindSeconds"))
        }
        _ => "  up to date".to_owned(),
    };
    let copy = &data["copy"];
    if copy.is_null() {
        lines.push(
            "no copies: `url` in [metrics.copy] of the server's configuration says where to"
                .to_owned(),
        );
    } else {
        lines.push(format!("copies of parts at {}", cell(copy, "/url")));
        lines.push(format!(
            "  {} parts, {} samples, {} bytes, up to {}",
            cell(copy, "/parts"),
            cell(copy, "/samples"),
            cell(copy, "/bytes"),
            cell(copy, "/newestSample")
        ));
        let listing = cell(copy, "/listing");
        lines.push(format!(
            "  listing {listing} of {}",
            cell(copy, "/listedAt")
        ));
        lines.push(format!(
            "  waiting: {} parts, {} bytes",
            cell(copy, "/waitingParts"),
            cell(copy, "/waitingBytes")
        ));
        for part in copy["damaged"].as_array().into_iter().flatten() {
            lines.push(format!(
                "  damaged here, and not copied: {}",
                cell(part, "")
            ));
        }
        lines.push(state(copy));
    }
    let archive = &data["archive"];
    if archive.is_null() {
        lines.push("no archive: `url` in [metrics.archive] says where to".to_owned());
    } else {
        lines.push(format!("days in Parquet at {}", cell(archive, "/url")));
        lines.push(format!(
            "  {} days, up to {}; waiting: {}",
            cell(archive, "/days"),
            cell(archive, "/newestDay"),
            cell(archive, "/waitingDays")
        ));
        lines.push(state(archive));
    }
    lines
}

/// Writes samples into `out`, which is there once it is whole.
pub(super) async fn export(
    global: &Global,
    (format, selectors): (ExportFormat, &[String]),
    (from, to): (Time, Option<Time>),
    out: &Path,
) -> anyhow::Result<()> {
    let format = match format {
        ExportFormat::Parquet => "parquet",
    };
    let (from, to) = (from.to_string(), to.map(|to| to.to_string()));
    let mut pairs: Vec<(&str, &str)> = selectors.iter().map(|it| ("match[]", &**it)).collect();
    pairs.push(("format", format));
    pairs.push(("start", &from));
    pairs.extend(to.as_deref().map(|to| ("end", to)));
    let path = format!("/api/v1/export{}", parameters(&pairs));
    let mut draft = out.as_os_str().to_owned();
    draft.push(".part");
    let draft = Path::new(&draft);
    let cannot = || format!("{} cannot be written", draft.display());
    let mut file = fs::File::create(draft).with_context(cannot)?;
    let mut bytes = 0;
    let client = Client::new(global)?;
    let mut take = |piece: &[u8]| {
        bytes += piece.len();
        file.write_all(piece)
    };
    if let Err(error) = client.download(&path, &mut take).await {
        // What is there of it is of no use.
        let _ = fs::remove_file(draft);
        return Err(error).with_context(|| format!("{} is not written", out.display()));
    }
    file.sync_all().with_context(cannot)?;
    fs::rename(draft, out).with_context(cannot)?;
    output::print(&format!("{bytes} bytes are in {}", out.display()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn copies_are_told_with_what_they_wait_for() {
        let data = json!({
            "copy": {
                "url": "s3://copies/shop", "parts": 2, "bytes": 900, "samples": 70,
                "newestSample": "2026-11-05T18:00:00Z", "listing": 4, "listedAt": "2026-11-05T19:00:00Z",
                "waitingParts": 1, "waitingBytes": 5, "behindSeconds": 30.0, "damaged": ["x.part"],
                "failing": "listings: no answer",
            },
            "archive": null,
        });
        assert_eq!(
            lines(&data),
            [
                "copies of parts at s3://copies/shop",
                "  2 parts, 70 samples, 900 bytes, up to 2026-11-05T18:00:00Z",
                "  listing 4 of 2026-11-05T19:00:00Z",
                "  waiting: 1 parts, 5 bytes",
                "  damaged here, and not copied: x.part",
                "  failing for 30 s: listings: no answer",
                "no archive: `url` in [metrics.archive] says where to",
            ]
        );
    }
}
