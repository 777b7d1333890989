use super::*;

fn well() -> BackendHealth {
    let mut health = BackendHealth::new(1_000);
    health.claim(0, true);
    health
}

fn outcomes(health: &mut BackendHealth, at: u64, outcome: Outcome, n: usize) {
    for _ in 0..n {
        health.outcome(at, outcome);
    }
}

#[test]
fn a_backend_that_nobody_calls_is_unknown_and_in_rotation() {
    let mut health = well();
    health.tick(5_000, 0);
    assert_eq!(health.verdict(), HealthVerdict::Unknown);
    assert_eq!(health.share(), 1.0);
}

#[test]
fn four_bad_answers_say_nothing_and_five_do() {
    let mut health = well();
    outcomes(&mut health, 500, Outcome::Bad, 4);
    health.tick(1_000, 0);
    assert_eq!(health.measured(), MeasuredHealth::Good);
    outcomes(&mut health, 1_100, Outcome::Bad, 1);
    health.tick(2_000, 0);
    assert_eq!(health.verdict(), HealthVerdict::Lying);
}

#[test]
fn a_minority_of_bad_answers_keeps_it_healthy() {
    let mut health = well();
    outcomes(&mut health, 500, Outcome::Bad, 49);
    outcomes(&mut health, 500, Outcome::Good, 51);
    health.tick(1_000, 0);
    assert_eq!(health.verdict(), HealthVerdict::Healthy);
}

#[test]
fn three_lost_requests_are_a_hang_unless_thousands_came_back() {
    let mut health = well();
    outcomes(&mut health, 500, Outcome::Lost, 3);
    health.tick(1_000, 0);
    assert_eq!(health.verdict(), HealthVerdict::Lying);
    outcomes(&mut health, 1_500, Outcome::Good, 1_000);
    health.tick(2_000, 0);
    assert_eq!(health.verdict(), HealthVerdict::Healthy);
}

#[test]
fn a_request_older_than_twice_the_timeout_makes_an_ok_claim_a_lie() {
    let mut health = well();
    health.tick(1_000, 2_000);
    assert_eq!(health.verdict(), HealthVerdict::Unknown);
    health.tick(2_000, 2_001);
    assert_eq!(health.verdict(), HealthVerdict::Lying);
}

#[test]
fn one_bad_health_check_is_no_claim_and_two_are() {
    let mut health = well();
    health.claim(1_000, false);
    assert_eq!(health.claimed(), ClaimedHealth::Ok);
    health.claim(2_000, false);
    health.tick(2_000, 0);
    assert_eq!(health.verdict(), HealthVerdict::Unhealthy);
}

#[test]
fn its_word_alone_never_takes_it_out() {
    let mut health = well();
    for at in 1..20 {
        health.claim(at * 1_000, false);
        outcomes(&mut health, at * 1_000, Outcome::Good, 5);
        health.tick(at * 1_000, 0);
        assert!(!health.is_failing() && health.turned_bad_ms().is_none());
    }
    assert_eq!(health.verdict(), HealthVerdict::Unhealthy, "and it is seen");
}

#[test]
fn where_nobody_listens_it_fails_until_somebody_does() {
    let mut health = well();
    health.refused();
    health.tick(1_000, 0);
    assert!(!health.is_failing(), "one lost packet");
    health.refused();
    health.tick(2_000, 0);
    assert_eq!(
        (health.claimed(), health.measured()),
        (ClaimedHealth::Silent, MeasuredHealth::Bad)
    );
    assert_eq!(health.turned_bad_ms(), Some(2_000));
    health.outcome(2_500, Outcome::Good);
    health.tick(3_000, 0);
    assert!(
        !health.is_failing(),
        "users on old connections are answered"
    );
    health.refused();
    health.refused();
    health.claim(5_000, true);
    health.tick(5_000, 0);
    assert!(!health.is_failing());
}

#[test]
fn three_changes_of_mind_in_a_minute_are_unhealthy_until_a_minute_is_quiet() {
    // Unwell, and in rotation: only what was measured takes it out.
    let mut health = well();
    health.claim(1_000, false);
    health.claim(2_000, false);
    health.claim(3_000, true);
    health.claim(4_000, false);
    health.claim(5_000, false);
    health.claim(6_000, true);
    health.tick(6_500, 0);
    assert!(health.is_bad() && !health.is_failing());
    assert!(health.evidence().contains("3 times"));
    health.tick(65_000, 0);
    assert!(health.is_bad());
    health.tick(66_001, 0);
    assert!(!health.is_bad());
}

#[test]
fn changes_of_mind_spread_over_more_than_a_minute_are_forgiven() {
    let mut health = well();
    for (at, good) in [
        (0, false),
        (1, false),
        (40_000, true),
        (70_000, false),
        (70_001, false),
    ] {
        health.claim(at, good);
    }
    health.claim(71_000, true);
    health.tick(71_500, 0);
    // 40 s, 70 s and 71 s are within a minute: this one flaps, the pair before did not.
    assert!(health.is_bad());
    let mut slow = well();
    for (at, good) in [
        (0, false),
        (1, false),
        (40_000, true),
        (70_000, false),
        (70_001, false),
    ] {
        slow.claim(at, good);
    }
    slow.tick(70_002, 0);
    assert!(slow.is_bad(), "its claim is failing");
    assert!(!slow.evidence().contains("3 times"));
}

#[test]
fn an_ejected_backend_returns_after_three_probes_with_a_growing_share() {
    let mut health = well();
    outcomes(&mut health, 500, Outcome::Bad, 9);
    health.tick(1_000, 0);
    health.eject();
    assert_eq!(
        (health.share(), health.verdict()),
        (0.0, HealthVerdict::Lying)
    );
    for (at, good) in [
        (2_000, true),
        (3_000, true),
        (4_000, false),
        (5_000, true),
        (6_000, true),
    ] {
        health.probed(at, good);
        assert!(health.is_out(), "two in a row are not three");
    }
    health.probed(7_000, true);
    health.tick(7_000, 0);
    assert_eq!(health.verdict(), HealthVerdict::Recovering);
    assert!((health.share() - 0.1).abs() < 1e-9);
    health.tick(12_000, 0);
    assert!((health.share() - 0.55).abs() < 1e-9);
    health.tick(17_000, 0);
    assert_eq!(health.share(), 1.0);
}

#[test]
fn one_that_answers_users_now_and_then_leaves_for_as_long_as_it_flaps() {
    let mut health = well();
    for (at, outcome) in [
        (0, Outcome::Good),
        (11, Outcome::Bad),
        (22, Outcome::Good),
        (33, Outcome::Bad),
    ] {
        outcomes(&mut health, at * 1_000, outcome, 9);
        health.tick(at * 1_000, 0);
    }
    health.tick(44_000, 0);
    assert_eq!(health.measured(), MeasuredHealth::Unknown);
    assert!(health.is_failing());
    health.eject();
    for at in 50..60 {
        health.probed(at * 1_000, true);
    }
    assert!(health.is_out(), "it flapped within a minute");
    for at in 94..98 {
        health.probed(at * 1_000, true);
    }
    assert!(!health.is_out());
}

#[test]
fn good_probes_bring_it_back_whatever_it_says() {
    let mut health = well();
    outcomes(&mut health, 500, Outcome::Bad, 9);
    health.claim(1_000, false);
    health.claim(2_000, false);
    health.tick(2_000, 0);
    health.eject();
    for at in 3..6 {
        health.probed(at * 1_000, true);
    }
    assert!(!health.is_out());
}

#[test]
fn outcomes_are_forgotten_after_ten_seconds() {
    let mut health = well();
    outcomes(&mut health, 500, Outcome::Bad, 9);
    health.tick(11_000, 0);
    assert_eq!(health.measured(), MeasuredHealth::Unknown);
}
