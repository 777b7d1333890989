//! The agent of one host.
//!
//! **Guarantees.** With or without a server it keeps the last set it took, across its own restarts: it
//! finds its processes again by boot, pid, start time and digest and starts none twice. It reports each
//! second, on every change, and whatever moved without an order. **Never** stops an instance because it
//! stops itself, or because nobody listens to it.
//!
//! ```
//! use mainstay_fleet::{agent::{Settings, run}, process::ProcessDriver};
//! use tokio::sync::mpsc;
//! # let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
//! # runtime.block_on(async {
//! let data = std::env::temp_dir().join(format!("agent-run-{}", std::process::id()));
//! let settings = Settings::of("h1".parse().expect("a valid name"), &data);
//! let (orders, ordered) = mpsc::channel(8);
//! let (reports, mut reported) = mpsc::channel(64);
//! let stop = tokio_util::sync::CancellationToken::new();
//! let agent = tokio::spawn(run(settings, ProcessDriver::new(&data), ordered, reports, stop.clone()));
//! assert!(reported.recv().await.is_some());
//! stop.cancel();
//! agent.await.expect("no panic").expect("an orderly end");
//! # drop(orders);
//! # std::fs::remove_dir_all(&data).expect("the folder was just made");
//! # });
//! ```

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use mainstay_core::{HostName, Time};
use mainstay_wire::{
    WIRE_VERSION,
    agent::{DesiredSet, FromAgent, ToAgent},
};
use tokio::{sync::mpsc, task::JoinError, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::{
    driver::Driver,
    host::{Host, Told},
    state::{StateError, Store},
    vitals::Vitals,
};

/// How often it looks at its processes.
pub const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Looks between two reports of an unchanged host: one second.
const LOOKS_A_REPORT: u64 = 4;
/// Unordered events kept while nobody takes them; beyond, the oldest go and their number is told.
pub const UNSENT_MAX: usize = 256;

/// What an agent is told once.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The host it speaks for.
    pub host: HostName,
    /// Where its state and its logs are.
    pub data: PathBuf,
    /// Where the host's metrics are scraped; empty where they are not.
    pub metrics_url: String,
    /// Where it counts what it does.
    pub vitals: Vitals,
}

impl Settings {
    /// An agent whose metrics nobody scrapes.
    pub fn of(host: HostName, data: &Path) -> Self {
        Self {
            host,
            data: data.to_owned(),
            metrics_url: String::new(),
            vitals: Vitals::default(),
        }
    }
}

/// Why an agent ended.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Its state is not to be had.
    #[error(transparent)]
    State(#[from] StateError),
    /// A turn panicked.
    #[error("a turn of the agent did not end: {0}")]
    Turn(#[from] JoinError),
}

/// Wall time at the start plus monotonic time since: a corrected clock neither kills nor delays.
struct Clock {
    started: Time,
    since: tokio::time::Instant,
}

impl Clock {
    fn start() -> Self {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |wall| wall.as_millis());
        Self {
            started: Time::from_millis(i64::try_from(wall).unwrap_or(i64::MAX)),
            since: tokio::time::Instant::now(),
        }
    }

    fn now(&self) -> Time {
        let millis = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.started + mainstay_core::Span::from_millis(millis)
    }
}

/// Runs the agent until `stop`; its instances go on. A closed `orders` means that there is no server for
/// now. The transport sends a `Hello` of its own whenever it connects anew.
pub async fn run<D: Driver>(
    settings: Settings,
    driver: D,
    mut orders: mpsc::Receiver<ToAgent>,
    reports: mpsc::Sender<FromAgent>,
    stop: CancellationToken,
) -> Result<(), AgentError> {
    let clock = Clock::start();
    let opened_at = clock.now();
    let data = settings.data;
    let mut host = tokio::task::spawn_blocking(move || {
        Store::open(&data).and_then(|store| Host::open(store, driver, opened_at))
    })
    .await??;
    let mut outbox = Outbox::new(reports);
    outbox.newest = Some(FromAgent::Hello {
        wire: WIRE_VERSION,
        host: settings.host,
        generation: host.desired().generation,
        metrics_url: settings.metrics_url,
    });
    outbox.flush();
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut count = 0_u64;
    let mut served = true;
    loop {
        let mut sets: Vec<DesiredSet> = Vec::new();
        let mut whole = false;
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            order = orders.recv(), if served => match order {
                Some(ToAgent::Desired { set }) => sets.push(set),
                None => {
                    tracing::warn!("no more orders; the last set is kept");
                    served = false;
                    continue;
                }
            },
            _ = looks.tick() => {
                whole = count.is_multiple_of(LOOKS_A_REPORT);
                count += 1;
            }
        }
        let now = clock.now();
        let began = std::time::Instant::now();
        // Looking and starting block: on a thread of their own.
        let (back, told) = tokio::task::spawn_blocking(move || {
            let told = host.turn(sets, now, whole);
            (host, told)
        })
        .await?;
        host = back;
        settings.vitals.turned(began.elapsed(), &told);
        outbox.take(told, now);
    }
}

/// What waits to be sent. A newer report makes an older one pointless, unless there is room for both.
struct Outbox {
    to: mpsc::Sender<FromAgent>,
    newest: Option<FromAgent>,
    unsent: VecDeque<FromAgent>,
    lost: u64,
}

impl Outbox {
    fn new(to: mpsc::Sender<FromAgent>) -> Self {
        Self {
            to,
            newest: None,
            unsent: VecDeque::new(),
            lost: 0,
        }
    }

    fn take(&mut self, told: Told, now: Time) {
        for event in told.unordered {
            if self.unsent.len() >= UNSENT_MAX {
                self.unsent.pop_front();
                self.lost += 1;
            }
            self.unsent.push_back(event);
        }
        if self.lost > 0 && self.to.capacity() > 1 {
            let what = format!(
                "{} earlier events were lost while nobody took them",
                self.lost
            );
            self.lost = 0;
            self.unsent.push_front(FromAgent::Unordered {
                at: now,
                instance: None,
                service: None,
                what,
            });
        }
        for report in told.reports {
            self.newest = Some(report);
            self.flush();
        }
        self.flush();
    }

    fn flush(&mut self) {
        while let Some(event) = self.unsent.pop_front() {
            if let Err(error) = self.to.try_send(event) {
                self.unsent.push_front(error.into_inner());
                return;
            }
        }
        if let Some(report) = self.newest.take()
            && let Err(error) = self.to.try_send(report)
        {
            self.newest = Some(error.into_inner());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: usize) -> FromAgent {
        FromAgent::Unordered {
            at: Time::from_millis(0),
            instance: None,
            service: None,
            what: number.to_string(),
        }
    }

    #[test]
    fn events_that_nobody_took_are_bounded_and_the_loss_is_told() {
        let (to, mut from) = mpsc::channel(UNSENT_MAX + 8);
        while to.try_send(event(0)).is_ok() {}
        let mut outbox = Outbox::new(to);
        let told = Told {
            unordered: (0..UNSENT_MAX + 3).map(event).collect(),
            ..Told::default()
        };
        outbox.take(told, Time::from_millis(1));
        while from.try_recv().is_ok() {}
        outbox.take(Told::default(), Time::from_millis(2));
        let Ok(FromAgent::Unordered { what, .. }) = from.try_recv() else {
            panic!("an event was due");
        };
        assert!(what.starts_with("3 earlier events were lost"), "{what}");
        assert_eq!(from.try_recv().unwrap(), event(3));
    }
}
