//! What holds for every kind of change: capacity budget and floor, leases on headroom, guards, freezes,
//! emergencies, and the shape of the machines that walk a change.
//!
//! **Guarantees.** Pure: no I/O, no clock, no randomness, no `HashMap`. Whatever is unknown counts
//! against going forward. **Never** lets an emergency touch the capacity arithmetic, and never lets
//! missing evidence or a freeze stop a restoring step.
//!
//! ```
//! use mainstay_change::{Batch, batch};
//! use mainstay_core::Percent;
//! let policy = Percent::new(10.0).unwrap();
//! assert_eq!(batch(policy, 50, 8), Batch::Take(5));
//! assert_eq!(batch(policy, 50, 0), Batch::Surge);
//! ```

mod capacity;
mod emergency;
pub mod freeze;
mod guards;
mod lease;
mod machine;
pub mod planted;

pub use capacity::{Arithmetic, Batch, Budget, CAPACITY, Serving, batch, safe_batch};
pub use emergency::{Declared, EmergencyError, STATED, STATED_VALID_FOR};
pub use guards::{Direction, judge};
pub use lease::{LEASE_EVENT, Lease, LeaseBook, LeaseError, LeaseEvent, lease_stream};
pub use machine::{EffectId, Machine, Refusal};
