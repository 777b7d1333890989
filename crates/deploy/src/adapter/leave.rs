//! Whether hosts may leave their fabric: to take one out of the catalog, or into another fabric, strands what is
//! placed there.
//!
//! Guarantees: a host stays while its agent is there and keeps an instance that is placed on it, or while, with its
//! agent gone, the router gets answers from one. Silence of both is no answer either way. Looks at what was measured:
//! never at what is said of a host.

use mainstay_core::{
    Finding, HostName, InstanceName, Outcome, ServiceName, Time, Verdict,
    ports::{Declined, No},
};
use mainstay_wire::{
    agent::InstanceState,
    router::{BackendReport, ClaimedHealth},
};

use super::{Engine, perform::short, propose::unavailable};
use crate::{
    Model,
    site::{REPORT_FRESH, Seen, SeenFabric, SeenHost},
};

/// The signal of its findings.
const SIGNAL: &str = "instances";
/// Instances of one host that are named.
const NAMED_MAX: usize = 4;

/// Whether an instance that is placed on a host is there, as far as was measured.
#[derive(Debug, Clone, PartialEq)]
enum Stands {
    /// Its agent keeps it: it runs, starts, or is started again.
    Kept,
    /// Its agent is gone, and it answers its router with so many good answers a second.
    Answers(f64),
    /// Nothing is there.
    Gone,
    /// Neither its agent nor its router says anything of it.
    Unknown,
}

impl Engine {
    /// Refuses to let `hosts` leave while users are answered from one.
    pub async fn may_leave(&self, hosts: &[HostName]) -> Result<(), Declined> {
        self.catch_up().await.map_err(unavailable)?;
        let (now, seen) = (self.now(), self.0.ports.site.seen());
        let findings: Vec<Finding> = {
            let model = self.model();
            let found = hosts.iter().map(|host| finding(&model, &seen, host, now));
            found.filter(|it| it.outcome != Outcome::Pass).collect()
        };
        if findings.is_empty() {
            return Ok(());
        }
        let verdict = short(Verdict::new("leave".to_owned(), now, findings));
        let mut declined = Declined::new(
            No::Denied,
            "host-serves",
            verdict.sentence(),
            "nothing moves instances to another host yet: a host leaves when nothing runs there any more",
        );
        declined.verdict = Some(Box::new(verdict));
        Err(declined)
    }
}

fn finding(model: &Model, seen: &Seen, host: &HostName, now: Time) -> Finding {
    let agent = seen.hosts.get(host).filter(|it| it.is_fresh(now));
    let (mut there, mut unknown) = (Vec::new(), Vec::new());
    for (service, desired) in model.desired() {
        if !model.services.contains_key(&service) {
            continue;
        }
        for (slot, _) in desired.slots.iter().filter(|(_, it)| it.host == *host) {
            let Ok(name) = slot.instance(&service) else {
                continue;
            };
            let routed = model.fabrics.get(&slot.fabric);
            let routed = routed.is_some_and(|it| it.listen.is_some());
            let router = seen.fabrics.get(&slot.fabric).filter(|it| it.is_fresh(now));
            match (stands(agent, router, &service, &name), routed) {
                (Stands::Kept, _) => there.push(name.to_string()),
                (Stands::Answers(rps), _) => {
                    there.push(format!("{name} at {rps:.1} good answers a second"));
                }
                (Stands::Gone, _) | (Stands::Unknown, false) => {}
                (Stands::Unknown, true) => unknown.push(name.to_string()),
            }
        }
    }
    let (outcome, value, remedy) = if !there.is_empty() {
        let how = match agent {
            Some(_) => "kept by its agent",
            None => "answering its router, with the agent gone",
        };
        (
            Outcome::Fail,
            format!("{} on {host}, {how}: {}", there.len(), few(&there)),
            "let what is placed there stop first",
        )
    } else if !unknown.is_empty() {
        (
            Outcome::InsufficientEvidence,
            format!("neither {host} nor a router reports {}", few(&unknown)),
            "bring the agent or the router back",
        )
    } else {
        (Outcome::Pass, format!("nothing answers on {host}"), "")
    };
    Finding {
        signal: SIGNAL.to_owned(),
        outcome,
        value,
        limit: format!("none that runs or answers, reported within {REPORT_FRESH}"),
        remedy: remedy.to_owned(),
    }
}

/// The first of `names`, and how many more there are.
fn few(names: &[String]) -> String {
    let shown = names.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>();
    match names.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// `agent` and `router` are those that were heard lately.
fn stands(
    agent: Option<&SeenHost>,
    router: Option<&SeenFabric>,
    service: &ServiceName,
    name: &InstanceName,
) -> Stands {
    if let Some(agent) = agent {
        let report = agent.instances.iter().find(|it| it.instance == *name);
        return match report.map(|it| &it.state) {
            Some(InstanceState::Gone | InstanceState::Failed { .. }) => Stands::Gone,
            // One that is not reported yet is about to start.
            None
            | Some(
                InstanceState::Starting
                | InstanceState::Running
                | InstanceState::Stopping
                | InstanceState::Waiting { .. },
            ) => Stands::Kept,
        };
    }
    let Some(router) = router else {
        return Stands::Unknown;
    };
    let backends = router.backends.get(service).into_iter().flatten();
    let mut of_instance = backends.filter(|it| it.instance == *name);
    of_instance.next().map_or(Stands::Gone, answers)
}

/// What the router alone measures: a health check that is answered is a sign of life, whatever it says of itself.
fn answers(backend: &BackendReport) -> Stands {
    match backend.claimed {
        _ if backend.goodput_rps > 0.0 => Stands::Answers(backend.goodput_rps),
        ClaimedHealth::Ok | ClaimedHealth::Failing => Stands::Answers(0.0),
        ClaimedHealth::Unknown => Stands::Unknown,
        ClaimedHealth::Silent => Stands::Gone,
    }
}

#[cfg(test)]
mod tests {
    use mainstay_core::Span;
    use mainstay_wire::{
        agent::InstanceReport,
        router::{HealthVerdict, MeasuredHealth},
    };

    use super::*;

    const NAME: &str = "shop-lax-1";

    fn agent(state: Option<InstanceState>) -> SeenHost {
        let report = state.map(|state| InstanceReport {
            instance: NAME.parse().unwrap(),
            service: "shop".parse().unwrap(),
            version: "v1".parse().unwrap(),
            incarnation: 2,
            state,
            port: None,
            process: None,
            artifact_sha256: None,
            unordered_exits: 0,
            killed_last: false,
        });
        SeenHost {
            instances: report.into_iter().collect(),
            ..SeenHost::default()
        }
    }

    fn router(backend: Option<(ClaimedHealth, f64)>) -> SeenFabric {
        let backend = backend.map(|(claimed, goodput_rps)| BackendReport {
            instance: NAME.parse().unwrap(),
            incarnation: 2,
            seen_version: None,
            claimed,
            measured: MeasuredHealth::Unknown,
            verdict: HealthVerdict::Unknown,
            evidence: String::new(),
            in_rotation: true,
            in_flight: 0,
            oldest_in_flight: Span::ZERO,
            goodput_rps,
            bad_rps: 0.0,
            recent_rps: 0.0,
            p99_ms: None,
            limit_broken: false,
        });
        let shop: ServiceName = "shop".parse().unwrap();
        SeenFabric {
            backends: [(shop, backend.into_iter().collect())].into(),
            ..SeenFabric::default()
        }
    }

    fn found(agent: Option<&SeenHost>, router: Option<&SeenFabric>) -> Stands {
        stands(
            agent,
            router,
            &"shop".parse().unwrap(),
            &NAME.parse().unwrap(),
        )
    }

    #[test]
    fn what_an_agent_keeps_stands_whatever_the_router_says_and_what_it_gave_up_is_gone() {
        let failed = || InstanceState::Failed {
            because: "no disk".to_owned(),
        };
        let cases = [
            (None, Stands::Kept),
            (Some(InstanceState::Starting), Stands::Kept),
            (Some(InstanceState::Running), Stands::Kept),
            (Some(InstanceState::Stopping), Stands::Kept),
            (Some(InstanceState::Gone), Stands::Gone),
            (Some(failed()), Stands::Gone),
        ];
        for (state, wanted) in cases {
            let answering = router(Some((ClaimedHealth::Ok, 5.0)));
            let agent = agent(state.clone());
            assert_eq!(found(Some(&agent), Some(&answering)), wanted, "{state:?}");
        }
    }

    #[test]
    fn with_its_agent_gone_the_router_tells_and_where_both_are_silent_nobody_knows() {
        let cases = [
            (Some((ClaimedHealth::Silent, 0.0)), Stands::Gone),
            (Some((ClaimedHealth::Silent, 3.0)), Stands::Answers(3.0)),
            (Some((ClaimedHealth::Failing, 0.0)), Stands::Answers(0.0)),
            (Some((ClaimedHealth::Ok, 0.0)), Stands::Answers(0.0)),
            (Some((ClaimedHealth::Unknown, 0.0)), Stands::Unknown),
            (None, Stands::Gone),
        ];
        for (backend, wanted) in cases {
            assert_eq!(found(None, Some(&router(backend))), wanted, "{backend:?}");
        }
        assert_eq!(found(None, None), Stands::Unknown);
    }

    #[test]
    fn a_host_that_nothing_is_placed_on_may_leave_unseen() {
        let host: HostName = "h9".parse().unwrap();
        let now = Time::from_millis(0);
        let found = finding(&Model::default(), &Seen::default(), &host, now);
        assert_eq!(found.outcome, Outcome::Pass);
    }
}
