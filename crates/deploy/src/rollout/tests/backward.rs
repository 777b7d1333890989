//! On the way back.

use super::*;

#[test]
fn harm_at_the_canary_unroutes_it_at_once_then_removes_it_and_ends_rolled_back() {
    let mut walk = Walk::canary().placed();
    assert_eq!(walk.weight(), 100);
    walk.rule(Ruling::Harm);
    assert_eq!(walk.weight(), 0, "routes first");
    assert_eq!(walk.standing(), ChangeState::RollingBack);
    assert_eq!(walk.looked_for().1, slots([51, 52]));
    walk.see_all();
    walk.settle();
    assert_eq!(walk.standing(), ChangeState::RolledBack);
    assert_eq!(walk.wanted().len(), 50);
    assert!(
        walk.wanted()
            .values()
            .all(|it| *it == ("v1".to_owned(), 0, false))
    );
}

#[test]
fn harm_in_a_batch_goes_back_by_batches_with_rising_incarnations() {
    let mut walk = Walk::canary().in_batches();
    let before = walk.weight();
    walk.rule(Ruling::Harm);
    assert!(walk.weight() <= before, "{} after {before}", walk.weight());
    let (batch, direction, candidates) = walk.leased().unwrap();
    assert_eq!((batch, direction), (3, Direction::Restoring));
    assert_eq!(candidates, slots(1..=10));
    walk.grant(4, 700);
    assert!(walk.weight() <= 700, "{}", walk.weight());
    walk.see_all();
    assert_eq!(walk.wanted()[&1], ("v1".to_owned(), 5, false));
    walk.see_all();
    assert!(walk.weight() <= 700);
    walk.grant(6, 0);
    assert_eq!(walk.weight(), 0);
    walk.see_all();
    walk.see_all();
    assert_eq!(
        walk.looked_for().1,
        slots([51, 52]),
        "canary and control go last"
    );
    walk.see_all();
    walk.settle();
    assert_eq!(walk.standing(), ChangeState::RolledBack);
    let wanted = walk.wanted();
    assert!(wanted.values().all(|it| it.0 == "v1"));
    assert_eq!((wanted[&10].1, wanted[&11].1), (5, 0));
}

#[test]
fn turning_back_never_sends_the_bad_version_more_requests_than_it_had() {
    for count in 1..=8 {
        let mut walk = Walk::canary().in_batches();
        walk.pass();
        walk.grant(count, 9_500);
        let before = walk.weight();
        walk.rule(Ruling::Harm);
        assert!(walk.weight() <= before, "{} after {before}", walk.weight());
        // Nothing may be taken out yet: what the old version cannot carry stays, the rest goes at once.
        walk.grant(0, 300);
        assert!(walk.weight() <= 300, "{}", walk.weight());
    }
}

#[test]
fn instances_only_taken_out_of_the_routes_serve_again_when_it_turns_back() {
    let mut walk = Walk::canary().placed();
    walk.pass();
    walk.grant(4, 0);
    assert!(walk.wanted()[&1].2);
    walk.rule(Ruling::Harm);
    assert_eq!(walk.wanted()[&1], ("v1".to_owned(), 0, false));
    assert_eq!(walk.leased(), None, "nothing was moved yet");
    walk.see_all();
    walk.settle();
    assert_eq!(walk.standing(), ChangeState::RolledBack);
}

#[test]
fn what_the_old_version_cannot_carry_stays_with_instances_that_were_about_to_be_seen() {
    let mut walk = Walk::canary().in_batches();
    walk.pass();
    walk.grant(20, 0);
    walk.see_all();
    let had = walk.weight();
    walk.order(Verb::Abort);
    assert_eq!(walk.weight(), had);
    walk.grant(4, 6_000);
    assert_eq!(
        walk.weight(),
        had,
        "as much as it had, of the six tenths that are too much"
    );
    walk.see_all();
    walk.see_all();
    walk.grant(4, 1_000);
    assert_eq!(walk.weight(), 1_000);
}

#[test]
fn a_blue_green_rollout_goes_back_by_routes_alone() {
    let mut walk = Walk::open(plan(Strategy::BlueGreen, Some("v1"), 10));
    walk.admission(Outcome::Pass);
    walk.see_all();
    walk.pass();
    walk.pass();
    assert_eq!(walk.weight(), ALL - ALL / 10);
    walk.rule(Ruling::Harm);
    assert_eq!(walk.weight(), 0);
    assert_eq!(walk.looked_for().1, slots(11..=20));
    walk.see_all();
    walk.settle();
    assert_eq!(walk.standing(), ChangeState::RolledBack);
    assert!(
        walk.wanted()
            .values()
            .all(|it| *it == ("v1".to_owned(), 0, false))
    );
}

#[test]
fn a_first_release_goes_back_by_unrouting_all_of_it() {
    let mut walk = Walk::open(plan(Strategy::Canary, None, 3));
    walk.admission(Outcome::Pass);
    walk.see(slots([1]), Slots::default());
    walk.cannot_start(&[2]);
    assert_eq!(walk.weight(), 0);
    assert_eq!(walk.wanted().len(), 1, "those never seen go at once");
    walk.see_all();
    walk.settle();
    assert_eq!(walk.standing(), ChangeState::RolledBack);
    assert_eq!(walk.wanted().len(), 0);
}

#[test]
fn a_version_that_cannot_start_turns_the_rollout_back() {
    let mut walk = Walk::canary();
    walk.admission(Outcome::Pass);
    walk.see(slots([52]), Slots::default());
    let events = walk.cannot_start(&[51]);
    assert!(matches!(events[..], [Event::Failed { .. }]));
    walk.see_all();
    walk.settle();
    assert_eq!(walk.standing(), ChangeState::RolledBack);
}

#[test]
fn what_was_added_and_never_seen_does_not_hold_the_way_back() {
    let mut walk = Walk::canary().in_batches();
    walk.pass();
    walk.grant(0, 0);
    assert_eq!(walk.looked_for().0, slots([53]), "room is being made");
    walk.cannot_start(&[53]);
    assert!(!walk.wanted().contains_key(&53));
    walk.batch(10, 0);
    assert_eq!(walk.looked_for().1, slots([51, 52]));
}

#[test]
fn moved_instances_that_never_came_up_are_moved_back_one_by_one_where_need_be() {
    let mut walk = Walk::canary().in_batches();
    walk.pass();
    walk.grant(5, 0);
    walk.see_all();
    walk.cannot_start(&[11]);
    assert_eq!(walk.standing(), ChangeState::RollingBack);
    for _ in 0..15 {
        let (_, _, candidates) = walk.leased().unwrap();
        walk.grant(1, 0);
        walk.see_all();
        let (starting, _) = walk.looked_for();
        assert_eq!(starting.iter().next(), candidates.iter().next());
        assert_eq!(starting.len(), 1, "the others are not waited for");
        walk.see_all();
    }
    assert_eq!(walk.leased(), None);
    assert!(walk.wanted().iter().all(|(n, it)| it.0 == "v1" || *n > 50));
}

#[test]
fn the_lease_of_the_way_back_is_another_one_than_that_of_the_way_forward() {
    let mut walk = Walk::canary().in_batches();
    walk.pass();
    let lease = |walk: &Walk| {
        let found = walk
            .effects()
            .into_iter()
            .find(|it| matches!(it, Effect::Lease { .. }));
        Rollout::effect_id(&found.unwrap())
    };
    let forward = lease(&walk);
    let (batch, ..) = walk.leased().unwrap();
    walk.rule(Ruling::Harm);
    assert_ne!(lease(&walk), forward, "it must be asked for at once");
    let late = Input::Granted {
        batch,
        slots: slots([11, 12]),
        before: Processes::default(),
        left: BTreeMap::new(),
        findings: vec![],
    };
    assert_eq!(
        walk.tell(late),
        [],
        "an answer to the way forward is none to the way back"
    );
}

#[test]
fn blind_monitoring_does_not_hold_the_way_back() {
    let mut walk = Walk::canary().in_batches();
    walk.rule(Ruling::Harm);
    let exposed = walk.weight();
    for _ in 0..10 {
        // Nothing is known: all of the demand may be needed from what is left.
        walk.grant(1, ALL);
        assert!(
            walk.weight() <= exposed,
            "{} after {exposed}",
            walk.weight()
        );
        walk.wake();
        walk.see_all();
    }
    assert!(matches!(walk.state.phase, Phase::Trimming));
}

#[test]
fn stuck_on_its_way_back_it_calls_a_person_and_recovers_by_itself() {
    let mut walk = Walk::canary().in_batches();
    walk.rule(Ruling::Harm);
    walk.grant(10, 0);
    walk.see_all();
    assert!(matches!(walk.wake()[..], [Event::Stuck { .. }]));
    assert_eq!(walk.standing(), ChangeState::Paused);
    assert_eq!(Rollout::wake_at(&walk.state), None);
    assert_eq!(walk.tell(Input::Tick), []);
    walk.see_all();
    assert_eq!(walk.standing(), ChangeState::RollingBack);
    walk.see_all();
    walk.settle();
    assert_eq!(walk.standing(), ChangeState::RolledBack);
}

#[test]
fn without_room_on_its_way_back_it_is_stuck_until_a_lease_is_given() {
    let mut walk = Walk::canary().in_batches();
    walk.rule(Ruling::Harm);
    let events = walk.grant(0, 1_000);
    assert!(matches!(
        events[..],
        [Event::Held { .. }, Event::Surged { .. }]
    ));
    assert_eq!(walk.wanted()[&53], ("v1".to_owned(), 5, false));
    walk.see_all();
    walk.grant(0, 1_000);
    assert!(matches!(walk.wake()[..], [Event::Stuck { .. }]));
    walk.batch(10, 0);
    assert_eq!(walk.standing(), ChangeState::RollingBack);
}

#[test]
fn room_made_with_the_bad_version_is_none_on_the_way_back() {
    let mut walk = Walk::canary().in_batches();
    walk.pass();
    walk.grant(0, 0);
    walk.see_all();
    walk.batch(1, 0);
    walk.rule(Ruling::Harm);
    assert_eq!(walk.wanted()[&53].0, "v2");
    walk.grant(0, 500);
    assert_eq!(walk.wanted()[&54], ("v1".to_owned(), 5, false));
}
