//! A segment's name and its first bytes.
//!
//! Guarantees: a segment says the number of the first frame that it may hold. Frames of that number and above
//! in earlier segments are void: that is how a group whose sync failed is replaced.

use crate::disk::{number_in_name, numbered_name};

const MAGIC: &[u8; 8] = b"mstaywal";
const SUFFIX: &str = ".wal";

/// Bytes before the first frame: magic, first sequence number, CRC32C of both.
pub(crate) const HEADER_BYTES: usize = 20;

/// The name of segment `id`; names sort as ids do.
pub(crate) fn name(id: u64) -> String {
    numbered_name(id, SUFFIX)
}

/// The id in a segment's name.
pub(crate) fn id(name: &str) -> Option<u64> {
    number_in_name(name, SUFFIX)
}

pub(crate) fn header(first_seq: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8..16].copy_from_slice(&first_seq.to_le_bytes());
    let crc = crc32c::crc32c(&header[..16]);
    header[16..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// The first sequence number, if these are the first bytes of a segment.
pub(crate) fn first_seq(bytes: &[u8; HEADER_BYTES]) -> Option<u64> {
    let (covered, crc) = bytes.split_last_chunk::<4>()?;
    if u32::from_le_bytes(*crc) != crc32c::crc32c(covered) {
        return None;
    }
    let seq = covered.strip_prefix(MAGIC)?;
    Some(u64::from_le_bytes(seq.try_into().ok()?))
}
