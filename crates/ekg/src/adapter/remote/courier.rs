//! Brings samples to the shards of one receiver: as they are accepted, or out of the store when that is behind.

use std::{
    collections::HashMap,
    ops::ControlFlow,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use mainstay_core::ports::Clock;
use mainstay_tsdb::{Labels, MatchOp, Matcher, SeriesSlice};
use tokio::{
    task::spawn_blocking,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{Sources, shard::Shards, state::State};
use crate::{
    Ekg,
    adapter::feed::{Arrival, Subscription},
    relabel::{self, Set},
    remote::encode::Item,
};

/// How often it is written down how far the receiver is.
const KEEP_EVERY: Duration = Duration::from_secs(2);
/// The first time that is read at once out of the store.
const WIDTH_MS: i64 = 10_000;
/// The longest.
const WIDTH_MAX_MS: i64 = 15 * 60 * 1_000;
/// Samples that are read at once, about: 20 MB.
const SLICE_SAMPLES: usize = 500_000;
/// Samples that may come while the last of what is behind is sent; with more, more is behind.
const HELD_MAX: usize = 200_000;
/// Series whose relabeled labels are remembered.
const RELABELED_MAX: usize = 200_000;
/// Series of which it is remembered what was handed over; after more, some may be sent twice.
const HANDED_MAX: usize = 2_000_000;

pub(super) struct Courier {
    state: Arc<State>,
    ekg: Ekg,
    clock: Arc<dyn Clock>,
    feed: Subscription,
    shards: Shards,
    relabeled: HashMap<Labels, Option<Labels>>,
    handed: Handed,
    kept: Instant,
}

/// The time of the newest sample of each series, by the hash of its labels, that was handed over: what is read again
/// from the store is not sent twice.
#[derive(Default)]
struct Handed(HashMap<u64, i64>);

impl Handed {
    fn has(&self, series: u64, at_ms: i64) -> bool {
        self.0.get(&series).is_some_and(|newest| at_ms <= *newest)
    }

    fn add(&mut self, series: u64, at_ms: i64) {
        if self.0.len() >= HANDED_MAX {
            self.0.clear();
        }
        let newest = self.0.entry(series).or_insert(at_ms);
        *newest = at_ms.max(*newest);
    }

    /// A sample was not handed over: it is to be read again, also where it is older than others.
    fn lack(&mut self, series: u64, at_ms: i64) {
        if let Some(newest) = self.0.get_mut(&series) {
            *newest = at_ms.saturating_sub(1).min(*newest);
        }
    }
}

impl Courier {
    /// One that hears of every sample from now on.
    pub(super) fn new(state: Arc<State>, sources: &Sources<'_>, shards: Shards) -> Self {
        Self {
            state,
            ekg: sources.ekg.clone(),
            clock: Arc::clone(sources.clock),
            feed: sources.ekg.feed.subscribe(None),
            shards,
            relabeled: HashMap::new(),
            handed: Handed::default(),
            kept: Instant::now(),
        }
    }

    /// Runs until `stop`; begins with what is in the store from `behind` on.
    pub(super) async fn run(mut self, mut behind: Option<i64>, stop: CancellationToken) {
        let mut ticks = interval(KEEP_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if let Some(from_ms) = behind.take() {
                self.state.counts.catching_up.store(true, Ordering::Relaxed);
                let caught_up = stop.run_until_cancelled(self.catch_up(from_ms)).await;
                let Some(ControlFlow::Continue(next)) = caught_up else {
                    // How far it is was written down a moment ago: the next run begins there.
                    return;
                };
                behind = next;
                self.state
                    .counts
                    .catching_up
                    .store(behind.is_some(), Ordering::Relaxed);
                continue;
            }
            let arrived = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = ticks.tick() => Some(Vec::new()),
                arrived = self.feed.next() => arrived,
            };
            let Some(arrived) = arrived else { break };
            let keeps = arrived.is_empty();
            behind = self.hand_over(arrived);
            if self.feed.missed() {
                let kept_ms = self.lost_count().await;
                behind = Some(behind.map_or(kept_ms, |it| it.min(kept_ms)));
            }
            if keeps {
                behind = self.keep(behind).await;
            }
        }
        // What is unsent is in the store, and sent by the next run.
        let now = self.clock.now();
        let state = Arc::clone(&self.state);
        let waiting = self.feed.waiting();
        let oldest = waiting.iter().map(|it| it.at_ms).min();
        let from_ms = [behind, oldest].into_iter().flatten().min();
        state.keep(now, || from_ms, false).await;
    }

    /// The feed ran over: gives from when on samples may be missing.
    async fn lost_count(&mut self) -> i64 {
        self.handed.0.clear();
        self.state.kept_ms().await
    }

    /// Writes down how far the receiver is; gives what is behind, which may be more after that.
    async fn keep(&mut self, behind: Option<i64>) -> Option<i64> {
        self.kept = Instant::now();
        let (now, state) = (self.clock.now(), Arc::clone(&self.state));
        let mut more = behind;
        let hand_over = || {
            let waiting = self.feed.waiting();
            let left = match behind {
                // What comes after what is behind waits with it.
                Some(from_ms) => waiting
                    .iter()
                    .map(|it| it.at_ms)
                    .min()
                    .map(|it| it.min(from_ms)),
                None => self.hand_over(waiting),
            };
            more = [behind, left].into_iter().flatten().min();
            more
        };
        state.keep(now, hand_over, true).await;
        more
    }

    /// Puts samples into the shards; gives the time from which the store has to be read where they have no room.
    fn hand_over(&mut self, arrived: Vec<Arrival>) -> Option<i64> {
        let mut left: Option<i64> = None;
        for arrival in arrived {
            let at_ms = arrival.at_ms;
            // Once one has no room, what follows waits too: samples of a series keep their order.
            let series = arrival.labels.hash64();
            let has_room = left.is_none() && self.offer(arrival);
            if !has_room {
                self.handed.lack(series, at_ms);
                left = Some(left.map_or(at_ms, |it| it.min(at_ms)));
            }
        }
        left
    }

    fn offer(&mut self, arrival: Arrival) -> bool {
        self.heard(arrival.at_ms);
        let series = arrival.labels.hash64();
        let Some(item) = self.item(arrival) else {
            return true;
        };
        let at_ms = item.at_ms;
        let Some(shard) = self.shards.of(&item) else {
            return true;
        };
        let Ok(permit) = shard.try_reserve() else {
            return false;
        };
        self.state.unsent().add(at_ms);
        permit.send(item);
        self.handed.add(series, at_ms);
        true
    }

    fn heard(&self, at_ms: i64) {
        let newest = &self.state.counts.newest_ms;
        newest.fetch_max(at_ms, Ordering::Relaxed);
    }

    /// As the receiver gets it; nothing where it does not.
    fn item(&mut self, arrival: Arrival) -> Option<Item> {
        let Arrival {
            labels,
            at_ms,
            value,
            histogram,
        } = arrival;
        if histogram.is_some() && !self.state.remote.sends_histograms() {
            return None;
        }
        let labels = if self.state.remote.rules.is_empty() {
            labels
        } else {
            self.relabeled(labels)?
        };
        Some(Item {
            labels,
            at_ms,
            value,
            histogram,
        })
    }

    fn relabeled(&mut self, labels: Labels) -> Option<Labels> {
        if self.relabeled.len() >= RELABELED_MAX {
            self.relabeled.clear();
        }
        let rules = &self.state.remote.rules;
        let made = self.relabeled.entry(labels).or_insert_with_key(|labels| {
            let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
            let set: Set = labels.iter().map(pair).collect();
            let made = relabel::apply(rules, set)?;
            Labels::from_pairs(made)
                .ok()
                .filter(|made| !made.is_empty())
        });
        if made.is_none() {
            self.state.counts.relabeled.fetch_add(1, Ordering::Relaxed);
        }
        made.clone()
    }

    /// Reads the store from `from_ms` on and puts it into the shards, slice by slice. Gives what is behind once more,
    /// if something is; breaks where the feed ended.
    async fn catch_up(&mut self, mut from_ms: i64) -> ControlFlow<(), Option<i64>> {
        let receiver = self.state.remote.name().to_owned();
        tracing::info!(
            receiver,
            from_ms,
            "samples are read from the store for a receiver"
        );
        let mut width_ms = WIDTH_MS;
        loop {
            let now_ms = self.clock.now().millis();
            let is_last = from_ms.saturating_add(width_ms) > now_ms;
            let end_ms = if is_last {
                i64::MAX
            } else {
                from_ms + width_ms - 1
            };
            // What came before is in the store: only what is older than this slice has to be handed over.
            let mut late = self.feed.waiting();
            late.retain(|it| {
                let is_late = it.at_ms < from_ms;
                if !is_late {
                    self.handed.lack(it.labels.hash64(), it.at_ms);
                }
                is_late
            });
            if let Some(older_ms) = self.hand_over(late) {
                from_ms = older_ms;
                continue;
            }
            let found = self.slice(from_ms, end_ms).await;
            let samples = found.iter();
            let samples: usize = samples
                .map(|it| it.timestamps.len() + it.histograms.len())
                .sum();
            let mut passing = Passing {
                from_ms,
                end_ms,
                held: Vec::new(),
                left: None,
                newest_ms: 0,
            };
            for series in found {
                self.put(&series, &mut passing).await?;
            }
            self.heard(passing.newest_ms);
            if self.feed.missed() {
                return ControlFlow::Continue(Some(self.lost_count().await));
            }
            if self.kept.elapsed() >= KEEP_EVERY {
                let next_ms = if is_last { from_ms } else { end_ms + 1 };
                self.keep_behind(next_ms, &mut passing).await;
            }
            if let Some(older_ms) = passing.left {
                from_ms = older_ms;
            } else if is_last {
                tracing::info!(receiver, "the receiver has what the store has");
                let mut held = passing.held;
                held.retain(|it| !self.handed.has(it.labels.hash64(), it.at_ms));
                return ControlFlow::Continue(self.hand_over(held));
            } else {
                from_ms = end_ms + 1;
                width_ms = wider(width_ms, samples);
            }
        }
    }

    /// Writes down that everything from `from_ms` on is still to be read.
    async fn keep_behind(&mut self, from_ms: i64, passing: &mut Passing) {
        self.kept = Instant::now();
        let now = self.clock.now();
        let (feed, handed) = (&mut self.feed, &mut self.handed);
        let hand_over = || {
            passing.by(feed.waiting(), handed);
            Some(passing.left.map_or(from_ms, |it| it.min(from_ms)))
        };
        self.state.keep(now, hand_over, true).await;
    }

    /// All series with a sample in the window; none, with a word in the log, where that cannot be read.
    async fn slice(&self, from_ms: i64, end_ms: i64) -> Vec<SeriesSlice> {
        let ekg = self.ekg.clone();
        let read = spawn_blocking(move || {
            let all = Matcher::new("__name__", MatchOp::NotEqual, "").ok();
            let all: Vec<Matcher> = all.into_iter().collect();
            ekg.tsdb.select(&all, from_ms, end_ms)
        });
        let receiver = self.state.remote.name();
        match read.await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                tracing::error!(receiver, %error, from_ms, end_ms, "samples are not sent");
                Vec::new()
            }
            Err(error) => {
                tracing::error!(receiver, %error, from_ms, end_ms, "reading samples died");
                Vec::new()
            }
        }
    }

    /// Puts a series into its shard as there is room, and minds the feed meanwhile.
    async fn put(&mut self, series: &SeriesSlice, passing: &mut Passing) -> ControlFlow<()> {
        let number = series.labels.hash64();
        let numbers = series.timestamps.iter().zip(series.values.iter());
        let numbers = numbers.map(|(at_ms, value)| (*at_ms, *value, None));
        let histograms = series.histograms.iter();
        let histograms = histograms.map(|it| (it.at_ms, f64::NAN, Some(Arc::clone(&it.histogram))));
        let mut samples: Vec<_> = numbers.chain(histograms).collect();
        if !series.histograms.is_empty() {
            samples.sort_by_key(|(at_ms, ..)| *at_ms);
        }
        for (at_ms, value, histogram) in samples {
            if self.handed.has(number, at_ms) {
                continue;
            }
            let arrival = Arrival {
                labels: series.labels.clone(),
                at_ms,
                value,
                histogram,
            };
            let Some(item) = self.item(arrival) else {
                continue;
            };
            let Some(shard) = self.shards.of(&item) else {
                continue;
            };
            let permit = loop {
                tokio::select! {
                    biased;
                    permit = shard.reserve() => break permit,
                    arrived = self.feed.next() => match arrived {
                        Some(arrived) => passing.by(arrived, &mut self.handed),
                        None => return ControlFlow::Break(()),
                    },
                }
            };
            let Ok(permit) = permit else {
                return ControlFlow::Break(());
            };
            self.state.unsent().add(at_ms);
            permit.send(item);
            self.handed.add(number, at_ms);
        }
        // Where nothing was waited for, the feed was not looked at.
        passing.by(self.feed.waiting(), &mut self.handed);
        ControlFlow::Continue(())
    }
}

/// What comes while a slice is put.
struct Passing {
    from_ms: i64,
    end_ms: i64,
    /// What may not have been in the slice when it was read.
    held: Vec<Arrival>,
    /// From when on the store has to be read again.
    left: Option<i64>,
    newest_ms: i64,
}

impl Passing {
    fn by(&mut self, arrived: Vec<Arrival>, handed: &mut Handed) {
        for arrival in arrived {
            let at_ms = arrival.at_ms;
            self.newest_ms = self.newest_ms.max(at_ms);
            if at_ms > self.end_ms {
                // Read with a later slice.
                handed.lack(arrival.labels.hash64(), at_ms);
                continue;
            }
            let is_older = arrival.at_ms < self.from_ms || self.end_ms < i64::MAX;
            if is_older || self.held.len() >= HELD_MAX {
                handed.lack(arrival.labels.hash64(), at_ms);
                self.left = Some(self.left.map_or(at_ms, |it| it.min(at_ms)));
            } else {
                self.held.push(arrival);
            }
        }
    }
}

/// The next width after one with so many samples.
fn wider(width_ms: i64, samples: usize) -> i64 {
    let wanted = if samples < SLICE_SAMPLES / 2 {
        width_ms * 2
    } else if samples > SLICE_SAMPLES {
        width_ms / 2
    } else {
        width_ms
    };
    wanted.clamp(1, WIDTH_MAX_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(at_ms: i64) -> Arrival {
        Arrival {
            labels: Labels::default(),
            at_ms,
            value: 1.0,
            histogram: None,
        }
    }

    #[test]
    fn what_comes_meanwhile_is_held_read_later_or_read_again() {
        let mut passing = Passing {
            from_ms: 10,
            end_ms: 19,
            held: Vec::new(),
            left: None,
            newest_ms: 0,
        };
        let mut handed = Handed::default();
        handed.add(Labels::default().hash64(), 50);
        passing.by(vec![arrival(20), arrival(300)], &mut handed);
        assert_eq!((passing.left, passing.held.len()), (None, 0), "read later");
        assert!(!handed.has(Labels::default().hash64(), 20));
        passing.by(vec![arrival(15), arrival(3)], &mut handed);
        assert_eq!(passing.left, Some(3), "read again");
        let mut last = Passing {
            from_ms: 10,
            end_ms: i64::MAX,
            held: Vec::new(),
            left: None,
            newest_ms: 0,
        };
        last.by(vec![arrival(10), arrival(99)], &mut handed);
        assert_eq!((last.left, last.held.len()), (None, 2), "held");
        last.by(vec![arrival(9)], &mut handed);
        assert_eq!(last.left, Some(9), "read again");
    }

    #[test]
    fn slices_grow_where_there_is_little_and_shrink_where_there_is_much() {
        assert_eq!(wider(10_000, 0), 20_000);
        assert_eq!(wider(10_000, SLICE_SAMPLES), 10_000);
        assert_eq!(wider(10_000, SLICE_SAMPLES + 1), 5_000);
        assert_eq!(wider(WIDTH_MAX_MS, 0), WIDTH_MAX_MS);
        assert_eq!(wider(1, usize::MAX), 1);
    }
}
