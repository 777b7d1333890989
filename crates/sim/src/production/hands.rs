//! What machines ask for, done in the simulated world: long questions, answered when there is news.
//!
//! Looks at reports only, through the eyes of production; the bugs planted here are those that real hands could
//! have.

use mainstay_change::{Direction, LeaseBook, freeze};
use mainstay_core::{
    ChangeId, ChangeKind, Expected, FabricName, Finding, HostName, Name, Outcome, Span, Time,
    Version, catalog::FreezeSpec,
};
use mainstay_deploy::{
    Deployment, Slots, action,
    capacity::{self, Grant, Known},
    deployment::deployment_stream,
    limit,
    moves::{Processes, Sighting, Sought},
    rollout,
    site::Seen,
};
use mainstay_wire::agent::{InstanceState, ProcessFacts};

use super::{Production, orders::Mind, site::CARRIES};
use crate::{
    driver::{Asked, Leader, Sim, json},
    report::{Fault, Invariant, Planted},
};

/// How long a question may stay open.
const OPEN_FOR: Span = Span::from_millis(4_500);
/// Effects that do not arrive, in thousandths.
const LOST_EFFECTS: u32 = 20;

/// One effect that waits for its answer.
#[derive(Debug, Clone)]
pub(super) struct Question {
    effect: Effect,
    answer_by: i64,
}

#[derive(Debug, Clone)]
enum Effect {
    Rollout(rollout::Effect),
    Action(action::Effect),
    Limit(limit::Effect),
}

pub(super) fn finding(signal: &str, outcome: Outcome, value: &str) -> Finding {
    Finding {
        signal: signal.to_owned(),
        outcome,
        value: value.to_owned(),
        limit: "as wanted".to_owned(),
        remedy: String::new(),
    }
}

impl Sim<Production> {
    /// Takes a question, if it arrives.
    pub(super) fn ask(&mut self, leader: &mut Leader<Mind>, asked: Asked) {
        let lost = self.chance(LOST_EFFECTS);
        if !self
            .scene
            .asked
            .insert((asked.change.clone(), asked.id.clone()))
        {
            self.bite(Fault::DuplicateEffect);
        }
        if lost {
            self.bite(Fault::LostEffect);
            return;
        }
        let model = &self.scene.model;
        let effect = if model.actions.contains_key(&asked.change) {
            serde_json::from_str(&asked.body).map(Effect::Action)
        } else if model.limits.contains_key(&asked.change) {
            serde_json::from_str(&asked.body).map(Effect::Limit)
        } else {
            serde_json::from_str(&asked.body).map(Effect::Rollout)
        };
        match effect {
            Ok(effect) => {
                let answer_by = self.true_ms + OPEN_FOR.millis() as i64;
                let question = Question { effect, answer_by };
                leader
                    .mind
                    .questions
                    .insert((asked.change, asked.id), question);
            }
            Err(error) => self.violated(Invariant::Ledger, error.to_string()),
        }
    }

    /// Answers what can be answered; what is past its time is dropped, and asked again.
    pub(super) fn answer_all(&mut self, leader: &mut Leader<Mind>) {
        for (key, question) in std::mem::take(&mut leader.mind.questions) {
            let overdue = self.true_ms >= question.answer_by;
            let (mind, change) = (&leader.mind, &key.0);
            let input = match &question.effect {
                Effect::Rollout(effect) => {
                    let input = self.answer_rollout(mind, change, effect, overdue);
                    input.map(|it| json(&it))
                }
                Effect::Action(effect) => {
                    let input = self.answer_action(mind, change, effect, overdue);
                    input.map(|it| json(&it))
                }
                Effect::Limit(effect) => {
                    let input = self.answer_limit(mind, change, effect, overdue);
                    input.map(|it| json(&it))
                }
            };
            match input {
                Some(input) => self.tell(leader, change, input),
                None if !overdue => {
                    leader.mind.questions.insert(key, question);
                }
                None => {}
            }
        }
        if self.planted == Planted::GenerationIgnored {
            self.stamp_anew(leader);
        }
    }

    /// What is seen of instances on the move, where there is news or no more time.
    pub(super) fn observe(
        &self,
        mind: &Mind,
        sought: Sought<'_>,
        overdue: bool,
    ) -> Option<Sighting> {
        let (now, draining) = (self.now(), sought.draining);
        let nothing = Processes::NONE;
        let before = match self.planted {
            Planted::StartIgnored => &nothing,
            _ => sought.before,
        };
        let sought = Sought { before, ..sought };
        let believed = (self.planted == Planted::ClaimsTrusted).then(|| believed(&mind.seen, now));
        let mut eyes = mind.eyes(now);
        if let Some(believed) = &believed {
            eyes.seen = believed;
        }
        let mut looked = eyes.look(sought);
        // In flight before a crash is in flight after it, unless only this leader's own are counted.
        let forgets = self.planted == Planted::ForgetsInFlight && self.led_at > self.at(0).millis();
        if self.planted == Planted::DrainedTooSoon || forgets {
            looked.drained.clone_from(draining);
        }
        let at_rest = !draining.is_empty() && looked.drained.covers(draining);
        let news = !looked.verified.is_empty() || looked.failing.is_some() || at_rest;
        (news || overdue).then(|| Sighting {
            verified: looked.measured(now),
            drained: looked.drained,
            failing: looked.failing,
        })
    }

    /// What holds a forward step besides capacity: freezes, guards, and who has to act.
    pub(super) fn admission(&mut self, mind: &Mind, change: &ChangeId) -> Option<Vec<Finding>> {
        let mut findings = vec![self.presence(mind, change)?];
        findings.extend(self.forbidding(mind, change)?);
        Some(findings)
    }

    /// Freezes and guards.
    pub(super) fn forbidding(&mut self, mind: &Mind, change: &ChangeId) -> Option<Vec<Finding>> {
        let guard = if self.scene.blind_until > self.true_ms {
            finding("guard", Outcome::InsufficientEvidence, "nothing")
        } else if self.scene.shared_until > self.true_ms {
            finding("guard", Outcome::Fail, "errors")
        } else {
            finding("guard", Outcome::Pass, "well")
        };
        let frozen = self.frozen(mind, change)?;
        if self.planted == Planted::GuardSaysYes {
            return Some(vec![finding("guard", Outcome::Pass, "not asked")]);
        }
        Some(vec![frozen, guard])
    }

    /// What freezes say of going forward.
    pub(super) fn frozen(&mut self, mind: &Mind, change: &ChangeId) -> Option<Finding> {
        let freezes: Vec<(Name, FreezeSpec)> = mind
            .model
            .freezes
            .iter()
            .map(|(name, spec)| (name.clone(), spec.clone()))
            .collect();
        let kind: ChangeKind = mind.model.change(change)?.kind;
        let asked = freeze::Asked {
            service: &self.scene.service,
            kind,
            direction: Direction::Forward,
            emergency: None,
        };
        let frozen = freeze::check(&freezes, asked, self.now());
        let bit = self.report.bites.contains_key(&Fault::Frozen);
        if frozen.outcome == Outcome::Fail && !bit {
            self.bite(Fault::Frozen);
        }
        if self.planted == Planted::FreezeOverlooked {
            return Some(finding("freeze", Outcome::Pass, "not asked"));
        }
        Some(frozen)
    }

    /// Whether every agent and router that has to act is connected and was heard lately.
    pub(super) fn presence(&self, mind: &Mind, change: &ChangeId) -> Option<Finding> {
        let now = self.now();
        let mover = mind.model.mover(change)?;
        let host = |name: &HostName| {
            let seen = mind.seen.hosts.get(name);
            seen.is_some_and(|it| it.is_fresh(now))
        };
        let router = |name: &FabricName| {
            let seen = mind.seen.fabrics.get(name);
            seen.is_some_and(|it| it.is_fresh(now))
        };
        let mut fabrics = mover.hosts.iter();
        let all = fabrics.all(|(fabric, hosts)| router(fabric) && hosts.iter().all(host));
        Some(if all {
            finding("presence", Outcome::Pass, "all report")
        } else {
            finding(
                "presence",
                Outcome::InsufficientEvidence,
                "somebody is silent",
            )
        })
    }

    /// Takes what may be out in one fabric; none where somebody else wrote meanwhile.
    pub(super) fn lease_in(
        &mut self,
        mind: &Mind,
        change: &ChangeId,
        fabric: &FabricName,
        direction: Direction,
        candidates: &Slots,
    ) -> Option<Grant> {
        let (grant, book) = self.grant(mind, change, fabric, direction, candidates)?;
        if !grant.slots.is_empty() && self.planted != Planted::NoLease {
            let entry = book.take(change, direction, grant.rps).ok()?;
            let open = mind.model.still_open(change)?;
            self.write(vec![book.expected(), open], vec![entry]).ok()?;
        }
        Some(grant)
    }

    fn grant(
        &mut self,
        mind: &Mind,
        change: &ChangeId,
        fabric: &FabricName,
        direction: Direction,
        candidates: &Slots,
    ) -> Option<(Grant, LeaseBook)> {
        let (now, service) = (self.now(), self.scene.service.clone());
        let mover = mind.model.mover(change)?;
        let book = mind.model.books.get(&(service.clone(), fabric.clone()));
        let book = book
            .cloned()
            .unwrap_or_else(|| LeaseBook::new(&service, fabric));
        let versions = mover.versions.iter().cloned();
        let carries = versions.map(|it: Version| (it, CARRIES)).collect();
        let mut leased_rps = book.leased_rps(change, direction);
        if leased_rps > 0.0 {
            self.bite(Fault::ForeignLease);
        }
        if self.planted == Planted::LeasesUncounted {
            leased_rps = 0.0;
        }
        let blind = self.scene.blind_until > self.true_ms;
        let demand = self.scene.demand.get(fabric).map(|it| it * 1.05);
        let known = Known {
            service: &service,
            spec: &self.scene.spec,
            fabric,
            desired: &mover.desired,
            hosts: &mind.model.hosts,
            seen: &mind.seen,
            demand_upper_rps: demand.filter(|_| !blind),
            carries: &carries,
            leased_rps,
        };
        let size = mover.sizes.get(fabric).copied().unwrap_or(0);
        let terms = capacity::Terms {
            most: mover.batch,
            size,
            refills: mover.refills,
        };
        let mut grant = capacity::grant(known, candidates, direction, terms, now);
        if self.planted == Planted::BatchIgnoresArithmetic {
            let count = size.div_ceil(2);
            grant.slots = candidates.of(fabric).take(count).cloned().collect();
        }
        if self.planted == Planted::OldVersionCarriesAll {
            grant.left = 0;
        }
        Some((grant, book))
    }

    /// Writes what runs now, where processes were replaced, and lets go of every lease; done before, it is done.
    pub(super) fn settle(
        &mut self,
        mind: &Mind,
        change: &ChangeId,
        deployment: Option<&Deployment>,
    ) -> Option<()> {
        let service = &self.scene.service;
        let (mut expected, mut entries) = (Vec::new(), Vec::new());
        let last = mind.model.deployments.get(service).map(|it| it.number);
        let new = deployment.filter(|it| last.is_none_or(|last| last < it.number));
        if let Some(deployment) = new.filter(|_| self.planted != Planted::SettlesUnwritten) {
            let version = mind.model.deployment_versions.get(service).copied();
            expected.push(Expected {
                stream: deployment_stream(service),
                version: version.unwrap_or(0),
            });
            entries.push(deployment.entry(service).ok()?);
        }
        let books = mind.model.books.values();
        for book in books.filter(|_| self.planted != Planted::LeasesKept) {
            if let Some(release) = book.release(change) {
                expected.push(book.expected());
                entries.push(release);
            }
        }
        if !entries.is_empty() {
            self.write(expected, entries).ok()?;
        }
        Some(())
    }
}

/// What agents say, as if the kernel and the callers had said it too.
fn believed(seen: &Seen, now: Time) -> Seen {
    let mut believed = seen.clone();
    for report in believed.hosts.values_mut().flat_map(|it| &mut it.instances) {
        if report.state != InstanceState::Running {
            continue;
        }
        report.port = report.port.or(Some(0));
        report.process = report.artifact_sha256.clone().map(|sha| ProcessFacts {
            boot_id: String::new(),
            pid: 1,
            start_ticks: 0,
            started_at: now,
            exe_sha256: sha,
            listening_port: report.port,
            rss_bytes: 0,
            open_files: 0,
        });
        let backends = believed
            .fabrics
            .values_mut()
            .flat_map(|it| it.backends.values_mut());
        for backend in backends
            .flatten()
            .filter(|it| it.instance == report.instance)
        {
            backend.incarnation = report.incarnation;
            backend.seen_version = Some(report.version.clone());
        }
    }
    believed
}
