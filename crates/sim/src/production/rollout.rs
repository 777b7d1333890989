//! Rollouts: what they ask for, what the judge would rule, and what must hold of them.

use std::collections::BTreeMap;

use mainstay_change::Direction;
use mainstay_core::{ChangeId, Entry, InstanceName, Measured, Outcome, Verdict, Version};
use mainstay_deploy::{
    Deployment, Slots,
    moves::{Expected, Sought},
    rollout::{DWELL, Effect, Event, Gate, Input, Ruling, State},
};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{
    Production,
    check::{HARM_WINDOW_MS, Snapshot},
    hands::finding,
    orders::Mind,
    site::CARRIES,
    users::fraction,
};
use crate::{
    driver::{Leader, Sim, json},
    report::{Invariant, Planted},
};

/// Instances of the old version get their fair share on the way back, so that they grow warm, even where one
/// of them is missing: so much more than its capacity the others may be sent.
const OVERLOAD_MAX: f64 = 1.25;

/// What the new version really is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Truth {
    Good,
    Bad,
    /// Bad after it was asked for a while.
    BadLate,
}

/// The new version, and how it shows.
pub(super) struct Release {
    truth: Truth,
    /// How long the judge takes to see harm, and when a late defect begins to bite.
    detect_ms: i64,
    late_ms: i64,
    /// What a first release is to run.
    pub(super) base: Option<Deployment>,
    answered_at: i64,
    exposed_ms: i64,
    exposed_now: bool,
    pass_at: Option<i64>,
    harm_since: Option<i64>,
}

impl Release {
    pub(super) fn new(rng: &mut ChaCha8Rng) -> Self {
        let truth = match rng.random_range(0..10) {
            0..5 => Truth::Good,
            5..8 => Truth::Bad,
            _ => Truth::BadLate,
        };
        Self {
            truth,
            detect_ms: rng.random_range(1_000..8_000),
            late_ms: rng.random_range(15_000..60_000),
            base: None,
            answered_at: 0,
            exposed_ms: 0,
            exposed_now: false,
            pass_at: None,
            harm_since: None,
        }
    }

    /// One that is bad from a moment that is still to come, and found out at once.
    pub(super) fn bad_later() -> Self {
        Self {
            truth: Truth::BadLate,
            detect_ms: 1_000,
            late_ms: i64::MAX / 2,
            base: None,
            answered_at: 0,
            exposed_ms: 0,
            exposed_now: false,
            pass_at: None,
            harm_since: None,
        }
    }

    /// Whether a person who knows the truth would let it go on.
    pub(super) fn is_good(&self) -> bool {
        self.truth == Truth::Good
    }

    /// Whether it fails requests now.
    pub(super) fn bites(&self) -> bool {
        match self.truth {
            Truth::Good => false,
            Truth::Bad => true,
            Truth::BadLate => self.exposed_ms > self.late_ms,
        }
    }

    /// A step has passed, in which it was asked or not.
    pub(super) fn passed(&mut self, asked: bool, now: i64, step_ms: i64) {
        self.exposed_now = asked;
        if asked {
            self.exposed_ms += step_ms;
            self.answered_at = now;
        }
    }
}

impl Sim<Production> {
    /// In a world of a given size the new version turns bad when so many are verified.
    pub(super) fn turn_bad(&mut self) {
        let Some(size) = self.scene.sized else {
            return;
        };
        let mut tracks = self.scene.model.rollouts.values();
        if tracks.any(|it| it.state.progress().verified >= size.bad_from) {
            let release = &mut self.scene.release;
            release.late_ms = release.late_ms.min(release.exposed_ms);
        }
    }

    /// What an honest judge would rule now.
    fn ruling(&self) -> Ruling {
        let release = &self.scene.release;
        if self.scene.blind_until > self.true_ms || !release.exposed_now {
            return Ruling::Insufficient;
        }
        if self.scene.shared_until > self.true_ms {
            return Ruling::SharedFailure;
        }
        let bad_for = match release.truth {
            Truth::Good => 0,
            Truth::Bad => release.exposed_ms,
            Truth::BadLate => release.exposed_ms - release.late_ms,
        };
        if bad_for > release.detect_ms {
            Ruling::Harm
        } else if release.truth == Truth::Bad || release.exposed_ms < 3_000 || bad_for > 0 {
            Ruling::Insufficient
        } else {
            Ruling::Pass
        }
    }

    pub(super) fn answer_rollout(
        &mut self,
        mind: &Mind,
        change: &ChangeId,
        effect: &Effect,
        overdue: bool,
    ) -> Option<Input> {
        let state = &mind.model.rollouts.get(change)?.state;
        match effect {
            Effect::Admit => {
                let findings = self.admission(mind, change)?;
                let now = self.now();
                let verdict = Verdict::new("begin", now, findings);
                (verdict.outcome() == Outcome::Pass || overdue).then(|| Input::Admission {
                    verdict: Measured::observe(verdict, now, "guard"),
                })
            }
            Effect::Observe {
                generation,
                starting,
                expected,
                control,
                draining,
            } => {
                let mut wanted = vec![(starting.clone(), expected.clone())];
                if let Some(version) = state.plan().from.clone() {
                    let incarnation = expected.incarnation;
                    let old = Expected {
                        version,
                        incarnation,
                    };
                    wanted.push((control.clone(), old));
                }
                let sought = Sought {
                    service: &self.scene.service,
                    wanted: &wanted,
                    before: state.before(),
                    draining,
                };
                let seen = self.observe(mind, sought, overdue)?;
                Some(Input::Seen {
                    generation: *generation,
                    verified: seen.verified,
                    drained: seen.drained,
                    failing: seen.failing,
                })
            }
            Effect::Judge { since, gate, .. } => {
                let dwell = match gate {
                    Gate::Canary { .. } | Gate::Batch { .. } => DWELL,
                    Gate::Bake => state.plan().terms.bake.max(DWELL),
                };
                let ruling = self.judged(mind, change)?;
                let decided = match ruling {
                    Ruling::Harm | Ruling::SharedFailure => true,
                    Ruling::Pass => self.now() >= *since + dwell,
                    Ruling::Insufficient | Ruling::Frozen => false,
                };
                (decided || overdue).then(|| self.verdict(ruling))
            }
            Effect::Lease {
                batch,
                direction,
                candidates,
            } => {
                let frozen = self.frozen(mind, change)?.outcome != Outcome::Pass;
                if *direction == Direction::Forward && frozen {
                    return None;
                }
                let (mut slots, mut left) = (Slots::default(), BTreeMap::new());
                let mut findings = Vec::new();
                for fabric in candidates.fabrics() {
                    let grant = self.lease_in(mind, change, fabric, *direction, candidates)?;
                    slots.extend(grant.slots.iter().cloned());
                    left.insert(fabric.clone(), grant.left);
                    findings.push(grant.finding);
                }
                let eyes = mind.eyes(self.now());
                (!slots.is_empty() || overdue).then(|| Input::Granted {
                    batch: *batch,
                    before: eyes.processes(&self.scene.service, &slots),
                    slots,
                    left,
                    findings,
                })
            }
            Effect::Settle { deployment } => {
                self.settle(mind, change, Some(deployment))?;
                let number = deployment.number;
                Some(Input::Settled { number })
            }
        }
    }

    /// What the judge rules beside a freeze, and a bug makes of it.
    fn judged(&mut self, mind: &Mind, change: &ChangeId) -> Option<Ruling> {
        let frozen = self.frozen(mind, change)?.outcome != Outcome::Pass;
        let ruling = self.mistaken();
        let held = frozen && matches!(ruling, Ruling::Pass | Ruling::Insufficient);
        Some(if held { Ruling::Frozen } else { ruling })
    }

    fn mistaken(&mut self) -> Ruling {
        let ruling = self.ruling();
        let release = &mut self.scene.release;
        match ruling {
            Ruling::Harm => {
                release.harm_since.get_or_insert(self.true_ms);
                if self.planted == Planted::HarmSwallowed {
                    return Ruling::Pass;
                }
            }
            Ruling::Pass => release.pass_at = Some(self.true_ms),
            // What passed once is dated as if it had been seen now.
            Ruling::Insufficient
                if self.planted == Planted::StaleVerdicts && release.pass_at.is_some() =>
            {
                return Ruling::Pass;
            }
            Ruling::SharedFailure | Ruling::Insufficient | Ruling::Frozen => {}
        }
        ruling
    }

    fn verdict(&self, ruling: Ruling) -> Input {
        let now = self.now();
        let outcome = match ruling {
            Ruling::Pass => Outcome::Pass,
            Ruling::Harm => Outcome::Fail,
            Ruling::SharedFailure | Ruling::Insufficient | Ruling::Frozen => {
                Outcome::InsufficientEvidence
            }
        };
        let verdict = Verdict::new("judge", now, vec![finding("truth", outcome, "simulated")]);
        let verdict = Measured::observe(verdict, now, "routers");
        Input::Verdict { ruling, verdict }
    }

    /// A bug stamps what was seen long ago with what is looked for now.
    pub(super) fn stamp_anew(&self, leader: &mut Leader<Mind>) {
        let now = self.now();
        let model = &self.scene.model;
        leader.rewrite(|change, body| {
            let generation = model.rollouts.get(change)?.state.generation();
            let Ok(Input::Seen {
                verified,
                drained,
                failing,
                ..
            }) = serde_json::from_str(body)
            else {
                return None;
            };
            let verified = Measured::observe(verified.value().clone(), now, verified.source());
            Some(json(&Input::Seen {
                generation,
                verified,
                drained,
                failing,
            }))
        });
    }

    pub(super) fn rolled(
        &mut self,
        change: &ChangeId,
        event: &Event,
        before: &State,
        entry: &Entry,
    ) {
        let Some(after) = self.scene.model.rollouts.get(change) else {
            return;
        };
        let after = after.state.clone();
        match event {
            Event::Passed { .. } => self.check_passed(),
            Event::Began { slots, .. } => {
                let restoring = before.is_restoring();
                self.check_batch(change, slots, restoring);
                let late = self.true_ms - HARM_WINDOW_MS;
                if !restoring && self.scene.release.harm_since.is_some_and(|at| at < late) {
                    let what = "a batch began long after harm was seen".to_owned();
                    self.violated(Invariant::Guard, what);
                }
            }
            Event::Verified { slots, .. } => self.check_verified(slots, false),
            Event::Drained { overdue: false, .. } => self.check_drained(),
            Event::Trimmed { at } => {
                let overdue = at.since(before.since()) >= before.plan().terms.drain_within;
                if !overdue {
                    self.check_drained();
                }
            }
            Event::Settled { .. } => self.check_settled(after.plan().number()),
            Event::Paused { because, .. } if before.is_restoring() => {
                let what = format!("a way back waits for a person: {because}");
                self.violated(Invariant::Live, what);
            }
            Event::Admitted { .. }
            | Event::Surged { .. }
            | Event::Judged { .. }
            | Event::Raised { .. }
            | Event::ProbesBegan { .. }
            | Event::Held { .. }
            | Event::Replaces { .. }
            | Event::Drained { .. }
            | Event::Failed { .. }
            | Event::Paused { .. }
            | Event::Resumed { .. }
            | Event::Promoted { .. }
            | Event::Aborted { .. }
            | Event::Stuck { .. } => {}
        }
        self.check_weights(entry);
    }

    fn check_passed(&mut self) {
        let from = self.true_ms - self.window_ms();
        if self.scene.release.pass_at.is_none_or(|at| at < from) {
            let what = "a gate was passed on nothing that was measured lately".to_owned();
            self.violated(Invariant::Guard, what);
        }
        if self.scene.release.harm_since.is_some_and(|at| at < from) {
            let what = "a gate was passed after harm was seen".to_owned();
            self.violated(Invariant::Guard, what);
        }
    }

    /// No version is sent more than its instances carry while all together could.
    fn check_weights(&mut self, entry: &Entry) {
        let scene = &self.scene;
        let desired = &scene.desired;
        let mut wrong = None;
        for (fabric, weights) in &desired.weights {
            let blind = self.blind_lately(fabric);
            let of_fabric = || {
                let slots = desired.slots.iter();
                slots.filter(|(slot, it)| slot.fabric == *fabric && !it.draining)
            };
            let named = |slot: &mainstay_deploy::Slot| -> Option<InstanceName> {
                slot.instance(&scene.service).ok()
            };
            for (version, weight) in weights {
                let of_version = of_fabric().filter(|it| it.1.version == *version).count();
                // A fair share is no more than others get; who is missing is no effect of ours.
                let last = scene.snapshots.back();
                let is_up = |name| last.is_some_and(|at| at.up.contains_key(&name));
                let others = of_fabric()
                    .filter(|(slot, it)| it.version != *version && named(slot).is_some_and(is_up));
                let fair = of_version as f64 / (of_version + others.count()).max(1) as f64;
                let is_fair = fraction(*weight) <= fair + 0.001;
                let fits = |at: &Snapshot| {
                    let carries = |of: Option<&Version>| {
                        let slots = of_fabric().filter(|(slot, wanted)| {
                            let is = (wanted.version.clone(), wanted.incarnation);
                            let up = named(slot).and_then(|name| at.up.get(&name));
                            of.is_none_or(|of| wanted.version == *of) && up == Some(&is)
                        });
                        slots.count() as f64 * CARRIES
                    };
                    let demand = at.demand.get(fabric).copied().unwrap_or(0.0);
                    let sent = demand * fraction(*weight);
                    !at.all_well
                        || sent <= carries(Some(version)) * OVERLOAD_MAX
                        || demand > carries(None)
                };
                if !blind && !is_fair && !self.recent().any(fits) {
                    let body = &entry.body;
                    wrong = Some(format!("{fabric}: {version} is sent {weight} after {body}"));
                }
            }
        }
        if let Some(what) = wrong {
            self.violated(Invariant::Floor, what);
        }
    }

    pub(super) fn judge_the_release(&mut self) {
        let mut tracks = self.scene.model.rollouts.values();
        let back = tracks.any(|it| it.state.is_restoring());
        if self.scene.release.is_good() && self.clean && back {
            let what = "a good version was turned back".to_owned();
            self.violated(Invariant::Live, what);
        }
    }

    /// Where the rollout stands at the end, and how long users met a bad version after the verdict.
    pub(super) fn tell_of_the_release(&mut self) {
        let release = &self.scene.release;
        let after = release
            .harm_since
            .map(|harm| (release.answered_at - harm).max(0));
        let track = self.scene.model.rollouts.values().next();
        self.report.ended = track.map(|it| it.moved.state);
        self.report.exposed_after_ms = after;
    }
}
