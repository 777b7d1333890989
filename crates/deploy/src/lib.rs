//! Releases: what runs where, and how a version is walked over a service.
//!
//! **Guarantees.** What should run is a fold of the ledger: of the last [`Deployment`] of each service, and of
//! the [`rollout`]s, [`action`]s and [`limit`] tests that are under way. A rollout goes forward on measurements alone. **Never** speaks to a host
//! or a router itself: it says what each should do, and whoever wires it sees to that.

pub mod action;
pub mod adapter;
pub mod capacity;
pub mod compose;
pub mod deployment;
pub mod desired;
pub mod evidence;
pub mod exposure;
pub mod limit;
pub mod model;
pub mod moves;
pub mod pace;
pub mod plan;
pub mod planning;
pub mod refused;
pub mod rollout;
pub mod scaling;
pub mod shadow;
pub mod site;
pub mod slots;

pub use deployment::Deployment;
pub use desired::{Desired, Wanted};
pub use model::Model;
pub use plan::{RolloutPlan, Terms};
pub use slots::{Slot, Slots};
