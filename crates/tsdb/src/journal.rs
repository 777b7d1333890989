//! The thread that makes what the head took durable.
//!
//! Guarantees: an acknowledgement means that the group and all before it are synced; whatever gathers while a sync
//! runs becomes the next group, so a slow disk makes groups larger, not the queue longer. If the disk fails, all
//! who wait hear it, nobody is acknowledged, and what was taken is written again, each time to a new file, until it
//! is durable: only then does anything go on. It never drops a group, never lets a writer wait, and holds no lock
//! while it writes.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use mainstay_wal::{Group, Log};

use crate::{OrderError, memtable::Memtable, order::Ordered, roster::Roster};

/// Payload bytes that may wait for the disk; beyond, nothing more is taken.
const QUEUED_BYTES: usize = 64 << 20;
/// How soon a disk that failed is tried again.
const RETRY_EVERY: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 250 });

/// Samples that were not made durable: send them again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotDurable(pub String);

/// Who waits for a commit.
pub type Acknowledge = Box<dyn FnOnce(Result<(), NotDurable>) + Send>;

/// A generation that ended.
pub(crate) struct Ended {
    /// Its samples.
    pub(crate) generation: Arc<Memtable>,
    /// When it ended, on the clock of those who append.
    pub(crate) now_ms: i64,
    /// What is not needed any more: freeing a million series takes a while, which is not the writer's.
    pub(crate) retired: Option<Roster>,
}

/// What goes on to the thread that seals, in its order.
pub(crate) enum Handed {
    /// A generation that is durable, and in which segment the log of the next begins.
    Ended(Ended, u64),
    Order(Ordered),
}

/// Who hears of it.
pub(crate) type HandOn = Box<dyn FnMut(Handed) + Send>;

enum Item {
    Group(Group, Option<Acknowledge>),
    Cut(Ended),
    Order(Ordered),
}

#[derive(Default)]
struct Queue {
    items: VecDeque<Item>,
    bytes: usize,
    /// No more will be queued.
    closed: bool,
    /// Nobody takes from the queue any more.
    ended: bool,
    /// Why nothing is acknowledged at the moment.
    failing: Option<NotDurable>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Something was queued, or the queue was closed.
    wake: Condvar,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The queue to the thread.
pub(crate) struct Journal {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").finish_non_exhaustive()
    }
}

impl Journal {
    /// Starts the thread, which goes on with `log`.
    pub(crate) fn start(log: Log, hand_on: HandOn) -> std::io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("wal".to_owned())
            .spawn(move || {
                let ending = Ending(&own);
                write(&own, log, hand_on);
                drop(ending);
            })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Whether anything may be logged: not while the disk fails, nor while it is behind.
    pub(crate) fn check(&self) -> Result<(), NotDurable> {
        let queue = self.shared.queue();
        if let Some(why) = &queue.failing {
            return Err(why.clone());
        }
        if queue.bytes >= QUEUED_BYTES {
            let why = "the disk is slower than what comes in: send it again later";
            return Err(NotDurable(why.to_owned()));
        }
        Ok(())
    }

    /// Whether the thread has ended, so that nothing will ever be durable again.
    pub(crate) fn is_dead(&self) -> bool {
        self.shared.queue().ended
    }

    /// Queues a group. Never waits: who does not ask [`Journal::check`] first may queue too much.
    pub(crate) fn commit(&self, group: Group, acknowledge: Option<Acknowledge>) {
        let mut queue = self.shared.queue();
        if queue.ended {
            drop(queue);
            if let Some(tell) = acknowledge {
                tell(Err(ended()));
            }
            return;
        }
        queue.bytes += group.bytes();
        queue.items.push_back(Item::Group(group, acknowledge));
        drop(queue);
        self.shared.wake.notify_one();
    }

    /// Hands an order on, behind the generations that ended before it.
    pub(crate) fn order(&self, ordered: Ordered) {
        let mut queue = self.shared.queue();
        if queue.ended {
            drop(queue);
            (ordered.tell)(Err(OrderError::Closed));
            return;
        }
        queue.items.push_back(Item::Order(ordered));
        drop(queue);
        self.shared.wake.notify_one();
    }

    /// After all that is queued now a new segment begins.
    pub(crate) fn cut(&self, generation: Ended) {
        let mut queue = self.shared.queue();
        if !queue.ended {
            queue.items.push_back(Item::Cut(generation));
        }
        drop(queue);
        self.shared.wake.notify_one();
    }
}

/// Writes what is queued and ends the thread.
impl Drop for Journal {
    fn drop(&mut self) {
        self.shared.queue().closed = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic was printed when it happened.
            let _ = thread.join();
        }
    }
}

/// Says that the thread ended, however it did, so that nobody waits for it.
struct Ending<'a>(&'a Shared);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.ended = true;
        queue.failing = Some(ended());
        let left = std::mem::take(&mut queue.items);
        drop(queue);
        for item in left {
            match item {
                Item::Group(_, Some(tell)) => tell(Err(ended())),
                Item::Order(ordered) => (ordered.tell)(Err(OrderError::Closed)),
                Item::Group(_, None) | Item::Cut(_) => {}
            }
        }
    }
}

fn ended() -> NotDurable {
    NotDurable("the log's thread has ended; the server's own log says how".to_owned())
}

fn write(shared: &Shared, mut log: Log, mut hand_on: HandOn) {
    while let Some(items) = next(shared) {
        let mut waiting = Vec::new();
        let mut bytes = 0;
        for item in items {
            match item {
                Item::Group(group, acknowledge) => {
                    bytes += group.bytes();
                    log.stage(&group);
                    waiting.extend(acknowledge);
                }
                Item::Cut(mut ended) => {
                    if !commit(shared, &mut log, &mut waiting) {
                        return;
                    }
                    drop(ended.retired.take());
                    hand_on(Handed::Ended(ended, log.rotate()));
                }
                Item::Order(ordered) => hand_on(Handed::Order(ordered)),
            }
        }
        if !commit(shared, &mut log, &mut waiting) {
            return;
        }
        shared.queue().bytes -= bytes;
    }
}

/// What is queued, up to the end of a generation; `None` at the end. Its bytes count until they are durable. What stays
/// in the queue hears of a disk that fails meanwhile.
fn next(shared: &Shared) -> Option<VecDeque<Item>> {
    let mut queue = shared.queue();
    while queue.items.is_empty() && !queue.closed {
        let woken = shared.wake.wait(queue);
        queue = woken.unwrap_or_else(PoisonError::into_inner);
    }
    let cut = queue.items.iter().position(|it| matches!(it, Item::Cut(_)));
    let until = cut.map_or(queue.items.len(), |at| at + 1);
    let items: VecDeque<Item> = queue.items.drain(..until).collect();
    (!items.is_empty()).then_some(items)
}

/// Makes what is staged durable, however long it takes; `false` if the journal was closed before.
fn commit(shared: &Shared, log: &mut Log, waiting: &mut Vec<Acknowledge>) -> bool {
    while let Err(error) = log.commit_staged() {
        let why = NotDurable(error.to_string());
        let mut queue = shared.queue();
        if queue.failing.replace(why.clone()).is_none() {
            tracing::error!(%error, "samples are not acknowledged until they can be written");
        }
        waiting.drain(..).for_each(|tell| tell(Err(why.clone())));
        // Who is queued hears it too; the groups themselves stay, in their order.
        for item in &mut queue.items {
            if let Item::Group(_, acknowledge) = item {
                acknowledge
                    .take()
                    .into_iter()
                    .for_each(|tell| tell(Err(why.clone())));
            }
        }
        if queue.closed {
            return false;
        }
        let waited = shared
            .wake
            .wait_timeout_while(queue, RETRY_EVERY, |queue| !queue.closed);
        drop(waited);
    }
    if let Some(was) = shared.queue().failing.take() {
        tracing::warn!(%was, "samples are durable again");
    }
    waiting.drain(..).for_each(|tell| tell(Ok(())));
    true
}

#[cfg(test)]
mod tests;
