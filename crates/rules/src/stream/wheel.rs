//! A timer wheel: what is due when, in milliseconds.
//!
//! Guarantees: an entry comes out at the first turn to its time or later, never before; setting one and taking
//! one out cost the same however many there are. Never looks further ahead than [`LEVELS`] reach: what is due
//! later comes round again inside.

/// Slots of a level: one word says which are taken.
const SLOTS: i64 = 64;
/// Bits of a slot's number.
const BITS: usize = 6;
/// 64 ms, 4 s, 4 min, 4 h, 12 days: each level's slots are as long as the whole level below.
const LEVELS: usize = 5;

#[derive(Debug, Clone)]
struct Level<T> {
    taken: u64,
    /// None before the first entry.
    slots: Vec<Vec<(i64, T)>>,
}

/// Entries by the time at which they are due.
#[derive(Debug, Clone)]
pub(super) struct Wheel<T> {
    now_ms: i64,
    levels: Vec<Level<T>>,
}

impl<T: Copy> Wheel<T> {
    pub(super) fn new(now_ms: i64) -> Self {
        let level = || Level {
            taken: 0,
            slots: Vec::new(),
        };
        Self {
            now_ms,
            levels: (0..LEVELS).map(|_| level()).collect(),
        }
    }

    /// Sets an entry; one that is due already comes out at the next turn that moves on.
    pub(super) fn set(&mut self, due_ms: i64, entry: T) {
        let at_ms = due_ms.max(self.now_ms + 1);
        let ahead = |level: usize| (at_ms >> (level * BITS)) - (self.now_ms >> (level * BITS));
        // Beyond the last level: looked at again when its furthest slot comes.
        let last = LEVELS - 1;
        let furthest = (last, ((self.now_ms >> (last * BITS)) + SLOTS - 1) % SLOTS);
        let level = (0..LEVELS).find(|level| ahead(*level) < SLOTS);
        let place = |level| (level, (at_ms >> (level * BITS)) % SLOTS);
        let (level, slot) = level.map_or(furthest, place);
        let level = &mut self.levels[level];
        if level.slots.is_empty() {
            level.slots.resize_with(SLOTS as usize, Vec::new);
        }
        level.taken |= 1 << slot;
        level.slots[slot as usize].push((due_ms, entry));
    }

    /// Moves on to `now_ms`; gives what is due by then, in no particular order.
    pub(super) fn turn(&mut self, now_ms: i64) -> Vec<T> {
        if now_ms <= self.now_ms {
            return Vec::new();
        }
        let mut begun = Vec::new();
        for level in 0..LEVELS {
            while let Some((slot, start_ms)) = self.next_slot(level)
                && start_ms <= now_ms
            {
                let level = &mut self.levels[level];
                level.taken &= !(1 << slot);
                begun.append(&mut level.slots[slot]);
            }
        }
        self.now_ms = now_ms;
        let mut due = Vec::new();
        for (due_ms, entry) in begun {
            if due_ms <= now_ms {
                due.push(entry);
            } else {
                self.set(due_ms, entry);
            }
        }
        due
    }

    /// No entry is due before; turning then may find that none is due yet.
    pub(super) fn wake_at(&self) -> Option<i64> {
        let starts = (0..LEVELS).filter_map(|level| self.next_slot(level));
        starts
            .map(|(_, start_ms)| start_ms.max(self.now_ms + 1))
            .min()
    }

    /// The first slot of a level that is taken, and when it begins.
    fn next_slot(&self, level: usize) -> Option<(usize, i64)> {
        let taken = self.levels[level].taken;
        if taken == 0 {
            return None;
        }
        let here = self.now_ms >> (level * BITS);
        let ahead = taken.rotate_right((here % SLOTS) as u32).trailing_zeros();
        let at = here + i64::from(ahead);
        Some(((at % SLOTS) as usize, at << (level * BITS)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_entry_comes_out_at_the_first_turn_not_before_it_is_due(
            start in 0_i64..5_000_000_000_000,
            entries in prop::collection::vec((0_i64..40, 0_u32..42), 1..50),
            turns in prop::collection::vec((1_i64..40, 0_u32..36), 1..60),
        ) {
            let mut wheel = Wheel::new(start);
            let mut waiting = Vec::new();
            for (at, (mantissa, exponent)) in entries.into_iter().enumerate() {
                let due = start + (mantissa << exponent.min(36));
                wheel.set(due, at);
                waiting.push((due, at));
            }
            let mut now = start;
            for (mantissa, exponent) in turns {
                now += mantissa << exponent;
                let first = waiting.iter().map(|(due, _)| *due).min();
                prop_assert!(wheel.wake_at().is_some() == first.is_some());
                prop_assert!(wheel.wake_at() <= first.map(|due| due.max(wheel.now_ms + 1)));
                let mut due = wheel.turn(now);
                due.sort_unstable();
                let mut expected = Vec::new();
                waiting.retain(|(at, entry)| {
                    let is_due = *at <= now;
                    if is_due {
                        expected.push(*entry);
                    }
                    !is_due
                });
                expected.sort_unstable();
                prop_assert_eq!(due, expected);
            }
        }
    }
}
