//! Samples as they are accepted, for who moves with them.
//!
//! Guarantees: a subscriber hears of each accepted sample of the metrics that it named, in the order in which
//! they were written; where it is too slow for that it hears that it missed some, and has to read what is
//! stored. Never makes the writer wait, and costs nothing while nobody listens.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use mainstay_promql::{MatchOp, Matcher};
use mainstay_tsdb::{Histogram, Labels};
use tokio::sync::mpsc;

/// Deliveries that may wait for one subscriber.
const WAITING_MAX: usize = 1_024;

/// An accepted sample.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Arrival {
    pub(crate) labels: Labels,
    pub(crate) at_ms: i64,
    /// Of no meaning where it is a histogram.
    pub(crate) value: f64,
    pub(crate) histogram: Option<Arc<Histogram>>,
}

/// Names of the metrics that somebody wants to hear of; none for all.
pub(crate) type Wanted = Option<BTreeSet<String>>;

/// The metrics that selectors name; all where one names none.
pub(crate) fn wanted<'a>(selectors: impl Iterator<Item = &'a [Matcher]>) -> Wanted {
    let names = selectors.map(|matchers| {
        let named = matchers.iter().find(|it| {
            it.name == mainstay_tsdb::METRIC_NAME && it.op == MatchOp::Equal && !it.value.is_empty()
        });
        named.map(|it| it.value.clone())
    });
    names.collect()
}

#[derive(Debug)]
struct Subscriber {
    to: mpsc::Sender<Vec<Arrival>>,
    missed: Arc<AtomicBool>,
    wanted: Wanted,
}

/// No edition of the board has this number.
pub(crate) const NO_EDITION: u32 = 0;

#[derive(Debug, Default)]
struct Board {
    /// Counts how often it changed what anybody wants to hear of.
    edition: u32,
    subscribers: Vec<Subscriber>,
    by_name: BTreeMap<String, Vec<usize>>,
    of_all: Vec<usize>,
}

impl Board {
    fn index(&mut self) {
        self.edition += 1;
        self.by_name.clear();
        self.of_all.clear();
        for (at, subscriber) in self.subscribers.iter().enumerate() {
            match &subscriber.wanted {
                None => self.of_all.push(at),
                Some(names) => {
                    for name in names {
                        self.by_name.entry(name.clone()).or_default().push(at);
                    }
                }
            }
        }
    }
}

/// Where accepted samples are told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Feed(Arc<Mutex<Board>>);

/// One end of the feed.
#[derive(Debug)]
pub(crate) struct Subscription {
    arrivals: mpsc::Receiver<Vec<Arrival>>,
    missed: Arc<AtomicBool>,
}

/// A batch on its way: what of it who wants to hear.
pub(crate) struct Telling<'a> {
    board: MutexGuard<'a, Board>,
    told: Vec<Vec<Arrival>>,
}

impl Feed {
    /// From now on every accepted sample of the wanted metrics.
    pub(crate) fn subscribe(&self, wanted: Wanted) -> Subscription {
        let (to, arrivals) = mpsc::channel(WAITING_MAX);
        let missed = Arc::new(AtomicBool::new(false));
        let mut board = self.board();
        board.subscribers.retain(|it| !it.to.is_closed());
        board.subscribers.push(Subscriber {
            to,
            missed: Arc::clone(&missed),
            wanted,
        });
        board.index();
        Subscription { arrivals, missed }
    }

    /// Begins to tell of a batch; nothing where nobody listens.
    pub(crate) fn tell(&self) -> Option<Telling<'_>> {
        let board = self.board();
        if board.subscribers.is_empty() {
            return None;
        }
        let told = board.subscribers.iter().map(|_| Vec::new()).collect();
        Some(Telling { board, told })
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Telling<'_> {
    /// What `accepted` said of a series holds as long as this stays.
    pub(crate) fn edition(&self) -> u32 {
        self.board.edition
    }

    /// A sample of the batch was accepted; whether anybody wants to hear of its series.
    pub(crate) fn accepted(&mut self, labels: &Labels, at_ms: i64, value: f64) -> bool {
        self.tell(labels, at_ms, value, None)
    }

    /// A sample of the batch that is a histogram was accepted.
    pub(crate) fn accepted_histogram(
        &mut self,
        labels: &Labels,
        at_ms: i64,
        histogram: &Arc<Histogram>,
    ) {
        self.tell(labels, at_ms, f64::NAN, Some(histogram));
    }

    fn tell(
        &mut self,
        labels: &Labels,
        at_ms: i64,
        value: f64,
        histogram: Option<&Arc<Histogram>>,
    ) -> bool {
        let mut heard = false;
        let name = labels.metric_name().unwrap_or_default();
        let named = self.board.by_name.get(name).into_iter().flatten();
        for at in named.chain(&self.board.of_all) {
            heard = true;
            self.told[*at].push(Arrival {
                labels: labels.clone(),
                at_ms,
                value,
                histogram: histogram.cloned(),
            });
        }
        heard
    }

    /// All of the batch can be queried.
    pub(crate) fn written(mut self) {
        let mut any_gone = false;
        for (subscriber, told) in self.board.subscribers.iter().zip(self.told) {
            if told.is_empty() {
                continue;
            }
            match subscriber.to.try_send(told) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(_)) => {
                    subscriber.missed.store(true, Ordering::Release);
                }
                Err(mpsc::error::TrySendError::Closed(_)) => any_gone = true,
            }
        }
        if any_gone {
            self.board.subscribers.retain(|it| !it.to.is_closed());
            self.board.index();
        }
    }
}

impl Subscription {
    /// The next samples; none once the feed is gone.
    pub(crate) async fn next(&mut self) -> Option<Vec<Arrival>> {
        self.arrivals.recv().await
    }

    /// What waits already.
    pub(crate) fn waiting(&mut self) -> Vec<Arrival> {
        let mut all = Vec::new();
        while let Ok(mut more) = self.arrivals.try_recv() {
            all.append(&mut more);
        }
        all
    }

    /// Whether some were missed since this was asked last; what waits is then of no use.
    pub(crate) fn missed(&mut self) -> bool {
        let missed = self.missed.swap(false, Ordering::AcqRel);
        if missed {
            self.waiting();
        }
        missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(name: &str) -> Labels {
        Labels::from_pairs([("__name__", name), ("job", "shop")]).unwrap()
    }

    fn write(feed: &Feed, name: &str, values: std::ops::Range<i64>) {
        for at_ms in values {
            if let Some(mut telling) = feed.tell() {
                telling.accepted(&labels(name), at_ms, 1.0);
                telling.written();
            }
        }
    }

    #[test]
    fn each_hears_of_what_it_named_in_order() {
        let feed = Feed::default();
        let mut some = feed.subscribe(Some(["up".to_owned()].into()));
        let mut all = feed.subscribe(None);
        write(&feed, "up", 0..2);
        write(&feed, "load", 2..3);
        let times = |them: Vec<Arrival>| them.iter().map(|it| it.at_ms).collect::<Vec<_>>();
        assert_eq!(times(some.waiting()), [0, 1]);
        assert_eq!(times(all.waiting()), [0, 1, 2]);
        drop(some);
        write(&feed, "up", 3..5);
        assert_eq!(times(all.waiting()), [3, 4]);
        assert_eq!(feed.board().subscribers.len(), 1);
    }

    #[test]
    fn one_that_is_too_slow_is_told_that_it_missed_some() {
        let feed = Feed::default();
        let mut slow = feed.subscribe(None);
        write(&feed, "up", 0..WAITING_MAX as i64);
        assert!(!slow.missed());
        write(&feed, "up", 0..1);
        assert!(slow.missed());
        assert!(!slow.missed());
        assert_eq!(slow.waiting(), []);
        write(&feed, "up", 7..8);
        assert_eq!(slow.waiting().len(), 1);
    }
}
