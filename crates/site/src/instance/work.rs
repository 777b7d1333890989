//! The workers of an instance, the queue before them, and what its defects do to both.
//!
//! Guarantees: at most `workers` requests are worked on and at most `queue` wait; the capacity is
//! `workers / service time`. All draws come from the seed and the instance's name.
//! Never admits out of turn: a free worker goes to whoever waits longest.
//! Example: 4 workers of 20 ms carry 200 requests a second; at 300 a second the queue fills.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::artifact::{Spec, WhenFull};
use crate::defect::Defect;
use crate::random::{self, Purpose};

/// An instance that turned a request away calls itself overloaded for this long.
const OVERLOAD_MEMORY: Duration = Duration::from_secs(1);
/// A leak goes from its first symptom to its worst within this many seconds.
const LEAK_RAMP_S: f64 = 30.0;
/// At its worst, a leak makes requests this many times slower.
const LEAK_SLOWDOWN: f64 = 10.0;
/// At its worst, a leak fails this share of requests.
const LEAK_FAILURES: f64 = 0.5;
const MEGABYTE: usize = 1 << 20;

/// What a request meets at the door.
#[derive(Debug)]
pub(super) enum Admission<'a> {
    /// A worker, until the permit is dropped.
    Worker(SemaphorePermit<'a>),
    /// The queue is full, and the instance says so.
    Refused,
    /// The request will never be answered.
    Held,
}

#[derive(Debug)]
struct Draws {
    service: ChaCha8Rng,
    defect: ChaCha8Rng,
}

/// Workers and queue.
#[derive(Debug)]
pub(super) struct Pool {
    spec: Spec,
    workers: Semaphore,
    waiting: AtomicUsize,
    turned_away: Mutex<Option<Instant>>,
    wedged: AtomicBool,
    started: Instant,
    draws: Mutex<Draws>,
}

/// One place in the queue, given back on drop, also when the client leaves.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The data behind a lock; a panic elsewhere cannot have left numbers half-written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    pub(super) fn new(spec: &Spec, seed: u64, instance: &str) -> Self {
        Self {
            workers: Semaphore::new(spec.workers as usize),
            waiting: AtomicUsize::new(0),
            turned_away: Mutex::new(None),
            wedged: AtomicBool::new(false),
            started: Instant::now(),
            draws: Mutex::new(Draws {
                service: random::stream(seed, instance, Purpose::Service),
                defect: random::stream(seed, instance, Purpose::Defect),
            }),
            spec: spec.clone(),
        }
    }

    /// Requests waiting for a worker.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Workers without a request; a wedged instance loses them for good.
    pub(super) fn idle_workers(&self) -> usize {
        self.workers.available_permits()
    }

    /// Whether a stop asked for now comes to nothing.
    pub(super) fn ignores_stop(&self) -> bool {
        let deaf = |only_overloaded| self.has(&Defect::IgnoresStop { only_overloaded });
        deaf(false) || (deaf(true) && self.overloaded())
    }

    /// What the health endpoint says, which need not be true.
    pub(super) fn says_healthy(&self) -> bool {
        self.has(&Defect::LyingHealth) || !self.overloaded()
    }

    /// Whether a request that outlived its deadline is kept instead of answered.
    pub(super) fn holds_late_requests(&self) -> bool {
        self.wedged() || (self.has(&Defect::LyingHealth) && self.overloaded())
    }

    fn has(&self, defect: &Defect) -> bool {
        self.spec.defects.contains(defect)
    }

    fn wedged(&self) -> bool {
        self.wedged.load(Ordering::Relaxed)
    }

    fn overloaded(&self) -> bool {
        self.wedged()
            || self.waiting() >= self.spec.queue as usize
            || lock(&self.turned_away).is_some_and(|at| at.elapsed() < OVERLOAD_MEMORY)
    }

    /// Waits for a worker, if there is room to wait.
    pub(super) async fn admit(&self) -> Admission<'_> {
        let permit = if let Ok(permit) = self.workers.try_acquire() {
            permit
        } else {
            if self.waiting() >= self.spec.queue as usize {
                return self.turn_away();
            }
            self.waiting.fetch_add(1, Ordering::Relaxed);
            let _place = Place(&self.waiting);
            match self.workers.acquire().await {
                Ok(permit) => permit,
                // The semaphore is never closed; were it, nobody could be served.
                Err(_) => return Admission::Refused,
            }
        };
        if self.wedged() {
            permit.forget();
            return Admission::Held;
        }
        Admission::Worker(permit)
    }

    fn turn_away(&self) -> Admission<'_> {
        *lock(&self.turned_away) = Some(Instant::now());
        if self.has(&Defect::Hang) {
            self.wedged.store(true, Ordering::Relaxed);
        }
        let hang = self.wedged()
            || self.has(&Defect::LyingHealth)
            || self.spec.when_full == WhenFull::Hang;
        if hang {
            Admission::Held
        } else {
            Admission::Refused
        }
    }

    /// How far the leak has come, from 0 (no symptom) to 1 (its worst).
    fn leaked(&self) -> f64 {
        let age_s = self.started.elapsed().as_secs_f64();
        let mut worst = 0.0_f64;
        for defect in &self.spec.defects {
            if let Defect::Leak { after_s, .. } = defect {
                worst = worst.max(((age_s - after_s) / LEAK_RAMP_S).clamp(0.0, 1.0));
            }
        }
        worst
    }

    /// How long a worker holds the next request.
    pub(super) fn service_time(&self) -> Duration {
        let age_s = self.started.elapsed().as_secs_f64();
        let cold = if age_s < self.spec.cold_s {
            let warmth = age_s / self.spec.cold_s;
            self.spec.cold_factor + (1.0 - self.spec.cold_factor) * warmth
        } else {
            1.0
        };
        let leak = 1.0 + (LEAK_SLOWDOWN - 1.0) * self.leaked();
        let mut draws = lock(&self.draws);
        let drawn = random::log_normal(&mut draws.service, self.spec.spread);
        let mut ms = self.spec.service_ms * drawn * cold * leak;
        for defect in &self.spec.defects {
            if let Defect::Slow {
                probability,
                ms: extra_ms,
            } = defect
                && draws.defect.random::<f64>() < *probability
            {
                ms += extra_ms;
            }
        }
        Duration::from_secs_f64(ms / 1_000.0)
    }

    /// Whether the request of this client version on this route fails.
    pub(super) fn fails(&self, route: &str, client: Option<&str>) -> bool {
        let leak = LEAK_FAILURES * self.leaked();
        let mut draws = lock(&self.draws);
        let mut failed = leak > 0.0 && draws.defect.random::<f64>() < leak;
        for defect in &self.spec.defects {
            if let Defect::Errors {
                probability,
                route: of_route,
                client: of_client,
            } = defect
                && of_route.as_deref().is_none_or(|only| only == route)
                && (of_client.is_none() || of_client.as_deref() == client)
            {
                failed |= draws.defect.random::<f64>() < *probability;
            }
        }
        failed
    }

    /// Takes the leak's memory, a megabyte at a time, spread over the time until its first symptom.
    pub(super) async fn leak(&self) {
        for defect in &self.spec.defects {
            if let Defect::Leak { after_s, mb } = defect
                && *mb > 0
            {
                let pause = Duration::from_secs_f64(after_s / f64::from(*mb));
                for _ in 0..*mb {
                    tokio::time::sleep(pause).await;
                    // Written, not just reserved, and never freed: that is the defect.
                    std::mem::forget(std::hint::black_box(vec![1_u8; MEGABYTE]));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(defects: &[&str]) -> Spec {
        Spec {
            service: "feed".into(),
            version: "1".into(),
            workers: 1,
            service_ms: 10.0,
            spread: 0.0,
            queue: 1,
            when_full: WhenFull::Reject,
            cold_s: 0.0,
            cold_factor: 4.0,
            routes: vec!["home".into(), "updates".into()],
            dependencies: Vec::new(),
            defects: defects.iter().map(|text| text.parse().unwrap()).collect(),
            seed: 0,
        }
    }

    fn ms(pool: &Pool) -> f64 {
        pool.service_time().as_secs_f64() * 1_000.0
    }

    #[test]
    fn a_cold_cache_is_slow_at_first_and_not_for_good() {
        let cold = Spec {
            cold_s: 3_600.0,
            ..spec(&[])
        };
        let mut pool = Pool::new(&cold, 0, "feed-1");
        assert!((ms(&pool) - 40.0).abs() < 1.0);
        pool.spec.cold_s = 0.0;
        assert!((ms(&pool) - 10.0).abs() < 1e-6);
    }

    #[test]
    fn a_slow_tail_has_the_share_that_was_asked_for() {
        let pool = Pool::new(&spec(&["slow=0.2,ms=100"]), 1, "feed-1");
        let slow = (0..5_000).filter(|_| ms(&pool) > 100.0).count();
        // Six standard deviations of a binomial count of 1,000.
        assert!((830..1_170).contains(&slow), "{slow}");
    }

    #[test]
    fn the_same_seed_and_instance_fail_the_same_requests() {
        let draw = |seed, instance| {
            let pool = Pool::new(&spec(&["errors=0.5,route=home"]), seed, instance);
            (0..64)
                .map(|_| pool.fails("home", None))
                .collect::<Vec<_>>()
        };
        assert_eq!(draw(1, "feed-1"), draw(1, "feed-1"));
        assert_ne!(draw(1, "feed-1"), draw(1, "feed-2"));
        let pool = Pool::new(&spec(&["errors=0.5,route=home"]), 1, "feed-1");
        assert!((0..64).all(|_| !pool.fails("updates", None)));
    }

    #[test]
    fn a_leak_shows_nothing_before_its_time() {
        let pool = Pool::new(&spec(&["leak=3600"]), 1, "feed-1");
        assert!((ms(&pool) - 10.0).abs() < 1e-6);
        assert!((0..64).all(|_| !pool.fails("home", None)));
    }
}
