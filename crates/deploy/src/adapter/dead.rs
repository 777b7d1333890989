//! Which instances are measured dead, and for how long: what may be restarted although something forbids it.
//!
//! An instance is measured dead when a fresh report of its router measures that it fails, or took it out of rotation
//! because it did, or a fresh report of its agent shows no process. Guarantees: silence is never taken for death, nor is
//! the word of an instance that its callers get good answers from.

use std::{collections::BTreeMap, time::Duration};

use mainstay_core::{InstanceName, ServiceName, Span, Time};
use mainstay_wire::router::{HealthVerdict, MeasuredHealth};

use super::{Engine, lock};
use crate::{
    desired::Wanted,
    site::{REPORT_FRESH, Seen},
    slots::{Slot, Slots},
};

/// An instance counts as dead after so long: a process that is being replaced is not.
pub(super) const DEAD_FOR: Span = Span::from_secs(5);
/// How often is looked.
const EVERY: Duration = Duration::from_millis(500);

/// Since when instances are measured dead, and how that shows.
pub(super) type Dead = BTreeMap<InstanceName, (Time, String)>;

impl Engine {
    /// Keeps the list of the dead.
    pub(super) async fn keep_watching(self) {
        let mut beat = tokio::time::interval(EVERY);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            let now = self.now();
            let seen = self.0.ports.site.seen();
            let mut found = Dead::new();
            {
                let model = self.model();
                for (service, desired) in model.desired() {
                    for (slot, wanted) in &desired.slots {
                        let why = why_dead(&seen, &service, slot, wanted, now);
                        if let (Ok(name), Some(why)) = (slot.instance(&service), why) {
                            found.insert(name, (now, why));
                        }
                    }
                }
            }
            let mut dead = lock(&self.0.dead);
            for (name, (since, _)) in &mut found {
                if let Some((before, _)) = dead.get(name) {
                    *since = *before;
                }
            }
            *dead = found;
        }
    }

    /// Why an instance counts as dead, if it does.
    pub(super) fn dead(&self, service: &ServiceName, slot: &Slot, now: Time) -> Option<String> {
        let name = slot.instance(service).ok()?;
        let dead = lock(&self.0.dead);
        let (since, why) = dead.get(&name)?;
        (now.since(*since) >= DEAD_FOR).then(|| format!("{name}: {why} for {}", now.since(*since)))
    }

    /// Why all of `slots` count as dead, if they do and there are any.
    pub(super) fn all_dead(
        &self,
        service: &ServiceName,
        slots: &Slots,
        now: Time,
    ) -> Option<Vec<String>> {
        let whys: Option<Vec<String>> = slots
            .iter()
            .map(|slot| self.dead(service, slot, now))
            .collect();
        whys.filter(|it| !it.is_empty())
    }
}

fn why_dead(
    seen: &Seen,
    service: &ServiceName,
    slot: &Slot,
    wanted: &Wanted,
    now: Time,
) -> Option<String> {
    if !has_process(seen, service, slot, wanted, now)? {
        return Some(format!("no process, as the agent of {} sees", wanted.host));
    }
    let router = seen
        .fabrics
        .get(&slot.fabric)
        .filter(|it| it.connected && now.since(it.received_at) <= REPORT_FRESH);
    let name = slot.instance(service).ok()?;
    let backend = router.and_then(|_| seen.backend(&slot.fabric, service, name.as_str()))?;
    let fails = backend.measured == MeasuredHealth::Bad || !backend.in_rotation;
    let said = match backend.verdict {
        HealthVerdict::Unhealthy if fails => "unhealthy",
        HealthVerdict::Lying => "lying",
        HealthVerdict::Unhealthy
        | HealthVerdict::Healthy
        | HealthVerdict::Unknown
        | HealthVerdict::Recovering => return None,
    };
    let is_it = backend.incarnation == wanted.incarnation;
    is_it.then(|| format!("{said}, as the router of {} sees", slot.fabric))
}

/// Whether a fresh report of the agent shows a process; where no report is fresh it may well have one.
fn has_process(
    seen: &Seen,
    service: &ServiceName,
    slot: &Slot,
    wanted: &Wanted,
    now: Time,
) -> Option<bool> {
    let name = slot.instance(service).ok()?;
    let host = seen
        .hosts
        .get(&wanted.host)
        .filter(|it| it.connected && now.since(it.received_at) <= REPORT_FRESH);
    let Some(host) = host else {
        return Some(true);
    };
    let report = host.instances.iter().find(|it| it.instance == name);
    Some(report.is_some_and(|it| it.process.is_some()))
}

/// Whether a fresh report of the agent shows that an instance has no process, so that it carries nothing.
pub(super) fn is_gone(
    seen: &Seen,
    service: &ServiceName,
    slot: &Slot,
    wanted: &Wanted,
    now: Time,
) -> bool {
    has_process(seen, service, slot, wanted, now) == Some(false)
}
