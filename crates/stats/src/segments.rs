//! Does the effect differ by country, platform, version? And do two experiments change each other's effect?
//!
//! Guarantees that no segment is called different because it was the most extreme of many. Never adds up segments that
//! share units: each unit belongs to one.
//!
//! ```
//! use mainstay_stats::{Contrast, Level, Scale, heterogeneity};
//! let segment = |effect| Contrast::new(effect, 0.01, None, 10_000, Scale::Absolute);
//! let report = heterogeneity(&[segment(0.01)?, segment(0.012)?, segment(0.06)?])?;
//! assert!(report.p.is_below(Level::new(0.01)?));
//! assert!(report.segments[2].p_adjusted < report.segments[0].p_adjusted);
//! # Ok::<(), mainstay_stats::StatsError>(())
//! ```

use serde::{Deserialize, Serialize};

use crate::counts::{StatsError, check_enough};
use crate::estimate::{Contrast, PValue};
use crate::multiplicity::holm;
use crate::summary::{Summary, satterthwaite};
use crate::tail::{chi_square, normal, student};

/// Values of a dimension, or arms of an experiment, that one report takes.
const MOST_SEGMENTS: usize = 1_000;

/// How effects differ between segments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heterogeneity {
    /// Mean effect, each segment weighted by one over its squared standard error.
    pub pooled: f64,
    /// Cochran's Q.
    pub statistic: f64,
    /// Segments less one.
    pub degrees: u32,
    /// Of equal effects everywhere.
    pub p: PValue,
    /// Share of the spread between segments that chance does not explain, `I²`.
    pub unexplained: f64,
    /// In the order given.
    pub segments: Vec<SegmentEffect>,
}

/// One segment against all others.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentEffect {
    /// Its effect less the pooled effect of all others.
    pub difference: f64,
    /// Standard error of that.
    pub se: f64,
    /// Of no difference, by itself.
    pub p: PValue,
    /// The same after Holm's correction for all segments.
    pub p_adjusted: PValue,
}

/// Compares effects of segments that share no units, all on one scale.
///
/// Cochran (Biometrics 10, 1954): `Q = Σ wᵢ(δᵢ − δ̄)²`, `wᵢ = 1/seᵢ²`, chi-square with `k − 1` degrees of freedom; `I²` is
/// Higgins and Thompson (Statistics in Medicine 21, 2002). Each segment against the rest by z, Holm over all.
pub fn heterogeneity(segments: &[Contrast]) -> Result<Heterogeneity, StatsError> {
    check_enough("segments", segments.len() as u64, 2)?;
    if segments.len() > MOST_SEGMENTS {
        return Err(StatsError::OutOfRange {
            setting: "number of segments",
            value: segments.len() as f64,
            allowed: "at most 1,000",
        });
    }
    if segments
        .windows(2)
        .any(|pair| pair[0].scale != pair[1].scale)
    {
        return Err(StatsError::Unlike { what: "scale" });
    }
    let weight = |it: &Contrast| (it.se * it.se).recip();
    let whole: f64 = segments.iter().map(weight).sum();
    let pooled = segments
        .iter()
        .map(|it| weight(it) * it.effect)
        .sum::<f64>()
        / whole;
    let statistic: f64 = segments
        .iter()
        .map(|it| weight(it) * (it.effect - pooled).powi(2))
        .sum();
    let degrees = segments.len() as u32 - 1;
    let mut effects: Vec<SegmentEffect> = segments
        .iter()
        .map(|segment| {
            let rest = whole - weight(segment);
            let others = pooled + (pooled - segment.effect) * weight(segment) / rest;
            let se = (segment.se * segment.se + rest.recip()).sqrt();
            let difference = segment.effect - others;
            let ln_p = normal::ln_survival((difference / se).abs()) + std::f64::consts::LN_2;
            SegmentEffect {
                difference,
                se,
                p: PValue::from_ln(ln_p),
                p_adjusted: PValue::ONE,
            }
        })
        .collect();
    let alone: Vec<PValue> = effects.iter().map(|it| it.p).collect();
    for (effect, adjusted) in effects.iter_mut().zip(holm(&alone)) {
        effect.p_adjusted = adjusted;
    }
    let excess = (statistic - f64::from(degrees)) / statistic;
    Ok(Heterogeneity {
        pooled,
        statistic,
        degrees,
        p: chi_square::survival(statistic, f64::from(degrees)),
        unexplained: if statistic > 0.0 {
            excess.max(0.0)
        } else {
            0.0
        },
        segments: effects,
    })
}

/// Whether two experiments that share units change each other's effect.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interaction {
    /// How much the first experiment's effect changes under the second's treatment, where both have two arms.
    pub effect: Option<f64>,
    /// Its standard error.
    pub se: Option<f64>,
    /// Wald's statistic of no interaction.
    pub statistic: f64,
    /// Its degrees of freedom: `(rows − 1)(columns − 1)` where every pair of arms has units.
    pub degrees: u32,
    /// Of effects that simply add up.
    pub p: PValue,
}

/// `cells[a][b]` are the units in arm `a` of one experiment and arm `b` of the other; nothing where there are none.
///
/// The least weighted squared distance of the cells' means from `rowₐ + column_b`, each weighted by one over its squared
/// standard error: chi-square (Scheffé, The Analysis of Variance, 1959, chapter 4, large samples). With two by
/// two cells that is `(m₁₁ − m₁₀ − m₀₁ + m₀₀)²/Σ se²`, for which the p-value is Welch's t.
pub fn interaction(cells: &[Vec<Option<Summary>>]) -> Result<Interaction, StatsError> {
    check_enough("arms of the first experiment", cells.len() as u64, 2)?;
    let columns = cells.iter().map(Vec::len).max().unwrap_or(0);
    check_enough("arms of the second experiment", columns as u64, 2)?;
    if cells.len() + columns > MOST_SEGMENTS / 10 {
        return Err(StatsError::OutOfRange {
            setting: "number of arms",
            value: (cells.len() + columns) as f64,
            allowed: "at most 100",
        });
    }
    let mut known = Vec::new();
    for (row, line) in cells.iter().enumerate() {
        for (column, cell) in line.iter().enumerate() {
            let Some(cell) = cell else { continue };
            check_enough("units of a pair of arms", cell.units, 2)?;
            if cell.variance <= 0.0 {
                return Err(StatsError::NoSpread);
            }
            known.push((row, column, *cell));
        }
    }
    if let [[Some(none), Some(second)], [Some(first), Some(both)]] =
        [0, 1].map(|row| [0, 1].map(|column| cells[row].get(column).copied().flatten()))
        && cells.len() == 2
        && columns == 2
    {
        return Ok(two_by_two(&[none, second, first, both]));
    }
    let (statistic, rank) = additive_misfit(&known, cells.len(), columns);
    let degrees = known.len().saturating_sub(rank) as u32;
    check_enough("pairs of arms with units", u64::from(degrees), 1)?;
    Ok(Interaction {
        effect: None,
        se: None,
        statistic,
        degrees,
        p: chi_square::survival(statistic, f64::from(degrees)),
    })
}

fn two_by_two(cells: &[Summary; 4]) -> Interaction {
    let [none, second, first, both] = cells;
    let effect = (both.value - second.value) - (first.value - none.value);
    let parts = cells.map(|it| (it.variance / it.units as f64, it.units as f64));
    let se = parts
        .iter()
        .map(|(variance, _)| variance)
        .sum::<f64>()
        .sqrt();
    let statistic = effect / se;
    Interaction {
        effect: Some(effect),
        se: Some(se),
        statistic: statistic * statistic,
        degrees: 1,
        p: student::two_sided(statistic, satterthwaite(&parts)),
    }
}

/// Weighted squares that rows plus columns do not explain, and the number of free parameters.
fn additive_misfit(known: &[(usize, usize, Summary)], rows: usize, columns: usize) -> (f64, usize) {
    let size = rows + columns;
    let mut normal_equations = vec![vec![0.0; size + 1]; size];
    // Means are told from the first: only differences matter, and they keep their digits.
    let origin = known.first().map_or(0.0, |(_, _, cell)| cell.value);
    let weight = |cell: &Summary| cell.units as f64 / cell.variance;
    for (row, column, cell) in known {
        let (own, value) = (weight(cell), cell.value - origin);
        for here in [*row, rows + column] {
            for there in [*row, rows + column] {
                normal_equations[here][there] += own;
            }
            normal_equations[here][size] += own * value;
        }
    }
    let (solution, rank) = solve(normal_equations);
    let misfit = known
        .iter()
        .map(|(row, column, cell)| {
            let fitted = solution[*row] + solution[rows + column];
            weight(cell) * (cell.value - origin - fitted).powi(2)
        })
        .sum();
    (misfit, rank)
}

/// A solution of a symmetric, possibly singular system by elimination with pivoting, and its rank.
fn solve(mut rows: Vec<Vec<f64>>) -> (Vec<f64>, usize) {
    /// Share of the largest entry below which a pivot counts as 0.
    const SINGULAR: f64 = 1e-11;
    let size = rows.len();
    let largest = rows
        .iter()
        .flat_map(|row| row.iter().take(size))
        .fold(0.0, |most: f64, it| most.max(it.abs()));
    let mut pivots = Vec::new();
    for column in 0..size {
        let at = pivots.len();
        let best = (at..size).max_by(|left, right| {
            rows[*left][column]
                .abs()
                .total_cmp(&rows[*right][column].abs())
        });
        let Some(best) = best.filter(|best| rows[*best][column].abs() > largest * SINGULAR) else {
            continue;
        };
        rows.swap(at, best);
        let pivot = rows[at].clone();
        for (other, row) in rows.iter_mut().enumerate() {
            let factor = row[column] / pivot[column];
            if other != at && factor != 0.0 {
                for (cell, above) in row.iter_mut().zip(&pivot) {
                    *cell -= factor * above;
                }
            }
        }
        pivots.push(column);
    }
    let mut solution = vec![0.0; size];
    for (at, column) in pivots.iter().enumerate() {
        solution[*column] = rows[at][size] / rows[at][*column];
    }
    (solution, pivots.len())
}
