//! Where a rollout stands, and what it wants to run where. Pure.

use std::collections::BTreeMap;

use mainstay_change::Direction;
use mainstay_core::{
    ChangeState, FabricName, HostName, Outcome, Time, Verdict, Version, catalog::Strategy,
};
use serde::{Deserialize, Serialize};

use super::message::{Gate, Ruling};
use crate::{
    deployment::Deployment,
    desired::{Desired, Wanted},
    moves::Processes,
    plan::{self, ALL, RolloutPlan},
    slots::{Slot, Slots},
};

/// What an instance is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// It was there before.
    Base,
    /// Runs the new version first, beside all that were there.
    Canary,
    /// Runs the old version, as young as the canary, to compare with.
    Control,
    /// Makes room, so that another can be taken out.
    Surge,
    /// Of the second set, which takes over from the first.
    Green,
}

/// Where an instance stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// Ordered, not yet seen.
    Starting,
    /// Seen as wanted.
    Serving,
    /// Gets no requests; is replaced next.
    Draining,
    /// Gets no requests; goes next.
    Leaving,
}

/// One instance of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SlotState {
    pub(crate) host: HostName,
    pub(crate) version: Version,
    pub(crate) incarnation: u64,
    pub(crate) role: Role,
    pub(crate) at: At,
}

/// What the rollout does now.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Phase {
    /// Asks whether it may begin.
    Admitting,
    /// Waits for added instances.
    Placing,
    /// Waits for the judge.
    Judging(Gate),
    /// Asks how many may be out at once.
    Leasing(u32),
    /// Waits for instances to come to rest.
    Draining(u32, Slots),
    /// Waits for their successors.
    Replacing(u32, Slots),
    /// Waits for surplus instances to come to rest.
    Trimming,
    /// Writes down what runs.
    Settling,
    /// Over.
    Ended(ChangeState),
}

/// Why it waits for a person.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pause {
    pub(crate) because: String,
    pub(crate) unrouted: bool,
    pub(crate) by_person: bool,
}

/// Instances that probes go to: as many to the one as to the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// Of the new version.
    pub canary: Slots,
    /// Of the old version: the control of equal age, or all that are left where there is none.
    pub control: Slots,
}

/// How far a rollout is, in instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// All that are to be moved.
    pub total: usize,
    /// Ordered to run the new version.
    pub new: usize,
    /// Of those, seen to.
    pub verified: usize,
}

/// Where a rollout stands; folded from its events alone.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    pub(crate) plan: RolloutPlan,
    pub(crate) slots: BTreeMap<Slot, SlotState>,
    pub(crate) phase: Phase,
    /// When the phase began.
    pub(crate) since: Time,
    pub(crate) direction: Direction,
    /// Counts what changes the set of instances that are looked for.
    pub(crate) generation: u64,
    /// Share of requests to the new version while the canary climbs.
    pub(crate) weight: u32,
    /// The canary's step, while it climbs.
    pub(crate) step: Option<u32>,
    /// Batches begun.
    pub(crate) batches: u32,
    /// Share of requests that the version to return to cannot carry yet, as last measured on the way back.
    pub(crate) left: BTreeMap<FabricName, u32>,
    /// Share of requests that the new version had when it turned back: it never gets more again.
    pub(crate) had: BTreeMap<FabricName, u32>,
    pub(crate) ruling: Ruling,
    /// The last verdict that was worth an entry.
    pub(crate) verdict: Option<Verdict>,
    pub(crate) paused: Option<Pause>,
    /// Whether a person let it go beyond the share at which it stops for one.
    pub(crate) widened: bool,
    /// Why it turned back.
    pub(crate) failure: Option<String>,
    pub(crate) stuck: Option<String>,
    /// Whether a batch was refused once, and told.
    pub(crate) held: Option<String>,
    /// The processes that it replaced.
    pub(crate) before: Processes,
    /// Whether probes are sent: from then on until it ends or turns back, while it is not paused.
    pub(crate) probing: bool,
}

impl State {
    /// The state before the first event.
    pub(crate) fn open(plan: RolloutPlan, opened_at: Time) -> Self {
        let at = if plan.from.is_some() {
            At::Serving
        } else {
            At::Starting
        };
        let slots = plan
            .base
            .slots()
            .map(|it| {
                let incarnation = match at {
                    At::Starting => plan.forward_incarnation(),
                    At::Serving | At::Draining | At::Leaving => it.incarnation,
                };
                let state = SlotState {
                    host: it.host.clone(),
                    version: it.version.clone(),
                    incarnation,
                    role: Role::Base,
                    at,
                };
                (it.slot, state)
            })
            .collect();
        Self {
            slots,
            phase: Phase::Admitting,
            since: opened_at,
            direction: Direction::Forward,
            generation: 0,
            weight: 0,
            step: None,
            batches: 0,
            left: BTreeMap::new(),
            had: BTreeMap::new(),
            ruling: Ruling::Insufficient,
            verdict: None,
            paused: None,
            widened: false,
            failure: None,
            stuck: None,
            held: None,
            before: Processes::default(),
            probing: false,
            plan,
        }
    }

    /// Its plan.
    pub fn plan(&self) -> &RolloutPlan {
        &self.plan
    }

    /// Whether it is over.
    pub fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended(_))
    }

    /// Counts what changes the set of instances that are looked for.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// When its present phase began.
    pub fn since(&self) -> Time {
        self.since
    }

    /// The processes that it replaced: what comes in their place started later.
    pub fn before(&self) -> &Processes {
        &self.before
    }

    /// Instances there were in `fabric`.
    pub fn size_of(&self, fabric: &FabricName) -> u32 {
        self.size(fabric)
    }

    /// What it does now, in a few words.
    pub fn step_words(&self) -> String {
        self.phase_words()
    }

    /// Why it waits for a person or for room, if it does.
    pub fn waits_for(&self) -> Option<String> {
        let pause = self.paused.as_ref().map(|it| it.because.clone());
        pause
            .or_else(|| self.stuck.clone())
            .or_else(|| self.held.clone())
            .or_else(|| self.not_admitted())
    }

    /// What kept it from beginning when it was last asked.
    fn not_admitted(&self) -> Option<String> {
        let verdict = self.verdict.as_ref().filter(|_| !self.has_begun())?;
        Some(verdict.sentence())
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let base = self
            .slots
            .values()
            .filter(|it| matches!(it.role, Role::Base | Role::Green));
        let new = self.slots.values().filter(|it| self.is_new(it));
        Progress {
            total: base.count(),
            new: new.clone().count(),
            verified: new.filter(|it| it.at == At::Serving).count(),
        }
    }

    /// Whether it was allowed to begin: only then is anything it wants wanted.
    pub fn has_begun(&self) -> bool {
        self.phase != Phase::Admitting
    }

    /// Whether it is on its way back.
    pub fn is_restoring(&self) -> bool {
        self.direction == Direction::Restoring
    }

    /// Whether it waits at a gate for what the judge says.
    pub fn is_judging(&self) -> bool {
        matches!(self.phase, Phase::Judging(_))
    }

    /// Whether it waits for processes that replace others.
    pub fn is_replacing(&self) -> bool {
        matches!(self.phase, Phase::Replacing(..))
    }

    pub(crate) fn is_first(&self) -> bool {
        self.plan.from.is_none()
    }

    /// The slots for which `of` holds.
    pub(crate) fn which(&self, of: impl Fn(&SlotState) -> bool) -> Slots {
        let found = self.slots.iter().filter(|(_, slot)| of(slot));
        found.map(|(slot, _)| slot.clone()).collect()
    }

    pub(crate) fn is_new(&self, slot: &SlotState) -> bool {
        slot.version == self.plan.to
    }

    /// Fabrics it moves.
    pub(crate) fn fabrics(&self) -> impl Iterator<Item = &FabricName> {
        self.plan.base.fabrics.keys()
    }

    /// Instances there were in `fabric`.
    pub(crate) fn size(&self, fabric: &FabricName) -> u32 {
        self.plan.base.size(fabric)
    }

    fn serving(&self, fabric: &FabricName) -> (u32, u32) {
        let (mut new, mut old) = (0, 0);
        for (slot, state) in &self.slots {
            if slot.fabric == *fabric && state.at == At::Serving {
                *(if self.is_new(state) {
                    &mut new
                } else {
                    &mut old
                }) += 1;
            }
        }
        (new, old)
    }

    /// Instances of the new version that were ordered and not seen.
    fn unseen(&self, fabric: &FabricName) -> u32 {
        let of_fabric = self.slots.iter().filter(|(slot, _)| slot.fabric == *fabric);
        of_fabric
            .filter(|(_, state)| state.at == At::Starting && self.is_new(state))
            .count() as u32
    }

    /// Ordinals of `fabric` that no instance has, from the lowest.
    pub(crate) fn free(&self, fabric: &FabricName) -> impl Iterator<Item = Slot> {
        crate::moves::free(self.slots.keys(), fabric)
    }

    /// Base instances that still have to move, whichever way it goes.
    pub(crate) fn to_move(&self) -> Slots {
        self.which(|slot| {
            slot.role == Role::Base
                && match self.direction {
                    Direction::Forward => !self.is_new(slot),
                    Direction::Restoring => self.is_new(slot),
                }
        })
    }

    /// Instances of the new version that a canary at `weight` takes in `fabric`.
    pub(crate) fn canaries(&self, fabric: &FabricName, weight: u32) -> u32 {
        plan::canaries(self.size(fabric), weight)
    }

    /// Base instances still to move until the canary's step `step` has what it takes.
    pub(crate) fn for_step(&self, step: u32) -> Slots {
        let weight = self.plan.terms.canary_steps.get(step as usize).copied();
        let Some(weight) = weight else {
            return Slots::default();
        };
        let movable = self.to_move();
        let mut wanted = Slots::default();
        for fabric in self.fabrics() {
            let (new, _) = self.serving(fabric);
            let missing = self.canaries(fabric, weight).saturating_sub(new) as usize;
            wanted.extend(movable.of(fabric).take(missing).cloned());
        }
        wanted
    }

    /// What the weights of `fabric` should be, in hundredths of a per cent.
    fn weights(&self, fabric: &FabricName) -> BTreeMap<Version, u32> {
        let to_new = self.to_new(fabric);
        let mut weights = BTreeMap::from([(self.plan.to.clone(), to_new)]);
        if let Some(from) = &self.plan.from {
            weights.insert(from.clone(), ALL - to_new);
        }
        weights
    }

    /// Share of requests of `fabric` that the new version gets, in hundredths of a per cent.
    pub(crate) fn to_new(&self, fabric: &FabricName) -> u32 {
        if self.is_first() {
            let is_forward = self.direction == Direction::Forward;
            return if is_forward { ALL } else { 0 };
        }
        let (seen, old) = self.serving(fabric);
        let new = match self.direction {
            Direction::Forward => seen,
            // Those of a batch that was turned round may be up: what the old version cannot carry is theirs too.
            Direction::Restoring => seen + self.unseen(fabric),
        };
        let share = (ALL * new).checked_div(new + old).unwrap_or(0);
        let unrouted = self.paused.as_ref().is_some_and(|pause| pause.unrouted);
        let untouched = self
            .slots
            .values()
            .all(|slot| slot.role != Role::Base || !self.is_new(slot));
        match (new, old) {
            (0, _) => 0,
            (_, 0) => ALL,
            // All that were there still are. Once some were replaced, those left might not carry it all.
            _ if unrouted && untouched => 0,
            _ => match self.direction {
                Direction::Restoring if untouched => 0,
                Direction::Restoring => {
                    let had = self.had.get(fabric).copied().unwrap_or(0);
                    let left = self.left.get(fabric).copied().unwrap_or(had);
                    // Never more than its instances' share: those of the old version grow warm by theirs,
                    // and one that is asked for less than that would count for less and hold the next batch.
                    left.min(had).min(share)
                }
                Direction::Forward if self.step.is_some() => self.weight,
                Direction::Forward => share.max(self.weight),
            },
        }
    }

    /// Instances that the present phase waits to see as they are wanted. On the way back that is the batch
    /// alone: the bad version need not come up elsewhere.
    pub(crate) fn awaited(&self) -> Slots {
        let batch = match &self.phase {
            Phase::Placing => None,
            Phase::Replacing(_, slots) => Some(slots),
            Phase::Admitting
            | Phase::Judging(_)
            | Phase::Leasing(_)
            | Phase::Draining(..)
            | Phase::Trimming
            | Phase::Settling
            | Phase::Ended(_) => return Slots::default(),
        };
        let waits = |slot: &Slot, it: &SlotState| {
            it.at == At::Starting
                && batch.map_or(it.role != Role::Base || self.is_first(), |batch| {
                    batch.contains(slot)
                })
        };
        let found = self.slots.iter().filter(|(slot, it)| waits(slot, it));
        found.map(|(slot, _)| slot.clone()).collect()
    }

    /// Instances that the present phase waits to see at rest.
    pub(crate) fn resting(&self) -> Slots {
        match &self.phase {
            Phase::Draining(_, slots) => slots.clone(),
            Phase::Trimming => self.which(|slot| slot.at == At::Leaving),
            Phase::Admitting
            | Phase::Placing
            | Phase::Judging(_)
            | Phase::Leasing(_)
            | Phase::Replacing(..)
            | Phase::Settling
            | Phase::Ended(_) => Slots::default(),
        }
    }

    /// Whether it goes no further until somebody says so. The way back is never halted.
    pub(crate) fn is_halted(&self) -> bool {
        self.paused.is_some() && self.direction == Direction::Forward
    }

    /// What should run where, and who should be asked.
    pub fn desired(&self) -> Desired {
        let slots = self
            .slots
            .iter()
            .map(|(slot, state)| {
                let wanted = Wanted {
                    host: state.host.clone(),
                    version: state.version.clone(),
                    incarnation: state.incarnation,
                    draining: matches!(state.at, At::Draining | At::Leaving),
                    share: 1.0,
                    limit: None,
                };
                (slot.clone(), wanted)
            })
            .collect();
        let weights = self
            .fabrics()
            .map(|fabric| (fabric.clone(), self.weights(fabric)))
            .collect();
        Desired {
            slots,
            weights,
            ..Desired::default()
        }
    }

    /// The deployment that stands when it ends.
    pub(crate) fn deployment(&self) -> Deployment {
        let version = match (self.direction, &self.plan.from) {
            (Direction::Restoring, Some(from)) => from.clone(),
            (Direction::Restoring, None) | (Direction::Forward, _) => self.plan.to.clone(),
        };
        let hosts = self
            .plan
            .base
            .fabrics
            .iter()
            .map(|(fabric, placed)| (fabric.clone(), placed.hosts.clone()))
            .collect();
        let instances = self
            .slots
            .iter()
            .map(|(slot, state)| (slot.clone(), state.version.clone(), state.incarnation));
        let mut made = Deployment::of(self.plan.number(), version, hosts, instances);
        made.given_up = self.plan.base.given_up;
        made
    }

    /// What leaves once all have moved: what was added, or in a blue-green forward, what was there.
    pub(crate) fn surplus(&self) -> Slots {
        let blue_green = self.plan.terms.strategy == Strategy::BlueGreen && !self.is_first();
        self.which(|slot| match (self.direction, slot.role) {
            (Direction::Forward, Role::Base) => blue_green,
            (Direction::Forward, Role::Green) => false,
            (Direction::Restoring, Role::Base) => self.is_first(),
            (_, Role::Canary | Role::Control | Role::Surge)
            | (Direction::Restoring, Role::Green) => true,
        })
    }

    /// Whether the first set of a blue-green rollout leaves: the bake is over, and what goes is leased.
    pub(crate) fn retires(&self) -> bool {
        self.plan.terms.strategy == Strategy::BlueGreen
            && !self.is_first()
            && self.direction == Direction::Forward
            && matches!(self.phase, Phase::Leasing(_) | Phase::Trimming)
    }

    /// Whether some of what was there is gone for good.
    pub(crate) fn has_retired(&self) -> bool {
        let base = self.which(|slot| slot.role == Role::Base).len();
        base < self.plan.base.slots().count()
    }

    /// Whether the judge has something to judge: a version with a predecessor, on its way forward, routed.
    pub(crate) fn is_exposed(&self) -> bool {
        let routed = match self.phase {
            Phase::Judging(_) | Phase::Leasing(_) | Phase::Draining(..) | Phase::Replacing(..) => {
                true
            }
            // Room is made while the new version is asked already.
            Phase::Placing => self.weight > 0 || self.batches > 0,
            Phase::Admitting | Phase::Trimming | Phase::Settling | Phase::Ended(_) => false,
        };
        routed && !self.is_first() && !self.retires() && self.direction == Direction::Forward
    }

    /// The control of equal age, where there is one.
    pub(crate) fn control(&self) -> Slots {
        self.which(|slot| slot.role == Role::Control && slot.at == At::Serving)
    }

    /// Whom to send probes, if they are sent now.
    pub fn probed(&self) -> Option<Probed> {
        if !self.probing || !self.is_exposed() || self.is_halted() {
            return None;
        }
        let control = self.control();
        Some(Probed {
            canary: self.which(|slot| self.is_new(slot) && slot.at == At::Serving),
            control: if control.is_empty() {
                self.which(|slot| !self.is_new(slot) && slot.at == At::Serving)
            } else {
                control
            },
        })
    }

    /// In a few words, for people.
    pub(crate) fn phase_words(&self) -> String {
        let percent = |weight: u32| format!("{} %", f64::from(weight) / 100.0);
        let way = match self.direction {
            Direction::Forward => "",
            Direction::Restoring => "restoring: ",
        };
        let words = match &self.phase {
            Phase::Admitting => "asking whether it may begin".to_owned(),
            Phase::Placing if self.is_first() => "starting every instance".to_owned(),
            Phase::Placing => "starting canary and control".to_owned(),
            Phase::Judging(Gate::Canary { .. }) => format!("canary {}", percent(self.weight)),
            Phase::Judging(Gate::Batch { batch }) => format!("judging batch {batch}"),
            Phase::Judging(Gate::Bake) => "baking".to_owned(),
            Phase::Leasing(_) if self.retires() => {
                "asking how many of the first set may go".to_owned()
            }
            Phase::Leasing(_) if self.stops().is_some() => {
                "moved as many as may go before a person looks".to_owned()
            }
            Phase::Leasing(batch) => format!("batch {batch}: asking how many may be out"),
            Phase::Draining(batch, slots) => format!("batch {batch}: draining {}", slots.len()),
            Phase::Replacing(batch, slots) => format!("batch {batch}: replacing {}", slots.len()),
            Phase::Trimming => "removing surplus instances".to_owned(),
            Phase::Settling => "writing down what runs".to_owned(),
            Phase::Ended(_) => "over".to_owned(),
        };
        let probes = match self.probed() {
            Some(_) => ", with probes",
            None => "",
        };
        format!("{way}{words}{probes}")
    }

    /// Whether the last verdict worth an entry says something else than this one.
    pub(crate) fn is_news(&self, ruling: Ruling, verdict: &Verdict) -> bool {
        let worst = |verdict: &Verdict| -> Vec<(String, Outcome)> {
            let bad = verdict.findings.iter();
            bad.filter(|it| it.outcome != Outcome::Pass)
                .map(|it| (it.signal.clone(), it.outcome))
                .collect()
        };
        let before = self.verdict.as_ref().map(worst);
        self.ruling != ruling || before != Some(worst(verdict))
    }
}
