//! What keeps users from being served although no change waits: a service that holds a router, many instances
//! that turned bad, requests that are refused by order.
//!
//! Guarantees: only what a connected router reported lately is told, with its numbers. Never acts on it.
//!
//! Example: `{"what": "feed in lax", "because": "4 of its 10 instances are measured bad: …"}`.

use std::collections::BTreeMap;

use mainstay_core::{FabricName, ServiceName, Time};
use mainstay_wire::router::{BackendReport, MeasuredHealth};
use serde_json::{Value, json};

use crate::{
    desired::Desired,
    site::{Seen, SeenFabric},
};

/// A larger share of bad instances than this, in per cent, is no matter of single instances: the router
/// ejects none then.
pub const MANY_BAD_PERCENT: usize = 30;

pub(super) fn found(
    desired: &BTreeMap<ServiceName, Desired>,
    seen: &Seen,
    now: Time,
) -> Vec<Value> {
    let mut found = Vec::new();
    for (fabric, it) in &seen.fabrics {
        if !it.is_fresh(now) {
            continue;
        }
        found.extend(hoarder(fabric, it));
        for (service, backends) in &it.backends {
            found.extend(many(fabric, service, backends));
        }
    }
    for (service, desired) in desired {
        let shed = || desired.shed.iter().filter(|(_, share)| **share > 0);
        // One order may hold in several fabrics, and ends as a whole.
        let several = shed().nth(1).is_some();
        for (fabric, share) in shed() {
            let only = if several {
                String::new()
            } else {
                format!(" --fabric {fabric}")
            };
            let percent = f64::from(*share) / 100.0;
            found.push(json!({
                "what": format!("{service} in {fabric}"),
                "because": format!("{percent} % of its requests are refused by order, to save the rest"),
                "remedy": format!("mainstay shed {service} 0%{only}, once the rest is carried"),
                "service": service,
            }));
        }
    }
    found
}

fn hoarder(fabric: &FabricName, seen: &SeenFabric) -> Option<Value> {
    let service = seen.hoarder.as_ref()?;
    let under_way = |backends: &[BackendReport]| -> u64 {
        backends.iter().map(|it| u64::from(it.in_flight)).sum()
    };
    let its = seen.backends.get(service).map_or(0, |it| under_way(it));
    let all: u64 = seen.backends.values().map(|it| under_way(it)).sum();
    Some(json!({
        "what": format!("the router of {fabric}"),
        "because": format!(
            "{service} holds more than half of its connections; {its} of {all} requests under way are for it"
        ),
        "remedy": format!(
            "see why {service} does not answer (mainstay get instances), or mainstay shed {service} 50% --fabric {fabric}"
        ),
    }))
}

/// What is said of the instances of a service in a fabric, where more than [`MANY_BAD_PERCENT`] of them are measured
/// bad.
pub fn many_bad(backends: &[BackendReport]) -> Option<String> {
    let is_bad = |it: &&BackendReport| it.measured == MeasuredHealth::Bad;
    let bad: Vec<&BackendReport> = backends.iter().filter(is_bad).collect();
    let first = bad.first()?;
    if bad.len() * 100 <= backends.len() * MANY_BAD_PERCENT {
        return None;
    }
    let (good_rps, bad_rps) = backends.iter().fold((0.0, 0.0), |(good, bad), it| {
        (good + it.goodput_rps, bad + it.bad_rps)
    });
    Some(format!(
        "{} of its {} instances are measured bad, {bad_rps:.1} bad and {good_rps:.1} good answers a second: {}: {}",
        bad.len(),
        backends.len(),
        first.instance,
        first.evidence
    ))
}

fn many(fabric: &FabricName, service: &ServiceName, backends: &[BackendReport]) -> Option<Value> {
    Some(json!({
        "what": format!("{service} in {fabric}"),
        "because": many_bad(backends)?,
        "remedy": "what it calls may be down: mainstay changes --limit 10 shows what moved last; \
                   mainstay get instances shows the evidence on each",
        "service": service,
    }))
}

#[cfg(test)]
mod tests {
    use mainstay_core::Span;
    use mainstay_wire::router::{ClaimedHealth, HealthVerdict};

    use super::*;
    use crate::site::REPORT_FRESH;

    fn backend(number: u32, measured: MeasuredHealth) -> BackendReport {
        BackendReport {
            instance: format!("feed-lax-{number}").parse().unwrap(),
            incarnation: 1,
            seen_version: None,
            claimed: ClaimedHealth::Ok,
            measured,
            verdict: HealthVerdict::Lying,
            evidence: "0 of 20 answered".to_owned(),
            in_rotation: true,
            in_flight: 7,
            oldest_in_flight: Span::from_secs(1),
            goodput_rps: 1.0,
            bad_rps: 2.0,
            limit_broken: false,
            p99_ms: None,
            recent_rps: 3.0,
        }
    }

    fn seen(bad: u32) -> Seen {
        let health = |number| {
            if number < bad {
                MeasuredHealth::Bad
            } else {
                MeasuredHealth::Good
            }
        };
        let backends = (0..10).map(|number| backend(number, health(number)));
        let fabric = SeenFabric {
            connected: true,
            received_at: Time::from_millis(1_000),
            backends: BTreeMap::from([("feed".parse().unwrap(), backends.collect())]),
            hoarder: Some("feed".parse().unwrap()),
            ..SeenFabric::default()
        };
        Seen {
            fabrics: BTreeMap::from([("lax".parse().unwrap(), fabric)]),
            ..Seen::default()
        }
    }

    #[test]
    fn a_hoarder_and_many_bad_instances_are_told_with_their_numbers() {
        let told = found(&BTreeMap::new(), &seen(4), Time::from_millis(2_000));
        assert_eq!(told.len(), 2);
        let because = |at: usize| told[at]["because"].as_str().unwrap();
        assert!(
            because(0).contains("70 of 70 requests under way"),
            "{told:?}"
        );
        assert!(because(1).starts_with("4 of its 10 instances"), "{told:?}");
    }

    #[test]
    fn few_bad_instances_and_an_old_report_are_not_told() {
        let told = found(&BTreeMap::new(), &seen(3), Time::from_millis(2_000));
        assert_eq!(told.len(), 1, "the hoarder alone");
        let late = Time::from_millis(1_001) + REPORT_FRESH;
        assert!(found(&BTreeMap::new(), &seen(9), late).is_empty());
    }

    #[test]
    fn what_is_shed_by_order_is_told_until_it_is_nothing() {
        let shed = |share| {
            let desired = Desired {
                shed: BTreeMap::from([("lax".parse().unwrap(), share)]),
                ..Desired::default()
            };
            let all = BTreeMap::from([("feed".parse().unwrap(), desired)]);
            found(&all, &Seen::default(), Time::from_millis(0))
        };
        assert!(shed(0).is_empty());
        let told = shed(1_250);
        assert!(
            told[0]["because"].as_str().unwrap().starts_with("12.5 %"),
            "{told:?}"
        );
    }
}
