//! The router: weighted versions, bulkheads, deadlines and health that is measured, not claimed.
//!
//! **Guarantees.** The decisions of the data plane are pure functions and machines over explicit
//! times: version by slots, backend by load, bulkheads, deadlines, retry budgets, health, bounded
//! ejection. **Never** trusts a claim against a measurement.
//!
//! ```
//! use mainstay_traffic::Compartment;
//! assert!(Compartment::default().enter(0).is_none());
//! ```

mod adapter;
mod balance;
mod bulkhead;
mod clients;
mod deadline;
mod ejection;
mod health;
pub mod hub;
mod retry;
mod split;

pub use adapter::{Router, RouterError};
pub use balance::{Candidate, pick};
pub use bulkhead::{Compartment, Permit};
pub use deadline::{DEADLINE_HEADER, budget};
pub use ejection::{EjectionInput, EjectionPlan, plan_ejections};
pub use health::{BackendHealth, Outcome};
pub use retry::RetryBudget;
pub use split::{SLOTS, SlotTable, unit_hash};
