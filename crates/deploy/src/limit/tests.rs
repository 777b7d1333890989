//! Limit tests walked by hand.

use mainstay_change::{Direction, Machine as _};
use mainstay_core::{
    Actor, ChangeState, Finding, Measured, Outcome, Percent, Span, Time, Verdict, catalog::Slo,
};

use super::{
    Effect, Event, Input, LimitPlan, LimitTest, Sample, State,
    plan::{ASK_WITHIN, BACK_WITHIN, HOLD_FOR, SILENT_AFTER, TEST_WITHIN},
};
use crate::{Deployment, Desired, Slot, moves::Verb};

fn at(seconds: i64) -> Time {
    Time::from_millis(seconds * 1_000)
}

fn slot() -> Slot {
    Slot::new("lax".parse().unwrap(), 1)
}

fn plan(steps: &[f64]) -> LimitPlan {
    LimitPlan {
        service: "feed".parse().unwrap(),
        instance: "feed-lax-1".parse().unwrap(),
        slot: slot(),
        version: "v1".parse().unwrap(),
        incarnation: 0,
        slo: Slo {
            error_ratio: Percent::new(1.0).unwrap(),
            latency_p99: Span::from_millis(250),
        },
        steps: steps.to_vec(),
        hold_for: HOLD_FOR,
    }
}

fn verdict(signal: &str, outcome: Outcome) -> Verdict {
    let finding = Finding {
        signal: signal.to_owned(),
        outcome,
        value: "as seen".to_owned(),
        limit: "as wanted".to_owned(),
        remedy: String::new(),
    };
    Verdict::new("step", at(0), vec![finding])
}

/// A test at work: what it decides is folded at once, as stored and read back.
struct Walk {
    state: State,
    events: Vec<Event>,
    now: i64,
}

impl Walk {
    fn open(steps: &[f64]) -> Self {
        Self {
            state: LimitTest::open(plan(steps), at(0)).unwrap(),
            events: vec![],
            now: 0,
        }
    }
    fn tell(&mut self, input: Input) -> usize {
        let input = serde_json::from_str(&serde_json::to_string(&input).unwrap()).unwrap();
        let events = LimitTest::decide(&self.state, at(self.now), input).unwrap();
        for event in &events {
            let stored: Event =
                serde_json::from_str(&serde_json::to_string(event).unwrap()).unwrap();
            assert_eq!(stored, *event);
            LimitTest::evolve(&mut self.state, event);
        }
        let count = events.len();
        self.events.extend(events);
        count
    }
    fn ask(&mut self, freeze: Outcome, rest: Outcome) -> usize {
        let fit = verdict("rest of the fabric", rest);
        self.tell(Input::Asked {
            generation: self.state.generation(),
            allowed: verdict("freeze", freeze),
            fit: Measured::observe(fit, at(self.now), "router lax"),
        })
    }
    fn route(&mut self) -> usize {
        self.tell(Input::Routed {
            generation: self.state.generation(),
            applied: Measured::observe(true, at(self.now), "router lax"),
        })
    }
    fn see(&mut self, rps: f64, broken: Option<&str>, disturbed: Option<&str>) -> usize {
        let sample = Sample {
            goodput_rps: rps,
            p99_ms: Some(90.0),
            broken: broken.map(str::to_owned),
            disturbed: disturbed.map(str::to_owned),
        };
        self.tell(Input::Seen {
            generation: self.state.generation(),
            sample: Measured::observe(sample, at(self.now), "router lax"),
        })
    }
    /// One step asked, applied and held at `rps`.
    fn hold(&mut self, rps: f64) {
        assert_eq!(self.ask(Outcome::Pass, Outcome::Pass), 1);
        assert_eq!(self.route(), 1);
        self.now += 5;
        assert_eq!(self.see(rps, None, None), 0, "the hold is not over");
        self.now += 1;
        assert!(self.see(rps, None, None) > 0);
    }
    fn share(&self) -> f64 {
        let mut base = Deployment::first(
            "v1".parse().unwrap(),
            [("lax".parse().unwrap(), (vec!["h1".parse().unwrap()], 2))].into(),
        );
        base.number = 1;
        let mut desired = Desired::from(&base);
        self.state.lay_over(&mut desired);
        let other = &desired.slots[&Slot::new("lax".parse().unwrap(), 2)];
        assert!((other.share - 1.0).abs() < 1e-9 && other.limit.is_none());
        let wanted = &desired.slots[&slot()];
        assert!(wanted.share <= 1.0 || wanted.limit.is_some());
        wanted.share
    }
    fn standing(&self) -> ChangeState {
        LimitTest::standing(&self.state).state
    }
    fn figure(&self) -> Option<f64> {
        self.events.iter().find_map(|event| match event {
            Event::Measured { rps, .. } => Some(*rps),
            _ => None,
        })
    }
    /// The way back, which must be under way.
    fn assert_returns(&mut self, ended: ChangeState, figure: Option<f64>) {
        assert!((self.share() - 1.0).abs() < 1e-9);
        assert_eq!(LimitTest::direction(&self.state), Direction::Restoring);
        let due = LimitTest::due(&self.state, at(self.now));
        assert!(matches!(due[..], [Effect::Confirm { .. }]), "{due:?}");
        assert!(self.route() > 0);
        assert_eq!((self.standing(), self.figure()), (ended, figure));
        assert!(LimitTest::due(&self.state, at(self.now)).is_empty());
        assert_eq!(LimitTest::wake_at(&self.state), None);
    }
}

#[test]
fn the_figure_is_the_most_that_was_held_before_the_objective_broke() {
    let mut walk = Walk::open(&[1.0, 1.5, 2.0, 3.0]);
    walk.hold(20.0);
    walk.hold(30.0);
    walk.ask(Outcome::Pass, Outcome::Pass);
    assert!((walk.share() - 2.0).abs() < 1e-9);
    walk.route();
    walk.now += 2;
    assert_eq!(walk.see(39.0, Some("p99 400 ms"), None), 2);
    walk.assert_returns(ChangeState::Done, Some(30.0));
    let because = LimitTest::standing(&walk.state).because;
    assert!(
        because.contains("at least 30.0 rps") && because.contains("p99 400 ms"),
        "{because}"
    );
}

#[test]
fn it_ends_at_the_last_step_and_when_more_share_is_no_more_load() {
    let mut walk = Walk::open(&[1.0, 2.0]);
    walk.hold(20.0);
    walk.hold(35.0);
    walk.assert_returns(ChangeState::Done, Some(35.0));
    let mut walk = Walk::open(&[1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0]);
    walk.hold(20.0);
    walk.hold(19.0);
    walk.hold(26.0);
    walk.hold(25.5);
    walk.hold(25.9);
    walk.hold(25.8);
    walk.assert_returns(ChangeState::Done, Some(26.0));
}

#[test]
fn a_freeze_holds_the_first_step_and_ends_a_later_one() {
    let mut walk = Walk::open(&[1.25, 2.0]);
    assert_eq!(walk.ask(Outcome::Fail, Outcome::Pass), 1);
    assert_eq!(walk.ask(Outcome::Fail, Outcome::Pass), 0, "said once");
    assert!(walk.state.waits_for().is_some());
    assert!((walk.share() - 1.0).abs() < 1e-9);
    walk.now = ASK_WITHIN.millis() as i64 / 1_000;
    assert_eq!(walk.tell(Input::Tick), 1);
    walk.assert_returns(ChangeState::Aborted, None);
    let mut walk = Walk::open(&[1.25, 2.0]);
    walk.hold(20.0);
    walk.ask(Outcome::Fail, Outcome::Pass);
    walk.assert_returns(ChangeState::Done, Some(20.0));
}

#[test]
fn a_fabric_that_is_not_fine_or_not_heard_of_gets_no_step() {
    for outcome in [Outcome::Fail, Outcome::InsufficientEvidence] {
        let mut walk = Walk::open(&[1.25]);
        walk.ask(Outcome::Pass, outcome);
        walk.assert_returns(ChangeState::Aborted, None);
    }
    let mut walk = Walk::open(&[1.25]);
    let stale = Input::Asked {
        generation: 0,
        allowed: verdict("freeze", Outcome::Pass),
        fit: Measured::observe(verdict("rest", Outcome::Pass), at(0), "router lax"),
    };
    walk.now = 60;
    assert_eq!(walk.tell(stale), 0);
}

#[test]
fn silence_another_change_and_a_persons_word_give_the_full_share_back() {
    let holding = || {
        let mut walk = Walk::open(&[1.25, 2.0]);
        walk.hold(20.0);
        walk.ask(Outcome::Pass, Outcome::Pass);
        walk.route();
        walk
    };
    let mut silent = holding();
    silent.now += 6 + SILENT_AFTER.millis() as i64 / 1_000;
    assert_eq!(silent.tell(Input::Tick), 1);
    silent.assert_returns(ChangeState::Done, Some(20.0));
    let mut unapplied = Walk::open(&[1.25]);
    unapplied.ask(Outcome::Pass, Outcome::Pass);
    unapplied.now += SILENT_AFTER.millis() as i64 / 1_000;
    assert_eq!(unapplied.tell(Input::Tick), 1);
    unapplied.assert_returns(ChangeState::Aborted, None);
    let mut disturbed = holding();
    assert_eq!(disturbed.see(30.0, None, Some("a rollout")), 1);
    disturbed.assert_returns(ChangeState::Done, Some(20.0));
    let mut told = holding();
    let order = |verb| Input::Order {
        verb,
        actor: Actor::verified("ana"),
        reason: "a look".to_owned(),
    };
    assert!(LimitTest::decide(&told.state, at(told.now), order(Verb::Pause)).is_err());
    told.tell(order(Verb::Abort));
    assert!(LimitTest::decide(&told.state, at(told.now), order(Verb::Abort)).is_err());
    told.assert_returns(ChangeState::Aborted, Some(20.0));
    let mut long = holding();
    long.now = TEST_WITHIN.millis() as i64 / 1_000;
    long.state.since = at(long.now - 1);
    assert_eq!(long.tell(Input::Tick), 1);
    long.assert_returns(ChangeState::Done, Some(20.0));
}

#[test]
fn a_way_back_that_is_not_seen_calls_a_person_once_and_is_looked_for_until_it_is() {
    let mut walk = Walk::open(&[1.25]);
    walk.hold(20.0);
    walk.now += BACK_WITHIN.millis() as i64 / 1_000;
    assert_eq!(walk.tell(Input::Tick), 1);
    assert_eq!(walk.tell(Input::Tick), 0);
    assert_eq!(walk.standing(), ChangeState::Paused);
    walk.assert_returns(ChangeState::Done, Some(20.0));
}

#[test]
fn a_share_is_for_the_process_that_was_planned_and_for_no_other() {
    let mut walk = Walk::open(&[2.0]);
    walk.ask(Outcome::Pass, Outcome::Pass);
    assert!((walk.share() - 2.0).abs() < 1e-9);
    walk.state.plan.incarnation = 7;
    assert!((walk.share() - 1.0).abs() < 1e-9);
}

#[test]
fn the_model_keeps_a_figure_until_more_is_held_or_the_objective_breaks_below_it() {
    use mainstay_core::{BlastRadius, Change, ChangeKind, Entry, Hash, change};
    let mut model = crate::Model::default();
    let mut tell = |seq: u64, rps: f64, broken: bool| {
        let change = Change {
            id: format!(
                "chg-{}",
                ["aaaaaaaaaa", "bbbbbbbbbb", "cccccccccc", "dddddddddd"][seq as usize]
            )
            .parse()
            .unwrap(),
            kind: ChangeKind::LimitTest,
            actor: Actor::system(),
            reason: String::new(),
            title: "limit test".to_owned(),
            blast_radius: BlastRadius {
                services: vec!["feed".parse().unwrap()],
                fabrics: vec![],
                instances: 1,
            },
            emergency: None,
            opened_at: at(0),
            deadline: None,
            plan: change::Plan {
                kind: super::KIND.to_owned(),
                schema: 1,
                body: serde_json::to_string(&plan(&[1.0, 2.0])).unwrap(),
            },
        };
        let mut walk = Walk::open(&[1.0, 2.0]);
        walk.hold(rps);
        walk.ask(Outcome::Pass, Outcome::Pass);
        walk.route();
        let (break_, other) = if broken {
            (Some("late"), None)
        } else {
            (None, Some("a rollout"))
        };
        walk.see(rps, break_, other);
        walk.route();
        let opened = (change::OPENED, serde_json::to_string(&change).unwrap());
        let events = walk.events.iter().map(|event| {
            (
                crate::model::LIMIT_EVENT,
                serde_json::to_string(event).unwrap(),
            )
        });
        for (kind, body) in [opened].into_iter().chain(events) {
            model.fold(&Entry {
                seq: model.seq() + 1,
                stream: change.stream(),
                version: 1,
                kind: kind.to_owned(),
                schema: 1,
                body,
                actor: Actor::system(),
                at: at(0),
                prev: Hash::GENESIS,
                hash: Hash::GENESIS,
            });
        }
        assert!(model.flaws.is_empty(), "{:?}", model.flaws);
        model.tested.values().next().map(|it| it.rps)
    };
    assert_eq!(tell(0, 20.0, false), Some(20.0));
    assert_eq!(tell(1, 12.0, false), Some(20.0));
    assert_eq!(tell(2, 25.0, false), Some(25.0));
    assert_eq!(tell(3, 18.0, true), Some(18.0));
}
