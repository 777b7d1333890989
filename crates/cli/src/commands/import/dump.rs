//! Text dumps, read piece by piece.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read as _, Seek as _, SeekFrom},
    path::Path,
};

use anyhow::{Context as _, ensure};
use mainstay_ekg::import::{TextFormat, read_text, timed};

use super::Batches;

/// Bytes of lines that are read as one text.
const PIECE_BYTES: usize = 4 << 20;
/// The longest line.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// What is looked at to tell the formats apart.
const END_BYTES: u64 = 64;

/// OpenMetrics says where it ends.
pub(super) fn format(path: &Path) -> anyhow::Result<TextFormat> {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(END_BYTES)))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    let ends = end.trim_ascii_end().ends_with(b"# EOF");
    Ok(if ends {
        TextFormat::OpenMetrics
    } else {
        TextFormat::Prometheus
    })
}

pub(super) fn read(path: &Path, format: TextFormat, batches: &mut Batches) -> anyhow::Result<()> {
    let mut reader = BufReader::new(File::open(path)?);
    let (mut piece, mut first_line, mut lines) = (Vec::new(), 1, 0);
    loop {
        let begin = piece.len();
        let count = reader
            .by_ref()
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut piece)?;
        let line = piece.get(begin..).unwrap_or_default();
        ensure!(
            count < LINE_BYTES_MAX as usize,
            "line {} has {LINE_BYTES_MAX} bytes or more",
            first_line + lines
        );
        let ended = count == 0;
        if line.trim_ascii() == b"# EOF" && format == TextFormat::OpenMetrics {
            piece.truncate(begin);
        } else if !ended && !line.ends_with(b"\n") {
            piece.push(b'\n');
        }
        lines += usize::from(!ended);
        if ended || piece.len() >= PIECE_BYTES {
            if format == TextFormat::OpenMetrics {
                piece.extend_from_slice(b"# EOF\n");
            }
            take(&piece, format, first_line, batches)?;
            piece.clear();
            first_line += lines;
            lines = 0;
        }
        if ended {
            return Ok(());
        }
    }
}

fn take(
    piece: &[u8],
    format: TextFormat,
    first_line: usize,
    batches: &mut Batches,
) -> anyhow::Result<()> {
    let seen = read_text(format, piece).map_err(|mut error| {
        error.line += first_line - 1;
        error
    })?;
    let (series, timeless) = timed(&seen).with_context(|| format!("from line {first_line} on"))?;
    batches.skipped.timeless += timeless;
    series.into_iter().try_for_each(|one| batches.push(one))
}
