//! `</` and `>/`: a histogram without the observations above or below a value.
//!
//! Guarantees: a bucket that the value splits keeps the share that interpolation gives it. If anything went,
//! the sum is estimated anew, from the middles of what stayed; otherwise the histogram is as it was. An
//! infinite bucket cannot be split: it stays whole where it surely reaches beyond the value, which then is
//! its middle, and goes otherwise. One that ends above zero is taken to begin there.

use super::{Bucket, Histogram, Sign, Slot};

/// Which observations stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trim {
    /// `</`: those below.
    KeepBelow,
    /// `>/`: those above.
    KeepAbove,
}

/// What stays of a bucket, and where its middle is.
#[derive(Clone, Copy)]
struct Kept {
    count: f64,
    middle: f64,
}

const NOTHING: Kept = Kept {
    count: 0.0,
    middle: 0.0,
};

impl Histogram {
    pub(crate) fn trimmed(&self, trim: Trim, value: f64) -> Self {
        let mut removed = false;
        let mut sum = 0.0;
        let mut keep = |bucket: Bucket| {
            let kept = self.kept(bucket, trim, value);
            removed |= kept.count != bucket.count;
            if kept.count != 0.0 {
                sum += kept.count * kept.middle;
            }
            kept.count
        };
        let slot = |slot: &Slot, count| Slot {
            index: slot.index,
            count,
        };
        let positive = self
            .positive
            .iter()
            .map(|s| slot(s, keep(self.above_zero(*s))));
        let positive: Vec<Slot> = positive.collect();
        let negative = self
            .negative
            .iter()
            .map(|s| slot(s, keep(self.below_zero(*s))));
        let negative: Vec<Slot> = negative.collect();
        let zero_count = if self.zero_count > 0.0 {
            keep(self.zero_bucket())
        } else {
            0.0
        };
        if !removed {
            return self.clone();
        }
        let sides = positive.iter().chain(&negative);
        let count = zero_count + sides.map(|slot| slot.count).sum::<f64>();
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

    fn kept(&self, bucket: Bucket, trim: Trim, value: f64) -> Kept {
        let mut bucket = self.one_sided(bucket);
        if bucket.upper == f64::INFINITY {
            return kept_of_upwards(bucket, trim, value);
        }
        if bucket.lower == f64::NEG_INFINITY {
            if bucket.upper <= 0.0 {
                return kept_of_downwards(bucket, trim, value);
            }
            if trim == Trim::KeepAbove && value < 0.0 && value.is_finite() {
                return NOTHING;
            }
            bucket.lower = 0.0;
        }
        let stays_whole = match trim {
            Trim::KeepBelow => value >= bucket.upper,
            Trim::KeepAbove => value <= bucket.lower,
        };
        if stays_whole {
            return Kept {
                count: bucket.count,
                middle: self.middle(bucket),
            };
        }
        if value <= bucket.lower || value >= bucket.upper {
            return NOTHING;
        }
        let below = self.fraction_below(bucket, value);
        match trim {
            Trim::KeepBelow => Kept {
                count: bucket.count * below,
                middle: self.middle(Bucket {
                    upper: value,
                    ..bucket
                }),
            },
            Trim::KeepAbove => Kept {
                count: bucket.count * (1.0 - below),
                middle: self.middle(Bucket {
                    lower: value,
                    ..bucket
                }),
            },
        }
    }

    /// Geometric in an exponential bucket, arithmetic in others.
    fn middle(&self, bucket: Bucket) -> f64 {
        if self.is_custom() || bucket.sign == Sign::Zero {
            return f64::midpoint(bucket.lower, bucket.upper);
        }
        let middle = (bucket.lower * bucket.upper).sqrt();
        if bucket.sign == Sign::Negative {
            -middle
        } else {
            middle
        }
    }
}

/// Of a bucket without an upper border.
fn kept_of_upwards(bucket: Bucket, trim: Trim, value: f64) -> Kept {
    let whole = |middle| Kept {
        count: bucket.count,
        middle,
    };
    match trim {
        Trim::KeepBelow if value == f64::INFINITY => whole(bucket.lower),
        Trim::KeepAbove if value <= bucket.lower => whole(bucket.lower),
        Trim::KeepAbove if value.is_finite() && bucket.lower.is_finite() => whole(value),
        Trim::KeepBelow | Trim::KeepAbove => NOTHING,
    }
}

/// Of a bucket without a lower border that ends at zero or below.
fn kept_of_downwards(bucket: Bucket, trim: Trim, value: f64) -> Kept {
    let whole = |middle| Kept {
        count: bucket.count,
        middle,
    };
    match trim {
        Trim::KeepAbove if value == f64::NEG_INFINITY => whole(bucket.upper),
        Trim::KeepBelow if value >= bucket.upper => whole(bucket.upper),
        Trim::KeepBelow if value.is_finite() => whole(value),
        Trim::KeepBelow | Trim::KeepAbove => NOTHING,
    }
}
