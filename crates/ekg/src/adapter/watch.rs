//! What judges monitors: all of them each [`EVERY`], and at once whenever somebody asks.
//!
//! Guarantees: whoever asks gets a round that began after the question, and those who ask during one share the
//! next; a monitor that cannot be evaluated says why and holds up none of the others for longer than [`WITHIN`].
//! Alerts go to the same [`AlertSink`] as those of rules. Never judges over a catalog that could not be read, and
//! never ends because a round died: the next one begins anew.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use mainstay_core::{
    Name, Span, Time,
    ports::{BoxFuture, Clock},
};
use mainstay_rules::monitor::{Entity, Monitor, MonitorRun, Standing, WATCHED_MAX};
use serde_json::Value;
use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_blocking,
    time::{Instant, MissedTickBehavior, interval_at},
};
use tokio_util::sync::CancellationToken;

use super::{AlertSink, Told, ruler};
use crate::{Ekg, monitors, rules};

/// How often monitors are judged if nobody asks.
const EVERY: Span = Span::from_secs(15);
/// How long the expression of one may compute.
const WITHIN: Span = Span::from_secs(5);
/// Questions that may wait; who asks beyond them waits to ask.
const ASKED_MAX: usize = 64;

/// What is declared: what there is, and what has to hold of it.
#[derive(Debug, Clone, Default)]
pub struct Declared {
    /// Every entity of the catalog.
    pub entities: Vec<Entity>,
    /// Every monitor.
    pub monitors: Vec<Monitor>,
}

/// Knows what is declared.
pub trait Catalog: Send + Sync {
    /// All of it as it is now; why not in a sentence.
    fn read(&self) -> BoxFuture<'_, Result<Declared, String>>;
}

/// What is told of a round, or why there was none.
type Answer = Result<Value, String>;

#[derive(Default)]
struct Board {
    alerts: Mutex<Vec<Value>>,
    rounds: AtomicU64,
    failures: AtomicU64,
}

/// What is known of monitors, for whoever asks.
#[derive(Clone)]
pub struct Monitors {
    asks: mpsc::Sender<oneshot::Sender<Answer>>,
    board: Arc<Board>,
}

/// Counts since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MonitorCounts {
    /// Times that all monitors were judged.
    pub rounds: u64,
    /// Monitors that could not be evaluated, summed over the rounds.
    pub failures: u64,
}

impl Monitors {
    /// Judges all monitors now, and says how they stand.
    pub async fn report(&self) -> Result<Value, String> {
        let (reply, answer) = oneshot::channel();
        let gone = || "monitors are not judged any more: the server ends".to_owned();
        self.asks.send(reply).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Their alerts that wait or fire, as `/api/v1/alerts` tells them.
    pub fn alerts(&self) -> Vec<Value> {
        let alerts = self.board.alerts.lock();
        alerts.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was counted.
    pub fn counts(&self) -> MonitorCounts {
        MonitorCounts {
            rounds: self.board.rounds.load(Ordering::Relaxed),
            failures: self.board.failures.load(Ordering::Relaxed),
        }
    }
}

/// Judges what `catalog` declares by what `ekg` has measured.
pub struct Watch {
    ekg: Ekg,
    catalog: Arc<dyn Catalog>,
    clock: Arc<dyn Clock>,
    sink: Arc<dyn AlertSink>,
    board: Arc<Board>,
    asked: mpsc::Receiver<oneshot::Sender<Answer>>,
    runs: Runs,
}

type Runs = BTreeMap<Name, MonitorRun>;

/// What a round leaves.
struct Round {
    runs: Runs,
    /// What is to be told, monitor by monitor.
    told: Vec<Vec<Told>>,
    report: Value,
}

impl Watch {
    /// One that hands alerts to `sink`, and where to ask it.
    pub fn new(
        ekg: &Ekg,
        catalog: Arc<dyn Catalog>,
        clock: Arc<dyn Clock>,
        sink: Arc<dyn AlertSink>,
    ) -> (Self, Monitors) {
        let (asks, asked) = mpsc::channel(ASKED_MAX);
        let board = Arc::<Board>::default();
        let watch = Self {
            ekg: ekg.within(WITHIN),
            catalog,
            clock,
            sink,
            board: Arc::clone(&board),
            asked,
            runs: Runs::new(),
        };
        (watch, Monitors { asks, board })
    }

    /// Judges until `stop`. The first round waits: right after a start nothing is measured yet.
    pub async fn run(mut self, stop: CancellationToken) {
        let period = EVERY.duration();
        let mut ticks = interval_at(Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut waiting = Vec::new();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(first) = self.asked.recv() => waiting.push(first),
                _ = ticks.tick() => {}
            }
            while let Ok(more) = self.asked.try_recv() {
                waiting.push(more);
            }
            let answer = self.round().await;
            if let Err(error) = &answer {
                tracing::warn!(error, "monitors are not judged");
            }
            for reply in waiting {
                // Whoever asked may have gone.
                let _ = reply.send(answer.clone());
            }
        }
    }

    async fn round(&mut self) -> Answer {
        let declared = self.catalog.read().await?;
        let (ekg, now) = (self.ekg.clone(), self.clock.now());
        let runs = std::mem::take(&mut self.runs);
        let judged = spawn_blocking(move || judged(runs, &declared, &ekg, now)).await;
        // A declared expression must not be able to end the server, which would meet it again when it starts.
        let round = judged.map_err(|died| format!("a round of monitors died: {died}"))?;
        let failed = |it: &&MonitorRun| it.standing() == Standing::Error;
        let failures = round.runs.values().filter(failed).count();
        let board = &self.board;
        board.rounds.fetch_add(1, Ordering::Relaxed);
        board.failures.fetch_add(failures as u64, Ordering::Relaxed);
        let active = round.runs.values().flat_map(|it| it.alerts.active());
        *board.alerts.lock().unwrap_or_else(PoisonError::into_inner) =
            active.map(rules::alert).collect();
        self.runs = round.runs;
        for told in round.told.into_iter().filter(|it| !it.is_empty()) {
            self.sink.take(told);
        }
        Ok(round.report)
    }
}

/// One round over what was known before it.
fn judged(mut before: Runs, declared: &Declared, ekg: &Ekg, now: Time) -> Round {
    let (mut runs, mut told, mut watched) = (Runs::new(), Vec::new(), 0);
    for monitor in &declared.monitors {
        let name = monitor.name().clone();
        let mut run = before
            .remove(&name)
            .unwrap_or_else(|| MonitorRun::new(monitor.clone()));
        run.adopt(monitor.clone());
        let found = watched + run.reach(&declared.entities);
        if found > WATCHED_MAX {
            run.refuse(found);
        } else {
            watched = found;
            run.observe(now, &declared.entities, |query| ekg.ask(query, now));
        }
        told.push(tell(&mut run, now));
        runs.insert(name, run);
    }
    for mut gone in before.into_values() {
        gone.end(now);
        told.push(tell(&mut gone, now));
    }
    let report = monitors::report(runs.values(), &declared.entities, now);
    Round { runs, told, report }
}

fn tell(run: &mut MonitorRun, now: Time) -> Vec<Told> {
    let expr = run.monitor.spec.expr.clone();
    ruler::due(&mut run.alerts, EVERY, &expr, now)
}

#[cfg(test)]
mod tests;
