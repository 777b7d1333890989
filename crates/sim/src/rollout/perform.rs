//! What a rollout asks for, done in the simulated world: long questions, answered when there is news.
//!
//! Looks at reports only, as the real hands do; the bugs planted here are those that real hands could have.

use std::collections::BTreeMap;

use mainstay_change::{Direction, LeaseBook};
use mainstay_core::{
    Actor, Append, FabricName, Finding, Measured, Outcome, Span, Time, Verdict, Version,
};
use mainstay_deploy::{
    Slot, Slots,
    capacity::{self, Grant, Known},
    rollout::{DWELL, Effect, Expected, Gate, Input, Ruling, State},
    site::{REPORT_FRESH, Seen},
};
use mainstay_wire::agent::{InstanceReport, InstanceState};

use super::{RolloutWorld, lead::Leader, site::CARRIES};
use crate::report::{Fault, Planted};

/// Exits without an order from which an instance is failing.
const EXITS_FAILING: u32 = 3;

/// One effect that waits for its answer.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) effect: Effect,
    pub(crate) answer_by: i64,
}

fn verdict(step: &str, at: Time, outcome: Outcome, value: &str) -> Verdict {
    Verdict::new(
        step,
        at,
        vec![Finding {
            signal: "simulated".to_owned(),
            outcome,
            value: value.to_owned(),
            limit: "as wanted".to_owned(),
            remedy: String::new(),
        }],
    )
}

impl RolloutWorld {
    /// The answer, if there is one yet; `None` and past its time, the question is dropped.
    pub(crate) fn answer(&mut self, leader: &mut Leader, question: &Question) -> Option<Input> {
        let overdue = self.true_ms >= question.answer_by;
        let state = leader.model.rollouts.get(&self.change)?.state.clone();
        match &question.effect {
            Effect::Admit => self.admit(leader, &state, overdue),
            Effect::Observe {
                generation,
                starting,
                expected,
                control,
                draining,
            } => {
                let mut wanted = vec![(starting.clone(), expected.clone())];
                if let Some(from) = state.plan().from.clone() {
                    let incarnation = expected.incarnation;
                    wanted.push((
                        control.clone(),
                        Expected {
                            version: from,
                            incarnation,
                        },
                    ));
                }
                self.observe(leader, *generation, &wanted, draining, overdue)
            }
            Effect::Judge { since, gate, .. } => self.judge(&state, *since, *gate, overdue),
            Effect::Lease {
                batch,
                direction,
                candidates,
            } => {
                let (slots, left, findings) = self.lease(leader, &state, *direction, candidates)?;
                (!slots.is_empty() || overdue).then_some(Input::Granted {
                    batch: *batch,
                    slots,
                    left,
                    findings,
                })
            }
            Effect::Settle { deployment } => {
                let number = deployment.number;
                let settled = leader
                    .model
                    .deployments
                    .get(&self.service)
                    .map(|it| it.number);
                if settled.is_none_or(|last| last < number)
                    && self.planted != Planted::SettlesUnwritten
                {
                    let version = leader.model.deployment_versions.get(&self.service).copied();
                    let entry = deployment.entry(&self.service).ok()?;
                    let expected = vec![mainstay_core::Expected {
                        stream: entry.stream.clone(),
                        version: version.unwrap_or(0),
                    }];
                    self.write(expected, vec![entry]).ok()?;
                }
                Some(Input::Settled { number })
            }
        }
    }

    fn admit(&self, leader: &Leader, state: &State, overdue: bool) -> Option<Input> {
        let now = self.now();
        let fresh = |connected: bool, at: Time| connected && now.since(at) <= REPORT_FRESH;
        let hosts = self.site.hosts.keys().all(|name| {
            let seen = leader.seen.hosts.get(name);
            seen.is_some_and(|it| fresh(it.connected, it.received_at))
        });
        let routers = state.plan().base.fabrics.keys().all(|name| {
            let seen = leader.seen.fabrics.get(name);
            seen.is_some_and(|it| fresh(it.connected, it.received_at))
        });
        let outcome = if hosts && routers {
            Outcome::Pass
        } else {
            Outcome::InsufficientEvidence
        };
        (outcome == Outcome::Pass || overdue).then(|| Input::Admission {
            verdict: Measured::observe(verdict("begin", now, outcome, "presence"), now, "guard"),
        })
    }

    fn observe(
        &self,
        leader: &Leader,
        generation: u64,
        wanted: &[(Slots, Expected)],
        draining: &Slots,
        overdue: bool,
    ) -> Option<Input> {
        let now = self.now();
        let (mut verified, mut failing, mut oldest) = (Slots::default(), Slots::default(), now);
        let mut because = None;
        for (slots, expected) in wanted {
            for slot in slots.iter() {
                match self.look(&leader.seen, slot, expected, now) {
                    Looked::AsWanted(at) => {
                        verified.insert(slot.clone());
                        oldest = oldest.min(at);
                    }
                    Looked::Failing(why) => {
                        failing.insert(slot.clone());
                        because.get_or_insert(why);
                    }
                    Looked::NotYet => {}
                }
            }
        }
        let drained: Slots = draining
            .iter()
            .filter(|slot| self.at_rest(leader, slot, now))
            .cloned()
            .collect();
        let at_rest = !draining.is_empty() && drained.covers(draining);
        let news = !verified.is_empty() || because.is_some() || at_rest;
        (news || overdue).then(|| Input::Seen {
            generation,
            verified: Measured::observe(verified, oldest, "agent and router"),
            drained,
            failing: because.map(|because| (failing, because)),
        })
    }

    fn look(&self, seen: &Seen, slot: &Slot, expected: &Expected, now: Time) -> Looked {
        let trusting = self.planted == Planted::ClaimsTrusted;
        let Ok(name) = slot.instance(&self.service) else {
            return Looked::NotYet;
        };
        let Some((host, report)) = seen.instance(name.as_str()) else {
            return Looked::NotYet;
        };
        let is_it =
            report.incarnation == expected.incarnation && report.version == expected.version;
        if !host.connected || now.since(host.received_at) > REPORT_FRESH || !is_it {
            return Looked::NotYet;
        }
        match &report.state {
            InstanceState::Waiting { because } if report.unordered_exits >= EXITS_FAILING => {
                return Looked::Failing(because.clone());
            }
            InstanceState::Running if trusting => return Looked::AsWanted(host.received_at),
            InstanceState::Running if is_identified(report) => {}
            InstanceState::Running
            | InstanceState::Waiting { .. }
            | InstanceState::Starting
            | InstanceState::Stopping
            | InstanceState::Gone
            | InstanceState::Failed { .. } => return Looked::NotYet,
        }
        let Some(fabric) = seen.fabrics.get(&slot.fabric) else {
            return Looked::NotYet;
        };
        let backend = seen.backend(&slot.fabric, &self.service, name.as_str());
        let answers = backend.is_some_and(|it| {
            it.incarnation == expected.incarnation
                && it.seen_version.as_ref() == Some(&expected.version)
        });
        if answers && now.since(fabric.received_at) <= REPORT_FRESH {
            Looked::AsWanted(host.received_at.min(fabric.received_at))
        } else {
            Looked::NotYet
        }
    }

    fn at_rest(&self, leader: &Leader, slot: &Slot, now: Time) -> bool {
        let Ok(name) = slot.instance(&self.service) else {
            return true;
        };
        // In flight before a crash is in flight after it, unless only this leader's own are counted.
        let forgets = self.planted == Planted::ForgetsInFlight && leader.epoch > 1;
        if self.planted == Planted::DrainedTooSoon || forgets {
            return true;
        }
        let ordered = leader.tables.get(&slot.fabric);
        let seen = leader.seen.fabrics.get(&slot.fabric);
        let (Some((generation, table)), Some(seen)) = (ordered, seen) else {
            return false;
        };
        let listed = table.backends.iter().find(|it| it.instance == name);
        let backend = leader
            .seen
            .backend(&slot.fabric, &self.service, name.as_str());
        listed.is_none_or(|it| it.draining)
            && now.since(seen.received_at) <= REPORT_FRESH
            && seen.applied >= *generation
            && backend.is_none_or(|it| it.in_flight == 0)
    }

    fn judge(&mut self, state: &State, since: Time, gate: Gate, overdue: bool) -> Option<Input> {
        let now = self.now();
        let truth = self.ruling();
        let dwell = match gate {
            Gate::Canary { .. } | Gate::Batch { .. } => DWELL,
            Gate::Bake => state.plan().terms.bake.max(DWELL),
        };
        let mut ruling = truth;
        match truth {
            Ruling::Harm => {
                self.harm_since.get_or_insert(self.true_ms);
                if self.planted == Planted::HarmSwallowed {
                    ruling = Ruling::Pass;
                }
            }
            Ruling::Pass => self.pass_at = Some(self.true_ms),
            // What passed once is dated as if it had been seen now.
            Ruling::Insufficient
                if self.planted == Planted::StaleVerdicts && self.pass_at.is_some() =>
            {
                ruling = Ruling::Pass;
            }
            Ruling::SharedFailure | Ruling::Insufficient | Ruling::Frozen => {}
        }
        let decided = match ruling {
            Ruling::Harm | Ruling::SharedFailure => true,
            Ruling::Pass => now >= since + dwell,
            Ruling::Insufficient | Ruling::Frozen => false,
        };
        let outcome = match ruling {
            Ruling::Pass => Outcome::Pass,
            Ruling::Harm => Outcome::Fail,
            Ruling::SharedFailure | Ruling::Insufficient | Ruling::Frozen => {
                Outcome::InsufficientEvidence
            }
        };
        (decided || overdue).then(|| Input::Verdict {
            ruling,
            verdict: Measured::observe(verdict("judge", now, outcome, "truth"), now, "routers"),
        })
    }

    fn lease(
        &mut self,
        leader: &mut Leader,
        state: &State,
        direction: Direction,
        candidates: &Slots,
    ) -> Option<Granted> {
        let (mut slots, mut left, mut findings) = (Slots::default(), BTreeMap::new(), Vec::new());
        for fabric in candidates.fabrics() {
            let (grant, book) = self.grant(leader, state, fabric, direction, candidates);
            if !grant.slots.is_empty() && self.planted != Planted::NoLease {
                let entry = book.take(&self.change, direction, grant.rps).ok()?;
                self.write(vec![book.expected()], vec![entry]).ok()?;
            }
            slots.extend(grant.slots.iter().cloned());
            left.insert(fabric.clone(), grant.left);
            findings.push(grant.finding);
        }
        Some((slots, left, findings))
    }

    fn grant(
        &mut self,
        leader: &mut Leader,
        state: &State,
        fabric: &FabricName,
        direction: Direction,
        candidates: &Slots,
    ) -> (Grant, LeaseBook) {
        let now = self.now();
        let key = (self.service.clone(), fabric.clone());
        let book = leader.model.books.get(&key).cloned();
        let book = book.unwrap_or_else(|| LeaseBook::new(&self.service, fabric));
        let plan = state.plan();
        let versions = plan.from.iter().chain([&plan.to]);
        let carries: BTreeMap<Version, f64> = versions.map(|it| (it.clone(), CARRIES)).collect();
        let leased_rps = book.leased_rps(&self.change, direction);
        if leased_rps > 0.0 {
            self.bite(Fault::ForeignLease);
        }
        let desired = state.desired();
        let blind = self.blind_until > self.true_ms;
        let known = Known {
            service: &self.service,
            spec: &self.spec,
            fabric,
            desired: &desired,
            hosts: &leader.model.hosts,
            seen: &leader.seen,
            demand_upper_rps: self
                .demand
                .get(fabric)
                .map(|it| it * 1.05)
                .filter(|_| !blind),
            carries: &carries,
            leased_rps,
        };
        let size = state.size_of(fabric) as usize;
        let terms = capacity::Terms {
            most: plan.terms.batch,
            size,
            refills: true,
        };
        let mut grant = capacity::grant(known, candidates, direction, terms, now);
        if self.planted == Planted::BatchIgnoresArithmetic {
            let count = size.div_ceil(2);
            grant.slots = candidates.of(fabric).take(count).cloned().collect();
        }
        if self.planted == Planted::OldVersionCarriesAll {
            grant.left = 0;
        }
        (grant, book)
    }

    /// Writes without the leadership, as the real hands do; whose book or stream moved on conflicts.
    pub(crate) fn write(
        &mut self,
        expected: Vec<mainstay_core::Expected>,
        entries: Vec<mainstay_core::NewEntry>,
    ) -> Result<(), ()> {
        let append = Append {
            actor: Actor::system(),
            at: self.now(),
            expected,
            entries,
        };
        let written = self.ledger.append(&append, true).map_err(|_| ())?;
        self.fold(&written);
        Ok(())
    }
}

/// What may be out, what must stay with the version to leave, and the arithmetic.
type Granted = (Slots, BTreeMap<FabricName, u32>, Vec<Finding>);

enum Looked {
    AsWanted(Time),
    Failing(String),
    NotYet,
}

/// Whether the kernel says that this process runs the artifact and owns the port it was given.
fn is_identified(report: &InstanceReport) -> bool {
    report.process.as_ref().is_some_and(|process| {
        report.artifact_sha256.as_ref() == Some(&process.exe_sha256)
            && process.listening_port.is_some()
            && process.listening_port == report.port
    })
}

/// How long a question may stay open.
pub(crate) const OPEN_FOR: Span = Span::from_millis(4_500);
