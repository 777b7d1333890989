//! How many instances of a service may be out at once, from what was measured.
//!
//! An instance counts what its version is known to carry once it holds a fair share of the load; until then
//! only what it holds: a restarted instance with cold caches counts as much as it answers. Guarantees: what
//! no report is fresh of counts zero. Never guesses a capacity.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_change::{Arithmetic, Batch, Budget, Direction, Serving, batch, safe_batch};
use mainstay_core::{
    FabricName, Finding, HostName, InstanceName, Name, Outcome, Percent, ServiceName, Time,
    Version,
    catalog::{FailureDomain, HostSpec, ServiceSpec},
};

use crate::{
    desired::Desired,
    plan::ALL,
    site::Seen,
    slots::{Slot, Slots},
};

/// Share of the mean load per instance from which an instance is warm.
const WARM_SHARE: f64 = 0.5;

/// What is known of a service in one fabric.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The service.
    pub service: &'a ServiceName,
    /// Its spec.
    pub spec: &'a ServiceSpec,
    /// The fabric.
    pub fabric: &'a FabricName,
    /// What it should run.
    pub desired: &'a Desired,
    /// Hosts, for failure domains.
    pub hosts: &'a BTreeMap<HostName, HostSpec>,
    /// What was reported.
    pub seen: &'a Seen,
    /// Upper bound of first attempts per second; none where it is not known.
    pub demand_upper_rps: Option<f64>,
    /// Requests per second that one instance of a version carries, at least.
    pub carries: &'a BTreeMap<Version, f64>,
    /// Headroom that other changes hold.
    pub leased_rps: f64,
}

/// How a change takes instances out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Terms {
    /// Largest share of instances out at once.
    pub most: Percent,
    /// Instances that the service has.
    pub size: usize,
    /// Whether they come back: then one more stands in for them first where few are.
    pub refills: bool,
}

/// How many may be taken out.
#[derive(Debug, Clone, PartialEq)]
pub struct Grant {
    /// Those; none where room must be made first.
    pub slots: Slots,
    /// What they carry together.
    pub rps: f64,
    /// The arithmetic.
    pub finding: Finding,
    /// Share of requests that the version to leave must still take, in hundredths of a per cent; all where
    /// demand is not known.
    pub left: u32,
}

/// What an instance on `host` of `fabric` fails together with.
pub(crate) fn domain(
    rule: FailureDomain,
    hosts: &BTreeMap<HostName, HostSpec>,
    fabric: &FabricName,
    host: &HostName,
) -> Name {
    let spec = hosts.get(host);
    let text = match rule {
        FailureDomain::Host => None,
        FailureDomain::Rack => spec.and_then(|spec| spec.rack.as_ref()).map(Name::as_str),
        FailureDomain::Fabric => Some(fabric.as_str()),
    };
    // A host without a rack fails alone.
    Name::new(text.unwrap_or(host.as_str())).expect("a host's name keeps to the rule of names")
}

fn is_fresh(known: Known<'_>, now: Time) -> bool {
    known
        .seen
        .fabrics
        .get(known.fabric)
        .is_some_and(|it| it.is_fresh(now))
}

struct Row {
    slot: Slot,
    version: Version,
    serving: Serving,
}

fn rows(known: Known<'_>, now: Time) -> Vec<Row> {
    let fresh = is_fresh(known, now);
    let mut rows = Vec::new();
    for (slot, wanted) in &known.desired.slots {
        let Ok(instance) = slot.instance(known.service) else {
            continue;
        };
        if slot.fabric != *known.fabric || wanted.draining {
            continue;
        }
        let seen = known
            .seen
            .backend(known.fabric, known.service, instance.as_str())
            .filter(|it| fresh && it.in_rotation && it.incarnation == wanted.incarnation);
        let carried = known.carries.get(&wanted.version).copied();
        rows.push(Row {
            slot: slot.clone(),
            version: wanted.version.clone(),
            serving: Serving {
                instance,
                domain: domain(
                    known.spec.failure_domain,
                    known.hosts,
                    known.fabric,
                    &wanted.host,
                ),
                capacity_rps: seen.map_or(0.0, |_| carried.unwrap_or(0.0)),
                offered_rps: seen.map_or(0.0, |it| it.goodput_rps + it.bad_rps),
                goodput_rps: seen.map_or(0.0, |it| it.goodput_rps),
            },
        });
    }
    cool(&mut rows);
    rows
}

/// An instance that does not hold a fair share yet counts what it holds.
fn cool(rows: &mut [Row]) {
    let loaded: Vec<f64> = rows
        .iter()
        .filter(|row| row.serving.capacity_rps > 0.0)
        .map(|row| row.serving.goodput_rps)
        .collect();
    let mean = loaded.iter().sum::<f64>() / (loaded.len().max(1) as f64);
    for row in rows {
        let serving = &mut row.serving;
        if serving.goodput_rps < WARM_SHARE * mean {
            serving.capacity_rps = serving.capacity_rps.min(serving.goodput_rps);
        }
    }
}

/// The arithmetic for taking all of `slots` out at once.
pub fn arithmetic(known: Known<'_>, slots: &[InstanceName], now: Time) -> Arithmetic {
    let budget = Budget {
        serving: rows(known, now)
            .into_iter()
            .map(|row| row.serving)
            .collect(),
        demand_upper_rps: known.demand_upper_rps.unwrap_or(f64::NAN),
        leased_rps: known.leased_rps,
    };
    safe_batch(&budget, slots)
}

/// Sum of what the instances of `fabric` carry now; none where nothing fresh is known.
pub fn carried_rps(known: Known<'_>, now: Time) -> Option<f64> {
    let sum: f64 = rows(known, now)
        .iter()
        .map(|row| row.serving.capacity_rps)
        .sum();
    (sum > 0.0).then_some(sum)
}

/// How many of `candidates` of one fabric may be out.
pub fn grant(
    known: Known<'_>,
    candidates: &Slots,
    direction: Direction,
    terms: Terms,
    now: Time,
) -> Grant {
    let Terms {
        most,
        size,
        refills,
    } = terms;
    let rows = rows(known, now);
    let ordered: Vec<&Slot> = candidates.of(known.fabric).collect();
    let names: Vec<InstanceName> = ordered
        .iter()
        .filter_map(|slot| slot.instance(known.service).ok())
        .collect();
    // Nothing stands in for what stays out: its capacity alone tells.
    let has_surplus = !refills || rows.len() > size;
    let budget = Budget {
        serving: rows.iter().map(|row| row.serving.clone()).collect(),
        demand_upper_rps: known.demand_upper_rps.unwrap_or(f64::NAN),
        leased_rps: known.leased_rps,
    };
    let all = safe_batch(&budget, &names);
    let measured = is_fresh(known, now) && known.demand_upper_rps.is_some();
    let policy = (most.fraction() * size as f64).floor() as usize;
    let spare = if refills {
        spare(known, &rows, &ordered, size).min(policy.max(1))
    } else {
        0
    };
    let take = match direction {
        // What nobody has reported counts nothing, and would look free to take.
        Direction::Forward if !measured => 0,
        Direction::Forward => match batch(most, size, all.safe) {
            Batch::Take(count) => count,
            Batch::Surge => usize::from(has_surplus && all.safe > 0),
        }
        .max(spare),
        // The way back is as wide as measurement allows; blind it is one at a time, room made first.
        Direction::Restoring if measured => all.safe.max(usize::from(has_surplus && all.safe > 0)),
        Direction::Restoring => usize::from(has_surplus),
    }
    .min(names.len());
    let taken = safe_batch(&budget, &names[..take]);
    let mut finding = if take == 0 { &all } else { &taken }.finding();
    if measured && take > 0 && !taken.allowed() {
        finding.outcome = Outcome::Pass;
        finding.value.push_str("; what was added makes up for it");
        finding.remedy.clear();
    }
    if !measured {
        finding.outcome = Outcome::InsufficientEvidence;
        finding.value = format!("no fresh report of {}: {}", known.fabric, finding.value);
    }
    let slots: Slots = ordered.into_iter().take(take).cloned().collect();
    Grant {
        rps: rows
            .iter()
            .filter(|row| slots.contains(&row.slot))
            .map(|row| row.serving.capacity_rps)
            .sum(),
        left: left(known, &rows, candidates),
        slots,
        finding,
    }
}

/// How many of `candidates`, in order, may be out so that the `size` instances that the service has, or as many
/// others, carry their full load: what a change added it may take away again, or another in its place, also
/// where the service never had a margin.
fn spare(known: Known<'_>, rows: &[Row], candidates: &[&Slot], size: usize) -> usize {
    let is_full = |row: &Row| {
        let carries = known.carries.get(&row.version).copied().unwrap_or(0.0);
        carries > 0.0 && row.serving.capacity_rps >= carries
    };
    let full: BTreeSet<&Slot> = rows
        .iter()
        .filter(|row| is_full(row))
        .map(|row| &row.slot)
        .collect();
    let beyond = full.len().checked_sub(size);
    let mut left = beyond;
    candidates
        .iter()
        .take_while(|slot| {
            if full.contains(*slot) {
                left = left.and_then(|left| left.checked_sub(1));
            }
            left.is_some()
        })
        .count()
}

/// What the version to return to cannot carry, as a share of demand.
fn left(known: Known<'_>, rows: &[Row], leaving: &Slots) -> u32 {
    let stay: f64 = rows
        .iter()
        .filter(|row| !leaving.contains(&row.slot))
        .filter(|row| !is_of(rows, leaving, &row.version))
        .map(|row| row.serving.capacity_rps)
        .sum();
    let Some(demand) = known.demand_upper_rps else {
        return ALL;
    };
    if demand <= 0.0 {
        return 0;
    }
    let missing = (1.0 - stay / demand).clamp(0.0, 1.0);
    (missing * f64::from(ALL)).ceil() as u32
}

/// Whether `version` is the one that the leaving instances run.
fn is_of(rows: &[Row], leaving: &Slots, version: &Version) -> bool {
    let mut of_leaving = rows.iter().filter(|row| leaving.contains(&row.slot));
    of_leaving.any(|row| row.version == *version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Deployment;

    #[test]
    fn nothing_goes_out_on_the_way_forward_while_the_router_is_silent() {
        let service: ServiceName = "voyager".parse().unwrap();
        let fabric: FabricName = "lax".parse().unwrap();
        let version: Version = "v1".parse().unwrap();
        let hosts: Vec<HostName> = vec!["h1".parse().unwrap(), "h2".parse().unwrap()];
        let sizes = BTreeMap::from([(fabric.clone(), (hosts, 20))]);
        let desired = Desired::from(&Deployment::first(version.clone(), sizes));
        let candidates: Slots = desired.slots.keys().cloned().collect();
        let known = Known {
            service: &service,
            spec: &serde_json::from_str(r#"{"owner":"o"}"#).unwrap(),
            fabric: &fabric,
            desired: &desired,
            hosts: &BTreeMap::new(),
            seen: &Seen::default(),
            demand_upper_rps: Some(500.0),
            carries: &BTreeMap::from([(version, 100.0)]),
            leased_rps: 0.0,
        };
        let most = Percent::new(50.0).unwrap();
        let now = Time::from_millis(0);
        let terms = Terms {
            most,
            size: 20,
            refills: true,
        };
        let grant = grant(known, &candidates, Direction::Forward, terms, now);
        assert!(grant.slots.is_empty());
        assert_eq!(grant.finding.outcome, Outcome::InsufficientEvidence);
    }
}
