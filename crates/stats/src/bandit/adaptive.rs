//! Inference from data whose arms were chosen on earlier data.

use serde::{Deserialize, Serialize};

use crate::counts::{StatsError, check_enough};
use crate::estimate::{Ask, Contrast, Estimate, Scale};
use crate::sequential::AsymptoticSequence;
use crate::summary::Summary;

/// Arms of one bandit.
const MOST_ARMS: usize = 50;

/// Running sums of one arm's scores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scores {
    /// Observations of the arm and their mean, which is the next score's centre.
    seen: u64,
    mean: f64,
    /// `Σh`, and the weighted mean of scores.
    weight: f64,
    score: f64,
    /// `Σh²`, `Σh²(Γ − origin)` and `Σh²(Γ − origin)²`.
    squares: f64,
    shifted: f64,
    shifted_squares: f64,
}

/// Two estimates from a stream of (arm, value, chances of all arms at that moment), in constant size.
///
/// Each observation gives every arm the score `Γ(w) = m(w) + 1{W = w}·(Y − m(w))/e(w)`, with `m` the arm's mean of *earlier*
/// observations and `e` its chance. Whatever rule chose the chances, its mean given the past is the arm's true mean.
///
/// - [`Self::contrast`], for one planned end: adaptively weighted augmented inverse propensity weighting, Hadad, Hirshberg,
///   Zhan, Wager and Athey, "Confidence intervals for policy evaluation in adaptive experiments" (PNAS 118, 2021): the
///   adaptively weighted estimator and its variance, with `h = √e` (their constant allocation rate). Plain means are biased and plain weights `1/e` have no normal
///   limit; these weights have one. Chosen over importance weighting alone for its far smaller variance.
/// - [`Self::always`], at every look: the running mean of the score differences is a martingale, so the asymptotic
///   confidence sequence holds with its empirical variance (Waudby-Smith et al., arXiv 2103.06476, the Lyapunov-type
///   sequence). It stays true under any rule, as long as chances stay above a floor.
///
/// Why not the mean and Welch: simulated in the tests, it calls equal arms of a Thompson bandit different too often.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adaptive {
    arms: Vec<Scores>,
    observations: u64,
    /// Scores of each arm against arm 0, unweighted: mean and centred squares.
    against_first: Vec<(f64, f64)>,
    /// The first value, from which scores are told to keep their digits.
    origin: Option<f64>,
}

impl Adaptive {
    /// For so many arms, of which arm 0 is the control.
    pub fn new(arms: usize) -> Result<Self, StatsError> {
        check_enough("arms", arms as u64, 2)?;
        if arms > MOST_ARMS {
            return Err(StatsError::OutOfRange {
                setting: "number of arms",
                value: arms as f64,
                allowed: "at most 50",
            });
        }
        Ok(Self {
            arms: vec![Scores::default(); arms],
            observations: 0,
            against_first: vec![(0.0, 0.0); arms],
            origin: None,
        })
    }

    /// Adds one unit: the arm it got, its value, and the chances that all arms had when it was assigned. In the order
    /// of assignment.
    pub fn observe(&mut self, arm: usize, value: f64, chances: &[f64]) -> Result<(), StatsError> {
        if chances.len() != self.arms.len() || arm >= self.arms.len() {
            return Err(StatsError::Unlike {
                what: "number of arms",
            });
        }
        if !value.is_finite() {
            return Err(StatsError::NotFinite {
                what: "a unit's value",
            });
        }
        for chance in chances {
            if !(*chance > 0.0 && *chance <= 1.0) {
                return Err(StatsError::OutOfRange {
                    setting: "chance of an arm",
                    value: *chance,
                    allowed: "above 0 and at most 1: give the bandit a floor",
                });
            }
        }
        let origin = *self.origin.get_or_insert(value);
        let shifted = value - origin;
        self.observations += 1;
        let count = self.observations as f64;
        let mut control = 0.0;
        for (at, (scores, chance)) in self.arms.iter_mut().zip(chances).enumerate() {
            let residual = if at == arm {
                (shifted - scores.mean) / chance
            } else {
                0.0
            };
            let score = scores.mean + residual;
            scores.add(score, *chance);
            if at == 0 {
                control = score;
            }
            let (mean, squares) = &mut self.against_first[at];
            let gap = score - control - *mean;
            *mean += gap / count;
            *squares += gap * (score - control - *mean);
            if at == arm {
                scores.seen += 1;
                scores.mean += (shifted - scores.mean) / scores.seen as f64;
            }
        }
        Ok(())
    }

    /// Units so far.
    pub fn observations(&self) -> u64 {
        self.observations
    }

    /// One arm's mean with the variance of Hadad et al., for one planned end.
    pub fn summary(&self, arm: usize) -> Result<Summary, StatsError> {
        let scores = self.arms.get(arm).ok_or(StatsError::Unlike {
            what: "number of arms",
        })?;
        check_enough("units of an arm", scores.seen, 2)?;
        // Σh²(Γ − Q)² from sums about the origin.
        let spread = scores.shifted_squares - 2.0 * scores.score * scores.shifted
            + scores.score * scores.score * scores.squares;
        let variance = spread.max(0.0) / (scores.weight * scores.weight);
        Ok(Summary::large_sample(
            self.observations,
            scores.score + self.origin.unwrap_or(0.0),
            variance * self.observations as f64,
        ))
    }

    /// Arm `treatment` against arm `control`, absolute, for one planned end. Scores of two arms are uncorrelated to first
    /// order, as a unit is in one of them (Hadad et al., on contrasts).
    pub fn contrast(&self, control: usize, treatment: usize) -> Result<Contrast, StatsError> {
        let contrast = self
            .summary(control)?
            .against(&self.summary(treatment)?, Scale::Absolute)?;
        Ok(Contrast {
            units: self.observations,
            ..contrast
        })
    }

    /// An arm against arm 0, absolute, valid at every look.
    pub fn always(
        &self,
        treatment: usize,
        sequence: &AsymptoticSequence,
        ask: &Ask,
    ) -> Result<Estimate, StatsError> {
        let (effect, squares) = *self
            .against_first
            .get(treatment)
            .filter(|_| treatment > 0)
            .ok_or(StatsError::Unlike {
                what: "number of arms, or arm 0 against itself,",
            })?;
        check_enough("units", self.observations, 2)?;
        for arm in [0, treatment] {
            check_enough("units of an arm", self.arms[arm].seen, 2)?;
        }
        let count = self.observations as f64;
        let se = (squares / (count - 1.0) / count).sqrt();
        let contrast = Contrast::new(effect, se, None, self.observations, Scale::Absolute)?;
        sequence.estimate(&contrast, ask)
    }
}

impl Scores {
    fn add(&mut self, score: f64, chance: f64) {
        // h = √e, so h² = e.
        let weight = chance.sqrt();
        self.weight += weight;
        self.score += (score - self.score) * weight / self.weight;
        self.squares += chance;
        self.shifted += chance * score;
        self.shifted_squares += chance * score * score;
    }
}
