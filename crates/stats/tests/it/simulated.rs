//! Experiments without an effect, simulated with fixed seeds: how often each method calls one.
//!
//! 1,000 experiments of 100 looks, lognormal values (skewness 6.2), 100 units an arm between looks. What is asserted is
//! the observed share at its nominal level, without an allowance; a method whose true rate were 6.5 % instead of 5 % would
//! pass 1,000 experiments with chance 3 % (binomial), one at 8 % with chance 2e-4. Each test also shows that the naive
//! method fails the same data, so that it could have failed.

use mainstay_stats::metric::{adjusted_mean, mean, ratio};
use mainstay_stats::{
    Adaptive, Ask, AsymptoticSequence, Belief, Boundary, CountProcess, Joint, Level, Msprt, Plan,
    QuantileSequence, QuantileSketch, SampleRatio, Scale, Side, distribution_gap, sample_ratio,
    thompson_weights,
};

use crate::dice::Dice;

const RUNS: u64 = 1_000;
const LOOKS: usize = 100;
const UNITS: u64 = 100;

fn level(alpha: f64) -> Level {
    Level::new(alpha).unwrap()
}

/// Counts runs in which a method ever rejected.
#[derive(Default)]
struct Ever {
    this_run: bool,
    runs: u64,
}

impl Ever {
    fn saw(&mut self, is_rejected: bool) {
        self.this_run |= is_rejected;
    }

    fn end_run(&mut self) {
        self.runs += u64::from(std::mem::take(&mut self.this_run));
    }
}

#[test]
fn means_without_an_effect_are_called_different_in_at_most_five_percent_of_all_experiments() {
    let two_sided = Ask::two_sided(level(0.05));
    let greater = Ask::one_sided(level(0.05), Side::Greater);
    let less = Ask::one_sided(level(0.05), Side::Less);
    let sequence = AsymptoticSequence::default();
    let msprt = Msprt::new(0.1).unwrap();
    let names = [
        "asymptotic sequence",
        "the same, relative",
        "the same, greater",
        "the same, less",
        "mSPRT",
    ];
    let mut always: [Ever; 5] = Default::default();
    let mut welch = Ever::default();
    for run in 0..RUNS {
        let mut dice = Dice::new(run);
        let mut arms = [Joint::<1>::default(); 2];
        for _ in 0..LOOKS {
            for arm in &mut arms {
                for _ in 0..UNITS {
                    arm.push([dice.lognormal()]).unwrap();
                }
            }
            let [control, treatment] = arms.map(|arm| mean(&arm).unwrap());
            let absolute = control.against(&treatment, Scale::Absolute).unwrap();
            let relative = control.against(&treatment, Scale::Relative).unwrap();
            let found = [
                sequence.estimate(&absolute, &two_sided).unwrap(),
                sequence.estimate(&relative, &two_sided).unwrap(),
                sequence.estimate(&absolute, &greater).unwrap(),
                sequence.estimate(&absolute, &less).unwrap(),
                msprt.estimate(&absolute, &two_sided),
            ];
            for (ever, found) in always.iter_mut().zip(&found) {
                ever.saw(found.is_significant());
            }
            welch.saw(absolute.at_one_look(&two_sided).is_significant());
        }
        always.iter_mut().for_each(Ever::end_run);
        welch.end_run();
    }
    for (name, ever) in names.iter().zip(&always) {
        println!("{name}: {} of {RUNS}", ever.runs);
        assert!(ever.runs <= RUNS / 20, "{name}: {} of {RUNS}", ever.runs);
    }
    println!("Welch at every look: {} of {RUNS}", welch.runs);
    assert!(
        welch.runs > RUNS / 5,
        "the simulation would not show peeking"
    );
}

#[test]
fn adjusted_means_and_ratios_without_an_effect_hold_their_level_at_every_look() {
    let ask = Ask::two_sided(level(0.05));
    let sequence = AsymptoticSequence::default();
    let (mut adjusted, mut ratios) = (Ever::default(), Ever::default());
    for run in 0..RUNS {
        let mut dice = Dice::new(10_000 + run);
        let mut values = [Joint::<2>::default(); 2];
        let mut clicks = [Joint::<2>::default(); 2];
        for _ in 0..LOOKS {
            for (value, click) in values.iter_mut().zip(&mut clicks) {
                for _ in 0..UNITS / 4 {
                    let before = dice.lognormal();
                    value.push([before + dice.lognormal(), before]).unwrap();
                    let views = 1.0 + dice.heads(8) as f64;
                    click.push([views * dice.share(), views]).unwrap();
                }
            }
            let both = adjusted_mean(&values[0], &values[1]).unwrap();
            let contrast = both
                .control
                .against(&both.treatment, Scale::Relative)
                .unwrap();
            adjusted.saw(sequence.estimate(&contrast, &ask).unwrap().is_significant());
            let [control, treatment] = clicks.map(|arm| ratio(&arm).unwrap());
            let contrast = control.against(&treatment, Scale::Relative).unwrap();
            ratios.saw(sequence.estimate(&contrast, &ask).unwrap().is_significant());
        }
        adjusted.end_run();
        ratios.end_run();
    }
    println!(
        "adjusted: {}, ratios: {} of {RUNS}",
        adjusted.runs, ratios.runs
    );
    assert!(adjusted.runs <= RUNS / 20, "{} of {RUNS}", adjusted.runs);
    assert!(ratios.runs <= RUNS / 20, "{} of {RUNS}", ratios.runs);
}

#[test]
fn quantiles_without_an_effect_hold_their_level_at_every_look() {
    let alpha = level(0.05);
    let median = QuantileSequence::new(0.5, 5_000.0).unwrap();
    let high = QuantileSequence::new(0.95, 5_000.0).unwrap();
    // An arm's share of the level, and ranks, which depend on the number of values only.
    let half = level(0.025);
    let ranks = |sequence: &QuantileSequence| -> Vec<(Option<u64>, Option<u64>)> {
        (1..=LOOKS as u64)
            .map(|look| sequence.ranks(look * UNITS, half))
            .collect()
    };
    let plans = [ranks(&median), ranks(&high)];
    let mut ever: [Ever; 2] = Default::default();
    for run in 0..RUNS {
        let mut dice = Dice::new(20_000 + run);
        let empty = QuantileSketch::new(0.01).unwrap();
        let mut arms = [empty.clone(), empty];
        for look in 0..LOOKS {
            for arm in &mut arms {
                for _ in 0..UNITS {
                    arm.push(dice.lognormal()).unwrap();
                }
            }
            for (ever, plan) in ever.iter_mut().zip(&plans) {
                let (lower, upper) = plan[look];
                let bounds = [0, 1].map(|at| {
                    let bucket = |rank: Option<u64>| rank.and_then(|it| arms[at].bucket_of(it));
                    (
                        bucket(lower).map_or(f64::NEG_INFINITY, |it| it.low),
                        bucket(upper).map_or(f64::INFINITY, |it| it.high),
                    )
                });
                ever.saw(bounds[0].1 < bounds[1].0 || bounds[1].1 < bounds[0].0);
            }
        }
        // The whole estimate agrees with its ranks at the last look.
        if run < 3 {
            let found = median
                .estimate(&arms[0], &arms[1], &Ask::two_sided(alpha))
                .unwrap();
            assert_eq!(found.is_significant(), !found.interval.contains(0.0));
        }
        ever.iter_mut().for_each(Ever::end_run);
    }
    println!("median: {}, 95th: {} of {RUNS}", ever[0].runs, ever[1].runs);
    for ever in &ever {
        assert!(ever.runs <= RUNS / 20, "{} of {RUNS}", ever.runs);
    }
}

#[test]
fn distributions_without_an_effect_are_called_different_in_at_most_five_percent() {
    let mut ever = Ever::default();
    for run in 0..RUNS {
        let mut dice = Dice::new(30_000 + run);
        // Few values, in which chance plays the largest part.
        let empty = QuantileSketch::new(0.05).unwrap();
        let mut arms = [empty.clone(), empty];
        for _ in 0..LOOKS {
            for arm in &mut arms {
                for _ in 0..UNITS / 10 {
                    arm.push(dice.lognormal()).unwrap();
                }
            }
            let found = distribution_gap(&arms[0], &arms[1], level(0.05)).unwrap();
            ever.saw(found.gap.abs() > found.allowed);
        }
        ever.end_run();
    }
    println!("distributions: {} of {RUNS}", ever.runs);
    assert!(ever.runs <= RUNS / 20, "{} of {RUNS}", ever.runs);
}

#[test]
fn a_sample_ratio_that_is_right_is_called_a_mismatch_in_at_most_one_of_a_thousand() {
    const MANY: u64 = 20_000;
    let alpha = level(0.001);
    let (mut always, mut peeking) = (Ever::default(), Ever::default());
    for run in 0..MANY {
        let mut dice = Dice::new(40_000 + run);
        let mut watched = SampleRatio::new(&[1.0, 1.0]).unwrap();
        let mut units = [0_u64; 2];
        for _ in 0..LOOKS {
            let control = dice.heads(50) + dice.heads(50);
            let more = [control, 100 - control];
            watched.observe(&more).unwrap();
            if run < RUNS {
                units = [units[0] + more[0], units[1] + more[1]];
                let report = sample_ratio(&units, &[1.0, 1.0]).unwrap();
                peeking.saw(report.p.is_below(alpha));
            }
        }
        always.saw(watched.is_mismatch(alpha));
        always.end_run();
        peeking.end_run();
    }
    println!(
        "e-process: {} of {MANY}; chi-square: {} of {RUNS}",
        always.runs, peeking.runs
    );
    assert!(always.runs <= MANY / 1_000, "{} of {MANY}", always.runs);
    assert!(
        peeking.runs > RUNS / 200,
        "the simulation would not show peeking"
    );
}

#[test]
fn a_sample_ratio_that_is_wrong_is_found() {
    // 51 to 49 instead of even: 100 units of 10,000 are missing.
    let mut found = 0;
    for run in 0..200 {
        let mut dice = Dice::new(70_000 + run);
        let mut watched = SampleRatio::new(&[1.0, 1.0]).unwrap();
        for _ in 0..1_000 {
            let mut control = dice.heads(50) + dice.heads(50);
            control += u64::from(dice.share() < 0.5) * 2;
            watched.observe(&[control, 100 - control.min(100)]).unwrap();
        }
        found += u64::from(watched.is_mismatch(level(0.001)));
    }
    assert!(found > 180, "{found} of 200");
}

#[test]
fn counts_in_the_expected_shares_hold_their_level_also_when_shares_change() {
    let mut ever = Ever::default();
    for run in 0..RUNS {
        let mut dice = Dice::new(50_000 + run);
        let mut process = CountProcess::new(&[1.0, 1.0]).unwrap();
        for look in 0..LOOKS {
            // Half way, three quarters go to the first arm: two of four coins of one half each.
            if look == LOOKS / 2 {
                process.reweigh(&[3.0, 1.0]).unwrap();
            }
            let all = 1 + dice.bits() % 40;
            let second = (0..all)
                .filter(|_| {
                    let coins = dice.bits();
                    coins & 1 == 1 && (look < LOOKS / 2 || coins & 2 == 2)
                })
                .count() as u64;
            process.observe(&[all - second, second]).unwrap();
        }
        ever.saw(process.p().is_below(level(0.05)));
        ever.end_run();
    }
    println!("counts: {} of {RUNS}", ever.runs);
    assert!(ever.runs <= RUNS / 20, "{} of {RUNS}", ever.runs);
}

#[test]
fn equal_arms_of_a_bandit_are_told_apart_no_more_often_than_they_should_be() {
    let ask = Ask::two_sided(level(0.05));
    let sequence = AsymptoticSequence::new(1_000.0).unwrap();
    let (mut planned, mut always, mut naive) = (Ever::default(), Ever::default(), Ever::default());
    let mut means = 0.0;
    for run in 0..RUNS {
        let mut dice = Dice::new(60_000 + run);
        let mut honest = Adaptive::new(2).unwrap();
        let mut arms = [Joint::<1>::default(); 2];
        let mut weights = vec![0.5, 0.5];
        for _ in 0..30 {
            for _ in 0..UNITS / 2 {
                let arm = usize::from(dice.share() < weights[1]);
                let value = dice.normal();
                arms[arm].push([value]).unwrap();
                honest.observe(arm, value, &weights).unwrap();
            }
            let beliefs = arms.map(|arm| Belief::Normal {
                mean: arm.mean(0),
                se: mean(&arm).unwrap().se(),
            });
            weights = thompson_weights(&beliefs, 0.05).unwrap();
            let looked = honest.always(1, &sequence, &ask).unwrap();
            always.saw(looked.is_significant());
        }
        let contrast = honest.contrast(0, 1).unwrap();
        planned.saw(contrast.at_one_look(&ask).is_significant());
        let [control, treatment] = arms.map(|arm| mean(&arm).unwrap());
        means += control.value + treatment.value;
        let contrast = control.against(&treatment, Scale::Absolute).unwrap();
        naive.saw(contrast.at_one_look(&ask).is_significant());
        for ever in [&mut planned, &mut always, &mut naive] {
            ever.end_run();
        }
    }
    println!(
        "weighted: {}, always: {}, naive: {} of {RUNS}; mean of the naive means: {}",
        planned.runs,
        always.runs,
        naive.runs,
        means / (2.0 * RUNS as f64)
    );
    // The weighted estimate is normal in the limit only: two standard deviations of a count at 5 % are allowed.
    assert!(planned.runs <= 64, "{} of {RUNS}", planned.runs);
    assert!(always.runs <= RUNS / 20, "{} of {RUNS}", always.runs);
    assert!(
        naive.runs > 64,
        "the bandit would not need an estimate of its own"
    );
}

#[test]
fn a_sequential_plan_finds_its_effect_as_often_as_it_says() {
    let ask = Ask::two_sided(level(0.05));
    let sequence = AsymptoticSequence::default();
    let plan = Plan::new(Boundary::Always { sequence }, ask, 0.8).unwrap();
    let (effect, spread) = (0.05, 4.0_f64);
    let units = plan.units_for(effect, &[1.0, 1.0], &[1.0, 1.0]).unwrap();
    let fixed = Plan::new(Boundary::OneLook, ask, 0.8).unwrap();
    let fixed = fixed.units_for(effect, &[1.0, 1.0], &[1.0, 1.0]).unwrap();
    assert!(units > fixed && units < 3.0 * fixed, "{units} to {fixed}");
    let (mut found, mut at_end) = (Ever::default(), Ever::default());
    let runs = 2_000;
    for run in 0..runs {
        let mut dice = Dice::new(80_000 + run);
        let mut sum = 0.0;
        let step = units / 50.0;
        for look in 1..=50 {
            // The difference of two means of unit variance: its sum over units is a random walk.
            sum += effect * step + (spread * step).sqrt() * dice.normal();
            let seen = step * f64::from(look);
            let critical = sequence.critical(seen, &ask).unwrap();
            let is_found = (sum / seen).abs() > critical * (spread / seen).sqrt();
            found.saw(is_found);
            if look == 50 {
                at_end.saw(is_found);
            }
        }
        found.end_run();
        at_end.end_run();
    }
    println!(
        "at any look {}, at the last {} of {runs}",
        found.runs, at_end.runs
    );
    // Three standard deviations of a count at 80 %.
    assert!(at_end.runs.abs_diff(1_600) < 54, "{}", at_end.runs);
    assert!(found.runs >= at_end.runs);
}
