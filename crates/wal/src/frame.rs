//! A frame on disk: length (4 bytes), CRC32C of the rest (4), sequence number (8), kind (1), payload.
//!
//! Guarantees: numbers are little-endian; the checksum covers everything but the length and itself, and a wrong
//! length fails it too, because it then covers other bytes. Kind 0 is no frame: a hole of zeros is never one.

/// What a payload may have: larger ones are split by who writes them, so that a reader's memory is bounded.
pub const MAX_PAYLOAD_BYTES: usize = 16 << 20;

pub(crate) const HEADER_BYTES: usize = 17;

/// Frames that become durable together.
#[derive(Debug, Default)]
pub struct Group {
    payloads: Vec<u8>,
    /// Kind, and where the payload ends.
    frames: Vec<(u8, usize)>,
}

impl Group {
    /// Adds a frame.
    ///
    /// # Panics
    /// If `kind` is 0 or the payload is longer than [`MAX_PAYLOAD_BYTES`]: a reader would take either for damage.
    pub fn push(&mut self, kind: u8, payload: &[u8]) {
        assert!(kind != 0, "kind 0 is no frame");
        assert!(payload.len() <= MAX_PAYLOAD_BYTES, "payload too long");
        self.payloads.extend_from_slice(payload);
        self.frames.push((kind, self.payloads.len()));
    }

    /// Whether nothing would be written.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Bytes of all payloads.
    pub fn bytes(&self) -> usize {
        self.payloads.len()
    }

    /// Forgets the frames and keeps the memory.
    pub fn clear(&mut self) {
        self.payloads.clear();
        self.frames.clear();
    }

    /// How many frames.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Writes the frames to `out`, numbered from `seq` on.
    pub(crate) fn frame(&self, mut seq: u64, out: &mut Vec<u8>) {
        let mut from = 0;
        for (kind, to) in &self.frames {
            let payload = &self.payloads[from..*to];
            from = *to;
            let begin = out.len();
            out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
            out.extend_from_slice(&[0; 4]);
            out.extend_from_slice(&seq.to_le_bytes());
            out.push(*kind);
            out.extend_from_slice(payload);
            let crc = crc32c::crc32c(&out[begin + 8..]);
            out[begin + 4..begin + 8].copy_from_slice(&crc.to_le_bytes());
            seq += 1;
        }
    }
}

/// The header of a frame whose payload is not checked yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) payload_bytes: usize,
    crc: u32,
    pub(crate) seq: u64,
    pub(crate) kind: u8,
}

impl Header {
    /// Reads a header, if these bytes can be one.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (crc, rest) = rest.split_first_chunk::<4>()?;
        let (seq, rest) = rest.split_first_chunk::<8>()?;
        let header = Self {
            payload_bytes: u32::from_le_bytes(*length) as usize,
            crc: u32::from_le_bytes(*crc),
            seq: u64::from_le_bytes(*seq),
            kind: *rest.first()?,
        };
        (header.kind != 0 && header.payload_bytes <= MAX_PAYLOAD_BYTES).then_some(header)
    }

    /// Whether `frame`, header included, is what was written.
    pub(crate) fn holds(&self, frame: &[u8]) -> bool {
        frame
            .get(8..)
            .is_some_and(|covered| crc32c::crc32c(covered) == self.crc)
    }
}
