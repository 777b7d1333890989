//! What is written beside the machines' own events: leases on headroom, what runs at the end, and releases.
//!
//! Guarantees: written as the leader alone. As with the runtime's appends each expects the leadership to stand where
//! this server took it, so that one that was deposed writes nothing, whatever it still believes. Of two changes that
//! saw the same headroom one conflicts and decides again, and a change that ended meanwhile takes none. Asking twice does nothing twice: a lease is held in place
//! of the one before, a deployment is written once.

use std::{collections::BTreeMap, time::Duration};

use mainstay_change::{Direction, LeaseBook};
use mainstay_core::{
    Actor, Append, ChangeId, Expected, FabricName, NewEntry, Outcome, ServiceName, Verdict,
    ports::LedgerError,
};
use tokio::time::Instant;

use super::{
    Engine,
    load::Figures,
    lock,
    perform::{LOOK_EVERY, OPEN_FOR, short},
    propose::declared,
};
use crate::{
    capacity::{self, Known},
    deployment::{Deployment, deployment_stream},
    rollout::Input,
    slots::Slots,
};

/// How long the way back waits for capacity before it is told that there is none.
const ROOM_AFTER: Duration = Duration::from_secs(1);
/// Tries to write a lease against others who write too.
const LEASE_TRIES: usize = 5;

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unwritten {
    /// Somebody else wrote first: read again, decide again.
    #[error("somebody else wrote first")]
    Stale,
    /// Another server leads, or this one does not lead yet.
    #[error("this server does not lead")]
    NotLeading,
    /// The ledger did not take it.
    #[error(transparent)]
    Ledger(LedgerError),
}

impl Engine {
    /// Writes as the leader that this server is. What restores may go into what is kept for the way back.
    pub(super) async fn append_led(
        &self,
        direction: Direction,
        mut expected: Vec<Expected>,
        entries: Vec<NewEntry>,
    ) -> Result<(), Unwritten> {
        let leadership = lock(&self.0.leadership).clone();
        let leadership = leadership.ok_or(Unwritten::NotLeading)?;
        expected.push(leadership.clone());
        let append = Append {
            actor: Actor::system(),
            at: self.now(),
            expected,
            entries,
        };
        let written = match direction {
            Direction::Forward => self.0.ports.ledger.append(append).await,
            Direction::Restoring => self.0.ports.ledger.append_restoring(append).await,
        };
        match written {
            Ok(_) => Ok(()),
            Err(LedgerError::Conflict { stream, .. }) if stream == leadership.stream => {
                Err(Unwritten::NotLeading)
            }
            Err(LedgerError::Conflict { .. }) => Err(Unwritten::Stale),
            Err(error) => Err(Unwritten::Ledger(error)),
        }
    }

    pub(super) async fn lease(
        &self,
        change: &ChangeId,
        service: &ServiceName,
        batch: u32,
        direction: Direction,
        candidates: &Slots,
    ) -> Option<Input> {
        let open_for = match direction {
            Direction::Forward => OPEN_FOR,
            // On the way back room is made rather than waited for.
            Direction::Restoring => ROOM_AFTER,
        };
        if direction == Direction::Forward
            && self.freeze_finding(change, service, self.now())?.outcome != Outcome::Pass
        {
            // The gate before it holds too; here a freeze came while a batch waited for room.
            return None;
        }
        let deadline = Instant::now() + open_for;
        loop {
            let mut taken = Slots::default();
            let mut left = BTreeMap::new();
            let mut findings = Vec::new();
            for fabric in candidates.fabrics() {
                let grant = self
                    .lease_in(change, service, fabric, direction, candidates)
                    .await?;
                taken.extend(grant.slots.iter().cloned());
                left.insert(fabric.clone(), grant.left);
                findings.push(grant.finding);
            }
            let findings = self.waived(change, service, findings);
            let overdue = Instant::now() >= deadline;
            if !taken.is_empty() || overdue {
                return Some(Input::Granted {
                    batch,
                    before: self.with_eyes(|eyes| eyes.processes(service, &taken)),
                    slots: taken,
                    left,
                    findings: short(Verdict::new("", self.now(), findings)).findings,
                });
            }
            tokio::time::sleep(LOOK_EVERY * 5).await;
        }
    }

    /// Takes what may be taken in one fabric, against others who may take at the same time.
    pub(super) async fn lease_in(
        &self,
        change: &ChangeId,
        service: &ServiceName,
        fabric: &FabricName,
        direction: Direction,
        candidates: &Slots,
    ) -> Option<capacity::Grant> {
        for _ in 0..LEASE_TRIES {
            let (grant, book, open) = self.grant(change, service, fabric, direction, candidates)?;
            if grant.slots.is_empty() {
                return Some(grant);
            }
            let entry = book
                .take(change, direction, grant.rps)
                .inspect_err(|error| tracing::warn!(%change, %error, "no lease"))
                .ok()?;
            let written = self
                .append_led(direction, vec![book.expected(), open], vec![entry])
                .await;
            match written {
                Ok(()) => {
                    // Read what was written, so that the next lease is decided on it.
                    self.catch_up().await.ok()?;
                    return Some(grant);
                }
                Err(Unwritten::Stale) => self.catch_up().await.ok()?,
                Err(error @ (Unwritten::NotLeading | Unwritten::Ledger(_))) => {
                    tracing::warn!(%change, %error, "a lease was not written");
                    return None;
                }
            }
        }
        None
    }

    fn grant(
        &self,
        change: &ChangeId,
        service: &ServiceName,
        fabric: &FabricName,
        direction: Direction,
        candidates: &Slots,
    ) -> Option<(capacity::Grant, LeaseBook, Expected)> {
        let now = self.now();
        let seen = self.0.ports.site.seen();
        let model = self.model();
        let open = model.still_open(change)?;
        let mover = model.mover(change)?;
        let spec = model.services.get(service)?;
        let book = model
            .books
            .get(&(service.clone(), fabric.clone()))
            .cloned()
            .unwrap_or_else(|| LeaseBook::new(service, fabric));
        let loads = lock(&self.0.loads);
        let emergency = declared(&model, service, model.change(change)?);
        let figures = Figures::new(&loads, emergency.as_ref(), now);
        let carries = figures.carries(service, spec, &model.tested, mover.versions);
        let known = Known {
            service,
            spec,
            fabric,
            desired: &mover.desired,
            hosts: &model.hosts,
            seen: &seen,
            demand_upper_rps: figures.demand_upper(service, fabric),
            carries: &carries,
            leased_rps: book.leased_rps(change, direction),
        };
        let size = mover.sizes.get(fabric).copied().unwrap_or(0);
        let terms = capacity::Terms {
            most: mover.batch,
            size,
            refills: mover.refills,
        };
        let mut grant = capacity::grant(known, candidates, direction, terms, now);
        if grant.slots.is_empty() && carries.is_empty() {
            grant.finding.remedy = format!(
                "no capacity of {service} is known: declare spec.capacityRps, or measure it with \
                 `mainstay limit-test {service}`"
            );
        }
        Some((grant, book, open))
    }

    /// Writes what runs now, and lets go of every lease, in one append; done before, it is done.
    pub(super) async fn settle(
        &self,
        change: &ChangeId,
        service: &ServiceName,
        deployment: &Deployment,
    ) -> Option<u64> {
        let number = deployment.number;
        let stream = deployment_stream(service);
        let entries = self.0.ports.ledger.stream(&stream).await.ok()?;
        let last = Deployment::fold(&entries).ok()?;
        if last.is_none_or(|last| last.number < number) {
            let entry = deployment
                .entry(service)
                .inspect_err(|error| tracing::error!(%change, %error, "cannot be written"))
                .ok()?;
            let mut expected = vec![Expected {
                stream,
                version: entries.len() as u64,
            }];
            let mut all = vec![entry];
            for (book, release) in self.releases(change, service) {
                expected.push(book);
                all.push(release);
            }
            // What runs already is written down even into what is kept for the way back.
            let written = self.append_led(Direction::Restoring, expected, all).await;
            if let Err(error) = written {
                tracing::warn!(%change, %error, "a deployment was not written; it is tried again");
                return None;
            }
        }
        lock(&self.0.evidence).remove(change);
        Some(number)
    }

    pub(super) fn releases(
        &self,
        change: &ChangeId,
        service: &ServiceName,
    ) -> Vec<(Expected, NewEntry)> {
        let model = self.model();
        let of_service = model.books.iter().filter(|((name, _), _)| name == service);
        of_service
            .filter_map(|(_, book)| Some((book.expected(), book.release(change)?)))
            .collect()
    }
}
