//! Distinct units, with a standard error of 1.6 %, in 4 KiB.
//!
//! Flajolet, Fusy, Gandouet and Meunier, "HyperLogLog" (AofA 2007) for the registers; the estimator is Ertl, "New
//! Cardinality Estimation Algorithms for HyperLogLog Sketches" (arXiv 1702.01284), algorithm 6, which is unbiased from
//! 0 on without tables.
//!
//! ```
//! use mainstay_stats::DistinctSketch;
//! let mut sketch = DistinctSketch::default();
//! sketch.insert_hash(0x9e37_79b9_7f4a_7c15);
//! sketch.insert_hash(0x9e37_79b9_7f4a_7c15);
//! assert!((sketch.estimate() - 1.0).abs() < 0.01);
//! ```

use serde::{Deserialize, Serialize};

use crate::counts::StatsError;

/// Bits of the hash that choose a register.
const INDEX_BITS: u32 = 12;
const REGISTERS: usize = 1 << INDEX_BITS;
/// Bits whose leading zeros are counted.
const RANK_BITS: u32 = 64 - INDEX_BITS;

/// The character of an empty register where a sketch is written: neither `"` nor `\` follows within the range.
const FIRST: u8 = b'#';

/// Registers of a HyperLogLog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DistinctSketch {
    registers: Box<[u8; REGISTERS]>,
}

impl Default for DistinctSketch {
    fn default() -> Self {
        Self {
            registers: Box::new([0; REGISTERS]),
        }
    }
}

impl DistinctSketch {
    /// Adds a unit by a hash of its name, of which all 64 bits are well mixed. The same hash function has to be used
    /// for all sketches that are merged.
    pub fn insert_hash(&mut self, hash: u64) {
        let rank = ((hash << INDEX_BITS).leading_zeros().min(RANK_BITS) + 1) as u8;
        if let Some(register) = self.registers.get_mut((hash >> RANK_BITS) as usize) {
            *register = (*register).max(rank);
        }
    }

    /// Adds all units of another sketch.
    pub fn merge(&mut self, other: &Self) {
        for (here, there) in self.registers.iter_mut().zip(other.registers.iter()) {
            *here = (*here).max(*there);
        }
    }

    /// Estimated number of distinct units.
    pub fn estimate(&self) -> f64 {
        let mut counts = [0_u32; RANK_BITS as usize + 2];
        for register in self.registers.iter() {
            if let Some(count) = counts.get_mut(usize::from(*register)) {
                *count += 1;
            }
        }
        let all = REGISTERS as f64;
        let [empty, middle @ .., full] = counts;
        let mut sum = all * tau(1.0 - f64::from(full) / all);
        for count in middle.into_iter().rev() {
            sum = 0.5 * (sum + f64::from(count));
        }
        sum += all * sigma(f64::from(empty) / all);
        all * all / (2.0 * std::f64::consts::LN_2 * sum)
    }
}

/// Ertl 2017, σ: `x + Σ x^(2^k)·2^(k−1)`; infinite at 1.
fn sigma(share: f64) -> f64 {
    if share >= 1.0 {
        return f64::INFINITY;
    }
    let (mut power, mut weight, mut sum) = (share, 1.0, share);
    loop {
        power *= power;
        let before = sum;
        sum += power * weight;
        weight += weight;
        if sum <= before {
            return sum;
        }
    }
}

/// Ertl 2017, τ: `(1 − x − Σ (1 − x^(2^−k))²·2^(−k))/3`.
fn tau(share: f64) -> f64 {
    if share <= 0.0 || share >= 1.0 {
        return 0.0;
    }
    let (mut root, mut weight, mut rest) = (share, 1.0, 1.0 - share);
    loop {
        root = root.sqrt();
        let before = rest;
        weight *= 0.5;
        rest -= (1.0 - root).powi(2) * weight;
        if rest >= before {
            return rest / 3.0;
        }
    }
}

impl From<DistinctSketch> for String {
    fn from(sketch: DistinctSketch) -> Self {
        sketch
            .registers
            .iter()
            .map(|rank| char::from(FIRST + rank))
            .collect()
    }
}

impl TryFrom<String> for DistinctSketch {
    type Error = StatsError;

    fn try_from(text: String) -> Result<Self, StatsError> {
        let unlike = StatsError::Unlike {
            what: "number of registers, or ranks",
        };
        if text.len() != REGISTERS {
            return Err(unlike);
        }
        let mut sketch = Self::default();
        for (register, character) in sketch.registers.iter_mut().zip(text.bytes()) {
            *register = character
                .checked_sub(FIRST)
                .filter(|rank| u32::from(*rank) <= RANK_BITS + 1)
                .ok_or(unlike)?;
        }
        Ok(sketch)
    }
}
