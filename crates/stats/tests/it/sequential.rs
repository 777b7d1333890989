//! Exact expectations over all outcomes of a tick, and simulated promises with fixed seeds.

use mainstay_stats::{
    ArmCounts, Judge, Judgement, LimitJudge, LimitJudgement, LimitTest, NonInferiority, Pair,
    StatsError, TwoArm, combine, requests_to_detect, sample_needed, smallest_detectable,
};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use statrs::distribution::{Binomial, Discrete};

fn counts(total: u64, bad: u64) -> ArmCounts {
    ArmCounts { total, bad }
}

/// One binomial draw, by skipping geometric gaps from one bad request to the next.
fn draw(rng: &mut ChaCha8Rng, total: u64, rate: f64) -> ArmCounts {
    let mut bad = 0;
    if rate > 0.0 {
        let log_good = (-rate).ln_1p();
        let mut at = 0.0;
        loop {
            at += ((1.0 - rng.random::<f64>()).ln() / log_good).floor() + 1.0;
            if at > total as f64 {
                break;
            }
            bad += 1;
        }
    }
    counts(total, bad)
}

/// Mean of `value` over all outcomes of one tick, for given true rates.
fn mean_over_tick(
    totals: (u64, u64),
    rates: (f64, f64),
    value: impl Fn(ArmCounts, ArmCounts) -> f64,
) -> f64 {
    let canary_law = Binomial::new(rates.0, totals.0).expect("a share");
    let control_law = Binomial::new(rates.1, totals.1).expect("a share");
    let mut mean = 0.0;
    for canary in 0..=totals.0 {
        for control in 0..=totals.1 {
            let chance = canary_law.pmf(canary) * control_law.pmf(control);
            mean += chance * value(counts(totals.0, canary), counts(totals.1, control));
        }
    }
    mean
}

fn past() -> impl Strategy<Value = Vec<(ArmCounts, ArmCounts)>> {
    let arm = (0_u64..40, 0.0..1.0_f64)
        .prop_map(|(total, share)| counts(total, (total as f64 * share * share) as u64));
    prop::collection::vec((arm.clone(), arm), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn evidence_for_harm_is_not_expected_to_grow_when_the_canary_is_no_worse(
        past in past(),
        totals in (1_u64..10, 1_u64..14),
        control_rate in 0.0..=1.0_f64,
        fraction in prop_oneof![Just(1.0), 0.0..=1.0_f64],
    ) {
        let mut harm = TwoArm::new();
        for (canary, control) in past {
            harm.observe(canary, control).unwrap();
        }
        let rates = (control_rate * fraction, control_rate);
        let growth = mean_over_tick(totals, rates, |canary, control| {
            let mut next = harm.clone();
            next.observe(canary, control).unwrap();
            (next.log_e() - harm.log_e()).exp()
        });
        prop_assert!(growth <= 1.0 + 1e-9, "grew by {growth}");
    }

    #[test]
    fn evidence_for_safety_is_not_expected_to_grow_when_the_canary_is_worse_by_the_margin(
        past in past(),
        totals in (1_u64..10, 1_u64..14),
        margin in 0.001..0.5_f64,
        control_share in 0.0..=1.0_f64,
        excess in prop_oneof![Just(0.0), 0.0..=1.0_f64],
    ) {
        let mut safety = NonInferiority::single(margin).unwrap();
        for (canary, control) in past {
            safety.observe(canary, control).unwrap();
        }
        // Traffic left over from the past would belong to the next block, at its own rates.
        safety.observe(counts(1, 0), counts(1, 0)).unwrap();
        let control_rate = control_share * (1.0 - margin);
        let lowest = control_rate + margin;
        let rates = ((lowest + excess * (1.0 - lowest)).min(1.0), control_rate);
        let growth = mean_over_tick(totals, rates, |canary, control| {
            let mut next = safety.clone();
            next.observe(canary, control).unwrap();
            (next.log_e() - safety.log_e()).exp()
        });
        prop_assert!(growth <= 1.0 + 1e-9, "grew by {growth}");
    }

    #[test]
    fn evidence_against_a_limit_is_not_expected_to_grow_on_the_right_side_of_it(
        limit in 0.001..0.999_f64,
        total in 1_u64..30,
        fraction in prop_oneof![Just(1.0), 0.0..=1.0_f64],
    ) {
        let mean = |start: &LimitTest, rate: f64| {
            mean_over_tick((total, 0), (rate, 0.0), |arm, _| {
                let mut next = start.clone();
                next.observe(arm).unwrap();
                next.e_value()
            })
        };
        let above = mean(&LimitTest::above(limit).unwrap(), limit * fraction);
        let below = mean(&LimitTest::below(limit).unwrap(), 1.0 - (1.0 - limit) * fraction);
        prop_assert!(above <= 1.0 + 1e-9, "above grew by {above}");
        prop_assert!(below <= 1.0 + 1e-9, "below grew by {below}");
    }

    #[test]
    fn any_counts_leave_all_numbers_finite(
        ticks in prop::collection::vec((any::<[u32; 2]>(), any::<[u32; 2]>()), 1..20),
        margin in 0.0001..0.99_f64,
    ) {
        let judge = Judge { margin, ..Judge::default() };
        let mut comparison = judge.start().unwrap();
        let arm = |[one, two]: [u32; 2]| counts(u64::from(one.max(two)), u64::from(one.min(two)));
        for (canary, control) in ticks {
            comparison.observe(arm(canary), arm(control)).unwrap();
            let judgement = judge.judge(&comparison);
            let evidence = judgement.evidence();
            prop_assert!(evidence.harm_log_e.is_finite());
            prop_assert!(evidence.safety_log_e.is_finite());
            prop_assert!((0.0..=1.0).contains(&evidence.harm_p_value));
            prop_assert!(evidence.upper_bound > 0.0 && evidence.upper_bound <= 1.0);
        }
    }

    #[test]
    fn the_p_value_of_harm_never_rises(
        ticks in prop::collection::vec((0_u64..20, 0_u64..20), 1..40),
    ) {
        let mut harm = TwoArm::new();
        let mut lowest = harm.p_value();
        for (canary, control) in ticks {
            harm.observe(counts(20, canary), counts(200, control)).unwrap();
            prop_assert!(harm.p_value() <= lowest);
            lowest = harm.p_value();
        }
    }

    #[test]
    fn impossible_counts_are_refused_and_change_nothing(total in 0_u64..50, more in 1_u64..50) {
        let judge = Judge::default();
        let mut comparison = judge.start().unwrap();
        comparison.observe(counts(10, 1), counts(100, 3)).unwrap();
        let before = comparison.clone();
        let impossible = counts(total, total + more);
        let refusal = StatsError::BadExceedsTotal { total, bad: total + more };
        prop_assert_eq!(comparison.observe(impossible, counts(9, 0)), Err(refusal));
        prop_assert_eq!(comparison.observe(counts(9, 0), impossible), Err(refusal));
        prop_assert_eq!(comparison, before);
    }
}

/// Rate shared by both arms: a 20-fold shock in the second of six minutes, and slow drift.
fn shocked_rate(tick: u32) -> f64 {
    let drift = 0.002 + 0.000_005 * f64::from(tick);
    if (60..120).contains(&tick) {
        drift * 20.0
    } else {
        drift
    }
}

/// Canary traffic of a ramp from 1 % to 50 % of 400 requests a tick.
fn ramp(tick: u32) -> (u64, u64) {
    let canary = match tick {
        0..100 => 4,
        100..300 => 40,
        300.. => 200,
    };
    (canary, 400 - canary)
}

#[test]
fn equal_arms_under_a_shared_shock_and_a_ramp_are_called_harmful_no_more_often_than_promised() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (runs, alpha) = (1_000, 0.05);
    let mut false_alarms = 0;
    for _ in 0..runs {
        let mut harm = TwoArm::new();
        for tick in 0..600 {
            let (rate, (canary, control)) = (shocked_rate(tick), ramp(tick));
            harm.observe(draw(&mut rng, canary, rate), draw(&mut rng, control, rate))
                .unwrap();
        }
        false_alarms += u32::from(harm.p_value() <= alpha);
    }
    println!("false harm: {false_alarms} of {runs}");
    assert!(f64::from(false_alarms) <= alpha * f64::from(runs));
}

#[test]
fn a_tenfold_error_rate_at_100_rps_is_found_within_a_minute() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let judge = Judge::default();
    let runs = 300_usize;
    let mut seconds = Vec::new();
    for _ in 0..runs {
        let mut harm = TwoArm::new();
        let found = (1..=60_u32).find(|_| {
            harm.observe(draw(&mut rng, 100, 0.01), draw(&mut rng, 1_000, 0.001))
                .unwrap();
            harm.p_value() <= judge.alpha_harm
        });
        seconds.extend(found);
    }
    seconds.sort_unstable();
    let missed = runs - seconds.len();
    println!("missed {missed} of {runs}; median {} s", seconds[runs / 2]);
    assert!(missed * 20 <= runs);
}

#[test]
fn a_canary_worse_by_the_margin_is_promoted_no_more_often_than_promised() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let (runs, alpha, margin) = (500, 0.05, 0.01);
    for is_shocked in [false, true] {
        let mut promoted = 0;
        for _ in 0..runs {
            let mut safety = NonInferiority::single(margin).unwrap();
            let is_promoted = (0..350).any(|tick| {
                let rate = if is_shocked {
                    shocked_rate(tick)
                } else {
                    0.002
                };
                let (canary, control) = ramp(tick);
                safety
                    .observe(
                        draw(&mut rng, canary, rate + margin),
                        draw(&mut rng, control, rate),
                    )
                    .unwrap();
                safety.upper_bound(alpha) <= margin
            });
            promoted += u32::from(is_promoted);
        }
        println!("false promotions, shocked {is_shocked}: {promoted} of {runs}");
        assert!(f64::from(promoted) <= alpha * f64::from(runs));
    }
}

#[test]
fn the_upper_bound_covers_the_true_difference_at_all_times() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let (runs, alpha, difference) = (200, 0.1, 0.012);
    let mut wrong = 0;
    for _ in 0..runs {
        let mut safety = NonInferiority::new(0.01).unwrap();
        let is_wrong = (0..100).any(|_| {
            safety
                .observe(
                    draw(&mut rng, 100, 0.005 + difference),
                    draw(&mut rng, 500, 0.005),
                )
                .unwrap();
            safety.upper_bound(alpha) <= difference
        });
        wrong += u32::from(is_wrong);
    }
    println!("bound too low: {wrong} of {runs}");
    assert!(f64::from(wrong) <= alpha * f64::from(runs));
}

/// Canary requests until promotion without a single error, control ten times larger.
fn requests_without_errors(margin: f64) -> u64 {
    let mut safety = NonInferiority::new(margin).expect("a share");
    for requests in 1..10_000 {
        safety
            .observe(counts(1, 0), counts(10, 0))
            .expect("sound counts");
        if safety.upper_bound(0.05) <= margin {
            return requests;
        }
    }
    panic!("never promoted")
}

#[test]
fn two_arms_without_errors_are_soon_shown_to_be_alike() {
    let (wide, narrow) = (requests_without_errors(0.05), requests_without_errors(0.01));
    println!("margin 0.05: {wide}; margin 0.01: {narrow}");
    assert!((60..=150).contains(&wide), "{wide}");
    assert!((299..=700).contains(&narrow), "{narrow}");
}

#[test]
fn one_large_tick_is_enough_for_a_verdict() {
    let judge = Judge::default();
    let mut comparison = judge.start().unwrap();
    comparison
        .observe(counts(3_000, 3), counts(30_000, 30))
        .unwrap();
    let judgement = judge.judge(&comparison);
    assert!(
        matches!(judgement, Judgement::NonInferior { .. }),
        "{judgement:?}"
    );
}

#[test]
fn the_planned_sample_promotes_a_good_canary_in_most_runs() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for (baseline, margin, ratio) in [
        (0.0, 0.01, 10_u32),
        (0.001, 0.01, 10),
        (0.01, 0.01, 10),
        (0.02, 0.01, 1),
        (0.1, 0.05, 4),
    ] {
        let needed = sample_needed(baseline, margin, 0.05, f64::from(ratio)).unwrap();
        let promoted_in = |rng: &mut ChaCha8Rng| {
            let mut safety = NonInferiority::single(margin).unwrap();
            (0..needed.div_ceil(20)).any(|_| {
                let control = draw(rng, 20 * u64::from(ratio), baseline);
                safety.observe(draw(rng, 20, baseline), control).unwrap();
                safety.upper_bound(0.05) <= margin
            })
        };
        let promoted = (0..200).filter(|_| promoted_in(&mut rng)).count();
        println!("{baseline} +{margin} 1:{ratio}: {needed} requests, {promoted} of 200");
        assert!(promoted >= 130, "{baseline} {margin}: {promoted} of 200");
        let too_few = 200 * u32::from(baseline == 0.0);
        assert!(
            too_few == 200 || promoted < 200,
            "the plan asks for too much"
        );
    }
}

#[test]
fn the_smallest_detectable_rate_is_detected_in_most_runs() {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    for (requests, baseline, ratio) in [(6_000_u64, 0.001, 10_u32), (2_000, 0.01, 1), (500, 0.0, 4)]
    {
        let rate = smallest_detectable(requests, baseline, 0.001, f64::from(ratio)).unwrap();
        assert!(requests_to_detect(baseline, rate, 0.001, f64::from(ratio)).unwrap() <= requests);
        let detected_in = |rng: &mut ChaCha8Rng| {
            let mut harm = TwoArm::new();
            for _ in 0..requests / 20 {
                let control = draw(rng, 20 * u64::from(ratio), baseline);
                harm.observe(draw(rng, 20, rate), control).unwrap();
            }
            harm.p_value() <= 0.001
        };
        let detected = (0..200).filter(|_| detected_in(&mut rng)).count();
        println!("{requests} at {baseline}: {rate:.5} detected in {detected} of 200");
        assert!((130..200).contains(&detected), "{detected} of 200");
    }
}

#[test]
fn a_plan_that_no_traffic_can_meet_is_refused() {
    assert_eq!(sample_needed(1.0, 0.02, 0.05, 10.0), None);
    assert_eq!(sample_needed(0.01, 0.01, 0.05, 0.0), None);
    assert_eq!(sample_needed(f64::NAN, 0.01, 0.05, 1.0), None);
    assert_eq!(smallest_detectable(2, 0.001, 0.001, 10.0), None);
    assert_eq!(requests_to_detect(0.01, 0.01, 0.001, 10.0), None);
}

#[test]
fn arms_that_fail_alike_are_never_harmful_and_named_as_both_failing() {
    let judge = Judge::default();
    let mut comparison = judge.start().unwrap();
    for _ in 0..50 {
        comparison
            .observe(counts(100, 0), counts(1_000, 1))
            .unwrap();
    }
    assert!(matches!(
        judge.judge(&comparison),
        Judgement::NonInferior { .. }
    ));
    for _ in 0..50 {
        comparison
            .observe(counts(100, 60), counts(1_000, 600))
            .unwrap();
        assert!(!matches!(
            judge.judge(&comparison),
            Judgement::Harmful { .. }
        ));
    }
    let Judgement::BothFailing { rate, evidence } = judge.judge(&comparison) else {
        panic!("{:?}", judge.judge(&comparison));
    };
    assert!((0.59..=0.6).contains(&rate));
    assert!(evidence.harm_p_value > 0.5);
}

#[test]
fn a_promotion_resumes_after_a_shared_outage() {
    let judge = Judge::default();
    let mut comparison = judge.start().unwrap();
    for _ in 0..60 {
        comparison
            .observe(counts(100, 60), counts(1_000, 600))
            .unwrap();
    }
    let ticks = (0..200)
        .find(|_| {
            comparison
                .observe(counts(100, 0), counts(1_000, 1))
                .unwrap();
            matches!(judge.judge(&comparison), Judgement::NonInferior { .. })
        })
        .expect("promotion within 200 good ticks");
    println!("promoted {ticks} ticks after the outage");
    assert!(ticks >= 10, "the outage must cost evidence");
}

#[test]
fn a_sudden_shared_shock_costs_a_bounded_amount_of_evidence() {
    let mut safety = NonInferiority::single(0.01).unwrap();
    let quiet = |safety: &mut NonInferiority| {
        safety
            .observe(counts(100, 0), counts(1_000, 1))
            .expect("sound counts");
    };
    for _ in 0..100 {
        quiet(&mut safety);
    }
    let before = safety.log_e();
    for _ in 0..3 {
        safety.observe(counts(100, 80), counts(1_000, 800)).unwrap();
    }
    let lost = before - safety.log_e();
    println!("lost {lost}");
    assert!(lost < 3.0 * 9.9, "lost {lost} nats");
    let needed = (1..200).find(|_| {
        quiet(&mut safety);
        safety.log_e() >= before
    });
    println!("back after {needed:?}");
    assert!(needed.is_some_and(|ticks| ticks <= 60));
}

#[test]
fn no_traffic_in_one_arm_is_insufficient_whatever_the_other_shows() {
    let judge = Judge::default();
    for (canary, control) in [
        (counts(0, 0), counts(0, 0)),
        (counts(5_000, 0), counts(0, 0)),
        (counts(5_000, 5_000), counts(0, 0)),
        (counts(0, 0), counts(5_000, 0)),
    ] {
        let mut comparison = judge.start().unwrap();
        comparison.observe(canary, control).unwrap();
        let Judgement::Insufficient {
            needed_requests,
            evidence,
        } = judge.judge(&comparison)
        else {
            panic!("{canary:?} {control:?}");
        };
        assert!(needed_requests.is_some_and(|needed| needed > 100));
        assert_eq!(evidence.upper_bound, 1.0);
    }
}

#[test]
fn arms_served_in_turns_are_judged_as_if_served_together() {
    let (mut turns, mut together) = (
        NonInferiority::new(0.01).unwrap(),
        NonInferiority::new(0.01).unwrap(),
    );
    for _ in 0..40 {
        turns.observe(counts(10, 0), counts(0, 0)).unwrap();
        turns.observe(counts(10, 0), counts(0, 0)).unwrap();
        turns.observe(counts(0, 0), counts(100, 1)).unwrap();
        together.observe(counts(20, 0), counts(100, 1)).unwrap();
    }
    assert_eq!(turns, together);
    assert!(turns.log_e() > 1.0);
}

#[test]
fn a_small_sample_is_not_promoted_before_the_minimum() {
    let judge = Judge {
        margin: 0.2,
        min_sample: 500,
        ..Judge::default()
    };
    let mut comparison = judge.start().unwrap();
    comparison
        .observe(counts(499, 0), counts(5_000, 0))
        .unwrap();
    let Judgement::Insufficient {
        needed_requests, ..
    } = judge.judge(&comparison)
    else {
        panic!("too early");
    };
    assert_eq!(needed_requests, Some(1));
    comparison.observe(counts(1, 0), counts(10, 0)).unwrap();
    assert!(matches!(
        judge.judge(&comparison),
        Judgement::NonInferior { .. }
    ));
}

#[test]
fn harm_once_shown_outlasts_a_quiet_spell() {
    let judge = Judge::default();
    let mut comparison = judge.start().unwrap();
    comparison
        .observe(counts(100, 30), counts(1_000, 1))
        .unwrap();
    for _ in 0..1_000 {
        comparison
            .observe(counts(100, 0), counts(1_000, 3))
            .unwrap();
    }
    assert!(comparison.harm().log_e() < 0.0);
    assert!(matches!(
        judge.judge(&comparison),
        Judgement::Harmful { .. }
    ));
}

#[test]
fn one_harmful_metric_outweighs_the_rest_and_all_must_pass_for_promotion() {
    let judge = Judge::default().for_each_of(4);
    assert_eq!(judge.alpha_harm, 0.001 / 4.0);
    let verdict = |canary, control| {
        let mut comparison = judge.start().unwrap();
        comparison.observe(canary, control).unwrap();
        judge.judge(&comparison)
    };
    let good = verdict(counts(5_000, 0), counts(50_000, 0));
    let unknown = verdict(counts(10, 0), counts(100, 0));
    let outage = verdict(counts(50, 25), counts(500, 250));
    let bad = verdict(counts(500, 100), counts(5_000, 1));
    let verdicts = [good, bad, unknown, outage];
    assert_eq!(combine(&verdicts), Some(&bad));
    assert_eq!(combine(&[unknown, outage, good]), Some(&outage));
    assert_eq!(combine(&[good, unknown]), Some(&unknown));
    assert_eq!(combine(&[good, good]), Some(&good));
    assert!(matches!(good, Judgement::NonInferior { .. }));
    assert_eq!(combine(&[]), None);
}

#[test]
fn a_lone_arm_is_judged_against_the_limit_with_the_promised_errors() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let judge = LimitJudge {
        alpha_harm: 0.05,
        ..LimitJudge::default()
    };
    let (runs, mut above, mut below) = (500, 0, 0);
    for _ in 0..runs {
        let mut watch = judge.start().unwrap();
        let (mut is_above, mut is_below) = (false, false);
        for _ in 0..300 {
            watch.observe(draw(&mut rng, 50, judge.limit)).unwrap();
            match judge.judge(&watch) {
                LimitJudgement::Above { .. } => is_above = true,
                LimitJudgement::Below { .. } => is_below = true,
                LimitJudgement::Insufficient { .. } => {}
            }
        }
        above += u32::from(is_above);
        below += u32::from(is_below);
    }
    println!("at the limit: above {above}, below {below} of {runs}");
    assert!(above <= 25 && below <= 25);
    let mut watch = judge.start().unwrap();
    watch.observe(counts(700, 0)).unwrap();
    assert!(matches!(judge.judge(&watch), LimitJudgement::Below { .. }));
    watch.observe(counts(300, 40)).unwrap();
    assert!(matches!(judge.judge(&watch), LimitJudgement::Above { .. }));
}

#[test]
fn settings_outside_the_unit_interval_are_refused() {
    for value in [0.0, 1.0, -0.1, f64::NAN, f64::INFINITY] {
        let judge = Judge {
            margin: value,
            ..Judge::default()
        };
        assert!(judge.start().is_err());
        assert!(NonInferiority::new(value).is_err());
        assert!(LimitTest::above(value).is_err());
        let judge = LimitJudge {
            alpha_safe: value,
            ..LimitJudge::default()
        };
        assert!(judge.start().is_err());
    }
}

#[test]
fn kinds_of_requests_in_other_proportions_say_nothing_about_the_versions() {
    // One kind fails one time in ten whoever answers, the other never: only the mix differs between the arms.
    let often = |total| counts(total, total / 10);
    let judge = Judge::default();
    let (mut mixed, mut apart) = (judge.start().unwrap(), judge.start().unwrap());
    let (mut better, mut apart_better) = (judge.start().unwrap(), judge.start().unwrap());
    let pair = |canary, control| Pair { canary, control };
    for _ in 0..100 {
        let worse_mix = [
            pair(often(20), often(20)),
            pair(counts(10, 0), counts(400, 0)),
        ];
        let [one, other] = worse_mix;
        let both = one.plus(other);
        mixed.observe(both.canary, both.control).unwrap();
        apart.observe_strata(worse_mix).unwrap();
        // And a canary that is worse in the one kind by five points, hidden by getting little of it.
        let better_mix = [
            pair(counts(20, 3), often(400)),
            pair(counts(400, 0), counts(20, 0)),
        ];
        let [one, other] = better_mix;
        let both = one.plus(other);
        better.observe(both.canary, both.control).unwrap();
        apart_better.observe_strata(better_mix).unwrap();
    }
    let is_harm = |it: &Judgement| matches!(it, Judgement::Harmful { .. });
    let is_safe = |it: &Judgement| matches!(it, Judgement::NonInferior { .. });
    assert!(is_harm(&judge.judge(&mixed)), "or the test shows nothing");
    assert!(!is_harm(&judge.judge(&apart)), "{:?}", judge.judge(&apart));
    assert!(is_safe(&judge.judge(&better)), "or the test shows nothing");
    assert!(is_harm(&judge.judge(&apart_better)));
}

#[test]
fn one_kind_alone_is_judged_as_if_there_were_no_kinds() {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let judge = Judge::default();
    let (mut plain, mut second) = (judge.start().unwrap(), judge.start().unwrap());
    for _ in 0..50 {
        let (canary, control) = (draw(&mut rng, 3, 0.1), draw(&mut rng, 30, 0.05));
        plain.observe(canary, control).unwrap();
        let pair = Pair { canary, control };
        second.observe_strata([Pair::default(), pair]).unwrap();
    }
    assert_eq!(plain, second);
}
