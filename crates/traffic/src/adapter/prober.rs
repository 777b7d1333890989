//! Probes of a rollout: requests of the router's own to a new version and to the old one at the same time.
//!
//! Guarantees: both versions are asked alike, or neither is; each probe carries [`PROBE_HEADER`] and is answered by
//! the instance's own workers, within the time that a user would have. They come no faster than declared, and
//! take no more than half of what an instance is measured to carry; an order lasts no longer than it says. Never counts a probe as a user's request, nor as
//! demand, nor for or against the health of an instance; what could not be sent is counted too.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use mainstay_core::{
    ChangeId, InstanceName, ServiceName,
    probe::{PROBES_MAX, ProbeSpec},
};
use mainstay_wire::router::Probing;
use tokio::time::Instant;

use super::{
    Shared, errand,
    errand::Came,
    snapshot::Snapshot,
    state::{BackendCell, Service, lock},
    upstream::Upstream,
};
use crate::Permit;

/// How often it is looked whether a probe is due: twice as often as the fastest may be.
const BEAT: Duration = Duration::from_millis(10);
/// How often it is looked whether there is anything to probe.
const IDLE_BEAT: Duration = Duration::from_millis(250);
/// Probes of one service under way; while so many are not answered no more are sent.
const UNDER_WAY_MAX: u32 = 128;
/// Part of an instance's measured capacity that probes may take.
const CAPACITY_PART: f64 = 0.5;

/// Sends what the table in force orders.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut paces = Paces::default();
    loop {
        let snapshot = shared.snapshot.load_full();
        paces.keep_only(&snapshot);
        for service in &snapshot.services {
            if let Some(probing) = &service.routes.probing {
                send_due(&shared, service, probing, &mut paces);
            }
        }
        let is_idle = paces.0.is_empty();
        tokio::time::sleep(if is_idle { IDLE_BEAT } else { BEAT }).await;
    }
}

/// What is sent for each change, and since when.
#[derive(Default)]
struct Paces(BTreeMap<(ServiceName, ChangeId), Paced>);

/// One order of probes.
struct Paced {
    canary: Vec<InstanceName>,
    control: Vec<InstanceName>,
    since_us: u64,
    paces: [Pace; PROBES_MAX],
}

/// When a probe is due next, and whose turn it is.
#[derive(Default)]
struct Pace {
    next_us: u64,
    turn: usize,
}

impl Pace {
    /// The number of the turn that is due, if one is. What was missed stays missed: probes come in no burst.
    fn take(&mut self, now_us: u64, rate: f64) -> Option<usize> {
        if now_us < self.next_us {
            return None;
        }
        let gap_us = (1e6 / rate) as u64;
        let late_us = now_us - self.next_us;
        self.next_us = if late_us < gap_us {
            self.next_us
        } else {
            now_us
        } + gap_us;
        self.turn = self.turn.wrapping_add(1);
        Some(self.turn)
    }
}

impl Paces {
    fn keep_only(&mut self, snapshot: &Snapshot) {
        self.0.retain(|(name, change), _| {
            let mut services = snapshot.services.iter();
            services.any(|it| {
                let probing = it.routes.probing.as_ref();
                it.routes.service == *name && probing.is_some_and(|of| of.change == *change)
            })
        });
    }

    /// How its probes are paced, until it has lasted too long. Other instances are a new order: its server lives.
    fn of(&mut self, name: &ServiceName, order: &Probing, now_us: u64) -> Option<&mut [Pace]> {
        let key = (name.clone(), order.change.clone());
        let paced = self.0.entry(key).or_insert_with(|| Paced {
            canary: order.canary.clone(),
            control: order.control.clone(),
            since_us: now_us,
            paces: Default::default(),
        });
        if paced.canary != order.canary || paced.control != order.control {
            paced.canary.clone_from(&order.canary);
            paced.control.clone_from(&order.control);
            paced.since_us = now_us;
        }
        let lasted = Duration::from_micros(now_us.saturating_sub(paced.since_us));
        (lasted < order.at_most.duration()).then_some(paced.paces.as_mut_slice())
    }
}

fn send_due(shared: &Arc<Shared>, service: &Service, probing: &Probing, paces: &mut Paces) {
    let Some(paces) = paces.of(&service.routes.service, probing, shared.now_us()) else {
        return;
    };
    let canary = open(service, &probing.canary);
    let control = open(service, &probing.control);
    let slower = slowdown(&probing.probes, &[&canary, &control]);
    for (probe, pace) in probing.probes.iter().zip(paces) {
        let Some(turn) = pace.take(shared.now_us(), probe.rate * slower) else {
            continue;
        };
        let of = |arm: &[Target]| {
            arm.get(turn % arm.len().max(1))
                .map(|it| Arc::clone(&it.cell))
        };
        let place = || service.cell.probes.enter(UNDER_WAY_MAX);
        let both = of(&canary).zip(of(&control));
        // One that has no partner says nothing: both go out or none.
        let Some(((canary, control), (one, other))) = both.zip(place().zip(place())) else {
            service.cell.unprobed.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        for (cell, place) in [(canary, one), (control, other)] {
            cell.in_flight.fetch_add(1, Ordering::Relaxed);
            let sent = Sent {
                shared: Arc::clone(shared),
                cell,
                probe: probe.clone(),
                change: probing.change.clone(),
                within: Duration::from_millis(service.routes.timeout.millis()),
                _place: place,
            };
            shared.tasks.spawn(sent.run());
        }
    }
}

/// One that can be probed.
struct Target {
    cell: Arc<BackendCell>,
    capacity_rps: Option<f64>,
}

/// Those of `names` that users could meet.
fn open(service: &Service, names: &[InstanceName]) -> Vec<Target> {
    let pairs = service.routes.backends.iter().zip(&service.backends);
    let asked = pairs.filter(|(spec, cell)| {
        names.contains(&spec.instance) && !spec.draining && !lock(&cell.tally).health.is_out()
    });
    let target = |(spec, cell): (&mainstay_wire::router::Backend, &Arc<BackendCell>)| Target {
        cell: Arc::clone(cell),
        capacity_rps: spec.capacity_rps,
    };
    asked.map(target).collect()
}

/// By how much probes are slower than declared, so that no instance gets more than its part of them.
fn slowdown(probes: &[ProbeSpec], arms: &[&[Target]]) -> f64 {
    let declared: f64 = probes.iter().map(|probe| probe.rate).sum();
    let allowed = arms.iter().filter_map(|arm| {
        let least = arm
            .iter()
            .filter_map(|it| it.capacity_rps)
            .min_by(f64::total_cmp)?;
        Some(least * CAPACITY_PART * arm.len() as f64)
    });
    allowed.map(|rate| rate / declared).fold(1.0, f64::min)
}

/// One probe on its way to one instance.
struct Sent {
    shared: Arc<Shared>,
    cell: Arc<BackendCell>,
    probe: ProbeSpec,
    change: ChangeId,
    within: Duration,
    _place: Permit,
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.cell.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Sent {
    async fn run(self) {
        let started_us = self.shared.now_us();
        let end = Instant::now() + self.within;
        let status = tokio::time::timeout_at(end, self.ask(end)).await;
        let status = status.ok().flatten();
        let is_good = status.is_some_and(|status| self.probe.expects(status));
        let took_us = self.shared.now_us().saturating_sub(started_us);
        lock(&self.cell.series).probed(&self.probe.path, took_us, is_good);
    }

    /// The status of a whole answer. Always on a connection of its own: one that another request left behind
    /// may be closed by then, which is no fault of the version.
    async fn ask(&self, end: Instant) -> Option<u16> {
        let address = &self.cell.spec.address;
        let request = errand::probe(&self.probe, self.change.as_str(), address, end)?;
        let mut upstream = Upstream::connect(address, None).await?;
        let (parts, came) = errand::ask(&mut upstream, request, end).await.ok()?;
        (came != Came::Part).then_some(parts.status.as_u16())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_come_as_often_as_declared_and_what_was_missed_is_not_made_up_for() {
        let mut pace = Pace::default();
        let mut sent = |from_ms: u64, until_ms: u64| {
            let beats = (from_ms..until_ms).step_by(10);
            beats
                .filter(|ms| pace.take(ms * 1_000, 20.0).is_some())
                .count()
        };
        assert_eq!(sent(0, 1_000), 20);
        assert_eq!(sent(61_000, 62_000), 20, "a minute's pause is no debt");
    }

    #[test]
    fn an_order_that_nobody_renews_ends_and_one_for_other_instances_is_new() {
        let order = |canary: &str| Probing {
            change: "chg-1".parse().unwrap(),
            probes: Vec::new(),
            canary: vec![canary.parse().unwrap()],
            control: vec!["shop-1".parse().unwrap()],
            at_most: mainstay_core::Span::from_secs(10),
        };
        let shop: ServiceName = "shop".parse().unwrap();
        let mut paces = Paces::default();
        assert!(paces.of(&shop, &order("shop-2"), 5).is_some());
        assert!(paces.of(&shop, &order("shop-2"), 10_000_004).is_some());
        assert!(paces.of(&shop, &order("shop-2"), 10_000_005).is_none());
        assert!(paces.of(&shop, &order("shop-3"), 10_000_005).is_some());
    }
}
