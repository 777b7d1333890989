//! Sets of series by number: one bit each.
//!
//! Guarantees: all operations are linear in the number of series, whatever the postings look like; at a million
//! series a set has 125 KB.

/// Numbers below a universe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IdSet {
    words: Vec<u64>,
    universe: u32,
}

impl IdSet {
    pub(crate) fn empty(universe: u32) -> Self {
        let words = vec![0; (universe as usize).div_ceil(64)];
        Self { words, universe }
    }

    pub(crate) fn full(universe: u32) -> Self {
        let mut set = Self::empty(universe);
        set.insert_run(0, universe);
        set
    }

    /// Ids outside the universe are left out.
    pub(crate) fn insert(&mut self, id: u32) {
        if id < self.universe {
            self.words[id as usize / 64] |= 1 << (id % 64);
        }
    }

    pub(crate) fn contains(&self, id: u32) -> bool {
        let word = self.words.get(id as usize / 64);
        word.is_some_and(|word| word & 1 << (id % 64) != 0)
    }

    pub(crate) fn insert_run(&mut self, from: u32, count: u32) {
        let to = from.saturating_add(count).min(self.universe);
        let mut id = from;
        while id < to {
            let (word, bit) = (id as usize / 64, id % 64);
            let bits = (64 - bit).min(to - id);
            let ones = if bits == 64 {
                u64::MAX
            } else {
                (1 << bits) - 1
            };
            self.words[word] |= ones << bit;
            id += bits;
        }
    }

    /// Keeps what is in both.
    pub(crate) fn keep(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word &= other;
        }
    }

    /// Keeps what is not in the other.
    pub(crate) fn remove(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word &= !other;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        self.words.iter().enumerate().flat_map(|(at, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                Some(at as u32 * 64 + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn a_set_of_bits_is_a_set(
            universe in 0_u32..300,
            runs in prop::collection::vec((0_u32..300, 0_u32..150), 0..4),
            ids in prop::collection::vec(0_u32..300, 0..40),
        ) {
            let (mut bits, mut other) = (IdSet::empty(universe), IdSet::empty(universe));
            let (mut wanted, mut others) = (BTreeSet::new(), BTreeSet::new());
            for (from, count) in runs {
                bits.insert_run(from, count);
                wanted.extend((from..from + count).filter(|id| *id < universe));
            }
            for id in ids {
                other.insert(id);
                others.extend([id].into_iter().filter(|id| *id < universe));
            }
            prop_assert!(bits.iter().eq(wanted.iter().copied()));
            let (mut both, mut without) = (bits.clone(), bits.clone());
            both.keep(&other);
            without.remove(&other);
            prop_assert!(both.iter().eq(wanted.intersection(&others).copied()));
            prop_assert!(without.iter().eq(wanted.difference(&others).copied()));
            prop_assert!(IdSet::full(universe).iter().eq(0..universe));
        }
    }
}
