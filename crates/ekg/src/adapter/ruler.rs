//! What evaluates rules: each group in its own rhythm, its rules one after another, and those that have an
//! incremental form, and every alert, when a sample comes that they select.
//!
//! Guarantees: what a rule records can be queried by the rules after it; evaluations of one group never
//! overlap, and one that comes too late is left out and counted, never caught up; a rule that stays as it was
//! when the files change keeps its alerts. It never sends an alert itself: that is what [`AlertSink`] is for.

mod live;
mod moved;
mod whole;

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use mainstay_core::{Span, Time, ports::Clock};
use mainstay_promql::{EngineOptions, Error, Query, QueryResult};
use mainstay_rules::{
    Alert, Alerts, Evaluation, External, GroupRun, RuleFile, RuleRun, Sample, Source,
};
use mainstay_tsdb::{Labels, stale_marker};
use serde_json::Value;
use tokio::{
    sync::{Semaphore, watch},
    task::{JoinSet, spawn_blocking},
    time::{Instant, MissedTickBehavior, interval_at},
};
use tokio_util::sync::CancellationToken;

use self::moved::Movers;
use super::{NewSample, Writer};
use crate::{
    Ekg, Refusals,
    rules::{self, GroupSeen, RuleFilter},
    storage,
};

/// A firing alert is told at least so often.
const RESEND_EVERY: Span = Span::from_secs(60);
/// An alert that is not told again for so many rounds counts as ended.
const VALID_ROUNDS: u64 = 4;

/// An alert on its way out.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// The alert.
    pub alert: Alert,
    /// Its rule's expression.
    pub expr: String,
    /// Whether it is the first time that this is told, and not a reminder.
    pub is_news: bool,
    /// Unless told again it counts as ended then; when it ended, if it did.
    pub ends_at: Time,
}

/// Who takes alerts; never waits.
pub trait AlertSink: Send + Sync {
    /// Takes what is new, what still fires, and what ended.
    fn take(&self, alerts: Vec<Told>);
}

/// How rules are evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulerConfig {
    /// For groups that name no interval.
    pub interval: Span,
    /// For groups that name none: how far behind the clock they look.
    pub query_offset: Span,
    /// What texts may say of the server.
    pub external: External,
}

impl Default for RulerConfig {
    /// Each minute, no offset, as Prometheus.
    fn default() -> Self {
        Self {
            interval: Span::from_secs(60),
            query_offset: Span::ZERO,
            external: External::default(),
        }
    }
}

/// A file's name and what it holds.
pub type NamedFile = (String, RuleFile);

/// File and group.
type Key = (String, String);

#[derive(Default)]
struct Board {
    groups: Mutex<BTreeMap<Key, Arc<GroupSeen>>>,
    evaluations: AtomicU64,
    failures: AtomicU64,
    missed: AtomicU64,
    refused: AtomicU64,
    turns: AtomicU64,
    whole: AtomicU64,
    reread: AtomicU64,
}

/// What is known of rules, for whoever asks.
#[derive(Clone, Default)]
pub struct Rules(Arc<Board>);

/// Counts since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleCounts {
    /// Rules evaluated.
    pub evaluations: u64,
    /// Of those, with an error.
    pub failures: u64,
    /// Rounds of a group left out because the one before still ran.
    pub missed: u64,
    /// Samples that the engine refused.
    pub refused: u64,
    /// Times that samples, or the time, moved the live rules of a group.
    pub turns: u64,
    /// Alerts without an incremental form that were evaluated because samples arrived, or a wait ran out.
    pub whole: u64,
    /// Times that live rules had missed samples and read again what is stored.
    pub reread: u64,
}

impl Rules {
    /// `/api/v1/rules`.
    pub fn groups(&self, filter: &RuleFilter) -> Value {
        match rules::groups(&self.seen(), filter) {
            Ok(groups) => crate::answer::success(groups),
            Err(error) => crate::answer::failure(&error),
        }
    }

    /// `/api/v1/alerts`.
    pub fn alerts(&self) -> Value {
        crate::answer::success(rules::alerts(&self.seen()))
    }

    /// What was counted.
    pub fn counts(&self) -> RuleCounts {
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        RuleCounts {
            evaluations: count(&self.0.evaluations),
            failures: count(&self.0.failures),
            missed: count(&self.0.missed),
            refused: count(&self.0.refused),
            turns: count(&self.0.turns),
            whole: count(&self.0.whole),
            reread: count(&self.0.reread),
        }
    }

    fn seen(&self) -> Vec<GroupSeen> {
        let groups = self.0.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.values().map(|it| GroupSeen::clone(it)).collect()
    }

    fn show(&self, key: Key, seen: GroupSeen) {
        let groups = self.0.groups.lock();
        groups
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, Arc::new(seen));
    }

    /// What a round of the group found; what its moving rules tell themselves stays.
    fn show_round(&self, key: &Key, mut seen: GroupSeen, movers: &Movers) {
        let mut groups = self.0.groups.lock().unwrap_or_else(PoisonError::into_inner);
        for place in movers.places() {
            let told = groups.get(key).and_then(|it| it.run.rules.get(place));
            if let (Some(told), Some(own)) = (told, seen.run.rules.get_mut(place)) {
                own.clone_from(told);
            }
        }
        groups.insert(key.clone(), Arc::new(seen));
    }

    /// One rule of a group is known better.
    fn amend(&self, key: &Key, place: usize, run: &RuleRun) {
        let mut groups = self.0.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = groups.get_mut(key).map(Arc::make_mut);
        if let Some(known) = seen.and_then(|it| it.run.rules.get_mut(place)) {
            known.clone_from(run);
        }
    }

    fn hide(&self, key: &Key) {
        let groups = self.0.groups.lock();
        groups.unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

impl Source for Ekg {
    fn instant(&self, query: &Query, at_ms: i64) -> Result<QueryResult, Error> {
        self.ask(query, Time::from_millis(at_ms))
    }
}

/// Evaluates the rules of files that may change.
#[derive(Clone)]
pub struct Ruler {
    ekg: Ekg,
    source: Arc<dyn Source>,
    writer: Writer,
    clock: Arc<dyn Clock>,
    sink: Arc<dyn AlertSink>,
    config: Arc<RulerConfig>,
    board: Rules,
    /// Turns of rules that are evaluated as a whole.
    at_once: Arc<Semaphore>,
}

impl Ruler {
    /// One that asks `ekg`, writes through `writer` and hands alerts to `sink`.
    pub fn new(
        ekg: &Ekg,
        writer: Writer,
        clock: Arc<dyn Clock>,
        sink: Arc<dyn AlertSink>,
        config: RulerConfig,
    ) -> Self {
        Self {
            ekg: ekg.clone(),
            source: Arc::new(ekg.clone()),
            writer,
            clock,
            sink,
            config: Arc::new(config),
            board: Rules::default(),
            at_once: Arc::new(Semaphore::new(whole::AT_ONCE)),
        }
    }

    /// What is known of the rules.
    pub fn rules(&self) -> Rules {
        self.board.clone()
    }

    /// Evaluates until `stop`; if nobody can change the files any more, they stay as they are.
    pub async fn run(self, mut files: watch::Receiver<Vec<NamedFile>>, stop: CancellationToken) {
        let mut open = true;
        let mut first = true;
        let mut kept: Vec<GroupRun> = Vec::new();
        while !stop.is_cancelled() {
            let wanted = self.wanted(&files.borrow_and_update(), &kept);
            self.end_gone(&kept, &wanted).await;
            let round = stop.child_token();
            let mut tasks = JoinSet::new();
            let restore = std::mem::take(&mut first);
            for group in wanted {
                let ruler = self.clone();
                tasks.spawn(ruler.follow(group, restore, round.clone()));
            }
            kept.clear();
            loop {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => break,
                    changed = files.changed(), if open => {
                        open = changed.is_ok();
                        if open {
                            break;
                        }
                    }
                }
            }
            round.cancel();
            while let Some(ended) = tasks.join_next().await {
                match ended {
                    Ok(group) => kept.push(group),
                    Err(error) => tracing::error!(%error, "the evaluation of a group died"),
                }
            }
        }
    }

    fn wanted(&self, files: &[NamedFile], kept: &[GroupRun]) -> Vec<GroupRun> {
        let config = &self.config;
        let groups = files.iter().flat_map(|(name, file)| {
            let groups = file.groups.iter().cloned();
            groups.map(|it| GroupRun::new(name, it, config.interval, config.query_offset))
        });
        let inherited = groups.map(|mut group| {
            let same = |it: &&GroupRun| key(it) == key(&group);
            if let Some(before) = kept.iter().find(same) {
                group.inherit(before);
            }
            group
        });
        inherited.collect()
    }

    /// Ends the series of rules that are in no file any more.
    async fn end_gone(&self, kept: &[GroupRun], wanted: &[GroupRun]) {
        for before in kept {
            let after = wanted.iter().find(|it| key(it) == key(before));
            if after.is_none() {
                self.board.hide(&key(before));
            }
            let now = self.clock.now();
            self.write(now, before.end(after, now)).await;
        }
    }

    async fn follow(self, mut group: GroupRun, restore: bool, stop: CancellationToken) -> GroupRun {
        if restore {
            group = self.restored(group).await;
        }
        self.board.show(key(&group), seen(&group, None, Vec::new()));
        let movers = Movers::start(&self, &group, &stop).await;
        let period = group.interval.duration().max(Duration::from_millis(1));
        let mut ticks = interval_at(Instant::now() + first_delay(&group), period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let began = Instant::now();
            group = self.round(group, &movers).await;
            let late = began.elapsed().as_millis() / period.as_millis().max(1);
            let missed = u64::try_from(late).unwrap_or(u64::MAX);
            self.board.0.missed.fetch_add(missed, Ordering::Relaxed);
        }
        movers.end(&mut group).await;
        group
    }

    /// Evaluates the whole group once.
    async fn round(&self, mut group: GroupRun, movers: &Movers) -> GroupRun {
        let now = self.clock.now();
        let mut took = Vec::with_capacity(group.rules.len());
        for at in 0..group.rules.len() {
            let began = Instant::now();
            let evaluation;
            if let Some(moved) = movers.tick(&mut group, at, now).await {
                evaluation = moved;
            } else {
                (group, evaluation) = self.evaluated(group, at, now).await;
            }
            self.board.0.evaluations.fetch_add(1, Ordering::Relaxed);
            if let Some(error) = &evaluation.error {
                self.board.0.failures.fetch_add(1, Ordering::Relaxed);
                let rule = group.rules.get(at).map_or("", |it| it.rule.name());
                tracing::warn!(group = group.name, rule, %error, "a rule failed");
            }
            self.write(now, evaluation.samples).await;
            took.push(began.elapsed());
        }
        let seen = seen(&group, Some(now), took);
        self.board.show_round(&key(&group), seen, movers);
        group
    }

    /// Queries may compute for long: not on a thread that others wait for.
    async fn evaluated(&self, group: GroupRun, at: usize, now: Time) -> (GroupRun, Evaluation) {
        let (source, config) = (Arc::clone(&self.source), Arc::clone(&self.config));
        let mut computed = group;
        let task = spawn_blocking(move || {
            let evaluation = computed.evaluate(at, now, &config.external, &source);
            (computed, evaluation)
        });
        let (mut group, evaluation) = task
            .await
            .unwrap_or_else(|died| std::panic::resume_unwind(died.into_panic()));
        if let Some(run) = group.rules.get_mut(at) {
            self.tell(group.interval, run, now);
        }
        (group, evaluation)
    }

    async fn restored(&self, group: GroupRun) -> GroupRun {
        let (source, now) = (Arc::clone(&self.source), self.clock.now());
        let mut computed = group;
        let task = spawn_blocking(move || {
            let found = computed.restore(now, &source);
            (computed, found)
        });
        let (group, found) = task
            .await
            .unwrap_or_else(|died| std::panic::resume_unwind(died.into_panic()));
        if let Err(error) = found {
            tracing::warn!(group = group.name, %error, "alerts from before the start are not known");
        }
        group
    }

    fn tell(&self, interval: Span, run: &mut RuleRun, now: Time) {
        let told = due(&mut run.alerts, interval, run.rule.query.text(), now);
        if !told.is_empty() {
            self.sink.take(told);
        }
    }

    async fn write(&self, now: Time, samples: Vec<Sample>) {
        if samples.is_empty() {
            return;
        }
        let mut refused = Refusals::default();
        let mut batch = Vec::with_capacity(samples.len());
        for sample in samples {
            match Labels::from_pairs(sample.labels.iter()) {
                Ok(labels) => batch.push(NewSample {
                    labels,
                    at_ms: sample.at_ms,
                    value: sample.value.unwrap_or_else(stale_marker),
                    born_from_zero: false,
                    histogram: sample.histogram.as_deref().map(storage::stored),
                }),
                Err(_) => refused.labels += 1,
            }
        }
        self.writer.refuse(&refused);
        match self.writer.append(now, batch).await {
            Ok(written) => refused.add(&written),
            Err(error) => tracing::warn!(%error, "what a rule gave is not written"),
        }
        let total = refused.total();
        if total > 0 {
            self.board.0.refused.fetch_add(total, Ordering::Relaxed);
            tracing::warn!(total, "samples of rules were refused");
        }
    }
}

/// What others should hear of alerts that are looked at each `interval`; it counts as told.
pub(super) fn due(alerts: &mut Alerts, interval: Span, expr: &str, now: Time) -> Vec<Told> {
    let valid = interval.max(RESEND_EVERY).millis();
    let until = now + Span::from_millis(valid.saturating_mul(VALID_ROUNDS));
    let due = alerts.to_tell(now, RESEND_EVERY).into_iter();
    due.map(|(alert, is_news)| Told {
        is_news,
        ends_at: alert.resolved_at.unwrap_or(until),
        expr: expr.to_owned(),
        alert,
    })
    .collect()
}

/// How long samples count as current.
fn lookback() -> Span {
    let lookback_ms = EngineOptions::default().lookback_ms;
    Span::from_millis(u64::try_from(lookback_ms).unwrap_or_default())
}

fn key(group: &GroupRun) -> Key {
    (group.file.clone(), group.name.clone())
}

fn seen(group: &GroupRun, evaluated_at: Option<Time>, took: Vec<Duration>) -> GroupSeen {
    GroupSeen {
        run: group.clone(),
        evaluated_at,
        took,
    }
}

/// Groups of one interval do not all begin at once.
fn first_delay(group: &GroupRun) -> Duration {
    let mut hasher = DefaultHasher::new();
    key(group).hash(&mut hasher);
    let interval = group.interval.millis().max(1);
    Duration::from_millis(hasher.finish() % interval)
}

#[cfg(test)]
mod tests;
