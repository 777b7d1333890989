//! On the way forward.

use super::*;

#[test]
fn a_good_version_climbs_as_a_canary_goes_on_in_batches_bakes_and_is_done() {
    let mut walk = Walk::canary();
    assert_eq!(walk.effects(), [Effect::Admit]);
    walk.admission(Outcome::Pass);
    assert_eq!(walk.looked_for().0, slots([51, 52]), "canary and control");
    assert_eq!(walk.weight(), 0, "nothing is routed before it is seen");
    walk.see_all();
    assert_eq!(
        (walk.weight(), walk.standing()),
        (100, ChangeState::Running)
    );
    walk.pass();
    let (batch, direction, candidates) = walk.leased().unwrap();
    assert_eq!((batch, direction), (1, Direction::Forward));
    assert_eq!(candidates, slots(1..=4), "five in all carry a tenth");
    assert_eq!(walk.weight(), 100, "no more requests before more instances");
    walk.batch(4, 0);
    assert_eq!(walk.weight(), 1_000);
    walk.pass();
    let mut seen_weight = walk.weight();
    for _ in 0..10 {
        walk.batch(5, 0);
        assert!(walk.weight() > seen_weight);
        seen_weight = walk.weight();
        walk.pass();
        if walk.leased().is_none() {
            break;
        }
    }
    assert_eq!(walk.state.step_words(), "baking");
    walk.pass();
    assert_eq!(
        walk.looked_for().1,
        slots([51, 52]),
        "canary and control go"
    );
    walk.see_all();
    let settled = walk.effects();
    let [Effect::Settle { deployment }] = &settled[..] else {
        panic!("{settled:?}");
    };
    assert_eq!(deployment.number, 2);
    assert_eq!(deployment.slots().count(), 50);
    assert!(
        deployment
            .slots()
            .all(|it| it.version.as_str() == "v2" && it.incarnation == 4)
    );
    walk.settle();
    assert_eq!(walk.standing(), ChangeState::Done);
    assert_eq!(walk.effects(), []);
    assert_eq!(Rollout::wake_at(&walk.state), None);
}

#[test]
fn a_second_set_takes_over_from_the_first_which_goes_when_the_bake_has_passed() {
    let mut walk = Walk::open(plan(Strategy::BlueGreen, Some("v1"), 10));
    walk.admission(Outcome::Pass);
    assert_eq!(walk.looked_for().0, slots(11..=20));
    walk.see_all();
    assert_eq!(walk.weight(), 100);
    walk.pass();
    assert_eq!(walk.weight(), 1_000);
    walk.pass();
    assert_eq!(walk.state.step_words(), "baking");
    assert_eq!(
        walk.weight(),
        ALL - ALL / 10,
        "the first set stays as the control"
    );
    walk.pass();
    assert_eq!(
        walk.leased().unwrap().2,
        slots(1..=10),
        "the first set goes as capacity allows"
    );
    assert_eq!(
        walk.grant(0, 0).len(),
        1,
        "held, and no room is made for that"
    );
    walk.grant(4, 0);
    assert_eq!(walk.looked_for().1, slots(1..=4));
    walk.see_all();
    assert_eq!(walk.refused(Verb::Abort).limit, "the first set whole");
    assert_eq!(walk.rule(Ruling::Harm), [], "the bake is over");
    walk.grant(6, 0);
    assert_eq!(walk.weight(), ALL);
    walk.see_all();
    walk.settle();
    assert_eq!(walk.standing(), ChangeState::Done);
    assert_eq!(walk.wanted().len(), 10);
    assert!(walk.wanted().values().all(|it| it.0 == "v2"));
}

#[test]
fn a_first_release_starts_every_instance_and_is_done_when_all_are_seen() {
    let mut walk = Walk::open(plan(Strategy::Canary, None, 3));
    walk.admission(Outcome::Pass);
    assert_eq!(walk.looked_for().0, slots(1..=3));
    walk.see(slots([1, 3]), Slots::default());
    assert_eq!(walk.state.progress().verified, 2);
    walk.see_all();
    walk.settle();
    assert_eq!(walk.standing(), ChangeState::Done);
    assert!(
        walk.wanted()
            .values()
            .all(|it| *it == ("v2".to_owned(), 2, false))
    );
}

#[test]
fn what_may_not_begin_waits_and_is_told_once_for_each_reason() {
    let mut walk = Walk::canary();
    assert_eq!(walk.admission(Outcome::Fail).len(), 1);
    assert_eq!(walk.admission(Outcome::Fail).len(), 0);
    assert_eq!(walk.state.desired().slots.len(), 50);
    walk.admission(Outcome::Pass);
    assert_eq!(walk.state.desired().slots.len(), 52);
}

#[test]
fn a_batch_that_may_not_begin_makes_room_first_and_begins_then() {
    let mut walk = Walk::canary().placed();
    walk.pass();
    let events = walk.grant(0, 0);
    assert!(
        matches!(events[..], [Event::Held { .. }, Event::Surged { .. }]),
        "{events:?}"
    );
    assert_eq!(walk.looked_for().0, slots([53]));
    walk.see_all();
    assert_eq!(walk.leased().unwrap().0, 1);
    assert_eq!(
        walk.grant(0, 0).len(),
        1,
        "room is made once; the refusal is told again"
    );
    assert_eq!(walk.grant(0, 0).len(), 0);
    walk.batch(1, 0);
    assert_eq!(walk.standing(), ChangeState::Running);
}

#[test]
fn a_lease_on_instances_that_are_none_of_its_candidates_takes_none_out() {
    let mut walk = Walk::canary().placed();
    walk.pass();
    let events = walk.tell(Input::Granted {
        batch: 1,
        slots: slots([51, 52, 99]),
        before: Processes::default(),
        left: BTreeMap::new(),
        findings: vec![],
    });
    assert!(!events.iter().any(|it| matches!(it, Event::Began { .. })));
    assert_eq!(
        walk.tell(Input::Granted {
            batch: 7,
            slots: slots([1]),
            before: Processes::default(),
            left: BTreeMap::new(),
            findings: vec![],
        }),
        []
    );
    assert!(walk.wanted().values().all(|it| !it.2));
}

#[test]
fn the_control_is_looked_for_in_the_old_version() {
    let mut walk = Walk::canary();
    walk.admission(Outcome::Pass);
    let observed = walk.effects();
    let [
        Effect::Observe {
            starting,
            expected,
            control,
            ..
        },
    ] = &observed[..]
    else {
        panic!("{observed:?}");
    };
    assert_eq!((starting, control), (&slots([51]), &slots([52])));
    assert_eq!((expected.version.as_str(), expected.incarnation), ("v2", 4));
    assert_eq!(walk.wanted()[&52], ("v1".to_owned(), 4, false));
}

#[test]
fn a_large_service_gets_as_many_canaries_as_its_first_step_needs() {
    let mut walk = Walk::open(plan(Strategy::Canary, Some("v1"), 1_000));
    walk.admission(Outcome::Pass);
    assert_eq!(walk.looked_for().0, slots(1_001..=1_011));
    walk.see_all();
    assert_eq!(
        walk.weight(),
        100,
        "ten instances share one per cent of a thousand's requests"
    );
    assert_eq!(walk.wanted()[&1_011].0, "v1", "the last is the control");
}

#[test]
fn room_made_with_the_new_version_may_be_all_that_the_canarys_next_step_takes() {
    let mut walk = Walk::canary().placed();
    walk.pass();
    walk.batch(3, 0);
    walk.pass();
    assert_eq!(walk.leased().unwrap().2, slots([4]), "one more for a tenth");
    walk.grant(0, 0);
    walk.see_all();
    assert_eq!(walk.leased(), None, "no lease is asked for nothing");
    assert_eq!(walk.state.step_words(), "canary 10 %");
    assert_eq!(walk.weight(), 1_000);
}
