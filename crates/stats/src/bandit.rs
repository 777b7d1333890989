//! Bandits: traffic that follows the evidence, and inference that stays honest although it did.
//!
//! Guarantees that weights add up to 1 and none falls below the floor, without which no arm could ever be judged. Never
//! draws random numbers: chances to be best are integrals, so that the same data give the same weights.
//!
//! Means of the arms of a bandit are biased: an arm that did badly by chance gets no traffic to recover. [`Adaptive`]
//! weighs each observation by how likely its arm was when it was taken, which was written down then.
//!
//! ```
//! use mainstay_stats::{Adaptive, Ask, Belief, Level, thompson_weights};
//! let beliefs = [
//!     Belief::Beta { hits: 100, misses: 900 },
//!     Belief::Beta { hits: 130, misses: 870 },
//! ];
//! let weights = thompson_weights(&beliefs, 0.05)?;
//! assert!(weights[1] > 0.9 && weights[0] >= 0.05);
//!
//! let mut honest = Adaptive::new(2)?;
//! for step in 0..500_u32 {
//!     let value = f64::from(step % 7);
//!     honest.observe((step % 2) as usize, value, &[0.5, 0.5])?;
//! }
//! let ask = Ask::two_sided(Level::new(0.05)?);
//! assert!(!honest.contrast(0, 1)?.at_one_look(&ask).is_significant());
//! # Ok::<(), mainstay_stats::StatsError>(())
//! ```

mod adaptive;
mod thompson;

pub use adaptive::Adaptive;
pub use thompson::{Belief, chances_to_be_best, thompson_weights};
