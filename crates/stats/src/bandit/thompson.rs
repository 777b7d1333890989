//! Thompson sampling by its weights: each arm gets traffic by its chance to be the best.

use serde::{Deserialize, Serialize};

use crate::counts::{StatsError, check_enough, check_positive};
use crate::tail::beta::{ln_power_terms, ln_regularized};
use crate::tail::normal;

/// Arms of one bandit.
const MOST_ARMS: usize = 50;

/// Points of the Gauss-Legendre rule on each piece: exact for polynomials of degree 31.
const POINTS: usize = 16;

/// Length of a piece, in the standard deviations of the narrowest belief that it meets.
const PIECE: f64 = 2.5;

/// Pieces between two breaks at most: the longest belief, of an arm without data, has 43.
const MOST_PIECES: f64 = 64.0;

/// Standard deviations around an arm's mean that are summed.
const REACH: f64 = 9.0;

/// What is believed of an arm's value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Belief {
    /// A share, of which so many hits and misses were seen; before those every share was as likely (Beta(1, 1)).
    Beta {
        /// Units with a hit.
        hits: u64,
        /// Units without.
        misses: u64,
    },
    /// A mean, known with this standard error.
    Normal {
        /// Its estimate.
        mean: f64,
        /// Its standard error, above 0.
        se: f64,
    },
}

impl Belief {
    /// Refuses what is no belief.
    fn check(self) -> Result<(), StatsError> {
        match self {
            Self::Beta { .. } => Ok(()),
            Self::Normal { mean, se } => {
                check_positive("standard error of an arm", se)?;
                if mean.is_finite() {
                    Ok(())
                } else {
                    Err(StatsError::NotFinite {
                        what: "mean of an arm",
                    })
                }
            }
        }
    }

    fn shape(hits: u64, misses: u64) -> (f64, f64) {
        (hits as f64 + 1.0, misses as f64 + 1.0)
    }

    /// Where on a scale without ends the belief lies: log odds for a share, the value for a mean.
    fn range(self) -> (f64, f64) {
        match self {
            Self::Beta { hits, misses } => {
                let (own, others) = Self::shape(hits, misses);
                let (centre, width) = ((own / others).ln(), self.width());
                // The tails in log odds are exponential, with the shape as rate.
                (
                    centre - REACH * width - 40.0 / own,
                    centre + REACH * width + 40.0 / others,
                )
            }
            Self::Normal { mean, se } => (mean - REACH * se, mean + REACH * se),
        }
    }

    /// About its standard deviation on that scale.
    fn width(self) -> f64 {
        match self {
            Self::Beta { hits, misses } => {
                let (own, others) = Self::shape(hits, misses);
                (own.recip() + others.recip()).sqrt()
            }
            Self::Normal { se, .. } => se,
        }
    }

    /// Logarithm of the density on that scale.
    fn ln_density(self, at: f64) -> f64 {
        match self {
            Self::Beta { hits, misses } => {
                let (own, others) = Self::shape(hits, misses);
                ln_power_terms(own, others, odds(at))
            }
            Self::Normal { mean, se } => {
                let standard = (at - mean) / se;
                -0.5 * standard * standard - normal::LN_SQRT_2_PI - se.ln()
            }
        }
    }

    /// Logarithm of the chance to be at most that.
    fn ln_cumulative(self, at: f64) -> f64 {
        match self {
            Self::Beta { hits, misses } => {
                let (own, others) = Self::shape(hits, misses);
                ln_regularized(own, others, odds(at))
            }
            Self::Normal { mean, se } => normal::ln_survival((mean - at) / se),
        }
    }
}

/// A share and its complement, from log odds.
fn odds(at: f64) -> (f64, f64) {
    ((1.0 + (-at).exp()).recip(), (1.0 + at.exp()).recip())
}

/// Each arm's chance to have the highest value; adds up to 1.
///
/// `P(i is best) = ∫ fᵢ(x) Π_{j≠i} Fⱼ(x) dx` (Thompson, Biometrika 25, 1933; Scott, "A modern Bayesian look at the multi-armed
/// bandit", 2010), by Gauss and Legendre's rule on pieces. All arms must be believed of in the same way.
pub fn chances_to_be_best(arms: &[Belief]) -> Result<Vec<f64>, StatsError> {
    check_enough("arms", arms.len() as u64, 2)?;
    if arms.len() > MOST_ARMS {
        return Err(StatsError::OutOfRange {
            setting: "number of arms",
            value: arms.len() as f64,
            allowed: "at most 50",
        });
    }
    let is_beta = |it: &Belief| matches!(it, Belief::Beta { .. });
    if arms
        .windows(2)
        .any(|pair| is_beta(&pair[0]) != is_beta(&pair[1]))
    {
        return Err(StatsError::Unlike {
            what: "kind of belief",
        });
    }
    for arm in arms {
        arm.check()?;
    }
    let rule = gauss_legendre();
    let mut chances: Vec<f64> = (0..arms.len())
        .map(|own| chance(arms, own, &rule))
        .collect();
    let whole: f64 = chances.iter().sum();
    for chance in &mut chances {
        *chance /= whole;
    }
    Ok(chances)
}

fn chance(arms: &[Belief], own: usize, rule: &[(f64, f64); POINTS]) -> f64 {
    let arm = arms[own];
    let (low, high) = arm.range();
    // Where another belief begins and ends the integrand may bend within a fraction of this one's width.
    let mut breaks: Vec<f64> = arms
        .iter()
        .flat_map(|it| <[f64; 2]>::from(it.range()))
        .filter(|at| *at > low && *at < high)
        .chain([low, high])
        .collect();
    breaks.sort_by(f64::total_cmp);
    let value = |at: f64| {
        let ln_density = arm.ln_density(at);
        if ln_density < -745.0 {
            return 0.0;
        }
        let others: f64 = arms
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != own)
            .map(|(_, other)| other.ln_cumulative(at))
            .sum();
        (ln_density + others).exp()
    };
    let mut sum = 0.0;
    for pair in breaks.windows(2) {
        let (begin, end) = (pair[0], pair[1]);
        let narrowest = arms
            .iter()
            .filter(|it| it.range().0 < end && it.range().1 > begin)
            .fold(arm.width(), |least, it| least.min(it.width()));
        let pieces = ((end - begin) / (PIECE * narrowest))
            .ceil()
            .clamp(1.0, MOST_PIECES);
        let half = 0.5 * (end - begin) / pieces;
        for piece in 0..pieces as u32 {
            let centre = begin + half * (2.0 * f64::from(piece) + 1.0);
            for (node, weight) in rule {
                sum += weight * half * value(centre + half * node);
            }
        }
    }
    sum
}

/// Nodes and weights on (−1, 1): roots of the Legendre polynomial by Newton's method (Abramowitz and Stegun 25.4.29).
fn gauss_legendre() -> [(f64, f64); POINTS] {
    /// Newton's steps; each squares an error of at most 1e-2.
    const STEPS: u32 = 8;
    let degree = POINTS as f64;
    let mut rule = [(0.0, 0.0); POINTS];
    for (at, entry) in rule.iter_mut().enumerate() {
        let mut node = (std::f64::consts::PI * (at as f64 + 0.75) / (degree + 0.5)).cos();
        let mut slope = 1.0;
        for _ in 0..STEPS {
            let (mut value, mut before) = (1.0, 0.0);
            for order in 1..=POINTS {
                let order = order as f64;
                let next = ((2.0 * order - 1.0) * node * value - (order - 1.0) * before) / order;
                before = value;
                value = next;
            }
            slope = degree * (node * value - before) / (node * node - 1.0);
            node -= value / slope;
        }
        *entry = (node, 2.0 / ((1.0 - node * node) * slope * slope));
    }
    rule
}

/// Traffic weights: each arm's chance to be best, but at least `floor`; add up to 1.
///
/// The floor is what [`crate::Adaptive`] needs: its variance grows as one over the lowest weight. What lies above the floor
/// shrinks in proportion.
pub fn thompson_weights(arms: &[Belief], floor: f64) -> Result<Vec<f64>, StatsError> {
    let mut weights = chances_to_be_best(arms)?;
    let count = weights.len() as f64;
    if !(floor >= 0.0 && floor * count <= 1.0) {
        return Err(StatsError::OutOfRange {
            setting: "floor of a weight",
            value: floor,
            allowed: "0 or more, and at most one over the number of arms",
        });
    }
    for weight in &mut weights {
        *weight = floor + (1.0 - floor * count) * *weight;
    }
    Ok(weights)
}
