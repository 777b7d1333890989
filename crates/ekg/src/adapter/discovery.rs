//! Follows a job's targets: those of its configuration, those of its files, and those that servers list; files are
//! read and servers asked again and again.
//!
//! Guarantees: a list that cannot be read, or is none, leaves what it listed before, and the log says so once for
//! each new reason; a set of targets that did not change wakes nobody. A list is at most [`LIST_BYTES_MAX`]. A
//! server that hangs holds up its own list only.

mod files;
mod server;

use std::{collections::BTreeMap, future::Future};

use mainstay_core::Span;
use tokio::{
    sync::{mpsc, watch},
    task::{JoinSet, spawn_blocking},
};
use tokio_util::sync::CancellationToken;

use super::{Pools, Target, TlsError};
use crate::job::{Group, Job};
pub use server::ListServer;

/// Bytes of one list: some hundred thousand targets.
const LIST_BYTES_MAX: u64 = 16 << 20;
/// The shortest time between two looks at a list.
const LOOK_EVERY_MIN: Span = Span::from_secs(1);
/// Lists that were read and wait to be learned.
const WAITING_MAX: usize = 4;

/// What a list says, or why it says nothing.
type Listed = Result<Vec<Group>, String>;
/// All lists of one source, by name, as they were read together.
type Read = (usize, BTreeMap<String, Listed>);

/// Finds a job's targets.
pub struct Discovery {
    job: Job,
    pools: Pools,
    /// What each list of each source said when it last could be read.
    known: BTreeMap<usize, BTreeMap<String, Vec<Group>>>,
    /// What was last said of each list that could not be.
    said: BTreeMap<String, String>,
    /// What reads the lists; each ends when nobody learns any more.
    sources: JoinSet<()>,
    read: mpsc::Receiver<Read>,
}

impl Discovery {
    /// One for `job`, which tells `pools` what relabeling dropped; begins to read at once. None where TLS cannot be
    /// spoken with a server of lists as the job wants.
    pub fn new(job: Job, pools: Pools) -> Result<Self, TlsError> {
        pools.relabel_by(job.name(), job.rules());
        let mut sources = JoinSet::new();
        let (found, read) = mpsc::channel(WAITING_MAX);
        let mut number = 0;
        let mut next = || {
            number += 1;
            number
        };
        for files in job.files().iter().cloned() {
            let look = move || {
                let patterns = files.files.clone();
                async move {
                    spawn_blocking(move || files::read_all(&patterns))
                        .await
                        .ok()
                }
            };
            sources.spawn(keep_reading(
                next(),
                files.refresh_interval,
                found.clone(),
                look,
            ));
        }
        for server in job.servers().iter().cloned() {
            let client = server.tls.client()?;
            let every = server.every;
            let look = move || {
                let (server, client) = (server.clone(), client.clone());
                async move { Some(server.read(&client).await) }
            };
            sources.spawn(keep_reading(next(), every, found.clone(), look));
        }
        Ok(Self {
            job,
            pools,
            known: BTreeMap::new(),
            said: BTreeMap::new(),
            sources,
            read,
        })
    }

    /// Keeps `targets` up to date until `stop`.
    pub async fn run(mut self, targets: watch::Sender<Vec<Target>>, stop: CancellationToken) {
        self.follow(&targets);
        while let Some(Some(read)) = stop.run_until_cancelled(self.read.recv()).await {
            self.learn(read);
            self.follow(&targets);
        }
        self.sources.abort_all();
        // Nothing lists others: what the configuration says stands.
        stop.cancelled().await;
    }

    fn learn(&mut self, (source, read): Read) {
        let known = self.known.entry(source).or_default();
        known.retain(|list, _| read.contains_key(list));
        for (list, listed) in read {
            match listed {
                Ok(groups) => {
                    self.said.remove(&list);
                    known.insert(list, groups);
                }
                Err(error) => {
                    if self.said.get(&list) != Some(&error) {
                        tracing::warn!(list, error, "a list of targets cannot be read");
                        self.said.insert(list, error);
                    }
                }
            }
        }
    }

    fn follow(&self, targets: &watch::Sender<Vec<Target>>) {
        let listed = self.known.values().flat_map(BTreeMap::values).flatten();
        let found = self.job.targets(self.job.fixed().iter().chain(listed));
        targets.send_if_modified(|now| {
            let differs = *now != found.targets;
            if differs {
                for error in &found.refused {
                    tracing::warn!(job = self.job.name(), error, "not scraped");
                }
                *now = found.targets;
            }
            differs
        });
        self.pools.drop_targets(self.job.name(), found.dropped);
    }
}

/// Reads a source's lists in its rhythm until nobody learns of them.
async fn keep_reading<F>(
    source: usize,
    every: Span,
    found: mpsc::Sender<Read>,
    look: impl Fn() -> F,
) where
    F: Future<Output = Option<BTreeMap<String, Listed>>>,
{
    let mut ticks = tokio::time::interval(every.max(LOOK_EVERY_MIN).duration());
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(read) = look().await else {
            tracing::error!("reading files of targets died");
            continue;
        };
        if found.send((source, read)).await.is_err() {
            return;
        }
    }
}
