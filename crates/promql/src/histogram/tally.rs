//! Sums and means of many histograms that keep what rounding loses.
//!
//! Guarantees: each count is summed with Kahan's compensation. A mean whose sum would overflow goes on
//! incrementally, as the mean of floats does. Collisions of reset hints and reconciled bounds are remembered.

use super::arithmetic::zipped;
use super::{Histogram, Incompatible, ResetHint, Slot};
use crate::eval::kahan;

/// A running sum or mean.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    sum: Histogram,
    lost: Histogram,
    count: f64,
    /// The sum overflowed: `sum` is the mean so far.
    incremental: bool,
    reset_seen: bool,
    no_reset_seen: bool,
    reconciled: bool,
}

impl Tally {
    pub(crate) fn new(first: &Histogram) -> Self {
        let mut tally = Self {
            lost: first.clone().scaled(0.0),
            sum: first.clone(),
            count: 1.0,
            incremental: false,
            reset_seen: false,
            no_reset_seen: false,
            reconciled: false,
        };
        for count in tally.lost.counts_mut() {
            *count = 0.0;
        }
        tally.note_hint(first.hint);
        tally
    }

    fn note_hint(&mut self, hint: ResetHint) {
        self.reset_seen |= hint == ResetHint::Reset;
        self.no_reset_seen |= hint == ResetHint::NotReset;
    }

    /// Samples with and without a reset were mixed.
    pub(crate) fn collided(&self) -> bool {
        self.reset_seen && self.no_reset_seen
    }

    /// Custom bounds differed somewhere.
    pub(crate) fn reconciled(&self) -> bool {
        self.reconciled
    }

    /// Adds to a sum.
    pub(crate) fn add(&mut self, other: &Histogram) -> Result<(), Incompatible> {
        self.count += 1.0;
        self.note_hint(other.hint);
        self.accumulate(other)
    }

    /// Adds to a mean.
    pub(crate) fn average_in(&mut self, other: &Histogram) -> Result<(), Incompatible> {
        self.count += 1.0;
        self.note_hint(other.hint);
        if !self.incremental {
            let mut next = self.clone();
            next.accumulate(other)?;
            if !next.overflowed() {
                *self = next;
                return Ok(());
            }
            self.incremental = true;
            self.rescale(Histogram::divided, self.count - 1.0);
        }
        let share = (self.count - 1.0) / self.count;
        self.rescale(Histogram::scaled, share);
        self.accumulate(&other.clone().divided(self.count))
    }

    fn rescale(&mut self, f: impl Fn(Histogram, f64) -> Histogram, by: f64) {
        self.sum = f(std::mem::take(&mut self.sum), by);
        self.lost = f(std::mem::take(&mut self.lost), by);
    }

    fn accumulate(&mut self, other: &Histogram) -> Result<(), Incompatible> {
        let aligned = self.sum.align(other)?;
        self.lost.follow(&self.sum);
        self.reconciled |= aligned.reconciled;
        self.sum.hint = self.sum.hint.met_with(other.hint).0;
        let (sum, lost) = (&mut self.sum, &mut self.lost);
        for (sum, lost, value) in [
            (
                &mut sum.zero_count,
                &mut lost.zero_count,
                aligned.zero_count,
            ),
            (&mut sum.count, &mut lost.count, other.count),
            (&mut sum.sum, &mut lost.sum, other.sum),
        ] {
            (*sum, *lost) = kahan::increased(*sum, *lost, value);
        }
        accumulate_side(&mut sum.positive, &mut lost.positive, &aligned.positive);
        accumulate_side(&mut sum.negative, &mut lost.negative, &aligned.negative);
        Ok(())
    }

    fn overflowed(&self) -> bool {
        let sides = self.sum.positive.iter().chain(&self.sum.negative);
        let totals = [self.sum.zero_count, self.sum.count, self.sum.sum];
        let mut counts = sides.map(|slot| slot.count).chain(totals);
        counts.any(f64::is_infinite)
    }

    pub(crate) fn sum(self) -> Histogram {
        let (sum, lost) = (self.sum, self.lost);
        sum.regained(&lost)
    }

    pub(crate) fn mean(self) -> Histogram {
        if self.incremental {
            return self.sum.regained(&self.lost);
        }
        let lost = self.lost.divided(self.count);
        self.sum.divided(self.count).regained(&lost)
    }
}

impl Histogram {
    /// With what rounding lost added, where that is a number.
    fn regained(mut self, lost: &Self) -> Self {
        let add = |sum: f64, lost: f64| if sum.is_infinite() { sum } else { sum + lost };
        self.zero_count = add(self.zero_count, lost.zero_count);
        self.count = add(self.count, lost.count);
        self.sum = add(self.sum, lost.sum);
        self.positive = zipped(&self.positive, &lost.positive, add);
        self.negative = zipped(&self.negative, &lost.negative, add);
        self
    }
}

fn accumulate_side(sum: &mut Vec<Slot>, lost: &mut Vec<Slot>, values: &[Slot]) {
    let sums = zipped(sum, values, |sum, _| sum);
    let mut losts = zipped(lost, &sums, |lost, _| lost);
    let values = zipped(values, &sums, |value, _| value);
    *sum = sums;
    for ((sum, lost), value) in sum.iter_mut().zip(&mut losts).zip(&values) {
        (sum.count, lost.count) = kahan::increased(sum.count, lost.count, value.count);
    }
    *lost = losts;
}
