//! Chunks: samples of one series, bit by bit.
//!
//! Guarantees: what Prometheus wrote is read bit for bit, stale markers included; any bytes are read or refused, and
//! never more samples come of them than they claim.

use super::cursor::signed;

/// What a chunk holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Chunk {
    /// Numbers: milliseconds and values.
    Floats(Vec<(i64, f64)>),
    /// Samples of a kind that is not read here: how many, and the encoding's number.
    Others {
        /// Samples.
        count: u64,
        /// As Prometheus numbers encodings: 2 and 3 are native histograms.
        encoding: u8,
    },
}

/// The encoding of plain numbers.
const XOR: u8 = 1;

/// Reads a chunk's data.
pub fn read_chunk(encoding: u8, data: &[u8]) -> Option<Chunk> {
    let count = u16::from_be_bytes(*data.first_chunk()?);
    if encoding == XOR {
        return floats(&mut Bits::new(data.get(2..)?), count).map(Chunk::Floats);
    }
    Some(Chunk::Others {
        count: u64::from(count),
        encoding,
    })
}

/// Bits, the highest of each byte first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn bit(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1 == 1;
        self.at += 1;
        Some(bit)
    }

    fn take(&mut self, count: u32) -> Option<u64> {
        let mut value = 0;
        for _ in 0..count {
            value = value << 1 | u64::from(self.bit()?);
        }
        Some(value)
    }

    fn uvarint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(8)?;
            value |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// How much the distance of times changed.
    fn change(&mut self) -> Option<i64> {
        let bits = match (0..4).take_while(|_| self.bit() == Some(true)).count() {
            0 => return Some(0),
            1 => 14,
            2 => 17,
            3 => 20,
            _ => return Some(self.take(64)? as i64),
        };
        let value = self.take(bits)? as i64;
        let above = value > 1 << (bits - 1);
        Some(if above { value - (1 << bits) } else { value })
    }
}

/// The bits of a value that differ from the one before.
#[derive(Default)]
struct Window {
    leading: u32,
    trailing: u32,
}

impl Window {
    fn next(&mut self, bits: &mut Bits<'_>, before: u64) -> Option<u64> {
        if !bits.bit()? {
            return Some(before);
        }
        if bits.bit()? {
            self.leading = bits.take(5)? as u32;
            let meaning = match bits.take(6)? as u32 {
                0 => 64,
                some => some,
            };
            self.trailing = 64_u32.checked_sub(self.leading + meaning)?;
        }
        let differ = bits.take(64 - self.leading - self.trailing)?;
        Some(before ^ differ << self.trailing)
    }
}

fn floats(bits: &mut Bits<'_>, count: u16) -> Option<Vec<(i64, f64)>> {
    let mut samples = Vec::new();
    let (mut at_ms, mut step, mut value, mut window) = (0_i64, 0_i64, 0, Window::default());
    for number in 0..count {
        if number == 0 {
            at_ms = signed(bits.uvarint()?);
            value = bits.take(64)?;
        } else {
            step = if number == 1 {
                bits.uvarint()? as i64
            } else {
                step.wrapping_add(bits.change()?)
            };
            at_ms = at_ms.wrapping_add(step);
            value = window.next(bits, value)?;
        }
        samples.push((at_ms, f64::from_bits(value)));
    }
    Some(samples)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            encoding in 0_u8..5, data in prop::collection::vec(any::<u8>(), 0..80)
        ) {
            if let Some(Chunk::Floats(samples)) = read_chunk(encoding, &data) {
                prop_assert!(samples.len() <= data.len() * 8);
            }
        }
    }

    #[test]
    fn a_chunk_of_native_histograms_is_counted() {
        let read = read_chunk(2, &[1, 4, 9]);
        let others = Chunk::Others {
            count: 260,
            encoding: 2,
        };
        assert_eq!(read, Some(others));
    }
}
