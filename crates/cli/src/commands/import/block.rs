//! Blocks of a Prometheus, from their folder.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use mainstay_ekg::blocks::{
    BlockIndex, CHUNK_FRAME_BYTES, Chunk, ChunkPlace, Tombstones, check_chunks, chunk_bytes,
    read_framed, read_tombstones,
};
use mainstay_tsdb::{Backfilled, Labels};

use super::Batches;

/// An index is read whole: this is one of a hundred million series.
const INDEX_BYTES_MAX: u64 = 16 << 30;
/// A chunk of at most 65,535 samples takes less.
const CHUNK_BYTES_MAX: usize = 64 << 20;
/// The beginning of a file of chunks.
const HEADER_BYTES: usize = 8;
/// Native histograms of integers and of floats.
const HISTOGRAMS: [u8; 2] = [2, 3];

pub(super) fn is_block(path: &Path) -> bool {
    path.join("meta.json").is_file() && path.join("index").is_file()
}

pub(super) fn read(path: &Path, batches: &mut Batches) -> anyhow::Result<()> {
    let index = path.join("index");
    let bytes = std::fs::metadata(&index)?.len();
    ensure!(
        bytes <= INDEX_BYTES_MAX,
        "its index has {bytes} bytes, and {INDEX_BYTES_MAX} are read at most"
    );
    let bytes = std::fs::read(&index).context("index")?;
    let index = BlockIndex::open(&bytes)?;
    let stones = match std::fs::read(path.join("tombstones")) {
        Ok(bytes) => read_tombstones(&bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Tombstones::new(),
        Err(error) => return Err(error).context("tombstones"),
    };
    let mut files = Files {
        folder: path.join("chunks"),
        open: None,
    };
    for series in index.series() {
        let series = series?;
        let mut samples = Vec::new();
        for place in &series.chunks {
            match files.chunk(*place)? {
                Chunk::Floats(more) => samples.extend(more),
                Chunk::Others { count, encoding } if HISTOGRAMS.contains(&encoding) => {
                    batches.skipped.histograms += count;
                }
                Chunk::Others { count, .. } => batches.skipped.unknown += count,
            }
        }
        if let Some(windows) = stones.get(&series.id) {
            let before = samples.len();
            samples.retain(|(at_ms, _)| {
                !windows
                    .iter()
                    .any(|(from, to)| (from..=to).contains(&at_ms))
            });
            batches.skipped.deleted += (before - samples.len()) as u64;
        }
        let labels = Labels::from_pairs(series.labels.iter().copied())
            .with_context(|| format!("the series {:?}", series.labels))?;
        batches.push(Backfilled { labels, samples })?;
    }
    Ok(())
}

/// Files of chunks, of which the last is held open: a series' chunks mostly follow each other.
struct Files {
    folder: PathBuf,
    open: Option<(u32, File, u64)>,
}

impl Files {
    fn chunk(&mut self, place: ChunkPlace) -> anyhow::Result<Chunk> {
        let named = || format!("chunk {} of file {:06}", place.offset, place.file + 1);
        let (file, len) = self.file(place.file).with_context(named)?;
        let offset = u64::from(place.offset);
        let left = usize::try_from(len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut beginning = vec![0; left.min(CHUNK_FRAME_BYTES)];
        file.read_exact_at(&mut beginning, offset)
            .with_context(named)?;
        let bytes = chunk_bytes(&beginning).filter(|bytes| *bytes <= left.min(CHUNK_BYTES_MAX));
        let mut framed = vec![0; bytes.context("its length is damaged").with_context(named)?];
        file.read_exact_at(&mut framed, offset)
            .with_context(named)?;
        read_framed(&framed).with_context(named)
    }

    fn file(&mut self, number: u32) -> anyhow::Result<(&File, u64)> {
        if self.open.as_ref().is_none_or(|(open, ..)| *open != number) {
            let file = File::open(self.folder.join(format!("{:06}", u64::from(number) + 1)))?;
            let mut header = [0; HEADER_BYTES];
            file.read_exact_at(&mut header, 0)?;
            check_chunks(&header)?;
            let len = file.metadata()?.len();
            self.open = Some((number, file, len));
        }
        let open = self.open.as_ref().map(|(_, file, len)| (file, *len));
        open.context("no file is open")
    }
}
