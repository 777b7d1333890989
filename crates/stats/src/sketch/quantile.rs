//! Quantiles with a relative error of at most the sketch's accuracy.
//!
//! Masson, Rim and Lee, "DDSketch: A Fast and Fully-Mergeable Quantile Sketch with Relative-Error Guarantees" (VLDB
//! 2019): value `x > 0` falls into bucket `i = ⌈log_γ x⌉`, which is `(γ^(i−1), γ^i]`, with `γ = (1 + a)/(1 − a)`;
//! section 2. Counts at bucket bounds are exact, which sequential bands build on.
//!
//! ```
//! use mainstay_stats::QuantileSketch;
//! let mut sketch = QuantileSketch::new(0.01)?;
//! for millisecond in 1..=1_000 {
//!     sketch.push(f64::from(millisecond))?;
//! }
//! let median = sketch.quantile(0.5).expect("there are values");
//! assert!((median / 500.0 - 1.0).abs() < 0.01);
//! # Ok::<(), mainstay_stats::StatsError>(())
//! ```

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::counts::{StatsError, check_share};

/// Buckets of each sign. At 1 % accuracy they span 41 e-folds, such as 1e-9 to 1e9; beyond that those nearest
/// to 0 share one bucket.
const MOST_BUCKETS: usize = 2_048;

/// Counts of values by logarithmic buckets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuantileSketch {
    accuracy: f64,
    count: u64,
    zeros: u64,
    lowest: Option<f64>,
    highest: Option<f64>,
    positive: Store,
    negative: Store,
}

/// Values in `(low, high]`, and how many there are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
    /// Values between.
    pub count: u64,
}

impl QuantileSketch {
    /// An empty sketch; `accuracy` is the largest relative error of a value, such as 0.01.
    pub fn new(accuracy: f64) -> Result<Self, StatsError> {
        check_share("accuracy", accuracy)?;
        Ok(Self {
            accuracy,
            count: 0,
            zeros: 0,
            lowest: None,
            highest: None,
            positive: Store::default(),
            negative: Store::default(),
        })
    }

    /// Adds a value.
    pub fn push(&mut self, value: f64) -> Result<(), StatsError> {
        if !value.is_finite() {
            return Err(StatsError::NotFinite { what: "a value" });
        }
        self.count += 1;
        self.lowest = Some(self.lowest.map_or(value, |it| it.min(value)));
        self.highest = Some(self.highest.map_or(value, |it| it.max(value)));
        if value > 0.0 {
            self.positive.add(self.index(value), 1);
        } else if value < 0.0 {
            self.negative.add(self.index(-value), 1);
        } else {
            self.zeros += 1;
        }
        Ok(())
    }

    /// Adds all values of another sketch of the same accuracy.
    pub fn merge(&mut self, other: &Self) -> Result<(), StatsError> {
        if self.accuracy != other.accuracy {
            return Err(StatsError::Unlike { what: "accuracy" });
        }
        let chosen = |here: Option<f64>, there: Option<f64>, of: fn(f64, f64) -> f64| match there {
            Some(there) => Some(here.map_or(there, |here| of(here, there))),
            None => here,
        };
        self.count += other.count;
        self.zeros += other.zeros;
        self.lowest = chosen(self.lowest, other.lowest, f64::min);
        self.highest = chosen(self.highest, other.highest, f64::max);
        self.positive.merge(&other.positive);
        self.negative.merge(&other.negative);
        Ok(())
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Largest relative error of a value.
    pub fn accuracy(&self) -> f64 {
        self.accuracy
    }

    fn ln_base(&self) -> f64 {
        // ln((1 + a)/(1 − a))
        self.accuracy.ln_1p() - (-self.accuracy).ln_1p()
    }

    fn index(&self, value: f64) -> i32 {
        (value.ln() / self.ln_base()).ceil() as i32
    }

    /// All buckets that hold values, from the lowest. Bounds never reach beyond the lowest and highest value.
    pub fn buckets(&self) -> impl Iterator<Item = Bucket> + '_ {
        let base = self.ln_base();
        let edges = move |store: &Store, index: i32| {
            let inner = if store.is_shared(index) {
                0.0
            } else {
                (f64::from(index - 1) * base).exp()
            };
            (inner, (f64::from(index) * base).exp())
        };
        let below = self.negative.counts().rev().map(move |(index, count)| {
            let (inner, outer) = edges(&self.negative, index);
            (-outer, -inner, count)
        });
        let zero = (self.zeros > 0).then_some((0.0, 0.0, self.zeros));
        let above = self.positive.counts().map(move |(index, count)| {
            let (inner, outer) = edges(&self.positive, index);
            (inner, outer, count)
        });
        let lowest = self.lowest.unwrap_or(f64::NEG_INFINITY);
        let highest = self.highest.unwrap_or(f64::INFINITY);
        below
            .chain(zero)
            .chain(above)
            .map(move |(low, high, count)| Bucket {
                low: low.clamp(lowest, highest),
                high: high.clamp(lowest, highest),
                count,
            })
    }

    /// The bucket of the value with this rank, counted from 1; nothing beyond the last.
    pub fn bucket_of(&self, rank: u64) -> Option<Bucket> {
        let mut below = 0;
        self.buckets().find(|bucket| {
            below += bucket.count;
            below >= rank.max(1)
        })
    }

    /// The value below which `share` of all values are, evenly spread within a bucket; nothing without values.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let target = share.clamp(0.0, 1.0) * self.count as f64;
        let mut below = 0.0;
        let mut last = None;
        for bucket in self.buckets() {
            let count = bucket.count as f64;
            if below + count >= target {
                let within = ((target - below) / count).clamp(0.0, 1.0);
                return Some(bucket.low + within * (bucket.high - bucket.low));
            }
            below += count;
            last = Some(bucket.high);
        }
        last
    }
}

/// Counts of neighbouring buckets.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Store {
    first: i32,
    counts: VecDeque<u64>,
    /// Whether the first bucket holds those below it too.
    is_collapsed: bool,
}

impl Store {
    fn add(&mut self, index: i32, count: u64) {
        if self.counts.is_empty() {
            self.first = index;
            self.counts.push_back(count);
            return;
        }
        while index < self.first && self.counts.len() < MOST_BUCKETS {
            if self.is_collapsed {
                break;
            }
            self.counts.push_front(0);
            self.first -= 1;
        }
        if index < self.first {
            self.is_collapsed = true;
        }
        let mut at = i64::from(index) - i64::from(self.first);
        while at >= self.counts.len() as i64 {
            if at >= (self.counts.len() + MOST_BUCKETS) as i64 {
                // Nothing of what is here stays apart: all of it is far below.
                let all = self.counts.iter().sum();
                self.counts.clear();
                self.counts.push_back(all);
                self.first = index - (MOST_BUCKETS as i32 - 1);
                self.is_collapsed = true;
                at = i64::from(index) - i64::from(self.first);
            }
            self.counts.push_back(0);
            if self.counts.len() > MOST_BUCKETS {
                let lowest = self.counts.pop_front().unwrap_or(0);
                if let Some(next) = self.counts.front_mut() {
                    *next += lowest;
                }
                self.is_collapsed |= lowest > 0;
                self.first += 1;
                at -= 1;
            }
        }
        if let Some(cell) = self.counts.get_mut(at.max(0) as usize) {
            *cell += count;
        }
    }

    fn merge(&mut self, other: &Self) {
        if other.counts.is_empty() {
            return;
        }
        if self.counts.is_empty() {
            self.clone_from(other);
            return;
        }
        let same = self.first == other.first && self.counts.len() == other.counts.len();
        self.is_collapsed |= other.is_collapsed && same;
        if same {
            for (here, there) in self.counts.iter_mut().zip(&other.counts) {
                *here += there;
            }
            return;
        }
        if other.is_collapsed {
            // Its first bucket may hold what is lower: so may ours from there on.
            self.raise(other.first);
        }
        for (index, count) in other.counts() {
            self.add(index, count);
        }
    }

    /// Makes `first` the bucket that holds all below it too, where it is not a higher one already.
    fn raise(&mut self, first: i32) {
        while !self.is_collapsed && self.first > first && self.counts.len() < MOST_BUCKETS {
            self.counts.push_front(0);
            self.first -= 1;
        }
        let mut lower = 0;
        while self.first < first && self.counts.len() > 1 {
            lower += self.counts.pop_front().unwrap_or(0);
            self.first += 1;
        }
        if let Some(next) = self.counts.front_mut() {
            *next += lower;
        }
        self.first = self.first.max(first);
        self.is_collapsed = true;
    }

    fn is_shared(&self, index: i32) -> bool {
        self.is_collapsed && index == self.first
    }

    fn counts(&self) -> impl DoubleEndedIterator<Item = (i32, u64)> + '_ {
        self.counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(|(at, count)| (self.first + at as i32, *count))
    }
}
