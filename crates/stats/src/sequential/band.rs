//! Confidence sequences for quantiles, and bands for whole distribution functions.
//!
//! Both take what a [`QuantileSketch`] knows exactly: how many values lie below a bucket's bound. Values may be
//! discrete, such as whole milliseconds.

use serde::{Deserialize, Serialize};

use crate::counts::{StatsError, check_positive, check_share};
use crate::estimate::{Ask, Estimate, Interval, Level, Method, PValue, Scale, Side, Validity};
use crate::sketch::{Bucket, QuantileSketch};
use crate::tail::beta::{ln_beta, ln_survival};

/// Halvings when a p-value is searched: leaves 1e-9 of it, on the safe side.
const HALVINGS: u32 = 40;

/// The lowest `ln p` that is searched for.
const LOWEST_LN_P: f64 = -1_000.0;

/// Confidence sequence for one quantile, exact for independent values of any distribution.
///
/// Howard and Ramdas, "Sequential estimation of quantiles with applications to A/B testing and best-arm identification"
/// (Bernoulli 28, 2022, arXiv 1906.09712), theorem 1, the beta-binomial mixture: the number of values below the
/// quantile `ν` is a sum of coins that fall so with chance at most `ν`, so that
///
/// ```text
/// E(k, n) = ∫_ν^1 p^k (1 − p)^(n−k) dBeta(p; a, b) / [P(Beta(a, b) > ν)·ν^k (1 − ν)^(n−k)]
/// ```
///
/// is an e-process, and likewise below `ν`. Lindon, Sanden and Shirley, "Rapid Regression Detection in Software
/// Deployments through Sequential Testing" (KDD 2022, arXiv 2205.14762), for two arms: each gets half the
/// level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuantileSequence {
    quantile: f64,
    tightest_at: f64,
}

impl QuantileSequence {
    /// For a quantile such as 0.99; tightest when an arm has about `tightest_at` values.
    pub fn new(quantile: f64, tightest_at: f64) -> Result<Self, StatsError> {
        check_share("quantile", quantile)?;
        check_positive("values at which the sequence is tightest", tightest_at)?;
        Ok(Self {
            quantile,
            tightest_at,
        })
    }

    /// Ranks, counted from 1, of the order statistics that bound the quantile at all times; nothing where no
    /// value yet bounds it on that side.
    pub fn ranks(&self, values: u64, level: Level) -> (Option<u64>, Option<u64>) {
        let mixture = self.mixture(values, level);
        let needed = std::f64::consts::LN_2 - level.alpha().ln();
        // The smallest k that is too many values below the quantile.
        let upper = first(values, |count| mixture.too_many(count) >= needed);
        // One more than the largest k that is too few values at most the quantile.
        let lower = first(values, |count| mixture.too_few(count) < needed);
        (lower.filter(|rank| *rank > 0), upper)
    }

    /// The e-processes of `values` values, with the prior that suits the level.
    fn mixture(&self, values: u64, level: Level) -> Mixture {
        // As eq. 161 of arXiv 2103.06476 does it for means: the prior's spread is that of the tightest point.
        let twice = -2.0 * level.alpha().ln();
        let weight = self.tightest_at / (twice + twice.ln_1p());
        let above = OneSided::new(self.quantile, weight);
        let below = OneSided::new(1.0 - self.quantile, weight);
        Mixture {
            above,
            below,
            values,
        }
    }

    /// What one arm's quantile may be, at all times together.
    pub fn interval(&self, arm: &QuantileSketch, level: Level) -> Interval {
        let (lower, upper) = self.ranks(arm.count(), level);
        let bucket = |rank: Option<u64>| rank.and_then(|it| arm.bucket_of(it));
        Interval {
            low: bucket(lower).map_or(f64::NEG_INFINITY, |it| it.low),
            high: bucket(upper).map_or(f64::INFINITY, |it| it.high),
        }
    }

    /// Treatment's quantile minus control's, at all times.
    pub fn estimate(
        &self,
        control: &QuantileSketch,
        treatment: &QuantileSketch,
        ask: &Ask,
    ) -> Result<Estimate, StatsError> {
        let value = |arm: &QuantileSketch| {
            arm.quantile(self.quantile).ok_or(StatsError::TooFew {
                what: "values",
                have: 0,
                need: 1,
            })
        };
        let effect = value(treatment)? - value(control)?;
        // Bounds of both sides share a level: one side alone has twice as much.
        let level = match ask.side {
            Side::Both => ask.level,
            Side::Greater | Side::Less => Level::new(2.0 * ask.level.alpha())?,
        };
        let half = level.shared(2);
        let (own, others) = (self.interval(control, half), self.interval(treatment, half));
        let interval = Interval {
            low: match ask.side {
                Side::Both | Side::Greater => others.low - own.high,
                Side::Less => f64::NEG_INFINITY,
            },
            high: match ask.side {
                Side::Both | Side::Less => others.high - own.low,
                Side::Greater => f64::INFINITY,
            },
        };
        let ln_e = match ask.side {
            Side::Both => f64::max(
                self.apart(control, treatment, ask.null, half),
                self.apart(treatment, control, -ask.null, half),
            ),
            Side::Greater => self.apart(control, treatment, ask.null, half),
            Side::Less => self.apart(treatment, control, -ask.null, half),
        };
        // Two arms with two sides each, of which one side alone needs half.
        let bounds = if ask.side == Side::Both { 4_f64 } else { 2.0 };
        Ok(Estimate {
            effect,
            se: None,
            interval,
            p: PValue::from_ln(bounds.ln() - ln_e),
            level: ask.level,
            scale: Scale::Absolute,
            method: Method::QuantileBand,
            validity: Validity::Always,
        })
    }

    /// The largest `ln e` at which the lower arm's upper bound lies more than `shift` below the upper arm's lower bound.
    fn apart(
        &self,
        lower: &QuantileSketch,
        upper: &QuantileSketch,
        shift: f64,
        level: Level,
    ) -> f64 {
        let (many, few) = (
            self.mixture(lower.count(), level),
            self.mixture(upper.count(), level),
        );
        let edges = prefix(lower, |it| it.high);
        let starts = prefix(upper, |it| it.low);
        // At an edge of the lower arm: so many of its values are at most that, and so many of the upper arm's values are in
        // buckets that begin before it.
        let evidence = |at: usize| {
            let (edge, count) = edges[at];
            let begun = starts.partition_point(|(start, _)| *start <= edge + shift);
            let before = begun.checked_sub(1).map_or(0, |last| starts[last].1);
            (many.too_many(count), few.too_few(before))
        };
        // One rises and the other falls from edge to edge: the best is where they cross.
        let positions: Vec<usize> = (0..edges.len()).collect();
        let cross = positions.partition_point(|at| {
            let (rising, falling) = evidence(*at);
            rising < falling
        });
        let around = cross.saturating_sub(1)..(cross + 1).min(edges.len());
        around
            .map(|at| {
                let (rising, falling) = evidence(at);
                rising.min(falling)
            })
            .fold(f64::NEG_INFINITY, f64::max)
    }
}

/// Each bucket's end and the number of values up to and with it.
fn prefix(arm: &QuantileSketch, end: impl Fn(&Bucket) -> f64) -> Vec<(f64, u64)> {
    let mut below = 0;
    arm.buckets()
        .map(|bucket| {
            below += bucket.count;
            (end(&bucket), below)
        })
        .collect()
}

/// The e-processes of one arm at one number of values.
struct Mixture {
    above: OneSided,
    below: OneSided,
    values: u64,
}

impl Mixture {
    fn too_many(&self, count: u64) -> f64 {
        self.above.ln_e(count as f64, (self.values - count) as f64)
    }

    /// The same seen from the other end: too few at most the quantile is too many above it.
    fn too_few(&self, count: u64) -> f64 {
        self.below.ln_e((self.values - count) as f64, count as f64)
    }
}

/// A mixture over chances above `chance`.
struct OneSided {
    chance: f64,
    hit: f64,
    miss: f64,
    /// `ln(B(a, b)·P(Beta(a, b) > chance))`.
    ln_prior: f64,
}

impl OneSided {
    fn new(chance: f64, weight: f64) -> Self {
        let (hit, miss) = (weight * chance, weight * (1.0 - chance));
        Self {
            chance,
            hit,
            miss,
            ln_prior: ln_beta(hit, miss) + ln_survival(chance, hit, miss),
        }
    }

    fn ln_e(&self, hits: f64, misses: f64) -> f64 {
        let (hit, miss) = (self.hit + hits, self.miss + misses);
        ln_beta(hit, miss) + ln_survival(self.chance, hit, miss)
            - self.ln_prior
            - hits * self.chance.ln()
            - misses * (-self.chance).ln_1p()
    }
}

/// The first count from which on a rising predicate holds.
fn first(values: u64, holds: impl Fn(u64) -> bool) -> Option<u64> {
    if !holds(values) {
        return None;
    }
    let (mut low, mut high) = (0, values);
    while low < high {
        let middle = low.midpoint(high);
        if holds(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Some(low)
}

/// The lowest `ln α` at which a test rejects, 0 where it does at none; `is_rejected` falls with the level.
fn lowest_rejected(is_rejected: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (LOWEST_LN_P, 0.0);
    if is_rejected(low) {
        return low;
    }
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if is_rejected(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

/// How far two arms' distribution functions are apart.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistributionGap {
    /// Value at which they are furthest apart.
    pub at: f64,
    /// Share of the treatment's values at most that, minus the control's: below 0 the treatment's are larger.
    pub gap: f64,
    /// The gap that chance alone exceeds at no time, at the level.
    pub allowed: f64,
    /// Always-valid p-value of equal distributions; searched between 1e-434 and 0.25.
    pub p: PValue,
}

/// Whether two arms' distributions differ anywhere, at all times: all quantiles at once.
///
/// Howard and Ramdas (Bernoulli 28, 2022), corollary 2 with `m = 1`: with chance `1 − α` it holds at all `n ≥ 1` that
/// `sup |F_n − F| ≤ 0.85·√((ln ln(e·n) + 0.8·ln(1612/α))/n)`, for `α ≤ 0.25`. Each arm gets half the level, as in Lindon,
/// Sanden and Shirley (arXiv 2205.14762).
pub fn distribution_gap(
    control: &QuantileSketch,
    treatment: &QuantileSketch,
    level: Level,
) -> Result<DistributionGap, StatsError> {
    if control.accuracy() != treatment.accuracy() {
        return Err(StatsError::Unlike { what: "accuracy" });
    }
    if level.alpha() > 0.5 {
        return Err(StatsError::OutOfRange {
            setting: "level of a distribution band",
            value: level.alpha(),
            allowed: "at most 0.5",
        });
    }
    let (own, others) = (control.count(), treatment.count());
    crate::counts::check_enough("values in the control", own, 1)?;
    crate::counts::check_enough("values in the treatment", others, 1)?;
    let (at, gap) = widest(control, treatment);
    let allowed = |ln_alpha: f64| {
        let half = ln_alpha - std::f64::consts::LN_2;
        band(own, half) + band(others, half)
    };
    let ln_p = lowest_rejected(|ln_alpha| {
        // Above a quarter an arm the bound is not proved.
        ln_alpha <= 0.5_f64.ln() && gap.abs() > allowed(ln_alpha)
    });
    Ok(DistributionGap {
        at,
        gap,
        allowed: allowed(level.alpha().ln()),
        p: PValue::from_ln(ln_p),
    })
}

fn band(values: u64, ln_alpha: f64) -> f64 {
    let count = values as f64;
    let iterated = (1.0 + count.ln()).ln();
    0.85 * ((iterated + 0.8 * (1_612_f64.ln() - ln_alpha)) / count).sqrt()
}

/// Where the empirical distribution functions differ most, among the bounds both sketches count exactly.
fn widest(control: &QuantileSketch, treatment: &QuantileSketch) -> (f64, f64) {
    let (own, others) = (control.count() as f64, treatment.count() as f64);
    let mut steps: Vec<(f64, f64)> = control
        .buckets()
        .map(|it| (it.high, -(it.count as f64) / own))
        .chain(
            treatment
                .buckets()
                .map(|it| (it.high, it.count as f64 / others)),
        )
        .collect();
    steps.sort_by(|left, right| left.0.total_cmp(&right.0));
    let (mut gap, mut widest) = (0.0, (0.0, 0.0));
    let mut rest = steps.iter().peekable();
    while let Some((at, step)) = rest.next() {
        gap += step;
        let is_last_here = rest.peek().is_none_or(|next| next.0 > *at);
        if is_last_here && gap.abs() > f64::abs(widest.1) {
            widest = (*at, gap);
        }
    }
    widest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean of the e-value over all counts of `values` coins that fall so with this chance.
    fn mean(process: &OneSided, values: u32, chance: f64) -> f64 {
        let mut weight = (1.0 - chance).powi(values as i32);
        let mut sum = 0.0;
        for hits in 0..=values {
            let (hits, misses) = (f64::from(hits), f64::from(values - hits));
            sum += weight * process.ln_e(hits, misses).exp();
            weight *= misses / (hits + 1.0) * chance / (1.0 - chance);
        }
        sum
    }

    #[test]
    fn evidence_is_worth_one_at_the_quantile_and_less_on_the_side_of_the_null() {
        for (quantile, weight) in [(0.5, 600.0), (0.9, 40.0), (0.99, 600.0), (0.01, 80.0)] {
            let process = OneSided::new(quantile, weight);
            for values in [1, 7, 60] {
                let at = mean(&process, values, quantile);
                assert!((at - 1.0).abs() < 1e-9, "{quantile} {values}: {at}");
                // Ties at the quantile make fewer values lie below it.
                let fewer = mean(&process, values, 0.7 * quantile);
                assert!(fewer < 1.0, "{quantile} {values}: {fewer}");
            }
        }
    }
}
