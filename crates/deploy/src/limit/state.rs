//! Where a limit test stands; folded from its events alone.

use mainstay_change::Direction;
use mainstay_core::{ChangeState, Time, Verdict, change::Moved};

use super::{
    message::{Event, Sample},
    plan::{LEAD, LimitPlan},
};
use crate::desired::{Desired, Wanted};

/// What it does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Asks whether the next step may begin.
    Asking,
    /// Waits until the router gives the share.
    Applying,
    /// Holds it.
    Holding,
    /// Waits until the full share is seen in force.
    Returning,
    /// Over.
    Ended(ChangeState),
}

/// One step as it went.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The share.
    pub share: f64,
    /// When it was ordered.
    pub began_at: Time,
    /// When it was held, or broke.
    pub ended_at: Option<Time>,
    /// What was measured at its end.
    pub sample: Option<Sample>,
}

/// Where a limit test stands.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    pub(crate) plan: LimitPlan,
    pub(crate) phase: Phase,
    /// When the phase began.
    pub(crate) since: Time,
    pub(crate) opened_at: Time,
    /// Counts what changes what is asked for.
    pub(crate) generation: u64,
    pub(crate) steps: Vec<Step>,
    /// Steps in a row that did not raise what it holds.
    pub(crate) flat: u32,
    pub(crate) waits: Option<Verdict>,
    pub(crate) because: Option<String>,
    pub(crate) unseen: bool,
    pub(crate) by_person: bool,
}

impl State {
    pub(crate) fn open(plan: LimitPlan, opened_at: Time) -> Self {
        Self {
            plan,
            phase: Phase::Asking,
            since: opened_at,
            opened_at,
            generation: 0,
            steps: Vec::new(),
            flat: 0,
            waits: None,
            because: None,
            unseen: false,
            by_person: false,
        }
    }

    /// Its plan.
    pub fn plan(&self) -> &LimitPlan {
        &self.plan
    }
    /// Counts what changes what is asked for.
    pub fn generation(&self) -> u64 {
        self.generation
    }
    /// Its steps so far.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
    /// Whether it is over.
    pub fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended(_))
    }
    /// Whether it asks for the step after those it went through.
    pub fn asks(&self) -> bool {
        self.phase == Phase::Asking
    }
    /// Whether anything can still be raised.
    pub(crate) fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Returning | Phase::Ended(_))
    }

    /// The most that was held within the objective for a whole hold.
    pub fn best(&self) -> Option<f64> {
        let held = self.steps.iter().filter_map(|step| step.sample.as_ref());
        held.filter(|sample| sample.broken.is_none() && sample.disturbed.is_none())
            .map(|sample| sample.goodput_rps)
            .filter(|rps| *rps > 0.0)
            .max_by(f64::total_cmp)
    }

    /// Whether a step broke the objective.
    pub fn broke(&self) -> bool {
        let mut samples = self.steps.iter().filter_map(|step| step.sample.as_ref());
        samples.any(|sample| sample.broken.is_some())
    }

    /// When the hold under way has been long enough.
    pub(crate) fn held_at(&self) -> Time {
        self.since + self.plan.hold_for + LEAD
    }

    /// The share that its instance should have now.
    pub fn share(&self) -> f64 {
        match (self.phase, self.steps.last()) {
            (Phase::Applying | Phase::Holding | Phase::Asking, Some(step)) => step.share,
            (_, _) => 1.0,
        }
    }

    /// Lays what it wants over what its service should run otherwise.
    pub fn lay_over(&self, desired: &mut Desired) {
        let Some(wanted) = desired.slots.get_mut(&self.plan.slot) else {
            return;
        };
        let same = |wanted: &Wanted| {
            wanted.version == self.plan.version && wanted.incarnation == self.plan.incarnation
        };
        if !self.is_ending() && same(wanted) && !wanted.draining {
            wanted.share = self.share();
            wanted.limit = Some(self.plan.slo);
        }
    }

    /// Folds `event` in.
    pub(super) fn evolve(&mut self, event: &Event) {
        match event {
            Event::Waits { verdict, .. } => self.waits = Some(verdict.clone()),
            Event::Stepped { at, share, .. } => {
                self.waits = None;
                self.steps.push(Step {
                    share: *share,
                    began_at: *at,
                    ended_at: None,
                    sample: None,
                });
                self.enter(Phase::Applying, *at);
            }
            Event::Applied { at, .. } => self.enter(Phase::Holding, *at),
            Event::Held { at, sample, .. } => {
                let raised = self.best().is_none_or(|best| sample.goodput_rps > best);
                self.flat = if raised { 0 } else { self.flat + 1 };
                self.ended(sample, *at);
                self.enter(Phase::Asking, *at);
            }
            Event::Broke { at, sample, .. } => self.ended(sample, *at),
            Event::Returned { at, by, because } => {
                self.waits = None;
                self.because = Some(because.clone());
                self.by_person = by.is_some();
                self.enter(Phase::Returning, *at);
            }
            Event::Unseen { .. } => self.unseen = true,
            Event::Measured { .. } => {}
            Event::Back { at, .. } => {
                let ended = match self.best() {
                    Some(_) if !self.by_person => ChangeState::Done,
                    Some(_) | None => ChangeState::Aborted,
                };
                self.unseen = false;
                self.enter(Phase::Ended(ended), *at);
            }
        }
    }

    fn enter(&mut self, phase: Phase, at: Time) {
        self.phase = phase;
        self.since = at;
        self.generation += 1;
    }

    fn ended(&mut self, sample: &Sample, at: Time) {
        if let Some(step) = self.steps.last_mut() {
            step.ended_at = Some(at);
            step.sample = Some(sample.clone());
        }
    }

    /// Which way it leads.
    pub fn direction(&self) -> Direction {
        if self.is_ending() {
            Direction::Restoring
        } else {
            Direction::Forward
        }
    }

    /// Why it waits for a person or for a freeze, if it does.
    pub fn waits_for(&self) -> Option<String> {
        if self.unseen {
            let fabric = &self.plan.slot.fabric;
            return Some(format!(
                "the router of {fabric} was not seen to give {} a full share again",
                self.plan.instance
            ));
        }
        self.waits.as_ref().map(Verdict::sentence)
    }

    /// What it does now, in a few words.
    pub fn step_words(&self) -> String {
        let (number, share) = (self.steps.len(), self.share());
        match self.phase {
            Phase::Asking => format!("asking whether step {} may begin", number + 1),
            Phase::Applying => {
                format!("step {number}: waiting for the router to give {share} shares")
            }
            Phase::Holding => format!("step {number}: holding {share} shares"),
            Phase::Returning => "back to a full share".to_owned(),
            Phase::Ended(_) => "over".to_owned(),
        }
    }

    /// What came of it, with what was measured.
    pub(crate) fn summary(&self) -> String {
        let because = self.because.as_deref().unwrap_or("not ended yet");
        let plan = &self.plan;
        match self.best() {
            Some(rps) => format!(
                "one instance of {} {} carries at least {rps:.1} rps, held by {} within its objective for {}; \
                 ended because {because}",
                plan.service, plan.version, plan.instance, plan.hold_for
            ),
            None => format!("no figure: {because}"),
        }
    }

    pub(super) fn standing(&self) -> Moved {
        let (state, because) = match self.phase {
            Phase::Ended(ended) => (ended, self.summary()),
            Phase::Returning if self.unseen => {
                (ChangeState::Paused, self.waits_for().unwrap_or_default())
            }
            Phase::Returning => (
                ChangeState::RollingBack,
                self.because.clone().unwrap_or_default(),
            ),
            Phase::Asking | Phase::Applying | Phase::Holding => {
                (ChangeState::Running, self.step_words())
            }
        };
        Moved { state, because }
    }
}
