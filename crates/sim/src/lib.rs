//! A simulated world, faults and invariants, for the machines that move production.
//!
//! **Guarantees.** One seed, one world: the same seed gives the same trace, byte for byte. The runtime
//! inside is the one that runs in production; only the ledger, the clock and the receivers are
//! simulated. **Never** linked into the product: tests only. The world is itself tested: each
//! [`Planted`] bug must be found.
//!
//! ```
//! use mainstay_sim::{Planted, World};
//! let report = World::new(7, Planted::Nothing).run();
//! assert!(report.violations.is_empty(), "{:?}", report.violations);
//! ```

mod ledger;
mod report;
mod rollout;
mod walk;
mod world;

pub use report::{Fault, Invariant, Planted, Report, Violation};
pub use rollout::{RolloutWorld, Sized};
pub use world::World;
