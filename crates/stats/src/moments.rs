//! Means, variances and covariances of up to a few values per unit, in constant size, mergeable.
//!
//! Guarantees that merging parts in any order gives what one pass would, to rounding, also where the mean is a
//! billion times the spread: sums of squares are never kept. Non-finite values are refused and change nothing.
//! Never knows which units it has seen: [`Joint::replace`] believes the old value it is told.
//!
//! ```
//! use mainstay_stats::Joint;
//! let (mut first, mut second) = (Joint::<1>::default(), Joint::<1>::default());
//! first.push([1e9])?;
//! second.push([1e9 + 1.0])?;
//! first.merge(&second);
//! assert_eq!(first.variance(0), Some(0.5));
//! first.replace([1e9], [1e9 + 1.0])?; // the first unit had one more event
//! assert_eq!(first.variance(0), Some(0.0));
//! # Ok::<(), mainstay_stats::StatsError>(())
//! ```
//!
//! # Formula
//! Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances" (Stanford
//! STAN-CS-79-773, 1979), the pairwise update; its form for products is Pébay (Sandia SAND2008-6212).

use serde::{Deserialize, Serialize};

use crate::counts::StatsError;

/// Number, means and centred products of `N` values per unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Flat", into = "Flat")]
pub struct Joint<const N: usize> {
    units: u64,
    means: [f64; N],
    /// `Σ (xᵢ − x̄ᵢ)(xⱼ − x̄ⱼ)`, symmetric.
    products: [[f64; N]; N],
}

impl<const N: usize> Default for Joint<N> {
    fn default() -> Self {
        Self {
            units: 0,
            means: [0.0; N],
            products: [[0.0; N]; N],
        }
    }
}

impl<const N: usize> Joint<N> {
    /// From what a query can give: number of units, means, and centred products `Σ (xᵢ − x̄ᵢ)(xⱼ − x̄ⱼ)`.
    pub fn from_parts(
        units: u64,
        means: [f64; N],
        products: [[f64; N]; N],
    ) -> Result<Self, StatsError> {
        if !means
            .iter()
            .chain(products.iter().flatten())
            .all(|it| it.is_finite())
        {
            return Err(StatsError::NotFinite { what: "a moment" });
        }
        let is_symmetric =
            (0..N).all(|row| (0..N).all(|column| products[row][column] == products[column][row]));
        if !is_symmetric || (0..N).any(|at| products[at][at] < 0.0) {
            return Err(StatsError::Unlike {
                what: "product of the same two values",
            });
        }
        Ok(Self {
            units,
            means,
            products,
        })
    }

    /// Adds a unit.
    pub fn push(&mut self, values: [f64; N]) -> Result<(), StatsError> {
        check_finite(&values)?;
        self.units += 1;
        let count = self.units as f64;
        let mut before = [0.0; N];
        for ((gap, value), mean) in before.iter_mut().zip(values).zip(&mut self.means) {
            *gap = value - *mean;
            *mean += *gap / count;
        }
        let keep = (count - 1.0) / count;
        for (row, left) in self.products.iter_mut().zip(before) {
            for (product, right) in row.iter_mut().zip(before) {
                *product += left * right * keep;
            }
        }
        Ok(())
    }

    /// Takes a unit's old values for new ones, in constant time: what an event does to a unit seen before.
    pub fn replace(&mut self, old: [f64; N], new: [f64; N]) -> Result<(), StatsError> {
        check_finite(&old)?;
        check_finite(&new)?;
        if self.units == 0 {
            return Err(StatsError::TooFew {
                what: "units",
                have: 0,
                need: 1,
            });
        }
        let count = self.units as f64;
        let centred = |values: [f64; N]| {
            let mut gaps = values;
            for (gap, mean) in gaps.iter_mut().zip(self.means) {
                *gap -= mean;
            }
            gaps
        };
        let (was, is) = (centred(old), centred(new));
        let mut moved = new;
        for (by, from) in moved.iter_mut().zip(old) {
            *by -= from;
        }
        for (row, cells) in self.products.iter_mut().enumerate() {
            for (column, product) in cells.iter_mut().enumerate() {
                *product += is[row] * is[column]
                    - was[row] * was[column]
                    - moved[row] * moved[column] / count;
            }
            cells[row] = cells[row].max(0.0);
        }
        for (mean, by) in self.means.iter_mut().zip(moved) {
            *mean += by / count;
        }
        Ok(())
    }

    /// Adds all units of another part.
    pub fn merge(&mut self, other: &Self) {
        if other.units == 0 {
            return;
        }
        if self.units == 0 {
            *self = *other;
            return;
        }
        let (here, there) = (self.units as f64, other.units as f64);
        let share = there / (here + there);
        let mut gaps = other.means;
        for (gap, mean) in gaps.iter_mut().zip(&mut self.means) {
            *gap -= *mean;
            *mean += *gap * share;
        }
        let weight = here * share;
        for ((row, others), left) in self.products.iter_mut().zip(&other.products).zip(gaps) {
            for ((product, more), right) in row.iter_mut().zip(others).zip(gaps) {
                *product += more + left * right * weight;
            }
        }
        self.units += other.units;
    }

    /// Number of units.
    pub fn units(&self) -> u64 {
        self.units
    }

    /// Mean of a value; 0 without units.
    pub fn mean(&self, value: usize) -> f64 {
        self.means[value]
    }

    /// Sum of a value over all units.
    pub fn sum(&self, value: usize) -> f64 {
        self.means[value] * self.units as f64
    }

    /// Unbiased variance of a value among units; nothing below two units.
    pub fn variance(&self, value: usize) -> Option<f64> {
        self.covariance(value, value)
    }

    /// Unbiased covariance of two values among units; nothing below two units.
    pub fn covariance(&self, left: usize, right: usize) -> Option<f64> {
        (self.units > 1).then(|| self.products[left][right] / (self.units as f64 - 1.0))
    }

    /// `Σ (xᵢ − x̄ᵢ)(xⱼ − x̄ⱼ)`.
    pub fn product(&self, left: usize, right: usize) -> f64 {
        self.products[left][right]
    }

    /// Covariance matrix; refused below two units.
    pub(crate) fn covariances(&self) -> Result<[[f64; N]; N], StatsError> {
        crate::counts::check_enough("units", self.units, 2)?;
        let below = self.units as f64 - 1.0;
        Ok(self.products.map(|row| row.map(|it| it / below)))
    }
}

fn check_finite(values: &[f64]) -> Result<(), StatsError> {
    if values.iter().all(|it| it.is_finite()) {
        Ok(())
    } else {
        Err(StatsError::NotFinite {
            what: "a unit's value",
        })
    }
}

/// As it is written: the upper triangle of the products, row by row.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Flat {
    units: u64,
    means: Vec<f64>,
    products: Vec<f64>,
}

impl<const N: usize> From<Joint<N>> for Flat {
    fn from(joint: Joint<N>) -> Self {
        Self {
            units: joint.units,
            means: joint.means.to_vec(),
            products: joint
                .products
                .iter()
                .enumerate()
                .flat_map(|(row, cells)| cells[row..].to_vec())
                .collect(),
        }
    }
}

impl<const N: usize> TryFrom<Flat> for Joint<N> {
    type Error = StatsError;

    fn try_from(flat: Flat) -> Result<Self, StatsError> {
        let unlike = |_| StatsError::Unlike {
            what: "number of values per unit",
        };
        let means = flat.means.try_into().map_err(unlike)?;
        if flat.products.len() != N * (N + 1) / 2 {
            return Err(unlike(Vec::new()));
        }
        let mut products = [[0.0; N]; N];
        let cells = (0..N).flat_map(|row| (row..N).map(move |column| (row, column)));
        for ((row, column), value) in cells.zip(flat.products) {
            products[row][column] = value;
            products[column][row] = value;
        }
        Self::from_parts(flat.units, means, products)
    }
}
