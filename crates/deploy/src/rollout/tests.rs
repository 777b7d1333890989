//! Rollouts walked by hand.

mod backward;
mod bounds;
mod forward;
mod orders;

use std::collections::BTreeMap;

use mainstay_change::{Direction, Machine, Refusal};
use mainstay_core::{
    Actor, ChangeState, FabricName, Finding, HostName, Measured, Outcome, Percent, Span, Time,
    Verdict, Version, catalog::Strategy,
};

use super::*;
use crate::{Deployment, Slot, Slots, moves::Processes, plan::ALL, plan::Terms};

/// Hosts in the fabric.
const HOSTS: u32 = 5;

fn lax() -> FabricName {
    "lax".parse().unwrap()
}

fn slots(ordinals: impl IntoIterator<Item = u32>) -> Slots {
    ordinals.into_iter().map(|n| Slot::new(lax(), n)).collect()
}

fn hosts() -> Vec<HostName> {
    (1..=HOSTS)
        .map(|n| format!("h{n}").parse().unwrap())
        .collect()
}

fn plan(strategy: Strategy, from: Option<&str>, count: u32) -> RolloutPlan {
    let version: Version = from.unwrap_or("v2").parse().unwrap();
    let mut base = Deployment::first(version, [(lax(), (hosts(), count))].into());
    base.number = u64::from(from.is_some());
    RolloutPlan {
        service: "voyager".parse().unwrap(),
        from: from.map(|it| it.parse().unwrap()),
        to: "v2".parse().unwrap(),
        base,
        terms: Terms {
            strategy,
            canary_steps: vec![100, 1_000],
            batch: Percent::new(10.0).unwrap(),
            expose: None,
            margin: Percent::new(1.0).unwrap(),
            bake: Span::from_secs(30),
            max_evidence_wait: Span::from_secs(600),
            verify_within: Span::from_secs(60),
            drain_within: Span::from_millis(2_500),
            probes: false,
        },
        emergency: None,
    }
}

fn finding(outcome: Outcome) -> Finding {
    Finding {
        signal: "errors".to_owned(),
        outcome,
        value: "1 %".to_owned(),
        limit: "no worse by 1 %".to_owned(),
        remedy: "mend the new version".to_owned(),
    }
}

fn ana() -> Actor {
    Actor::verified("ana")
}

/// A rollout that is told things one by one. What happens is stored as text and read back, and the fold of
/// all of it must be the state it stands in.
struct Walk {
    plan: RolloutPlan,
    state: State,
    now: Time,
    ledger: Vec<String>,
}

impl Walk {
    fn open(plan: RolloutPlan) -> Self {
        let now = Time::from_millis(1_000_000);
        let state = Rollout::open(plan.clone(), now).unwrap();
        Self {
            plan,
            state,
            now,
            ledger: Vec::new(),
        }
    }

    /// A canary rollout of fifty instances, v1 to v2.
    fn canary() -> Self {
        Self::open(plan(Strategy::Canary, Some("v1"), 50))
    }

    fn tell(&mut self, input: Input) -> Vec<Event> {
        let events = Rollout::decide(&self.state, self.now, input).unwrap();
        for event in &events {
            let text = serde_json::to_string(event).unwrap();
            assert!(text.len() < mainstay_core::ledger::BODY_BYTES_MAX);
            assert_eq!(&serde_json::from_str::<Event>(&text).unwrap(), event);
            Rollout::evolve(&mut self.state, event);
            self.ledger.push(text);
        }
        assert_eq!(self.recovered(), self.state);
        events
    }

    /// The state that a new leader would find.
    fn recovered(&self) -> State {
        let opened = Time::from_millis(1_000_000);
        let mut state = Rollout::open(self.plan.clone(), opened).unwrap();
        for text in &self.ledger {
            Rollout::evolve(&mut state, &serde_json::from_str(text).unwrap());
        }
        state
    }

    fn refused(&self, verb: Verb) -> Refusal {
        let input = Input::Order {
            verb,
            actor: ana(),
            reason: "because".to_owned(),
        };
        Rollout::decide(&self.state, self.now, input).unwrap_err()
    }

    fn order(&mut self, verb: Verb) -> Vec<Event> {
        self.tell(Input::Order {
            verb,
            actor: ana(),
            reason: "because".to_owned(),
        })
    }

    fn wait(&mut self, span: Span) {
        self.now = self.now + span;
    }

    /// Waits until the machine wants to be woken, and wakes it.
    fn wake(&mut self) -> Vec<Event> {
        self.now = Rollout::wake_at(&self.state).expect("it waits for something");
        self.tell(Input::Tick)
    }

    fn effects(&self) -> Vec<Effect> {
        Rollout::due(&self.state, self.now)
    }

    /// What is looked for: instances to verify, and instances to come to rest.
    fn looked_for(&self) -> (Slots, Slots) {
        for effect in self.effects() {
            if let Effect::Observe {
                starting,
                control,
                draining,
                ..
            } = effect
            {
                let mut all = starting;
                all.extend(control.iter().cloned());
                return (all, draining);
            }
        }
        (Slots::default(), Slots::default())
    }

    fn leased(&self) -> Option<(u32, Direction, Slots)> {
        self.effects().into_iter().find_map(|effect| match effect {
            Effect::Lease {
                batch,
                direction,
                candidates,
            } => Some((batch, direction, candidates)),
            Effect::Admit
            | Effect::Observe { .. }
            | Effect::Judge { .. }
            | Effect::Settle { .. } => None,
        })
    }

    fn see(&mut self, verified: Slots, drained: Slots) -> Vec<Event> {
        let verified = Measured::observe(verified, self.now, "agent and router");
        let generation = self.state.generation();
        self.tell(Input::Seen {
            generation,
            verified,
            drained,
            failing: None,
        })
    }

    /// Everything that is looked for is seen as wanted.
    fn see_all(&mut self) -> Vec<Event> {
        let (starting, draining) = self.looked_for();
        self.see(starting, draining)
    }

    fn cannot_start(&mut self, ordinals: &[u32]) -> Vec<Event> {
        let verified = Measured::observe(Slots::default(), self.now, "agent and router");
        let generation = self.state.generation();
        self.tell(Input::Seen {
            generation,
            verified,
            drained: Slots::default(),
            failing: Some((slots(ordinals.iter().copied()), "exit 1".to_owned())),
        })
    }

    fn admission(&mut self, outcome: Outcome) -> Vec<Event> {
        let verdict = Verdict::new("begin", self.now, vec![finding(outcome)]);
        let verdict = Measured::observe(verdict, self.now, "guard");
        self.tell(Input::Admission { verdict })
    }

    fn rule(&mut self, ruling: Ruling) -> Vec<Event> {
        let outcome = match ruling {
            Ruling::Pass => Outcome::Pass,
            Ruling::Harm | Ruling::Frozen => Outcome::Fail,
            Ruling::SharedFailure | Ruling::Insufficient => Outcome::InsufficientEvidence,
        };
        let verdict = Verdict::new("canary", self.now, vec![finding(outcome)]);
        let verdict = Measured::observe(verdict, self.now, "routers");
        self.tell(Input::Verdict { ruling, verdict })
    }

    /// The judge passes the gate as soon as it may.
    fn pass(&mut self) -> Vec<Event> {
        let wait = match self.state.phase {
            Phase::Judging(Gate::Bake) => self.plan.terms.bake,
            _ => DWELL,
        };
        self.wait(wait);
        self.rule(Ruling::Pass)
    }

    /// The lease that it asks for is given for the first `count` candidates.
    fn grant(&mut self, count: usize, left: u32) -> Vec<Event> {
        let (batch, _, candidates) = self.leased().expect("it asks for a lease");
        self.tell(Input::Granted {
            batch,
            slots: candidates.iter().take(count).cloned().collect(),
            before: Processes::default(),
            left: [(lax(), left)].into(),
            findings: vec![finding(Outcome::Pass)],
        })
    }

    /// One whole batch: granted, drained, replaced.
    fn batch(&mut self, count: usize, left: u32) {
        self.grant(count, left);
        self.see_all();
        self.see_all();
    }

    fn settle(&mut self) {
        let number = self.plan.number();
        self.tell(Input::Settled { number });
    }

    /// From admission to the judge's first step.
    fn placed(mut self) -> Self {
        self.admission(Outcome::Pass);
        self.see_all();
        assert_eq!(self.state.step_words(), "canary 1 %");
        self
    }

    /// Up to a batch that is being judged, beyond the canary's steps: ten instances run the new version.
    fn in_batches(self) -> Self {
        let mut walk = self.placed();
        walk.pass();
        walk.batch(4, 0);
        assert_eq!(walk.state.step_words(), "canary 10 %");
        walk.pass();
        walk.batch(6, 8_000);
        assert!(matches!(
            walk.state.phase,
            Phase::Judging(Gate::Batch { .. })
        ));
        walk
    }

    /// Share of requests to the new version.
    fn weight(&self) -> u32 {
        self.state.desired().weights[&lax()]
            .get(&self.plan.to)
            .copied()
            .unwrap_or(0)
    }

    fn standing(&self) -> ChangeState {
        Rollout::standing(&self.state).state
    }

    /// Incarnation and version of every instance that is wanted.
    fn wanted(&self) -> BTreeMap<u32, (String, u64, bool)> {
        let desired = self.state.desired();
        let slots = desired.slots.into_iter();
        slots
            .map(|(slot, it)| {
                let wanted = (it.version.to_string(), it.incarnation, it.draining);
                (slot.ordinal, wanted)
            })
            .collect()
    }
}
