//! What an analysis of 1,000 experiments costs, from parts of arms to decisions.
//!
//! `cargo run --release -p mainstay-stats --example refresh_bench`
//!
//! Each experiment has two arms and ten metrics: three shares, two means, two adjusted means, a ratio, an adjusted ratio and
//! a quantile. Each arm of each metric comes in 24 parts, such as one an hour. A refresh merges all of them and says for
//! every metric the estimate of one look, the always-valid one and the posterior; for every experiment the sample ratio and the
//! corrected p-values. One thread.

use std::{error::Error, hint::black_box, time::Instant};

use mainstay_stats::{
    ArmState, Ask, AsymptoticSequence, Joint, Level, PValue, Prior, Proportion, QuantileArm,
    QuantileSequence, QuantileSketch, Scale, benjamini_hochberg, posterior, sample_ratio,
};

const EXPERIMENTS: usize = 1_000;
const METRICS: usize = 10;
const PARTS: usize = 24;
/// Units an arm has in one part.
const UNITS: usize = 400;
/// Sets of parts that differ; experiments take them in turn.
const SETS: usize = 8;
const ROUNDS: usize = 5;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The same numbers in each run.
struct Dice(u64);

impl Dice {
    fn share(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Between 0 and infinity, with a long tail.
    fn value(&mut self) -> f64 {
        -(1.0 - self.share()).ln() * (0.5 + self.share())
    }
}

/// One part of one arm, ten metrics.
fn part(dice: &mut Dice) -> Outcome<Vec<ArmState>> {
    let mut ones = [Joint::<1>::default(); 2];
    let mut twos = [Joint::<2>::default(); 3];
    let mut fours = Joint::<4>::default();
    let mut hits = [0; 3];
    let mut quantile = QuantileArm::new(0.95, QuantileSketch::new(0.01)?)?;
    for _ in 0..UNITS {
        for count in &mut hits {
            *count += u64::from(dice.share() < 0.1);
        }
        for arm in &mut ones {
            arm.push([dice.value()])?;
        }
        let (before, views) = (dice.value(), 1.0 + dice.value());
        for arm in &mut twos {
            arm.push([before + dice.value(), views])?;
        }
        fours.push([dice.value(), views, before, 1.0 + dice.value()])?;
        quantile.sketch.push(0.05 * dice.value())?;
    }
    let mut all: Vec<ArmState> = hits
        .map(|hits| {
            ArmState::Proportion(Proportion {
                units: UNITS as u64,
                hits,
            })
        })
        .into();
    all.extend(ones.map(ArmState::Mean));
    let [first, second, third] = twos;
    all.extend([
        ArmState::AdjustedMean(first),
        ArmState::AdjustedMean(second),
        ArmState::Ratio(third),
        ArmState::AdjustedRatio(fours),
        ArmState::Quantile(quantile),
    ]);
    Ok(all)
}

fn merged(parts: &[Vec<ArmState>]) -> Outcome<Vec<ArmState>> {
    let (first, rest) = parts.split_first().ok_or("no parts")?;
    let mut arm = first.clone();
    for part in rest {
        for (metric, more) in arm.iter_mut().zip(part) {
            metric.merge(more)?;
        }
    }
    Ok(arm)
}

/// All that is said of one experiment: the number of significant metrics, after merging and judging.
fn refresh(arms: &[Vec<Vec<ArmState>>; 2], ask: &Ask) -> Outcome<usize> {
    let [control, treatment] = [merged(&arms[0])?, merged(&arms[1])?];
    let sequence = AsymptoticSequence::default();
    let band = QuantileSequence::new(0.95, 10_000.0)?;
    let mut p = Vec::<PValue>::with_capacity(METRICS);
    for (own, others) in control.iter().zip(&treatment) {
        let contrast = own.against(others, Scale::Relative)?;
        black_box(contrast.at_one_look(ask));
        black_box(posterior(&contrast, Prior::Flat, ask.level)?);
        let always = match (own, others) {
            (ArmState::Quantile(own), ArmState::Quantile(others)) => {
                band.estimate(&own.sketch, &others.sketch, ask)?
            }
            _ => sequence.estimate(&contrast, ask)?,
        };
        p.push(always.p);
    }
    let units = [control[0].units(), treatment[0].units()];
    black_box(sample_ratio(&units, &[1.0, 1.0])?);
    let corrected = benjamini_hochberg(&p);
    Ok(corrected.iter().filter(|it| it.is_below(ask.level)).count())
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn main() -> Outcome<()> {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut sets = Vec::new();
    for _ in 0..SETS {
        let mut arm = || {
            (0..PARTS)
                .map(|_| part(&mut dice))
                .collect::<Outcome<Vec<_>>>()
        };
        sets.push([arm()?, arm()?]);
    }
    let ask = Ask::two_sided(Level::new(0.05)?);
    let (mut whole, mut merging) = (Vec::new(), Vec::new());
    let mut significant = 0;
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        for experiment in 0..EXPERIMENTS {
            significant += refresh(&sets[experiment % SETS], &ask)?;
        }
        whole.push(begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        for experiment in 0..EXPERIMENTS {
            for arm in &sets[experiment % SETS] {
                black_box(merged(arm)?);
            }
        }
        merging.push(begun.elapsed().as_secs_f64());
    }
    let mut joint = Joint::<2>::default();
    let values: Vec<[f64; 2]> = (0..100_000).map(|_| [dice.value(), dice.value()]).collect();
    let begun = Instant::now();
    for pair in values.windows(2) {
        joint.push(pair[0])?;
        joint.replace(pair[0], pair[1])?;
    }
    let pushed = 2.0 * joint.units() as f64 / begun.elapsed().as_secs_f64();
    black_box(joint);
    println!(
        "{significant} significant of {} (experiments without an effect)",
        EXPERIMENTS * METRICS * ROUNDS
    );
    let merges = (EXPERIMENTS * METRICS * 2 * (PARTS - 1)) as f64;
    println!(
        "figure stats_refresh_1000_experiments_ms {:.1}",
        median(whole) * 1e3
    );
    println!("figure stats_merges_per_s {:.0}", merges / median(merging));
    println!("figure stats_events_per_s {pushed:.0}");
    Ok(())
}
