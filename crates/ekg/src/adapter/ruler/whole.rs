//! The task that evaluates a group's alerts as a whole when samples arrive that they select.
//!
//! Guarantees: how often is bounded by [`WholeGroup`], and all groups together evaluate [`AT_ONCE`] of them at once;
//! the group's own rounds wait for no turn of another group. One that missed samples evaluates all its alerts. Never
//! computes on a thread that others wait for.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use mainstay_core::{Span, Time};
use mainstay_rules::{Around, GroupRun, WholeGroup};
use mainstay_tsdb::Labels;
use tokio::{
    sync::mpsc,
    task::spawn_blocking,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Key, Ruler,
    moved::{Moved, Tick},
};
use crate::adapter::feed::{Arrival, Subscription, wanted};

/// Evaluations that arrivals cause, of all groups, at once: queries of people go on beside them.
pub(super) const AT_ONCE: usize = 1;
/// Series of the metrics that rules name that are remembered; beyond them all are asked for anew.
const ROSTER_MAX: usize = 100_000;
/// How long nothing wakes it, at most.
const IDLE: Duration = Duration::from_hours(1);

/// Begins to follow the samples that the group's alerts select.
pub(super) fn start(ruler: &Ruler, group: &GroupRun, stop: CancellationToken) -> Moved<WholeGroup> {
    let now = ruler.clock.now();
    let mut whole = WholeGroup::of(group, super::lookback(), now);
    let places = whole.places().collect();
    let subscription = ruler.ekg.feed.subscribe(wanted(whole.selectors()));
    // Nobody told what came before.
    whole.take_all(now);
    let follower = Follower {
        subscription,
        ruler: ruler.clone(),
        key: super::key(group),
        interval: group.interval,
        rules: Rostered {
            group: whole,
            roster: HashMap::new(),
        },
    };
    Moved::new(places, |asked| follower.follow(asked, stop))
}

/// Rules, and which of them the samples of each series concern.
struct Rostered {
    group: WholeGroup,
    roster: HashMap<Labels, Vec<usize>>,
}

impl Rostered {
    fn take(&mut self, arrivals: Vec<Arrival>, now: Time) {
        if self.roster.len() > ROSTER_MAX {
            self.roster.clear();
        }
        for arrival in arrivals {
            let concerned = self.roster.entry(arrival.labels);
            let concerned = concerned.or_insert_with_key(|labels| {
                let labels = mainstay_promql::Labels::from_pairs(labels.iter());
                self.group.open(&labels)
            });
            self.group.take(concerned, arrival.at_ms, now);
        }
    }
}

struct Follower {
    ruler: Ruler,
    key: Key,
    interval: Span,
    rules: Rostered,
    subscription: Subscription,
}

impl Follower {
    async fn follow(
        mut self,
        mut ticks: mpsc::Receiver<Tick>,
        stop: CancellationToken,
    ) -> WholeGroup {
        let at_once = Arc::clone(&self.ruler.at_once);
        loop {
            let wait = self.wait();
            // What arrives while a rule is due waits in the feed: an evaluation is for all of it.
            let is_due = wait.is_zero();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                tick = ticks.recv() => match tick {
                    Some(tick) => self = self.tick(tick).await,
                    None => break,
                },
                turn = at_once.acquire(), if is_due => match turn {
                    Ok(turn) => {
                        self = self.turn().await;
                        drop(turn);
                    }
                    Err(_) => break,
                },
                arrived = self.subscription.next(), if !is_due => match arrived {
                    Some(arrived) => self = self.take(arrived).await,
                    None => break,
                },
                () = sleep_until(Instant::now() + wait), if !is_due => {}
            }
        }
        self.rules.group
    }

    fn wait(&self) -> Duration {
        let now = self.ruler.clock.now();
        let wake = self.rules.group.wake_at();
        wake.map_or(IDLE, |it| it.since(now).duration())
    }

    /// What came, and what waits already.
    fn arrived(&mut self, mut first: Vec<Arrival>) -> Vec<Arrival> {
        if self.subscription.missed() {
            self.rules.group.take_all(self.ruler.clock.now());
            first.clear();
        }
        first.append(&mut self.subscription.waiting());
        first
    }

    async fn take(mut self, arrived: Vec<Arrival>) -> Self {
        let arrived = self.arrived(arrived);
        let ((), follower) = self
            .computed(move |it| it.rules.take(arrived, it.ruler.clock.now()))
            .await;
        follower
    }

    /// Evaluates the rule that waits for the longest.
    async fn turn(mut self) -> Self {
        let arrived = self.arrived(Vec::new());
        let (turned, mut follower) = self
            .computed(move |it| {
                let now = it.ruler.clock.now();
                it.rules.take(arrived, now);
                let place = it.rules.group.due(now)?;
                it.evaluate(place, |group, around| group.turn(place, now, around));
                Some((place, now))
            })
            .await;
        if let Some((place, now)) = turned {
            follower.count(place);
            follower.tell(place, now);
        }
        follower
    }

    fn count(&mut self, place: usize) {
        let board = &self.ruler.board.0;
        board.whole.fetch_add(1, Ordering::Relaxed);
        let Some(run) = self.rules.group.run_mut(place) else {
            return;
        };
        if let Some(error) = &run.error {
            board.failures.fetch_add(1, Ordering::Relaxed);
            let rule = run.rule.name();
            tracing::warn!(group = self.key.1, rule, %error, "a rule failed");
        }
    }

    async fn tick(mut self, tick: Tick) -> Self {
        let arrived = self.arrived(Vec::new());
        let Tick { place, now, reply } = tick;
        let (evaluation, mut follower) = self
            .computed(move |it| {
                it.rules.take(arrived, now);
                it.evaluate(place, |group, around| group.tick(place, now, around))
            })
            .await;
        follower.tell(place, now);
        if let Some(run) = follower.rules.group.run_mut(place) {
            // Whoever asked may have been stopped.
            let _ = reply.send((evaluation, run.clone()));
        }
        follower
    }

    /// Computes, and rests according to how long that took.
    fn evaluate<T>(
        &mut self,
        place: usize,
        compute: impl FnOnce(&mut WholeGroup, Around<'_>) -> T,
    ) -> T {
        let began = Instant::now();
        let around = Around {
            external: &self.ruler.config.external,
            source: &self.ruler.source,
        };
        let given = compute(&mut self.rules.group, around);
        let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let now = self.ruler.clock.now();
        self.rules.group.rest(place, now, Span::from_millis(took));
        given
    }

    fn tell(&mut self, place: usize, now: Time) {
        if let Some(run) = self.rules.group.run_mut(place) {
            self.ruler.tell(self.interval, run, now);
            self.ruler.board.amend(&self.key, place, run);
        }
    }

    /// Computes on a thread of its own.
    async fn computed<T: Send + 'static>(
        self,
        compute: impl FnOnce(&mut Self) -> T + Send + 'static,
    ) -> (T, Self) {
        let mut follower = self;
        let task = spawn_blocking(move || {
            let result = compute(&mut follower);
            (result, follower)
        });
        task.await
            .unwrap_or_else(|died| std::panic::resume_unwind(died.into_panic()))
    }
}
