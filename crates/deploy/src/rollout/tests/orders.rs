//! What people tell it.

use super::*;

#[test]
fn paused_it_asks_for_nothing_and_resumed_it_goes_on_where_it_was() {
    let mut walk = Walk::canary().placed();
    walk.pass();
    walk.order(Verb::Pause);
    assert_eq!(walk.standing(), ChangeState::Paused);
    assert_eq!(
        walk.leased(),
        None,
        "no headroom is held for what does not go on"
    );
    assert_eq!(walk.refused(Verb::Pause).value, "paused");
    assert_eq!(walk.refused(Verb::Promote).limit, "waiting at a gate");
    walk.order(Verb::Resume);
    assert_eq!(walk.refused(Verb::Resume).value, "under way");
    walk.batch(4, 0);
    assert_eq!(walk.state.step_words(), "canary 10 %");
}

#[test]
fn a_lease_that_arrives_in_a_pause_takes_nothing_out() {
    let mut walk = Walk::canary().placed();
    walk.pass();
    walk.order(Verb::Pause);
    let late = Input::Granted {
        batch: 1,
        slots: slots(1..=4),
        before: Processes::default(),
        left: BTreeMap::new(),
        findings: vec![],
    };
    assert_eq!(walk.tell(late), []);
}

#[test]
fn aborted_it_goes_back_and_nothing_stops_that() {
    for verb in [Verb::Abort, Verb::Rollback] {
        let mut walk = Walk::canary().in_batches();
        walk.order(verb);
        assert_eq!(walk.standing(), ChangeState::RollingBack);
        for verb in [Verb::Pause, Verb::Resume, Verb::Abort, Verb::Promote] {
            assert_eq!(walk.refused(verb).value, "on its way back");
        }
        walk.batch(10, 0);
        walk.see_all();
        walk.settle();
        assert_eq!(walk.standing(), ChangeState::RolledBack);
        assert!(walk.refused(Verb::Abort).value.starts_with("over"));
    }
}

#[test]
fn aborted_before_it_began_it_leaves_everything_as_it_was() {
    let mut walk = Walk::canary();
    let before = walk.wanted();
    walk.order(Verb::Abort);
    walk.settle();
    assert_eq!(
        (walk.standing(), walk.wanted()),
        (ChangeState::RolledBack, before)
    );
}

#[test]
fn a_person_may_pass_a_gate_without_evidence_but_not_without_a_reason() {
    let mut walk = Walk::canary().placed();
    let without = Input::Order {
        verb: Verb::Promote,
        actor: ana(),
        reason: "  ".to_owned(),
    };
    let refused = Rollout::decide(&walk.state, walk.now, without).unwrap_err();
    assert_eq!(refused.value, "no reason");
    walk.wake();
    walk.wake();
    assert_eq!(walk.standing(), ChangeState::Paused);
    walk.order(Verb::Promote);
    assert_eq!(walk.standing(), ChangeState::Running);
    assert!(walk.leased().is_some(), "the arithmetic is not skipped");
}

#[test]
fn aborted_while_the_first_set_leaves_a_blue_green_rollout_brings_it_back() {
    let mut walk = Walk::open(plan(Strategy::BlueGreen, Some("v1"), 10));
    walk.admission(Outcome::Pass);
    walk.see_all();
    walk.pass();
    walk.pass();
    walk.pass();
    walk.grant(4, 0);
    assert!(matches!(walk.state.phase, Phase::Trimming));
    walk.order(Verb::Abort);
    assert_eq!(walk.weight(), 0);
    walk.see_all();
    walk.settle();
    assert!(
        walk.wanted()
            .values()
            .all(|it| *it == ("v1".to_owned(), 0, false))
    );
    assert_eq!(walk.wanted().len(), 10);
}

#[test]
fn once_only_the_entry_is_missing_it_can_neither_be_held_nor_turned_back() {
    for strategy in [Strategy::Canary, Strategy::BlueGreen] {
        let mut walk = Walk::open(plan(strategy, Some("v1"), 10));
        walk.admission(Outcome::Pass);
        walk.see_all();
        while !matches!(walk.state.phase, Phase::Settling) {
            match walk.state.phase {
                Phase::Judging(_) => drop(walk.pass()),
                Phase::Leasing(_) if walk.state.retires() => drop(walk.grant(5, 0)),
                Phase::Leasing(_) => walk.batch(5, 0),
                _ => drop(walk.see_all()),
            }
        }
        for verb in [Verb::Pause, Verb::Abort, Verb::Rollback, Verb::Promote] {
            assert_eq!(
                walk.refused(verb).remedy,
                "start another rollout, to the version before"
            );
        }
        walk.settle();
        assert_eq!(
            (walk.standing(), walk.wanted().len()),
            (ChangeState::Done, 10)
        );
    }
}
