//! Deadlines, stale answers, shared failures.

use super::*;

fn paused(events: &[Event]) -> &str {
    let [
        Event::Paused {
            because, by: None, ..
        },
    ] = events
    else {
        panic!("{events:?}");
    };
    because
}

#[test]
fn every_wait_on_the_way_forward_ends_in_a_pause_that_says_why() {
    let mut admitting = Walk::canary();
    assert_eq!(admitting.state.waits_for(), None, "nobody was asked yet");
    admitting.admission(Outcome::Fail);
    let why = admitting.state.waits_for().unwrap();
    assert!(why.contains("limit"), "{why}");
    assert!(
        paused(&admitting.wake()).contains("errors"),
        "names what holds it"
    );
    assert_eq!(admitting.standing(), ChangeState::Paused);

    let mut placing = Walk::canary();
    placing.admission(Outcome::Fail);
    placing.admission(Outcome::Pass);
    assert_eq!(placing.state.waits_for(), None);
    assert!(paused(&placing.wake()).contains("2 instances were not verified"));

    let mut leasing = Walk::canary().placed();
    leasing.pass();
    leasing.grant(0, 0);
    leasing.see_all();
    assert!(paused(&leasing.wake()).contains("batch 1 may not begin"));

    let mut replacing = Walk::canary().placed();
    replacing.pass();
    replacing.grant(4, 0);
    replacing.see_all();
    assert!(paused(&replacing.wake()).contains("4 instances were not verified"));
}

#[test]
fn a_canary_without_evidence_gets_its_full_share_on_the_way_and_pauses_at_the_end() {
    let mut walk = Walk::canary().placed();
    let opened = walk.state.since();
    assert!(matches!(
        walk.wake()[..],
        [Event::Raised { weight: 192, .. }]
    ));
    assert_eq!(
        walk.now,
        opened + Span::from_secs(200),
        "a third of ten minutes"
    );
    assert_eq!(walk.weight(), 192, "one of fifty-two");
    assert!(paused(&walk.wake()).contains("not enough evidence"));
    assert_eq!(walk.now, opened + Span::from_secs(600));
    assert_eq!(walk.tell(Input::Tick), []);
    assert_eq!(Rollout::wake_at(&walk.state), None, "a pause is not woken");
}

#[test]
fn a_service_with_probes_gets_more_users_then_probes_then_a_person_and_the_judge_hears_of_them() {
    let mut plan = plan(Strategy::Canary, Some("v1"), 50);
    plan.terms.probes = true;
    let mut walk = Walk::open(plan).placed();
    let opened = walk.state.since();
    assert!(matches!(walk.wake()[..], [Event::Raised { .. }]));
    assert_eq!(walk.state.probed(), None);
    assert!(matches!(walk.wake()[..], [Event::ProbesBegan { .. }]));
    assert_eq!(
        walk.now,
        opened + Span::from_secs(300),
        "half of ten minutes"
    );
    let asked = walk.effects();
    assert!(
        asked
            .iter()
            .any(|it| matches!(it, Effect::Judge { probes: true, .. }))
    );
    let arms = walk.state.probed().unwrap();
    assert_eq!((arms.canary.len(), arms.control.len()), (1, 1), "equal age");
    assert!(paused(&walk.wake()).contains("not enough evidence"));
    assert_eq!(walk.now, opened + Span::from_secs(600));
    assert_eq!(
        walk.state.probed(),
        None,
        "nothing is asked while a person is"
    );
}

#[test]
fn a_drain_in_vain_ends_because_nobody_waits_for_its_answers_any_more() {
    let mut walk = Walk::canary().placed();
    walk.pass();
    walk.grant(4, 0);
    walk.see(Slots::default(), slots([1, 2, 3]));
    assert!(
        matches!(walk.state.phase, Phase::Draining(..)),
        "one still holds requests"
    );
    assert!(matches!(
        walk.wake()[..],
        [Event::Drained { overdue: true, .. }]
    ));
    let mut trimming = Walk::canary().placed();
    trimming.rule(Ruling::Harm);
    assert!(matches!(trimming.wake()[..], [Event::Trimmed { .. }]));
}

#[test]
fn what_was_measured_too_long_ago_moves_nothing() {
    let mut walk = Walk::canary();
    let old = walk.now;
    walk.wait(Span::from_millis(FRESH.millis() + 1));
    let verdict = |outcome| Verdict::new("x", old, vec![finding(outcome)]);
    let admission = Measured::observe(verdict(Outcome::Pass), old, "guard");
    assert_eq!(walk.tell(Input::Admission { verdict: admission }), []);
    walk.admission(Outcome::Pass);
    let old = walk.now;
    walk.wait(Span::from_millis(FRESH.millis() + 1));
    let seen = Input::Seen {
        generation: walk.state.generation(),
        verified: Measured::observe(slots([51, 52]), old, "agent and router"),
        drained: Slots::default(),
        failing: None,
    };
    assert_eq!(walk.tell(seen), []);
    walk.see_all();
    let old = walk.now + DWELL;
    walk.wait(Span::from_millis(DWELL.millis() + FRESH.millis() + 1));
    for ruling in [Ruling::Pass, Ruling::Harm, Ruling::SharedFailure] {
        let verdict = Measured::observe(verdict(Outcome::Fail), old, "routers");
        assert_eq!(
            walk.tell(Input::Verdict { ruling, verdict }),
            [],
            "{ruling:?}"
        );
    }
}

#[test]
fn a_pass_from_before_the_gate_has_been_open_for_its_dwell_does_not_open_it() {
    let mut walk = Walk::canary().placed();
    walk.wait(Span::from_millis(DWELL.millis() - 1));
    walk.rule(Ruling::Pass);
    assert_eq!(walk.state.step_words(), "canary 1 %");
    walk.wait(Span::from_millis(1));
    walk.rule(Ruling::Pass);
    assert!(walk.leased().is_some());
}

#[test]
fn what_was_seen_of_another_set_of_instances_moves_nothing() {
    let mut walk = Walk::canary();
    walk.admission(Outcome::Pass);
    let (starting, _) = walk.looked_for();
    for generation in [walk.state.generation() - 1, walk.state.generation() + 1] {
        let verified = Measured::observe(starting.clone(), walk.now, "agent and router");
        let seen = Input::Seen {
            generation,
            verified,
            drained: starting.clone(),
            failing: Some((starting.clone(), "exit 1".to_owned())),
        };
        assert_eq!(walk.tell(seen), []);
    }
}

#[test]
fn both_versions_failing_alike_pauses_and_unroutes_the_canary_and_rolls_nothing_back() {
    let mut walk = Walk::canary().placed();
    let events = walk.rule(Ruling::SharedFailure);
    assert!(matches!(
        events[..],
        [Event::Judged { .. }, Event::Paused { unrouted: true, .. }]
    ));
    assert_eq!((walk.weight(), walk.standing()), (0, ChangeState::Paused));
    assert_eq!(walk.wanted()[&51].0, "v2", "the canary stays");
    assert_eq!(walk.refused(Verb::Promote).value, "both versions fail");
    walk.order(Verb::Resume);
    assert_eq!(walk.weight(), 100);
    walk.pass();
    assert!(walk.leased().is_some());
}

#[test]
fn once_instances_were_replaced_a_shared_failure_takes_no_capacity_away() {
    let mut walk = Walk::canary().in_batches();
    let before = walk.weight();
    walk.rule(Ruling::SharedFailure);
    assert_eq!(walk.standing(), ChangeState::Paused);
    assert_eq!(
        walk.weight(),
        before,
        "the old ones alone might not carry it"
    );
}

#[test]
fn harm_is_acted_upon_while_a_person_has_paused_it() {
    let mut walk = Walk::canary().placed();
    walk.order(Verb::Pause);
    walk.rule(Ruling::Harm);
    assert_eq!(
        (walk.weight(), walk.standing()),
        (0, ChangeState::RollingBack)
    );
}

#[test]
fn a_verdict_is_told_when_it_changes_and_not_each_time() {
    let mut walk = Walk::canary().placed();
    assert_eq!(walk.rule(Ruling::Insufficient).len(), 1);
    assert_eq!(walk.rule(Ruling::Insufficient).len(), 0);
}

#[test]
fn a_service_without_instances_is_refused() {
    let refusal = Rollout::open(plan(Strategy::Canary, Some("v1"), 0), Time::from_millis(0));
    assert_eq!(refusal.unwrap_err().signal, "instances");
}

/// A canary rollout of fifty instances that stops for a person once a tenth runs the new version.
fn exposing(share: f64) -> Walk {
    let mut plan = plan(Strategy::Canary, Some("v1"), 50);
    plan.terms.expose = Percent::new(share);
    Walk::open(plan).placed()
}

#[test]
fn at_the_share_that_was_asked_for_it_stops_for_a_person_and_resumed_it_goes_to_the_end() {
    let mut walk = exposing(10.0);
    walk.pass();
    walk.batch(4, 0);
    walk.pass();
    let (_, _, candidates) = walk.leased().expect("a fifth instance may still go");
    assert_eq!(candidates.len(), 1, "of forty-six that are left");
    walk.batch(1, 0);
    walk.pass();
    assert_eq!(walk.leased(), None, "no headroom is asked for");
    let events = walk.wake();
    let because = paused(&events);
    assert!(because.starts_with("5 of 50 instances run v2"), "{because}");
    assert_eq!(walk.standing(), ChangeState::Paused);
    assert_eq!(
        walk.refused(Verb::Promote).remedy,
        "resume it: no evidence is missing"
    );
    walk.order(Verb::Resume);
    assert_eq!(walk.leased().map(|it| it.2.len()), Some(45));
    while !matches!(walk.state.phase, Phase::Judging(Gate::Bake)) {
        walk.batch(15, 0);
        walk.pass();
    }
}

#[test]
fn what_waits_at_its_share_is_still_judged_and_harm_turns_it_back() {
    let mut walk = exposing(0.0);
    walk.pass();
    assert!(paused(&walk.wake()).starts_with("0 of 50 instances run v2"));
    let judged = |effect: &Effect| matches!(effect, Effect::Judge { .. });
    assert!(walk.effects().iter().any(judged));
    walk.rule(Ruling::Harm);
    assert_eq!(walk.standing(), ChangeState::RollingBack);
}

#[test]
fn a_lease_that_comes_too_late_moves_nothing_beyond_the_share() {
    let mut walk = exposing(0.0);
    let batch = 1;
    walk.pass();
    let late = Input::Granted {
        batch,
        slots: slots(1..=4),
        before: Processes::default(),
        left: BTreeMap::new(),
        findings: vec![],
    };
    assert_eq!(walk.tell(late), []);
}

#[test]
fn a_pause_by_a_person_on_the_way_there_is_not_taken_for_leave_to_go_beyond() {
    let mut walk = exposing(0.0);
    walk.pass();
    walk.order(Verb::Pause);
    walk.order(Verb::Resume);
    assert_eq!(walk.leased(), None);
    assert!(paused(&walk.wake()).starts_with("0 of 50"));
}

#[test]
fn while_a_freeze_holds_its_gate_it_neither_passes_nor_grows_and_harm_still_turns_it_back() {
    let mut walk = Walk::canary().placed();
    walk.wait(DWELL);
    walk.rule(Ruling::Frozen);
    let weight = walk.weight();
    assert!(paused(&walk.wake()).contains("not enough evidence after 10m"));
    assert_eq!(walk.weight(), weight, "it was not raised on the way");

    let mut walk = Walk::canary().placed();
    walk.wait(DWELL);
    walk.rule(Ruling::Frozen);
    let passed = walk.rule(Ruling::Pass);
    assert!(
        matches!(passed[..], [Event::Passed { .. }]),
        "lifted, it goes on where it was: {passed:?}"
    );
    walk.rule(Ruling::Frozen);
    walk.rule(Ruling::Harm);
    assert_eq!(walk.standing(), ChangeState::RollingBack);
}
