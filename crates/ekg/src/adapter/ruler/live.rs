//! The task that moves a group's alerts with the samples they hang on.
//!
//! Guarantees: a sample that the writer accepted is in the rules before anything that is asked after it was
//! acknowledged; an alert that it begins, fires or ends is told at once. What comes while a turn computes is taken
//! together in the next one; a turn of more than [`LONG`] is followed by a rest as long, at most [`REST_MAX`]. One that
//! missed samples reads again what is stored, and counts it. Never computes on a thread that others wait for.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use mainstay_core::{Span, Time};
use mainstay_promql::Matcher;
use mainstay_rules::{Around, GroupRun, LiveGroup, Slots};
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

/// Turns that are shorter need no rest: they cost what their samples cost.
const LONG: Duration = Duration::from_millis(20);
/// Longer rests would only let more samples wait than can be taken.
const REST_MAX: Duration = Duration::from_millis(50);
/// What is due by time alone is taken together so often.
const DUE_EVERY: Duration = Duration::from_millis(5);
/// Series of the metrics that rules name, but of no interest to them, that are remembered.
const STRANGERS_MAX: usize = 100_000;
/// How long nothing wakes it, at most.
const IDLE: Duration = Duration::from_hours(1);

/// Begins to follow the samples that the group's rules hang on.
pub(super) async fn start(
    ruler: &Ruler,
    group: &GroupRun,
    stop: CancellationToken,
) -> Moved<LiveGroup> {
    let follower = Follower::open(ruler, group).await;
    let places = follower.rules.group.places().collect();
    Moved::new(places, |asked| follower.follow(asked, stop))
}

/// Rules, and where the samples of each series go.
struct Rostered {
    group: LiveGroup,
    /// Series by their labels; some go nowhere.
    roster: HashMap<Labels, Slots>,
    /// How many of them.
    strangers: usize,
}

impl Rostered {
    fn take(&mut self, arrivals: Vec<Arrival>) {
        for arrival in arrivals {
            let slots = self.roster.entry(arrival.labels);
            let slots = slots.or_insert_with_key(|labels| {
                let labels = mainstay_promql::Labels::from_pairs(labels.iter());
                let slots = self.group.open(&labels);
                self.strangers += usize::from(slots.is_empty());
                slots
            });
            match arrival.histogram {
                None => self.group.take(slots, arrival.at_ms, arrival.value),
                Some(_) => self.group.take_histogram(slots),
            }
        }
        if self.strangers > STRANGERS_MAX {
            self.roster.retain(|_, slots| !slots.is_empty());
            self.strangers = 0;
        }
    }

    /// Forgets where most series are gone.
    fn renew(&mut self) {
        if self.group.renew() {
            self.roster.clear();
            self.strangers = 0;
        }
    }

    /// Reads what is stored, as far back as the rules look.
    fn read(&mut self, ruler: &Ruler, now: Time) {
        let selections = self.group.selections().into_iter();
        let selections = selections.map(|(matchers, reach)| (matchers.to_vec(), reach));
        for (matchers, reach) in selections.collect::<Vec<(Vec<Matcher>, Span)>>() {
            let found = match ruler.ekg.select(&matchers, now - reach, now) {
                Ok(found) => found,
                Err(error) => {
                    tracing::error!(%error, "live rules begin without what is stored");
                    continue;
                }
            };
            for series in found {
                let Ok(labels) = Labels::from_pairs(series.labels.iter()) else {
                    continue;
                };
                let numbers = series.timestamps.iter().zip(&*series.values).enumerate();
                // A rule that any histogram concerns is asked of the engine.
                let histograms = series.histograms.as_deref().map_or(&[][..], Vec::as_slice);
                let histogram = |at: usize| {
                    let is_one = histograms.get(at).is_some_and(Option::is_some);
                    is_one.then(Arc::default)
                };
                let arrivals = numbers.map(|(at, (at_ms, value))| Arrival {
                    labels: labels.clone(),
                    at_ms: *at_ms,
                    value: *value,
                    histogram: histogram(at),
                });
                self.take(arrivals.collect());
            }
        }
    }
}

struct Follower {
    ruler: Ruler,
    key: Key,
    interval: Span,
    rules: Rostered,
    subscription: Subscription,
    turned_at: Instant,
    /// No turn for samples before.
    rested_at: Instant,
}

impl Follower {
    async fn open(ruler: &Ruler, group: &GroupRun) -> Self {
        let now = ruler.clock.now();
        let live = LiveGroup::of(group, super::lookback(), now);
        // What is accepted meanwhile is both stored and told, and taken once.
        let selections = live.selections().into_iter().map(|(matchers, _)| matchers);
        let subscription = ruler.ekg.feed.subscribe(wanted(selections));
        let follower = Self {
            ruler: ruler.clone(),
            key: super::key(group),
            interval: group.interval,
            rules: Rostered {
                group: live,
                roster: HashMap::new(),
                strangers: 0,
            },
            subscription,
            turned_at: Instant::now(),
            rested_at: Instant::now(),
        };
        follower.read().await
    }

    async fn read(self) -> Self {
        let now = self.ruler.clock.now();
        let ((), follower) = self.computed(move |it| it.rules.read(&it.ruler, now)).await;
        follower
    }

    async fn follow(
        mut self,
        mut ticks: mpsc::Receiver<Tick>,
        stop: CancellationToken,
    ) -> LiveGroup {
        // What is stored already may hold or end an alert.
        self = self.turn(Vec::new()).await;
        loop {
            let is_resting = Instant::now() < self.rested_at;
            let wake = if is_resting {
                self.rested_at
            } else {
                self.wake_at()
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                tick = ticks.recv() => match tick {
                    Some(tick) => self = self.tick(tick).await,
                    None => break,
                },
                arrived = self.subscription.next(), if !is_resting => match arrived {
                    Some(arrived) => self = self.turn(arrived).await,
                    None => break,
                },
                () = sleep_until(wake) => if !is_resting {
                    self = self.turn(Vec::new()).await;
                },
            }
        }
        self.rules.group
    }

    fn wake_at(&self) -> Instant {
        let now = self.ruler.clock.now();
        let wake = self.rules.group.wake_at();
        let wait = wake.map_or(IDLE, |it| it.since(now).duration());
        (Instant::now() + wait).max(self.turned_at + DUE_EVERY)
    }

    /// Takes what came, and moves the alerts on.
    async fn turn(mut self, mut arrived: Vec<Arrival>) -> Self {
        if self.subscription.missed() {
            self = self.read_again().await;
            arrived.clear();
        }
        arrived.append(&mut self.subscription.waiting());
        let began = Instant::now();
        let ((), mut follower) = self
            .computed(move |it| {
                it.rules.take(arrived);
                let now = it.ruler.clock.now();
                let around = Around {
                    external: &it.ruler.config.external,
                    source: &it.ruler.source,
                };
                let changed = it.rules.group.turn(now, around);
                for place in changed {
                    it.tell(place, now);
                }
            })
            .await;
        follower.turned_at = Instant::now();
        let took = follower.turned_at - began;
        if took > LONG {
            follower.rested_at = follower.turned_at + took.min(REST_MAX);
        }
        let board = &follower.ruler.board.0;
        board.turns.fetch_add(1, Ordering::Relaxed);
        follower
    }

    fn tell(&mut self, place: usize, now: Time) {
        if let Some(run) = self.rules.group.run_mut(place) {
            self.ruler.tell(self.interval, run, now);
            self.ruler.board.amend(&self.key, place, run);
        }
    }

    async fn tick(mut self, tick: Tick) -> Self {
        if self.subscription.missed() {
            self = self.read_again().await;
        }
        let arrived = self.subscription.waiting();
        let Tick { place, now, reply } = tick;
        let (evaluation, mut follower) = self
            .computed(move |it| {
                it.rules.take(arrived);
                it.rules.renew();
                let around = Around {
                    external: &it.ruler.config.external,
                    source: &it.ruler.source,
                };
                it.rules.group.tick(place, now, around)
            })
            .await;
        follower.tell(place, now);
        if let Some(run) = follower.rules.group.run_mut(place) {
            // Whoever asked may have been stopped.
            let _ = reply.send((evaluation, run.clone()));
        }
        follower
    }

    /// Some were missed: what is stored has them.
    async fn read_again(self) -> Self {
        let board = &self.ruler.board.0;
        board.reread.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            group = self.key.1,
            "live rules fell behind and read again what is stored"
        );
        self.read().await
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
