//! The health of one backend: what it claims, what its callers measure, and which of them holds.
//!
//! **Guarantees.** A backend that claims to be well while its answers are bad is called lying, and
//! its word does not keep it in rotation; nor does its word alone take it out. One that nobody calls is unknown and
//! stays in, unless nobody listens where it should. An ejected
//! one comes back only after three real requests in a row went well, and then by growing shares.
//! **Never** decides alone to leave rotation: [`plan_ejections`](crate::plan_ejections) bounds that
//! over the whole service.
//!
//! ```
//! use mainstay_traffic::{BackendHealth, Outcome};
//! use mainstay_wire::router::{HealthVerdict, MeasuredHealth};
//! let mut health = BackendHealth::new(2_000);
//! health.claim(0, true);
//! for _ in 0..5 { health.outcome(100, Outcome::Bad); }
//! health.tick(1_000, 0);
//! assert_eq!(health.measured(), MeasuredHealth::Bad);
//! assert_eq!(health.verdict(), HealthVerdict::Lying);
//! ```

use std::{collections::VecDeque, fmt::Write as _};

use mainstay_wire::router::{ClaimedHealth, HealthVerdict, MeasuredHealth};

/// Seconds that a measurement looks back.
const WINDOW_SECS: u64 = 10;
/// Seconds of what is said of just now.
pub(crate) const RECENT_SECS: u64 = 5;
/// Outcomes below which a share of them says nothing.
const OUTCOMES_MIN: u64 = 5;
/// Requests that never came back that are bad by themselves, where they are also at least a
/// twentieth of all: three timeouts among ten thousand answers are a tail, not a hang.
const LOST_MIN: u64 = 3;
/// Changes of mind within a minute that are unhealthy by themselves.
const FLIPS_MAX: usize = 3;
const FLIP_WINDOW_MS: u64 = 60_000;
/// Real requests in a row that must go well before a return.
const PROBES_NEEDED: u32 = 3;
/// Bad health checks in a row before the claim changes, and refused connections before that is a measurement: one
/// lost packet is neither.
const BAD_CLAIMS_NEEDED: u32 = 2;
const RECOVERY_MS: u64 = 10_000;
const RECOVERY_SHARE_MIN: f64 = 0.1;

/// How a request ended, as its caller saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Answered, and not with a 5xx.
    Good,
    /// Answered with a 5xx, or the connection failed.
    Bad,
    /// Never came back within the service's own timeout.
    Lost,
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    second: u64,
    good: u64,
    bad: u64,
    lost: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rotation {
    In,
    Out { successes: u32 },
    Returning { since_ms: u64 },
}

/// The state machine of one incarnation of a backend. Times are milliseconds of a monotonic clock.
#[derive(Debug, Clone)]
pub struct BackendHealth {
    timeout_ms: u64,
    claimed: ClaimedHealth,
    bad_claims: u32,
    refused: u32,
    failed_ms: Option<u64>,
    measured: MeasuredHealth,
    last_known: MeasuredHealth,
    buckets: [Bucket; WINDOW_SECS as usize],
    flips: VecDeque<u64>,
    flips_untold: u64,
    rotation: Rotation,
    turned_bad_ms: Option<u64>,
    oldest_ms: u64,
    now_ms: u64,
}

impl BackendHealth {
    /// A new incarnation: nothing known, in rotation.
    pub fn new(timeout_ms: u64) -> Self {
        Self {
            timeout_ms,
            claimed: ClaimedHealth::Unknown,
            bad_claims: 0,
            refused: 0,
            failed_ms: None,
            measured: MeasuredHealth::Unknown,
            last_known: MeasuredHealth::Unknown,
            buckets: Default::default(),
            flips: VecDeque::new(),
            flips_untold: 0,
            rotation: Rotation::In,
            turned_bad_ms: None,
            oldest_ms: 0,
            now_ms: 0,
        }
    }

    /// The timeout that an age is measured against.
    pub fn set_timeout(&mut self, timeout_ms: u64) {
        self.timeout_ms = timeout_ms;
    }

    /// Its health check answered well, or did not, or not in time.
    pub fn claim(&mut self, now_ms: u64, well: bool) {
        self.refused = 0;
        self.bad_claims = if well {
            0
        } else {
            self.bad_claims.saturating_add(1)
        };
        let next = match (well, self.bad_claims >= BAD_CLAIMS_NEEDED) {
            (true, _) => ClaimedHealth::Ok,
            (false, true) => ClaimedHealth::Failing,
            (false, false) => self.claimed,
        };
        let spoke = matches!(self.claimed, ClaimedHealth::Ok | ClaimedHealth::Failing);
        if spoke && next != self.claimed {
            self.flip(now_ms);
        }
        self.claimed = next;
    }

    /// Nobody took the connection of its health check: it claims nothing, and that is measured.
    pub fn refused(&mut self) {
        self.refused = self.refused.saturating_add(1);
        if self.refused >= BAD_CLAIMS_NEEDED {
            self.bad_claims = 0;
            self.claimed = ClaimedHealth::Silent;
        }
    }

    /// A request ended.
    pub fn outcome(&mut self, now_ms: u64, outcome: Outcome) {
        let second = now_ms / 1_000;
        let bucket = &mut self.buckets[(second % WINDOW_SECS) as usize];
        if bucket.second != second {
            *bucket = Bucket {
                second,
                ..Bucket::default()
            };
        }
        match outcome {
            Outcome::Good => {
                bucket.good += 1;
                self.refused = 0;
            }
            Outcome::Bad => bucket.bad += 1,
            Outcome::Lost => {
                bucket.bad += 1;
                bucket.lost += 1;
            }
        }
    }

    /// A real request to its path, made while it is out of rotation, went well or did not.
    pub fn probed(&mut self, now_ms: u64, well: bool) {
        let Rotation::Out { successes } = self.rotation else {
            return;
        };
        let successes = if well { successes + 1 } else { 0 };
        let back = successes >= PROBES_NEEDED && !self.flapping(now_ms);
        self.rotation = if back {
            // What was measured before the ejection would eject it again at once.
            self.buckets = Default::default();
            self.measured = MeasuredHealth::Unknown;
            Rotation::Returning { since_ms: now_ms }
        } else {
            Rotation::Out {
                successes: successes.min(PROBES_NEEDED),
            }
        };
    }

    /// Measures anew; `oldest_ms` is the age of the oldest request under way.
    pub fn tick(&mut self, now_ms: u64, oldest_ms: u64) {
        self.now_ms = now_ms;
        self.oldest_ms = oldest_ms;
        let (good, bad, lost) = self.window();
        let all = good + bad;
        let collapsed = all >= OUTCOMES_MIN && bad * 2 >= all;
        let lost_many = lost >= LOST_MIN && lost * 20 >= all;
        let stuck = oldest_ms > self.timeout_ms.saturating_mul(2);
        let gone = self.refused >= BAD_CLAIMS_NEEDED;
        self.measured = if collapsed || lost_many || stuck || gone {
            MeasuredHealth::Bad
        } else if all == 0 {
            MeasuredHealth::Unknown
        } else {
            MeasuredHealth::Good
        };
        if self.measured != MeasuredHealth::Unknown {
            if self.last_known != MeasuredHealth::Unknown && self.last_known != self.measured {
                self.flip(now_ms);
            }
            self.last_known = self.measured;
        }
        if self.measured == MeasuredHealth::Bad {
            self.failed_ms = Some(now_ms);
        }
        if let Rotation::Returning { since_ms } = self.rotation
            && now_ms >= since_ms + RECOVERY_MS
        {
            self.rotation = Rotation::In;
        }
        self.turned_bad_ms = match (self.is_failing(), self.turned_bad_ms) {
            (true, None) => Some(now_ms),
            (true, since) => since,
            (false, _) => None,
        };
    }

    fn window(&self) -> (u64, u64, u64) {
        let now = self.now_ms / 1_000;
        self.buckets
            .iter()
            .filter(|b| b.second <= now && b.second + WINDOW_SECS > now)
            .fold((0, 0, 0), |(good, bad, lost), b| {
                (good + b.good, bad + b.bad, lost + b.lost)
            })
    }

    fn flip(&mut self, now_ms: u64) {
        self.flips_untold += 1;
        self.flips.push_back(now_ms);
        while self.flips.len() > FLIPS_MAX {
            self.flips.pop_front();
        }
    }

    fn flapping(&self, now_ms: u64) -> bool {
        let recent = |at: &&u64| at.saturating_add(FLIP_WINDOW_MS) > now_ms;
        // Three within a minute turn it, and it stays so until a minute passed without one.
        self.flips.len() >= FLIPS_MAX
            && self.flips.back().iter().any(recent)
            && self
                .flips
                .back()
                .zip(self.flips.front())
                .is_some_and(|(last, first)| last.saturating_sub(*first) <= FLIP_WINDOW_MS)
    }

    /// Changes of mind since this was asked last.
    pub fn take_flips(&mut self) -> u64 {
        std::mem::take(&mut self.flips_untold)
    }

    /// Whether it is unwell, by its word or by measurement.
    pub fn is_bad(&self) -> bool {
        self.claimed == ClaimedHealth::Failing
            || self.measured == MeasuredHealth::Bad
            || self.flapping(self.now_ms)
    }

    /// Whether it should leave rotation: it is measured to fail, or changes its mind all the time and was within a
    /// minute.
    pub fn is_failing(&self) -> bool {
        let failed = |at: u64| at.saturating_add(FLIP_WINDOW_MS) > self.now_ms;
        self.measured == MeasuredHealth::Bad
            || (self.flapping(self.now_ms) && self.failed_ms.is_some_and(failed))
    }

    /// When it last turned out to fail; `None` while it does not.
    pub fn turned_bad_ms(&self) -> Option<u64> {
        self.turned_bad_ms
    }

    /// Leaves rotation until probes go well.
    pub fn eject(&mut self) {
        if !self.is_out() {
            self.rotation = Rotation::Out { successes: 0 };
        }
    }

    /// Whether it is out of rotation.
    pub fn is_out(&self) -> bool {
        matches!(self.rotation, Rotation::Out { .. })
    }

    /// Share of what it would get if it were well: 0 out of rotation, growing on the way back.
    pub fn share(&self) -> f64 {
        match self.rotation {
            Rotation::In => 1.0,
            Rotation::Out { .. } => 0.0,
            Rotation::Returning { since_ms } => {
                let part = self.now_ms.saturating_sub(since_ms) as f64 / RECOVERY_MS as f64;
                (RECOVERY_SHARE_MIN + (1.0 - RECOVERY_SHARE_MIN) * part).min(1.0)
            }
        }
    }

    /// What it says.
    pub fn claimed(&self) -> ClaimedHealth {
        self.claimed
    }

    /// What callers measured at the last tick.
    pub fn measured(&self) -> MeasuredHealth {
        self.measured
    }

    /// The worse of both.
    pub fn verdict(&self) -> HealthVerdict {
        let contradicted = self.measured == MeasuredHealth::Bad
            || (self.is_out() && self.last_known == MeasuredHealth::Bad);
        if contradicted && self.claimed == ClaimedHealth::Ok {
            return HealthVerdict::Lying;
        }
        if self.is_bad() || self.is_out() {
            return HealthVerdict::Unhealthy;
        }
        match (self.rotation, self.measured) {
            (Rotation::Returning { .. }, _) => HealthVerdict::Recovering,
            (_, MeasuredHealth::Good) => HealthVerdict::Healthy,
            (_, MeasuredHealth::Bad | MeasuredHealth::Unknown) => HealthVerdict::Unknown,
        }
    }

    /// Good and bad answers per second over the window.
    pub fn rates(&self) -> (f64, f64) {
        let (good, bad, _) = self.window();
        let per_second = |n: u64| n as f64 / WINDOW_SECS as f64;
        (per_second(good), per_second(bad))
    }

    /// Good answers per second over the last five whole seconds.
    pub fn recent_rps(&self, now_ms: u64) -> f64 {
        let now = now_ms / 1_000;
        let whole = |b: &&Bucket| b.second < now && b.second + RECENT_SECS >= now;
        let good: u64 = self.buckets.iter().filter(whole).map(|b| b.good).sum();
        good as f64 / RECENT_SECS as f64
    }

    /// The evidence, in one line with numbers.
    pub fn evidence(&self) -> String {
        let (good, bad, lost) = self.window();
        let mut text = format!(
            "claims {}; {good} good and {bad} bad answers in {WINDOW_SECS} s, {lost} never came back",
            match self.claimed {
                ClaimedHealth::Ok => "ok",
                ClaimedHealth::Failing => "failing",
                ClaimedHealth::Silent => "nothing, and takes no connection",
                ClaimedHealth::Unknown => "nothing yet",
            }
        );
        if self.oldest_ms > 0 {
            let _ = write!(text, "; oldest under way {} ms", self.oldest_ms);
        }
        if self.flapping(self.now_ms) {
            text.push_str("; changed its mind 3 times within 60 s");
        }
        match self.rotation {
            Rotation::In => {}
            Rotation::Out { successes } => {
                let _ = write!(
                    text,
                    "; ejected, {successes} of {PROBES_NEEDED} probes went well"
                );
            }
            Rotation::Returning { .. } => {
                let _ = write!(text, "; back at {:.0} % of a share", self.share() * 100.0);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests;
