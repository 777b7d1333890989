//! Prometheus's XOR chunks: times by the change of their distance, values by the bits that changed.
//!
//! Guarantees: a chunk decodes, with Prometheus's own decoder, to the bits that went in. It is written in one pass
//! and holds at most [`SAMPLES_MAX`] samples.
//!
//! The format is that of Prometheus's `tsdb/docs/format/chunks.md`, after Gorilla (Pelkonen et al., VLDB 2015,
//! section 4.1).

/// Samples of one chunk: as many as Prometheus's own have.
pub(crate) const SAMPLES_MAX: usize = 120;
/// Most zeros before the bits that are written: there are five bits for their number.
const LEADING_MAX: u32 = 31;

/// A chunk of these samples, of which there are as many times as values.
pub(crate) fn chunk(times: &[i64], values: &[f64]) -> Vec<u8> {
    let mut chunk = Chunk::default();
    let samples = times.iter().zip(values).take(SAMPLES_MAX);
    for (at_ms, value) in samples {
        chunk.push(*at_ms, value.to_bits());
    }
    chunk.finished()
}

#[derive(Default)]
struct Chunk {
    bits: Bits,
    samples: u16,
    at_ms: i64,
    distance_ms: i64,
    value: u64,
    /// Zeros before and behind the bits that were written last.
    window: Option<(u32, u32)>,
}

impl Chunk {
    fn push(&mut self, at_ms: i64, value: u64) {
        match self.samples {
            0 => {
                self.bits.signed_varint(at_ms);
                self.bits.put(value, 64);
            }
            1 => {
                // Times ascend, so that the distance is no smaller than zero.
                self.distance_ms = at_ms.wrapping_sub(self.at_ms);
                self.bits.varint(self.distance_ms as u64);
                self.value(value);
            }
            _ => {
                let distance = at_ms.wrapping_sub(self.at_ms);
                self.change(distance.wrapping_sub(self.distance_ms));
                self.distance_ms = distance;
                self.value(value);
            }
        }
        (self.at_ms, self.value) = (at_ms, value);
        self.samples += 1;
    }

    /// How much the distance changed.
    fn change(&mut self, change: i64) {
        let fits = |bits: u32| {
            let half = 1_i64 << (bits - 1);
            (1 - half..=half).contains(&change)
        };
        let (mark, mark_bits, bits) = match change {
            0 => return self.bits.put(0, 1),
            _ if fits(14) => (0b10, 2, 14),
            _ if fits(17) => (0b110, 3, 17),
            _ if fits(20) => (0b1110, 4, 20),
            _ => (0b1111, 4, 64),
        };
        self.bits.put(mark, mark_bits);
        self.bits.put(change as u64, bits);
    }

    fn value(&mut self, value: u64) {
        let changed = value ^ self.value;
        if changed == 0 {
            return self.bits.put(0, 1);
        }
        self.bits.put(1, 1);
        let leading = changed.leading_zeros().min(LEADING_MAX);
        let trailing = changed.trailing_zeros();
        if let Some((before, behind)) = self.window
            && leading >= before
            && trailing >= behind
        {
            self.bits.put(0, 1);
            self.bits.put(changed >> behind, 64 - before - behind);
            return;
        }
        self.window = Some((leading, trailing));
        let significant = 64 - leading - trailing;
        self.bits.put(1, 1);
        self.bits.put(u64::from(leading), 5);
        // 64 has no place in six bits: it is written as 0, which no change has.
        self.bits.put(u64::from(significant), 6);
        self.bits.put(changed >> trailing, significant);
    }

    fn finished(self) -> Vec<u8> {
        let mut chunk = self.samples.to_be_bytes().to_vec();
        chunk.extend(self.bits.bytes);
        chunk
    }
}

/// Bits one after another, the highest of each byte first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    /// Bits of the last byte that are free.
    free: u32,
}

impl Bits {
    /// The lowest `count` bits of `value`.
    fn put(&mut self, value: u64, count: u32) {
        let mut left = count;
        while left > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let taken = left.min(self.free);
            let piece = (value >> (left - taken)) & ((1 << taken) - 1);
            if let Some(last) = self.bytes.last_mut() {
                *last |= (piece as u8) << (self.free - taken);
            }
            self.free -= taken;
            left -= taken;
        }
    }

    fn varint(&mut self, value: u64) {
        let mut bytes = Vec::new();
        crate::wire::put::varint(&mut bytes, value);
        for byte in bytes {
            self.put(u64::from(byte), 8);
        }
    }

    /// Numbers close to zero are short, also those below it.
    fn signed_varint(&mut self, value: i64) {
        self.varint((value << 1 ^ value >> 63) as u64);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a chunk back, by the format's description.
    struct Unpack<'a> {
        bytes: &'a [u8],
        at: usize,
    }

    impl Unpack<'_> {
        fn bit(&mut self) -> u64 {
            let bit = self.bytes[self.at / 8] >> (7 - self.at % 8) & 1;
            self.at += 1;
            u64::from(bit)
        }

        fn bits(&mut self, count: u32) -> u64 {
            (0..count).fold(0, |value, _| value << 1 | self.bit())
        }

        fn varint(&mut self) -> u64 {
            let (mut value, mut shift) = (0, 0);
            loop {
                let byte = self.bits(8);
                value |= (byte & 0x7f) << shift;
                if byte < 0x80 {
                    return value;
                }
                shift += 7;
            }
        }

        fn change(&mut self) -> i64 {
            let marks = (0..4).take_while(|_| self.bit() == 1).count();
            let bits = match marks {
                0 => return 0,
                1 => 14,
                2 => 17,
                3 => 20,
                _ => return self.bits(64) as i64,
            };
            let value = self.bits(bits) as i64;
            if value > 1 << (bits - 1) {
                value - (1 << bits)
            } else {
                value
            }
        }
    }

    fn unpacked(chunk: &[u8]) -> Vec<(i64, u64)> {
        let samples = u16::from_be_bytes([chunk[0], chunk[1]]);
        let mut read = Unpack {
            bytes: &chunk[2..],
            at: 0,
        };
        let mut found = Vec::new();
        let (mut at, mut distance, mut value, mut window) = (0_i64, 0_i64, 0_u64, (0, 0));
        for sample in 0..samples {
            if sample == 0 {
                let first = read.varint();
                at = (first >> 1) as i64 ^ -((first & 1) as i64);
                value = read.bits(64);
            } else {
                distance = match sample {
                    1 => read.varint() as i64,
                    _ => distance.wrapping_add(read.change()),
                };
                at = at.wrapping_add(distance);
                if read.bit() == 1 {
                    if read.bit() == 1 {
                        let leading = read.bits(5) as u32;
                        let significant = match read.bits(6) as u32 {
                            0 => 64,
                            bits => bits,
                        };
                        window = (leading, 64 - leading - significant);
                    }
                    value ^= read.bits(64 - window.0 - window.1) << window.1;
                }
            }
            found.push((at, value));
        }
        found
    }

    proptest! {
        #[test]
        fn every_bit_of_times_and_values_comes_back(
            start in -1_i64 << 60..1_i64 << 60,
            samples in proptest::collection::vec((1_i64..1 << 40, any::<u64>(), any::<bool>()), 1..SAMPLES_MAX),
        ) {
            let mut at = start;
            let (mut times, mut values) = (Vec::new(), Vec::new());
            for (distance, bits, even) in samples {
                at += if even { 15_000 } else { distance };
                times.push(at);
                values.push(if even { f64::from(bits as u16) } else { f64::from_bits(bits) });
            }
            let expected: Vec<(i64, u64)> =
                times.iter().copied().zip(values.iter().map(|it| it.to_bits())).collect();
            prop_assert_eq!(unpacked(&chunk(&times, &values)), expected);
        }
    }

    #[test]
    fn a_series_that_stands_still_takes_two_bits_a_sample() {
        let times: Vec<i64> = (0..120).map(|at| at * 15_000).collect();
        let chunk = chunk(&times, &[1.5; 120]);
        // The number, a time, a value, a distance with a bit, and 118 times two bits.
        assert_eq!(
            chunk.len(),
            2 + 1 + 8 + (2 * 8 + 1 + 118 * 2_usize).div_ceil(8)
        );
    }
}
