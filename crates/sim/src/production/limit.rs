//! Limit tests: what they ask for, and what must hold of them.

use mainstay_core::{ChangeId, Measured, Outcome, Verdict};
use mainstay_deploy::{
    adapter::limit::seen::{disturbed, fit, report, sample, source},
    limit::{Effect, Event, Input, LimitPlan},
};

use super::{Production, check::Snapshot, orders::Mind, site::CARRIES};
use crate::{
    driver::Sim,
    report::{Invariant, Planted},
};

impl Sim<Production> {
    pub(super) fn answer_limit(
        &mut self,
        mind: &Mind,
        change: &ChangeId,
        effect: &Effect,
        overdue: bool,
    ) -> Option<Input> {
        let state = &mind.model.limits.get(change)?.state;
        let (plan, now) = (state.plan(), self.now());
        let asks = match effect {
            Effect::Ask { generation }
            | Effect::Confirm { generation }
            | Effect::Watch { generation, .. } => *generation,
        };
        if state.generation() != asks {
            return None;
        }
        let disturbed = match self.planted {
            Planted::DisturbanceIgnored => None,
            _ => disturbed(&mind.model, plan),
        };
        match effect {
            Effect::Ask { generation } => {
                let step = format!("step {}", state.steps().len() + 1);
                let findings = self.forbidding(mind, change)?;
                let allowed = Verdict::new(step.clone(), now, findings);
                let fit = Verdict::new(step, now, fit(&mind.seen, plan, disturbed, now));
                let passes = |verdict: &Verdict| verdict.outcome() == Outcome::Pass;
                (passes(&allowed) || !passes(&fit) || overdue).then(|| Input::Asked {
                    generation: *generation,
                    allowed,
                    fit: Measured::observe(fit, now, source(plan)),
                })
            }
            Effect::Confirm { generation } => {
                let at = match self.planted {
                    Planted::ConfirmsUnapplied => Some(now),
                    _ => mind.eyes(now).gives(plan, state.share()),
                };
                (at.is_some() || overdue).then(|| Input::Routed {
                    generation: *generation,
                    applied: Measured::observe(at.is_some(), at.unwrap_or(now), source(plan)),
                })
            }
            Effect::Watch { generation, until } => {
                let (found, at) = report(&mind.seen, plan, now)?;
                let mut sample = sample(found, plan, disturbed);
                if self.planted == Planted::OfferedIsHeld {
                    sample.goodput_rps += found.bad_rps;
                    sample.broken = None;
                }
                let ended = sample.broken.is_some() || sample.disturbed.is_some();
                (ended || at >= *until).then(|| Input::Seen {
                    generation: *generation,
                    sample: Measured::observe(sample, at, source(plan)),
                })
            }
        }
    }

    pub(super) fn tested(&mut self, change: &ChangeId, event: &Event) {
        let Some(track) = self.scene.model.limits.get(change) else {
            return;
        };
        let plan = track.state.plan().clone();
        match event {
            Event::Stepped { share, .. } => self.check_step(&plan, *share),
            Event::Applied { .. } => self.check_given(&plan, track.state.share()),
            Event::Back { .. } => self.check_given(&plan, 1.0),
            Event::Measured { rps, .. } => {
                if *rps > CARRIES + 0.5 {
                    let what = format!("an instance is said to carry {rps:.1} rps of {CARRIES}");
                    self.violated(Invariant::Truth, what);
                }
            }
            Event::Waits { .. }
            | Event::Held { .. }
            | Event::Broke { .. }
            | Event::Returned { .. }
            | Event::Unseen { .. } => {}
        }
    }

    /// A step begins: nothing forbids it, the router was heard, and nothing else moved the service all the while.
    fn check_step(&mut self, plan: &LimitPlan, share: f64) {
        self.check_admitted(&format!("a step of {share} shares began"));
        if !self.recent().any(|it| it.open <= 1) {
            let what = format!("{} got {share} shares beside another change", plan.instance);
            self.violated(Invariant::Guard, what);
        }
        let from = self.true_ms - self.window_ms();
        if !self.scene.site.heard_since(&plan.slot.fabric, from) {
            let what = format!("{} got {share} shares of a silent router", plan.instance);
            self.violated(Invariant::Guard, what);
        }
    }

    /// The router was said to give `share`, and did so at some of the last moments, or less for its limit's sake.
    fn check_given(&mut self, plan: &LimitPlan, share: f64) {
        let given = |it: &Snapshot| it.shares.get(&plan.instance).copied().unwrap_or(1.0);
        if !self.recent().any(|it| (given(it) - share).abs() < 1e-9) {
            let what = format!(
                "{} was said to have {share} shares and has not",
                plan.instance
            );
            self.violated(Invariant::Truth, what);
        }
    }
}
