//! The last two seconds of one backend, in tenths, and the limit that a share above a full one is held to.
//!
//! Guarantees: counts what ended and what is overdue already, so that a backend that answers nothing breaks its
//! limit too. Never breaks one on fewer than [`BREACHES_MIN`] requests: one slow answer is a tail, no limit.

use mainstay_wire::router::Limit;

use super::series::BUCKETS_US;

/// One slot, in microseconds.
const SLOT_US: u64 = 100_000;
/// Slots kept: two seconds.
const SLOTS: usize = 20;
/// Slots that a limit looks at: one second, and the one under way.
const LIMIT_SLOTS: u64 = 11;
/// Requests against a limit from which it can break.
const BREACHES_MIN: u64 = 3;
/// The share of requests that may be slower than a 99th percentile: one in so many.
const SLOW_ONE_IN: u64 = 100;

#[derive(Clone, Copy, Default)]
struct Slot {
    tick: u64,
    all: u64,
    bad: u64,
    slow: u64,
    buckets: [u32; BUCKETS_US.len()],
}

/// What ended in the last two seconds.
#[derive(Default)]
pub(crate) struct Recent([Slot; SLOTS]);

impl Recent {
    /// Counts a request that ended.
    pub(crate) fn ended(&mut self, now_us: u64, took_us: u64, bad: bool, slow: bool) {
        let tick = now_us / SLOT_US;
        let slot = &mut self.0[(tick % SLOTS as u64) as usize];
        if slot.tick != tick {
            *slot = Slot {
                tick,
                ..Slot::default()
            };
        }
        slot.all += 1;
        slot.bad += u64::from(bad);
        slot.slow += u64::from(slow);
        if let Some(index) = BUCKETS_US.iter().position(|most| took_us <= *most) {
            slot.buckets[index] += 1;
        }
    }

    fn last(&self, slots: u64, now_us: u64) -> impl Iterator<Item = &Slot> {
        let tick = now_us / SLOT_US;
        let within = move |slot: &&Slot| slot.tick <= tick && slot.tick + slots > tick;
        self.0.iter().filter(within)
    }

    /// 99 % of what ended took no longer, read off between the bounds of its bucket; none where nothing ended.
    pub(crate) fn p99_ms(&self, now_us: u64) -> Option<f64> {
        let mut buckets = [0_u64; BUCKETS_US.len()];
        let mut all = 0;
        for slot in self.last(SLOTS as u64, now_us) {
            all += slot.all;
            for (sum, count) in buckets.iter_mut().zip(slot.buckets) {
                *sum += u64::from(count);
            }
        }
        let rank = 0.99 * all as f64;
        let (mut below, mut lower) = (0.0, 0.0);
        for (most, count) in BUCKETS_US.iter().zip(buckets) {
            let (upper, count) = (*most as f64 / 1_000.0, count as f64);
            if count > 0.0 && below + count >= rank {
                return Some(lower + (upper - lower) * (rank - below) / count);
            }
            (below, lower) = (below + count, upper);
        }
        (all > 0).then_some(lower)
    }
}

/// What a backend was ordered to get, and what ends that.
pub(crate) struct Guard {
    share: f64,
    limit: Option<Limit>,
}

impl Guard {
    pub(crate) fn new(share: f64, limit: Option<Limit>) -> Self {
        Self { share, limit }
    }

    /// Takes a new order; whether it is another share.
    pub(crate) fn order(&mut self, share: f64, limit: Option<Limit>) -> bool {
        let other = self.share.total_cmp(&share).is_ne();
        *self = Self { share, limit };
        other
    }

    /// Whether a request that took so long is slower than the limit.
    pub(crate) fn is_slow(&self, took_us: u64) -> bool {
        self.limit
            .is_some_and(|limit| took_us > limit.latency_p99_ms.saturating_mul(1_000))
    }

    /// Whether the last second breaks the limit of a share above a full one; `under_way` are the starts of
    /// requests that have no answer yet, the oldest first.
    pub(crate) fn breaks<'a>(
        &self,
        recent: &Recent,
        under_way: impl Iterator<Item = &'a u64>,
        now_us: u64,
    ) -> bool {
        let Some(limit) = self.limit.filter(|_| self.share > 1.0) else {
            return false;
        };
        let overdue = under_way
            .take_while(|start| self.is_slow(now_us.saturating_sub(**start)))
            .count() as u64;
        let (mut all, mut bad, mut slow) = (overdue, 0, overdue);
        for slot in recent.last(LIMIT_SLOTS, now_us) {
            all += slot.all;
            bad += slot.bad;
            slow += slot.slow;
        }
        let failing = bad >= BREACHES_MIN && bad as f64 > limit.error_ratio * all as f64;
        let late = slow >= BREACHES_MIN && slow.saturating_mul(SLOW_ONE_IN) > all;
        failing || late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit {
        error_ratio: 0.01,
        latency_p99_ms: 250,
    };

    fn recent(count: u64, took_us: u64, bad: bool, guard: &Guard) -> Recent {
        let mut recent = Recent::default();
        for i in 0..count {
            recent.ended(10_000_000 + i * 1_000, took_us, bad, guard.is_slow(took_us));
        }
        recent
    }

    #[test]
    fn a_limit_breaks_on_slow_on_bad_and_on_missing_answers_and_only_above_a_full_share() {
        let guard = Guard::new(2.0, Some(LIMIT));
        let none: [u64; 0] = [];
        let now = 10_100_000;
        let well = recent(100, 40_000, false, &guard);
        assert!(!guard.breaks(&well, none.iter(), now));
        assert!(guard.breaks(&recent(3, 300_000, false, &guard), none.iter(), now));
        assert!(!guard.breaks(&recent(2, 300_000, false, &guard), none.iter(), now));
        assert!(guard.breaks(&recent(3, 40_000, true, &guard), none.iter(), now));
        let stuck = [9_700_000, 9_800_000, 9_840_000, 10_090_000];
        assert!(guard.breaks(&well, stuck.iter(), now));
        assert!(
            !guard.breaks(&well, stuck[2..].iter(), now),
            "two are within it"
        );
        let full = Guard::new(1.0, Some(LIMIT));
        assert!(!full.breaks(&recent(50, 300_000, true, &full), none.iter(), now));
        let later = now + 1_200_000;
        assert!(!guard.breaks(&recent(50, 300_000, true, &guard), none.iter(), later));
    }

    #[test]
    fn the_99th_percentile_is_read_off_between_bounds() {
        let guard = Guard::new(1.0, None);
        let even = recent(100, 40_000, false, &guard);
        let p99 = even.p99_ms(10_100_000).unwrap();
        assert!((p99 - 49.85).abs() < 1e-6, "{p99}");
        assert_eq!(even.p99_ms(13_000_000), None);
    }
}
