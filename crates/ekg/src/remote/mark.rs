//! Which samples a receiver has not taken yet, told by the time from which all of them are younger.
//!
//! Guarantees: a sample that was added and not removed is not older than [`Unsent::oldest_ms`]. That time is what is
//! kept on disk ([`Mark`]): after a crash everything from it on is read from the store and sent, some of it again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a crash leaves: every accepted sample that was not sent has this time or a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mark {
    /// Milliseconds since the epoch.
    pub(crate) from_ms: i64,
}

/// Samples that were handed over and not taken, counted by the second of their time.
#[derive(Debug, Default)]
pub(crate) struct Unsent {
    by_second: BTreeMap<i64, u64>,
    count: u64,
}

impl Unsent {
    pub(crate) fn add(&mut self, at_ms: i64) {
        *self.by_second.entry(at_ms.div_euclid(1_000)).or_default() += 1;
        self.count += 1;
    }

    pub(crate) fn remove(&mut self, at_ms: i64) {
        let second = at_ms.div_euclid(1_000);
        if let Some(count) = self.by_second.get_mut(&second) {
            *count -= 1;
            self.count -= 1;
            if *count == 0 {
                self.by_second.remove(&second);
            }
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// None of them is older.
    pub(crate) fn oldest_ms(&self) -> Option<i64> {
        let (second, _) = self.by_second.first_key_value()?;
        Some(second.saturating_mul(1_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_known_whatever_order_samples_are_taken_in() {
        let mut unsent = Unsent::default();
        assert_eq!(unsent.oldest_ms(), None);
        for at_ms in [5_500, 3_200, 3_900, -1] {
            unsent.add(at_ms);
        }
        assert_eq!((unsent.oldest_ms(), unsent.count()), (Some(-1_000), 4));
        unsent.remove(-1);
        unsent.remove(3_200);
        assert_eq!(unsent.oldest_ms(), Some(3_000));
        unsent.remove(3_900);
        assert_eq!(unsent.oldest_ms(), Some(5_000));
        unsent.remove(9_000);
        unsent.remove(5_500);
        assert_eq!((unsent.oldest_ms(), unsent.count()), (None, 0));
    }
}
