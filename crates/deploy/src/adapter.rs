//! Where releases touch the world: the tasks that follow the ledger, order hosts and routers, measure, and
//! do what rollouts ask for.
//!
//! Guarantees: orders follow from committed entries alone, carry the leadership's epoch, and are sent again
//! until they are acted on. Never calls anything measured that was not reported by an agent or a router.

pub mod act;
mod ask;
mod blocked;
mod dead;
mod lease;
mod leave;
pub mod limit;
mod load;
mod opening;
mod order;
mod outlook;
mod perform;
mod propose;
mod scale;
mod shadow;
mod standing;
mod stop;
#[cfg(test)]
mod tests;
pub mod trouble;
pub mod verify;
mod view;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard},
};

use mainstay_core::{
    ChangeId, Expected, FabricName, HostName, ServiceName, Verdict,
    ports::{Clock, Ledger, LedgerError, Signals},
};
use mainstay_wire::{Generation, agent::DesiredSet, router::RouteTable};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{evidence::Bench, model::Model, site::Site};
use dead::Dead;
use load::Loads;
use opening::Unopened;
use standing::Stood;

/// Entries read at once.
const PAGE: usize = 512;

/// What the engine stands on.
#[derive(Clone)]
pub struct Ports {
    /// Every change to production.
    pub ledger: Arc<dyn Ledger>,
    /// What is measured.
    pub signals: Arc<dyn Signals>,
    /// Hosts and routers.
    pub site: Arc<dyn Site>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Makes the id of the next change.
    pub next_change_id: Arc<dyn Fn() -> ChangeId + Send + Sync>,
    /// The sequence number of the newest committed entry.
    pub newest: watch::Receiver<u64>,
}

/// Evidence on one rollout, and up to when it was gathered.
struct Gathered {
    bench: Bench,
    until: mainstay_core::Time,
}

/// What the judge of one rollout has.
#[derive(Default)]
struct Evidence {
    gathered: Arc<tokio::sync::Mutex<Option<Gathered>>>,
    /// What it said last, worth an entry or not.
    ruled: Option<Verdict>,
}

/// What was last ordered.
#[derive(Default)]
struct Ordered {
    counter: u64,
    /// Without its generation, which counts up.
    hosts: BTreeMap<HostName, DesiredSet>,
    fabrics: BTreeMap<FabricName, RouteTable>,
}

struct Shared {
    ports: Ports,
    /// Where this server took the leadership, once it did. It fences orders, whose epoch it is, and appends: those
    /// of an earlier leader are refused.
    leadership: Mutex<Option<Expected>>,
    model: RwLock<Model>,
    folded: watch::Sender<u64>,
    ordered: Mutex<Ordered>,
    evidence: Mutex<BTreeMap<ChangeId, Evidence>>,
    /// First releases that do not begin, and why.
    unopened: Mutex<Unopened>,
    /// When it was last tried whether the ledger takes anything, and what came of it.
    stood: tokio::sync::Mutex<Option<Stood>>,
    loads: Mutex<Loads>,
    dead: Mutex<Dead>,
    shadows: Mutex<BTreeMap<ServiceName, shadow::Watched>>,
}

/// Releases at work. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Shared>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    /// An engine that has folded the whole ledger. It orders nothing before [`Engine::run`].
    pub async fn open(ports: Ports) -> Result<Self, LedgerError> {
        let mut model = Model::default();
        loop {
            let page = ports.ledger.since(model.seq(), PAGE).await?;
            if page.is_empty() {
                break;
            }
            for entry in &page {
                model.fold(entry);
            }
        }
        for flaw in &model.flaws {
            tracing::warn!(%flaw, "an entry could not be read");
        }
        let folded = watch::Sender::new(model.seq());
        Ok(Self(Arc::new(Shared {
            ports,
            leadership: Mutex::default(),
            model: RwLock::new(model),
            folded,
            ordered: Mutex::default(),
            evidence: Mutex::default(),
            unopened: Mutex::default(),
            stood: tokio::sync::Mutex::default(),
            loads: Mutex::default(),
            dead: Mutex::default(),
            shadows: Mutex::default(),
        })))
    }

    /// Follows the ledger until `stop`: the read model is kept whether this server leads or not.
    pub async fn follow(self, stop: CancellationToken) {
        let mut newest = self.0.ports.newest.clone();
        loop {
            if let Err(error) = self.catch_up().await {
                tracing::warn!(%error, "the ledger was not read; it is asked again");
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                continue;
            }
            match stop.run_until_cancelled(newest.changed()).await {
                Some(Ok(())) => {}
                Some(Err(_)) | None => return,
            }
        }
    }

    /// Orders, measures and opens first releases until `stop`, as the leader by `leadership`: where its
    /// stream stood when this server took it.
    pub async fn lead(self, leadership: Expected, stop: CancellationToken) {
        *lock(&self.0.leadership) = Some(leadership);
        // What was ordered in an earlier term says nothing: agents may have heard another leader since.
        *lock(&self.0.ordered) = Ordered::default();
        let ordering = self.clone().keep_ordering();
        let measuring = self.clone().keep_measuring();
        let opening = self.clone().keep_opening();
        let watching = self.clone().keep_watching();
        let shadowing = self.clone().keep_shadowing();
        tokio::select! {
            () = stop.cancelled() => {}
            () = ordering => {}
            () = measuring => {}
            () = opening => {}
            () = watching => {}
            () = shadowing => {}
        }
        *lock(&self.0.leadership) = None;
    }

    async fn catch_up(&self) -> Result<(), LedgerError> {
        loop {
            let since = self.model().seq();
            let page = self.0.ports.ledger.since(since, PAGE).await?;
            if page.is_empty() {
                return Ok(());
            }
            let seq = {
                let mut model = self.0.model.write().unwrap_or_else(PoisonError::into_inner);
                for entry in &page {
                    model.fold(entry);
                }
                model.seq()
            };
            self.0.folded.send_replace(seq);
        }
    }

    fn model(&self) -> RwLockReadGuard<'_, Model> {
        self.0.model.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where each service says its metrics are.
    pub fn metrics_paths(&self) -> BTreeMap<ServiceName, String> {
        let model = self.model();
        let paths = model.services.iter();
        paths
            .map(|(name, spec)| (name.clone(), spec.metrics.clone()))
            .collect()
    }

    /// The fabric of a reported instance and the path of its metrics, where its service is declared.
    pub fn placed(
        &self,
        report: &mainstay_wire::agent::InstanceReport,
        paths: &BTreeMap<ServiceName, String>,
    ) -> Option<(FabricName, String)> {
        let path = paths.get(&report.service)?;
        let rest = report
            .instance
            .as_str()
            .strip_prefix(report.service.as_str())?;
        let (fabric, _) = rest.strip_prefix('-')?.rsplit_once('-')?;
        Some((FabricName::new(fabric).ok()?, path.clone()))
    }

    /// The fabric of a declared host.
    pub fn fabric_of(&self, host: &HostName) -> Option<FabricName> {
        Some(self.model().hosts.get(host)?.fabric.clone())
    }

    fn now(&self) -> mainstay_core::Time {
        self.0.ports.clock.now()
    }

    fn next_generation(&self, ordered: &mut Ordered) -> Generation {
        ordered.counter += 1;
        let leadership = lock(&self.0.leadership);
        Generation {
            epoch: leadership.as_ref().map_or(0, |it| it.version),
            counter: ordered.counter,
        }
    }
}
