//! The share of instances at which a rollout in place stops for a person. Pure.
//!
//! Guarantees: counts what was moved in each fabric for itself, and holds the way forward alone. Never holds the judge:
//! what is exposed goes on being watched while it waits, and harm turns it back.

use mainstay_change::Direction;
use mainstay_core::FabricName;

use super::state::{Phase, Role, State};
use crate::{exposure::exposed, slots::Slots};

impl State {
    /// Of `movable`, in order, what may be moved before a person is asked.
    pub(super) fn within_share(&self, movable: Slots) -> Slots {
        let Some(most) = self.plan.terms.expose.filter(|_| !self.widened) else {
            return movable;
        };
        let mut within = Slots::default();
        for fabric in movable.fabrics() {
            let most = exposed(most, self.size(fabric) as usize);
            let room = most.saturating_sub(self.moved(fabric));
            within.extend(movable.of(fabric).take(room).cloned());
        }
        within
    }

    /// Instances of `fabric` that run the new version in place of the old one.
    fn moved(&self, fabric: &FabricName) -> usize {
        let all = self.slots.iter();
        all.filter(|(slot, it)| slot.fabric == *fabric && it.role == Role::Base && self.is_new(it))
            .count()
    }

    /// Instances that the next batch is about, however many may be moved before a person is asked.
    pub(super) fn next(&self) -> Slots {
        match (self.direction, self.step) {
            (Direction::Forward, Some(step)) => self.for_step(step),
            (Direction::Forward, None) | (Direction::Restoring, _) => self.to_move(),
        }
    }

    /// Why it goes no further before a person says so, once it moved what it may.
    pub(super) fn stops(&self) -> Option<String> {
        let share = self.plan.terms.expose?;
        let asks = matches!(self.phase, Phase::Leasing(_)) && self.direction == Direction::Forward;
        let next = self.next();
        if !asks || next.is_empty() || !self.within_share(next).is_empty() {
            return None;
        }
        let moved: usize = self.fabrics().map(|fabric| self.moved(fabric)).sum();
        Some(format!(
            "{moved} of {} instances run {}, as many as {share} lets go before a person looks; resume to move the \
             rest, abort to go back",
            self.plan.base.slots().count(),
            self.plan.to
        ))
    }
}
