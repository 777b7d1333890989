//! Bringing two histograms to one layout: the coarser schema, the wider zero bucket, the common bounds.
//!
//! Guarantees: a layout only gets coarser, and no observation changes its bucket's side of a border that
//! stays. A zero bucket never ends inside a populated bucket.

use super::bounds::exponential_bound;
use super::{Histogram, Incompatible, Slot};
use std::sync::Arc;

/// What another histogram has in the buckets of ours.
pub(super) struct Aligned {
    pub(super) zero_count: f64,
    pub(super) positive: Vec<Slot>,
    pub(super) negative: Vec<Slot>,
    /// Both had custom bounds, but not the same.
    pub(super) reconciled: bool,
}

impl Histogram {
    /// Makes this layout coarse enough for both, and reads `other` in it.
    pub(super) fn align(&mut self, other: &Self) -> Result<Aligned, Incompatible> {
        match (self.is_custom(), other.is_custom()) {
            (true, true) => Ok(self.align_custom(other)),
            (false, false) => Ok(self.align_exponential(other)),
            _ => Err(Incompatible),
        }
    }

    fn align_custom(&mut self, other: &Self) -> Aligned {
        let reconciled = self.bounds != other.bounds;
        let positive = if reconciled {
            let common = common_bounds(&self.bounds, &other.bounds);
            self.positive = rebounded(&self.positive, &self.bounds, &common);
            let theirs = rebounded(&other.positive, &other.bounds, &common);
            self.bounds = common;
            theirs
        } else {
            other.positive.clone()
        };
        Aligned {
            zero_count: 0.0,
            positive,
            negative: Vec::new(),
            reconciled,
        }
    }

    fn align_exponential(&mut self, other: &Self) -> Aligned {
        let (mut zero_count, mut threshold) = (other.zero_count, other.zero_threshold);
        while threshold != self.zero_threshold {
            if self.zero_threshold > threshold {
                (zero_count, threshold) = other.zero_count_up_to(self.zero_threshold);
            }
            if threshold > self.zero_threshold {
                let (count, widened) = self.zero_count_up_to(threshold);
                self.widen_zero(count, widened);
            }
        }
        let schema = self.schema.min(other.schema);
        self.positive = coarsened(&self.positive, self.schema, schema);
        self.negative = coarsened(&self.negative, self.schema, schema);
        self.schema = schema;
        Aligned {
            zero_count,
            positive: other.slots_beyond(&other.positive, threshold, schema),
            negative: other.slots_beyond(&other.negative, threshold, schema),
            reconciled: false,
        }
    }

    /// Slots in a coarser schema without those inside the zero bucket.
    pub(super) fn slots_beyond(&self, slots: &[Slot], threshold: f64, schema: i32) -> Vec<Slot> {
        let mut slots = coarsened(slots, self.schema, schema);
        if threshold > 0.0 {
            slots.retain(|slot| exponential_bound(slot.index, schema) > threshold);
        }
        slots
    }

    /// What the zero bucket would hold with a threshold of at least this, and the threshold it really gets:
    /// one that lies inside a populated bucket moves to that bucket's end.
    pub(super) fn zero_count_up_to(&self, mut threshold: f64) -> (f64, f64) {
        let slots = || self.positive.iter().chain(&self.negative);
        loop {
            let inside = |slot: &&Slot| self.borders(slot.index).0 < threshold;
            let split = slots().filter(inside).find_map(|slot| {
                let upper = self.borders(slot.index).1;
                (upper > threshold && slot.count != 0.0).then_some(upper)
            });
            let Some(upper) = split else {
                let counts = slots().filter(inside).map(|slot| slot.count);
                return (self.zero_count + counts.sum::<f64>(), threshold);
            };
            threshold = upper;
        }
    }

    /// Takes on the layout of another histogram that is coarser everywhere.
    pub(super) fn follow(&mut self, layout: &Self) {
        if self.is_custom() {
            if self.bounds != layout.bounds {
                self.positive = rebounded(&self.positive, &self.bounds, &layout.bounds);
                self.bounds = Arc::clone(&layout.bounds);
            }
            return;
        }
        let threshold = layout.zero_threshold;
        if threshold > self.zero_threshold {
            let inside = self.positive.iter().chain(&self.negative);
            let inside = inside.filter(|slot| self.borders(slot.index).0 < threshold);
            let count = self.zero_count + inside.map(|slot| slot.count).sum::<f64>();
            self.widen_zero(count, threshold);
        }
        self.positive = coarsened(&self.positive, self.schema, layout.schema);
        self.negative = coarsened(&self.negative, self.schema, layout.schema);
        self.schema = layout.schema;
    }

    /// Takes on a zero bucket that holds all buckets below its end.
    pub(super) fn widen_zero(&mut self, count: f64, threshold: f64) {
        self.zero_count = count;
        self.zero_threshold = threshold;
        let schema = self.schema;
        let outside =
            |slot: &Slot| exponential_bound(slot.index.saturating_sub(1), schema) >= threshold;
        self.positive.retain(outside);
        self.negative.retain(outside);
    }

    /// The same histogram in a schema that is not finer.
    pub(crate) fn in_schema(mut self, schema: i32) -> Self {
        if !self.is_custom() && schema < self.schema {
            self.positive = coarsened(&self.positive, self.schema, schema);
            self.negative = coarsened(&self.negative, self.schema, schema);
            self.schema = schema;
        }
        self
    }
}

fn coarsened(slots: &[Slot], from: i32, to: i32) -> Vec<Slot> {
    if to >= from {
        return slots.to_vec();
    }
    let shift = (from - to).unsigned_abs().min(31);
    merged(slots, |index| (index.saturating_sub(1) >> shift) + 1)
}

/// Custom buckets under fewer bounds.
pub(super) fn rebounded(slots: &[Slot], from: &[f64], to: &[f64]) -> Vec<Slot> {
    merged(slots, |index| {
        let upper = usize::try_from(index)
            .ok()
            .and_then(|index| from.get(index));
        let at = upper.map_or(to.len(), |upper| to.partition_point(|bound| bound < upper));
        i32::try_from(at).unwrap_or(i32::MAX)
    })
}

/// Slots under new indexes, which ascend as the old ones do.
fn merged(slots: &[Slot], index: impl Fn(i32) -> i32) -> Vec<Slot> {
    let mut result: Vec<Slot> = Vec::with_capacity(slots.len());
    for slot in slots {
        let index = index(slot.index);
        match result.last_mut() {
            Some(last) if last.index == index => last.count += slot.count,
            _ => result.push(Slot {
                index,
                count: slot.count,
            }),
        }
    }
    result
}

pub(super) fn common_bounds(a: &[f64], b: &[f64]) -> Arc<[f64]> {
    a.iter()
        .copied()
        .filter(|bound| b.binary_search_by(|other| other.total_cmp(bound)).is_ok())
        .collect()
}
