//! `</` and `>/`: a histogram without the observations above or below a value.
//!
//! Guarantees: a bucket that the value splits keeps the share that interpolation gives it; what is removed
//! leaves the sum by the middle of the part removed. Nothing is known of the observations in an infinite
//! bucket: it goes as a whole, unless it reaches down from a positive bound, where it is taken to begin at 0.

use super::{Bucket, Histogram, Sign, Slot};

/// Which observations stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trim {
    /// `</`: those below.
    KeepBelow,
    /// `>/`: those above.
    KeepAbove,
}

/// What stays of a bucket, and where the middle of the rest was.
struct Kept {
    count: f64,
    removed_middle: f64,
}

impl Histogram {
    pub(crate) fn trimmed(&self, trim: Trim, value: f64) -> Self {
        let mut removed_sum = 0.0;
        let (mut any_positive, mut any_negative) = (false, false);
        let mut side = |slots: &[Slot], to_bucket: &dyn Fn(Slot) -> Bucket| -> Vec<Slot> {
            let mut kept = Vec::with_capacity(slots.len());
            for slot in slots.iter().filter(|slot| slot.count != 0.0) {
                let bucket = to_bucket(*slot);
                any_positive |= bucket.upper > 0.0;
                any_negative |= bucket.lower < 0.0;
                let stays = self.kept(bucket, trim, value);
                if stays.count < bucket.count {
                    removed_sum += (bucket.count - stays.count) * stays.removed_middle;
                }
                kept.push(Slot {
                    index: slot.index,
                    count: stays.count,
                });
            }
            kept
        };
        let positive = side(&self.positive, &|slot| self.above_zero(slot));
        let negative = side(&self.negative, &|slot| self.below_zero(slot));
        let zero_count = self.zero_kept(trim, value);
        let sides = positive.iter().chain(&negative);
        let count = zero_count + sides.map(|slot| slot.count).sum::<f64>();
        let mut sum = if count == 0.0 { 0.0 } else { self.sum - removed_sum };
        if (!any_negative && sum < 0.0) || (!any_positive && sum > 0.0) {
            sum = 0.0;
        }
        let trimmed = Self {
            zero_count,
            count,
            sum,
            positive,
            negative,
            ..self.clone()
        };
        trimmed.compact()
    }

    fn zero_kept(&self, trim: Trim, value: f64) -> f64 {
        if self.zero_count <= 0.0 {
            return self.zero_count;
        }
        let below = self.below(self.zero_bucket(), value);
        match trim {
            Trim::KeepBelow => below,
            Trim::KeepAbove => self.zero_count - below,
        }
    }

    /// How many of a bucket's observations lie below a value.
    fn below(&self, bucket: Bucket, value: f64) -> f64 {
        if value <= bucket.lower {
            0.0
        } else if value >= bucket.upper {
            bucket.count
        } else {
            bucket.count * self.fraction_below(bucket, value)
        }
    }

    fn kept(&self, bucket: Bucket, trim: Trim, value: f64) -> Kept {
        if bucket.lower == f64::NEG_INFINITY || bucket.upper == f64::INFINITY {
            return kept_of_infinite(bucket, trim, value);
        }
        let below = self.below(bucket, value);
        let (count, border) = match trim {
            Trim::KeepBelow => (below, bucket.lower),
            Trim::KeepAbove => (bucket.count - below, bucket.upper),
        };
        Kept {
            count,
            removed_middle: self.middle(bucket, border, value),
        }
    }

    /// The middle that the removed part is booked at: of the whole bucket if all of it goes.
    fn middle(&self, bucket: Bucket, border: f64, value: f64) -> f64 {
        if self.is_custom() {
            return f64::midpoint(bucket.lower, bucket.upper);
        }
        if value <= bucket.lower || value >= bucket.upper {
            return (bucket.lower * bucket.upper).sqrt();
        }
        let middle = (border.abs() * value.abs()).sqrt();
        if bucket.sign == Sign::Negative { -middle } else { middle }
    }
}

fn kept_of_infinite(bucket: Bucket, trim: Trim, value: f64) -> Kept {
    let all = Kept {
        count: bucket.count,
        removed_middle: 0.0,
    };
    let stays_whole = match trim {
        Trim::KeepBelow => value >= bucket.upper,
        Trim::KeepAbove => value <= bucket.lower,
    };
    if stays_whole {
        return all;
    }
    if bucket.lower == f64::NEG_INFINITY {
        if value >= 0.0 && bucket.upper > value && bucket.upper.is_finite() {
            let share = value / bucket.upper;
            return match trim {
                Trim::KeepBelow => Kept {
                    count: bucket.count * share,
                    removed_middle: f64::midpoint(value, bucket.upper),
                },
                Trim::KeepAbove => Kept {
                    count: bucket.count * (1.0 - share),
                    removed_middle: value / 2.0,
                },
            };
        }
        return Kept {
            count: 0.0,
            removed_middle: bucket.upper,
        };
    }
    Kept {
        count: 0.0,
        removed_middle: bucket.lower,
    }
}
