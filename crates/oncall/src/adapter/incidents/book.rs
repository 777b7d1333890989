//! What is known of incidents and policies, folded from the ledger as it grows.
//!
//! Guarantees: holds every incident that is not closed, and every policy; what this process wrote is in it at once,
//! what others wrote when it is read, and asked for whenever somebody wrote. An entry taken twice changes nothing.
//! Whoever acts still names the version that they saw: the ledger decides, not this.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use mainstay_core::{
    ChangeId, Entry, Kind, Name, Resource,
    catalog::Spec,
    change::change_stream,
    escalation::EscalationPolicySpec,
    ports::LedgerError,
    resource::{APPLIED, DELETED},
};
use serde::Deserialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Ports;
use crate::{
    incident::{Folded, PageStatus, Status, fold},
    matcher::{MatcherError, Matchers},
};

/// Entries read at once.
const PAGE: usize = 512;
/// Rows read at once.
const ROWS: usize = 1_000;
/// How often the ledger is asked for news when nobody says that there is some.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What ids of incidents begin with.
pub(super) const PREFIX: &str = "inc-";

/// How long is waited for what the ledger has already.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(2);

/// A policy as it is declared.
#[derive(Debug, Clone)]
pub struct Declared {
    /// What it says.
    pub spec: EscalationPolicySpec,
    /// Of which alerts it opens incidents; none where it says nothing of alerts.
    pub matchers: Option<Matchers>,
}

impl Declared {
    /// Of a spec; an expression that is none is refused with its place.
    pub fn new(spec: EscalationPolicySpec) -> Result<Self, (usize, MatcherError)> {
        let matchers = match &spec.alerts {
            None => None,
            Some(alerts) => {
                let mut all = Matchers::default();
                for (at, text) in alerts.matchers.iter().enumerate() {
                    all.extend(text.parse().map_err(|error| (at, error))?);
                }
                Some(all)
            }
        };
        Ok(Self { spec, matchers })
    }
}

#[derive(Debug, Default)]
struct Known {
    incidents: BTreeMap<ChangeId, Folded>,
    by_key: BTreeMap<String, ChangeId>,
    policies: BTreeMap<Name, Arc<Declared>>,
}

/// See the module.
#[derive(Debug)]
pub struct Book {
    known: Mutex<Known>,
    /// Up to where the ledger was read.
    read: watch::Sender<u64>,
}

#[derive(Deserialize)]
struct Row {
    resource: Resource,
}

impl Book {
    /// Reads what there is, and the position from which entries are new.
    pub async fn open(ports: &Ports) -> Result<(Arc<Self>, u64), LedgerError> {
        let since = *ports.newest.borrow();
        let book = Self {
            known: Mutex::default(),
            read: watch::Sender::new(since),
        };
        let mut after = String::new();
        loop {
            let prefix = format!("{}/", Kind::EscalationPolicy);
            let rows = ports
                .tables
                .list("resources", &prefix, &after, ROWS)
                .await?;
            let Some((last, _)) = rows.last() else { break };
            after.clone_from(last);
            for (key, body) in &rows {
                match serde_json::from_str::<Row>(body) {
                    Ok(row) => book.applied(&row.resource),
                    Err(error) => tracing::error!(key, %error, "a policy cannot be read"),
                }
            }
        }
        let prefix = format!("open/{PREFIX}");
        let mut after = String::new();
        loop {
            let rows = ports
                .tables
                .list("changes_newest", &prefix, &after, ROWS)
                .await?;
            let Some((last, _)) = rows.last() else { break };
            after.clone_from(last);
            for (_, id) in &rows {
                if let Ok(id) = ChangeId::new(id) {
                    book.read(ports, &id).await?;
                }
            }
        }
        Ok((Arc::new(book), since))
    }

    /// Follows the ledger from `since`, until `stop`.
    pub async fn follow(self: Arc<Self>, ports: Ports, since: u64, stop: CancellationToken) {
        let mut newest = ports.newest.clone();
        let mut seq = since;
        loop {
            match self.catch_up(&ports, seq).await {
                Ok(read) if read > seq => {
                    seq = read;
                    self.read.send_replace(seq);
                    continue;
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "what became of incidents was not read; it is asked again");
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                changed = newest.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Waits until what the ledger has by now was read, so that what somebody declared just before is known; not longer
    /// than [`CAUGHT_UP_WITHIN`], since an alert must not wait for that.
    pub(super) async fn caught_up(&self, ports: &Ports) {
        let newest = *ports.newest.borrow();
        let mut read = self.read.subscribe();
        let caught_up = read.wait_for(|read| *read >= newest);
        // What is not known in time is unknown.
        let _ = tokio::time::timeout(CAUGHT_UP_WITHIN, caught_up).await;
    }

    async fn catch_up(&self, ports: &Ports, seq: u64) -> Result<u64, LedgerError> {
        let entries = ports.ledger.since(seq, PAGE).await?;
        let mut read = seq;
        for entry in &entries {
            if let Some(id) = incident_of(entry)
                && !self.take(&id, std::slice::from_ref(entry))
            {
                self.read(ports, &id).await?;
            }
            self.take_resource(entry);
            read = entry.seq;
        }
        Ok(read)
    }

    /// Reads an incident from the ledger.
    pub(super) async fn read(
        &self,
        ports: &Ports,
        id: &ChangeId,
    ) -> Result<Option<Folded>, LedgerError> {
        let entries = ports.ledger.stream(&change_stream(id)).await?;
        if entries.is_empty() {
            return Ok(None);
        }
        match fold(&entries) {
            Ok(folded) => {
                self.put(folded.clone());
                Ok(Some(folded))
            }
            Err(error) => {
                tracing::error!(%id, %error, "an incident cannot be read");
                Ok(None)
            }
        }
    }

    /// Takes entries of one incident in; false where it has to be read.
    pub(super) fn take(&self, id: &ChangeId, entries: &[Entry]) -> bool {
        let mut known = self.known();
        let Some(folded) = known.incidents.get_mut(id) else {
            return false;
        };
        for entry in entries {
            if entry.version <= folded.version {
                continue;
            }
            let is_next = entry.version == folded.version + 1;
            if !is_next || folded.take(entry).is_err() {
                return false;
            }
        }
        if folded.state.status() == Status::Closed {
            known.drop_incident(id);
        }
        true
    }

    pub(super) fn put(&self, folded: Folded) {
        let mut known = self.known();
        let id = folded.change.id.clone();
        if folded.state.status() == Status::Closed {
            known.drop_incident(&id);
            return;
        }
        let newer = known
            .incidents
            .get(&id)
            .is_none_or(|it| it.version <= folded.version);
        if !newer {
            return;
        }
        if let Some(key) = &folded.state.plan.key {
            let later = known
                .by_key
                .get(key)
                .and_then(|other| known.incidents.get(other))
                .is_none_or(|other| other.state.opened_at <= folded.state.opened_at);
            if later {
                known.by_key.insert(key.clone(), id.clone());
            }
        }
        known.incidents.insert(id, folded);
    }

    /// One that is not closed, as far as it was read.
    pub fn get(&self, id: &ChangeId) -> Option<Folded> {
        self.known().incidents.get(id).cloned()
    }

    /// The last that was opened for alerts alike in `key`, and is not closed.
    pub fn by_key(&self, key: &str) -> Option<Folded> {
        let known = self.known();
        let id = known.by_key.get(key)?;
        known.incidents.get(id).cloned()
    }

    /// All that are not closed.
    pub fn all(&self) -> Vec<Folded> {
        self.known().incidents.values().cloned().collect()
    }

    /// How many are in each state but closed.
    pub fn counts(&self) -> [(Status, usize); 3] {
        let known = self.known();
        [Status::Triggered, Status::Acknowledged, Status::Resolved].map(|status| {
            let all = known.incidents.values();
            (status, all.filter(|it| it.state.status() == status).count())
        })
    }

    /// Whether a page is still needed, as far as was read: nobody has acted since it was begun.
    pub fn is_needed(&self, id: &ChangeId, key: &str) -> bool {
        let known = self.known();
        known.incidents.get(id).is_none_or(|it| {
            let page = it.state.pages.get(key);
            page.is_none_or(|it| it.status != PageStatus::Withdrawn)
        })
    }

    /// A policy.
    pub fn policy(&self, name: &Name) -> Option<Arc<Declared>> {
        self.known().policies.get(name).cloned()
    }

    /// Policies that open incidents of alerts.
    pub fn of_alerts(&self) -> Vec<(Name, Arc<Declared>)> {
        let known = self.known();
        let all = known
            .policies
            .iter()
            .filter(|(_, it)| it.matchers.is_some());
        all.map(|(name, it)| (name.clone(), Arc::clone(it)))
            .collect()
    }

    fn take_resource(&self, entry: &Entry) {
        let prefix = format!("resource/{}/", Kind::EscalationPolicy);
        if !entry.stream.as_str().starts_with(&prefix) {
            return;
        }
        match serde_json::from_str::<Resource>(&entry.body) {
            Ok(resource) if entry.kind == APPLIED => self.applied(&resource),
            Ok(resource) if entry.kind == DELETED => {
                self.known().policies.remove(&resource.metadata.name);
            }
            Ok(_) => {}
            Err(error) => tracing::error!(seq = entry.seq, %error, "a policy cannot be read"),
        }
    }

    fn applied(&self, resource: &Resource) {
        let name = &resource.metadata.name;
        let declared = match Spec::decode(resource.kind, &resource.spec) {
            Ok(Spec::EscalationPolicy(spec)) => Declared::new(*spec),
            Ok(_) => return,
            Err(error) => {
                tracing::error!(%name, %error, "a policy cannot be read");
                return;
            }
        };
        match declared {
            Ok(declared) => {
                let declared = Arc::new(declared);
                self.known().policies.insert(name.clone(), declared);
            }
            Err((_, error)) => tracing::error!(%name, %error, "a policy cannot be read"),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn drop_incident(&mut self, id: &ChangeId) {
        self.incidents.remove(id);
        self.by_key.retain(|_, of| of != id);
    }
}

/// The incident that an entry belongs to.
fn incident_of(entry: &Entry) -> Option<ChangeId> {
    let id = entry.stream.as_str().strip_prefix("change/")?;
    id.starts_with(PREFIX).then(|| ChangeId::new(id).ok())?
}
