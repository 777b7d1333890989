//! How many retries a service can afford.
//!
//! **Guarantees.** Over any ten seconds retries are at most a tenth of first attempts (one at low
//! traffic): a failing service sees at most 1.1 times its load, never a storm. **Never** counts a
//! retry as a first attempt.
//!
//! ```
//! use mainstay_traffic::RetryBudget;
//! let mut budget = RetryBudget::default();
//! for _ in 0..20 { budget.offered(1); }
//! assert!(budget.try_retry(1) && budget.try_retry(1) && !budget.try_retry(1));
//! ```

const WINDOW_SECS: u64 = 10;

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    second: u64,
    offered: u64,
    retried: u64,
}

/// First attempts and retries of one service over the last ten seconds.
#[derive(Debug, Clone, Default)]
pub struct RetryBudget {
    buckets: [Bucket; WINDOW_SECS as usize],
}

impl RetryBudget {
    fn bucket(&mut self, second: u64) -> &mut Bucket {
        let bucket = &mut self.buckets[(second % WINDOW_SECS) as usize];
        if bucket.second != second {
            *bucket = Bucket {
                second,
                ..Bucket::default()
            };
        }
        bucket
    }

    fn sum(&self, second: u64, of: impl Fn(&Bucket) -> u64) -> u64 {
        let live = |b: &&Bucket| b.second <= second && b.second + WINDOW_SECS > second;
        self.buckets.iter().filter(live).map(of).sum()
    }

    /// Counts a first attempt in `second` of a monotonic clock.
    pub fn offered(&mut self, second: u64) {
        self.bucket(second).offered += 1;
    }

    /// Takes one retry, if the budget has it.
    pub fn try_retry(&mut self, second: u64) -> bool {
        let allowed = (self.sum(second, |b| b.offered) / 10).max(1);
        let fits = self.sum(second, |b| b.retried) < allowed;
        if fits {
            self.bucket(second).retried += 1;
        }
        fits
    }

    /// First attempts per second over the window.
    pub fn offered_rps(&self, second: u64) -> f64 {
        self.sum(second, |b| b.offered) as f64 / WINDOW_SECS as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn retries_stay_under_a_tenth_whatever_the_rhythm(
            seconds in proptest::collection::vec((0_u64..3, 0_u64..50, 0_u64..50), 1..40),
        ) {
            let (mut budget, mut second) = (RetryBudget::default(), 0);
            for (gap, offered, wanted) in seconds {
                second += gap;
                for _ in 0..offered { budget.offered(second); }
                for _ in 0..wanted { let _ = budget.try_retry(second); }
                let before: u64 = budget.sum(second, |b| b.retried);
                let fits = budget.try_retry(second);
                let allowed = (budget.sum(second, |b| b.offered) / 10).max(1);
                prop_assert_eq!(fits, before < allowed);
            }
        }
    }

    #[test]
    fn what_is_older_than_ten_seconds_is_forgotten() {
        let mut budget = RetryBudget::default();
        assert!(budget.try_retry(5) && !budget.try_retry(14));
        assert!(budget.try_retry(15));
    }
}
