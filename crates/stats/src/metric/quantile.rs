//! Quantiles of all values, where values may come in clusters: many requests of one user.

use serde::{Deserialize, Serialize};

use crate::counts::{StatsError, check_enough, check_share};
use crate::moments::Joint;
use crate::sketch::QuantileSketch;
use crate::summary::Summary;
use crate::tail::normal;

/// Share outside the order statistics that the spread is read from. Both sides are 1.96 standard errors apart.
const OUTSIDE: f64 = 0.05;

/// Order statistics as a query gives them: the quantile, and the two around it at
/// `ν ± 1.96·√(ν(1 − ν)/n)`.
///
/// The distance of those two is 3.92 standard errors if all values are independent (Woodruff, JASA 47, 1952); Yao, Li
/// and Lu (arXiv 2401.14549), for what clusters add.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuantileReading {
    /// Which quantile, such as 0.99.
    pub level: f64,
    /// Its estimate.
    pub value: f64,
    /// The lower order statistic.
    pub lower: f64,
    /// The upper order statistic.
    pub upper: f64,
    /// Number of values.
    pub values: u64,
    /// Number of values that the order statistics' ranks were computed for.
    pub ranked_for: u64,
}

impl QuantileReading {
    /// With a clustering factor where clusters are given: value 0 of each is how many of its values are at most the
    /// quantile, value 1 how many it has.
    pub fn summary(&self, clusters: Option<&Joint<2>>) -> Result<Summary, StatsError> {
        check_share("quantile", self.level)?;
        check_tails(self.level, self.values)?;
        let critical = normal::upper_quantile(0.5 * OUTSIDE);
        let se = (self.upper - self.lower) / (2.0 * critical);
        let count = self.values as f64;
        let ranked = self.ranked_for as f64 / count;
        let independent = ranked * (count - 1.0) * se * se;
        let Some(clusters) = clusters else {
            return Ok(Summary::large_sample(self.values, self.value, independent));
        };
        let factor = clustering_factor(self.level, clusters)?;
        // Variance of the value is independent·factor/count; told per cluster, which are the independent units.
        let variance = independent * factor / count * clusters.units() as f64;
        Ok(Summary::large_sample(
            clusters.units(),
            self.value,
            variance,
        ))
    }
}

/// How many times more variance the share of values at most the quantile has than if all were independent.
///
/// The share is a ratio of two sums over clusters, its variance that of the delta method; independent values would
/// have `ν(1 − ν)/n` (Yao, Li and Lu, arXiv 2401.14549).
pub fn clustering_factor(level: f64, clusters: &Joint<2>) -> Result<f64, StatsError> {
    check_enough("clusters", clusters.units(), 2)?;
    let [[hits, mixed], [_, sizes]] = clusters.covariances()?;
    let (mean_hits, mean_size) = (clusters.mean(0), clusters.mean(1));
    if mean_size <= 0.0 {
        return Err(StatsError::NoBaseline);
    }
    let share = mean_hits / mean_size;
    let spread = hits - 2.0 * share * mixed + share * share * sizes;
    let per_cluster = spread / (mean_size * mean_size);
    let independent = level * (1.0 - level) / mean_size;
    Ok(per_cluster / independent)
}

/// The order statistics around the quantile must exist.
fn check_tails(level: f64, values: u64) -> Result<(), StatsError> {
    let critical = normal::upper_quantile(0.5 * OUTSIDE);
    let odds = level / (1.0 - level);
    let need = critical * critical * odds.max(odds.recip());
    check_enough("values beyond the quantile", values, need.ceil() as u64 + 1)
}

/// One arm's values in a sketch, and what is known of its clusters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuantileArm {
    /// Which quantile.
    pub level: f64,
    /// All values.
    pub sketch: QuantileSketch,
    /// For each cluster how many of its values are at most [`Self::at`], and how many it has. Empty where each
    /// value is a unit of its own.
    pub clusters: Joint<2>,
    /// Near the quantile, chosen before: the last analysis's estimate.
    pub at: f64,
}

impl QuantileArm {
    /// An arm without values.
    pub fn new(level: f64, sketch: QuantileSketch) -> Result<Self, StatsError> {
        check_share("quantile", level)?;
        Ok(Self {
            level,
            sketch,
            clusters: Joint::default(),
            at: 0.0,
        })
    }

    /// Adds all values of another part of the same arm.
    pub fn merge(&mut self, other: &Self) -> Result<(), StatsError> {
        if self.level != other.level {
            return Err(StatsError::Unlike { what: "quantile" });
        }
        let has_both = self.clusters.units() > 0 && other.clusters.units() > 0;
        if has_both && self.at != other.at {
            return Err(StatsError::Unlike {
                what: "value that clusters are counted at",
            });
        }
        self.sketch.merge(&other.sketch)?;
        if other.clusters.units() > 0 {
            self.clusters.merge(&other.clusters);
            self.at = other.at;
        }
        Ok(())
    }

    /// Independent units: clusters where there are any, else values.
    pub fn units(&self) -> u64 {
        match self.clusters.units() {
            0 => self.sketch.count(),
            clusters => clusters,
        }
    }

    /// The order statistics, read from the sketch.
    pub fn reading(&self) -> Result<QuantileReading, StatsError> {
        let count = self.sketch.count();
        check_tails(self.level, count)?;
        let critical = normal::upper_quantile(0.5 * OUTSIDE);
        let half = critical * (self.level * (1.0 - self.level) / count as f64).sqrt();
        let read = |level: f64| {
            self.sketch.quantile(level).ok_or(StatsError::TooFew {
                what: "values",
                have: count,
                need: 1,
            })
        };
        Ok(QuantileReading {
            level: self.level,
            value: read(self.level)?,
            lower: read(self.level - half)?,
            upper: read(self.level + half)?,
            values: count,
            ranked_for: count,
        })
    }

    /// The arm's quantile and its variance.
    pub fn summary(&self) -> Result<Summary, StatsError> {
        let clusters = (self.clusters.units() > 0).then_some(&self.clusters);
        self.reading()?.summary(clusters)
    }
}
