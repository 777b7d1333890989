//! First releases: opened as soon as a service that was declared can be released, and what keeps one from it.
//!
//! Guarantees: each reason is logged when it is new, and is among what is blocked until the release begins; one that
//! stands for [`WRITTEN_AFTER`] is a change in the ledger, aborted as it was opened, once. What was
//! taken back is not tried again by itself: a person says when it is mended. Never opens one for a service that is
//! only observed.

use std::{collections::BTreeMap, time::Duration};

use mainstay_change::Direction;
use mainstay_core::{
    Actor, ChangeState, Expected, ServiceName, Span, Time, Version,
    catalog::Manage,
    ports::{Declined, No},
};
use serde_json::{Value, json};

use super::{Engine, lock, propose};
use crate::{
    model::{Model, Track},
    refused::Refused,
};

/// How often a first release is tried again: hosts may be declared and artifacts put there without an entry.
const AGAIN: Duration = Duration::from_secs(5);
/// A reason that goes away sooner, as while hosts are being declared, is no entry.
pub(super) const WRITTEN_AFTER: Span = Span::from_secs(10);

/// First releases that do not begin.
pub(super) type Unopened = BTreeMap<ServiceName, Waiting>;

/// One that does not.
pub(super) struct Waiting {
    version: Version,
    declined: Declined,
    since: Time,
}

impl Engine {
    /// Opens the first release of every service that was declared with a version and never released, and moves
    /// those that run another count of instances than they declare.
    pub(super) async fn keep_opening(self) {
        let mut folded = self.0.folded.subscribe();
        loop {
            let waiting: Vec<(ServiceName, Version)> = {
                let model = self.model();
                let services = model.services.iter();
                services
                    .filter(|(name, spec)| spec.manage == Manage::Full && !model.was_released(name))
                    .filter_map(|(name, spec)| Some((name.clone(), spec.version.clone()?)))
                    .collect()
            };
            self.open_scales().await;
            let mut unopened = Unopened::new();
            for (service, version) in waiting {
                let order = propose::Request::first(service.clone(), version.clone());
                if let Err(declined) = self.open_rollout(order, Actor::system()).await {
                    let since = self.now();
                    let waits = Waiting {
                        version,
                        declined,
                        since,
                    };
                    unopened.insert(service, waits);
                }
            }
            self.note_unopened(unopened);
            self.write_unopened().await;
            // Asked again also without a new entry.
            let _ = tokio::time::timeout(AGAIN, folded.changed()).await;
        }
    }

    fn note_unopened(&self, mut now: Unopened) {
        let mut noted = lock(&self.0.unopened);
        for (service, waits) in &mut now {
            let Waiting {
                version,
                declined,
                since,
            } = waits;
            match noted.get(service) {
                Some(before) if before.declined == *declined && before.version == *version => {
                    *since = before.since;
                }
                Some(_) | None => {
                    tracing::warn!(%service, %version, %declined, "its first release does not begin");
                }
            }
        }
        *noted = now;
    }

    /// Writes down what has stood long enough, each reason once.
    async fn write_unopened(&self) {
        let now = self.now();
        let due: Vec<Refused> = {
            let model = self.model();
            let unopened = lock(&self.0.unopened);
            let stands = |waits: &Waiting| {
                let of_the_plan = match waits.declined.no {
                    No::Unknown | No::Invalid | No::Denied => true,
                    // It is under way, or the ledger is away: no reason against the release.
                    No::Conflict | No::Unavailable => false,
                };
                of_the_plan && now.since(waits.since) >= WRITTEN_AFTER
            };
            unopened
                .iter()
                .filter(|(_, waits)| stands(waits))
                .map(|(service, waits)| Refused::new(service, &waits.version, &waits.declined))
                .filter(|refused| model.refused.is_news(refused))
                .collect()
        };
        for refused in due {
            let (change, entries) = refused.entries((self.0.ports.next_change_id)(), now);
            let expected = vec![Expected {
                stream: change.stream(),
                version: 0,
            }];
            let written = self.append_led(Direction::Forward, expected, entries).await;
            let caught_up = match written {
                Ok(()) => self
                    .catch_up()
                    .await
                    .map_err(super::lease::Unwritten::Ledger),
                Err(error) => Err(error),
            };
            if let Err(error) = caught_up {
                tracing::warn!(service = %refused.service, %error, "why it is not released was not written down; it is tried again");
                return;
            }
        }
    }

    /// Services that were to be released for the first time and do not run: why, and what to do.
    pub(super) fn unreleased(&self, model: &Model) -> Vec<Value> {
        let unopened = lock(&self.0.unopened);
        let waiting = unopened
            .iter()
            .filter(|(service, _)| !model.was_released(service));
        let waiting = waiting.map(|(service, waits)| {
            let Waiting {
                version, declined, ..
            } = waits;
            json!({
                "what": format!("the first release of {service}, {version}"),
                "because": declined.what,
                "remedy": format!("{}; it begins by itself then", declined.remedy),
                "service": service,
            })
        });
        let taken_back = model.services.iter().filter_map(|(service, spec)| {
            let track = taken_back(model, service).filter(|_| spec.manage == Manage::Full)?;
            let (id, to) = (&track.change.id, &track.state.plan().to);
            Some(json!({
                "what": format!("{service} runs nowhere: its first release, {to}, was taken back"),
                "because": track.moved.because,
                "remedy": format!(
                    "mainstay why {id}; mend what it names, then mainstay rollout start {service} {to}"
                ),
                "change": id,
                "service": service,
            }))
        });
        waiting.chain(taken_back).collect()
    }
}

/// The last rollout of `service`, where it was a first release that was taken back.
fn taken_back<'a>(model: &'a Model, service: &ServiceName) -> Option<&'a Track> {
    let mut newest = model.newest_first().into_iter();
    let last = newest.find(|track| track.state.plan().service == *service)?;
    let ended_back = last.ended_at.is_some() && last.moved.state == ChangeState::RolledBack;
    (ended_back && last.state.plan().from.is_none()).then_some(last)
}
