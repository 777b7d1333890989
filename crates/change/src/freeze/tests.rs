use super::*;
use mainstay_core::{Emergency, catalog::EmergencySpec};
use proptest::prelude::*;

fn at(ms: i64) -> Time {
    Time::from_millis(ms)
}

fn spec(from: i64, until: i64) -> FreezeSpec {
    FreezeSpec {
        reason: "election night".into(),
        from: Some(at(from)),
        until: Some(at(until)),
        services: vec![],
        exceptions: vec![FreezeException {
            name: Name::new("ballots").unwrap(),
            services: vec![ServiceName::new("ballots").unwrap()],
            kinds: vec![ChangeKind::Rollout],
        }],
    }
}

fn ask(service: &str, direction: Direction, emergency: Option<&Declared>, now: i64) -> Finding {
    let service = ServiceName::new(service).unwrap();
    let asked = Asked {
        service: &service,
        kind: ChangeKind::Rollout,
        direction,
        emergency,
    };
    let freezes = [(Name::new("election").unwrap(), spec(100, 200))];
    check(&freezes, asked, at(now))
}

#[test]
fn a_freeze_names_itself_its_reason_and_the_exceptions_when_it_holds_a_step() {
    let said = ask("voyager", Direction::Forward, None, 150);
    assert_eq!(said.outcome, Outcome::Fail);
    assert_eq!(said.signal, "freeze `election`");
    assert!(said.value.contains("election night"), "{}", said.value);
    let listed = "`ballots` (rollout of ballots)";
    assert!(said.remedy.contains(listed), "{}", said.remedy);
}

#[test]
fn an_emergency_is_a_remedy_only_where_a_command_can_name_one() {
    let service = ServiceName::new("voyager").unwrap();
    let freeze = FreezeSpec {
        exceptions: vec![],
        ..spec(100, 200)
    };
    let freezes = [(Name::new("election").unwrap(), freeze)];
    for (kind, named) in [(ChangeKind::Restart, true), (ChangeKind::Scale, false)] {
        let asked = Asked {
            service: &service,
            kind,
            direction: Direction::Forward,
            emergency: None,
        };
        let said = check(&freezes, asked, at(150));
        assert_eq!(said.remedy.contains("emergency"), named, "{}", said.remedy);
    }
}

#[test]
fn restoring_steps_exceptions_and_hours_outside_the_freeze_pass() {
    for (service, direction, now) in [
        ("voyager", Direction::Restoring, 150),
        ("ballots", Direction::Forward, 150),
        ("voyager", Direction::Forward, 99),
        ("voyager", Direction::Forward, 200),
    ] {
        assert_eq!(ask(service, direction, None, now).outcome, Outcome::Pass);
    }
}

#[test]
fn what_an_exception_lets_through_says_which_and_what_no_freeze_covers_says_so() {
    let passed = ask("ballots", Direction::Forward, None, 150);
    assert_eq!(
        passed.value,
        "exception `ballots` of `election` lets it through"
    );
    let after = ask("ballots", Direction::Forward, None, 200);
    assert_eq!(after.value, "none in force");
}

#[test]
fn only_an_emergency_that_waives_freezes_passes_one_and_the_finding_says_who() {
    for waives in [true, false] {
        let name = Name::new("down").unwrap();
        let policy = EmergencySpec {
            name: name.clone(),
            waives_evidence: true,
            waives_freeze: waives,
        };
        let wanted = Emergency {
            policy: name,
            reason: "site down".into(),
            stated_demand_rps: None,
            stated_capacity_rps: None,
        };
        let declared = Declared::new(
            &[policy],
            &wanted,
            &Actor::verified("ana"),
            Time::from_millis(0),
        )
        .unwrap();
        let said = ask("voyager", Direction::Forward, Some(&declared), 150);
        assert_eq!(said.outcome == Outcome::Pass, waives);
        assert_eq!(said.value.contains("ana: site down"), waives);
    }
}

fn tick(state: &mut State, now: i64) {
    for event in Freeze::decide(state, at(now), Input::Tick).unwrap() {
        Freeze::evolve(state, &event);
    }
}

#[test]
fn a_freeze_begins_at_from_ends_at_until_and_wakes_for_both() {
    let mut state = Freeze::open(spec(100, 200), at(0)).unwrap();
    assert_eq!(Freeze::wake_at(&state), Some(at(100)));
    tick(&mut state, 99);
    assert!(matches!(state, State::Scheduled { .. }));
    tick(&mut state, 100);
    assert_eq!(Freeze::wake_at(&state), Some(at(200)));
    tick(&mut state, 199);
    assert!(matches!(state, State::Holding { .. }));
    tick(&mut state, 200);
    assert!(matches!(state, State::Ended { .. }));
    assert_eq!(Freeze::wake_at(&state), None);
    assert_eq!(Freeze::standing(&state).state, ChangeState::Done);
}

#[test]
fn lifting_needs_a_reason_and_something_to_lift() {
    let state = Freeze::open(spec(100, 200), at(0)).unwrap();
    let lift = |reason: &str| Input::Lift {
        actor: Actor::verified("ana"),
        reason: reason.into(),
    };
    assert_eq!(
        Freeze::decide(&state, at(0), lift(" ")).unwrap_err().signal,
        "reason"
    );
    let mut ended = state.clone();
    for event in Freeze::decide(&state, at(0), lift("over")).unwrap() {
        Freeze::evolve(&mut ended, &event);
    }
    let again = Freeze::decide(&ended, at(0), lift("over")).unwrap_err();
    assert!(again.value.contains("lifted by ana: over"), "{again}");
}

#[test]
fn a_freeze_that_would_end_before_it_begins_is_refused() {
    assert_eq!(
        Freeze::open(spec(200, 200), at(0)).unwrap_err().signal,
        "until"
    );
}

proptest! {
    #[test]
    fn an_ended_freeze_stays_ended_whatever_the_clock_does(
        ticks in prop::collection::vec(0_i64..300, 1..40),
    ) {
        let mut state = Freeze::open(spec(100, 200), at(0)).unwrap();
        let mut latest = 0;
        for now in ticks {
            tick(&mut state, now);
            latest = latest.max(now);
            prop_assert_eq!(matches!(state, State::Ended { .. }), latest >= 200);
            prop_assert_eq!(matches!(state, State::Scheduled { .. }), latest < 100);
        }
    }
}
