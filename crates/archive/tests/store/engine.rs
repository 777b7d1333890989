//! An engine with hours of samples, and what is waited for.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
        mpsc,
    },
    time::Duration,
};

use mainstay_archive::place::{Place, Section};
use mainstay_core::{Time, ports::Clock};
use mainstay_tsdb::{Head, Labels, MatchOp, Matcher, Options, Order, Outcome, open};
use mainstay_wal::LocalDisk;

/// Far above what any condition takes, so that a failure is told and not waited for.
const LIMIT: Duration = Duration::from_mins(1);
/// How often a condition is looked at.
pub(crate) const LOOK: Duration = Duration::from_millis(5);
pub(crate) const HOUR_MS: i64 = 3_600_000;
/// When samples begin: a whole day.
pub(crate) const BEGAN_MS: i64 = 1_700_006_400_000;

/// A clock that a test sets.
#[derive(Clone, Debug)]
pub(crate) struct Hands(pub(crate) Arc<AtomicI64>);

impl Hands {
    pub(crate) fn at(at_ms: i64) -> Self {
        Self(Arc::new(AtomicI64::new(at_ms)))
    }
    pub(crate) fn set(&self, at_ms: i64) {
        self.0.store(at_ms, Ordering::Relaxed);
    }
}

impl Clock for Hands {
    fn now(&self) -> Time {
        Time::from_millis(self.0.load(Ordering::Relaxed))
    }
}

pub(crate) fn place(folder: &Path) -> Place {
    let url = format!("file://{}", folder.display());
    Place::of(Section {
        url,
        ..Section::default()
    })
    .unwrap()
}

pub(crate) fn engine(folder: &Path) -> Head {
    let disk = LocalDisk::open(folder).unwrap().sparing(0);
    open(Arc::new(disk), Options::default()).unwrap().0
}

pub(crate) fn series(at: &str) -> Labels {
    Labels::from_pairs([("__name__", "kept"), ("at", at)]).unwrap()
}

/// Has the engine do something, and waits until it did.
pub(crate) fn obeyed(head: &mut Head, order: Order, now_ms: i64) -> Outcome {
    let (tell, told) = mpsc::channel();
    let tell = Box::new(move |outcome| tell.send(outcome).unwrap());
    head.order(order, now_ms, tell);
    let outcome: Result<_, mainstay_tsdb::OrderError> = told.recv().unwrap();
    outcome.unwrap()
}

/// What was appended until now stands in a part.
pub(crate) fn seal(head: &mut Head, now_ms: i64) {
    let snapshot = Order::Snapshot {
        name: format!("at-{now_ms}"),
        with_head: true,
    };
    obeyed(head, snapshot, now_ms);
}

/// A sample of each of two series for each of these hours, each hour in a part.
pub(crate) fn fill(head: &mut Head, hours: std::ops::Range<i64>) {
    for hour in hours {
        let at_ms = BEGAN_MS + hour * HOUR_MS;
        for at in ["a", "b"] {
            head.append(&series(at), at_ms, hour as f64).unwrap();
        }
        seal(head, at_ms);
    }
}

pub(crate) fn delete(head: &mut Head, at: &str, now_ms: i64) {
    let order = Order::Delete {
        selectors: vec![vec![Matcher::new("at", MatchOp::Equal, at).unwrap()]],
        start_ms: i64::MIN,
        end_ms: i64::MAX,
    };
    obeyed(head, order, now_ms);
}

/// The series and values of an engine.
pub(crate) fn values(head: &Head) -> Vec<(String, Vec<f64>)> {
    let found = head.tsdb().select(&[], i64::MIN, i64::MAX).unwrap();
    let one = |it: &mainstay_tsdb::SeriesSlice| {
        let at = it.labels.get("at").unwrap_or_default().to_owned();
        (at, it.values.to_vec())
    };
    found.iter().map(one).collect()
}

/// Waits for a condition, of which `show` says how things stand.
pub(crate) async fn until<T: std::fmt::Debug>(
    show: impl Fn() -> T,
    holds: impl Fn(&T) -> bool,
) -> T {
    let waited = async {
        loop {
            let seen = show();
            if holds(&seen) {
                return seen;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let ended = tokio::time::timeout(LIMIT, waited).await;
    ended.unwrap_or_else(|_| panic!("never: {:?}", show()))
}
