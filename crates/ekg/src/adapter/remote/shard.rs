//! Queues of one receiver, each with a connection of its own: what is in one is sent in its order.

use std::sync::Arc;

use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::post::Sender;
use crate::remote::{MessageKind, encode::Item};

/// The ends into which samples are put.
pub(super) struct Shards(Vec<mpsc::Sender<Item>>);

/// Starts the shards of a receiver, and what describes metrics to it.
pub(super) fn start(
    sender: &Arc<Sender>,
    tasks: &mut JoinSet<()>,
    stop: &CancellationToken,
) -> Shards {
    let remote = &sender.state.remote;
    let capacity = remote.section().queue_config.capacity;
    let mut shards = Vec::new();
    for _ in 0..remote.shards() {
        let (to, from) = mpsc::channel(capacity);
        tasks.spawn(ship(Arc::clone(sender), from, stop.clone()));
        shards.push(to);
    }
    if remote.section().metadata_config.send {
        tasks.spawn(describe(Arc::clone(sender), stop.clone()));
    }
    Shards(shards)
}

impl Shards {
    /// The shard of a series.
    pub(super) fn of(&self, item: &Item) -> Option<&mpsc::Sender<Item>> {
        let shards = self.0.len().max(1) as u64;
        self.0.get((item.labels.hash64() % shards) as usize)
    }
}

/// Sends what comes, in batches, until `stop`.
async fn ship(sender: Arc<Sender>, mut from: mpsc::Receiver<Item>, stop: CancellationToken) {
    let queue = sender.state.remote.section().queue_config;
    let (most, wait) = (
        queue.max_samples_per_send,
        queue.batch_send_deadline.duration(),
    );
    let mut batch = Vec::new();
    while let Some(Some(first)) = stop.run_until_cancelled(from.recv()).await {
        batch.push(first);
        let deadline = Instant::now() + wait;
        while batch.len() < most {
            let room = most - batch.len();
            let more = timeout_at(deadline, from.recv_many(&mut batch, room));
            match stop.run_until_cancelled(more).await {
                None => return,
                Some(Ok(0) | Err(_)) => break,
                Some(Ok(_)) => {}
            }
        }
        if !sender.send(&batch, &stop).await {
            return;
        }
        let mut unsent = sender.state.unsent();
        batch.drain(..).for_each(|item| unsent.remove(item.at_ms));
    }
}

/// Describes all metrics again and again, for a receiver of remote write 1.0.
async fn describe(sender: Arc<Sender>, stop: CancellationToken) {
    let config = sender.state.remote.section().metadata_config;
    let mut ticks = interval(
        config
            .send_interval
            .duration()
            .max(std::time::Duration::from_secs(1)),
    );
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        if sender.state.speaks() == MessageKind::V2 {
            continue;
        }
        let all = sender.metadata.all();
        for some in all.chunks(config.max_samples_per_send.max(1)) {
            let described = sender.describe(some);
            if stop.run_until_cancelled(described).await.is_none() {
                return;
            }
        }
    }
}
