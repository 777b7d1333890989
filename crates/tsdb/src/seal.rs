//! The thread that seals: generations that ended become parts, parts are merged, and what is too old is dropped.
//!
//! Guarantees: a part and its name are durable before the manifest lists it, the manifest is durable before readers
//! find the part in the generation's place, and only then do segments of the log go. A reader finds each sample in one
//! place. Whatever fails is tried again, ever more seldom, on a new file; until it succeeds the generation stays where it
//! was. Parts that were merged or are too old go once no reader holds them. It never waits for readers and the writer
//! never waits for it; a merge makes way for a generation that ends meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use mainstay_wal::{Disk, remove_segments_before};

mod backfill;
mod orders;
mod retention;

use crate::{
    Downsampling, ReadError, Tiers, Tsdb,
    manifest::Manifest,
    memtable::{Columns, Memtable},
    merge::{MergeError, merge, plan},
    order::Ordered,
    part::{self, IMPORTED, Part, PartWriter, Tier},
    retention::Retention,
    view::View,
};

/// How soon a disk that failed is tried again at first …
const RETRY_FIRST: Duration = Duration::from_millis(if cfg!(test) { 2 } else { 250 });
/// … and at last.
const RETRY_LAST: Duration = Duration::from_millis(if cfg!(test) { 10 } else { 30_000 });
/// How often is looked whether a part is read no more that can go.
const SWEEP_EVERY: Duration = Duration::from_millis(if cfg!(test) { 2 } else { 1_000 });

/// Generations that ended and are durable in the log.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) generations: Vec<Arc<Memtable>>,
    /// The segment in which the log after them begins.
    pub(crate) log_from: u64,
    /// When they ended, on the clock of those who append.
    pub(crate) now_ms: i64,
}

/// What the thread does, in its order.
#[derive(Debug)]
pub(crate) enum Task {
    Seal(Job),
    Order(Ordered),
}

#[derive(Debug, Default)]
struct Queue {
    tasks: VecDeque<Task>,
    /// No more will be queued, and what is begun need not be ended.
    closed: bool,
    /// Nobody takes from the queue any more.
    ended: bool,
    /// Why nothing is sealed at the moment.
    failing: Option<String>,
}

/// The queue to the thread.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    queue: Mutex<Queue>,
    /// Something was queued, or the queue was closed.
    wake: Condvar,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues what ended, or was ordered.
    pub(crate) fn push(&self, task: Task) {
        self.queue().tasks.push_back(task);
        self.wake.notify_one();
    }

    fn is_closed(&self) -> bool {
        self.queue().closed
    }

    fn next_now(&self) -> Option<Task> {
        self.queue().tasks.pop_front()
    }

    /// The generations that are next, unless an order comes before them.
    fn next_job(&self) -> Option<Job> {
        let mut queue = self.queue();
        match queue.tasks.pop_front() {
            Some(Task::Seal(job)) => Some(job),
            Some(order @ Task::Order(_)) => {
                queue.tasks.push_front(order);
                None
            }
            None => None,
        }
    }

    /// Whether an order is next.
    fn has_order(&self) -> bool {
        matches!(self.queue().tasks.front(), Some(Task::Order(_)))
    }

    /// Waits for something to do, at most for a while; `false` if the queue was closed.
    fn wait(&self, at_most: Option<Duration>) -> bool {
        let queue = self.queue();
        let idle = |queue: &mut Queue| queue.tasks.is_empty() && !queue.closed;
        let queue = match at_most {
            None => self
                .wake
                .wait_while(queue, idle)
                .unwrap_or_else(PoisonError::into_inner),
            Some(time) => {
                let waited = self.wake.wait_timeout_while(queue, time, idle);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        !queue.closed
    }

    /// Does something until it succeeds; `None` if the queue was closed before.
    fn insist<T>(&self, what: &str, mut act: impl FnMut() -> io::Result<T>) -> Option<T> {
        let mut pause = RETRY_FIRST;
        loop {
            if self.is_closed() {
                return None;
            }
            match act() {
                Ok(done) => {
                    if let Some(was) = self.queue().failing.take() {
                        tracing::warn!(%was, "samples are sealed again");
                    }
                    return Some(done);
                }
                Err(error) => {
                    let why =
                        format!("{what} cannot be written ({error}); repair the disk or make room");
                    let mut queue = self.queue();
                    if queue.closed {
                        return None;
                    }
                    if queue.failing.replace(why).is_none() {
                        tracing::error!(%error, "{what} cannot be written; it is tried again");
                    }
                    let open = |queue: &mut Queue| !queue.closed;
                    drop(self.wake.wait_timeout_while(queue, pause, open));
                    pause = (pause * 2).min(RETRY_LAST);
                }
            }
        }
    }
}

/// The thread, and the queue to it.
#[derive(Debug)]
pub(crate) struct Sealer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Sealer {
    /// Starts the thread, which first seals what `first` says.
    pub(crate) fn start(mut work: Work, first: Option<Job>) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        shared.queue().tasks.extend(first.map(Task::Seal));
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("seal".to_owned())
            .spawn(move || {
                let ending = Ending(&own);
                work.run(&own);
                drop(ending);
            })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Where to queue what ended.
    pub(crate) fn queue(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Why nothing is sealed at the moment, if the disk says.
    pub(crate) fn failing(&self) -> Option<String> {
        self.shared.queue().failing.clone()
    }

    /// Whether the thread has ended, so that nothing will ever be sealed again.
    pub(crate) fn is_dead(&self) -> bool {
        self.shared.queue().ended
    }
}

/// Ends the thread; what it was doing is done again from the log.
impl Drop for Sealer {
    fn drop(&mut self) {
        self.shared.queue().closed = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic was printed when it happened.
            let _ = thread.join();
        }
    }
}

/// Says that the thread ended, however it did.
struct Ending<'a>(&'a Shared);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.queue().ended = true;
    }
}

/// What the thread works on.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) tsdb: Tsdb,
    pub(crate) tiers: Tiers,
    pub(crate) retention: Retention,
    pub(crate) downsampling: Downsampling,
    /// Parts without the series that are kept for so long, or less long.
    pub(crate) expired: BTreeMap<u64, i64>,
    /// Nothing was imported since a generation ended before the last one: what was is merged.
    pub(crate) settling: bool,
    pub(crate) manifest: Manifest,
    /// Those of the manifest that can be read.
    pub(crate) parts: Vec<Arc<Part>>,
    /// Parts that the manifest does not list any more: they go once nobody reads them.
    pub(crate) doomed: Vec<Arc<Part>>,
    /// Parts that could not be read whole: they are served as far as they can be, and not merged.
    pub(crate) damaged: BTreeSet<u64>,
}

impl Work {
    fn run(&mut self, shared: &Shared) {
        let mut now_ms = i64::MIN;
        loop {
            while let Some(task) = shared.next_now() {
                let done = match task {
                    Task::Seal(job) => {
                        now_ms = now_ms.max(job.now_ms);
                        self.settling = true;
                        self.seal(&job, shared)
                    }
                    Task::Order(ordered) => {
                        now_ms = now_ms.max(ordered.now_ms);
                        self.obey(ordered, shared)
                    }
                };
                if done.is_none() {
                    return;
                }
            }
            let Some(merged) = self.tend(now_ms, shared) else {
                return;
            };
            let again = (!merged).then_some(RETRY_LAST);
            let sweep = (!self.doomed.is_empty()).then_some(SWEEP_EVERY);
            if !shared.wait(sweep.or(again)) {
                return;
            }
        }
    }

    /// Seals generations, each as a part, all at one moment; `None` if the queue was closed before.
    fn seal(&mut self, job: &Job, shared: &Shared) -> Option<()> {
        let first = self.parts.len();
        for generation in &job.generations {
            let part = shared.insist("a part", || self.write_generation(generation, shared))?;
            if let Some(part) = part {
                self.manifest.next_generation += 1;
                self.manifest.replace(&[], Some(part.id()));
                self.parts.push(Arc::new(part));
            }
        }
        self.manifest.log_from = job.log_from;
        if self.list(&job.generations, shared).is_none() {
            self.parts.truncate(first);
            return None;
        }
        if let Err(error) = remove_segments_before(&*self.disk, job.log_from) {
            tracing::warn!(%error, "the log keeps more than it needs");
        }
        Some(())
    }

    /// Makes the manifest durable, then lets readers see what it lists instead of `sealed`.
    fn list(&self, sealed: &[Arc<Memtable>], shared: &Shared) -> Option<()> {
        shared.insist("the manifest", || self.manifest.write(&*self.disk))?;
        let stays = |it: &&Arc<Memtable>| !sealed.iter().any(|sealed| Arc::ptr_eq(it, sealed));
        let listed = Arc::new(self.manifest.clone());
        self.tsdb.publish(|view| View {
            active: Arc::clone(&view.active),
            frozen: view.frozen.iter().filter(stays).cloned().collect(),
            parts: self.parts.clone(),
            listed: Arc::clone(&listed),
        });
        Some(())
    }

    /// A part of all that a generation holds, durable; `None` if that is nothing.
    fn write_generation(
        &mut self,
        generation: &Memtable,
        shared: &Shared,
    ) -> io::Result<Option<Part>> {
        let number = self.manifest.next_generation;
        let table = generation.table();
        let mut series: Vec<_> = (0..table.len())
            .filter(|id| generation.holds(*id))
            .filter_map(|id| Some((id, table.get(id)?)))
            .collect();
        series.sort_unstable_by(|(_, a), (_, b)| a.labels.cmp(&b.labels));
        if series.is_empty() {
            return Ok(None);
        }
        let base_ms = generation.newest_ms();
        let written = self.write_part(
            (Tier::Generation, (number, number), base_ms),
            |_, writer| {
                let mut columns = Columns::default();
                for (id, entry) in series {
                    if shared.is_closed() {
                        return Err(MergeError::Interrupted);
                    }
                    columns.clear();
                    generation.read(id, (i64::MIN, i64::MAX), &mut columns);
                    writer.push(&entry.labels, entry.born_ms, &columns)?;
                }
                Ok(())
            },
        );
        written.map(Some).map_err(io::Error::other)
    }

    /// Writes a new part with what `fill` puts into it; durable, name and all. A file that failed is left behind.
    fn write_part(
        &mut self,
        (tier, generations, base_ms): (Tier, (u64, u64), i64),
        fill: impl FnOnce(&mut Self, &mut PartWriter) -> Result<(), MergeError>,
    ) -> Result<Part, MergeError> {
        let id = self.manifest.next_part;
        self.manifest.next_part += 1;
        let name = part::name(id);
        let write = || {
            let file = self.disk.create(&name)?;
            let mut writer = PartWriter::new(file, tier, generations, base_ms);
            fill(self, &mut writer)?;
            writer.finish()?;
            self.disk.sync_folder()?;
            Ok(Part::open(&*self.disk, id)?)
        };
        let written: Result<Part, MergeError> = write();
        match &written {
            Ok(part) => {
                let (meta, bytes) = (part.meta(), part.bytes());
                let (series, samples) = (meta.series, meta.samples);
                tracing::debug!(part = name, ?tier, series, samples, bytes, "written");
            }
            Err(_) => {
                // If this fails too, the next start removes it, since no manifest lists it.
                let _ = self.disk.remove(&name);
            }
        }
        written
    }

    /// Drops what is too old, merges what can be merged, and removes what nobody reads any more. `false` if there is
    /// more to merge and the disk fails; `None` if the queue was closed before.
    fn tend(&mut self, now_ms: i64, shared: &Shared) -> Option<bool> {
        let young = self.expire(now_ms, shared)? && self.clean_old(now_ms, shared)?;
        if !(young && self.merge_imported(shared)?) {
            // Whatever is more urgent wakes the thread at once.
            return Some(true);
        }
        let mut merged = true;
        while let Some((range, tier)) = self.plan() {
            let inputs: Vec<Arc<Part>> = self.parts.get(range)?.to_vec();
            match self.merge(&inputs, tier, shared) {
                Ok(part) => self.replace(inputs, part, shared)?,
                Err(MergeError::Interrupted) if shared.is_closed() => return None,
                Err(MergeError::Interrupted) => return Some(true),
                Err(MergeError::Read(error @ ReadError::Damaged { .. })) => {
                    self.leave_unmerged(&inputs, &error);
                }
                Err(error @ (MergeError::Read(ReadError::Disk { .. }) | MergeError::Write(_))) => {
                    tracing::warn!(%error, "parts stay unmerged; it is tried again");
                    merged = false;
                    break;
                }
            }
        }
        self.sweep();
        Some(merged)
    }

    /// A part among `inputs` turned out to be damaged.
    fn leave_unmerged(&mut self, inputs: &[Arc<Part>], error: &ReadError) {
        let ReadError::Damaged { part, .. } = error else {
            return;
        };
        tracing::error!(%error, "a part is damaged, and not merged");
        let damaged = inputs.iter().filter(|it| it.name() == part);
        self.damaged.extend(damaged.map(|it| it.id()));
    }

    fn plan(&self) -> Option<(std::ops::Range<usize>, Tier)> {
        let mergeable = |part: &Arc<Part>| {
            !self.damaged.contains(&part.id()) && part.meta().generations != IMPORTED
        };
        let whole = |part: &Arc<Part>| mergeable(part).then(|| *part.meta());
        let parts: Vec<_> = self.parts.iter().map(whole).collect();
        plan(&parts, self.tiers)
    }

    /// One part of several, written while generations that end meanwhile are sealed.
    fn merge(
        &mut self,
        inputs: &[Arc<Part>],
        tier: Tier,
        shared: &Shared,
    ) -> Result<Part, MergeError> {
        let firsts = inputs.iter().map(|part| part.meta().generations.0);
        let lasts = inputs.iter().map(|part| part.meta().generations.1);
        let newest_ms = inputs.iter().map(|part| part.meta().newest_ms).max();
        let generations = (firsts.min().unwrap_or(0), lasts.max().unwrap_or(0));
        let base_ms = newest_ms.unwrap_or(0);
        self.write_part((tier, generations, base_ms), |work, writer| {
            merge(inputs, writer, &mut || work.goes_on(true, shared))
        })
    }

    /// The merged part stands for its inputs.
    fn replace(&mut self, inputs: Vec<Arc<Part>>, part: Part, shared: &Shared) -> Option<()> {
        let is_input = |part: &Arc<Part>| inputs.iter().any(|input| input.id() == part.id());
        let at = self.parts.iter().position(is_input)?;
        let id = part.id();
        self.parts.retain(|part| !is_input(part));
        self.parts.insert(at, Arc::new(part));
        self.retire(inputs, Some(id), shared)
    }

    /// Parts are not listed any more, but for one that stands for them.
    fn retire(&mut self, parts: Vec<Arc<Part>>, by: Option<u64>, shared: &Shared) -> Option<()> {
        let ids: Vec<u64> = parts.iter().map(|part| part.id()).collect();
        self.manifest.replace(&ids, by);
        self.list(&[], shared)?;
        self.doomed.extend(parts);
        Some(())
    }

    /// Removes files that nobody reads any more.
    fn sweep(&mut self) {
        let disk = &self.disk;
        self.doomed.retain(|part| {
            // Readers come to a part by a view only, and no view that is handed out has it.
            if Arc::strong_count(part) > 1 {
                return true;
            }
            if let Err(error) = disk.remove(part.name()) {
                let part = part.name();
                tracing::warn!(part, %error, "a part that is not needed stays until the next start");
            }
            false
        });
    }
}
