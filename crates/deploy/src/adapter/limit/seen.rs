//! What a limit test sees of its instance and of the rest of its fabric, as the router reports it.

use mainstay_core::{Change, FabricName, Finding, Outcome, ServiceName, Time};
use mainstay_wire::router::BackendReport;

use super::super::verify::Eyes;
use crate::{
    desired::Desired,
    limit::{LimitPlan, Sample},
    model::Model,
    site::{REPORT_FRESH, Seen},
    slots::Slot,
};

/// Bad answers of the rest of a fabric, over the routers' ten seconds, below which a share of them says nothing.
const BAD_MIN: f64 = 3.0;
/// Seconds over which routers report good and bad answers.
const RATE_SECS: f64 = 10.0;

/// The report about the instance, if its router is connected and was heard lately, and when it was received.
pub fn report<'a>(
    seen: &'a Seen,
    plan: &LimitPlan,
    now: Time,
) -> Option<(&'a BackendReport, Time)> {
    let router = seen.fabrics.get(&plan.slot.fabric)?;
    let fresh = router.connected && now.since(router.received_at) <= REPORT_FRESH;
    let found = seen.backend(&plan.slot.fabric, &plan.service, plan.instance.as_str())?;
    fresh.then_some((found, router.received_at))
}

/// The rollout or action that is open on `service`, if one is.
pub fn other<'a>(model: &'a Model, service: &ServiceName) -> Option<&'a Change> {
    let rollout = model.open(service).map(|track| &track.change);
    rollout.or_else(|| {
        let mut open = model.actions.values().filter(|it| it.ended_at.is_none());
        let found = open.find(|it| it.state.plan().service == *service)?;
        Some(&found.change)
    })
}

/// The change that disturbs a test of `plan`'s service, if one does.
pub fn disturbed(model: &Model, plan: &LimitPlan) -> Option<String> {
    let change = other(model, &plan.service)?;
    Some(format!("{} ({}) is under way", change.title, change.id))
}

impl Eyes<'_> {
    /// When the router was heard to act on a table that gives the instance `share`; one that is in the table no
    /// more gets none, and so no more than a full one.
    pub fn gives(self, plan: &LimitPlan, share: f64) -> Option<Time> {
        let table = self.tables.get(&plan.slot.fabric)?;
        let routes = table.services.iter().find(|it| it.service == plan.service);
        let mut backends = routes.into_iter().flat_map(|it| &it.backends);
        let given = backends
            .find(|it| it.instance == plan.instance)
            .map_or(1.0, |it| it.share);
        let router = self.seen.fabrics.get(&plan.slot.fabric)?;
        let is_it = given.total_cmp(&share).is_eq() && router.applied >= table.generation;
        (is_it && router.connected).then_some(router.received_at)
    }
}

/// Who measured what a test of `plan` is told.
pub fn source(plan: &LimitPlan) -> String {
    format!("router {}", plan.slot.fabric)
}

fn finding(signal: &str, outcome: Outcome, value: String, limit: String, remedy: &str) -> Finding {
    Finding {
        signal: signal.to_owned(),
        outcome,
        value,
        limit,
        remedy: remedy.to_owned(),
    }
}

/// Whether what is reported lets the instance get more: it serves, and the rest of its fabric is fine.
pub fn fit(seen: &Seen, plan: &LimitPlan, disturbed: Option<String>, now: Time) -> Vec<Finding> {
    let fabric = &plan.slot.fabric;
    let Some((found, _)) = report(seen, plan, now) else {
        return vec![finding(
            "router",
            Outcome::InsufficientEvidence,
            format!(
                "no report about {} from the router of {fabric}",
                plan.instance
            ),
            format!("a report within {REPORT_FRESH}"),
            "start the router, then test again",
        )];
    };
    let serves = found.in_rotation && found.incarnation == plan.incarnation;
    let outcome = |is: bool| if is { Outcome::Pass } else { Outcome::Fail };
    let mut findings = vec![finding(
        "instance",
        outcome(serves),
        if serves {
            "in rotation"
        } else {
            "not in rotation, or another process"
        }
        .to_owned(),
        "in rotation, the process that the test began with".to_owned(),
        "wait until it serves, then test again",
    )];
    let others = seen
        .fabrics
        .get(fabric)
        .and_then(|it| it.backends.get(&plan.service));
    let rest = others
        .into_iter()
        .flatten()
        .filter(|it| it.instance != plan.instance);
    let (good, bad) = rest.fold((0.0, 0.0), |(good, bad), it| {
        (good + it.goodput_rps, bad + it.bad_rps)
    });
    let (all, most) = (good + bad, plan.slo.error_ratio.fraction());
    let fine = bad * RATE_SECS < BAD_MIN || bad <= most * all;
    findings.push(finding(
        "rest of the fabric",
        outcome(fine),
        format!("{bad:.1} of {all:.1} answers a second are bad"),
        format!("at most {}", plan.slo.error_ratio),
        "look at the service first; a test needs a fabric that is well",
    ));
    findings.extend(disturbed.map(|what| {
        finding(
            "alone",
            Outcome::Fail,
            what,
            "no other change of the service under way".to_owned(),
            "wait until it has ended, then test again",
        )
    }));
    findings
}

/// What `found` says of the instance, and whether it ends the test.
pub fn sample(found: &BackendReport, plan: &LimitPlan, disturbed: Option<String>) -> Sample {
    let another = (found.incarnation != plan.incarnation)
        .then(|| "another process took its place".to_owned());
    let p99 = found
        .p99_ms
        .map_or_else(|| "-".to_owned(), |ms| format!("{ms:.0}"));
    let measured = format!(
        "{:.1} good and {:.1} bad answers a second, p99 {p99} ms, {} under way",
        found.recent_rps, found.bad_rps, found.in_flight
    );
    let broken = if found.limit_broken {
        Some(measured)
    } else {
        (!found.in_rotation).then(|| format!("out of rotation: {}", found.evidence))
    };
    Sample {
        goodput_rps: found.recent_rps,
        p99_ms: found.p99_ms,
        broken,
        disturbed: disturbed.or(another),
    }
}

/// The instance to test in `fabric`: the first of those in rotation, where another is left beside it.
pub fn candidate(
    seen: &Seen,
    service: &ServiceName,
    desired: &Desired,
    fabric: &FabricName,
    now: Time,
) -> Option<Slot> {
    let router = seen.fabrics.get(fabric)?;
    if !router.connected || now.since(router.received_at) > REPORT_FRESH {
        return None;
    }
    let of_fabric = desired
        .slots
        .iter()
        .filter(|(slot, _)| slot.fabric == *fabric);
    let mut serving = of_fabric.filter(|(slot, wanted)| {
        let name = slot.instance(service).ok();
        let found = name.and_then(|name| seen.backend(fabric, service, name.as_str()));
        let same = found.is_some_and(|it| {
            it.in_rotation && it.incarnation == wanted.incarnation && it.goodput_rps > 0.0
        });
        same && !wanted.draining
    });
    let first = serving.next()?;
    serving.next().map(|_| first.0.clone())
}
