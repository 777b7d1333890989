//! Actions walked by hand.

use mainstay_change::{Direction, Machine as _};
use mainstay_core::{Actor, ChangeState, Finding, Measured, Outcome, Percent, Span, Time, Verdict};

use super::{
    Action, ActionPlan, Effect, Event, Input, Process, Processes, State, Task,
    decide::GRANT_WITHIN,
    state::{At, Phase},
};
use crate::{Deployment, Desired, Slot, Slots, moves::Verb};

fn lax(n: u32) -> Slot {
    Slot::new("lax".parse().unwrap(), n)
}

fn slots(numbers: impl IntoIterator<Item = u32>) -> Slots {
    numbers.into_iter().map(lax).collect()
}

fn at(seconds: i64) -> Time {
    Time::from_millis(seconds * 1_000)
}

fn plan(task: Task, direction: Direction, targets: u32) -> ActionPlan {
    let hosts = vec!["h1".parse().unwrap(), "h2".parse().unwrap()];
    let mut base = Deployment::first(
        "v1".parse().unwrap(),
        [("lax".parse().unwrap(), (hosts, 4))].into(),
    );
    base.number = 3;
    ActionPlan {
        service: "voyager".parse().unwrap(),
        task,
        direction,
        targets: slots(1..=targets),
        added: Slots::default(),
        fabrics: vec!["lax".parse().unwrap()],
        base,
        beside: false,
        batch: Percent::new(10.0).unwrap(),
        verify_within: Span::from_secs(60),
        drain_within: Span::from_secs(2),
        lasts: Span::from_secs(600),
        emergency: None,
    }
}

/// An action at work: what it decides is folded at once.
struct Walk {
    state: State,
    events: Vec<Event>,
}

impl Walk {
    fn open(plan: ActionPlan) -> Self {
        let state = Action::open(plan, at(0)).unwrap();
        Self {
            state,
            events: vec![],
        }
    }
    fn tell(&mut self, now: Time, input: Input) -> usize {
        // As stored and read back.
        let input = serde_json::from_str(&serde_json::to_string(&input).unwrap()).unwrap();
        let events = Action::decide(&self.state, now, input).unwrap();
        for event in &events {
            let stored: Event =
                serde_json::from_str(&serde_json::to_string(event).unwrap()).unwrap();
            assert_eq!(stored, *event);
            Action::evolve(&mut self.state, event);
        }
        let count = events.len();
        self.events.extend(events);
        count
    }
    fn order(&mut self, now: Time, verb: Verb) -> usize {
        let input = Input::Order {
            verb,
            actor: Actor::verified("ana"),
            reason: "a look".to_owned(),
        };
        self.tell(now, input)
    }
    fn grant(&mut self, now: Time, batch: u32, granted: &Slots, room: bool) -> usize {
        let outcome = if granted.is_empty() {
            Outcome::Fail
        } else {
            Outcome::Pass
        };
        let mut before = Processes::default();
        for slot in granted.iter() {
            before.insert(slot, Process(100 + slot.ordinal, at(-50)));
        }
        let input = Input::Granted {
            batch,
            slots: granted.clone(),
            before,
            room,
            verdict: verdict(outcome),
        };
        self.tell(now, input)
    }
    fn see(&mut self, now: Time, verified: &Slots, drained: &Slots) -> usize {
        let input = Input::Seen {
            generation: self.state.generation(),
            verified: Measured::observe(verified.clone(), now, "agent and router"),
            killed: Slots::default(),
            drained: drained.clone(),
            failing: None,
        };
        self.tell(now, input)
    }
    fn desired(&self) -> Desired {
        let mut desired = Desired::from(&self.state.plan().base);
        self.state.lay_over(&mut desired);
        desired
    }
    fn standing(&self) -> ChangeState {
        Action::standing(&self.state).state
    }
}

fn verdict(outcome: Outcome) -> Verdict {
    let finding = Finding {
        signal: "capacity".to_owned(),
        outcome,
        value: "3 instances carry 30 rps".to_owned(),
        limit: "20 rps".to_owned(),
        remedy: String::new(),
    };
    Verdict::new("batch", at(0), vec![finding])
}

#[test]
fn a_restart_drains_then_orders_a_new_incarnation_and_is_done_when_it_was_seen() {
    let mut walk = Walk::open(plan(Task::Restart, Direction::Forward, 1));
    assert_eq!(walk.desired(), Desired::from(&walk.state.plan().base));
    walk.grant(at(1), 1, &slots([1]), false);
    assert!(walk.desired().slots[&lax(1)].draining);
    assert_eq!(walk.desired().slots[&lax(1)].incarnation, 0);
    walk.see(at(2), &slots([]), &slots([1]));
    let wanted = walk.desired().slots[&lax(1)].clone();
    assert_eq!((wanted.incarnation, wanted.draining), (8, false));
    assert_eq!(walk.desired().slots[&lax(2)].incarnation, 0);
    assert!(walk.desired().at_once.is_empty());
    walk.see(at(3), &slots([1]), &slots([]));
    let due = Action::due(&walk.state, at(3));
    let [
        Effect::Settle {
            deployment: Some(it),
        },
    ] = due.as_slice()
    else {
        panic!("{due:?}");
    };
    let incarnations: Vec<u64> = it.slots().map(|it| it.incarnation).collect();
    assert_eq!((it.number, incarnations), (4, vec![8, 0, 0, 0]));
    walk.tell(at(4), Input::Settled);
    assert_eq!(walk.standing(), ChangeState::Done);
}

#[test]
fn where_nothing_can_be_taken_out_one_is_added_first_and_leaves_last() {
    let mut walk = Walk::open(plan(Task::Restart, Direction::Forward, 2));
    walk.grant(at(1), 1, &slots([]), true);
    assert_eq!(walk.desired().slots[&lax(5)].incarnation, 8);
    assert!(walk.desired().slots.values().all(|it| !it.draining));
    walk.see(at(2), &slots([5]), &slots([]));
    for (batch, n) in [(1, 1), (2, 2)] {
        walk.grant(at(3), batch, &slots([n]), false);
        walk.see(at(4), &slots([]), &slots([n]));
        walk.see(at(5), &slots([n]), &slots([]));
    }
    assert!(walk.desired().slots[&lax(5)].draining);
    walk.see(at(6), &slots([]), &slots([5]));
    assert!(!walk.desired().slots.contains_key(&lax(5)));
    walk.tell(at(7), Input::Settled);
    assert_eq!(walk.standing(), ChangeState::Done);
}

#[test]
fn a_freeze_or_a_failed_guard_adds_nothing_and_a_refused_forward_step_takes_nothing() {
    let mut walk = Walk::open(plan(Task::Restart, Direction::Forward, 2));
    walk.grant(at(1), 1, &slots([]), false);
    assert_eq!(walk.desired().slots.len(), 4);
    let input = Input::Granted {
        batch: 1,
        slots: slots([1]),
        before: Processes::default(),
        room: false,
        verdict: verdict(Outcome::InsufficientEvidence),
    };
    let forward = walk.tell(at(2), input.clone());
    assert!(walk.desired().slots.values().all(|it| !it.draining));
    assert_eq!(forward, 1, "it says what holds it");
    let mut restoring = Walk::open(plan(Task::Restart, Direction::Restoring, 2));
    restoring.tell(at(2), input);
    assert!(restoring.desired().slots[&lax(1)].draining);
}

#[test]
fn what_was_not_asked_for_is_not_taken_and_old_sightings_verify_nothing() {
    let mut walk = Walk::open(plan(Task::Restart, Direction::Forward, 1));
    assert_eq!(walk.grant(at(1), 7, &slots([1]), false), 0);
    walk.grant(at(1), 1, &slots([1, 3]), false);
    assert!(!walk.desired().slots[&lax(3)].draining);
    walk.see(at(2), &slots([]), &slots([1]));
    let stale = Input::Seen {
        generation: walk.state.generation(),
        verified: Measured::observe(slots([1]), at(2), "agent and router"),
        killed: Slots::default(),
        drained: Slots::default(),
        failing: None,
    };
    assert_eq!(walk.tell(at(30), stale), 0);
    assert_eq!(walk.state.phase, Phase::Replacing(1));
}

#[test]
fn a_kill_gives_no_grace_until_the_successor_is_seen() {
    let mut walk = Walk::open(plan(Task::Kill, Direction::Restoring, 1));
    walk.grant(at(1), 1, &slots([1]), false);
    assert!(walk.desired().at_once.contains(&lax(1)));
    assert_eq!(walk.desired().slots[&lax(1)].incarnation, 8);
    walk.see(at(2), &slots([1]), &slots([]));
    assert!(walk.desired().at_once.is_empty());
    assert_eq!(walk.desired().slots[&lax(1)].incarnation, 8);
}

#[test]
fn beside_a_rollout_neither_a_place_nor_a_deployment_is_its_own() {
    let mut beside = plan(Task::Kill, Direction::Restoring, 1);
    beside.beside = true;
    let mut walk = Walk::open(beside);
    walk.grant(at(1), 1, &slots([]), true);
    assert_eq!(walk.desired().slots.len(), 4);
    walk.grant(at(1), 1, &slots([1]), false);
    assert_eq!(walk.desired().slots[&lax(1)].incarnation, 0);
    walk.see(at(2), &slots([1]), &slots([]));
    let due = Action::due(&walk.state, at(2));
    assert_eq!(due, [Effect::Settle { deployment: None }]);
}

fn scaled(targets: u32, added: impl IntoIterator<Item = u32>) -> Walk {
    let mut plan = plan(Task::Scale { declared: 7 }, Direction::Forward, targets);
    plan.added = slots(added);
    Walk::open(plan)
}

fn settles(walk: &Walk) -> Deployment {
    match Action::due(&walk.state, at(9)).as_slice() {
        [
            Effect::Settle {
                deployment: Some(it),
            },
        ] => it.clone(),
        due => panic!("{due:?}"),
    }
}

#[test]
fn what_a_scale_adds_is_seen_serving_before_anything_goes_and_what_goes_is_seen_gone() {
    let mut walk = scaled(1, [5, 6]);
    assert_eq!(walk.desired().slots.len(), 4, "nothing before it may");
    assert_eq!(walk.state.candidates(), slots([5, 6]));
    walk.grant(at(1), 1, &slots([5, 6]), false);
    assert_eq!(walk.desired().slots[&lax(6)].incarnation, 8);
    assert_eq!(walk.desired().slots[&lax(6)].host.as_str(), "h2");
    walk.see(at(2), &slots([5]), &slots([]));
    walk.see(at(3), &slots([6]), &slots([]));
    walk.grant(at(4), 2, &slots([1]), false);
    assert!(walk.desired().slots[&lax(1)].draining);
    walk.see(at(5), &slots([]), &slots([1]));
    assert!(!walk.desired().slots.contains_key(&lax(1)));
    assert_eq!(walk.state.stopping(), slots([1]));
    assert_eq!(walk.state.progress().verified, 2);
    walk.see(at(6), &slots([1]), &slots([]));
    let settled = settles(&walk);
    let stands: Vec<(u32, u64)> = settled
        .slots()
        .map(|it| (it.slot.ordinal, it.incarnation))
        .collect();
    assert_eq!(stands, [(2, 0), (3, 0), (4, 0), (5, 8), (6, 8)]);
    assert_eq!((settled.number, settled.given_up), (4, None));
    walk.tell(at(7), Input::Settled);
    assert_eq!(walk.standing(), ChangeState::Done);
    let summary = Action::standing(&walk.state).because;
    assert_eq!(summary, "2 of 2 seen serving, 1 of 1 seen gone");
}

#[test]
fn an_aborted_scale_keeps_what_was_seen_and_its_declaration_is_not_answered_again() {
    let mut walk = scaled(2, [5]);
    walk.grant(at(1), 1, &slots([5]), false);
    walk.see(at(2), &slots([5]), &slots([]));
    walk.grant(at(3), 2, &slots([1]), false);
    walk.see(at(4), &slots([]), &slots([1]));
    walk.see(at(5), &slots([1]), &slots([]));
    walk.grant(at(6), 3, &slots([2]), false);
    walk.order(at(7), Verb::Abort);
    assert!(!walk.desired().slots[&lax(2)].draining, "it serves again");
    let settled = settles(&walk);
    let stands: Vec<u32> = settled.slots().map(|it| it.slot.ordinal).collect();
    assert_eq!((stands, settled.given_up), (vec![2, 3, 4, 5], Some(7)));

    let mut early = scaled(0, [5, 6]);
    early.grant(at(1), 1, &slots([5, 6]), false);
    early.see(at(2), &slots([5]), &slots([]));
    let failing = Input::Seen {
        generation: early.state.generation(),
        verified: Measured::observe(slots([]), at(3), "agent and router"),
        killed: Slots::default(),
        drained: Slots::default(),
        failing: Some((slots([6]), "no artifact".to_owned())),
    };
    early.tell(at(3), failing);
    assert_eq!(early.standing(), ChangeState::Paused);
    early.order(at(4), Verb::Abort);
    assert!(!early.desired().slots.contains_key(&lax(6)));
    let stands: Vec<u32> = settles(&early).slots().map(|it| it.slot.ordinal).collect();
    assert_eq!(stands, [1, 2, 3, 4, 5]);
}

#[test]
fn a_process_that_does_not_come_up_pauses_it_and_one_seen_later_lets_it_go_on() {
    let mut walk = Walk::open(plan(Task::Restart, Direction::Forward, 1));
    walk.grant(at(1), 1, &slots([1]), false);
    walk.see(at(2), &slots([]), &slots([1]));
    let failing = Input::Seen {
        generation: walk.state.generation(),
        verified: Measured::observe(slots([]), at(3), "agent and router"),
        killed: Slots::default(),
        drained: Slots::default(),
        failing: Some((slots([1]), "no artifact".to_owned())),
    };
    assert_eq!(walk.tell(at(3), failing.clone()), 1);
    assert_eq!(walk.standing(), ChangeState::Paused);
    assert_eq!(walk.tell(at(4), failing), 0, "said once");
    walk.see(at(5), &slots([1]), &slots([]));
    walk.tell(at(6), Input::Settled);
    assert_eq!(walk.standing(), ChangeState::Done);
}

#[test]
fn a_drain_goes_back_by_itself_when_its_time_is_over_even_while_it_asks_for_more() {
    let mut walk = Walk::open(plan(Task::Drain, Direction::Restoring, 2));
    walk.grant(at(1), 1, &slots([1]), false);
    walk.see(at(2), &slots([]), &slots([1]));
    walk.grant(at(3), 2, &slots([]), true);
    walk.tell(at(2) + GRANT_WITHIN, Input::Tick);
    assert_eq!(walk.standing(), ChangeState::Paused);
    assert_eq!(
        Action::due(&walk.state, at(130)).len(),
        1,
        "it goes on asking"
    );
    let until = at(601);
    assert_eq!(Action::wake_at(&walk.state), Some(until));
    assert_eq!(walk.tell(until, Input::Tick), 1);
    assert!(walk.desired().slots.values().all(|it| !it.draining));
    walk.see(until, &slots([1]), &slots([]));
    walk.tell(until, Input::Settled);
    assert_eq!(walk.standing(), ChangeState::Done);
}

#[test]
fn a_drain_is_about_the_process_that_was_there() {
    let mut walk = Walk::open(plan(Task::Drain, Direction::Restoring, 1));
    walk.grant(at(1), 1, &slots([1]), false);
    let mut moved = Desired::from(&walk.state.plan().base);
    moved.slots.get_mut(&lax(1)).unwrap().incarnation = 10;
    walk.state.lay_over(&mut moved);
    assert!(!moved.slots[&lax(1)].draining);
}

#[test]
fn a_shed_holds_until_it_is_resumed_and_the_larger_of_two_counts() {
    let mut walk = Walk::open(plan(Task::Shed { share: 2_000 }, Direction::Restoring, 0));
    let lax = "lax".parse().unwrap();
    assert_eq!(walk.desired().shed[&lax], 2_000);
    let mut more = walk.desired();
    more.shed.insert(lax.clone(), 3_000);
    walk.state.lay_over(&mut more);
    assert_eq!(more.shed[&lax], 3_000);
    let routed = |walk: &Walk, now| Input::Routed {
        generation: walk.state.generation(),
        applied: Measured::observe(true, now, "routers"),
    };
    let applied = routed(&walk, at(1));
    walk.tell(at(1), applied);
    assert_eq!(walk.state.phase, Phase::Holding);
    assert_eq!(Action::wake_at(&walk.state), Some(at(600)));
    walk.order(at(5), Verb::Resume);
    assert!(walk.desired().shed.is_empty());
    let lifted = routed(&walk, at(6));
    walk.tell(at(6), lifted);
    walk.tell(at(7), Input::Settled);
    assert_eq!(walk.standing(), ChangeState::Done);
}

#[test]
fn an_abort_puts_the_drained_back_and_waits_for_what_was_ordered_anew() {
    let mut drained = Walk::open(plan(Task::Restart, Direction::Forward, 2));
    drained.grant(at(1), 1, &slots([1]), false);
    drained.order(at(2), Verb::Abort);
    assert_eq!(drained.desired(), Desired::from(&drained.state.plan().base));
    drained.tell(at(3), Input::Settled);
    assert_eq!(drained.standing(), ChangeState::Aborted);

    let mut ordered = Walk::open(plan(Task::Restart, Direction::Forward, 2));
    ordered.grant(at(1), 1, &slots([1]), false);
    ordered.see(at(2), &slots([]), &slots([1]));
    ordered.order(at(3), Verb::Abort);
    assert_eq!(ordered.standing(), ChangeState::RollingBack);
    ordered.see(at(4), &slots([1]), &slots([]));
    assert_eq!(ordered.state.places[&lax(2)].at, At::Standing);
    assert_eq!(ordered.state.phase, Phase::Settling);
}

#[test]
fn a_pause_holds_the_next_batch_and_restoring_cannot_be_paused() {
    let mut walk = Walk::open(plan(Task::Restart, Direction::Forward, 2));
    walk.order(at(1), Verb::Pause);
    assert!(Action::due(&walk.state, at(1)).is_empty());
    assert_eq!(walk.grant(at(1), 1, &slots([1]), false), 0);
    walk.order(at(2), Verb::Resume);
    assert_eq!(Action::due(&walk.state, at(2)).len(), 1);
    let restoring = Walk::open(plan(Task::Restart, Direction::Restoring, 2));
    let pause = Input::Order {
        verb: Verb::Pause,
        actor: Actor::verified("ana"),
        reason: String::new(),
    };
    assert!(Action::decide(&restoring.state, at(1), pause).is_err());
}

#[test]
fn time_alone_never_wakes_it_without_an_event_to_follow() {
    let mut walk = Walk::open(plan(Task::Restart, Direction::Forward, 1));
    walk.grant(at(1), 1, &slots([1]), false);
    let mut count = 0;
    while let Some(now) = Action::wake_at(&walk.state) {
        assert!(walk.tell(now, Input::Tick) > 0, "{:?}", walk.state.phase);
        count += 1;
        assert!(count < 10, "{:#?}", walk.events);
    }
    assert_eq!(walk.standing(), ChangeState::Paused);
}

#[test]
fn the_processes_of_a_whole_batch_fit_an_entry() {
    let mut before = Processes::default();
    let most = u32::try_from(super::plan::BATCH_MAX).unwrap();
    for n in 1..=most {
        before.insert(
            &lax(1_000 + n),
            Process(4_000_000 + n, Time::from_millis(1_795_651_510_237)),
        );
    }
    let text = serde_json::to_string(&before).unwrap();
    assert!(
        text.len() < mainstay_core::ledger::BODY_BYTES_MAX / 2,
        "{}",
        text.len()
    );
    assert_eq!(serde_json::from_str::<Processes>(&text).unwrap(), before);
}
