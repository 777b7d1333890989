//! What holds for all inputs, without an oracle.

use mainstay_stats::metric::mean;
use mainstay_stats::spending::shares;
use mainstay_stats::tail::{normal, student};
use mainstay_stats::{
    ArmState, Ask, AsymptoticSequence, Boundary, Contrast, CountProcess, DistinctSketch, Estimate,
    Inference, Interval, Joint, Level, Msprt, PValue, Period, Plan, Proportion, QuantileArm,
    QuantileSequence, QuantileSketch, Rate, RunningP, SampleRatio, Scale, Side, Spending,
    SpendingFunction, StatsError, Summary, Switchback, Traffic, benjamini_hochberg,
    benjamini_yekutieli, design_effect, distribution_gap, e_benjamini_hochberg, first_alarms, holm,
    sample_ratio, thompson_weights,
};
use mainstay_stats::{Belief, adjusted_variance, interaction, planned_se};
use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::dice::Dice;

fn level(alpha: f64) -> Level {
    Level::new(alpha).unwrap()
}

fn near(left: f64, right: f64, tolerance: f64) -> bool {
    (left - right).abs() <= tolerance * left.abs().max(right.abs()).max(1e-12)
}

fn joint(rows: &[[f64; 2]]) -> Joint<2> {
    let mut all = Joint::default();
    for row in rows {
        all.push(*row).unwrap();
    }
    all
}

fn same(left: &Joint<2>, right: &Joint<2>) -> bool {
    let size = left.product(0, 0).max(left.product(1, 1)).max(1e-9);
    left.units() == right.units()
        && [0, 1]
            .iter()
            .all(|at| near(left.mean(*at), right.mean(*at), 1e-9))
        && [(0, 0), (0, 1), (1, 1)].iter().all(|(row, column)| {
            (left.product(*row, *column) - right.product(*row, *column)).abs() <= 1e-7 * size
        })
}

fn rows() -> impl Strategy<Value = Vec<[f64; 2]>> {
    let value = prop_oneof![-1e3..1e3_f64, 1e6..1.001e6_f64, Just(0.0)];
    prop::collection::vec([value.clone(), value], 1..40)
}

/// Written and read again it is the same, but for the last bit that a JSON reader may lose.
fn survives<T: Serialize + DeserializeOwned>(value: &T) -> bool {
    fn same(left: &Value, right: &Value) -> bool {
        match (left, right) {
            (Value::Number(left), Value::Number(right)) => {
                left == right || near(left.as_f64().unwrap(), right.as_f64().unwrap(), 1e-15)
            }
            (Value::Array(left), Value::Array(right)) => {
                left.len() == right.len()
                    && left
                        .iter()
                        .zip(right)
                        .all(|(left, right)| same(left, right))
            }
            (Value::Object(left), Value::Object(right)) => {
                left.len() == right.len()
                    && left
                        .iter()
                        .all(|(key, value)| right.get(key).is_some_and(|it| same(value, it)))
            }
            _ => left == right,
        }
    }
    let written = serde_json::to_string(value).unwrap();
    let read: T = serde_json::from_str(&written).unwrap();
    same(
        &serde_json::to_value(value).unwrap(),
        &serde_json::to_value(&read).unwrap(),
    )
}

fn estimate_of(contrast: &Contrast, ask: &Ask, which: usize) -> Estimate {
    let (sequence, test) = (AsymptoticSequence::default(), Msprt::new(0.3).unwrap());
    let method = match which {
        0 => Inference::OneLook,
        1 => Inference::Asymptotic { sequence },
        _ => Inference::Msprt { test },
    };
    assert!(survives(&method));
    method.estimate(contrast, ask).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn parts_merged_in_any_way_are_what_one_pass_gives(
        all in rows(),
        cut in 0.0..1.0_f64,
    ) {
        let at = (all.len() as f64 * cut) as usize;
        let (left, right) = (joint(&all[..at]), joint(&all[at..]));
        let (mut forth, mut back) = (left, right);
        forth.merge(&right);
        back.merge(&left);
        prop_assert!(same(&forth, &joint(&all)), "{forth:?} {:?}", joint(&all));
        prop_assert!(same(&back, &joint(&all)));
    }

    #[test]
    fn a_unit_that_is_replaced_is_as_if_it_had_always_been_the_new_one(
        all in rows(),
        new in [-1e3..1e3_f64, -1e3..1e3_f64],
        at in any::<prop::sample::Index>(),
    ) {
        let mut replaced = joint(&all);
        let at = at.index(all.len());
        replaced.replace(all[at], new).unwrap();
        let mut other = all.clone();
        other[at] = new;
        let wanted = joint(&other);
        // What cancels is of the size of what was there before.
        let size = joint(&all).product(0, 0) + joint(&all).product(1, 1) + 1.0;
        prop_assert!((replaced.product(0, 1) - wanted.product(0, 1)).abs() <= 1e-8 * size);
        prop_assert!((replaced.product(0, 0) - wanted.product(0, 0)).abs() <= 1e-8 * size);
        prop_assert!((replaced.mean(1) - wanted.mean(1)).abs() <= 1e-9 * 1e6);
    }

    #[test]
    fn a_p_value_rejects_exactly_when_the_interval_leaves_the_null_out(
        effect in -0.2..0.2_f64,
        se in 0.001..0.1_f64,
        degrees in prop::option::of(2.0..1e6_f64),
        alpha in 0.0001..0.3_f64,
        null in -0.05..0.05_f64,
        side in prop_oneof![Just(Side::Both), Just(Side::Greater), Just(Side::Less)],
        which in 0..3_usize,
    ) {
        let contrast = Contrast::new(effect, se, degrees, 8_000, Scale::Absolute).unwrap();
        let ask = Ask { level: level(alpha), side, null };
        let found = estimate_of(&contrast, &ask, which);
        // Within rounding of the bound either may be said.
        let margin = 1e-9 * se;
        let close = [found.interval.low, found.interval.high].iter().any(|it| (it - null).abs() < margin);
        prop_assert!(close || found.is_significant() != found.interval.contains(null), "{found:?}");
        prop_assert!(found.interval.contains(effect));
    }

    #[test]
    fn quantiles_of_tails_are_where_the_tail_has_that_chance(
        ln_q in -600.0..-0.7_f64,
        degrees in prop_oneof![1.0..5.0_f64, 5.0..1e3_f64, 1e3..1e9_f64],
    ) {
        let z = normal::upper_quantile(ln_q.exp());
        prop_assert!(near(normal::ln_survival(z), ln_q, 1e-12));
        let moderate = (ln_q / 10.0).exp();
        let t = student::upper_quantile(moderate, degrees);
        prop_assert!(near(student::survival(t, degrees).ln(), moderate.ln(), 1e-11), "{t}");
        prop_assert!(student::survival(-t, degrees).value() + moderate > 1.0 - 1e-12);
    }

    #[test]
    fn corrections_only_raise_p_values_and_the_strict_ones_more(
        p in prop::collection::vec(1e-12..1.0_f64, 1..30),
    ) {
        let p: Vec<PValue> = p.into_iter().map(PValue::from_value).collect();
        let (strict, shared, any) = (holm(&p), benjamini_hochberg(&p), benjamini_yekutieli(&p));
        for at in 0..p.len() {
            prop_assert!(p[at].ln() <= shared[at].ln() + 1e-12);
            prop_assert!(shared[at].ln() <= strict[at].ln() + 1e-12);
            prop_assert!(shared[at].ln() <= any[at].ln() + 1e-12);
            for other in 0..p.len() {
                prop_assert!(p[at] > p[other] || strict[at].ln() <= strict[other].ln() + 1e-12);
            }
        }
    }

    #[test]
    fn e_values_are_rejected_as_the_definition_says(
        ln_e in prop::collection::vec(-2.0..12.0_f64, 1..12),
        alpha in 0.01..0.2_f64,
    ) {
        let found = e_benjamini_hochberg(&ln_e, level(alpha));
        let count = ln_e.len();
        let largest = (1..=count).rev().find(|k| {
            let bound = (count as f64 / (*k as f64 * alpha)).ln();
            ln_e.iter().filter(|it| **it >= bound).count() >= *k
        });
        for (ln_e, found) in ln_e.iter().zip(found) {
            let bound = largest.map(|k| (count as f64 / (k as f64 * alpha)).ln());
            prop_assert_eq!(found, bound.is_some_and(|bound| *ln_e >= bound));
        }
    }

    #[test]
    fn alarms_are_those_of_closed_testing_and_never_fewer_than_of_equal_shares(
        ln_e in prop::collection::vec(-3.0..9.0_f64, 1..7),
    ) {
        let alpha = level(0.05);
        let found = first_alarms(&ln_e, alpha);
        for own in 0..ln_e.len() {
            // Every set of guardrails with this one has to be rejected by the mean of its e-values.
            let all_sets = (0_u32..1 << ln_e.len()).filter(|set| set & (1 << own) != 0);
            let wanted = all_sets.fold(true, |is_alarm, set| {
                let inside: Vec<f64> = (0..ln_e.len())
                    .filter(|at| set & (1 << at) != 0)
                    .map(|at| ln_e[at].exp())
                    .collect();
                let mean = inside.iter().sum::<f64>() / inside.len() as f64;
                is_alarm && mean >= 20.0
            });
            prop_assert_eq!(found[own], wanted);
            let by_share = ln_e[own] >= (20.0 * ln_e.len() as f64).ln();
            prop_assert!(found[own] || !by_share);
        }
    }

    #[test]
    fn a_sketch_knows_every_quantile_to_its_accuracy(
        values in prop::collection::vec(prop_oneof![1e-6..1e6_f64, Just(0.0), -1e3..-1e-3_f64], 1..200),
        share in 0.0..1.0_f64,
        cut in any::<prop::sample::Index>(),
    ) {
        let mut whole = QuantileSketch::new(0.02).unwrap();
        let mut parts = [whole.clone(), whole.clone()];
        let cut = cut.index(values.len());
        for (at, value) in values.iter().enumerate() {
            whole.push(*value).unwrap();
            parts[usize::from(at < cut)].push(*value).unwrap();
        }
        let [mut first, second] = parts;
        first.merge(&second).unwrap();
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = ((share * sorted.len() as f64).ceil() as usize).clamp(1, sorted.len());
        let exact = sorted[rank - 1];
        let bucket = whole.bucket_of(rank as u64).unwrap();
        let slack = 1e-9 * exact.abs();
        prop_assert!(bucket.low - slack <= exact && exact <= bucket.high + slack, "{bucket:?} {exact}");
        // A bucket's ends are within twice the accuracy of each other.
        prop_assert!((bucket.high - bucket.low).abs() <= 0.0409 * exact.abs().max(bucket.high.abs()));
        prop_assert_eq!(first.bucket_of(rank as u64), whole.bucket_of(rank as u64));
        prop_assert_eq!(first.buckets().map(|it| it.count).sum::<u64>(), values.len() as u64);
        prop_assert!(survives(&whole));
    }

    #[test]
    fn evidence_of_counts_is_worth_one_on_average_when_shares_are_right(
        weight in 0.05..0.95_f64,
        past in (0_u64..30, 0_u64..30),
        more in 1_u64..12,
    ) {
        let start = {
            let mut it = CountProcess::new(&[weight, 1.0 - weight]).unwrap();
            it.observe(&[past.0, past.1]).unwrap();
            it
        };
        let mut average = 0.0;
        let mut chance = (1.0 - weight).powi(more as i32);
        for first in 0..=more {
            let mut next = start.clone();
            next.observe(&[first, more - first]).unwrap();
            average += chance * (next.log_e() - start.log_e()).exp();
            chance *= (more - first) as f64 / (first as f64 + 1.0) * weight / (1.0 - weight);
        }
        prop_assert!((average - 1.0).abs() < 1e-9, "{average}");
    }

    #[test]
    fn a_rate_ratio_is_kept_unless_the_evidence_against_it_is_large(
        control in 0_u64..500,
        treatment in 0_u64..500,
        exposure in 0.2..5.0_f64,
    ) {
        let found = CountProcess::rate_ratio([control, treatment], [1.0, exposure], 100.0, level(0.05)).unwrap();
        if control > 0 && treatment > 0 {
            let ratio = treatment as f64 / exposure / control as f64;
            prop_assert!(found.contains(ratio), "{found:?} {ratio}");
        }
        let stricter = CountProcess::rate_ratio([control, treatment], [1.0, exposure], 100.0, level(0.01)).unwrap();
        prop_assert!(stricter.low <= found.low && found.high <= stricter.high);
        prop_assert!(treatment > 0 || found.low == 0.0);
        prop_assert!(control > 0 || found.high.is_infinite());
    }

    #[test]
    fn weights_of_a_bandit_add_up_keep_the_floor_and_follow_the_means(
        means in prop::collection::vec((-1.0..1.0_f64, 0.01..2.0_f64), 2..6),
        floor in 0.0..0.15_f64,
    ) {
        let arms: Vec<Belief> = means.iter().map(|(mean, se)| Belief::Normal { mean: *mean, se: *se }).collect();
        let weights = thompson_weights(&arms, floor).unwrap();
        prop_assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        prop_assert!(weights.iter().all(|it| *it >= floor - 1e-12));
        let mut better = arms.clone();
        better[0] = Belief::Normal { mean: means[0].0 + 0.5, se: means[0].1 };
        prop_assert!(thompson_weights(&better, floor).unwrap()[0] >= weights[0] - 1e-9);
    }
}

#[test]
fn the_worst_floating_point_case_of_sums_of_squares_is_exact_here() {
    let mut all = Joint::<1>::default();
    for value in [1e9, 1e9 + 1.0, 1e9 + 2.0] {
        all.push([value]).unwrap();
    }
    assert_eq!(all.variance(0), Some(1.0));
}

#[test]
fn p_values_are_told_however_small_they_are() {
    let contrast = Contrast::new(60.0, 1.0, None, 100, Scale::Absolute).unwrap();
    let p = contrast.at_one_look(&Ask::two_sided(level(0.05))).p;
    assert_eq!(p.value(), 0.0);
    assert_eq!(p.to_string(), "2.5e-784");
    assert_eq!(PValue::from_value(0.031_24).to_string(), "0.0312");
    assert_eq!(PValue::from_value(0.0), PValue::from_ln(f64::MIN));
    assert!(survives(&p));
}

#[test]
fn intervals_are_written_without_the_bound_they_do_not_have() {
    let open = Interval {
        low: 0.5,
        high: f64::INFINITY,
    };
    let written = serde_json::to_string(&open).unwrap();
    assert_eq!(written, r#"{"low":0.5}"#);
    assert_eq!(serde_json::from_str::<Interval>(&written).unwrap(), open);
    assert_eq!(
        open.meet(&Interval {
            low: 0.0,
            high: 0.4
        }),
        None
    );
    let both = Interval {
        low: 0.0,
        high: 1.0,
    };
    assert_eq!(
        open.meet(&both),
        Some(Interval {
            low: 0.5,
            high: 1.0
        })
    );
    assert!(Interval::ALL.contains(1e300));
}

fn states() -> Vec<ArmState> {
    let mut sketch = QuantileSketch::new(0.01).unwrap();
    let mut dice = Dice::new(1);
    let mut pairs = Joint::<2>::default();
    let mut fours = Joint::<4>::default();
    let mut ones = Joint::<1>::default();
    for _ in 0..5_000 {
        let [left, right] = [dice.lognormal(), dice.lognormal()];
        sketch.push(left).unwrap();
        ones.push([left]).unwrap();
        pairs.push([left + right, left]).unwrap();
        fours.push([left, right, left * 2.0, right + 1.0]).unwrap();
    }
    let mut quantile = QuantileArm::new(0.9, sketch).unwrap();
    quantile.at = 3.5;
    for _ in 0..50 {
        let hits = dice.heads(10) as f64;
        quantile.clusters.push([hits, 10.0]).unwrap();
    }
    vec![
        ArmState::Proportion(Proportion {
            units: 500,
            hits: 50,
        }),
        ArmState::Mean(ones),
        ArmState::AdjustedMean(pairs),
        ArmState::Ratio(pairs),
        ArmState::AdjustedRatio(fours),
        ArmState::Quantile(quantile),
        ArmState::Rate(Rate {
            units: 500,
            events: 90,
            exposure: 1_500.0,
        }),
    ]
}

#[test]
fn every_kind_of_state_is_written_read_merged_and_compared_and_never_with_another_kind() {
    let sequence = AsymptoticSequence::default();
    let ask = Ask::two_sided(level(0.05));
    for (at, state) in states().into_iter().enumerate() {
        assert!(survives(&state), "{state:?}");
        let mut twice = state.clone();
        twice.merge(&state).unwrap();
        assert_eq!(twice.units(), 2 * state.units());
        let one = state.summaries(&state).unwrap().0;
        let two = twice.summaries(&twice).unwrap().0;
        assert!(near(one.value, two.value, 1e-2), "{one:?} {two:?}");
        // Twice the units: half the variance. That of a quantile comes from two order statistics, which move.
        let tolerance = if matches!(state, ArmState::Quantile(_)) {
            0.5
        } else {
            1e-3
        };
        assert!(
            near(one.se().powi(2), 2.0 * two.se().powi(2), tolerance),
            "{one:?} {two:?}"
        );
        for scale in [Scale::Absolute, Scale::Relative] {
            let contrast = state.against(&twice, scale).unwrap();
            let found = sequence.estimate(&contrast, &ask).unwrap();
            assert!(!found.is_significant() && found.interval.contains(0.0));
            assert!(survives(&found), "{found:?}");
        }
        let other = &states()[(at + 1) % 7];
        assert!(matches!(
            state.clone().merge(other),
            Err(StatsError::Unlike { .. })
        ));
        assert!(matches!(
            state.against(other, Scale::Absolute),
            Err(StatsError::Unlike { .. })
        ));
    }
}

#[test]
fn what_cannot_be_judged_is_refused_with_the_reason() {
    let mut arm = Joint::<1>::default();
    assert!(matches!(mean(&arm), Err(StatsError::TooFew { .. })));
    assert!(arm.push([f64::NAN]).is_err());
    assert!(arm.replace([0.0], [1.0]).is_err());
    arm.push([1.0]).unwrap();
    arm.push([1.0]).unwrap();
    let flat = mean(&arm).unwrap();
    assert_eq!(
        flat.against(&flat, Scale::Absolute),
        Err(StatsError::NoSpread)
    );
    let zero = Summary::plain(10, 0.0, 1.0);
    let refused = zero.against(&flat, Scale::Relative).unwrap_err();
    assert!(
        refused.to_string().contains("ask for the absolute one"),
        "{refused}"
    );
    assert!(Level::new(0.0).is_err() && Level::new(f64::NAN).is_err());
    assert!(serde_json::from_str::<Level>("1.5").is_err());
    assert!(serde_json::from_str::<AsymptoticSequence>(r#"{"tightest_at":-1}"#).is_err());
    assert!(serde_json::from_str::<Msprt>(r#"{"tau":0}"#).is_err());
    let half = Ask::one_sided(level(0.5), Side::Greater);
    let contrast = Contrast::new(1.0, 1.0, None, 10, Scale::Absolute).unwrap();
    assert!(
        AsymptoticSequence::default()
            .estimate(&contrast, &half)
            .is_err()
    );
    assert!(serde_json::from_str::<Joint<2>>(r#"{"units":3,"means":[1],"products":[1]}"#).is_err());
    assert!(serde_json::from_str::<DistinctSketch>(r#""too short""#).is_err());
    assert!(Proportion { units: 1, hits: 2 }.summary().is_err());
    assert!(interaction(&[vec![None, None], vec![None, None]]).is_err());
    assert!(planned_se(0.0, &[1.0, 1.0], &[1.0, 1.0]).is_err());
    assert!(adjusted_variance(1.0, 1.0).is_err());
}

#[test]
fn an_arm_without_weight_is_no_degree_of_freedom_and_its_units_are_a_mismatch() {
    let even = sample_ratio(&[520, 480], &[1.0, 1.0]).unwrap();
    let with_idle = sample_ratio(&[520, 480, 0], &[1.0, 1.0, 0.0]).unwrap();
    assert_eq!(
        (even.statistic, even.degrees, even.p),
        (with_idle.statistic, with_idle.degrees, with_idle.p)
    );
    let strayed = sample_ratio(&[520, 480, 1], &[1.0, 1.0, 0.0]).unwrap();
    assert_eq!(strayed.stray, 1);
    assert!(strayed.p.is_below(level(1e-300)));
    assert!(sample_ratio(&[1, 2], &[1.0, 0.0]).is_err());
    assert!(sample_ratio(&[1, 2], &[1.0, -1.0]).is_err());
    let mut watched = SampleRatio::new(&[1.0, 1.0, 0.0]).unwrap();
    watched.observe(&[10, 10, 0]).unwrap();
    assert!(!watched.is_mismatch(level(0.001)));
    watched.observe(&[0, 0, 1]).unwrap();
    assert!(watched.is_mismatch(level(0.001)) && watched.stray() == 1);
}

#[test]
fn distinct_units_are_counted_within_five_percent_however_they_are_split() {
    let mut sketch = DistinctSketch::default();
    let mut parts = [DistinctSketch::default(), DistinctSketch::default()];
    let mut dice = Dice::new(5);
    let mut count = 0_u32;
    for wanted in [10_u32, 1_000, 20_000, 300_000] {
        while count < wanted {
            let hash = dice.bits();
            sketch.insert_hash(hash);
            sketch.insert_hash(hash);
            parts[(count % 2) as usize].insert_hash(hash);
            count += 1;
        }
        let error = sketch.estimate() / f64::from(wanted) - 1.0;
        assert!(error.abs() < 0.05, "{wanted}: {error}");
    }
    let [mut first, second] = parts;
    first.merge(&second);
    assert_eq!(first, sketch);
    let written = serde_json::to_string(&sketch).unwrap();
    assert!(written.len() < 4_200);
    assert_eq!(
        serde_json::from_str::<DistinctSketch>(&written).unwrap(),
        sketch
    );
    assert!(DistinctSketch::default().estimate().abs() < 1e-9);
}

#[test]
fn a_sketch_of_any_span_stays_small_and_keeps_its_upper_end() {
    let mut sketch = QuantileSketch::new(0.01).unwrap();
    let mut exponent = -300;
    while exponent <= 300 {
        sketch.push(10_f64.powi(exponent)).unwrap();
        exponent += 1;
    }
    sketch.push(1e-290).unwrap();
    assert!(sketch.buckets().count() <= 2_048);
    assert!(near(sketch.quantile(1.0).unwrap(), 1e300, 0.02));
    // Of the last five values each is in a bucket of its own still.
    let bucket = sketch.bucket_of(sketch.count() - 4).unwrap();
    assert!(
        bucket.low <= 1e296 * 1.000_001 && 1e296 <= bucket.high * 1.000_001,
        "{bucket:?}"
    );
    let lowest = sketch.bucket_of(1).unwrap();
    assert!(lowest.low <= 1e-300 && lowest.high >= 1e-300, "{lowest:?}");
    let mut narrow = QuantileSketch::new(0.01).unwrap();
    narrow.push(1e-200).unwrap();
    narrow.push(5.0).unwrap();
    narrow.merge(&sketch).unwrap();
    assert_eq!(
        narrow.buckets().map(|it| it.count).sum::<u64>(),
        narrow.count()
    );
    assert!(narrow.bucket_of(1).unwrap().low <= 1e-300);
}

#[test]
fn the_running_p_value_never_rises_and_ignores_what_is_for_one_look() {
    let ask = Ask::two_sided(level(0.05));
    let sequence = AsymptoticSequence::default();
    let at = |effect, units| Contrast::new(effect, 0.01, None, units, Scale::Absolute).unwrap();
    let mut running = RunningP::default();
    running.observe(&at(0.05, 5_000).at_one_look(&ask));
    assert_eq!(running.p(), PValue::ONE);
    let strong = sequence.estimate(&at(0.05, 5_000), &ask).unwrap();
    assert_eq!(running.observe(&strong), strong.p);
    let weak = sequence.estimate(&at(0.01, 6_000), &ask).unwrap();
    assert_eq!(running.observe(&weak), strong.p);
}

#[test]
fn quantile_bands_find_a_shift_and_allow_none_where_there_is_none() {
    let mut dice = Dice::new(9);
    let empty = QuantileSketch::new(0.01).unwrap();
    let mut arms = [empty.clone(), empty.clone(), empty];
    for _ in 0..20_000 {
        let value = (20.0 * dice.lognormal()).round();
        arms[0].push(value).unwrap();
        arms[1].push((20.0 * dice.lognormal()).round()).unwrap();
        arms[2]
            .push((22.0 * dice.lognormal()).round() + 3.0)
            .unwrap();
    }
    let sequence = QuantileSequence::new(0.9, 10_000.0).unwrap();
    let ask = Ask::two_sided(level(0.05));
    let same = sequence.estimate(&arms[0], &arms[1], &ask).unwrap();
    assert!(
        !same.is_significant() && same.interval.contains(0.0),
        "{same:?}"
    );
    let shifted = sequence.estimate(&arms[0], &arms[2], &ask).unwrap();
    assert!(
        shifted.is_significant() && shifted.interval.low > 0.0,
        "{shifted:?}"
    );
    let worse = Ask::one_sided(level(0.05), Side::Greater);
    let one_sided = sequence.estimate(&arms[0], &arms[2], &worse).unwrap();
    assert!(one_sided.is_significant() && one_sided.interval.high.is_infinite());
    assert!(one_sided.interval.low >= shifted.interval.low);
    let gap = distribution_gap(&arms[0], &arms[2], level(0.05)).unwrap();
    assert!(
        gap.gap < 0.0 && gap.gap.abs() > gap.allowed && gap.p.is_below(level(0.05)),
        "{gap:?}"
    );
    let none = distribution_gap(&arms[0], &arms[1], level(0.05)).unwrap();
    assert!(
        none.gap.abs() <= none.allowed && !none.p.is_below(level(0.05)),
        "{none:?}"
    );
    // Without a value above it no upper bound is told.
    assert_eq!(
        QuantileSequence::new(0.999, 1_000.0)
            .unwrap()
            .ranks(50, level(0.05))
            .1,
        None
    );
}

#[test]
fn guardrails_never_get_more_than_the_whole_level() {
    let mut spending = Spending::new(level(0.01));
    let given: f64 = (0..1_000).map(|_| spending.take().alpha()).sum();
    assert!(given < 0.01 && near(0.01 - given, spending.left(), 1e-6));
    let even = shares(level(0.01), &[3.0, 1.0]).unwrap();
    assert!(near(even[0].alpha(), 0.0075, 1e-12) && near(even[1].alpha(), 0.0025, 1e-12));
    for function in [SpendingFunction::OBrienFleming, SpendingFunction::Pocock] {
        let spent = |at| function.spent(level(0.05), at).unwrap();
        assert!(spent(0.2) < spent(0.6) && near(spent(1.0), 0.05, 1e-9));
    }
}

#[test]
fn plans_and_their_inverse_agree_for_both_boundaries() {
    let sequence = AsymptoticSequence::default();
    for boundary in [Boundary::OneLook, Boundary::Always { sequence }] {
        for side in [Side::Both, Side::Greater, Side::Less] {
            let plan = Plan::new(boundary, Ask::one_sided(level(0.05), side), 0.8).unwrap();
            let (weights, variances) = ([1.0, 3.0], [2.0, 2.5]);
            let effect = if side == Side::Less { -0.1 } else { 0.1 };
            let units = plan.units_for(effect, &weights, &variances).unwrap();
            let se = planned_se(units, &weights, &variances).unwrap();
            assert!(near(plan.detectable(se, units).unwrap(), effect, 1e-9));
            assert!(near(plan.power_at(effect, se, units).unwrap(), 0.8, 1e-9));
            assert!(plan.units_for(-effect, &weights, &variances).is_err() == (side != Side::Both));
            // Under way at a quarter of the units, three quarters are missing.
            let now = Contrast::new(0.0, 2.0 * se, None, (units / 4.0) as u64, Scale::Absolute);
            let progress = plan.progress(&now.unwrap(), effect).unwrap();
            assert!(progress.power < 0.8 && progress.detectable.abs() > 0.1);
            assert!(
                near(progress.units_needed, units, 1e-3),
                "{progress:?} {units}"
            );
            assert!(near(progress.units_missing, 0.75 * units, 1e-2));
        }
    }
    let traffic = Traffic {
        new_units: vec![1_000.0, 500.0, 250.0],
    };
    assert_eq!(traffic.days_until(600.0, 0.5).unwrap(), Some(2));
    let tail: f64 = 1_750.0 / 3.0;
    let days = 3 + ((10_000.0 - 1_750.0) / tail).ceil() as u32;
    assert_eq!(traffic.days_until(10_000.0, 1.0).unwrap(), Some(days));
    assert_eq!(traffic.days_until(1e12, 1.0).unwrap(), None);
    assert!(traffic.days_until(1.0, 0.0).is_err());
    assert!(near(design_effect(50.0, 0.0, 0.02).unwrap(), 1.98, 1e-12));
    assert!(near(adjusted_variance(2.0, 0.5).unwrap(), 1.5, 1e-12));
}

#[test]
fn a_switchback_whose_effect_lingers_is_right_once_those_periods_are_left_out() {
    let mut dice = Dice::new(11);
    let mut before = false;
    let periods: Vec<Period> = (0..600)
        .map(|at| {
            let is_treated = (at / 6) % 2 == 1;
            // In the first period after a switch the other arm is still felt in full.
            let felt = if at % 6 == 0 { before } else { is_treated };
            before = is_treated;
            let count = 40.0;
            let total = count * (10.0 + 2.0 * f64::from(u8::from(felt))) + dice.normal();
            Period {
                is_treated,
                total,
                count,
            }
        })
        .collect();
    let effect = |carryover| {
        let design = Switchback {
            carryover,
            correlated: 2,
        };
        design.effect(&periods).unwrap()
    };
    assert!((effect(1).effect - 2.0).abs() < 0.01, "{:?}", effect(1));
    assert!(
        (effect(0).effect - 4.0 / 3.0).abs() < 0.05,
        "{:?}",
        effect(0)
    );
    assert_eq!(effect(1).units, 501);
    assert!(
        Switchback {
            carryover: 6,
            correlated: 0
        }
        .effect(&periods[6..])
        .is_err()
    );
}
