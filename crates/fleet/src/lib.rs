//! What runs where: the host agent, its process driver, and measured identity.
//!
//! The server says what should run on a host ([`orders`]), a pure [`plan`] says what to do next, a
//! [`driver`] does it (for [`process`]es of this machine, or an orchestrator), and the [`agent`] turns
//! around the three, remembering its [`state`].
//!
//! **Guarantees.** An instance has one process at most; an order is taken once and never after a newer
//! one. **Never** runs a shell, and never believes what a process says of itself.

pub mod agent;
pub mod driver;
mod found;
mod host;
pub mod hub;
pub mod orders;
pub mod plan;
pub mod process;
pub mod state;
pub mod vitals;
