//! The rules of a group that move between its rounds, for who evaluates the group.
//!
//! Guarantees: a task of its own has them, and gives them back when it ends; a rule whose task died is evaluated by its
//! group as any other.

use std::collections::BTreeSet;

use mainstay_core::Time;
use mainstay_rules::{Evaluation, GroupRun, LiveGroup, RuleRun, WholeGroup};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{Ruler, live, whole};

/// A rule that is to be evaluated as its group's interval wants it.
pub(super) struct Tick {
    pub(super) place: usize,
    pub(super) now: Time,
    pub(super) reply: oneshot::Sender<(Evaluation, RuleRun)>,
}

/// Rules that know best what is known of them.
pub(super) trait Kept: Send + 'static {
    fn give_back(self, group: &mut GroupRun);
}

impl Kept for LiveGroup {
    fn give_back(self, group: &mut GroupRun) {
        self.give_back(group);
    }
}

impl Kept for WholeGroup {
    fn give_back(self, group: &mut GroupRun) {
        self.give_back(group);
    }
}

/// Rules that a task follows.
pub(super) struct Moved<G> {
    places: BTreeSet<usize>,
    ticks: mpsc::Sender<Tick>,
    task: JoinHandle<G>,
}

impl<G: Kept> Moved<G> {
    /// The rules at these places, and the task that follows them.
    pub(super) fn new<F: Future<Output = G> + Send + 'static>(
        places: BTreeSet<usize>,
        follow: impl FnOnce(mpsc::Receiver<Tick>) -> F,
    ) -> Self {
        let (ticks, asked) = mpsc::channel(1);
        let task = tokio::spawn(follow(asked));
        Self {
            places,
            ticks,
            task,
        }
    }

    /// Evaluates a rule if it is one of these; the group's copy of what is known of it follows.
    async fn tick(&self, group: &mut GroupRun, place: usize, now: Time) -> Option<Evaluation> {
        if !self.places.contains(&place) {
            return None;
        }
        let (reply, answer) = oneshot::channel();
        let tick = Tick { place, now, reply };
        self.ticks.send(tick).await.ok()?;
        let (evaluation, known) = answer.await.ok()?;
        if let Some(run) = group.rules.get_mut(place) {
            *run = known;
        }
        Some(evaluation)
    }

    /// Waits for its end, which `stop` brings; what is known goes back to the group.
    async fn end(self, group: &mut GroupRun) {
        drop(self.ticks);
        match self.task.await {
            Ok(rules) => rules.give_back(group),
            Err(error) => tracing::error!(%error, group = group.name, "rules that move died"),
        }
    }
}

/// All rules of a group that move between its rounds.
pub(super) struct Movers {
    live: Moved<LiveGroup>,
    whole: Moved<WholeGroup>,
}

impl Movers {
    /// Begins to follow the samples that the group's rules hang on.
    pub(super) async fn start(ruler: &Ruler, group: &GroupRun, stop: &CancellationToken) -> Self {
        Self {
            live: live::start(ruler, group, stop.clone()).await,
            whole: whole::start(ruler, group, stop.clone()),
        }
    }

    /// Evaluates a rule if it is one of these; the group's copy of what is known of it follows.
    pub(super) async fn tick(
        &self,
        group: &mut GroupRun,
        place: usize,
        now: Time,
    ) -> Option<Evaluation> {
        if let Some(evaluation) = self.live.tick(group, place, now).await {
            return Some(evaluation);
        }
        self.whole.tick(group, place, now).await
    }

    /// The rules' places in the group.
    pub(super) fn places(&self) -> impl Iterator<Item = usize> {
        self.live.places.iter().chain(&self.whole.places).copied()
    }

    /// Waits for their end, which `stop` brings; what is known goes back to the group.
    pub(super) async fn end(self, group: &mut GroupRun) {
        self.live.end(group).await;
        self.whole.end(group).await;
    }
}
