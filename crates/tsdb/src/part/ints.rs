//! Whole numbers as bytes: how neighbours differ, in as few bits as that takes.
//!
//! Guarantees: what is read back is what was written; reading never panics, whatever the bytes are. The smallest
//! of all layouts is taken: the numbers, their differences or the differences of those, packed in blocks or as
//! one; and, where the effort is worth it, `pco`.

use pco::{
    ChunkConfig,
    data_types::Number,
    wrapped::{FileCompressor, FileDecompressor},
};

use crate::cursor::{Cursor, put_zigzag, to_zigzag};

/// How often differences are taken at most.
const MAX_ORDER: usize = 2;
/// Numbers that are packed alike: one that stands out makes no more than these wider.
const BLOCK: usize = 64;
/// The tag's bit that says that there are several blocks.
const IN_BLOCKS: u8 = 4;
/// The tag of numbers that `pco` packed.
const PACKED: u8 = 8;
/// With fewer numbers, or fewer bytes, `pco` spends more on its tables than it saves.
const WORTH_NUMBERS: usize = 128;
const WORTH_BYTES: usize = 48;

/// What a part may cost to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// It is merged soon.
    Quick,
    /// It stays.
    Thorough,
}

pub(super) fn put_ints(out: &mut Vec<u8>, ints: &[i64], effort: Effort) {
    let begin = out.len();
    let layout = Layout::smallest(ints);
    layout.put(out);
    let bytes = out.len() - begin;
    if effort == Effort::Thorough
        && bytes >= WORTH_BYTES
        && let Some(packed) = pack(ints).filter(|it| it.len() < bytes)
    {
        out.truncate(begin);
        out.push(PACKED);
        out.extend_from_slice(&packed);
    }
}

/// Reads `count` numbers, which are all that follows.
pub(super) fn take_ints(cursor: &mut Cursor<'_>, count: usize) -> Option<Vec<i64>> {
    let tag = cursor.byte()?;
    if tag == PACKED {
        return unpack(cursor.rest(), count);
    }
    let order = usize::from(tag & 3);
    let mut heads = [0; 3];
    for head in heads.get_mut(..order)? {
        *head = cursor.zigzag()?;
    }
    let left = count.checked_sub(order)?;
    let block = if tag & IN_BLOCKS == 0 { left } else { BLOCK };
    let mut ints = Vec::with_capacity(left);
    while ints.len() < left {
        take_block(cursor, block.min(left - ints.len()), &mut ints)?;
    }
    for head in heads.get(..order)?.iter().rev() {
        let mut sum = *head;
        let mut whole = Vec::with_capacity(ints.len() + 1);
        whole.push(sum);
        whole.extend(ints.iter().map(|difference| {
            sum = sum.wrapping_add(*difference);
            sum
        }));
        ints = whole;
    }
    Some(ints)
}

/// Numbers as differences: the first ones, and what is packed.
struct Layout {
    heads: Vec<i64>,
    rest: Vec<i64>,
    block: usize,
    bytes: usize,
}

impl Layout {
    fn smallest(ints: &[i64]) -> Self {
        let (mut heads, mut rest) = (Vec::new(), ints.to_vec());
        let mut smallest = Self::of(&heads, &rest);
        while heads.len() < MAX_ORDER {
            let Some((first, _)) = rest.split_first() else {
                break;
            };
            heads.push(*first);
            rest = rest
                .windows(2)
                .map(|pair| pair[1].wrapping_sub(pair[0]))
                .collect();
            let next = Self::of(&heads, &rest);
            if next.bytes < smallest.bytes {
                smallest = next;
            }
        }
        smallest
    }

    fn of(heads: &[i64], rest: &[i64]) -> Self {
        let bytes = |block| rest.chunks(block).map(block_bytes).sum::<usize>();
        let (as_one, in_blocks) = (bytes(rest.len().max(1)), bytes(BLOCK));
        let heads_bytes: usize = heads.iter().map(|head| zigzag_bytes(*head)).sum();
        Self {
            heads: heads.to_vec(),
            rest: rest.to_vec(),
            block: if in_blocks < as_one {
                BLOCK
            } else {
                rest.len()
            },
            bytes: heads_bytes + as_one.min(in_blocks),
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        let in_blocks = self.block != self.rest.len();
        out.push(self.heads.len() as u8 | if in_blocks { IN_BLOCKS } else { 0 });
        self.heads.iter().for_each(|head| put_zigzag(out, *head));
        for block in self.rest.chunks(self.block.max(1)) {
            put_block(out, block);
        }
    }
}

fn zigzag_bytes(value: i64) -> usize {
    (70 - (to_zigzag(value) | 1).leading_zeros() as usize) / 7
}

/// The smallest number, and how many bits it takes to say how much larger each is.
fn range(block: &[i64]) -> (i64, u32) {
    let least = block.iter().min().copied().unwrap_or(0);
    let most = block.iter().max().copied().unwrap_or(0);
    (
        least,
        64 - (most.wrapping_sub(least) as u64).leading_zeros(),
    )
}

fn block_bytes(block: &[i64]) -> usize {
    let (least, bits) = range(block);
    zigzag_bytes(least) + 1 + (bits as usize * block.len()).div_ceil(8)
}

fn put_block(out: &mut Vec<u8>, block: &[i64]) {
    let (least, bits) = range(block);
    put_zigzag(out, least);
    out.push(bits as u8);
    let (mut gathered, mut filled) = (0_u128, 0);
    for number in block {
        gathered |= u128::from(number.wrapping_sub(least) as u64) << filled;
        filled += bits;
        while filled >= 8 {
            out.push(gathered as u8);
            gathered >>= 8;
            filled -= 8;
        }
    }
    if filled > 0 {
        out.push(gathered as u8);
    }
}

fn take_block(cursor: &mut Cursor<'_>, count: usize, into: &mut Vec<i64>) -> Option<()> {
    let least = cursor.zigzag()?;
    let bits = u32::from(cursor.byte()?);
    if bits > 64 {
        return None;
    }
    let mut bytes = cursor.take((bits as usize * count).div_ceil(8))?.iter();
    let mask = if bits == 64 {
        u64::MAX
    } else {
        (1 << bits) - 1
    };
    let (mut gathered, mut filled) = (0_u128, 0);
    for _ in 0..count {
        while filled < bits {
            gathered |= u128::from(*bytes.next()?) << filled;
            filled += 8;
        }
        into.push(least.wrapping_add((gathered as u64 & mask) as i64));
        gathered >>= bits;
        filled -= bits;
    }
    Some(())
}

/// What `pco` makes of numbers, if they are many enough for it.
pub(super) fn pack<T: Number>(numbers: &[T]) -> Option<Vec<u8>> {
    if numbers.len() < WORTH_NUMBERS {
        return None;
    }
    let mut bytes = Vec::new();
    let file = FileCompressor::default();
    file.write_header(&mut bytes).ok()?;
    let mut chunk = file
        .chunk_compressor(numbers, &ChunkConfig::default())
        .ok()?;
    chunk.write_meta(&mut bytes).ok()?;
    chunk.write_page(0, &mut bytes).ok()?;
    Some(bytes)
}

pub(super) fn unpack<T: Number + Default>(bytes: &[u8], count: usize) -> Option<Vec<T>> {
    let (file, rest) = FileDecompressor::new(bytes).ok()?;
    let (mut chunk, rest) = file.chunk_decompressor::<T, _>(rest).ok()?;
    let mut page = chunk.page_decompressor(rest, count).ok()?;
    let mut numbers = vec![T::default(); count];
    let progress = page.read(&mut numbers).ok()?;
    progress.finished.then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(ints: &[i64], effort: Effort) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_ints(&mut bytes, ints, effort);
        let read = take_ints(&mut Cursor::new(&bytes), ints.len());
        assert_eq!(read.as_deref(), Some(ints));
        bytes
    }

    #[test]
    fn what_is_regular_takes_next_to_nothing() {
        let line: Vec<i64> = (0..4_000)
            .map(|at| 1_700_000_000_000 + at * 15_000)
            .collect();
        assert!(bytes(&line, Effort::Quick).len() <= 12);
        assert!(bytes(&vec![7; 4_000], Effort::Quick).len() <= 4);
        let steps: Vec<i64> = (0..4_000).map(|at| at * 3 + at % 4).collect();
        assert!(bytes(&steps, Effort::Quick).len() <= 4_000 * 3 / 8 + 200);
    }

    proptest! {
        #[test]
        fn numbers_come_back(
            ints in prop_oneof![
                prop::collection::vec(any::<i64>(), 0..300),
                prop::collection::vec(-1_000_i64..1_000, 0..300),
            ],
            sum in any::<bool>(),
        ) {
            let mut ints = ints;
            if sum {
                for at in 1..ints.len() {
                    ints[at] = ints[at].wrapping_add(ints[at - 1]);
                }
            }
            bytes(&ints, Effort::Quick);
            bytes(&ints, Effort::Thorough);
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..80), count in 0_usize..200,
        ) {
            take_ints(&mut Cursor::new(&bytes), count);
        }
    }
}
