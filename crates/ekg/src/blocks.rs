//! Blocks of a Prometheus: their index, chunks and tombstones, as bytes.
//!
//! Guarantees: versions 1 of chunks and 2 of the index are read, as every Prometheus since 2.2 writes them; each
//! section is held against its checksum; any bytes are read or refused with what is wrong. Never reads a file itself.
//! Formats: `tsdb/docs/format` in Prometheus's repository.

mod chunk;
mod cursor;

pub use chunk::{Chunk, read_chunk};

use std::collections::BTreeMap;

use cursor::Cursor;

const INDEX_MAGIC: u32 = 0xbaaa_d700;
const INDEX_VERSION: u8 = 2;
const CHUNKS_MAGIC: u32 = 0x85bd_40dd;
const TOMBSTONES_MAGIC: u32 = 0x0130_ba30;
/// The end of an index: six places, and their checksum.
const CONTENTS_BYTES: usize = 6 * 8 + 4;
/// Where series may begin.
const SERIES_ALIGNMENT: u64 = 16;
/// Bytes of a chunk's header and end at most: its length, its encoding, its checksum.
pub const CHUNK_FRAME_BYTES: usize = 10 + 1 + 4;

/// Why a block cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// Another kind of file, or a version that is not read here.
    #[error("{what} begins with version {version}, and this reads {wanted}")]
    Version {
        /// Which file.
        what: &'static str,
        /// What was found.
        version: u8,
        /// What is read.
        wanted: u8,
    },
    /// Bytes that are not what was written.
    #[error("{what} is damaged: {part} cannot be read")]
    Damaged {
        /// Which file.
        what: &'static str,
        /// What of it.
        part: &'static str,
    },
}

fn index(part: &'static str) -> BlockError {
    let what = "the index";
    BlockError::Damaged { what, part }
}

/// Where a chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkPlace {
    /// Its first sample's time.
    pub from_ms: i64,
    /// Its last sample's time.
    pub to_ms: i64,
    /// The file of chunks, counted from zero.
    pub file: u32,
    /// Where in it.
    pub offset: u32,
}

/// A series of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockSeries<'a> {
    /// Its number.
    pub id: u64,
    /// Its labels, the metric's name among them.
    pub labels: Vec<(&'a str, &'a str)>,
    /// Its chunks.
    pub chunks: Vec<ChunkPlace>,
}

/// The index of a block.
#[derive(Debug)]
pub struct BlockIndex<'a> {
    bytes: &'a [u8],
    symbols: Vec<&'a str>,
    /// Numbers of all series.
    series: Vec<u32>,
}

impl<'a> BlockIndex<'a> {
    /// Reads where everything is.
    pub fn open(bytes: &'a [u8]) -> Result<Self, BlockError> {
        let mut cursor = Cursor::new(bytes);
        if cursor.u32() != Some(INDEX_MAGIC) {
            return Err(index("its beginning"));
        }
        match cursor.byte() {
            Some(INDEX_VERSION) => {}
            Some(version) => {
                return Err(BlockError::Version {
                    what: "the index",
                    version,
                    wanted: INDEX_VERSION,
                });
            }
            None => return Err(index("its beginning")),
        }
        let (symbols_at, postings_at) = contents(bytes).ok_or_else(|| index("its contents"))?;
        Ok(Self {
            bytes,
            symbols: symbols(bytes, symbols_at).ok_or_else(|| index("its symbols"))?,
            series: all_series(bytes, postings_at).ok_or_else(|| index("its list of series"))?,
        })
    }

    /// How many series there are.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// All series, in the order of their labels.
    pub fn series(&self) -> impl Iterator<Item = Result<BlockSeries<'a>, BlockError>> {
        let ids = self.series.iter();
        ids.map(|id| self.one(*id).ok_or_else(|| index("a series")))
    }

    fn one(&self, id: u32) -> Option<BlockSeries<'a>> {
        let mut cursor = Cursor::at(self.bytes, u64::from(id) * SERIES_ALIGNMENT)?;
        let bytes = usize::try_from(cursor.uvarint()?).ok()?;
        let entry = cursor.take(bytes)?;
        if cursor.u32()? != crc32c::crc32c(entry) {
            return None;
        }
        let mut cursor = Cursor::new(entry);
        let mut labels = Vec::new();
        for _ in 0..cursor.uvarint()? {
            let mut symbol = || {
                let at = usize::try_from(cursor.uvarint()?).ok()?;
                self.symbols.get(at).copied()
            };
            labels.push((symbol()?, symbol()?));
        }
        Some(BlockSeries {
            id: u64::from(id),
            labels,
            chunks: places(&mut cursor)?,
        })
    }
}

fn places(cursor: &mut Cursor<'_>) -> Option<Vec<ChunkPlace>> {
    let (mut chunks, mut to_ms, mut place) = (Vec::new(), 0_i64, 0_i64);
    for number in 0..cursor.uvarint()? {
        let from_ms = if number == 0 {
            cursor.varint()?
        } else {
            to_ms.wrapping_add(cursor.uvarint()? as i64)
        };
        to_ms = from_ms.wrapping_add(cursor.uvarint()? as i64);
        place = if number == 0 {
            cursor.uvarint()? as i64
        } else {
            place.wrapping_add(cursor.varint()?)
        };
        chunks.push(ChunkPlace {
            from_ms,
            to_ms,
            file: (place as u64 >> 32) as u32,
            offset: place as u32,
        });
    }
    Some(chunks)
}

/// Where symbols and the table of postings begin.
fn contents(bytes: &[u8]) -> Option<(u64, u64)> {
    let end = bytes.get(bytes.len().checked_sub(CONTENTS_BYTES)?..)?;
    let (places, crc) = end.split_at_checked(CONTENTS_BYTES - 4)?;
    if Cursor::new(crc).u32()? != crc32c::crc32c(places) {
        return None;
    }
    let mut cursor = Cursor::new(places);
    let symbols = cursor.u64()?;
    cursor.take(4 * 8)?;
    Some((symbols, cursor.u64()?))
}

fn symbols(bytes: &[u8], at: u64) -> Option<Vec<&str>> {
    let mut cursor = Cursor::new(Cursor::at(bytes, at)?.section()?);
    let count = cursor.u32()?;
    (0..count).map(|_| cursor.text()).collect()
}

/// The first entry of the table of postings is the list of all series.
fn all_series(bytes: &[u8], table_at: u64) -> Option<Vec<u32>> {
    let mut table = Cursor::new(Cursor::at(bytes, table_at)?.section()?);
    if table.u32()? == 0 {
        return Some(Vec::new());
    }
    let whole = (table.byte()?, table.text()?, table.text()?) == (2, "", "");
    let list_at = table.uvarint()?;
    let mut list = Cursor::new(Cursor::at(bytes, list_at)?.section()?);
    let count = list.u32().filter(|_| whole)?;
    (0..count).map(|_| list.u32()).collect()
}

/// Whether a file of chunks is one.
pub fn check_chunks(beginning: &[u8]) -> Result<(), BlockError> {
    let mut cursor = Cursor::new(beginning);
    let what = "a file of chunks";
    match (cursor.u32(), cursor.byte()) {
        (Some(CHUNKS_MAGIC), Some(1)) => Ok(()),
        (Some(CHUNKS_MAGIC), Some(version)) => Err(BlockError::Version {
            what,
            version,
            wanted: 1,
        }),
        _ => Err(BlockError::Damaged {
            what,
            part: "its beginning",
        }),
    }
}

/// How many bytes a chunk takes whose first [`CHUNK_FRAME_BYTES`], or fewer at the end of a file, these are.
pub fn chunk_bytes(beginning: &[u8]) -> Option<usize> {
    let mut cursor = Cursor::new(beginning);
    let data = usize::try_from(cursor.uvarint()?).ok()?;
    let mut length = 1;
    let mut rest = data;
    while rest >= 0x80 {
        (rest, length) = (rest >> 7, length + 1);
    }
    data.checked_add(length + 1 + 4)
}

/// Reads a chunk with its frame.
pub fn read_framed(bytes: &[u8]) -> Result<Chunk, BlockError> {
    let read = || {
        let mut cursor = Cursor::new(bytes);
        let data = usize::try_from(cursor.uvarint()?).ok()?;
        let covered = cursor.take(data.checked_add(1)?)?;
        if cursor.u32()? != crc32c::crc32c(covered) {
            return None;
        }
        let (encoding, data) = covered.split_first()?;
        read_chunk(*encoding, data)
    };
    read().ok_or(BlockError::Damaged {
        what: "a file of chunks",
        part: "a chunk",
    })
}

/// What was deleted: windows by the number of their series, both ends included.
pub type Tombstones = BTreeMap<u64, Vec<(i64, i64)>>;

/// Reads a file of tombstones.
pub fn read_tombstones(bytes: &[u8]) -> Result<Tombstones, BlockError> {
    let read = || {
        let (body, crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        let mut cursor = Cursor::new(body);
        let known = cursor.u32()? == TOMBSTONES_MAGIC;
        // What follows the version, as Prometheus writes it.
        let covered = body.get(5..)?;
        if !known || Cursor::new(crc).u32()? != crc32c::crc32c(covered) || cursor.byte()? != 1 {
            return None;
        }
        let mut stones = Tombstones::new();
        while !cursor.is_empty() {
            let id = cursor.uvarint()?;
            let window = (cursor.varint()?, cursor.varint()?);
            stones.entry(id).or_default().push(window);
        }
        Some(stones)
    };
    read().ok_or(BlockError::Damaged {
        what: "the file of tombstones",
        part: "it",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let mut whole = INDEX_MAGIC.to_be_bytes().to_vec();
            whole.push(INDEX_VERSION);
            whole.extend_from_slice(&bytes);
            if let Ok(index) = BlockIndex::open(&whole) {
                index.series().for_each(drop);
            }
            let _ = (read_tombstones(&bytes), read_framed(&bytes), chunk_bytes(&bytes));
        }
    }

    #[test]
    fn another_version_is_named() {
        let mut bytes = INDEX_MAGIC.to_be_bytes().to_vec();
        bytes.push(1);
        let refused = BlockIndex::open(&bytes).unwrap_err();
        let text = "the index begins with version 1, and this reads 2";
        assert_eq!(refused.to_string(), text);
    }
}
