//! Where an action stands, and what it wants laid over what the service runs. Pure.

use std::collections::BTreeMap;

use mainstay_change::Direction;
use mainstay_core::{ChangeState, FabricName, HostName, Time, Verdict, Version};

use super::plan::{ActionPlan, BATCH_MAX, Processes, Task};
use crate::{
    deployment::Deployment,
    desired::{Desired, Wanted},
    moves,
    plan::ALL,
    rollout::Progress,
    slots::{Slot, Slots},
};

/// Where an instance stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// To be started; nothing of it is there yet.
    Planned,
    /// As it was.
    Standing,
    /// Gets no requests.
    Draining,
    /// Gets requests again; not yet seen to.
    Returning,
    /// A new process is ordered, not yet seen.
    Starting,
    /// The new process was seen as wanted.
    Serving,
    /// Was added, gets no more requests, goes next.
    Leaving,
    /// Its process is to stop for good, not yet seen gone.
    Stopping,
    /// Its process was seen gone.
    Gone,
}

/// One instance that the action touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) host: HostName,
    pub(crate) at: At,
    /// Whether it was added to make room.
    pub(crate) added: bool,
}

/// What the action does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Asks how many may be out at once.
    Leasing(u32),
    /// Waits for added instances.
    Placing,
    /// Waits for instances to come to rest.
    Draining(u32),
    /// Waits for successors.
    Replacing(u32),
    /// Waits for routers to refuse requests.
    Applying,
    /// Holds, until its time is over.
    Holding,
    /// Waits until it is seen undone.
    Returning,
    /// Waits for added instances to come to rest.
    Trimming,
    /// Writes down what runs, and lets go of leases.
    Settling,
    /// Over.
    Ended(ChangeState),
}

/// Why it waits for a person.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pause {
    pub(crate) because: String,
    pub(crate) by_person: bool,
}

/// Where an action stands; folded from its events alone.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    pub(crate) plan: ActionPlan,
    pub(crate) places: BTreeMap<Slot, Place>,
    /// The processes that were there.
    pub(crate) before: Processes,
    pub(crate) phase: Phase,
    /// When the phase began.
    pub(crate) since: Time,
    /// Counts what changes the set of instances that are looked for.
    pub(crate) generation: u64,
    /// Batches begun.
    pub(crate) batches: u32,
    /// When what is temporary began, and when it is undone.
    pub(crate) lasts: Option<(Time, Time)>,
    /// Why it was undone.
    pub(crate) returned: Option<(Time, String)>,
    /// Instances whose process outlived its grace.
    pub(crate) killed: Slots,
    pub(crate) held: Option<Verdict>,
    pub(crate) paused: Option<Pause>,
    pub(crate) aborted: Option<String>,
}

impl State {
    /// The state before the first event.
    pub(crate) fn open(plan: ActionPlan, opened_at: Time) -> Self {
        let place = |host: &HostName, at: At| Place {
            host: host.clone(),
            at,
            added: false,
        };
        let planned = plan.added.iter().filter_map(|slot| {
            let host = plan.host_of(slot)?;
            Some((slot.clone(), place(host, At::Planned)))
        });
        let places = plan
            .base
            .slots()
            .filter(|it| plan.targets.contains(&it.slot))
            .map(|it| (it.slot, place(it.host, At::Standing)))
            .chain(planned)
            .collect();
        let (phase, lasts) = match plan.task {
            Task::Restart | Task::Kill | Task::Scale { .. } | Task::Drain => {
                (Phase::Leasing(1), None)
            }
            Task::Shed { .. } => (Phase::Applying, Some((opened_at, opened_at + plan.lasts))),
        };
        Self {
            plan,
            places,
            before: Processes::default(),
            phase,
            since: opened_at,
            generation: 0,
            batches: 0,
            lasts,
            returned: None,
            killed: Slots::default(),
            held: None,
            paused: None,
            aborted: None,
        }
    }

    /// Its plan.
    pub fn plan(&self) -> &ActionPlan {
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
    /// When what is temporary is undone by itself, where something is.
    pub fn until(&self) -> Option<Time> {
        let open = !self.is_ended() && self.returned.is_none();
        self.lasts.filter(|_| open).map(|(_, until)| until)
    }
    /// The processes that were there before it.
    pub fn before(&self) -> &Processes {
        &self.before
    }
    /// Those of them whose successors it waits for.
    pub fn replaced(&self) -> &Processes {
        static NONE: Processes = Processes::NONE;
        if self.is_replacing() {
            &self.before
        } else {
            &NONE
        }
    }
    /// Instances whose process outlived its grace and was killed.
    pub fn killed(&self) -> &Slots {
        &self.killed
    }
    /// Whether it asks how many may be out for `batch`.
    pub fn asks_for(&self, batch: u32) -> bool {
        self.phase == Phase::Leasing(batch)
    }
    /// Whether it waits for processes that replace others.
    pub fn is_replacing(&self) -> bool {
        matches!(self.phase, Phase::Replacing(_))
    }

    /// Why it waits for a person or for room, if it does.
    pub fn waits_for(&self) -> Option<String> {
        let pause = self.paused.as_ref().map(|it| it.because.clone());
        pause.or_else(|| self.held.as_ref().map(Verdict::sentence))
    }

    /// How far it is: instances it touches, taken, and seen as wanted.
    pub fn progress(&self) -> Progress {
        let of = |is: fn(&Place) -> bool| self.which(|it| !it.added && is(it)).len();
        Progress {
            total: of(|_| true),
            new: of(|it| !matches!(it.at, At::Standing | At::Planned)),
            verified: of(|it| matches!(it.at, At::Serving | At::Gone)),
        }
    }

    /// The slots for which `of` holds.
    pub(crate) fn which(&self, of: impl Fn(&Place) -> bool) -> Slots {
        let found = self.places.iter().filter(|(_, place)| of(place));
        found.map(|(slot, _)| slot.clone()).collect()
    }

    /// Whether its next batch starts instances, and takes none out.
    pub fn starts_next(&self) -> bool {
        self.places.values().any(|it| it.at == At::Planned)
    }

    /// Instances that the next batch may be taken from: what is added serves before anything is taken out.
    pub fn candidates(&self) -> Slots {
        let next = if self.starts_next() {
            At::Planned
        } else {
            At::Standing
        };
        let all = self.which(|it| !it.added && it.at == next);
        all.iter().take(BATCH_MAX).cloned().collect()
    }

    /// Instances to verify.
    pub fn arriving(&self) -> Slots {
        self.which(|it| matches!(it.at, At::Starting | At::Returning | At::Stopping))
    }

    /// Of those to verify, the ones whose process should be gone.
    pub fn stopping(&self) -> Slots {
        self.which(|it| it.at == At::Stopping)
    }

    /// Instances that should come to rest.
    pub fn resting(&self) -> Slots {
        match self.phase {
            Phase::Draining(_) => self.which(|it| it.at == At::Draining),
            Phase::Trimming => self.which(|it| it.at == At::Leaving),
            Phase::Leasing(_)
            | Phase::Placing
            | Phase::Replacing(_)
            | Phase::Applying
            | Phase::Holding
            | Phase::Returning
            | Phase::Settling
            | Phase::Ended(_) => Slots::default(),
        }
    }

    /// Whether nothing more is asked for until a person says so. Restoring goes on by itself.
    pub(crate) fn is_halted(&self) -> bool {
        self.paused
            .as_ref()
            .is_some_and(|it| it.by_person || self.plan.direction == Direction::Forward)
    }

    /// One more place in each fabric where instances have to move and none was added yet. Beside a rollout
    /// there is none: the places are its own.
    pub fn room(&self) -> Slots {
        let task = self.plan.task;
        if !task.replaces() || !task.refills() || self.plan.beside {
            return Slots::default();
        }
        let candidates = self.candidates();
        candidates
            .fabrics()
            .into_iter()
            .filter(|fabric| {
                let added = |(slot, it): (&Slot, &Place)| it.added && slot.fabric == **fabric;
                !self.places.iter().any(added)
            })
            .filter_map(|fabric| {
                let taken: Vec<Slot> = self.plan.base.slots().map(|it| it.slot).collect();
                moves::free(&taken, fabric).next()
            })
            .collect()
    }

    /// The share of requests refused in its fabrics now.
    fn shed(&self) -> u32 {
        match (self.plan.task, self.phase) {
            (Task::Shed { share }, Phase::Applying | Phase::Holding) => share,
            (
                Task::Shed { .. } | Task::Restart | Task::Kill | Task::Scale { .. } | Task::Drain,
                _,
            ) => 0,
        }
    }

    /// Lays what it wants over what its service should run otherwise.
    pub fn lay_over(&self, desired: &mut Desired) {
        let shed = self.shed();
        for fabric in self.plan.fabrics.iter().filter(|_| shed > 0) {
            let of_fabric = desired.shed.entry(fabric.clone()).or_default();
            *of_fabric = shed.max(*of_fabric);
        }
        for (slot, place) in &self.places {
            if place.added || self.plan.added.contains(slot) {
                if place.at != At::Planned {
                    self.add(desired, slot, place);
                }
                continue;
            }
            if matches!(place.at, At::Stopping | At::Gone) {
                desired.slots.remove(slot);
                continue;
            }
            let Some(wanted) = desired.slots.get_mut(slot) else {
                continue;
            };
            match place.at {
                At::Planned
                | At::Standing
                | At::Returning
                | At::Leaving
                | At::Stopping
                | At::Gone => {}
                At::Draining => wanted.draining |= self.is_of_base(slot, wanted),
                At::Starting | At::Serving => {
                    if !self.plan.beside {
                        wanted.incarnation = self.plan.incarnation();
                    }
                    if self.plan.task == Task::Kill && place.at == At::Starting {
                        desired.at_once.insert(slot.clone());
                    }
                }
            }
        }
    }

    fn add(&self, desired: &mut Desired, slot: &Slot, place: &Place) {
        let version = self.plan.base.version.clone();
        let weights = desired.weights.entry(slot.fabric.clone());
        weights.or_insert_with(|| [(version.clone(), ALL)].into());
        let wanted = Wanted {
            host: place.host.clone(),
            version,
            incarnation: self.plan.incarnation(),
            draining: place.at == At::Leaving,
            share: 1.0,
            limit: None,
        };
        desired.slots.insert(slot.clone(), wanted);
    }

    /// A drain is about the process that was there: one that came after it takes requests.
    fn is_of_base(&self, slot: &Slot, wanted: &Wanted) -> bool {
        let mut base = self.plan.base.slots();
        base.any(|it| it.slot == *slot && it.incarnation == wanted.incarnation)
    }

    /// The deployment that stands when it ends, where processes were started or stopped.
    pub(crate) fn deployment(&self) -> Option<Deployment> {
        if !self.plan.task.replaces() || self.plan.beside {
            return None;
        }
        let base = &self.plan.base;
        let hosts = base.fabrics.iter();
        let hosts = hosts.map(|(fabric, placed)| (fabric.clone(), placed.hosts.clone()));
        let at = |slot: &Slot| self.places.get(slot).map(|place| place.at);
        let anew = |slot: &Slot| matches!(at(slot), Some(At::Starting | At::Serving));
        let stood = base.slots().filter_map(|it| {
            let incarnation = match at(&it.slot) {
                Some(At::Stopping | At::Gone) => return None,
                Some(At::Starting | At::Serving) => self.plan.incarnation(),
                Some(At::Planned | At::Standing | At::Draining | At::Returning | At::Leaving)
                | None => it.incarnation,
            };
            Some((it.slot, (it.version.clone(), incarnation)))
        });
        let added = self.plan.added.iter().filter(|slot| anew(slot));
        let added = added.map(|slot| {
            let found = (base.version.clone(), self.plan.incarnation());
            (slot.clone(), found)
        });
        let instances: BTreeMap<Slot, (Version, u64)> = stood.chain(added).collect();
        let instances = instances.into_iter();
        let instances = instances.map(|(slot, (version, number))| (slot, version, number));
        let number = self.plan.number();
        let version = base.version.clone();
        let mut made = Deployment::of(number, version, hosts.collect(), instances);
        made.given_up = match (self.plan.task, &self.aborted) {
            (Task::Scale { declared }, Some(_)) => Some(declared),
            (Task::Scale { .. }, None) => None,
            (Task::Restart | Task::Kill | Task::Drain | Task::Shed { .. }, _) => base.given_up,
        };
        Some(made)
    }

    /// Instances of the service in each of its fabrics.
    pub(crate) fn sizes(&self) -> BTreeMap<FabricName, usize> {
        let mut sizes = BTreeMap::new();
        for it in self.plan.base.slots() {
            *sizes.entry(it.slot.fabric).or_insert(0) += 1;
        }
        sizes
    }

    /// What it does now, in a few words.
    pub fn step_words(&self) -> String {
        let away = |at: At| self.which(|it| it.at == at).len();
        let words = match self.phase {
            Phase::Leasing(batch) => format!("batch {batch}: asking how many may be out"),
            Phase::Placing => "making room: starting one more".to_owned(),
            Phase::Draining(batch) => format!("batch {batch}: draining {}", away(At::Draining)),
            Phase::Replacing(batch) => match (self.plan.task, away(At::Stopping)) {
                (Task::Scale { .. }, 0) => format!("batch {batch}: adding {}", away(At::Starting)),
                (Task::Scale { .. }, count) => format!("batch {batch}: stopping {count}"),
                (Task::Restart | Task::Kill | Task::Drain | Task::Shed { .. }, _) => {
                    format!("batch {batch}: replacing {}", away(At::Starting))
                }
            },
            Phase::Applying => "waiting for the routers".to_owned(),
            Phase::Holding => match self.plan.task {
                Task::Shed { share } => format!("refusing {}", percent(share)),
                Task::Drain | Task::Restart | Task::Kill | Task::Scale { .. } => {
                    format!("drained: {}", away(At::Draining))
                }
            },
            Phase::Returning => "putting it back".to_owned(),
            Phase::Trimming => "removing what was added".to_owned(),
            Phase::Settling => "writing down what runs".to_owned(),
            Phase::Ended(_) => "over".to_owned(),
        };
        match self.aborted {
            Some(_) if !self.is_ended() => format!("ending: {words}"),
            Some(_) | None => words,
        }
    }

    /// What came of it, with what was measured.
    pub(crate) fn summary(&self) -> String {
        let Progress {
            total, verified, ..
        } = self.progress();
        let done = match self.plan.task {
            Task::Restart | Task::Kill if verified == 0 => format!("0 of {total} replaced"),
            Task::Restart | Task::Kill => format!(
                "{verified} of {total} replaced as measured: the old process seen gone, its successor \
                 started later, owning its port and answering callers as {}{}",
                self.versions_words(),
                self.killed_words()
            ),
            Task::Scale { .. } => self.scaled_words(),
            Task::Drain | Task::Shed { .. } => self.temporary_words(),
        };
        match &self.aborted {
            // What is temporary says itself why it went back.
            Some(because) if self.returned.is_none() => format!("{because}; {done}"),
            Some(_) | None => done,
        }
    }

    fn scaled_words(&self) -> String {
        let of = |at: At| self.which(|it| it.at == at).len();
        let parts = [
            (of(At::Serving), self.plan.added.len(), "seen serving"),
            (of(At::Gone), self.plan.targets.len(), "seen gone"),
        ];
        let parts = parts.iter().filter(|(_, asked, _)| *asked > 0);
        let parts = parts.map(|(done, asked, how)| format!("{done} of {asked} {how}"));
        format!(
            "{}{}",
            parts.collect::<Vec<_>>().join(", "),
            self.killed_words()
        )
    }

    fn versions_words(&self) -> String {
        let base = self.plan.base.slots();
        let of_targets = base.filter(|it| self.plan.targets.contains(&it.slot));
        let mut versions: Vec<String> = of_targets.map(|it| it.version.to_string()).collect();
        versions.sort();
        versions.dedup();
        versions.join(" or ")
    }

    fn killed_words(&self) -> String {
        let names: Vec<String> = self
            .killed
            .iter()
            .filter_map(|slot| slot.instance(&self.plan.service).ok())
            .take(8)
            .map(|name| name.to_string())
            .collect();
        match (self.killed.len(), self.plan.task) {
            (0, _) | (_, Task::Kill | Task::Drain | Task::Shed { .. }) => String::new(),
            (count, Task::Restart | Task::Scale { .. }) => format!(
                "; {count} did not stop within the grace and had to be killed: {}",
                names.join(", ")
            ),
        }
    }

    fn temporary_words(&self) -> String {
        let what = match self.plan.task {
            Task::Shed { share } => format!("{} of requests refused", percent(share)),
            Task::Drain | Task::Restart | Task::Kill | Task::Scale { .. } => {
                format!("{} drained", self.plan.targets.len())
            }
        };
        match (&self.lasts, &self.returned) {
            (Some((began, _)), Some((ended, why))) => {
                format!("{what} for {}, then back: {why}", ended.since(*began))
            }
            (None | Some(_), _) => format!("nothing held: {what} was asked for"),
        }
    }
}

/// A share in hundredths of a per cent, for people.
pub(crate) fn percent(share: u32) -> String {
    format!("{} %", f64::from(share) / 100.0)
}
