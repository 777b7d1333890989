//! Whether a counter began anew between two histograms.
//!
//! Guarantees: a hint decides where there is one. Otherwise any count that fell is a reset, and so is any
//! layout that got finer, because a running counter only ever coarsens.

use super::layout::{common_bounds, rebounded};
use super::{Histogram, ResetHint, Slot};

impl Histogram {
    pub(crate) fn is_reset_after(&self, previous: &Self) -> bool {
        match self.hint {
            ResetHint::Reset => return true,
            ResetHint::NotReset => return false,
            ResetHint::Unknown | ResetHint::Gauge => {}
        }
        if self.count < previous.count || self.is_custom() != previous.is_custom() {
            return true;
        }
        if self.is_custom() {
            return self.fell_in_common_bounds(previous);
        }
        if self.schema > previous.schema || self.zero_threshold < previous.zero_threshold {
            return true;
        }
        let (zero_count, threshold) = previous.zero_count_up_to(self.zero_threshold);
        if threshold != self.zero_threshold || self.zero_count < zero_count {
            return true;
        }
        let before = |slots| previous.slots_beyond(slots, threshold, self.schema);
        let now = |slots| self.slots_beyond(slots, threshold, self.schema);
        fell(&now(&self.positive), &before(&previous.positive))
            || fell(&now(&self.negative), &before(&previous.negative))
    }

    fn fell_in_common_bounds(&self, previous: &Self) -> bool {
        if self.bounds == previous.bounds {
            return fell(&self.positive, &previous.positive);
        }
        let common = common_bounds(&self.bounds, &previous.bounds);
        fell(
            &rebounded(&self.positive, &self.bounds, &common),
            &rebounded(&previous.positive, &previous.bounds, &common),
        )
    }
}

fn fell(now: &[Slot], before: &[Slot]) -> bool {
    let mut now = now.iter().peekable();
    before.iter().any(|old| {
        while now.next_if(|slot| slot.index < old.index).is_some() {}
        let count = now.peek().filter(|slot| slot.index == old.index);
        count.map_or(0.0, |slot| slot.count) < old.count
    })
}
