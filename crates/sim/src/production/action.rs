//! Actions: what they ask for, and what must hold of them.

use mainstay_change::Direction;
use mainstay_core::{ChangeId, Measured, Outcome};
use mainstay_deploy::{
    Deployment, Slot, Slots,
    action::{Effect, Event, Input, State, Task},
    adapter::act::seen::Leased,
    moves::Sought,
};

use super::{Production, orders::Mind};
use crate::{
    driver::Sim,
    report::{Invariant, Planted},
};

impl Sim<Production> {
    pub(super) fn answer_action(
        &mut self,
        mind: &Mind,
        change: &ChangeId,
        effect: &Effect,
        overdue: bool,
    ) -> Option<Input> {
        let state = &mind.model.actions.get(change)?.state;
        match effect {
            Effect::Lease { batch, .. } if state.asks_for(*batch) => {
                self.lease_action(mind, change, *batch, overdue)
            }
            Effect::Observe { generation }
                if state.generation() == *generation && !state.stopping().is_empty() =>
            {
                self.seen_gone(mind, state)
            }
            Effect::Observe { generation } if state.generation() == *generation => {
                let arriving = mind.eyes(self.now()).arriving(state)?;
                let resting = state.resting();
                let sought = Sought {
                    service: &self.scene.service,
                    wanted: &arriving.wanted,
                    before: state.replaced(),
                    draining: &resting,
                };
                let sighting = self.observe(mind, sought, overdue)?;
                let told = mind.eyes(self.now()).told(state, &arriving.gone, sighting);
                Some(self.mistold(told))
            }
            Effect::Confirm { generation } if state.generation() == *generation => {
                let at = match self.planted {
                    Planted::ConfirmsUnapplied => Some(self.now()),
                    _ => mind.eyes(self.now()).sheds(state),
                };
                (at.is_some() || overdue).then(|| Input::Routed {
                    generation: *generation,
                    applied: Measured::observe(
                        at.is_some(),
                        at.unwrap_or_else(|| self.now()),
                        "routers",
                    ),
                })
            }
            Effect::Settle { deployment } => {
                self.settle(mind, change, deployment.as_ref())?;
                Some(Input::Settled)
            }
            // The leader has not read as far, or has read on.
            Effect::Lease { .. } | Effect::Observe { .. } | Effect::Confirm { .. } => None,
        }
    }

    fn lease_action(
        &mut self,
        mind: &Mind,
        change: &ChangeId,
        batch: u32,
        overdue: bool,
    ) -> Option<Input> {
        let state = &mind.model.actions.get(change)?.state;
        if state.starts_next() {
            let findings = vec![self.presence(mind, change)?, self.frozen(mind, change)?];
            let may = findings.iter().all(|it| it.outcome == Outcome::Pass);
            let answer = || mind.eyes(self.now()).started(state, batch, findings);
            return (may || overdue).then(answer);
        }
        let direction = state.plan().direction;
        let admission = match direction {
            Direction::Forward => self.admission(mind, change)?,
            Direction::Restoring => Vec::new(),
        };
        let room = admission.iter().all(|it| it.outcome == Outcome::Pass);
        let candidates = state.candidates();
        let mut leased = Leased::default();
        for fabric in candidates.fabrics().into_iter().filter(|_| room) {
            let grant = self.lease_in(mind, change, fabric, direction, &candidates)?;
            let eyes = mind.eyes(self.now());
            leased.add(eyes.carefully(change, state, fabric, grant)?);
        }
        let decided = leased.is_decided(state, room) || overdue;
        decided.then(|| leased.granted(mind.eyes(self.now()), state, batch, admission))
    }

    /// Those that stop for good and are seen gone; hands with a bug believe that a stop that was ordered was obeyed.
    fn seen_gone(&self, mind: &Mind, state: &State) -> Option<Input> {
        if self.planted == Planted::StopBelieved {
            return Some(Input::Seen {
                generation: state.generation(),
                verified: Measured::observe(state.stopping(), self.now(), "agent"),
                killed: Slots::default(),
                drained: Slots::default(),
                failing: None,
            });
        }
        mind.eyes(self.now()).told_stopped(state)
    }

    /// What hands with a bug would have told.
    fn mistold(&self, mut told: Input) -> Input {
        if let Input::Seen { killed, .. } = &mut told
            && self.planted == Planted::KillsUnsaid
        {
            *killed = Slots::default();
        }
        told
    }

    pub(super) fn acted(&mut self, change: &ChangeId, event: &Event, before: &State) {
        let plan = before.plan();
        let restoring = plan.direction == Direction::Restoring;
        match event {
            // What starts takes nothing from anyone; a failing guard is no reason against more of what runs.
            Event::Began { .. } if before.starts_next() => self.check_unfrozen("a scale began"),
            Event::Began { slots, .. } => {
                self.check_batch(change, slots, restoring);
                if !restoring {
                    self.check_admitted(&format!("a {:?} began", plan.task));
                }
            }
            Event::Verified { slots, killed, .. } => {
                self.check_verified(slots, plan.beside);
                self.check_gone(&before.stopping(), slots);
                self.check_killed(before, slots, killed);
            }
            Event::Drained { overdue: false, .. } => self.check_drained(),
            Event::Trimmed { at } if at.since(before.since()) < plan.drain_within => {
                self.check_drained();
            }
            Event::Applied { .. } => {
                let share = match plan.task {
                    Task::Shed { share } => share,
                    Task::Restart | Task::Kill | Task::Scale { .. } | Task::Drain => 0,
                };
                self.check_shed(share);
            }
            Event::Returned { by: None, at, .. } => {
                if before.until().is_some_and(|until| *at < until) {
                    let what = "it was put back before its time".to_owned();
                    self.violated(Invariant::Undo, what);
                }
            }
            Event::Settled { .. } if plan.task.replaces() && !plan.beside => {
                self.check_settled(plan.number());
                let settled = self.scene.model.deployments.get(&plan.service);
                let counts = settled.map(Deployment::counts).unwrap_or_default();
                for (fabric, count) in counts {
                    self.scene.sizes.insert(fabric, count as usize);
                }
            }
            Event::Held { .. }
            | Event::Surged { .. }
            | Event::Drained { .. }
            | Event::Trimmed { .. }
            | Event::Returned { .. }
            | Event::Back { .. }
            | Event::Paused { .. }
            | Event::Resumed { .. }
            | Event::Aborted { .. }
            | Event::Settled { .. } => {}
        }
    }

    /// Of those `stopping`, what was `verified` gone had no process at some of the last moments.
    fn check_gone(&mut self, stopping: &Slots, verified: &Slots) {
        let gone = verified.iter().filter(|slot| stopping.contains(slot));
        let lives = self.names(gone).into_iter().find(|name| {
            let went = |at: &super::check::Snapshot| !at.alive.contains(name);
            !self.recent().any(went)
        });
        if let Some(name) = lives {
            self.violated(Invariant::Truth, format!("{name} was seen gone and lives"));
        }
    }

    fn is_frozen_since(&self, slack: i64) -> bool {
        self.scene.freeze.as_ref().is_some_and(|freeze| {
            let (Some(from), Some(until)) = (freeze.from, freeze.until) else {
                return false;
            };
            self.true_ms > from.millis() + slack && self.true_ms < until.millis() - slack
        })
    }

    fn check_unfrozen(&mut self, what: &str) {
        if self.is_frozen_since(self.window_ms()) {
            self.violated(Invariant::Guard, format!("{what} in a freeze"));
        }
    }

    /// Nothing that holds a forward step held at every one of the last moments.
    pub(super) fn check_admitted(&mut self, what: &str) {
        let frozen = self.is_frozen_since(self.window_ms());
        let blind = !self.recent().any(|it| it.sighted);
        let failing = self.recent().all(|it| it.guarded);
        for (held, why) in [
            (frozen, "in a freeze"),
            (blind, "blind"),
            (failing, "while a guard fails"),
        ] {
            if held {
                self.violated(Invariant::Guard, format!("{what} {why}"));
            }
        }
    }

    /// It is said which processes had to be killed, where it was known what was there.
    fn check_killed(&mut self, before: &State, slots: &Slots, killed: &Slots) {
        // Of what a rollout took away meanwhile nobody says anything.
        let stays = |slot: &&Slot| self.scene.desired.slots.contains_key(slot);
        let had = |slot: &&Slot| before.before().get(slot).is_some();
        let known = slots.iter().filter(stays).filter(had);
        let wrong = known.filter(|slot| {
            let name = slot.instance(&self.scene.service).ok();
            let was = name.is_some_and(|name| self.scene.site.was_killed(&name));
            was != killed.contains(slot)
        });
        let wrong: Slots = wrong.cloned().collect();
        if !wrong.is_empty() {
            let what = format!(
                "{:?}: killed, and it is not said so, or the other way",
                self.names(wrong.iter())
            );
            self.violated(Invariant::Truth, what);
        }
    }

    /// Routers are said to refuse `share`, and did so at some of the last moments.
    fn check_shed(&mut self, share: u32) {
        if !self
            .recent()
            .any(|it| it.shed.values().all(|of| *of >= share))
        {
            let what = "requests were said to be refused and are not".to_owned();
            self.violated(Invariant::Truth, what);
        }
    }
}
