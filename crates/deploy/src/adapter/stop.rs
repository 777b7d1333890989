//! Whether services may be stopped all at once: to take one out of the catalog is a change of production too.
//!
//! Guarantees: a service that users got answers from in the last minute stays, and so does one whose router is not
//! heard, unless all of its requests are refused already, which is a change of its own with a reason. Looks at what
//! was measured since this server began: never at what a service claims.

use mainstay_core::{
    FabricName, Finding, Outcome, ServiceName, Verdict,
    ports::{Declined, No},
};

use super::{Engine, lock, perform::short, propose::unavailable};
use crate::{
    plan::ALL,
    site::{REPORT_FRESH, SeenFabric},
};

/// The signal of its findings.
const SIGNAL: &str = "demand";

/// What is known of a service in a fabric.
#[derive(Debug, Clone, Copy)]
struct Asked {
    /// Whether its router was heard of.
    fresh: bool,
    /// Most first attempts per second of the last minute, as far as they were measured.
    measured_rps: f64,
    /// Share of requests that the router refuses, in hundredths of a per cent.
    shed: u32,
}

impl Engine {
    /// Refuses to let every instance of `services` stop while somebody is served by one.
    pub async fn may_stop(&self, services: &[ServiceName]) -> Result<(), Declined> {
        self.catch_up().await.map_err(unavailable)?;
        let now = self.now();
        let seen = self.0.ports.site.seen();
        let desired = self.model().desired();
        let loads = lock(&self.0.loads);
        let mut findings = Vec::new();
        for service in services {
            let Some(desired) = desired.get(service) else {
                continue;
            };
            let mut fabrics: Vec<&FabricName> = desired.slots.keys().map(|it| &it.fabric).collect();
            fabrics.dedup();
            for fabric in fabrics {
                let router = seen.fabrics.get(fabric);
                let measured = loads
                    .demand_upper(service, fabric)
                    .or_else(|| loads.demand(service, fabric))
                    .unwrap_or(0.0);
                let asked = Asked {
                    fresh: router.is_some_and(|it| it.is_fresh(now)),
                    measured_rps: measured.max(router.map_or(0.0, |it| offered(it, service))),
                    shed: desired.shed.get(fabric).copied().unwrap_or(0),
                };
                findings.push(finding(service, fabric, asked));
            }
        }
        let verdict = short(Verdict::new("stop".to_owned(), now, findings));
        if verdict.outcome() == Outcome::Pass || verdict.findings.is_empty() {
            return Ok(());
        }
        let mut declined = Declined::new(
            No::Denied,
            "service-serves",
            verdict.sentence(),
            "send its users elsewhere, or refuse their requests with `mainstay shed SERVICE 100%` first",
        );
        declined.verdict = Some(Box::new(verdict));
        Err(declined)
    }
}

/// Requests per second that reach the instances of a service now.
fn offered(router: &SeenFabric, service: &ServiceName) -> f64 {
    let backends = router.backends.get(service).into_iter().flatten();
    backends.map(|it| it.goodput_rps + it.bad_rps).sum()
}

fn finding(service: &ServiceName, fabric: &FabricName, asked: Asked) -> Finding {
    let (outcome, value, remedy) = match asked {
        Asked { fresh: false, .. } => (
            Outcome::InsufficientEvidence,
            format!("no report of the router of {fabric} within {REPORT_FRESH}"),
            "bring the router back".to_owned(),
        ),
        Asked { shed: ALL.., .. } => (
            Outcome::Pass,
            format!("every request to {service} in {fabric} is refused already"),
            String::new(),
        ),
        Asked { measured_rps, .. } if measured_rps > 0.0 => (
            Outcome::Fail,
            format!("{service} is asked for up to {measured_rps:.1} rps in {fabric}"),
            format!("mainstay shed {service} 100% --fabric {fabric}"),
        ),
        Asked { .. } => (
            Outcome::Pass,
            format!("nobody asked for {service} in {fabric}"),
            String::new(),
        ),
    };
    Finding {
        signal: SIGNAL.to_owned(),
        outcome,
        value,
        limit: "no request in the last minute".to_owned(),
        remedy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_goes_when_nobody_is_served_and_stays_when_nobody_knows() {
        let service: ServiceName = "shop".parse().unwrap();
        let fabric: FabricName = "lax".parse().unwrap();
        let cases = [
            ((true, 0.0, 0), Outcome::Pass),
            ((true, 0.2, 0), Outcome::Fail),
            ((true, 0.2, ALL - 1), Outcome::Fail),
            ((true, 0.2, ALL), Outcome::Pass),
            ((false, 0.0, 0), Outcome::InsufficientEvidence),
            ((false, 0.0, ALL), Outcome::InsufficientEvidence),
        ];
        for ((fresh, measured_rps, shed), outcome) in cases {
            let asked = Asked {
                fresh,
                measured_rps,
                shed,
            };
            assert_eq!(
                finding(&service, &fabric, asked).outcome,
                outcome,
                "{asked:?}"
            );
        }
    }
}
