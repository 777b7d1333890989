//! Escalation: who is told, in what order, and how often at most.
//!
//! Guarantees: what an incident escalates by is a snapshot, so that a policy that changes meanwhile changes nothing
//! of what is under way; who that is, is asked when it matters. Never drops a page: what is too much for one person
//! and channel is told later, all in one.

mod letter;
pub mod outbox;
mod policy;
mod throttle;
mod who;

pub use letter::{About, Letter};
pub use policy::{Deadlines, Policy, Step};
pub use throttle::{Throttle, Verdict};
pub use who::{Recipient, Who};
