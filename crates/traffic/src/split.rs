//! Which version a request meets.
//!
//! **Guarantees.** 10,000 slots are shared out by weight. When weights change, slots move only from
//! versions that shrink to versions that grow, and no more of them than the weights demand: a user
//! who was not moved by the new weights stays where they were. **Never** keeps a list of users.
//!
//! ```
//! use std::collections::BTreeMap;
//! use mainstay_core::Version;
//! use mainstay_traffic::SlotTable;
//! let v = |name: &str| Version::new(name).unwrap();
//! let first = SlotTable::default().update(&BTreeMap::from([(v("v1"), 10_000)]));
//! let next = first.update(&BTreeMap::from([(v("v1"), 9_900), (v("v2"), 100)]));
//! assert_eq!(next.moved_from(&first), 100);
//! ```

use std::collections::BTreeMap;

use mainstay_core::Version;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Slots of a service: one is a hundredth of a per cent.
pub const SLOTS: usize = 10_000;

/// The owner of each slot of one service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlotTable {
    versions: Vec<Version>,
    /// Index into `versions`; empty while no version has weight.
    slots: Vec<u16>,
}

impl SlotTable {
    /// The table for `weights` that moves the fewest slots away from this one. Weights that do not
    /// sum to 10,000 are scaled; where none is above zero the table is empty.
    #[must_use]
    pub fn update(&self, weights: &BTreeMap<Version, u32>) -> Self {
        let targets = scaled(weights);
        if targets.is_empty() {
            return Self::default();
        }
        let versions: Vec<Version> = targets.iter().map(|(v, _)| (*v).clone()).collect();
        let mut room: Vec<usize> = targets.iter().map(|(_, n)| *n).collect();
        let kept: Vec<Option<u16>> = self
            .versions
            .iter()
            .map(|v| versions.iter().position(|w| w == v).map(|i| i as u16))
            .collect();
        // First pass: whoever may stay, stays. Second: what is left goes to those with room.
        let mut slots: Vec<Option<u16>> = (0..SLOTS)
            .map(|slot| {
                let owner = kept[usize::from(*self.slots.get(slot)?)]?;
                let room = &mut room[usize::from(owner)];
                *room = room.checked_sub(1)?;
                Some(owner)
            })
            .collect();
        let mut grower = 0;
        for slot in slots.iter_mut().filter(|slot| slot.is_none()) {
            while room[grower] == 0 {
                grower += 1;
            }
            room[grower] -= 1;
            *slot = Some(grower as u16);
        }
        Self {
            versions,
            slots: slots.into_iter().flatten().collect(),
        }
    }

    /// The version of a hashed unit; `None` while no version has weight.
    pub fn version(&self, hash: u64) -> Option<&Version> {
        let owner = self.slots.get((hash % SLOTS as u64) as usize)?;
        self.versions.get(usize::from(*owner))
    }

    /// Slots of `version`.
    pub fn slots_of(&self, version: &Version) -> usize {
        let Some(index) = self.versions.iter().position(|v| v == version) else {
            return 0;
        };
        self.slots
            .iter()
            .filter(|owner| usize::from(**owner) == index)
            .count()
    }

    /// How many slots have another owner than in `before`.
    pub fn moved_from(&self, before: &Self) -> usize {
        (0..SLOTS as u64)
            .filter(|slot| self.version(*slot) != before.version(*slot))
            .count()
    }
}

/// Weights as whole slots that sum to [`SLOTS`], by largest remainder.
fn scaled(weights: &BTreeMap<Version, u32>) -> Vec<(&Version, usize)> {
    let total: u64 = weights.values().map(|w| u64::from(*w)).sum();
    if total == 0 {
        return Vec::new();
    }
    let mut parts: Vec<(&Version, usize, u64)> = weights
        .iter()
        .filter(|(_, w)| **w > 0)
        .take(usize::from(u16::MAX))
        .map(|(v, w)| {
            let exact = u64::from(*w) * SLOTS as u64;
            (v, (exact / total) as usize, exact % total)
        })
        .collect();
    let given: usize = parts.iter().map(|p| p.1).sum();
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(parts[*i].2));
    for i in order.into_iter().cycle().take(SLOTS - given) {
        parts[i].1 += 1;
    }
    parts.into_iter().map(|(v, n, _)| (v, n)).collect()
}

/// The hash of a unit within a service: independent between services, so that one user is not in the
/// first canary of all of them.
pub fn unit_hash(service: &str, unit: &[u8]) -> u64 {
    xxh3_64_with_seed(unit, xxh3_64(service.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version(i: usize) -> Version {
        Version::new(format!("v{i}")).unwrap()
    }

    fn weights() -> impl Strategy<Value = BTreeMap<Version, u32>> {
        proptest::collection::vec(0_u32..5_000, 1..5).prop_map(|w| {
            w.into_iter()
                .enumerate()
                .map(|(i, w)| (version(i), w))
                .collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn slots_move_only_from_shrinking_to_growing_versions_and_as_few_as_can_be(
            first in weights(), second in weights(),
        ) {
            let before = SlotTable::default().update(&first);
            let after = before.update(&second);
            if first.values().sum::<u32>() == 0 || second.values().sum::<u32>() == 0 {
                return Ok(());
            }
            let mut growth = 0;
            for i in 0..5 {
                growth += after.slots_of(&version(i)).saturating_sub(before.slots_of(&version(i)));
            }
            prop_assert_eq!(after.moved_from(&before), growth);
            prop_assert_eq!((0..5).map(|i| after.slots_of(&version(i))).sum::<usize>(), SLOTS);
            let count = |table: &SlotTable| -> BTreeMap<Version, usize> {
                (0..5).map(|i| (version(i), table.slots_of(&version(i)))).collect()
            };
            let (was, is) = (count(&before), count(&after));
            for slot in 0..SLOTS as u64 {
                let (old, new) = (before.version(slot).unwrap(), after.version(slot).unwrap());
                if old != new {
                    prop_assert!(is[old] < was[old] && is[new] > was[new]);
                }
            }
        }
    }

    #[test]
    fn weights_of_nothing_own_nothing() {
        let table = SlotTable::default().update(&BTreeMap::from([(version(1), 0)]));
        assert_eq!(table.version(7), None);
    }

    #[test]
    fn exact_weights_become_exact_slots() {
        let table =
            SlotTable::default().update(&BTreeMap::from([(version(1), 9_900), (version(2), 100)]));
        assert_eq!(table.slots_of(&version(2)), 100);
    }

    #[test]
    fn a_unit_hashes_differently_in_another_service() {
        assert_ne!(
            unit_hash("voyager", b"u1") % 10_000,
            unit_hash("rest", b"u1") % 10_000
        );
    }
}
