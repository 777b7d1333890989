//! Sketches: quantiles and distinct counts in constant size, mergeable in any order.
//!
//! Guarantees the errors they name, whatever the data. Never keeps a value, and never a unit's name: distinct
//! counts are fed hashes.

mod distinct;
mod quantile;

pub use distinct::DistinctSketch;
pub use quantile::{Bucket, QuantileSketch};
