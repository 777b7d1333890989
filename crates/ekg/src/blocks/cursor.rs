//! Numbers as Prometheus's blocks have them: big-endian, and Go's varints.
//!
//! Guarantees: reading never goes past the end and never panics; what cannot be read is `None`.

/// Reads from the front of bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// From a place inside bytes on.
    pub(super) fn at(bytes: &'a [u8], offset: u64) -> Option<Self> {
        let offset = usize::try_from(offset).ok()?;
        bytes.get(offset..).map(Self::new)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(*self.take(4)?.first_chunk()?))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(*self.take(8)?.first_chunk()?))
    }

    pub(super) fn uvarint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    pub(super) fn varint(&mut self) -> Option<i64> {
        self.uvarint().map(signed)
    }

    /// A text with its length before it.
    pub(super) fn text(&mut self) -> Option<&'a str> {
        let bytes = usize::try_from(self.uvarint()?).ok()?;
        std::str::from_utf8(self.take(bytes)?).ok()
    }

    /// A section: its length in four bytes, it, its CRC32C.
    pub(super) fn section(&mut self) -> Option<&'a [u8]> {
        let bytes = usize::try_from(self.u32()?).ok()?;
        let section = self.take(bytes)?;
        (self.u32()? == crc32c::crc32c(section)).then_some(section)
    }
}

/// What a varint means where numbers may be negative.
pub(super) fn signed(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}
